//! Listeners beside the first address: the second one and that of the metrics have limits too.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use chancery_tests::h2c::connect_from;
use chancery_tests::raw::RawClient;
use chancery_tests::watched::Watched;
use chancery_tests::{Instance, program};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Three reads, one after the other, by one client at both addresses.
#[tokio::test]
async fn a_second_address_shares_the_limits_of_the_first() -> Result<()> {
    let mut instance = Instance::stopped().await?;
    let second = format!("127.0.0.2:{}", program::free_port()?);
    instance.server.configure(&[
        ("[listen]\n", &format!("[listen]\nalso = \"{second}\"\n")),
        ("# [limits.rates]", "[limits.rates]"),
        (
            "# reads_per_address = { per_minute = 12000, burst = 6000 }",
            "reads_per_address = { per_minute = 1, burst = 2 }",
        ),
    ])?;
    instance.server.start().await?;
    let second = format!("http://{second}");
    // The server is ready before it has announced its addresses.
    instance.server.says(&format!(" and {second}\n")).await?;
    for (at, url) in [instance.server.url(), &second, &second, instance.server.url()].into_iter().enumerate()
    {
        let answer = RawClient::new(url)?.ask("GET", "/checkpoint", &[], "").await?;
        let expected = if at < 2 { 200 } else { 429 };
        ensure!(answer.status == expected, "{at}, {url}: {}", answer.status);
    }
    Ok(())
}

#[tokio::test]
async fn the_metrics_listener_answers_for_names_of_this_machine_and_a_few_connections() -> Result<()> {
    let watched = Watched::start().await?;
    let url = format!("http://{}", watched.metrics());
    let mut raw = RawClient::new(&url)?;
    for (host, status) in [("localhost", 200), ("127.0.0.1:9464", 200), ("evil.example", 421)] {
        let answer = raw.ask("GET", "/metrics", &[("host", host)], "").await?;
        ensure!(answer.status == status, "{host}: {}", answer.status);
    }
    let forwarded = [("x-forwarded-for", "192.0.2.99")];
    ensure!(raw.ask("GET", "/nothing", &forwarded, "").await?.status == 404, "an unknown path");
    let log = watched.instance.server.output().await?;
    ensure!(!log.contains("client=192.0.2.99"), "a header names a client of the metrics:\n{log}");
    drop(raw);

    let mut held = Vec::new();
    for _ in 0..100 {
        let mut raw = RawClient::new(&url)?;
        // Connections beyond the share of the address are closed without an answer.
        if raw.ask("GET", "/metrics", &[], "").await.is_ok() {
            held.push(raw);
        }
    }
    ensure!((1..=16).contains(&held.len()), "{} connections are held", held.len());
    drop(held);
    let again = async { while watched.scrape().await.is_err() {} };
    tokio::time::timeout(Duration::from_secs(20), again).await.context("the share is not given back")
}

/// Connections that answer a first request, of so many that come from an address.
async fn held(instance: &Instance, from: [u8; 4], count: usize) -> Result<Vec<TcpStream>> {
    let address = instance.server.url().trim_start_matches("http://").parse()?;
    let request = format!("GET /checkpoint HTTP/1.1\r\nhost: {address}\r\n\r\n");
    let mut held = Vec::new();
    for _ in 0..count {
        let mut stream = connect_from(from, address).await?;
        if stream.write_all(request.as_bytes()).await.is_ok() && stream.read_u8().await.is_ok() {
            held.push(stream);
        }
    }
    Ok(held)
}

/// Once no connection of a listener behind a proxy was counted, wherever it came from.
#[tokio::test]
async fn only_connections_of_trusted_proxies_have_no_share() -> Result<()> {
    let mut instance = Instance::stopped().await?;
    instance.server.configure(&[
        ("# behind_proxy = false\n", "behind_proxy = true\nproxies = [\"127.0.0.9\"]\n"),
        ("# [limits.per_address]", "[limits.per_address]"),
        ("# connections = 1024", "connections = 10"),
    ])?;
    instance.server.start().await?;
    for (from, expected) in [([127, 0, 0, 2], 10), ([127, 0, 0, 9], 30), ([127, 0, 0, 3], 10)] {
        let held = held(&instance, from, 30).await?;
        ensure!(held.len() == expected, "{from:?} holds {} connections, not {expected}", held.len());
    }
    Ok(())
}
