//! One test for each row of Rekor's endpoint and error tables, over a log in memory.

mod create;
mod read;
mod search;
mod shards;
mod zones;

use std::sync::Arc;

use axum::Router;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::super::fixture::{Answer, RunningLog, get, post, send, standing_log};
use super::*;
use crate::checkpoint::Checkpoint;
use crate::clock::{Clock, SystemClock};
use crate::fixture::p256_signer;
use crate::key::{HashAlgorithm, Signer, SoftwareSigner};
use crate::merkle::{Hash, leaf_hash, verify_inclusion};
use crate::note::{KeyName, Note, NoteKey};
use crate::rekor::set_payload;
use crate::server::log::Log;

const TREE: u64 = 1_234_567_890_123_456_789;
const HOST: &str = "log.example";
const ENTRIES: &str = "/api/v1/log/entries";
const MISSING: &str = "86b5b58584bef97aecbce94dd8cc2b805b7e5fb816c9477fb01389599e3a8cc2";

/// A router over a running log.
struct Rekor {
    router: Router,
    running: RunningLog,
    signer: Arc<dyn Signer>,
}

fn log_key() -> Arc<dyn Signer> {
    Arc::new(p256_signer("kav-log-v1"))
}

fn shard(log: Log, tree_id: u64, first_index: u64, signer: Arc<dyn Signer>) -> Shard {
    Shard { log, host: HOST.to_owned(), tree_id, first_index, signer }
}

impl Rekor {
    /// Over an empty log.
    async fn start() -> Self {
        Self::over(RunningLog::start(None).await)
    }

    fn over(running: RunningLog) -> Self {
        let admission = Admission::any(Vec::new(), running.clock.clone());
        Self::with(running, admission, Gate::open())
    }

    fn with(running: RunningLog, admission: Admission, gate: Gate) -> Self {
        let signer = log_key();
        let current = shard(running.log.clone(), TREE, 0, Arc::clone(&signer));
        let router = router(RekorV1 { current, past: Vec::new(), admission, gate });
        Self { router, running, signer }
    }

    async fn get(&self, path: &str) -> Answer {
        get(&self.router, path).await
    }

    async fn post(&self, path: &str, body: &Value) -> Answer {
        post(&self.router, path, body).await
    }

    /// Adds an entry, checks everything about the answer and returns its id.
    async fn add(&self, entry: &Value) -> String {
        let answer = self.post(ENTRIES, entry).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        let (id, _) = self.check(&answer.json());
        assert_eq!(answer.header("etag"), id);
        assert_eq!(answer.header("location"), format!("{ENTRIES}/{id}"));
        id
    }

    /// Adds `count` entries about different artifacts.
    async fn fill(&self, count: usize) -> Vec<String> {
        let mut ids = Vec::new();
        for n in 0..count {
            ids.push(self.add(&hashedrekord(&format!("artifact {n}"), &p256_signer("client"))).await);
        }
        ids
    }

    /// Checks an answer as a client would: one entry; its id from its body; SET, inclusion and checkpoint.
    fn check(&self, answer: &Value) -> (String, Value) {
        let members = answer.as_object().unwrap();
        assert_eq!(members.len(), 1);
        let (id, entry) = members.iter().next().unwrap();
        let body = STANDARD.decode(entry["body"].as_str().unwrap()).unwrap();
        let leaf = leaf_hash(&body);
        assert_eq!(*id, format!("{TREE:016x}{leaf}"));
        let (key, log_id) = (self.signer.public_key(), self.signer.public_key().fingerprint());
        assert_eq!(entry["logID"], hex::encode(log_id));
        let (index, time) = (entry["logIndex"].as_u64().unwrap(), entry["integratedTime"].as_u64().unwrap());
        let set = entry["verification"]["signedEntryTimestamp"].as_str().unwrap();
        let set = STANDARD.decode(set).unwrap();
        key.verify(HashAlgorithm::Sha256, &set_payload(&body, time, &log_id, index), &set).unwrap();
        let proof = &entry["verification"]["inclusionProof"];
        assert_eq!(proof["logIndex"], index);
        let (root, size) = self.check_checkpoint(proof["checkpoint"].as_str().unwrap());
        assert_eq!(proof["rootHash"], root.to_hex());
        assert_eq!(proof["treeSize"], size);
        let hashes = proof["hashes"].as_array().unwrap().iter();
        let hashes: Vec<_> = hashes.map(|hash| Hash::from_hex(hash.as_str().unwrap()).unwrap()).collect();
        verify_inclusion(&leaf, index, size, &hashes, &root).unwrap();
        (id.clone(), entry.clone())
    }

