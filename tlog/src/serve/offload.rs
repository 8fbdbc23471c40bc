//! Computing and waiting off the runtime: what takes longer than a few milliseconds runs on threads that no
//! request waits on.
//!
//! An async thread that computes for 200 ms answers nothing else meanwhile. Small requests stay where they are,
//! because a hop to another thread costs more than they do.
//!
//! Invariant: a request's place, the bytes of its body and its turn are given back when nothing computes for it
//! any more, and no sooner. A client that goes away drops the request's future at once, but a blocking thread
//! cannot be interrupted: what runs on one owns a share of all that the request holds. Otherwise a client that
//! sends and resets would have as much work done at one time as it likes.

use std::any::Any;
use std::num::NonZero;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;

use tokio::sync::{Notify, Semaphore};
use tokio::task::{JoinError, JoinHandle};

use crate::effort::Effort;

/// Bytes from which a whole request moves. The costliest endpoint (Rekor v1 `dsse`) takes some 50 ns a byte on a
/// slow core: 3 ms.
pub(super) const LARGE: usize = 64 * 1024;

/// Threads that compute at one time for [`compute`].
static ROOM: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(cores())));

tokio::task_local! {
    /// The request that is in work here.
    static REQUEST: Arc<InWork>;
}

/// Processors of this machine.
pub(super) fn cores() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

/// Runs `work` on a thread that may block: for what waits for a disk or for a key's home.
#[expect(clippy::disallowed_methods, reason = "it carries what its request holds")]
pub fn block<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    let request = REQUEST.try_with(Arc::clone).ok();
    tokio::task::spawn_blocking(move || {
        let done = work();
        drop(request);
        done
    })
}

/// Runs `work`, which computes for more than a few milliseconds, on another thread when one of as many as there
/// are cores is free.
pub async fn compute<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, JoinError> {
    // Never closed.
    let room = Arc::clone(&ROOM).acquire_owned().await.ok();
    let work = move || {
        let done = work();
        drop(room);
        done
    };
    block(work).await
}

/// What `work` makes of what a client has sent, with as much effort as that takes: here if it is little, else on a
/// thread that no request waits on, where `work` begins again.
pub async fn with_effort<T>(work: impl Fn(&Effort) -> T) -> T {
    if !REQUEST.try_with(|request| request.has_left()).unwrap_or(false) {
        let little = Effort::little();
        let outcome = work(&little);
        if !little.is_exceeded() {
            return outcome;
        }
    }
    leave_runtime().await;
    work(&Effort::any())
}

/// Moves the request that is in work here to a thread that no other request waits on, when it is its turn. For what
/// is known to compute for more than a few milliseconds.
pub async fn leave_runtime() {
    let Ok(request) = REQUEST.try_with(Arc::clone) else { return };
    // The chassis looks at this whenever the request's future is pending: there is nothing to wake.
    request.is_leaving.store(true, Ordering::Relaxed);
    std::future::poll_fn(|_| if request.has_left() { Poll::Ready(()) } else { Poll::Pending }).await;
}

/// A complete request until nothing computes for it any more.
pub(super) struct InWork {
    /// A part of the listener's bounds.
    _held: Box<dyn Any + Send + Sync>,
    /// It is to be polled by [`Elsewhere`] from now on.
    is_leaving: AtomicBool,
    /// It is.
    has_left: AtomicBool,
}

impl InWork {
    /// A request that holds `held`.
    pub(super) fn holding(held: impl Any + Send + Sync) -> Arc<Self> {
        let (is_leaving, has_left) = (AtomicBool::new(false), AtomicBool::new(false));
        Arc::new(Self { _held: Box::new(held), is_leaving, has_left })
    }

    /// Runs `work` as this request.
    pub(super) fn run<F: Future>(self: &Arc<Self>, work: F) -> impl Future<Output = F::Output> + use<F> {
        REQUEST.scope(Arc::clone(self), work)
    }

    /// Polls what [`InWork::run`] gave, here, until it ends or is to leave: then there is no output.
    pub(super) async fn here<F: Future + Unpin>(&self, work: &mut F) -> Option<F::Output> {
        std::future::poll_fn(|context| match Pin::new(&mut *work).poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if self.is_leaving.load(Ordering::Relaxed) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        })
        .await
    }

    /// From now on it is polled by [`Elsewhere`].
    pub(super) fn leave(&self) {
        self.has_left.store(true, Ordering::Relaxed);
    }

    fn has_left(&self) -> bool {
        self.has_left.load(Ordering::Relaxed)
    }
}

/// A future that is polled on other threads alone.
pub(super) struct Elsewhere<F>(Option<Pin<Box<F>>>);

impl<F> Elsewhere<F>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    pub(super) fn new(work: F) -> Self {
        Self(Some(Box::pin(work)))
    }

    /// Polls once with `waker`, and gives `turn` back when that is done. `None` after the future has ended.
    ///
    /// Whoever no longer awaits this does not end what is being computed: the thread owns the future and the
    /// turn until it is done.
    #[expect(clippy::disallowed_methods, reason = "the future carries what its request holds")]
    pub(super) async fn poll(&mut self, waker: Waker, turn: impl Send + 'static) -> Option<Poll<F::Output>> {
        let mut work = self.0.take()?;
        let polled = tokio::task::spawn_blocking(move || {
            let outcome = work.as_mut().poll(&mut Context::from_waker(&waker));
            drop(turn);
            (work, outcome)
        });
        let (work, outcome) = unwrapped(polled.await);
        if outcome.is_pending() {
            self.0 = Some(work);
        }
        Some(outcome)
    }

    /// Polls until it ends, one poll at a time in `room` so that what has begun cannot crowd the cores
    /// either.
    pub(super) async fn finish(mut self, alarm: Arc<Alarm>, room: &Arc<Semaphore>) -> Option<F::Output> {
        loop {
            alarm.0.notified().await;
            let turn = Arc::clone(room).acquire_owned().await;
            if let Poll::Ready(output) = self.poll(Waker::from(Arc::clone(&alarm)), turn).await? {
                return Some(output);
            }
        }
    }
}

/// What a future that is polled elsewhere wakes. A call before the wait is not lost.
#[derive(Default)]
pub(super) struct Alarm(Notify);

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.0.notify_one();
    }
}

/// A panic goes on where it would have been; a task that the end of the runtime has cancelled does too.
fn unwrapped<T>(outcome: Result<T, JoinError>) -> T {
    outcome.unwrap_or_else(|error| match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(error) => std::panic::panic_any(error.to_string()),
    })
}

#[cfg(test)]
mod tests;
