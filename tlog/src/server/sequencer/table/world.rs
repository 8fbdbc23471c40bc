//! The world of one row: a disk, a process that one fault befalls, and clients who remember what they were told.

use std::future::Future as _;
use std::ops::Range;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::join_all;
use tokio::task::JoinHandle;

use super::*;
use crate::checkpoint::{Checkpoint, Origin};
use crate::clock::FixedClock;
use crate::key::{KeyKind, PublicKey, SignError, Signer, SoftwareSigner};
use crate::merkle::{NodeId, leaf_hash};
use crate::server::log::{Log, LogSettings, Receipt};
use crate::server::store::{Commit, Head, Memory, NewEntry, Rocks, Store, StoreError, StoredEntry};

/// Where the log is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Medium {
    /// A disk with a page cache, so that a power cut can take what was not synced.
    Simulated,
    /// The real store, on the real disk.
    Rocks,
}

/// Which duty is neglected, at the engine's borders: inside it, it does not compile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sabotage {
    None,
    /// A commit returns when its record is in the page cache.
    LeavesFsyncOut,
    /// A head leaves the process as soon as it is signed.
    ShowsWhenSigned,
    /// A commit of unknown outcome is reported as one that failed.
    TakesUnknownForFailure,
}

pub(super) fn entries(range: Range<u64>) -> Vec<Submission> {
    let entry = |n| {
        let leaf = Bytes::from(format!("leaf {n}"));
        Submission { identity: leaf_hash(&leaf), leaf: leaf.into(), extra: Bytes::new(), terms: Vec::new() }
    };
    range.map(entry).collect()
}

/// What the submitters of a round heard.
pub(super) enum Told {
    Answers(Vec<Result<Receipt, AddError>>),
    /// Nothing: the process died first.
    Nothing,
}

/// A commit as it is kept.
#[derive(Clone)]
struct Kept {
    first: u64,
    entries: Vec<NewEntry>,
    nodes: Vec<(NodeId, Hash)>,
    parent: Option<Head>,
    head: Head,
}

/// A disk, and what the operating system has not written to it yet.
#[derive(Default)]
struct Disk {
    durable: Vec<Kept>,
    cached: Vec<Kept>,
}

impl Disk {
    fn write_back(&mut self) {
        self.durable.clone_from(&self.cached);
    }

    fn lose_power(&mut self) {
        self.cached.clone_from(&self.durable);
    }
}

/// What is to go wrong, and whether it has.
#[derive(Default)]
struct Trouble {
    planned: Option<Fault>,
    struck: bool,
    dead: bool,
    /// Heads that left the process past the engine.
    leaked: Vec<(u64, Hash)>,
}

type Shared<T> = Arc<Mutex<T>>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn failed() -> StoreError {
    StoreError::Engine { doing: "its duty", reason: "as the table says".to_owned() }
}

impl Trouble {
    /// This point of the round is reached: whether it fails here. The dead do nothing any more.
    fn strikes(&mut self, step: Step, moment: Moment) -> bool {
        if let Some(fault) = self.planned
            && (fault.step, fault.moment) == (step, moment)
        {
            self.struck = true;
            self.dead |= fault.how == How::Death;
            return true;
        }
        self.dead
    }
}

/// One process's store.
struct StagedStore {
    inner: Box<dyn Store>,
    disk: Option<Shared<Disk>>,
    trouble: Shared<Trouble>,
    sabotage: Sabotage,
}

impl StagedStore {
    fn point(&self, step: Step, moment: Moment) -> Result<(), StoreError> {
        if lock(&self.trouble).strikes(step, moment) { Err(failed()) } else { Ok(()) }
    }

    async fn read<T>(
        &self,
        step: Step,
        read: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        self.point(step, Moment::Before)?;
        let found = read.await?;
        self.point(step, Moment::After)?;
        Ok(found)
    }

    fn unknown(&self, error: StoreError) -> CommitError {
        if self.sabotage == Sabotage::TakesUnknownForFailure {
            CommitError::NotApplied(error)
        } else {
            CommitError::Unknown(error)
        }
    }

    fn append(&self, parent: Option<&Head>, commit: Commit<'_>) {
        let Some(disk) = &self.disk else { return };
        let (entries, nodes) = (commit.entries().to_vec(), commit.nodes().to_vec());
        let (first, parent, head) = (commit.first(), parent.cloned(), commit.head().clone());
        lock(disk).cached.push(Kept { first, entries, nodes, parent, head });
    }

