//! [`Memory`]: a log that is gone with its process, for tests.

use std::ops::Range;

use async_trait::async_trait;

use super::{Commit, CommitError, Head, Store, StoreError, StoredEntry};
use crate::merkle::{Hash, NodeId};

/// A log in memory, for tests. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Memory(());

impl Memory {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }
}

#[async_trait]
impl Store for Memory {
    async fn open(&self) -> Result<Option<Head>, StoreError> {
        unimplemented!()
    }
    async fn commit(&self, _parent: Option<&Head>, _commit: Commit<'_>) -> Result<(), CommitError> {
        unimplemented!()
    }
    async fn entries(&self, _range: Range<u64>) -> Result<Vec<StoredEntry>, StoreError> {
        unimplemented!()
    }
    async fn nodes(&self, _ids: &[NodeId]) -> Result<Vec<Hash>, StoreError> {
        unimplemented!()
    }
    async fn find(&self, _identity: &Hash) -> Result<Option<u64>, StoreError> {
        unimplemented!()
    }
    async fn find_all(&self, _identities: &[Hash]) -> Result<Vec<Option<u64>>, StoreError> {
        unimplemented!()
    }
    async fn search(&self, _term: &str, _limit: usize) -> Result<Vec<u64>, StoreError> {
        unimplemented!()
    }
}
