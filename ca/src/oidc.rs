//! OIDC tokens: which are believed, and why.
//!
//! Invariant: a [`VerifiedToken`] was signed by a key that its configured issuer publishes, for our audience, and is
//! valid now. Nothing of a token is fetched from or sent anywhere before its issuer is found in the configuration,
//! and the cheap checks run before any key is fetched, so a stranger's token costs no network.
//!
//! Stated leeway: `exp` has none, like Fulcio and openidconnect; `nbf` and `iat` may lie [`DEFAULT_LEEWAY`] in the
//! future (Fulcio: five minutes for `nbf`, any time for `iat`). Everything else is exact. References: OpenID Connect
//! Core §3.1.3.7, RFC 7515 §4.1.11 and §5.2, RFC 7519 §4.1, RFC 8725; CVE-2025-66506, CVE-2026-22772,
//! CVE-2026-49478.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chancery_tlog::clock::{Clock, Timestamp};
use serde_json::{Map, Value};
use tokio::sync::Semaphore;

mod claims;
mod fetch;
mod keys;
mod source;
mod strict_json;
#[cfg(test)]
pub(crate) mod test_issuer;
#[cfg(test)]
mod tests;
mod token;

pub use fetch::FetchError;

use crate::config::{Issuer, IssuerConfig, IssuerUrl, Location};
use crate::excerpt::excerpt;
use source::KeySource;
use token::CompactToken;

/// Longest token, in bytes. Real ones are below 4 KiB.
pub const MAX_TOKEN: usize = 64 * 1024;
/// How far in the future `nbf` and `iat` may lie by default.
pub const DEFAULT_LEEWAY: Duration = Duration::from_mins(1);
/// How long discovery and key set together may take.
pub const DEFAULT_FETCH_TIMEOUT: Duration = Duration::from_secs(10);
/// Meta-issuers whose keys are remembered; past it the one unused for longest is forgotten.
const MAX_META_SOURCES: usize = 128;
/// Fetches at one time over all meta-issuers. Whoever can run an issuer that a pattern matches can make us fetch; static
/// issuers have their own allowance each, so that such fetches cannot crowd them out.
const MAX_META_FETCHES: usize = 16;

/// How tokens are judged.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Allows issuers on `http://` loopback addresses.
    pub development: bool,
    /// How far in the future `nbf` and `iat` may lie.
    pub leeway: Duration,
    /// Oldest `iat`; with it, tokens without `iat` are refused.
    pub max_age: Option<Duration>,
    /// Hosts besides the issuer's own on which its `jwks_uri` may be. Google is the one public issuer that needs it.
    pub jwks_hosts: BTreeMap<String, Vec<String>>,
    /// How long discovery and key set together may take.
    pub fetch_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        let google = ("accounts.google.com".to_owned(), vec!["www.googleapis.com".to_owned()]);
        Self {
            development: false,
            leeway: DEFAULT_LEEWAY,
            max_age: None,
            jwks_hosts: BTreeMap::from([google]),
            fetch_timeout: DEFAULT_FETCH_TIMEOUT,
        }
    }
}

/// Why a token is refused. For the log; callers of the API learn only that it was.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// No token at all.
    #[error("no token was sent")]
    Absent,
    /// Longer than [`MAX_TOKEN`].
    #[error("the token is longer than {MAX_TOKEN} bytes")]
    TooLong,
    /// Not a compact JWS with JSON inside.
    #[error("malformed token: {0}")]
    Malformed(&'static str),
    /// `iss` is not configured.
    #[error("issuer `{0}` is not configured")]
    UnknownIssuer(String),
    /// `aud` lacks the issuer's audience.
    #[error("the token is not for the audience `{0}`")]
    Audience(String),
    /// `exp` has passed.
    #[error("the token has expired")]
    Expired,
    /// `nbf` or `iat` lies in the future.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// `iat` is too long ago.
    #[error("the token was issued too long ago")]
    TooOld,
    /// The algorithm is not allowed here or by the issuer.
    #[error("signature algorithm `{0}` is not allowed")]
    Algorithm(String),
    /// The header has critical extensions; we understand none.
    #[error("the token has critical header parameters")]
    Critical,
    /// The issuer's discovery document or keys cannot be had.
    #[error("the keys of issuer `{issuer}` cannot be fetched: {error}")]
    Keys {
        /// Whose.
        issuer: String,
        /// Why not.
        error: FetchError,
    },
    /// No key of the issuer fits the token.
    #[error("no key of the issuer fits the token's `kid` and `alg`")]
    UnknownKey,
    /// The signature is wrong.
    #[error("the token's signature does not verify")]
    Signature,
}

impl TokenError {
    /// The reason as a metric label: a closed set.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Absent => "token_absent",
            Self::TooLong | Self::Malformed(_) => "token_malformed",
            Self::UnknownIssuer(_) => "token_issuer",
            Self::Audience(_) => "token_audience",
            Self::Expired | Self::TooOld => "token_expired",
            Self::NotYetValid => "token_not_yet_valid",
            Self::Algorithm(_) | Self::Critical => "token_algorithm",
            Self::Keys { .. } => "token_keys_unavailable",
            Self::UnknownKey => "token_key_unknown",
            Self::Signature => "token_signature",
        }
    }
}

/// A token that verified, with its claims.
#[derive(Clone, Debug)]
pub struct VerifiedToken {
    /// Who is configured for it.
    pub issuer: Arc<Issuer>,
    /// `iss`, which for a meta-issuer is more than the pattern.
    pub iss: String,
    /// `sub`.
    pub sub: String,
    /// All claims, each name once.
    pub claims: Map<String, Value>,
}