    /// Checks a v1 checkpoint: its origin, and the log's signature as the only one.
    fn check_checkpoint(&self, text: &str) -> (Hash, u64) {
        let note = Note::parse(text.as_bytes()).unwrap();
        let key = NoteKey::new(KeyName::new(HOST).unwrap(), self.signer.public_key().clone()).unwrap();
        note.verify(std::slice::from_ref(&key)).unwrap();
        assert_eq!(note.signatures().len(), 1);
        let checkpoint = Checkpoint::parse(note.text()).unwrap();
        assert_eq!(checkpoint.origin.as_str(), format!("{HOST} - {TREE}"));
        (checkpoint.root, checkpoint.size)
    }
}

/// A proposed hashedrekord over `artifact`, signed by `key`.
fn hashedrekord(artifact: &str, key: &SoftwareSigner) -> Value {
    let signature = STANDARD.encode(key.sign(artifact.as_bytes()).unwrap());
    proposal(artifact, &signature, &key.public_key().to_pem())
}

fn proposal(artifact: &str, signature: &str, pem: &str) -> Value {
    json!({
        "apiVersion": "0.0.1",
        "kind": "hashedrekord",
        "spec": {
            "data": {"hash": {"algorithm": "sha256", "value": Hash::digest(artifact.as_bytes()).to_hex()}},
            "signature": {"content": signature, "publicKey": {"content": STANDARD.encode(pem)}},
        },
    })
}

#[tokio::test]
async fn other_methods_are_405_with_allow_and_so_is_head() {
    let rekor = Rekor::start().await;
    let rows = [
        ("PUT", ENTRIES, "GET, POST"),
        ("HEAD", ENTRIES, "GET, POST"),
        ("HEAD", "/api/v1/log", "GET"),
        ("POST", "/api/v1/log", "GET"),
        ("DELETE", "/api/v1/log/publicKey", "GET"),
        ("GET", "/api/v1/index/retrieve", "POST"),
        ("GET", "/api/v1/log/entries/retrieve/", "POST"),
        ("OPTIONS", "/api/v1/log/proof", "GET"),
    ];
    for (method, path, allow) in rows {
        let answer = send(&rekor.router, method, path, &[], "").await;
        assert_eq!((answer.status.as_u16(), answer.header("allow")), (405, allow), "{method} {path}");
    }
    let answer = send(&rekor.router, "PUT", ENTRIES, &[], "").await;
    assert_eq!(answer.problem(), (405, 405, "method PUT is not allowed, but [GET,POST] are".to_owned()));
}

#[tokio::test]
async fn any_origin_may_read_and_a_preflight_is_204() {
    let rekor = Rekor::start().await;
    let origin = ("origin", "https://search.example");
    let answer = send(&rekor.router, "GET", "/api/v1/log", &[origin], "").await;
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    let preflight = [origin, ("access-control-request-method", "POST")];
    let answer = send(&rekor.router, "OPTIONS", ENTRIES, &preflight, "").await;
    assert_eq!((answer.status.as_u16(), answer.header("access-control-allow-origin")), (204, "*"));
    let answer = send(&rekor.router, "POST", ENTRIES, &[origin], "{}").await;
    assert_eq!(answer.header("access-control-allow-origin"), "*", "pages may write");
}

