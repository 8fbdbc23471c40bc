//! What `init` makes, looked at by the parts that use it.

use std::os::unix::fs::PermissionsExt as _;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use chancery_tlog::trust::ClientTrustConfig;
use clap::Parser;
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

use super::*;
use crate::{check, compose};

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    init: InitArguments,
}

async fn made(dir: &Path, more: &[&str]) -> anyhow::Result<()> {
    let dir = dir.to_str().unwrap();
    let line = ["init", dir, "--url", "http://127.0.0.1:8470", "--issuer", "http://127.0.0.1:8471"];
    init(Line::parse_from(line.iter().chain(more)).init).await
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn a_new_instance_has_no_problems_and_its_keys_are_private() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("instance");
    made(&dir, &[]).await.unwrap();
    let findings = check::findings(&dir).unwrap();
    assert_eq!(findings.problems, 0, "{:?}", findings.lines);
    assert!(findings.lines.concat().contains("move it offline"), "{:?}", findings.lines);
    assert_eq!(mode(&dir), 0o700);
    let keys: Vec<_> =
        std::fs::read_dir(dir.join("keys")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(keys.len(), 11);
    assert!(keys.iter().all(|key| mode(key) == 0o600), "{keys:?}");
}

#[tokio::test]
async fn nothing_that_exists_is_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("precious");
    std::fs::write(&file, "data").unwrap();
    let refused = made(folder.path(), &[]).await.unwrap_err().to_string();
    assert!(refused.contains("is not empty"), "{refused}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn a_mistake_in_the_arguments_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("instance");
    let refused = made(&dir, &["--listen", "0.0.0.0:80", "--entries", "open"]).await.unwrap_err().to_string();
    assert!(refused.contains("plain HTTP"), "{refused}");
    assert!(!dir.exists());
}

#[tokio::test]
async fn without_the_roots_key_and_without_its_trust_folder_copies_it_serves() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("instance");
    made(&dir, &[]).await.unwrap();
    std::fs::remove_file(dir.join(ROOT_KEY)).unwrap();
    std::fs::remove_file(dir.join(TSA_ROOT_KEY)).unwrap();
    std::fs::remove_file(dir.join("trust/trusted_root.json")).unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let instance = Instance::load(Config::load(&dir).unwrap(), clock.clone()).unwrap();
    let application = compose::application(instance, &clock).await.unwrap();
    assert_eq!(application.sequencers.len(), 3);
    for path in [
        "/healthz",
        "/readyz",
        "/ping",
        "/api/v1/log",
        "/api/v2/trustBundle",
        "/ct/ct/v1/get-sth",
        "/ct/checkpoint",
        "/rekor-v1/checkpoint",
        "/rekor-v1/tile/0/000.p/1",
        "/checkpoint",
        "/tile/0/000.p/1",
        "/api/v2/checkpoint",
        "/api/v2/tile/entries/000.p/1",
        "/api/v1/timestamp/certchain",
        "/.well-known/chancery/ct.pub",
        "/.well-known/chancery/tuf-root.json",
        "/tuf/1.root.json",
        "/tuf/1.targets.json",
        "/tuf/timestamp.json",
        "/.well-known/chancery/rekor-v2.pub",
        "/.well-known/chancery/tsa-chain.pem",
    ] {
        let request = Request::get(path).body(Body::empty()).unwrap();
        assert_eq!(
            application.routes.usual().clone().oneshot(request).await.unwrap().status(),
            StatusCode::OK,
            "{path}"
        );
    }
    let request = Request::get("/.well-known/chancery/client_trust_config.json").body(Body::empty()).unwrap();
    let answer = application
        .routes
        .usual()
        .clone()
        .oneshot(request)
        .await
        .unwrap()
        .into_body()
        .collect()
        .await
        .unwrap()
        .to_bytes();
    let trust: ClientTrustConfig = serde_json::from_slice(&answer).unwrap();
    assert_eq!(trust.trusted_root.certificate_authorities[0].cert_chain.certificates.len(), 2);
}

