//! [`Faulty`]: a store that fails as it is told, around one that works. For tests.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::{Commit, CommitError, Head, Store, StoreError, StoredEntry};
use crate::merkle::{Hash, NodeId};

/// What a commit does instead of succeeding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Says, truly, that nothing was written.
    NotApplied,
    /// Says that another writer was here. Nothing was written.
    Superseded,
    /// Does not know; nothing was written.
    UnknownBefore,
    /// Does not know; everything was written.
    UnknownAfter,
}

/// A store that fails as planned.
#[derive(Debug)]
pub struct Faulty<S> {
    inner: S,
    commits: Mutex<VecDeque<Option<Fault>>>,
    failing_reads: Mutex<usize>,
    free_bytes: Mutex<Option<u64>>,
}

impl<S> Faulty<S> {
    /// A store that behaves as `inner` until told otherwise.
    pub fn new(inner: S) -> Self {
        Self {
            inner,
            commits: Mutex::default(),
            failing_reads: Mutex::default(),
            free_bytes: Mutex::default(),
        }
    }

    /// Plans the next commits, one item each; `None` lets one through.
    pub fn plan(&self, faults: impl IntoIterator<Item = Option<Fault>>) {
        lock(&self.commits).extend(faults);
    }

    /// Makes the next `count` reads fail.
    pub fn fail_reads(&self, count: usize) {
        *lock(&self.failing_reads) = count;
    }

    /// Pretends that the disk has this much left.
    pub fn set_free_bytes(&self, free: Option<u64>) {
        *lock(&self.free_bytes) = free;
    }

    fn read(&self) -> Result<&S, StoreError> {
        let mut failing = lock(&self.failing_reads);
        if *failing == 0 {
            return Ok(&self.inner);
        }
        *failing -= 1;
        Err(injected("reading"))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn injected(doing: &'static str) -> StoreError {
    StoreError::Engine { doing, reason: "injected fault".to_owned() }
}

#[async_trait]
impl<S: Store> Store for Faulty<S> {
    async fn open(&self) -> Result<Option<Head>, StoreError> {
        self.read()?.open().await
    }

    async fn commit(&self, parent: Option<&Head>, commit: Commit<'_>) -> Result<(), CommitError> {
        let fault = lock(&self.commits).pop_front().flatten();
        match fault {
            None => self.inner.commit(parent, commit).await,
            Some(Fault::NotApplied) => Err(CommitError::NotApplied(injected("committing"))),
            Some(Fault::Superseded) => Err(CommitError::Superseded(parent.cloned().map(Box::new))),
            Some(Fault::UnknownBefore) => Err(CommitError::Unknown(injected("committing"))),
            Some(Fault::UnknownAfter) => {
                self.inner.commit(parent, commit).await?;
                Err(CommitError::Unknown(injected("committing")))
            }
        }
    }

    async fn entries(&self, range: Range<u64>) -> Result<Vec<StoredEntry>, StoreError> {
        self.read()?.entries(range).await
    }

    async fn nodes(&self, ids: &[NodeId]) -> Result<Vec<Hash>, StoreError> {
        self.read()?.nodes(ids).await
    }

    async fn find(&self, identity: &Hash) -> Result<Option<u64>, StoreError> {
        self.read()?.find(identity).await
    }

    async fn find_all(&self, identities: &[Hash]) -> Result<Vec<Option<u64>>, StoreError> {
        self.read()?.find_all(identities).await
    }

    async fn search(&self, term: &str, limit: usize) -> Result<Vec<u64>, StoreError> {
        self.read()?.search(term, limit).await
    }

    fn free_bytes(&self) -> Result<Option<u64>, StoreError> {
        match *lock(&self.free_bytes) {
            Some(free) => Ok(Some(free)),
            None => self.inner.free_bytes(),
        }
    }
}
