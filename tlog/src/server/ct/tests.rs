//! RFC 6962 §4 over a log in memory, and the same log used in process.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, CustomExtension, ExtendedKeyUsagePurpose};
use serde_json::{Value, json};

use super::super::fixture::{Answer, RunningLog, closed_gate, get, post, send, standing_log};
use super::*;
use crate::clock::Timestamp;
use crate::ct::{AddChainResponse, Entry, verify_tree_head};
use crate::fixture::{Authority, NOON, any_key, extension, minutes_after_noon, p256_signer};
use crate::key::SoftwareSigner;
use crate::merkle::{EMPTY_ROOT, Hash, leaf_hash, verify_consistency, verify_inclusion};

const ADD: &str = "/ct/ct/v1/add-pre-chain";

/// The CT log of a small CA, mounted as a server mounts it.
struct Ct {
    root: Authority,
    issuing: Authority,
    log: CtLog,
    router: Router,
    running: RunningLog,
}

fn poison() -> CustomExtension {
    let mut poison = extension(&[1, 3, 6, 1, 4, 1, 11129, 2, 4, 3], &[5, 0]);
    poison.set_criticality(true);
    poison
}

impl Ct {
    async fn start() -> Self {
        let running = RunningLog::start(None).await;
        let root = Authority::root("root", |_| {});
        let issuing = root.intermediate("issuing", |_| {});
        let roots = vec![root.certificate.clone()];
        let log = CtLog::new(running.log.clone(), roots, Arc::new(p256_signer("ct")), running.clock.clone());
        let log = log.unwrap();
        let router = Router::new().nest("/ct", log.clone().router(&Gate::open()));
        Self { root, issuing, log, router, running }
    }

    fn chain_of(&self, change: impl FnOnce(&mut CertificateParams)) -> Vec<Certificate> {
        let leaf = self.issuing.leaf(&any_key(), change);
        vec![leaf, self.issuing.certificate.clone(), self.root.certificate.clone()]
    }

    fn precert_chain(&self) -> Vec<Certificate> {
        self.chain_of(|params| params.custom_extensions.push(poison()))
    }

    async fn get(&self, path: &str) -> Answer {
        get(&self.router, &format!("/ct/ct/v1/{path}")).await
    }

    async fn fill(&self, count: usize) -> Vec<Vec<Certificate>> {
        let mut chains = Vec::new();
        for _ in 0..count {
            chains.push(self.precert_chain());
            self.log.add_pre_chain(&chains[chains.len() - 1]).await.unwrap();
            self.running.clock.advance(Duration::from_millis(7));
        }
        chains
    }

    async fn sth(&self) -> (u64, Hash, Timestamp) {
        let answer = self.get("get-sth").await.json();
        let size = answer["tree_size"].as_u64().unwrap();
        let root = Hash::from_base64(answer["sha256_root_hash"].as_str().unwrap()).unwrap();
        let time = Timestamp::from_millis(answer["timestamp"].as_u64().unwrap());
        let signature = STANDARD.decode(answer["tree_head_signature"].as_str().unwrap()).unwrap();
        verify_tree_head(size, &root, time, &signature, self.log.public_key()).unwrap();
        (size, root, time)
    }
}

fn body(chain: &[Certificate]) -> Value {
    json!({"chain": chain.iter().map(|one| STANDARD.encode(one.der())).collect::<Vec<_>>()})
}

fn sct_of(answer: &Answer) -> Sct {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let response: AddChainResponse = serde_json::from_value(answer.json()).unwrap();
    assert_eq!(response.sct_version, 0);
    Sct::try_from(&response).unwrap()
}

fn hashes(list: &Value) -> Vec<Hash> {
    list.as_array().unwrap().iter().map(|hash| Hash::from_base64(hash.as_str().unwrap()).unwrap()).collect()
}

#[tokio::test]
async fn a_precertificate_gets_an_sct_that_verifies() {
    let ct = Ct::start().await;
    let chain = ct.precert_chain();
    let sct = sct_of(&post(&ct.router, ADD, &body(&chain)).await);
    sct.verify(&Entry::from_precertificate(&chain[0], &chain[1]).unwrap(), ct.log.public_key()).unwrap();
    assert_eq!(sct.log_id, ct.log.public_key().fingerprint());
    assert_eq!(sct.timestamp, NOON);
    assert_eq!(ct.running.log.head().size, 1, "signed before it was committed");
}

