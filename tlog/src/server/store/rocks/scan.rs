//! [`Snapshot`]: a store at rest, read in the order of its keys.
//!
//! Invariant: nothing is written, not even a log file of RocksDB's, and as long as the snapshot lives no server can
//! open the store: it holds a shared lock on the file that RocksDB locks for itself.

use std::fs::File;
use std::path::Path;

use bytes::Bytes;
use rocksdb::{DB, DBRawIterator, ReadOptions};
use rustix::fs::{FlockOperation, fcntl_lock};

use super::keys::{HashedEntry, decode_entry, decode_hashed_entry, decode_head, decode_index, node_key};
use super::{
    ENTRY, HEAD_KEY, INDEX, LEAF, META, NODE, StoreError, database_options, failed, families, opening_error,
    unread,
};
use crate::merkle::{Hash, NodeId};
use crate::server::store::{Head, StoredEntry};

/// Read ahead of the iterators: each reads a long stretch once.
const READ_AHEAD: usize = 2 << 20;
/// What a node takes in a table, with room.
const NODE_BYTES: usize = 64;

/// A store that nobody writes to while this lives.
pub struct Snapshot {
    db: DB,
    _lock: Option<File>,
}

/// What an iterator gives: a row, or why nothing behind it can be read.
pub(in crate::server) type Scanned<T> = Result<T, StoreError>;

impl Snapshot {
    /// Opens the store at `path`, which no process may have open.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = path.as_ref();
        if !path.join("CURRENT").exists() {
            return Err(StoreError::Missing(path.display().to_string()));
        }
        let lock = lock(path)?;
        let db = DB::open_cf_descriptors_read_only(&database_options(false), path, families(), false)
            .map_err(|error| opening_error(path, &error))?;
        Ok(Self { db, _lock: lock })
    }

    /// The stored head. `None` if no log was ever created here.
    pub fn head(&self) -> Result<Option<Head>, StoreError> {
        self.get(META, HEAD_KEY)?.map(|bytes| decode_head(&bytes)).transpose()
    }

    /// Entries from `first` on up to `end`, with the hashes that `hash` makes of their leaves. The inner error is of one
    /// entry, the outer one of all that follow.
    pub(in crate::server) fn entries(
        &self,
        first: u64,
        end: Option<u64>,
        hash: fn(&[u8]) -> Hash,
    ) -> Scanned<impl Iterator<Item = Scanned<(u64, Scanned<HashedEntry>)>>> {
        let end = end.map(|end| end.to_be_bytes().to_vec());
        self.rows(ENTRY, &first.to_be_bytes(), end, READ_AHEAD, move |key, value| {
            Ok((decode_index(key)?, decode_hashed_entry(Bytes::copy_from_slice(value), hash)))
        })
    }

    /// The nodes of one level from `first` on up to `end`.
    pub(in crate::server) fn nodes(
        &self,
        level: u8,
        first: u64,
        end: Option<u64>,
    ) -> Scanned<impl Iterator<Item = Scanned<(u64, Option<Hash>)>>> {
        // High levels have few nodes: what is read ahead of them would be read for nothing.
        let count = end.and_then(|end| usize::try_from(end.saturating_sub(first)).ok());
        let ahead = count.map_or(0, |count| count.saturating_mul(NODE_BYTES).min(READ_AHEAD));
        let end = match (end, level.checked_add(1)) {
            (Some(end), _) => Some(node_key(NodeId { level, index: end })),
            (None, Some(above)) => Some(node_key(NodeId { level: above, index: 0 })),
            (None, None) => None,
        };
        let first = node_key(NodeId { level, index: first });
        self.rows(NODE, &first, end.map(Vec::from), ahead, |key, value| {
            Ok((decode_index(key.get(1..).unwrap_or_default())?, Hash::from_slice(value).ok()))
        })
    }

    /// What duplicates are found by, as far as it starts with `part`.
    pub(in crate::server) fn identities(
        &self,
        part: u8,
    ) -> Scanned<impl Iterator<Item = Scanned<(Hash, u64)>>> {
        let end = part.checked_add(1).map(|end| vec![end]);
        self.rows(LEAF, &[part], end, READ_AHEAD, |key, value| Ok((decode_hash(key)?, decode_index(value)?)))
    }

    /// Hashes of search terms with the entries that they find, as far as they start with `part`.
    pub(in crate::server) fn terms(&self, part: u8) -> Scanned<impl Iterator<Item = Scanned<(Hash, u64)>>> {
        let end = part.checked_add(1).map(|end| vec![end]);
        self.rows(INDEX, &[part], end, READ_AHEAD, |key, _| {
            let (term, index) = key.split_at_checked(32).unwrap_or_default();
            Ok((decode_hash(term)?, decode_index(index)?))
        })
    }

    /// How many rows both indexes have together, about.
    pub(in crate::server) fn index_rows(&self) -> u64 {
        let rows = |name| {
            let family = self.family(name).ok()?;
            self.db.property_int_value_cf(family, rocksdb::properties::ESTIMATE_NUM_KEYS).ok()?
        };
        [LEAF, INDEX].into_iter().filter_map(rows).sum()
    }

    pub(in crate::server) fn entry(&self, index: u64) -> Scanned<Option<StoredEntry>> {
        self.get(ENTRY, &index.to_be_bytes())?.map(|bytes| decode_entry(bytes.into())).transpose()
    }

    pub(in crate::server) fn find(&self, identity: &Hash) -> Scanned<Option<u64>> {
        self.get(LEAF, identity.as_ref())?.map(|bytes| decode_index(&bytes)).transpose()
    }

    /// Which of these (hash of a term, index) pairs are in the index. Sorted pairs are read faster.
    pub(in crate::server) fn have_terms(&self, pairs: &[(Hash, u64)]) -> Scanned<Vec<bool>> {
        let key = |(term, index): &(Hash, u64)| [term.as_ref(), &index.to_be_bytes()].concat();
        let keys: Vec<_> = pairs.iter().map(key).collect();
        let found = self.db.batched_multi_get_cf(self.family(INDEX)?, &keys, false);
        found
            .into_iter()
            .map(|row| row.map(|row| row.is_some()).map_err(|error| unread("reading", &error)))
            .collect()
    }

    fn get(&self, family: &'static str, key: &[u8]) -> Scanned<Option<Vec<u8>>> {
        self.db.get_cf(self.family(family)?, key).map_err(|error| unread("reading", &error))
    }

    fn family(&self, name: &'static str) -> Scanned<&rocksdb::ColumnFamily> {
        self.db
            .cf_handle(name)
            .ok_or_else(|| StoreError::Damaged(format!("column family `{name}` is missing")))
    }

    /// The rows of a family from `first` on up to `end`, as `decode` reads key and value.
    fn rows<T, F: Fn(&[u8], &[u8]) -> Scanned<T>>(
        &self,
        family: &'static str,
        first: &[u8],
        end: Option<Vec<u8>>,
        ahead: usize,
        decode: F,
    ) -> Scanned<Rows<'_, F>> {
        let mut options = ReadOptions::default();
        options.set_verify_checksums(true);
        options.fill_cache(false);
        options.set_readahead_size(ahead);
        if let Some(end) = end {
            options.set_iterate_upper_bound(end);
        }
        let mut iterator = self.db.raw_iterator_cf_opt(self.family(family)?, options);
        iterator.seek(first);
        Ok(Rows { iterator, decode, ended: false })
    }
}

