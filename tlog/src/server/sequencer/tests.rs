//! The fault table: every outcome of a commit × once or twice × go on or reopen × every store. After each row
//! every acknowledged entry is provable, and every two heads that were ever seen are consistent.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::join_all;
use proptest::prelude::*;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::checkpoint::Origin;
use crate::clock::FixedClock;
use crate::key::{KeyKind, Signer, SoftwareSigner};
use crate::merkle::{leaf_hash, verify_consistency, verify_inclusion};
use crate::serve::access::Permit;
use crate::server::log::{Log, LogSettings, Receipt};
use crate::server::store::conformance::{Home, InMemory, OnDisk};
use crate::server::store::{Fault, Faulty, Head, Store};

const FAULTS: [Fault; 4] = [Fault::NotApplied, Fault::Superseded, Fault::UnknownBefore, Fault::UnknownAfter];

/// A log under test, and everything that it ever promised.
struct Harness<H: Home> {
    home: H,
    signer: Arc<dyn Signer>,
    settings: LogSettings,
    running: Option<Running<H::Store>>,
    acknowledged: Vec<(Submission, Receipt)>,
    heads: Vec<Arc<Head>>,
    next: u64,
}

struct Running<S> {
    log: Log,
    store: Arc<Faulty<S>>,
    sequencer: JoinHandle<Result<(), Fatal>>,
    stop: CancellationToken,
}

fn submission(n: u64) -> Submission {
    let leaf = Bytes::from(format!("leaf {n}"));
    Submission { identity: leaf_hash(&leaf), leaf: leaf.into(), extra: Bytes::new(), terms: Vec::new() }
}

fn clock() -> Arc<FixedClock> {
    Arc::new(FixedClock::new(Timestamp::from_seconds(1)))
}

impl<H: Home> Harness<H> {
    async fn new() -> Self {
        let mut settings = LogSettings::new(Origin::new("log.example").unwrap());
        settings.min_free_bytes = 0;
        let signer: Arc<dyn Signer> = Arc::new(SoftwareSigner::generate(KeyKind::Ed25519).unwrap());
        let home = H::new();
        let birth = Some(submission(u64::MAX));
        Log::create(&settings, &home.open(), Arc::clone(&signer), &*clock(), birth).await.unwrap();
        let (acknowledged, heads) = (Vec::new(), Vec::new());
        let mut harness = Self { home, signer, settings, running: None, acknowledged, heads, next: 0 };
        harness.reopen().await;
        harness
    }

    fn running(&self) -> &Running<H::Store> {
        self.running.as_ref().unwrap()
    }

    /// Ends the process, as it were, and starts another. Returns what the sequencer ended with.
    async fn reopen(&mut self) -> Option<Result<(), Fatal>> {
        let ended = match self.running.take() {
            Some(Running { sequencer, stop, .. }) => {
                stop.cancel();
                Some(sequencer.await.unwrap())
            }
            None => None,
        };
        let store = Arc::new(Faulty::new(self.home.open()));
        let opened: Arc<dyn Store> = store.clone();
        let (log, sequencer) =
            Log::open(self.settings.clone(), opened, Arc::clone(&self.signer), clock()).await.unwrap();
        let stop = CancellationToken::new();
        let sequencer = tokio::spawn(sequencer.run(stop.clone()));
        self.heads.push(log.head());
        self.running = Some(Running { log, store, sequencer, stop });
        ended
    }

    fn fresh(&mut self, count: u64) -> Vec<Submission> {
        self.next += count;
        (self.next - count..self.next).map(submission).collect()
    }

    /// Submits all at once, and keeps the receipts.
    async fn add(&mut self, submissions: &[Submission]) -> Vec<Result<Receipt, AddError>> {
        let log = self.running().log.clone();
        let answers = join_all(submissions.iter().map(|submission| log.add(submission.clone()))).await;
        for (submission, answer) in submissions.iter().zip(&answers) {
            if let Ok(receipt) = answer {
                self.heads.push(Arc::clone(&receipt.head));
                self.acknowledged.push((submission.clone(), receipt.clone()));
            }
        }
        self.heads.push(log.head());
        answers
    }

    /// Every promise holds against the log as it stands now.
    async fn verify(&mut self) {
        let log = self.running().log.clone();
        let now = log.head();
        for (submission, receipt) in &self.acknowledged {
            let entry = log
                .entry(Permit::for_a_test(), receipt.index)
                .await
                .unwrap()
                .expect("an acknowledged entry is there");
            assert_eq!((&entry.leaf, entry.time), (submission.leaf.bytes(), receipt.time));
            let promised = &receipt.head;
            verify_inclusion(
                &receipt.leaf_hash,
                receipt.index,
                promised.size,
                &receipt.proof,
                &promised.root,
            )
            .unwrap();
            let proof = log.inclusion_proof(receipt.index, now.size).await.unwrap();
            verify_inclusion(&leaf_hash(submission.leaf.bytes()), receipt.index, now.size, &proof, &now.root)
                .unwrap();
            assert_eq!(log.find(&submission.identity).await.unwrap(), Some(receipt.index));
        }
        self.heads.sort_by_key(|head| head.size);
        self.heads.dedup();
        for (at, old) in self.heads.iter().enumerate() {
            for new in &self.heads[at..] {
                let proof = log.consistency_proof(old.size, new.size).await.unwrap();
                verify_consistency(old.size, &old.root, new.size, &new.root, &proof).unwrap();
            }
        }
    }
}

