//! What [`Log`] reads and proves. Everything is cut at the published head: what is stored beyond it is not yet said.
//!
//! Invariant: functions that return stored entries or search results require a [`Permit`]. Without one, this
//! module returns only hashes, indexes of known hashes, and times.

use std::ops::Range;

use bytes::Bytes;

use super::{Log, ProofReadError};
use crate::clock::Timestamp;
use crate::merkle::{CompactRange, Hash, NodeId, ProofPlan, plan_consistency, plan_inclusion};
use crate::serve::access::Permit;
use crate::server::store::{StoreError, StoredEntry};
use crate::tile::{EntryBundle, HashTile, TILE_WIDTH, encode_bundle};

/// Maximum number of leaves under one search term that are compared: usually one, or two of equal content.
const SAME_TERM: usize = 2;

impl Log {
    /// The entry at `index`; `None` at and after the head's size.
    pub async fn entry(&self, _: Permit, index: u64) -> Result<Option<StoredEntry>, StoreError> {
        self.entry_below(index, self.head().size).await
    }

    pub(super) async fn entry_below(&self, index: u64, size: u64) -> Result<Option<StoredEntry>, StoreError> {
        if index >= size {
            return Ok(None);
        }
        Ok(self.stored_entries(index..index + 1).await?.pop())
    }

    /// The entries of `range` as far as the head reaches, at most 256 of them.
    pub async fn entries(&self, _: Permit, range: Range<u64>) -> Result<Vec<StoredEntry>, StoreError> {
        let range = self.readable(range);
        if range.is_empty() { Ok(Vec::new()) } else { self.stored_entries(range).await }
    }

    /// The times that `of` parses from the leaves of `range`, as far as the head reaches, at most 256 of
    /// them. `of` is a function pointer rather than a closure, so that it cannot capture the leaves.
    pub async fn times<E: From<StoreError>>(
        &self,
        range: Range<u64>,
        of: fn(&[u8]) -> Result<Timestamp, E>,
    ) -> Result<Vec<Timestamp>, E> {
        let range = self.readable(range);
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let leaves = all_of(&range, self.0.store.leaves(range.clone()).await?)?;
        leaves.iter().map(|leaf| of(leaf)).collect()
    }

    /// The part of `range` that a single read returns.
    fn readable(&self, range: Range<u64>) -> Range<u64> {
        range.start..range.end.min(self.head().size).min(range.start.saturating_add(TILE_WIDTH))
    }

    /// All entries of `range`, which is below a committed head.
    async fn stored_entries(&self, range: Range<u64>) -> Result<Vec<StoredEntry>, StoreError> {
        all_of(&range, self.0.store.entries(range.clone()).await?)
    }

    /// The index of the entry with this identity.
    pub async fn find(&self, identity: &Hash) -> Result<Option<u64>, StoreError> {
        let found = self.0.store.find(identity).await?;
        Ok(found.filter(|index| *index < self.head().size))
    }

    /// The newest `limit` entries with this search term, in ascending order.
    pub async fn search(&self, _: Permit, term: &str, limit: usize) -> Result<Vec<u64>, StoreError> {
        self.found(term, limit).await
    }

    /// The index below `size` of the leaf with this hash, if the leaf is indexed under this search term. The
    /// term is only a hint: candidates are compared by their hash in the tree.
    pub async fn position(&self, term: &str, leaf: &Hash, size: u64) -> Result<Option<u64>, StoreError> {
        for index in self.found(term, SAME_TERM).await? {
            if index < size && self.leaf_hash(index).await? == Some(*leaf) {
                return Ok(Some(index));
            }
        }
        Ok(None)
    }

    /// The hash of the leaf at `index`; `None` at and after the head's size.
    pub async fn leaf_hash(&self, index: u64) -> Result<Option<Hash>, StoreError> {
        if index >= self.head().size {
            return Ok(None);
        }
        Ok(self.0.store.nodes(&[NodeId { level: 0, index }]).await?.pop())
    }

    async fn found(&self, term: &str, limit: usize) -> Result<Vec<u64>, StoreError> {
        let size = self.head().size;
        let mut found = self.0.store.search(term, limit).await?;
        found.retain(|index| *index < size);
        Ok(found)
    }

    /// Proof that the entry at `index` is in the tree of `size`.
    pub async fn inclusion_proof(&self, index: u64, size: u64) -> Result<Vec<Hash>, ProofReadError> {
        self.within_head(size)?;
        self.prove(&plan_inclusion(index, size)?).await
    }

    /// Proof that the tree of `old` leaves is a prefix of the tree of `new`.
    pub async fn consistency_proof(&self, old: u64, new: u64) -> Result<Vec<Hash>, ProofReadError> {
        self.within_head(new)?;
        self.prove(&plan_consistency(old, new)?).await
    }

    /// Root of the tree of `size`.
    pub async fn root_at(&self, size: u64) -> Result<Hash, ProofReadError> {
        self.within_head(size)?;
        let hashes = self.0.store.nodes(&CompactRange::node_ids(size)).await?;
        let edge = CompactRange::from_parts(size, hashes).map_err(|e| StoreError::Damaged(e.to_string()))?;
        Ok(edge.root())
    }

    fn within_head(&self, size: u64) -> Result<(), ProofReadError> {
        let head = self.head().size;
        if size > head {
            return Err(ProofReadError::OutOfRange(format!("size {size} is beyond the log's {head}")));
        }
        Ok(())
    }

    async fn prove(&self, plan: &ProofPlan) -> Result<Vec<Hash>, ProofReadError> {
        let hashes = self.0.store.nodes(plan.node_ids()).await?;
        Ok(plan.assemble(&hashes)?)
    }

    /// The proof for an index below a size that the head reaches, so that only the store can fail.
    pub(super) async fn proof_below(&self, index: u64, size: u64) -> Result<Vec<Hash>, StoreError> {
        self.inclusion_proof(index, size).await.map_err(|e| match e {
            ProofReadError::Store(e) => e,
            impossible => StoreError::Damaged(impossible.to_string()),
        })
    }

    /// A hash tile, rendered from committed nodes; `None` if the head's tree does not have it. Nothing is
    /// stored per tile, so there is nothing to collect.
    pub async fn hash_tile(&self, tile: HashTile) -> Result<Option<Bytes>, StoreError> {
        if !tile.exists_at(self.head().size) {
            return Ok(None);
        }
        let ids: Vec<_> = tile.nodes().collect();
        let hashes = self.0.store.nodes(&ids).await?;
        let bytes: Vec<u8> = hashes.iter().flat_map(Hash::as_bytes).copied().collect();
        Ok(Some(bytes.into()))
    }

    /// An entry bundle, rendered from committed entries; `None` if the head's tree does not have it.
    pub async fn entry_bundle(&self, _: Permit, bundle: EntryBundle) -> Result<Option<Bytes>, StoreError> {
        if !bundle.exists_at(self.head().size) {
            return Ok(None);
        }
        let range = bundle.entries();
        let leaves = all_of(&range, self.0.store.leaves(range.clone()).await?)?;
        let bytes = encode_bundle(leaves).map_err(|e| StoreError::Damaged(e.to_string()))?;
        Ok(Some(bytes.into()))
    }
}

/// What was read of `range`, if it is all of it.
fn all_of<T>(range: &Range<u64>, found: Vec<T>) -> Result<Vec<T>, StoreError> {
    let end = range.start + found.len() as u64;
    if end != range.end {
        return Err(StoreError::Damaged(format!("entry {end} is missing")));
    }
    Ok(found)
}
