//! [`Log`]: the only door to a log, for every API.
//!
//! Invariant: whatever is answered comes from a committed head, and a receipt is given only for an entry that is
//! durable under a head that was re-derived from its bytes before it was signed.

mod disk;
mod error;
mod reads;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;

use self::disk::DiskWatch;
pub use self::error::{AddError, Fatal, OpenError, ProofReadError};
use super::meters::{Look, Meters};
use super::pool::Pool;
use super::round::{Answer, Face, Published, Tree, restore, restore_ended};
pub use super::sequencer::Sequencer;
use super::store::{Head, Store, StoreError};
use crate::checkpoint::Origin;
use crate::clock::{Clock, Timestamp};
use crate::key::{PublicKey, Signer};
use crate::merkle::{Hash, leaf_hash};
use crate::serve::rate::{WRITES_PER_IDENTITY, note};
use crate::tile::MAX_ENTRY;

/// How a log runs. The limits bound its memory and the time that one commit takes.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// The log's C2SP origin, which is also the name of its checkpoint key.
    pub origin: Origin,
    /// Most entries in one batch.
    pub max_batch_entries: usize,
    /// Most bytes (leaf and extra) in one batch; a single entry may exceed it.
    pub max_batch_bytes: usize,
    /// Most entries that wait for a batch; above it [`AddError::Full`].
    pub max_pool_entries: usize,
    /// Most bytes that wait for a batch; above it [`AddError::Full`].
    pub max_pool_bytes: usize,
    /// Largest `extra` of one entry.
    pub max_extra_bytes: usize,
    /// Below this much free disk adds are refused, while reads go on.
    pub min_free_bytes: u64,
    /// After a round that several entries shared, the next one starts no sooner than this after it did. An entry that
    /// comes alone never waits.
    pub round_interval: Duration,
}

impl LogSettings {
    /// The defaults, for a log called `origin`.
    pub fn new(origin: Origin) -> Self {
        Self {
            origin,
            max_batch_entries: 1024,
            max_batch_bytes: 4 << 20,
            max_pool_entries: 8192,
            max_pool_bytes: 64 << 20,
            max_extra_bytes: 1 << 20,
            min_free_bytes: 512 << 20,
            round_interval: Duration::from_millis(2),
        }
    }
}

/// What a client wants in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    /// What duplicates have in common: for Rekor the leaf hash, for CT the entry without its time.
    pub identity: Hash,
    /// The bytes to hash, at most [`MAX_ENTRY`].
    pub leaf: HashedLeaf,
    /// Bytes to keep beside the leaf.
    pub extra: Bytes,
    /// What the entry is to be found by.
    pub terms: Vec<String>,
}

/// A leaf with its hash, which is derived once for all that needs it. The check before signing derives it again, from
/// the bytes that will be stored: a leaf that changed in memory since is never signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashedLeaf {
    bytes: Bytes,
    hash: Hash,
}

impl HashedLeaf {
    /// Hashes a leaf.
    pub fn new(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self { hash: leaf_hash(&bytes), bytes }
    }

    /// The leaf.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// RFC 6962's hash of it.
    pub fn hash(&self) -> Hash {
        self.hash
    }

    /// Leaf and hash.
    pub(super) fn into_parts(self) -> (Bytes, Hash) {
        (self.bytes, self.hash)
    }
}

impl std::ops::Deref for HashedLeaf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
impl HashedLeaf {
    /// As failing memory does, after the leaf was hashed.
    pub(in crate::server) fn flip_a_bit(&mut self) {
        let mut bytes = self.bytes.to_vec();
        bytes[0] ^= 1;
        self.bytes = bytes.into();
    }
}

impl From<Bytes> for HashedLeaf {
    fn from(bytes: Bytes) -> Self {
        Self::new(bytes)
    }
}

/// The log's promise for one entry: it is durable, at this index, under this head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Index of the entry.
    pub index: u64,
    /// When the log took it in.
    pub time: Timestamp,
    /// Hash of its leaf.
    pub leaf_hash: Hash,
    /// Inclusion proof at `head`.
    pub proof: Vec<Hash>,
    /// A committed head that includes it.
    pub head: Arc<Head>,
    /// Whether the entry was there, or on its way, before this submission.
    pub duplicate: bool,
}

