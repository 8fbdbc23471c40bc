//! `fsck`: everything that a store says about its log, checked against everything else it says, while nobody writes.
//!
//! Nodes are derived again from the entries, by the implementation that signing is checked with, and compared one by
//! one; the root with the head, the head with its signature. Leaves are read as their dialect writes them. What
//! entries are found by is compared as two products over all pairs of key and index, one from the entries and one from the
//! index, so that two streams that are in different orders need neither memory nor look-ups (see [`tally`]).
//!
//! KNOWN LIMIT: what is kept beside a leaf (a certificate's chain) is in no hash; only RocksDB's checksums hold it.
//!
//! Invariants: nothing is written but the state file; memory does not grow with the log, but for some 8 KiB for each
//! 65,536 entries; damage is a finding and never a panic or an early end.

mod chunk;
mod edge;
mod index;
mod leaf;
mod state;
mod tally;
mod tree;

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use self::chunk::{CHUNK, Chunk};
pub use self::edge::{Edge, check_edge};
pub use self::leaf::Leaves;
pub use self::state::StateFile;
use self::tally::Key;
use super::round::check_checkpoint;
use super::store::{Head, Snapshot, StoreError};
use crate::checkpoint::{Checkpoint, Origin};
use crate::note::NoteKey;

/// Most findings of one log that are kept: whoever has more has one problem, not a thousand.
pub const MAX_FINDINGS: usize = 200;

/// The log that is to be checked.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'s> {
    /// Folder of its store.
    pub store: &'s Path,
    /// Its origin.
    pub origin: &'s Origin,
    /// What verifies its checkpoints.
    pub key: &'s NoteKey,
    /// What its leaves are.
    pub leaves: Leaves,
    /// Checkpoints of this log that somebody has seen: a store that does not contain them must never be served.
    pub seen: &'s [Checkpoint],
}

/// How to check.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Threads; at least one is used.
    pub threads: usize,
    /// Whether leaves are parsed and their search terms derived again. Costs most of the time.
    pub parse_leaves: bool,
}

/// Something is wrong with a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Where: the head, an entry, a node, a row of the index.
    pub place: String,
    /// What is wrong there.
    pub problem: String,
    /// What to do.
    pub remedy: Remedy,
}

/// What to do about a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Remedy {
    /// What the log has promised is damaged.
    Restore,
    /// Entries and tree are sound, only finding them is not.
    RestoreIndex,
    /// Another key or origin than the configuration's.
    Configure,
    /// The store is not, or no longer, the log that somebody has seen.
    NeverServe,
}

impl Remedy {
    /// In words, for an operator.
    pub fn words(self) -> &'static str {
        match self {
            Self::Restore => {
                "keep this folder as it is and do not serve it; restore the newest sound backup (runbooks.md, restore)"
            }
            Self::RestoreIndex => {
                "no entry is lost, but searches and duplicate detection can fail; restore the newest sound backup \
                 (runbooks.md, restore)"
            }
            Self::NeverServe => {
                "never serve this folder: the next entry would fork the log; find a newer copy, or go on with a new log \
                 (runbooks.md, key replacement)"
            }
            Self::Configure => "compare `origin` and `checkpoint_key` in chancery.toml with the log's own",
        }
    }
}

/// What was found in one log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Entries under the stored head.
    pub entries: u64,
    /// The first [`MAX_FINDINGS`] of what is wrong. Empty: the log is sound.
    pub findings: Vec<Finding>,
    /// How many more there were.
    pub more: usize,
}

impl Report {
    fn add(&mut self, findings: impl IntoIterator<Item = Finding>) {
        for finding in findings {
            if self.findings.len() < MAX_FINDINGS {
                self.findings.push(finding);
            } else {
                self.more += 1;
            }
        }
    }
}

/// Why a log could not be checked. Damage is a [`Finding`] instead.
#[derive(Debug, thiserror::Error)]
pub enum FsckError {
    /// The store is not there, or in use.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The state file cannot be used.
    #[error("the state file {path}: {reason}")]
    State {
        /// The file.
        path: String,
        /// What went wrong.
        reason: String,
    },
}

