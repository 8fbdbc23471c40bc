//! JSON answers, and the one shape of an error: `{"code": <int>, "message": "<text>"}`.
//!
//! Errors of the chassis itself have the format of the API that was requested: grpc-gateway's
//! `google.rpc.Status` below `/api/v2` and on Fulcio's paths below `/api/v1`, a status in the trailers over
//! gRPC, and Rekor's format elsewhere.
//!
//! Every answer ends in a newline, as those of Rekor and Fulcio do. Go clients print "not supported by the
//! TextConsumer" for an error without a JSON content type (rekor #481), so even chassis errors are JSON.

use std::future::{Ready, ready};
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::header::{CONNECTION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, StatusCode, Uri};
use serde::Serialize;

/// An answer with `status` and `value` as JSON, ended by a newline.
pub fn json(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(mut body) => {
            body.push(b'\n');
            (status, [(CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "an answer could not be written as JSON");
            Problem::internal().into_response()
        }
    }
}

/// An error answer.
#[derive(Clone, Debug)]
pub struct Problem {
    status: StatusCode,
    code: u16,
    message: String,
    // A list, not a map: an error has one or two, and is the `Err` of every handler.
    headers: Vec<(HeaderName, HeaderValue)>,
}

#[derive(Serialize)]
struct ProblemBody<'p> {
    code: u16,
    message: &'p str,
}

impl Problem {
    /// `status`, with the same number as `code`.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, code: status.as_u16(), message: message.into(), headers: Vec::new() }
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// 500 without any detail. Log the cause where it is known.
    pub fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal error")
    }

    /// 503 with `Retry-After`: the server is healthy and has too much to do.
    pub fn busy(message: impl Into<String>, retry_after: Duration) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, message).retry_after(retry_after)
    }

    /// Another `code` in the body than the HTTP status.
    #[must_use]
    pub fn with_code(mut self, code: u16) -> Self {
        self.code = code;
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Adds `Retry-After` in whole seconds, rounded up, at least 1.
    #[must_use]
    pub fn retry_after(self, after: Duration) -> Self {
        let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
        self.with_header(RETRY_AFTER, HeaderValue::from(seconds.max(1)))
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The text for the client.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = json(self.status, &ProblemBody { code: self.code, message: &self.message });
        response.headers_mut().extend(self.headers);
        response
    }
}

/// `google.rpc.Code`: INVALID_ARGUMENT.
const INVALID_ARGUMENT: i32 = 3;
/// `google.rpc.Code`: NOT_FOUND.
const NOT_FOUND: i32 = 5;

/// `google.rpc.Status`, as grpc-gateway writes it.
#[derive(Serialize)]
struct RpcStatus<'s> {
    code: i32,
    message: &'s str,
    details: [(); 0],
}

/// An error response in the format of grpc-gateway, `google.rpc.Status`.
pub fn rpc_status(http: StatusCode, code: i32, message: &str) -> Response {
    json(http, &RpcStatus { code, message, details: [] })
}

/// True for paths of the APIs that grpc-gateway serves upstream: Rekor v2 and Fulcio.
pub(super) fn is_gateway(path: &str) -> bool {
    path.starts_with("/api/v2/") || matches!(path, "/api/v1/signingCert" | "/api/v1/rootCert")
}

/// Fallback of a whole server: 404 in the format of the API that the path belongs to.
pub fn not_found(uri: Uri) -> Ready<Response> {
    let path = uri.path();
    ready(if is_gateway(path) {
        rpc_status(StatusCode::NOT_FOUND, NOT_FOUND, "Not Found")
    } else {
        Problem::new(StatusCode::NOT_FOUND, format!("path {path} was not found")).into_response()
    })
}

/// The response of grpc-gateway to a request body that is too large. The connection closes, because the rest of the
/// body may still arrive.
pub(super) fn gateway_too_large() -> Response {
    let mut response = rpc_status(StatusCode::BAD_REQUEST, INVALID_ARGUMENT, "http: request body too large");
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn a_problem_is_json_with_code_and_message_and_ends_in_a_newline() {
        let response = Problem::bad_request("no \"such\" thing").with_code(605).into_response();
        assert_eq!(response.status(), 400);
        assert_eq!(response.headers()[CONTENT_TYPE], "application/json");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "{\"code\":605,\"message\":\"no \\\"such\\\" thing\"}\n");
    }

    #[tokio::test]
    async fn errors_of_the_chassis_have_the_format_of_the_requested_api() {
        let text = async |response: Response| {
            let status = response.status().as_u16();
            let body = response.into_body().collect().await.unwrap().to_bytes();
            (status, String::from_utf8(body.to_vec()).unwrap())
        };
        let gateway = "{\"code\":5,\"message\":\"Not Found\",\"details\":[]}\n";
        for (path, body) in [
            ("/nope", "{\"code\":404,\"message\":\"path /nope was not found\"}\n"),
            ("/api/v1/nope", "{\"code\":404,\"message\":\"path /api/v1/nope was not found\"}\n"),
            ("/api/v2/nope", gateway),
            ("/api/v2/signingCert/nope", gateway),
        ] {
            let found = text(not_found(path.parse().unwrap()).await).await;
            assert_eq!(found, (404, body.to_owned()), "{path}");
        }
        let gateway = "{\"code\":3,\"message\":\"http: request body too large\",\"details\":[]}\n";
        assert_eq!(text(gateway_too_large()).await, (400, gateway.to_owned()));
        let paths = ["/api/v2/signingCert", "/api/v1/signingCert", "/api/v2/log/entries"];
        assert!(paths.into_iter().all(is_gateway) && !is_gateway("/api/v1/log/entries"));
    }

    #[test]
    fn retry_after_is_rounded_up_to_a_second() {
        for (millis, header) in [(0, "1"), (200, "1"), (1000, "1"), (1001, "2")] {
            let problem = Problem::busy("busy", Duration::from_millis(millis));
            assert_eq!(problem.headers, [(RETRY_AFTER, HeaderValue::from_static(header))]);
        }
    }
}
