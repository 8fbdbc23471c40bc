//! What an operator says about a listener: addresses, TLS files, limits.
//!
//! Invariant: plain HTTP leaves the machine only if the operator has written `behind_proxy = true`. Tokens and
//! repository names travel on these listeners, so there is no silent default for it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::forwarded::{ForwardedHeader, Forwarding, Proxies};
use super::rate::Rates;

mod per_address;

pub use self::per_address::PerAddress;

/// Default of [`Limits::max_connections`]: 4,096. With TLS buffers about 50 KiB each, so 200 MiB at the worst.
pub const DEFAULT_MAX_CONNECTIONS: usize = 4096;
/// Default of [`Limits::max_requests`]: 1,024.
pub const DEFAULT_MAX_REQUESTS: usize = 1024;
/// Default of [`Limits::max_body`]: 4 MiB, as Fulcio has it, and the largest Rekor entry that is parsed.
pub const DEFAULT_MAX_BODY: usize = 4 * 1024 * 1024;
/// Default of [`Limits::max_bodies`]: 2,048. Each takes some 10 KiB beside its bytes, so 20 MiB.
pub const DEFAULT_MAX_BODIES: usize = 2048;
/// Default of [`Limits::max_body_bytes`]: 256 MiB, or 64 bodies of the largest size.
pub const DEFAULT_MAX_BODY_BYTES: usize = 256 * 1024 * 1024;
/// Default of [`Limits::max_unread_bytes`]: 256 MiB, as for bodies.
pub const DEFAULT_MAX_UNREAD_BYTES: usize = 256 * 1024 * 1024;
/// Default of [`Limits::body_timeout`]: 30 seconds, in which a body of the largest size needs 1.1 Mbit/s.
pub const DEFAULT_BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// Default of [`Limits::min_rate`]: 1,024 bytes a second. A modem is faster; 512 bodies that are kept open at
/// this rate cost their sender 4 Mbit/s.
pub const DEFAULT_MIN_RATE: usize = 1024;
/// Default of [`Limits::header_timeout`]: 10 seconds.
pub const DEFAULT_HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Default of [`Limits::request_timeout`]: 60 seconds, the write timeout of Fulcio.
pub const DEFAULT_REQUEST_TIMEOUT: Duration = Duration::from_mins(1);
/// Default of [`Limits::idle_timeout`]: 75 seconds, longer than the 60 of common proxies, so that it is they who
/// close an idle connection and not we under their next request.
pub const DEFAULT_IDLE_TIMEOUT: Duration = Duration::from_secs(75);
/// Default of [`Limits::shutdown_grace`]: 25 seconds. Kubernetes gives 30 between SIGTERM and SIGKILL, and
/// the last commits and heads are written after the grace.
pub const DEFAULT_SHUTDOWN_GRACE: Duration = Duration::from_secs(25);

/// Bytes that gRPC puts before a message, which `max_body` does not count.
pub(super) const GRPC_PREFIX: usize = 5;

/// Where and how to listen: the `[listen]` table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenSettings {
    /// Address and port; port 0 takes any free one.
    pub address: SocketAddr,
    /// A second address for the same: where `address` is 127.0.0.1 and clients come by a name that is ::1 as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub also: Option<SocketAddr>,
    /// Address and port of the Prometheus endpoint; none if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<SocketAddr>,
    /// A proxy in front of this listener terminates TLS. Allows plain HTTP on addresses other than loopback,
    /// and takes the client's address from the proxy's header. Default: false.
    #[serde(default)]
    pub behind_proxy: bool,
    /// Trusted proxies. Default: one.
    #[serde(default)]
    pub proxies: Proxies,
    /// Header with the client's address. Default: `X-Forwarded-For`.
    #[serde(default)]
    pub forwarded_header: ForwardedHeader,
    /// Host names that a loopback listener accepts besides loopback names. Derived from the server's URL, not
    /// read from the configuration.
    #[serde(skip)]
    pub hosts: Vec<String>,
    /// True for a listener that may speak plain HTTP on any address. Not read from the configuration.
    #[serde(skip)]
    pub(super) plain_allowed: bool,
    /// Certificate and key; without them the listener speaks plain HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsFiles>,
}

