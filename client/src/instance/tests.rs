//! Pinning: what was pinned stays, unless asked.

use chancery_tlog::trust::{CLIENT_TRUST_CONFIG_TYPE, SIGNING_CONFIG_TYPE, TRUSTED_ROOT_TYPE};
use serde_json::{Value, json};

use super::*;

const NOW: Timestamp = Timestamp::from_seconds(1_790_000_000);

fn document(ca: Value, log: Value) -> String {
    json!({
        "mediaType": CLIENT_TRUST_CONFIG_TYPE,
        "trustedRoot": {"mediaType": TRUSTED_ROOT_TYPE},
        "signingConfig": {"mediaType": SIGNING_CONFIG_TYPE, "caUrls": ca, "rekorTlogUrls": log},
    })
    .to_string()
}

fn service(url: &str, version: u32, start: &str) -> Value {
    json!({"url": url, "majorApiVersion": version, "validFor": {"start": start}, "operator": ""})
}

fn instance(url: &str) -> Instance {
    let ca = service("https://ca.example", 1, "2020-01-01T00:00:00Z");
    let log = service("https://log.example", 1, "2020-01-01T00:00:00Z");
    Instance::parse(url, document(json!([ca]), json!([log])), "2026-01-01T00:00:00Z").unwrap()
}

#[test]
fn a_pinned_instance_is_loaded_and_not_replaced_unasked() {
    let folder = tempfile::tempdir().unwrap();
    assert!(Instance::load(folder.path()).unwrap().is_none());
    let first = instance("https://a.example");
    first.pin(folder.path(), false).unwrap();
    first.pin(folder.path(), false).unwrap();
    let loaded = Instance::load(folder.path()).unwrap().unwrap();
    assert_eq!((loaded.url(), loaded.fingerprint()), ("https://a.example", first.fingerprint()));
    let second = instance("https://b.example");
    assert!(matches!(second.pin(folder.path(), false), Err(InstanceError::AlreadyPinned { .. })));
    second.pin(folder.path(), true).unwrap();
    assert_eq!(Instance::load(folder.path()).unwrap().unwrap().url(), "https://b.example");
}

#[test]
fn a_changed_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = instance("https://a.example").pin(folder.path(), false).unwrap();
    let changed = fs::read_to_string(&path).unwrap().replace("ca.example", "cb.example");
    fs::write(&path, changed).unwrap();
    assert!(matches!(Instance::load(folder.path()), Err(InstanceError::Damaged { .. })));
}

#[test]
fn fingerprints_are_compared_in_both_spellings() {
    let instance = instance("https://a.example");
    let sha256 = instance.fingerprint();
    assert!(instance.expect_fingerprint(&sha256).is_ok());
    assert!(instance.expect_fingerprint(&format!("sha256:{}", sha256.to_uppercase())).is_ok());
    assert!(instance.expect_fingerprint("00").is_err());
    assert!(instance.expect_fingerprint("").is_err());
}

#[test]
fn the_newest_valid_service_of_the_right_version_is_chosen() {
    let cas = json!([
        service("https://old.example", 1, "2020-01-01T00:00:00Z"),
        service("https://new.example", 1, "2024-01-01T00:00:00Z"),
        service("https://next.example", 1, "2090-01-01T00:00:00Z"),
        service("https://other.example", 2, "2025-01-01T00:00:00Z"),
    ]);
    let parse = |log: Value| Instance::parse("u", document(cas.clone(), log), "t").unwrap().services(NOW);
    let services = parse(json!([])).unwrap();
    assert_eq!(services.authority.as_str(), "https://new.example/");
    assert_eq!(services.log, None);
    let only_v2 = json!([service("https://v2.example", 2, "2020-01-01T00:00:00Z")]);
    assert!(parse(only_v2).unwrap_err().to_string().contains("Rekor v1"));
}