/// Rows that are read where they stand: a log has several for each entry, too many to copy each.
struct Rows<'s, F> {
    iterator: DBRawIterator<'s>,
    decode: F,
    ended: bool,
}

impl<T, F: Fn(&[u8], &[u8]) -> Scanned<T>> Iterator for Rows<'_, F> {
    type Item = Scanned<T>;

    fn next(&mut self) -> Option<Scanned<T>> {
        if self.ended {
            return None;
        }
        if let Some((key, value)) = self.iterator.item() {
            let row = (self.decode)(key, value);
            self.iterator.next();
            return Some(row);
        }
        // The end, or what cannot be read; behind that there is nothing to go on with.
        self.ended = true;
        self.iterator.status().err().map(|error| Err(unread("reading", &error)))
    }
}

fn decode_hash(bytes: &[u8]) -> Scanned<Hash> {
    Hash::from_slice(bytes).map_err(|_| StoreError::Damaged("a key cannot be read".to_owned()))
}

/// A shared lock where RocksDB takes an exclusive one. A copy that no server ever opened has no such file, and no
/// server to fear.
fn lock(path: &Path) -> Result<Option<File>, StoreError> {
    let file = match File::open(path.join("LOCK")) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("opening its lock", error)),
    };
    match fcntl_lock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::ACCESS) => {
            Err(StoreError::InUse(path.display().to_string()))
        }
        Err(error) => Err(failed("locking", error)),
    }
}
