//! One step of load: requests leave when they are due, whatever the server does, and each is timed from when it was due.
//!
//! A loop that waits for an answer before it sends the next request stops measuring exactly while the server stalls
//! (coordinated omission). Here a thread of its own starts requests on schedule; what would exceed the bound of
//! requests in flight is not sent and counted as that, never silently delayed. How late the generator itself was
//! is measured too: a starved generator must not be mistaken for a slow server.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use chancery_tlog::serve::block;
use hdrhistogram::Histogram;
use serde::Serialize;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};

/// Longest latency that is told apart, in microseconds: two minutes, beyond any timeout that makes sense.
const LONGEST: u64 = 120_000_000;
/// From the call to the first arrival, so that the first is not late already.
const LEAD: Duration = Duration::from_millis(20);
/// Kinds of unclean answers that are told apart; the rest are counted together.
const MAX_COMPLAINTS: usize = 16;

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The server says that it did it.
    Accepted,
    /// 429 or 503 with `Retry-After`.
    RefusedCleanly,
    /// Any other answer: what it was.
    RefusedUncleanly(String),
    /// No answer in time.
    TimedOut,
    /// No connection, or a broken one: what happened.
    Broken(String),
}

/// How a request ended, and what was answered.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    /// How it ended.
    pub(crate) outcome: Outcome,
    /// The body; kept only of what was accepted.
    pub(crate) body: Bytes,
}

/// What became of the requests of a step.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Counts {
    /// Requests that were due.
    pub(crate) due: usize,
    /// Accepted.
    pub(crate) accepted: usize,
    /// Answered 429 or 503 with `Retry-After`.
    pub(crate) refused_cleanly: usize,
    /// Answered anything else.
    pub(crate) refused_uncleanly: usize,
    /// Not answered in time.
    pub(crate) timed_out: usize,
    /// Connections that failed.
    pub(crate) broken: usize,
    /// Not sent, because too many were in flight.
    pub(crate) not_sent: usize,
    /// What was answered uncleanly or broke, and how often.
    pub(crate) complaints: BTreeMap<String, usize>,
}

/// Everything that one step measured.
pub(crate) struct Volley {
    /// What became of the requests.
    pub(crate) counts: Counts,
    /// Microseconds from when it was due to its answer or its timeout, of what was accepted or timed out.
    pub(crate) latency: Histogram<u64>,
    /// Microseconds from when it was due to when the generator started it.
    pub(crate) lateness: Histogram<u64>,
    /// From the first arrival to the last accepted answer.
    pub(crate) took: Duration,
    /// Number and answer of every accepted request.
    pub(crate) answers: Vec<(usize, Bytes)>,
}

struct Ended {
    number: usize,
    due: Instant,
    started: Instant,
    at: Instant,
    reply: Reply,
}

/// Sends request `n` at `arrivals[n]`, with at most `in_flight` unanswered, and waits until the last one has ended.
pub(crate) async fn fire<S, F>(arrivals: Vec<Duration>, in_flight: usize, send: S) -> Result<Volley>
where
    S: Fn(usize) -> F + Send + Sync + 'static,
    F: Future<Output = Reply> + Send + 'static,
{
    let mut volley = Volley::new(arrivals.len())?;
    let (report, mut ended) = mpsc::unbounded_channel();
    let runtime = Handle::current();
    // A thread, because the runtime's timer counts in milliseconds and its workers may be busy.
    let pacer = block(move || pace(&arrivals, in_flight, &send, &report, &runtime));
    let mut last = None;
    while let Some(request) = ended.recv().await {
        if request.reply.outcome == Outcome::Accepted {
            last = last.max(Some(request.at));
        }
        volley.record(request);
    }
    let (start, not_sent) = pacer.await.context("the thread that starts requests failed")?;
    volley.counts.not_sent = not_sent;
    volley.took = last.map_or(Duration::ZERO, |last| last.saturating_duration_since(start));
    Ok(volley)
}

/// Starts every request when it is due. Gives when the first one was, and how many were not sent.
fn pace<S, F>(
    arrivals: &[Duration],
    in_flight: usize,
    send: &S,
    report: &mpsc::UnboundedSender<Ended>,
    runtime: &Handle,
) -> (Instant, usize)
where
    S: Fn(usize) -> F,
    F: Future<Output = Reply> + Send + 'static,
{
    let slots = Arc::new(Semaphore::new(in_flight));
    let start = Instant::now() + LEAD;
    let mut not_sent = 0;
    for (number, at) in arrivals.iter().enumerate() {
        let due = start + *at;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
            not_sent += 1;
            continue;
        };
        let (request, report) = (send(number), report.clone());
        runtime.spawn(async move {
            let started = Instant::now();
            let reply = request.await;
            drop(slot);
            // The receiver waits for every sender, so it is there.
            let _ = report.send(Ended { number, due, started, at: Instant::now(), reply });
        });
    }
    (start, not_sent)
}

impl Volley {
    fn new(due: usize) -> Result<Self> {
        let histogram = || Histogram::new_with_bounds(1, LONGEST, 3).context("cannot make a histogram");
        Ok(Self {
            counts: Counts { due, ..Counts::default() },
            latency: histogram()?,
            lateness: histogram()?,
            took: Duration::ZERO,
            answers: Vec::new(),
        })
    }

