//! [`Rocks`]: a log in one RocksDB folder.
//!
//! Invariant: a commit is one write batch with one synced write-ahead record, made under a lock after the head was
//! compared. Keys of entries and nodes ascend, so that their tables never overlap and compaction only moves them.
//!
//! KNOWN LIMIT: if an fsync fails, the kernel may drop the dirty pages yet show them to the next process until they
//! are evicted. The commit is then reported as [`CommitError::Unknown`] and the process ends; a start on the same
//! machine can still read a record that a later power loss removes.

mod checkpoint;
pub(in crate::server) mod keys;
mod nodes;
pub(in crate::server) mod scan;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use rocksdb::perf::{PerfContext, PerfMetric, PerfStatsLevel, set_perf_stats};
use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB,
    DBCompressionType, DBRecoveryMode, Direction, ErrorKind, FlushOptions, IteratorMode, LogLevel, Options,
    ReadOptions, WriteBatch, WriteOptions,
};

use self::keys::{
    decode_entry, decode_head, decode_index, decode_leaf, encode_entry, encode_head, node_key, term_key,
};
use super::{Commit, CommitError, Head, NewEntry, Store, StoreError, StoredEntry};
use crate::merkle::{Hash, NodeId};
use crate::serve::block;

/// Column families: entries by index, nodes by level and index, indexes by identity, (term, index), the head.
const ENTRY: &str = "entry";
const NODE: &str = "node";
const LEAF: &str = "leaf";
const INDEX: &str = "index";
const META: &str = "meta";

const HEAD_KEY: &[u8] = b"head";

/// Reads of more keys than this leave the async thread: a point read that hits memory takes a microsecond or two.
const INLINE_READS: usize = 8;
/// Rows of a commit that are made before other work of the thread has its turn: about a millisecond.
const ROWS_AT_ONCE: usize = 2048;

/// A log in one RocksDB folder, which one process at a time may open. Clones share it.
#[derive(Clone)]
pub struct Rocks(Arc<Inner>);

struct Inner {
    db: DB,
    path: PathBuf,
    /// The stored head, as last read or written. Held while a commit is under way: it is the lock.
    head: Mutex<Option<Head>>,
    /// Of the last commit: nanoseconds in the write-ahead log. 0 before the first.
    sync_nanos: AtomicU64,
}

impl Rocks {
    /// Makes a new, empty store at `path`, which must not exist or be an empty folder.
    pub fn create(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = path.as_ref();
        let in_the_way = path.read_dir().map_or_else(|_| path.exists(), |mut folder| folder.next().is_some());
        if in_the_way {
            return Err(StoreError::Exists(path.display().to_string()));
        }
        let store = Self::open_with(path, true)?;
        // RocksDB syncs its own folder; the folder's name in its parent is ours to make durable.
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            std::fs::File::open(parent)
                .and_then(|folder| folder.sync_all())
                .map_err(|e| failed("syncing", e))?;
        }
        Ok(store)
    }

    /// Opens the store at `path`, which must be there.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = path.as_ref();
        if !path.join("CURRENT").exists() {
            return Err(StoreError::Missing(path.display().to_string()));
        }
        Self::open_with(path, false)
    }

    fn open_with(path: &Path, create: bool) -> Result<Self, StoreError> {
        let db = DB::open_cf_descriptors(&database_options(create), path, families())
            .map_err(|e| opening_error(path, &e))?;
        let inner =
            Inner { db, path: path.to_owned(), head: Mutex::new(None), sync_nanos: AtomicU64::new(0) };
        let head = inner.get(META, HEAD_KEY)?.map(|bytes| decode_head(&bytes)).transpose()?;
        *inner.head.lock().unwrap_or_else(PoisonError::into_inner) = head;
        Ok(Self(Arc::new(inner)))
    }

    /// Runs `read` here if it is `small`, else on a thread that may block.
    async fn read<T: Send + 'static>(
        &self,
        small: bool,
        read: impl FnOnce(&Inner) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        if small {
            return read(&self.0);
        }
        let inner = Arc::clone(&self.0);
        block(move || read(&inner)).await.map_err(|e| failed("reading", e))?
    }
}

fn database_options(create: bool) -> Options {
    let mut options = Options::default();
    options.create_if_missing(create);
    options.create_missing_column_families(create);
    options.set_error_if_exists(create);
    options.set_paranoid_checks(true);
    // A torn record at the very end is a commit that nobody was told of. Damage anywhere before it must stop the
    // start: the default would silently drop everything behind it, which is a rollback, which is a fork.
    options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    // Memory: at most this much unflushed, whatever the column families add up to.
    options.set_db_write_buffer_size(128 << 20);
    options.set_max_total_wal_size(256 << 20);
    options.set_max_background_jobs(2);
    options.set_max_open_files(512);
    options.set_log_level(LogLevel::Warn);
    options.set_keep_log_file_num(4);
    options.set_max_log_file_size(8 << 20);
    options
}

