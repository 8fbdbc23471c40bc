//! Answers of servers, and the ids by which their operators find the requests again.

use std::fmt;

use reqwest::header::HeaderMap;
use serde::Deserialize;

/// Longest request id that is shown, as Fulcio and Chancery limit it.
const MAX_REQUEST_ID: usize = 128;

/// An answer, read whole.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// `Location`, if it is text.
    pub location: Option<String>,
    /// Body.
    pub body: Vec<u8>,
    /// The request's id in the server's log.
    pub request: RequestId,
    /// Whether an earlier attempt at the request may have reached the server too, and its answer was lost.
    pub after_loss: bool,
}

impl Answer {
    /// Whether the server has certainly not done what was asked.
    pub const fn is_refusal(&self) -> bool {
        // 503 and 429 say that the server did not begin; other errors of servers and gateways do not tell.
        !self.after_loss && matches!(self.status, 400..=499 | 503)
    }

    /// What the server says about a failure: the `message` of a JSON answer, or the start of its text; and the request's id.
    pub fn explain(&self) -> String {
        /// The one member that is read; other JSON would take many times its text in memory.
        #[derive(Deserialize)]
        struct Said {
            message: String,
        }
        let message = serde_json::from_slice::<Said>(&self.body)
            .map_or_else(|_| String::from_utf8_lossy(&self.body).into_owned(), |said| said.message);
        // What a server says goes to a terminal: no control characters, not endless.
        let printable: String = message.trim().chars().filter(|c| !c.is_control()).take(300).collect();
        format!("{}{}", format!("{} {printable}", self.status).trim_end(), self.request)
    }
}

/// Id of a request in its server's log, if the answer had one. Shown, it is the end of a message about the answer, or
/// nothing at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestId(Option<String>);

impl RequestId {
    /// The id in an answer's head. One that is too long or not plain text is left out.
    pub(super) fn of(head: &HeaderMap) -> Self {
        let id = head.get("x-request-id").and_then(|id| id.to_str().ok());
        let fit = |id: &&str| {
            (1..=MAX_REQUEST_ID).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())
        };
        Self(id.filter(fit).map(str::to_owned))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(id) => write!(f, " (request id {id})"),
            None => Ok(()),
        }
    }
}

/// Something that was read from an answer, for errors that are found only when it is used.
#[derive(Clone, Debug)]
pub struct Answered<T> {
    /// What was read.
    pub value: T,
    /// The request's id.
    pub request: RequestId,
}
