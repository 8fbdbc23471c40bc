//! Several logs at one listener, told apart by the host of a request: each serves its own tiles and entries, and no
//! choice of host opens a sealed path.

use anyhow::{Context as _, Result, ensure};
use chancery_tests::raw::RawClient;
use chancery_tests::rekor::Submitter;
use chancery_tests::{Instance, Rekor, Server, http, program};

/// The folders of a log's tiles: where Go tools read, and where the specification has them.
const FACES: [&str; 2] = ["/tile", "/api/v2/tile"];

#[tokio::test]
async fn a_second_log_at_a_host_of_its_own_serves_its_tiles_and_keeps_its_entries_sealed() -> Result<()> {
    let mut instance = Instance::stopped_with(Rekor::V2).await?;
    instance.server.configure(&[("entries = \"open\"", "entries = \"token\"")])?;
    let mut make = Server::command(&["reader-token"])?;
    let made = program::run(make.arg(instance.server.folder()).arg("audit"))?.success()?;
    let reader = format!("Bearer {}", made.stdout.trim());
    instance.server.start().await?;
    let url = instance.server.url().to_owned();
    add(&url, b"the first").await?;
    instance.server.stop().await?;
    let beside = url.replace("127.0.0.1", "localhost");
    let mut change = Server::command(&["add-log"])?;
    change.arg(instance.server.folder()).args(["rekor-v2", "--replaces", "rekor-v2", "--url", &beside]);
    program::run(&mut change)?.success()?;
    instance.server.start().await?;
    add(&beside, b"the second").await?;

    let mut raw = RawClient::new(&url)?;
    let (own, second) = (raw.address().to_owned(), beside.trim_start_matches("http://").to_owned());
    let mut tiles = Vec::new();
    let mut entries = Vec::new();
    for host in [&own, &second] {
        for face in FACES {
            let tile = raw.ask("GET", &format!("{face}/0/000.p/1"), &[("host", host)], "").await?;
            ensure!(tile.status == 200 && tile.body.len() == 32, "a tile of {host}{face}: {}", tile.head);
            tiles.push(tile.body);
            let path = format!("{face}/entries/000.p/1");
            let shut = raw.ask("GET", &path, &[("host", host)], "").await?;
            ensure!(shut.status == 401, "entries of {host}{face} without credentials: {}", shut.head);
            let open = raw.ask("GET", &path, &[("host", host), ("authorization", &reader)], "").await?;
            ensure!(open.status == 200, "entries of {host}{face}: {}", open.head);
            entries.push(open.body);
        }
        // What all logs share is at every host, and what is nowhere is answered alike.
        ensure!(raw.ask("GET", "/healthz", &[("host", host)], "").await?.status == 200, "{host}");
        ensure!(raw.ask("GET", "/api/v2/trustBundle", &[("host", host)], "").await?.status == 200, "{host}");
        ensure!(raw.ask("GET", "/tile/9/000", &[("host", host)], "").await?.status == 404, "{host}");
    }
    for (what, found) in [("tiles", &tiles), ("entries", &entries)] {
        ensure!(found[0] == found[1] && found[2] == found[3], "both faces of a log have the same {what}");
        ensure!(found[0] != found[2], "each log has its own {what}");
    }
    spelled(&mut raw, &own, &second, &entries).await
}

/// Spellings of both hosts, and disagreement between target and header: never an entry.
async fn spelled(raw: &mut RawClient, own: &str, second: &str, entries: &[Vec<u8>]) -> Result<()> {
    let port = second.rsplit_once(':').context("a port")?.1;
    let hosts = [
        second.to_uppercase(),
        "localhost".to_owned(),
        "localhost:1".to_owned(),
        format!("LOCALHOST:{port}"),
        format!("localhost.:{port}"),
        format!("localhost@{own}"),
        format!("{own},{second}"),
    ];
    for host in &hosts {
        for face in FACES {
            for method in ["GET", "HEAD", "POST"] {
                for target in
                    [format!("{face}/entries/000.p/1"), format!("http://{own}{face}/entries/000.p/1")]
                {
                    let answer = raw.ask(method, &target, &[("host", host)], "").await?;
                    let shown = format!("{method} {target} at {host}: {}", answer.head);
                    ensure!(answer.status >= 400, "{shown}");
                    ensure!(!entries.contains(&answer.body), "{shown}");
                }
            }
        }
    }
    Ok(())
}

async fn add(url: &str, artifact: &[u8]) -> Result<()> {
    let entry = Submitter::new()?.hashedrekord_v2(artifact)?;
    let answer = http()?.post(format!("{url}/api/v2/log/entries")).json(&entry).send().await?;
    let status = answer.status();
    ensure!(status == 201, "{url} answers {status}: {}", answer.text().await?);
    Ok(())
}
