use std::fs;
use std::future::poll_fn;
use std::pin::pin;

use super::*;
use crate::server::store::conformance::{Home as _, OnDisk, Step};

#[test]
fn two_openings_of_one_folder_are_refused() {
    let home = OnDisk::new();
    let _first = home.open();
    assert!(matches!(Rocks::open(home.path()), Err(StoreError::InUse(_))));
}

#[test]
fn a_store_that_is_not_there_is_not_made() {
    let home = OnDisk::new();
    let refused = Rocks::open(home.path()).map(|_| ()).unwrap_err();
    assert!(refused.to_string().contains("was this log created by `chancery-server init`?"), "{refused}");
    assert!(!home.path().exists());
}

#[test]
fn a_store_is_not_made_over_another_nor_among_files() {
    let home = OnDisk::new();
    drop(home.open());
    assert!(matches!(Rocks::create(home.path()), Err(StoreError::Exists(_))));
    let parent = home.path().parent().unwrap().to_owned();
    assert!(matches!(Rocks::create(parent), Err(StoreError::Exists(_))));
}

#[test]
fn the_disk_says_how_much_is_free() {
    assert!(OnDisk::new().open().free_bytes().unwrap().is_some_and(|free| free > 0));
}

#[tokio::test]
async fn a_settled_store_leaves_nothing_in_its_write_ahead_log() {
    let home = OnDisk::new();
    let in_log = || {
        let files = fs::read_dir(home.path()).unwrap().map(Result::unwrap);
        let logs = files.filter(|file| file.path().extension().is_some_and(|e| e == "log"));
        logs.map(|file| file.metadata().unwrap().len()).sum::<u64>()
    };
    let (heads, _) = three_commits(&home).await;
    assert!(in_log() > 0, "without settling they stay there");
    let store = home.open();
    store.settle().await.unwrap();
    assert_eq!(store.open().await.unwrap().as_ref(), heads.last());
    let step = Step::new(3, 1);
    step.commit(&store, heads.last()).await.unwrap();
    assert!(in_log() > 0, "and it can be gone on with");
    store.settle().await.unwrap();
    drop(store);
    assert_eq!(in_log(), 0);
    let again = home.open();
    assert_eq!(again.open().await.unwrap().as_ref(), Some(&step.head));
    assert_eq!(again.entries(0..9).await.unwrap().len(), 4);
}

#[tokio::test]
async fn making_the_rows_of_many_terms_pauses_for_other_work() {
    let (home, mut step) = (OnDisk::new(), Step::new(0, 64));
    for entry in &mut step.entries {
        entry.terms = (0..1024).map(|number| format!("term {number}")).collect();
    }
    let store = home.open();
    let (mut batch, mut polls) = (pin!(store.0.batch(step.rows())), 0);
    let batch = poll_fn(|context| {
        polls += 1;
        batch.as_mut().poll(context)
    });
    let made = batch.await.unwrap();
    assert_eq!(made.len(), 64 * (1024 + 3) + 2);
    assert!(polls > 20, "{polls} turns of the thread");
}

/// Three commits in the write-ahead log, and the file that has them.
async fn three_commits(home: &OnDisk) -> (Vec<Head>, PathBuf) {
    let mut heads = Vec::new();
    {
        let store = home.open();
        for first in 0..3 {
            let step = Step::new(first, 1);
            step.commit(&store, heads.last()).await.unwrap();
            heads.push(step.head);
        }
    }
    let logs = fs::read_dir(home.path()).unwrap().map(|file| file.unwrap().path());
    let written = logs.filter(|file| file.extension().is_some_and(|e| e == "log"));
    (heads, written.max_by_key(|file| fs::metadata(file).unwrap().len()).unwrap())
}

#[tokio::test]
async fn a_torn_last_record_is_a_commit_that_did_not_happen() {
    let home = OnDisk::new();
    let (heads, wal) = three_commits(&home).await;
    let bytes = fs::read(&wal).unwrap();
    fs::write(&wal, &bytes[..bytes.len() - 5]).unwrap();
    assert_eq!(home.open().open().await.unwrap().as_ref(), Some(&heads[1]));
}

#[tokio::test]
async fn damage_before_the_last_record_stops_the_start() {
    let home = OnDisk::new();
    let (_, wal) = three_commits(&home).await;
    let mut bytes = fs::read(&wal).unwrap();
    // Dropping the second commit and what follows would be a rollback.
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&wal, &bytes).unwrap();
    assert!(matches!(Rocks::open(home.path()), Err(StoreError::Damaged(_))));
}

#[test]
fn errors_that_may_follow_a_write_are_unknown() {
    for kind in [
        ErrorKind::IOError,
        ErrorKind::Corruption,
        ErrorKind::TimedOut,
        ErrorKind::Aborted,
        ErrorKind::Unknown,
    ] {
        assert!(matches!(outcome(kind, failed("committing", "")), CommitError::Unknown(_)));
    }
    for kind in [ErrorKind::InvalidArgument, ErrorKind::Busy] {
        assert!(matches!(outcome(kind, failed("committing", "")), CommitError::NotApplied(_)));
    }
}
