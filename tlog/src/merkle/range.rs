//! The right edge of a tree: the roots of its perfect subtrees, largest first.

use super::Hash;

/// A complete node: the root of the perfect subtree over leaves `[index << level, (index + 1) << level)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId {
    /// Height over the leaves; leaves are level 0. At most 63.
    pub level: u8,
    /// Position among the nodes of that level, from the left.
    pub index: u64,
}

/// Why parts do not make a compact range.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a compact range of size {size} has {expected} hashes, not {found}")]
pub struct RangeError {
    /// The size that was claimed.
    pub size: u64,
    /// Set bits of the size.
    pub expected: usize,
    /// Hashes that were given.
    pub found: usize,
}

/// The compact range `[0, size)`: what is needed to append leaves and to compute the root, O(log n) in size.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct CompactRange {
    size: u64,
    hashes: Vec<Hash>,
}

impl CompactRange {
    /// The edge of the empty tree.
    pub fn new() -> Self {
        Self::default()
    }
    /// Restores an edge from stored nodes, in the order of [`CompactRange::node_ids`].
    pub fn from_parts(_size: u64, _hashes: Vec<Hash>) -> Result<Self, RangeError> {
        unimplemented!()
    }
    /// Where the hashes of the edge of a tree of `size` stand, largest subtree first.
    pub fn node_ids(_size: u64) -> Vec<NodeId> {
        unimplemented!()
    }
    /// Number of leaves.
    pub fn size(&self) -> u64 {
        self.size
    }
    /// The edge's hashes, largest subtree first.
    pub fn hashes(&self) -> &[Hash] {
        &self.hashes
    }
    /// The root, RFC 6962 §2.1; [`super::EMPTY_ROOT`] for size 0.
    pub fn root(&self) -> Hash {
        unimplemented!()
    }
    /// Appends one leaf hash. `complete` is called for every node that this leaf completes, the leaf itself
    /// first, then its parents upwards: exactly the nodes that a store has to gain.
    pub fn append(&mut self, _leaf: Hash, _complete: impl FnMut(NodeId, Hash)) {
        unimplemented!()
    }
}
