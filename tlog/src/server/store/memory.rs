//! [`Memory`]: a log that is gone with its process, for tests.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use async_trait::async_trait;

use super::{Commit, CommitError, Head, Store, StoreError, StoredEntry};
use crate::merkle::{Hash, NodeId};

/// A log in memory, for tests. Clones share it, so that one can be reopened.
#[derive(Clone, Debug, Default)]
pub struct Memory(Arc<RwLock<State>>);

#[derive(Debug, Default)]
struct State {
    head: Option<Head>,
    entries: Vec<StoredEntry>,
    nodes: HashMap<NodeId, Hash>,
    identities: HashMap<Hash, u64>,
    terms: BTreeMap<String, Vec<u64>>,
}

impl Memory {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Store for Memory {
    async fn open(&self) -> Result<Option<Head>, StoreError> {
        Ok(self.read().head.clone())
    }

    async fn commit(&self, parent: Option<&Head>, commit: Commit<'_>) -> Result<(), CommitError> {
        let mut state = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if state.head.as_ref() != parent {
            return Err(CommitError::Superseded(state.head.clone().map(Box::new)));
        }
        for (index, new) in (commit.first()..).zip(commit.entries()) {
            state.identities.insert(new.entry.identity, index);
            for term in &new.terms {
                state.terms.entry(term.clone()).or_default().push(index);
            }
            state.entries.push(new.entry.clone());
        }
        state.nodes.extend(commit.nodes().iter().copied());
        state.head = Some(commit.head().clone());
        Ok(())
    }

    async fn entries(&self, range: Range<u64>) -> Result<Vec<StoredEntry>, StoreError> {
        let state = self.read();
        let bound = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(state.entries.len());
        Ok(state.entries.get(bound(range.start)..bound(range.end)).unwrap_or_default().to_vec())
    }

    async fn nodes(&self, ids: &[NodeId]) -> Result<Vec<Hash>, StoreError> {
        let state = self.read();
        ids.iter()
            .map(|id| state.nodes.get(id).copied().ok_or_else(|| StoreError::missing_node(*id)))
            .collect()
    }

    async fn find(&self, identity: &Hash) -> Result<Option<u64>, StoreError> {
        Ok(self.read().identities.get(identity).copied())
    }

    async fn find_all(&self, identities: &[Hash]) -> Result<Vec<Option<u64>>, StoreError> {
        let state = self.read();
        Ok(identities.iter().map(|identity| state.identities.get(identity).copied()).collect())
    }

    async fn search(&self, term: &str, limit: usize) -> Result<Vec<u64>, StoreError> {
        let state = self.read();
        let mut found = state.terms.get(term).cloned().unwrap_or_default();
        found.dedup();
        Ok(found.split_off(found.len().saturating_sub(limit)))
    }
}
