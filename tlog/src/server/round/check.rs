//! The independent re-derivation: nothing is signed that two implementations do not agree on.
//!
//! From the bytes that will be stored, and its own copy of the right edge, this derives every new node and the root
//! again, with another tree (`rs_merkle`, bounded to tiles of 256 leaves: it is quadratic beyond), another hash
//! implementation (aws-lc-rs, where the core uses sha2) and another representation of the edge (rows of subtree
//! roots, where the core has a compact range). One flipped bit in a leaf hash has killed a public log
//! (Yeti 2022); here it ends in [`Mismatch`] and no signature.

use aws_lc_rs::digest;
use rs_merkle::{Hasher, MerkleTree};

use super::{Batch, Tree};
use crate::merkle::{Hash, NodeId};

/// The two derivations disagree: a bit flipped in memory, or one of them is wrong. The process must end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("refusing to sign a tree of {size} leaves: {what} differs from its re-derivation (faulty memory?)")]
pub struct Mismatch {
    /// Size of the tree that was to be signed.
    pub size: u64,
    /// What differs.
    pub what: String,
}

/// A batch whose every hash was derived twice, alike.
#[derive(Debug)]
pub struct Checked {
    pub(super) batch: Batch,
    pub(super) root: Hash,
    pub(super) rows: RightRows,
}

impl Batch {
    /// Derives root and nodes again, from the bytes to be stored and from `tree`'s second copy of the right edge.
    pub fn check(self, tree: &Tree) -> Result<Checked, Mismatch> {
        let size = self.edge.size();
        let differs = |what: &str| Mismatch { size, what: what.to_owned() };
        if tree.rows.size != self.first || size.checked_sub(self.first) != Some(self.entries.len() as u64) {
            return Err(differs("the size"));
        }
        let leaves: Vec<_> = self.entries.iter().map(|new| Rfc6962::hash(&new.entry.leaf)).collect();
        if !leaves.iter().eq(self.entries.iter().map(|new| new.leaf_hash.as_bytes())) {
            return Err(differs("a leaf hash"));
        }
        let mut rows = tree.rows.clone();
        for leaf in &leaves {
            rows.push(*leaf);
        }
        let root = rows.root();
        if root != self.edge.root() {
            return Err(differs("the root"));
        }
        if self.nodes != tree.rows.nodes_completed_by(leaves) {
            return Err(differs("an interior node"));
        }
        Ok(Checked { batch: self, root, rows })
    }
}

/// RFC 6962 §2.1 for `rs_merkle`.
#[derive(Clone)]
struct Rfc6962;

impl Hasher for Rfc6962 {
    type Hash = [u8; 32];

    fn hash(data: &[u8]) -> [u8; 32] {
        sha256(&[&[0x00], data].concat())
    }

    fn concat_and_hash(left: &[u8; 32], right: Option<&[u8; 32]>) -> [u8; 32] {
        let Some(right) = right else { return *left };
        let mut node = [0x01; 65];
        node[1..33].copy_from_slice(left);
        node[33..].copy_from_slice(right);
        sha256(&node)
    }
}

/// In one call: a context that is fed in pieces costs more than the copy that joins them.
fn sha256(data: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, data).as_ref());
    hash
}

/// Tree levels between two rows of the right edge. Every round hashes all rows again, whatever its batch: at 4 that is
/// some 8 hashes a row and 50 in a tree of 10^7 leaves; tiles of 8 levels were 128 a row and 380.
const ROW_LEVELS: u8 = 4;
/// Hashes that make one of the row above.
const ROW_WIDTH: usize = 1 << ROW_LEVELS;

/// The right edge as rows, from the leaves up: row `k` has the hashes of tree level `4k` that are not yet under a hash of
/// row `k + 1`. At most 15 a row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RightRows {
    size: u64,
    rows: Vec<Vec<[u8; 32]>>,
}

impl RightRows {
    /// Which nodes make the rows of a tree of `size`, lowest row first.
    pub(super) fn node_ids(size: u64) -> Vec<Vec<NodeId>> {
        (0..64u8)
            .step_by(ROW_LEVELS.into())
            .map(|level| (level, size >> level))
            .take_while(|(_, complete)| *complete > 0)
            .map(|(level, complete)| {
                let start = complete - complete % ROW_WIDTH as u64;
                (start..complete).map(|index| NodeId { level, index }).collect()
            })
            .collect()
    }

    /// From the hashes of [`RightRows::node_ids`].
    pub(super) fn from_rows(size: u64, rows: impl IntoIterator<Item = Vec<Hash>>) -> Self {
        let rows = rows.into_iter().map(|row| row.iter().map(|hash| *hash.as_bytes()).collect()).collect();
        Self { size, rows }
    }

