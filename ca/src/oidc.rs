//! OIDC tokens: which are believed, and why.
//!
//! Invariants: only tokens that are permitted too make an issuer proven and an address known ([`Verified::permit`]):
//! anyone can have an issuer of a pattern whose tokens verify. A [`VerifiedToken`] was signed by a key that its configured issuer publishes, for our audience,
//! and is valid now. Nothing of a token is fetched from or sent anywhere before its issuer is found in the
//! configuration, and the cheap checks run before any key is fetched, so a stranger's token costs no network.
//!
//! Stated leeway, all of it Fulcio's: none for `exp`; `nbf` may lie [`DEFAULT_LEEWAY`] in the future; `iat`
//! is compared only where [`Settings::max_age`] is set. Everything else is exact. References: OpenID Connect
//! Core §3.1.3.7, RFC 7515 §4.1.11 and §5.2, RFC 7519 §4.1, RFC 8725; CVE-2025-66506, CVE-2026-22772,
//! CVE-2026-49478.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chancery_tlog::clock::{Clock, Timestamp};
use chancery_tlog::serve::block;
use serde_json::{Map, Value};

mod claims;
mod fetch;
mod inspect;
mod jwk;
mod keys;
mod memory;
mod place;
mod source;
mod sources;
#[cfg(test)]
pub(crate) mod test_issuer;
#[cfg(test)]
mod tests;
mod tls;
mod token;

pub use fetch::FetchError;
pub use inspect::Inspection;
pub use keys::LeftOut;

use crate::config::{Issuer, IssuerConfig, IssuerUrl, Location};
use crate::excerpt::excerpt;
use keys::Times;
use memory::ProvenFile;
use place::Place;
use source::{KeySource, Slots, Standing, Way};
use sources::Sources;
use token::CompactToken;

/// Longest token, in bytes. Real ones are below 4 KiB.
pub const MAX_TOKEN: usize = 64 * 1024;
/// How far in the future `nbf` may lie by default: Fulcio's five minutes, for issuers whose clocks are ahead.
pub const DEFAULT_LEEWAY: Duration = Duration::from_mins(5);
/// How long discovery and key set together may take.
pub const DEFAULT_FETCH_TIMEOUT: Duration = Duration::from_secs(10);

/// How tokens are judged.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Allows issuers on `http://` loopback addresses.
    pub development: bool,
    /// How far in the future `nbf` may lie, and `iat` where `max_age` is set.
    pub leeway: Duration,
    /// Oldest `iat`; with it, tokens without `iat` are refused.
    pub max_age: Option<Duration>,
    /// Hosts by issuer's host on which its `jwks_uri` may be, at port 443, besides what the configuration
    /// allows for an issuer. Google is the one public issuer that needs it.
    pub jwks_hosts: BTreeMap<String, Vec<String>>,
    /// How long discovery and key set together may take.
    pub fetch_timeout: Duration,
    /// File in which the issuers of patterns whose tokens have verified outlive a restart; without it they are new
    /// again, and limited as such.
    pub proven_issuers: Option<PathBuf>,
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
            proven_issuers: None,
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
        /// When to try again; absent if the token may be at fault, because its issuer never verified one.
        retry_after: Option<Duration>,
    },
    /// No key of the issuer fits the token's `kid` and `alg`, with the reason.
    #[error("no key of the issuer fits the token: {0}")]
    UnknownKey(String),
    /// The signature is not of any of the keys that fit.
    #[error("the token's signature does not verify by any of the {tried} keys that fit its `kid` and `alg`")]
    Signature {
        /// Number of keys.
        tried: usize,
    },
    /// Too many new issuers of a pattern are asked for at the moment.
    #[error("issuer `{issuer}` is new and too many new issuers were named recently")]
    TooManyIssuers {
        /// The issuer.
        issuer: String,
        /// When to try again.
        retry_after: Duration,
    },
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
            Self::UnknownKey(_) => "token_key_unknown",
            Self::Signature { .. } => "token_signature",
            Self::TooManyIssuers { .. } => "token_new_issuers",
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

/// A token that verified. What follows from that for its issuer and its sender is recorded once it is permitted.
#[must_use]
pub struct Verified<'v> {
    token: VerifiedToken,
    source: Arc<KeySource>,
    from: Option<IpAddr>,
    verifier: &'v Verifier,
}

