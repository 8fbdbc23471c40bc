//! Restoring a log at start: every reason not to go on, one by one.
//!
//! Invariant: [`restore`] returns only if the stored head is ours, and the stored right edge, by two independent
//! derivations, and the entries next to it lead to its root. A log that starts on anything else signs a fork.

use std::time::Duration;

use super::check::RightRows;
use super::{Face, Published, Tree};
use crate::checkpoint::{Checkpoint, Origin};
use crate::clock::Clock;
use crate::merkle::{CompactRange, Hash, NodeId, leaf_hash};
use crate::note::{Note, NoteKey};
use crate::server::log::OpenError;
use crate::server::store::{Head, Store, StoreError};
use crate::tile::TILE_WIDTH;

/// How far the clock may stand behind the last head: what time synchronisation corrects in small steps. Times never
/// step back for it, because a round takes the later of the two.
pub const CLOCK_TOLERANCE: Duration = Duration::from_secs(5);

/// The tree and head of the log in `store`, after checking both.
pub async fn restore(
    store: &dyn Store,
    face: &Face,
    clock: &dyn Clock,
) -> Result<(Tree, Published), OpenError> {
    restore_as(store, face.origin(), face.key(), clock).await
}

/// The head of the log in `store` that nothing is added to any more, after the same checks.
pub(in crate::server) async fn restore_ended(
    store: &dyn Store,
    origin: &Origin,
    key: &NoteKey,
    clock: &dyn Clock,
) -> Result<Published, OpenError> {
    restore_as(store, origin, key, clock).await.map(|(_, published)| published)
}

async fn restore_as(
    store: &dyn Store,
    origin: &Origin,
    key: &NoteKey,
    clock: &dyn Clock,
) -> Result<(Tree, Published), OpenError> {
    let head = store.open().await?.ok_or(OpenError::Missing)?;
    check_checkpoint(&head, origin, key)?;
    check_clock(&head, clock)?;
    let edge = read_edge(store, &head).await?;
    let rows = read_rows(store, &head).await?;
    check_last_entries(store, &head).await?;
    Ok((Tree { edge, rows }, Published { head: head.into() }))
}

/// The checkpoint says what the head says, is of this log, and our key signed it.
pub(in crate::server) fn check_checkpoint(
    head: &Head,
    origin: &Origin,
    key: &NoteKey,
) -> Result<(), OpenError> {
    let note = Note::parse(head.checkpoint.as_bytes())?;
    let checkpoint = Checkpoint::parse(note.text())?;
    if checkpoint.origin != *origin {
        return Err(OpenError::Origin { stored: checkpoint.origin, configured: origin.clone() });
    }
    note.verify(std::slice::from_ref(key)).map_err(OpenError::ForeignKey)?;
    if (checkpoint.size, checkpoint.root) != (head.size, head.root) {
        return Err(damaged("the head is not what its checkpoint says".to_owned()));
    }
    Ok(())
}

fn check_clock(head: &Head, clock: &dyn Clock) -> Result<(), OpenError> {
    let now = clock.now();
    if now.plus(CLOCK_TOLERANCE) < head.time {
        return Err(OpenError::ClockBehind { now, head: head.time });
    }
    Ok(())
}

async fn read_edge(store: &dyn Store, head: &Head) -> Result<CompactRange, OpenError> {
    let hashes = store.nodes(&CompactRange::node_ids(head.size)).await?;
    let edge = CompactRange::from_parts(head.size, hashes).map_err(|e| damaged(e.to_string()))?;
    if edge.root() != head.root {
        return Err(damaged(format!("the right edge leads to root {}, not {}", edge.root(), head.root)));
    }
    Ok(edge)
}

async fn read_rows(store: &dyn Store, head: &Head) -> Result<RightRows, OpenError> {
    let mut rows = Vec::new();
    for ids in RightRows::node_ids(head.size) {
        rows.push(store.nodes(&ids).await?);
    }
    let rows = RightRows::from_rows(head.size, rows);
    if rows.root() != head.root {
        return Err(damaged(format!(
            "the rows of the right edge lead to root {}, not {}",
            rows.root(),
            head.root
        )));
    }
    Ok(rows)
}

/// The entries of the last tile hash to its leaves, and the entries end where the tree does.
async fn check_last_entries(store: &dyn Store, head: &Head) -> Result<(), OpenError> {
    let first = head.size.saturating_sub(1) / TILE_WIDTH * TILE_WIDTH;
    let entries = store.entries(first..head.size.saturating_add(1)).await?;
    if entries.len() as u64 != head.size - first {
        let end = first + entries.len() as u64;
        return Err(damaged(format!("entries end at {end}, the head says {}", head.size)));
    }
    let ids: Vec<NodeId> = (first..head.size).map(|index| NodeId { level: 0, index }).collect();
    let stored: Vec<Hash> = store.nodes(&ids).await?;
    for ((index, entry), hash) in (first..).zip(&entries).zip(&stored) {
        if leaf_hash(&entry.leaf) != *hash {
            return Err(damaged(format!("entry {index} does not hash to its leaf")));
        }
    }
    Ok(())
}

fn damaged(what: String) -> OpenError {
    OpenError::Store(StoreError::Damaged(what))
}
