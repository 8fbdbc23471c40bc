//! RFC 6962 Merkle trees: hashes, the compact range, inclusion and consistency proofs.
//!
//! Nothing here stores a tree. A [`CompactRange`] is the right edge (one hash per set bit of the size), a
//! [`ProofPlan`] names the stored nodes that a proof needs, and the two `verify_*` functions accept exactly the
//! proofs that RFC 6962 §2.1 and RFC 9162 §2.1 define: no fewer hashes, no more.

mod hash;
mod proof;
mod range;

pub use hash::{EMPTY_ROOT, Hash, HashParseError, leaf_hash, node_hash};
pub use proof::{
    ProofError, ProofPlan, plan_consistency, plan_inclusion, verify_consistency, verify_inclusion,
};
pub use range::{CompactRange, NodeId, RangeError};

#[cfg(test)]
mod tests;
