//! The load generator against real servers: what it accepts must be there, and what is not there it must find.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use chancery_tests::{Instance, Outcome, Server, program};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// A step that any machine keeps up with.
const GENTLY: [&str; 4] = ["--rates", "15", "--seconds", "1"];

async fn loadtest(arguments: &[&str], json: &Path) -> Result<Outcome> {
    let mut command = std::process::Command::new(program::own("chancery-loadtest")?);
    command.args(arguments).args(GENTLY).arg("--json").arg(json);
    chancery_tlog::serve::block(move || program::run(&mut command)).await?
}

#[tokio::test]
async fn everything_that_a_server_acknowledges_is_verified_and_found() -> Result<()> {
    let scratch = tempfile::TempDir::new()?;
    let (json, svg) = (scratch.path().join("report.json"), scratch.path().join("report.svg"));
    // Both stand beside the load generator, where `self` looks for them.
    program::own("chancery-server")?;
    program::own("chancery-dev-issuer")?;
    let drawn = svg.to_str().context("a path of plain text")?;
    let ended = loadtest(&["self", "--svg", drawn], &json).await?.success()?;

    let report: Value = serde_json::from_slice(&std::fs::read(&json)?)?;
    let tested = report["tested"].as_array().context("a list")?;
    let names: Vec<_> = tested.iter().filter_map(|target| target["name"].as_str()).collect();
    ensure!(names == ["v1", "v2", "ca", "tsa", "reads"], "{names:?}");
    for target in tested {
        let number = |value: &Value| value.as_u64().context("a number");
        let step = &target["steps"][0];
        let (accepted, verified) = (number(&step["accepted"])?, number(&target["verified"])?);
        ensure!(accepted > 0 && verified > accepted, "the step and what warmed up are verified: {target}");
        ensure!(target["breaches"] == 0, "{target}");
        let found = number(&target["entries_in_final_tree"])?;
        let is_log = matches!(target["name"].as_str(), Some("v1" | "v2" | "ca"));
        ensure!(
            found == if is_log { verified } else { 0 },
            "every entry is found in the final tree: {target}"
        );
        let ended = ["accepted", "refused_cleanly", "refused_uncleanly", "timed_out", "broken", "not_sent"];
        let ended: u64 = ended.iter().map(|name| number(&step[*name])).sum::<Result<u64>>()?;
        ensure!(number(&step["due"])? == ended, "every request has one outcome: {step}");
    }
    ensure!(ended.stdout.contains("of one core's ceiling"), "{}", ended.stdout);
    ensure!(std::fs::read_to_string(&svg)?.starts_with("<svg"), "the plot is an SVG");
    Ok(())
}

#[tokio::test]
async fn an_acknowledged_entry_that_the_server_lost_is_found() -> Result<()> {
    // Without tiles every entry is read again, and this server has never heard of half of them.
    let bend: Bend = |request, status, body| match request {
        "GET /rekor-v1/checkpoint" => (404, Vec::new()),
        // Half of all leaf hashes end like this.
        read if read.starts_with("GET /api/v1/log/entries/") && read.ends_with(|c| c < '8') => {
            (404, Vec::new())
        }
        _ => (status, body),
    };
    let (code, said) = load_of_bent("v1", bend).await?;
    ensure!(code == Some(1) && said.contains("is not found"), "{code:?}: {said}");
    Ok(())
}

#[tokio::test]
async fn an_entry_that_was_changed_after_it_was_acknowledged_is_found() -> Result<()> {
    for target in ["v1", "v2"] {
        let bend: Bend = |request, status, mut body| {
            if request.contains("/tile/entries/") {
                // Inside the last entry, which is an acknowledged one.
                let last = body.len() - 9;
                body[last] ^= 1;
            }
            (status, body)
        };
        let (code, said) = load_of_bent(target, bend).await?;
        ensure!(code == Some(1) && said.contains("was acknowledged as"), "{target}: {code:?}: {said}");
    }
    Ok(())
}

#[tokio::test]
async fn an_acknowledgement_that_does_not_verify_is_found() -> Result<()> {
    let bend: Bend = |request, status, body| {
        if request != "POST /api/v1/log/entries" {
            return (status, body);
        }
        let entry = String::from_utf8_lossy(&body).replace(r#""integratedTime":1"#, r#""integratedTime":2"#);
        (status, entry.into_bytes())
    };
    let (code, said) = load_of_bent("v1", bend).await?;
    ensure!(code == Some(1) && said.contains("signed entry timestamp"), "{code:?}: {said}");
    Ok(())
}

#[tokio::test]
async fn a_server_that_cannot_be_audited_is_no_success() -> Result<()> {
    let bend: Bend = |request, status, body| {
        if request.contains("/tile/entries/") { (500, Vec::new()) } else { (status, body) }
    };
    let (code, said) = load_of_bent("v2", bend).await?;
    ensure!(code == Some(2) && said.contains("answers 500"), "{code:?}: {said}");
    Ok(())
}

/// Exit code and words of a gentle load of `target` through a proxy that bends the server's answers.
async fn load_of_bent(target: &str, bend: Bend) -> Result<(Option<i32>, String)> {
    let instance = Instance::start().await?;
    let url = proxy(&instance.server, bend).await?;
    let trust = instance.server.trust("trusted_root.json");
    let trust = trust.to_str().context("a path of plain text")?;
    let arguments = [target, "--against", &url, "--trusted-root", trust];
    let ended = loadtest(&arguments, &instance.scratch().join("report.json")).await?;
    Ok((ended.code, ended.said()))
}

/// Changes status and body of an answer; the request is given as `METHOD path`.
type Bend = fn(&str, u16, Vec<u8>) -> (u16, Vec<u8>);

/// A proxy before `server`; its address.
async fn proxy(server: &Server, bend: Bend) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let (url, http) = (server.url().to_owned(), chancery_tests::http()?);
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(forward(stream, url.clone(), http.clone(), bend));
        }
    });
    Ok(format!("http://{address}"))
}

/// One request and its answer, then the connection is closed.
async fn forward(mut stream: TcpStream, url: String, http: reqwest::Client, bend: Bend) -> Result<()> {
    let mut request = Vec::new();
    let head_end = loop {
        if let Some(at) = request.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        ensure!(stream.read_buf(&mut request).await? > 0, "the request ends early");
    };
    let head = String::from_utf8(request[..head_end].to_vec())?;
    let mut words = head.split(' ');
    let (method, path) = (words.next().context("a method")?, words.next().context("a path")?);
    let length =
        head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let length: usize = length.unwrap_or_default();
    while request.len() < head_end + length {
        ensure!(stream.read_buf(&mut request).await? > 0, "the body ends early");
    }
    let forwarded = http.request(method.parse()?, format!("{url}{path}"));
    let forwarded = forwarded.header("content-type", "application/json").body(request.split_off(head_end));
    let answer = forwarded.send().await?;
    let (status, body) = (answer.status().as_u16(), answer.bytes().await?.to_vec());
    let (status, body) = bend(&format!("{method} {path}"), status, body);
    let head =
        format!("HTTP/1.1 {status} Bent\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    stream.write_all(&[head.as_bytes(), &body].concat()).await?;
    Ok(())
}
