//! A world in one thread: submitters, readers, the sequencer, a disk that fails, a clock that jumps and power cuts, all
//! in an order that one seed decides. Whatever the order, the promises hold.
//!
//! `CHANCERY_SEEDS=100000 cargo nextest run -p chancery-tlog --features server simulation` is the long version, which
//! `tests/long` runs; `CHANCERY_SEED=17` runs one seed, which a failure prints.
//!
//! The last tests are about the test: each takes one duty away from the engine's world, as a broken sequencer would
//! neglect it, and demands that some seed notices.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::executor::block_on;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::checkpoint::Origin;
use crate::clock::FixedClock;
use crate::key::{KeyKind, PublicKey, SignError, Signer, SoftwareSigner};
use crate::merkle::{CompactRange, NodeId, leaf_hash, verify_inclusion};
use crate::server::log::{Log, LogSettings, OpenError, Receipt};
use crate::server::store::{Commit, Fault, Head, Memory, NewEntry, Store, StoreError, StoredEntry};

const SEEDS: u64 = 1000;
/// Process starts in one world.
const LIVES: u64 = 4;
const SUBMITTERS: u64 = 5;
/// Submissions of one submitter in one life.
const SUBMISSIONS: u64 = 3;
/// Different entries: few, so that duplicates meet.
const ENTRIES: u64 = 60;
/// A life in which nothing happens any more would be a deadlock.
const MAX_STEPS: u64 = 20_000;

/// Which duty is neglected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sabotage {
    None,
    /// Submitters are answered before their entries are durable: a commit returns early, as without fsync.
    AcknowledgesBeforeCommit,
    /// A head leaves the process as soon as it is signed.
    PublishesWhenSigned,
    /// A commit of unknown outcome is taken for one that failed.
    TakesUnknownForFailure,
}

/// SplitMix64: the whole world's only source of chance.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// True once in `n`.
    fn once_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

type Dice = Arc<Mutex<Chance>>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lets others go first, so many times.
struct Wait(u64);

impl Future for Wait {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if self.0 == 0 {
            return Poll::Ready(());
        }
        self.0 -= 1;
        Poll::Pending
    }
}

/// A commit as it is kept.
#[derive(Clone)]
struct Kept {
    first: u64,
    entries: Vec<NewEntry>,
    nodes: Vec<(NodeId, Hash)>,
    head: Head,
}

impl Kept {
    fn of(commit: Commit<'_>) -> Self {
        let (entries, nodes) = (commit.entries().to_vec(), commit.nodes().to_vec());
        Self { first: commit.first(), entries, nodes, head: commit.head().clone() }
    }

    fn as_commit(&self) -> Commit<'_> {
        Commit::new(self.first, &self.entries, &self.nodes, &self.head)
    }
}

/// What survives a power cut.
#[derive(Default)]
struct Disk {
    commits: Vec<Kept>,
}

impl Disk {
    fn entries(&self) -> impl Iterator<Item = &NewEntry> {
        self.commits.iter().flat_map(|commit| &commit.entries)
    }
}

/// One process's view of the disk.
struct SimulatedStore {
    seen: Memory,
    disk: Arc<Mutex<Disk>>,
    /// Commits that are not on the disk yet. Empty but for sabotage.
    delayed: Mutex<Vec<Kept>>,
    dice: Dice,
    sabotage: Sabotage,
}

impl SimulatedStore {
    fn new(disk: &Arc<Mutex<Disk>>, dice: &Dice, sabotage: Sabotage) -> Self {
        let seen = Memory::new();
        let mut parent = None;
        for commit in &lock(disk).commits {
            block_on(seen.commit(parent, commit.as_commit())).unwrap();
            parent = Some(&commit.head);
        }
        let (disk, dice) = (Arc::clone(disk), Arc::clone(dice));
        Self { seen, disk, delayed: Mutex::default(), dice, sabotage }
    }

    async fn pause(&self) {
        let steps = lock(&self.dice).below(6);
        Wait(steps).await;
    }

    fn fault(&self) -> Option<Fault> {
        let mut dice = lock(&self.dice);
        if !dice.once_in(6) {
            return None;
        }
        let faults = [Fault::NotApplied, Fault::UnknownBefore, Fault::UnknownAfter];
        faults.get(usize::try_from(dice.below(3)).unwrap()).copied()
    }