fn assert_refused_by(fault: Fault, answer: &Result<Receipt, AddError>) {
    let fits = match fault {
        Fault::NotApplied => matches!(answer, Err(AddError::Failed(_))),
        Fault::Superseded => matches!(answer, Err(AddError::Closed)),
        Fault::UnknownBefore | Fault::UnknownAfter => matches!(answer, Err(AddError::Unknown)),
    };
    assert!(fits, "{fault:?}: {answer:?}");
}

fn assert_ended_by(fault: Fault, ended: Option<Result<(), Fatal>>) {
    let fits = match fault {
        Fault::NotApplied => matches!(ended, Some(Ok(()))),
        Fault::Superseded => matches!(ended, Some(Err(Fatal::Superseded(_)))),
        Fault::UnknownBefore | Fault::UnknownAfter => matches!(ended, Some(Err(Fatal::Unknown(_)))),
    };
    assert!(fits, "{fault:?}: {ended:?}");
}

/// One row. `Retry` means in the same process, which only a fault that certainly wrote nothing allows.
async fn row<H: Home>(fault: Fault, times: usize, reopen: bool) {
    let mut harness = Harness::<H>::new().await;
    let first = harness.fresh(5);
    assert!(harness.add(&first).await.iter().all(Result::is_ok));
    let victims = harness.fresh(3);
    for _ in 0..times {
        let present = harness.running().log.find(&victims[0].identity).await.unwrap().is_some();
        if present {
            break;
        }
        harness.running().store.plan([Some(fault)]);
        for answer in harness.add(&victims).await {
            assert_refused_by(fault, &answer);
        }
        if fault == Fault::NotApplied && !reopen {
            continue;
        }
        if fault != Fault::NotApplied {
            assert!(!harness.running().log.is_open());
            let after = harness.fresh(1);
            assert!(matches!(harness.add(&after).await[0], Err(AddError::Closed)));
        }
        let ended = harness.reopen().await;
        assert_ended_by(fault, ended);
        harness.verify().await;
    }
    let written = fault == Fault::UnknownAfter;
    for answer in harness.add(&victims).await {
        assert_eq!(answer.unwrap().duplicate, written, "{fault:?}");
    }
    harness.verify().await;
    let last = harness.fresh(300);
    assert!(harness.add(&last).await.iter().all(Result::is_ok));
    harness.verify().await;
    harness.reopen().await;
    harness.verify().await;
}

async fn table<H: Home>() {
    for fault in FAULTS {
        for times in [1, 2] {
            for reopen in [false, true] {
                row::<H>(fault, times, reopen).await;
            }
        }
    }
}

#[tokio::test]
async fn no_fault_breaks_a_promise_in_memory() {
    table::<InMemory>().await;
}

#[tokio::test]
async fn no_fault_breaks_a_promise_in_rocksdb() {
    table::<OnDisk>().await;
}

#[tokio::test]
async fn after_an_unknown_commit_everyone_who_waits_is_told_so() {
    let mut harness = Harness::<InMemory>::new().await;
    harness.running().store.plan([Some(Fault::UnknownBefore)]);
    let submissions = harness.fresh(3000);
    for answer in harness.add(&submissions).await {
        assert!(matches!(answer, Err(AddError::Unknown)), "{answer:?}");
    }
    assert!(matches!(harness.reopen().await, Some(Err(Fatal::Unknown(_)))));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn no_sequence_of_faults_breaks_a_promise(
        steps in prop::collection::vec((prop::option::of(prop::sample::select(&FAULTS[..])), 1u64..40), 1..12)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let mut harness = Harness::<InMemory>::new().await;
            for (fault, count) in steps {
                harness.running().store.plan([fault]);
                let submissions = harness.fresh(count);
                harness.add(&submissions).await;
                if !harness.running().log.is_open() {
                    harness.reopen().await;
                }
                harness.add(&submissions).await;
            }
            harness.verify().await;
        });
    }
}

#[tokio::test]
async fn two_sequencers_on_one_store_stop_at_the_second_commit() {
    let harness = Harness::<InMemory>::new().await;
    let store: Arc<dyn Store> = Arc::new(harness.home.open());
    let (other, sequencer) =
        Log::open(harness.settings.clone(), store, Arc::clone(&harness.signer), clock()).await.unwrap();
    let other_run = tokio::spawn(sequencer.run(CancellationToken::new()));
    let ours = &harness.running().log;
    ours.add(submission(1)).await.unwrap();
    assert!(matches!(other.add(submission(2)).await, Err(AddError::Closed)));
    let fatal = other_run.await.unwrap().unwrap_err();
    assert!(fatal.to_string().contains("two writers on one log"), "{fatal}");
    assert_eq!(ours.add(submission(2)).await.unwrap().index, 2);
}
