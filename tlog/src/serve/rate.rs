//! How often somebody may ask: a limit for each client address, and one for each identity that was proven.
//!
//! The generic cell rate algorithm: a key's state is one point in time, the one at which its allowance would be full
//! again. Time is tokio's, so it never steps, and tests move it.
//!
//! Invariant: memory is bounded whatever clients do. Keys live in two generations of half the capacity each; when the
//! younger is full the older is forgotten. So whoever can come from [`CAPACITY`] `/ 2` networks wins back an allowance
//! now and then, and nothing worse; a limiter that refused unknown keys when full would be a switch for turning the
//! service off.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::health;
use super::layers::Peer;
use super::metrics::Counters;
use super::reply::Problem;

/// Keys that a limiter remembers, at most: about 8 MiB.
pub const CAPACITY: usize = 65_536;

/// The metric of [`note`], and the limits that it knows.
const LIMITED: &str = "chancery_rate_limited_total";
const WRITES_PER_ADDRESS: &str = "writes_per_address";
const READS_PER_ADDRESS: &str = "reads_per_address";
/// Of the limit on what one identity writes, for [`note`].
pub const WRITES_PER_IDENTITY: &str = "writes_per_identity";

/// What is allowed: so many in a minute, and so many at once after a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// Sustained.
    pub per_minute: u32,
    /// At once.
    pub burst: u32,
}

impl Rate {
    /// The time that one request uses up.
    fn interval(self) -> Duration {
        Duration::from_mins(1) / self.per_minute.max(1)
    }

    /// How far ahead of now the point of a full allowance may lie before a request.
    fn tolerance(self) -> Duration {
        self.interval() * self.burst.max(1).saturating_sub(1)
    }
}

/// An operator's word on one kind of limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Limit {
    /// None at all.
    Off(Off),
    /// This one.
    To(Rate),
}

/// The text `"off"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Off {
    /// `"off"`.
    #[serde(rename = "off")]
    Off,
}

/// The `[limits.rates]` table. What is absent is decided by where the server listens: see [`Rates::or_defaults`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rates {
    /// Writes (certificates, entries, timestamps) of one client address.
    pub writes_per_address: Option<Limit>,
    /// Everything else of one client address.
    pub reads_per_address: Option<Limit>,
    /// Certificates and entries of one identity.
    pub writes_per_identity: Option<Limit>,
}

/// Default of [`Rates::writes_per_address`]. One address may be the gateway of a whole company's CI.
pub const DEFAULT_WRITES_PER_ADDRESS: Rate = Rate { per_minute: 3000, burst: 1500 };
/// Default of [`Rates::reads_per_address`]. A monitor that reads tiles asks quickly, one after the other.
pub const DEFAULT_READS_PER_ADDRESS: Rate = Rate { per_minute: 12_000, burst: 6000 };
/// Default of [`Rates::writes_per_identity`]. An identity is one workflow of one repository, or one person.
pub const DEFAULT_WRITES_PER_IDENTITY: Rate = Rate { per_minute: 600, burst: 300 };

impl Rates {
    /// The tables by name, for checks.
    fn named(&self) -> [(&'static str, Option<Limit>); 3] {
        [
            ("rates.writes_per_address", self.writes_per_address),
            ("rates.reads_per_address", self.reads_per_address),
            ("rates.writes_per_identity", self.writes_per_identity),
        ]
    }

    /// The name of a limit that lets nothing through.
    pub(super) fn zero(&self) -> Option<&'static str> {
        let zero = |limit: &Option<Limit>| matches!(limit, Some(Limit::To(rate)) if rate.per_minute == 0 || rate.burst == 0);
        self.named().into_iter().find(|(_, limit)| zero(limit)).map(|(name, _)| name)
    }

    /// What holds. Where only this machine can come in (`exposed` is false) there are no limits unless they were
    /// asked for; elsewhere the defaults hold unless another limit, or none, was asked for.
    pub fn or_defaults(&self, exposed: bool) -> Effective {
        let effective = |limit, default| match limit {
            Some(Limit::Off(_)) => None,
            Some(Limit::To(rate)) => Some(rate),
            None => exposed.then_some(default),
        };
        Effective {
            writes_per_address: effective(self.writes_per_address, DEFAULT_WRITES_PER_ADDRESS),
            reads_per_address: effective(self.reads_per_address, DEFAULT_READS_PER_ADDRESS),
            writes_per_identity: effective(self.writes_per_identity, DEFAULT_WRITES_PER_IDENTITY),
        }
    }
}

/// The limits that hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effective {
    /// Writes of one client address.
    pub writes_per_address: Option<Rate>,
    /// Everything else of one client address.
    pub reads_per_address: Option<Rate>,
    /// Certificates and entries of one identity.
    pub writes_per_identity: Option<Rate>,
}

/// Counts requests by key.
pub struct Limiter<K> {
    rate: Rate,
    half: usize,
    table: Mutex<Table<K>>,
}

struct Table<K> {
    young: HashMap<K, Instant>,
    old: HashMap<K, Instant>,
}

