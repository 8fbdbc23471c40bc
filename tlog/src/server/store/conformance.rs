//! What every store must do: one suite, run over all of them.

use super::*;

/// Where a store lives, so that a test can close and reopen it.
pub(in crate::server) trait Home {
    type Store: Store + 'static;
    fn new() -> Self;
    /// The store here, made if it is not there. The one opened before must be dropped.
    fn open(&self) -> Self::Store;
}

pub(in crate::server) struct InMemory(Memory);

impl Home for InMemory {
    type Store = Memory;
    fn new() -> Self {
        Self(Memory::new())
    }
    fn open(&self) -> Memory {
        self.0.clone()
    }
}

pub(in crate::server) struct OnDisk(tempfile::TempDir);

impl OnDisk {
    pub(in crate::server) fn path(&self) -> std::path::PathBuf {
        self.0.path().join("log")
    }
}

impl Home for OnDisk {
    type Store = Rocks;
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
    fn open(&self) -> Rocks {
        if self.path().exists() {
            Rocks::open(self.path()).unwrap()
        } else {
            Rocks::create(self.path()).unwrap()
        }
    }
}

/// Around a store that is told of no faults, nothing may change.
pub(in crate::server) struct Unharmed<H>(H);

impl<H: Home> Home for Unharmed<H> {
    type Store = Faulty<H::Store>;
    fn new() -> Self {
        Self(H::new())
    }
    fn open(&self) -> Self::Store {
        Faulty::new(self.0.open())
    }
}

/// One commit, with made-up hashes: a store does not look into them.
pub(in crate::server) struct Step {
    first: u64,
    pub(in crate::server) entries: Vec<NewEntry>,
    nodes: Vec<(NodeId, Hash)>,
    pub(in crate::server) head: Head,
}

impl Step {
    pub(in crate::server) fn new(first: u64, count: u64) -> Self {
        let size = first + count;
        let node = |index| (NodeId { level: 0, index }, Hash::digest(&index.to_be_bytes()));
        Self {
            first,
            entries: (first..size).map(entry).collect(),
            nodes: (first..size)
                .map(node)
                .chain([(NodeId { level: 9, index: size }, hash("upper"))])
                .collect(),
            head: Head {
                size,
                root: hash("root"),
                time: Timestamp::from_millis(size),
                checkpoint: format!("checkpoint {size}\n"),
            },
        }
    }

    pub(in crate::server) async fn commit(
        &self,
        store: &impl Store,
        parent: Option<&Head>,
    ) -> Result<(), CommitError> {
        store.commit(parent, self.rows()).await
    }

    pub(in crate::server) fn rows(&self) -> Commit<'_> {
        Commit::new(self.first, &self.entries, &self.nodes, &self.head)
    }
}

fn hash(text: &str) -> Hash {
    Hash::digest(text.as_bytes())
}

fn identity(index: u64) -> Hash {
    hash(&format!("identity {index}"))
}

fn entry(index: u64) -> NewEntry {
    let leaf = Bytes::from(format!("leaf {index}"));
    // Both spellings of an identity: the leaf's hash, and any other.
    let leaf_hash = crate::merkle::leaf_hash(&leaf);
    let identity = if index.is_multiple_of(3) { leaf_hash } else { identity(index) };
    NewEntry {
        leaf_hash,
        entry: StoredEntry {
            leaf,
            time: Timestamp::from_millis(1000 + index),
            extra: Bytes::from(vec![0xEE; usize::try_from(index % 4).unwrap()]),
            identity,
        },
        terms: vec!["all".to_owned(), format!("odd {}", index % 2)],
    }
}

