//! [`Pool`]: where submissions wait for their batch.
//!
//! Invariants: bounded by count and bytes, so that overload becomes a refusal and never a broken promise; an
//! identity is in flight at most once, and whoever submits it meanwhile shares the one outcome.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::Shared;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::log::{AddError, Fee, LogSettings, Submission};
use super::round::{Answer, Ticket};
use crate::merkle::Hash;

/// Bounds of what a refused client is told to wait.
const RETRY_AFTER: (f64, f64) = (1.0, 60.0);
/// Weight of the newest batch in the drain rate: about the last ten batches count.
const RATE_WEIGHT: f64 = 0.1;

pub(super) struct Pool {
    max_entries: usize,
    max_bytes: usize,
    max_batch_entries: usize,
    max_batch_bytes: usize,
    state: Mutex<State>,
    arrived: Notify,
}

struct State {
    waiting: VecDeque<Waiting>,
    bytes: usize,
    /// Waiting or in the batch under way.
    in_flight: HashMap<Hash, SharedAnswer>,
    open: bool,
    /// Entries per second; 0 until the first batch.
    drain_rate: f64,
}

/// A submission in line.
struct Waiting {
    submission: Submission,
    ticket: Ticket,
    since: Instant,
}

/// What waits for a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Load {
    pub(super) entries: usize,
    pub(super) bytes: usize,
    /// How long the first in line has waited.
    pub(super) oldest: Duration,
}

type SharedAnswer = Shared<oneshot::Receiver<Answer>>;

/// Where a submission's answer comes.
pub(super) struct Waiter {
    pub(super) answer: SharedAnswer,
    /// Whether somebody else submitted the same identity before.
    pub(super) joined: bool,
}

/// The submissions of the next batch, each with the ticket that answers it.
pub(super) struct Draft {
    pub(super) submissions: Vec<Submission>,
    pub(super) tickets: Vec<Ticket>,
}

