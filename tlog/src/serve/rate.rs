//! How often somebody may ask: a limit for each client address, and one for each identity that was proven.
//!
//! The generic cell rate algorithm: a key's state is one point in time, the one at which its allowance would
//! be full again. Time is tokio's, so it never steps, and tests move it.
//!
//! Invariant: memory is bounded whatever clients do. Keys live in two generations of half the capacity each;
//! when the younger is full the older is forgotten. So whoever can come from [`CAPACITY`] `/ 2` networks wins
//! back an allowance now and then, and nothing worse; a limiter that refused unknown keys when full would be
//! a switch for turning the service off.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::extract::Request;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method, StatusCode};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::health;
use super::metrics::Counters;
use super::reply::Problem;
use crate::merkle::Hash;

/// Keys that a limiter remembers, at most: about 8 MiB.
pub const CAPACITY: usize = 65_536;

/// Rate of an IPv6 /48 as a multiple of that of an address: more than a company behind one gateway needs, and
/// nothing beside the 65,536 networks that it has.
const SITE: u32 = 8;

/// The metric of [`note`], and the limits that it knows.
const LIMITED: &str = "chancery_rate_limited_total";
const WRITES_PER_ADDRESS: &str = "writes_per_address";
const READS_PER_ADDRESS: &str = "reads_per_address";
const PROBES_PER_ADDRESS: &str = "probes_per_address";
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

/// The `[limits.rates]` table. What is absent is decided by where the server listens: see
/// [`Rates::or_defaults`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rates {
    /// Writes (certificates, entries, timestamps) of one client address.
    pub writes_per_address: Option<Limit>,
    /// Everything else of one client address.
    pub reads_per_address: Option<Limit>,
    /// Health checks of one client address: GET or HEAD of `/healthz` and `/readyz`, and `Check` over gRPC.
    pub probes_per_address: Option<Limit>,
    /// Certificates and entries of one identity.
    pub writes_per_identity: Option<Limit>,
}

/// Default of [`Rates::writes_per_address`]. One address may be the gateway of a whole company's CI.
pub const DEFAULT_WRITES_PER_ADDRESS: Rate = Rate { per_minute: 3000, burst: 1500 };
/// Default of [`Rates::reads_per_address`]. A monitor that reads tiles asks quickly, one after the other.
pub const DEFAULT_READS_PER_ADDRESS: Rate = Rate { per_minute: 12_000, burst: 6000 };
/// Default of [`Rates::probes_per_address`]. A hundred a second: a balancer asks each second, from a few addresses.
pub const DEFAULT_PROBES_PER_ADDRESS: Rate = Rate { per_minute: 6000, burst: 3000 };
/// Default of [`Rates::writes_per_identity`]. An identity is one workflow of one repository, or one person.
pub const DEFAULT_WRITES_PER_IDENTITY: Rate = Rate { per_minute: 600, burst: 300 };

impl Rates {
    /// The tables by name, for checks.
    fn named(&self) -> [(&'static str, Option<Limit>); 4] {
        [
            ("rates.writes_per_address", self.writes_per_address),
            ("rates.reads_per_address", self.reads_per_address),
            ("rates.probes_per_address", self.probes_per_address),
            ("rates.writes_per_identity", self.writes_per_identity),
        ]
    }

    /// The name of a limit that lets nothing through.
    pub(super) fn zero(&self) -> Option<&'static str> {
        let zero = |limit: &Option<Limit>| matches!(limit, Some(Limit::To(rate)) if rate.per_minute == 0 || rate.burst == 0);
        self.named().into_iter().find(|(_, limit)| zero(limit)).map(|(name, _)| name)
    }