/// The files of a TLS identity. They are read again when they change; a broken pair is logged and the old one kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    /// PEM chain, server certificate first.
    pub certificate: PathBuf,
    /// PEM private key: PKCS#8, PKCS#1 or SEC1.
    pub key: PathBuf,
    /// PEM certificates of the authorities whose client certificates are asked for, if any are. Nobody has to show one
    /// to connect; one that is shown must be valid. Set by whoever knows what it is for, not in the file's table.
    #[serde(skip)]
    pub client_ca: Option<PathBuf>,
    /// Host names and addresses by which clients come, for which the certificate should be valid. Set in the same way.
    #[serde(skip)]
    pub names: Vec<String>,
}

/// Bounds of everything that a client can make large, many or slow: the `[limits]` table. Times are in seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Open connections. More wait in the kernel's backlog. Default: 4096.
    pub max_connections: usize,
    /// Complete requests in work at one time, one in eight kept for reads and one in eight for writes. More
    /// are answered 503 with `Retry-After`, and so are writes that would wait for a core longer than half a
    /// second, which needs no setting. Default: 1024.
    pub max_requests: usize,
    /// Bytes of a request body. More is answered 413. Default: 4194304 (4 MiB).
    pub max_body: usize,
    /// Requests whose bodies have begun to arrive and are not complete. More are answered 503. Default: 2048.
    pub max_bodies: usize,
    /// Bytes of request bodies in memory. More are answered 503. Default: 268435456 (256 MiB).
    pub max_body_bytes: usize,
    /// Bytes of answers that clients have not read, and 4 KiB for each of these answers. Requests beyond are answered
    /// 503. Default: 268435456 (256 MiB).
    pub max_unread_bytes: usize,
    /// From accepting a connection to its first complete request head, TLS handshake included. Default: 10.
    #[serde(with = "seconds")]
    pub header_timeout: Duration,
    /// From a request's head to the end of its body. Longer is answered 408. Default: 30.
    #[serde(with = "seconds")]
    pub body_timeout: Duration,
    /// Bytes a second with which a body arrives at least and an answer is read at least, over ten seconds. A
    /// slower body is answered 408; the connection of a slower reader is closed. Answers are watched in pieces of 16
    /// KiB, and one piece may be under way. Default: 1024.
    pub min_rate: usize,
    /// From the end of a request's body to its answer. Longer is answered 504. Default: 60.
    #[serde(with = "seconds")]
    pub request_timeout: Duration,
    /// Without any request, health checks not counted, before a connection is closed. So is a connection with an
    /// answer that is not read for so long, beyond the time that `min_rate` gives it. Default: 75.
    #[serde(with = "seconds")]
    pub idle_timeout: Duration,
    /// For requests in work when the server is told to stop; those whose bodies are not complete have five
    /// seconds of it. Default: 25.
    #[serde(with = "seconds")]
    pub shutdown_grace: Duration,
    /// How often one client address or identity may come.
    pub rates: Rates,
    /// The share of the bounds above that one client address has.
    pub per_address: PerAddress,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: DEFAULT_MAX_CONNECTIONS,
            max_requests: DEFAULT_MAX_REQUESTS,
            max_body: DEFAULT_MAX_BODY,
            max_bodies: DEFAULT_MAX_BODIES,
            max_body_bytes: DEFAULT_MAX_BODY_BYTES,
            max_unread_bytes: DEFAULT_MAX_UNREAD_BYTES,
            body_timeout: DEFAULT_BODY_TIMEOUT,
            min_rate: DEFAULT_MIN_RATE,
            header_timeout: DEFAULT_HEADER_TIMEOUT,
            request_timeout: DEFAULT_REQUEST_TIMEOUT,
            idle_timeout: DEFAULT_IDLE_TIMEOUT,
            shutdown_grace: DEFAULT_SHUTDOWN_GRACE,
            rates: Rates::default(),
            per_address: PerAddress::default(),
        }
    }
}

/// What is wrong with an operator's settings.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// Plain HTTP where others could listen.
    #[error(
        "plain HTTP on {0} would send identity tokens and names in clear: give `tls` a certificate and a key, listen \
         on 127.0.0.1, or set `behind_proxy = true` if a proxy in front ends TLS"
    )]
    PlainHttp(SocketAddr),
    /// A limit of zero.
    #[error("limit `{0}` must be greater than zero")]
    Zero(&'static str),
    /// A limit that no body of the allowed size could keep.
    #[error("limit `{0}` must be at least `max_body` and {GRPC_PREFIX} bytes more")]
    SmallerThanBody(&'static str),
    /// A setting about proxies without a proxy.
    #[error(
        "`{0}` configures the proxies in front: set `behind_proxy = true` if there are any, or remove it"
    )]
    NoProxy(&'static str),
}