impl Pool {
    pub(super) fn new(settings: &LogSettings) -> Self {
        Self {
            max_entries: settings.max_pool_entries,
            max_bytes: settings.max_pool_bytes,
            max_batch_entries: settings.max_batch_entries.max(1),
            max_batch_bytes: settings.max_batch_bytes,
            state: Mutex::new(State {
                waiting: VecDeque::new(),
                bytes: 0,
                in_flight: HashMap::new(),
                open: true,
                drain_rate: 0.0,
            }),
            arrived: Notify::new(),
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.state().open
    }

    /// Whether this identity is in flight.
    pub(super) fn holds(&self, identity: &Hash) -> bool {
        self.state().in_flight.contains_key(identity)
    }

    /// What waits at this moment.
    pub(super) fn load(&self) -> Load {
        let state = self.state();
        let oldest = state.waiting.front().map(|first| first.since.elapsed()).unwrap_or_default();
        Load { entries: state.waiting.len(), bytes: state.bytes, oldest }
    }

    /// Whether what waits is as much as one batch may hold.
    pub(super) fn fills_a_batch(&self) -> bool {
        let state = self.state();
        state.waiting.len() >= self.max_batch_entries || state.bytes >= self.max_batch_bytes
    }

    #[cfg(test)]
    pub(super) fn submit(&self, submission: Submission) -> Result<Waiter, AddError> {
        self.submit_for(submission, &super::log::Free)
    }

    /// Puts a submission in line for a fee, or joins the one with the same identity that is in flight.
    pub(super) fn submit_for(&self, submission: Submission, fee: &dyn Fee) -> Result<Waiter, AddError> {
        let mut state = self.state();
        if let Some(answer) = state.in_flight.get(&submission.identity) {
            return Ok(Waiter { answer: answer.clone(), joined: true });
        }
        if !state.open {
            return Err(AddError::Closed);
        }
        let bytes = submission.bytes();
        if state.waiting.len() >= self.max_entries || state.bytes.saturating_add(bytes) > self.max_bytes {
            return Err(AddError::Full { retry_after: state.retry_after() });
        }
        // Under the lock, and last: of two that come at once only the one that gets in line pays.
        fee.pay().map_err(|retry_after| AddError::TooMany { retry_after })?;
        let (ticket, answer) = Ticket::pair();
        let answer = answer.shared();
        state.in_flight.insert(submission.identity, answer.clone());
        state.bytes += bytes;
        state.waiting.push_back(Waiting { submission, ticket, since: Instant::now() });
        drop(state);
        self.arrived.notify_one();
        Ok(Waiter { answer, joined: false })
    }

    /// The next batch, as soon as anything waits. After `shutdown` nothing new is let in; `None` once the rest is
    /// sequenced.
    pub(super) async fn next(&self, shutdown: &CancellationToken) -> Option<Draft> {
        loop {
            if shutdown.is_cancelled() {
                self.state().open = false;
            }
            if let Some(draft) = self.take() {
                return Some(draft);
            }
            if !self.is_open() {
                return None;
            }
            tokio::select! {
                () = self.arrived.notified() => {}
                () = shutdown.cancelled() => {}
            }
        }
    }

    fn take(&self) -> Option<Draft> {
        let mut state = self.state();
        let mut draft = Draft { submissions: Vec::new(), tickets: Vec::new() };
        let mut bytes = 0;
        while let Some(first) = state.waiting.front() {
            let with = bytes + first.submission.bytes();
            let full = draft.submissions.len() >= self.max_batch_entries || with > self.max_batch_bytes;
            if full && !draft.submissions.is_empty() {
                break;
            }
            bytes = with;
            let Some(Waiting { submission, ticket, .. }) = state.waiting.pop_front() else { break };
            draft.submissions.push(submission);
            draft.tickets.push(ticket);
        }
        state.bytes -= bytes;
        (!draft.submissions.is_empty()).then_some(draft)
    }

    /// Forgets the identities of a batch that was answered, and learns how fast the queue drains.
    pub(super) fn settle(&self, identities: &[Hash], took: Duration) {
        let mut state = self.state();
        for identity in identities {
            state.in_flight.remove(identity);
        }
        #[expect(clippy::cast_precision_loss, reason = "a rate is an estimate")]
        let rate = identities.len() as f64 / took.as_secs_f64().max(1e-6);
        let known = if state.drain_rate > 0.0 { state.drain_rate } else { rate };
        state.drain_rate = known + RATE_WEIGHT * (rate - known);
    }

    /// Lets nothing in any more and refuses what waits.
    pub(super) fn close(&self, refusal: &AddError) {
        let mut state = self.state();
        state.open = false;
        state.bytes = 0;
        state.in_flight.clear();
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        for Waiting { ticket, .. } in waiting {
            ticket.refuse(refusal.clone());
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// When the queue as it stands will have drained.
    fn retry_after(&self) -> Duration {
        #[expect(clippy::cast_precision_loss, reason = "a rate is an estimate")]
        let seconds = self.waiting.len() as f64 / self.drain_rate.max(1.0);
        Duration::from_secs_f64(seconds.ceil().clamp(RETRY_AFTER.0, RETRY_AFTER.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Origin;

    fn submission(n: u64) -> Submission {
        let identity = Hash::digest(&n.to_be_bytes());
        Submission {
            identity,
            leaf: bytes::Bytes::from_static(b"leaf").into(),
            extra: bytes::Bytes::new(),
            terms: vec![],
        }
    }

    fn retry_after(pool: &Pool) -> Duration {
        match pool.submit(submission(u64::MAX)) {
            Err(AddError::Full { retry_after }) => retry_after,
            _ => panic!("not refused"),
        }
    }

    #[test]
    fn the_time_to_come_back_is_what_the_queue_needs_to_drain() {
        let mut settings = LogSettings::new(Origin::new("log.example").unwrap());
        settings.max_pool_entries = 30;
        let pool = Pool::new(&settings);
        for n in 0..30 {
            assert!(pool.submit(submission(n)).is_ok());
        }
        pool.settle(&[Hash::default(); 10], Duration::from_secs(2));
        assert_eq!(retry_after(&pool), Duration::from_secs(6));
        pool.settle(&[Hash::default(); 10], Duration::from_millis(1));
        assert_eq!(retry_after(&pool), Duration::from_secs(1), "never at once");
        let slow = Pool::new(&settings);
        slow.settle(&[Hash::default()], Duration::from_hours(1));
        assert_eq!(slow.state().retry_after(), Duration::from_secs(1), "an empty queue drains at once");
    }

    #[tokio::test(start_paused = true)]
    async fn the_load_tells_how_long_the_first_in_line_has_waited() {
        let mut settings = LogSettings::new(Origin::new("log.example").unwrap());
        settings.max_batch_entries = 1;
        let pool = Pool::new(&settings);
        for n in 0..2 {
            assert!(pool.submit(submission(n)).is_ok());
            tokio::time::advance(Duration::from_secs(3)).await;
        }
        assert_eq!(pool.load(), Load { entries: 2, bytes: 8, oldest: Duration::from_secs(6) });
        assert!(pool.next(&CancellationToken::new()).await.is_some());
        assert_eq!(pool.load(), Load { entries: 1, bytes: 4, oldest: Duration::from_secs(3) });
    }

    #[tokio::test]
    async fn what_is_forgotten_after_its_answer_can_be_submitted_again() {
        let pool = Pool::new(&LogSettings::new(Origin::new("log.example").unwrap()));
        pool.submit(submission(1)).map(|_| ()).unwrap();
        let draft = pool.next(&CancellationToken::new()).await.unwrap();
        assert_eq!(pool.load(), Load::default());
        assert!(pool.submit(submission(1)).unwrap().joined, "the batch under way counts");
        draft.tickets.into_iter().for_each(|ticket| ticket.refuse(AddError::Closed));
        pool.settle(&[submission(1).identity], Duration::from_secs(1));
        assert!(!pool.submit(submission(1)).unwrap().joined);
    }
}