    /// A power cut may come at each `await` of the caller, but not within this.
    async fn apply(&self, parent: Option<&Head>, commit: Commit<'_>) -> Result<(), CommitError> {
        self.seen.commit(parent, commit).await?;
        let kept = Kept::of(commit);
        if self.sabotage == Sabotage::AcknowledgesBeforeCommit {
            let late = std::mem::replace(&mut *lock(&self.delayed), vec![kept]);
            lock(&self.disk).commits.extend(late);
        } else {
            lock(&self.disk).commits.push(kept);
        }
        Ok(())
    }

    fn unknown(&self) -> CommitError {
        let error = StoreError::Engine { doing: "committing", reason: "simulated".to_owned() };
        if self.sabotage == Sabotage::TakesUnknownForFailure {
            CommitError::NotApplied(error)
        } else {
            CommitError::Unknown(error)
        }
    }
}

#[async_trait]
impl Store for SimulatedStore {
    async fn open(&self) -> Result<Option<Head>, StoreError> {
        self.seen.open().await
    }

    async fn commit(&self, parent: Option<&Head>, commit: Commit<'_>) -> Result<(), CommitError> {
        let fault = self.fault();
        self.pause().await;
        match fault {
            None => self.apply(parent, commit).await?,
            Some(Fault::UnknownAfter) => {
                self.apply(parent, commit).await?;
                self.pause().await;
                return Err(self.unknown());
            }
            Some(Fault::UnknownBefore) => return Err(self.unknown()),
            Some(_) => {
                let error = StoreError::Engine { doing: "committing", reason: "simulated".to_owned() };
                return Err(CommitError::NotApplied(error));
            }
        }
        self.pause().await;
        Ok(())
    }

    async fn entries(&self, range: std::ops::Range<u64>) -> Result<Vec<StoredEntry>, StoreError> {
        self.seen.entries(range).await
    }
    async fn nodes(&self, ids: &[NodeId]) -> Result<Vec<Hash>, StoreError> {
        self.seen.nodes(ids).await
    }
    async fn find(&self, identity: &Hash) -> Result<Option<u64>, StoreError> {
        self.pause().await;
        self.seen.find(identity).await
    }
    async fn find_all(&self, identities: &[Hash]) -> Result<Vec<Option<u64>>, StoreError> {
        self.pause().await;
        self.seen.find_all(identities).await
    }
    async fn search(&self, term: &str, limit: usize) -> Result<Vec<u64>, StoreError> {
        self.seen.search(term, limit).await
    }
}

/// Everything that anybody outside was told.
#[derive(Default)]
struct History {
    receipts: Vec<(Hash, Receipt)>,
    heads: HashMap<u64, Hash>,
    /// Told that it was certainly not added.
    refused: Vec<Hash>,
    /// How often each entry was submitted.
    submitted: HashMap<Hash, u32>,
    broken: Vec<String>,
}

impl History {
    fn saw(&mut self, size: u64, root: Hash) {
        let known = *self.heads.entry(size).or_insert(root);
        if known != root {
            self.broken.push(format!("two roots of size {size}: {known} and {root}"));
        }
    }

    fn answered(&mut self, identity: Hash, answer: Result<Receipt, AddError>) {
        match answer {
            Ok(receipt) => {
                let (index, head) = (receipt.index, &receipt.head);
                let proven =
                    verify_inclusion(&receipt.leaf_hash, index, head.size, &receipt.proof, &head.root);
                if proven.is_err() || receipt.leaf_hash != identity {
                    self.broken.push(format!("the receipt of entry {index} proves nothing"));
                }
                self.saw(head.size, head.root);
                self.receipts.push((identity, receipt));
            }
            Err(AddError::Unknown) => {}
            Err(_) => self.refused.push(identity),
        }
    }

