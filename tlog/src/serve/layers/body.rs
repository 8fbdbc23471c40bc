//! Receiving a request's body, whole and within its bounds, before anything looks at the request.
//!
//! Invariant: a body that does not arrive holds nothing that complete requests need. It has a place and bytes
//! of its address's share, a minimum rate and a deadline, and it ends soon after the server is told to stop.

use std::pin::pin;
use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_LENGTH, EXPECT};
use http_body_util::BodyExt as _;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::super::settings::Limits;
use super::super::shares::{Full, ReceivedBytes, Receiving, Share};

/// A body that is too large is read and thrown away up to this many times the limit, so that the client gets
/// to read the answer instead of a reset connection.
const DRAIN_FACTOR: usize = 4;
/// Room that is made for a body before it has come; a client can announce more than it sends.
const ROOM: usize = 64 * 1024;
/// Between two looks at how a body is getting on.
const LOOK: Duration = Duration::from_secs(2);
/// Looks after which the rate is judged.
const LOOKS: u32 = 5;
/// The time between two judgements, in which the minimum rate has to be kept.
const JUDGED_SECONDS: usize = 10;
/// Looks that a body has once the server is told to stop.
const LAST_LOOKS: u32 = 2;

/// What of a refused body is read and thrown away, so that its client gets to read the answer.
const DISCARD: usize = 256 * 1024;
/// How long that may take.
const DISCARD_WITHIN: Duration = Duration::from_secs(1);

/// A complete body, with what it holds of its address's share.
pub(super) struct Received {
    pub(super) bytes: Bytes,
    pub(super) held: Option<ReceivedBytes>,
}

/// Why there is no complete body.
pub(super) enum BodyError {
    /// It has more bytes than are taken; so many are known of.
    TooLarge(usize),
    /// The client ended it early.
    Broken,
    /// It took too long as a whole, or was too slow.
    Slow,
    /// There is no room.
    Full(Full),
    /// The server is about to stop.
    Stopping,
}

/// The bounds of one body.
pub(super) struct Bounds<'b> {
    pub(super) limits: &'b Limits,
    /// Bytes that are taken.
    pub(super) most: usize,
    pub(super) stop: &'b CancellationToken,
}

/// Receives `body` on account of `share`, which is asked for if there is anything to receive.
pub(super) async fn receive(
    headers: &HeaderMap,
    body: Body,
    share: impl FnOnce() -> Share,
    bounds: &Bounds<'_>,
) -> Result<Received, BodyError> {
    if body.is_end_stream() {
        return Ok(Received { bytes: Bytes::new(), held: None });
    }
    let announced = announced(headers);
    if announced > bounds.most && headers.contains_key(EXPECT) {
        // The client waits for a word before it sends the body: there is nothing to drain.
        return Err(BodyError::TooLarge(announced));
    }
    let place = share().body().map_err(BodyError::Full)?;
    let kept = Kept { place, bytes: Vec::new() };
    Incoming { announced, received: 0, kept }.complete(body, bounds).await
}

/// Bytes that a client says it will send; 0 if it does not say.
pub(super) fn announced(headers: &HeaderMap) -> usize {
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    length.and_then(|length| usize::try_from(length).ok()).unwrap_or(0)
}

/// A body that is arriving.
struct Incoming {
    announced: usize,
    received: usize,
    kept: Kept,
}