impl fmt::Debug for Verified<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Verified({:?})", self.token)
    }
}

impl Verified<'_> {
    /// The token.
    pub fn token(&self) -> &VerifiedToken {
        &self.token
    }

    /// Hands the token to `judge`. If that permits it, the issuer is proven from now on, and the sender's address known.
    pub async fn permit<P, E>(self, judge: impl FnOnce(VerifiedToken) -> Result<P, E>) -> Result<P, E> {
        let Self { token, source, from, verifier } = self;
        let is_of_pattern = matches!(token.issuer.location, Location::Pattern(_));
        let permitted = judge(token)?;
        if is_of_pattern {
            verifier.sources.know(from);
        }
        if verifier.sources.prove(&source) {
            verifier.record_proven().await;
        }
        Ok(permitted)
    }
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
    /// A file with an issuer's keys.
    #[error("`jwks-file` of issuer `{issuer}`: {error}")]
    KeyFile {
        /// The issuer.
        issuer: String,
        /// What is wrong with it.
        error: FetchError,
    },
}

/// Verifies tokens of the configured issuers.
pub struct Verifier {
    issuers: Arc<IssuerConfig>,
    settings: Arc<Settings>,
    clock: Arc<dyn Clock>,
    clients: Clients,
    sources: Arc<Sources>,
    memory: Option<Arc<ProvenFile>>,
}

/// HTTP clients. Making one reads the system's roots, so all are made at the start.
struct Clients {
    usual: reqwest::Client,
    /// Of issuers with roots of their own, by URL or pattern.
    own: HashMap<String, reqwest::Client>,
}

impl Clients {
    /// Tries what can be tried without contacting anyone.
    fn new(issuers: &IssuerConfig, settings: &Settings, now: Timestamp) -> Result<Self, VerifierError> {
        let mut own = HashMap::new();
        for issuer in issuers.issuers() {
            let (Location::Url(url) | Location::Pattern(url)) = &issuer.location;
            if url.starts_with("http:") && !settings.development {
                return Err(VerifierError::PlainHttp(url.clone()));
            }
            // Fails at start, not at the first token, if `ca-cert` is no use to the TLS library.
            if let Some(pem) = &issuer.ca_certificates {
                own.insert(url.clone(), tls::client(settings, url, Some(pem))?);
            }
            check_key_file(issuer, url, now)?;
        }
        Ok(Self { usual: tls::client(settings, "all issuers", None)?, own })
    }
}

impl Verifier {
    /// Prepares a verifier, and tries what can be tried without contacting anyone.
    pub fn new(
        issuers: Arc<IssuerConfig>,
        settings: Settings,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, VerifierError> {
        let clients = Clients::new(&issuers, &settings, clock.now())?;
        let memory = settings.proven_issuers.clone().map(|path| Arc::new(ProvenFile::new(path)));
        let remembered = memory.iter().flat_map(|memory| memory.read(&issuers));
        let sources = Arc::new(Sources::new(remembered));
        Ok(Self { clients, sources, memory, settings: Arc::new(settings), issuers, clock })
    }

    /// A verifier for other issuers that shares keys, limits and proven issuers with this one. Nothing here changes.
    pub fn renewed(&self, issuers: Arc<IssuerConfig>, development: bool) -> Result<Self, VerifierError> {
        let settings = Settings { development, ..(*self.settings).clone() };
        let clients = Clients::new(&issuers, &settings, self.clock.now())?;
        Ok(Self {
            issuers,
            settings: Arc::new(settings),
            clock: Arc::clone(&self.clock),
            clients,
            sources: Arc::clone(&self.sources),
            memory: self.memory.clone(),
        })
    }

    /// Verifies a compact JWS as an ID token. `from` is the address of the client, which may cause only so
    /// many new issuers to be contacted.
    pub async fn verify(&self, token: &str, from: Option<IpAddr>) -> Result<Verified<'_>, TokenError> {
        let token = token::unfold(token)?;
        let token = CompactToken::parse(&token)?;
        let iss = token.text("iss").ok_or(TokenError::Malformed("no `iss`"))?;
        let issuer = self.issuers.find(iss).ok_or_else(|| TokenError::UnknownIssuer(excerpt(iss)))?.clone();
        claims::check(&token.claims, &issuer.audience, &self.settings, self.clock.now())?;
        let sub = token.text("sub").filter(|sub| !sub.is_empty());
        let sub = sub.ok_or(TokenError::Malformed("no `sub`"))?.to_owned();

        let source = self.check_signature(iss, &issuer, &token, from).await?;

        let token = VerifiedToken { issuer, iss: iss.to_owned(), sub, claims: token.claims };
        Ok(Verified { token, source, from, verifier: self })
    }

