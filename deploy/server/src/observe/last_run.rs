//! How the run before this one ended, so that a restart by the supervisor does not hide why it was needed.
//!
//! A file in the instance's folder says `running` while one runs, and how it ended afterwards. It is for people and
//! alerts alone: nothing is decided by it, and a disk that does not take it is no reason to stop.

use std::path::{Path, PathBuf};

use chancery_tlog::files;
use chancery_tlog::server::log::Fatal;

/// Name of the file in an instance's folder.
const FILE: &str = "last-run";
const RUNNING: &str = "running";

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It was told to.
    Stopped,
    /// A commit's outcome was unknown.
    Unknown,
    /// For another reason that it knew.
    Failed,
    /// Without a word: killed, crashed, or the power went.
    Killed,
    /// There was none that is known of.
    None,
}

impl Ending {
    const ALL: [Self; 5] = [Self::Stopped, Self::Unknown, Self::Failed, Self::Killed, Self::None];

    /// What the end of this run says.
    pub(crate) fn of(outcome: &anyhow::Result<()>) -> Self {
        let Err(error) = outcome else { return Self::Stopped };
        let unknown = |cause: &(dyn std::error::Error + 'static)| {
            matches!(cause.downcast_ref::<Fatal>(), Some(Fatal::Unknown(_)))
        };
        if error.chain().any(unknown) { Self::Unknown } else { Self::Failed }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Unknown => "unknown",
            Self::Failed => "failed",
            Self::Killed => "killed",
            Self::None => "none",
        }
    }
}

/// The record of this run.
pub(crate) struct LastRun(PathBuf);

impl LastRun {
    /// Shows how the run before ended, and begins this one's record. Only for whoever has the instance's logs open: a
    /// second process that is refused must not write here.
    pub(crate) fn begin(dir: &Path) -> Self {
        let run = Self(dir.join(FILE));
        let before = run.read();
        for ending in Ending::ALL {
            let is = if ending == before { 1.0 } else { 0.0 };
            metrics::gauge!("chancery_previous_run", "ended" => ending.word()).set(is);
        }
        if matches!(before, Ending::Unknown | Ending::Failed | Ending::Killed) {
            tracing::warn!(ended = before.word(), "the run before this one did not end well");
        }
        run.write(RUNNING);
        run
    }

    /// Ends the record.
    pub(crate) fn end(self, ending: Ending) {
        self.write(ending.word());
    }

    fn read(&self) -> Ending {
        let Ok(text) = std::fs::read_to_string(&self.0) else { return Ending::None };
        let known = Ending::ALL.into_iter().find(|ending| ending.word() == text.trim());
        // `running`, or the half of a word.
        known.unwrap_or(Ending::Killed)
    }

    fn write(&self, word: &str) {
        if let Err(error) = files::replace(&self.0, files::PUBLIC, format!("{word}\n").as_bytes()) {
            tracing::warn!(file = %self.0.display(), %error, "cannot note how this run goes");
        }
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;
    use chancery_tlog::server::store::StoreError;

    use super::*;

    #[test]
    fn an_ending_is_found_by_the_next_run_and_its_absence_means_killed() {
        let dir = tempfile::tempdir().unwrap();
        let run = LastRun::begin(dir.path());
        assert_eq!(run.read(), Ending::Killed, "until it says otherwise");
        run.end(Ending::Unknown);
        let next = LastRun(dir.path().join(FILE));
        assert_eq!(next.read(), Ending::Unknown);
        std::fs::remove_file(&next.0).unwrap();
        assert_eq!(next.read(), Ending::None);
    }

    #[test]
    fn an_unknown_commit_is_told_from_other_failures() {
        let lost = StoreError::Missing("x".to_owned());
        let unknown: anyhow::Result<()> = Err(Fatal::Unknown(lost)).context("log `rekor-v1`");
        assert_eq!(Ending::of(&unknown), Ending::Unknown);
        assert_eq!(Ending::of(&Err(anyhow::anyhow!("a listener"))), Ending::Failed);
        assert_eq!(Ending::of(&Ok(())), Ending::Stopped);
    }
}
