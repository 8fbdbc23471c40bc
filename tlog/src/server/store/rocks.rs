//! [`Rocks`]: a log in one RocksDB folder.

use std::ops::Range;
use std::path::Path;

use async_trait::async_trait;

use super::{Commit, CommitError, Head, Store, StoreError, StoredEntry};
use crate::merkle::{Hash, NodeId};

/// A log in one RocksDB folder, which one process at a time may open.
#[derive(Clone)]
pub struct Rocks(());

impl Rocks {
    /// Makes a new, empty store at `path`, which must not exist or be an empty folder.
    pub fn create(_path: impl AsRef<Path>) -> Result<Self, StoreError> {
        unimplemented!()
    }

    /// Opens the store at `path`, which must be there.
    pub fn open(_path: impl AsRef<Path>) -> Result<Self, StoreError> {
        unimplemented!()
    }
}

#[async_trait]
impl Store for Rocks {
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
