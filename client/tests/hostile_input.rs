//! Whatever comes from outside is answered, never panicked over; and no damage to a bundle verifies.

#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod fixture;

use std::sync::LazyLock;

use chancery::artifact::Artifact;
use chancery::bundle::{Bundle, Content, LogEntry, MEDIA_TYPE};
use chancery::identity_token::IdentityToken;
use chancery::instance::Instance;
use chancery::rekor;
use chancery::slsa::{PROVENANCE_V0_2, PROVENANCE_V1, Provenance};
use chancery::statement::Statement;
use chancery::verify::{NameRule, Policy, SourceUri, verify};
use chancery_tlog::clock::{FixedClock, Timestamp};
use chancery_tlog::trust::Keyring;
use fixture::services::client_trust_config_v2;
use fixture::{BUILDER, NOW, PROVIDER, TestInstance, artifact, statement};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};

/// One bundle of each content, with what verifies them: keys cost more than verification.
static BUNDLES: LazyLock<(Keyring, [Bundle; 4])> = LazyLock::new(|| {
    let instance = TestInstance::new();
    let bundles =
        [instance.provenance(), instance.signature(), instance.provenance_v2(), instance.signature_v2()];
    (instance.trust_of_both(), bundles)
});

fn verifies(bundle: &Bundle) -> bool {
    let policy = Policy::identity(NameRule::Exact(BUILDER.to_owned()), PROVIDER);
    let clock = FixedClock::new(Timestamp::from_seconds(NOW));
    verify(bundle, &artifact(), Some(&BUNDLES.0), &policy, &clock).verified
}

/// Whether nothing is lost but the digest beside a signature, which says only what the signature covers anyway, and
/// what a timestamp carries besides its signed statement, such as certificates: a verified bundle needs one that holds.
fn same(bundle: &Bundle, original: &Bundle) -> bool {
    let mut bundle = bundle.clone();
    if bundle.timestamps.len() == original.timestamps.len() {
        bundle.timestamps.clone_from(&original.timestamps);
    }
    if let (Content::Message(found), Content::Message(original)) = (&mut bundle.content, &original.content) {
        found.digest = found.digest.take().or_else(|| original.digest.clone());
    }
    bundle == *original
}

/// Any JSON, a few levels deep.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-zA-Z]{1,8}", inner, 0..4).prop_map(|map| json!(map)),
        ]
    })
}

/// Replaces some value below `json` by another one.
fn replace_some(json: &mut Value, at: Index, by: &Value) {
    let mut paths = Vec::new();
    collect(json, String::new(), &mut paths);
    let path = &paths[at.index(paths.len())];
    *json.pointer_mut(path).unwrap() = by.clone();
}

fn collect(json: &Value, path: String, paths: &mut Vec<String>) {
    match json {
        Value::Object(members) => {
            members.iter().for_each(|(name, value)| collect(value, format!("{path}/{name}"), paths));
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(i, value)| collect(value, format!("{path}/{i}"), paths));
        }
        _ => {}
    }
    paths.push(path);
}

#[test]
fn the_undamaged_bundles_verify() {
    assert!(BUNDLES.1.iter().all(verifies));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn no_damaged_byte_verifies(which in 0_usize..4, at in any::<Index>(), byte in 0x20_u8..0x7f) {
        let original = &BUNDLES.1[which];
        let mut json = original.to_json().into_bytes();
        let at = at.index(json.len());
        json[at] = byte;
        if let Ok(bundle) = Bundle::parse(&json) {
            prop_assert!(same(&bundle, original) || !verifies(&bundle), "byte {} as {}", at, byte);
        }
    }

    #[test]
    fn no_replaced_value_verifies(which in 0_usize..4, at in any::<Index>(), by in any_json()) {
        let original = &BUNDLES.1[which];
        let mut json: Value = serde_json::from_str(&original.to_json()).unwrap();
        replace_some(&mut json, at, &by);
        if let Ok(bundle) = Bundle::parse(json.to_string().as_bytes()) {
            prop_assert!(same(&bundle, original) || !verifies(&bundle), "{}", json);
        }
    }

    #[test]
    fn any_text_is_answered(text in ".{0,300}") {
        let _ = Statement::parse(text.as_bytes());
        let _ = Keyring::parse(text.as_bytes());
        let _ = rekor::parse_answer(text.as_bytes());
        let _ = LogEntry::parse(text.as_bytes());
        let _ = IdentityToken::parse(&text);
        let _ = Instance::parse("u", text.clone(), "t");
        let _ = SourceUri::parse(&text);
        let _ = Artifact::parse_digest(&text);
        let _ = NameRule::matching(&text).map(|rule| rule.accepts(&text));
    }

    #[test]
    fn any_json_is_answered(json in any_json()) {
        let text = json.to_string();
        let _ = Bundle::parse(text.as_bytes());
        let _ = Bundle::parse(json!({"mediaType": MEDIA_TYPE, "verificationMaterial": json}).to_string().as_bytes());
        let _ = Keyring::parse(text.as_bytes());
        let _ = rekor::parse_answer(json!({"id": json}).to_string().as_bytes());
        let _ = LogEntry::parse(text.as_bytes());
        for predicate_type in [PROVENANCE_V1, PROVENANCE_V0_2] {
            let _ = Provenance::read(&Statement::new(vec![], predicate_type, json.clone()));
        }
    }

    #[test]
    fn damaged_provenance_is_answered(at in any::<Index>(), by in any_json()) {
        let mut statement = serde_json::to_value(statement()).unwrap();
        replace_some(&mut statement, at, &by);
        if let Ok(statement) = Statement::parse(statement.to_string().as_bytes()) {
            let _ = Provenance::read(&statement);
        }
    }

    #[test]
    fn a_damaged_trust_configuration_is_answered(at in any::<Index>(), by in any_json()) {
        let root = json!({"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1"});
        let config = client_trust_config_v2(&root, "https://ca.example");
        let mut config: Value = serde_json::from_str(&config).unwrap();
        replace_some(&mut config, at, &by);
        if let Ok(instance) = Instance::parse("u", config.to_string(), "t") {
            let _ = instance.services(Timestamp::from_seconds(NOW));
        }
    }
}
