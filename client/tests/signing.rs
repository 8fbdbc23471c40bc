//! What a signer is told before and about signing: that nobody would have the signature or say when it was made, that a
//! bundle would be replaced, and which request a server's log has to be searched for.

#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod desk;
mod fixture;

use std::fs;

use desk::{Desk, SIGNER, Said, assert_said, said};
use fixture::services::{Loss, Quirks, REQUEST, Services, entry_id, token};
use serde_json::{Value, json};

fn v2() -> Quirks {
    Quirks { v2: true, ..Quirks::default() }
}

/// A desk that has pinned what `change` makes of the services' trust files.
fn at(quirks: Quirks, change: impl Fn(&mut Value)) -> (Desk, Services) {
    let (desk, services) = (Desk::new(), Services::start_with(quirks));
    let mut config: Value = serde_json::from_str(&services.client_trust_config()).unwrap();
    change(&mut config);
    desk.pin(config.to_string());
    (desk, services)
}

/// Signs as a step of a job.
fn in_job(desk: &Desk, services: &Services, arguments: &[&str]) -> Said {
    let mut run = desk.command();
    run.args(arguments).env("GITHUB_ACTIONS", "true").env("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "runner");
    run.env("ACTIONS_ID_TOKEN_REQUEST_URL", format!("{}/token?api-version=2.0", services.url));
    said(&mut run)
}

fn no_log(config: &mut Value) {
    config["signingConfig"]["rekorTlogUrls"] = json!([]);
    config["trustedRoot"]["tlogs"] = json!([]);
}

fn no_authority(config: &mut Value) {
    config["signingConfig"]["tsaUrls"] = json!([]);
    config["trustedRoot"]["timestampAuthorities"] = json!([]);
}

/// Regression: `sign` made bundles without an entry, said "signatures go to no log", and ended with 0.
#[test]
fn an_instance_without_a_log_or_a_time_is_refused_before_a_token_is_asked_for() {
    type Change = fn(&mut Value);
    const BOTH: [&str; 2] = ["--no-log", "--no-signed-time"];
    let cases: [(Change, &[&str], &[&str]); 9] = [
        (no_log, &[], &["no attestation log", "the signing configuration names none", "--merge", "--no-log"]),
        (|config| config["trustedRoot"]["tlogs"] = json!([]), &[], &["no attestation log", "trusted root"]),
        (|config| config["signingConfig"]["rekorTlogUrls"] = json!([]), &[], &["no attestation log"]),
        // Verifiers demand an entry of a trusted root that lists a log, so leaving it out helps nobody.
        (
            |config| config["signingConfig"]["rekorTlogUrls"] = json!([]),
            &["--no-log"],
            &["has an attestation"],
        ),
        (|_| {}, &["--no-log"], &["the instance has an attestation log", "leave `--no-log` out"]),
        (|_| {}, &["--tlog-upload=false"], &["the instance has an attestation log"]),
        (|_| {}, &["--no-signed-time"], &["the instance has a trusted source of time"]),
        (
            |config| {
                no_log(config);
                no_authority(config);
            },
            &["--no-log"],
            &["nobody trusted would say when", "--no-signed-time"],
        ),
        (
            |config| {
                no_log(config);
                config["trustedRoot"]["timestampAuthorities"] = json!([]);
            },
            &BOTH,
            &["names a timestamp authority, and the trusted root lists none"],
        ),
    ];
    for (change, flags, words) in cases {
        let (desk, services) = at(v2(), change);
        for verb in ["sign", "attest"] {
            let refused = in_job(&desk, &services, &[&[verb, "app.txt"], flags].concat());
            assert_said(&refused, 2, words);
            assert_eq!(services.requests(), Vec::<String>::new(), "{flags:?}: {}", refused.stderr);
            assert!(!desk.path("app.txt.sigstore.json").exists());
        }
    }
}

#[test]
fn where_signatures_go_to_nobody_trust_show_says_so() {
    let (desk, _services) = at(v2(), no_log);
    let shown = desk.run(&["trust", "show"]).stdout;
    assert!(shown.contains("signatures go to   nobody: no attestation log"), "{shown}");
}

#[test]
fn an_instance_that_has_no_log_by_design_is_signed_against_when_it_is_said() {
    for flag in ["--no-log", "--tlog-upload=false"] {
        let (desk, services) = at(v2(), no_log);
        for verb in ["sign", "attest"] {
            assert_said(&in_job(&desk, &services, &[verb, "app.txt", flag, "--force"]), 0, &["timestamp by"]);
            let verified = desk.run(&[&["verify", "app.txt"][..], &SIGNER].concat());
            assert_said(&verified, 0, &[]);
            assert!(verified.stdout.contains("signed by a timestamp authority"), "{}", verified.stdout);
            assert!(verified.stdout.contains("no trusted root lists an attestation log"));
        }
        assert!(!services.requests().iter().any(|request| request.contains("/entries")));
    }
}

/// Regression: the moment of verification was shown as `signed at`.
#[test]
fn a_time_of_signing_that_nobody_trusted_says_is_unknown() {
    let neither = |config: &mut Value| {
        no_log(config);
        no_authority(config);
    };
    let (desk, services) = at(v2(), neither);
    let flags = ["--no-log", "--no-signed-time"];
    let signed = in_job(&desk, &services, &[&["sign", "app.txt"], &flags[..]].concat());
    assert_said(&signed, 0, &["signed at unknown: nobody trusted says when"]);
    let verify = [&["verify", "app.txt"][..], &SIGNER].concat();
    let verified = desk.run(&verify);
    assert_said(&verified, 0, &[]);
    let words = ["signed at  unknown\n", "judged at the moment of verification, 20"];
    assert!(words.iter().all(|words| verified.stdout.contains(words)), "{}", verified.stdout);
    let json = desk.run(&[&verify[..], &["--output", "json"]].concat());
    let report: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(report.get("signedAt"), Some(&Value::Null), "{report}");
    let arguments = [&["sign", "app.txt", "--output", "json"], &flags[..]].concat();
    let report: Value = serde_json::from_str(&in_job(&desk, &services, &arguments).stdout).unwrap();
    assert_eq!(report.get("signedAt"), Some(&Value::Null), "{report}");
}

fn held(desk: &Desk) -> &'static str {
    let json: Value = serde_json::from_slice(&fs::read(desk.path("app.txt.sigstore.json")).unwrap()).unwrap();
    if json.get("dsseEnvelope").is_some() { "a statement" } else { "a signature" }
}

