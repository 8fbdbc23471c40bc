//! The one place where a refusal becomes an HTTP answer: google.rpc.Status in JSON.
//!
//! The sentences are Fulcio's; clients and documents search for them. Every token failure has the same sentence: the
//! reason is in the log, and the caller learns nothing that would help to forge a better token.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::header::RETRY_AFTER;
use http::{HeaderValue, StatusCode};
use serde_json::json;

use crate::issuance::IssueError;
use crate::log::IssuanceLogError;
use crate::oidc::TokenError;
use crate::policy::SpendError;
use crate::possession::PossessionError;
use crate::principal::PrincipalError;

const INVALID_ARGUMENT: u8 = 3;
const NOT_FOUND: u8 = 5;
const RESOURCE_EXHAUSTED: u8 = 8;
const UNIMPLEMENTED: u8 = 12;
const INTERNAL: u8 = 13;
const UNAVAILABLE: u8 = 14;

const TOKEN: &str = "There was an error processing the identity token";
const NEW_ISSUERS: &str = "too many new identity token issuers, try again later";
const ISSUER_KEYS: &str = "the keys of the identity token's issuer cannot be fetched, try again later";
const KEY: &str = "The public key supplied in the request could not be parsed";
const SIGNING_REQUEST: &str = "The certificate signing request could not be parsed";
const INSECURE: &str = "The public key supplied in the request is insecure";
const PROOF: &str = "The signature supplied in the request could not be verified";
const LOG: &str = "Error entering certificate in CTL";
const BACKEND: &str = "error communicating with CA backend";
/// When to come again if the issuance log has no time: it takes thousands a second.
const LOG_PAUSE: Duration = Duration::from_secs(1);

/// When to come again if too many single-use tokens are recorded: they expire within minutes.
const SPENT_PAUSE: Duration = Duration::from_mins(1);

/// An error answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The gRPC code.
    pub code: u8,
    /// Its HTTP status.
    pub http: StatusCode,
    /// The sentence for the caller.
    pub message: String,
    /// When to come again, if that would help.
    pub retry_after: Option<Duration>,
}

impl Status {
    fn new(code: u8, http: StatusCode, message: impl Into<String>) -> Self {
        Self { code, http, message: message.into(), retry_after: None }
    }

    fn invalid(message: impl Into<String>) -> Self {
        Self::new(INVALID_ARGUMENT, StatusCode::BAD_REQUEST, message)
    }

    fn internal(message: &str) -> Self {
        Self::new(INTERNAL, StatusCode::INTERNAL_SERVER_ERROR, message)
    }

    /// The body is not the JSON that it should be.
    pub(super) fn malformed(problem: impl Into<String>) -> Self {
        Self::invalid(problem)
    }

    pub(super) fn body_too_large() -> Self {
        Self::invalid("http: request body too large")
    }

    pub(super) fn not_found() -> Self {
        Self::new(NOT_FOUND, StatusCode::NOT_FOUND, "Not Found")
    }

    pub(super) fn method_not_allowed() -> Self {
        Self::new(UNIMPLEMENTED, StatusCode::NOT_IMPLEMENTED, "Method Not Allowed")
    }

    /// The answer to a refused or failed request.
    pub fn of(error: &IssueError) -> Self {
        match error {
            IssueError::Principal(PrincipalError::Template(missing)) => Self::invalid(missing.to_string()),
            IssueError::Principal(unnamed @ PrincipalError::Uri { .. }) => Self::invalid(unnamed.to_string()),
            IssueError::Token(TokenError::TooManyIssuers { retry_after, .. }) => Self {
                retry_after: Some(*retry_after),
                ..Self::new(RESOURCE_EXHAUSTED, StatusCode::TOO_MANY_REQUESTS, NEW_ISSUERS)
            },
            // Fulcio answers 400 here as well. The token may be good, so its bearer should come again.
            IssueError::Token(TokenError::Keys { retry_after: Some(retry_after), .. }) => Self {
                retry_after: Some(*retry_after),
                ..Self::new(UNAVAILABLE, StatusCode::SERVICE_UNAVAILABLE, ISSUER_KEYS)
            },
            IssueError::Token(_)
            | IssueError::Policy(_)
            | IssueError::Spent(SpendError::Used | SpendError::BeforeStart | SpendError::NotYetIssued)
            | IssueError::Principal(_) => Self::invalid(TOKEN),
            IssueError::Spent(SpendError::Full) => Self {
                retry_after: Some(SPENT_PAUSE),
                ..Self::new(UNAVAILABLE, StatusCode::SERVICE_UNAVAILABLE, error.to_string())
            },
            IssueError::TooMany { retry_after } => Self {
                retry_after: Some(*retry_after),
                ..Self::new(RESOURCE_EXHAUSTED, StatusCode::TOO_MANY_REQUESTS, error.to_string())
            },
            IssueError::Possession(error) => match error {
                PossessionError::Key => Self::invalid(KEY),
                PossessionError::SigningRequest => Self::invalid(SIGNING_REQUEST),
                PossessionError::Insecure(_) => Self::invalid(INSECURE),
                PossessionError::Proof => Self::invalid(PROOF),
                PossessionError::UnknownAlgorithm(_) | PossessionError::NotPermitted(..) => {
                    Self::invalid(error.to_string())
                }
            },
            // Fulcio answers 500 here as well, which clients take for final. Nothing is wrong; it is only too much.
            IssueError::Log(IssuanceLogError::Timeout | IssuanceLogError::Unavailable(_)) => Self {
                retry_after: Some(LOG_PAUSE),
                ..Self::new(UNAVAILABLE, StatusCode::SERVICE_UNAVAILABLE, LOG)
            },
            IssueError::Log(_) => Self::internal(LOG),
            // The operator has to act. The instance's other services go on, so this is not a fault of the whole server.
            IssueError::AuthorityExpires => {
                Self::new(UNAVAILABLE, StatusCode::SERVICE_UNAVAILABLE, error.to_string())
            }
            IssueError::Profile(_) | IssueError::SelfCheck(_) => Self::internal(BACKEND),
        }
    }
}

impl IntoResponse for Status {
    fn into_response(self) -> Response {
        let body = json!({ "code": self.code, "message": self.message, "details": [] });
        let mut response = (self.http, axum::Json(body)).into_response();
        if let Some(after) = self.retry_after {
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        response
    }
}
