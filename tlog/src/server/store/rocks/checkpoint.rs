//! A consistent copy of a store while it is written to.
//!
//! Invariant: the copy ends with the head that was durable when it was made, neither before nor beyond it.

use std::path::Path;
use std::sync::PoisonError;

use rocksdb::FlushOptions;
use rocksdb::checkpoint::Checkpoint;

use super::{ENTRY, INDEX, LEAF, META, NODE, Rocks, StoreError, failed};
use crate::server::store::Head;

/// Never flush while files are linked: it was done before, without the lock.
const NO_FLUSH: u64 = u64::MAX;

impl Rocks {
    /// Makes a copy of the store in the folder `into`, which must not exist: tables as hard links if it is on the
    /// store's file system, the rest as copies, none of it synced. Returns the head with which it ends. Commits wait
    /// while files are linked. Blocks the thread.
    pub fn checkpoint(&self, into: impl AsRef<Path>) -> Result<Option<Head>, StoreError> {
        let store = &*self.0;
        let families = [ENTRY, NODE, LEAF, INDEX, META];
        let families: Vec<_> =
            families.into_iter().map(|name| store.family(name)).collect::<Result<_, _>>()?;
        // So that little of the write-ahead log is left to be copied under the lock.
        store
            .db
            .flush_cfs_opt(&families, &FlushOptions::default())
            .map_err(|error| failed("flushing its tables", error))?;
        let maker = Checkpoint::new(&store.db).map_err(|error| failed("preparing a copy", error))?;
        // Under the lock of commits. A batch that is written but not yet synced would put a head into the copy that
        // a power cut can take back from the original, and two histories would have our signature.
        let head = store.head.lock().unwrap_or_else(PoisonError::into_inner);
        maker
            .create_checkpoint_with_log_size(into, NO_FLUSH)
            .map_err(|error| failed("copying itself", error))?;
        Ok(head.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;
    use crate::serve::block;
    use crate::server::store::Store as _;
    use crate::server::store::conformance::{Home as _, OnDisk, Step};

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_copy_made_under_writes_ends_with_the_head_that_it_names() {
        let (home, folder) = (OnDisk::new(), tempfile::tempdir().unwrap());
        let store = home.open();
        let writer = store.clone();
        let stop = tokio_util::sync::CancellationToken::new();
        let stopped = stop.clone();
        let writing = tokio::spawn(async move {
            let mut head: Option<Head> = None;
            while !stopped.is_cancelled() {
                let step = Step::new(head.as_ref().map_or(0, |head| head.size), 3);
                step.commit(&writer, head.as_ref()).await.unwrap();
                head = Some(step.head);
            }
        });
        let mut last = 0;
        for number in 0..8 {
            let (copying, into) = (store.clone(), folder.path().join(number.to_string()));
            let copied = into.clone();
            let made = block(move || copying.checkpoint(copied)).await.unwrap().unwrap();
            let copy = Rocks::open(&into).unwrap();
            assert_eq!(copy.open().await.unwrap(), made);
            let size = made.map_or(0, |head| head.size);
            assert!(size >= last, "copies do not go back");
            assert_eq!(copy.entries(0..u64::MAX).await.unwrap().len() as u64, size);
            last = size;
            // The copy is a store of its own: the writer goes on and is not in it.
            assert!(store.open().await.unwrap().map_or(0, |head| head.size) >= size);
        }
        stop.cancel();
        writing.await.unwrap();
    }

    #[tokio::test]
    async fn tables_are_linked_and_an_existing_folder_is_left_alone() {
        let (home, folder) = (OnDisk::new(), tempfile::tempdir().unwrap());
        let store = home.open();
        Step::new(0, 9).commit(&store, None).await.unwrap();
        let into = folder.path().join("copy");
        store.checkpoint(&into).unwrap();
        let tables = std::fs::read_dir(&into).unwrap().map(Result::unwrap);
        let mut tables =
            tables.filter(|file| file.file_name().to_string_lossy().ends_with(".sst")).peekable();
        assert!(tables.peek().is_some(), "what was written is in tables");
        assert!(tables.all(|table| table.metadata().unwrap().nlink() == 2));
        assert!(matches!(store.checkpoint(folder.path()), Err(StoreError::Engine { .. })));
        assert!(into.join("CURRENT").exists());
    }
}
