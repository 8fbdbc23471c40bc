//! `fill`: a log of millions of entries in minutes, to find out what size costs.
//!
//! The entries go through the engine's own round (integrated, re-derived, signed, committed), so the store is the one
//! that as many submissions would have made: entries, nodes, identities, search terms, and a signed head that everything
//! leads to. What is left out is what a log does not keep: requests, and the verification of their signatures, which are
//! random bytes here. `chancery-server fsck` finds such a log sound, because no log can tell them from others.

mod entries;
mod instance;

use std::fmt;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use chancery_tlog::clock::{Clock as _, SystemClock};
use chancery_tlog::server::log::Submission;
use chancery_tlog::server::round::{Face, Tree, restore};
use chancery_tlog::server::store::{Head, Rocks, Store as _};

use self::entries::Entries;
use self::instance::FilledLog;

/// Entries in a batch: a commit's fixed cost is shared by many, and a batch is some 20 MB of memory.
const BATCH: u64 = 8192;
/// Batches that are made ahead.
const AHEAD: usize = 2;
/// Between two lines of progress.
const PAUSE: Duration = Duration::from_secs(10);
/// A log with more entries than its birth's has somebody's in it.
const BORN: u64 = 1;

/// What was made.
pub(crate) struct Filled {
    /// Entries in the log.
    pub(crate) size: u64,
    /// How long it took.
    pub(crate) took: Duration,
    /// Bytes of its folder.
    pub(crate) bytes: u64,
}

impl fmt::Display for Filled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { size, took, bytes } = self;
        write!(f, "{size} entries in {:.1} s, {} MB", took.as_secs_f64(), bytes / 1_000_000)
    }
}

/// Fills the log `name` of the instance in `folder`, which does not run, until it has `size` entries.
pub(crate) async fn fill(folder: &Path, name: &str, size: u64, tell: impl Fn(&str)) -> Result<Filled> {
    let started = Instant::now();
    let log = FilledLog::find(folder, name)?;
    let face = log.face()?;
    let store = Rocks::open(&log.store)?;
    let clock = SystemClock;
    let (mut tree, published) = restore(&store, &face, &clock).await?;
    let mut head = Head::clone(published.head());
    ensure!(
        head.size <= BORN,
        "the log `{name}` has {} entries already, which may be somebody's: only a new log is filled",
        head.size
    );
    let mut told = Instant::now();
    let batches = produce(size.saturating_sub(head.size))?;
    while let Ok(batch) = batches.recv() {
        (tree, head) = append(tree, head, batch, &face, &store).await?;
        if told.elapsed() >= PAUSE {
            told = Instant::now();
            tell(&format!("log `{name}`: {} of {size} entries", head.size));
        }
    }
    ensure!(head.size == size.max(BORN), "only {} of {size} entries could be made", head.size);
    store.settle().await?;
    drop(store);
    Ok(Filled { size: head.size, took: started.elapsed(), bytes: bytes_of(&log.store)? })
}

/// One round, as the sequencer's: only a batch that was derived twice is signed, only a signed one committed.
async fn append(
    tree: Tree,
    parent: Head,
    batch: Vec<Submission>,
    face: &Face,
    store: &Rocks,
) -> Result<(Tree, Head)> {
    let time = SystemClock.now().max(parent.time);
    let signed = tree.integrate(batch, time).check(&tree)?.sign(face)?;
    let committed = signed.commit(store, Some(&parent)).await?;
    let head = Head::clone(committed.head());
    Ok((committed.publish(Vec::new(), |_| ()), head))
}

/// Makes `count` entries on a thread of its own, a few batches ahead.
fn produce(count: u64) -> Result<mpsc::Receiver<Vec<Submission>>> {
    let mut entries = Entries::new()?;
    let (send, receive) = mpsc::sync_channel(AHEAD);
    let make = move || {
        let mut left = count;
        while left > 0 {
            let batch: Vec<_> = (0..left.min(BATCH)).map(|_| entries.next()).collect();
            left -= batch.len() as u64;
            // Nobody receives once the filling has failed.
            if send.send(batch).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().name("entries".to_owned()).spawn(make).context("cannot start a thread")?;
    Ok(receive)
}

fn bytes_of(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for file in std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        bytes += file?.metadata()?.len();
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