fn families() -> Vec<ColumnFamilyDescriptor> {
    let cache = Cache::new_lru_cache(64 << 20);
    let family = |name: &str, compression, filtered: bool| {
        let mut blocks = BlockBasedOptions::default();
        blocks.set_block_cache(&cache);
        blocks.set_cache_index_and_filter_blocks(true);
        let mut options = Options::default();
        if filtered {
            answer_misses_from_filters(&mut blocks, &mut options);
        }
        options.set_block_based_table_factory(&blocks);
        options.set_compression_type(compression);
        options.set_write_buffer_size(32 << 20);
        options.set_max_write_buffer_number(3);
        ColumnFamilyDescriptor::new(name, options)
    };
    vec![
        // `default` always exists; it stays empty.
        family("default", DBCompressionType::None, false),
        family(ENTRY, DBCompressionType::Lz4, false),
        // Hashes do not compress.
        family(NODE, DBCompressionType::None, false),
        family(LEAF, DBCompressionType::None, true),
        family(INDEX, DBCompressionType::None, false),
        family(META, DBCompressionType::None, false),
    ]
}

/// Every add looks for an identity that is not there, by a key that is nowhere near the last one.
fn answer_misses_from_filters(blocks: &mut BlockBasedOptions, options: &mut Options) {
    // One key in a hundred that is not in a table is looked for in it.
    blocks.set_bloom_filter(10.0, false);
    // A table's whole filter is 1.7 MB, and at 10^8 entries they add up to twice the cache: each miss would read one
    // of them from the disk to test seven bits. In partitions it is 4 KiB, found by an index that stays in memory.
    blocks.set_partition_filters(true);
    blocks.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
    blocks.set_metadata_block_size(4 << 10);
    blocks.set_pin_top_level_index_and_filter(true);
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
    // And in memory: 15 bits for each key of a full memtable, in place of a walk through 20 nodes of its skip list that
    // are in no cache of the processor.
    options.set_memtable_whole_key_filtering(true);
    options.set_memtable_prefix_bloom_ratio(0.02);
}

impl Inner {
    fn family(&self, name: &'static str) -> Result<&ColumnFamily, StoreError> {
        self.db
            .cf_handle(name)
            .ok_or_else(|| StoreError::Damaged(format!("column family `{name}` is missing")))
    }

    fn get(&self, family: &'static str, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.db.get_cf(self.family(family)?, key).map_err(|e| unread("reading", &e))
    }

