use chancery_tlog::serve::rate::{Rate, Rates};

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
    let [ct, v1, v2] = config.logs.as_slice() else { panic!("{:?}", config.logs) };
    assert!(ct.dialect.is_ct());
    assert_eq!(config.store_of(v1), Path::new("/srv/chancery/logs/rekor-v1"));
    assert_eq!(v2.dialect, Dialect::RekorV2);
    assert_eq!(v2.checkpoint_key, Path::new("/srv/chancery/keys/rekor-v2.checkpoint.key"));
    assert_eq!(config.timestamp.as_ref().unwrap().chain, Path::new("/srv/chancery/trust/tsa-chain.pem"));
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
    assert_eq!(config.rates, Rates::default().or_defaults(true));
    assert_eq!(Limits { rates: Rates::default(), ..config.limits }, Limits::default());
    assert_eq!(config.access, Access::Token("/srv/chancery/readers".into()));
    assert!(
        config.listen.tls.is_some()
            && config.listen.metrics.is_some()
            && config.protection.passphrase.is_some()
    );
    assert!(!config.listen.behind_proxy && !config.json_logs);
    let timestamp = config.timestamp.unwrap();
    assert_eq!(timestamp.policy.as_deref(), Some(chancery_ca::timestamp::DEFAULT_POLICY));
    assert!(timestamp.accepted_policies.is_empty() && !timestamp.include_chain);
}

