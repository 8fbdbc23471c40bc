use std::ops::Range;
use std::time::Duration;

use futures::future::join_all;
use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::clock::FixedClock;
use crate::key::{KeyKind, SoftwareSigner};
use crate::merkle::{NodeId, verify_consistency, verify_inclusion};
use crate::serve::access::Permit;
use crate::server::store::{Commit, Fault, Faulty, Memory, NewEntry, StoredEntry};
use crate::tile::{EntryBundle, HashTile, decode_bundle};

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

fn permit() -> Permit {
    Permit::for_a_test()
}

/// A log with one entry of its own on a store that fails on demand.
struct Fixture {
    settings: LogSettings,
    memory: Memory,
    store: Arc<Faulty<Memory>>,
    signer: Arc<dyn Signer>,
    clock: Arc<FixedClock>,
}

impl Fixture {
    async fn new() -> Self {
        let memory = Memory::new();
        let fixture = Self {
            settings: LogSettings::new(Origin::new("log.example").unwrap()),
            store: Arc::new(Faulty::new(memory.clone())),
            memory,
            signer: Arc::new(SoftwareSigner::generate(KeyKind::Ed25519).unwrap()),
            clock: Arc::new(FixedClock::new(NOW)),
        };
        let signer = Arc::clone(&fixture.signer);
        Log::create(&fixture.settings, &fixture.memory, signer, &*fixture.clock, Some(submission(0)))
            .await
            .unwrap();
        fixture
    }

    async fn open(&self) -> Result<(Log, Sequencer), OpenError> {
        let store: Arc<dyn Store> = self.store.clone();
        Log::open(self.settings.clone(), store, Arc::clone(&self.signer), self.clock.clone()).await
    }

    async fn run(&self) -> (Log, JoinHandle<Result<(), Fatal>>, CancellationToken) {
        let (log, sequencer) = self.open().await.unwrap();
        let stop = CancellationToken::new();
        let running = tokio::spawn(sequencer.run(stop.clone()));
        (log, running, stop)
    }

    async fn refused(&self) -> OpenError {
        self.open().await.err().expect("the log must not open")
    }

    /// Writes to the store past the engine, keeping its head.
    async fn tamper(&self, entries: &[NewEntry], nodes: &[(NodeId, Hash)], first: u64) {
        let head = self.memory.open().await.unwrap().unwrap();
        self.memory.commit(Some(&head), Commit::new(first, entries, nodes, &head)).await.unwrap();
    }
}

fn submission(n: u64) -> Submission {
    let leaf = Bytes::from(format!("leaf {n}"));
    let terms = vec![format!("term {}", n % 2)];
    Submission { identity: leaf_hash(&leaf), leaf: leaf.into(), extra: Bytes::from_static(b"beside"), terms }
}

fn verify(receipt: &Receipt) {
    let Receipt { index, leaf_hash, proof, head, .. } = receipt;
    verify_inclusion(leaf_hash, *index, head.size, proof, &head.root).unwrap();
}

async fn add(log: &Log, range: Range<u64>) -> Vec<Receipt> {
    let added = join_all(range.map(|n| log.add(submission(n)))).await;
    added.into_iter().map(|receipt| receipt.unwrap()).inspect(verify).collect()
}

#[tokio::test]
async fn entries_that_arrive_together_share_a_commit() {
    let fixture = Fixture::new().await;
    let (log, ..) = fixture.run().await;
    let receipts = add(&log, 1..101).await;
    assert!(receipts.iter().all(|receipt| receipt.head.size == 101 && !receipt.duplicate));
    let alone = log.add(submission(101)).await.unwrap();
    assert_eq!((alone.index, alone.head.size), (101, 102));
    assert_eq!(log.head(), alone.head);
}

