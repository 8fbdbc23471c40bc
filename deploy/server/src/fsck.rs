//! `chancery-server fsck`: every log of an instance at rest, checked from its bytes up to its signed head.
//!
//! Findings go to standard output, one line each with log, place, problem and remedy; progress goes to standard error,
//! as a bar on a terminal and as a few lines elsewhere. Exit codes: 0 sound, 1 damage found, 2 could not be checked.

mod progress;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use chancery_tlog::checkpoint::Checkpoint;
use chancery_tlog::note::{KeyName, Note, NoteKey};
use chancery_tlog::server::fsck::{self, Finding, Leaves, Options, Remedy, Report, StateFile, Subject};
use clap::Args;

pub(crate) use self::progress::Progress;
use crate::config::{Config, Dialect, EndedConfig, LogConfig};
use crate::output;
use crate::roles::{CHECKPOINTS, LogKey};

/// Damage was found.
const DAMAGED: u8 = 1;
/// Something could not be checked.
const UNCHECKED: u8 = 2;

/// What is checked, and how.
#[derive(Args, Debug)]
pub(crate) struct FsckArguments {
    /// Folder of the instance; its server must not run
    dir: PathBuf,
    /// Check only the log of this name
    #[arg(long, value_name = "NAME")]
    log: Option<String>,
    /// Do not parse leaves nor derive their search terms again; hashes, signatures, times and identities are checked
    #[arg(long)]
    quick: bool,
    /// Checkpoint of one of the logs that somebody has seen, as its `/checkpoint` gave it: a log that does not contain
    /// it is an old or another copy, and is reported. Can be given several times
    #[arg(long, value_name = "FILE")]
    seen: Vec<PathBuf>,
    /// File, best on another disk, that remembers what is done: after an interruption the same command goes on from it
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Threads [default: one for each processor]
    #[arg(long, value_name = "N")]
    threads: Option<std::num::NonZeroUsize>,
}

/// Checks the instance and prints what was found.
pub(crate) fn fsck(arguments: &FsckArguments) -> ExitCode {
    match check_all(arguments) {
        Ok(code) => code,
        Err(error) => {
            say(&format!("error: {}", output::in_full(&error)));
            UNCHECKED.into()
        }
    }
}

fn check_all(arguments: &FsckArguments) -> anyhow::Result<ExitCode> {
    let config = Config::load(&arguments.dir)?;
    // A log that is served no more has keys only.
    let wanted =
        |log: &&LogConfig| log.is_served() && arguments.log.as_ref().is_none_or(|name| *name == log.name);
    let logs: Vec<_> = config.logs.iter().filter(wanted).collect();
    if let (Some(name), []) = (&arguments.log, logs.as_slice()) {
        anyhow::bail!("there is no log `{name}` in chancery.toml");
    }
    let seen = Seen::read(&arguments.seen, &logs)?;
    let state = arguments.state.as_ref().map(StateFile::new);
    let (mut damaged, mut unchecked) = (false, false);
    for log in logs {
        match check_log(arguments, &config, log, &seen, state.as_ref()) {
            Ok(report) => {
                damaged |= !report.findings.is_empty();
                output::print(&text(&log.name, &report))?;
            }
            Err(error) => {
                unchecked = true;
                say(&format!("error: log `{}` was not checked: {}", log.name, output::in_full(&error)));
            }
        }
    }
    if let (Some(state), false) = (&state, unchecked) {
        state.remove()?;
    }
    Ok(match (damaged, unchecked) {
        (true, _) => DAMAGED.into(),
        (false, true) => UNCHECKED.into(),
        (false, false) => ExitCode::SUCCESS,
    })
}

fn check_log(
    arguments: &FsckArguments,
    config: &Config,
    log: &LogConfig,
    seen: &Seen,
    state: Option<&StateFile>,
) -> anyhow::Result<Report> {
    let key = checkpoint_key(config, log)?;
    let store = config.store_of(log);
    let own = seen.of(log, &key)?;
    let (origin, leaves) = (&log.origin, leaves(&log.dialect));
    let subject = Subject { store: &store, origin, key: &key, leaves, seen: &own };
    let options = Options { threads: threads(arguments), parse_leaves: !arguments.quick };
    let progress = Progress::new(&log.name);
    let report = fsck::check(subject, options, state, &progress);
    progress.end();
    let mut report = report.with_context(|| in_use_hint(&store))?;
    report.findings.extend(log.ended.as_ref().and_then(|ended| check_end(ended, report.entries)));
    Ok(report)
}

