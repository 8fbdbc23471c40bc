//! Reading entries and proofs by the parameters of RFC 6962 §4.4 to §4.8, checked against the current head.

use super::submit::hash_term;
use super::{CtLog, CtLogError};
use crate::merkle::{Hash, leaf_hash};
use crate::server::store::StoredEntry;

/// Most entries of one `get-entries` answer, a full entry bundle. Fewer than asked for is allowed (§4.6).
const MAX_ENTRIES: u64 = 256;

impl CtLog {
    /// Whether the log has a tree of `size` to prove things in.
    fn has_tree(&self, size: u64) -> Result<(), CtLogError> {
        if size == 0 || size > self.0.log.head().size {
            return Err(CtLogError::Submission(
                "tree_size must be from 1 to the size of the current tree head",
            ));
        }
        Ok(())
    }

    pub(super) async fn consistency(&self, first: u64, second: u64) -> Result<Vec<Hash>, CtLogError> {
        if first > second || second > self.0.log.head().size {
            return Err(CtLogError::Submission(
                "first <= second <= the size of the current tree head must hold",
            ));
        }
        Ok(self.0.log.consistency_proof(first, second).await?)
    }

    /// Index and audit path of the leaf with this hash; `None` if the tree of `size` does not have it.
    pub(super) async fn proof_by_hash(
        &self,
        leaf: &Hash,
        size: u64,
    ) -> Result<Option<(u64, Vec<Hash>)>, CtLogError> {
        self.has_tree(size)?;
        for index in self.0.log.search(&hash_term(leaf), 2).await? {
            if index >= size {
                continue;
            }
            // A term is only a hint: the leaf itself says whether it has this hash.
            let entry = self.0.log.entry(index).await?;
            if entry.is_some_and(|entry| leaf_hash(&entry.leaf) == *leaf) {
                return Ok(Some((index, self.0.log.inclusion_proof(index, size).await?)));
            }
        }
        Ok(None)
    }

    pub(super) async fn range(&self, start: u64, end: u64) -> Result<Vec<StoredEntry>, CtLogError> {
        let size = self.0.log.head().size;
        if start > end || start >= size {
            return Err(CtLogError::Submission("start <= end and start < the size of the tree must hold"));
        }
        let stop = end.saturating_add(1).min(size).min(start.saturating_add(MAX_ENTRIES));
        Ok(self.0.log.entries(start..stop).await?)
    }

    pub(super) async fn entry_and_proof(
        &self,
        index: u64,
        size: u64,
    ) -> Result<(StoredEntry, Vec<Hash>), CtLogError> {
        self.has_tree(size)?;
        let outside = CtLogError::Submission("leaf_index must be less than tree_size");
        if index >= size {
            return Err(outside);
        }
        let entry = self.0.log.entry(index).await?.ok_or(outside)?;
        Ok((entry, self.0.log.inclusion_proof(index, size).await?))
    }
}
