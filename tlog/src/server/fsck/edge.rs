//! The end of a log: what a server checks when it opens one, read without opening it.
//!
//! Takes the same few milliseconds for any size. It finds a copy that ends too early, that is torn, of another log or
//! older than what somebody has seen; damage further inside is for [`super::check`].

use super::{FsckError, Options, Remedy, Report, Run, Subject, Watch, cause, finding, tree};
use crate::merkle::leaf_hash;
use crate::server::round::check_checkpoint;
use crate::server::store::{Head, Scanned, StoreError};
use crate::tile::TILE_WIDTH;

/// How a log ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edge {
    /// The stored head, if there is one.
    pub head: Option<Head>,
    /// What is wrong there.
    pub report: Report,
}

struct Silent;

impl Watch for Silent {
    fn begin(&self, _: &'static str, _: u64, _: u64) {}
    fn advance(&self, _: u64) {}
}

/// Checks that the head is signed by the log's key, that the nodes of the right edge lead to its root, that the last
/// entries hash to their leaves and end where the head says, and that the log contains what was seen.
pub fn check_edge(subject: Subject<'_>) -> Result<Edge, FsckError> {
    let mut edge = Edge::default();
    let damaged = |what: String| [finding("the store", what, Remedy::Restore)];
    let (snapshot, head) = match super::open(subject.store) {
        Ok((snapshot, Some(head))) => (snapshot, head),
        Ok((_, None)) => {
            edge.report.add([finding("the head", "is missing", Remedy::Restore)]);
            return Ok(edge);
        }
        Err(StoreError::Damaged(what)) => {
            edge.report.add(damaged(what));
            return Ok(edge);
        }
        Err(error) => return Err(error.into()),
    };
    edge.report.entries = head.size;
    let options = Options { threads: 1, parse_leaves: false };
    let run = Run { snapshot: &snapshot, head: &head, leaves: subject.leaves, options, watch: &Silent };
    if let Err(error) = check_checkpoint(&head, subject.origin, subject.key) {
        edge.report.add([finding("the head", error.to_string(), Remedy::Restore)]);
    }
    match tree::root_at(&run, head.size) {
        Ok(root) if root == head.root => {}
        Ok(root) => {
            let problem = format!("its root is {}, the right edge makes {root}", head.root);
            edge.report.add([finding("the head", problem, Remedy::Restore)]);
        }
        Err(error) => edge.report.add(damaged(cause(&error))),
    }
    if let Err(error) = last_entries(&run) {
        edge.report.add(damaged(cause(&error)));
    }
    edge.report.add(subject.seen.iter().filter_map(|seen| tree::contains(&run, seen)));
    edge.head = Some(head);
    Ok(edge)
}

/// The entries of the last tile, against their leaves.
fn last_entries(run: &Run<'_>) -> Scanned<()> {
    let size = run.head.size;
    let first = size.saturating_sub(1) / TILE_WIDTH * TILE_WIDTH;
    let mut nodes = run.snapshot.nodes(0, first, Some(size))?;
    let mut next = first;
    for row in run.snapshot.entries(first, None, leaf_hash)? {
        let (index, entry) = row?;
        if index >= size {
            return Err(StoreError::Damaged(format!("entry {index} is stored, but the head says {size}")));
        }
        let hash = entry?.leaf_hash;
        if nodes.next().transpose()? != Some((index, Some(hash))) || index != next {
            return Err(StoreError::Damaged(format!("entry {index} does not hash to its leaf")));
        }
        next += 1;
    }
    if next != size {
        return Err(StoreError::Damaged(format!("entries end at {next}, the head says {size}")));
    }
    Ok(())
}