    /// Appends a leaf hash; a row that fills up becomes one hash of the row above.
    fn push(&mut self, leaf: [u8; 32]) {
        self.size += 1;
        let mut carry = leaf;
        for row in &mut self.rows {
            row.push(carry);
            if row.len() < ROW_WIDTH {
                return;
            }
            carry = subtree_root(row).unwrap_or(carry);
            row.clear();
        }
        self.rows.push(vec![carry]);
    }

    /// The root.
    pub(super) fn root(&self) -> Hash {
        root_of_rows(&self.rows)
    }

    /// All nodes that `leaves` complete, by level, then by index.
    fn nodes_completed_by(&self, leaves: Vec<[u8; 32]>) -> Vec<(NodeId, Hash)> {
        let size = self.size + leaves.len() as u64;
        let mut nodes = Vec::new();
        let mut line = leaves;
        for level in 0..64u8 {
            let first = self.size >> level;
            let complete = (size >> level).saturating_sub(first);
            line.truncate(usize::try_from(complete).unwrap_or(usize::MAX));
            if line.is_empty() {
                break;
            }
            let numbered = (first..).zip(&line);
            nodes.extend(numbered.map(|(index, hash)| (NodeId { level, index }, Hash::from_bytes(*hash))));
            if first & 1 == 1 {
                line.splice(0..0, self.last_node(level));
            }
            line =
                line.chunks_exact(2).map(|pair| Rfc6962::concat_and_hash(&pair[0], Some(&pair[1]))).collect();
        }
        nodes
    }

    /// The last complete node of `level`, if it is a left child: all leaves of that subtree are in one row.
    fn last_node(&self, level: u8) -> Option<[u8; 32]> {
        let width = 1usize << (level % ROW_LEVELS);
        let row = self.rows.get(usize::from(level / ROW_LEVELS))?;
        let end = row.len() - row.len() % width;
        subtree_root(row.get(end.checked_sub(width)?..end)?)
    }
}

/// The root over a right edge in rows of whatever height, lowest first, each without what is under the next one. The
/// incomplete tree under a row is its last leaf.
pub(in crate::server) fn root_of_rows(rows: &[Vec<[u8; 32]>]) -> Hash {
    let below = rows.iter().fold(None, |below, row| {
        let leaves: Vec<_> = row.iter().copied().chain(below).collect();
        subtree_root(&leaves)
    });
    below.map_or(crate::merkle::EMPTY_ROOT, Hash::from_bytes)
}

/// The leaf hash, by the implementation that the engine's own is checked with.
pub(in crate::server) fn rederived_leaf(leaf: &[u8]) -> Hash {
    Hash::from_bytes(Rfc6962::hash(leaf))
}

/// All complete nodes above a `line` of nodes that starts at a multiple of 2^`levels`, one line a level. Every
/// eighth line is made of tile roots by `rs_merkle`, the others of pairs.
pub(in crate::server) fn rederived_lines(line: &[[u8; 32]], levels: u8) -> Vec<Vec<[u8; 32]>> {
    let mut lines: Vec<Vec<[u8; 32]>> = Vec::new();
    for level in 1..=levels {
        let below = lines.last().map_or(line, Vec::as_slice);
        let pairs = || {
            let pairs = below.chunks_exact(2);
            pairs.map(|pair| Rfc6962::concat_and_hash(&pair[0], Some(&pair[1]))).collect()
        };
        let tiles = usize::from(level)
            .checked_sub(8)
            .filter(|_| level % 8 == 0)
            .and_then(|tile| if tile == 0 { Some(line) } else { lines.get(tile - 1).map(Vec::as_slice) });
        let above = match tiles {
            Some(leaves) => leaves.chunks_exact(256).filter_map(subtree_root).collect(),
            None => pairs(),
        };
        lines.push(above);
    }
    lines
}

fn subtree_root(leaves: &[[u8; 32]]) -> Option<[u8; 32]> {
    match leaves {
        [] => None,
        [lone] => Some(*lone),
        _ => MerkleTree::<Rfc6962>::from_leaves(leaves).root(),
    }
}

/// As failing memory does.
#[cfg(test)]
impl RightRows {
    pub(super) fn flip_a_bit(&mut self, at: usize, bit: usize) {
        let mut hashes: Vec<&mut [u8; 32]> = self.rows.iter_mut().flatten().collect();
        let at = at % hashes.len();
        hashes[at][bit / 8 % 32] ^= 1 << (bit % 8);
    }

    pub(super) fn flip_the_size(&mut self, bit: usize) {
        self.size ^= 1 << (bit % 64);
    }
}