/// In virtual time, which passes only while everyone waits for it.
#[tokio::test(start_paused = true)]
async fn shared_rounds_keep_their_distance_and_a_lonely_entry_never_waits() {
    let mut fixture = Fixture::new().await;
    fixture.settings.round_interval = Duration::from_secs(5);
    let (log, ..) = fixture.run().await;
    let begun = tokio::time::Instant::now();
    add(&log, 1..2).await;
    add(&log, 2..3).await;
    add(&log, 3..6).await;
    assert_eq!(begun.elapsed(), Duration::ZERO, "neither alone nor as the first round that is shared");
    let receipts = add(&log, 6..9).await;
    assert_eq!(begun.elapsed(), Duration::from_secs(5));
    assert!(receipts.iter().all(|receipt| receipt.head.size == 9), "all that came meanwhile share a round");
    tokio::time::sleep(Duration::from_secs(5)).await;
    add(&log, 9..10).await;
    add(&log, 10..11).await;
    assert_eq!(begun.elapsed(), Duration::from_secs(10), "the log was idle");

    fixture.settings.max_batch_entries = 2;
    let fixture = Fixture { settings: fixture.settings, ..Fixture::new().await };
    let (log, ..) = fixture.run().await;
    let begun = tokio::time::Instant::now();
    add(&log, 1..7).await;
    assert_eq!(begun.elapsed(), Duration::ZERO, "full batches have nothing to wait for");
}

#[tokio::test]
async fn a_batch_is_bounded_by_entries_and_bytes() {
    let mut fixture = Fixture::new().await;
    fixture.settings.max_batch_entries = 10;
    let (log, ..) = fixture.run().await;
    let sizes: Vec<_> = add(&log, 1..26).await.iter().map(|receipt| receipt.head.size).collect();
    assert_eq!((sizes[0], sizes[10], sizes[24]), (11, 21, 26));

    let mut fixture = Fixture::new().await;
    fixture.settings.max_batch_bytes = 1;
    let (log, ..) = fixture.run().await;
    let sizes: Vec<_> = add(&log, 1..4).await.iter().map(|receipt| receipt.head.size).collect();
    assert_eq!(sizes, [2, 3, 4], "one entry may exceed a batch's bytes");
}

#[tokio::test]
async fn duplicates_in_flight_share_one_outcome() {
    let fixture = Fixture::new().await;
    let (log, ..) = fixture.run().await;
    let receipts = join_all((0..5).map(|_| log.add(submission(7)))).await;
    let receipts: Vec<_> = receipts.into_iter().map(|receipt| receipt.unwrap()).collect();
    assert!(receipts.iter().all(|receipt| receipt.index == 1 && receipt.head.size == 2));
    assert_eq!(receipts.iter().filter(|receipt| !receipt.duplicate).count(), 1);
}

#[tokio::test]
async fn stored_duplicates_are_answered_from_the_store() {
    let fixture = Fixture::new().await;
    let (log, ..) = fixture.run().await;
    add(&log, 1..9).await;
    fixture.clock.advance(Duration::from_mins(1));
    let mut again = submission(3);
    again.extra = Bytes::from_static(b"another");
    let receipt = log.add(again).await.unwrap();
    verify(&receipt);
    assert_eq!((receipt.index, receipt.time, receipt.duplicate), (3, NOW, true));
    assert_eq!((receipt.head.size, log.head().size), (9, 9));
}

#[tokio::test]
async fn what_was_stored_after_its_look_up_is_found_at_sequencing() {
    let fixture = Fixture::new().await;
    let (log, ..) = fixture.run().await;
    add(&log, 1..4).await;
    let late = log.0.pool.submit(submission(2)).unwrap();
    let other = log.add(submission(4)).await.unwrap();
    assert!(matches!(late.answer.await, Ok(Answer::Stored)));
    assert_eq!((other.index, other.head.size), (4, 5));
}

