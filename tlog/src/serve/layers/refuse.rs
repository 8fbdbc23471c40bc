//! Refusals of the chassis: their status and words, over REST and gRPC.

use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use http::header::{CONNECTION, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use tonic::{Code, Status};

use super::super::line::Refused;
use super::super::reply::{self, Problem};
use super::super::settings::{GRPC_PREFIX, Limits};
use super::super::shares::Full;
use super::Busy;
use super::body::BodyError;

/// The time after which a client may come again. The line before the cores is shorter than that.
const BUSY: Duration = Duration::from_secs(1);

/// Why the chassis does not hand a request to its handler.
#[derive(Debug)]
pub(super) enum Refusal {
    /// Its address has asked too often; it may come again after this time.
    Rate(Duration),
    /// There is no room, for its address or for all.
    Full(Full),
    /// The cores have too much to do.
    Line(Refused),
    /// The body has more bytes than are taken.
    TooLarge {
        /// True for a path of an API that grpc-gateway serves upstream.
        gateway: bool,
        /// Bytes that are known of.
        found: usize,
        /// Bytes that are taken.
        most: usize,
    },
    /// Its path is ambiguous or its host foreign.
    Target(Problem),
    /// The body broke off.
    Broken,
    /// The body took longer than allowed, or came slower.
    Slow(Duration),
    /// The server is about to stop.
    Stopping,
    /// The answer took longer than this.
    Late(Duration),
    /// A fault of ours.
    Failed,
}

impl From<Full> for Refusal {
    fn from(full: Full) -> Self {
        Self::Full(full)
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        Self::Line(refused)
    }
}

impl Refusal {
    /// The refusal of a request for `path` because of its body.
    pub(super) fn of_body(error: BodyError, limits: &Limits, path: &str) -> Self {
        match error {
            BodyError::TooLarge(found) => {
                Self::TooLarge { gateway: reply::is_gateway(path), found, most: limits.max_body }
            }
            BodyError::Broken => Self::Broken,
            BodyError::Slow => Self::Slow(limits.body_timeout),
            BodyError::Full(full) => Self::Full(full),
            BodyError::Stopping => Self::Stopping,
        }
    }

    /// Whether the client is refused for what it does, and not for what all do: then the server has time to
    /// read something of its request.
    pub(super) fn is_of_client(&self) -> bool {
        matches!(self, Self::Rate(_) | Self::Full(Full::Address(_)))
    }

    /// The answer.
    pub(super) fn into_response(self, grpc: bool) -> Response {
        let busy = self.busy();
        if let (Self::TooLarge { gateway: true, .. }, false) = (&self, grpc) {
            return reply::gateway_too_large();
        }
        let problem = self.problem();
        let mut response = if grpc { as_grpc(problem, self.grpc_message()) } else { problem.into_response() };
        if let Some(busy) = busy {
            response.extensions_mut().insert(busy);
        }
        response
    }

    /// Under which reason it is counted, if it is for want of room.
    fn busy(&self) -> Option<Busy> {
        match self {
            Self::Full(Full::Address(reason) | Full::All(reason)) => Some(Busy(reason)),
            Self::Line(refused) => Some(Busy(refused.reason())),
            Self::Slow(_) => Some(Busy("slow_body")),
            _ => None,
        }
    }

    fn problem(&self) -> Problem {
        match self {
            Self::Rate(wait) => {
                Problem::too_many("too many requests from this address, try again later", *wait)
            }
            Self::Full(Full::Address("address_unread_bytes")) => {
                let message = "this address has not read its earlier answers: read them, then try again";
                Problem::too_many(message, BUSY)
            }
            Self::Full(Full::Address(_)) => {
                Problem::too_many("too many requests of this address are in work, try again later", BUSY)
            }
            Self::Full(Full::All("unread_bytes")) => {
                Problem::busy("too many answers have not been read, try again", BUSY)
            }
            Self::Full(Full::All(_)) | Self::Line(_) => {
                Problem::busy("too many requests in work, try again", BUSY)
            }
            Self::TooLarge { most, .. } => {
                let message = format!("Request Entity Too Large. Limit set to {most}");
                closing(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, message))
            }
            Self::Target(problem) => problem.clone(),
            Self::Broken => closing(Problem::bad_request("the request body broke off")),
            Self::Slow(limit) => {
                let message =
                    format!("the request body was too slow: it has {} s as a whole", limit.as_secs_f32());
                closing(Problem::new(StatusCode::REQUEST_TIMEOUT, message))
            }
            Self::Stopping => closing(Problem::busy("the server is about to stop, try again", BUSY)),
            Self::Late(limit) => {
                let message = format!("the request took longer than {} s", limit.as_secs_f32());
                closing(Problem::new(StatusCode::GATEWAY_TIMEOUT, message))
            }
            Self::Failed => Problem::internal(),
        }
    }

    /// The words of a gRPC server where they differ.
    fn grpc_message(&self) -> Option<String> {
        let Self::TooLarge { found, most, .. } = self else { return None };
        let found = found.saturating_sub(GRPC_PREFIX).max(most + 1);
        Some(format!("grpc: received message larger than max ({found} vs. {most})"))
    }
}

/// The same over gRPC: HTTP 200 and a status of its own.
fn as_grpc(problem: Problem, message: Option<String>) -> Response {
    let code = match problem.status() {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::PAYLOAD_TOO_LARGE => Code::ResourceExhausted,
        StatusCode::SERVICE_UNAVAILABLE => Code::Unavailable,
        StatusCode::REQUEST_TIMEOUT | StatusCode::GATEWAY_TIMEOUT => Code::DeadlineExceeded,
        StatusCode::BAD_REQUEST => Code::InvalidArgument,
        _ => Code::Internal,
    };
    let message = message.unwrap_or_else(|| problem.message().to_owned());
    let rest = problem.into_response();
    let mut response: http::Response<Body> = Status::new(code, message).into_http();
    if let Some(after) = rest.headers().get(RETRY_AFTER) {
        response.headers_mut().insert(RETRY_AFTER, after.clone());
    }
    response
}

/// An answer after which the connection closes: the rest of the request may still be on its way.
fn closing(problem: Problem) -> Problem {
    problem.with_header(CONNECTION, HeaderValue::from_static("close"))
}