/// Who is told how far it got.
pub trait Watch: Sync {
    /// A stretch of work begins, of which `done` steps were done by an earlier run.
    fn begin(&self, what: &'static str, done: u64, total: u64);
    /// So many steps more are done.
    fn advance(&self, steps: u64);
}

/// Checks one log. `state` remembers finished stretches over an interruption.
pub fn check(
    subject: Subject<'_>,
    options: Options,
    state: Option<&StateFile>,
    watch: &dyn Watch,
) -> Result<Report, FsckError> {
    let mut report = Report::default();
    let (snapshot, head) = match open(subject.store) {
        Ok(opened) => opened,
        Err(StoreError::Damaged(what)) => {
            report.add([finding("the store", what, Remedy::Restore)]);
            return Ok(report);
        }
        Err(error) => return Err(error.into()),
    };
    let Some(head) = head else {
        report.add([finding("the head", "is missing", Remedy::Restore)]);
        return Ok(report);
    };
    report.entries = head.size;
    if let Err(error) = check_checkpoint(&head, subject.origin, subject.key) {
        let remedy = match error {
            super::log::OpenError::Origin { .. } => Remedy::Configure,
            _ => Remedy::Restore,
        };
        report.add([finding("the head", error.to_string(), remedy)]);
    }
    let run = Run { snapshot: &snapshot, head: &head, leaves: subject.leaves, options, watch };
    let (key, chunks) = run.chunks(subject.origin, state)?;
    for chunk in &chunks {
        report.add(chunk.findings.iter().cloned());
    }
    report.add(run.order(&chunks));
    report.add(subject.seen.iter().filter_map(|seen| tree::contains(&run, seen)));
    report.add(tree::check(&run, &chunks));
    report.add(index::check(&run, &key, &chunks));
    Ok(report)
}

fn open(path: &Path) -> Result<(Snapshot, Option<Head>), StoreError> {
    let snapshot = Snapshot::open(path)?;
    let head = snapshot.head()?;
    Ok((snapshot, head))
}

/// One run over one log.
struct Run<'r> {
    snapshot: &'r Snapshot,
    head: &'r Head,
    leaves: Leaves,
    options: Options,
    watch: &'r dyn Watch,
}

impl Run<'_> {
    /// All chunks in order: those that an earlier run finished, and the rest.
    fn chunks(&self, origin: &Origin, state: Option<&StateFile>) -> Result<(Key, Vec<Chunk>), FsckError> {
        let progress = match state {
            Some(file) => Some(file.resume(origin, self.head, self.options)?),
            None => None,
        };
        let (key, mut chunks) = match &progress {
            Some(progress) => (progress.key, progress.chunks()),
            None => (Key::random(), Vec::new()),
        };
        let count = self.head.size.div_ceil(CHUNK);
        let known: std::collections::HashSet<u64> = chunks.iter().map(|chunk| chunk.number).collect();
        let open: Vec<u64> = (0..count).filter(|number| !known.contains(number)).collect();
        self.watch.begin("entries", known.len() as u64 * CHUNK, self.head.size);
        let done = self.each(&open, |number| {
            let chunk = chunk::check(self, &key, number);
            match &progress {
                Some(progress) if chunk.is_full() => progress.keep(&chunk).map(|()| chunk),
                _ => Ok(chunk),
            }
        });
        for chunk in done {
            chunks.push(chunk?);
        }
        chunks.sort_by_key(|chunk| chunk.number);
        Ok((key, chunks))
    }

    /// `work` on each of `items`, by all threads.
    fn each<T: Copy + Sync, R: Send>(&self, items: &[T], work: impl Fn(T) -> R + Sync) -> Vec<R> {
        let next = AtomicUsize::new(0);
        let results = Mutex::new(Vec::with_capacity(items.len()));
        std::thread::scope(|scope| {
            for _ in 0..self.options.threads.clamp(1, 64) {
                scope.spawn(|| {
                    while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let result = work(*item);
                        results.lock().unwrap_or_else(PoisonError::into_inner).push(result);
                    }
                });
            }
        });
        results.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Times from chunk to chunk, and to the head.
    fn order(&self, chunks: &[Chunk]) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut last = None;
        for chunk in chunks {
            let Some((first, newest)) = chunk.times else { continue };
            if last.is_some_and(|last| first < last) {
                findings.push(chunk::stepped_back(chunk.number * CHUNK));
            }
            last = Some(newest);
        }
        // Every head but the first was made with the batch that ends with the last entry.
        if last.is_some_and(|last| last != self.head.time.millis()) {
            let problem = format!("its time {} is not that of the last entry", self.head.time);
            findings.push(finding("the head", problem, Remedy::Restore));
        }
        findings
    }
}

fn finding(place: impl Into<String>, problem: impl Into<String>, remedy: Remedy) -> Finding {
    Finding { place: place.into(), problem: problem.into(), remedy }
}

/// What is wrong with the store, without its advice: the remedy is the finding's.
fn cause(error: &StoreError) -> String {
    match error {
        StoreError::Damaged(what) => what.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests;