async fn assert_holds(store: &impl Store, first: u64, size: u64) {
    let wanted: Vec<_> = (first..size).map(|index| entry(index).entry).collect();
    assert_eq!(store.entries(first..size).await.unwrap(), wanted);
    for (index, wanted) in (first..).zip(&wanted) {
        assert_eq!(store.entries(index..index + 1).await.unwrap(), std::slice::from_ref(wanted));
        assert_eq!(store.find(&wanted.identity).await.unwrap(), Some(index));
    }
    let ids: Vec<_> = (first..size).rev().map(|index| NodeId { level: 0, index }).collect();
    let hashes: Vec<_> = ids.iter().map(|id| Hash::digest(&id.index.to_be_bytes())).collect();
    assert_eq!(store.nodes(&ids).await.unwrap(), hashes, "in the order asked for");
    let (ids, hashes): (Vec<_>, Vec<_>) = ids.into_iter().zip(hashes).rev().unzip();
    assert_eq!(store.nodes(&ids).await.unwrap(), hashes, "neighbours");
    let leaves: Vec<_> = wanted.iter().map(|entry| entry.leaf.clone()).collect();
    assert_eq!(store.leaves(first..size).await.unwrap(), leaves);
    let mut identities: Vec<_> = wanted.iter().map(|entry| entry.identity).collect();
    identities.push(hash("nobody's"));
    let found = store.find_all(&identities).await.unwrap();
    assert_eq!(found, (first..size).map(Some).chain([None]).collect::<Vec<_>>());
}

pub(in crate::server) async fn a_new_store_is_empty<H: Home>() {
    let store = H::new().open();
    assert_eq!(store.open().await.unwrap(), None);
    assert_eq!(store.entries(0..10).await.unwrap(), []);
    assert_eq!(store.find(&identity(0)).await.unwrap(), None);
    assert_eq!(store.search("all", 10).await.unwrap(), [0; 0]);
    assert_eq!(store.nodes(&[]).await.unwrap(), []);
}

pub(in crate::server) async fn a_commit_is_there_as_a_whole_also_after_reopening<H: Home>() {
    let home = H::new();
    let (first, second) = (Step::new(0, 1), Step::new(1, 40));
    {
        let store = home.open();
        first.commit(&store, None).await.unwrap();
        assert_eq!(store.open().await.unwrap().as_ref(), Some(&first.head));
        second.commit(&store, Some(&first.head)).await.unwrap();
        assert_holds(&store, 0, 41).await;
    }
    let store = home.open();
    assert_eq!(store.open().await.unwrap().as_ref(), Some(&second.head));
    assert_holds(&store, 0, 41).await;
    let third = Step::new(41, 2);
    third.commit(&store, Some(&second.head)).await.unwrap();
    assert_holds(&store, 0, 43).await;
}

pub(in crate::server) async fn an_empty_log_can_be_created<H: Home>() {
    let store = H::new().open();
    let birth = Step::new(0, 0);
    birth.commit(&store, None).await.unwrap();
    assert_eq!(store.open().await.unwrap().as_ref(), Some(&birth.head));
}

pub(in crate::server) async fn a_commit_on_another_parent_changes_nothing<H: Home>() {
    let store = H::new().open();
    let (first, second) = (Step::new(0, 3), Step::new(3, 2));
    first.commit(&store, None).await.unwrap();
    let superseded = CommitError::Superseded(Some(Box::new(first.head.clone())));
    let mut others = vec![None, Some(second.head.clone())];
    // Equal in all but one field is another head.
    others.push(Some(Head { size: 4, ..first.head.clone() }));
    others.push(Some(Head { root: hash("other root"), ..first.head.clone() }));
    others.push(Some(Head { checkpoint: "other\n".to_owned(), ..first.head.clone() }));
    for parent in others {
        assert_eq!(second.commit(&store, parent.as_ref()).await, Err(superseded.clone()));
        assert_eq!(store.open().await.unwrap().as_ref(), Some(&first.head));
        assert_eq!(store.entries(3..9).await.unwrap(), []);
        assert_eq!(store.find(&entry(3).entry.identity).await.unwrap(), None);
        assert_eq!(store.search("all", 10).await.unwrap(), [0, 1, 2]);
    }
}

pub(in crate::server) async fn a_parent_in_an_empty_store_is_superseded<H: Home>() {
    let store = H::new().open();
    let step = Step::new(0, 1);
    assert_eq!(step.commit(&store, Some(&step.head)).await, Err(CommitError::Superseded(None)));
    assert_eq!(store.open().await.unwrap(), None);
}

