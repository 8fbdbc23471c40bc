//! Reading nodes: a proof's few by look-ups, a tile's many in one go.

use super::keys::node_key;
use super::{Inner, NODE, unread};
use crate::merkle::{Hash, NodeId};
use crate::server::store::StoreError;

/// From so many neighbouring nodes on, stepping from one to the next is cheaper than looking each up.
const RUN: usize = 16;

impl Inner {
    /// The hashes of `ids`, in their order.
    pub(super) fn nodes(&self, ids: &[NodeId]) -> Result<Vec<Hash>, StoreError> {
        if let Some(first) = ids.first().filter(|_| ids.len() >= RUN && are_neighbours(ids)) {
            let hashes = self.run_of_nodes(*first, ids.len())?;
            return match ids.get(hashes.len()) {
                None => Ok(hashes),
                Some(missing) => Err(StoreError::missing_node(*missing)),
            };
        }
        let keys: Vec<_> = ids.iter().map(|id| node_key(*id)).collect();
        let found = self.get_all(NODE, &keys)?;
        let decode = |(id, hash): (&NodeId, Option<Vec<u8>>)| {
            node_hash(*id, &hash.ok_or_else(|| StoreError::missing_node(*id))?)
        };
        ids.iter().zip(found).map(decode).collect()
    }

    /// The nodes of one level from `first` on, as far as they stand in a row and at most `count`. Their keys are
    /// neighbours, so this is one search and then steps, where a look-up for each is as many searches.
    fn run_of_nodes(&self, first: NodeId, count: usize) -> Result<Vec<Hash>, StoreError> {
        let key = |index| node_key(NodeId { index, ..first });
        let mut rows = self.db.raw_iterator_cf(self.family(NODE)?);
        rows.seek(key(first.index));
        let mut hashes = Vec::with_capacity(count);
        for index in (first.index..).take(count) {
            let Some((_, hash)) = rows.item().filter(|(found, _)| *found == key(index)) else { break };
            hashes.push(node_hash(NodeId { index, ..first }, hash)?);
            rows.next();
        }
        rows.status().map_err(|e| unread("reading nodes", &e))?;
        Ok(hashes)
    }
}

/// Whether each is the next one of its level after the one before it.
fn are_neighbours(ids: &[NodeId]) -> bool {
    ids.windows(2).all(|pair| match pair {
        [one, next] => one.level == next.level && one.index.checked_add(1) == Some(next.index),
        _ => true,
    })
}

fn node_hash(id: NodeId, bytes: &[u8]) -> Result<Hash, StoreError> {
    let unreadable =
        |_| StoreError::Damaged(format!("node {} of level {} cannot be read", id.index, id.level));
    Hash::from_slice(bytes).map_err(unreadable)
}
