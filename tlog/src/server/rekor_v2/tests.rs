//! One test for each row of the answer and error tables, over a log in memory.

use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use p256::ecdsa::signature::Signer as _;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::super::fixture::{Answer, get, post, send};
use super::*;
use crate::checkpoint::{Checkpoint, Origin};
use crate::clock::{Clock, FixedClock};
use crate::fixture::{NOON, p256_secret, p256_signer};
use crate::key::{HashAlgorithm, Signer, SoftwareSigner};
use crate::merkle::{Hash, leaf_hash, verify_inclusion};
use crate::rekor_v2::Body as Leaf;
use crate::server::log::{AddError, LogSettings};
use crate::server::sequencer::Sequencer;
use crate::server::store::Memory;
use crate::tile::decode_bundle;

const ENTRIES: &str = "/api/v2/log/entries";
const ORIGIN: &str = "log.example";

/// The log key of the known-answer vectors.
fn log_key() -> Arc<dyn Signer> {
    let secret = ed25519_dalek::SigningKey::from_bytes(Hash::digest(b"kav-log-v2").as_bytes());
    // RFC 8410 §7, version 1.
    let prefix = hex::decode("302e020100300506032b657004220420").unwrap();
    let document = [&prefix[..], &secret.to_bytes()].concat();
    Arc::new(SoftwareSigner::from_pkcs8_der(&document).unwrap())
}

async fn open(settings: LogSettings, birth: Option<Submission>) -> (Log, Sequencer) {
    let clock = Arc::new(FixedClock::new(NOON));
    let store = Memory::new();
    Log::create(&settings, &store, log_key(), &*clock, birth).await.unwrap();
    let clock: Arc<dyn Clock> = clock;
    Log::open(settings, Arc::new(store), log_key(), clock).await.unwrap()
}

fn settings() -> LogSettings {
    LogSettings { min_free_bytes: 0, ..LogSettings::new(Origin::new(ORIGIN).unwrap()) }
}

/// A router over a running log.
pub(super) struct Rekor {
    pub(super) router: Router,
    shutdown: CancellationToken,
    sequencer: JoinHandle<()>,
}

impl Rekor {
    pub(super) async fn start(birth: Option<Submission>) -> Self {
        let (log, sequencer) = open(settings(), birth).await;
        let shutdown = CancellationToken::new();
        let running = sequencer.run(shutdown.clone());
        let sequencer = tokio::spawn(async move { running.await.unwrap() });
        let router = router(RekorV2::new(log, log_key().public_key()).unwrap(), &Gate::open());
        Self { router, shutdown, sequencer }
    }

    pub(super) async fn add(&self, request: &Value) -> Answer {
        post(&self.router, ENTRIES, request).await
    }
}

/// A signature of the key of `label` over `message`, as a request.
pub(super) fn request(label: &str, message: &[u8]) -> Value {
    let signature: p256::ecdsa::DerSignature =
        p256::ecdsa::SigningKey::from(p256_secret(label)).sign(message);
    let key = p256_signer(label).public_key().spki_der().to_vec();
    json!({ "hashedRekordRequestV002": {
        "digest": STANDARD.encode(HashAlgorithm::Sha256.digest(message)),
        "signature": {
            "content": STANDARD.encode(signature.as_bytes()),
            "verifier": {
                "publicKey": { "rawBytes": STANDARD.encode(key) },
                "keyDetails": "PKIX_ECDSA_P256_SHA_256",
            },
        },
    } })
}

pub(super) fn decode(json: &Value) -> Vec<u8> {
    STANDARD.decode(json.as_str().unwrap()).unwrap()
}

fn number(json: &Value) -> u64 {
    json.as_str().unwrap().parse().unwrap()
}

/// Verifies an answer as a client does that knows the log's key and name.
pub(super) fn verify(entry: &Value) {
    let key = NoteKey::new(KeyName::new(ORIGIN).unwrap(), log_key().public_key().clone()).unwrap();
    assert_eq!(decode(&entry["logId"]["keyId"]), key.full_id());
    let proof = &entry["inclusionProof"];
    let note = Note::parse(proof["checkpoint"]["envelope"].as_str().unwrap().as_bytes()).unwrap();
    note.verify(&[key]).unwrap();
    let checkpoint = Checkpoint::parse(note.text()).unwrap();
    assert_eq!(checkpoint.origin.as_str(), ORIGIN);
    assert_eq!(number(&proof["treeSize"]), checkpoint.size);
    assert_eq!(decode(&proof["rootHash"]), checkpoint.root.as_bytes());
    assert_eq!(proof["logIndex"], entry["logIndex"]);
    let hashes = proof["hashes"].as_array().unwrap();
    let hashes: Vec<_> = hashes.iter().map(|hash| Hash::from_slice(&decode(hash)).unwrap()).collect();
    let leaf = leaf_hash(&decode(&entry["canonicalizedBody"]));
    verify_inclusion(&leaf, number(&entry["logIndex"]), checkpoint.size, &hashes, &checkpoint.root).unwrap();
}