async fn status(router: &axum::Router, request: Request<Body>) -> StatusCode {
    router.clone().oneshot(request).await.unwrap().status()
}

#[tokio::test]
async fn each_choice_of_dialects_has_its_logs_keys_files_and_paths() {
    let folder = tempfile::tempdir().unwrap();
    for (rekor, versions) in [("v1", vec![1]), ("v2", vec![2]), ("both", vec![2, 1])] {
        let dir = folder.path().join(rekor);
        made(&dir, &["--rekor", rekor]).await.unwrap();
        let findings = check::findings(&dir).unwrap();
        assert_eq!(findings.problems, 0, "{:?}", findings.lines);
        let text = std::fs::read_to_string(dir.join("trust/client_trust_config.json")).unwrap();
        let trust: ClientTrustConfig = serde_json::from_str(&text).unwrap();
        let named: Vec<_> =
            trust.signing_config.rekor_tlog_urls.iter().map(|log| log.major_api_version).collect();
        assert_eq!(named, versions);
        assert_eq!(trust.trusted_root.tlogs.len(), versions.len());
        assert_eq!(trust.trusted_root.timestamp_authorities.len(), 1);

        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let instance = Instance::load(Config::load(&dir).unwrap(), clock.clone()).unwrap();
        let router = compose::application(instance, &clock).await.unwrap().routes.usual().clone();
        for (version, path, file) in
            [(1, "/api/v1/log", "rekor.pub"), (2, "/api/v2/checkpoint", "rekor-v2.pub")]
        {
            let there = versions.contains(&version);
            let expected = if there { StatusCode::OK } else { StatusCode::NOT_FOUND };
            let request = Request::get(path).body(Body::empty()).unwrap();
            assert_eq!(status(&router, request).await, expected, "{rekor}: {path}");
            assert_eq!(dir.join("trust").join(file).exists(), there, "{rekor}: {file}");
        }
        let key = dir.join("keys/rekor-v1.key").exists();
        assert_eq!(key, versions.contains(&1), "{rekor}");
    }
}

#[tokio::test]
async fn a_v2_log_without_a_timestamp_authority_is_warned_about() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("instance");
    made(&dir, &["--rekor", "v2"]).await.unwrap();
    let file = dir.join(config::FILE);
    let text = std::fs::read_to_string(&file).unwrap();
    let moved = text.replace("url = \"http://127.0.0.1:8470\"", "url = \"http://localhost:8470\"");
    std::fs::write(&file, &moved[..moved.find("[timestamp]").unwrap()]).unwrap();
    let lines = check::findings(&dir).unwrap().lines.concat();
    assert!(lines.contains("add `[timestamp]`"), "{lines}");
    assert!(lines.contains("its origin is 127.0.0.1, not the host of http://localhost:8470"), "{lines}");
}

#[tokio::test]
async fn the_key_of_another_role_is_no_timestamp_key() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("instance");
    made(&dir, &[]).await.unwrap();
    std::fs::copy(dir.join("keys/ct.key"), dir.join("keys/tsa.key")).unwrap();
    let findings = check::findings(&dir).unwrap();
    assert_eq!(findings.problems, 1, "{:?}", findings.lines);
    assert!(findings.lines.concat().contains("tsa-chain.pem: the timestamp key does not belong"));
}

#[tokio::test]
async fn people_are_sent_to_their_provider_and_ci_jobs_to_nobody() {
    let folder = tempfile::tempdir().unwrap();
    for (kind, expected) in [("email", vec!["http://127.0.0.1:8471"]), ("github", vec![])] {
        let dir = folder.path().join(kind);
        made(&dir, &["--issuer-type", kind]).await.unwrap();
        let text = std::fs::read_to_string(dir.join("trust/client_trust_config.json")).unwrap();
        let trust: ClientTrustConfig = serde_json::from_str(&text).unwrap();
        let logins: Vec<_> =
            trust.signing_config.oidc_urls.iter().map(|service| service.url.as_str()).collect();
        assert_eq!(logins, expected);
    }
}