/// A log that has ended neither grows nor shrinks.
fn check_end(ended: &EndedConfig, entries: u64) -> Option<Finding> {
    (ended.size != entries).then(|| Finding {
        place: "the end".to_owned(),
        problem: format!("chancery.toml says that it ended with {} entries, it has {entries}", ended.size),
        remedy: Remedy::Restore,
    })
}

/// What verifies a log's checkpoints. Needs its key alone, not the whole role: a log can be checked while another role's
/// files are missing.
pub(crate) fn checkpoint_key(config: &Config, log: &LogConfig) -> anyhow::Result<NoteKey> {
    let key = LogKey::load(&log.checkpoint_key, &config.protection, CHECKPOINTS)?;
    Ok(NoteKey::new(KeyName::new(log.origin.as_str())?, key.public().clone())?)
}

/// Checkpoints that somebody has seen, from the files of `--seen`.
pub(crate) struct Seen(Vec<(Checkpoint, Note)>);

impl Seen {
    /// Reads checkpoints of these logs.
    pub(crate) fn read(files: &[PathBuf], logs: &[&LogConfig]) -> anyhow::Result<Self> {
        let seen = files.iter().map(|file| note(file)).collect::<anyhow::Result<Vec<_>>>()?;
        let stranger = seen.iter().find(|(seen, _)| logs.iter().all(|log| log.origin != seen.origin));
        if let Some((stranger, _)) = stranger {
            anyhow::bail!(
                "--seen: the checkpoint of `{}` is of none of these logs",
                stranger.origin.as_str()
            );
        }
        Ok(Self(seen))
    }

    /// Those of one log.
    pub(crate) fn of(&self, log: &LogConfig, key: &NoteKey) -> anyhow::Result<Vec<Checkpoint>> {
        let mut own = Vec::new();
        for (checkpoint, note) in self.0.iter().filter(|(checkpoint, _)| checkpoint.origin == log.origin) {
            // A checkpoint that anyone could have written must not condemn a log.
            note.verify(std::slice::from_ref(key))
                .context("--seen: the checkpoint is not signed by this log")?;
            own.push(checkpoint.clone());
        }
        Ok(own)
    }
}

/// A signed checkpoint from a file.
fn note(file: &Path) -> anyhow::Result<(Checkpoint, Note)> {
    let name = || format!("--seen {}", file.display());
    let note = Note::parse(&std::fs::read(file).with_context(name)?).with_context(name)?;
    let checkpoint = Checkpoint::parse(note.text()).with_context(name)?;
    Ok((checkpoint, note))
}

fn in_use_hint(store: &Path) -> String {
    format!("{} (a running server is checked by checking a backup of it)", store.display())
}

fn threads(arguments: &FsckArguments) -> usize {
    let machine = || std::thread::available_parallelism().map_or(1, usize::from);
    arguments.threads.map_or_else(machine, usize::from)
}

/// What the leaves of a log of this dialect are.
pub(crate) fn leaves(dialect: &Dialect) -> Leaves {
    match dialect {
        Dialect::Ct { .. } => Leaves::Ct,
        Dialect::RekorV1 { .. } => Leaves::RekorV1,
        Dialect::RekorV2 => Leaves::RekorV2,
    }
}

/// A line for each finding, or one that says there is none.
pub(crate) fn text(log: &str, report: &Report) -> String {
    let Report { entries, findings, more } = report;
    if findings.is_empty() {
        return format!("log `{log}`: sound, {entries} entries\n");
    }
    let mut text = String::new();
    for finding in findings {
        let (place, problem) = (&finding.place, &finding.problem);
        // Writing to a string cannot fail.
        let _ = writeln!(text, "log `{log}`: {place}: {problem}; {}", finding.remedy.words());
    }
    if *more > 0 {
        let _ = writeln!(text, "log `{log}`: {more} more findings are not shown");
    }
    text
}

fn say(line: &str) {
    output::say(&format!("{line}\n"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finding_names_log_place_problem_and_remedy() {
        let finding = Finding {
            place: "entry 17".to_owned(),
            problem: "is missing".to_owned(),
            remedy: Remedy::Restore,
        };
        let report = Report { entries: 20, findings: vec![finding], more: 3 };
        let text = text("rekor-v1", &report);
        assert!(text.starts_with("log `rekor-v1`: entry 17: is missing; keep this folder"), "{text}");
        assert!(text.ends_with("\nlog `rekor-v1`: 3 more findings are not shown\n"), "{text}");
        assert_eq!(super::text("ct", &Report::default()), "log `ct`: sound, 0 entries\n");
    }
}