    fn get_all<K: AsRef<[u8]>>(
        &self,
        name: &'static str,
        keys: &[K],
    ) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        let family = self.family(name)?;
        self.db
            .batched_multi_get_cf(family, keys, false)
            .into_iter()
            .map(|value| {
                value.map(|found| found.map(|bytes| bytes.to_vec())).map_err(|e| unread("reading", &e))
            })
            .collect()
    }

    /// The rows of a commit. Other work goes on in between: a thousand entries may have a million terms.
    async fn batch(&self, commit: Commit<'_>) -> Result<WriteBatch, StoreError> {
        let mut batch = WriteBatch::default();
        let mut rows = 0;
        for (at, new) in (commit.first()..).zip(commit.entries()) {
            self.put_entry(&mut batch, at, new)?;
            rows += new.terms.len();
            if rows > ROWS_AT_ONCE {
                rows = 0;
                tokio::task::yield_now().await;
            }
        }
        let node = self.family(NODE)?;
        for (id, hash) in commit.nodes() {
            batch.put_cf(node, node_key(*id), hash);
        }
        batch.put_cf(self.family(META)?, HEAD_KEY, encode_head(commit.head()));
        Ok(batch)
    }

    fn put_entry(&self, batch: &mut WriteBatch, at: u64, new: &NewEntry) -> Result<(), StoreError> {
        let (key, index) = (at.to_be_bytes(), self.family(INDEX)?);
        batch.put_cf(self.family(ENTRY)?, key, encode_entry(new)?);
        batch.put_cf(self.family(LEAF)?, new.entry.identity, key);
        for term in &new.terms {
            batch.put_cf(index, term_key(term, at), []);
        }
        Ok(())
    }

    fn write(&self, parent: Option<&Head>, head: Head, batch: WriteBatch) -> Result<(), CommitError> {
        let mut stored = self.head.lock().unwrap_or_else(PoisonError::into_inner);
        if stored.as_ref() != parent {
            return Err(CommitError::Superseded(stored.clone().map(Box::new)));
        }
        let mut synced = WriteOptions::default();
        synced.set_sync(true);
        let (written, took) = measured(|| self.db.write_opt(batch, &synced));
        self.sync_nanos.store(took, Ordering::Relaxed);
        written.map_err(|e| outcome(e.kind(), failed("committing", e)))?;
        *stored = Some(head);
        Ok(())
    }

    /// The entries of `range` as far as they exist, each as `decode` reads it.
    fn entries<T>(
        &self,
        range: Range<u64>,
        decode: impl Fn(Bytes) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(range.end.to_be_bytes().to_vec());
        let start = range.start.to_be_bytes();
        let from = IteratorMode::From(&start, Direction::Forward);
        let mut entries = Vec::new();
        for (item, expected) in self.db.iterator_cf_opt(self.family(ENTRY)?, options, from).zip(range) {
            let (key, value) = item.map_err(|e| unread("reading entries", &e))?;
            if decode_index(&key)? != expected {
                return Err(StoreError::Damaged(format!("entry {expected} is missing")));
            }
            entries.push(decode(value.into())?);
        }
        Ok(entries)
    }

    /// Moves what only the write-ahead log holds into tables. A start that finds up to 128 MiB of small rows in it takes
    /// two seconds of processor time to read them.
    fn flush(&self) -> Result<(), StoreError> {
        let families = [ENTRY, NODE, LEAF, INDEX, META]
            .into_iter()
            .map(|name| self.family(name))
            .collect::<Result<Vec<_>, _>>()?;
        let families: Vec<_> = families.iter().collect();
        let mut waiting = FlushOptions::default();
        waiting.set_wait(true);
        self.db.flush_cfs_opt(&families, &waiting).map_err(|e| failed("flushing", e))
    }

    fn search(&self, term: &str, limit: usize) -> Result<Vec<u64>, StoreError> {
        let (first, last) = (term_key(term, 0), term_key(term, u64::MAX));
        let mut options = ReadOptions::default();
        options.set_iterate_lower_bound(first);
        let newest_first = IteratorMode::From(&last, Direction::Reverse);
        let mut found = Vec::new();
        for item in self.db.iterator_cf_opt(self.family(INDEX)?, options, newest_first).take(limit) {
            let (key, _) = item.map_err(|e| unread("searching", &e))?;
            found.push(decode_index(key.get(32..).unwrap_or_default())?);
        }
        found.reverse();
        Ok(found)
    }
}

#[async_trait]
impl Store for Rocks {
    async fn open(&self) -> Result<Option<Head>, StoreError> {
        // Read again rather than taken from memory, so that start-up checks see the disk.
        self.0.get(META, HEAD_KEY)?.map(|bytes| decode_head(&bytes)).transpose()
    }

    async fn commit(&self, parent: Option<&Head>, commit: Commit<'_>) -> Result<(), CommitError> {
        // Building the batch touches memory only, so its failure is certain to have changed nothing.
        let batch = self.0.batch(commit).await.map_err(CommitError::NotApplied)?;
        let (parent, head, inner) = (parent.cloned(), commit.head().clone(), Arc::clone(&self.0));
        block(move || inner.write(parent.as_ref(), head, batch))
            .await
            // The thread panicked or the runtime went away, at a point that we cannot know.
            .map_err(|e| CommitError::Unknown(failed("committing", e)))?
    }

    async fn entries(&self, range: Range<u64>) -> Result<Vec<StoredEntry>, StoreError> {
        if range.end.saturating_sub(range.start) == 1 {
            let found = self.0.get(ENTRY, &range.start.to_be_bytes())?;
            return found.map(|bytes| decode_entry(bytes.into())).into_iter().collect();
        }
        self.read(false, move |inner| inner.entries(range, decode_entry)).await
    }

    async fn leaves(&self, range: Range<u64>) -> Result<Vec<Bytes>, StoreError> {
        self.read(false, move |inner| inner.entries(range, decode_leaf)).await
    }

    async fn nodes(&self, ids: &[NodeId]) -> Result<Vec<Hash>, StoreError> {
        let ids = ids.to_vec();
        // A proof is a few dozen nodes near each other or in the cache; a tile is 256.
        self.read(ids.len() <= 4 * INLINE_READS, move |inner| inner.nodes(&ids)).await
    }

    async fn find(&self, identity: &Hash) -> Result<Option<u64>, StoreError> {
        self.0.get(LEAF, identity.as_ref())?.map(|bytes| decode_index(&bytes)).transpose()
    }