/// Regression: `sign` replaced the provenance that `attest` had written beside the same file.
#[test]
fn a_bundle_that_says_something_else_is_not_replaced_unless_forced() {
    for (first, second, kept, made) in
        [("attest", "sign", "a statement", "a signature"), ("sign", "attest", "a signature", "a statement")]
    {
        let (desk, services) = at(v2(), |_| {});
        let run = |arguments: &[&str]| in_job(&desk, &services, arguments);
        assert_said(&run(&[first, "app.txt"]), 0, &[]);
        // The same again is what a job does that is run again.
        assert_said(&run(&[first, "app.txt"]), 0, &[]);
        let before = services.requests().len();
        for target in [&[][..], &["--bundle", "app.txt.sigstore.json"]] {
            let refused = run(&[&[second, "app.txt"], target].concat());
            assert_said(&refused, 2, &["app.txt.sigstore.json` holds", kept, "--bundle FILE", "--force"]);
        }
        assert_eq!((services.requests().len(), held(&desk)), (before, kept), "nothing was asked for");
        assert_said(&run(&[second, "app.txt", "--bundle", "other.json"]), 0, &[]);
        assert_eq!(held(&desk), kept);
        assert_said(&run(&[second, "app.txt", "--force"]), 0, &[]);
        assert_eq!(held(&desk), made);
    }
}

#[test]
fn only_a_bundle_of_the_same_type_of_statement_is_replaced() {
    let (desk, services) = at(v2(), |_| {});
    let path = desk.path("app.txt.sigstore.json");
    // {"predicateType":"https://spdx.dev/Document"}
    let payload = "eyJwcmVkaWNhdGVUeXBlIjoiaHR0cHM6Ly9zcGR4LmRldi9Eb2N1bWVudCJ9";
    for (there, replaced) in [
        (json!({"dsseEnvelope": {"payload": payload}}).to_string(), false),
        ("not a bundle".to_owned(), true),
        (String::new(), true),
    ] {
        fs::write(&path, &there).unwrap();
        let attested = in_job(&desk, &services, &["attest", "app.txt"]);
        if replaced {
            assert_said(&attested, 0, &[]);
        } else {
            assert_said(&attested, 2, &["a statement of type https://spdx.dev/Document"]);
            assert_eq!(fs::read_to_string(&path).unwrap(), there);
        }
    }
}