    /// Checks that a key of the issuer signed the token. Returns where the key came from.
    async fn check_signature(
        &self,
        iss: &str,
        issuer: &Issuer,
        token: &CompactToken<'_>,
        from: Option<IpAddr>,
    ) -> Result<Arc<KeySource>, TokenError> {
        let (source, now) = (self.source(iss, issuer, from)?, self.clock.now());
        let is_of_pattern = matches!(issuer.location, Location::Pattern(_));
        let standing = if is_of_pattern { self.sources.standing(from) } else { Standing::Stranger };
        let failed = |error| {
            let retry_after = source.retry_after(&error);
            TokenError::Keys { issuer: iss.to_owned(), error, retry_after }
        };
        let keys = source.keys(token.kid.as_deref(), now, standing).await.map_err(failed)?;
        if let Err(error) = keys.verify(token) {
            let newer = source.newer(&keys, now, standing).await.map_err(failed)?;
            newer.map_or(Err(error), |keys| keys.verify(token))?;
        }
        Ok(source)
    }

    /// Writes down which issuers are proven. It takes a few milliseconds, once for each of them.
    async fn record_proven(&self) {
        let Some(memory) = self.memory.clone() else { return };
        let sources = Arc::clone(&self.sources);
        let written = block(move || memory.write(|| sources.proven())).await;
        if let Err(error) = written {
            tracing::error!(%error, "task that records the proven issuers panicked");
        }
    }

    /// The key source of an issuer, made on first use.
    fn source(&self, iss: &str, issuer: &Issuer, from: Option<IpAddr>) -> Result<Arc<KeySource>, TokenError> {
        let now = self.clock.now();
        let make = |slots: Slots| self.new_source(iss, issuer, slots, now);
        let serves = |source: &KeySource| source.serves(issuer, self.settings.development);
        let Location::Pattern(pattern) = &issuer.location else {
            return self.sources.configured(iss, serves, make);
        };
        if let Some(source) = self.sources.known(iss, now, serves, make)? {
            return Ok(source);
        }
        self.sources
            .admit(pattern, from)
            .map_err(|retry_after| TokenError::TooManyIssuers { issuer: excerpt(iss), retry_after })?;
        self.sources.add(iss, pattern, from, make)
    }

    /// A source for an issuer. Cheap: it is called while the table of sources is locked.
    fn new_source(
        &self,
        iss: &str,
        issuer: &Issuer,
        slots: Slots,
        now: Timestamp,
    ) -> Result<KeySource, TokenError> {
        let url = IssuerUrl::parse(iss).map_err(|_| TokenError::UnknownIssuer(excerpt(iss)))?;
        let (Location::Url(location) | Location::Pattern(location)) = &issuer.location;
        let client = self.clients.own.get(location).unwrap_or(&self.clients.usual).clone();
        let place = Place::new(url, client, issuer.key_access.clone());
        let way = Way::to(issuer, self.settings.development);
        Ok(KeySource::new(place, way, Arc::clone(&self.settings), slots, now))
    }
}

/// A file of keys is there from the start, so a mistake in it need not wait for a token.
fn check_key_file(issuer: &Issuer, url: &str, now: Timestamp) -> Result<(), VerifierError> {
    let Some(file) = &issuer.key_access.jwks_file else { return Ok(()) };
    let times = Times { fetched: now, fresh_until: now, usable_until: now };
    place::read_bounded(file, fetch::MAX_DOCUMENT)
        .and_then(|jwks| place::read_static(&jwks, times))
        .map(|_| ())
        .map_err(|error| VerifierError::KeyFile { issuer: url.to_owned(), error })
}
