//! [`Unread`]: answers, counted for as long as they or their bytes are in memory.
//!
//! An answer costs its bytes, and beside them a price for what holds them: on HTTP/2 a stream, its head and the future
//! that sends it are many times larger than a small body. Without the price, a client could keep 128 streams for each
//! connection and be charged for a few bytes each.
//!
//! A count belongs to the bytes: it is given back when the last reference to them is dropped, because they
//! were written to the socket, because the client has reset their stream, or because the connection has
//! ended. So nothing that a client does can leave a count behind. The price is given back with the last of them.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::{Body, HttpBody};
use axum::response::Response;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};

use super::super::listener::Usage;
use super::{Full, Share};

/// Charge of an answer beside its bytes.
pub(in super::super) const PRICE: usize = 4 * 1024;
/// Largest piece of an answer. A piece has been read once its last byte is written, so progress is known to this many
/// bytes. HTTP/2's frames are no larger unless the client asks for it.
pub(in super::super) const PIECE: usize = 16 * 1024;

/// An answer on account of a client and of a connection.
pub(in super::super) struct Unread {
    account: Arc<Account>,
    /// Bytes of its body that have not been handed out in pieces.
    left: usize,
    /// Those of them that are not counted: one answer larger than the bound has room if nothing else is unread.
    uncounted: usize,
}

/// The account that all pieces of an answer share.
struct Account {
    share: Share,
    /// The connection, and the number of the answer on it.
    connection: Option<(Arc<Usage>, u64)>,
    price: usize,
}

impl Share {
    /// An error if there is no room for one more answer.
    pub(in super::super) fn may_answer(&self) -> Result<(), Full> {
        let bounds = self.unread_bounds();
        self.has_room(|held| &held.unread, &bounds)
    }

    /// Room for `answer` on account of this client until it is read, or the reason why there is none. An answer that
    /// `must` be sent always has room.
    pub(in super::super) fn room(
        &self,
        answer: &Response,
        connection: Option<&Arc<Usage>>,
        must: bool,
    ) -> Result<Unread, Full> {
        let size = usize::try_from(answer.body().size_hint().lower()).unwrap_or(usize::MAX);
        let bounds = self.unread_bounds();
        let own = if self.held.is_some() { bounds.own } else { bounds.all };
        let charge = size.saturating_add(PRICE).min(own).min(bounds.all);
        if must {
            self.add(|held| &held.unread, charge);
        } else {
            self.take(|held| &held.unread, charge, &bounds)?;
        }
        let connection = connection.map(|connection| (Arc::clone(connection), connection.answer(size)));
        let price = charge.min(PRICE);
        let account = Arc::new(Account { share: self.again(), connection, price });
        Ok(Unread { account, left: size, uncounted: size - (charge - price) })
    }
}

impl Account {
    fn grow(&self, bytes: usize) {
        self.share.add(|held| &held.unread, bytes);
        if let Some((connection, _)) = &self.connection {
            connection.answered(bytes);
        }
    }

    fn read(&self, bytes: usize, counted: usize) {
        self.share.give(|held| &held.unread, counted);
        if let Some((connection, _)) = &self.connection {
            connection.read(bytes);
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.share.give(|held| &held.unread, self.price);
        if let Some((connection, number)) = &self.connection {
            connection.done(*number);
        }
    }
}

impl Unread {
    /// The answer for which this is the room.
    pub(in super::super) fn hold(self, answer: Response) -> Response {
        answer.map(|body| Body::new(Counted { body, rest: Bytes::new(), unread: self }))
    }

    /// Hands out `data` with its part of the count.
    fn piece(&mut self, data: Bytes) -> Bytes {
        let announced = data.len().min(self.left);
        let mut counted = announced.min(self.left - self.uncounted);
        self.left -= announced;
        self.uncounted -= announced - counted;
        let more = data.len() - announced;
        if more > 0 {
            // A body that did not announce its size. The transport has room for this piece of it.
            self.account.grow(more);
            counted += more;
        }
        Bytes::from_owner(Piece { data, counted, account: Arc::clone(&self.account) })
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        if self.left > 0 {
            self.account.read(self.left, self.left - self.uncounted);
        }
    }
}

/// The body of a counted answer, in pieces.
struct Counted {
    body: Body,
    /// What is left of the frame that the body gave.
    rest: Bytes,
    unread: Unread,
}

impl Counted {
    fn next(&mut self) -> Frame<Bytes> {
        let data = self.rest.split_to(self.rest.len().min(PIECE));
        Frame::data(self.unread.piece(data))
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
        if !this.rest.is_empty() {
            return Poll::Ready(Some(Ok(this.next())));
        }
        let polled = ready!(Pin::new(&mut this.body).poll_frame(context));
        let counted = |frame: Frame<Bytes>| match frame.into_data() {
            Ok(data) => {
                this.rest = data;
                this.next()
            }
            Err(trailers) => trailers,
        };
        Poll::Ready(polled.map(|frame| frame.map(counted)))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (hint, rest) = (self.body.size_hint(), self.rest.len() as u64);
        let mut whole = SizeHint::new();
        if let Some(upper) = hint.upper() {
            whole.set_upper(upper.saturating_add(rest));
        }
        whole.set_lower(hint.lower().saturating_add(rest));
        whole
    }
}

/// Bytes of an answer with their count.
struct Piece {
    data: Bytes,
    counted: usize,
    account: Arc<Account>,
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.account.read(self.data.len(), self.counted);
    }
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}
