//! The durable home of one log: the [`Store`] trait and what passes through it.
//!
//! Invariant: a store changes by [`Store::commit`] only, as a whole or not at all. After `Ok` everything in the
//! commit, the signed head included, survives power loss. Design: one atomic verb, three outcomes.

#[cfg(test)]
pub(in crate::server) mod conformance;
mod faulty;
mod memory;
mod rocks;

use std::ops::Range;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::clock::Timestamp;
use crate::merkle::{Hash, NodeId};

pub use faulty::{Fault, Faulty};
pub use memory::Memory;
pub use rocks::Rocks;
pub(in crate::server) use rocks::keys::HashedEntry;
pub(in crate::server) use rocks::scan::Scanned;
pub use rocks::scan::Snapshot;

/// A committed state of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Number of leaves.
    pub size: u64,
    /// Root of the tree of that size.
    pub root: Hash,
    /// When it was made. Never earlier than the head before it.
    pub time: Timestamp,
    /// The C2SP checkpoint: a signed note.
    pub checkpoint: String,
}

/// An entry as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEntry {
    /// The bytes that the log hashes.
    pub leaf: Bytes,
    /// When the sequencer took it in. Equal for all entries of a batch.
    pub time: Timestamp,
    /// What the dialect keeps beside the leaf; not hashed.
    pub extra: Bytes,
    /// What duplicates have in common. Kept with the entry, so that a hit of [`Store::find`] can be checked.
    pub identity: Hash,
}

/// An entry on its way into a store, with what it is found by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEntry {
    /// What is stored.
    pub entry: StoredEntry,
    /// Hash of its leaf, so that a store need not hash again.
    pub leaf_hash: Hash,
    /// Search terms.
    pub terms: Vec<String>,
}

/// What one commit adds. Made only from a checked and signed batch: see [`super::round`].
#[derive(Clone, Copy, Debug)]
pub struct Commit<'b> {
    first: u64,
    entries: &'b [NewEntry],
    nodes: &'b [(NodeId, Hash)],
    head: &'b Head,
}

impl<'b> Commit<'b> {
    pub(in crate::server) fn new(
        first: u64,
        entries: &'b [NewEntry],
        nodes: &'b [(NodeId, Hash)],
        head: &'b Head,
    ) -> Self {
        Self { first, entries, nodes, head }
    }
    /// Index of the first entry: the size of the parent.
    pub fn first(&self) -> u64 {
        self.first
    }
    /// The entries, in order.
    pub fn entries(&self) -> &'b [NewEntry] {
        self.entries
    }
    /// All nodes that these entries complete, leaves included.
    pub fn nodes(&self) -> &'b [(NodeId, Hash)] {
        self.nodes
    }
    /// The signed head after them.
    pub fn head(&self) -> &'b Head {
        self.head
    }
}

/// A store failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The storage engine or the disk under it reports an error.
    #[error("the store failed {doing}: {reason}")]
    Engine {
        /// What was being done, as in "reading an entry".
        doing: &'static str,
        /// The engine's words.
        reason: String,
    },
    /// What is stored cannot be what was written.
    #[error("the store is damaged: {0}; restore it from a copy, do not write to it")]
    Damaged(String),
    /// The folder is not there, or holds no store.
    #[error("store missing at {0}: was this log created by `chancery-server init`?")]
    Missing(String),
    /// Another process has the store open.
    #[error("the store at {0} is in use by another process: stop that one first")]
    InUse(String),
    /// There is a store already where a new one is to be made.
    #[error("{0} exists already: a log is created once, choose another folder")]
    Exists(String),
}

/// Why a commit did not succeed: the three outcomes that a caller must tell apart.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// The stored head is another one: a second writer was here. Nothing was written.
    #[error("the store's head is another one ({}): two writers on one log", describe(.0.as_deref()))]
    Superseded(Option<Box<Head>>),
    /// Certainly nothing was written.
    #[error("nothing was written: {0}")]
    NotApplied(#[source] StoreError),
    /// The commit may or may not be durable. Only a new process that asks [`Store::open`] can tell.
    #[error("it is not known whether the commit is durable: {0}")]
    Unknown(#[source] StoreError),
}

impl StoreError {
    fn missing_node(id: NodeId) -> Self {
        Self::Damaged(format!("node {} of level {} is missing", id.index, id.level))
    }
}

/// The size of a head that may not be there, for messages.
pub(super) fn describe(head: Option<&Head>) -> String {
    head.map_or_else(|| "none".to_owned(), |head| format!("size {}", head.size))
}

/// The durable home of one log.
#[async_trait]
pub trait Store: Send + Sync {
    /// The committed head. `None` if no log was ever created here.
    async fn open(&self) -> Result<Option<Head>, StoreError>;

    /// Adds `commit` if and only if the stored head still equals `parent`; `None` creates the log.
    async fn commit(&self, parent: Option<&Head>, commit: Commit<'_>) -> Result<(), CommitError>;

    /// The entries of `range` from its start on, as far as they exist. Whoever needs all of them counts.
    async fn entries(&self, range: Range<u64>) -> Result<Vec<StoredEntry>, StoreError>;

    /// The leaves that [`Store::entries`] gives, which are all that an entry bundle is made of. A store can save what
    /// the rest of an entry costs, its identity's hash above all.
    async fn leaves(&self, range: Range<u64>) -> Result<Vec<Bytes>, StoreError> {
        Ok(self.entries(range).await?.into_iter().map(|entry| entry.leaf).collect())
    }

    /// The hashes of complete nodes, in the order of `ids`. One that is not stored is [`StoreError::Damaged`]:
    /// callers ask only for nodes below a committed head.
    async fn nodes(&self, ids: &[NodeId]) -> Result<Vec<Hash>, StoreError>;

    /// The index of the entry with this identity, compared in full: a shortened hash would allow forgeries.
    async fn find(&self, identity: &Hash) -> Result<Option<u64>, StoreError>;

    /// [`Store::find`] for many at once, in the order of `identities`: a batch asks once.
    async fn find_all(&self, identities: &[Hash]) -> Result<Vec<Option<u64>>, StoreError>;

    /// The newest `limit` entries with this search term, in ascending order.
    async fn search(&self, term: &str, limit: usize) -> Result<Vec<u64>, StoreError>;

    /// Puts in order what a stop leaves behind, so that the next start has less to do. Called when no more commits come.
    /// Promises nothing: everything committed is durable without it.
    async fn settle(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// How long the last commit's append and sync took, of all that a commit does; `None` if that is not known. For the
    /// metrics of the one sequencer.
    fn last_sync(&self) -> Option<Duration> {
        None
    }

    /// Bytes that the store takes on its disk; `None` if it has none. May block.
    fn size_bytes(&self) -> Result<Option<u64>, StoreError> {
        Ok(None)
    }

    /// Bytes that the disk under the store has left; `None` if it has no such limit.
    fn free_bytes(&self) -> Result<Option<u64>, StoreError> {
        Ok(None)
    }
}