#[tokio::test]
async fn a_look_up_that_leads_to_another_entry_is_damage_not_an_answer() {
    let fixture = Fixture::new().await;
    let lie = NewEntry {
        entry: StoredEntry {
            leaf: Bytes::from_static(b"x"),
            time: NOW,
            extra: Bytes::new(),
            identity: submission(5).identity,
        },
        leaf_hash: leaf_hash(b"x"),
        terms: Vec::new(),
    };
    let (log, ..) = fixture.run().await;
    fixture.tamper(&[lie], &[], 0).await;
    let refused = log.add(submission(5)).await;
    assert!(matches!(refused, Err(AddError::Failed(StoreError::Damaged(_)))), "{refused:?}");
}

#[tokio::test]
async fn a_full_pool_refuses_with_a_time_to_come_back() {
    let mut fixture = Fixture::new().await;
    fixture.settings.max_pool_entries = 2;
    let (log, sequencer) = fixture.open().await.unwrap();
    let waiting = [1, 2].map(|n| log.0.pool.submit(submission(n)).unwrap());
    let Err(AddError::Full { retry_after }) = log.add(submission(3)).await else { panic!("not refused") };
    assert!(retry_after >= Duration::from_secs(1));
    // Joining one that waits takes no room.
    assert!(log.0.pool.submit(submission(2)).unwrap().joined);
    tokio::spawn(sequencer.run(CancellationToken::new()));
    for waiter in waiting {
        assert!(matches!(waiter.answer.await, Ok(Answer::Added(_))));
    }
    assert_eq!(log.add(submission(3)).await.unwrap().index, 3);
}

#[tokio::test]
async fn the_pool_is_bounded_by_bytes() {
    let mut fixture = Fixture::new().await;
    fixture.settings.max_pool_bytes = 40;
    let (log, _sequencer) = fixture.open().await.unwrap();
    assert!(log.0.pool.submit(submission(1)).is_ok());
    assert!(log.0.pool.submit(submission(2)).is_ok_and(|waiter| !waiter.joined));
    assert!(matches!(log.0.pool.submit(submission(3)), Err(AddError::Full { .. })));
}

