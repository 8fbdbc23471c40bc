//! The line before the cores: requests that compute wait in it for a turn, so that waiting can be seen and bounded.
//!
//! Without it a busy server begins everything that arrives: all of it shares the cores, and what is answered at the end
//! is answered too late. Here at most as many requests as the line has turns are in the part that computes
//! before it first waits for something else (a commit, a key's home). What was begun goes on without another
//! turn, so accepted work is finished before new work is taken.
//!
//! Turns go round the client addresses that wait, and within an address first come first served: a client
//! that sends more than its part waits for its own requests, and others wait for one of them.
//!
//! Invariant: a request that is refused has cost no cryptography. A newcomer is refused before its body is
//! read if its wait would exceed the line's patience at the present pace, and at the latest when its turn
//! comes after the limit.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

/// The newest wait counts for one part in so many of the pace.
const MEMORY: u64 = 16;

/// How long requests may wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waits {
    /// The longest wait that a newcomer may expect.
    pub(super) patience: Duration,
    /// The longest wait after which a request is still begun: its client may have gone.
    pub(super) limit: Duration,
}

/// A line. Clones are the same line.
#[derive(Clone, Debug)]
pub(super) struct Line(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    waits: Waits,
    state: Mutex<State>,
    waiting: AtomicUsize,
    /// Nanoseconds for which each request ahead of another has made it wait, lately.
    pace: AtomicU64,
}

#[derive(Debug)]
struct State {
    /// Turns that are not taken. None while anything waits.
    free: usize,
    /// Those who wait, by address; the first address has the next turn. Clients that cannot be told apart are
    /// one.
    addresses: VecDeque<(Option<IpAddr>, VecDeque<oneshot::Sender<Turn>>)>,
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
    pub(super) const REASONS: [&'static str; 2] = ["line_expected", "line_waited"];

    /// As a metric label: a closed set.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Expected => "line_expected",
            Self::Waited => "line_waited",
        }
    }
}

/// The right to compute. Dropping it gives it to the next in line.
#[derive(Debug)]
pub(super) struct Turn(Option<Arc<Inner>>);

impl Line {
    /// A line with so many turns.
    pub(super) fn new(turns: usize, waits: Waits) -> Self {
        let state = Mutex::new(State { free: turns.max(1), addresses: VecDeque::new() });
        let (waiting, pace) = (AtomicUsize::new(0), AtomicU64::new(0));
        Self(Arc::new(Inner { waits, state, waiting, pace }))
    }

    /// Decides if it is worth joining. Cheap, so it comes before anything is read.
    pub(super) fn check(&self, address: Option<IpAddr>) -> Result<(), Refused> {
        if self.len() == 0 {
            return Ok(());
        }
        let ahead = u64::try_from(self.0.lock().ahead_of(address)).unwrap_or(u64::MAX);
        let expected = Duration::from_nanos(self.0.pace.load(Ordering::Relaxed).saturating_mul(ahead));
        if expected <= self.0.waits.patience { Ok(()) } else { Err(Refused::Expected) }
    }

    /// Requests that wait.
    pub(super) fn len(&self) -> usize {
        self.0.waiting.load(Ordering::Relaxed)
    }

    /// Waits for a turn.
    pub(super) async fn turn(&self, address: Option<IpAddr>) -> Result<Turn, Refused> {
        let (ahead, granted) = {
            let mut state = self.0.lock();
            if state.free > 0 {
                state.free -= 1;
                return Ok(Turn(Some(Arc::clone(&self.0))));
            }
            (state.ahead_of(address), state.join(address))
        };
        let (joined, place) = (Instant::now(), Waiting::join(&self.0.waiting));
        // Never closed: a sender leaves the line only with a turn.
        let turn = granted.await.map_err(|_| Refused::Waited)?;
        drop(place);
        let waited = joined.elapsed();
        self.learn(waited, ahead);
        if waited > self.0.waits.limit {
            return Err(Refused::Waited);
        }
        // What is woken would run next on this thread, before all that is ready: answers to finish, reads.
        tokio::task::yield_now().await;
        Ok(turn)
    }

    /// Runs `work`, which has a turn until it first waits for something.
    pub(super) async fn run<F: Future>(
        &self,
        address: Option<IpAddr>,
        work: F,
    ) -> Result<F::Output, Refused> {
        let mut work = pin!(work);
        let turn = self.turn(address).await?;
        let begun = std::future::poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await;
        drop(turn);
        match begun {
            Poll::Ready(output) => Ok(output),
            Poll::Pending => Ok(work.await),
        }
    }

    /// An estimate: of two that learn at once one may be forgotten.
    fn learn(&self, waited: Duration, ahead: usize) {
        let waited = u64::try_from(waited.as_nanos()).unwrap_or(u64::MAX);
        let each = waited / u64::try_from(ahead).unwrap_or(u64::MAX).saturating_add(1);
        let pace = match self.0.pace.load(Ordering::Relaxed) {
            0 => each,
            known => known - known / MEMORY + each / MEMORY,
        };
        self.0.pace.store(pace, Ordering::Relaxed);
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Requests that get a turn before one that joins now: those of its own address, and of each other as
    /// many.
    fn ahead_of(&self, address: Option<IpAddr>) -> usize {
        let waiting = |(_, queue): &(_, VecDeque<_>)| queue.len();
        let own = self.addresses.iter().find(|(known, _)| *known == address).map_or(0, waiting);
        self.addresses.iter().map(|other| waiting(other).min(own + 1)).sum()
    }

    fn join(&mut self, address: Option<IpAddr>) -> oneshot::Receiver<Turn> {
        let (grant, granted) = oneshot::channel();
        match self.addresses.iter_mut().find(|(known, _)| *known == address) {
            Some((_, queue)) => queue.push_back(grant),
            None => self.addresses.push_back((address, VecDeque::from([grant]))),
        }
        granted
    }

    /// The next in line, whose address goes to the end.
    fn next(&mut self) -> Option<oneshot::Sender<Turn>> {
        let (address, mut queue) = self.addresses.pop_front()?;
        let grant = queue.pop_front();
        if !queue.is_empty() {
            self.addresses.push_back((address, queue));
        }
        grant
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        while let Some(line) = self.0.take() {
            let next = {
                let mut state = line.lock();
                let next = state.next();
                if next.is_none() {
                    state.free += 1;
                }
                next
            };
            let Some(grant) = next else { return };
            // Outside of the lock: a client that has gone gives the turn back, and the next one gets it.
            if let Err(mut back) = grant.send(Self(Some(line))) {
                self.0 = back.0.take();
            }
        }
    }
}

/// A place in line, given up when dropped: also by a client that goes away.
struct Waiting<'l>(&'l AtomicUsize);

impl<'l> Waiting<'l> {
    fn join(count: &'l AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
