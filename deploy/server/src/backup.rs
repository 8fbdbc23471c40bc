//! `chancery-server backup`: a whole, consistent, checked copy of an instance, while it is served or not.
//!
//! Invariants. Every log ends with a head that was durable when the backup was asked for, or later; the attestation logs
//! are copied before the issuance log, so that whatever was signed with a certificate, the certificate is there too.
//! The folder gets its name, and its `backup.json`, only after the copies were read again and everything is on the
//! disk. A folder with that file is never served: `restore` asks first whether it is the newest state.

pub(crate) mod folder;
mod instance_files;
pub(crate) mod manifest;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use chancery_tlog::checkpoint::Checkpoint;
use chancery_tlog::clock::{Clock as _, SystemClock};
use chancery_tlog::note::NoteKey;
use chancery_tlog::server::fsck::{self, Options, Subject};
use chancery_tlog::server::log::LogSettings;
use chancery_tlog::server::store::{self, Head, StoreError};
use clap::{Args, ValueEnum};

use self::folder::Folder;
use self::manifest::{LogEnd, Manifest};
use crate::config::{Config, LogConfig};
use crate::control;
use crate::fsck::{Progress, checkpoint_key, leaves, text};
use crate::init::{ROOT_KEY, TSA_ROOT_KEY};
use crate::lock::Lock;
use crate::{output, tuf};

/// What is backed up, and how.
#[derive(Args, Debug)]
pub(crate) struct BackupArguments {
    /// Folder of the instance; its server may run
    dir: PathBuf,
    /// Folder to make the backup in, best on another disk; it must not exist, or be empty
    dest: PathBuf,
    /// Leave out keys/ and every other file with a private key or passphrase: a backup that may lie where keys may not.
    /// Without the keys, kept elsewhere, it cannot be served
    #[arg(long)]
    without_keys: bool,
    /// How the copy is checked before the backup counts as one
    #[arg(long, value_name = "HOW", value_enum, default_value_t = Verify::Edge)]
    verify: Verify,
}

/// How a copy of the logs is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Verify {
    /// Signed head, right edge of the tree and last entries of each log, in milliseconds.
    Edge,
    /// Everything, as `fsck` does: some 200,000 entries a second.
    Full,
}

/// Makes a backup of the instance in `arguments.dir`.
pub(crate) fn backup(arguments: &BackupArguments) -> anyhow::Result<()> {
    let BackupArguments { dir, dest, without_keys, verify } = arguments;
    refuse_backup(dir)?;
    refuse_inside(dir, dest)?;
    let mut folder = Folder::begin(dest)?;
    let (source, config) = Source::of(dir)?;
    let ends = source.ends(&config)?;
    let mut files = source.files(&config)?;
    files.extend(instance_files::list(&config, *without_keys)?);
    let bytes = files.iter().map(|file| file.size).sum();
    folder.has_room_for(bytes)?;
    let watermark = |log: &LogConfig| LogSettings::new(log.origin.clone()).min_free_bytes;
    let watermark = config.served_logs().map(watermark).max().unwrap_or(0);
    folder.leaves_room_to(&dir.join("logs"), watermark, bytes)?;

    let made_at = SystemClock.now().to_rfc3339();
    let mut manifest = Manifest::new(made_at, config.url.to_string(), !without_keys);
    let bar = folder::bar("copying", bytes);
    for file in &files {
        let copied = folder.take(&file.from, &file.to, &bar).context("the backup was not made")?;
        manifest.files.push(copied);
    }
    bar.finish_and_clear();
    drop(source);

    for end in ends {
        let store = folder.path.join("logs").join(&end.log.name);
        let head = end.verify(&store, *verify)?;
        let vkey = end.key.to_vkey().context("checkpoint keys are Ed25519")?;
        let (name, size, checkpoint) = (end.log.name.clone(), head.size, head.checkpoint);
        manifest.logs.push(LogEnd { name, vkey, size, checkpoint });
    }
    manifest.write(&folder.path)?;
    folder.finish()?;
    report(&config, &manifest, dest)
}

/// Demands that `dir` is no backup: to serve one is to write into it, and to skip the question whether it is the newest.
pub(crate) fn refuse_backup(dir: &Path) -> anyhow::Result<()> {
    if Manifest::is_in(dir) {
        bail!(
            "{} is a backup: make an instance of it with `chancery-server restore`, which asks whether it is the \
             newest state that anybody has seen",
            dir.display()
        );
    }
    Ok(())
}

fn refuse_inside(dir: &Path, dest: &Path) -> anyhow::Result<()> {
    let parent = dest.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let parent = parent.canonicalize().with_context(|| format!("cannot use {}", parent.display()))?;
    let inside = dir.canonicalize().is_ok_and(|dir| parent.starts_with(dir));
    if inside {
        bail!(
            "{} is inside of the instance: choose a folder elsewhere, best on another disk",
            dest.display()
        );
    }
    Ok(())
}

/// A file that goes into a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wanted {
    from: PathBuf,
    to: PathBuf,
    size: u64,
}

/// Where the logs come from: held still for as long as this lives.
enum Source {
    /// The snapshot of a server that runs.
    Running(control::Snapshot),
    /// The folder and the stores of one that does not, and cannot start meanwhile.
    Stopped { _lock: Lock, _stores: Vec<store::Snapshot> },
}

