//! One address does its worst to a server with default limits, and another is served meanwhile.
//!
//! Counts and states alone are asserted: what others pay in time is printed by `chancery-loadtest abuse`.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chancery_tests::h2c::{H2c, connect_from};
use chancery_tests::rekor::Submitter;
use chancery_tests::watched::Watched;
use chancery_tests::{Instance, Server};
use reqwest::Client;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

pub(crate) const HOSTILE: [u8; 4] = [127, 0, 0, 2];
const OTHER: [u8; 4] = [127, 0, 0, 3];
pub(crate) const V1: &str = "/api/v1/log/entries";
const V2: &str = "/api/v2/log/entries";
/// Far more than anything here takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(45);

pub(crate) fn address(server: &Server) -> Result<SocketAddr> {
    Ok(server.url().trim_start_matches("http://").parse()?)
}

fn client_from(from: [u8; 4]) -> Result<Client> {
    let builder = Client::builder().no_proxy().local_address(IpAddr::from(from));
    Ok(builder.timeout(Duration::from_secs(30)).build()?)
}

/// Some of everything, by a client at another address; every answer must be a success.
pub(crate) struct Other {
    client: Client,
    url: String,
    submitter: Submitter,
    count: usize,
}

impl Other {
    pub(crate) fn of(server: &Server) -> Result<Self> {
        let (client, submitter) = (client_from(OTHER)?, Submitter::new()?);
        Ok(Self { client, url: server.url().to_owned(), submitter, count: 0 })
    }

    pub(crate) async fn is_served(&mut self, times: usize) -> Result<()> {
        for _ in 0..times {
            self.count += 1;
            let artifact = format!("artifact {}", self.count);
            self.post(V1, &self.submitter.hashedrekord(artifact.as_bytes())?).await?;
            self.post(V2, &self.submitter.hashedrekord_v2(artifact.as_bytes())?).await?;
            for path in ["/checkpoint", "/readyz", "/api/v1/log"] {
                let answer = self.client.get(format!("{}{path}", self.url)).send().await?;
                ensure!(answer.status() == 200, "GET {path}: {}", answer.status());
            }
        }
        Ok(())
    }

    async fn post(&self, path: &str, entry: &Value) -> Result<()> {
        let answer = self.client.post(format!("{}{path}", self.url)).json(entry).send().await?;
        ensure!(answer.status() == 201, "POST {path}: {} {}", answer.status(), answer.text().await?);
        Ok(())
    }
}

/// 13 KB a minute once held every slot: seven connections with 128 unfinished requests each.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unfinished_bodies_of_one_address_hold_nothing_of_another() -> Result<()> {
    let watched = Watched::start().await?;
    let server = &watched.instance.server;
    let mut other = Other::of(server)?;
    let mut held = Vec::new();
    for _ in 0..7 {
        let mut connection = H2c::connect(HOSTILE, address(server)?).await?;
        for _ in 0..128 {
            connection.begin_post(V1, b"{").await?;
        }
        held.push(connection);
    }
    // Long enough for all of the above to arrive, and not so long that the bodies are ended as too slow.
    other.is_served(3).await?;
    let scraped = watched.scrape().await?;
    let bodies = scraped.sum("chancery_http_bodies", &[]);
    ensure!((1.0..=512.0).contains(&bodies), "{bodies} bodies, and one address may have 512");
    let refused = scraped.sum("chancery_http_refusals_total", &["reason=\"address_bodies\""]);
    ensure!((refused - 384.0).abs() < 0.5, "{refused} requests refused, of 896 with room for 512");
    ensure!(scraped.sum("chancery_http_writes", &[]) < 0.5, "an unfinished body is not work");
    other.is_served(15).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_of_one_address_take_bounded_memory() -> Result<()> {
    let watched = Watched::start().await?;
    let server = &watched.instance.server;
    let mut other = Other::of(server)?;
    let piece = vec![b' '; 1 << 20];
    let mut held = Vec::new();
    // One large body a connection: 25 of 4 MiB, of which one address may have 16.
    for _ in 0..25 {
        let mut stream = connect_from(HOSTILE, address(server)?).await?;
        let host = address(server)?;
        let head = format!("POST {V1} HTTP/1.1\r\nhost: {host}\r\ncontent-length: 4194304\r\n\r\n");
        stream.write_all(head.as_bytes()).await?;
        for _ in 0..3 {
            // A refused one may be closed already.
            let _ = stream.write_all(&piece).await;
        }
        let _ = stream.write_all(&piece[..piece.len() - 1]).await;
        held.push(stream);
    }
    other.is_served(2).await?;
    let scraped = watched.scrape().await?;
    let bytes = scraped.sum("chancery_http_body_bytes", &[]);
    ensure!((1.0..=67_108_864.0).contains(&bytes), "{bytes} bytes of bodies");
    ensure!(scraped.sum("chancery_http_refusals_total", &["reason=\"address_body_bytes\""]) > 0.5, "none");
    drop(held);
    let gone = async {
        while watched.scrape().await?.sum("chancery_http_body_bytes", &[]) > 0.5 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    };
    tokio::time::timeout(PATIENCE, gone).await.context("bytes are not given back")?
}

