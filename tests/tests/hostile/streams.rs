//! HTTP/2 streams that a client keeps open by not reading their answers: each has a price, and an end.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use chancery_tests::h2c::H2c;
use chancery_tests::watched::Watched;
use tokio::io::AsyncReadExt as _;

use super::load::{HOSTILE, Other, PATIENCE, address};

/// Connections that the server has ended because their answers were not read.
async fn ended_as_unread(watched: &Watched) -> Result<f64> {
    let scraped = watched.scrape().await?;
    Ok(scraped.sum("chancery_http_connections_ended_total", &["reason=\"unread\""]))
}

/// Reads what has come; false once the server has closed the connection.
async fn is_open(connection: &mut H2c) -> bool {
    let mut some = vec![0; 64 * 1024];
    let read = tokio::time::timeout(Duration::from_millis(100), connection.stream.read(&mut some)).await;
    !matches!(read, Ok(Ok(0) | Err(_)))
}

/// The answers to probes once were not counted, nor were refusals, and of other answers the few bytes alone: one
/// address held 130,000 streams.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probes_that_are_not_read_are_counted_and_refusals_hold_nothing() -> Result<()> {
    let watched = Watched::start_with(&[
        ("# [limits.per_address]", "[limits.per_address]"),
        ("# unread_bytes = 67108864", "unread_bytes = 1000000"),
    ])
    .await?;
    let server = address(&watched.instance.server)?;
    let mut held = Vec::new();
    for path in ["/healthz", "/healthz", "/readyz", "/checkpoint", "/nothing"] {
        let mut connection = H2c::without_window(HOSTILE, server).await?;
        connection.get(127, path, &[]).await?;
        let heads = tokio::time::timeout(PATIENCE, connection.heads(127)).await;
        held.push((connection, heads.context("no answers")??));
    }
    // A stream of a few bytes costs 4 KiB, so there is room for 243 of them.
    let open: u32 = held.iter().map(|(_, ended)| 127 - ended).sum();
    ensure!((200..=244).contains(&open), "{open} streams are open");
    let bytes = watched.scrape().await?.sum("chancery_http_unread_bytes", &[]);
    ensure!((900_000.0..=1_000_000.0).contains(&bytes), "{bytes} bytes, and one address may have 1000000");
    Other::of(&watched.instance.server)?.is_served(3).await?;
    drop(held);
    let gone = async {
        while watched.scrape().await?.sum("chancery_http_unread_bytes", &[]) > 0.5 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    };
    tokio::time::timeout(PATIENCE, gone).await.context("the streams are not given back")?
}

/// Acknowledgements of pings once counted as progress of the reader.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_reads_the_answers_to_its_pings_alone_is_cut_off() -> Result<()> {
    let edits =
        [("# header_timeout = 10", "header_timeout = 1"), ("# idle_timeout = 75", "idle_timeout = 3")];
    let watched = Watched::start_with(&edits).await?;
    let mut connection = H2c::without_window(HOSTILE, address(&watched.instance.server)?).await?;
    connection.get(100, "/checkpoint", &[]).await?;
    let ended = async { while connection.ping(100).await.is_ok() && is_open(&mut connection).await {} };
    tokio::time::timeout(PATIENCE, ended).await.context("the connection goes on")?;
    ensure!(ended_as_unread(&watched).await? > 0.5, "ended for another reason");
    Ok(())
}

/// A reader of new answers once could keep old ones for as long as it liked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_is_not_kept_for_long_beside_others_that_are_read() -> Result<()> {
    let edits =
        [("# header_timeout = 10", "header_timeout = 1"), ("# idle_timeout = 75", "idle_timeout = 3")];
    let watched = Watched::start_with(&edits).await?;
    let mut connection = H2c::without_window(HOSTILE, address(&watched.instance.server)?).await?;
    connection.get(1, "/checkpoint", &[]).await?;
    let reads = async {
        loop {
            let Ok(stream) = connection.get(1, "/checkpoint", &[]).await else { return };
            if connection.open_window(stream).await.is_err() || !is_open(&mut connection).await {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, reads).await.context("the connection goes on")?;
    ensure!(ended_as_unread(&watched).await? > 0.5, "ended for another reason");
    Ok(())
}
