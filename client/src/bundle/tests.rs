//! Bundles are hostile: whatever comes, parsing answers and never panics.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn minimal() -> Value {
    json!({
        "mediaType": MEDIA_TYPE,
        "verificationMaterial": {
            "publicKey": {"hint": "h"},
            "tlogEntries": [entry(1)],
        },
        "messageSignature": {
            "messageDigest": {"algorithm": "SHA2_256", "digest": Base64::encode(&[1; 32])},
            "signature": "AQ==",
        },
    })
}

fn entry(index: u64) -> Value {
    json!({
        "logIndex": index.to_string(),
        "logId": {"keyId": Base64::encode(&[2; 32])},
        "kindVersion": {"kind": "hashedrekord", "version": "0.0.1"},
        "integratedTime": "5",
        "inclusionPromise": {"signedEntryTimestamp": "AQ=="},
        "inclusionProof": {
            "logIndex": "0", "rootHash": Base64::encode(&[3; 32]), "treeSize": "1",
            "checkpoint": {"envelope": "x"},
        },
        "canonicalizedBody": "e30=",
    })
}

fn parse(json: &Value) -> Result<Bundle, BundleError> {
    Bundle::parse(json.to_string().as_bytes())
}

#[test]
fn what_protojson_leaves_out_is_zero() {
    let bundle = parse(&minimal()).unwrap();
    assert_eq!(bundle.entries[0].proof.as_ref().unwrap().hashes, []);
    let mut json = minimal();
    json["verificationMaterial"]["tlogEntries"][0].as_object_mut().unwrap().remove("integratedTime");
    assert_eq!(parse(&json).unwrap().entries[0].integrated_time, None);
}

#[test]
fn both_spellings_of_integers_and_base64_are_read() {
    let mut json = minimal();
    json["verificationMaterial"]["tlogEntries"][0]["logIndex"] = json!(1);
    for spelling in ["_-8", "/+8=", "/+\r\n8=\n"] {
        json["messageSignature"]["signature"] = json!(spelling);
        assert_eq!(parse(&json).unwrap().signature(), [0xff, 0xef]);
    }
    for bad in [json!("-1"), json!("+1"), json!("1 "), json!(-1), json!(1.5), json!("9223372036854775808")] {
        json["verificationMaterial"]["tlogEntries"][0]["logIndex"] = bad;
        assert!(parse(&json).is_err());
    }
}

#[test]
fn members_that_the_format_does_not_have_are_refused() {
    for path in ["", "/verificationMaterial", "/verificationMaterial/tlogEntries/0", "/messageSignature"] {
        let mut json = minimal();
        json.pointer_mut(path).unwrap().as_object_mut().unwrap().insert("extra".to_owned(), json!(1));
        assert!(matches!(parse(&json), Err(BundleError::Json(_))), "{path}");
    }
}

#[test]
fn the_legacy_format_is_named() {
    let legacy = json!({"base64Signature": "AQ==", "cert": "", "rekorBundle": {}});
    assert_eq!(parse(&legacy), Err(BundleError::Legacy));
}

#[test]
fn counts_are_limited() {
    let mut json = minimal();
    let many: Vec<Value> = (0..=MAX_ENTRIES as u64).map(entry).collect();
    json["verificationMaterial"]["tlogEntries"] = json!(many);
    assert_eq!(parse(&json), Err(BundleError::TooMany { what: "log entries", limit: MAX_ENTRIES }));
    let mut json = minimal();
    let hashes = vec![Base64::encode(&[0; 32]); MAX_PROOF + 1];
    json["verificationMaterial"]["tlogEntries"][0]["inclusionProof"]["hashes"] = json!(hashes);
    assert!(matches!(parse(&json), Err(BundleError::TooMany { .. })));
    let mut json = minimal();
    let timestamps = vec![json!({"signedTimestamp": ""}); MAX_TIMESTAMPS + 1];
    json["verificationMaterial"]["timestampVerificationData"] = json!({"rfc3161Timestamps": timestamps});
    assert!(matches!(parse(&json), Err(BundleError::TooMany { .. })));
}

#[test]
fn the_same_entry_twice_is_refused() {
    let mut json = minimal();
    json["verificationMaterial"]["tlogEntries"] = json!([entry(1), entry(1)]);
    assert_eq!(parse(&json), Err(BundleError::Malformed("the same log entry twice")));
}

#[test]
fn exactly_one_signer_and_one_content_are_needed() {
    let mut json = minimal();
    json["verificationMaterial"]["certificate"] = json!({"rawBytes": "AA=="});
    assert!(matches!(parse(&json), Err(BundleError::Malformed(_))));
    let mut json = minimal();
    json["dsseEnvelope"] = json!({"payload": "", "payloadType": "", "signatures": [{"sig": "AQ=="}]});
    assert!(matches!(parse(&json), Err(BundleError::Malformed(_))));
    json.as_object_mut().unwrap().remove("messageSignature");
    assert!(parse(&json).is_ok());
}

#[test]
fn the_version_decides_what_an_entry_needs() {
    let with = |version: &str, missing: &str| {
        let mut json = minimal();
        json["mediaType"] = json!(format!("application/vnd.dev.sigstore.bundle+json;version={version}"));
        json["verificationMaterial"]["tlogEntries"][0].as_object_mut().unwrap().remove(missing);
        parse(&json)
    };
    assert!(with("0.1", "inclusionProof").is_ok());
    assert!(with("0.1", "inclusionPromise").is_err());
    assert!(with("0.2", "inclusionProof").is_err());
    assert!(with("0.3", "inclusionPromise").is_ok());
    assert!(matches!(with("0.4", "x"), Err(BundleError::Version(_))));
}

proptest! {
    #[test]
    fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let _ = Bundle::parse(&bytes);
    }

    /// Cuts, flips and repeats pieces of a real bundle.
    #[test]
    fn any_damage_is_answered(at in any::<prop::sample::Index>(), length in 0_usize..40, byte in any::<u8>()) {
        let mut json = minimal().to_string().into_bytes();
        let start = at.index(json.len());
        let end = (start + length).min(json.len());
        json.splice(start..end, [byte]);
        let _ = Bundle::parse(&json);
    }
}

/// A checkpoint may have any extra lines, and a bundle may be written to a terminal or into a job's log.
#[test]
fn what_is_written_has_no_hidden_character_and_the_same_value() {
    use chancery_tlog::escape::is_hidden;
    for hostile in ["\u{9b}31m", "\u{202e}", "\u{200b}\u{feff}\u{e0041}", "##[error]x"] {
        let mut json = minimal();
        json["verificationMaterial"]["publicKey"]["hint"] = json!(hostile);
        let proof = &mut json["verificationMaterial"]["tlogEntries"][0]["inclusionProof"];
        proof["checkpoint"]["envelope"] = json!(hostile);
        let bundle = parse(&json).unwrap();
        let written = bundle.to_json();
        assert!(!written.chars().any(is_hidden) && !written.contains("##["), "{written}");
        assert_eq!(Bundle::parse(written.as_bytes()).unwrap(), bundle);
    }
}