impl Source {
    /// Asks the server, or else keeps one from starting; with the configuration, which nobody changes from then on.
    fn of(dir: &Path) -> anyhow::Result<(Self, Config)> {
        if let Some(snapshot) = control::Snapshot::ask(dir)? {
            return Ok((Self::Running(snapshot), Config::load(dir)?));
        }
        let unasked = || {
            format!(
                "nothing listens on {}, so it is no server, one of an older version, or one about to start",
                dir.join(control::RUN).display()
            )
        };
        let lock = Lock::share(dir).with_context(unasked)?;
        let config = Config::load(dir)?;
        let open = |log: &LogConfig| {
            store::Snapshot::open(config.store_of(log)).map_err(|error| match error {
                StoreError::InUse(_) => anyhow::Error::new(error).context(unasked()),
                other => other.into(),
            })
        };
        let stores = config.served_logs().map(|log| open(log).with_context(|| format!("log `{}`", log.name)));
        let stores = stores.collect::<anyhow::Result<_>>()?;
        Ok((Self::Stopped { _lock: lock, _stores: stores }, config))
    }

    /// How the logs end, as far as it is known before they are copied.
    fn ends<'c>(&self, config: &'c Config) -> anyhow::Result<Vec<End<'c>>> {
        let end = |log: &'c LogConfig| {
            let Self::Running(snapshot) = self else {
                return Ok(End { log, key: checkpoint_key(config, log)?, checkpoint: None });
            };
            let found = snapshot.logs.iter().find(|found| found.name == log.name);
            let found = found.with_context(|| {
                format!("the running server has no log `{}`: chancery.toml was changed, restart it", log.name)
            })?;
            Ok(End {
                log,
                key: NoteKey::parse_vkey(&found.vkey)?,
                checkpoint: Some(found.checkpoint.clone()),
            })
        };
        config.served_logs().map(end).collect()
    }

    /// The files of all stores.
    fn files(&self, config: &Config) -> anyhow::Result<Vec<Wanted>> {
        let mut files = Vec::new();
        for log in config.served_logs() {
            let store = match self {
                Self::Running(snapshot) => snapshot.store(&log.name),
                Self::Stopped { .. } => config.store_of(log),
            };
            let name = || format!("cannot read {}", store.display());
            for entry in std::fs::read_dir(&store).with_context(name)? {
                let entry = entry.with_context(name)?;
                let file = entry.file_name();
                // RocksDB's own words and lock are no part of the log, and closing the lock would unlock it.
                let beside = file.to_str().is_none_or(|file| file == "LOCK" || file.starts_with("LOG"));
                let data = entry.metadata().with_context(name)?;
                if !beside && data.is_file() {
                    let to = Path::new("logs").join(&log.name).join(&file);
                    files.push(Wanted { from: entry.path(), to, size: data.len() });
                }
            }
        }
        files.sort_by(|a, b| a.to.cmp(&b.to));
        Ok(files)
    }
}

/// How a log ends.
struct End<'c> {
    log: &'c LogConfig,
    key: NoteKey,
    /// What the running server said.
    checkpoint: Option<String>,
}

impl End<'_> {
    /// Checks the copy in `store`.
    fn verify(&self, store: &Path, how: Verify) -> anyhow::Result<Head> {
        let head = check_copy(store, self.log, &self.key, &[], how)
            .context("the copy is not sound, the backup was not made")?;
        if self.checkpoint.as_ref().is_some_and(|said| *said != head.checkpoint) {
            bail!("log `{}`: the copy does not end where the server said; this is a bug", self.log.name);
        }
        Ok(head)
    }
}

/// Checks a log that nobody runs; its head if it is sound and contains what was `seen`.
pub(crate) fn check_copy(
    store: &Path,
    log: &LogConfig,
    key: &NoteKey,
    seen: &[Checkpoint],
    how: Verify,
) -> anyhow::Result<Head> {
    let subject = Subject { store, origin: &log.origin, key, leaves: leaves(&log.dialect), seen };
    let edge = fsck::check_edge(subject)?;
    let mut report = edge.report;
    if how == Verify::Full && report.findings.is_empty() {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let progress = Progress::new(&log.name);
        report = fsck::check(subject, Options { threads, parse_leaves: true }, None, &progress)?;
        progress.end();
    }
    match edge.head {
        Some(head) if report.findings.is_empty() => Ok(head),
        _ => bail!("{}", text(&log.name, &report).trim_end()),
    }
}

fn report(config: &Config, manifest: &Manifest, dest: &Path) -> anyhow::Result<()> {
    let lines = manifest.logs.iter().map(|log| format!("log `{}`: {} entries\n", log.name, log.size));
    output::print(&lines.collect::<String>())?;
    let mut talk = vec![format!("backup of {} made in {}", config.url, dest.display())];
    for file in instance_files::elsewhere(config) {
        talk.push(format!("note: {} is outside of the instance and not in the backup", file.display()));
    }
    for log in config.logs.iter().filter(|log| !log.is_served() && config.store_of(log).exists()) {
        talk.push(format!("note: log `{}` is served no more and not in the backup", log.name));
    }
    if manifest.keys {
        talk.push("note: the keys are in it; keep it as you keep them".to_owned());
        let offline = [ROOT_KEY, TSA_ROOT_KEY, tuf::OFFLINE_KEY];
        for key in offline.iter().filter(|key| manifest.files.iter().any(|file| file.path == **key)) {
            talk.push(format!("warning: {key} is on the server, and in the backup now: move it offline"));
        }
    } else {
        talk.push("note: the keys are not in it; it cannot be served without them".to_owned());
    }
    output::say(&(talk.join("\n") + "\n"));
    Ok(())
}