    fn record(&mut self, request: Ended) {
        let Ended { number, due, started, at, reply } = request;
        let latency = micros(at.saturating_duration_since(due));
        self.lateness.saturating_record(micros(started.saturating_duration_since(due)));
        match reply.outcome {
            Outcome::Accepted => {
                self.counts.accepted += 1;
                self.latency.saturating_record(latency);
                self.answers.push((number, reply.body));
            }
            Outcome::TimedOut => {
                self.counts.timed_out += 1;
                // It took at least that long; leaving it out would flatter the server.
                self.latency.saturating_record(latency);
            }
            Outcome::RefusedCleanly => self.counts.refused_cleanly += 1,
            Outcome::RefusedUncleanly(what) => {
                self.counts.refused_uncleanly += 1;
                self.counts.complain(what);
            }
            Outcome::Broken(what) => {
                self.counts.broken += 1;
                self.counts.complain(what);
            }
        }
    }
}

impl Counts {
    fn complain(&mut self, what: String) {
        let full = self.complaints.len() >= MAX_COMPLAINTS && !self.complaints.contains_key(&what);
        *self.complaints.entry(if full { "others".to_owned() } else { what }).or_default() += 1;
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use tokio::sync::Mutex;

    use super::*;
    use crate::schedule::{Spacing, arrivals};

    fn reply(outcome: Outcome) -> Reply {
        Reply { outcome, body: Bytes::from_static(b"ok") }
    }

    /// The server works one request at a time and stalls 300 ms in the first one. A closed loop would see one slow
    /// request in thirty; the arrivals of the stall have waited too, and must show it.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_stall_shows_in_the_latency_of_everyone_who_was_due_in_it() {
        let server = Arc::new(Mutex::new(()));
        let times = arrivals(100.0, Duration::from_millis(300), Spacing::Even, 0);
        let due = times.len();
        let volley = fire(times, 1000, move |number| {
            let server = Arc::clone(&server);
            async move {
                let _turn = server.lock().await;
                if number == 0 {
                    tokio::time::sleep(Duration::from_millis(300)).await;
                }
                reply(Outcome::Accepted)
            }
        });
        let volley = volley.await.unwrap();
        assert_eq!(volley.counts.accepted, due);
        // Whoever was due in the first 200 ms waited for 100 ms at least, on any machine: that is two thirds.
        assert!(
            volley.latency.value_at_quantile(0.5) >= 100_000,
            "{}",
            volley.latency.value_at_quantile(0.5)
        );
        assert!(volley.latency.max() >= 300_000);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_exceeds_the_bound_is_counted_as_not_sent() {
        let gate = Arc::new(Semaphore::new(0));
        let (opened, calls) = (Arc::clone(&gate), Arc::new(std::sync::atomic::AtomicUsize::new(0)));
        let counted = Arc::clone(&calls);
        let volley = fire(vec![Duration::ZERO; 50], 8, move |number| {
            calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let gate = Arc::clone(&gate);
            // Nobody passes before the eighth has come, and by then the rest were due as well.
            async move {
                if number == 7 {
                    tokio::time::sleep(Duration::from_millis(300)).await;
                    gate.add_permits(1000);
                }
                let _pass = gate.acquire().await;
                reply(Outcome::Accepted)
            }
        });
        let volley = volley.await.unwrap();
        let sent = counted.load(std::sync::atomic::Ordering::Relaxed);
        let counts = volley.counts;
        assert_eq!((counts.accepted, counts.not_sent), (sent, 50 - sent));
        assert!(counts.not_sent > 0 && sent >= 8, "{sent} sent");
        assert!(opened.available_permits() > 0);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn every_outcome_is_counted_under_its_name() {
        let outcomes = [
            Outcome::Accepted,
            Outcome::RefusedCleanly,
            Outcome::RefusedUncleanly("500".to_owned()),
            Outcome::TimedOut,
            Outcome::Broken("reset".to_owned()),
        ];
        let sent = outcomes.clone();
        let volley = fire(vec![Duration::ZERO; 5], 5, move |number| {
            let outcome = sent[number].clone();
            async move { reply(outcome) }
        });
        let volley = volley.await.unwrap();
        let complaints = [("500".to_owned(), 1), ("reset".to_owned(), 1)].into();
        let once = Counts {
            due: 5,
            accepted: 1,
            refused_cleanly: 1,
            refused_uncleanly: 1,
            timed_out: 1,
            broken: 1,
            not_sent: 0,
            complaints,
        };
        assert_eq!(volley.counts, once);
        assert_eq!(volley.latency.len(), 2, "accepted and timed out");
        assert_eq!(volley.answers.len(), 1);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn complaints_are_bounded() {
        let volley = fire(vec![Duration::ZERO; 100], 100, |number| async move {
            reply(Outcome::RefusedUncleanly(format!("complaint {number}")))
        });
        let complaints = volley.await.unwrap().counts.complaints;
        assert_eq!(complaints.len(), MAX_COMPLAINTS + 1);
        assert_eq!(complaints.values().sum::<usize>(), 100);
    }
}
