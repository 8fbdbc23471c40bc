//! What is written down of a request: one line in the access log and one sample, whatever becomes of it.
//!
//! Metrics are looked up once a route: a label that is a text costs an allocation and a hash for each sample otherwise.
//! Refusals for want of time or room are counted one by one and logged once a second: a server that has no time to
//! answer has none to write about it either.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use axum::extract::{MatchedPath, Request};
use http::{StatusCode, Uri};
use metrics::{Counter, Gauge, Histogram};
use tokio::time::Instant;

use super::super::access::Reader;
use super::super::line::Refused;
use super::super::metrics::{self as exposition, Counters};
use super::super::rate::Kind;
use super::super::shares;
use super::{Peer, RequestId};

/// The metric of requests that no handler saw.
const REFUSALS: &str = "chancery_http_refusals_total";
/// At least this long between two lines about refusals.
const REFUSALS_EVERY: Duration = Duration::from_secs(1);
/// Methods that have a name in metrics; others share the last.
const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "other"];
/// Classes of status codes.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// The metrics of one listener's requests.
pub(super) struct Meters {
    in_flight: Gauge,
    refusals: Counters,
    routes: RwLock<HashMap<Box<str>, Arc<Route>>>,
    unlogged: AtomicU64,
    logged: Mutex<Option<Instant>>,
}

/// One route's, by method.
#[derive(Default)]
struct Route([OnceLock<Method>; METHODS.len()]);

/// One route's and method's.
struct Method {
    duration: Histogram,
    codes: [OnceLock<Counter>; CLASSES.len()],
}

impl Meters {
    pub(super) fn new() -> Self {
        Self {
            in_flight: metrics::gauge!("chancery_http_requests_in_flight"),
            refusals: Counters::new(
                REFUSALS,
                "reason",
                &[&Refused::REASONS[..], &shares::REASONS[..]].concat(),
            ),
            routes: RwLock::default(),
            unlogged: AtomicU64::new(0),
            logged: Mutex::new(None),
        }
    }

    /// A route is a template of the router, so there are only so many.
    fn route(&self, route: &str) -> Arc<Route> {
        let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = routes.get(route) {
            return Arc::clone(known);
        }
        drop(routes);
        let mut routes = self.routes.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(routes.entry(route.into()).or_default())
    }

    fn record(&self, route: &str, method: usize, status: u16, elapsed: Duration) {
        let meters = self.route(route);
        let name = METHODS[method];
        let meters = meters.0[method].get_or_init(|| Method {
            duration: metrics::histogram!("chancery_http_request_duration_seconds",
                "method" => name, "route" => route.to_owned()),
            codes: Default::default(),
        });
        meters.duration.record(elapsed.as_secs_f64());
        let class = class_of(status);
        let code = || {
            metrics::counter!("chancery_http_requests_total",
                "method" => name, "route" => route.to_owned(), "code" => CLASSES[class])
        };
        meters.codes[class].get_or_init(code).increment(1);
    }

    /// Counts a refusal, and logs now and then how many there were, with the reason and client of the last.
    fn refused(&self, reason: &'static str, client: Option<IpAddr>) {
        self.refusals.increment(reason);
        self.unlogged.fetch_add(1, Ordering::Relaxed);
        // Whoever finds it locked leaves the line to whoever holds it.
        let Ok(mut logged) = self.logged.try_lock() else { return };
        if logged.is_some_and(|at| at.elapsed() < REFUSALS_EVERY) {
            return;
        }
        *logged = Some(Instant::now());
        let refused = self.unlogged.swap(0, Ordering::Relaxed);
        let client = client.map(tracing::field::display);
        tracing::warn!(refused, reason, client, "requests were refused for want of room or time");
    }
}

/// As an extension of an answer: the request was refused because there is too much to do, for this reason.
#[derive(Clone, Copy, Debug)]
pub(super) struct Busy(pub(super) &'static str);

/// One request for the log and the metrics. Written when dropped, so that a client that goes away is seen too.
pub(super) struct Access {
    meters: Arc<Meters>,
    id: RequestId,
    kind: Kind,
    client: Option<IpAddr>,
    method: usize,
    uri: Uri,
    route: Option<MatchedPath>,
    begun: Instant,
    status: Option<StatusCode>,
    busy: Option<Busy>,
    /// Who was let into the sealed zone.
    reader: Option<Reader>,
}

impl Access {
    pub(super) fn begin(meters: &Arc<Meters>, request: &Request, id: RequestId, kind: Kind) -> Self {
        meters.in_flight.increment(1.0);
        Self {
            meters: Arc::clone(meters),
            id,
            kind,
            client: request.extensions().get::<Peer>().map(|peer| peer.client(request.headers())),
            method: method_of(request.method().as_str()),
            uri: request.uri().clone(),
            route: request.extensions().get::<MatchedPath>().cloned(),
            begun: Instant::now(),
            status: None,
            busy: None,
            reader: None,
        }
    }

    /// What the answer is.
    pub(super) fn answered(&mut self, response: &axum::response::Response) {
        self.status = Some(response.status());
        self.busy = response.extensions().get::<Busy>().copied();
        self.reader = response.extensions().get::<Reader>().cloned();
    }
}

impl Drop for Access {
    fn drop(&mut self) {
        let elapsed = self.begun.elapsed();
        // nginx's 499, which Rekor uses as well: the client closed the connection.
        let status = self.status.map_or(499, |status| status.as_u16());
        self.meters.in_flight.decrement(1.0);
        let route = self.route.as_ref().map_or("unmatched", MatchedPath::as_str);
        self.meters.record(route, self.method, status, elapsed);
        if let Some(Busy(reason)) = self.busy {
            return self.meters.refused(reason, self.client);
        }
        // Without the query: it may hold an e-mail address.
        let path = self.uri.path();
        let is_scrape = status == 200 && path == exposition::PATH;
        if is_scrape || (self.kind == Kind::Probe && matches!(status, 200 | 429 | 503)) {
            // Every few seconds. Readiness logs its changes, and a metric counts refusals. Elsewhere than on its own listener
            // the path of the metrics is answered 404.
            return;
        }
        tracing::info!(
            target: "chancery::access",
            id = self.id.as_str(),
            client = self.client.map(tracing::field::display),
            reader = self.reader.as_ref().map(Reader::name),
            method = METHODS[self.method],
            path = %path.escape_debug(),
            status,
            micros = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),
            "request"
        );
    }
}

fn method_of(method: &str) -> usize {
    METHODS.iter().position(|known| *known == method).unwrap_or(METHODS.len() - 1)
}

fn class_of(status: u16) -> usize {
    usize::from(status / 100).clamp(1, CLASSES.len()) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metric_labels_are_closed_sets() {
        assert_eq!(
            ["GET", "PATCH", "BREW", "other"].map(|m| METHODS[method_of(m)]),
            ["GET", "PATCH", "other", "other"]
        );
        let class = |status| CLASSES[class_of(status)];
        assert_eq!([200, 204, 404, 499, 503, 999].map(class), ["2xx", "2xx", "4xx", "4xx", "5xx", "5xx"]);
    }
}
