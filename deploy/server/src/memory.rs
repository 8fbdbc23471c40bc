//! Memories of heads: what each log has shown, kept beside the stores and asked before a server takes a write.
//!
//! A store that was replaced by an older copy is sound; only somebody who remembers a newer head can tell. Two do: the
//! memory that `[memory]` configures, on another disk, and one of the server's own in `DIR/run/heads`, which goes back
//! together with the whole folder but not with `logs/` alone.
//!
//! A memory is a folder with one file for each log, its checkpoint as `/checkpoint` gives it: also what `--seen` takes.
//!
//! Invariants. Only durable heads are remembered, so a sound store always contains them. A configured memory that is
//! not there stops the start: an unmounted disk must not look like a new one. KNOWN LIMIT: heads are written once a
//! second, so a copy that lacks the last second before a crash is not found out.

use std::fs::{DirBuilder, File};
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use chancery_tlog::checkpoint::Checkpoint;
use chancery_tlog::files;
use chancery_tlog::merkle::Hash;
use chancery_tlog::note::NoteKey;
use chancery_tlog::serve::block;
use chancery_tlog::server::log::Log;
use chancery_tlog::server::store::Head;
use metrics::{Counter, counter, gauge};
use tokio_util::sync::CancellationToken;

use crate::backup::{Verify, check_copy};
use crate::config::Config;
use crate::control::make_run_folder;
use crate::fsck::checkpoint_key;
use crate::lock::Lock;
use crate::output;
use crate::roles::OpenLog;

/// Marks the folder of a configured memory. Written last by `remember`; no log can have this name.
const MARK: &str = "MEMORY";
const MARK_TEXT: &str = "Heads of the logs of a Chancery instance, so that an old copy of it is never served.\n\
    Made by `chancery-server remember`. Do not copy, restore or remove this folder together with the instance.\n";
/// Folder of the server's own memory, under `run/`.
const OWN: &str = "heads";
/// Time between two writes.
const ROUND: Duration = Duration::from_secs(1);
/// Largest file that is read: a checkpoint has some 300 bytes, and 16 KiB with the most cosignatures.
const MAX_NOTE: u64 = 64 << 10;

/// A store is not, or no longer, the log that a memory knows.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum Contradiction {
    #[error(
        "log `{log}` has {stored} entries, but {memory} remembers its checkpoint of {remembered}: this is an old copy, \
         and its next entry would fork the log; find a newer copy (runbooks.md, \"Restore\"); if there is none the log \
         is over (\"Key replacement: a log that is over\")"
    )]
    Older { log: String, memory: String, stored: u64, remembered: u64 },
    #[error(
        "log `{log}` has root {stored} at {size} entries, but {memory} remembers its checkpoint with root {remembered}: \
         its key has signed two histories; serve neither before you know which one clients saw (runbooks.md, \"Restore\")"
    )]
    Forked { log: String, memory: String, size: u64, stored: Hash, remembered: Hash },
}

/// A folder of checkpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Memory {
    folder: PathBuf,
    configured: bool,
}

impl Memory {
    /// The one that `[memory]` names.
    pub(crate) fn configured(config: &Config) -> Option<Self> {
        let folder = config.memory.as_ref()?.path.clone();
        Some(Self { folder, configured: true })
    }

    /// All that a server asks.
    pub(crate) fn all(config: &Config) -> Vec<Self> {
        let own = Self { folder: config.dir.join(crate::control::RUN).join(OWN), configured: false };
        std::iter::once(own).chain(Self::configured(config)).collect()
    }

    /// Where it is.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether `remember` has made it.
    pub(crate) fn is_made(&self) -> bool {
        self.folder.join(MARK).is_file()
    }

    /// The checkpoint of a log, which `key` verifies; `None` if it has none.
    pub(crate) fn recall(&self, log: &str, key: &NoteKey) -> anyhow::Result<Option<Checkpoint>> {
        let path = self.folder.join(log);
        let problem = || {
            format!(
                "the memory {} holds no checkpoint of log `{log}`; if two instances share the folder, give each its own; \
                 if the file is damaged, find out why before you remove it",
                path.display()
            )
        };
        let mut note = Vec::new();
        match File::open(&path).and_then(|file| file.take(MAX_NOTE).read_to_end(&mut note)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            read => read.with_context(problem)?,
        };
        let (checkpoint, _) = Checkpoint::open(&note, std::slice::from_ref(key)).with_context(problem)?;
        if checkpoint.origin.as_str() != key.name().as_str() {
            bail!("{}", problem());
        }
        Ok(Some(checkpoint))
    }