#[tokio::test]
async fn a_chain_without_its_root_is_completed() {
    let ct = Ct::start().await;
    let chain = ct.precert_chain();
    sct_of(&post(&ct.router, ADD, &body(&chain[..2])).await);
}

#[tokio::test]
async fn a_final_certificate_gets_an_sct_of_its_own_kind() {
    let ct = Ct::start().await;
    let chain = ct.chain_of(|_| {});
    let sct = sct_of(&post(&ct.router, "/ct/ct/v1/add-chain", &body(&chain)).await);
    sct.verify(&Entry::X509(chain[0].der().to_vec()), ct.log.public_key()).unwrap();
}

#[tokio::test]
async fn a_duplicate_gets_an_sct_of_the_first_time_in_process_and_over_http() {
    let ct = Ct::start().await;
    let chain = ct.precert_chain();
    let first = ct.log.add_pre_chain(&chain).await.unwrap();
    ct.running.clock.advance(Duration::from_secs(9));
    for sct in
        [ct.log.add_pre_chain(&chain).await.unwrap(), sct_of(&post(&ct.router, ADD, &body(&chain)).await)]
    {
        assert_eq!(sct.timestamp, first.timestamp);
        sct.verify(&Entry::from_precertificate(&chain[0], &chain[1]).unwrap(), ct.log.public_key()).unwrap();
    }
    assert_eq!(ct.running.log.head().size, 1);
}

#[tokio::test]
async fn each_endpoint_takes_its_own_kind_of_leaf_only() {
    let ct = Ct::start().await;
    let (precert, last) = (ct.precert_chain(), ct.chain_of(|_| {}));
    assert_eq!(post(&ct.router, ADD, &body(&last)).await.problem().0, 400);
    assert_eq!(post(&ct.router, "/ct/ct/v1/add-chain", &body(&precert)).await.problem().0, 400);
    assert_eq!(ct.running.log.head().size, 0);
}

#[tokio::test]
async fn a_chain_to_another_root_is_refused() {
    let ct = Ct::start().await;
    let (ours, theirs) = (ct.precert_chain(), Ct::start().await.precert_chain());
    assert!(matches!(ct.log.add_pre_chain(&theirs).await, Err(CtLogError::Chain(_))));
    let mixed = [theirs[0].clone(), ours[1].clone(), ours[2].clone()];
    assert_eq!(post(&ct.router, ADD, &body(&mixed)).await.problem().0, 400);
    assert_eq!(post(&ct.router, ADD, &body(&ours[2..])).await.problem().0, 400, "a root alone");
}

#[tokio::test]
async fn an_issuer_that_had_expired_is_refused_and_a_leaf_that_has_expired_since_is_not() {
    let ct = Ct::start().await;
    let expired = ct.root.intermediate("expired", |params| params.not_after = minutes_after_noon(-1));
    let leaf = expired.leaf(&any_key(), |params| params.custom_extensions.push(poison()));
    let chain = [leaf, expired.certificate.clone(), ct.root.certificate.clone()];
    assert!(matches!(ct.log.add_pre_chain(&chain).await, Err(CtLogError::Chain(_))));
    ct.running.clock.advance(Duration::from_hours(24));
    ct.log.add_pre_chain(&ct.precert_chain()).await.unwrap();
}

#[tokio::test]
async fn a_leaf_for_another_purpose_is_refused() {
    let ct = Ct::start().await;
    let chain = ct.chain_of(|params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.custom_extensions.push(poison());
    });
    assert!(matches!(ct.log.add_pre_chain(&chain).await, Err(CtLogError::Chain(_))));
}

