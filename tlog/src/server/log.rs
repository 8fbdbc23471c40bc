//! [`Log`]: the only door to a log, for every API.
//!
//! Invariant: whatever is answered comes from a committed head, and a receipt is given only for an entry that is
//! durable under a head that was re-derived from its bytes before it was signed.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::store::{Head, Store, StoreError, StoredEntry};
use crate::checkpoint::Origin;
use crate::clock::{Clock, Timestamp};
use crate::key::Signer;
use crate::merkle::{Hash, ProofError};
use crate::tile::{MAX_ENTRY, Tile};

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
        }
    }
}

/// What a client wants in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    /// What duplicates have in common: for Rekor the leaf hash, for CT the entry without its time.
    pub identity: Hash,
    /// The bytes to hash, at most [`MAX_ENTRY`].
    pub leaf: Bytes,
    /// Bytes to keep beside the leaf.
    pub extra: Bytes,
    /// What the entry is to be found by.
    pub terms: Vec<String>,
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

/// Why an entry was not added.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AddError {
    /// Too much is waiting already.
    #[error("the log is busy: try again in {} s", .retry_after.as_secs())]
    Full {
        /// When the queue will have drained, at its present rate.
        retry_after: Duration,
    },
    /// The disk is nearly full: the log answers reads only.
    #[error("the log takes no entries at present: its disk is nearly full")]
    ReadOnly {
        /// When to try again.
        retry_after: Duration,
    },
    /// The entry is larger than the log takes.
    #[error("the entry has {found} bytes, the log takes at most {limit}")]
    TooLarge {
        /// Bytes that came.
        found: usize,
        /// Bytes that are taken.
        limit: usize,
    },
    /// The log is shutting down, or has stopped after a failure. Nothing was added.
    #[error("the log is closed")]
    Closed,
    /// The store could not say whether the entry is durable. It may appear in the log later.
    #[error("it is not known whether the entry was added: ask the log for it before you submit it again")]
    Unknown,
    /// Certainly not added.
    #[error("the entry was not added: {0}")]
    Failed(Arc<StoreError>),
}

/// Why a log cannot be created or opened. Each is for the operator; none is retried.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The store could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store holds no log.
    #[error("store missing: was this log created by `chancery-server init`?")]
    Missing,
}

/// Why a proof cannot be given.
#[derive(Debug, thiserror::Error)]
pub enum ProofReadError {
    /// The numbers make no proof in the log as it stands.
    #[error("no such proof: {0}")]
    OutOfRange(String),
    /// The proof could not be put together.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// The store could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why the sequencer stopped for good. The process has to end: only a new start can tell what is stored.
#[derive(Debug, thiserror::Error)]
pub enum Fatal {
    /// A commit's outcome is unknown.
    #[error("a commit may or may not be durable, restart to find out: {0}")]
    Unknown(#[source] StoreError),
    /// Somebody else writes to this store.
    #[error("two writers on one log: the store's head moved to size {} under this process", .0.size)]
    Superseded(Box<Head>),
}

/// A log. Cheap to clone.
#[derive(Clone)]
pub struct Log(());

/// The one task that gives entries their place. It owns the right edge of the tree.
pub struct Sequencer(());

impl Log {
    /// Creates the log in an empty store, with an entry of its own if `birth` is given. Only `chancery-server init`
    /// calls this: a log that creates itself at start would fork after its disk was lost.
    pub async fn create(
        _settings: &LogSettings,
        _store: &dyn Store,
        _signer: &dyn Signer,
        _clock: &dyn Clock,
        _birth: Option<Submission>,
    ) -> Result<Head, OpenError> {
        let _ = MAX_ENTRY;
        unimplemented!()
    }

    /// Opens the log of `store`, after re-verifying its head and right edge. Entries are added for as long as
    /// [`Sequencer::run`] runs.
    pub async fn open(
        _settings: LogSettings,
        _store: Arc<dyn Store>,
        _signer: Arc<dyn Signer>,
        _clock: Arc<dyn Clock>,
    ) -> Result<(Self, Sequencer), OpenError> {
        unimplemented!()
    }

    /// Adds an entry, or finds it. Returns once it is durable.
    pub async fn add(&self, _submission: Submission) -> Result<Receipt, AddError> {
        unimplemented!()
    }

    /// The log's origin.
    pub fn origin(&self) -> &Origin {
        unimplemented!()
    }

    /// The last committed head.
    pub fn head(&self) -> Arc<Head> {
        unimplemented!()
    }

    /// Whether the sequencer takes entries: false after shutdown or a fatal error.
    pub fn is_open(&self) -> bool {
        unimplemented!()
    }

    /// The entry at `index`; `None` at and after the head's size.
    pub async fn entry(&self, _index: u64) -> Result<Option<StoredEntry>, StoreError> {
        unimplemented!()
    }

    /// The entries of `range` as far as the head reaches, at most 256 of them.
    pub async fn entries(&self, _range: Range<u64>) -> Result<Vec<StoredEntry>, StoreError> {
        unimplemented!()
    }

    /// The index of the entry with this identity.
    pub async fn find(&self, _identity: &Hash) -> Result<Option<u64>, StoreError> {
        unimplemented!()
    }

    /// The newest `limit` entries with this search term, in ascending order.
    pub async fn search(&self, _term: &str, _limit: usize) -> Result<Vec<u64>, StoreError> {
        unimplemented!()
    }

    /// Proof that the entry at `index` is in the tree of `size`.
    pub async fn inclusion_proof(&self, _index: u64, _size: u64) -> Result<Vec<Hash>, ProofReadError> {
        unimplemented!()
    }

    /// Proof that the tree of `old` leaves is a prefix of the tree of `new`.
    pub async fn consistency_proof(&self, _old: u64, _new: u64) -> Result<Vec<Hash>, ProofReadError> {
        unimplemented!()
    }

    /// Root of the tree of `size`.
    pub async fn root_at(&self, _size: u64) -> Result<Hash, ProofReadError> {
        unimplemented!()
    }

    /// A hash tile or entry bundle; `None` if the head's tree does not have it.
    pub async fn tile(&self, _tile: Tile) -> Result<Option<Bytes>, StoreError> {
        unimplemented!()
    }
}

impl Sequencer {
    /// Sequences until `shutdown`, then answers what was accepted and returns. On `Err` the process must end.
    pub async fn run(self, _shutdown: CancellationToken) -> Result<(), Fatal> {
        unimplemented!()
    }
}