    /// Remembers the newest checkpoint of a log, durably and in one step.
    fn keep(&self, log: &str, checkpoint: &str) -> std::io::Result<()> {
        files::replace(&self.folder.join(log), files::PRIVATE, checkpoint.as_bytes())
    }

    /// What it is called in metrics.
    fn name(&self) -> &'static str {
        if self.configured { "second" } else { "own" }
    }

    fn prepare(&self, dir: &Path) -> anyhow::Result<()> {
        if !self.configured {
            // A full disk must not keep a server from answering reads.
            if let Err(error) = make_run_folder(dir).and_then(|_| make_folder(&self.folder)) {
                tracing::warn!(error = output::in_full(&error), "no own memory of heads");
            }
            return Ok(());
        }
        if !self.is_made() {
            bail!(
                "the memory of heads {} is not there: mount its disk; only if it is new, or lost for good, and this \
                 instance is the newest state that anybody has seen: `chancery-server remember {}`",
                self.folder.display(),
                dir.display()
            );
        }
        Ok(())
    }

    /// What it knows of a log. The server's own may hold what a log of this name once was, before it was replaced, and
    /// proves nothing by being unreadable.
    fn known(&self, open: &OpenLog) -> anyhow::Result<Option<Checkpoint>> {
        let log = &open.config.name;
        match self.recall(log, &open.key) {
            Ok(None) if self.configured => {
                tracing::warn!(log, "the memory of heads does not know this log: from now on it does");
                Ok(None)
            }
            Err(error) if !self.configured => {
                tracing::warn!(log, error = output::in_full(&error), "the own memory of heads says nothing");
                Ok(None)
            }
            known => known,
        }
    }

    async fn check(&self, open: &OpenLog, seen: &Checkpoint) -> anyhow::Result<()> {
        let log = &open.config.name;
        let memory = self.folder.display().to_string();
        let stored = open.log.head().size;
        if stored < seen.size {
            let (log, remembered) = (log.clone(), seen.size);
            return Err(Contradiction::Older { log, memory, stored, remembered }.into());
        }
        let root = open.log.root_at(seen.size).await.with_context(|| format!("log `{log}`"))?;
        if root != seen.root {
            let (log, size, remembered) = (log.clone(), seen.size, seen.root);
            return Err(Contradiction::Forked { log, memory, size, stored: root, remembered }.into());
        }
        Ok(())
    }
}

/// Asks all memories whether these logs are what they were. Nothing may be written to a log before.
pub(crate) async fn ask(dir: &Path, memories: Vec<Memory>, logs: &[OpenLog]) -> anyhow::Result<Keeper> {
    for memory in &memories {
        memory.prepare(dir)?;
        for open in logs {
            if let Some(seen) = memory.known(open)? {
                memory.check(open, &seen).await?;
            }
        }
    }
    if !logs.is_empty() && !memories.iter().any(|memory| memory.configured) {
        tracing::warn!(
            "no memory of heads on another disk is configured: if this folder is an old copy, nobody here can tell, and \
             its next entries would fork the logs; see `[memory]` in chancery.toml"
        );
    }
    let mut keeper = Keeper::new(&memories, logs);
    keeper.round().await;
    // A memory that cannot be written now would be one that nobody misses until it is needed.
    if let Some(kept) = keeper.0.iter().find(|kept| kept.failing && kept.memory.configured) {
        bail!("the memory of heads {} cannot be written", kept.memory.folder.display());
    }
    Ok(keeper)
}

/// Writes heads to memories while logs grow.
pub(crate) struct Keeper(Vec<Kept>);

/// One log in one memory.
struct Kept {
    memory: Memory,
    name: String,
    log: Log,
    last: Option<Arc<Head>>,
    failing: bool,
}