    /// What holds. Where only this machine can come in (`exposed` is false) there are no limits unless they
    /// were asked for; elsewhere the defaults hold unless another limit, or none, was asked for.
    pub fn or_defaults(&self, exposed: bool) -> Effective {
        let effective = |limit, default| match limit {
            Some(Limit::Off(_)) => None,
            Some(Limit::To(rate)) => Some(rate),
            None => exposed.then_some(default),
        };
        Effective {
            writes_per_address: effective(self.writes_per_address, DEFAULT_WRITES_PER_ADDRESS),
            reads_per_address: effective(self.reads_per_address, DEFAULT_READS_PER_ADDRESS),
            probes_per_address: effective(self.probes_per_address, DEFAULT_PROBES_PER_ADDRESS),
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
    /// Health checks of one client address.
    pub probes_per_address: Option<Rate>,
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

    /// Counts one request of `key`; `Err` with the time after which the next is allowed, in which case it is
    /// not counted.
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

    /// Takes back one [`Limiter::take`] of `key`, for a request that had no effect.
    pub fn give_back(&self, key: &K) {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let Table { young, old } = &mut *table;
        if let Some(full) = young.get_mut(key).or_else(|| old.get_mut(key)) {
            *full = full.checked_sub(self.rate.interval()).unwrap_or(*full);
        }
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

/// Counts by identity: a text that a signature or a token has proven. Its hash is the key, so that memory is
/// bounded however long the text is.
#[derive(Debug)]
pub struct IdentityLimiter(Limiter<Hash>);

impl IdentityLimiter {
    /// A limiter that remembers [`CAPACITY`] identities.
    pub fn new(rate: Rate) -> Self {
        Self(Limiter::new(rate))
    }

    /// Counts one request of `identity`, as [`Limiter::take`].
    pub fn take(&self, identity: &str) -> Result<(), Duration> {
        self.0.take(Hash::digest(identity.as_bytes()))
    }

    /// Takes back one [`IdentityLimiter::take`].
    pub fn give_back(&self, identity: &str) {
        self.0.give_back(&Hash::digest(identity.as_bytes()));
    }
}

/// The limits on what each client address asks for.
///
/// Proven identities cost a signature check before they are known, and a body has to arrive before that: so
/// this comes first of all.
pub(super) struct Addresses {
    writes: Option<Networks>,
    reads: Option<Networks>,
    probes: Option<Networks>,
}

/// Limiters of one rate for networks of clients, and of a multiple of it for IPv6 sites.
struct Networks {
    clients: Limiter<IpAddr>,
    sites: Limiter<IpAddr>,
}

impl Networks {
    fn new(rate: Rate) -> Self {
        let times = |number: u32| number.saturating_mul(SITE);
        let site = Rate { per_minute: times(rate.per_minute), burst: times(rate.burst) };
        Self { clients: Limiter::new(rate), sites: Limiter::new(site) }
    }

    fn take(&self, network: IpAddr) -> Result<(), Duration> {
        self.clients.take(network)?;
        // A request that its site may not make has been counted for its network, which is in that site.
        site(network).map_or(Ok(()), |site| self.sites.take(site))
    }
}

impl Addresses {
    pub(super) fn new(limits: &Effective) -> Self {
        // So that all of them exist before the first refusal.
        let limited = [WRITES_PER_ADDRESS, READS_PER_ADDRESS, PROBES_PER_ADDRESS, WRITES_PER_IDENTITY];
        Counters::new(LIMITED, "limit", &limited);
        Self {
            writes: limits.writes_per_address.map(Networks::new),
            reads: limits.reads_per_address.map(Networks::new),
            probes: limits.probes_per_address.map(Networks::new),
        }
    }

    /// Counts a request of this kind; `Err` with the time after which the next is allowed.
    pub(super) fn take(&self, kind: Kind, address: IpAddr) -> Result<(), Duration> {
        let (name, limiter) = match kind {
            Kind::Probe => (PROBES_PER_ADDRESS, &self.probes),
            Kind::Write => (WRITES_PER_ADDRESS, &self.writes),
            Kind::Read => (READS_PER_ADDRESS, &self.reads),
        };
        let Some(limiter) = limiter else { return Ok(()) };
        limiter.take(address).inspect_err(|_| note(name))
    }
}

/// What a request is counted as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Probe,
    Read,
    Write,
}

impl Kind {
    pub(super) fn of(request: &Request) -> Self {
        let (method, path) = (request.method(), request.uri().path());
        if health::is_probe(method, path) {
            return Self::Probe;
        }
        // Rekor's searches are POST too. What is not quite a probe writes nothing either.
        let asks = path.trim_end_matches('/').ends_with("/retrieve") || health::is_health(path);
        if *method == Method::POST && !asks { Self::Write } else { Self::Read }
    }
}

/// Whether a client expects the answer of a gRPC server.
pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map(http::HeaderValue::as_bytes);
    kind.is_some_and(|kind| kind.starts_with(b"application/grpc"))
}

/// Counts a refusal in the metrics under the limit's name.
pub fn note(kind: &'static str) {
    metrics::counter!(LIMITED, "limit" => kind).increment(1);
}

/// The network that counts as one client: an IPv4 address, or the /64 that one subscriber of IPv6 has to
/// itself. An IPv4 address behind NAT64 (RFC 6052) counts as that address.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => match translated(address) {
            Some(address) => address.into(),
            None => prefix(address, 64).into(),
        },
        address @ IpAddr::V4(_) => address,
    }
}

