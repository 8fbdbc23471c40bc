//! Why a log does not open, take an entry or prove something. Each says whose turn it is.

use std::sync::Arc;
use std::time::Duration;

use crate::checkpoint::{CheckpointError, Origin};
use crate::clock::Timestamp;
use crate::key::KeyKind;
use crate::merkle::ProofError;
use crate::note::NoteError;
use crate::server::round::{CLOCK_TOLERANCE, Mismatch};
use crate::server::store::{CommitError, Head, StoreError, describe};

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
    /// An identity that signed it has had its share for now.
    #[error("too many entries of this identity, try again later")]
    TooMany {
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
    /// The log has ended: it is served for reading, and its successor takes entries.
    #[error("this log has been frozen, please switch to the latest log: the signing config names it")]
    Ended,
    /// The log is shutting down, or has stopped after a failure. Nothing was added.
    #[error("the log is closed")]
    Closed,
    /// The store could not say whether the entry is durable. It may appear in the log later.
    #[error("it is not known whether the entry was added: ask the log for it before you submit it again")]
    Unknown,
    /// Certainly not added.
    #[error("the entry was not added: {0}")]
    Failed(#[from] StoreError),
    /// The log could not sign the head that would include it. Certainly not added.
    #[error("the entry was not added: {0}")]
    NotSigned(Arc<NoteError>),
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
    /// A log is to be created where one is.
    #[error("the store holds a log of {0} entries already: a log is created once")]
    Exists(u64),
    /// The checkpoint key is not Ed25519.
    #[error("checkpoints are signed by Ed25519 keys, this one is {0}: configure the log's `checkpoint_key`")]
    KeyKind(KeyKind),
    /// The store is another log's.
    #[error("the store is of the log `{}`, the settings say `{}`", stored.as_str(), configured.as_str())]
    Origin {
        /// Origin in the stored checkpoint.
        stored: Origin,
        /// Origin in the settings.
        configured: Origin,
    },
    /// The stored checkpoint was not signed by our key.
    #[error("the stored checkpoint is not by the configured key, was the key replaced? {0}")]
    ForeignKey(#[source] NoteError),
    /// The stored checkpoint is none.
    #[error("the store is damaged: {0}")]
    Checkpoint(#[from] CheckpointError),
    /// A note cannot be parsed, or not be signed.
    #[error("the log's checkpoint: {0}")]
    Note(#[from] NoteError),
    /// Time has run backwards since the head was signed.
    #[error("the clock shows {now}, more than {} s before the log's head of {head}: set the clock", CLOCK_TOLERANCE.as_secs())]
    ClockBehind {
        /// What the clock shows.
        now: Timestamp,
        /// Time of the head.
        head: Timestamp,
    },
    /// The first head of the log could not be trusted.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
    /// The first head of the log could not be stored.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The log's own first entry cannot be added.
    #[error(transparent)]
    Birth(#[from] AddError),
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
    #[error("two writers on one log: the store's head moved to another one ({}) under this process", describe(.0.as_deref()))]
    Superseded(Option<Box<Head>>),
    /// A batch is not what its re-derivation says. Nothing was signed.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
    /// The thread that made a batch panicked. Nothing was signed.
    #[error("making a batch failed, which is a bug: {0}")]
    Panicked(String),
}

impl AddError {
    /// Every [`AddError::reason`].
    pub const REASONS: [&'static str; 7] =
        ["full", "disk", "too_large", "closed", "unknown", "failed", "not_signed"];

    /// The reason in one word, for metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Full { .. } => "full",
            Self::ReadOnly { .. } => "disk",
            Self::TooMany { .. } => "too_many",
            Self::TooLarge { .. } => "too_large",
            Self::Ended => "ended",
            Self::Closed => "closed",
            Self::Unknown => "unknown",
            Self::Failed(_) => "failed",
            Self::NotSigned(_) => "not_signed",
        }
    }
}