#[tokio::test]
async fn the_known_request_in_an_empty_log_gives_the_known_answer() {
    let rekor = Rekor::start(None).await;
    let answer = rekor.add(&request("kav-signer", b"hello\n")).await;
    assert_eq!(answer.status, 201);
    let checkpoint = "log.example\n1\nhrW1hYS++XrsvOlN2MwrgFt+X7gWyUd/sBOJWZ46jMI=\n\n\
        — log.example C9ALPY4m9EOyWfgyzp9gK09PKGgaL5Rmt9tx4mXcjdv225myxJkG361Hbsnuc0p3kz1j+wDAsE7tBwJGeaj8HRaZ7g8=\n";
    let entry = answer.json();
    assert_eq!(
        entry,
        json!({
            "logIndex": "0",
            "logId": { "keyId": "C9ALPUjJtd2FaiQtfWKIFYh0oLL26OLnsJ0Y+ZWOlWw=" },
            "kindVersion": { "kind": "hashedrekord", "version": "0.0.2" },
            "integratedTime": "0",
            "inclusionPromise": null,
            "inclusionProof": {
                "logIndex": "0",
                "rootHash": "hrW1hYS++XrsvOlN2MwrgFt+X7gWyUd/sBOJWZ46jMI=",
                "treeSize": "1",
                "hashes": [],
                "checkpoint": { "envelope": checkpoint },
            },
            "canonicalizedBody": entry["canonicalizedBody"],
        })
    );
    assert_eq!(decode(&entry["canonicalizedBody"]).len(), 489);
    verify(&entry);
}