impl Submission {
    /// What it weighs in the pool and in a batch.
    pub(super) fn bytes(&self) -> usize {
        self.leaf.bytes.len() + self.beside()
    }

    fn beside(&self) -> usize {
        self.extra.len() + self.terms.iter().map(String::len).sum::<usize>()
    }
}

/// Something that an entry costs its submitter. It is paid when the entry gets in line, so duplicates and refused
/// entries are free.
pub trait Fee: Send + Sync {
    /// Pays; `Err` with the time after which it can be paid, in which case the entry is not added. Called at most once,
    /// while the pool is locked.
    fn pay(&self) -> Result<(), Duration>;
    /// Takes back a payment: the entry was not added after all.
    fn give_back(&self);
}

/// No fee.
pub(super) struct Free;

impl Fee for Free {
    fn pay(&self) -> Result<(), Duration> {
        Ok(())
    }

    fn give_back(&self) {}
}

/// A log. Cheap to clone.
#[derive(Clone)]
pub struct Log(Arc<Shared>);

/// What the door and the sequencer share.
pub(super) struct Shared {
    pub(super) settings: LogSettings,
    pub(super) store: Arc<dyn Store>,
    pub(super) pool: Pool,
    pub(super) published: ArcSwap<Published>,
    pub(super) meters: Meters,
    disk: DiskWatch,
    ended: bool,
}

impl Log {
    /// Creates the log in an empty store, with an entry of its own if `birth` is given. Only `chancery-server init`
    /// calls this: a log that creates itself at start would fork after its disk was lost.
    pub async fn create(
        settings: &LogSettings,
        store: &dyn Store,
        signer: Arc<dyn Signer>,
        clock: &dyn Clock,
        birth: Option<Submission>,
    ) -> Result<Head, OpenError> {
        if let Some(head) = store.open().await? {
            return Err(OpenError::Exists(head.size));
        }
        if let Some(birth) = &birth {
            check_size(settings, birth)?;
        }
        let face = Face::new(settings.origin.clone(), signer)?;
        let tree = Tree::empty();
        let batch = tree.integrate(birth.into_iter().collect(), clock.now());
        let committed = batch.check(&tree)?.sign(&face)?.commit(store, None).await?;
        Ok(Head::clone(committed.head()))
    }

    /// Opens the log of `store`, after re-verifying its head and right edge. Entries are added for as long as
    /// [`Sequencer::run`] runs.
    pub async fn open(
        settings: LogSettings,
        store: Arc<dyn Store>,
        signer: Arc<dyn Signer>,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, Sequencer), OpenError> {
        let face = Face::new(settings.origin.clone(), signer)?;
        let (tree, published) = restore(&*store, &face, &*clock).await?;
        let shared = Arc::new(Shared::new(settings, store, published, false));
        let sequencer = Sequencer::new(Arc::clone(&shared), face, clock, tree);
        Ok((Self(shared), sequencer))
    }

    /// Opens the log of `store` for reading alone, after the same checks: it has ended. Nothing is added, so nothing is
    /// signed, and the public half of its key is enough.
    pub async fn open_ended(
        settings: LogSettings,
        store: Arc<dyn Store>,
        key: &PublicKey,
        clock: &dyn Clock,
    ) -> Result<Self, OpenError> {
        let key = Face::key_of(&settings.origin, key)?;
        let published = restore_ended(&*store, &settings.origin, &key, clock).await?;
        Ok(Self(Arc::new(Shared::new(settings, store, published, true))))
    }

    /// Adds an entry, or finds it. Returns once it is durable.
    ///
    /// If the caller goes away the entry is added all the same.
    pub async fn add(&self, submission: Submission) -> Result<Receipt, AddError> {
        self.add_for(submission, &Free).await
    }

    /// As [`Log::add`], for a fee.
    pub async fn add_for(&self, submission: Submission, fee: &dyn Fee) -> Result<Receipt, AddError> {
        if self.0.ended {
            return Err(AddError::Ended);
        }
        let added = self.admit(submission, fee).await;
        match &added {
            Err(AddError::TooMany { .. }) => note(WRITES_PER_IDENTITY),
            Err(refusal) => self.0.meters.refused(refusal),
            Ok(receipt) if receipt.duplicate => self.0.meters.duplicate(),
            Ok(_) => {}
        }
        added
    }

