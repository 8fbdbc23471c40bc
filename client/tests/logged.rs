//! What a log has cannot be taken back: what would not verify is found before, and whatever fails afterwards loses nothing
//! and ends with exit code 3.

#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod desk;
mod fixture;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use chancery::bundle::Bundle;
use desk::{Desk, SIGNER, Said, assert_said, said};
use fixture::services::{Loss, Quirks, Services, entry_id, token};
use serde_json::{Value, json};

/// A desk at an instance with these quirks.
fn at(quirks: Quirks) -> (Desk, Services) {
    let (desk, services) = (Desk::new(), Services::start_with(quirks));
    desk.pin(services.client_trust_config());
    (desk, services)
}

fn run(desk: &Desk, arguments: &[&str]) -> Said {
    said(desk.command().args(arguments).env("SIGSTORE_ID_TOKEN", token()))
}

/// Requests for log entries.
fn entries(services: &Services) -> usize {
    services.requests().iter().filter(|request| request.contains("/entries")).count()
}

/// The file that a bundle was saved in, if one was.
fn rescued(desk: &Desk) -> Option<(String, Bundle)> {
    let names = fs::read_dir(desk.folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names = names.map(|name| name.to_string_lossy().into_owned());
    let name = names.find(|name| name.starts_with("chancery-rescue-"))?;
    let bundle = Bundle::parse(&fs::read(desk.path(&name)).unwrap()).unwrap();
    Some((name, bundle))
}

/// Demands that nothing was logged, and that nothing is there that looks as if it were.
#[track_caller]
fn assert_unlogged(desk: &Desk, services: &Services, said: &Said, words: &[&str]) {
    assert_said(said, 2, words);
    assert_eq!(entries(services), 0, "{}", said.stderr);
    assert!(rescued(desk).is_none() && !desk.path("app.txt.sigstore.json").exists());
}

/// Demands that the bundle, with so many entries, is in a file whose name says what it is.
#[track_caller]
fn assert_set_aside(desk: &Desk, said: &Said, mark: &str, entries: usize, words: &[&str]) {
    assert_said(said, 3, words);
    let (name, bundle) = rescued(desk).expect("a file with the bundle");
    assert!(said.stderr.contains(&name) && name.ends_with(&format!("-{mark}.sigstore.json")), "{name}");
    assert_eq!(bundle.entries.len(), entries, "{name}");
    assert!(!desk.path("app.txt.sigstore.json").exists(), "the wanted place is left alone");
}

/// A certificate that says anything else than the provenance, for each of the facts that a verifier compares.
#[test]
fn provenance_that_contradicts_the_certificate_is_not_logged() {
    for number in [9, 11, 12, 13, 14, 15, 17, 18, 20, 21] {
        let quirks = Quirks { extension: Some((number, "https://ci.example/x")), ..Quirks::default() };
        let (desk, services) = at(quirks);
        let attested = run(&desk, &["attest", "app.txt"]);
        let words = ["the bundle would not verify, so nothing was logged", "https://ci.example/x"];
        assert_unlogged(&desk, &services, &attested, &words);
        // A file's signature says nothing of the build.
        assert_said(&run(&desk, &["sign", "app.txt"]), 0, &[]);
    }
}

#[test]
fn a_timestamp_outside_of_the_certificate_s_life_is_not_logged() {
    for (stamps_behind, words) in [
        // As far behind as is waited for, and further.
        (1, None),
        (3, None),
        (60, Some("outside of the certificate's life")),
    ] {
        let stamps_behind = Some(stamps_behind);
        let (desk, services) = at(Quirks { v2: true, fresh: true, stamps_behind, ..Quirks::default() });
        for command in ["sign", "attest"] {
            let signed = run(&desk, &[command, "app.txt", "--force"]);
            match words {
                None => assert_said(&signed, 0, &["logged at index"]),
                Some(words) => {
                    assert_unlogged(&desk, &services, &signed, &["nothing was logged", words]);
                }
            }
        }
    }
    let (desk, services) =
        at(Quirks { v2: true, ahead: 3600, stamps_behind: Some(4000), ..Quirks::default() });
    let early = run(&desk, &["sign", "app.txt"]);
    assert_unlogged(&desk, &services, &early, &["outside of the certificate's life"]);
}

#[test]
fn an_answer_that_is_lost_after_the_log_took_the_entry_loses_nothing() {
    let losses = [
        Loss::Dropped,
        Loss::Cut,
        Loss::Replaced(201, "{"),
        Loss::Replaced(201, "not JSON"),
        Loss::Replaced(200, r#"{"a": {}, "b": {}}"#),
        Loss::Replaced(204, ""),
        // The answer to a request that was done is elsewhere.
        Loss::Replaced(300, ""),
        Loss::Replaced(301, ""),
        Loss::Replaced(302, ""),
        Loss::Replaced(303, ""),
        Loss::Replaced(500, r#"{"code": 500, "message": "lost"}"#),
        Loss::Replaced(502, "bad gateway"),
        Loss::Replaced(504, "too late"),
    ];
    std::thread::scope(|scope| {
        // Lost connections and gateways are asked again, with pauses.
        for (v2, loss) in losses.iter().flat_map(|loss| [(false, *loss), (true, *loss)]) {
            scope.spawn(move || {
                let (desk, services) = at(Quirks { v2, loss: Some(loss), ..Quirks::default() });
                let signed = run(&desk, &["sign", "app.txt"]);
                let words = ["may be logged", &services.url, "to sign again makes another log entry"];
                assert_set_aside(&desk, &signed, "incomplete", 0, &words);
                assert!(!rescued(&desk).unwrap().1.signature().is_empty(), "{loss:?}");
                if matches!(loss, Loss::Replaced(300..=399, _)) {
                    assert_eq!(entries(&services), 1, "{loss:?}");
                }
            });
        }
    });
}

#[test]
fn a_refusal_of_the_log_says_that_nothing_is_logged() {
    for (status, message) in
        [(400, "no"), (403, "no"), (413, "no"), (422, "no"), (307, "elsewhere"), (308, "elsewhere")]
    {
        for v2 in [false, true] {
            let (desk, services) =
                at(Quirks { v2, loss: Some(Loss::Replaced(status, message)), ..Quirks::default() });
            let refused = run(&desk, &["sign", "app.txt"]);
            assert_said(&refused, 2, &[]);
            assert_eq!((entries(&services), rescued(&desk).is_none()), (1, true), "{}", refused.stderr);
        }
    }
    // Nobody listens where the log should be.
    let (desk, services) = at(Quirks::default());
    let mut config: Value = serde_json::from_str(&services.client_trust_config()).unwrap();
    config["signingConfig"]["rekorTlogUrls"][0]["url"] = "http://127.0.0.1:9".into();
    desk.pin(config.to_string());
    assert_said(&run(&desk, &["sign", "app.txt"]), 2, &["127.0.0.1:9"]);
    assert!(rescued(&desk).is_none());
}

#[test]
fn what_a_log_answers_wrongly_is_set_aside_as_not_verified() {
    let bends: [fn(&mut Value); 3] = [
        |entry| entry[entry_id()]["integratedTime"] = 1.into(),
        |entry| entry[entry_id()]["verification"]["inclusionProof"]["hashes"][0] = "00".repeat(32).into(),
        |entry| entry[entry_id()]["logIndex"] = 7.into(),
    ];
    for bend in bends {
        for arguments in [&["sign", "app.txt"][..], &["attest", "app.txt"]] {
            let (desk, _services) = at(Quirks { bend: Some(bend), ..Quirks::default() });
            let words = ["logged, but its bundle does not verify", "logged at index"];
            assert_set_aside(&desk, &run(&desk, arguments), "not-verified", 1, &words);
        }
    }
}

#[test]
fn what_only_some_logs_have_is_set_aside_with_their_entries() {
    for second in [Loss::Replaced(400, "no"), Loss::Replaced(201, "{")] {
        let (desk, services) = at(Quirks::default());
        let other = Services::start_with(Quirks { loss: Some(second), ..Quirks::default() });
        let mut config: Value = serde_json::from_str(&services.client_trust_config()).unwrap();
        let logs = &mut config["signingConfig"]["rekorTlogUrls"];
        let mut log = logs[0].clone();
        (log["operator"], log["url"]) = ("another".into(), other.url.clone().into());
        logs.as_array_mut().unwrap().push(log);
        config["signingConfig"]["rekorTlogConfig"] = json!({"selector": "ALL"});
        desk.pin(config.to_string());
        let signed = run(&desk, &["sign", "app.txt"]);
        let words = ["is logged in 1 of 2 logs", &other.url, "logged at index 1000002"];
        assert_set_aside(&desk, &signed, "incomplete", 1, &words);
    }
}

/// With `--output json` the result says in every case where the signature was logged and where the bundle is.
#[test]
fn a_json_result_names_log_and_bundle_whatever_failed() {
    let loss = Some(Loss::Replaced(500, "lost"));
    for (quirks, index, possibly) in [
        (Quirks { loss, ..Quirks::default() }, Value::Null, true),
        (
            Quirks { bend: Some(|entry| entry[entry_id()]["logIndex"] = 7.into()), ..Quirks::default() },
            7.into(),
            false,
        ),
    ] {
        let (desk, services) = at(quirks);
        let signed = run(&desk, &["sign", "app.txt", "--output", "json"]);
        assert_said(&signed, 3, &[]);
        let result: Value = serde_json::from_str(&signed.stdout).unwrap();
        assert_eq!(result["logEntries"][0]["index"], index, "{result}");
        let log = format!("{}/", services.url);
        assert_eq!(result["possiblyLogged"]["log"] == log.as_str(), possibly, "{result}");
        assert!(
            result["problem"].as_str().is_some_and(|problem| signed.stderr.contains(problem)),
            "{result}"
        );
        assert!(desk.path(result["rescue"].as_str().unwrap()).exists(), "{result}");
        assert_eq!(result["bundles"], json!([]));
    }
    // A place that fails: beside it, the result is still the one document on stdout.
    let (desk, _services) = at(Quirks::default());
    let signed = run(&desk, &["sign", "app.txt", "--output", "json", "--bundle", "/dev/full"]);
    assert_said(&signed, 3, &["cannot be written to `/dev/full`"]);
    let result: Value = serde_json::from_str(&signed.stdout).unwrap();
    assert_eq!(result["logEntries"][0]["index"], 1_000_002, "{result}");
    assert!(desk.path(result["rescue"].as_str().unwrap()).exists(), "{result}");
}

/// No folder takes the bundle, so it is in the output: whole, and JSON.
#[test]
fn a_bundle_that_no_folder_takes_is_in_the_output() {
    let (desk, _services) = at(Quirks::default());
    let sign = |more: &str| {
        let program = assert_cmd::cargo::cargo_bin("chancery").display().to_string();
        // No file can be made: not one byte may be written to it.
        let script = format!("ulimit -f 0; trap '' XFSZ; '{program}' sign app.txt --bundle /dev/full {more}");
        let mut command = assert_cmd::Command::new("sh");
        command.current_dir(desk.folder.path()).env_clear().env("CHANCERY_CONFIG_DIR", desk.path("config"));
        command.env("TMPDIR", "/nonexistent").env("SIGSTORE_ID_TOKEN", token()).args(["-c", &script]);
        said(&mut command)
    };
    let human = sign("");
    assert_said(&human, 3, &["was written to stdout", "logged at index 1000002"]);
    assert_eq!(Bundle::parse(human.stdout.as_bytes()).unwrap().entries.len(), 1);
    let json = sign("--output json");
    assert_said(&json, 3, &["is in the result"]);
    let result: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(Bundle::parse(result["bundle"].to_string().as_bytes()).unwrap().entries.len(), 1);
    assert_eq!(result["logEntries"][0]["index"], 1_000_002, "{result}");
    for more in [">/dev/full", "--output json >/dev/full", ">&-"] {
        let last = sign(more);
        assert_said(&last, 3, &["stands above", "cannot be written to `/dev/full`"]);
        let bundle = last.stderr.lines().find(|line| line.starts_with("{\"mediaType\"")).unwrap();
        assert_eq!(Bundle::parse(bundle.as_bytes()).unwrap().entries.len(), 1);
    }
}

/// A name of any bytes: the run ends well in either form of output.
#[test]
fn file_names_that_are_not_utf_8_are_signed_like_others() {
    let (desk, services) = at(Quirks::default());
    let names: [&[u8]; 3] = [b"a\xff.tar", b"\xff\xfe", "\u{202e}gpj.tar".as_bytes()];
    let (mut files, mut logged) = (Vec::new(), 0);
    for name in names {
        files.push(OsStr::from_bytes(name).to_owned());
        fs::write(desk.folder.path().join(OsStr::from_bytes(name)), name).unwrap();
    }
    for command in ["attest", "sign"] {
        for more in [&["--output", "json"][..], &[]] {
            for file in &files {
                let mut sign = desk.command();
                sign.arg(command).arg(file).args(more).env("SIGSTORE_ID_TOKEN", token());
                let signed = said(&mut sign);
                assert_said(&signed, 0, &[]);
                logged += 1;
                assert_eq!(entries(&services), logged);
                let bundle = [file.as_bytes(), b".sigstore.json"].concat();
                fs::remove_file(desk.folder.path().join(OsString::from_vec(bundle))).unwrap();
                if !more.is_empty() {
                    let result: Value = serde_json::from_str(&signed.stdout).unwrap();
                    let shown = format!("{}.sigstore.json", file.to_string_lossy());
                    assert_eq!(result["bundles"], json!([shown]));
                }
            }
        }
    }
    // In everything else that takes a name, too.
    let odd = OsStr::from_bytes(b"\xff.json");
    let verify = [&["verify", "app.txt"], &SIGNER[..]].concat();
    for arguments in [
        [&verify[..], &["--bundle"]].concat(),
        [&verify[..], &["--trusted-root"]].concat(),
        vec!["trust", "show", "--config-dir"],
    ] {
        let mut command = desk.command();
        command.args(&arguments).arg(odd).args(["--output", "json"]);
        assert_said(&said(&mut command), 2, &[]);
    }
}
