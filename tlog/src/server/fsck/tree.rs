//! What stands above the chunks, and what must not stand beyond the head.

use super::chunk::{CHUNK, Chunk, LEVELS, node};
use super::{Finding, Remedy, Run, cause, finding};
use crate::checkpoint::Checkpoint;
use crate::merkle::{CompactRange, Hash, NodeId, leaf_hash};
use crate::server::round::{rederived_lines, root_of_rows};
use crate::server::store::{Scanned, StoreError};

/// Checks the upper nodes, the root, and that entries and nodes end with the head.
pub(super) fn check(run: &Run<'_>, chunks: &[Chunk]) -> Vec<Finding> {
    let roots: Vec<[u8; 32]> = chunks.iter().filter_map(|chunk| chunk.root).collect();
    let lines = rederived_lines(&roots, 64 - LEVELS);
    let mut findings = upper_nodes(run, &lines);
    let root = root(chunks, &roots, &lines);
    if root != run.head.root {
        let problem = format!("its root is {}, the entries make {root}", run.head.root);
        findings.push(finding("the head", problem, Remedy::Restore));
    }
    findings.extend(beyond(run));
    findings
}

/// What is wrong if the tree of a checkpoint is not the beginning of this one. Taken from stored nodes, which are
/// compared with the entries elsewhere.
pub(super) fn contains(run: &Run<'_>, seen: &Checkpoint) -> Option<Finding> {
    let (size, wanted) = (seen.size, seen.root);
    let problem = if size > run.head.size {
        format!("has {} entries, but a checkpoint of {size} entries was seen", run.head.size)
    } else {
        match root_at(run, size) {
            Ok(root) if root == wanted => return None,
            Ok(root) => format!("had root {root} at {size} entries, but a checkpoint with {wanted} was seen"),
            Err(error) => cause(&error),
        }
    };
    Some(finding("the log", problem, Remedy::NeverServe))
}

pub(super) fn root_at(run: &Run<'_>, size: u64) -> Scanned<Hash> {
    let mut hashes = Vec::new();
    for NodeId { level, index } in CompactRange::node_ids(size) {
        let row = run.snapshot.nodes(level, index, Some(index + 1))?.next().transpose()?;
        let damaged = || StoreError::Damaged(format!("node {index} of level {level} is missing"));
        hashes.push(row.and_then(|(_, hash)| hash).ok_or_else(damaged)?);
    }
    let range = CompactRange::from_parts(size, hashes);
    Ok(range.map_err(|error| StoreError::Damaged(error.to_string()))?.root())
}

fn upper_nodes(run: &Run<'_>, lines: &[Vec<[u8; 32]>]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (level, line) in (LEVELS + 1..).zip(lines).filter(|(_, line)| !line.is_empty()) {
        let mut stored = vec![None; line.len()];
        let scanned = run.snapshot.nodes(level, 0, Some(line.len() as u64)).and_then(|rows| {
            for row in rows {
                let (index, hash) = row?;
                if let Some(place) = usize::try_from(index).ok().and_then(|at| stored.get_mut(at)) {
                    *place = hash;
                }
            }
            Ok(())
        });
        if let Err(error) = scanned {
            findings.push(finding(format!("nodes of level {level}"), cause(&error), Remedy::Restore));
            continue;
        }
        for ((index, derived), stored) in (0..).zip(line).zip(stored) {
            match stored {
                Some(stored) if stored.as_bytes() == derived => {}
                Some(_) => {
                    findings.push(node(NodeId { level, index }, "is not the hash of what is below it"));
                }
                None => findings.push(node(NodeId { level, index }, "is missing")),
            }
        }
    }
    findings
}

/// The root, from rows of tile hashes, in the way of the check before signing.
fn root(chunks: &[Chunk], roots: &[[u8; 32]], lines: &[Vec<[u8; 32]>]) -> Hash {
    let [tiles, leaves] = match chunks.last() {
        Some(last) if !last.is_full() => last.edge.clone(),
        _ => Default::default(),
    };
    let upper = lines.iter().skip(7).step_by(8).map(Vec::as_slice);
    let mut rows = vec![leaves, tiles];
    for row in std::iter::once(roots).chain(upper) {
        rows.push(row[row.len() - row.len() % 256..].to_vec());
    }
    // Rows above the root's are none, not empty ones: an empty row between others stays.
    while rows.last().is_some_and(Vec::is_empty) {
        rows.pop();
    }
    root_of_rows(&rows)
}