#[tokio::test]
async fn a_passphrase_encrypts_every_key_and_is_needed_again() {
    let folder = tempfile::tempdir().unwrap();
    let (dir, secret) = (folder.path().join("instance"), folder.path().join("passphrase"));
    std::fs::write(&secret, "correct horse\n").unwrap();
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    made(&dir, &["--passphrase-file", secret.to_str().unwrap()]).await.unwrap();
    for key in std::fs::read_dir(dir.join("keys")).unwrap() {
        let text = std::fs::read_to_string(key.unwrap().path()).unwrap();
        assert!(text.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----"));
    }
    assert_eq!(check::findings(&dir).unwrap().problems, 0);
    std::fs::write(&secret, "wrong\n").unwrap();
    let refused = check::findings(&dir).err().unwrap().to_string();
    assert!(refused.contains("ca.key"), "{refused}");
}

#[tokio::test]
async fn a_tuf_repository_that_is_gone_or_damaged_is_not_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("instance");
    made(&dir, &[]).await.unwrap();
    for damage in ["tuf/1.targets.json", "tuf"] {
        if damage == "tuf" {
            std::fs::remove_dir_all(dir.join(damage)).unwrap();
        } else {
            std::fs::write(dir.join(damage), "{}").unwrap();
        }
        let findings = check::findings(&dir).unwrap();
        assert_eq!(findings.problems, 1, "{:?}", findings.lines);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let instance = Instance::load(Config::load(&dir).unwrap(), clock.clone()).unwrap();
        let refused = compose::application(instance, &clock).await.err().unwrap();
        assert!(format!("{refused:#}").contains("restore the folder"), "{refused:#}");
    }
}

#[tokio::test]
async fn a_log_that_is_gone_is_not_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("instance");
    made(&dir, &[]).await.unwrap();
    std::fs::remove_dir_all(dir.join("logs/rekor-v1")).unwrap();
    let findings = check::findings(&dir).unwrap();
    assert_eq!(findings.problems, 1, "{:?}", findings.lines);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let instance = Instance::load(Config::load(&dir).unwrap(), clock.clone()).unwrap();
    let refused = compose::application(instance, &clock).await.err().unwrap();
    assert!(format!("{refused:#}").contains("log `rekor-v1`"), "{refused:#}");
    assert!(!dir.join("logs/rekor-v1").exists());
}

#[tokio::test]
async fn an_instance_for_others_is_not_made_until_somebody_says_who_reads() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("instance");
    let exposed = ["--listen", "192.0.2.1:443"];
    let refused = made(&dir, &exposed).await.unwrap_err().to_string();
    assert!(refused.contains("--entries") && refused.contains("`token`"), "{refused}");
    assert!(!dir.exists());
}

#[tokio::test]
async fn reader_tokens_are_listed_by_their_digest_and_each_name_once() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("instance");
    made(&dir, &["--entries", "token"]).await.unwrap();
    let found = check::findings(&dir).unwrap();
    assert!(found.lines.concat().contains("nobody can read yet"), "{:?}", found.lines);
    access::make_token(&dir, "audit").unwrap();
    access::make_token(&dir, "monitor").unwrap();
    let refused = access::make_token(&dir, "audit").unwrap_err().to_string();
    assert!(refused.contains("`audit` already"), "{refused}");
    access::make_token(&dir, "a b").unwrap_err();
    let lines = check::findings(&dir).unwrap().lines.concat();
    assert!(lines.contains("entries: 2 reader tokens"), "{lines}");
    let open = folder.path().join("open");
    made(&open, &[]).await.unwrap();
    let refused = access::make_token(&open, "audit").unwrap_err().to_string();
    assert!(refused.contains("takes no reader tokens"), "{refused}");
}

#[tokio::test]
async fn client_certificates_behind_a_proxy_are_a_problem_and_a_missing_ca_is_too() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("instance");
    made(&dir, &["--entries", "mtls"]).await.unwrap();
    let problem =
        || check::findings(&dir).unwrap().lines.into_iter().find(|line| line.starts_with("problem")).unwrap();
    assert!(problem().contains("needs `[listen.tls]`"), "{}", problem());
    let file = dir.join(config::FILE);
    let text =
        std::fs::read_to_string(&file).unwrap().replace("# behind_proxy = false", "behind_proxy = true");
    std::fs::write(&file, text).unwrap();
    assert!(problem().contains("cannot work behind a proxy"), "{}", problem());
}

