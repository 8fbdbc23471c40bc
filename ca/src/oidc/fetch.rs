//! Bounded fetches: at most [`MAX_DOCUMENT`] bytes, status 200 only, never a redirect.
//!
//! CVE-2026-49478: following a redirect out of discovery let another host supply the keys. The client is built
//! without redirects, so a redirect is simply a status that is not 200.

use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION, CACHE_CONTROL};
use http::{HeaderMap, HeaderValue};

use super::keys::LeftOut;

/// Largest discovery document or key set, in bytes.
pub(super) const MAX_DOCUMENT: usize = 1024 * 1024;

/// Why an issuer's documents cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// Connection, TLS or HTTP.
    #[error("{0}")]
    Transport(String),
    /// Any status but 200, redirects included.
    #[error("it answered with status {0}")]
    Status(u16),
    /// More than 1 MiB, or too many keys.
    #[error("the document is too large")]
    TooLarge,
    /// It took too long.
    #[error("it did not answer in time")]
    Timeout,
    /// Not what it should be.
    #[error("malformed {0}")]
    Malformed(&'static str),
    /// The document is about another issuer.
    #[error("the discovery document names another issuer")]
    IssuerMismatch,
    /// `jwks_uri` points to a host or port that is not the issuer's: the URI, and host and port.
    #[error(
        "`jwks_uri` is at a host or port that is not the issuer's own: {0}; if it is right, add `{1}` to the issuer's \
         `jwks-hosts` in fulcio.yaml"
    )]
    KeyHost(String, String),
    /// No key in the set can be used.
    #[error("the key set holds no usable key{0}")]
    NoKeys(LeftOut),
    /// A file of the configuration cannot be used: its path, and the reason.
    #[error("the file {0}: {1}")]
    File(String, String),
    /// Enough requests wait for them already.
    #[error("too many requests are waiting for them")]
    Busy,
    /// A recent attempt failed and the next is not due.
    #[error("a recent attempt failed: {0}")]
    Recent(Box<FetchError>),
}

/// A fetched document and how long it says it may be kept.
pub(super) struct Document {
    pub(super) body: Vec<u8>,
    pub(super) max_age: Option<Duration>,
}

pub(super) async fn get(
    client: &reqwest::Client,
    url: &str,
    bearer: Option<&HeaderValue>,
) -> Result<Document, FetchError> {
    let mut request = client.get(url).header(ACCEPT, "application/json");
    if let Some(bearer) = bearer {
        request = request.header(AUTHORIZATION, bearer.clone());
    }
    let mut response = request.send().await.map_err(transport)?;
    if response.status() != http::StatusCode::OK {
        return Err(FetchError::Status(response.status().as_u16()));
    }
    if response.content_length().is_some_and(|n| n > MAX_DOCUMENT as u64) {
        return Err(FetchError::TooLarge);
    }
    let max_age = max_age(response.headers());
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(transport)? {
        if body.len() + chunk.len() > MAX_DOCUMENT {
            return Err(FetchError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Document { body, max_age })
}

fn transport(error: reqwest::Error) -> FetchError {
    if error.is_timeout() {
        return FetchError::Timeout;
    }
    // reqwest's Display stops at "error sending request"; the cause below it is what an operator needs.
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    FetchError::Transport(text)
}

/// `max-age` of Cache-Control; zero for `no-store` and `no-cache`. RFC 9111 §5.2.2.
fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let directives = headers.get(CACHE_CONTROL)?.to_str().ok()?.to_ascii_lowercase();
    let mut directives = directives.split(',').map(str::trim);
    directives.find_map(|directive| match directive {
        "no-store" | "no-cache" => Some(Duration::ZERO),
        other => other.strip_prefix("max-age=")?.trim_matches('"').parse().ok().map(Duration::from_secs),
    })
}