impl Keeper {
    fn new(memories: &[Memory], logs: &[OpenLog]) -> Self {
        let pairs = memories.iter().flat_map(|memory| logs.iter().map(move |log| (memory, log)));
        let kept = pairs.map(|(memory, open)| {
            let (memory, name, log) = (memory.clone(), open.config.name.clone(), open.log.clone());
            // From the beginning, so that the first failure is a change.
            failures(&log, &memory).increment(0);
            Kept { memory, name, log, last: None, failing: false }
        });
        Self(kept.collect())
    }

    /// Writes until `stop`, which comes after the last commit, and then once more.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        loop {
            let stopped = stop.run_until_cancelled(tokio::time::sleep(ROUND)).await.is_none();
            self.round().await;
            if stopped {
                return;
            }
        }
    }

    /// Writes what is new.
    async fn round(&mut self) {
        for kept in &mut self.0 {
            kept.write().await;
        }
    }
}

impl Kept {
    async fn write(&mut self) {
        let head = self.log.head();
        if self.last.as_ref().is_some_and(|last| last.checkpoint == head.checkpoint) {
            return;
        }
        let (memory, name, new) = (self.memory.clone(), self.name.clone(), Arc::clone(&head));
        let written = block(move || memory.keep(&name, &new.checkpoint)).await;
        self.note(&written.map_err(std::io::Error::other).flatten(), &head);
    }

    /// Said once for each outage, counted for each attempt.
    fn note(&mut self, outcome: &std::io::Result<()>, head: &Arc<Head>) {
        let (log, memory) = (self.log.origin().as_str().to_owned(), self.memory.name());
        let folder = self.memory.folder.display();
        match outcome {
            Ok(()) => {
                if self.failing {
                    tracing::info!(log, %folder, "the memory of heads is written again");
                }
                #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
                gauge!("chancery_memory_size", "log" => log, "memory" => memory).set(head.size as f64);
                self.last = Some(Arc::clone(head));
            }
            Err(error) => {
                if !self.failing {
                    tracing::error!(log, %folder, %error, "the memory of heads cannot be written; the log goes on");
                }
                failures(&self.log, &self.memory).increment(1);
            }
        }
        self.failing = outcome.is_err();
    }
}

/// How often a memory did not take a head of a log.
fn failures(log: &Log, memory: &Memory) -> Counter {
    let log = log.origin().as_str().to_owned();
    counter!("chancery_memory_failures_total", "log" => log, "memory" => memory.name())
}

/// `chancery-server remember`: makes the configured memory from the heads of an instance that does not run.
pub(crate) fn remember(dir: &Path) -> anyhow::Result<()> {
    let _lock = Lock::take(dir)?;
    let config = Config::load(dir)?;
    crate::backup::refuse_backup(dir)?;
    let Some(memory) = Memory::configured(&config) else {
        bail!("chancery.toml has no `[memory]`: add it, with a `path` on another disk");
    };
    let folder = memory.folder.display().to_string();
    if memory.is_made() {
        bail!("{folder} remembers already; a server that refuses to start because of it is right");
    }
    if files::is_unused(&memory.folder).is_ok_and(|unused| !unused) {
        bail!("{folder} is not empty and no memory: choose another folder");
    }
    let own = Memory::all(&config).into_iter().find(|memory| !memory.configured);
    let mut lines = Vec::new();
    let mut heads = Vec::new();
    for log in config.served_logs() {
        let key = checkpoint_key(&config, log)?;
        let seen = own.as_ref().map(|own| own.recall(&log.name, &key)).transpose()?.flatten();
        let seen: Vec<_> = seen.into_iter().collect();
        let head = check_copy(&config.store_of(log), log, &key, &seen, Verify::Edge)
            .with_context(|| format!("log `{}`", log.name))?;
        lines.push(format!("log `{}`: {} entries remembered in {folder}\n", log.name, head.size));
        heads.push((log.name.as_str(), head.checkpoint));
    }
    make_folder(&memory.folder)?;
    for (log, checkpoint) in heads {
        memory.keep(log, &checkpoint).with_context(|| format!("cannot write to {folder}"))?;
    }
    memory.keep(MARK, MARK_TEXT).with_context(|| format!("cannot write to {folder}"))?;
    output::print(&lines.concat())
}

/// The last part of the path only: parents that are missing are a disk that is not mounted.
fn make_folder(path: &Path) -> anyhow::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
    .with_context(|| format!("cannot make {}: is its disk mounted?", path.display()))
}

#[cfg(test)]
mod tests;
