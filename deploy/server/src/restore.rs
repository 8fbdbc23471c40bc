//! `chancery-server restore`: an instance from a backup, after asking whether it is the newest state.
//!
//! The question is never whether a backup is good but whether anybody has seen something newer: a log that goes on from
//! an older head gives its next entries indexes that others have, and contradicts what it signed. Nothing in a backup
//! can answer that, so somebody outside must: by checkpoints, or by an explicit word. What memory is configured is
//! asked as well.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use chancery_tlog::checkpoint::Checkpoint;
use chancery_tlog::clock::{Clock as _, SystemClock};
use chancery_tlog::note::NoteKey;
use clap::Args;
use serde::{Deserialize, Serialize};

use crate::backup::folder::{Folder, bar};
use crate::backup::manifest::{FileEntry, LogEnd, Manifest, relative};
use crate::backup::{Verify, check_copy};
use crate::config::{Config, LogConfig};
use crate::fsck::Seen;
use crate::lock::Lock;
use crate::memory::Memory;
use crate::output;
use crate::roles::OpenLog;

/// Name of the file that says where an instance came from.
pub(crate) const RESTORED: &str = "restored.json";

/// What is restored, and who says that it is the newest.
#[derive(Args, Debug)]
pub(crate) struct RestoreArguments {
    /// Folder that `backup` made
    backup: PathBuf,
    /// Folder of the new instance; it must not exist, or be empty
    dir: PathBuf,
    /// Newest checkpoint that anybody has seen of one of the logs, as its `/checkpoint` gave it: a backup that does not
    /// contain it is refused. Give one for each log
    #[arg(long, value_name = "FILE")]
    seen: Vec<PathBuf>,
    /// You know, by other means than checkpoints, that the instance signed nothing after the backup was made. If that
    /// is wrong, the logs contradict themselves with their next entries
    #[arg(long)]
    nothing_was_signed_since: bool,
    /// Log that is over, because nobody has all of its entries: everything is restored but its store, and no proof is
    /// wanted for it. The server does not start before `add-log` has replaced it. Can be given several times
    #[arg(long, value_name = "NAME")]
    lost: Vec<String>,
    /// How the copy is checked before it gets its name
    #[arg(long, value_name = "HOW", value_enum, default_value_t = Verify::Full)]
    verify: Verify,
}

/// Where an instance came from.
#[derive(Debug, Serialize, Deserialize)]
struct Restored {
    backup_made_at: String,
    at: String,
    /// What stood for it that nothing newer was seen: "checkpoints" or "word".
    newest_by: String,
    /// Names and sizes.
    logs: Vec<(String, u64)>,
}

/// Makes an instance of a backup.
pub(crate) fn restore(arguments: &RestoreArguments) -> anyhow::Result<()> {
    let RestoreArguments { backup, dir, verify, .. } = arguments;
    let manifest = Manifest::read(backup)?;
    let config = Config::load(backup)?;
    let logs = pair(&config, &manifest, &arguments.lost)?;
    let seen = proof(arguments, &config, &manifest, &logs)?;

    let files: Vec<_> =
        manifest.files.iter().filter(|file| !is_of_lost(&file.path, &arguments.lost)).collect();
    let bytes = files.iter().map(|file| file.size).sum();
    let mut folder = Folder::begin(dir)?;
    // It stays with the folder when that gets its name.
    let _lock = Lock::take(&folder.path)?;
    folder.has_room_for(bytes)?;
    let bar = bar("copying", bytes);
    for file in files {
        take(backup, file, &mut folder, &bar)?;
    }
    bar.finish_and_clear();
    for ((log, end, key), seen) in logs.iter().zip(&seen) {
        let store = folder.path.join("logs").join(&log.name);
        let head = check_copy(&store, log, key, seen, *verify).context("the backup was not restored")?;
        if head.checkpoint != end.checkpoint {
            bail!("{} is damaged: log `{}` does not end as its manifest says", backup.display(), log.name);
        }
    }
    let ends: Vec<_> = logs.iter().map(|(_, end, _)| *end).collect();
    write_note(&folder, arguments, &manifest, &ends)?;
    folder.finish()?;
    report(&Config::load(dir)?, &manifest, &ends, arguments)
}

type Paired<'m> = (&'m LogConfig, &'m LogEnd, NoteKey);

/// The logs of the configuration with those of the manifest, but for those that are lost.
fn pair<'m>(config: &'m Config, manifest: &'m Manifest, lost: &[String]) -> anyhow::Result<Vec<Paired<'m>>> {
    if let Some(stranger) = lost.iter().find(|lost| config.served_logs().all(|log| log.name != **lost)) {
        bail!("--lost {stranger}: the backup has no such log");
    }
    let pair = |log: &'m LogConfig| {
        let end = manifest.logs.iter().find(|end| end.name == log.name);
        let end = end.with_context(|| {
            format!("log `{}` is in the backup's chancery.toml but not in its manifest", log.name)
        })?;
        let key = NoteKey::parse_vkey(&end.vkey).with_context(|| format!("log `{}`: its key", log.name))?;
        Ok((log, end, key))
    };
    config.served_logs().filter(|log| !lost.contains(&log.name)).map(pair).collect()
}

