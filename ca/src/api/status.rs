//! The one place where a refusal becomes an HTTP answer: google.rpc.Status in JSON.
//!
//! The sentences are Fulcio's; clients and documents search for them. Every token failure has the same sentence: the
//! reason is in the log, and the caller learns nothing that would help to forge a better token.

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::json;

use crate::issuance::IssueError;
use crate::possession::PossessionError;
use crate::principal::PrincipalError;

const INVALID_ARGUMENT: u8 = 3;
const NOT_FOUND: u8 = 5;
const UNIMPLEMENTED: u8 = 12;
const INTERNAL: u8 = 13;

const TOKEN: &str = "There was an error processing the identity token";
const KEY: &str = "The public key supplied in the request could not be parsed";
const SIGNING_REQUEST: &str = "The certificate signing request could not be parsed";
const INSECURE: &str = "The public key supplied in the request is insecure";
const PROOF: &str = "The signature supplied in the request could not be verified";
const LOG: &str = "Error entering certificate in CTL";
const BACKEND: &str = "error communicating with CA backend";

/// An error answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The gRPC code.
    pub code: u8,
    /// Its HTTP status.
    pub http: StatusCode,
    /// The sentence for the caller.
    pub message: String,
}

impl Status {
    fn invalid(message: impl Into<String>) -> Self {
        Self { code: INVALID_ARGUMENT, http: StatusCode::BAD_REQUEST, message: message.into() }
    }

    fn internal(message: &str) -> Self {
        Self { code: INTERNAL, http: StatusCode::INTERNAL_SERVER_ERROR, message: message.to_owned() }
    }

    /// The body is not the JSON that it should be.
    pub(super) fn malformed(problem: impl Into<String>) -> Self {
        Self::invalid(problem)
    }

    pub(super) fn body_too_large() -> Self {
        Self::invalid("http: request body too large")
    }

    pub(super) fn not_found() -> Self {
        Self { code: NOT_FOUND, http: StatusCode::NOT_FOUND, message: "Not Found".to_owned() }
    }

    pub(super) fn method_not_allowed() -> Self {
        let message = "Method Not Allowed".to_owned();
        Self { code: UNIMPLEMENTED, http: StatusCode::NOT_IMPLEMENTED, message }
    }

    /// The answer to a refused or failed request.
    pub fn of(error: &IssueError) -> Self {
        match error {
            IssueError::Principal(PrincipalError::Template(missing)) => Self::invalid(missing.to_string()),
            IssueError::Token(_) | IssueError::Principal(_) => Self::invalid(TOKEN),
            IssueError::Possession(error) => match error {
                PossessionError::Key => Self::invalid(KEY),
                PossessionError::SigningRequest => Self::invalid(SIGNING_REQUEST),
                PossessionError::Insecure(_) => Self::invalid(INSECURE),
                PossessionError::Proof => Self::invalid(PROOF),
                PossessionError::UnknownAlgorithm(_) | PossessionError::NotPermitted(..) => {
                    Self::invalid(error.to_string())
                }
            },
            IssueError::Log(_) => Self::internal(LOG),
            IssueError::Profile(_) | IssueError::AuthorityExpires | IssueError::SelfCheck(_) => {
                Self::internal(BACKEND)
            }
        }
    }
}

impl IntoResponse for Status {
    fn into_response(self) -> Response {
        let body = json!({ "code": self.code, "message": self.message, "details": [] });
        (self.http, axum::Json(body)).into_response()
    }
}
