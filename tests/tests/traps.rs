//! What a sloppy log breaks in some client: one test for each alteration of an answer that was seen to make a real
//! client fail or panic. They look at the raw answers of the running server, headers and bytes.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chancery_tests::Instance;
use chancery_tests::rekor::{RekorLog, Submitter};
use chancery_tlog::checkpoint::Checkpoint;
use chancery_tlog::key::{HashAlgorithm, KeyKind, PublicKey, Signer as _, SoftwareSigner};
use chancery_tlog::merkle::{Hash, leaf_hash, verify_inclusion};
use chancery_tlog::note::{KeyName, Note, NoteKey};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

const V1: &str = "/api/v1/log/entries";
const V2: &str = "/api/v2/log/entries";

/// An answer as it came.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: reqwest::header::HeaderMap,
    text: String,
}

impl Answer {
    fn header(&self, name: &str) -> Result<&str> {
        let value = self.headers.get(name).with_context(|| format!("no `{name}`: {self:?}"))?;
        Ok(value.to_str()?)
    }

    fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.text).with_context(|| format!("no JSON: {self:?}"))
    }

    /// Demands a status, and JSON by content and by name: a Go client shows nothing of anything else.
    fn in_json(self, status: u16) -> Result<Self> {
        ensure!(self.status == status, "{status} expected: {self:?}");
        ensure!(self.header("content-type")? == "application/json", "{self:?}");
        self.json()?;
        Ok(self)
    }

    /// The one entry of a Rekor v1 answer, and its id.
    fn entry(&self) -> Result<(String, Value)> {
        one(&self.json()?)
    }
}

/// The one member of an object.
fn one(object: &Value) -> Result<(String, Value)> {
    let members = object.as_object().with_context(|| format!("no object: {object}"))?;
    ensure!(members.len() == 1, "exactly one member: {object}");
    let (name, value) = members.iter().next().context("one member")?;
    Ok((name.clone(), value.clone()))
}

/// A running instance, asked without any client's help.
struct Server {
    instance: Instance,
    http: reqwest::Client,
    submitter: Submitter,
}

impl Server {
    async fn start() -> Result<Self> {
        let instance = Instance::start().await?;
        Ok(Self { instance, http: chancery_tests::http()?, submitter: Submitter::new()? })
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Answer> {
        let answer = request.send().await?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Ok(Answer { status, headers, text: answer.text().await? })
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.instance.server.url())
    }

    async fn get(&self, path: &str) -> Result<Answer> {
        self.send(self.http.get(self.url(path))).await
    }

    async fn post(&self, path: &str, body: &Value) -> Result<Answer> {
        self.send(self.http.post(self.url(path)).json(body)).await
    }

    /// The answer to a new Rekor v1 entry.
    async fn add_v1(&self, artifact: &str) -> Result<Answer> {
        self.post(V1, &self.submitter.hashedrekord(artifact.as_bytes())?).await?.in_json(201)
    }

    /// Answers of every way to an entry: the submission's, by id, by index and by search.
    async fn entry_v1(&self) -> Result<Vec<Value>> {
        let created = self.add_v1("an artifact").await?.json()?;
        let (id, entry) = one(&created)?;
        let by_id = self.get(&format!("{V1}/{id}")).await?.in_json(200)?.json()?;
        let by_index =
            self.get(&format!("{V1}?logIndex={}", entry["logIndex"])).await?.in_json(200)?.json()?;
        let found = self.post(&format!("{V1}/retrieve"), &json!({ "entryUUIDs": [id] })).await?;
        let found = found.in_json(200)?.json()?;
        let [by_search] = found.as_array().context("a list")?.as_slice() else {
            anyhow::bail!("one entry expected: {found}")
        };
        let answers = [created, by_id, by_index, by_search.clone()];
        answers.iter().map(|answer| Ok(one(answer)?.1)).collect()
    }

    /// The answer to a new Rekor v2 entry.
    async fn add_v2(&self, artifact: &str) -> Result<Answer> {
        self.post(V2, &hashed_rekord_v2(artifact.as_bytes())?).await?.in_json(201)
    }

