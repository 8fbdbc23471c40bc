//! Inclusion and consistency proofs: which nodes make one, and strict verification.

use std::ops::Range;

use super::range::{fold_right, set_bits};
use super::{CompactRange, EMPTY_ROOT, Hash, NodeId, node_hash};

/// Why a proof cannot be made or does not prove its claim.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The index is not below the size, or the old size is above the new.
    #[error("no such proof: {0}")]
    OutOfRange(String),
    /// Too few or too many hashes for these sizes.
    #[error("the proof has {found} hashes where {expected} are needed")]
    WrongLength {
        /// Hashes that RFC 6962 defines for these numbers.
        expected: usize,
        /// Hashes that came.
        found: usize,
    },
    /// The hashes lead to another root.
    #[error("the proof leads to root {computed}, not {claimed}")]
    RootMismatch {
        /// Root that the proof leads to.
        computed: Hash,
        /// Root that was claimed.
        claimed: Hash,
    },
}

/// The stored nodes that a proof is made of. The right edge of a tree has nodes that are not complete and so are
/// not stored; the plan knows which of its hashes fold into one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProofPlan {
    ids: Vec<NodeId>,
    // Which of `ids` fold, right to left, into the single hash of an incomplete right-edge node.
    fold: Option<Range<usize>>,
}

impl ProofPlan {
    /// The complete nodes to read, in the order that [`ProofPlan::assemble`] wants their hashes.
    pub fn node_ids(&self) -> &[NodeId] {
        &self.ids
    }
    /// Makes the proof, leaf to root, from the hashes of [`ProofPlan::node_ids`].
    pub fn assemble(&self, hashes: &[Hash]) -> Result<Vec<Hash>, ProofError> {
        expect_length(self.ids.len(), hashes)?;
        let Some(fold) = &self.fold else { return Ok(hashes.to_vec()) };
        let folded = fold_right(&hashes[fold.clone()]);
        Ok(hashes[..fold.start]
            .iter()
            .copied()
            .chain(folded)
            .chain(hashes[fold.end..].iter().copied())
            .collect())
    }
}

/// Plan of the inclusion proof of leaf `index` in the tree of `size`. RFC 6962 §2.1.1.
pub fn plan_inclusion(index: u64, size: u64) -> Result<ProofPlan, ProofError> {
    let path = Path::of_leaf(index, size)?;
    Ok(path.plan(Vec::new(), size))
}

/// Plan of the consistency proof between the trees of `old` and `new` leaves. RFC 6962 §2.1.2. Empty if `old` is 0
/// or equals `new`.
pub fn plan_consistency(old: u64, new: u64) -> Result<ProofPlan, ProofError> {
    let Some(path) = Path::of_old_edge(old, new)? else {
        return Ok(ProofPlan { ids: Vec::new(), fold: None });
    };
    // The verifier knows a whole old tree's root already; any smaller subtree it has to be told.
    let start = if path.is_root_of(old) { Vec::new() } else { vec![path.start] };
    Ok(path.plan(start, new))
}

/// Checks that the leaf with hash `leaf` stands at `index` in the tree of `size` with `root`. RFC 9162 §2.1.3.2.
pub fn verify_inclusion(
    leaf: &Hash,
    index: u64,
    size: u64,
    proof: &[Hash],
    root: &Hash,
) -> Result<(), ProofError> {
    let path = Path::of_leaf(index, size)?;
    expect_length(path.len(), proof)?;
    expect_root(path.climb(leaf, proof), root)
}

/// Checks that the tree of `old` leaves with `old_root` is a prefix of the tree of `new` leaves with `new_root`.
/// RFC 9162 §2.1.4.2. An `old` of 0 needs an empty proof and the empty root; equal sizes need equal roots.
pub fn verify_consistency(
    old: u64,
    old_root: &Hash,
    new: u64,
    new_root: &Hash,
    proof: &[Hash],
) -> Result<(), ProofError> {
    let Some(path) = Path::of_old_edge(old, new)? else {
        expect_length(0, proof)?;
        if old == 0 {
            expect_root(EMPTY_ROOT, old_root)?;
        }
        return if old == new { expect_root(*new_root, old_root) } else { Ok(()) };
    };
    if path.is_root_of(old) {
        expect_length(path.len(), proof)?;
        return expect_root(path.climb(old_root, proof), new_root);
    }
    expect_length(path.len() + 1, proof)?;
    let Some((start, proof)) = proof.split_first() else {
        return Err(ProofError::WrongLength { expected: path.len() + 1, found: 0 });
    };
    expect_root(path.climb_left(start, proof), old_root)?;
    expect_root(path.climb(start, proof), new_root)
}

