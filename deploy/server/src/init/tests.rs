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
            application.router.clone().oneshot(request).await.unwrap().status(),
            StatusCode::OK,
            "{path}"
        );
    }
    let request = Request::get("/.well-known/chancery/client_trust_config.json").body(Body::empty()).unwrap();
    let answer =
        application.router.oneshot(request).await.unwrap().into_body().collect().await.unwrap().to_bytes();
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
        let router = compose::application(instance, &clock).await.unwrap().router;
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