#[tokio::test]
async fn an_entry_that_no_bundle_can_carry_is_too_large() {
    let fixture = Fixture::new().await;
    let (log, ..) = fixture.run().await;
    let large = |leaf: usize, extra: usize| Submission {
        leaf: HashedLeaf::new(vec![1; leaf]),
        extra: vec![2; extra].into(),
        ..submission(1)
    };
    let limit = fixture.settings.max_extra_bytes;
    assert!(matches!(
        log.add(large(MAX_ENTRY + 1, 0)).await,
        Err(AddError::TooLarge { limit: MAX_ENTRY, .. })
    ));
    assert!(matches!(log.add(large(1, limit + 1)).await, Err(AddError::TooLarge { .. })));
    assert!(log.add(large(MAX_ENTRY, limit - 6)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_nearly_full_disk_stops_adds_and_not_reads() {
    let fixture = Fixture::new().await;
    let (log, ..) = fixture.run().await;
    fixture.store.set_free_bytes(Some(fixture.settings.min_free_bytes - 1));
    assert!(matches!(log.add(submission(1)).await, Err(AddError::ReadOnly { .. })));
    assert!(log.add(submission(0)).await.unwrap().duplicate, "a duplicate needs no disk");
    assert!(log.entry(permit(), 0).await.unwrap().is_some());
    fixture.store.set_free_bytes(Some(fixture.settings.min_free_bytes));
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(log.add(submission(1)).await.unwrap().index, 1);
}

#[tokio::test]
async fn time_never_steps_back() {
    let fixture = Fixture::new().await;
    let (log, ..) = fixture.run().await;
    fixture.clock.set(NOW.plus(Duration::from_secs(100)));
    let forward = log.add(submission(1)).await.unwrap();
    fixture.clock.set(NOW);
    let back = log.add(submission(2)).await.unwrap();
    assert_eq!(back.time, forward.time);
    assert_eq!(back.head.time, back.time);
    assert_eq!(log.entry(permit(), 2).await.unwrap().unwrap().time, back.time);
}

#[tokio::test]
async fn shutdown_answers_what_was_accepted() {
    let fixture = Fixture::new().await;
    let (log, sequencer) = fixture.open().await.unwrap();
    let waiting: Vec<_> = (1..6).map(|n| log.0.pool.submit(submission(n)).unwrap()).collect();
    let stop = CancellationToken::new();
    stop.cancel();
    sequencer.run(stop).await.unwrap();
    for waiter in waiting {
        assert!(matches!(waiter.answer.await, Ok(Answer::Added(_))));
    }
    assert!(!log.is_open());
    assert!(matches!(log.add(submission(9)).await, Err(AddError::Closed)));
    assert_eq!(log.head().size, 6);
}

#[tokio::test]
async fn a_sequencer_that_is_dropped_closes_the_log() {
    let fixture = Fixture::new().await;
    let (log, sequencer) = fixture.open().await.unwrap();
    let waiter = log.0.pool.submit(submission(1)).unwrap();
    drop(sequencer);
    assert!(matches!(waiter.answer.await, Ok(Answer::Refused(AddError::Closed))));
    assert!(matches!(log.add(submission(2)).await, Err(AddError::Closed)));
}

#[tokio::test]
async fn reads_end_at_the_head_and_prove_themselves() {
    let fixture = Fixture::new().await;
    let (log, ..) = fixture.run().await;
    add(&log, 1..300).await;
    let head = log.head();
    assert!(log.entry(permit(), 300).await.unwrap().is_none());
    assert_eq!(log.entries(permit(), 0..1000).await.unwrap().len(), 256);
    assert_eq!(log.entries(permit(), 290..u64::MAX).await.unwrap().len(), 10);
    assert_eq!(log.entries(permit(), 300..400).await.unwrap().len(), 0);
    assert_eq!(log.find(&submission(42).identity).await.unwrap(), Some(42));
    assert_eq!(log.find(&submission(300).identity).await.unwrap(), None);
    assert_eq!(log.search(permit(), "term 1", 2).await.unwrap(), [297, 299]);
    assert_eq!(log.root_at(300).await.unwrap(), head.root);
    let leaf = leaf_hash(&log.entry(permit(), 7).await.unwrap().unwrap().leaf);
    assert_eq!((log.leaf_hash(7).await.unwrap(), log.leaf_hash(300).await.unwrap()), (Some(leaf), None));
    for size in [8, 9, 255, 256, 257, 300] {
        let root = log.root_at(size).await.unwrap();
        verify_inclusion(&leaf, 7, size, &log.inclusion_proof(7, size).await.unwrap(), &root).unwrap();
        let proof = log.consistency_proof(size, 300).await.unwrap();
        verify_consistency(size, &root, 300, &head.root, &proof).unwrap();
    }
    assert!(matches!(log.inclusion_proof(7, 301).await, Err(ProofReadError::OutOfRange(_))));
    assert!(matches!(log.inclusion_proof(7, 7).await, Err(ProofReadError::Proof(_))));
    assert!(matches!(log.consistency_proof(3, 301).await, Err(ProofReadError::OutOfRange(_))));
    assert!(matches!(log.root_at(301).await, Err(ProofReadError::OutOfRange(_))));
}

#[tokio::test]
async fn tiles_are_rendered_exactly_as_far_as_the_head_reaches() {
    let fixture = Fixture::new().await;
    let (log, ..) = fixture.run().await;
    add(&log, 1..300).await;
    let bundle = async |index, width| log.entry_bundle(permit(), EntryBundle { index, width }).await.unwrap();
    let hashes = async |level, index, width| log.hash_tile(HashTile { level, index, width }).await.unwrap();
    let partial = bundle(1, 44).await.unwrap();
    assert_eq!(decode_bundle(&partial).unwrap().len(), 44);
    assert_eq!(decode_bundle(&partial).unwrap()[43], &*submission(299).leaf);
    let tile = hashes(0, 0, 256).await.unwrap();
    assert_eq!(tile.len(), 256 * 32);
    assert_eq!(tile[32..64], *leaf_hash(&submission(1).leaf).as_bytes());
    let above = hashes(1, 0, 1).await.unwrap();
    assert_eq!(*above, *log.root_at(256).await.unwrap().as_bytes());
    assert_eq!((bundle(1, 45).await, bundle(1, 256).await), (None, None));
    for (level, index, width) in [(0, 1, 45), (1, 0, 2), (2, 0, 1)] {
        assert_eq!(hashes(level, index, width).await, None, "{level}/{index}.p/{width}");
    }
}

#[tokio::test]
async fn a_log_is_created_once_and_never_at_start() {
    let mut fixture = Fixture::new().await;
    let signer = Arc::clone(&fixture.signer);
    let again = Log::create(&fixture.settings, &fixture.memory, signer, &*fixture.clock, None).await;
    assert!(matches!(again, Err(OpenError::Exists(1))));
    fixture.store = Arc::new(Faulty::new(Memory::new()));
    assert!(matches!(fixture.refused().await, OpenError::Missing));
}

#[tokio::test]
async fn another_key_or_origin_does_not_open_the_log() {
    let mut fixture = Fixture::new().await;
    let ours =
        std::mem::replace(&mut fixture.signer, Arc::new(SoftwareSigner::generate(KeyKind::Ed25519).unwrap()));
    assert!(matches!(fixture.refused().await, OpenError::ForeignKey(_)));
    fixture.signer = ours;
    fixture.settings.origin = Origin::new("other.example").unwrap();
    assert!(matches!(fixture.refused().await, OpenError::Origin { .. }));
}

#[tokio::test]
async fn a_log_that_has_ended_opens_by_its_public_key_and_is_only_read() {
    let fixture = Fixture::new().await;
    let (log, running, stop) = fixture.run().await;
    add(&log, 1..4).await;
    stop.cancel();
    running.await.unwrap().unwrap();
    drop(log);
    let open = async |key: &PublicKey| {
        let store: Arc<dyn Store> = fixture.store.clone();
        Log::open_ended(fixture.settings.clone(), store, key, &*fixture.clock).await
    };
    let log = open(fixture.signer.public_key()).await.unwrap();
    assert!(!log.is_open());
    assert!(matches!(log.add(submission(9)).await, Err(AddError::Ended)));
    assert!(matches!(log.add(submission(1)).await, Err(AddError::Ended)), "what it has is read, not added");
    assert_eq!(log.head().size, 4);
    log.inclusion_proof(2, 4).await.unwrap();

    let recorder = PrometheusBuilder::new().build_recorder();
    let recording = metrics::set_default_local_recorder(&recorder);
    let log = open(fixture.signer.public_key()).await.unwrap();
    assert!(matches!(log.add(submission(9)).await, Err(AddError::Ended)));
    log.sample(NOW);
    drop(recording);
    assert_eq!(recorder.handle().render(), "", "alarms would go off for a log that takes no entries");

    let foreign = SoftwareSigner::generate(KeyKind::Ed25519).unwrap();
    assert!(matches!(open(foreign.public_key()).await.err(), Some(OpenError::ForeignKey(_))));
    let other = SoftwareSigner::generate(KeyKind::EcdsaP256).unwrap();
    assert!(matches!(open(other.public_key()).await.err(), Some(OpenError::KeyKind(_))));
}

#[tokio::test]
async fn a_clock_behind_the_head_does_not_open_the_log() {
    let fixture = Fixture::new().await;
    fixture.clock.set(NOW.minus(Duration::from_secs(6)));
    let refused = fixture.refused().await;
    assert!(matches!(refused, OpenError::ClockBehind { .. }));
    assert!(refused.to_string().contains("set the clock"), "{refused}");
    fixture.clock.set(NOW.minus(Duration::from_secs(5)));
    assert!(fixture.open().await.is_ok(), "what time synchronisation corrects is tolerated");
}

#[tokio::test]
async fn a_damaged_right_edge_does_not_open_the_log() {
    // Of 7 leaves: (2,0) is on the edge, (0,1) only in the right-edge tile.
    for id in [NodeId { level: 2, index: 0 }, NodeId { level: 0, index: 1 }, NodeId { level: 0, index: 6 }] {
        let fixture = Fixture::new().await;
        let (log, running, stop) = fixture.run().await;
        add(&log, 1..7).await;
        stop.cancel();
        running.await.unwrap().unwrap();
        assert!(fixture.open().await.is_ok());
        fixture.tamper(&[], &[(id, Hash::from_bytes([1; 32]))], 7).await;
        let refused = fixture.refused().await;
        assert!(matches!(refused, OpenError::Store(StoreError::Damaged(_))), "{refused:?}");
    }
}

#[tokio::test]
async fn an_entry_beyond_the_head_does_not_open_the_log() {
    let fixture = Fixture::new().await;
    let entry = NewEntry {
        entry: StoredEntry {
            leaf: Bytes::new(),
            time: NOW,
            extra: Bytes::new(),
            identity: submission(1).identity,
        },
        leaf_hash: leaf_hash(b"x"),
        terms: Vec::new(),
    };
    fixture.tamper(&[entry], &[], 1).await;
    assert!(fixture.refused().await.to_string().contains("entries end at 2, the head says 1"));
}

#[tokio::test]
async fn failing_reads_refuse_the_add_and_nothing_else() {
    let fixture = Fixture::new().await;
    let (log, ..) = fixture.run().await;
    // The look-up on submission, then the one at sequencing.
    fixture.store.fail_reads(1);
    assert!(matches!(log.add(submission(1)).await, Err(AddError::Failed(_))));
    let waiter = log.0.pool.submit(submission(1)).unwrap();
    fixture.store.fail_reads(1);
    assert!(matches!(waiter.answer.await, Ok(Answer::Refused(AddError::Failed(_)))));
    assert_eq!(log.add(submission(1)).await.unwrap().index, 1);
}

#[tokio::test]
async fn a_signer_that_fails_refuses_the_batch_and_the_log_goes_on() {
    use crate::key::{PublicKey, SignError};
    use std::sync::atomic::{AtomicBool, Ordering};

    struct Flaky(Arc<dyn Signer>, Arc<AtomicBool>);
    impl Signer for Flaky {
        fn public_key(&self) -> &PublicKey {
            self.0.public_key()
        }
        fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
            if self.1.load(Ordering::SeqCst) {
                Err(SignError("away".to_owned()))
            } else {
                self.0.sign(message)
            }
        }
        fn may_block(&self) -> bool {
            true
        }
    }

    let mut fixture = Fixture::new().await;
    let away = Arc::new(AtomicBool::new(true));
    fixture.signer = Arc::new(Flaky(Arc::clone(&fixture.signer), Arc::clone(&away)));
    let (log, ..) = fixture.run().await;
    assert!(matches!(log.add(submission(1)).await, Err(AddError::NotSigned(_))));
    assert_eq!(log.head().size, 1);
    away.store(false, Ordering::SeqCst);
    assert_eq!(log.add(submission(1)).await.unwrap().index, 1);
    assert_eq!(fixture.memory.open().await.unwrap().unwrap().size, 2);
}

#[tokio::test]
async fn the_store_is_left_as_it_was_by_a_failed_commit() {
    let fixture = Fixture::new().await;
    let (log, ..) = fixture.run().await;
    fixture.store.plan([Some(Fault::NotApplied)]);
    assert!(matches!(log.add(submission(1)).await, Err(AddError::Failed(_))));
    assert_eq!(log.head().size, 1);
    assert_eq!(log.find(&submission(1).identity).await.unwrap(), None);
}
