//! An unauthenticated reader without manners: it asks for everything that a server might answer, by every method, and
//! keeps every answer, headers included. Refused paths are requested again in all alternative spellings.
//!
//! It starts from what is documented, and tries whatever it learns: tree sizes become indexes, tiles and proofs; hashes
//! in texts, in base64 and in tiles become entry ids and queries; paths in headers and file names in JSON are followed.

use std::collections::{BTreeSet, VecDeque};

use anyhow::{Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use serde_json::{Value, json};

use crate::raw::RawClient;
use crate::spellings::spellings;

/// Methods that are tried on every path besides GET.
const METHODS: [&str; 7] = ["HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"];
/// Where logs are, and would be.
const PREFIXES: [&str; 5] = ["", "/api/v2", "/rekor-v1", "/rekor-v2", "/ct"];
/// Where Rekor v1 answers several questions at once.
const RETRIEVE: &str = "/api/v1/log/entries/retrieve";
/// Where to start.
const START: [&str; 40] = [
    "/",
    "//",
    "/index.html",
    "/favicon.ico",
    "/robots.txt",
    "/ping",
    "/healthz",
    "/readyz",
    "/livez",
    "/metrics",
    "/debug/pprof/",
    "/api/v1/version",
    "/api/v1/log",
    "/api/v1/log/",
    "/api/v1/log?stable=true",
    "/api/v1/log/publicKey",
    "/api/v1/log/entries",
    "/api/v1/log/proof",
    "/api/v1/index/retrieve",
    "/api/v1/rootCert",
    "/api/v1/timestamp",
    "/api/v1/timestamp/certchain",
    "/api/v1/signingCert",
    "/api/v2/signingCert",
    "/api/v2/trustBundle",
    "/api/v2/configuration",
    "/api/v2/log/entries",
    "/api/v2/log",
    "/ct/ct/v1/get-sth",
    "/ct/ct/v1/get-roots",
    "/ct/ct/v1/get-entries",
    "/ct/log.v3.json",
    "/.well-known/",
    "/.well-known/chancery",
    "/.well-known/chancery/",
    "/tuf",
    "/tuf/",
    "/tuf/targets/",
    "/tuf/root.json",
    "/tuf/timestamp.json",
];
const TRUST: [&str; 9] = [
    "trusted_root.json",
    "signing_config.json",
    "client_trust_config.json",
    "ca-chain.pem",
    "ct.pub",
    "rekor.pub",
    "rekor-v2.pub",
    "tsa-chain.pem",
    "policy.yaml",
];
/// Unary methods without arguments.
const GRPC: [&str; 8] = [
    "grpc.health.v1.Health/Check",
    "grpc.health.v1.Health/List",
    "dev.sigstore.fulcio.v2.CA/GetTrustBundle",
    "dev.sigstore.fulcio.v2.CA/GetConfiguration",
    "dev.sigstore.rekor.v2.Rekor/GetCheckpoint",
    "dev.sigstore.rekor.v2.Rekor/GetTile",
    "dev.sigstore.rekor.v2.Rekor/GetEntryBundle",
    "grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
];
/// Hashes that are tried. A sealed server shows fewer; an open one fills its answers with them, and one is as good as
/// another there.
const MOST_HASHES: usize = 300;
/// More answers than this are a crawler that feeds itself.
const MOST: usize = 100_000;
/// Methods that are tried with all spellings of a refused path.
const READING: [&str; 2] = ["GET", "HEAD"];
/// Methods without any handler.
const STRANGE: [&str; 5] = ["OPTIONS", "TRACE", "BREW", "get", "GETS"];

/// An answer.
pub struct Answer {
    /// What was asked, for people.
    pub request: String,
    /// Status code.
    pub status: u16,
    /// Headers, trailers and body as they came, compressed or not.
    pub bytes: Vec<u8>,
}

/// A crawler, and everything that it was answered.
pub struct Crawler {
    base: String,
    http: reqwest::Client,
    http2: reqwest::Client,
    queue: VecDeque<String>,
    known: BTreeSet<String>,
    hashes: BTreeSet<String>,
    size: u64,
    tree: Option<String>,
    answers: Vec<Answer>,
}

impl Crawler {
    /// One that starts at the server at `base`.
    pub fn new(base: &str) -> Result<Self> {
        let http2 = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build()?;
        let mut crawler = Self {
            base: base.trim_end_matches('/').to_owned(),
            http: crate::http()?,
            http2,
            queue: VecDeque::new(),
            known: BTreeSet::new(),
            hashes: BTreeSet::new(),
            size: 0,
            tree: None,
            answers: Vec::new(),
        };
        for path in START {
            crawler.plan(path);
        }
        for file in TRUST {
            crawler.plan(format!("/.well-known/chancery/{file}"));
            crawler.plan(format!("/trust/{file}"));
        }
        for role in ["root", "targets", "snapshot", "timestamp"] {
            (1..4).for_each(|version| crawler.plan(format!("/tuf/{version}.{role}.json")));
        }
        for prefix in PREFIXES {
            crawler.plan(format!("{prefix}/checkpoint"));
        }
        Ok(crawler)
    }

    /// Crawls until there is nothing new to ask for; every answer.
    pub async fn crawl(mut self) -> Result<Vec<Answer>> {
        loop {
            while let Some(path) = self.queue.pop_front() {
                self.get(&path).await?;
            }
            // Plans only what was not asked before, so this comes to an end.
            self.plan_by_size();
            self.plan_by_hash();
            if self.queue.is_empty() {
                break;
            }
        }
        self.ask_by_every_method().await?;
        self.spell().await?;
        self.search().await?;
        self.call().await?;
        Ok(self.answers)
    }

    fn plan(&mut self, path: impl Into<String>) {
        let path = path.into();
        if self.known.insert(path.clone()) {
            self.queue.push_back(path);
        }
    }

    /// Everything that a tree of this size may have: one index and one width more than there are.
    fn plan_by_size(&mut self) {
        let size = self.size;
        for index in 0..=size {
            self.plan(format!("/api/v1/log/entries?logIndex={index}"));
            self.plan(format!("/api/v1/log/entries/?logIndex={index}"));
            self.plan(format!("/api/v1/log/proof?firstSize=1&lastSize={index}"));
            self.plan(format!("/ct/ct/v1/get-entries?start={index}&end={index}"));
            self.plan(format!("/ct/ct/v1/get-entries?start={index}&end={}", index + size));
            self.plan(format!("/ct/ct/v1/get-entry-and-proof?leaf_index={index}&tree_size={}", index + 1));
            self.plan(format!("/ct/ct/v1/get-sth-consistency?first=1&second={index}"));
        }
        for prefix in PREFIXES {
            for kind in ["0", "1", "2", "entries", "data", "names", "extra"] {
                self.plan(format!("{prefix}/tile/{kind}/000"));
                self.plan(format!("{prefix}/tile/{kind}/001"));
                self.plan(format!("{prefix}/tile/{kind}/x000/000"));
                (1..=size + 1).for_each(|width| self.plan(format!("{prefix}/tile/{kind}/000.p/{width}")));
            }
            // Doors that look like another one.
            for path in [
                "tile/entries/000/",
                "tile//entries/000",
                "tile/%65ntries/000",
                "tile/0/../entries/000",
                "tile/0/%2e%2e/entries/000",
                "tile/ENTRIES/000",
                "tile/entries%2f000",
                "tile/entries/000?x=y",
                "/tile/entries/000.p/1",
            ] {
                self.plan(format!("{prefix}/{path}"));
            }
        }
    }

    fn plan_by_hash(&mut self) {
        let size = self.size;
        for hash in self.hashes.clone() {
            let tree = self.tree.clone().unwrap_or_default();
            for id in [hash.clone(), format!("{tree}{hash}"), hash.chars().skip(16).collect()] {
                self.plan(format!("/api/v1/log/entries/{id}"));
            }
            self.plan(format!("/ct/issuer/{hash}"));
            if let Ok(bytes) = hex::decode(&hash) {
                let text: String =
                    url::form_urlencoded::byte_serialize(STANDARD.encode(bytes).as_bytes()).collect();
                self.plan(format!("/ct/ct/v1/get-proof-by-hash?hash={text}&tree_size={size}"));
            }
        }
    }

    /// Asks plainly; and unless the path is one of the many with a hash, for a compressed answer and with a token that
    /// nobody gave it.
    async fn get(&mut self, path: &str) -> Result<()> {
        let variants: [&[(&str, &str)]; 3] = [
            &[],
            &[("accept-encoding", "gzip"), ("range", "bytes=0-")],
            &[("authorization", "Bearer 0123456789abcdef0123456789abcdef")],
        ];
        let count = if path.len() > 64 { 1 } else { variants.len() };
        for headers in &variants[..count] {
            let mut request = self.http.get(format!("{}{path}", self.base));
            for (name, value) in *headers {
                request = request.header(*name, *value);
            }
            self.ask(&format!("GET {path}"), request).await?;
        }
        Ok(())
    }

    /// Sends a request, keeps the answer and learns from it.
    async fn ask(&mut self, shown: &str, request: reqwest::RequestBuilder) -> Result<()> {
        ensure!(self.answers.len() < MOST, "the crawler does not come to an end: {shown}");
        let answer = request.send().await?;
        let status = answer.status().as_u16();
        // A server that answers nobody leaks nothing, and proves nothing.
        ensure!(!matches!(status, 429 | 503), "{shown} is answered {status}: the crawler was held off");
        let mut bytes = Vec::new();
        for (name, value) in answer.headers() {
            bytes.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
        }
        bytes.extend(b"\r\n");
        let body = answer.bytes().await?;
        bytes.extend(&body);
        self.learn(shown, status, &body, &bytes);
        self.answers.push(Answer { request: shown.to_owned(), status, bytes });
        Ok(())
    }

    fn learn(&mut self, shown: &str, status: u16, body: &[u8], bytes: &[u8]) {
        if !(200..300).contains(&status) {
            return;
        }
        if shown.contains("/tile/") && body.len().is_multiple_of(32) {
            body.chunks(32).for_each(|hash| self.learn_hash(hex::encode(hash)));
        }
        let text = String::from_utf8_lossy(bytes).into_owned();
        for run in text.split(|c: char| !c.is_ascii_hexdigit()) {
            if matches!(run.len(), 64 | 80) {
                self.learn_hash(run.to_owned());
            }
        }
        for run in text.split(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '+' | '/' | '=')) {
            if run.len() == 44 && STANDARD.decode(run).is_ok_and(|bytes| bytes.len() == 32) {
                self.learn_hash(hex::encode(STANDARD.decode(run).unwrap_or_default()));
            }
        }
        // A checkpoint's second line.
        if shown.ends_with("/checkpoint") {
            let size = text.split("\r\n\r\n").nth(1).and_then(|note| note.lines().nth(1)?.parse().ok());
            self.size = self.size.max(size.unwrap_or_default());
        }
        if let Ok(json) = serde_json::from_slice(body) {
            self.learn_json(&json);
        }
    }

    fn learn_hash(&mut self, hash: String) {
        if self.hashes.len() < MOST_HASHES {
            self.hashes.insert(hash);
        }
    }

    fn learn_json(&mut self, json: &Value) {
        match json {
            Value::Object(members) => {
                for (name, value) in members {
                    if matches!(name.as_str(), "treeSize" | "tree_size") {
                        self.size = self.size.max(value.as_u64().unwrap_or_default());
                    }
                    if let ("treeID", Some(Ok(tree))) = (name.as_str(), value.as_str().map(str::parse::<u64>))
                    {
                        self.tree = Some(format!("{tree:016x}"));
                    }
                    // Targets of a TUF repository, which are found under their name and under their hash.
                    if let Some(hash) = value["hashes"]["sha256"].as_str() {
                        self.plan(format!("/tuf/targets/{name}"));
                        self.plan(format!("/tuf/targets/{hash}.{name}"));
                        self.plan(format!("/tuf/{hash}.{name}"));
                    }
                    self.learn_json(value);
                }
            }
            Value::Array(values) => values.iter().for_each(|value| self.learn_json(value)),
            Value::String(text) if text.starts_with('/') && text.len() < 200 => self.plan(text.clone()),
            Value::String(text) => {
                if let Some(path) = text.strip_prefix(&self.base.clone()).filter(|path| path.starts_with('/'))
                {
                    self.plan(path);
                }
            }
            _ => {}
        }
    }

    async fn ask_by_every_method(&mut self) -> Result<()> {
        // Of paths that differ in a number alone, the first few.
        let mut shapes = BTreeSet::new();
        let shape =
            |path: &str| path.replace(|c: char| c.is_ascii_digit(), "").chars().take(24).collect::<String>();
        let paths: Vec<String> =
            self.known.iter().filter(|path| shapes.insert(shape(path))).cloned().collect();
        for path in paths {
            for method in METHODS {
                let method = Method::from_bytes(method.as_bytes())?;
                let shown = format!("{method} {path}");
                let request = self.http.request(method, format!("{}{path}", self.base));
                self.ask(&shown, request.json(&json!({}))).await?;
            }
        }
        Ok(())
    }

    /// Requests refused paths in all alternative spellings, and with unusual methods and hosts.
    async fn spell(&mut self) -> Result<()> {
        let mut raw = RawClient::new(&self.base)?;
        let here = raw.address().to_owned();
        for path in self.refused() {
            let absolute = [format!("http://{here}{path}"), format!("https://elsewhere.example{path}")];
            for target in spellings(&path).into_iter().chain(absolute) {
                for method in READING {
                    self.ask_raw(&mut raw, method, &target, &[]).await?;
                }
            }
            for method in STRANGE {
                self.ask_raw(&mut raw, method, &path, &[]).await?;
            }
            for host in ["localhost", "elsewhere.example", "", "[::1]:1", "a b"] {
                self.ask_raw(&mut raw, "GET", &path, &[("host", host)]).await?;
            }
        }
        Ok(())
    }

    /// One path of each shape that was answered 401.
    fn refused(&self) -> Vec<String> {
        let refused = self.answers.iter().filter(|answer| answer.status == 401);
        let paths = refused.filter_map(|answer| answer.request.strip_prefix("GET "));
        let mut shapes = BTreeSet::new();
        let shape = |path: &str| path.replace(|c: char| c.is_ascii_hexdigit(), "");
        paths.filter(|path| shapes.insert(shape(path))).map(str::to_owned).collect()
    }

    async fn ask_raw(
        &mut self,
        raw: &mut RawClient,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
    ) -> Result<()> {
        let shown = format!("raw {method} {target} {headers:?}");
        ensure!(self.answers.len() < MOST, "the crawler does not come to an end: {shown}");
        let answer = raw.ask(method, target, headers, "").await?;
        ensure!(!matches!(answer.status, 429 | 503), "{shown} is answered {}: held off", answer.status);
        self.answers.push(Answer { request: shown, status: answer.status, bytes: answer.bytes() });
        Ok(())
    }

    /// Questions whose answers are entries.
    async fn search(&mut self) -> Result<()> {
        let mut questions = Vec::new();
        for index in 0..=self.size {
            for path in [RETRIEVE, "/api/v1/log/entries/retrieve/", "//api/v1/log/entries/retrieve"] {
                questions.push((path, json!({ "logIndexes": [index] })));
            }
        }
        for hash in self.hashes.clone() {
            let tree = self.tree.clone().unwrap_or_default();
            for id in [hash.clone(), format!("{tree}{hash}")] {
                questions.push((RETRIEVE, json!({ "entryUUIDs": [id] })));
            }
            questions.push(("/api/v1/index/retrieve", json!({ "hash": format!("sha256:{hash}") })));
        }
        questions.push(("/api/v1/index/retrieve", json!({ "email": "somebody@example.com" })));
        for (path, question) in questions {
            let request = self.http.post(format!("{}{path}", self.base)).json(&question);
            self.ask(&format!("POST {path} {question}"), request).await?;
        }
        Ok(())
    }

    async fn call(&mut self) -> Result<()> {
        for method in GRPC {
            let request = self.http2.post(format!("{}/{method}", self.base));
            let request = request.header("content-type", "application/grpc").header("te", "trailers");
            self.ask(&format!("gRPC {method}"), request.body(&[0; 5][..])).await?;
        }
        Ok(())
    }
}