#[tokio::test]
async fn malformed_submissions_are_400_and_say_where() {
    let ct = Ct::start().await;
    let good = STANDARD.encode(ct.root.certificate.der());
    let rows = [
        (json!({"chain": []}), "empty"),
        (json!({"chain": ["*"]}), "chain[0]: not base64"),
        (json!({"chain": [good, "AAAA"]}), "chain[1]: "),
        (json!({"chain": vec![&good; 11]}), "longer than 10"),
        (json!({"chain": ["A".repeat(90_000)]}), "chain[0]: too large"),
        (json!({"chains": []}), "chain"),
        (json!([]), "chain"),
    ];
    for (body, part) in rows {
        let (status, _, message) = post(&ct.router, ADD, &body).await.problem();
        assert_eq!(status, 400);
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(send(&ct.router, "POST", ADD, &[], "{").await.problem().0, 400);
    assert_eq!(get(&ct.router, ADD).await.status, 405);
}

#[tokio::test]
async fn the_accepted_roots_are_listed() {
    let ct = Ct::start().await;
    let listed = json!({"certificates": [STANDARD.encode(ct.root.certificate.der())]});
    assert_eq!(ct.get("get-roots").await.json(), listed);
}

#[tokio::test]
async fn the_tree_head_is_signed_once_and_not_older_than_its_leaves() {
    let ct = Ct::start().await;
    let (size, root, _) = ct.sth().await;
    assert_eq!((size, root), (0, EMPTY_ROOT));
    ct.running.clock.set(NOON.plus(Duration::from_secs(5)));
    let newest = ct.log.add_pre_chain(&ct.precert_chain()).await.unwrap().timestamp;
    ct.running.clock.set(NOON);
    ct.fill(3).await;
    let (size, root, time) = ct.sth().await;
    assert_eq!((size, root), (4, ct.running.log.head().root));
    assert!(time >= newest, "{} before {}", time.millis(), newest.millis());
    ct.running.clock.advance(Duration::from_mins(1));
    assert_eq!(ct.get("get-sth").await.json(), ct.get("get-sth").await.json());
}

#[tokio::test]
async fn consistency_is_proven() {
    let ct = Ct::start().await;
    let mut roots = vec![EMPTY_ROOT];
    for _ in 0..5 {
        ct.fill(1).await;
        roots.push(ct.running.log.head().root);
    }
    for (first, second) in [(0, 5), (1, 5), (2, 3), (4, 5), (5, 5)] {
        let answer = ct.get(&format!("get-sth-consistency?first={first}&second={second}")).await.json();
        let proof = hashes(&answer["consistency"]);
        verify_consistency(first as u64, &roots[first], second as u64, &roots[second], &proof).unwrap();
    }
    for query in ["first=3&second=2", "first=1&second=6", "first=1", "first=-1&second=2", "first=a&second=2"]
    {
        assert_eq!(ct.get(&format!("get-sth-consistency?{query}")).await.problem().0, 400, "{query}");
    }
}

#[tokio::test]
async fn a_leaf_is_proven_by_its_hash_from_the_sct_alone() {
    let ct = Ct::start().await;
    let chains = ct.fill(5).await;
    let size = ct.running.log.head().size;
    for (index, chain) in chains.iter().enumerate() {
        let sct = ct.log.add_pre_chain(chain).await.unwrap();
        let entry = Entry::from_precertificate(&chain[0], &chain[1]).unwrap();
        let leaf = leaf_hash(&entry.leaf(sct.timestamp, &[]));
        // Base64 in a query, once escaped and once as careless clients send it.
        for escaped in [leaf.to_base64().replace('+', "%2B"), leaf.to_base64()] {
            let answer = ct.get(&format!("get-proof-by-hash?hash={escaped}&tree_size={size}")).await.json();
            assert_eq!(answer["leaf_index"].as_u64(), u64::try_from(index).ok());
            let path = hashes(&answer["audit_path"]);
            verify_inclusion(&leaf, index as u64, size, &path, &ct.running.log.head().root).unwrap();
        }
    }
    let unknown = Hash::digest(b"unknown").to_base64().replace('+', "%2B");
    assert_eq!(ct.get(&format!("get-proof-by-hash?hash={unknown}&tree_size=5")).await.problem().0, 404);
    for query in [
        "hash=AA&tree_size=5",
        &format!("hash={unknown}&tree_size=6"),
        &format!("hash={unknown}&tree_size=0"),
    ] {
        assert_eq!(ct.get(&format!("get-proof-by-hash?{query}")).await.problem().0, 400, "{query}");
    }
}

/// Splits a TLS vector with a length of 24 bits off the front.
fn take_u24<'b>(bytes: &mut &'b [u8]) -> &'b [u8] {
    let (length, rest) = bytes.split_at(3);
    let length = usize::from(length[0]) << 16 | usize::from(length[1]) << 8 | usize::from(length[2]);
    let (value, rest) = rest.split_at(length);
    *bytes = rest;
    value
}