/// An instance with this fulcio.yaml, or GitHub's issuer if there is none.
async fn made_for(dir: &Path, issuers: Option<&Path>, more: &[&str]) -> anyhow::Result<()> {
    let mut line = vec!["init", dir.to_str().unwrap(), "--url", "http://127.0.0.1:8470"];
    line.extend(issuers.iter().flat_map(|file| ["--issuers", file.to_str().unwrap()]));
    init(Line::parse_from(line.iter().chain(more)).init).await
}

fn policy_lines(dir: &Path) -> String {
    let text = std::fs::read_to_string(dir.join(config::FILE)).unwrap();
    let start = text.find("\n[[ca.policy]]").unwrap();
    text[start..text.find("# The issuance log: every").unwrap()].to_owned()
}

#[tokio::test]
async fn an_instance_that_would_certify_anyone_is_not_made_without_the_word() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("instance");
    let refused = made_for(&dir, None, &[]).await.unwrap_err().to_string();
    for words in ["GitHub Actions", "--github-owner", "--github-repository", "--any-tenant"] {
        assert!(refused.contains(words), "{refused}");
    }
    assert!(!dir.exists());
    let patterns = folder.path().join("patterns.yaml");
    std::fs::write(
        &patterns,
        "meta-issuers:\n  https://oidc.eks.*.amazonaws.com/id/*:\n    client-id: sigstore\n    type: kubernetes\n",
    )
    .unwrap();
    let refused = made_for(&dir, Some(&patterns), &[]).await.unwrap_err().to_string();
    assert!(refused.contains("Amazon EKS") && refused.contains("--policies"), "{refused}");
    made_for(&dir, Some(&patterns), &["--any-tenant"]).await.unwrap();
    assert!(policy_lines(&dir).contains("any_tenant = true"));
    let lines = check::findings(&dir).unwrap().lines.concat();
    assert!(lines.contains("anyone with a token of https://oidc.eks.*.amazonaws.com/id/*"), "{lines}");
}

#[tokio::test]
async fn each_option_about_claims_writes_rules_that_the_ca_reads() {
    let folder = tempfile::tempdir().unwrap();
    let issuers = folder.path().join("fulcio.yaml");
    let mut text = "oidc-issuers:\n".to_owned();
    for (url, kind) in [
        ("https://token.actions.githubusercontent.com", "ci-provider\n    ci-provider: github-workflow"),
        ("https://gitlab.com", "ci-provider\n    ci-provider: gitlab-pipeline"),
        ("https://agent.buildkite.com", "buildkite-job"),
        ("https://oidc.codefresh.io", "codefresh-workflow"),
        ("https://accounts.google.com", "email"),
    ] {
        let lines = ["issuer-url: ", url, "\n    client-id: sigstore\n    type: ", kind].concat();
        text += &["  ", url, ":\n    ", &lines, "\n"].concat();
    }
    std::fs::write(&issuers, text).unwrap();
    let options = [
        ("--github-owner", "acme/1234567"),
        ("--github-owner", "other"),
        ("--github-repository", "else/where.x/99"),
        ("--gitlab-group", "acme/sub"),
        ("--gitlab-project", "else/where"),
        ("--buildkite-organization", "acme"),
        ("--codefresh-account", "628a80b693a15c0f9c13ab75"),
        ("--email-domain", "example.com"),
    ];
    let flags: Vec<&str> = options.iter().flat_map(|(flag, value)| [*flag, *value]).collect();
    let dir = folder.path().join("instance");
    made_for(&dir, Some(&issuers), &flags).await.unwrap();
    assert_eq!(check::findings(&dir).unwrap().problems, 0);
    insta::assert_snapshot!(policy_lines(&dir));

    for (i, without) in ["--github-owner", "--gitlab-group", "--email-domain"].into_iter().enumerate() {
        let dir = folder.path().join(format!("without-{i}"));
        let left: Vec<&str> = options
            .iter()
            .filter(|(flag, _)| flag.split('-').nth(2) != without.split('-').nth(2))
            .flat_map(|(flag, value)| [*flag, *value])
            .collect();
        let refused = made_for(&dir, Some(&issuers), &left).await.unwrap_err().to_string();
        assert!(refused.contains(without) && !dir.exists(), "{refused}");
    }
    let refused =
        made(&folder.path().join("none"), &["--gitlab-group", "acme"]).await.unwrap_err().to_string();
    assert!(refused.contains("--gitlab-group") && refused.contains("no issuer of this kind"), "{refused}");
    let refused = made(&folder.path().join("none"), &["--any-tenant"]).await.unwrap_err().to_string();
    assert!(refused.contains("--any-tenant has no effect"), "{refused}");
}

