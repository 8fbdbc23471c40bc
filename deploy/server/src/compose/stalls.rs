//! No handler computes for long on a thread of the runtime, whatever is sent to it.
//!
//! The whole server runs on one thread here, with a task beside it that is always ready: what passes between
//! two of its turns, in processor time of the thread, is the longest that anything else has held it.
//! Processor time, because the machine may be busy.

mod costly;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chancery_tlog::clock::SystemClock;
use chancery_tlog::key::{KeyKind, Signer as _, SoftwareSigner};
use chancery_tlog::serve::{Limits, ListenSettings, Listener};
use clap::Parser;
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::config::Config;
use crate::init::{InitArguments, init};

/// Longest that a thread may be held. A build without optimisation takes some eight times as long for what is
/// ours.
const LONGEST: Duration = Duration::from_millis(if cfg!(debug_assertions) { 20 } else { 5 });
/// Bytes of a large request: what is allowed, with some room for what stands around it.
const LARGE: usize = (4 << 20) - 4096;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    init: InitArguments,
}

/// A server on a thread of its own.
struct Watched {
    address: SocketAddr,
    longest: Arc<AtomicU64>,
    stop: CancellationToken,
    server: Option<thread::JoinHandle<()>>,
}

impl Watched {
    fn start(dir: &Path) -> Self {
        let (longest, stop) = (Arc::new(AtomicU64::new(0)), CancellationToken::new());
        let (tell, told) = std::sync::mpsc::channel();
        let (dir, watch, ending) = (dir.to_owned(), Arc::clone(&longest), stop.clone());
        let server = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let clock: Arc<dyn Clock> = Arc::new(SystemClock);
                let instance = Instance::load(Config::load(&dir).unwrap(), clock.clone()).unwrap();
                let application = application(instance, &clock).await.unwrap();
                let settings = ListenSettings::new("127.0.0.1:0".parse().unwrap(), None);
                let listener = Listener::bind(&settings, &Limits::default()).await.unwrap();
                tell.send(listener.local_addr()).unwrap();
                let sequencing: Vec<_> = application
                    .sequencers
                    .into_iter()
                    .map(|(_, sequencer)| {
                        let stop = ending.clone();
                        tokio::spawn(async move { sequencer.run(stop).await.unwrap() })
                    })
                    .collect();
                let beat = tokio::spawn(heartbeat(watch));
                listener.serve(application.routes, ending).await.unwrap();
                beat.abort();
                for sequencer in sequencing {
                    sequencer.await.unwrap();
                }
            });
        });
        Self { address: told.recv().unwrap(), longest, stop, server: Some(server) }
    }

    /// Sends a request and gives the answer's status and body, and the longest time for which it held the
    /// thread.
    fn send(&self, method: &str, path: &str, kind: &str, body: &[u8]) -> (u16, Vec<u8>, Duration) {
        self.longest.store(0, Ordering::Relaxed);
        let mut stream = TcpStream::connect(self.address).unwrap();
        let (host, length) = (self.address, body.len());
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-type: {kind}\r\n\
             content-length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let status = String::from_utf8_lossy(&answer[9..12]).parse().unwrap();
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        (status, answer.split_off(end), Duration::from_nanos(self.longest.load(Ordering::Relaxed)))
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(Err(panic)) = self.server.take().map(thread::JoinHandle::join) {
            std::panic::resume_unwind(panic);
        }
    }
}

/// Notes the longest time between two of its turns.
async fn heartbeat(longest: Arc<AtomicU64>) {
    let mut last = used();
    loop {
        tokio::task::yield_now().await;
        let now = used();
        let between = u64::try_from(now.saturating_sub(last).as_nanos()).unwrap();
        longest.fetch_max(between, Ordering::Relaxed);
        last = now;
    }
}

/// Processor time of this thread.
fn used() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(now.tv_sec).unwrap(), u32::try_from(now.tv_nsec).unwrap())
}