    /// What the disk holds, against everything that was said.
    fn compare(&mut self, disk: &Disk) {
        let mut tree = CompactRange::new();
        let mut roots = vec![tree.root()];
        let mut last = None;
        let entries: Vec<&StoredEntry> = disk.entries().map(|new| &new.entry).collect();
        for entry in &entries {
            tree.append(leaf_hash(&entry.leaf), |_, _| {});
            roots.push(tree.root());
            if last.is_some_and(|last| entry.time < last) {
                self.broken.push(format!("time stepped back to {}", entry.time));
            }
            last = Some(entry.time);
        }
        let at = |index: u64| usize::try_from(index).unwrap();
        for (size, root) in &self.heads {
            if roots.get(at(*size)) != Some(root) {
                self.broken.push(format!("a head of {size} was seen that is no prefix of the log"));
            }
        }
        for (identity, receipt) in &self.receipts {
            let kept = entries.get(at(receipt.index));
            if kept.is_none_or(|kept| kept.identity != *identity || kept.time != receipt.time) {
                self.broken.push(format!("acknowledged entry {} is lost or changed", receipt.index));
            }
        }
        let mut places: HashMap<Hash, usize> = HashMap::new();
        for (index, entry) in entries.iter().enumerate() {
            if let Some(first) = places.insert(entry.identity, index) {
                self.broken.push(format!("entry {index} is entry {first} again"));
            }
        }
        for identity in &self.refused {
            // Of one that was submitted again nobody can say which submission brought it in.
            if self.submitted[identity] == 1 && places.contains_key(identity) {
                self.broken.push("an entry that was certainly not added is in the log".to_owned());
            }
        }
    }
}

/// Signs as another does, and tells who listens.
struct Overheard(Arc<dyn Signer>, Arc<Mutex<History>>);

impl Signer for Overheard {
    fn public_key(&self) -> &PublicKey {
        self.0.public_key()
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let checkpoint = crate::checkpoint::Checkpoint::parse(std::str::from_utf8(message).unwrap()).unwrap();
        lock(&self.1).saw(checkpoint.size, checkpoint.root);
        self.0.sign(message)
    }
}

struct World {
    dice: Dice,
    sabotage: Sabotage,
    disk: Arc<Mutex<Disk>>,
    history: Arc<Mutex<History>>,
    clock: Arc<FixedClock>,
    settings: LogSettings,
    signer: Arc<dyn Signer>,
}

fn entry(n: u64) -> Submission {
    let leaf = Bytes::from(format!("leaf {n}"));
    Submission { identity: leaf_hash(&leaf), leaf: leaf.into(), extra: Bytes::new(), terms: Vec::new() }
}

impl World {
    fn new(seed: u64, key: &Arc<dyn Signer>, sabotage: Sabotage) -> Self {
        let mut settings = LogSettings::new(Origin::new("log.example").unwrap());
        (settings.max_batch_entries, settings.max_pool_entries) = (4, 8);
        // The scheduler here knows no time, and orders what time would.
        settings.round_interval = Duration::ZERO;
        let clock = Arc::new(FixedClock::new(Timestamp::from_seconds(1_800_000_000)));
        let history = Arc::new(Mutex::new(History::default()));
        let signer: Arc<dyn Signer> = if sabotage == Sabotage::PublishesWhenSigned {
            Arc::new(Overheard(Arc::clone(key), Arc::clone(&history)))
        } else {
            Arc::clone(key)
        };
        let born = Memory::new();
        let head = block_on(Log::create(&settings, &born, Arc::clone(key), &*clock, None)).unwrap();
        let birth = Kept { first: 0, entries: Vec::new(), nodes: Vec::new(), head };
        let disk = Arc::new(Mutex::new(Disk { commits: vec![birth] }));
        Self { dice: Arc::new(Mutex::new(Chance(seed))), sabotage, disk, history, clock, settings, signer }
    }

    /// Lives, power cuts and restarts; what was broken.
    fn run(&self) -> Vec<String> {
        for _ in 0..LIVES {
            self.live();
            lock(&self.history).compare(&lock(&self.disk));
            if !lock(&self.history).broken.is_empty() {
                break;
            }
        }
        lock(&self.history).broken.clone()
    }

    /// From a start to a power cut, a fatal error, or the end of all work.
    fn live(&self) {
        let (log, sequencer) = self.open();
        let mut tasks: Vec<Pin<Box<dyn Future<Output = ()>>>> = Vec::new();
        tasks.push(Box::pin(async move {
            let _ = sequencer.run(CancellationToken::new()).await;
        }));
        for _ in 0..SUBMITTERS {
            tasks.push(Box::pin(self.submitter(log.clone())));
        }
        let power = lock(&self.dice).below(400);
        let mut context = Context::from_waker(Waker::noop());
        for step in 0..=MAX_STEPS {
            assert!(step < MAX_STEPS, "nothing happens any more");
            let chosen = usize::try_from(lock(&self.dice).below(tasks.len() as u64)).unwrap();
            let ended = tasks[chosen].as_mut().poll(&mut context).is_ready();
            self.look(&log);
            // The first task is the sequencer, which ends only by a fatal error: the others hear of it first.
            if ended && chosen > 0 {
                drop(tasks.swap_remove(chosen));
            } else if ended {
                tasks[0] = Box::pin(std::future::pending());
            }
            if tasks.len() == 1 || step == power {
                break;
            }
        }
        // Submitters first: what the sequencer says while it is torn down reaches nobody.
        while let Some(task) = tasks.pop() {
            drop(task);
        }
    }

