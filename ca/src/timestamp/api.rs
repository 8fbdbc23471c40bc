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
use axum::body::{Body, Bytes};
use axum::extract::{self, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use chancery_tlog::certificate::Certificate;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde_json::json;

use super::request::{MAX_DER, Request, RequestError};
use super::{GrantError, TimestampAuthority};
use crate::excerpt::excerpt;
use crate::meters::Stamped;

const QUERY: &str = "timestamp-query";
const JSON: &str = "json";
const REPLY: &str = "application/timestamp-reply";
const EXPECTED: &str = "[application/timestamp-query application/json]";
/// go-openapi's code for a part that is not there.
const REQUIRED: u16 = 602;
const PEM_CHAIN: &str = "application/pem-certificate-chain";
/// What a caller learns of a failure that is not his.
const FAILED: &str = "Error generating timestamp response";

type Service = State<Arc<TimestampAuthority>>;

/// The API with absolute paths. It sets no fallback for other paths, so that it can be merged with other routers.
pub fn router(authority: Arc<TimestampAuthority>) -> Router {
    Router::new()
        .route("/api/v1/timestamp", only("POST", post(timestamp)))
        .route("/api/v1/timestamp/certchain", only("GET", get(chain)))
        .with_state(authority)
}

/// Answers other methods 405, HEAD too: the genuine server has no HEAD, and axum would make one of GET.
fn only(
    allow: &'static str,
    methods: MethodRouter<Arc<TimestampAuthority>>,
) -> MethodRouter<Arc<TimestampAuthority>> {
    let refuse = async move |method: Method| {
        let message = format!("method {method} is not allowed, but [{allow}] are");
        let mut response = Refusal::new(StatusCode::METHOD_NOT_ALLOWED, message).into_response();
        response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
        response
    };
    methods.head(refuse).fallback(refuse)
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
    let body = read(body).await?;
    // An empty body has no form to check.
    if body.is_empty() {
        return Err(Refusal::no_body());
    }
    let request = match form(&parts.headers)? {
        Form::Der => Request::from_der(&body)?,
        Form::Json => Request::from_json(&body)?,
    };
    let response = authority.grant(request).await?;
    Ok(([(CONTENT_TYPE, REPLY), (CACHE_CONTROL, "no-store")], response).into_response())
}

async fn chain(State(authority): Service) -> Response {
    let chain: String = authority.chain().iter().map(Certificate::to_pem).collect();
    ([(CONTENT_TYPE, PEM_CHAIN)], chain).into_response()
}

/// The two forms of a request.
enum Form {
    Der,
    Json,
}

/// Form by media type. Parameters and letter case do not matter, though timestamp-authority refuses both; and nothing is
/// split into more than two (CVE-2025-66564).
fn form(headers: &HeaderMap) -> Result<Form, Refusal> {
    let stated = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let stated = String::from_utf8_lossy(stated);
    let media_type = stated.split_once(';').map_or(&*stated, |(media_type, _)| media_type).trim();
    if stated.is_empty() {
        return Err(Refusal::media_type("application/octet-stream"));
    }
    let Some((kind, subtype)) =
        media_type.split_once('/').filter(|(kind, sub)| is_token(kind) && is_token(sub))
    else {
        let message = format!("parsing Content-Type header from {:?} failed", excerpt(&stated));
        return Err(Refusal::new(StatusCode::BAD_REQUEST, message));
    };
    let is_application = kind.eq_ignore_ascii_case("application");
    if is_application && subtype.eq_ignore_ascii_case(QUERY) {
        Ok(Form::Der)
    } else if is_application && subtype.eq_ignore_ascii_case(JSON) {
        Ok(Form::Json)
    } else {
        Err(Refusal::media_type(media_type))
    }
}

/// A token of RFC 9110 §5.6.2.
fn is_token(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_part)
}

async fn read(body: Body) -> Result<Bytes, Refusal> {
    match Limited::new(body, MAX_DER).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(RequestError::TooLarge(MAX_DER).into()),
        Err(_) => Err(RequestError::Malformed("the request body could not be read").into()),
    }
}

/// An error answer.
struct Refusal {
    status: StatusCode,
    /// The status, but for go-openapi's own checks.
    code: u16,
    message: String,
    retry_after: Option<u64>,
}

impl Refusal {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, code: status.as_u16(), message: message.into(), retry_after: None }
    }

    fn no_body() -> Self {
        let refusal = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "request in body is required");
        Self { code: REQUIRED, ..refusal }
    }

    fn media_type(stated: &str) -> Self {
        let message = format!("unsupported media type {:?}, only {EXPECTED} are allowed", excerpt(stated));
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message)
    }
}

impl From<RequestError> for Refusal {
    fn from(error: RequestError) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error.to_string())
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
            // The operator has to act. The instance's other services go on.
            GrantError::Expired(_) => Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
            GrantError::Sign(_) | GrantError::Encode(_) => {
                tracing::error!(%error, "no timestamp was made");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, FAILED)
            }
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = json!({ "code": self.code, "message": self.message });
        let mut response = (self.status, axum::Json(body)).into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        response
    }
}