/// Bounds of answers that are not read, so low that a bundle of a few entries is a large answer.
const FEW_UNREAD: [(&str, &str); 3] = [
    ("# max_unread_bytes = 268435456", "max_unread_bytes = 400000"),
    ("# [limits.per_address]", "[limits.per_address]"),
    ("# unread_bytes = 67108864", "unread_bytes = 100000"),
];
/// A bundle with the entries that [`Unread::start`] adds.
const BUNDLE: &str = "/tile/entries/000.p/12";

/// A server with such bounds and some entries.
struct Unread {
    watched: Watched,
    token: String,
    other: Other,
}

impl Unread {
    async fn start(edits: &[(&str, &str)]) -> Result<Self> {
        let watched = Watched::start_with(&[&FEW_UNREAD[..], edits].concat()).await?;
        let token = format!("Bearer {}", watched.reader_token());
        let mut other = Other::of(&watched.instance.server)?;
        other.is_served(12).await?;
        Ok(Self { watched, token, other })
    }

    async fn connect(&self) -> Result<H2c> {
        H2c::without_window(HOSTILE, address(&self.watched.instance.server)?).await
    }

    /// Reads bundles on `connection` for a client that a proxy reports as `client`.
    async fn read(&self, connection: &mut H2c, count: u32, client: &str) -> Result<u32> {
        let headers = [("authorization", self.token.as_str()), ("x-forwarded-for", client)];
        connection.get(count, BUNDLE, &headers).await
    }

    async fn bytes(&self) -> Result<f64> {
        Ok(self.watched.scrape().await?.sum("chancery_http_unread_bytes", &[]))
    }

    async fn refused(&self, reason: &str) -> Result<f64> {
        let label = format!("reason=\"{reason}\"");
        Ok(self.watched.scrape().await?.sum("chancery_http_refusals_total", &[&label]))
    }

    /// Waits until so many requests of the attack were answered or refused, or no more are for a while.
    async fn answered(&self, count: u32) -> Result<()> {
        let label = "route=\"/tile/entries/{*path}\"";
        let (mut known, mut since) = (0.0, Instant::now());
        while known < f64::from(count) && since.elapsed() < Duration::from_secs(3) {
            let now = self.watched.scrape().await?.sum("chancery_http_requests_total", &[label]);
            if now > known {
                (known, since) = (now, Instant::now());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    async fn nothing_is_unread(&self) -> Result<()> {
        let gone = async {
            while self.bytes().await? > 0.5 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Ok(())
        };
        tokio::time::timeout(PATIENCE, gone).await.context("bytes are not given back")?
    }
}

/// All reads of an attack were once admitted while nothing was unread; together they then exceeded the bound
/// of all clients, and every client was refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_one_address_does_not_read_cost_no_other_its_own() -> Result<()> {
    let mut attack = Unread::start(&[]).await?;
    let mut held = Vec::new();
    for _ in 0..4 {
        let mut connection = attack.connect().await?;
        attack.read(&mut connection, 60, "192.0.2.1").await?;
        held.push(connection);
    }
    attack.answered(240).await?;
    let bytes = attack.bytes().await?;
    ensure!((1.0..=100_000.0).contains(&bytes), "{bytes} bytes, and one address may have 100000");
    attack.other.is_served(5).await?;
    ensure!(attack.refused("address_unread_bytes").await? > 100.0, "the attacker is not refused");
    ensure!(attack.refused("unread_bytes").await? < 0.5, "others are refused");
    drop(held);
    attack.nothing_is_unread().await
}

/// Answers to cancelled requests once counted as unread for as long as the connection lasted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelled_requests_leave_nothing_unread() -> Result<()> {
    let mut attack = Unread::start(&[]).await?;
    let mut connection = attack.connect().await?;
    for round in 1..=3 {
        let first = attack.read(&mut connection, 20, "192.0.2.1").await?;
        attack.answered(20 * round).await?;
        ensure!(attack.bytes().await? > 1.0, "nothing is unread");
        connection.reset(first, 20).await?;
        attack.nothing_is_unread().await?;
    }
    // With a window, so that the answers were on their way.
    let mut connection = H2c::connect(HOSTILE, address(&attack.watched.instance.server)?).await?;
    let first = attack.read(&mut connection, 40, "192.0.2.1").await?;
    attack.answered(100).await?;
    connection.reset(first, 40).await?;
    attack.nothing_is_unread().await?;
    attack.other.is_served(1).await
}

/// Clients of one proxy have one address, and once had no bound but that of all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_proxy_unread_answers_count_for_the_client() -> Result<()> {
    let attack = Unread::start(&[("# behind_proxy = false\n", "behind_proxy = true\n")]).await?;
    let mut connection = attack.connect().await?;
    attack.read(&mut connection, 100, "192.0.2.1").await?;
    attack.answered(100).await?;
    let bytes = attack.bytes().await?;
    ensure!((1.0..=100_000.0).contains(&bytes), "{bytes} bytes, and one client may have 100000");
    let client = client_from(HOSTILE)?;
    let url = format!("{}{BUNDLE}", attack.watched.instance.server.url());
    for (from, status) in [("192.0.2.1", 429), ("192.0.2.2", 200)] {
        let request = client.get(&url).header("authorization", &attack.token).header("x-forwarded-for", from);
        let answer = request.send().await?;
        ensure!(answer.status() == status, "{from}: {}", answer.status());
    }
    drop(connection);
    attack.nothing_is_unread().await
}

