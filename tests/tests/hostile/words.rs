//! Words from outside on their way to a terminal or a log: file names, answers, claims and bundles full of characters that
//! move the cursor, reorder their neighbours or have no width.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use anyhow::{Result, ensure};
use chancery_tests::{Chancery, Instance, Rekor, Server, program};
use chancery_tlog::escape::{Form, inert, is_hidden};
use serde_json::{Value, json};

/// Each kind of character once: C0, DEL, C1, bidi, zero width, separators, tags, fillers.
const HOSTILE: &str = "\u{7}\u{8}\u{c}\r\u{1b}[2J\u{1b}]0;t\u{7}\u{7f}\u{85}\u{9b}31m\u{ad}\u{61c}\u{200b}\u{200d}\u{200f}\
    \u{2028}\u{2029}\u{202e}\u{2066}\u{2069}\u{3164}\u{fe0f}\u{feff}\u{fff9}\u{e0041}";

fn only_visible(what: &str, text: &str) -> Result<()> {
    let hidden = text.chars().find(|c| *c != '\n' && is_hidden(*c));
    ensure!(hidden.is_none(), "{what}: {hidden:?} is shown: {text:?}");
    Ok(())
}

/// A server that answers every request with this status and body, on a thread that ends with the test.
fn answering(status: u16, body: String) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}", listener.local_addr()?);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let _ = stream.read(&mut [0; 8192]);
            let length = body.len();
            let head =
                format!("HTTP/1.1 {status} x\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
            let _ = stream.write_all(format!("{head}{body}").as_bytes());
        }
    });
    Ok(url)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_shows_no_hidden_character_of_a_name_a_bundle_or_an_answer() -> Result<()> {
    let instance = Instance::start_with(Rekor::V2).await?;
    let chancery = Chancery::trusting(&instance)?;
    let token = instance.issuer.token().await?;
    let policy = chancery_tests::Policy::of(&token);
    let policy = policy.each_ref().map(String::as_str);
    let token = instance.file("token", token.as_str())?.display().to_string();
    let name = format!("rocket\n{}.tar", HOSTILE.replace('/', ""));
    let file = instance.file(&name, "a rocket")?.display().to_string();
    let sign = ["sign", &file, "--identity-token-file", &token];
    let signed = chancery.run(&sign)?.success()?;
    only_visible("sign", &signed.said())?;
    ensure!(signed.stdout.lines().count() == 1, "a name made lines of its own: {}", signed.stdout);
    let json = chancery.run(&[&sign[..], &["--output", "json"]].concat())?.success()?.stdout;
    only_visible("sign --output json", &json)?;
    let report: Value = serde_json::from_str(&json)?;
    ensure!(
        report["bundles"][0] == format!("{file}.sigstore.json"),
        "a JSON reader gets the true name: {report}"
    );

    let bundle = format!("{file}.sigstore.json");
    let mut hostile: Value = serde_json::from_slice(&std::fs::read(&bundle)?)?;
    hostile["verificationMaterial"]["tlogEntries"][0]["kindVersion"]["kind"] = json!(HOSTILE);
    let kind = instance.file("kind.json", hostile.to_string())?.display().to_string();
    let media =
        instance.file("media.json", json!({ "mediaType": HOSTILE }).to_string())?.display().to_string();
    let unknown = format!("--no-such-{HOSTILE}");
    for arguments in [
        [&["verify", "--bundle", &bundle], &policy[..], &[&file]].concat(),
        [&["verify", "--bundle", &kind], &policy[..], &[&file]].concat(),
        [&["verify", "--bundle", &kind, "--output", "json"], &policy[..], &[&file]].concat(),
        [&["verify", "--bundle", &media], &policy[..], &[&file]].concat(),
        vec![
            "verify",
            "--bundle",
            HOSTILE,
            "--certificate-identity",
            HOSTILE,
            "--certificate-oidc-issuer",
            "x",
            &file,
        ],
        vec!["verify", &unknown],
        vec!["sign", HOSTILE, "--identity-token-file", &token],
        vec!["trust", "add", HOSTILE],
    ] {
        only_visible(&format!("{arguments:?}"), &chancery.run(&arguments)?.said())?;
    }
    for (status, body) in [
        (400, HOSTILE.to_owned()),
        (403, json!({ "code": 7, "message": HOSTILE }).to_string()),
        (200, json!({ HOSTILE: HOSTILE }).to_string()),
    ] {
        let url = answering(status, body)?;
        only_visible("trust add", &chancery.run(&["trust", "add", &url])?.failure(&[])?.said())?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_logs_no_hidden_character() -> Result<()> {
    for json_logs in [false, true] {
        let mut instance = Instance::stopped().await?;
        if json_logs {
            instance.server.configure(&[("# json = false", "json = true")])?;
        }
        instance.server.start().await?;
        let http = chancery_tests::http()?;
        for claim in ["sub", "repository", "job_workflow_ref", "iss", "aud", "event_name"] {
            let token = instance.issuer.token_with(json!({ claim: format!("x\n{HOSTILE}") })).await?;
            let body = json!({ "credentials": { "oidcIdentityToken": token.as_str() }, HOSTILE: HOSTILE });
            let ca = format!("{}/api/v2/signingCert", instance.server.url());
            http.post(ca).json(&body).header("user-agent", "caf\u{e9} \u{202e}x").send().await?;
        }
        let url = format!("{}/api/v1/log/entries/%1b%5b2J%e2%80%ae%0aforged", instance.server.url());
        http.get(url).send().await?;
        instance.server.stop().await?;
        only_visible("the log", &instance.server.output().await?)?;
    }
    Ok(())
}

/// `check-config` and `export-trust` run in CI jobs: their output neither shows anything hidden nor commands a runner.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_s_commands_print_no_hidden_character_and_no_command_to_a_runner() -> Result<()> {
    const COMMAND: &str = "x\n::error::forged";
    let instance = Instance::stopped().await?;
    let folder = instance.server.folder().display().to_string();
    let hidden = HOSTILE.replace('/', "");
    let output = instance.scratch().join(format!("::{hidden}")).display().to_string();
    let run = |arguments: &[&str]| -> Result<()> {
        let said = program::run(Server::command(arguments)?.current_dir(instance.scratch()))?.said();
        only_visible(&format!("{arguments:?}"), &said)?;
        let command = said.lines().find(|line| inert(line, Form::Line) != *line);
        ensure!(!said.is_empty() && command.is_none(), "{arguments:?}: {command:?}");
        Ok(())
    };
    run(&["check-config", &folder])?;
    run(&["export-trust", &folder])?;
    run(&["export-trust", &folder, "--output", &output])?;
    run(&["export-trust", &folder, "--output", "::stop-commands::t"])?;
    run(&["export-trust", &folder, "--for", "cosign3", "--output", "::stop-commands::t"])?;
    for word in [HOSTILE, COMMAND, "##[error]forged"] {
        run(&[word])?;
        run(&[&format!("--{word}")])?;
        run(&["check-config", word])?;
        run(&["check-config", &folder, word])?;
        let file = instance.server.folder().join("chancery.toml");
        let text = std::fs::read_to_string(&file)?;
        std::fs::write(&file, format!("{text}\n[{}]\n", Value::from(word)))?;
        run(&["check-config", &folder])?;
        std::fs::write(&file, text)?;
    }
    Ok(())
}