impl ListenSettings {
    /// Plain HTTP or TLS on `address`, without metrics, not behind a proxy.
    pub fn new(address: SocketAddr, tls: Option<TlsFiles>) -> Self {
        Self {
            address,
            also: None,
            metrics: None,
            behind_proxy: false,
            proxies: Proxies::default(),
            forwarded_header: ForwardedHeader::default(),
            hosts: Vec::new(),
            plain_allowed: false,
            tls,
        }
    }

    /// Settings of the metrics listener. Plain HTTP anywhere: what it serves names nobody, and scrapers expect
    /// it. No proxy is trusted there, and on loopback it answers for the same hosts as the listener beside it.
    pub fn metrics_listener(&self) -> Option<Self> {
        let settings =
            |address| Self { hosts: self.hosts.clone(), plain_allowed: true, ..Self::new(address, None) };
        self.metrics.map(settings)
    }

    /// Addresses that clients come by.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        std::iter::once(self.address).chain(self.also)
    }

    /// Checks what needs no file and no socket.
    pub fn check(&self) -> Result<(), SettingsError> {
        let others = [
            ("proxies", self.proxies != Proxies::default()),
            ("forwarded_header", self.forwarded_header != ForwardedHeader::default()),
        ];
        if let Some((name, _)) = others.into_iter().find(|(_, other)| *other && !self.behind_proxy) {
            return Err(SettingsError::NoProxy(name));
        }
        let exposed = self.addresses().find(|address| !address.ip().to_canonical().is_loopback());
        match exposed {
            Some(address) if self.tls.is_none() && !self.behind_proxy && !self.plain_allowed => {
                Err(SettingsError::PlainHttp(address))
            }
            _ => Ok(()),
        }
    }

    /// How the client's address is found, if there are proxies in front.
    pub(super) fn forwarding(&self) -> Option<Forwarding> {
        let forwarding = || Forwarding { proxies: self.proxies.clone(), header: self.forwarded_header };
        self.behind_proxy.then(forwarding)
    }
}

impl Limits {
    /// The limits of a metrics listener: room for a few scrapers, and no more descriptors than stores and
    /// clients leave.
    pub fn for_metrics() -> Self {
        let per_address = PerAddress { connections: 16, requests: 16, reads: 16, ..PerAddress::default() };
        Self { max_connections: 32, max_requests: 32, per_address, ..Self::default() }
    }

    /// Checks that no limit is zero.
    pub fn check(&self) -> Result<(), SettingsError> {
        let limits = [
            ("max_connections", self.max_connections == 0),
            ("max_requests", self.max_requests == 0),
            ("max_body", self.max_body == 0),
            ("max_bodies", self.max_bodies == 0),
            ("max_unread_bytes", self.max_unread_bytes == 0),
            ("body_timeout", self.body_timeout.is_zero()),
            ("min_rate", self.min_rate == 0),
            ("header_timeout", self.header_timeout.is_zero()),
            ("request_timeout", self.request_timeout.is_zero()),
            ("idle_timeout", self.idle_timeout.is_zero()),
        ];
        let zero = limits.into_iter().find(|(_, zero)| *zero).map(|(name, _)| name);
        if let Some(name) = zero.or_else(|| self.rates.zero()).or_else(|| self.per_address.zero()) {
            return Err(SettingsError::Zero(name));
        }
        // Else the largest body that is allowed could never be received.
        let body = self.max_body.saturating_add(GRPC_PREFIX);
        let too_small = [
            ("max_body_bytes", self.max_body_bytes < body),
            ("per_address.body_bytes", self.per_address.body_bytes < body),
        ];
        match too_small.into_iter().find(|(_, too_small)| *too_small) {
            Some((name, _)) => Err(SettingsError::SmallerThanBody(name)),
            None => Ok(()),
        }
    }
}