/// What the signatures of an envelope cover.
fn pae(kind: &str, payload: &str) -> Vec<u8> {
    format!("DSSEv1 {} {kind} {} {payload}", kind.len(), payload.len()).into_bytes()
}

/// A signed envelope with a statement of so many bytes, and the key in PEM.
fn envelope(size: usize) -> (Value, String) {
    let kind = "application/vnd.in-toto+json";
    let head = r#"{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"a","digest":{"sha256":"00"}}],"predicateType":"https://example.com/x","predicate":{"text":""#;
    let payload = format!("{head}{}\"}}}}", "x".repeat(size));
    let signer = SoftwareSigner::generate(KeyKind::EcdsaP256).unwrap();
    let signature = STANDARD.encode(signer.sign(&pae(kind, &payload)).unwrap());
    let payload = STANDARD.encode(payload);
    let envelope =
        json!({ "payloadType": kind, "payload": payload, "signatures": [{ "sig": signature, "keyid": "" }] });
    (envelope, signer.public_key().to_pem())
}

fn v1_dsse(size: usize) -> Vec<u8> {
    let (envelope, key) = envelope(size);
    let content = json!({ "envelope": envelope.to_string(), "verifiers": [STANDARD.encode(key)] });
    let entry = json!({ "apiVersion": "0.0.1", "kind": "dsse", "spec": { "proposedContent": content } });
    serde_json::to_vec(&entry).unwrap()
}

fn v1_intoto(size: usize) -> Vec<u8> {
    let (mut envelope, key) = envelope(size);
    let key = STANDARD.encode(key);
    envelope["payload"] = STANDARD.encode(envelope["payload"].as_str().unwrap()).into();
    let signature = &mut envelope["signatures"][0];
    signature["sig"] = STANDARD.encode(signature["sig"].as_str().unwrap()).into();
    signature["publicKey"] = key.into();
    let entry =
        json!({ "apiVersion": "0.0.2", "kind": "intoto", "spec": { "content": { "envelope": envelope } } });
    serde_json::to_vec(&entry).unwrap()
}

fn v2_dsse(size: usize) -> Vec<u8> {
    let (envelope, key) = envelope(size);
    let pem = key.lines().filter(|line| !line.starts_with("---")).collect::<String>();
    let verifier = json!({ "publicKey": { "rawBytes": pem }, "keyDetails": "PKIX_ECDSA_P256_SHA_256" });
    let entry = json!({ "dsseRequestV002": { "envelope": envelope, "verifiers": [verifier] } });
    serde_json::to_vec(&entry).unwrap()
}

/// A JSON object whose only member is as large as allowed.
fn padded(name: &str) -> Vec<u8> {
    format!("{{\"{name}\":\"{}\"}}", "A".repeat(LARGE)).into_bytes()
}

/// Every write, and what stands in for the largest thing that it takes or refuses.
fn writes() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let json = "application/json";
    let many = |item: &str, count: usize| vec![item; count].join(",");
    let certificate = format!("\"{}\"", "A".repeat(60_000));
    let hash = format!("\"{}\"", "0".repeat(64));
    vec![
        ("/api/v1/log/entries", json, v1_dsse(LARGE / 3)),
        ("/api/v1/log/entries", json, v1_dsse(64 * 1024)),
        ("/api/v1/log/entries", json, v1_intoto(LARGE / 3)),
        ("/api/v1/log/entries", json, padded("spec")),
        (
            "/api/v1/log/entries/retrieve",
            json,
            format!("{{\"entryUUIDs\":[{}]}}", many(&hash, 60_000)).into(),
        ),
        ("/api/v1/log/entries/retrieve", json, format!("{{\"logIndexes\":[{}]}}", many("1", 1 << 20)).into()),
        ("/api/v1/index/retrieve", json, padded("hash")),
        ("/api/v1/index/retrieve", json, padded("email")),
        ("/api/v2/log/entries", json, v2_dsse(LARGE / 2)),
        ("/api/v2/log/entries", json, padded("hashedRekordRequestV002")),
        ("/api/v2/signingCert", json, padded("certificateSigningRequest")),
        ("/api/v2/signingCert", json, format!("[{}]", many("{}", 1 << 20)).into()),
        ("/api/v1/signingCert", json, padded("certificateSigningRequest")),
        ("/ct/ct/v1/add-chain", json, format!("{{\"chain\":[{}]}}", many(&certificate, 60)).into()),
        ("/ct/ct/v1/add-pre-chain", json, padded("chain")),
        ("/api/v1/timestamp", "application/timestamp-query", vec![0x30; LARGE]),
        ("/api/v1/timestamp", json, padded("artifactHash")),
        ("/dev.sigstore.fulcio.v2.CA/CreateSigningCertificate", "application/grpc", vec![0; LARGE]),
        ("/dev.sigstore.rekor.v2.Rekor/CreateEntry", "application/grpc", vec![0; LARGE]),
    ]
}