    fn sync(&self) {
        if let (Some(disk), true) = (&self.disk, self.sabotage != Sabotage::LeavesFsyncOut) {
            lock(disk).write_back();
        }
    }
}

#[async_trait]
impl Store for StagedStore {
    async fn open(&self) -> Result<Option<Head>, StoreError> {
        self.inner.open().await
    }

    async fn commit(&self, parent: Option<&Head>, commit: Commit<'_>) -> Result<(), CommitError> {
        self.point(Step::Compare, Moment::Before).map_err(CommitError::NotApplied)?;
        self.point(Step::Compare, Moment::After)
            .map_err(|_| CommitError::Superseded(parent.cloned().map(Box::new)))?;
        let unknown = |error| self.unknown(error);
        self.point(Step::Append, Moment::Before).map_err(unknown)?;
        self.append(parent, commit);
        self.point(Step::Append, Moment::After).map_err(unknown)?;
        self.point(Step::Sync, Moment::Before).map_err(unknown)?;
        self.sync();
        if self.disk.is_none() {
            self.inner.commit(parent, commit).await?;
        }
        self.point(Step::Sync, Moment::After).map_err(unknown)?;
        self.point(Step::Apply, Moment::Before).map_err(unknown)?;
        if self.disk.is_some() {
            self.inner.commit(parent, commit).await?;
        }
        self.point(Step::Apply, Moment::After).map_err(unknown)?;
        self.point(Step::Publish, Moment::Before).map_err(unknown)
    }

    async fn entries(&self, range: Range<u64>) -> Result<Vec<StoredEntry>, StoreError> {
        self.inner.entries(range).await
    }
    async fn nodes(&self, ids: &[NodeId]) -> Result<Vec<Hash>, StoreError> {
        self.inner.nodes(ids).await
    }
    async fn find(&self, identity: &Hash) -> Result<Option<u64>, StoreError> {
        self.read(Step::Find, self.inner.find(identity)).await
    }
    async fn find_all(&self, identities: &[Hash]) -> Result<Vec<Option<u64>>, StoreError> {
        let found = self.read(Step::FindAll, self.inner.find_all(identities)).await?;
        self.point(Step::Integrate, Moment::Before)?;
        Ok(found)
    }
    async fn search(&self, term: &str, limit: usize) -> Result<Vec<u64>, StoreError> {
        self.inner.search(term, limit).await
    }
    fn free_bytes(&self) -> Result<Option<u64>, StoreError> {
        self.point(Step::FreeBytes, Moment::Before)?;
        let free = self.inner.free_bytes()?.map(|_| u64::MAX);
        self.point(Step::FreeBytes, Moment::After)?;
        Ok(free.or(Some(u64::MAX)))
    }
}

struct StagedSigner {
    inner: Arc<dyn Signer>,
    trouble: Shared<Trouble>,
    sabotage: Sabotage,
}

impl Signer for StagedSigner {
    fn public_key(&self) -> &PublicKey {
        self.inner.public_key()
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let failed = || SignError("as the table says".to_owned());
        let strikes = |step, moment| lock(&self.trouble).strikes(step, moment);
        if strikes(Step::Integrate, Moment::After) || strikes(Step::Sign, Moment::Before) {
            return Err(failed());
        }
        let signature = self.inner.sign(message)?;
        if self.sabotage == Sabotage::ShowsWhenSigned {
            let checkpoint = Checkpoint::parse(std::str::from_utf8(message).unwrap()).unwrap();
            lock(&self.trouble).leaked.push((checkpoint.size, checkpoint.root));
        }
        if strikes(Step::Sign, Moment::After) { Err(failed()) } else { Ok(signature) }
    }
}

struct Process {
    log: Log,
    sequencer: JoinHandle<Result<(), Fatal>>,
    stop: CancellationToken,
}

pub(super) struct World {
    medium: Medium,
    sabotage: Sabotage,
    folder: tempfile::TempDir,
    disk: Shared<Disk>,
    trouble: Shared<Trouble>,
    signer: Arc<dyn Signer>,
    settings: LogSettings,
    process: Option<Process>,
    pub(super) receipts: Vec<(Submission, Receipt)>,
    /// Heads that somebody saw.
    pub(super) heads: Vec<(u64, Hash)>,
    /// What went otherwise than it must.
    pub(super) broken: Vec<String>,
}