#[tokio::test]
async fn every_answer_proves_its_entry_under_its_own_checkpoint() {
    let rekor = Rekor::start(None).await;
    let requests: Vec<_> = (0..20).map(|n| request("kav-signer", &[n])).collect();
    let answers = futures::future::join_all(requests.iter().map(|request| rekor.add(request))).await;
    let mut indices = Vec::new();
    for answer in answers {
        assert_eq!(answer.status, 201);
        let entry = answer.json();
        verify(&entry);
        indices.push(number(&entry["logIndex"]));
    }
    indices.sort_unstable();
    assert_eq!(indices, (0..20).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_envelope_becomes_a_dsse_entry() {
    let rekor = Rekor::start(None).await;
    let pae = crate::rekor::pae("text/plain", b"hello");
    let mut request = request("kav-signer", &pae);
    let signature = request["hashedRekordRequestV002"]["signature"].take();
    request = json!({ "dsseRequestV002": {
        "envelope": { "payload": "aGVsbG8=", "payloadType": "text/plain",
            "signatures": [{ "sig": signature["content"], "keyid": "" }] },
        "verifiers": [signature["verifier"]],
    } });
    let answer = rekor.add(&request).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let entry = answer.json();
    assert_eq!(entry["kindVersion"], json!({ "kind": "dsse", "version": "0.0.2" }));
    verify(&entry);
    request["dsseRequestV002"]["envelope"]["payload"] = json!("aGVsbA==");
    let (status, code, message) = rekor.add(&request).await.problem();
    assert_eq!((status, code), (400, 3));
    assert!(message.starts_with("invalid dsse request"), "{message}");
}

#[tokio::test]
async fn the_media_type_is_not_looked_at() {
    let rekor = Rekor::start(None).await;
    let body = request("kav-signer", b"hello\n").to_string();
    assert_eq!(
        send(&rekor.router, "POST", ENTRIES, &[("content-type", "text/plain")], body).await.status,
        201
    );
}

#[tokio::test]
async fn a_duplicate_is_409_and_names_its_index() {
    let rekor = Rekor::start(None).await;
    rekor.add(&request("kav-signer", b"first")).await;
    rekor.add(&request("kav-signer", b"second")).await;
    let answer = rekor.add(&request("kav-signer", b"second")).await;
    assert_eq!(answer.header("x-log-index"), "1");
    let message = "an equivalent entry already exists in the transparency log with index 1";
    assert_eq!(answer.problem(), (409, 6, message.to_owned()));
    assert_eq!(answer.json()["details"], json!([]));
}

#[tokio::test]
async fn what_is_no_request_is_400_with_code_3() {
    let rekor = Rekor::start(None).await;
    let mut wrong = request("kav-signer", b"hello\n");
    wrong["hashedRekordRequestV002"]["digest"] = json!(STANDARD.encode([0; 32]));
    let mut unknown = request("kav-signer", b"hello\n");
    unknown["extra"] = json!(1);
    for (body, start) in [
        (wrong.to_string(), "invalid hashedrekord request"),
        (unknown.to_string(), "malformed request: unknown field"),
        (String::new(), "invalid type, must be hashedrekord"),
        ("{}".to_owned(), "invalid type, must be hashedrekord"),
        ("{".to_owned(), "malformed request"),
        (" ".repeat(4_194_305), "http: request body too large"),
    ] {
        let answer = send(&rekor.router, "POST", ENTRIES, &[], body).await;
        let (status, code, message) = answer.problem();
        assert_eq!((status, code), (400, 3), "{message}");
        assert!(message.starts_with(start), "{message}");
        assert_eq!(answer.json()["details"], json!([]));
    }
}

#[tokio::test]
async fn a_leaf_that_fits_no_bundle_is_413_in_clear_words() {
    let key = p256_signer("kav-signer").public_key().clone();
    let certificate = crate::fixture::Authority::root("Large", |_| {}).leaf(&key, |params| {
        params.custom_extensions = vec![crate::fixture::extension(&[1, 2, 3, 4], &[0; 50_000])];
    });
    let mut large = request("kav-signer", b"hello\n");
    large["hashedRekordRequestV002"]["signature"]["verifier"] = json!({
        "x509Certificate": { "rawBytes": STANDARD.encode(certificate.der()) },
        "keyDetails": "PKIX_ECDSA_P256_SHA_256",
    });
    let (status, code, message) = Rekor::start(None).await.add(&large).await.problem();
    assert_eq!((status, code), (413, 3));
    assert!(message.contains("a leaf has at most 65535"), "{message}");
}

#[tokio::test]
async fn a_full_pool_is_503_with_code_14_and_a_time_to_retry() {
    let full = LogSettings { max_pool_entries: 0, ..settings() };
    let (log, _sequencer) = open(full, None).await;
    let router = router(RekorV2::new(log, log_key().public_key()).unwrap(), &Gate::open());
    let answer = post(&router, ENTRIES, &request("kav-signer", b"hello\n")).await;
    assert_eq!(answer.problem(), (503, 14, "reached max pushback; retry".to_owned()));
    assert!(answer.header("retry-after").parse::<u64>().unwrap() >= 1);
}

#[tokio::test]
async fn a_closed_log_is_503_and_still_finds_what_it_has() {
    let mut rekor = Rekor::start(None).await;
    rekor.add(&request("kav-signer", b"first")).await;
    rekor.shutdown.cancel();
    (&mut rekor.sequencer).await.unwrap();
    let answer = rekor.add(&request("kav-signer", b"second")).await;
    assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (503, "2"));
    assert_eq!(rekor.add(&request("kav-signer", b"first")).await.status, 409);
    assert_eq!(get(&rekor.router, "/checkpoint").await.status, 200);
}

#[test]
fn a_failure_inside_says_nothing_of_it() {
    let inside = crate::server::store::StoreError::Damaged("/var/lib/secret".to_owned());
    for error in [AddError::Unknown, AddError::Failed(inside)] {
        let refusal = Refusal::from(error);
        assert_eq!((refusal.code(), refusal.message()), (Code::Unknown, "failed to integrate entry"));
        assert_eq!(refusal.into_response().status(), 500);
    }
}

#[tokio::test]
async fn another_method_on_the_write_path_is_501_with_code_12() {
    let rekor = Rekor::start(None).await;
    for method in ["GET", "PUT", "DELETE", "PATCH"] {
        let answer = send(&rekor.router, method, ENTRIES, &[], Body::empty()).await;
        assert_eq!(answer.problem(), (501, 12, "Method Not Allowed".to_owned()), "{method}");
    }
    assert_eq!(send(&rekor.router, "HEAD", ENTRIES, &[], Body::empty()).await.status, 501);
}

#[tokio::test]
async fn an_unknown_path_is_404_with_code_5() {
    let rekor = Rekor::start(None).await;
    for path in ["/api/v2/log/entries/0", "/api/v2/log/nothing"] {
        assert_eq!(get(&rekor.router, path).await.problem(), (404, 5, "Not Found".to_owned()), "{path}");
    }
}

#[tokio::test]
async fn checkpoint_and_tiles_are_at_both_prefixes() {
    let rekor = Rekor::start(None).await;
    let entry = rekor.add(&request("kav-signer", b"hello\n")).await.json();
    for prefix in ["", "/api/v2"] {
        let read = async |path: &str| {
            let answer = get(&rekor.router, &format!("{prefix}{path}")).await;
            assert_eq!(answer.status, 200, "{prefix}{path}");
            answer
        };
        let checkpoint = read("/checkpoint").await;
        assert_eq!(checkpoint.header("content-type"), "text/plain; charset=utf-8");
        assert_eq!(checkpoint.text(), entry["inclusionProof"]["checkpoint"]["envelope"].as_str().unwrap());
        let bundle = read("/tile/entries/000.p/1").await.body;
        let leaves: Vec<_> = decode_bundle(&bundle).unwrap();
        assert_eq!(leaves[0].to_vec(), decode(&entry["canonicalizedBody"]));
        assert_eq!(read("/tile/0/000.p/1").await.body, leaf_hash(leaves[0]).as_bytes());
    }
}

#[tokio::test]
async fn a_browser_may_write_from_anywhere() {
    let rekor = Rekor::start(None).await;
    let body = request("kav-signer", b"hello\n").to_string();
    let answer = send(&rekor.router, "POST", ENTRIES, &[("origin", "https://web.example")], body).await;
    assert_eq!(answer.header("access-control-allow-origin"), "*");
}

#[tokio::test]
async fn a_new_log_states_its_birth_and_users_start_at_one() {
    let origin = Origin::new(ORIGIN).unwrap();
    let birth = birth(&origin, &FixedClock::new(NOON)).unwrap();
    let statement = String::from_utf8(birth.extra.to_vec()).unwrap();
    assert_eq!(statement, format!("The log `log.example` was born at {NOON}.\n"));
    let Leaf::HashedRekord { algorithm, digest, signature, verifier } = Leaf::parse(&birth.leaf).unwrap()
    else {
        panic!("another kind")
    };
    assert_eq!(digest, algorithm.digest(statement.as_bytes()));
    verifier.public_key().verify(algorithm, statement.as_bytes(), &signature).unwrap();

    let rekor = Rekor::start(Some(birth)).await;
    let entry = rekor.add(&request("kav-signer", b"hello\n")).await.json();
    assert_eq!(entry["logIndex"], "1");
    verify(&entry);
}

#[tokio::test]
async fn the_key_must_be_the_one_that_signs_checkpoints() {
    let (log, _sequencer) = open(settings(), None).await;
    let other = SoftwareSigner::generate(crate::key::KeyKind::Ed25519).unwrap();
    assert!(matches!(RekorV2::new(log, other.public_key()), Err(RekorV2Error::Key(NoteError::Unsigned))));
}

#[tokio::test]
async fn the_origin_must_be_a_bare_host() {
    for (origin, good) in [
        ("log.example", true),
        ("127.0.0.1", true),
        ("::1", true),
        ("log.example:8080", false),
        ("log.example/v2", false),
        ("https://log.example", false),
    ] {
        let settings = LogSettings { min_free_bytes: 0, ..LogSettings::new(Origin::new(origin).unwrap()) };
        let (log, _sequencer) = open(settings, None).await;
        let dialect = RekorV2::new(log, log_key().public_key());
        assert_eq!(dialect.is_ok(), good, "{origin}");
    }
}

#[tokio::test]
async fn bundles_are_sealed_at_both_places_and_a_log_for_the_own_ca_refuses_keys() {
    let (log, sequencer) = open(settings(), None).await;
    let running = tokio::spawn(sequencer.run(CancellationToken::new()));
    let root = crate::fixture::Authority::root("root", |_| {});
    let admission = Admission::own_ca(vec![root.certificate], Arc::new(FixedClock::new(NOON)));
    let (gate, word) = super::super::fixture::closed_gate();
    let rekor = RekorV2::new(log, log_key().public_key()).unwrap();
    let open = router(rekor.clone(), &gate);
    assert_eq!(post(&open, ENTRIES, &request("client", b"hello")).await.status, 201);
    for path in ["/tile/entries/000.p/1", "/api/v2/tile/entries/000.p/1"] {
        assert_eq!(get(&open, path).await.status, 401, "{path}");
        assert_eq!(send(&open, "GET", path, &word, "").await.status, 200, "{path}");
    }
    assert_eq!(get(&open, "/api/v2/tile/0/000.p/1").await.status, 200);
    let closed = router(rekor.admitting(admission), &gate);
    let (status, code, message) = post(&closed, ENTRIES, &request("client", b"bye")).await.problem();
    assert_eq!((status, code), (403, 7));
    assert!(message.contains("sign keyless"), "{message}");
    running.abort();
}
