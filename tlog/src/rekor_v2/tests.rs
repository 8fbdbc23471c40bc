//! Known answers first, then one test per rule: encoding, `hashedrekord`, `dsse`, leaves, answers.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use p256::ecdsa::signature::Signer as _;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::fixture::{Authority, p256_secret, p256_signer, p1363_signed};
use crate::key::{KeyKind, PublicKey, Signer as _, SoftwareSigner};
use crate::merkle::leaf_hash;

mod answer;
mod dsse;
mod hashedrekord;
mod protojson;

const ARTIFACT: &[u8] = b"hello\n";
const PAYLOAD: &[u8] = br#"{"_type":"https://in-toto.io/Statement/v1"}"#;
const IN_TOTO: &str = "application/vnd.in-toto+json";
const P256: &str = "PKIX_ECDSA_P256_SHA_256";

/// A deterministic (RFC 6979) P-256 signature of the key of `label`.
fn sign(label: &str, message: &[u8]) -> Vec<u8> {
    let signature: p256::ecdsa::DerSignature =
        p256::ecdsa::SigningKey::from(p256_secret(label)).sign(message);
    signature.as_bytes().to_vec()
}

fn b64(bytes: impl AsRef<[u8]>) -> String {
    STANDARD.encode(bytes)
}

/// A `Verifier` of a bare key.
fn key(details: &str, key: &PublicKey) -> Value {
    json!({ "publicKey": { "rawBytes": b64(key.spki_der()) }, "keyDetails": details })
}

fn add(request: &Value) -> Result<CanonicalEntry, EntryError> {
    CanonicalEntry::from_request(CreateEntryRequest::from_json(request.to_string().as_bytes())?)
}

/// The text of a refusal by one of an entry's checks.
#[track_caller]
fn refusal(request: &Value) -> String {
    match add(request).unwrap_err() {
        error @ EntryError::Invalid { .. } => error.to_string(),
        other => panic!("{other:?}"),
    }
}

/// The text of a refusal by the encoding.
#[track_caller]
fn malformed(json: &str) -> String {
    match CreateEntryRequest::from_json(json.as_bytes()).unwrap_err() {
        EntryError::Malformed(text) => text,
        other => panic!("{other:?}"),
    }
}

/// JSON pointers of every member and element.
fn walk(json: &Value, path: &str, pointers: &mut Vec<String>) {
    let children: Vec<(String, &Value)> = match json {
        Value::Object(members) => members.iter().map(|(name, value)| (name.clone(), value)).collect(),
        Value::Array(list) => list.iter().enumerate().map(|(at, value)| (at.to_string(), value)).collect(),
        _ => return,
    };
    for (name, value) in children {
        let child = format!("{path}/{name}");
        pointers.push(child.clone());
        walk(value, &child, pointers);
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), text in ".{0,100}") {
        let _ = CreateEntryRequest::from_json(&bytes);
        let _ = CreateEntryRequest::from_json(text.as_bytes());
        let _ = Body::parse(&bytes);
        let _ = Body::parse(text.as_bytes());
    }

    #[test]
    fn a_member_replaced_by_anything_never_panics_and_never_changes_a_leaf_that_parses(
        which in 0usize..2, at in any::<prop::sample::Index>(), with in 0usize..8,
    ) {
        let known = [hashedrekord::known(), dsse::known()][which].clone();
        let value = [
            json!(null), json!(""), json!([]), json!({}), json!(1), json!([null]), json!("AAAA"), json!(P256),
        ][with].clone();
        let replaced = |mut json: Value| {
            let mut pointers = Vec::new();
            walk(&json, "", &mut pointers);
            *json.pointer_mut(&pointers[at.index(pointers.len())]).unwrap() = value.clone();
            json
        };
        let _ = add(&replaced(known.clone()));
        let leaf = serde_json::from_slice(&add(&known).unwrap().body).unwrap();
        let changed = serde_json_canonicalizer::to_vec(&replaced(leaf)).unwrap();
        if let Ok(body) = Body::parse(&changed) {
            prop_assert_eq!(body.encode().unwrap(), changed);
        }
    }
}
