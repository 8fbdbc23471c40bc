//! Refusals in the words and codes of rekor-tiles, for both of its transports: `google.rpc.Status` as JSON with the
//! HTTP status that grpc-gateway maps the code to, and the same as gRPC.
//!
//! A 500 says no more than a constant text; what really happened goes to the log.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::header::RETRY_AFTER;
use http::{HeaderName, HeaderValue, StatusCode};

use crate::rekor_v2::EntryError;
use crate::serve::reply::rpc_status;
use crate::server::admission;
use crate::server::log::AddError;

/// A closed log is restarting; clients with retries get over it.
const RESTART: Duration = Duration::from_secs(2);
/// Names the index of the entry that is there already.
const X_LOG_INDEX: HeaderName = HeaderName::from_static("x-log-index");

/// The `google.rpc.Code`s that occur.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// UNKNOWN.
    Unknown = 2,
    /// INVALID_ARGUMENT.
    InvalidArgument = 3,
    /// NOT_FOUND.
    NotFound = 5,
    /// ALREADY_EXISTS.
    AlreadyExists = 6,
    /// PERMISSION_DENIED.
    PermissionDenied = 7,
    /// RESOURCE_EXHAUSTED.
    ResourceExhausted = 8,
    /// UNIMPLEMENTED.
    Unimplemented = 12,
    /// INTERNAL.
    Internal = 13,
    /// UNAVAILABLE.
    Unavailable = 14,
}

impl Code {
    /// The status that grpc-gateway answers.
    fn http(self) -> StatusCode {
        match self {
            Self::InvalidArgument => StatusCode::BAD_REQUEST,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::AlreadyExists => StatusCode::CONFLICT,
            Self::PermissionDenied => StatusCode::FORBIDDEN,
            Self::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
            Self::Unimplemented => StatusCode::NOT_IMPLEMENTED,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Unknown | Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// Why a request got no entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    code: Code,
    http: StatusCode,
    message: String,
    log_index: Option<u64>,
    retry_after: Option<Duration>,
}

impl Refusal {
    /// A refusal with the HTTP status of `code`.
    pub(super) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, http: code.http(), message: message.into(), log_index: None, retry_after: None }
    }

    pub(super) fn not_found() -> Self {
        Self::new(Code::NotFound, "Not Found")
    }

    pub(super) fn duplicate(index: u64) -> Self {
        let message =
            format!("an equivalent entry already exists in the transparency log with index {index}");
        Self { log_index: Some(index), ..Self::new(Code::AlreadyExists, message) }
    }

    fn busy(message: impl Into<String>, after: Duration) -> Self {
        Self { retry_after: Some(after), ..Self::new(Code::Unavailable, message) }
    }

    /// The code.
    pub fn code(&self) -> Code {
        self.code
    }

    /// The text for the client.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What the answer's headers, or its gRPC metadata, say beside it.
    pub(super) fn headers(&self) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        let index = self.log_index.map(|index| (X_LOG_INDEX, HeaderValue::from(index)));
        let after = self.retry_after.map(|after| {
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            (RETRY_AFTER, HeaderValue::from(seconds.max(1)))
        });
        index.into_iter().chain(after)
    }
}

impl From<EntryError> for Refusal {
    fn from(error: EntryError) -> Self {
        let refusal = Self::new(Code::InvalidArgument, error.to_string());
        match error {
            // rekor-tiles says 500 here, which clients would retry.
            EntryError::LeafTooLarge(_) => Self { http: StatusCode::PAYLOAD_TOO_LARGE, ..refusal },
            EntryError::Malformed(_)
            | EntryError::RequestTooLarge
            | EntryError::NoType
            | EntryError::Invalid { .. }
            | EntryError::Leaf(_) => refusal,
        }
    }
}

impl From<admission::Refusal> for Refusal {
    fn from(refusal: admission::Refusal) -> Self {
        Self::new(Code::PermissionDenied, refusal.to_string())
    }
}

impl From<AddError> for Refusal {
    fn from(error: AddError) -> Self {
        match error {
            AddError::Full { retry_after } => Self::busy("reached max pushback; retry", retry_after),
            AddError::ReadOnly { retry_after } => Self::busy(error.to_string(), retry_after),
            AddError::TooMany { retry_after } => Self {
                retry_after: Some(retry_after),
                ..Self::new(Code::ResourceExhausted, error.to_string())
            },
            AddError::Closed => Self::busy(error.to_string(), RESTART),
            // As rekor-tiles says of a frozen log: clients do not try again.
            AddError::Ended => Self::new(Code::Unimplemented, error.to_string()),
            AddError::TooLarge { .. } => Self {
                http: StatusCode::PAYLOAD_TOO_LARGE,
                ..Self::new(Code::InvalidArgument, error.to_string())
            },
            AddError::Unknown | AddError::Failed(_) | AddError::NotSigned(_) => {
                tracing::error!(%error, "adding an entry failed");
                Self::new(Code::Unknown, "failed to integrate entry")
            }
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = rpc_status(self.http, self.code as i32, &self.message);
        response.headers_mut().extend(self.headers());
        response
    }
}