pub(in crate::server) async fn of_racing_commits_one_wins<H: Home>() {
    let store = H::new().open();
    let first = Step::new(0, 1);
    first.commit(&store, None).await.unwrap();
    let racers: Vec<_> = (1..9).map(|count| Step::new(1, count)).collect();
    let parent = &first.head;
    let outcomes =
        futures::future::join_all(racers.iter().map(|racer| racer.commit(&store, Some(parent)))).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    let winner = racers.iter().zip(&outcomes).find(|(_, outcome)| outcome.is_ok()).unwrap().0;
    assert_eq!(store.open().await.unwrap().as_ref(), Some(&winner.head));
    assert_holds(&store, 0, winner.head.size).await;
    assert_eq!(store.entries(winner.head.size..100).await.unwrap(), []);
}

pub(in crate::server) async fn entries_end_where_they_end<H: Home>() {
    let store = H::new().open();
    Step::new(0, 5).commit(&store, None).await.unwrap();
    assert_eq!(store.entries(3..900).await.unwrap().len(), 2);
    assert_eq!(store.entries(5..6).await.unwrap(), []);
    assert_eq!(store.entries(7..u64::MAX).await.unwrap(), []);
    assert_eq!(store.entries(2..2).await.unwrap(), []);
    assert_eq!(store.leaves(3..900).await.unwrap().len(), 2);
}

pub(in crate::server) async fn a_node_that_is_not_there_is_damage<H: Home>() {
    let store = H::new().open();
    Step::new(0, 2).commit(&store, None).await.unwrap();
    let ids = [NodeId { level: 0, index: 1 }, NodeId { level: 0, index: 2 }];
    assert!(matches!(store.nodes(&ids).await, Err(StoreError::Damaged(_))));
    let upper = [NodeId { level: 9, index: 2 }];
    assert_eq!(store.nodes(&upper).await.unwrap(), [hash("upper")]);
    // A long run of neighbours that breaks off, before what another level stores.
    let run: Vec<_> = (0..40).map(|index| NodeId { level: 0, index }).collect();
    let Err(StoreError::Damaged(what)) = store.nodes(&run).await else { panic!("nodes that are not there") };
    assert!(what.contains("node 2 of level 0"), "{what}");
}

pub(in crate::server) async fn a_search_gives_the_newest_in_ascending_order<H: Home>() {
    let store = H::new().open();
    Step::new(0, 10).commit(&store, None).await.unwrap();
    assert_eq!(store.search("odd 1", 3).await.unwrap(), [5, 7, 9]);
    assert_eq!(store.search("odd 0", 99).await.unwrap(), [0, 2, 4, 6, 8]);
    assert_eq!(store.search("odd", 99).await.unwrap(), [0; 0], "a term is no prefix");
    assert_eq!(store.search("all", 0).await.unwrap(), [0; 0]);
}

macro_rules! suite {
    ($($name:ident: $home:ty;)+) => {$(
        mod $name {
            #[allow(clippy::wildcard_imports, reason = "each home names some")]
            use super::*;

            suite!(@tests $home:
                a_new_store_is_empty,
                a_commit_is_there_as_a_whole_also_after_reopening,
                an_empty_log_can_be_created,
                a_commit_on_another_parent_changes_nothing,
                a_parent_in_an_empty_store_is_superseded,
                of_racing_commits_one_wins,
                entries_end_where_they_end,
                a_node_that_is_not_there_is_damage,
                a_search_gives_the_newest_in_ascending_order,
            );
        }
    )+};
    (@tests $home:ty: $($test:ident,)+) => {$(
        #[tokio::test]
        async fn $test() {
            super::$test::<$home>().await;
        }
    )+};
}

suite! {
    memory: InMemory;
    rocks: OnDisk;
    faulty_memory: Unharmed<InMemory>;
    faulty_rocks: Unharmed<OnDisk>;
}
