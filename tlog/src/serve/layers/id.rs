//! The id of a request: the client's or proxy's if it is sane, else a random one.

use std::cell::RefCell;

use http::{HeaderMap, HeaderName, HeaderValue};

/// Header of a request's id.
pub(super) static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest request id that is taken over, as Fulcio has it.
const MAX_REQUEST_ID: usize = 128;
/// Bytes of a fresh id.
const FRESH: usize = 16;
/// Randomness that a thread draws at once: a call of the generator costs the same for one id as for these.
const DRAWN: usize = 64 * FRESH;

/// The id of a request, as an extension of it.
#[derive(Clone, Debug)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// The id.
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    pub(super) fn of(headers: &HeaderMap) -> Self {
        let given = headers.get(&REQUEST_ID).filter(|id| {
            (1..=MAX_REQUEST_ID).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
        });
        given.cloned().map_or_else(Self::fresh, Self)
    }

    pub(super) fn fresh() -> Self {
        let mut text = [0; 2 * FRESH];
        // The lengths agree, so neither can fail.
        let written = hex::encode_to_slice(random(), &mut text).ok();
        let value = written.and_then(|()| HeaderValue::from_bytes(&text).ok());
        Self(value.unwrap_or(HeaderValue::from_static("none")))
    }

    /// As the header of an answer.
    pub(super) fn into_header(self) -> HeaderValue {
        self.0
    }
}

/// Random bytes that no other id gets.
fn random() -> [u8; FRESH] {
    thread_local! {
        static STORE: RefCell<([u8; DRAWN], usize)> = const { RefCell::new(([0; DRAWN], DRAWN)) };
    }
    STORE.with_borrow_mut(|(bytes, used)| {
        // An id that is not unique is a nuisance to whoever reads logs, not a reason to refuse a request.
        if *used + FRESH > DRAWN {
            *used = 0;
            if aws_lc_rs::rand::fill(bytes).is_err() {
                tracing::error!("no randomness for request ids");
            }
        }
        let id = bytes[*used..].first_chunk().copied().unwrap_or_default();
        *used += FRESH;
        id
    })
}