/// The way from a complete node to the root of a tree that it is in.
///
/// Up to `inner` levels the way is apart from that of the tree's last leaf: each level has a sibling, on either
/// side. From there on it runs along the right edge: only left siblings are left, one per set bit of the index.
struct Path {
    start: NodeId,
    inner: u8,
}

impl Path {
    fn of_leaf(index: u64, size: u64) -> Result<Self, ProofError> {
        if index >= size {
            return Err(ProofError::OutOfRange(format!("index {index} is not below the tree size {size}")));
        }
        Ok(Self::new(NodeId { level: 0, index }, size))
    }

    /// From the smallest subtree of the old tree's edge; `None` where there is nothing to prove.
    fn of_old_edge(old: u64, new: u64) -> Result<Option<Self>, ProofError> {
        if old > new {
            return Err(ProofError::OutOfRange(format!("the old size {old} is above the new size {new}")));
        }
        if old == 0 || old == new {
            return Ok(None);
        }
        let level = bit_length(old & old.wrapping_neg()) - 1;
        Ok(Some(Self::new(NodeId { level, index: (old >> level) - 1 }, new)))
    }

    /// `start` must lie in the tree, so `size` is above 0.
    fn new(start: NodeId, size: u64) -> Self {
        let last = (size - 1) >> start.level;
        Self { start, inner: bit_length(start.index ^ last) }
    }

    fn is_root_of(&self, old: u64) -> bool {
        self.start.index == 0 && old == 1 << self.start.level
    }

    /// Siblings on the way.
    fn len(&self) -> usize {
        usize::from(self.inner) + set_bits(self.edge_bits())
    }

    /// The index's bits along the right edge.
    fn edge_bits(&self) -> u64 {
        self.start.index.checked_shr(u32::from(self.inner)).unwrap_or(0)
    }

    /// The siblings on the way, after `ids`.
    fn plan(&self, mut ids: Vec<NodeId>, size: u64) -> ProofPlan {
        let sibling = |above: u8| NodeId {
            level: self.start.level + above,
            index: self.start.index.checked_shr(u32::from(above)).unwrap_or(0) ^ 1,
        };
        let mut fold = None;
        for above in 0..self.inner {
            let node = sibling(above);
            // Where the ways part the sibling holds the last leaf, and may be incomplete.
            if above + 1 == self.inner && !is_complete(node, size) {
                let first = ids.len();
                ids.extend(CompactRange::node_ids(size).into_iter().filter(|edge| edge.level < node.level));
                fold = Some(first..ids.len());
            } else {
                ids.push(node);
            }
        }
        let edge = self.edge_bits();
        ids.extend(
            (0..64 - self.inner).filter(|bit| edge >> bit & 1 == 1).map(|bit| sibling(self.inner + bit)),
        );
        ProofPlan { ids, fold }
    }

    /// The root of the whole tree, from the hash of the start and exactly [`Path::len`] siblings.
    fn climb(&self, start: &Hash, siblings: &[Hash]) -> Hash {
        self.join(start, siblings, true)
    }

    /// The root of the tree that ends with the start: right siblings are not yet there.
    fn climb_left(&self, start: &Hash, siblings: &[Hash]) -> Hash {
        self.join(start, siblings, false)
    }

    fn join(&self, start: &Hash, siblings: &[Hash], with_right: bool) -> Hash {
        let mut hash = *start;
        for (above, sibling) in siblings.iter().enumerate() {
            let on_left = above >= usize::from(self.inner) || self.start.index >> above & 1 == 1;
            if on_left {
                hash = node_hash(sibling, &hash);
            } else if with_right {
                hash = node_hash(&hash, sibling);
            }
        }
        hash
    }
}

/// Whether the tree of `size` leaves has all leaves below `node`.
fn is_complete(node: NodeId, size: u64) -> bool {
    size >> node.level > node.index
}

/// Bits needed to write `n`; 0 for 0.
#[expect(clippy::cast_possible_truncation, reason = "at most 64")]
fn bit_length(n: u64) -> u8 {
    (u64::BITS - n.leading_zeros()) as u8
}

fn expect_length(expected: usize, hashes: &[Hash]) -> Result<(), ProofError> {
    if hashes.len() == expected {
        return Ok(());
    }
    Err(ProofError::WrongLength { expected, found: hashes.len() })
}

fn expect_root(computed: Hash, claimed: &Hash) -> Result<(), ProofError> {
    if computed == *claimed {
        return Ok(());
    }
    Err(ProofError::RootMismatch { computed, claimed: *claimed })
}
