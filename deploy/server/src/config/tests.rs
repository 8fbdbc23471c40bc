use super::*;
use crate::init::SAMPLE;

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(Path::new("/srv/chancery"), text)
}

fn refusal(from: &str, to: &str) -> String {
    assert!(SAMPLE.contains(from), "the sample has no `{from}`");
    parse(&SAMPLE.replace(from, to)).unwrap_err().to_string()
}

#[test]
fn the_sample_parses_with_paths_from_its_folder() {
    let config = parse(SAMPLE).unwrap();
    assert_eq!(config.url.as_str(), "https://sigstore.example.com");
    assert_eq!(config.ca.as_ref().unwrap().key, Path::new("/srv/chancery/keys/ca.key"));
    assert_eq!(config.limits, Limits::default());
    let rekor = config.logs.iter().find(|log| !log.dialect.is_ct()).unwrap();
    assert_eq!(config.store_of(rekor), Path::new("/srv/chancery/logs/rekor-v1"));
}

#[test]
fn every_commented_key_is_a_key_with_its_default() {
    let mut text = String::new();
    for line in SAMPLE.lines() {
        let key = line.strip_prefix("# ").filter(|rest| {
            rest.starts_with('[') || rest.split_once(" = ").is_some_and(|(key, _)| !key.contains([' ', '`']))
        });
        text.push_str(key.unwrap_or(line));
        text.push('\n');
    }
    let config = parse(&text).unwrap();
    assert_eq!(config.limits, Limits::default());
    assert!(config.listen.tls.is_some() && config.listen.metrics.is_some() && config.passphrase.is_some());
    assert!(!config.listen.behind_proxy && !config.json_logs);
}

#[test]
fn an_unknown_key_is_refused_by_name() {
    let refused = refusal("address = ", "adress = \"127.0.0.1:1\"\naddress = ");
    assert!(refused.contains("adress") && refused.contains("listen"), "{refused}");
}

#[test]
fn plain_http_for_the_network_needs_a_word() {
    let refused = refusal("address = \"127.0.0.1:8080\"", "address = \"0.0.0.0:80\"");
    assert!(refused.contains("behind_proxy = true"), "{refused}");
}

#[test]
fn a_ca_without_an_issuance_log_is_refused() {
    let refused = refusal("dialect = \"ct\"", "dialect = \"rekor-v1\"\nhostname = \"h\"\ntree_id = 1");
    assert!(refused.contains("at most one log"), "{refused}");
    let logs = SAMPLE.find("# The issuance log: every").unwrap();
    let refused = parse(&SAMPLE[..logs]).unwrap_err().to_string();
    assert!(refused.contains("needs an issuance log"), "{refused}");
    let remote = "\nissuance_log = { url = \"https://log.example.com/ct\", key = \"ct.pub\" }\nsince = ";
    parse(&SAMPLE[..logs].replace("\nsince = ", remote)).unwrap();
}

#[test]
fn rekor_needs_its_tree() {
    let refused = refusal("hostname = ", "# hostname = ");
    assert!(
        refused.starts_with("chancery.toml: `[[log]]` number 2: dialect \"rekor-v1\" needs"),
        "{refused}"
    );
    let refused = refusal("tree_id = 1", "tree_id = -1");
    assert!(refused.starts_with("chancery.toml: `[[log]]` number 2, `tree_id`: "), "{refused}");
}

#[test]
fn prefixes_of_other_roles_are_refused() {
    let refused = refusal("prefix = \"/ct\"", "prefix = \"/api/v9\"");
    assert!(refused.contains("belongs to another role"), "{refused}");
}

#[test]
fn a_url_with_a_path_is_refused() {
    for url in [
        "https://a.example/sigstore",
        "ftp://a.example",
        "https://u:p@a.example",
        "a.example",
        "https://a/?q",
    ] {
        BaseUrl::parse(url).unwrap_err();
    }
    let url = BaseUrl::parse("http://127.0.0.1:8080/").unwrap();
    assert_eq!((url.as_str(), url.host()), ("http://127.0.0.1:8080", "127.0.0.1"));
    assert_eq!(url.authority(), "127.0.0.1:8080");
    assert_eq!(url.address(), Some("127.0.0.1:8080".parse().unwrap()));
    assert_eq!(BaseUrl::parse("https://[::1]:8443").unwrap().authority(), "[::1]:8443");
}