#[tokio::test]
async fn policies_of_a_file_are_taken_over_and_nothing_else_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let (dir, file) = (folder.path().join("instance"), folder.path().join("policies.toml"));
    let from_file = ["--policies", file.to_str().unwrap()];
    let good = "[[ca.policy]]\nissuer = \"https://token.actions.githubusercontent.com\"\nsingle_use = true\n\
                [[ca.policy.rule]]\nname = \"ours\"\nclaims = { email = { glob = \"*@listen@\" } }\n";
    for bad in [
        "[ca]\ndevelopment = true\n",
        "[access]\nentries = \"open\"\n",
        "",
        "nonsense",
        &format!("{good}[listen]\n"),
    ] {
        std::fs::write(&file, bad).unwrap();
        made_for(&dir, None, &from_file).await.unwrap_err();
        assert!(!dir.exists(), "{bad}");
    }
    std::fs::write(&file, good).unwrap();
    made_for(&dir, None, &from_file).await.unwrap();
    assert_eq!(policy_lines(&dir).trim(), good.trim());
}

#[test]
fn names_that_could_mean_something_else_are_refused() {
    for (flag, value) in [
        ("--github-owner", "acme*"),
        ("--github-owner", "acme/rocket"),
        ("--github-owner", "acme/1/2"),
        ("--github-owner", ""),
        ("--github-owner", "a\"b"),
        ("--github-repository", "acme"),
        ("--github-repository", "acme/rocket/x"),
        ("--gitlab-group", "acme//x"),
        ("--gitlab-group", "acme/**"),
        ("--email-domain", "@example.com"),
        ("--email-domain", "a.example\n[listen]"),
    ] {
        let line = ["init", "dir", "--url", "http://127.0.0.1:8470", flag, value];
        assert!(Line::try_parse_from(line).is_err(), "{flag} {value}");
    }
}

#[tokio::test]
async fn an_instance_from_before_the_rules_is_refused_with_the_lines_to_add() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("instance");
    made_for(&dir, None, &["--any-tenant"]).await.unwrap();
    let file = dir.join(config::FILE);
    let text = std::fs::read_to_string(&file).unwrap();
    let old = text.replace(&policy_lines(&dir), "\n");
    std::fs::write(&file, &old).unwrap();
    let findings = check::findings(&dir).unwrap();
    assert_eq!(findings.problems, 1, "{:?}", findings.lines);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let instance = Instance::load(Config::load(&dir).unwrap(), clock.clone()).unwrap();
    let refused = format!("{:#}", compose::application(instance, &clock).await.err().unwrap());
    let problem = findings.lines.concat();
    for words in ["GitHub Actions", "repository_owner_id", "any_tenant = true"] {
        assert!(refused.contains(words) && problem.contains(words), "{words}: {refused}\n{problem}");
    }
    // What it asks for is taken as it stands.
    let lines = refused.split("\n\n").skip(1).take(2).collect::<Vec<_>>().join("\n\n");
    let mended = old.replace("# The issuance log: every", &format!("{lines}\n# The issuance log: every"));
    std::fs::write(&file, mended).unwrap();
    assert_eq!(check::findings(&dir).unwrap().problems, 0, "{lines}");
}
