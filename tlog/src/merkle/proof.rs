//! Inclusion and consistency proofs: which nodes make one, and strict verification.

use super::{Hash, NodeId};

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
    fold: Option<std::ops::Range<usize>>,
}

impl ProofPlan {
    /// The complete nodes to read, in the order that [`ProofPlan::assemble`] wants their hashes.
    pub fn node_ids(&self) -> &[NodeId] {
        &self.ids
    }
    /// Makes the proof, leaf to root, from the hashes of [`ProofPlan::node_ids`].
    pub fn assemble(&self, _hashes: &[Hash]) -> Result<Vec<Hash>, ProofError> {
        let _ = &self.fold;
        unimplemented!()
    }
}

/// Plan of the inclusion proof of leaf `index` in the tree of `size`. RFC 6962 §2.1.1.
pub fn plan_inclusion(_index: u64, _size: u64) -> Result<ProofPlan, ProofError> {
    unimplemented!()
}

/// Plan of the consistency proof between the trees of `old` and `new` leaves. RFC 6962 §2.1.2. Empty if `old` is 0
/// or equals `new`.
pub fn plan_consistency(_old: u64, _new: u64) -> Result<ProofPlan, ProofError> {
    unimplemented!()
}

/// Checks that the leaf with hash `leaf` stands at `index` in the tree of `size` with `root`. RFC 9162 §2.1.3.2.
pub fn verify_inclusion(
    _leaf: &Hash,
    _index: u64,
    _size: u64,
    _proof: &[Hash],
    _root: &Hash,
) -> Result<(), ProofError> {
    unimplemented!()
}

/// Checks that the tree of `old` leaves with `old_root` is a prefix of the tree of `new` leaves with `new_root`.
/// RFC 9162 §2.1.4.2. An `old` of 0 needs an empty proof and the empty root; equal sizes need equal roots.
pub fn verify_consistency(
    _old: u64,
    _old_root: &Hash,
    _new: u64,
    _new_root: &Hash,
    _proof: &[Hash],
) -> Result<(), ProofError> {
    unimplemented!()
}