#[test]
fn no_request_holds_a_thread_of_the_runtime_for_long() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("instance");
    let line = ["init", folder.to_str().unwrap(), "--url", "http://127.0.0.1:8472", "--signers", "any"];
    let line = line.iter().chain(&["--any-tenant"]);
    let made = tokio::runtime::Runtime::new().unwrap().block_on(init(Line::parse_from(line).init));
    made.unwrap();
    let watched = Watched::start(&folder);
    // Caches, tables and lazy things are made by the first request.
    for (path, kind, _) in writes() {
        watched.send("POST", path, kind, b"{}");
    }
    let mut held = Vec::new();
    let mut note = |what: String, status: u16, longest: Duration| {
        let verdict = if longest > LONGEST { "TOO LONG " } else { "" };
        held.push((longest > LONGEST, format!("{verdict}{longest:?} {what}: {status}")));
    };
    let mut indexes = Vec::new();
    for (path, kind, body) in writes() {
        let (status, answer, longest) = watched.send("POST", path, kind, &body);
        note(format!("POST {path} with {} bytes", body.len()), status, longest);
        if path == "/api/v1/log/entries" && status == 201 {
            let answer: Value = serde_json::from_slice(&answer).unwrap();
            indexes.extend(
                answer.as_object().unwrap().values().map(|entry| entry["logIndex"].as_u64().unwrap()),
            );
        }
    }
    for (path, what, body) in costly::requests() {
        let (status, _, longest) = watched.send("POST", path, "application/json", &body);
        note(format!("POST {path} with {what}"), status, longest);
    }
    assert!(indexes.len() >= 2, "large entries are taken, and read below: {indexes:?}");
    for index in &indexes {
        let path = format!("/api/v1/log/entries?logIndex={index}");
        let (status, _, longest) = watched.send("GET", &path, "", b"");
        assert_eq!(status, 200);
        note(format!("GET {path}"), status, longest);
    }
    let ten: Vec<u64> = indexes.iter().copied().cycle().take(10).collect();
    let body = json!({ "logIndexes": ten }).to_string();
    let (status, _, longest) =
        watched.send("POST", "/api/v1/log/entries/retrieve", "application/json", body.as_bytes());
    assert_eq!(status, 200);
    note("the largest retrieve".to_owned(), status, longest);
    for path in [
        "/rekor-v1/tile/entries/000.p/4",
        "/rekor-v1/tile/0/000.p/4",
        "/ct/ct/v1/get-entries?start=0&end=999",
    ] {
        let (status, _, longest) = watched.send("GET", path, "", b"");
        note(format!("GET {path}"), status, longest);
    }
    drop(watched);
    let report: Vec<&str> = held.iter().map(|(_, line)| line.as_str()).collect();
    assert!(held.iter().all(|(long, _)| !long), "at most {LONGEST:?}:\n{}", report.join("\n"));
    eprintln!("{}", report.join("\n"));
}
