//! The line before the cores: requests that compute wait in it for a turn, so that waiting can be seen and bounded.
//!
//! Without it a busy server begins everything that arrives: all of it shares the cores, and what is answered at the end
//! is answered too late. Here at most one request for each worker thread of the runtime is in the part that computes
//! before it first waits for something else (a commit, a key's home); everyone else stands in line, first come first
//! served. What was begun goes on without another turn, so accepted work is finished before new work is taken.
//!
//! Invariant: whoever is refused has cost no cryptography. A newcomer is refused before its body is read if the line is
//! longer than [`PATIENCE`] at its present pace, and at the latest when its turn comes after [`LIMIT`].

use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

/// How long the line may be, in time. Long enough for a burst of a thousand certificates on one core, short against the
/// five seconds that sigstore-js gives a whole request.
pub(super) const PATIENCE: Duration = Duration::from_millis(500);
/// Who waited for this long was told the wrong time, because the pace fell meanwhile; the client may have gone.
pub(super) const LIMIT: Duration = Duration::from_secs(2);
/// The newest wait counts for one part in so many of the pace.
const MEMORY: u64 = 16;

/// The line.
#[derive(Debug)]
pub(super) struct Line {
    turns: Semaphore,
    waiting: AtomicUsize,
    /// Nanoseconds for which each of those ahead of one has made it wait, lately.
    pace: AtomicU64,
}

/// Not now: the line is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// It was when the request came.
    Expected,
    /// It took longer than it had seemed.
    Waited,
}

impl Refused {
    /// As a metric label: a closed set.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Expected => "line_expected",
            Self::Waited => "line_waited",
        }
    }
}

/// The right to compute.
#[derive(Debug)]
pub(super) struct Turn<'l>(#[expect(dead_code, reason = "held, not read")] SemaphorePermit<'l>);

impl Line {
    /// A line for so many cores.
    pub(super) fn new(cores: usize) -> Self {
        let turns = Semaphore::new(cores.clamp(1, Semaphore::MAX_PERMITS));
        Self { turns, waiting: AtomicUsize::new(0), pace: AtomicU64::new(0) }
    }

    /// Whether it is worth joining. Costs nothing, so it is asked before anything is read.
    pub(super) fn check(&self) -> Result<(), Refused> {
        if self.expected() <= PATIENCE { Ok(()) } else { Err(Refused::Expected) }
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Waits for a turn.
    pub(super) async fn turn(&self) -> Result<Turn<'_>, Refused> {
        if let Ok(permit) = self.turns.try_acquire() {
            return Ok(Turn(permit));
        }
        let (joined, place) = (Instant::now(), Waiting::join(&self.waiting));
        let ahead = place.ahead;
        // The semaphore serves in order, and is never closed.
        let permit = self.turns.acquire().await.map_err(|_| Refused::Waited)?;
        drop(place);
        let waited = joined.elapsed();
        self.learn(waited, ahead);
        if waited > LIMIT {
            return Err(Refused::Waited);
        }
        // Whoever is woken would run next on this thread, before all that is ready: answers to finish, reads.
        tokio::task::yield_now().await;
        Ok(Turn(permit))
    }

    /// Runs `work`, which has a turn until it first waits for something.
    pub(super) async fn run<F: Future>(&self, work: F) -> Result<F::Output, Refused> {
        let mut work = pin!(work);
        let turn = self.turn().await?;
        let begun = std::future::poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await;
        drop(turn);
        match begun {
            Poll::Ready(output) => Ok(output),
            Poll::Pending => Ok(Pin::new(&mut work).await),
        }
    }

    fn expected(&self) -> Duration {
        let waiting = u64::try_from(self.len()).unwrap_or(u64::MAX);
        Duration::from_nanos(self.pace.load(Ordering::Relaxed).saturating_mul(waiting))
    }

    /// An estimate: of two that learn at once one may be forgotten.
    fn learn(&self, waited: Duration, ahead: usize) {
        let waited = u64::try_from(waited.as_nanos()).unwrap_or(u64::MAX);
        let each = waited / u64::try_from(ahead).unwrap_or(u64::MAX).saturating_add(1);
        let pace = match self.pace.load(Ordering::Relaxed) {
            0 => each,
            known => known - known / MEMORY + each / MEMORY,
        };
        self.pace.store(pace, Ordering::Relaxed);
    }
}

/// A place in line, given up when dropped: also by a client that goes away.
struct Waiting<'l> {
    count: &'l AtomicUsize,
    ahead: usize,
}

impl<'l> Waiting<'l> {
    fn join(count: &'l AtomicUsize) -> Self {
        Self { count, ahead: count.fetch_add(1, Ordering::Relaxed) }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