fn clock() -> Arc<FixedClock> {
    Arc::new(FixedClock::new(Timestamp::from_seconds(1_800_000_000)))
}

impl World {
    pub(super) async fn new(medium: Medium, sabotage: Sabotage) -> Self {
        let trouble: Shared<Trouble> = Arc::default();
        let key: Arc<dyn Signer> = Arc::new(SoftwareSigner::generate(KeyKind::Ed25519).unwrap());
        let signer = StagedSigner { inner: Arc::clone(&key), trouble: Arc::clone(&trouble), sabotage };
        let mut world = Self {
            medium,
            sabotage,
            folder: tempfile::tempdir().unwrap(),
            disk: Arc::default(),
            trouble,
            signer: Arc::new(signer),
            settings: LogSettings::new(Origin::new("log.example").unwrap()),
            process: None,
            receipts: Vec::new(),
            heads: Vec::new(),
            broken: Vec::new(),
        };
        let birth = entries(5000..5001).pop();
        let store = world.store(true).await.unwrap();
        Log::create(&world.settings, &store, key, &*clock(), birth).await.unwrap();
        drop(store);
        lock(&world.disk).write_back();
        world.open(None).await;
        world
    }

    /// What a new process opens.
    async fn store(&self, create: bool) -> Result<StagedStore, CommitError> {
        let path = self.folder.path().join("log");
        let inner: Box<dyn Store> = match self.medium {
            Medium::Rocks if create => Box::new(Rocks::create(path).unwrap()),
            Medium::Rocks => Box::new(Rocks::open(path).unwrap()),
            Medium::Simulated => {
                let (memory, commits) = (Memory::new(), lock(&self.disk).durable.clone());
                for Kept { first, entries, nodes, parent, head } in &commits {
                    memory.commit(parent.as_ref(), Commit::new(*first, entries, nodes, head)).await?;
                }
                Box::new(memory)
            }
        };
        let disk = (self.medium == Medium::Simulated).then(|| Arc::clone(&self.disk));
        Ok(StagedStore { inner, disk, trouble: Arc::clone(&self.trouble), sabotage: self.sabotage })
    }

    /// Starts a process, in whose memory `flipped` has a bit that it should not have.
    async fn open(&mut self, flipped: Option<Moment>) {
        let store = match self.store(false).await {
            Ok(store) => Arc::new(store),
            Err(error) => {
                return self.broken.push(format!("the disk holds what contradicts itself: {error}"));
            }
        };
        let opened = Log::open(self.settings.clone(), store, Arc::clone(&self.signer), clock()).await;
        let (log, mut sequencer) = match opened {
            Ok(opened) => opened,
            Err(error) => return self.broken.push(format!("the log does not open: {error}")),
        };
        if let Some(copy) = flipped {
            let mut tree = Tree::clone(&sequencer.tree);
            tree.flip_a_bit(copy == Moment::After);
            sequencer.tree = Arc::new(tree);
        }
        self.saw(&log.head());
        let stop = CancellationToken::new();
        let sequencer = tokio::spawn(sequencer.run(stop.clone()));
        self.process = Some(Process { log, sequencer, stop });
    }

    pub(super) fn log(&self) -> Option<&Log> {
        self.process.as_ref().map(|process| &process.log)
    }

    fn saw(&mut self, head: &Head) {
        self.heads.push((head.size, head.root));
    }

    /// Submits all at once, while `fault` awaits the round.
    pub(super) async fn attempt(&mut self, submissions: &[Submission], fault: Option<Fault>) -> Told {
        // The disk watch's last answer is too old.
        tokio::time::advance(Duration::from_secs(2)).await;
        if let Some(Fault { step: Step::Integrate, how: How::Error, moment, .. }) = fault {
            self.end().await;
            self.open(Some(moment)).await;
            lock(&self.trouble).struck = true;
        } else if fault.is_some() {
            *lock(&self.trouble) = Trouble { planned: fault, ..Trouble::default() };
        }
        let Some(log) = self.log().cloned() else { return Told::Nothing };
        let told = self.submit(&log, submissions, fault).await;
        self.saw(&log.head());
        if let Told::Answers(answers) = &told {
            for (submission, answer) in submissions.iter().zip(answers) {
                let Ok(receipt) = answer else { continue };
                self.saw(&receipt.head);
                self.receipts.push((submission.clone(), receipt.clone()));
            }
        }
        let leaked = std::mem::take(&mut lock(&self.trouble).leaked);
        self.heads.extend(leaked);
        if fault.is_some() && !std::mem::take(&mut lock(&self.trouble).struck) {
            self.broken.push("the fault did not strike: the row says nothing".to_owned());
        }
        lock(&self.trouble).planned = None;
        told
    }

