//! How a connection is used: what its time limits are about, and what it holds of its address's share.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::super::settings::Limits;
use super::super::shares::{Connection, PIECE};

/// Between two looks at a connection.
const LOOK: Duration = Duration::from_secs(10);

/// The use of one connection.
pub(in super::super) struct Usage {
    /// Its part of the share. Given back with the last reference.
    _connection: Connection,
    accepted: Instant,
    /// A request head has come, of whatever request.
    used: AtomicBool,
    /// Requests that were begun, but for health checks: they keep no connection open.
    begun: AtomicU64,
    /// Those of them that have no answer yet.
    in_flight: AtomicU64,
    /// Bytes of the bodies of answers, and how many of them are no longer in memory. The second is never ahead of the
    /// first. Nothing else that the other end reads is progress: it could be made to read acknowledgements of pings
    /// for ever.
    answered: AtomicUsize,
    read: AtomicUsize,
    answers: Mutex<Answers>,
}

/// Answers that are in memory, in whole or in part: as many as HTTP/2 has streams.
#[derive(Default)]
struct Answers {
    next: u64,
    unread: Vec<Answer>,
}

struct Answer {
    number: u64,
    since: Instant,
    /// Bytes that were unread on the connection when it was given, its own included.
    ahead: usize,
}

/// Why a connection has to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expired {
    /// No request head came.
    Silent,
    /// No request for the idle time.
    Idle,
    /// Answers are not read, or too slowly.
    Unread,
}

impl Expired {
    /// As a metric label: a closed set.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::Idle => "idle",
            Self::Unread => "unread",
        }
    }
}

impl Usage {
    /// The use of a connection that has just been accepted.
    pub(in super::super) fn of(connection: Connection) -> Arc<Self> {
        Arc::new(Self {
            _connection: connection,
            accepted: Instant::now(),
            used: AtomicBool::new(false),
            begun: AtomicU64::new(0),
            in_flight: AtomicU64::new(0),
            answered: AtomicUsize::new(0),
            read: AtomicUsize::new(0),
            answers: Mutex::default(),
        })
    }

    /// Counts a request.
    pub(super) fn begin(self: &Arc<Self>, probe: bool) -> InUse {
        self.used.store(true, Ordering::Relaxed);
        if probe {
            return InUse(None);
        }
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InUse(Some(Arc::clone(self)))
    }

    /// Counts an answer of so many bytes; its number.
    pub(in super::super) fn answer(&self, bytes: usize) -> u64 {
        self.answered(bytes);
        let ahead = self.progress().unread;
        let mut answers = self.answers();
        let number = answers.next;
        answers.next += 1;
        answers.unread.push(Answer { number, since: Instant::now(), ahead });
        number
    }

    /// Counts bytes of an answer.
    pub(in super::super) fn answered(&self, bytes: usize) {
        self.answered.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes of an answer have been read, or thrown away.
    pub(in super::super) fn read(&self, bytes: usize) {
        self.read.fetch_add(bytes, Ordering::Relaxed);
    }

    /// All of an answer has been read, or thrown away.
    pub(in super::super) fn done(&self, number: u64) {
        let mut answers = self.answers();
        if let Some(at) = answers.unread.iter().position(|answer| answer.number == number) {
            answers.unread.swap_remove(at);
        }
    }

    fn answers(&self) -> MutexGuard<'_, Answers> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Requests without an answer.
    pub(super) fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Relaxed)
    }

    pub(super) fn progress(&self) -> Progress {
        let read = self.read.load(Ordering::Relaxed);
        Progress { unread: self.answered.load(Ordering::Relaxed).wrapping_sub(read), read }
    }

    /// The end of the time for the first request head, and for all that comes before it.
    pub(super) fn first_head(&self, limits: &Limits) -> Instant {
        self.accepted + limits.header_timeout
    }

    /// Waits until the connection has to go.
    pub(super) async fn expire(&self, limits: &Limits) -> Expired {
        tokio::time::sleep_until(self.first_head(limits)).await;
        if !self.used.load(Ordering::Relaxed) {
            return Expired::Silent;
        }
        let look = LOOK.min(limits.idle_timeout);
        let mut reader = Reader::of(limits, look);
        let mut idle_since = Instant::now();
        loop {
            let (begun, before) = (self.begun.load(Ordering::Relaxed), self.progress());
            tokio::time::sleep(look).await;
            if !reader.keeps_up(&before, &self.progress()) || self.has_old_answer(limits) {
                return Expired::Unread;
            }
            if self.in_flight() > 0 || begun != self.begun.load(Ordering::Relaxed) {
                idle_since = Instant::now();
            } else if idle_since.elapsed() >= limits.idle_timeout {
                return Expired::Idle;
            }
        }
    }

    /// True if an answer has been unread for longer than it takes to read it, and all before it, at the minimum rate,
    /// and the idle time beside that. Who reads enough of some answers cannot keep others for ever.
    fn has_old_answer(&self, limits: &Limits) -> bool {
        let longest = |answer: &Answer| {
            let seconds = answer.ahead / limits.min_rate.max(1);
            limits.idle_timeout.saturating_add(Duration::from_secs(seconds as u64))
        };
        self.answers().unread.iter().any(|answer| answer.since.elapsed() > longest(answer))
    }
}

/// State of a connection's answers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Progress {
    unread: usize,
    read: usize,
}

/// The rate that is demanded of the reader of a connection.
struct Reader {
    /// Bytes that are to be read between two looks.
    least: usize,
    /// Bytes that should have been read and were not, as far as is known.
    owed: usize,
}

impl Reader {
    fn of(limits: &Limits, look: Duration) -> Self {
        let millis = usize::try_from(look.as_millis()).unwrap_or(usize::MAX);
        Self { least: limits.min_rate.saturating_mul(millis) / 1000, owed: 0 }
    }

    /// True if enough was read between two looks.
    fn keeps_up(&mut self, before: &Progress, now: &Progress) -> bool {
        let read = now.read.wrapping_sub(before.read);
        if read >= before.unread {
            self.owed = 0;
            return true;
        }
        let due = self.least.min(before.unread);
        self.owed = self.owed.saturating_add(due).saturating_sub(read);
        // Of more than can be due, a part of one piece may have been read, which is not known before its end.
        self.owed <= if due < self.least { 0 } else { PIECE }
    }
}

impl std::fmt::Debug for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Usage({} in flight, {} bytes unread)", self.in_flight(), self.progress().unread)
    }
}

/// A request in flight on a connection.
pub(super) struct InUse(Option<Arc<Usage>>);

impl Drop for InUse {
    fn drop(&mut self) {
        if let Some(usage) = &self.0 {
            usage.in_flight.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests;
