//! The queue between those who log and the thread that writes, and the count of lines that were lost.
//!
//! Bounded in bytes. Lines that anyone can cause get three quarters of it, so that a flood of requests, each with
//! a line in the access log or a refusal, leaves room for warnings and errors; those leave the last eighth to audit
//! lines, because a stranger can cause some warnings too.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Bytes of lines that wait to be written: some 16,000 lines of the access log, or a second of a busy server.
const ROOM: usize = 4 << 20;
/// Room that ordinary lines leave to others.
const RESERVE: usize = ROOM / 4;
/// Room that everything else leaves to audit lines: some thousand of them.
const AUDIT_RESERVE: usize = ROOM / 8;
/// What a waiting line takes beside its text.
const OVERHEAD: usize = size_of::<Line>();

/// The metric of lines that were lost, by the label `kind`: `audit`, `refusal` or `other`.
pub const LOST: &str = "chancery_log_lines_lost_total";

static AUDIT_LOST: AtomicU64 = AtomicU64::new(0);
static REFUSAL_LOST: AtomicU64 = AtomicU64::new(0);
static OTHER_LOST: AtomicU64 = AtomicU64::new(0);

/// Lines that this process could not write: those of the audit log, its anonymous refusals, and all others.
pub fn lost() -> [(&'static str, u64); 3] {
    [
        ("audit", AUDIT_LOST.load(Ordering::Relaxed)),
        ("refusal", REFUSAL_LOST.load(Ordering::Relaxed)),
        ("other", OTHER_LOST.load(Ordering::Relaxed)),
    ]
}

/// What a line is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A line that may be dropped first.
    Ordinary,
    /// A line of the audit log that anyone can cause, dropped like an ordinary one.
    Refusal,
    /// A warning or an error.
    Important,
    /// A line of the audit log.
    Audit,
    /// The report of lines that were lost, which is never dropped for want of room.
    Report,
}

/// A line with its newline.
pub(super) struct Line {
    pub(super) kind: Kind,
    pub(super) text: Vec<u8>,
}

/// Counts of lost lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lost {
    pub(super) audit: u64,
    pub(super) refusal: u64,
    pub(super) other: u64,
}

impl Lost {
    pub(super) fn is_none(self) -> bool {
        self == Self::default()
    }

    pub(super) fn merge(&mut self, more: Self) {
        self.audit += more.audit;
        self.refusal += more.refusal;
        self.other += more.other;
    }

    pub(super) fn add(&mut self, kind: Kind) {
        match kind {
            Kind::Audit => self.audit += 1,
            Kind::Refusal => self.refusal += 1,
            Kind::Ordinary | Kind::Important => self.other += 1,
            // Its numbers are reported again.
            Kind::Report => {}
        }
    }
}

/// The queue.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    filled: Condvar,
    written: Condvar,
}

#[derive(Default)]
struct State {
    lines: VecDeque<Line>,
    bytes: usize,
    /// Dropped since the writer last asked.
    lost: Lost,
    /// Lines that the writer has taken and not finished.
    in_work: bool,
    closed: bool,
}

impl Queue {
    /// Adds a line, or drops and counts it. Never waits for the output.
    pub(super) fn push(&self, line: Line) {
        let mut state = self.lock();
        let size = line.text.len() + OVERHEAD;
        let room = match line.kind {
            Kind::Ordinary | Kind::Refusal => ROOM - RESERVE,
            Kind::Important => ROOM - AUDIT_RESERVE,
            Kind::Audit => ROOM,
            Kind::Report => usize::MAX,
        };
        if state.closed || state.bytes.saturating_add(size) > room {
            state.lost.add(line.kind);
            drop(state);
            return count(line.kind);
        }
        state.bytes += size;
        state.lines.push_back(line);
        let idle = !state.in_work;
        drop(state);
        if idle {
            self.filled.notify_one();
        }
    }

    /// Waits for lines and moves some of them to `batch`, at most `most` bytes or one line; `None` once the
    /// queue is closed and empty. Returns what was dropped since the last call.
    pub(super) fn take(&self, batch: &mut Vec<Line>, most: usize) -> Option<Lost> {
        let mut state = self.lock();
        state.in_work = false;
        while state.lines.is_empty() {
            self.written.notify_all();
            if state.closed {
                return None;
            }
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.in_work = true;
        let mut taken = 0;
        while let Some(next) = state.lines.front()
            && (batch.is_empty() || taken + next.text.len() <= most)
            && let Some(line) = state.lines.pop_front()
        {
            taken += line.text.len();
            state.bytes -= line.text.len() + OVERHEAD;
            batch.push(line);
        }
        Some(std::mem::take(&mut state.lost))
    }

    /// Waits until everything is written, for at most this long, and closes the queue.
    pub(super) fn close(&self, patience: Duration) {
        let end = Instant::now() + patience;
        let mut state = self.lock();
        while state.in_work || !state.lines.is_empty() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.written.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.closed = true;
        drop(state);
        self.filled.notify_one();
    }

    /// Lines dropped since the writer last asked.
    #[cfg(test)]
    pub(super) fn state_of_loss(&self) -> Lost {
        self.lock().lost
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts a lost line in the metrics.
pub(super) fn count(kind: Kind) {
    match kind {
        Kind::Audit => AUDIT_LOST.fetch_add(1, Ordering::Relaxed),
        Kind::Refusal => REFUSAL_LOST.fetch_add(1, Ordering::Relaxed),
        Kind::Ordinary | Kind::Important => OTHER_LOST.fetch_add(1, Ordering::Relaxed),
        Kind::Report => 0,
    };
}