impl<K: Eq + std::hash::Hash> Limiter<K> {
    /// A limiter that remembers [`CAPACITY`] keys.
    pub fn new(rate: Rate) -> Self {
        Self::with_capacity(rate, CAPACITY)
    }

    fn with_capacity(rate: Rate, capacity: usize) -> Self {
        let table = Table { young: HashMap::new(), old: HashMap::new() };
        Self { rate, half: (capacity / 2).max(1), table: Mutex::new(table) }
    }

    /// Counts one request of `key`; `Err` with the time after which the next is allowed, in which case it is not
    /// counted.
    pub fn take(&self, key: K) -> Result<(), Duration> {
        let now = Instant::now();
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let known = table.young.get(&key).or_else(|| table.old.get(&key));
        let full = known.copied().unwrap_or(now).max(now);
        let wait = full.duration_since(now).saturating_sub(self.rate.tolerance());
        if !wait.is_zero() {
            return Err(wait);
        }
        if table.young.len() >= self.half && !table.young.contains_key(&key) {
            table.old = std::mem::take(&mut table.young);
        }
        table.young.insert(key, full + self.rate.interval());
        Ok(())
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        let table = self.table.lock().unwrap();
        table.young.len() + table.old.len()
    }
}

impl<K> fmt::Debug for Limiter<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Limiter({:?})", self.rate)
    }
}

/// Counts by identity: a text that a signature or a token has proven.
pub type IdentityLimiter = Limiter<String>;

/// Limits the requests of each client address to `router`, whatever they ask for. Probes are not counted.
///
/// Proven identities cost a signature check before they are known, so this comes first.
pub fn per_address(router: Router, limits: &Effective) -> Router {
    // So that all of them exist before the first refusal.
    Counters::new(LIMITED, "limit", &[WRITES_PER_ADDRESS, READS_PER_ADDRESS, WRITES_PER_IDENTITY]);
    if limits.writes_per_address.is_none() && limits.reads_per_address.is_none() {
        return router;
    }
    let addresses = Addresses {
        writes: limits.writes_per_address.map(Limiter::new),
        reads: limits.reads_per_address.map(Limiter::new),
    };
    router.layer(from_fn_with_state(Arc::new(addresses), count))
}

struct Addresses {
    writes: Option<Limiter<IpAddr>>,
    reads: Option<Limiter<IpAddr>>,
}

async fn count(State(addresses): State<Arc<Addresses>>, request: Request, next: Next) -> Response {
    let (kind, limiter) = match Kind::of(&request) {
        Kind::Probe => return next.run(request).await,
        Kind::Write => (WRITES_PER_ADDRESS, &addresses.writes),
        Kind::Read => (READS_PER_ADDRESS, &addresses.reads),
    };
    let peer = request.extensions().get::<Peer>().map(|peer| peer.client(request.headers()));
    if let (Some(limiter), Some(address)) = (limiter, peer)
        && let Err(wait) = limiter.take(network(address))
    {
        return refused(kind, is_grpc(&request), wait);
    }
    next.run(request).await
}

/// What a request is counted as.
enum Kind {
    Probe,
    Read,
    Write,
}

impl Kind {
    fn of(request: &Request) -> Self {
        let path = request.uri().path();
        if matches!(path, health::LIVE | health::READY) || path.starts_with("/grpc.health.v1.Health/") {
            return Self::Probe;
        }
        // Rekor's searches are POST too.
        let asks = path.trim_end_matches('/').ends_with("/retrieve");
        if *request.method() == Method::POST && !asks { Self::Write } else { Self::Read }
    }
}

fn is_grpc(request: &Request) -> bool {
    let kind = request.headers().get(CONTENT_TYPE).map(http::HeaderValue::as_bytes);
    kind.is_some_and(|kind| kind.starts_with(b"application/grpc"))
}

/// The answer to one request too many, which is counted under `kind`.
fn refused(kind: &'static str, grpc: bool, wait: Duration) -> Response {
    let message = "too many requests from this address, try again later";
    note(kind);
    let problem = Problem::too_many(message, wait).into_response();
    if !grpc {
        return problem;
    }
    let mut response: http::Response<axum::body::Body> =
        tonic::Status::resource_exhausted(message).into_http();
    if let Some(after) = problem.headers().get(RETRY_AFTER) {
        response.headers_mut().insert(RETRY_AFTER, after.clone());
    }
    response
}

/// Counts a refusal in the metrics under the limit's name.
pub fn note(kind: &'static str) {
    metrics::counter!(LIMITED, "limit" => kind).increment(1);
}

/// What one client is: an IPv4 address, or the /64 that one subscriber of IPv6 has to itself.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address @ IpAddr::V4(_) => address,
    }
}