    async fn submit(&self, log: &Log, submissions: &[Submission], fault: Option<Fault>) -> Told {
        let before = log.head().size;
        let mut answers = pin!(join_all(submissions.iter().map(|entry| log.add(entry.clone()))));
        let dies_at = fault.filter(|fault| fault.how == How::Death).map(|fault| (fault.step, fault.moment));
        let unheard = dies_at.is_some_and(|at| at > (Step::Publish, Moment::Before));
        let told = std::future::poll_fn(|context| {
            // The head is out, and before anybody hears of it the process is gone.
            if unheard && dies_at != Some((Step::Answer, Moment::After)) && log.head().size > before {
                let mut trouble = lock(&self.trouble);
                (trouble.struck, trouble.dead) = (true, true);
            }
            if lock(&self.trouble).dead {
                return Poll::Ready(Told::Nothing);
            }
            let told = answers.as_mut().poll(context).map(Told::Answers);
            // It may have died of the very first look at the store.
            if lock(&self.trouble).dead { Poll::Ready(Told::Nothing) } else { told }
        })
        .await;
        if dies_at == Some((Step::Answer, Moment::After)) {
            let mut trouble = lock(&self.trouble);
            (trouble.struck, trouble.dead) = (true, true);
        }
        told
    }

    /// Whether the process goes on or has ended, as the fault demands.
    pub(super) async fn expect_state(&mut self, fault: Fault, told: &Told) {
        let mute = fault.how == How::Death && fault.step < Step::Answer;
        if mute && matches!(told, Told::Answers(_)) {
            self.broken.push("the dead answered".to_owned());
        }
        if fault.how == How::Death {
            return;
        }
        let Some(process) = &self.process else { return };
        if fault.survived() {
            if !process.log.is_open() {
                self.broken.push("the process should have gone on".to_owned());
            }
            return;
        }
        if process.log.is_open() {
            return self.broken.push(format!("the process should have ended: {:?}", fault.outcome()));
        }
        let refused = process.log.add(entries(9000..9001).remove(0)).await;
        if !matches!(refused, Err(AddError::Closed)) {
            self.broken.push(format!("a stopped log answered {refused:?}"));
        }
        let ended = self.end().await;
        let fits = match fault.outcome() {
            Outcome::NothingWritten => false,
            Outcome::Contradiction => matches!(ended, Some(Err(Fatal::Mismatch(_)))),
            Outcome::OtherWriter => matches!(ended, Some(Err(Fatal::Superseded(_)))),
            Outcome::Unknown => matches!(ended, Some(Err(Fatal::Unknown(_)))),
        };
        if !fits {
            self.broken.push(format!("the process ended with {ended:?}"));
        }
    }

    /// Ends the process; how it ended, unless it was dead.
    async fn end(&mut self) -> Option<Result<(), Fatal>> {
        let Process { log, sequencer, stop } = self.process.take()?;
        drop(log);
        if lock(&self.trouble).dead {
            sequencer.abort();
            return sequencer.await.ok();
        }
        stop.cancel();
        sequencer.await.ok()
    }

    /// Ends what still runs, and starts a process on what the disk holds.
    pub(super) async fn restart(&mut self, next: Next) {
        // Killed: whatever it was about to do, it does not do.
        lock(&self.trouble).dead = true;
        self.end().await;
        *lock(&self.trouble) = Trouble::default();
        match next {
            Next::PowerCut => lock(&self.disk).lose_power(),
            Next::Retry | Next::Restart => lock(&self.disk).write_back(),
        }
        self.open(None).await;
    }

    /// The clients come again: now everything is taken in, or found if it was stored.
    pub(super) async fn retry(&mut self, submissions: &[Submission], stored: bool) {
        let told = self.attempt(submissions, None).await;
        let Told::Answers(answers) = told else { return self.broken.push("nobody answered".to_owned()) };
        for answer in answers {
            match answer {
                Ok(receipt) if receipt.duplicate == stored => {}
                other => self.broken.push(format!("tried again (stored before: {stored}): {other:?}")),
            }
        }
    }
}
