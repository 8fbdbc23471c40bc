//! One round of the log, as types that prove its order.
//!
//! ```text
//! Pool ──▶ Batch ──▶ Checked ──▶ Signed ──▶ Committed ──▶ Published
//!       integrate   check       sign       commit        publish
//! ```
//!
//! Each type is consumed by the next and made by nothing else, so the two mistakes that kill a log cannot be
//! written down: signing a tree that was not re-derived from the bytes to be stored, and answering a submitter
//! before the commit returned. A whole round:
//!
//! ```
//! # use std::sync::Arc;
//! # use chancery_tlog::{checkpoint::Origin, clock::Timestamp, key::{KeyKind, SoftwareSigner}};
//! # use chancery_tlog::server::{round::{Face, Tree}, store::Memory};
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let signer = Arc::new(SoftwareSigner::generate(KeyKind::Ed25519)?);
//! # let face = Face::new(Origin::new("log.example")?, signer)?;
//! # let (tree, store, tickets) = (Tree::empty(), Memory::new(), Vec::new());
//! let batch = tree.integrate(Vec::new(), Timestamp::from_seconds(1));
//! let checked = batch.check(&tree)?;
//! let signed = checked.sign(&face)?;
//! let committed = signed.commit(&store, None).await?;
//! let tree = committed.publish(tickets, |published| assert_eq!(published.head().size, 0));
//! # let _ = tree; Ok(()) }
//! ```
//!
//! Signing a batch that was not re-derived does not compile:
//!
//! ```compile_fail,E0599
//! # use std::sync::Arc;
//! # use chancery_tlog::{checkpoint::Origin, clock::Timestamp, key::{KeyKind, SoftwareSigner}};
//! # use chancery_tlog::server::{round::{Face, Tree}, store::Memory};
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let signer = Arc::new(SoftwareSigner::generate(KeyKind::Ed25519)?);
//! # let face = Face::new(Origin::new("log.example")?, signer)?;
//! # let tree = Tree::empty();
//! let batch = tree.integrate(Vec::new(), Timestamp::from_seconds(1));
//! let signed = batch.sign(&face)?;
//! # Ok(()) }
//! ```
//!
//! Nor does answering from a signed head that is not committed:
//!
//! ```compile_fail,E0599
//! # use std::sync::Arc;
//! # use chancery_tlog::{checkpoint::Origin, clock::Timestamp, key::{KeyKind, SoftwareSigner}};
//! # use chancery_tlog::server::{round::{Face, Tree}, store::Memory};
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let signer = Arc::new(SoftwareSigner::generate(KeyKind::Ed25519)?);
//! # let face = Face::new(Origin::new("log.example")?, signer)?;
//! # let (tree, store, tickets) = (Tree::empty(), Memory::new(), Vec::new());
//! let batch = tree.integrate(Vec::new(), Timestamp::from_seconds(1));
//! let checked = batch.check(&tree)?;
//! let signed = checked.sign(&face)?;
//! let tree = signed.publish(tickets, |_| ());
//! # Ok(()) }
//! ```
//!
//! Nor committing without a signature, which the same round with `checked.sign(&face)?.commit(…)` does:
//!
//! ```compile_fail,E0599
//! # use chancery_tlog::{clock::Timestamp, server::{round::Tree, store::Memory}};
//! # async fn round() -> Result<(), Box<dyn std::error::Error>> {
//! # let (tree, store) = (Tree::empty(), Memory::new());
//! let checked = tree.integrate(Vec::new(), Timestamp::from_seconds(1)).check(&tree)?;
//! let committed = checked.commit(&store, None).await?;
//! # Ok(()) }
//! ```
//!
//! A stage cannot be made up either. Refusing a submitter is always allowed:
//!
//! ```
//! use chancery_tlog::server::{log::AddError, round::Ticket};
//! let (ticket, _answer) = Ticket::pair();
//! ticket.refuse(AddError::Closed);
//! ```
//!
//! granting is not, outside of `Committed::publish`:
//!
//! ```compile_fail,E0624
//! use chancery_tlog::server::{log::Receipt, round::Ticket};
//! fn forge(ticket: Ticket, receipt: Receipt) {
//!     ticket.grant(receipt);
//! }
//! ```
//!
//! ```compile_fail,E0451
//! use chancery_tlog::server::{round::Published, store::Head};
//! fn forge(head: std::sync::Arc<Head>) -> Published {
//!     Published { head }
//! }
//! ```

mod batch;
mod check;
mod commit;
mod restore;
mod sign;

pub use batch::{Batch, integrate};
use check::RightRows;
pub use check::{Checked, Mismatch};
pub(in crate::server) use check::{rederived_leaf, rederived_lines, root_of_rows};
pub use commit::{Answer, Committed, Published, Ticket};
pub(in crate::server) use restore::check_checkpoint;
pub(in crate::server) use restore::restore_ended;
pub use restore::{CLOCK_TOLERANCE, restore};
pub use sign::{Face, Signed};

use super::log::Submission;
use crate::clock::Timestamp;
use crate::merkle::CompactRange;

/// What the sequencer holds of the tree between two rounds: the right edge twice, once for each of the two
/// implementations that must agree.
#[derive(Clone, Debug)]
pub struct Tree {
    edge: CompactRange,
    rows: RightRows,
}

impl Tree {
    /// The tree without leaves.
    pub fn empty() -> Self {
        Self { edge: CompactRange::new(), rows: RightRows::default() }
    }

    /// Number of leaves.
    pub fn size(&self) -> u64 {
        self.edge.size()
    }

    /// The batch that appends `submissions` to this tree, all taken in at `time`.
    pub fn integrate(&self, submissions: Vec<Submission>, time: Timestamp) -> Batch {
        integrate(&self.edge, submissions, time)
    }
}

#[cfg(test)]
impl Tree {
    /// As failing memory does, in one of the two copies of the right edge.
    pub(in crate::server) fn flip_a_bit(&mut self, in_second_copy: bool) {
        let mut hashes = self.edge.hashes().to_vec();
        if in_second_copy || hashes.is_empty() {
            self.rows.flip_a_bit(0, 76);
        } else {
            let mut bytes = *hashes[0].as_bytes();
            bytes[9] ^= 4;
            hashes[0] = crate::merkle::Hash::from_bytes(bytes);
            self.edge = CompactRange::from_parts(self.edge.size(), hashes).unwrap();
        }
    }
}

#[cfg(test)]
mod tests;