impl Problem {
    /// 429 with `Retry-After`: this client has had its share for now.
    pub fn too_many(message: impl Into<String>, retry_after: Duration) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, message).retry_after(retry_after)
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::routing::{get, post};
    use tower::ServiceExt as _;

    use super::*;

    const RATE: Rate = Rate { per_minute: 60, burst: 3 };

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_allowed_and_then_the_sustained_rate() {
        let limiter = Limiter::new(RATE);
        for _ in 0..3 {
            limiter.take("a").unwrap();
        }
        assert_eq!(limiter.take("a"), Err(Duration::from_secs(1)));
        limiter.take("b").unwrap();
        tokio::time::advance(Duration::from_millis(400)).await;
        assert_eq!(limiter.take("a"), Err(Duration::from_millis(600)));
        tokio::time::advance(Duration::from_millis(600)).await;
        limiter.take("a").unwrap();
        assert!(limiter.take("a").is_err());
        tokio::time::advance(Duration::from_hours(1)).await;
        for _ in 0..3 {
            limiter.take("a").unwrap();
        }
        assert!(limiter.take("a").is_err(), "a pause saves up no more than a burst");
    }

    #[tokio::test(start_paused = true)]
    async fn many_keys_take_bounded_memory_and_whoever_keeps_asking_stays_limited() {
        let limiter = Limiter::with_capacity(RATE, 100);
        for n in 0..10_000 {
            let _ = limiter.take(n);
            assert!(limiter.len() <= 100);
        }
        let limiter = Limiter::with_capacity(RATE, 100);
        for _ in 0..3 {
            limiter.take(0).unwrap();
        }
        for n in 1..50 {
            limiter.take(n).unwrap();
        }
        assert!(limiter.take(0).is_err(), "the older generation still counts");
    }

    #[test]
    fn an_ipv6_client_is_its_network() {
        let of = |text: &str| network(text.parse().unwrap()).to_string();
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), of("2001:db8:1:2:ffff::1"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:192.0.2.7"), "192.0.2.7");
        assert_ne!(of("192.0.2.7"), of("192.0.2.8"));
    }

    #[test]
    fn nothing_is_limited_on_this_machine_unless_it_was_asked_for() {
        let rates: Rates = serde_json::from_str(
            r#"{"writes_per_address":"off","reads_per_address":{"per_minute":5,"burst":2}}"#,
        )
        .unwrap();
        let local = rates.or_defaults(false);
        let exposed = rates.or_defaults(true);
        assert_eq!(local.reads_per_address, Some(Rate { per_minute: 5, burst: 2 }));
        assert_eq!(exposed.reads_per_address, local.reads_per_address);
        assert_eq!((local.writes_per_address, exposed.writes_per_address), (None, None));
        assert_eq!(local.writes_per_identity, None);
        assert_eq!(exposed.writes_per_identity, Some(DEFAULT_WRITES_PER_IDENTITY));
        assert_eq!(rates.zero(), None);
        let zero = r#"{"writes_per_identity":{"per_minute":0,"burst":2}}"#;
        let zero: Rates = serde_json::from_str(zero).unwrap();
        assert_eq!(zero.zero(), Some("rates.writes_per_identity"));
        for wrong in [r#"{"writes_per_address":"none"}"#, r#"{"writes":"off"}"#] {
            serde_json::from_str::<Rates>(wrong).unwrap_err();
        }
    }

    fn limited() -> Router {
        let router = Router::new()
            .route("/entries", get(async || "").post(async || ""))
            .route("/index/retrieve", post(async || ""))
            .route(health::LIVE, get(async || ""));
        let rate = Some(Rate { per_minute: 1, burst: 1 });
        per_address(
            router,
            &Effective { writes_per_address: rate, reads_per_address: rate, ..Effective::default() },
        )
    }

    async fn ask(router: &Router, method: &str, path: &str, from: &str, kind: &str) -> Response {
        let peer = Peer { socket: format!("{from}:1000").parse().unwrap(), proxy: false };
        let request = Request::builder().method(method).uri(path).header(CONTENT_TYPE, kind).extension(peer);
        router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn reads_and_writes_of_an_address_are_counted_apart_and_refused_with_the_time_to_wait() {
        let router = limited();
        let status = async |method, path, from| ask(&router, method, path, from, "").await.status().as_u16();
        assert_eq!(status("POST", "/entries", "192.0.2.1").await, 200);
        assert_eq!(status("GET", "/entries", "192.0.2.1").await, 200);
        assert_eq!(status("POST", "/entries", "192.0.2.1").await, 429);
        assert_eq!(status("POST", "/index/retrieve", "192.0.2.1").await, 429, "a search is a read");
        assert_eq!(status("POST", "/entries", "192.0.2.2").await, 200);
        for _ in 0..3 {
            assert_eq!(status("GET", health::LIVE, "192.0.2.1").await, 200, "probes are not counted");
        }
        let refused = ask(&router, "POST", "/entries", "192.0.2.1", "application/json").await;
        assert_eq!(refused.headers()["retry-after"], "60");
        assert_eq!(refused.headers()[CONTENT_TYPE], "application/json");
        let refused = ask(&router, "POST", "/entries", "192.0.2.1", "application/grpc+proto").await;
        assert_eq!(
            (refused.status().as_u16(), &refused.headers()["grpc-status"]),
            (200, &"8".parse().unwrap())
        );
        assert_eq!(refused.headers()["retry-after"], "60");
    }
}
