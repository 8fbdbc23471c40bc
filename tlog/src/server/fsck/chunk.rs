//! One stretch of 65,536 entries with all nodes over it: the unit of work, of memory, and of the state file.

use serde::{Deserialize, Serialize};

use super::leaf::KnownKeys;
use super::tally::{Key, Tally};
use super::{Finding, MAX_FINDINGS, Remedy, Run, cause, finding};
use crate::merkle::{Hash, NodeId, node_hash};
use crate::server::round::{rederived_leaf, rederived_lines};
use crate::server::store::{HashedEntry, StoreError, StoredEntry};

/// Levels of a chunk's subtree: two of tiles.
pub(super) const LEVELS: u8 = 16;
/// Entries in a chunk.
pub(super) const CHUNK: u64 = 1 << LEVELS;
/// How often the watcher is told.
pub(super) const STEP: u64 = 1024;
/// Pairs that are looked up at once.
const LOOK_UPS: usize = 4096;

/// What a chunk adds to the whole.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Chunk {
    /// The first entry is this times [`CHUNK`].
    pub(super) number: u64,
    /// Root of the chunk's subtree, if it is full.
    pub(super) root: Option<[u8; 32]>,
    /// Times of its first and last entry, in milliseconds.
    pub(super) times: Option<(u64, u64)>,
    /// All identities.
    pub(super) identities: Tally,
    /// All terms of entries whose terms are all known.
    pub(super) terms: Tally,
    /// A bit for each entry whose terms are not all known; empty if there is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) loose: Vec<u64>,
    /// What is wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) findings: Vec<Finding>,
    /// Of one that is not full: the nodes of levels 8 and 0 that no fuller tile holds.
    #[serde(skip)]
    pub(super) edge: [Vec<[u8; 32]>; 2],
}

impl Chunk {
    pub(super) fn is_full(&self) -> bool {
        self.root.is_some()
    }

    /// Whether the entry at this offset has terms that cannot be derived.
    pub(super) fn is_loose(&self, offset: u64) -> bool {
        let word = usize::try_from(offset / 64).ok().and_then(|at| self.loose.get(at));
        word.is_some_and(|word| word >> (offset % 64) & 1 == 1)
    }

    fn loosen(&mut self, offset: u64) {
        let words = usize::try_from(CHUNK / 64).unwrap_or_default();
        self.loose.resize(words, 0);
        if let Some(word) = usize::try_from(offset / 64).ok().and_then(|at| self.loose.get_mut(at)) {
            *word |= 1 << (offset % 64);
        }
    }

    fn report(&mut self, finding: Finding) {
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(finding);
        }
    }
}

pub(super) fn stepped_back(index: u64) -> Finding {
    finding(format!("entry {index}"), "its time is before that of the entry before it", Remedy::Restore)
}

/// Checks the chunk `number`.
pub(super) fn check(run: &Run<'_>, key: &Key, number: u64) -> Chunk {
    let first = number * CHUNK;
    let end = run.head.size.min(first + CHUNK);
    let chunk = Chunk { number, ..Chunk::default() };
    let mut scan = Scan { run, key, first, end, chunk, pairs: Vec::new(), keys: KnownKeys::default() };
    let stored: Vec<_> = (0..=LEVELS).map(|level| scan.stored_nodes(level)).collect();
    let mut leaves = scan.leaves(&stored[0]);
    scan.reconcile(&mut leaves, &stored);
    let lines = rederived_lines(&leaves, LEVELS);
    for (level, line) in (1..).zip(&lines) {
        scan.compare(level, line, &stored[usize::from(level)]);
    }
    scan.look_up_terms();
    let tiles = lines.get(7).cloned().unwrap_or_default();
    let mut chunk = scan.chunk;
    if end - first == CHUNK {
        chunk.root = lines.last().and_then(|line| line.first()).copied();
    } else {
        let lone = leaves.split_off(leaves.len() - leaves.len() % 256);
        chunk.edge = [tiles, lone];
    }
    chunk
}

struct Scan<'r> {
    run: &'r Run<'r>,
    key: &'r Key,
    first: u64,
    end: u64,
    chunk: Chunk,
    /// Terms of loose entries, to be looked up.
    pairs: Vec<(Hash, u64)>,
    keys: KnownKeys,
}

type Line = Vec<Option<Hash>>;

