//! What stands between the socket and every handler, outermost first: request id, access log and metrics; panics;
//! the request limit; the time limit; and the body, received whole.
//!
//! One place per concern: handlers neither log requests nor count them, and none reads from the network.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use bytes::{Bytes, BytesMut};
use futures::FutureExt as _;
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_body_util::BodyExt as _;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tracing::Instrument as _;

use super::access::Reader;
use super::health;
use super::reply::Problem;
use super::settings::Limits;

/// Header of a request's id, taken over from the client or proxy if it is sane.
static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest request id that is taken over, as Fulcio has it.
const MAX_REQUEST_ID: usize = 128;
/// A refused body is read and thrown away up to this many times the limit, so that the client gets to read the
/// answer instead of a reset connection.
const DRAIN_FACTOR: usize = 4;
/// What a client is told to wait when the request limit is reached. Requests take milliseconds.
const BUSY: Duration = Duration::from_secs(1);

/// Who sent a request, as an extension of it.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// The other end of the connection.
    pub socket: SocketAddr,
    /// Whether that is a proxy whose `X-Forwarded-For` may be believed.
    pub proxy: bool,
}

impl Peer {
    /// The client's address: behind a proxy the last `X-Forwarded-For` entry, the one that our proxy wrote.
    pub fn client(&self, headers: &HeaderMap) -> IpAddr {
        let forwarded = || {
            let value = headers.get_all("x-forwarded-for").iter().next_back()?;
            value.to_str().ok()?.rsplit(',').next()?.trim().parse().ok()
        };
        let forwarded = if self.proxy { forwarded() } else { None };
        forwarded.unwrap_or_else(|| self.socket.ip().to_canonical())
    }
}

/// The id of a request, as an extension of it.
#[derive(Clone, Debug)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// The id.
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    fn of(headers: &HeaderMap) -> Self {
        let given = headers.get(&REQUEST_ID).filter(|id| {
            (1..=MAX_REQUEST_ID).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
        });
        given.cloned().map_or_else(Self::fresh, Self)
    }

    fn fresh() -> Self {
        let mut bytes = [0; 16];
        // An id that is not unique is a nuisance to whoever reads logs, not a reason to refuse a request.
        if aws_lc_rs::rand::fill(&mut bytes).is_err() {
            tracing::error!("no randomness for request ids");
        }
        Self(HeaderValue::from_str(&hex::encode(bytes)).unwrap_or(HeaderValue::from_static("none")))
    }
}

/// What the layers need to know.
#[derive(Clone)]
struct Settings {
    limits: Limits,
    slots: Arc<Semaphore>,
}

/// Puts all layers around `router`.
pub(super) fn around(router: Router, limits: &Limits) -> Router {
    let slots = Arc::new(Semaphore::new(limits.max_requests.min(Semaphore::MAX_PERMITS)));
    let settings = Settings { limits: limits.clone(), slots };
    router
        // axum's own limit is half of ours, and answers in text.
        .layer(DefaultBodyLimit::disable())
        .layer(from_fn_with_state(settings.clone(), receive))
        .layer(from_fn_with_state(settings.clone(), within_time))
        .layer(from_fn_with_state(settings, admit))
        .layer(from_fn(contain))
        .layer(from_fn(observe))
}

/// Gives the request an id, and one access log line and one sample whatever becomes of it.
async fn observe(mut request: Request, next: Next) -> Response {
    let id = RequestId::of(request.headers());
    request.extensions_mut().insert(id.clone());
    let mut access = Access::begin(&request, id.clone());
    let span = tracing::info_span!("request", id = id.as_str());
    let mut response = next.run(request).instrument(span).await;
    access.status = Some(response.status());
    access.reader = response.extensions().get::<Reader>().cloned();
    response.headers_mut().insert(REQUEST_ID.clone(), id.0);
    response
}

/// One request for the log and the metrics. Written when dropped, so that a client that goes away is seen too.
struct Access {
    id: RequestId,
    client: Option<IpAddr>,
    method: &'static str,
    path: String,
    route: String,
    begun: Instant,
    status: Option<StatusCode>,
    /// Who was let into the sealed zone.
    reader: Option<Reader>,
}

impl Access {
    fn begin(request: &Request, id: RequestId) -> Self {
        let route = request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str);
        metrics::gauge!("chancery_http_requests_in_flight").increment(1.0);
        Self {
            id,
            client: request.extensions().get::<Peer>().map(|peer| peer.client(request.headers())),
            method: known_method(request.method().as_str()),
            // Without the query: it may hold an e-mail address.
            path: request.uri().path().to_owned(),
            route: route.to_owned(),
            begun: Instant::now(),
            status: None,
            reader: None,
        }
    }
}

