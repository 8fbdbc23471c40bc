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

/// An instance with one CA, these logs and these timestamp authorities.
fn services(logs: &Value, stamps: &Value, selector: &Value) -> Result<Services, InstanceError> {
    let mut document: Value = serde_json::from_str(&document(
        json!([service("https://ca.example", 1, "2020-01-01T00:00:00Z")]),
        logs.clone(),
    ))
    .unwrap();
    let signing = &mut document["signingConfig"];
    signing["tsaUrls"] = stamps.clone();
    signing["rekorTlogConfig"] = selector.clone();
    signing["tsaConfig"] = selector.clone();
    Instance::parse("u", document.to_string(), "t").unwrap().services(NOW)
}

fn by(operator: &str, url: &str, version: u32, start: &str) -> Value {
    let mut service = service(url, version, start);
    service["operator"] = operator.into();
    service
}

fn urls(services: &Services) -> Vec<&str> {
    services.logs.iter().map(|log| log.url.as_str()).collect()
}

#[test]
fn the_newest_valid_service_of_the_right_version_is_chosen() {
    let cas = json!([
        service("https://old.example", 1, "2020-01-01T00:00:00Z"),
        service("https://new.example", 1, "2024-01-01T00:00:00Z"),
        service("https://next.example", 1, "2090-01-01T00:00:00Z"),
        service("https://other.example", 2, "2025-01-01T00:00:00Z"),
    ]);
    let services = Instance::parse("u", document(cas, json!([])), "t").unwrap().services(NOW).unwrap();
    assert_eq!(services.authority.as_str(), "https://new.example/");
    assert_eq!((services.logs, services.timestamp_authorities), (vec![], vec![]));
}

#[test]
fn the_highest_dialect_that_is_in_use_is_chosen() {
    let (v1, v2) = (
        service("https://v1.example", 1, "2025-01-01T00:00:00Z"),
        service("https://v2.example", 2, "2020-01-01T00:00:00Z"),
    );
    let stamp = json!([service("https://tsa.example/api/v1/timestamp", 1, "2020-01-01T00:00:00Z")]);
    let any = json!({"selector": "ANY"});
    let both = services(&json!([v1, v2]), &stamp, &any).unwrap();
    assert_eq!((urls(&both), both.logs[0].dialect), (vec!["https://v2.example/"], Dialect::RekorV2));
    assert_eq!(both.timestamp_authorities[0].as_str(), "https://tsa.example/api/v1/timestamp");
    let next = service("https://v2.example", 2, "2090-01-01T00:00:00Z");
    let before = services(&json!([v1, next]), &stamp, &any).unwrap();
    assert_eq!((urls(&before), before.logs[0].dialect), (vec!["https://v1.example/"], Dialect::RekorV1));
    let unknown = json!([service("https://v3.example", 3, "2020-01-01T00:00:00Z")]);
    assert!(services(&unknown, &stamp, &any).unwrap_err().to_string().contains("API version 2 or 1"));
}

#[test]
fn rekor_v2_without_a_timestamp_authority_is_refused() {
    let v2 = json!([service("https://v2.example", 2, "2020-01-01T00:00:00Z")]);
    let why = services(&v2, &json!([]), &json!({"selector": "ANY"})).unwrap_err().to_string();
    assert!(why.contains("no timestamp authority"), "{why}");
    let v1 = json!([service("https://v1.example", 1, "2020-01-01T00:00:00Z")]);
    assert!(services(&v1, &json!([]), &json!({"selector": "ANY"})).is_ok());
}

#[test]
fn all_and_exact_count_operators() {
    let logs = json!([
        by("a", "https://a1.example", 1, "2020-01-01T00:00:00Z"),
        by("a", "https://a2.example", 2, "2020-01-01T00:00:00Z"),
        by("b", "https://b1.example", 1, "2020-01-01T00:00:00Z"),
        by("c", "https://c1.example", 1, "2024-01-01T00:00:00Z"),
    ]);
    let stamps = json!([
        by("a", "https://a.example/ts", 1, "2020-01-01T00:00:00Z"),
        by("b", "https://b.example/ts", 1, "2020-01-01T00:00:00Z"),
        by("c", "https://c.example/ts", 1, "2020-01-01T00:00:00Z"),
    ]);
    let choose = |selector: Value| services(&logs, &stamps, &selector);
    let all = ["https://a2.example/", "https://c1.example/", "https://b1.example/"];
    assert_eq!(urls(&choose(json!({"selector": "ALL"})).unwrap()), all);
    let two = choose(json!({"selector": "EXACT", "count": 2})).unwrap();
    assert_eq!((urls(&two), two.timestamp_authorities.len()), (all[..2].to_vec(), 2));
    assert_eq!(urls(&choose(json!({})).unwrap()), all[..1]);
    for (selector, words) in [
        (json!({"selector": "EXACT", "count": 4}), "names 3 in use"),
        (json!({"selector": "EXACT"}), "exactly 0"),
        (json!({"selector": "SOME"}), "not ANY, ALL or EXACT"),
    ] {
        let why = choose(selector).unwrap_err().to_string();
        assert!(why.contains(words), "{why}");
    }
}
