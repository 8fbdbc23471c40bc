//! [`Progress`]: how far an fsck has got, for whoever waits: a bar on a terminal, a line every ten seconds elsewhere.

use std::fmt;
use std::io::IsTerminal as _;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use chancery_tlog::server::fsck::Watch;
use indicatif::{HumanCount, ProgressBar, ProgressState, ProgressStyle};

use super::say;

/// Time between two lines where there is no terminal.
const PAUSE: Duration = Duration::from_secs(10);
/// How long a stretch of work must have run before its pace says anything.
const SETTLED: Duration = Duration::from_secs(1);

/// A bar, or lines.
pub(crate) struct Progress {
    log: String,
    bar: ProgressBar,
    lines: Option<Mutex<Lines>>,
}

/// Where there is no terminal: what is under way, and when that was last said.
struct Lines {
    phase: Phase,
    said: Instant,
}

impl Progress {
    /// For one log.
    pub(crate) fn new(log: &str) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let bar = if terminal { ProgressBar::no_length() } else { ProgressBar::hidden() };
        let lines = (!terminal).then(|| Mutex::new(Lines { phase: Phase::NONE, said: Instant::now() }));
        Self { log: log.to_owned(), bar, lines }
    }

    /// Leaves the terminal as it was.
    pub(crate) fn end(&self) {
        self.bar.finish_and_clear();
    }

    fn say(&self, phase: &Phase, elapsed: Duration) {
        let status = phase.status(self.bar.position(), elapsed);
        say(&format!("log `{}`: {status}", self.log));
    }
}

impl Watch for Progress {
    fn begin(&self, what: &'static str, done: u64, total: u64) {
        let phase = Phase { what, before: done, total };
        let status = move |state: &ProgressState, out: &mut dyn fmt::Write| {
            // A bar that cannot be drawn is no reason to stop.
            let _ = write!(out, "{}", phase.status(state.pos(), state.elapsed()));
        };
        if let Ok(style) = ProgressStyle::with_template("{prefix} [{wide_bar}] {status}") {
            self.bar.set_style(style.with_key("status", status).progress_chars("=> "));
        }
        self.bar.reset();
        self.bar.set_prefix(format!("log `{}`", self.log));
        self.bar.set_length(total);
        self.bar.set_position(done);
        if let Some(lines) = &self.lines {
            *lines.lock().unwrap_or_else(PoisonError::into_inner) = Lines { phase, said: Instant::now() };
            self.say(&phase, Duration::ZERO);
        }
    }

    fn advance(&self, steps: u64) {
        self.bar.inc(steps);
        let Some(lines) = &self.lines else { return };
        let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.said.elapsed() >= PAUSE {
            lines.said = Instant::now();
            self.say(&lines.phase, self.bar.elapsed());
        }
    }
}

/// A stretch of work.
#[derive(Clone, Copy)]
struct Phase {
    /// What is counted.
    what: &'static str,
    /// Of which so many were done by an earlier run,
    before: u64,
    /// and so many there are.
    total: u64,
}

impl Phase {
    const NONE: Self = Self { what: "", before: 0, total: 0 };

    /// Such as `1,200,000 of 20,000,000 entries, 205,000/s, 92 s left`.
    fn status(&self, done: u64, elapsed: Duration) -> String {
        // The number of rows of an index is an estimate.
        let (done, total) = (done.min(self.total), self.total);
        let count = format!("{} of {} {}", HumanCount(done), HumanCount(total), self.what);
        let here = u128::from(done.saturating_sub(self.before));
        if elapsed < SETTLED || here == 0 {
            return count;
        }
        let nanos = elapsed.as_nanos();
        let rate = u64::try_from(here * 1_000_000_000 / nanos).unwrap_or(u64::MAX);
        let count = format!("{count}, {}/s", HumanCount(rounded(rate)));
        if done == total {
            return count;
        }
        let left = u128::from(total - done) * nanos / here / 1_000_000_000;
        format!("{count}, {} left", spelled(u64::try_from(left).unwrap_or(u64::MAX)))
    }
}

/// To three digits: more of them only flicker.
fn rounded(rate: u64) -> u64 {
    let unit = 10u64.pow(rate.checked_ilog10().unwrap_or_default().saturating_sub(2));
    rate / unit * unit
}

fn spelled(seconds: u64) -> String {
    match (seconds / 3600, seconds / 60) {
        (0, 0 | 1) => format!("{seconds} s"),
        (0, minutes) => format!("{minutes} min"),
        (hours, minutes) => format!("{hours} h {} min", minutes % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_for_people() {
        let phase = Phase { what: "entries", before: 0, total: 20_000_000 };
        let status = |done, seconds| phase.status(done, Duration::from_secs(seconds));
        assert_eq!(status(0, 0), "0 of 20,000,000 entries");
        assert_eq!(status(0, 60), "0 of 20,000,000 entries", "nothing is known of its pace");
        assert_eq!(status(1_024, 0), "1,024 of 20,000,000 entries");
        assert_eq!(status(12_345_678, 60), "12,345,678 of 20,000,000 entries, 205,000/s, 37 s left");
        assert_eq!(status(1_000_000, 60), "1,000,000 of 20,000,000 entries, 16,600/s, 19 min left");
        assert_eq!(status(10_000, 60), "10,000 of 20,000,000 entries, 166/s, 33 h 19 min left");
        assert_eq!(status(20_000_000, 100), "20,000,000 of 20,000,000 entries, 200,000/s");
        assert_eq!(status(20_000_001, 100), status(20_000_000, 100), "an estimate may be too low");
    }

    #[test]
    fn what_an_earlier_run_did_is_not_this_ones_pace() {
        let phase = Phase { what: "entries", before: 9_000, total: 10_000 };
        let status = phase.status(9_500, Duration::from_secs(5));
        assert_eq!(status, "9,500 of 10,000 entries, 100/s, 5 s left");
        assert_eq!(phase.status(9_000, Duration::from_secs(5)), "9,000 of 10,000 entries");
    }

    #[test]
    fn rates_have_three_digits() {
        assert_eq!([0, 7, 999, 1_234, 195_944].map(rounded), [0, 7, 999, 1_230, 195_000]);
    }
}