impl Drop for Access {
    fn drop(&mut self) {
        let elapsed = self.begun.elapsed();
        // nginx's 499, which Rekor uses as well: the client closed the connection.
        let status = self.status.map_or(499, |status| status.as_u16());
        let (method, route) = (self.method, std::mem::take(&mut self.route));
        metrics::gauge!("chancery_http_requests_in_flight").decrement(1.0);
        metrics::histogram!("chancery_http_request_duration_seconds", "method" => method, "route" => route.clone())
            .record(elapsed.as_secs_f64());
        metrics::counter!("chancery_http_requests_total",
            "method" => method, "route" => route, "code" => code_class(status))
        .increment(1);
        if status == 200 && is_probe(&self.path) {
            // Every few seconds and never of interest.
            return;
        }
        tracing::info!(
            target: "chancery::access",
            id = self.id.as_str(),
            client = self.client.map(tracing::field::display),
            reader = self.reader.as_ref().map(Reader::name),
            method,
            path = %self.path.escape_debug(),
            status,
            micros = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),
            "request"
        );
    }
}

/// The orchestrator's questions, which are neither limited nor logged while the answer is yes.
fn is_probe(path: &str) -> bool {
    matches!(path, health::LIVE | health::READY)
}

fn known_method(method: &str) -> &'static str {
    const KNOWN: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"];
    KNOWN.into_iter().find(|known| *known == method).unwrap_or("other")
}

fn code_class(status: u16) -> &'static str {
    match status {
        100..200 => "1xx",
        200..300 => "2xx",
        300..400 => "3xx",
        400..500 => "4xx",
        _ => "5xx",
    }
}

/// Turns a panic into a 500 that says nothing, and keeps the server going.
async fn contain(request: Request, next: Next) -> Response {
    match std::panic::AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().copied();
            let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
            tracing::error!(panic = text.unwrap_or("not a text"), "a request handler panicked");
            Problem::internal().into_response()
        }
    }
}

/// Answers 503 at once when all slots are taken: a queue would only make every client time out.
async fn admit(State(settings): State<Settings>, request: Request, next: Next) -> Response {
    if is_probe(request.uri().path()) {
        return next.run(request).await;
    }
    match settings.slots.try_acquire() {
        Ok(_slot) => next.run(request).await,
        Err(_) => Problem::busy("too many requests in work, try again", BUSY).into_response(),
    }
}

async fn within_time(State(settings): State<Settings>, request: Request, next: Next) -> Response {
    let limit = settings.limits.request_timeout;
    if let Ok(response) = tokio::time::timeout(limit, next.run(request)).await {
        return response;
    }
    let message = format!("the request took longer than {} s", limit.as_secs_f32());
    closing(Problem::new(StatusCode::GATEWAY_TIMEOUT, message))
}

/// Receives the body before anything looks at the request.
async fn receive(State(settings): State<Settings>, request: Request, next: Next) -> Response {
    let limit = settings.limits.max_body;
    let (parts, body) = request.into_parts();
    match read_body(&parts.headers, body, limit).await {
        Ok(body) => next.run(Request::from_parts(parts, Body::from(body))).await,
        Err(BodyError::TooLarge) => {
            let message = format!("Request Entity Too Large. Limit set to {limit}");
            closing(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, message))
        }
        Err(BodyError::Broken) => closing(Problem::bad_request("the request body broke off")),
    }
}

enum BodyError {
    TooLarge,
    Broken,
}

async fn read_body(headers: &HeaderMap, mut body: Body, limit: usize) -> Result<Bytes, BodyError> {
    let announced = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    let announced = announced.and_then(|length| usize::try_from(length).ok()).unwrap_or(0);
    if announced > limit && headers.contains_key(EXPECT) {
        // The client waits for a word before it sends the body: there is nothing to drain.
        return Err(BodyError::TooLarge);
    }
    let most = limit.saturating_mul(DRAIN_FACTOR);
    let (mut received, mut kept) = (0_usize, BytesMut::new());
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| BodyError::Broken)?.into_data() else { continue };
        received = received.saturating_add(data.len());
        if received > most {
            return Err(BodyError::TooLarge);
        }
        if received <= limit && announced <= limit {
            kept.extend_from_slice(&data);
        }
    }
    if received > limit { Err(BodyError::TooLarge) } else { Ok(kept.freeze()) }
}

/// An answer after which the connection closes: the rest of the request may still be on its way.
fn closing(problem: Problem) -> Response {
    problem.with_header(CONNECTION, HeaderValue::from_static("close")).into_response()
}

#[cfg(test)]
mod tests;