/// A token that nobody has signed, of an issuer whose keys do not come.
fn unsigned(issuer: &str, audience: &str) -> String {
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let header = part(json!({ "alg": "RS256", "kid": "1", "typ": "JWT" }));
    let claims = json!({ "iss": issuer, "aud": audience, "sub": "x", "exp": 4_000_000_000_u32, "iat": 1 });
    format!("Bearer {header}.{}.{}", part(claims), URL_SAFE_NO_PAD.encode([1; 256]))
}

/// Each request once held a place for reads while the keys of its token's issuer were fetched, and reads that
/// had all places stopped writes as well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_that_wait_for_keys_cost_no_other_address_its_reads_and_writes() -> Result<()> {
    // Accepts connections, as the system does for it, and says nothing.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let issuer = format!("http://{}", silent.local_addr()?);
    let readers =
        format!("entries = \"oidc\"\n[[access.oidc.readers]]\nissuer = \"{issuer}\"\nsubject = \"*\"\n");
    let watched = Watched::start_with(&[("entries = \"token\"\n", &readers)]).await?;
    let server = &watched.instance.server;
    let mut other = Other::of(server)?;
    other.is_served(1).await?;
    let token = unsigned(&issuer, server.url());
    let mut held = Vec::new();
    for _ in 0..8 {
        let mut connection = H2c::connect(HOSTILE, address(server)?).await?;
        connection.get(128, BUNDLE, &[("authorization", &token)]).await?;
        held.push(connection);
    }
    let refused = async {
        let refusals = "chancery_access_refusals_total";
        while watched.scrape().await?.sum(refusals, &["reason=\"too_many\""]) < 700.0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok::<_, anyhow::Error>(())
    };
    tokio::time::timeout(PATIENCE, refused).await.context("the attack is not refused")??;
    let reads = watched.scrape().await?.sum("chancery_http_reads", &[]);
    ensure!((1.0..=256.0).contains(&reads), "{reads} reads, and one address may have 256");
    other.is_served(2).await
}

