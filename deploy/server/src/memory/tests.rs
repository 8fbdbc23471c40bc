use std::fs;

use bytes::Bytes;
use chancery_tlog::clock::{Clock, SystemClock};
use chancery_tlog::key::{KeyKind, Signer, SoftwareSigner};
use chancery_tlog::note::KeyName;
use chancery_tlog::server::log::{LogSettings, Sequencer, Submission};
use chancery_tlog::server::store::Rocks;

use super::*;
use crate::config::LogConfig;
use crate::init::SAMPLE;

/// Stores of one log, and memories.
struct World {
    dir: tempfile::TempDir,
    signer: Arc<dyn Signer>,
    config: LogConfig,
}

impl World {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = Config::parse(dir.path(), SAMPLE).unwrap().logs.remove(0);
        let signer: Arc<dyn Signer> = Arc::new(SoftwareSigner::generate(KeyKind::Ed25519).unwrap());
        let world = Self { dir, signer, config };
        let store = Rocks::create(world.path("a")).unwrap();
        Log::create(&world.settings(), &store, world.signer.clone(), &SystemClock, None).await.unwrap();
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn settings(&self) -> LogSettings {
        let mut settings = LogSettings::new(self.config.origin.clone());
        settings.min_free_bytes = 0;
        settings
    }

    async fn open(&self, store: &str) -> (OpenLog, Sequencer) {
        let store = Rocks::open(self.path(store)).unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let opened = Log::open(self.settings(), Arc::new(store.clone()), self.signer.clone(), clock);
        let (log, sequencer) = opened.await.unwrap();
        let name = KeyName::new(self.config.origin.as_str()).unwrap();
        let key = NoteKey::new(name, self.signer.public_key().clone()).unwrap();
        (OpenLog { config: self.config.clone(), key, log, store }, sequencer)
    }

    /// Adds entries while `keeper` remembers, if one is given, and closes the log.
    async fn add(&self, store: &str, entries: &[&str], memories: &[Memory]) {
        let (open, sequencer) = self.open(store).await;
        let keeper = ask(self.dir.path(), memories.to_vec(), std::slice::from_ref(&open)).await.unwrap();
        let (writing, remembering) = (CancellationToken::new(), CancellationToken::new());
        let sequencing = tokio::spawn(sequencer.run(writing.clone()));
        let keeping = tokio::spawn(keeper.run(remembering.clone()));
        for entry in entries {
            let leaf = Bytes::copy_from_slice(entry.as_bytes());
            let identity = Hash::digest(&leaf);
            open.log
                .add(Submission { identity, leaf: leaf.into(), extra: Bytes::new(), terms: Vec::new() })
                .await
                .unwrap();
        }
        writing.cancel();
        sequencing.await.unwrap().unwrap();
        remembering.cancel();
        keeping.await.unwrap();
    }

    async fn asked(&self, store: &str, memories: &[Memory]) -> anyhow::Result<()> {
        let (open, _sequencer) = self.open(store).await;
        ask(self.dir.path(), memories.to_vec(), std::slice::from_ref(&open)).await.map(|_| ())
    }

    async fn refusal(&self, store: &str, memories: &[Memory]) -> String {
        format!("{:#}", self.asked(store, memories).await.unwrap_err())
    }

    fn copy(&self, from: &str, to: &str) {
        fs::create_dir(self.path(to)).unwrap();
        for file in fs::read_dir(self.path(from)).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), self.path(to).join(file.file_name())).unwrap();
        }
    }

    fn second(&self) -> Memory {
        let memory = Memory { folder: self.path("elsewhere"), configured: true };
        fs::create_dir_all(&memory.folder).unwrap();
        fs::write(memory.folder.join(MARK), MARK_TEXT).unwrap();
        memory
    }

    fn own(&self) -> Memory {
        Memory { folder: self.path("run").join(OWN), configured: false }
    }
}

#[tokio::test]
async fn an_older_copy_is_refused_by_either_memory() {
    let world = World::new().await;
    for memory in [world.second(), world.own()] {
        let (old, now) = (format!("old-{}", memory.name()), format!("now-{}", memory.name()));
        world.copy("a", &now);
        let memories = [memory];
        world.add(&now, &["one"], &memories).await;
        world.copy(&now, &old);
        world.add(&now, &["two", "three"], &memories).await;
        let refused = world.refusal(&old, &memories).await;
        assert!(
            refused.contains("log `ct` has 1 entries") && refused.contains("checkpoint of 3"),
            "{refused}"
        );
        world.asked(&now, &memories).await.unwrap();
        assert!(world.refusal(&old, &memories).await.contains("old copy"), "and it stays refused");
        fs::remove_dir_all(&memories[0].folder).unwrap();
    }
}

