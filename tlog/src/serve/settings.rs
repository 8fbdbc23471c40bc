//! What an operator says about a listener: addresses, TLS files, limits.
//!
//! Invariant: plain HTTP leaves the machine only if the operator has written `behind_proxy = true`. Tokens and
//! repository names travel on these listeners, so there is no silent default for it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::rate::Rates;

/// Default of [`Limits::max_connections`]: 4,096. With TLS buffers about 50 KiB each, so 200 MiB at the worst.
pub const DEFAULT_MAX_CONNECTIONS: usize = 4096;
/// Default of [`Limits::max_requests`]: 1,024.
pub const DEFAULT_MAX_REQUESTS: usize = 1024;
/// Default of [`Limits::max_body`]: 4 MiB, as Fulcio has it, and the largest Rekor entry that is parsed.
pub const DEFAULT_MAX_BODY: usize = 4 * 1024 * 1024;
/// Default of [`Limits::header_timeout`]: 10 seconds.
pub const DEFAULT_HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Default of [`Limits::request_timeout`]: 60 seconds, the write timeout of Fulcio.
pub const DEFAULT_REQUEST_TIMEOUT: Duration = Duration::from_mins(1);
/// Default of [`Limits::idle_timeout`]: 75 seconds, longer than the 60 of common proxies, so that it is they who
/// close an idle connection and not we under their next request.
pub const DEFAULT_IDLE_TIMEOUT: Duration = Duration::from_secs(75);
/// Default of [`Limits::shutdown_grace`]: 30 seconds, what Kubernetes gives between SIGTERM and SIGKILL.
pub const DEFAULT_SHUTDOWN_GRACE: Duration = Duration::from_secs(30);

/// Where and how to listen: the `[listen]` table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenSettings {
    /// Address and port; port 0 takes any free one.
    pub address: SocketAddr,
    /// Address and port of the Prometheus endpoint; none if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<SocketAddr>,
    /// A proxy in front of this listener ends TLS. Allows plain HTTP on other addresses than loopback, and makes
    /// the access log name the last `X-Forwarded-For` entry. Default: false.
    #[serde(default)]
    pub behind_proxy: bool,
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
}

/// Bounds of everything that a client can make large, many or slow: the `[limits]` table. Times are in seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Open connections. More wait in the kernel's backlog. Default: 4096.
    pub max_connections: usize,
    /// Requests in work at one time, one in eight kept for reads. More are answered 503 with `Retry-After`, and so are
    /// writes that would wait for a core longer than half a second, which needs no setting. Default: 1024.
    pub max_requests: usize,
    /// Bytes of a request body. More is answered 413. Default: 4194304 (4 MiB).
    pub max_body: usize,
    /// From accepting a connection to its first complete request head, TLS handshake included. Default: 10.
    #[serde(with = "seconds")]
    pub header_timeout: Duration,
    /// From a request's head to its answer, time for its body included. Default: 60.
    #[serde(with = "seconds")]
    pub request_timeout: Duration,
    /// Without any request before a connection is closed. Default: 75.
    #[serde(with = "seconds")]
    pub idle_timeout: Duration,
    /// For requests in work when the server is told to stop. Default: 30.
    #[serde(with = "seconds")]
    pub shutdown_grace: Duration,
    /// How often one client address or identity may come.
    pub rates: Rates,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: DEFAULT_MAX_CONNECTIONS,
            max_requests: DEFAULT_MAX_REQUESTS,
            max_body: DEFAULT_MAX_BODY,
            header_timeout: DEFAULT_HEADER_TIMEOUT,
            request_timeout: DEFAULT_REQUEST_TIMEOUT,
            idle_timeout: DEFAULT_IDLE_TIMEOUT,
            shutdown_grace: DEFAULT_SHUTDOWN_GRACE,
            rates: Rates::default(),
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
}

impl ListenSettings {
    /// Plain HTTP or TLS on `address`, without metrics, not behind a proxy.
    pub fn new(address: SocketAddr, tls: Option<TlsFiles>) -> Self {
        Self { address, metrics: None, behind_proxy: false, tls }
    }

    /// Settings of the metrics listener. Plain HTTP anywhere: what it serves names nobody, and scrapers expect it.
    pub fn metrics_listener(&self) -> Option<Self> {
        self.metrics.map(|address| Self { address, metrics: None, behind_proxy: true, tls: None })
    }

    /// Checks what needs no file and no socket.
    pub fn check(&self) -> Result<(), SettingsError> {
        let private =
            self.tls.is_some() || self.behind_proxy || self.address.ip().to_canonical().is_loopback();
        if private { Ok(()) } else { Err(SettingsError::PlainHttp(self.address)) }
    }
}

impl Limits {
    /// Checks that no limit is zero.
    pub fn check(&self) -> Result<(), SettingsError> {
        let limits = [
            ("max_connections", self.max_connections == 0),
            ("max_requests", self.max_requests == 0),
            ("max_body", self.max_body == 0),
            ("header_timeout", self.header_timeout.is_zero()),
            ("request_timeout", self.request_timeout.is_zero()),
            ("idle_timeout", self.idle_timeout.is_zero()),
        ];
        let zero = limits.into_iter().find(|(_, zero)| *zero).map(|(name, _)| name);
        match zero.or_else(|| self.rates.zero()) {
            Some(name) => Err(SettingsError::Zero(name)),
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
    fn the_metrics_listener_may_be_plain() {
        let settings = settings(r#"{"address":"127.0.0.1:0","metrics":"0.0.0.0:2112"}"#);
        settings.metrics_listener().unwrap().check().unwrap();
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
        let limits = Limits { max_body: 0, ..Limits::default() };
        assert_eq!(limits.check(), Err(SettingsError::Zero("max_body")));
    }
}
