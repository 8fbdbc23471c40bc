//! What a stranger's file costs before anything in it is believed.

#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod desk;
mod fixture;

use std::fs;

use chancery::bundle::wire::Base64;
use chancery::dsse::{self, Envelope};
use chancery::ephemeral::EphemeralKey;
use desk::{Desk, SIGNER, Said, said};
use fixture::{TestInstance, bundle, statement};
use serde_json::{Value, json};

/// Bytes of hostile JSON, less than a bundle can hold.
const SIZE: usize = 12 * 1024 * 1024;

/// JSON of about [`SIZE`] whose values take far more room than their text.
fn wide() -> [String; 2] {
    ["0", r#"{"":0}"#].map(|item| {
        let items = vec![item; SIZE / (item.len() + 1)];
        format!("[{}]", items.join(","))
    })
}

/// Verifies with so much memory as the bundle's text takes a few times.
fn verify_within_memory(desk: &Desk, json: &str) -> Said {
    fs::write(desk.path("app.txt.sigstore.json"), json).unwrap();
    let program = assert_cmd::cargo::cargo_bin("chancery").display().to_string();
    let script = format!("ulimit -v 300000; exec '{program}' verify app.txt --trusted-root root.json \"$@\"");
    let mut command = assert_cmd::Command::new("sh");
    command.current_dir(desk.folder.path()).env_clear().env("CHANCERY_CONFIG_DIR", desk.path("config"));
    said(command.args(["-c", &script, "sh"]).args(SIGNER))
}

/// Arrays of small values, everywhere that a bundle can have them.
#[test]
fn a_bundle_takes_no_more_memory_than_a_few_times_its_text() {
    let desk = Desk::with_bundle();
    let good = fs::read_to_string(desk.path("app.txt.sigstore.json")).unwrap();
    assert_eq!(verify_within_memory(&desk, &good).code, 0);
    let with = |path: &str, value: &str| {
        let mut json: Value = serde_json::from_str(&good).unwrap();
        *json.pointer_mut(path).unwrap() = json!("@");
        json.to_string().replacen("\"@\"", value, 1)
    };
    for wide in wide() {
        let encoded = json!(Base64::encode(wide.as_bytes())).to_string();
        for hostile in [
            wide.clone(),
            format!(r#"{{"base64Signature":{wide}}}"#),
            format!(r#"{{"x":{wide}}}"#),
            with("/verificationMaterial/tlogEntries", &wide),
            with("/dsseEnvelope/payload", &encoded),
            with("/dsseEnvelope/signatures/0/sig", &encoded),
            with("/verificationMaterial/tlogEntries/0/kindVersion/kind", &encoded),
            with("/verificationMaterial/tlogEntries/0/kindVersion/version", &encoded),
            with("/verificationMaterial/tlogEntries/0/inclusionPromise/signedEntryTimestamp", &encoded),
            with("/verificationMaterial/tlogEntries/0/canonicalizedBody", &encoded),
        ] {
            let said = verify_within_memory(&desk, &hostile);
            assert_eq!(said.code, 1, "{}: {}", &hostile[..60], said.stderr);
            assert!(said.stderr.len() < 10_000, "{}", &said.stderr[..1000]);
        }
    }
}

/// Signed with a certificate that its maker issued: the statement is not read for that.
#[test]
fn a_statement_of_an_uncertified_signer_is_not_judged() {
    let desk = Desk::with_bundle();
    let stranger = TestInstance::new();
    let key = EphemeralKey::generate().unwrap();
    let certificate = stranger.issue(key.public_key(), &fixture::Leaf::workflow(), &stranger.ct);
    let signed = |payload: Vec<u8>| {
        let signature = key.sign(&dsse::pae(dsse::IN_TOTO, &payload)).unwrap();
        let envelope = Envelope::new(dsse::IN_TOTO, payload, signature);
        let entry = stranger.log_dsse(&envelope, &certificate.to_pem(), fixture::NOW);
        bundle(certificate.clone(), entry, chancery::bundle::Content::Envelope(envelope)).to_json()
    };
    // Every dependency would be searched for every segment of the repository.
    let mut statement = statement();
    let predicate = &mut statement.predicate["buildDefinition"];
    predicate["externalParameters"]["workflow"]["repository"] =
        json!(format!("https://github.com{}", "/a".repeat(100_000)));
    predicate["resolvedDependencies"] = json!(vec![json!({"uri": "a"}); 100_000]);
    let said = verify_within_memory(&desk, &signed(statement.encode().unwrap()));
    assert_eq!(said.code, 1, "{}", said.stderr);
    assert!(said.stdout.contains("the certificate chain is refused"), "{}", said.stdout);
    for claim in ["artifact", "predicate type", "source", "builder", "provenance"] {
        let line = said
            .stdout
            .lines()
            .find(|line| line.starts_with("  not judged    ") && line[16..].starts_with(claim));
        assert!(line.is_some(), "{claim}: {}", said.stdout);
    }
}