#[tokio::test]
async fn another_history_is_refused_whether_it_is_longer_or_not() {
    let world = World::new().await;
    world.copy("a", "b");
    let memories = [world.second()];
    world.add("b", &["other", "history", "longer"], &[world.own()]).await;
    world.add("a", &["one", "two"], &memories).await;
    let refused = world.refusal("b", &memories).await;
    assert!(refused.contains("at 2 entries") && refused.contains("two histories"), "{refused}");
}

#[tokio::test]
async fn a_store_that_went_on_unseen_is_what_it_was() {
    let world = World::new().await;
    let memories = [world.second()];
    world.add("a", &["one"], &memories).await;
    world.add("a", &["two"], &[world.own()]).await;
    world.asked("a", &memories).await.unwrap();
    let (open, _sequencer) = world.open("a").await;
    let remembered = memories[0].recall("ct", &open.key).unwrap().unwrap();
    assert_eq!((remembered.size, remembered.root), (2, open.log.head().root), "the start wrote it");
}

#[tokio::test]
async fn a_configured_memory_that_is_not_there_stops_the_start() {
    let world = World::new().await;
    let memories = [world.second()];
    for gone in [memories[0].folder.join(MARK), memories[0].folder.clone()] {
        let _ = fs::remove_file(&gone);
        let _ = fs::remove_dir_all(&gone);
        let refused = world.refusal("a", &memories).await;
        assert!(refused.contains("mount its disk") && refused.contains("remember"), "{refused}");
        assert!(!gone.exists(), "nothing was made");
    }
}

#[tokio::test]
async fn what_is_no_checkpoint_of_this_log_stops_the_start() {
    let world = World::new().await;
    let memories = [world.second()];
    world.add("a", &["one"], &memories).await;
    let file = memories[0].folder.join("ct");
    let good = fs::read_to_string(&file).unwrap();
    let stranger = SoftwareSigner::generate(KeyKind::Ed25519).unwrap();
    let origin = world.config.origin.clone();
    let name = KeyName::new(origin.as_str()).unwrap();
    let forged = Checkpoint::new(origin, 9, Hash::digest(b"made up")).sign(&name, &stranger).unwrap();
    for note in [String::new(), good.replace("\n1\n", "\n9\n"), forged, "x".repeat(70_000)] {
        fs::write(&file, note).unwrap();
        let refused = world.refusal("a", &memories).await;
        assert!(refused.contains("holds no checkpoint of log `ct`"), "{refused}");
    }
    fs::write(&file, good).unwrap();
    world.asked("a", &memories).await.unwrap();
    // The server's own proves nothing by being damaged.
    world.add("a", &["two"], &[world.own()]).await;
    fs::write(world.own().folder.join("ct"), "damaged").unwrap();
    world.asked("a", &[world.own()]).await.unwrap();
}

#[tokio::test]
async fn a_memory_that_cannot_be_written_at_the_start_stops_it_unless_it_is_the_own() {
    let world = World::new().await;
    // So deep that only the name of a temporary file is longer than a path can be: not writable for anyone, root included.
    let mut folder = world.path("elsewhere");
    while folder.as_os_str().len() < 4080 {
        folder.push("x".repeat((4080 - folder.as_os_str().len() - 1).clamp(1, 200)));
    }
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(MARK), MARK_TEXT).unwrap();
    let memories = [Memory { folder, configured: true }];
    assert!(world.refusal("a", &memories).await.contains("cannot be written"));
    world.add("a", &["one"], &[world.own()]).await;
    fs::remove_dir_all(world.own().folder).unwrap();
    fs::write(world.own().folder, "a file where the folder goes").unwrap();
    world.asked("a", &[world.own()]).await.unwrap();
}

#[tokio::test]
async fn a_memory_that_fails_later_does_not_stop_the_log_and_recovers() {
    let world = World::new().await;
    let memory = world.second();
    let (open, sequencer) = world.open("a").await;
    let logs = [open];
    let mut keeper = ask(world.dir.path(), vec![memory.clone()], &logs).await.unwrap();
    let writing = CancellationToken::new();
    let sequencing = tokio::spawn(sequencer.run(writing.clone()));
    let add = async |text: &'static str| {
        let leaf = Bytes::from_static(text.as_bytes());
        let identity = Hash::digest(&leaf);
        logs[0]
            .log
            .add(Submission { identity, leaf: leaf.into(), extra: Bytes::new(), terms: Vec::new() })
            .await
            .unwrap()
    };
    let away = world.path("unplugged");
    fs::rename(&memory.folder, &away).unwrap();
    add("one").await;
    keeper.round().await;
    assert!(keeper.0[0].failing);
    add("two").await;
    keeper.round().await;
    assert!(keeper.0[0].failing);
    fs::rename(&away, &memory.folder).unwrap();
    keeper.round().await;
    assert!(!keeper.0[0].failing);
    assert_eq!(memory.recall("ct", &logs[0].key).unwrap().unwrap().size, 2);
    writing.cancel();
    sequencing.await.unwrap().unwrap();
}
