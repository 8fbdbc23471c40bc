//! One API over several trees: the current one, one that has ended, and a gap where one is not served any more.

use tokio_util::sync::CancellationToken;

use super::*;
use crate::checkpoint::Origin;
use crate::clock::FixedClock;
use crate::fixture::NOON;
use crate::key::KeyKind;
use crate::server::log::LogSettings;
use crate::server::store::Memory;

const PAST_TREE: u64 = TREE - 1;
/// Entries of a tree that came first and is not served.
const GONE: u64 = 10;
/// Entries of the tree that has ended.
const ENDED: u64 = 3;

/// A current tree with two entries after one that has ended.
struct Chain {
    current: Rekor,
    past_key: Arc<dyn Signer>,
    past: Vec<String>,
    new: Vec<String>,
}

impl Chain {
    async fn start() -> Self {
        let (store, past_key): (_, Arc<dyn Signer>) = (Memory::new(), Arc::new(p256_signer("past")));
        let (log, past) = ended_log(&store, &past_key).await;
        let running = RunningLog::start(None).await;
        let admission = Admission::any(Vec::new(), running.clock.clone());
        let signer = log_key();
        let current = shard(running.log.clone(), TREE, GONE + ENDED, Arc::clone(&signer));
        let past_shard = shard(log, PAST_TREE, GONE, Arc::clone(&past_key));
        let router = router(RekorV1 { current, past: vec![past_shard], admission, gate: Gate::open() });
        let current = Rekor { router, running, signer };
        let mut new = Vec::new();
        for artifact in ["new 0", "artifact 0"] {
            let entry = hashedrekord(artifact, &p256_signer("client"));
            let answer = current.post(ENTRIES, &entry).await;
            assert_eq!(answer.status, 201, "{}", answer.text());
            new.push(answer.json().as_object().unwrap().keys().next().unwrap().clone());
        }
        Self { current, past_key, past, new }
    }

    /// Checks an entry of either tree and returns its index through all, and in its tree.
    fn check(answer: &Value, tree: u64, key: &Arc<dyn Signer>) -> (u64, u64) {
        let (id, entry) = answer.as_object().unwrap().iter().next().unwrap();
        let body = STANDARD.decode(entry["body"].as_str().unwrap()).unwrap();
        let leaf = leaf_hash(&body);
        assert_eq!(*id, format!("{tree:016x}{leaf}"));
        let log_id = key.public_key().fingerprint();
        assert_eq!(entry["logID"], hex::encode(log_id));
        let (index, time) = (entry["logIndex"].as_u64().unwrap(), entry["integratedTime"].as_u64().unwrap());
        let set = STANDARD.decode(entry["verification"]["signedEntryTimestamp"].as_str().unwrap()).unwrap();
        let payload = set_payload(&body, time, &log_id, index);
        key.public_key().verify(HashAlgorithm::Sha256, &payload, &set).unwrap();
        let proof = &entry["verification"]["inclusionProof"];
        let (root, size) = head(proof["checkpoint"].as_str().unwrap(), tree, key);
        let hashes = proof["hashes"].as_array().unwrap().iter();
        let hashes: Vec<_> = hashes.map(|hash| Hash::from_hex(hash.as_str().unwrap()).unwrap()).collect();
        let within = proof["logIndex"].as_u64().unwrap();
        verify_inclusion(&leaf, within, size, &hashes, &root).unwrap();
        (index, within)
    }
}

/// Three entries under `key`, and then the end.
async fn ended_log(store: &Memory, key: &Arc<dyn Signer>) -> (Log, Vec<String>) {
    let settings = || LogSettings::new(Origin::new("log.example/past").unwrap());
    let checkpoint_key: Arc<dyn Signer> = Arc::new(SoftwareSigner::generate(KeyKind::Ed25519).unwrap());
    let clock = Arc::new(FixedClock::new(NOON));
    Log::create(&settings(), store, checkpoint_key.clone(), &*clock, None).await.unwrap();
    let opened = Log::open(settings(), Arc::new(store.clone()), checkpoint_key.clone(), clock.clone()).await;
    let (log, sequencer) = opened.unwrap();
    let shutdown = CancellationToken::new();
    let sequencer = tokio::spawn(sequencer.run(shutdown.clone()));
    let admission = Admission::any(Vec::new(), clock.clone());
    let current = shard(log, PAST_TREE, GONE, Arc::clone(key));
    let router = router(RekorV1 { current, past: Vec::new(), admission, gate: Gate::open() });
    let mut ids = Vec::new();
    for n in 0..ENDED {
        let entry = hashedrekord(&format!("artifact {n}"), &p256_signer("client"));
        ids.push(post(&router, ENTRIES, &entry).await.header("etag").to_owned());
    }
    shutdown.cancel();
    sequencer.await.unwrap().unwrap();
    let key = checkpoint_key.public_key();
    (Log::open_ended(settings(), Arc::new(store.clone()), key, &*clock).await.unwrap(), ids)
}

fn head(text: &str, tree: u64, key: &Arc<dyn Signer>) -> (Hash, u64) {
    let note = Note::parse(text.as_bytes()).unwrap();
    let key = NoteKey::new(KeyName::new(HOST).unwrap(), key.public_key().clone()).unwrap();
    note.verify(std::slice::from_ref(&key)).unwrap();
    let checkpoint = Checkpoint::parse(note.text()).unwrap();
    assert_eq!(checkpoint.origin.as_str(), format!("{HOST} - {tree}"));
    (checkpoint.root, checkpoint.size)
}