    /// The Rekor v2 log of the trusted root: its `baseUrl`, and the key that its checkpoints are verified with.
    fn log_v2(&self) -> Result<(url::Url, NoteKey)> {
        let (log, key) = self.trusted_log("PKIX_ED25519")?;
        let base: url::Url = log["baseUrl"].as_str().context("baseUrl")?.parse()?;
        let host = base.host_str().context("a host")?.to_owned();
        Ok((base, NoteKey::new(KeyName::new(host)?, key)?))
    }

    fn trusted_log(&self, details: &str) -> Result<(Value, PublicKey)> {
        let root = std::fs::read(self.instance.server.trust("trusted_root.json"))?;
        let root: Value = serde_json::from_slice(&root)?;
        let logs = root["tlogs"].as_array().context("tlogs")?;
        let log = logs.iter().find(|log| log["publicKey"]["keyDetails"] == details);
        let log = log.with_context(|| format!("no {details} log in {root}"))?;
        Ok((log.clone(), PublicKey::from_spki_der(&decode(&log["publicKey"]["rawBytes"])?)?))
    }
}

fn decode(value: &Value) -> Result<Vec<u8>> {
    Ok(STANDARD.decode(value.as_str().with_context(|| format!("base64, not {value}"))?)?)
}

/// The names of an object's members, sorted.
fn members(object: &Value) -> Result<Vec<&str>> {
    let object = object.as_object().with_context(|| format!("no object: {object}"))?;
    let mut names: Vec<&str> = object.keys().map(String::as_str).collect();
    names.sort_unstable();
    Ok(names)
}

fn hashed_rekord_v2(artifact: &[u8]) -> Result<Value> {
    let signer = SoftwareSigner::generate(KeyKind::EcdsaP256)?;
    Ok(json!({ "hashedRekordRequestV002": {
        "digest": STANDARD.encode(HashAlgorithm::Sha256.digest(artifact)),
        "signature": {
            "content": STANDARD.encode(signer.sign(artifact)?),
            "verifier": {
                "publicKey": { "rawBytes": STANDARD.encode(signer.public_key().spki_der()) },
                "keyDetails": "PKIX_ECDSA_P256_SHA_256",
            },
        },
    } }))
}

/// Signature lines of a checkpoint.
fn signature_lines(checkpoint: &Value) -> Result<Vec<&str>> {
    let text = checkpoint.as_str().with_context(|| format!("a text, not {checkpoint}"))?;
    let (_, signatures) = text.split_once("\n\n").with_context(|| format!("no signatures: {text}"))?;
    ensure!(signatures.ends_with('\n'), "the last line has no end: {text}");
    Ok(signatures.lines().collect())
}

/// Demands RFC 8785, byte for byte, and none of the escapes that Go's encoder makes for the sake of HTML.
fn is_canonical(body: &[u8]) -> Result<()> {
    let value: Value = serde_json::from_slice(body)?;
    let text = String::from_utf8_lossy(body).into_owned();
    ensure!(serde_json_canonicalizer::to_vec(&value)? == body, "not canonical: {text}");
    ensure!(!text.contains("\\u00"), "escaped: {text}");
    Ok(())
}

// --- Rekor v1 -----------------------------------------------------------------------------------------------