impl Scan<'_> {
    /// The stored nodes of one level over this chunk; `None` where one is missing.
    fn stored_nodes(&mut self, level: u8) -> Line {
        let (from, to) = (self.first >> level, self.end >> level);
        let mut line = vec![None; usize::try_from(to - from).unwrap_or_default()];
        let scanned = self.run.snapshot.nodes(level, from, Some(to)).and_then(|rows| {
            for row in rows {
                let (index, hash) = row?;
                let at = usize::try_from(index.saturating_sub(from)).ok();
                if let Some(place) = at.and_then(|at| line.get_mut(at)) {
                    *place = hash;
                }
            }
            Ok(())
        });
        if let Err(error) = scanned {
            let place = format!("nodes {from} to {to} of level {level}");
            self.chunk.report(finding(place, cause(&error), Remedy::Restore));
        }
        line
    }

    /// Leaf hashes of all entries, derived; a stored one stands in for an entry that is not there.
    fn leaves(&mut self, stored: &Line) -> Vec<[u8; 32]> {
        let mut leaves: Vec<[u8; 32]> = Vec::with_capacity(stored.len());
        let stand_in = |at: usize| stored.get(at).copied().flatten().unwrap_or_default();
        let scanned =
            self.run.snapshot.entries(self.first, Some(self.end), rederived_leaf).and_then(|rows| {
                for row in rows {
                    let (index, entry) = row?;
                    while self.first + (leaves.len() as u64) < index {
                        self.missing(self.first + leaves.len() as u64);
                        leaves.push(*stand_in(leaves.len()).as_bytes());
                    }
                    leaves.push(match entry {
                        Ok(HashedEntry { entry, leaf_hash }) => {
                            self.entry(index, &entry, &leaf_hash);
                            *leaf_hash.as_bytes()
                        }
                        Err(error) => {
                            self.unreadable(index, &error);
                            *stand_in(leaves.len()).as_bytes()
                        }
                    });
                    if index % STEP == STEP - 1 {
                        self.run.watch.advance(STEP);
                    }
                }
                Ok(())
            });
        if let Err(error) = scanned {
            let place = format!("entries {} to {}", self.first + leaves.len() as u64, self.end - 1);
            self.chunk.report(finding(place, cause(&error), Remedy::Restore));
        } else {
            for index in self.first + leaves.len() as u64..self.end {
                self.missing(index);
            }
        }
        while leaves.len() < stored.len() {
            leaves.push(*stand_in(leaves.len()).as_bytes());
        }
        self.run.watch.advance((self.end - self.first) % STEP);
        leaves
    }

    fn missing(&mut self, index: u64) {
        self.chunk.report(finding(format!("entry {index}"), "is missing", Remedy::Restore));
    }

    fn unreadable(&mut self, index: u64, error: &StoreError) {
        self.chunk.report(finding(format!("entry {index}"), cause(error), Remedy::Restore));
    }

    fn entry(&mut self, index: u64, entry: &StoredEntry, hash: &Hash) {
        let time = entry.time.millis();
        let (first, last) = self.chunk.times.unwrap_or((time, time));
        if time < last {
            self.chunk.report(stepped_back(index));
        }
        self.chunk.times = Some((first, time));
        self.chunk.identities.add(self.key, &entry.identity, index);
        if !self.run.options.parse_leaves {
            return;
        }
        match self.run.leaves.read(entry, hash, &mut self.keys) {
            Err(problem) => {
                // What it is found by is unknown; saying so twice helps nobody.
                self.chunk.loosen(index - self.first);
                self.chunk.report(finding(format!("entry {index}"), problem, Remedy::Restore));
            }
            Ok(meaning) => {
                if meaning.complete {
                    meaning.terms.iter().for_each(|term| self.chunk.terms.add(self.key, term, index));
                } else {
                    self.chunk.loosen(index - self.first);
                    self.pairs.extend(meaning.terms.into_iter().map(|term| (term, index)));
                }
            }
        }
    }

    /// Where an entry and its stored leaf hash differ, the stored node above tells which of the two was changed. A
    /// changed entry's stored hash takes its place, so that one damage is one finding.
    fn reconcile(&mut self, leaves: &mut [[u8; 32]], stored: &[Line]) {
        let [hashes, above, ..] = stored else { return };
        for at in 0..leaves.len() {
            let index = self.first + at as u64;
            let derived = Hash::from_bytes(leaves[at]);
            let Some(hash) = hashes[at] else {
                self.damaged_node(0, index, "is missing");
                continue;
            };
            if hash == derived {
                continue;
            }
            let parent = above.get(at / 2).copied().flatten();
            let sibling = hashes.get(at ^ 1).copied().flatten();
            let with = |own: &Hash| match (sibling, at % 2) {
                (Some(sibling), 0) => Some(node_hash(own, &sibling)),
                (Some(sibling), _) => Some(node_hash(&sibling, own)),
                (None, _) => None,
            };
            if parent.is_some() && parent == with(&derived) {
                self.damaged_node(0, index, "is not the hash of its entry, which is sound");
            } else if parent.is_some() && parent == with(&hash) {
                let problem = "its leaf is not what the tree holds the hash of";
                self.chunk.report(finding(format!("entry {index}"), problem, Remedy::Restore));
                leaves[at] = *hash.as_bytes();
            } else {
                let problem = "its leaf and its leaf hash do not go together";
                self.chunk.report(finding(format!("entry {index}"), problem, Remedy::Restore));
            }
        }
    }

    fn compare(&mut self, level: u8, derived: &[[u8; 32]], stored: &Line) {
        let from = self.first >> level;
        for ((index, derived), stored) in (from..).zip(derived).zip(stored) {
            match stored {
                Some(stored) if stored.as_bytes() == derived => {}
                Some(_) => self.damaged_node(level, index, "is not the hash of what is below it"),
                None => self.damaged_node(level, index, "is missing"),
            }
        }
    }

    fn damaged_node(&mut self, level: u8, index: u64, problem: &str) {
        self.chunk.report(node(NodeId { level, index }, problem));
    }

    /// Entries with terms beyond the derivable ones are looked up, in the order of the index.
    ///
    /// KNOWN LIMIT: that is random access. In a log of 10^8 attestations these look-ups take most of the time.
    fn look_up_terms(&mut self) {
        let mut pairs = std::mem::take(&mut self.pairs);
        pairs.sort_unstable();
        for pairs in pairs.chunks(LOOK_UPS) {
            match self.run.snapshot.have_terms(pairs) {
                Ok(found) => {
                    for ((_, index), _) in pairs.iter().zip(found).filter(|(_, found)| !found) {
                        let problem = "a search term that follows from its leaf does not find it";
                        self.chunk.report(finding(format!("entry {index}"), problem, Remedy::RestoreIndex));
                    }
                }
                Err(error) => {
                    self.chunk.report(finding("the search index", cause(&error), Remedy::RestoreIndex));
                }
            }
        }
    }
}

pub(super) fn node(id: NodeId, problem: &str) -> Finding {
    finding(format!("node {} of level {}", id.index, id.level), problem, Remedy::Restore)
}