/// The configuration asks for something that [`Verifier::new`] cannot do.
#[derive(Debug, thiserror::Error)]
pub enum VerifierError {
    /// Plain http outside development.
    #[error("issuer `{0}` uses http; use https, or make this a development instance")]
    PlainHttp(String),
    /// TLS roots or the HTTP client.
    #[error("the HTTP client for `{issuer}` cannot be made: {problem}")]
    Client {
        /// For whom.
        issuer: String,
        /// Why not.
        problem: String,
    },
}

/// Key sources by `iss`.
type Sources = Mutex<HashMap<String, Arc<KeySource>>>;

/// Verifies tokens of the configured issuers.
pub struct Verifier {
    issuers: Arc<IssuerConfig>,
    settings: Arc<Settings>,
    clock: Arc<dyn Clock>,
    client: reqwest::Client,
    meta_fetches: Arc<Semaphore>,
    static_sources: Sources,
    meta_sources: Sources,
}

impl Verifier {
    /// Prepares a verifier; contacts nobody.
    pub fn new(
        issuers: Arc<IssuerConfig>,
        settings: Settings,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, VerifierError> {
        for issuer in issuers.issuers() {
            let (Location::Url(url) | Location::Pattern(url)) = &issuer.location;
            if url.starts_with("http:") && !settings.development {
                return Err(VerifierError::PlainHttp(url.clone()));
            }
            // Fails at start, not at the first token, if `ca-cert` is no use to the TLS library.
            if let Some(pem) = &issuer.ca_certificates {
                client(&settings, url, Some(pem))?;
            }
        }
        Ok(Self {
            client: client(&settings, "all issuers", None)?,
            meta_fetches: Arc::new(Semaphore::new(MAX_META_FETCHES)),
            static_sources: Mutex::default(),
            meta_sources: Mutex::default(),
            settings: Arc::new(settings),
            issuers,
            clock,
        })
    }

    /// Verifies a compact JWS as an ID token.
    pub async fn verify(&self, token: &str) -> Result<VerifiedToken, TokenError> {
        let token = CompactToken::parse(token)?;
        let iss = token.text("iss").ok_or(TokenError::Malformed("no `iss`"))?;
        let issuer = self.issuers.find(iss).ok_or_else(|| TokenError::UnknownIssuer(excerpt(iss)))?.clone();
        claims::check(&token.claims, &issuer.audience, &self.settings, self.clock.now())?;
        let sub = token.text("sub").filter(|sub| !sub.is_empty());
        let sub = sub.ok_or(TokenError::Malformed("no `sub`"))?.to_owned();

        let source = self.source(iss, &issuer)?;
        let fetched = source.keys(token.kid.as_deref(), self.clock.now()).await;
        let keys = fetched.map_err(|error| TokenError::Keys { issuer: iss.to_owned(), error })?;
        keys.verify(&token)?;

        Ok(VerifiedToken { issuer, iss: iss.to_owned(), sub, claims: token.claims })
    }

    /// The key source of an issuer, made on first use.
    fn source(&self, iss: &str, issuer: &Issuer) -> Result<Arc<KeySource>, TokenError> {
        let now = self.clock.now();
        let is_meta = matches!(issuer.location, Location::Pattern(_));
        let sources = if is_meta { &self.meta_sources } else { &self.static_sources };
        let mut sources = sources.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(source) = sources.get(iss) {
            source.touch(now);
            return Ok(Arc::clone(source));
        }
        if is_meta {
            forget_oldest(&mut sources, now);
        }
        let fetches = if is_meta { Arc::clone(&self.meta_fetches) } else { Arc::new(Semaphore::new(1)) };
        let unavailable = |problem: String| TokenError::Keys {
            issuer: iss.to_owned(),
            error: FetchError::Transport(problem),
        };
        let url = IssuerUrl::parse(iss).map_err(|e| unavailable(e.to_string()))?;
        let client = match &issuer.ca_certificates {
            None => self.client.clone(),
            Some(pem) => client(&self.settings, iss, Some(pem)).map_err(|e| unavailable(e.to_string()))?,
        };
        let source = KeySource::new(url, client, Arc::clone(&self.settings), fetches, now);
        let source = Arc::new(source);
        sources.insert(iss.to_owned(), Arc::clone(&source));
        Ok(source)
    }
}

/// Makes room for one more.
fn forget_oldest(sources: &mut HashMap<String, Arc<KeySource>>, now: Timestamp) {
    if sources.len() < MAX_META_SOURCES {
        return;
    }
    let oldest = sources.iter().min_by_key(|(_, source)| source.last_used().min(now));
    if let Some(iss) = oldest.map(|(iss, _)| iss.clone()) {
        sources.remove(&iss);
    }
}

fn client(settings: &Settings, issuer: &str, roots: Option<&str>) -> Result<reqwest::Client, VerifierError> {
    let failed = |problem: String| VerifierError::Client { issuer: issuer.to_owned(), problem };
    let mut builder = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .https_only(!settings.development)
        .connect_timeout(settings.fetch_timeout)
        .timeout(settings.fetch_timeout)
        .user_agent(concat!("chancery-ca/", env!("CARGO_PKG_VERSION")));
    if let Some(pem) = roots {
        let roots = reqwest::Certificate::from_pem_bundle(pem.as_bytes());
        builder = builder.tls_certs_merge(roots.map_err(|e| failed(e.to_string()))?);
    }
    builder.build().map_err(|e| failed(e.to_string()))
}
