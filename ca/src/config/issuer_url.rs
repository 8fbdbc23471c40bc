//! Which URLs may be an issuer: `https`, a host, and nothing that could carry a second address.
//!
//! CVE-2026-22772 is the reason for "no userinfo, query or fragment": a pattern that was found inside the query of
//! an attacker's URL made Fulcio fetch it. Plain `http` parses for loopback hosts only, and is used only where the
//! instance is told to be a development instance (see `oidc::Settings`).

use url::{Host, Url};

/// Longest issuer URL, in bytes.
pub(crate) const MAX_ISSUER_URL: usize = 2048;

/// Why a URL cannot be an issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IssuerUrlError {
    /// Does not parse, or has no host.
    #[error("not a URL with a host")]
    Malformed,
    /// Some other scheme.
    #[error("must be an https URL (http only on a loopback host of a development instance)")]
    NotHttps,
    /// Has parts that an issuer has not.
    #[error("must not contain user information, a query or a fragment")]
    Ambiguous,
}

/// A URL that may be an issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerUrl {
    url: Url,
    text: String,
}

impl IssuerUrl {
    /// Parses and checks.
    pub fn parse(text: &str) -> Result<Self, IssuerUrlError> {
        let printable = text.bytes().all(|b| b.is_ascii_graphic() && b != b'\\');
        if text.len() > MAX_ISSUER_URL || !printable {
            return Err(IssuerUrlError::Malformed);
        }
        let url = Url::parse(text).map_err(|_| IssuerUrlError::Malformed)?;
        if url.host_str().is_none_or(str::is_empty) {
            return Err(IssuerUrlError::Malformed);
        }
        if text.contains(['?', '#', '@']) {
            return Err(IssuerUrlError::Ambiguous);
        }
        match url.scheme() {
            "https" => {}
            "http" if is_loopback(&url) => {}
            _ => return Err(IssuerUrlError::NotHttps),
        }
        Ok(Self { url, text: text.to_owned() })
    }

    /// The text as configured; issuers are compared byte for byte.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The parsed URL.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Whether this is plain http, and so for development only.
    pub fn is_plain_http(&self) -> bool {
        self.url.scheme() == "http"
    }

    /// Where the discovery document is: OpenID Connect Discovery §4, one trailing slash removed.
    pub fn discovery(&self) -> String {
        let base = self.text.strip_suffix('/').unwrap_or(&self.text);
        format!("{base}/.well-known/openid-configuration")
    }
}

/// Whether the URL's host is this machine by definition, not by DNS. `localhost` counts: RFC 6761 §6.3 reserves it.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}