#[tokio::test]
async fn sealed_routes_allow_no_origin_even_if_entries_are_open() {
    let rekor = Rekor::start().await;
    let id = rekor.fill(1).await.remove(0);
    let (origin, json) = (("origin", "https://search.example"), ("content-type", "application/json"));
    for (method, path, body) in [
        ("GET", format!("{ENTRIES}?logIndex=0"), ""),
        ("GET", format!("{ENTRIES}/{id}"), ""),
        ("POST", format!("{ENTRIES}/retrieve"), "{\"logIndexes\":[0]}"),
        ("POST", "/api/v1/index/retrieve".to_owned(), "{\"email\":\"a@b.example\"}"),
    ] {
        let answer = send(&rekor.router, method, &path, &[origin, json], body).await;
        let allowed = answer.header("access-control-allow-origin");
        assert_eq!((answer.status.as_u16(), allowed), (200, ""), "{method} {path}");
        let preflight = [origin, ("access-control-request-method", method)];
        let answer = send(&rekor.router, "OPTIONS", &path, &preflight, "").await;
        assert_eq!(answer.header("access-control-allow-origin"), "", "OPTIONS for {method} {path}");
    }
}

#[tokio::test]
async fn no_get_may_be_cached() {
    let rekor = Rekor::start().await;
    rekor.fill(1).await;
    for path in [
        "/api/v1/log",
        "/api/v1/log/publicKey",
        "/api/v1/log/proof?lastSize=1",
        &format!("{ENTRIES}?logIndex=0"),
    ] {
        let answer = rekor.get(path).await;
        assert_eq!(answer.status, 200, "{path}");
        let cached = "no-cache, no-store, no-transform, must-revalidate, private, max-age=0";
        assert_eq!(answer.header("cache-control"), cached, "{path}");
        assert_eq!(answer.header("pragma"), "no-cache");
        assert_eq!(answer.header("x-accel-expires"), "0");
        assert!(answer.header("expires").starts_with("Thu, 01 Jan 1970"));
    }
}

#[tokio::test]
async fn every_path_takes_a_trailing_slash_and_doubled_ones() {
    let rekor = Rekor::start().await;
    let id = rekor.fill(1).await.remove(0);
    for path in [
        "/api/v1/log/".to_owned(),
        "//api/v1/log".to_owned(),
        "/api/v1//log//".to_owned(),
        format!("/{ENTRIES}?logIndex=0"),
        "/api/v1/log/publicKey/".to_owned(),
        "/api/v1/log/proof/?lastSize=1".to_owned(),
        format!("{ENTRIES}/?logIndex=0"),
        format!("{ENTRIES}/{id}/"),
        "/ping/".to_owned(),
    ] {
        assert_eq!(rekor.get(&path).await.status, 200, "{path}");
    }
    for path in [
        "/api/v1/log/entries/retrieve/",
        "/api/v1/index/retrieve/",
        "//api/v1/log/entries/retrieve",
        "/api/v1//log/entries/retrieve/",
    ] {
        assert_eq!(rekor.post(path, &json!({})).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn ping_is_a_dot() {
    let rekor = Rekor::start().await;
    let answer = rekor.get("/ping").await;
    assert_eq!((answer.status.as_u16(), answer.text()), (200, "."));
    let answer = send(&rekor.router, "HEAD", "/ping", &[], "").await;
    assert_eq!((answer.status.as_u16(), answer.text()), (200, ""));
}

#[tokio::test]
async fn a_log_is_born_with_a_signed_statement_of_its_own() {
    let signer = log_key();
    let clock = crate::clock::FixedClock::new(crate::fixture::NOON);
    let birth = birth(HOST, TREE, &signer, &clock).unwrap();
    let statement = String::from_utf8(birth.extra.to_vec()).unwrap();
    assert_eq!(statement, format!("The log `{HOST} - {TREE}` was born at {}.\n", clock.now()));
    let rekor = Rekor::over(RunningLog::start(Some(birth)).await);
    let (_, entry) = rekor.check(&rekor.get(&format!("{ENTRIES}?logIndex=0")).await.json());
    let body = STANDARD.decode(entry["body"].as_str().unwrap()).unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap();
    let digest = Hash::digest(statement.as_bytes()).to_hex();
    assert_eq!(body["spec"]["data"]["hash"]["value"], digest);
    let key = STANDARD.encode(signer.public_key().to_pem());
    assert_eq!(body["spec"]["signature"]["publicKey"]["content"], key);
    // Nobody else's entry gets index 0.
    let answer = rekor.post(ENTRIES, &hashedrekord("first", &p256_signer("client"))).await;
    assert_eq!(rekor.check(&answer.json()).1["logIndex"], 1);
}
