//! Reading entries and proofs by the parameters of RFC 6962 §4.4 to §4.8, checked against the current head.

use super::submit::hash_term;
use super::{CtLog, CtLogError};
use crate::merkle::Hash;
use crate::serve::access::Permit;
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
        let Some(index) = self.0.log.position(&hash_term(leaf), leaf, size).await? else { return Ok(None) };
        Ok(Some((index, self.0.log.inclusion_proof(index, size).await?)))
    }

    pub(super) async fn range(
        &self,
        permit: Permit,
        start: u64,
        end: u64,
    ) -> Result<Vec<StoredEntry>, CtLogError> {
        let size = self.0.log.head().size;
        if start > end || start >= size {
            return Err(CtLogError::Submission("start <= end and start < the size of the tree must hold"));
        }
        let stop = end.saturating_add(1).min(size).min(start.saturating_add(MAX_ENTRIES));
        Ok(self.0.log.entries(permit, start..stop).await?)
    }

    pub(super) async fn entry_and_proof(
        &self,
        permit: Permit,
        index: u64,
        size: u64,
    ) -> Result<(StoredEntry, Vec<Hash>), CtLogError> {
        self.has_tree(size)?;
        let outside = CtLogError::Submission("leaf_index must be less than tree_size");
        if index >= size {
            return Err(outside);
        }
        let entry = self.0.log.entry(permit, index).await?.ok_or(outside)?;
        Ok((entry, self.0.log.inclusion_proof(index, size).await?))
    }
}
