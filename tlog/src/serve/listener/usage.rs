//! How a connection is used: what its time limits are about, and what it holds of its address's share.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::super::settings::Limits;
use super::super::shares::Connection;

/// Between two looks at a connection, and the time over which the rate of its reader is judged.
const LOOK: Duration = Duration::from_secs(10);

/// The use of one connection.
pub(in super::super) struct Usage {
    /// Its part of the share. Given back with the last reference.
    _connection: Connection,
    /// A request head has come, of whatever request.
    used: AtomicBool,
    /// Requests that were begun, but for health checks: they keep no connection open.
    begun: AtomicU64,
    /// Those of them that have no answer yet.
    in_flight: AtomicU64,
    /// Bytes of answers, and how many of them are no longer in memory. The second is never ahead of the first.
    answered: AtomicUsize,
    read: AtomicUsize,
    /// Bytes that the other end has taken.
    written: AtomicU64,
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
    pub(super) fn of(connection: Connection) -> Arc<Self> {
        Arc::new(Self {
            _connection: connection,
            used: AtomicBool::new(false),
            begun: AtomicU64::new(0),
            in_flight: AtomicU64::new(0),
            answered: AtomicUsize::new(0),
            read: AtomicUsize::new(0),
            written: AtomicU64::new(0),
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

    /// Counts bytes of an answer.
    pub(in super::super) fn answered(&self, bytes: usize) {
        self.answered.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes of an answer have been read, or thrown away.
    pub(in super::super) fn read(&self, bytes: usize) {
        self.read.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Requests without an answer.
    pub(super) fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Bytes that the other end has taken.
    pub(super) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    fn progress(&self) -> Progress {
        let read = self.read.load(Ordering::Relaxed);
        let unread = self.answered.load(Ordering::Relaxed).wrapping_sub(read);
        Progress { unread, read, written: self.written() }
    }

    /// Waits until the connection has to go.
    pub(super) async fn expire(&self, limits: &Limits) -> Expired {
        tokio::time::sleep(limits.header_timeout).await;
        if !self.used.load(Ordering::Relaxed) {
            return Expired::Silent;
        }
        let look = LOOK.min(limits.idle_timeout);
        let millis = u64::try_from(look.as_millis()).unwrap_or(u64::MAX);
        let least = (limits.min_rate as u64).saturating_mul(millis) / 1000;
        let mut idle_since = Instant::now();
        loop {
            let (begun, before) = (self.begun.load(Ordering::Relaxed), self.progress());
            tokio::time::sleep(look).await;
            if self.progress().since(&before) < least.min(before.unread as u64) {
                return Expired::Unread;
            }
            if self.in_flight() > 0 || begun != self.begun.load(Ordering::Relaxed) {
                idle_since = Instant::now();
            } else if idle_since.elapsed() >= limits.idle_timeout {
                return Expired::Idle;
            }
        }
    }
}

/// What the reader of a connection has done.
struct Progress {
    unread: usize,
    read: usize,
    written: u64,
}

impl Progress {
    /// Bytes since `before`. A piece of an answer counts as read when its last byte is written, so that the
    /// end of one can be progress without many bytes.
    fn since(&self, before: &Self) -> u64 {
        let read = self.read.wrapping_sub(before.read) as u64;
        read.max(self.written - before.written)
    }
}

impl std::fmt::Debug for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Usage({} in flight)", self.in_flight())
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

/// A stream whose written bytes are counted.
pub(super) struct Metered<S> {
    stream: S,
    usage: Arc<Usage>,
}

impl<S> Metered<S> {
    pub(super) fn new(stream: S, usage: &Arc<Usage>) -> Self {
        Self { stream, usage: Arc::clone(usage) }
    }

    fn count(&self, written: Poll<std::io::Result<usize>>) -> Poll<std::io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = &written {
            self.usage.written.fetch_add(*bytes as u64, Ordering::Relaxed);
        }
        written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.count(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.count(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