#[test]
fn an_unknown_key_is_refused_by_name() {
    let refused = refusal("\naddress = ", "\nadress = \"127.0.0.1:1\"\naddress = ");
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
fn the_log_of_another_process_has_a_start_and_an_end_of_its_own() {
    let ca = |log: &str, more: &str| {
        let ca = SAMPLE.replacen("\nsince = ", &format!("\n{log}\nsince = "), 1);
        parse(&ca.replacen("\n[[ca.policy]]", &format!("\n{more}\n[[ca.policy]]"), 1))
    };
    let log = |more: &str| {
        format!("issuance_log = {{ url = \"https://log.example.com/ct\", key = \"ct.pub\"{more} }}")
    };
    let past = |table: &str, name: &str, more: &str| {
        format!(
            "[[ca.{table}]]\nname = \"{name}\"\nsince = \"2020-01-01T00:00:00Z\"\nuntil = \"2021-01-01T00:00:00Z\"\n{more}\n"
        )
    };
    let chain = past("past", "1", "chain = \"chains/ca-1.pem\"");
    let since = |log: &str, more: &str| {
        ca(log, more).unwrap().ca.unwrap().issuance_log_since().map(Timestamp::to_rfc3339)
    };
    let own = ", since = \"2019-01-01T00:00:00Z\"";
    assert_eq!(since(&log(own), &chain).as_deref(), Some("2019-01-01T00:00:00Z"));
    assert_eq!(since(&log(""), &chain).as_deref(), Some("2020-01-01T00:00:00Z"), "it moved with the chain");
    assert_eq!(since("", &chain), None);

    let address = "url = \"https://log.example.com/ct\"\nkey = \"ct.pub\"";
    let config = ca("", &past("past_issuance_log", "elsewhere", address)).unwrap().ca.unwrap();
    assert_eq!(config.past_issuance_log[0].key, Path::new("/srv/chancery/ct.pub"));
    for (name, more, said) in [
        ("ct", "", "two issuance logs have the name"),
        ("elsewhere", "\nwithdrawn = \" \"", "must give the reason"),
    ] {
        let refused =
            ca("", &past("past_issuance_log", name, &format!("{address}{more}"))).unwrap_err().to_string();
        assert!(refused.contains(said), "{refused}");
    }
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
fn a_v2_log_has_no_key_prefix_tree_or_roots_of_its_own() {
    for (key, value) in [
        ("key", "\"keys/rekor-v2.key\""),
        ("prefix", "\"/rekor-v2\""),
        ("hostname", "\"sigstore.example.com\""),
        ("tree_id", "7"),
        ("roots", "\"roots.pem\""),
    ] {
        let line = format!("dialect = \"rekor-v2\"\n{key} = {value}");
        let refused = refusal("dialect = \"rekor-v2\"", &line);
        let expected = format!("chancery.toml: `[[log]]` number 3: `{key}` is for dialect ");
        assert!(refused.starts_with(&expected) && refused.contains("remove it"), "{refused}");
    }
}

#[test]
fn the_origin_of_a_v2_log_is_a_bare_host() {
    let with = |origin: &str| {
        parse(&SAMPLE.replace("origin = \"sigstore.example.com\"", &format!("origin = \"{origin}\"")))
    };
    for origin in
        ["https://sigstore.example.com", "sigstore.example.com:443", "sigstore.example.com/v2", "[::1]"]
    {
        let refused = with(origin).unwrap_err().to_string();
        assert!(refused.contains("must be the bare host"), "{refused}");
    }
    for origin in ["log.example", "192.0.2.1", "::1"] {
        with(origin).unwrap();
    }
}

#[test]
fn an_issuance_log_needs_its_key_and_prefix() {
    for (line, missing) in [("key = \"keys/ct.key\"", "key"), ("prefix = \"/ct\"", "prefix")] {
        let refused = refusal(line, "");
        assert!(refused.ends_with(&format!("dialect \"ct\" needs `{missing}`")), "{refused}");
    }
}

#[test]
fn a_timestamp_authority_may_stand_alone() {
    let (head, tail) = (SAMPLE.find("[ca]").unwrap(), SAMPLE.find("[timestamp]").unwrap());
    let config = parse(&[&SAMPLE[..head], &SAMPLE[tail..]].concat()).unwrap();
    assert!(config.ca.is_none() && config.logs.is_empty() && config.timestamp.is_some());
    let refused = parse(&SAMPLE[..head]).unwrap_err().to_string();
    assert!(refused.contains("nothing to serve"), "{refused}");
}

#[test]
fn prefixes_of_other_roles_are_refused() {
    for prefix in ["/api/v9", "/tile", "/checkpoint", "/tuf/ct"] {
        let refused = refusal("prefix = \"/ct\"", &format!("prefix = \"{prefix}\""));
        assert!(refused.contains("belongs to another role"), "{refused}");
    }
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
    let six = BaseUrl::parse("https://[::1]:8443").unwrap();
    assert_eq!((six.authority().as_str(), six.hostname()), ("[::1]:8443", "::1"));
}

#[test]
fn a_log_that_moved_is_named_by_the_host_of_its_checkpoints() {
    let url = BaseUrl::parse("http://127.0.0.1:8080").unwrap();
    assert_eq!(url.naming("127.0.0.1"), "http://127.0.0.1:8080");
    assert_eq!(url.naming("log.example"), "https://log.example");
    assert_eq!(url.naming("2001:db8::1"), "https://[2001:db8::1]");
}

/// The sample with other lines in place of its `[access]` table.
fn with_access(table: &str) -> Result<Config, ConfigError> {
    let line = "[access]\nentries = \"token\"\n";
    assert!(SAMPLE.contains(line));
    parse(&SAMPLE.replace(line, table))
}

#[test]
fn whoever_can_be_reached_by_others_has_to_choose_who_reads() {
    let refused = with_access("").unwrap_err().to_string();
    for choice in ["`entries = \"token\"`", "\"oidc\"", "\"mtls\"", "\"open\""] {
        assert!(refused.starts_with("chancery.toml: `access`: ") && refused.contains(choice), "{refused}");
    }
    let local = SAMPLE.replace("https://sigstore.example.com", "http://127.0.0.1:8080");
    let local = local.replace("[access]\nentries = \"token\"\n", "");
    assert_eq!(parse(&local).unwrap().access, Access::Open);
    let exposed =
        local.replace("address = \"127.0.0.1:8080\"", "address = \"0.0.0.0:80\"\nbehind_proxy = true");
    parse(&exposed).unwrap_err();
    assert_eq!(with_access("[access]\nentries = \"open\"\n").unwrap().access, Access::Open);
    with_access("[access]\nentries = \"closed\"\n").unwrap_err();
    with_access("[access]\n").unwrap_err();
}

#[test]
fn proxies_are_a_count_or_networks_behind_a_proxy() {
    let with = |lines: &str| parse(&SAMPLE.replace("# behind_proxy = false\n", lines));
    for good in [
        "behind_proxy = true\n",
        "behind_proxy = true\nproxies = 2\n",
        "behind_proxy = true\nproxies = [\"10.0.0.0/8\", \"2001:db8::7\"]\nforwarded_header = \"forwarded\"\n",
    ] {
        with(good).unwrap();
    }
    for (wrong, words) in [
        ("proxies = 2\n", "set `behind_proxy = true` if there are any"),
        ("forwarded_header = \"forwarded\"\n", "set `behind_proxy = true` if there are any"),
        ("behind_proxy = true\nproxies = 0\n", "from 1 to 16, or a list of their networks"),
        ("behind_proxy = true\nproxies = [\"10.0.0.1/8\"]\n", "write 10.0.0.0/8"),
        ("behind_proxy = true\nproxies = \"10.0.0.0/8\"\n", "a list of their networks"),
        ("behind_proxy = true\nforwarded_header = \"via\"\n", "x-forwarded-for"),
    ] {
        let refused = with(wrong).unwrap_err().to_string();
        assert!(refused.contains(words) && refused.contains("chancery.toml"), "{wrong}{refused}");
    }
}

#[test]
fn a_listener_accepts_the_hosts_of_the_instance_and_its_logs() {
    assert_eq!(parse(SAMPLE).unwrap().listen.hosts, ["sigstore.example.com"]);
}

#[test]
fn cors_origins_are_parsed() {
    let with = |line: &str| parse(&SAMPLE.replace("# origins = []\n", line));
    assert_eq!(with("").unwrap().origins, Origins::default());
    let named = with("origins = [\"https://dashboard.example.com\"]\n").unwrap().origins;
    assert_eq!(named, Origins::parse(&["https://dashboard.example.com"]).unwrap());
    let refused = with("origins = [\"dashboard.example.com\"]\n").unwrap_err().to_string();
    assert!(refused.contains("`access.origins`") && refused.contains("is not an origin"), "{refused}");
}

#[test]
fn a_rule_for_readers_names_somebody_and_not_the_audience_of_signers() {
    let oidc = |rest: &str| with_access(&format!("[access]\nentries = \"oidc\"\n{rest}"));
    let rule = "[[access.oidc.readers]]\nissuer = \"https://id.example.com\"\n";
    let Access::Oidc(access) = oidc(&format!("{rule}subject = \"*\"\n")).unwrap().access else { panic!() };
    assert_eq!((access.audience.as_str(), access.readers.len()), ("https://sigstore.example.com", 1));
    let refused = oidc(rule).unwrap_err().to_string();
    assert!(refused.contains("everyone with a token of https://id.example.com"), "{refused}");
    let refused = oidc("[access.oidc]\naudience = \"sigstore\"\n").unwrap_err().to_string();
    assert!(refused.contains("tokens for signing"), "{refused}");
}

#[test]
fn client_certificates_come_by_the_listeners_tls() {
    let tls = "[listen.tls]\ncertificate = \"tls.crt\"\nkey = \"tls.key\"\n[access]\nentries = \"mtls\"\n";
    let config = with_access(tls).unwrap();
    let file = Path::new("/srv/chancery/readers-ca.pem");
    assert_eq!(config.listen.tls.unwrap().client_ca.as_deref(), Some(file));
    let other = tls.replace("\"mtls\"", "\"token\"");
    assert_eq!(with_access(&other).unwrap().listen.tls.unwrap().client_ca, None);
}

#[test]
fn a_log_for_the_own_ca_needs_to_know_one() {
    let ca = SAMPLE.find("# The certificate authority, in").unwrap();
    let logs = SAMPLE.find("# The issuance log: every").unwrap();
    let without = format!("{}{}", &SAMPLE[..ca], &SAMPLE[logs..]);
    let refused = parse(&without).unwrap_err().to_string();
    assert!(refused.contains("`log.rekor-v1.admission`") && refused.contains("`roots`"), "{refused}");
    let config = parse(&without.replace("# roots = \"ca-chain.pem\"", "roots = \"ca-chain.pem\"")).unwrap();
    assert_eq!(config.logs[1].admission.roots.as_deref(), Some(Path::new("/srv/chancery/ca-chain.pem")));
    assert_eq!(config.logs[1].admission.signers, Signers::OwnCa);
    let refused = refusal("dialect = \"ct\"", "admission = { signers = \"any\" }\ndialect = \"ct\"");
    assert!(refused.contains("`admission` is for dialect"), "{refused}");
}

#[test]
fn rates_are_limited_where_others_come_in_and_as_the_operator_says() {
    let config = parse(SAMPLE).unwrap();
    assert_eq!(config.rates, Rates::default().or_defaults(true));
    let text = SAMPLE.replace(
        "# [limits.rates]",
        "[limits.rates]\nreads_per_address = \"off\"\nwrites_per_identity = { per_minute = 6, burst = 3 }",
    );
    let rates = parse(&text).unwrap().rates;
    assert_eq!(rates.reads_per_address, None);
    assert_eq!(rates.writes_per_identity, Some(Rate { per_minute: 6, burst: 3 }));
    assert!(config.limits.rates.writes_per_address.is_none());
    let zero = SAMPLE
        .replace("# [limits.rates]", "[limits.rates]\nwrites_per_identity = { per_minute = 6, burst = 0 }");
    assert!(parse(&zero).unwrap_err().to_string().contains("rates.writes_per_identity"));
}

/// The instance of the sample with these tables of policies instead of its own.
fn with_policies(tables: &str) -> Result<Config, ConfigError> {
    let start = SAMPLE.find("\n[[ca.policy]]").unwrap();
    let end = SAMPLE.find("# The issuance log: every").unwrap();
    parse(&[&SAMPLE[..start], "\n", tables, "\n", &SAMPLE[end..]].concat())
}

#[test]
fn the_samples_of_the_page_about_claim_policies_parse_and_none_is_warned_about() {
    let page = include_str!("../../../docs/claim-policies.md");
    let samples: Vec<&str> =
        page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(samples.len() >= 8, "{}", samples.len());
    for sample in samples {
        let config = with_policies(sample).unwrap_or_else(|error| panic!("{error}\n{sample}"));
        let [policy] = config.ca.as_ref().unwrap().policy.as_slice() else { panic!("{sample}") };
        assert!(policy.rules().count() > 0 || policy.permits_any_tenant(), "{sample}");
        assert_eq!(policy.warnings(), [""; 0], "{sample}");
    }
}

#[test]
fn a_mistake_in_a_policy_is_named_with_its_place() {
    let rule = |lines: &str| {
        let tables = format!(
            "[[ca.policy]]\nissuer = \"https://a.example\"\nany_tenant = true\n[[ca.policy]]\n\
             issuer = \"https://b.example\"\n[[ca.policy.rule]]\nname = \"r\"\n{lines}"
        );
        with_policies(&tables).unwrap_err().to_string()
    };
    for (lines, words) in [
        ("claims = { ref = \"refs/*\" }", "rule `r`: claim `ref`: \"refs/*\" has a `*`: write { glob ="),
        ("claims = {}", "rule `r`: `claims` is an empty table"),
        ("claim = { ref = \"x\" }", "unknown field"),
        ("claims = { at = 2026-11-30T00:00:00Z }", "write a time as text"),
        ("claims = { level = 1.5 }", "1.5 is not a whole number"),
    ] {
        let refused = rule(lines);
        assert!(refused.starts_with("chancery.toml: `[[ca.policy]]` number 2: "), "{refused}");
        assert!(refused.contains(words), "{refused}");
    }
}