/// Partial bundles are compressed for each reader anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bundles_to_be_compressed_cost_no_other_address_its_reads_and_writes() -> Result<()> {
    let mut attack = Unread::start(&[]).await?;
    let server = address(&attack.watched.instance.server)?;
    let mut held = Vec::new();
    for _ in 0..8 {
        let mut connection = H2c::connect(HOSTILE, server).await?;
        let headers = [("authorization", attack.token.as_str()), ("accept-encoding", "gzip")];
        connection.get(128, BUNDLE, &headers).await?;
        held.push(connection);
    }
    attack.other.is_served(3).await?;
    attack.answered(1024).await?;
    let scraped = attack.watched.scrape().await?;
    ensure!(scraped.sum("chancery_http_refusals_total", &["reason=\"reads\""]) < 0.5, "others are refused");
    ensure!(scraped.sum("chancery_http_reads", &[]) < 0.5, "places are not given back");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_requests_are_ended_and_counted() -> Result<()> {
    let mut instance = Instance::stopped().await?;
    instance.server.configure(&[
        ("# body_timeout = 30", "body_timeout = 2"),
        ("# header_timeout = 10", "header_timeout = 2"),
    ])?;
    instance.server.start().await?;
    let host = address(&instance.server)?;
    let begun = async |text: String| -> Result<TcpStream> {
        let mut stream = connect_from(HOSTILE, host).await?;
        stream.write_all(text.as_bytes()).await?;
        Ok(stream)
    };
    let body = begun(format!("POST {V1} HTTP/1.1\r\nhost: {host}\r\ncontent-length: 9\r\n\r\n{{")).await?;
    let head = begun(format!("POST {V1} HTTP/1.1\r\nhost: {host}\r\nx: y\r\n")).await?;
    let nothing = begun(String::new()).await?;
    let mut other = Other::of(&instance.server)?;
    other.is_served(2).await?;
    let answered = |answer: String| answer.split("\r\n").next().unwrap_or_default().to_owned();
    let status = answered(whole(body).await?);
    ensure!(status == "HTTP/1.1 408 Request Timeout", "a slow body: {status}");
    for silent in [head, nothing] {
        let answer = answered(whole(silent).await?);
        ensure!(answer.is_empty() || answer.contains(" 408 "), "a slow head: {answer}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_kept_by_health_checks_leave_room_for_others() -> Result<()> {
    let mut instance = Instance::stopped().await?;
    instance.server.configure(&[
        ("# max_connections = 4096", "max_connections = 100"),
        ("# [limits.per_address]", "[limits.per_address]"),
        ("# connections = 1024", "connections = 40"),
    ])?;
    instance.server.start().await?;
    let host = address(&instance.server)?;
    let probe = format!("GET /healthz HTTP/1.1\r\nhost: {host}\r\n\r\n");
    let (mut held, mut closed) = (Vec::new(), 0);
    for _ in 0..150 {
        let mut stream = connect_from(HOSTILE, host).await?;
        let answered = stream.write_all(probe.as_bytes()).await.is_ok() && stream.read_u8().await.is_ok();
        if answered {
            held.push(stream);
        } else {
            closed += 1;
        }
    }
    ensure!((held.len(), closed) == (40, 110), "{} held, {closed} closed", held.len());
    Other::of(&instance.server)?.is_served(5).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_ends_in_time_with_half_sent_requests_open() -> Result<()> {
    let mut instance = Instance::start().await?;
    let host = address(&instance.server)?;
    let mut held = Vec::new();
    for text in [
        String::new(),
        format!("POST {V1} HTTP/1.1\r\nhost: {host}\r\n"),
        format!("POST {V1} HTTP/1.1\r\nhost: {host}\r\ncontent-length: 100\r\n\r\n{{"),
        format!("GET /checkpoint HTTP/1.1\r\nhost: {host}\r\n\r\nGET /checkp"),
    ] {
        let mut stream = connect_from(HOSTILE, host).await?;
        stream.write_all(text.as_bytes()).await?;
        held.push(stream);
    }
    let mut connection = H2c::connect(HOSTILE, host).await?;
    for _ in 0..50 {
        connection.begin_post(V2, b"{").await?;
    }
    Other::of(&instance.server)?.is_served(1).await?;
    // Kubernetes kills after 30 seconds; the harness demands exit status 0.
    tokio::time::timeout(Duration::from_secs(30), instance.server.stop()).await.context("it does not end")?
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grpc_message_over_the_limit_is_resource_exhausted() -> Result<()> {
    let instance = Instance::start().await?;
    let client = Client::builder().no_proxy().http2_prior_knowledge().build()?;
    let limit = 4 << 20;
    for (length, status) in [(limit, "3"), (limit + 1, "8"), (limit * 3, "8")] {
        let mut message = vec![0];
        message.extend_from_slice(&u32::try_from(length)?.to_be_bytes());
        message.resize(message.len() + length, 0);
        let url = format!("{}/dev.sigstore.fulcio.v2.CA/CreateSigningCertificate", instance.server.url());
        let request = client.post(url).header("content-type", "application/grpc").header("te", "trailers");
        let answer = request.body(message).send().await?;
        let found = answer.headers().get("grpc-status").context("a status in the headers")?.to_str()?;
        let words = answer.headers().get("grpc-message").map(|words| words.to_str()).transpose()?;
        if status == "8" {
            ensure!(found == status, "{length} bytes: {found} {words:?}");
            let expected = format!("larger%20than%20max%20({length}%20vs.%204194304)");
            ensure!(words.is_some_and(|words| words.contains(&expected)), "{length} bytes: {words:?}");
        } else {
            ensure!(found != "8", "{length} bytes fit: {found} {words:?}");
        }
    }
    Ok(())
}

/// Everything that is answered until the server closes.
async fn whole(mut stream: TcpStream) -> Result<String> {
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    // A reset after the answer is an end too.
    let _ = read.context("the server neither answers nor closes")?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