    async fn admit(&self, submission: Submission, fee: &dyn Fee) -> Result<Receipt, AddError> {
        let Shared { settings, pool, disk, store, .. } = &*self.0;
        check_size(settings, &submission)?;
        let identity = submission.identity;
        if !pool.holds(&identity)
            && let Some(receipt) = self.receipt_of_stored(&identity).await?
        {
            return Ok(receipt);
        }
        disk.check(&**store)?;
        let waiter = pool.submit_for(submission, fee)?;
        let answer = waiter.answer.await;
        // Whoever only joined has not paid.
        if !waiter.joined && matches!(answer, Ok(Answer::Stored | Answer::Refused(_))) {
            fee.give_back();
        }
        match answer {
            Ok(Answer::Added(receipt)) => {
                Ok(Receipt { duplicate: waiter.joined, ..Arc::unwrap_or_clone(receipt) })
            }
            Ok(Answer::Stored) => self.receipt_of_stored(&identity).await?.ok_or_else(|| {
                AddError::Failed(StoreError::Damaged(format!("identity {identity} was found, then not")))
            }),
            Ok(Answer::Refused(refusal)) => Err(refusal),
            // The sequencer died with the entry in its hands.
            Err(_) => Err(AddError::Unknown),
        }
    }

    /// The receipt of an entry that the published head includes.
    async fn receipt_of_stored(&self, identity: &Hash) -> Result<Option<Receipt>, AddError> {
        let Some(index) = self.0.store.find(identity).await? else { return Ok(None) };
        // An entry at or after the head is being committed: the pool still holds it.
        let head = self.head();
        let Some(entry) = self.entry_below(index, head.size).await? else { return Ok(None) };
        if entry.identity != *identity {
            let what = format!("entry {index} was found as {identity}, but it is {}", entry.identity);
            return Err(AddError::Failed(StoreError::Damaged(what)));
        }
        let proof = self.proof_below(index, head.size).await?;
        let (time, leaf_hash) = (entry.time, leaf_hash(&entry.leaf));
        Ok(Some(Receipt { index, time, leaf_hash, proof, head, duplicate: true }))
    }

    /// The log's origin.
    pub fn origin(&self) -> &Origin {
        &self.0.settings.origin
    }

    /// The last committed head.
    pub fn head(&self) -> Arc<Head> {
        Arc::clone(self.0.published.load().head())
    }

    /// Brings the gauges up to date with the log as it is `now`. For whoever answers a scrape: it asks the file system,
    /// so it may block. A log that has ended has no gauges: nothing about it changes, and nobody is to be alarmed that it
    /// takes no entries.
    pub fn sample(&self, now: Timestamp) {
        let Shared { settings, store, pool, meters, ended, .. } = &*self.0;
        if *ended {
            return;
        }
        let (open, head, load) = (pool.is_open(), self.head(), pool.load());
        let min_free_bytes = settings.min_free_bytes;
        meters.sample(&Look { open, head: &head, now, load, store: &**store, min_free_bytes });
    }

    /// Whether the sequencer takes entries: false after shutdown or a fatal error, and for a log that has ended.
    pub fn is_open(&self) -> bool {
        !self.0.ended && self.0.pool.is_open()
    }
}

impl Shared {
    fn new(settings: LogSettings, store: Arc<dyn Store>, published: Published, ended: bool) -> Self {
        Self {
            pool: Pool::new(&settings),
            meters: if ended { Meters::none(&settings.origin) } else { Meters::new(&settings.origin) },
            disk: DiskWatch::new(settings.min_free_bytes),
            published: ArcSwap::from_pointee(published),
            settings,
            store,
            ended,
        }
    }
}

fn check_size(settings: &LogSettings, submission: &Submission) -> Result<(), AddError> {
    let sizes = [(submission.leaf.bytes.len(), MAX_ENTRY), (submission.beside(), settings.max_extra_bytes)];
    match sizes.into_iter().find(|(found, limit)| found > limit) {
        Some((found, limit)) => Err(AddError::TooLarge { found, limit }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
