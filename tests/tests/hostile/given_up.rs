//! Large requests that are sent and given up: what is computed for them cannot be interrupted, so it has to stay
//! within the bounds of what one address may have computed.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chancery_tests::h2c::connect_from;
use chancery_tests::watched::Watched;
use hyper::body::{Body, Bytes, Frame};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::load::{HOSTILE, Other, V1, address};

/// Between the end of a request and its end by the client: long enough for it to begin.
const MOMENT: Duration = Duration::from_millis(30);
/// How long an attack goes on.
const ATTACK: Duration = Duration::from_secs(8);
/// Threads that a server may have in addition for a commit and for reads, beside those for what is large: of these
/// there are no more than cores.
const THREADS: usize = 4;

/// A Rekor v1 `dsse` entry of almost the largest size, all of which is parsed and hashed.
fn large_entry() -> Result<Bytes> {
    let payload = STANDARD.encode(vec![b'x'; 3_000_000]);
    let signature = STANDARD.encode([&[0x30, 0x44, 2, 0x20][..], &[1; 32], &[2, 0x20], &[1; 32]].concat());
    let kind = "application/vnd.in-toto+json";
    let envelope =
        json!({ "payloadType": kind, "payload": payload, "signatures": [{ "sig": signature }] }).to_string();
    let signer = chancery_tlog::key::SoftwareSigner::generate(chancery_tlog::key::KeyKind::EcdsaP256)?;
    let key = chancery_tlog::key::Signer::public_key(&signer).to_pem();
    let content = json!({ "envelope": envelope, "verifiers": [STANDARD.encode(key)] });
    let entry = json!({ "apiVersion": "0.0.1", "kind": "dsse", "spec": { "proposedContent": content } });
    Ok(entry.to_string().into())
}

/// A body that tells when all of it has been taken.
struct Told {
    left: Bytes,
    taken: Arc<Notify>,
}

impl Body for Told {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left.is_empty() {
            self.taken.notify_one();
            return Poll::Ready(None);
        }
        let size = self.left.len().min(64 * 1024);
        Poll::Ready(Some(Ok(Frame::data(self.left.split_to(size)))))
    }
}

/// What all attackers share.
struct Attack {
    server: SocketAddr,
    entry: Bytes,
    over: AtomicBool,
    given_up: AtomicUsize,
}

impl Attack {
    async fn again_and_again(self: Arc<Self>, http2: bool) {
        while !self.over.load(Ordering::Relaxed) {
            // The server may end a connection or refuse a request, which is its right.
            let _ = if http2 { self.reset().await } else { self.close().await };
        }
    }

    /// Requests over one connection, each of them reset.
    async fn reset(&self) -> Result<()> {
        let io = TokioIo::new(connect_from(HOSTILE, self.server).await?);
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await?;
        let connection = tokio::spawn(connection);
        while !self.over.load(Ordering::Relaxed) && !connection.is_finished() {
            let taken = Arc::new(Notify::new());
            let body = Told { left: self.entry.clone(), taken: Arc::clone(&taken) };
            let request = hyper::Request::post(format!("http://{}{V1}", self.server));
            let answer = sender.send_request(request.header("content-type", "application/json").body(body)?);
            tokio::select! {
                answer = answer => { answer?; }
                () = async { taken.notified().await; tokio::time::sleep(MOMENT).await } => self.count(),
            }
        }
        connection.abort();
        Ok(())
    }

    /// One request whose connection is closed.
    async fn close(&self) -> Result<()> {
        let (host, length) = (self.server, self.entry.len());
        let mut stream = connect_from(HOSTILE, self.server).await?;
        let head = format!(
            "POST {V1} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(&self.entry).await?;
        tokio::time::sleep(MOMENT).await;
        self.count();
        Ok(())
    }

    fn count(&self) {
        self.given_up.fetch_add(1, Ordering::Relaxed);
    }
}

/// A number of a process in `/proc`.
fn status(process: u32, name: &str) -> Result<usize> {
    let text = std::fs::read_to_string(Path::new("/proc").join(process.to_string()).join("status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)).context("a line")?;
    Ok(line.trim_start_matches(':').trim().trim_end_matches(" kB").parse()?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_requests_that_are_given_up_compute_within_the_bounds() -> Result<()> {
    let watched = Watched::start().await?;
    let server = &watched.instance.server;
    let process = server.id().context("it runs")?;
    let mut other = Other::of(server)?;
    other.is_served(2).await?;
    let before = status(process, "Threads")?;
    let attack = Arc::new(Attack {
        server: address(server)?,
        entry: large_entry()?,
        over: AtomicBool::new(false),
        given_up: AtomicUsize::new(0),
    });
    let mut attackers = JoinSet::new();
    for at in 0..8 {
        attackers.spawn(Arc::clone(&attack).again_and_again(at % 2 == 0));
    }
    let (begun, mut threads, mut memory) = (Instant::now(), 0, 0);
    while begun.elapsed() < ATTACK {
        other.is_served(1).await?;
        threads = threads.max(status(process, "Threads")?);
        memory = memory.max(status(process, "VmRSS")?);
        let bytes = watched.scrape().await?.sum("chancery_http_body_bytes", &[]);
        ensure!(bytes <= 67_108_864.0, "one address holds {bytes} bytes");
    }
    attack.over.store(true, Ordering::Relaxed);
    while attackers.join_next().await.is_some() {}
    let given_up = attack.given_up.load(Ordering::Relaxed);
    ensure!(given_up > 20, "{given_up} requests were given up");
    let what = format!("{given_up} requests given up, {before} threads became {threads}, {memory} kB");
    let most = before + std::thread::available_parallelism()?.get() + THREADS;
    ensure!(threads <= most && memory < 1_000_000, "{what}");
    let idle = async {
        while watched.scrape().await?.sum("chancery_http_body_bytes", &[]) > 0.5 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        other.is_served(1).await
    };
    tokio::time::timeout(Duration::from_secs(45), idle).await.context("bytes are not given back")?
}