/// Entries and nodes that the head does not know.
fn beyond(run: &Run<'_>) -> Vec<Finding> {
    let size = run.head.size;
    let mut findings = Vec::new();
    match run.snapshot.entries(size, None, leaf_hash).map(|mut rows| rows.next()) {
        Ok(None) => {}
        Ok(Some(Ok((index, _)))) => {
            let problem = format!("is stored, but the head says {size} entries");
            findings.push(finding(format!("entry {index}"), problem, Remedy::Restore));
        }
        Ok(Some(Err(error))) | Err(error) => {
            findings.push(finding("entries beyond the head", cause(&error), Remedy::Restore));
        }
    }
    for level in 0..=u8::MAX {
        let complete = size.checked_shr(level.into()).unwrap_or_default();
        match run.snapshot.nodes(level, complete, None).map(|mut rows| rows.next()) {
            Ok(None) => {}
            Ok(Some(Ok((index, _)))) => {
                findings.push(node(NodeId { level, index }, "is stored, but not in the head's tree"));
            }
            Ok(Some(Err(error))) | Err(error) => {
                let place = format!("nodes of level {level} beyond the head");
                findings.push(finding(place, cause(&error), Remedy::Restore));
            }
        }
    }
    findings
}

/// The chunk of an entry.
pub(super) fn chunk_of(chunks: &[Chunk], index: u64) -> Option<&Chunk> {
    chunks.get(usize::try_from(index / CHUNK).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hashes(count: u64) -> Vec<[u8; 32]> {
        (0..count).map(|n| *leaf_hash(&n.to_be_bytes()).as_bytes()).collect()
    }

    #[test]
    fn derived_lines_are_the_cores_nodes_up_to_the_third_tile_level() {
        // 2^17 nodes and some: of the levels 16 and 17 there are nodes too.
        let leaves = hashes((1 << 17) + 700);
        let lines = rederived_lines(&leaves, 20);
        let mut tree = CompactRange::new();
        let mut count = 0;
        for leaf in &leaves {
            tree.append(Hash::from_bytes(*leaf), |id, hash| {
                if id.level > 0 {
                    let (level, index) = (usize::from(id.level), usize::try_from(id.index).unwrap());
                    assert_eq!(lines[level - 1][index], *hash.as_bytes(), "{id:?}");
                    count += 1;
                }
            });
        }
        assert_eq!(count, lines.iter().map(Vec::len).sum::<usize>(), "and no others");
    }

    #[test]
    fn the_root_over_chunks_is_the_cores() {
        let full = |number| Chunk {
            number,
            root: Some(hashes(300)[usize::try_from(number).unwrap()]),
            ..Chunk::default()
        };
        for (count, beside) in [(0, 0), (0, 44), (1, 0), (1, 300), (3, 0), (3, 256), (256, 0), (259, 301)] {
            let leaves = hashes(beside);
            let mut chunks: Vec<Chunk> = (0..count).map(full).collect();
            let roots: Vec<_> = chunks.iter().filter_map(|chunk| chunk.root).collect();
            let (tiles, lone) = leaves.split_at(leaves.len() - leaves.len() % 256);
            if beside > 0 {
                let tiles = rederived_lines(tiles, 8).pop().unwrap();
                chunks.push(Chunk { number: count, edge: [tiles, lone.to_vec()], ..Chunk::default() });
            }
            // The core's, with chunk roots in the place of leaves, then what stands beside them.
            let mut upper = CompactRange::new();
            for root in &roots {
                upper.append(Hash::from_bytes(*root), |_, _| {});
            }
            let mut lower = CompactRange::new();
            for leaf in &leaves {
                lower.append(Hash::from_bytes(*leaf), |_, _| {});
            }
            let parts = [upper.hashes(), lower.hashes()].concat();
            let size = count * CHUNK + beside;
            let wanted = CompactRange::from_parts(size, parts).unwrap().root();
            let lines = rederived_lines(&roots, 64 - LEVELS);
            assert_eq!(root(&chunks, &roots, &lines), wanted, "{count} chunks and {beside}");
        }
    }
}