    fn open(&self) -> (Log, Sequencer) {
        let store: Arc<dyn Store> = Arc::new(SimulatedStore::new(&self.disk, &self.dice, self.sabotage));
        loop {
            let open = Log::open(
                self.settings.clone(),
                Arc::clone(&store),
                Arc::clone(&self.signer),
                self.clock.clone(),
            );
            match block_on(open) {
                Ok(opened) => return opened,
                Err(OpenError::ClockBehind { head, .. }) => self.clock.set(head),
                Err(other) => panic!("the log does not open: {other}"),
            }
        }
    }

    /// A reader sees the head; the clock goes on, or jumps.
    fn look(&self, log: &Log) {
        let head = log.head();
        lock(&self.history).saw(head.size, head.root);
        let mut dice = lock(&self.dice);
        if dice.once_in(8) {
            let by = Duration::from_millis(dice.below(4000));
            let now = self.clock.now();
            self.clock.set(if dice.once_in(3) { now.minus(by) } else { now.plus(by) });
        }
    }

    fn submitter(&self, log: Log) -> impl Future<Output = ()> + 'static {
        let (dice, history) = (Arc::clone(&self.dice), Arc::clone(&self.history));
        async move {
            for _ in 0..SUBMISSIONS {
                let (pause, which) = {
                    let mut dice = lock(&dice);
                    (dice.below(10), dice.below(ENTRIES))
                };
                Wait(pause).await;
                let submission = entry(which);
                let identity = submission.identity;
                *lock(&history).submitted.entry(identity).or_default() += 1;
                let answer = log.add(submission).await;
                lock(&history).answered(identity, answer);
            }
        }
    }
}

fn key() -> Arc<dyn Signer> {
    Arc::new(SoftwareSigner::generate(KeyKind::Ed25519).unwrap())
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable} is a number")))
}

#[test]
fn no_order_of_events_breaks_a_promise() {
    let key = key();
    let seeds =
        number("CHANCERY_SEED").map_or(0..number("CHANCERY_SEEDS").unwrap_or(SEEDS), |one| one..one + 1);
    for seed in seeds {
        let broken = World::new(seed, &key, Sabotage::None).run();
        assert!(broken.is_empty(), "CHANCERY_SEED={seed} breaks a promise: {broken:#?}");
    }
}

#[test]
fn a_seed_is_one_history() {
    let key = key();
    for seed in 0..20 {
        let histories = [(); 2].map(|()| {
            let world = World::new(seed, &key, Sabotage::None);
            world.run();
            let entries: Vec<_> = lock(&world.disk).entries().map(|new| new.entry.clone()).collect();
            let told = lock(&world.history).receipts.clone();
            (entries, told)
        });
        assert_eq!(histories[0], histories[1], "seed {seed}");
    }
}

/// Some seed of few must notice, with these words.
fn assert_noticed(sabotage: Sabotage, words: &str) {
    let key = key();
    let noticed = (0..SEEDS).any(|seed| {
        let broken = World::new(seed, &key, sabotage).run();
        broken.iter().any(|what| what.contains(words))
    });
    assert!(noticed, "{sabotage:?} goes unnoticed");
}

#[test]
fn acknowledging_before_the_commit_is_noticed() {
    assert_noticed(Sabotage::AcknowledgesBeforeCommit, "is lost or changed");
}

#[test]
fn publishing_a_head_before_the_commit_is_noticed() {
    assert_noticed(Sabotage::PublishesWhenSigned, "two roots of size");
}

#[test]
fn taking_an_unknown_outcome_for_a_failure_is_noticed() {
    assert_noticed(Sabotage::TakesUnknownForFailure, "certainly not added is in the log");
}