/// Durations as whole seconds, which is what a person writes.
mod seconds {
    use super::{Deserialize, Deserializer, Duration, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(value.as_secs())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        // A day at most: longer is a mistake, and an overflow of deadlines at worst.
        let value = u64::deserialize(deserializer)?;
        if value > 86_400 {
            return Err(serde::de::Error::custom("a time limit is at most 86400 seconds"));
        }
        Ok(Duration::from_secs(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(json: &str) -> ListenSettings {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn plain_http_is_for_loopback() {
        settings(r#"{"address":"127.0.0.1:0"}"#).check().unwrap();
        settings(r#"{"address":"[::1]:0"}"#).check().unwrap();
        settings(r#"{"address":"[::ffff:127.0.0.1]:0"}"#).check().unwrap();
        for address in ["0.0.0.0:80", "[::]:80", "10.0.0.1:80"] {
            let error = settings(&format!(r#"{{"address":"{address}"}}"#)).check().unwrap_err();
            assert!(error.to_string().contains("behind_proxy = true"), "{error}");
        }
    }

    #[test]
    fn plain_http_elsewhere_needs_a_proxy_or_tls() {
        settings(r#"{"address":"0.0.0.0:80","behind_proxy":true}"#).check().unwrap();
        settings(r#"{"address":"0.0.0.0:80","tls":{"certificate":"c","key":"k"}}"#).check().unwrap();
    }

    #[test]
    fn proxies_are_configured_only_behind_a_proxy() {
        for (key, value) in [("proxies", "2"), ("forwarded_header", "\"forwarded\"")] {
            let json = format!(r#"{{"address":"127.0.0.1:80","{key}":{value}}}"#);
            assert_eq!(settings(&json).check(), Err(SettingsError::NoProxy(key)));
            settings(&json.replacen('{', r#"{"behind_proxy":true,"#, 1)).check().unwrap();
        }
        let plain = settings(r#"{"address":"127.0.0.1:80","behind_proxy":true}"#);
        assert_eq!(plain.forwarding(), Some(Forwarding::default()));
    }

    #[test]
    fn the_metrics_listener_may_be_plain() {
        let settings = settings(r#"{"address":"127.0.0.1:0","metrics":"0.0.0.0:2112"}"#);
        let metrics = settings.metrics_listener().unwrap();
        metrics.check().unwrap();
        assert_eq!(metrics.forwarding(), None, "no header names its clients");
        assert!(
            serde_json::from_str::<ListenSettings>(r#"{"address":"127.0.0.1:0","plain_allowed":true}"#)
                .is_err()
        );
        Limits::for_metrics().check().unwrap();
    }

    #[test]
    fn unknown_settings_are_refused() {
        serde_json::from_str::<ListenSettings>(r#"{"address":"127.0.0.1:0","adress":1}"#).unwrap_err();
        serde_json::from_str::<Limits>(r#"{"max_conections":1}"#).unwrap_err();
        serde_json::from_str::<TlsFiles>(r#"{"certificate":"c","key":"k","ca":"x"}"#).unwrap_err();
    }

    #[test]
    fn limits_default_each_by_itself_and_read_seconds() {
        let limits: Limits = serde_json::from_str(r#"{"request_timeout":5}"#).unwrap();
        assert_eq!(limits, Limits { request_timeout: Duration::from_secs(5), ..Limits::default() });
        serde_json::from_str::<Limits>(r#"{"request_timeout":86401}"#).unwrap_err();
    }

    #[test]
    fn a_limit_of_zero_is_refused_by_name() {
        Limits::default().check().unwrap();
        let limits = Limits { max_body: 0, ..Limits::default() };
        assert_eq!(limits.check(), Err(SettingsError::Zero("max_body")));
        let limits: Limits = serde_json::from_str(r#"{"per_address":{"bodies":0}}"#).unwrap();
        assert_eq!(limits.check(), Err(SettingsError::Zero("per_address.bodies")));
    }

    #[test]
    fn room_for_bodies_is_room_for_one_of_the_largest() {
        let limits: Limits = serde_json::from_str(r#"{"per_address":{"body_bytes":4194304}}"#).unwrap();
        assert_eq!(limits.check(), Err(SettingsError::SmallerThanBody("per_address.body_bytes")));
        let limits = Limits { max_body: DEFAULT_MAX_BODY_BYTES, ..Limits::default() };
        assert_eq!(limits.check(), Err(SettingsError::SmallerThanBody("max_body_bytes")));
    }
}