/// The /48 of an IPv6 network, which is what one customer of a provider gets: 65,536 networks of clients.
pub(super) fn site(network: IpAddr) -> Option<IpAddr> {
    match network {
        IpAddr::V6(address) => Some(prefix(address, 48).into()),
        IpAddr::V4(_) => None,
    }
}

fn prefix(address: Ipv6Addr, length: u32) -> Ipv6Addr {
    let free = 128 - length;
    Ipv6Addr::from_bits(address.to_bits() >> free << free)
}

/// The IPv4 address in an address of the NAT64 prefix 64:ff9b::/96.
fn translated(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [0x64, 0xff9b, 0, 0, 0, 0, high, low] = address.segments() else { return None };
    Some(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
}

impl Problem {
    /// 429 with `Retry-After`: this client has had its share for now.
    pub fn too_many(message: impl Into<String>, retry_after: Duration) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, message).retry_after(retry_after)
    }
}

#[cfg(test)]
mod tests {
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

    #[tokio::test(start_paused = true)]
    async fn an_identity_is_counted_by_its_hash_whatever_its_length() {
        let limiter = IdentityLimiter::new(RATE);
        let long = "x".repeat(1 << 20);
        for n in 0..3 {
            limiter.take(&long).unwrap();
            limiter.take(&format!("{long}{n}")).unwrap();
        }
        assert!(limiter.take(&long).is_err());
        assert_eq!(size_of_val(limiter.0.table.lock().unwrap().young.keys().next().unwrap()), 32);
    }

    #[test]
    fn an_ipv6_client_is_its_network() {
        let of = |text: &str| network(text.parse().unwrap()).to_string();
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), of("2001:db8:1:2:ffff::1"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:192.0.2.7"), "192.0.2.7");
        assert_ne!(of("192.0.2.7"), of("192.0.2.8"));
        assert_eq!(of("64:ff9b::192.0.2.7"), "192.0.2.7", "NAT64");
        assert_ne!(of("64:ff9b:1::192.0.2.7"), "192.0.2.7", "another prefix");
    }

    #[tokio::test(start_paused = true)]
    async fn the_networks_of_an_ipv6_site_have_a_rate_together() {
        let addresses = Addresses::new(&Effective { reads_per_address: Some(RATE), ..Effective::default() });
        let take = |site: u16, number: u16| {
            let network = Ipv6Addr::new(0x2001, 0xdb8, site, number, 0, 0, 0, 0);
            addresses.take(Kind::Read, network.into())
        };
        assert_eq!((0..1000).filter(|number| take(1, *number).is_ok()).count(), 24, "8 times a burst of 3");
        assert!(take(1, 1000).is_err());
        take(2, 0).unwrap();
        assert_eq!((0..10).filter(|_| take(3, 0).is_ok()).count(), 3, "one network has its own rate");
        addresses.take(Kind::Read, IpAddr::from([192, 0, 2, 1])).unwrap();
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
}
