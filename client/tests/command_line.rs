//! The program as people meet it: exit codes, messages, files, and what it does not contact.

#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod desk;
mod fixture;

use std::fs;
use std::net::TcpListener;

use desk::{Desk, SIGNER, assert_said, said};
use fixture::services::{Quirks, Services, client_trust_config, client_trust_config_v2, entry_id, token};
use fixture::{BUILDER, REPOSITORY, TestInstance};
use serde_json::Value;

/// A change to what is sent, and the words of the refusal.
type Bend<T> = (fn(&mut T), &'static str);

#[test]
fn help_tells_a_stranger_what_to_do() {
    let desk = Desk::new();
    let mut help = String::new();
    for command in [
        &["--help"][..],
        &["trust", "add", "--help"],
        &["attest", "--help"],
        &["sign", "--help"],
        &["verify", "--help"],
    ] {
        let said = desk.run(command);
        assert_eq!((said.code, said.stderr.as_str()), (0, ""));
        help = format!("{help}$ chancery {}\n{}\n", command.join(" "), said.stdout);
    }
    insta::with_settings!({ snapshot_path => "testdata", prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("help", help);
    });
}

/// An argument is quoted in messages, and a file's name is printed: neither begins a line, where a CI runner would take it
/// for a command.
#[test]
fn no_argument_commands_the_runner_of_a_job() {
    let (desk, services) = (Desk::new(), Services::start());
    desk.pin(services.client_trust_config());
    for word in [
        "x\n::error::forged",
        "x\r\n  ::stop-commands::t",
        "::set-env name=x::y",
        "##[error]forged",
        "a##vso[x]\u{202e}",
    ] {
        let flag = format!("--{word}");
        for arguments in [
            &["verify", &flag][..],
            &["sign", "app.txt", &flag],
            &["--output", word, "trust", "show"],
            &[word],
            &["trust", word],
            &["trust", "add", word],
            &["sign", word],
            &["verify", word, word, word],
            &[
                "verify",
                word,
                "--bundle",
                word,
                "--certificate-identity",
                word,
                "--certificate-oidc-issuer",
                word,
            ],
            &["verify", "app.txt", "--certificate-identity-regexp", word, "--certificate-oidc-issuer", word],
            &["sign", "app.txt", "--identity-token-file", word],
            &["sign", "app.txt", "--bundle", word, "--identity-token", "x.y"],
        ] {
            let said = desk.run(arguments);
            assert_ne!(said.code, 0, "{arguments:?}");
            assert!(!said.stderr.is_empty() && is_inert(&said.stderr), "{arguments:?}: {}", said.stderr);
            assert!(is_inert(&said.stdout), "{arguments:?}: {}", said.stdout);
        }
        if word.contains('\n') {
            continue;
        }
        fs::write(desk.path(word), "x").unwrap();
        let mut sign = desk.command();
        sign.args(["sign", word]).env("SIGSTORE_ID_TOKEN", token());
        let signed = said(&mut sign);
        assert_said(&signed, 0, &[]);
        assert!(is_inert(&signed.stdout) && signed.stdout.lines().count() == 1, "{}", signed.stdout);
        if word.starts_with("::") {
            assert!(desk.path(signed.stdout.trim_end()).exists(), "{} is still the path", signed.stdout);
        }
    }
}

fn is_inert(text: &str) -> bool {
    use chancery_tlog::escape::{Form, inert};
    text.lines().all(|line| inert(line, Form::Line) == line)
}

#[test]
fn a_verified_bundle_exits_0_and_names_every_claim() {
    let desk = Desk::with_bundle();
    let said = desk.verify(&SIGNER);
    assert_said(&said, 0, &[]);
    for words in ["verified app.txt", "certificate chain", "inclusion proof", REPOSITORY, "not required"] {
        assert!(said.stdout.contains(words), "{}", said.stdout);
    }
    assert!(!said.stdout.contains('\x1b'), "no colour without a terminal");
    assert_eq!(said.stderr, "");
}

#[test]
fn json_output_is_one_document() {
    let desk = Desk::with_bundle();
    let said = desk.verify(&[&SIGNER[..], &["--output", "json"]].concat());
    let report: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(report["verified"], true);
    assert_eq!(report["claims"].as_array().unwrap().len(), 14);
    assert_eq!(report["identity"]["names"][0], BUILDER);
}

#[test]
fn what_does_not_verify_exits_1() {
    let desk = Desk::with_bundle();
    assert_said(
        &desk.verify(&["--source-uri", "https://github.com/octo-org/other"]),
        1,
        &["not verified: source:"],
    );
    fs::write(desk.path("app.txt"), b"tampered").unwrap();
    let said = desk.verify(&SIGNER);
    assert_said(&said, 1, &["not verified: artifact:", "is not among"]);
    assert!(said.stdout.starts_with("not verified app.txt"));
    fs::write(desk.path("app.txt.sigstore.json"), b"{}").unwrap();
    assert_said(&desk.verify(&SIGNER), 1, &["not a bundle"]);
}

#[test]
fn what_cannot_run_exits_2_and_says_what_to_do() {
    let desk = Desk::with_bundle();
    assert_said(&desk.verify(&[]), 2, &["anyone's signature", "hint:", "--certificate-identity"]);
    assert_said(&desk.verify(&["--certificate-identity", "x"]), 2, &["provider", "hint:"]);
    assert_said(&desk.verify(&["--source-ref", "refs/heads/main"]), 2, &["anyone's signature"]);
    assert_said(&desk.verify(&[&SIGNER[..], &["--bundle", "absent"]].concat()), 2, &["cannot read `absent`"]);
    assert_said(
        &desk.run(&[&["verify", "app.txt"][..], &SIGNER].concat()),
        2,
        &["no instance is pinned", "hint:"],
    );
    assert_said(&desk.run(&["verify"]), 2, &["required"]);
    let digest = ["verify", "sha256:00", "--trusted-root", "root.json"];
    assert_said(&desk.run(&[&digest[..], &SIGNER].concat()), 2, &["--bundle"]);
}

#[test]
fn a_digest_verifies_without_its_file() {
    let desk = Desk::with_bundle();
    let digest = format!("sha256:{}", "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03");
    let arguments = ["verify", &digest, "--bundle", "app.txt.sigstore.json", "--trusted-root", "root.json"];
    assert_said(&desk.run(&[&arguments[..], &SIGNER].concat()), 0, &[]);
}

#[test]
fn a_public_instance_is_refused_before_the_token_endpoint_is_touched() {
    let desk = Desk::new();
    let root = TestInstance::new().trusted_root();
    let endpoint = TcpListener::bind("127.0.0.1:0").unwrap();
    endpoint.set_nonblocking(true).unwrap();
    let url = format!("http://{}/token?x=1", endpoint.local_addr().unwrap());
    let public =
        ["https://fulcio.sigstore.dev", "https://rekor.sigstore.dev", "https://fulcio.githubapp.com"];
    for public in public {
        for (ca, log) in [(public, "https://log.example"), ("https://ca.example", public)] {
            desk.pin(client_trust_config(&root, ca, log));
            for command in ["attest", "sign"] {
                let mut run = desk.command();
                run.args([command, "app.txt"]).env("GITHUB_ACTIONS", "true");
                run.env("ACTIONS_ID_TOKEN_REQUEST_URL", &url).env("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "runner");
                assert_said(&said(&mut run), 2, &["is a public instance", "--allow-public-instance"]);
            }
        }
    }
    let stamps = "https://timestamp.sigstore.dev";
    let root = TestInstance::new().trusted_root_of_both();
    let private = client_trust_config_v2(&root, "https://chancery.example");
    desk.pin(private.replace("https://chancery.example/api/v1/timestamp", stamps));
    let mut run = desk.command();
    run.args(["sign", "app.txt"]).env("GITHUB_ACTIONS", "true");
    run.env("ACTIONS_ID_TOKEN_REQUEST_URL", &url).env("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "runner");
    assert_said(&said(&mut run), 2, &["`timestamp.sigstore.dev` is a public instance"]);
    assert_eq!(endpoint.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    assert!(!desk.path("app.txt.sigstore.json").exists());
}

#[test]
fn attest_in_a_job_makes_bundles_that_verify() {
    let (desk, services) = (Desk::new(), Services::start());
    desk.pin(services.client_trust_config());
    fs::write(desk.path("other.txt"), b"other\n").unwrap();
    let mut run = desk.command();
    run.args(["attest", "app.txt", "other.txt"]).env("GITHUB_ACTIONS", "true");
    run.env("ACTIONS_ID_TOKEN_REQUEST_URL", format!("{}/token?api-version=2.0", services.url));
    run.env("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "runner");
    let attested = said(&mut run);
    assert_said(
        &attested,
        0,
        &["contacts http://127.0.0.1", "certificate authority, transparency log", "3 times"],
    );
    assert_eq!(attested.stdout, "app.txt.sigstore.json\nother.txt.sigstore.json\n");
    assert_eq!(
        services.requests(),
        [
            "GET /token?api-version=2.0&audience=sigstore HTTP/1.1",
            "POST /api/v2/signingCert HTTP/1.1",
            "POST /api/v1/log/entries HTTP/1.1",
        ]
    );
    for file in ["app.txt", "other.txt"] {
        let policy = ["--source-uri", REPOSITORY, "--source-ref", "refs/tags/v1", "--builder-id", BUILDER];
        assert_said(&desk.run(&[&["verify", file][..], &policy].concat()), 0, &[]);
    }
    // The proof is offline: nothing more was asked.
    assert_eq!(services.requests().len(), 3);
}

#[test]
fn sign_makes_a_bundle_that_verifies() {
    let (desk, services) = (Desk::new(), Services::start());
    desk.pin(services.client_trust_config());
    fs::write(desk.path("token"), format!("{}\n", token())).unwrap();
    let arguments =
        ["sign", "app.txt", "--identity-token-file", "token", "--bundle", "b.json", "--output", "json"];
    let signed = desk.run(&arguments);
    assert_said(&signed, 0, &[]);
    let report: Value = serde_json::from_str(&signed.stdout).unwrap();
    assert_eq!(report["bundles"][0], "b.json");
    assert_eq!(report["contacted"][0]["requests"], 2);
    assert_said(&desk.run(&[&["verify", "app.txt", "--bundle", "b.json"][..], &SIGNER].concat()), 0, &[]);
}

#[test]
fn an_instance_of_rekor_v2_gets_a_timestamp_and_then_the_entry() {
    let (desk, services) = (Desk::new(), Services::start_with(Quirks { v2: true, ..Quirks::default() }));
    desk.pin(services.client_trust_config());
    let mut run = desk.command();
    run.args(["attest", "app.txt"]).env("SIGSTORE_ID_TOKEN", token());
    let words =
        ["timestamp authority", "timestamp by http://127.0.0.1", "logged at index 2 of", "(Rekor v2)"];
    assert_said(&said(&mut run), 0, &words);
    assert_eq!(
        services.requests(),
        [
            "POST /api/v2/signingCert HTTP/1.1",
            "POST /api/v1/timestamp HTTP/1.1",
            "POST /api/v2/log/entries HTTP/1.1",
        ]
    );
    let verified = desk.run(&[&["verify", "app.txt"][..], &SIGNER].concat());
    assert_said(&verified, 0, &[]);
    for words in [
        "hashedrekord 0.0.2 of https://log.example",
        "leaf 2 of a tree of",
        "signed by a timestamp authority",
        "by O=Test, CN=Chancery Timestamp",
    ] {
        assert!(verified.stdout.contains(words), "{}", verified.stdout);
    }
    fs::write(desk.path("token"), token()).unwrap();
    let arguments = ["sign", "app.txt", "--identity-token-file", "token", "--output", "json", "--force"];
    let signed = desk.run(&arguments);
    assert_said(&signed, 0, &[]);
    let report: Value = serde_json::from_str(&signed.stdout).unwrap();
    assert_eq!(
        (&report["logEntries"][0]["dialect"], &report["logEntries"][0]["index"]),
        (&"rekor-v2".into(), &2.into())
    );
    assert_eq!(report["timestampAuthorities"][0], format!("{}/api/v1/timestamp", services.url));
    assert_eq!(report["contacted"][0]["purposes"][1], "timestamp-authority");
    assert_said(&desk.run(&[&["verify", "app.txt"][..], &SIGNER].concat()), 0, &[]);
}

#[test]
fn rekor_v2_without_a_timestamp_authority_is_refused_before_a_token_is_asked_for() {
    let (desk, services) = (Desk::new(), Services::start_with(Quirks { v2: true, ..Quirks::default() }));
    let mut config: Value = serde_json::from_str(&services.client_trust_config()).unwrap();
    config["signingConfig"]["tsaUrls"] = Value::Array(vec![]);
    desk.pin(config.to_string());
    let mut run = desk.command();
    run.args(["sign", "app.txt"]).env("GITHUB_ACTIONS", "true");
    run.env("ACTIONS_ID_TOKEN_REQUEST_URL", format!("{}/token?api-version=2.0", services.url));
    run.env("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "runner");
    assert_said(&said(&mut run), 2, &["names no timestamp authority"]);
    assert!(services.requests().is_empty());
}

#[test]
fn an_answer_to_another_question_is_no_timestamp_and_nothing_is_logged() {
    // At the end of the request stand nonce and flag, in its middle the digest.
    let changes: [Bend<Vec<u8>>; 2] = [
        (|request| *request.iter_mut().rev().nth(3).unwrap() ^= 1, "does not carry the nonce"),
        (|request| request[40] ^= 1, "not over these bytes"),
    ];
    for (change, words) in changes {
        let quirks = Quirks { v2: true, other_question: Some(change), ..Quirks::default() };
        let (desk, services) = (Desk::new(), Services::start_with(quirks));
        desk.pin(services.client_trust_config());
        let mut run = desk.command();
        run.args(["sign", "app.txt"]).env("SIGSTORE_ID_TOKEN", token());
        assert_said(&said(&mut run), 2, &["the timestamp authority's answer", words]);
        assert!(!services.requests().iter().any(|request| request.contains("/entries")));
        assert!(!desk.path("app.txt.sigstore.json").exists());
    }
}

#[test]
fn a_rekor_v2_log_that_answers_wrongly_gets_no_bundle_written() {
    let bends: [Bend<Value>; 5] = [
        (|entry| entry["integratedTime"] = "1790000000".into(), "states no time"),
        (|entry| entry["inclusionProof"]["hashes"] = Value::Array(vec![]), "not in the tree"),
        (|entry| entry["logIndex"] = "7".into(), "claims index 7"),
        (|entry| entry["kindVersion"]["version"] = "0.0.1".into(), "the log entry's body"),
        (|entry| entry["extra"] = 1.into(), "unknown field"),
    ];
    for (bend, words) in bends {
        let quirks = Quirks { v2: true, bend: Some(bend), ..Quirks::default() };
        let (desk, services) = (Desk::new(), Services::start_with(quirks));
        desk.pin(services.client_trust_config());
        let mut run = desk.command();
        run.args(["sign", "app.txt"]).env("SIGSTORE_ID_TOKEN", token());
        assert_said(&said(&mut run), 3, &[words, "chancery-rescue-"]);
        assert!(!desk.path("app.txt.sigstore.json").exists());
    }
}

#[test]
fn an_entry_that_a_rekor_v2_log_has_already_says_what_to_do() {
    let quirks = Quirks { v2: true, conflict: true, ..Quirks::default() };
    let (desk, services) = (Desk::new(), Services::start_with(quirks));
    desk.pin(services.client_trust_config());
    let mut run = desk.command();
    run.args(["sign", "app.txt"]).env("SIGSTORE_ID_TOKEN", token());
    assert_said(&said(&mut run), 3, &["has this entry already", "with index 2", "sign again"]);
}

#[test]
fn an_entry_that_the_log_has_already_is_taken_from_there() {
    let (desk, services) =
        (Desk::new(), Services::start_with(Quirks { conflict: true, ..Quirks::default() }));
    desk.pin(services.client_trust_config());
    let mut run = desk.command();
    run.args(["sign", "app.txt"]).env("SIGSTORE_ID_TOKEN", token());
    assert_said(&said(&mut run), 0, &[]);
    assert_eq!(services.requests()[2], format!("GET /api/v1/log/entries/{} HTTP/1.1", entry_id()));
    assert_said(&desk.run(&[&["verify", "app.txt"][..], &SIGNER].concat()), 0, &[]);
}

#[test]
fn a_clock_behind_the_authoritys_does_not_stop_signing() {
    let (desk, services) = (Desk::new(), Services::start_with(Quirks { ahead: 90, ..Quirks::default() }));
    desk.pin(services.client_trust_config());
    let mut run = desk.command();
    run.args(["sign", "app.txt"]).env("SIGSTORE_ID_TOKEN", token());
    assert_said(&said(&mut run), 0, &[]);
}

#[test]
fn a_certificate_of_a_foreign_authority_signs_nothing() {
    let (desk, services) = (Desk::new(), Services::start());
    let foreign = TestInstance::at(chancery_now()).trusted_root();
    desk.pin(client_trust_config(&foreign, &services.url, &services.url));
    let mut run = desk.command();
    run.args(["sign", "app.txt"]).env("SIGSTORE_ID_TOKEN", token());
    assert_said(&said(&mut run), 2, &["the certificate that came back is not used"]);
    assert_eq!(services.requests(), ["POST /api/v2/signingCert HTTP/1.1"]);
}

#[test]
fn trust_add_pins_once_and_shows_the_fingerprint() {
    let (desk, first, second) = (Desk::new(), Services::start(), Services::start());
    let added = desk.run(&["trust", "add", &first.url]);
    assert_said(&added, 0, &["first use", "pinned in"]);
    assert!(added.stdout.contains("identifier         sha256:"));
    assert!(
        added.stdout.contains("transparency log   https://log.example (Rekor v1), key "),
        "{}",
        added.stdout
    );
    assert!(
        added.stdout.contains(&format!("signatures go to   {}/ (Rekor v1)", first.url)),
        "{}",
        added.stdout
    );
    assert_eq!(desk.run(&["trust", "show"]).stdout, added.stdout);
    assert_said(&desk.run(&["trust", "add", &second.url]), 2, &["another instance is pinned", "--replace"]);
    assert_said(&desk.run(&["trust", "add", &second.url, "--replace", "--sha256", "00"]), 2, &["identifier"]);
    assert_eq!(desk.run(&["trust", "show"]).stdout, added.stdout);
    assert_said(&desk.run(&["trust", "add", &second.url, "--replace"]), 0, &[]);
    assert_said(&desk.run(&["trust", "add", "http://chancery.example"]), 2, &["plain http", "https"]);
    assert_said(&desk.run(&["trust", "add", "https://tuf-repo.github.com"]), 2, &["public instance"]);
}

#[test]
fn trust_show_names_dialects_and_timestamp_authorities() {
    let (desk, services) = (Desk::new(), Services::start_with(Quirks { v2: true, ..Quirks::default() }));
    desk.pin(services.client_trust_config());
    let shown = desk.run(&["trust", "show"]).stdout;
    for line in [
        "transparency log   https://log.example (Rekor v1), key ".to_owned(),
        "transparency log   https://log.example:8443 (Rekor v2), key ".to_owned(),
        "timestamps by      ".to_owned(),
        format!("signatures go to   {0}/api/v1/timestamp (timestamp), {0}/ (Rekor v2)\n", services.url),
    ] {
        assert!(shown.contains(&line), "`{line}` is not in: {shown}");
    }
    let json: Value = serde_json::from_str(&desk.run(&["trust", "show", "--output", "json"]).stdout).unwrap();
    assert_eq!(json["transparencyLogs"][1]["dialect"], "rekor-v2");
}

fn chancery_now() -> u64 {
    use chancery_tlog::clock::Clock as _;
    chancery_tlog::clock::SystemClock.now().seconds()
}
