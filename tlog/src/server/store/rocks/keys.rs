//! Keys and values of the RocksDB store. Integers are big-endian, so that keys sort by number.
//!
//! An entry is `kind ‖ [identity] ‖ time ‖ u32 length ‖ leaf ‖ extra`. Most identities are the leaf's hash; those
//! are not stored a second time (kind 0), any other is (kind 1).

use bytes::{Buf as _, Bytes};

use super::super::{Head, NewEntry, StoreError, StoredEntry};
use crate::clock::Timestamp;
use crate::merkle::{Hash, NodeId, leaf_hash};

const IDENTITY_IS_LEAF_HASH: u8 = 0;
const IDENTITY_FOLLOWS: u8 = 1;

pub(super) fn node_key(id: NodeId) -> [u8; 9] {
    let mut key = [0; 9];
    key[0] = id.level;
    key[1..].copy_from_slice(&id.index.to_be_bytes());
    key
}

/// `SHA-256(term) ‖ index`: of fixed length, so that no term is the start of another.
pub(super) fn term_key(term: &str, index: u64) -> [u8; 40] {
    let mut key = [0; 40];
    key[..32].copy_from_slice(Hash::digest(term.as_bytes()).as_ref());
    key[32..].copy_from_slice(&index.to_be_bytes());
    key
}

pub(super) fn decode_index(bytes: &[u8]) -> Result<u64, StoreError> {
    bytes.try_into().map(u64::from_be_bytes).map_err(|_| damaged("an index"))
}

pub(super) fn encode_entry(NewEntry { entry, leaf_hash, .. }: &NewEntry) -> Result<Vec<u8>, StoreError> {
    let length = u32::try_from(entry.leaf.len()).map_err(|_| damaged("a leaf of over 4 GiB"))?;
    let mut bytes = Vec::with_capacity(45 + entry.leaf.len() + entry.extra.len());
    if entry.identity == *leaf_hash {
        bytes.push(IDENTITY_IS_LEAF_HASH);
    } else {
        bytes.push(IDENTITY_FOLLOWS);
        bytes.extend_from_slice(entry.identity.as_ref());
    }
    bytes.extend_from_slice(&entry.time.millis().to_be_bytes());
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(&entry.leaf);
    bytes.extend_from_slice(&entry.extra);
    Ok(bytes)
}

pub(super) fn decode_entry(bytes: Bytes) -> Result<StoredEntry, StoreError> {
    let Parts { identity, time, leaf, extra } = split_entry(bytes)?;
    let identity = identity.unwrap_or_else(|| leaf_hash(&leaf));
    Ok(StoredEntry { leaf, time, extra, identity })
}

/// An entry and the hash of its leaf.
pub(in crate::server) struct HashedEntry {
    pub(in crate::server) entry: StoredEntry,
    pub(in crate::server) leaf_hash: Hash,
}

/// An entry with its leaf's hash, which `hash` makes once, whatever the identity is.
pub(super) fn decode_hashed_entry(
    bytes: Bytes,
    hash: impl FnOnce(&[u8]) -> Hash,
) -> Result<HashedEntry, StoreError> {
    let Parts { identity, time, leaf, extra } = split_entry(bytes)?;
    let leaf_hash = hash(&leaf);
    let entry = StoredEntry { leaf, time, extra, identity: identity.unwrap_or(leaf_hash) };
    Ok(HashedEntry { entry, leaf_hash })
}

/// The leaf alone. An identity that is the leaf's hash is not derived, which is most of what an entry costs.
pub(super) fn decode_leaf(bytes: Bytes) -> Result<Bytes, StoreError> {
    split_entry(bytes).map(|parts| parts.leaf)
}

struct Parts {
    /// `None`: the leaf's hash.
    identity: Option<Hash>,
    time: Timestamp,
    leaf: Bytes,
    extra: Bytes,
}

fn split_entry(mut bytes: Bytes) -> Result<Parts, StoreError> {
    let bad = |_| damaged("an entry");
    let identity = match bytes.try_get_u8().map_err(bad)? {
        IDENTITY_IS_LEAF_HASH => None,
        IDENTITY_FOLLOWS => {
            let mut identity = [0; 32];
            bytes.try_copy_to_slice(&mut identity).map_err(bad)?;
            Some(Hash::from_bytes(identity))
        }
        _ => return Err(damaged("an entry")),
    };
    let time = Timestamp::from_millis(bytes.try_get_u64().map_err(bad)?);
    let length = bytes.try_get_u32().map_err(bad)? as usize;
    if length > bytes.len() {
        return Err(damaged("an entry"));
    }
    let leaf = bytes.split_to(length);
    Ok(Parts { identity, time, leaf, extra: bytes })
}

pub(super) fn encode_head(head: &Head) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(48 + head.checkpoint.len());
    bytes.extend_from_slice(&head.size.to_be_bytes());
    bytes.extend_from_slice(head.root.as_ref());
    bytes.extend_from_slice(&head.time.millis().to_be_bytes());
    bytes.extend_from_slice(head.checkpoint.as_bytes());
    bytes
}

pub(super) fn decode_head(mut bytes: &[u8]) -> Result<Head, StoreError> {
    let bad = |_| damaged("the head");
    let size = bytes.try_get_u64().map_err(bad)?;
    let mut root = [0; 32];
    bytes.try_copy_to_slice(&mut root).map_err(bad)?;
    let time = Timestamp::from_millis(bytes.try_get_u64().map_err(bad)?);
    let checkpoint = String::from_utf8(bytes.to_vec()).map_err(|_| damaged("the head"))?;
    Ok(Head { size, root: Hash::from_bytes(root), time, checkpoint })
}

fn damaged(what: &str) -> StoreError {
    StoreError::Damaged(format!("{what} cannot be read"))
}