/// cosign 3.1 panics if it does not find the entry under the ETag.
#[tokio::test]
async fn v1_etag_is_the_unquoted_lower_case_id_that_the_body_has() -> Result<()> {
    let server = Server::start().await?;
    let answer = server.add_v1("an artifact").await?;
    let (id, _) = answer.entry()?;
    ensure!(answer.header("etag")? == id, "{answer:?}");
    ensure!(id.len() == 80 && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')), "{id}");
    ensure!(answer.header("location")? == format!("{V1}/{id}"), "{answer:?}");
    Ok(())
}

/// cosign 2.5, cosign 3.1 and rekor-cli fail at 200.
#[tokio::test]
async fn v1_new_entry_is_201_and_a_read_one_200() -> Result<()> {
    let server = Server::start().await?;
    let (id, _) = server.add_v1("an artifact").await?.entry()?;
    server.get(&format!("{V1}/{id}")).await?.in_json(200)?;
    Ok(())
}

/// cosign 3.1 and rekor-cli refuse a checkpoint with a second signature.
#[tokio::test]
async fn v1_checkpoint_has_exactly_one_signature_line_wherever_it_is() -> Result<()> {
    let server = Server::start().await?;
    let mut checkpoints = vec![server.get("/api/v1/log").await?.json()?["signedTreeHead"].clone()];
    for entry in server.entry_v1().await? {
        checkpoints.push(entry["verification"]["inclusionProof"]["checkpoint"].clone());
    }
    for checkpoint in &checkpoints {
        ensure!(signature_lines(checkpoint)?.len() == 1, "{checkpoint}");
    }
    Ok(())
}

/// Upstream's members and no other, in every answer that holds an entry.
#[tokio::test]
async fn v1_entry_has_exactly_upstreams_members() -> Result<()> {
    let server = Server::start().await?;
    for entry in server.entry_v1().await? {
        ensure!(
            members(&entry)? == ["body", "integratedTime", "logID", "logIndex", "verification"],
            "{entry}"
        );
        let verification = &entry["verification"];
        ensure!(members(verification)? == ["inclusionProof", "signedEntryTimestamp"], "{entry}");
        let proof = &verification["inclusionProof"];
        ensure!(members(proof)? == ["checkpoint", "hashes", "logIndex", "rootHash", "treeSize"], "{entry}");
    }
    let log = server.get("/api/v1/log").await?.json()?;
    ensure!(
        members(&log)? == ["inactiveShards", "rootHash", "signedTreeHead", "treeID", "treeSize"],
        "{log}"
    );
    Ok(())
}

/// cosign 3.1 panics without a proof, cosign 2.5 online and sigstore-python fail.
#[tokio::test]
async fn v1_entry_always_has_an_inclusion_proof_and_a_checkpoint() -> Result<()> {
    let server = Server::start().await?;
    for entry in server.entry_v1().await? {
        let proof = &entry["verification"]["inclusionProof"];
        ensure!(proof["checkpoint"].as_str().is_some_and(|text| text.lines().count() == 5), "{entry}");
        ensure!(proof["rootHash"].as_str().is_some_and(|root| root.len() == 64), "{entry}");
    }
    Ok(())
}

/// Four clients fail at null.
#[tokio::test]
async fn v1_hashes_are_a_list_even_if_there_are_none() -> Result<()> {
    let server = Server::start().await?;
    let (_, first) = server.get(&format!("{V1}?logIndex=0")).await?.in_json(200)?.entry()?;
    let proof = &first["verification"]["inclusionProof"];
    ensure!(proof["treeSize"] == 1 && proof["hashes"] == json!([]), "{first}");
    let same = server.get("/api/v1/log/proof?firstSize=1&lastSize=1").await?.in_json(200)?.json()?;
    ensure!(same["hashes"] == json!([]), "{same}");
    Ok(())
}

/// Without a valid one cosign 2.5, rekor-cli and sigstore-python fail. `RekorLog` verifies SET, proof and checkpoint.
#[tokio::test]
async fn v1_signed_entry_timestamp_verifies_and_covers_the_index() -> Result<()> {
    let server = Server::start().await?;
    let running = &server.instance.server;
    let log = RekorLog::new(running.url(), &running.trust("rekor.pub"))?;
    let added = log.add(&server.submitter.hashedrekord(b"an artifact")?).await?.context("an idle log")?;
    let read = log.get(&added.id).await?;
    ensure!((read.index, read.integrated) == (added.index, added.integrated), "{added:?} {read:?}");
    Ok(())
}

/// cosign 2.5 and 3.1 and rekor-cli fail at a text, and at an index that the SET does not have.
#[tokio::test]
async fn v1_log_index_is_a_number_and_everywhere_the_same() -> Result<()> {
    let server = Server::start().await?;
    server.add_v1("another artifact").await?;
    let entries = server.entry_v1().await?;
    for entry in &entries {
        ensure!(entry["logIndex"].is_u64() && entry["integratedTime"].is_u64(), "{entry}");
        ensure!(entry["logIndex"] == entries[0]["logIndex"], "{entry}");
        ensure!(entry["verification"]["inclusionProof"]["logIndex"] == entry["logIndex"], "{entry}");
        ensure!(entry["verification"]["inclusionProof"]["treeSize"].is_u64(), "{entry}");
    }
    Ok(())
}

/// cosign 2.5 and gitsign need the Location, sigstore-go and sigstore-js its last part.
#[tokio::test]
async fn v1_duplicate_is_409_with_a_location_that_leads_to_the_entry() -> Result<()> {
    let server = Server::start().await?;
    let proposal = server.submitter.hashedrekord(b"an artifact")?;
    let (id, first) = server.post(V1, &proposal).await?.in_json(201)?.entry()?;
    let again = server.post(V1, &proposal).await?.in_json(409)?;
    ensure!(again.header("location")? == format!("{V1}/{id}"), "{again:?}");
    let body = again.json()?;
    ensure!(members(&body)? == ["code", "message"] && body["code"] == 409, "{body}");
    ensure!(body["message"].as_str().is_some_and(|message| message.ends_with(&id)), "{body}");
    let (found, entry) = server.get(again.header("location")?).await?.in_json(200)?.entry()?;
    ensure!(found == id && entry["body"] == first["body"] && entry["logIndex"] == first["logIndex"]);
    Ok(())
}

/// sigstore-js gives an answer five seconds. A log that waits for a ticker answers several entries under one head; here
/// each entry's own answer proves it under the head that it made itself.
#[tokio::test]
async fn v1_answer_waits_for_no_ticker() -> Result<()> {
    let server = Server::start().await?;
    for round in 0..5 {
        let (_, entry) = server.add_v1(&format!("artifact {round}")).await?.entry()?;
        let index = entry["logIndex"].as_u64().context("logIndex")?;
        ensure!(entry["verification"]["inclusionProof"]["treeSize"] == index + 1, "{entry}");
    }
    Ok(())
}

/// go-retryablehttp, sigstore-js and sigstore-go try again after 503, when Retry-After says.
#[tokio::test]
async fn overload_is_503_in_json_with_retry_after_on_every_writing_path() -> Result<()> {
    let mut instance = Instance::stopped().await?;
    let config = instance.server.folder().join("chancery.toml");
    let text = std::fs::read_to_string(&config)?;
    let set = [
        ("# max_bodies = 2048", "max_bodies = 1"),
        ("# [limits.per_address]", "[limits.per_address]"),
        ("# bodies = 512", "bodies = 8"),
    ];
    ensure!(set.iter().all(|(default, _)| text.contains(default)), "a setting has another name");
    let text = set.iter().fold(text, |text, (default, ours)| text.replace(default, ours));
    std::fs::write(&config, text)?;
    instance.server.start().await?;
    let server = Server { instance, http: chancery_tests::http()?, submitter: Submitter::new()? };
    // A body that never arrives whole keeps the one place for bodies.
    let address = server.url("").trim_start_matches("http://").to_owned();
    let head = format!("POST {V1} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 10\r\n\r\n");
    let mut slow = Vec::new();
    loop {
        let mut connection = TcpStream::connect(&address).await?;
        connection.write_all(head.as_bytes()).await?;
        slow.push(connection);
        tokio::time::sleep(Duration::from_millis(20)).await;
        if server.post(V1, &json!({})).await?.status == 503 {
            break;
        }
        ensure!(slow.len() < 8, "the place is never taken");
    }
    for path in [V1, V2, "/api/v2/signingCert", "/api/v1/signingCert", "/api/v1/timestamp"] {
        let answer = server.post(path, &json!({})).await?.in_json(503)?;
        ensure!(answer.header("retry-after")?.parse::<u32>()? >= 1, "{answer:?}");
    }
    // Whoever asks whether the server lives is not told to come again.
    ensure!(server.get("/readyz").await?.status == 200, "probes have no limit");
    drop(slow);
    Ok(())
}

/// cosign signs with an Ed25519 log and then refuses to verify.
#[tokio::test]
async fn v1_log_key_is_p256() -> Result<()> {
    let server = Server::start().await?;
    let pem = server.get("/api/v1/log/publicKey").await?;
    ensure!(pem.header("content-type")? == "application/x-pem-file" && pem.text.ends_with('\n'), "{pem:?}");
    let key = PublicKey::from_pem(&pem.text)?;
    ensure!(key.kind() == KeyKind::EcdsaP256, "{:?}", key.kind());
    ensure!(key == server.trusted_log("PKIX_ECDSA_P256_SHA_256")?.1, "the trusted root has another key");
    Ok(())
}

/// Go's encoder writes `<`, `>` and `&` as escapes unless told not to; a body that is not RFC 8785 breaks every client.
#[tokio::test]
async fn v1_body_is_canonical_json_without_html_escapes() -> Result<()> {
    let server = Server::start().await?;
    let payload_type = "application/vnd.example;of=<a>&b";
    let signer = SoftwareSigner::generate(KeyKind::EcdsaP256)?;
    let payload = r#"{"tested":true}"#;
    let signed = format!("DSSEv1 {} {payload_type} {} {payload}", payload_type.len(), payload.len());
    let signature = STANDARD.encode(signer.sign(signed.as_bytes())?);
    let proposal = json!({ "apiVersion": "0.0.2", "kind": "intoto", "spec": { "content": {
        "envelope": {
            "payload": STANDARD.encode(STANDARD.encode(payload)),
            "payloadType": payload_type,
            "signatures": [{
                "sig": STANDARD.encode(signature),
                "publicKey": STANDARD.encode(signer.public_key().to_pem()),
            }],
        },
        "hash": { "algorithm": "sha256", "value": Hash::digest(b"").to_hex() },
    } } });
    let (_, intoto) = server.post(V1, &proposal).await?.in_json(201)?.entry()?;
    let body = decode(&intoto["body"])?;
    is_canonical(&body)?;
    ensure!(String::from_utf8(body)?.contains(payload_type), "the body has the media type as it is");
    for entry in server.entry_v1().await? {
        is_canonical(&decode(&entry["body"])?)?;
    }
    Ok(())
}

/// sigstore-go looks for a signature by the bare host, and breaks on a port in the origin.
#[tokio::test]
async fn v1_origin_is_host_and_tree_without_a_port_and_named_as_the_base_url_is() -> Result<()> {
    let server = Server::start().await?;
    let (trusted, _) = server.trusted_log("PKIX_ECDSA_P256_SHA_256")?;
    let base: url::Url = trusted["baseUrl"].as_str().context("baseUrl")?.parse()?;
    let host = base.host_str().context("a host")?;
    let log = server.get("/api/v1/log").await?.json()?;
    let tree = log["treeID"].as_str().context("treeID is a text")?;
    let head = log["signedTreeHead"].as_str().context("signedTreeHead")?;
    ensure!(head.lines().next() == Some(&format!("{host} - {tree}")), "{head}");
    let [line] = signature_lines(&log["signedTreeHead"])?[..] else { anyhow::bail!("{head}") };
    ensure!(line.starts_with(&format!("— {host} ")), "{line}");
    Ok(())
}

/// Every client recomputes the root of the checkpoint from the proof beside it.
#[tokio::test]
async fn v1_tree_size_and_root_are_those_of_the_checkpoint() -> Result<()> {
    let server = Server::start().await?;
    let speaks_of = |checkpoint: &Value, size: &Value, root: &Value| -> Result<()> {
        let note = Note::parse(checkpoint.as_str().context("a checkpoint")?.as_bytes())?;
        let head = Checkpoint::parse(note.text())?;
        ensure!(*size == head.size && *root == head.root.to_hex(), "{size} {root} {checkpoint}");
        Ok(())
    };
    for entry in server.entry_v1().await? {
        let proof = &entry["verification"]["inclusionProof"];
        speaks_of(&proof["checkpoint"], &proof["treeSize"], &proof["rootHash"])?;
    }
    let log = server.get("/api/v1/log").await?.json()?;
    speaks_of(&log["signedTreeHead"], &log["treeSize"], &log["rootHash"])
}

/// sigstore-python posts to a path with a final slash.
#[tokio::test]
async fn v1_retrieve_takes_a_trailing_slash() -> Result<()> {
    let server = Server::start().await?;
    let (id, _) = server.add_v1("an artifact").await?.entry()?;
    let found =
        server.post(&format!("{V1}/retrieve/"), &json!({ "entryUUIDs": [id] })).await?.in_json(200)?;
    ensure!(found.json()?.as_array().is_some_and(|entries| entries.len() == 1), "{found:?}");
    Ok(())
}

/// Go clients print "not supported by the TextConsumer" instead of the reason.
#[tokio::test]
async fn every_refusal_is_json() -> Result<()> {
    let server = Server::start().await?;
    let post = |path: &str, kind: &str, body: String| {
        server.http.post(server.url(path)).header("content-type", kind).body(body)
    };
    let get = |path: &str| server.http.get(server.url(path));
    let unknown = "0".repeat(64);
    let huge = "x".repeat(5 * 1024 * 1024);
    for (status, request) in [
        (
            400,
            post(V1, "application/json", r#"{"kind":"hashedrekord","apiVersion":"0.0.1","spec":{}}"#.into()),
        ),
        (400, post(V1, "application/json", "{".into())),
        (422, post(V1, "application/json", r#"{"kind":"nope"}"#.into())),
        (422, post(V1, "application/json", String::new())),
        (415, post(V1, "text/plain", "{}".into())),
        (413, post(V1, "application/json", huge.clone())),
        (422, get(&format!("{V1}/not-an-id"))),
        (422, get(&format!("{V1}?logIndex=-1"))),
        (400, get("/api/v1/log/proof?lastSize=1000000")),
        (404, get("/api/v1/no/such/path")),
        (404, get("/no-such-path")),
        (405, server.http.delete(server.url("/api/v1/log"))),
        (400, post(V2, "application/json", "{}".into())),
        (400, post(V2, "application/json", "{".into())),
        (400, post(V2, "application/json", r#"{"hashedRekordRequestV002":{},"extra":1}"#.into())),
        // grpc-gateway gives no status of its own for this.
        (400, post(V2, "application/json", huge)),
        (501, get(V2)),
        (404, get("/api/v2/log/no-such-path")),
        (400, post("/api/v2/signingCert", "application/json", "{".into())),
    ] {
        let shown = format!("{request:?}").chars().take(160).collect::<String>();
        let answer = server.send(request).await?.in_json(status).context(shown)?;
        let body = answer.json()?;
        ensure!(body["code"].is_u64() && body["message"].as_str().is_some_and(|m| !m.is_empty()), "{body}");
    }
    // The exception is upstream's: of an entry that is not there it says nothing, and names no content type for it.
    let missing = server.get(&format!("{V1}/{unknown}")).await?;
    ensure!(missing.status == 404 && missing.text.is_empty(), "{missing:?}");
    ensure!(missing.header("content-type").is_err(), "{missing:?}");
    Ok(())
}

// --- Rekor v2 -----------------------------------------------------------------------------------------------

/// cosign 3.1 fails at 200; cosign 3.1 and sigstore-python fail at a member that they do not know.
#[tokio::test]
async fn v2_new_entry_is_201_with_exactly_upstreams_members() -> Result<()> {
    let server = Server::start().await?;
    let entry = server.add_v2("an artifact").await?.json()?;
    let expected = [
        "canonicalizedBody",
        "inclusionPromise",
        "inclusionProof",
        "integratedTime",
        "kindVersion",
        "logId",
        "logIndex",
    ];
    ensure!(members(&entry)? == expected, "{entry}");
    ensure!(members(&entry["logId"])? == ["keyId"], "{entry}");
    ensure!(members(&entry["kindVersion"])? == ["kind", "version"], "{entry}");
    let proof = &entry["inclusionProof"];
    ensure!(members(proof)? == ["checkpoint", "hashes", "logIndex", "rootHash", "treeSize"], "{entry}");
    ensure!(members(&proof["checkpoint"])? == ["envelope"], "{entry}");
    Ok(())
}

/// sigstore-python takes no JSON number for a 64-bit one.
#[tokio::test]
async fn v2_integers_are_texts() -> Result<()> {
    let server = Server::start().await?;
    let entry = server.add_v2("an artifact").await?.json()?;
    let proof = &entry["inclusionProof"];
    for number in [&entry["logIndex"], &entry["integratedTime"], &proof["logIndex"], &proof["treeSize"]] {
        ensure!(number.as_str().is_some_and(|text| text.parse::<u64>().is_ok()), "{number} in {entry}");
    }
    Ok(())
}

/// sigstore-js would verify the SET of an empty promise, sigstore-python and cosign 3.1 refuse one.
#[tokio::test]
async fn v2_inclusion_promise_is_null_and_the_time_zero() -> Result<()> {
    let server = Server::start().await?;
    let entry = server.add_v2("an artifact").await?.json()?;
    ensure!(entry.get("inclusionPromise") == Some(&Value::Null), "{entry}");
    ensure!(entry["integratedTime"] == "0", "{entry}");
    Ok(())
}

/// No client recovers from it; they show its words.
#[tokio::test]
async fn v2_duplicate_is_409_with_code_6_and_its_index() -> Result<()> {
    let server = Server::start().await?;
    let request = hashed_rekord_v2(b"an artifact")?;
    let entry = server.post(V2, &request).await?.in_json(201)?.json()?;
    let index = entry["logIndex"].as_str().context("logIndex")?;
    let again = server.post(V2, &request).await?.in_json(409)?;
    ensure!(again.header("x-log-index")? == index, "{again:?}");
    let message = format!("an equivalent entry already exists in the transparency log with index {index}");
    ensure!(again.json()? == json!({ "code": 6, "message": message, "details": [] }), "{again:?}");
    Ok(())
}

/// sigstore-go says "note has no verifiable signatures" if the host of the trusted root is not the origin.
#[tokio::test]
async fn v2_origin_is_the_host_of_the_base_url_and_names_the_key() -> Result<()> {
    let server = Server::start().await?;
    let (base, key) = server.log_v2()?;
    let entry = server.add_v2("an artifact").await?.json()?;
    let checkpoint = &entry["inclusionProof"]["checkpoint"]["envelope"];
    let text = checkpoint.as_str().context("an envelope")?;
    ensure!(text.lines().next() == base.host_str(), "{text}");
    let note = Note::parse(text.as_bytes())?;
    ensure!(note.verify(std::slice::from_ref(&key))?.len() == 1, "{text}");
    ensure!(decode(&entry["logId"]["keyId"])? == key.full_id(), "{entry}");
    let trusted = server.trusted_log("PKIX_ED25519")?.0;
    ensure!(trusted["logId"]["keyId"] == entry["logId"]["keyId"], "{trusted}");
    Ok(())
}

/// A checkpoint may carry witnesses' lines; the log's own must be the one that its key verifies.
#[tokio::test]
async fn v2_checkpoint_stays_valid_with_a_witness_beside_the_log() -> Result<()> {
    let server = Server::start().await?;
    let (_, key) = server.log_v2()?;
    let entry = server.add_v2("an artifact").await?.json()?;
    let checkpoint = entry["inclusionProof"]["checkpoint"]["envelope"].as_str().context("an envelope")?;
    ensure!(signature_lines(&json!(checkpoint))?.len() == 1, "{checkpoint}");
    // Key id and a timestamped Ed25519 signature, of a witness that nobody knows.
    let cosigned = format!("{checkpoint}— witness.example {}\n", STANDARD.encode([7; 4 + 8 + 64]));
    let known = Note::parse(cosigned.as_bytes())?.verify(std::slice::from_ref(&key))?.len();
    ensure!(known == 1, "{cosigned}");
    Ok(())
}

/// A proof under the checkpoint beside it, for every entry, without a ticker in between.
#[tokio::test]
async fn v2_answer_waits_for_no_ticker_and_proves_its_entry_under_its_own_checkpoint() -> Result<()> {
    let server = Server::start().await?;
    for round in 0..5 {
        let entry = server.add_v2(&format!("artifact {round}")).await?.json()?;
        let proof = &entry["inclusionProof"];
        let number = |value: &Value| -> Result<u64> { Ok(value.as_str().context("a text")?.parse()?) };
        let (index, size) = (number(&proof["logIndex"])?, number(&proof["treeSize"])?);
        ensure!(proof["logIndex"] == entry["logIndex"] && size == index + 1, "{entry}");
        let note = Note::parse(proof["checkpoint"]["envelope"].as_str().context("an envelope")?.as_bytes())?;
        let head = Checkpoint::parse(note.text())?;
        ensure!(head.size == size && head.root.as_bytes() == &decode(&proof["rootHash"])?[..], "{entry}");
        let hashes = proof["hashes"].as_array().context("hashes are a list")?;
        let hashes = hashes.iter().map(|hash| Ok(Hash::from_slice(&decode(hash)?)?));
        let hashes = hashes.collect::<Result<Vec<_>>>()?;
        let body = decode(&entry["canonicalizedBody"])?;
        is_canonical(&body)?;
        verify_inclusion(&leaf_hash(&body), index, size, &hashes, &head.root)?;
    }
    Ok(())
}
