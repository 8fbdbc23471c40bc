//! What stands between the socket and every handler, outermost first: request id, access log and metrics; room for the
//! request; panics; the time limit; the body, received whole; and the line before the cores.
//!
//! One place per concern: handlers neither log requests nor count them, and none reads from the network. All of it is
//! one layer of axum's, because each layer costs every request a boxed future and a copy of what it stands around.

mod id;
mod observe;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use bytes::{Bytes, BytesMut};
use futures::FutureExt as _;
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body_util::BodyExt as _;
use tokio::sync::{Semaphore, SemaphorePermit};
use tracing::Instrument as _;

use self::id::REQUEST_ID;
pub use self::id::RequestId;
use self::observe::{Access, Busy, Meters};
use super::health;
use super::line::Line;
use super::reply::Problem;
use super::settings::Limits;

/// A refused body is read and thrown away up to this many times the limit, so that the client gets to read the
/// answer instead of a reset connection.
const DRAIN_FACTOR: usize = 4;
/// Room that is made for a body before it has come; a client can announce more than it sends.
const ROOM: usize = 64 * 1024;
/// What a client is told to wait when there is too much to do. The line before the cores is shorter than that.
const BUSY: Duration = Duration::from_secs(1);
/// One in so many slots is kept for reads, however many writes there are.
const FOR_READS: usize = 8;
/// The orchestrator's question over gRPC.
const GRPC_HEALTH: &str = "/grpc.health.v1.Health/";

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

/// What the layers need to know.
struct Chassis {
    limits: Limits,
    /// One for every request.
    slots: Semaphore,
    /// One more for those that compute.
    workplaces: Semaphore,
    line: Line,
    meters: Arc<Meters>,
}

/// What a request holds while it is in work.
struct Admitted<'c> {
    /// Whether it stands in line for a core.
    computes: bool,
    _slot: Option<SemaphorePermit<'c>>,
    _workplace: Option<SemaphorePermit<'c>>,
}

/// Puts all layers around `router`. Called on the runtime that will serve it.
pub(super) fn around(router: Router, limits: &Limits) -> Router {
    let chassis = Arc::new(Chassis::new(limits.clone()));
    // axum's own limit is half of ours, and answers in text.
    router.layer((from_fn_with_state(chassis, answer), DefaultBodyLimit::disable()))
}

/// Gives the request an id, and one access log line and one sample whatever becomes of it.
async fn answer(State(chassis): State<Arc<Chassis>>, mut request: Request, next: Next) -> Response {
    let id = RequestId::of(request.headers());
    let mut access = Access::begin(&chassis.meters, &request, id.clone());
    let mut response = match chassis.admit(&request) {
        Ok(admitted) => {
            request.extensions_mut().insert(id.clone());
            let span = tracing::info_span!("request", id = id.as_str());
            contain(chassis.within_time(request, next, admitted.computes)).instrument(span).await
        }
        Err(busy) => refusal(busy),
    };
    access.answered(&response);
    response.headers_mut().insert(REQUEST_ID.clone(), id.into_header());
    response
}

/// The orchestrator's questions, which are neither limited nor logged while the answer is yes.
fn is_probe(path: &str) -> bool {
    matches!(path, health::LIVE | health::READY) || path.starts_with(GRPC_HEALTH)
}

fn refusal(busy: Busy) -> Response {
    let mut response = Problem::busy("too many requests in work, try again", BUSY).into_response();
    response.extensions_mut().insert(busy);
    response
}

impl Chassis {
    fn new(limits: Limits) -> Self {
        let slots = limits.max_requests.clamp(1, Semaphore::MAX_PERMITS);
        let runtime = tokio::runtime::Handle::try_current();
        Self {
            slots: Semaphore::new(slots),
            workplaces: Semaphore::new(slots - slots / FOR_READS),
            line: Line::new(runtime.map_or(1, |runtime| runtime.metrics().num_workers())),
            meters: Arc::new(Meters::new()),
            limits,
        }
    }

    /// Finds room for a request, before any of its body is read. What asks for something to be made or stored
    /// computes; the rest are reads, which are quick and wait for nobody.
    fn admit(&self, request: &Request) -> Result<Admitted<'_>, Busy> {
        if is_probe(request.uri().path()) {
            return Ok(Admitted { computes: false, _slot: None, _workplace: None });
        }
        let computes = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
        let workplace = if computes {
            self.line.check().map_err(|refused| Busy(refused.reason()))?;
            Some(self.workplaces.try_acquire().map_err(|_| Busy("writes"))?)
        } else {
            None
        };
        let slot = self.slots.try_acquire().map_err(|_| Busy("requests"))?;
        Ok(Admitted { computes, _slot: Some(slot), _workplace: workplace })
    }

    async fn within_time(&self, request: Request, next: Next, computes: bool) -> Response {
        let limit = self.limits.request_timeout;
        if let Ok(response) = tokio::time::timeout(limit, self.receive(request, next, computes)).await {
            return response;
        }
        let message = format!("the request took longer than {} s", limit.as_secs_f32());
        closing(Problem::new(StatusCode::GATEWAY_TIMEOUT, message))
    }

    /// Receives the body before anything looks at the request.
    async fn receive(&self, request: Request, next: Next, computes: bool) -> Response {
        let limit = self.limits.max_body;
        let (parts, body) = request.into_parts();
        match read_body(&parts.headers, body, limit).await {
            Ok(body) => {
                let work = next.run(Request::from_parts(parts, Body::from(body)));
                if !computes {
                    return work.await;
                }
                self.line.run(work).await.unwrap_or_else(|refused| refusal(Busy(refused.reason())))
            }
            Err(BodyError::TooLarge) => {
                let message = format!("Request Entity Too Large. Limit set to {limit}");
                closing(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, message))
            }
            Err(BodyError::Broken) => closing(Problem::bad_request("the request body broke off")),
        }
    }
}

/// Turns a panic into a 500 that says nothing, and keeps the server going.
async fn contain(work: impl Future<Output = Response>) -> Response {
    match std::panic::AssertUnwindSafe(work).catch_unwind().await {
        Ok(response) => response,
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().copied();
            let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
            tracing::error!(panic = text.unwrap_or("not a text"), "a request handler panicked");
            Problem::internal().into_response()
        }
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
        if received == 0 && announced > 0 && data.len() == announced && announced <= limit {
            // All of it came with the head, as small ones do. HTTP lets nothing follow.
            return Ok(data);
        }
        received = received.saturating_add(data.len());
        if received > most {
            return Err(BodyError::TooLarge);
        }
        if received <= limit && announced <= limit {
            kept.reserve(announced.min(ROOM).saturating_sub(kept.len()).max(data.len()));
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
