//! One issuer's documents, and who may serve them.
//!
//! `jwks_uri` must be at the issuer's own host and port, or at a host and port that the operator allows for
//! this issuer (`jwks-hosts`). A bearer token (`bearer-token-file`) goes to those places and to no other:
//! never after a redirect (CVE-2026-49478), and never to a host that only a discovery document names.

use std::path::{Path, PathBuf};
use std::time::Duration;

use chancery_tlog::serve::block;
use http::HeaderValue;
use serde_json::Value;
use url::Url;

use super::keys::{KeySet, Times, supported_algorithms};
use super::{FetchError, Settings, fetch, token};
use crate::config::{Authority, IssuerUrl, KeyAccess, is_loopback};
use crate::excerpt::excerpt;

/// Largest file with a bearer token, in bytes.
const MAX_BEARER: usize = 64 * 1024;

/// An issuer and the way to its keys.
pub(super) struct Place {
    issuer: IssuerUrl,
    client: reqwest::Client,
    access: KeyAccess,
}

impl Place {
    pub(super) fn new(issuer: IssuerUrl, client: reqwest::Client, access: KeyAccess) -> Self {
        Self { issuer, client, access }
    }

    pub(super) fn issuer(&self) -> &str {
        self.issuer.as_str()
    }

    /// The issuer's keys, with the times that `times` gives them for the stated `max-age`.
    pub(super) async fn fetch(
        &self,
        settings: &Settings,
        times: impl Fn(Option<Duration>) -> Times + Send,
    ) -> Result<KeySet, FetchError> {
        if let Some(file) = &self.access.jwks_file {
            let jwks = read_file(file.clone(), fetch::MAX_DOCUMENT).await?;
            return read_static(&jwks, times(None));
        }
        let bearer = match &self.access.bearer_token_file {
            Some(file) => Some(bearer(file).await?),
            None => None,
        };
        let document = fetch::get(&self.client, &self.issuer.discovery(), bearer.as_ref()).await?;
        let document: Value = serde_json::from_slice(&document.body)
            .map_err(|_| FetchError::Malformed("discovery document"))?;
        if document.get("issuer").and_then(Value::as_str) != Some(self.issuer.as_str()) {
            return Err(FetchError::IssuerMismatch);
        }
        let jwks_uri = document.get("jwks_uri").and_then(Value::as_str);
        let (jwks_uri, is_ours) =
            self.check_key_host(jwks_uri.ok_or(FetchError::Malformed("discovery document"))?, settings)?;
        let bearer = bearer.filter(|_| is_ours);
        let jwks = fetch::get(&self.client, jwks_uri.as_str(), bearer.as_ref()).await?;
        KeySet::parse(&jwks.body, supported_algorithms(&document).as_deref(), times(jwks.max_age))
    }

    /// Where the keys are, and whether the operator has named that place: as the issuer's own, or as allowed
    /// for it. Always https, but for an issuer that is on http itself.
    pub(super) fn check_key_host(&self, uri: &str, settings: &Settings) -> Result<(Url, bool), FetchError> {
        let url = Url::parse(uri).map_err(|_| FetchError::Malformed("discovery document"))?;
        let authority =
            Authority::of(&url).ok_or_else(|| FetchError::KeyHost(excerpt(uri), String::new()))?;
        let refused = || FetchError::KeyHost(excerpt(uri), authority.to_string());
        let plain = url.scheme() == "http" && self.issuer.is_plain_http() && is_loopback(&url);
        if !(plain || url.scheme() == "https") || !url.username().is_empty() || url.password().is_some() {
            return Err(refused());
        }
        let own = Authority::of(self.issuer.url()).ok_or_else(refused)?;
        if authority == own || self.access.jwks_hosts.contains(&authority) {
            return Ok((url, true));
        }
        let hosts = settings.jwks_hosts.get(own.host());
        let is_known = hosts.is_some_and(|hosts| hosts.iter().any(|host| authority.is_https_on(host)));
        if is_known { Ok((url, false)) } else { Err(refused()) }
    }
}

/// Reads a key set that the operator has put beside the configuration. It lists no algorithms, so all are
/// allowed that its keys allow.
pub(super) fn read_static(jwks: &[u8], times: Times) -> Result<KeySet, FetchError> {
    let all: Vec<String> = token::algorithm_names().map(str::to_owned).collect();
    KeySet::parse(jwks, Some(&all), times)
}

/// The token in a file, read again for every fetch: a cluster replaces it every hour.
async fn bearer(file: &Path) -> Result<HeaderValue, FetchError> {
    let text = read_file(file.to_owned(), MAX_BEARER).await?;
    let unusable = || FetchError::File(file.display().to_string(), "holds no bearer token".to_owned());
    let text = String::from_utf8(text).map_err(|_| unusable())?;
    let token = text.trim();
    if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(unusable());
    }
    let mut header = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| unusable())?;
    header.set_sensitive(true);
    Ok(header)
}

async fn read_file(file: PathBuf, most: usize) -> Result<Vec<u8>, FetchError> {
    let read = block(move || read_bounded(&file, most));
    read.await.unwrap_or(Err(FetchError::Timeout))
}

/// Reads a file of at most `most` bytes.
pub(super) fn read_bounded(file: &Path, most: usize) -> Result<Vec<u8>, FetchError> {
    use std::io::Read as _;
    let failed = |error: std::io::Error| FetchError::File(file.display().to_string(), error.to_string());
    let opened = std::fs::File::open(file).map_err(failed)?;
    let mut content = Vec::new();
    opened.take(most as u64 + 1).read_to_end(&mut content).map_err(failed)?;
    if content.len() > most { Err(FetchError::TooLarge) } else { Ok(content) }
}