#[tokio::test]
async fn entries_carry_the_leaf_and_the_chain_as_submitted() {
    let ct = Ct::start().await;
    let chain = ct.fill(1).await.remove(0);
    let last = ct.chain_of(|_| {});
    let sct = ct.log.add_chain(&last).await.unwrap();
    let answer = ct.get("get-entries?start=0&end=99").await.json();
    let entries = answer["entries"].as_array().unwrap();
    assert_eq!(entries.len(), 2);
    let decode = |at: usize, name: &str| STANDARD.decode(entries[at][name].as_str().unwrap()).unwrap();
    let precert = Entry::from_precertificate(&chain[0], &chain[1]).unwrap();
    assert_eq!(decode(0, "leaf_input"), precert.leaf(NOON, &[]));
    let extra = decode(0, "extra_data");
    let mut extra = extra.as_slice();
    assert_eq!(take_u24(&mut extra), chain[0].der());
    let mut issuers = take_u24(&mut extra);
    assert_eq!((take_u24(&mut issuers), take_u24(&mut issuers)), (chain[1].der(), chain[2].der()));
    assert!(issuers.is_empty() && extra.is_empty());
    assert_eq!(decode(1, "leaf_input"), Entry::X509(last[0].der().to_vec()).leaf(sct.timestamp, &[]));
    let extra = decode(1, "extra_data");
    let mut extra = extra.as_slice();
    let mut issuers = take_u24(&mut extra);
    assert_eq!((take_u24(&mut issuers), take_u24(&mut issuers)), (last[1].der(), last[2].der()));
    for query in ["start=2&end=2", "start=1&end=0", "start=0", "start=x&end=1"] {
        assert_eq!(ct.get(&format!("get-entries?{query}")).await.problem().0, 400, "{query}");
    }
}

#[tokio::test]
async fn an_entry_comes_with_its_proof() {
    let ct = Ct::start().await;
    ct.fill(3).await;
    let root = ct.running.log.head().root;
    for index in 0..3 {
        let answer = ct.get(&format!("get-entry-and-proof?leaf_index={index}&tree_size=3")).await.json();
        let leaf = STANDARD.decode(answer["leaf_input"].as_str().unwrap()).unwrap();
        verify_inclusion(&leaf_hash(&leaf), index, 3, &hashes(&answer["audit_path"]), &root).unwrap();
    }
    for query in ["leaf_index=3&tree_size=3", "leaf_index=0&tree_size=4", "leaf_index=0&tree_size=0"] {
        assert_eq!(ct.get(&format!("get-entry-and-proof?{query}")).await.problem().0, 400, "{query}");
    }
}

#[tokio::test]
async fn a_closed_log_is_503_with_retry_after() {
    let mut ct = Ct::start().await;
    ct.running.close().await;
    let answer = post(&ct.router, ADD, &body(&ct.precert_chain())).await;
    assert_eq!(answer.problem().0, 503);
    assert!(answer.header("retry-after").parse::<u64>().unwrap() >= 1);
}

#[tokio::test]
async fn a_ct_log_needs_a_p256_key_and_a_root() {
    let (log, _sequencer) = standing_log(|_| {}).await;
    let clock: Arc<dyn Clock> = Arc::new(crate::clock::FixedClock::new(NOON));
    let root = Authority::root("root", |_| {}).certificate;
    let new = |kind, roots| {
        let signer: Arc<dyn Signer> = Arc::new(SoftwareSigner::generate(kind).unwrap());
        CtLog::new(log.clone(), roots, signer, Arc::clone(&clock))
    };
    assert!(matches!(new(KeyKind::EcdsaP384, vec![root]), Err(CtLogError::Key(KeyKind::EcdsaP384))));
    assert!(matches!(new(KeyKind::EcdsaP256, vec![]), Err(CtLogError::NoRoots)));
}

#[tokio::test]
async fn certificates_are_sealed_and_heads_and_proofs_open() {
    let ct = Ct::start().await;
    ct.fill(2).await;
    let (gate, word) = closed_gate();
    let router = ct.log.clone().router(&gate);
    for path in ["/ct/v1/get-entries?start=0&end=1", "/ct/v1/get-entry-and-proof?leaf_index=0&tree_size=2"] {
        assert_eq!(get(&router, path).await.status, 401, "{path}");
        let answer = send(&router, "GET", path, &word, "").await;
        assert_eq!(
            (answer.status.as_u16(), answer.header("cache-control")),
            (200, "private, no-store"),
            "{path}"
        );
    }
    for path in ["/ct/v1/get-sth", "/ct/v1/get-sth-consistency?first=1&second=2", "/ct/v1/get-roots"] {
        assert_eq!(get(&router, path).await.status, 200, "{path}");
    }
}
