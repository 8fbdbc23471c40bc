//! The right edge of a tree: the roots of its perfect subtrees, largest first.

use super::{EMPTY_ROOT, Hash, node_hash};

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
    pub fn from_parts(size: u64, hashes: Vec<Hash>) -> Result<Self, RangeError> {
        let expected = set_bits(size);
        if hashes.len() != expected {
            return Err(RangeError { size, expected, found: hashes.len() });
        }
        Ok(Self { size, hashes })
    }
    /// Where the hashes of the edge of a tree of `size` stand, largest subtree first.
    pub fn node_ids(size: u64) -> Vec<NodeId> {
        // Below the subtree of level l stand only larger ones, so it is the last but one node of its level.
        (0..64u8)
            .rev()
            .filter(|level| size >> level & 1 == 1)
            .map(|level| NodeId { level, index: (size >> level) - 1 })
            .collect()
    }
    /// Number of leaves.
    pub fn size(&self) -> u64 {
        self.size
    }
    /// The edge's hashes, largest subtree first.
    pub fn hashes(&self) -> &[Hash] {
        &self.hashes
    }
    /// The root, RFC 6962 §2.1; [`EMPTY_ROOT`] for size 0.
    pub fn root(&self) -> Hash {
        fold_right(&self.hashes).unwrap_or(EMPTY_ROOT)
    }
    /// Appends one leaf hash. `complete` is called for every node that this leaf completes, the leaf itself
    /// first, then its parents upwards: exactly the nodes that a store has to gain.
    ///
    /// # Panics
    ///
    /// Past 2^64 − 1 leaves, which no log lives to see.
    pub fn append(&mut self, leaf: Hash, mut complete: impl FnMut(NodeId, Hash)) {
        let size = self.size.checked_add(1).expect("no tree has 2^64 leaves");
        let mut node = NodeId { level: 0, index: self.size };
        let mut hash = leaf;
        complete(node, hash);
        // Every trailing one of the old size is a perfect subtree that this leaf's subtree completes.
        while node.index & 1 == 1
            && let Some(left) = self.hashes.pop()
        {
            hash = node_hash(&left, &hash);
            node = NodeId { level: node.level + 1, index: node.index >> 1 };
            complete(node, hash);
        }
        self.hashes.push(hash);
        self.size = size;
    }
}

/// Folds the roots of adjacent subtrees, largest first, into the root over all of them: RFC 6962's split at the
/// largest power of two makes a tree lean left, so the smallest two join first.
pub(super) fn fold_right(hashes: &[Hash]) -> Option<Hash> {
    let (last, rest) = hashes.split_last()?;
    Some(rest.iter().rev().fold(*last, |right, left| node_hash(left, &right)))
}

/// Number of set bits, as a length.
pub(super) fn set_bits(n: u64) -> usize {
    n.count_ones() as usize
}
