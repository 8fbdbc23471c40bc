//! What the server has promised: every acknowledgement, to be held against the final tree.
//!
//! Invariant: an answer that does not verify is a breach, and so are two roots for one size. Breaches are counted
//! all and told in part; a single one makes the run fail.

use std::collections::BTreeMap;

use anyhow::Result;
use chancery_tlog::merkle::Hash;

use crate::trust::TreeHead;

/// Breaches that are told in words.
const TOLD: usize = 10;

/// The place of an entry that was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Leaf {
    /// Its leaf hash.
    pub(crate) hash: Hash,
    /// Its index, if the answer says it.
    pub(crate) index: Option<u64>,
}

/// What an answer promises, once its signatures and proofs are verified.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Acknowledged {
    /// The entry that must be in the final tree, if the answer is about one.
    pub(crate) leaf: Option<Leaf>,
    /// The signed head that it came with.
    pub(crate) head: Option<TreeHead>,
}

/// All promises of a run against one server.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Answers whose own signatures and proofs hold.
    pub(crate) verified: usize,
    /// Entries that must be in the final tree.
    pub(crate) leaves: Vec<Leaf>,
    /// Signed heads by size.
    pub(crate) heads: BTreeMap<u64, Hash>,
    /// Promises that do not hold.
    pub(crate) breaches: usize,
    /// The first of them in words.
    pub(crate) told: Vec<String>,
}

impl Ledger {
    /// Enters the answer to an accepted request, verified or not.
    pub(crate) fn enter(&mut self, answer: Result<Acknowledged>) {
        match answer {
            Ok(Acknowledged { leaf, head }) => {
                self.verified += 1;
                self.leaves.extend(leaf);
                if let Some(head) = head {
                    self.saw(head);
                }
            }
            Err(error) => self.breach(format!("an accepted answer does not verify: {error:#}")),
        }
    }

    /// Enters a head that the server has signed.
    pub(crate) fn saw(&mut self, head: TreeHead) {
        let TreeHead { size, root } = head;
        let known = *self.heads.entry(size).or_insert(root);
        if known != root {
            self.breach(format!("two roots are signed for a tree of {size}: {known} and {root}"));
        }
    }

    /// Enters a promise that does not hold.
    pub(crate) fn breach(&mut self, what: String) {
        self.breaches += 1;
        if self.told.len() < TOLD {
            self.told.push(what);
        }
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    fn head(size: u64, root: &str) -> TreeHead {
        TreeHead { size, root: Hash::digest(root.as_bytes()) }
    }

    #[test]
    fn two_roots_for_one_size_are_a_breach() {
        let mut ledger = Ledger::default();
        for known in [head(5, "a"), head(5, "a"), head(6, "b")] {
            ledger.enter(Ok(Acknowledged { leaf: None, head: Some(known) }));
        }
        assert_eq!((ledger.verified, ledger.breaches), (3, 0));
        ledger.saw(head(5, "b"));
        assert_eq!(ledger.breaches, 1);
        assert!(ledger.told[0].contains("two roots"), "{:?}", ledger.told);
    }

    #[test]
    fn all_breaches_are_counted_and_some_are_told() {
        let mut ledger = Ledger::default();
        (0..100).for_each(|n| ledger.enter(Err(anyhow!("answer {n}"))));
        assert_eq!((ledger.verified, ledger.breaches, ledger.told.len()), (0, 100, TOLD));
    }
}