    async fn find_all(&self, identities: &[Hash]) -> Result<Vec<Option<u64>>, StoreError> {
        let keys = identities.to_vec();
        // Those of new entries are answered by filters, a microsecond each.
        self.read(keys.len() <= 4 * INLINE_READS, move |inner| {
            let found = inner.get_all(LEAF, &keys)?;
            found.into_iter().map(|bytes| bytes.map(|bytes| decode_index(&bytes)).transpose()).collect()
        })
        .await
    }

    async fn search(&self, term: &str, limit: usize) -> Result<Vec<u64>, StoreError> {
        let term = term.to_owned();
        self.read(false, move |inner| inner.search(&term, limit)).await
    }

    async fn settle(&self) -> Result<(), StoreError> {
        self.read(false, Inner::flush).await
    }

    fn last_sync(&self) -> Option<Duration> {
        let nanos = self.0.sync_nanos.load(Ordering::Relaxed);
        (nanos > 0).then(|| Duration::from_nanos(nanos))
    }

    fn size_bytes(&self) -> Result<Option<u64>, StoreError> {
        let files = self.0.path.read_dir().map_err(|e| failed("listing its files", e))?;
        // A file that compaction deletes under our eyes counts nothing.
        let sizes = files.filter_map(|file| Some(file.ok()?.metadata().ok()?.len()));
        Ok(Some(sizes.sum()))
    }

    fn free_bytes(&self) -> Result<Option<u64>, StoreError> {
        let disk = rustix::fs::statvfs(&self.0.path).map_err(|e| failed("asking for free disk space", e))?;
        Ok(Some(disk.f_bavail.saturating_mul(disk.f_frsize)))
    }
}

/// Runs a write, and the nanoseconds that it spent appending to the write-ahead log and syncing it. RocksDB counts them
/// for one thread, and only between these two calls.
fn measured<T>(write: impl FnOnce() -> T) -> (T, u64) {
    // The engine has put a level in between that the binding does not know: this number is its "time, but not of mutexes".
    set_perf_stats(PerfStatsLevel::EnableTimeAndCPUTimeExceptForMutex);
    let mut counted = PerfContext::default();
    counted.reset();
    let result = write();
    let nanos = counted.metric(PerfMetric::WriteWalTime);
    set_perf_stats(PerfStatsLevel::Disable);
    (result, nanos)
}

fn failed(doing: &'static str, reason: impl ToString) -> StoreError {
    StoreError::Engine { doing, reason: reason.to_string() }
}

/// Why something was not read. A block whose checksum is wrong is damage, which no second attempt mends.
fn unread(doing: &'static str, error: &rocksdb::Error) -> StoreError {
    match error.kind() {
        ErrorKind::Corruption => StoreError::Damaged(error.to_string()),
        _ => failed(doing, error),
    }
}

/// What a failed write means for the log.
fn outcome(kind: ErrorKind, cause: StoreError) -> CommitError {
    match kind {
        // Raised while RocksDB admits a write, before it touches the write-ahead log: the batch is refused
        // (InvalidArgument, NotSupported), the writer would have to wait (Incomplete, Busy, TryAgain), or the
        // database closes (ShutdownInProgress).
        ErrorKind::InvalidArgument
        | ErrorKind::NotSupported
        | ErrorKind::Incomplete
        | ErrorKind::Busy
        | ErrorKind::TryAgain
        | ErrorKind::ShutdownInProgress => CommitError::NotApplied(cause),
        // Everything else, IOError and a full disk above all, can come from the append or from the fsync after it,
        // when the record may be on the disk already. Guessing wrong here forks the log.
        _ => CommitError::Unknown(cause),
    }
}

fn opening_error(path: &Path, error: &rocksdb::Error) -> StoreError {
    let at = path.display().to_string();
    let text = error.to_string();
    // RocksDB has no error kind of its own for these two.
    if text.contains("lock hold by current process") || text.contains("/LOCK: ") {
        return StoreError::InUse(at);
    }
    match error.kind() {
        ErrorKind::Corruption => StoreError::Damaged(format!("{at}: {text}")),
        _ => StoreError::Engine { doing: "opening the database", reason: format!("{at}: {text}") },
    }
}

#[cfg(test)]
impl Rocks {
    /// Changes a row past the engine, for tests of those who must notice: `change` gets the value, and gives the new
    /// one or `None` to delete it.
    pub(in crate::server) fn tamper(
        &self,
        family: &'static str,
        key: &[u8],
        change: impl FnOnce(Option<Vec<u8>>) -> Option<Vec<u8>>,
    ) {
        let handle = self.0.family(family).unwrap();
        match change(self.0.get(family, key).unwrap()) {
            Some(value) => self.0.db.put_cf(handle, key, value).unwrap(),
            None => self.0.db.delete_cf(handle, key).unwrap(),
        }
    }
}

#[cfg(test)]
mod tests;
