//! The authority's HTTP API, as timestamp-authority's clients know it.
//!
//! | request | success |
//! |---|---|
//! | `POST /api/v1/timestamp`, `application/timestamp-query` or `application/json` | 200, `application/timestamp-reply` |
//! | `GET /api/v1/timestamp/certchain` | 200, `application/pem-certificate-chain`, leaf first |
//!
//! A refused request gets no TimeStampResp but an HTTP error with `{"code", "message"}`: that is what the clients read.
//! Reference: timestamp-authority `openapi.yaml`, `pkg/api`.

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::{self, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use chancery_tlog::certificate::Certificate;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde_json::json;

use super::request::{MAX_DER, MAX_JSON, Request, RequestError};
use super::{GrantError, TimestampAuthority};
use crate::meters::Stamped;

const QUERY: &str = "timestamp-query";
const JSON: &str = "json";
const REPLY: &str = "application/timestamp-reply";
const PEM_CHAIN: &str = "application/pem-certificate-chain";
/// What a caller learns of a failure that is not his.
const FAILED: &str = "Error generating timestamp response";

type Service = State<Arc<TimestampAuthority>>;

/// The API with absolute paths. It sets no fallback for other paths, so that it can be merged with other routers.
pub fn router(authority: Arc<TimestampAuthority>) -> Router {
    let mut router = Router::new();
    // Clients that append to a URL ending in a slash send two.
    for prefix in ["/api/v1", "//api/v1"] {
        router = router
            .route(&format!("{prefix}/timestamp"), post(timestamp).fallback(method_not_allowed))
            .route(&format!("{prefix}/timestamp/certchain"), get(chain).fallback(method_not_allowed));
    }
    router.with_state(authority)
}

async fn timestamp(State(authority): Service, request: extract::Request) -> Response {
    let started = Instant::now();
    let answer = answer(&authority, request).await.unwrap_or_else(IntoResponse::into_response);
    let outcome = match answer.status().as_u16() {
        200 => Stamped::Granted,
        503 => Stamped::Clock,
        500.. => Stamped::Failed,
        _ => Stamped::Refused,
    };
    authority.meters().answered(outcome, started);
    answer
}

async fn answer(authority: &Arc<TimestampAuthority>, request: extract::Request) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    let request = match subtype(&parts.headers)? {
        Form::Der => Request::from_der(&read(body, MAX_DER).await?)?,
        Form::Json => Request::from_json(&read(body, MAX_JSON).await?)?,
    };
    let response = authority.grant(request).await?;
    Ok(([(CONTENT_TYPE, REPLY), (CACHE_CONTROL, "no-store")], response).into_response())
}

async fn chain(State(authority): Service) -> Response {
    let chain: String = authority.chain().iter().map(Certificate::to_pem).collect();
    ([(CONTENT_TYPE, PEM_CHAIN)], chain).into_response()
}

async fn method_not_allowed() -> Refusal {
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "this path does not take this method")
}

/// The two forms of a request.
enum Form {
    Der,
    Json,
}

/// Form by media type; parameters are ignored, and nothing is split into more than two (CVE-2025-66564).
fn subtype(headers: &HeaderMap) -> Result<Form, Refusal> {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = value.split_once(';').map_or(value, |(media_type, _)| media_type).trim();
    match media_type.split_once('/') {
        Some((kind, subtype)) if kind.eq_ignore_ascii_case("application") && !subtype.is_empty() => {
            if subtype.eq_ignore_ascii_case(QUERY) {
                Ok(Form::Der)
            } else if subtype.eq_ignore_ascii_case(JSON) {
                Ok(Form::Json)
            } else {
                Err(Refusal::new(StatusCode::BAD_REQUEST, EXPECTED))
            }
        }
        _ => Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, EXPECTED)),
    }
}

const EXPECTED: &str = "the Content-Type must be application/timestamp-query or application/json";

async fn read(body: Body, limit: usize) -> Result<Vec<u8>, Refusal> {
    match Limited::new(body, limit).collect().await {
        Ok(body) => Ok(body.to_bytes().to_vec()),
        Err(error) if error.is::<LengthLimitError>() => Err(RequestError::TooLarge(limit).into()),
        Err(_) => Err(RequestError::Malformed("the request body could not be read").into()),
    }
}

/// An error answer.
struct Refusal {
    status: StatusCode,
    message: String,
    retry_after: Option<u64>,
}

impl Refusal {
    fn new(status: StatusCode, message: &str) -> Self {
        Self { status, message: message.to_owned(), retry_after: None }
    }
}

impl From<RequestError> for Refusal {
    fn from(error: RequestError) -> Self {
        Self::new(StatusCode::BAD_REQUEST, &error.to_string())
    }
}

impl From<GrantError> for Refusal {
    fn from(error: GrantError) -> Self {
        match error {
            GrantError::Request(error) => error.into(),
            // Logged where it happens, once, and not for every request.
            GrantError::Clock(stepped) => Self {
                retry_after: Some(stepped.seconds_behind()),
                ..Self::new(StatusCode::SERVICE_UNAVAILABLE, FAILED)
            },
            GrantError::Expired(_) | GrantError::Sign(_) | GrantError::Encode(_) => {
                tracing::error!(%error, "no timestamp was made");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, FAILED)
            }
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = json!({ "code": self.status.as_u16(), "message": self.message });
        let mut response = (self.status, axum::Json(body)).into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        response
    }
}
