//! [`integrate`]: what a batch of entries does to the tree, in one pass and without I/O.
//!
//! Invariant: `nodes` are exactly the nodes that these entries complete, and `proofs[i]` is the RFC 6962 §2.1.1 path
//! of entry `i` at the size after the batch.

use crate::clock::Timestamp;
use crate::merkle::{CompactRange, Hash, NodeId, node_hash};
use crate::server::log::Submission;
use crate::server::store::{NewEntry, StoredEntry};

/// Entries in their places, and what they add to the tree. Not yet trusted: [`Batch::check`] comes next.
#[derive(Clone, Debug)]
pub struct Batch {
    pub(super) first: u64,
    pub(super) time: Timestamp,
    pub(super) entries: Vec<NewEntry>,
    /// By level, then by index.
    pub(super) nodes: Vec<(NodeId, Hash)>,
    pub(super) proofs: Vec<Vec<Hash>>,
    pub(super) edge: CompactRange,
}

/// Appends `submissions` to the tree whose right edge is `edge`.
///
/// Costs one hash per node above the new leaves; theirs come with them. The proofs cost none: all their hashes are among
/// those and the old edge. (Re-hashing a 256-leaf tile for each proof would cost 36 µs an entry.)
pub fn integrate(edge: &CompactRange, submissions: Vec<Submission>, time: Timestamp) -> Batch {
    let entries: Vec<_> = submissions.into_iter().map(|submission| place(submission, time)).collect();
    let lines = Lines::above(edge, entries.iter().map(|new| new.leaf_hash).collect());
    Batch {
        first: edge.size(),
        time,
        nodes: lines.completed(),
        proofs: (lines.first..lines.size).map(|index| lines.proof(index)).collect(),
        edge: if entries.is_empty() { edge.clone() } else { lines.edge() },
        entries,
    }
}

fn place(submission: Submission, time: Timestamp) -> NewEntry {
    let Submission { identity, leaf, extra, terms } = submission;
    let (leaf, leaf_hash) = leaf.into_parts();
    NewEntry { entry: StoredEntry { leaf, time, extra, identity }, leaf_hash, terms }
}

/// The part of the tree that a batch touches: for each level the hashes from the left sibling of the first new
/// node, if it has one, to the last node, which may be incomplete. Each line starts at an even index, so the line
/// above it is the hash of its pairs; a last one without partner rises as it is, as RFC 6962's split demands.
struct Lines {
    first: u64,
    size: u64,
    /// Start index and hashes, from the leaves up to the root.
    levels: Vec<(u64, Vec<Hash>)>,
}

impl Lines {
    fn above(edge: &CompactRange, leaf_hashes: Vec<Hash>) -> Self {
        let first = edge.size();
        let size = first + leaf_hashes.len() as u64;
        // The edge holds the left sibling on a level exactly if the size has that bit. Smallest subtree last.
        let mut siblings = edge.hashes().iter().rev().copied();
        let mut levels = Vec::new();
        let mut line = leaf_hashes;
        while !line.is_empty() {
            let level = levels.len();
            let start = first >> level;
            if start & 1 == 1 {
                line.splice(0..0, siblings.next());
            }
            let above = line
                .chunks(2)
                .filter_map(|pair| match pair {
                    [left, right] => Some(node_hash(left, right)),
                    [lone] => Some(*lone),
                    _ => None,
                })
                .collect();
            levels.push((start & !1, line));
            let is_root = (size - 1) >> level == 0;
            line = if is_root { Vec::new() } else { above };
        }
        Self { first, size, levels }
    }

    fn get(&self, level: usize, index: u64) -> Option<Hash> {
        let (start, line) = self.levels.get(level)?;
        line.get(usize::try_from(index.checked_sub(*start)?).ok()?).copied()
    }

    fn completed(&self) -> Vec<(NodeId, Hash)> {
        let mut nodes = Vec::new();
        for (height, (start, line)) in (0u8..).zip(&self.levels) {
            // Before `old` stands at most a sibling that is stored already, from `complete` on what is not complete.
            let (old, complete) = (self.first >> height, self.size >> height);
            let new = (*start..complete).zip(line).filter(|(index, _)| *index >= old);
            nodes.extend(new.map(|(index, hash)| (NodeId { level: height, index }, *hash)));
        }
        nodes
    }

    fn proof(&self, index: u64) -> Vec<Hash> {
        (0..self.levels.len()).filter_map(|level| self.get(level, (index >> level) ^ 1)).collect()
    }

    fn edge(&self) -> CompactRange {
        // A subtree of the new edge has an odd end on its level, so it cannot lie before the line's even start.
        let hashes = CompactRange::node_ids(self.size)
            .into_iter()
            .filter_map(|id| self.get(usize::from(id.level), id.index))
            .collect();
        CompactRange::from_parts(self.size, hashes).expect("every level of the new edge has a line")
    }
}