impl Incoming {
    async fn complete(mut self, mut body: Body, bounds: &Bounds<'_>) -> Result<Received, BodyError> {
        let mut pace = Pace::begin(bounds);
        let mut look = pin!(tokio::time::sleep_until(pace.next));
        loop {
            let frame = tokio::select! {
                biased;
                // Also while frames keep coming: empty ones are no progress.
                () = look.as_mut() => {
                    pace.look(self.received)?;
                    look.as_mut().reset(pace.next);
                    continue;
                }
                frame = body.frame() => frame,
            };
            let Some(frame) = frame else { break };
            let Ok(data) = frame.map_err(|_| BodyError::Broken)?.into_data() else { continue };
            let whole = self.announced > 0 && self.announced <= bounds.most;
            if whole && self.received == 0 && data.len() == self.announced {
                // All of it came with the head, as small ones do. HTTP lets nothing follow.
                self.kept.place.grow(data.len()).map_err(BodyError::Full)?;
                return Ok(Received { bytes: data, held: Some(self.kept.place.complete()) });
            }
            self.take(&data, bounds.most)?;
        }
        if self.received > bounds.most {
            return Err(BodyError::TooLarge(self.received));
        }
        let Kept { place, bytes } = self.kept;
        Ok(Received { bytes: bytes.into(), held: Some(place.complete()) })
    }

    /// Keeps `data` as long as the body is not too large.
    fn take(&mut self, data: &Bytes, most: usize) -> Result<(), BodyError> {
        self.received = self.received.saturating_add(data.len());
        if self.received > most.saturating_mul(DRAIN_FACTOR) {
            return Err(BodyError::TooLarge(self.received));
        }
        if self.received > most || self.announced > most {
            self.kept.bytes = Vec::new();
            return Ok(());
        }
        let whole = if self.announced > 0 { self.announced } else { most };
        self.kept.take(data, self.announced.min(ROOM), whole).map_err(BodyError::Full)
    }
}

/// What is kept of a body. Its place counts the memory, not only the bytes that have come.
struct Kept {
    place: Receiving,
    bytes: Vec<u8>,
}

impl Kept {
    /// Adds `data`, with room for at least `first` bytes and at most the `whole` body.
    fn take(&mut self, data: &[u8], first: usize, whole: usize) -> Result<(), Full> {
        let (needed, room) = (self.bytes.len() + data.len(), self.bytes.capacity());
        if needed > room {
            let wanted = (2 * room).max(first).min(whole).max(needed);
            self.place.grow(wanted - room)?;
            self.bytes.reserve_exact(wanted - self.bytes.len());
        }
        self.bytes.extend_from_slice(data);
        Ok(())
    }
}

/// How a body is getting on.
struct Pace<'b> {
    bounds: &'b Bounds<'b>,
    deadline: Instant,
    next: Instant,
    /// Looks since the rate was judged, and bytes at that time.
    looks: u32,
    judged: usize,
    /// Looks since the server was told to stop.
    last_looks: u32,
}

impl<'b> Pace<'b> {
    fn begin(bounds: &'b Bounds<'b>) -> Self {
        let now = Instant::now();
        let deadline = now + bounds.limits.body_timeout;
        Self { bounds, deadline, next: deadline.min(now + LOOK), looks: 0, judged: 0, last_looks: 0 }
    }

    fn look(&mut self, received: usize) -> Result<(), BodyError> {
        let now = Instant::now();
        if now >= self.deadline {
            return Err(BodyError::Slow);
        }
        if self.bounds.stop.is_cancelled() {
            self.last_looks += 1;
            if self.last_looks > LAST_LOOKS {
                return Err(BodyError::Stopping);
            }
        }
        self.looks += 1;
        if self.looks == LOOKS {
            let least = self.bounds.limits.min_rate.saturating_mul(JUDGED_SECONDS);
            if received - self.judged < least {
                return Err(BodyError::Slow);
            }
            (self.looks, self.judged) = (0, received);
        }
        self.next = self.deadline.min(now + LOOK);
        Ok(())
    }
}

/// Reads a little of the body of a refused request, if it comes soon and there is a place for it: many
/// clients send all of a request before they look for its answer.
pub(super) async fn discard(body: Body, share: impl FnOnce() -> Share) {
    if body.is_end_stream() {
        return;
    }
    let Ok(_place) = share().body() else { return };
    let mut body = body;
    let mut left = DISCARD;
    let reading = async {
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len).max(1));
            if left == 0 {
                break;
            }
        }
    };
    // A client that is slower than that reads the answer, or does not.
    let _ = tokio::time::timeout(DISCARD_WITHIN, reading).await;
}