/// An operator finds a request by its id, and whoever asks for help has it from the message.
#[test]
fn every_error_about_an_answer_shows_the_request_s_id() {
    const CA: &str = "/api/v2/signingCert";
    const STAMP: &str = "/api/v1/timestamp";
    let log = |v2| if v2 { "/api/v2/log/entries" } else { "/api/v1/log/entries" };
    let mut all: Vec<(Quirks, i32)> = Vec::new();
    for (path, status, answer, code) in [
        ("/token", 403, "no", 2),
        ("/token", 200, "{}", 2),
        ("/token", 200, r#"{"value":"no JWT"}"#, 2),
        ("/token", 302, "", 2),
        (CA, 400, r#"{"code":3,"message":"no"}"#, 2),
        (CA, 201, "{}", 2),
        (CA, 201, r#"{"signedCertificateEmbeddedSct":{"chain":{"certificates":["no PEM"]}}}"#, 2),
        (STAMP, 400, "no", 2),
        (STAMP, 201, "no DER", 2),
        (log(true), 400, "no", 2),
        (log(true), 409, "no", 3),
        (log(true), 201, "{}", 3),
        (log(true), 500, "no", 3),
    ] {
        all.push((Quirks { instead: Some((path, status, answer)), ..v2() }, code));
    }
    for (status, answer, code) in [(400, "no", 2), (201, "{}", 3), (500, "no", 3)] {
        let instead = Some((log(false), status, answer));
        all.push((Quirks { instead, ..Quirks::default() }, code));
    }
    all.extend([
        (Quirks { loss: Some(Loss::Cut), ..Quirks::default() }, 3),
        (Quirks { extension: Some((8, "https://other.example")), ..Quirks::default() }, 2),
        (Quirks { fresh: true, stamps_behind: Some(60), ..v2() }, 2),
        (Quirks { bend: Some(|entry| entry[entry_id()]["logIndex"] = 7.into()), ..Quirks::default() }, 3),
    ]);
    std::thread::scope(|scope| {
        // Lost connections are asked again, with pauses.
        for (quirks, code) in all {
            scope.spawn(move || {
                let (desk, services) = at(quirks, |_| {});
                let failed = in_job(&desk, &services, &["sign", "app.txt"]);
                assert_said(&failed, code, &["error:", &format!("(request id {REQUEST})")]);
            });
        }
    });
    for (status, answer) in [(404, "no"), (200, "no JSON"), (200, "{}"), (302, "")] {
        let path = "/.well-known/chancery/client_trust_config.json";
        let services = Services::start_with(Quirks { instead: Some((path, status, answer)), ..v2() });
        let failed = Desk::new().run(&["trust", "add", &services.url]);
        assert_said(&failed, 2, &["error:", &format!("(request id {REQUEST})")]);
    }
}

#[test]
fn a_token_with_white_space_around_it_is_taken() {
    let (desk, _services) = at(v2(), |_| {});
    for around in [" ", "\n", "\r\n", "\t \n\n", "\u{feff}"] {
        let token = format!("{around}{}{around}", token());
        fs::write(desk.path("token"), &token).unwrap();
        assert_said(&desk.run(&["sign", "app.txt", "--identity-token-file", "token"]), 0, &[]);
        assert_said(&desk.run(&["sign", "app.txt", "--identity-token", &token]), 0, &[]);
        let mut run = desk.command();
        assert_said(&said(run.args(["sign", "app.txt"]).env("SIGSTORE_ID_TOKEN", &token)), 0, &[]);
    }
    let (desk, services) = at(v2(), |_| {});
    let mut run = desk.command();
    run.args(["sign", "app.txt"]).env("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "runner\n");
    run.env("ACTIONS_ID_TOKEN_REQUEST_URL", format!(" {}/token?api-version=2.0\n", services.url));
    assert_said(&said(&mut run), 0, &[]);
}