#[tokio::test]
async fn indexes_count_through_all_trees_and_proofs_in_one() {
    let chain = Chain::start().await;
    for (tree, first, key, ids) in [
        (PAST_TREE, GONE, &chain.past_key, &chain.past),
        (TREE, GONE + ENDED, &chain.current.signer, &chain.new),
    ] {
        for (within, id) in (0..).zip(ids) {
            let index = first + within;
            for path in [format!("{ENTRIES}/{id}"), format!("{ENTRIES}?logIndex={index}")] {
                let answer = chain.current.get(&path).await;
                assert_eq!(answer.status, 200, "{path}");
                assert_eq!(Chain::check(&answer.json(), tree, key), (index, within), "{path}");
            }
        }
    }
}

#[tokio::test]
async fn what_no_served_tree_has_is_404() {
    let chain = Chain::start().await;
    let in_the_other_tree = format!("{ENTRIES}/{TREE:016x}{}", &chain.past[2][16..]);
    let gone = format!("{ENTRIES}?logIndex={}", GONE - 1);
    let beyond = format!("{ENTRIES}?logIndex={}", GONE + ENDED + 2);
    for path in [in_the_other_tree, gone, beyond, format!("{ENTRIES}?logIndex=0")] {
        assert_eq!(chain.current.get(&path).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn a_leaf_hash_alone_is_looked_for_in_all_trees_the_current_one_first() {
    let chain = Chain::start().await;
    let answer = chain.current.get(&format!("{ENTRIES}/{}", &chain.past[2][16..])).await;
    Chain::check(&answer.json(), PAST_TREE, &chain.past_key);
    let body = json!({"entryUUIDs": [&chain.past[1], &chain.new[0][16..]], "logIndexes": [GONE + 2]});
    let found = chain.current.post(&format!("{ENTRIES}/retrieve"), &body).await.json();
    let ids: Vec<_> =
        found.as_array().unwrap().iter().flat_map(|one| one.as_object().unwrap().keys()).collect();
    assert_eq!(ids, [&chain.past[1], &chain.new[0], &chain.past[2]]);
}

#[tokio::test]
async fn a_search_finds_entries_of_all_trees() {
    let chain = Chain::start().await;
    let hash = Hash::digest(b"artifact 0").to_hex();
    let found = chain.current.post("/api/v1/index/retrieve", &json!({"hash": hash})).await.json();
    assert_eq!(found, json!([chain.new[1], chain.past[0]]));
    let both = json!({"hash": Hash::digest(b"artifact 2").to_hex(), "operator": "and", "email": "a@b"});
    assert_eq!(chain.current.post("/api/v1/index/retrieve", &both).await.json(), json!([]));
}

#[tokio::test]
async fn every_tree_shows_its_head_its_key_and_its_consistency() {
    let chain = Chain::start().await;
    let info = chain.current.get("/api/v1/log").await.json();
    assert_eq!((&info["treeSize"], &info["treeID"]), (&json!(2), &json!(TREE.to_string())));
    let inactive = info["inactiveShards"].as_array().unwrap();
    assert_eq!(inactive.len(), 1);
    assert_eq!(inactive[0]["treeSize"], ENDED);
    assert_eq!(inactive[0]["treeID"], PAST_TREE.to_string());
    let (root, size) = head(inactive[0]["signedTreeHead"].as_str().unwrap(), PAST_TREE, &chain.past_key);
    assert_eq!((json!(root.to_hex()), size), (inactive[0]["rootHash"].clone(), ENDED));

    let key = chain.current.get(&format!("/api/v1/log/publicKey?treeID={PAST_TREE}")).await;
    assert_eq!(key.text(), chain.past_key.public_key().to_pem());
    let key = chain.current.get("/api/v1/log/publicKey").await;
    assert_eq!(key.text(), chain.current.signer.public_key().to_pem());

    let proof = format!("/api/v1/log/proof?firstSize=1&lastSize={ENDED}");
    assert_eq!(chain.current.get(&proof).await.status, 400, "the current tree has two entries");
    let answer = chain.current.get(&format!("{proof}&treeID={PAST_TREE}")).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["rootHash"]), (200, &inactive[0]["rootHash"]));
    assert_eq!(chain.current.get(&format!("{proof}&treeID=7")).await.status, 400);
}

#[tokio::test]
async fn a_log_whose_last_tree_has_ended_takes_no_entries_and_says_so() {
    let (store, key): (_, Arc<dyn Signer>) = (Memory::new(), Arc::new(p256_signer("past")));
    let (log, ids) = ended_log(&store, &key).await;
    let admission = Admission::any(Vec::new(), Arc::new(SystemClock));
    let current = shard(log, PAST_TREE, GONE, key);
    let router = router(RekorV1 { current, past: Vec::new(), admission, gate: Gate::open() });
    let answer = post(&router, ENTRIES, &hashedrekord("late", &p256_signer("client"))).await;
    let (status, _, message) = answer.problem();
    assert_eq!(status, 501);
    assert!(message.contains("frozen"), "{message}");
    assert_eq!(get(&router, &format!("{ENTRIES}/{}", ids[0])).await.status, 200);
}
