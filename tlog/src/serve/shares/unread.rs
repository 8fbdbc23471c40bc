//! [`Unread`]: bytes of answers, counted for as long as they are in memory.
//!
//! A count belongs to the bytes: it is given back when the last reference to them is dropped, because they
//! were written to the socket, because the client has reset their stream, or because the connection has
//! ended. So nothing that a client does can leave a count behind.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::{Body, HttpBody};
use axum::response::Response;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};

use super::super::listener::Usage;
use super::{Full, Share};

/// Bytes of answers on account of a client and of a connection.
pub(in super::super) struct Unread {
    share: Share,
    connection: Option<Arc<Usage>>,
    bytes: usize,
}

impl Share {
    /// True if there is room for one more answer.
    pub(in super::super) fn may_answer(&self) -> Result<(), Full> {
        let bounds = self.unread_bounds();
        self.has_room(|held| &held.unread, &bounds)
    }

    /// `answer`, counted on account of this client until it is read, or the reason why there is no room for
    /// it. An answer that `must` be sent always has room.
    pub(in super::super) fn counted(
        &self,
        answer: Response,
        connection: Option<&Arc<Usage>>,
        must: bool,
    ) -> Result<Response, Full> {
        let size = usize::try_from(answer.body().size_hint().lower()).unwrap_or(usize::MAX);
        let unread = self.unread(size, connection, must)?;
        // One answer larger than the bound has room if nothing else is unread.
        let uncounted = size - unread.bytes;
        Ok(answer.map(|body| Body::new(Counted { body, unread: Some(unread), uncounted })))
    }

    fn unread(&self, size: usize, connection: Option<&Arc<Usage>>, must: bool) -> Result<Unread, Full> {
        let bounds = self.unread_bounds();
        let own = if self.held.is_some() { bounds.own } else { bounds.all };
        let bytes = size.min(own).min(bounds.all);
        if must {
            self.add(|held| &held.unread, bytes);
        } else {
            self.take(|held| &held.unread, bytes, &bounds)?;
        }
        if let Some(connection) = connection {
            connection.answered(bytes);
        }
        Ok(Unread { share: self.again(), connection: connection.cloned(), bytes })
    }
}

impl Unread {
    /// Divides the count: at most `bytes` of it go with the result.
    fn split(&mut self, bytes: usize) -> Self {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Self { share: self.share.again(), connection: self.connection.clone(), bytes }
    }

    fn grow(&mut self, bytes: usize) {
        self.share.add(|held| &held.unread, bytes);
        if let Some(connection) = &self.connection {
            connection.answered(bytes);
        }
        self.bytes += bytes;
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        self.share.give(|held| &held.unread, self.bytes);
        if let Some(connection) = &self.connection {
            connection.read(self.bytes);
        }
    }
}

/// The body of a counted answer. Its pieces take their part of the count with them.
struct Counted {
    body: Body,
    /// `None` once the last piece has been handed out.
    unread: Option<Unread>,
    /// Bytes of the announced size that are not counted.
    uncounted: usize,
}

impl Counted {
    fn piece(&mut self, data: Bytes) -> Bytes {
        let last = self.body.is_end_stream();
        let Some(unread) = &mut self.unread else { return data };
        let rest = data.len().saturating_sub(unread.bytes);
        let uncounted = rest.min(self.uncounted);
        self.uncounted -= uncounted;
        if rest > uncounted {
            // A body that did not announce its size. The transport has room for this piece of it.
            unread.grow(rest - uncounted);
        }
        let held = if last { self.unread.take() } else { Some(unread.split(data.len())) };
        Bytes::from_owner(Piece { data, _held: held })
    }
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        let polled = ready!(Pin::new(&mut this.body).poll_frame(context));
        let counted = |frame: Frame<Bytes>| match frame.into_data() {
            Ok(data) => Frame::data(this.piece(data)),
            Err(trailers) => trailers,
        };
        Poll::Ready(polled.map(|frame| frame.map(counted)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Bytes of an answer with their count.
struct Piece {
    data: Bytes,
    _held: Option<Unread>,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}