/// Whether a file of the backup belongs to the store of a lost log.
fn is_of_lost(path: &str, lost: &[String]) -> bool {
    let log = path.strip_prefix("logs/").and_then(|rest| rest.split('/').next());
    log.is_some_and(|log| lost.iter().any(|lost| lost == log))
}

/// What each log must contain, once somebody vouched for every one of them.
fn proof(
    arguments: &RestoreArguments,
    config: &Config,
    manifest: &Manifest,
    logs: &[Paired<'_>],
) -> anyhow::Result<Vec<Vec<Checkpoint>>> {
    let configs: Vec<_> = logs.iter().map(|(log, ..)| *log).collect();
    let seen = Seen::read(&arguments.seen, &configs)?;
    let memory = Memory::configured(config).filter(Memory::is_made);
    let mut all = Vec::new();
    for (log, _, key) in logs {
        let mut own = seen.of(log, key)?;
        if own.is_empty() && !arguments.nothing_was_signed_since {
            bail!(
                "nothing says that this backup of {} is the newest state of log `{}` that anybody has seen, and to \
                 serve an older one forks it: give its newest checkpoint with --seen FILE (runbooks.md, \"Restore\", \
                 says who has one), or, if you know that it signed nothing after the backup, say \
                 --nothing-was-signed-since",
                manifest.made_at,
                log.name
            );
        }
        if let Some(memory) = &memory {
            own.extend(memory.recall(&log.name, key)?);
        }
        all.push(own);
    }
    Ok(all)
}

/// Copies one file and holds it against the manifest.
fn take(
    backup: &Path,
    wanted: &FileEntry,
    folder: &mut Folder,
    bar: &indicatif::ProgressBar,
) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;

    let path = relative(&wanted.path)?;
    let damaged = || format!("{} is damaged, look for another one", backup.display());
    let taken = folder.take(&backup.join(&path), &path, bar).with_context(damaged)?;
    if (taken.size, &taken.sha256) != (wanted.size, &wanted.sha256) {
        bail!("{}: {} is not what was backed up", damaged(), wanted.path);
    }
    // A medium without modes must not turn a key into a file that everyone can read, which no server would take.
    std::fs::set_permissions(folder.path.join(&path), std::fs::Permissions::from_mode(wanted.mode & 0o777))?;
    Ok(())
}

fn write_note(
    folder: &Folder,
    arguments: &RestoreArguments,
    manifest: &Manifest,
    ends: &[&LogEnd],
) -> anyhow::Result<()> {
    let note = Restored {
        backup_made_at: manifest.made_at.clone(),
        at: SystemClock.now().to_rfc3339(),
        newest_by: if arguments.nothing_was_signed_since { "word" } else { "checkpoints" }.to_owned(),
        logs: ends.iter().map(|log| (log.name.clone(), log.size)).collect(),
    };
    crate::init::write(&folder.path.join(RESTORED), &serde_json::to_string_pretty(&note)?)
}

fn report(
    config: &Config,
    manifest: &Manifest,
    ends: &[&LogEnd],
    arguments: &RestoreArguments,
) -> anyhow::Result<()> {
    let lines = ends.iter().map(|log| format!("log `{}`: {} entries\n", log.name, log.size));
    output::print(&lines.collect::<String>())?;
    let dir = arguments.dir.display();
    let mut next = Vec::new();
    if !manifest.keys {
        next.push(format!("put the keys back, which are not in the backup: {dir}/keys"));
    }
    for log in config.logs.iter().filter(|log| arguments.lost.contains(&log.name)) {
        let (name, dialect) = (&log.name, log.dialect.name());
        let ends = if log.is_active() {
            format!("add-log {dir} {dialect} --replaces {name}")
        } else {
            format!("end-log {dir} {name}")
        };
        next.push(format!("chancery-server {ends} --unserved --size N, the most entries that anybody saw"));
    }
    next.extend(["check-config", "run"].map(|then| format!("chancery-server {then} {dir}")));
    let (url, made_at, next) = (&config.url, &manifest.made_at, next.join("\n  "));
    output::say(&format!("restored {url} from the backup of {made_at}\n\nnext:\n  {next}\n"));
    Ok(())
}

/// Says aloud that logs go on from a backup, until each has gone on.
pub(crate) fn warn_of_restored(dir: &Path, logs: &[OpenLog]) {
    let Ok(text) = std::fs::read_to_string(dir.join(RESTORED)) else { return };
    let Ok(restored) = serde_json::from_str::<Restored>(&text) else {
        return tracing::warn!("{RESTORED} cannot be read: it says from which backup this instance came");
    };
    for (name, size) in &restored.logs {
        let mut active = logs.iter().filter(|log| log.config.is_active());
        let head = active.find(|log| log.config.name == *name).map(|log| log.log.head());
        if head.is_some_and(|head| head.size == *size) {
            tracing::warn!(
                log = name,
                size,
                backup = restored.backup_made_at,
                newest_by = restored.newest_by,
                "this log goes on from a backup; what it acknowledged after it is not in it"
            );
        }
    }
}
