//! Where one issuer's keys come from: discovery, key set, and the memory of both.
//!
//! At most one fetch runs per issuer. An unknown `kid` triggers a refresh (that is how rotation is noticed) at most
//! every [`REFRESH_INTERVAL`], so that garbage tokens cannot make us hammer the issuer. If the issuer fails, the last
//! good keys serve for [`USABLE_FOR`].

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex as SyncMutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use chancery_tlog::clock::Timestamp;
use serde_json::Value;
use tokio::sync::{Mutex, OwnedMutexGuard, Semaphore};
use url::Url;

use super::keys::{KeySet, supported_algorithms};
use super::{FetchError, Settings, fetch};
use crate::config::{IssuerUrl, is_loopback};
use crate::excerpt::excerpt;

/// Shortest time between two fetches while there are keys.
const REFRESH_INTERVAL: Duration = Duration::from_secs(30);
/// Shortest time between two fetches while there are none: a start-up hiccup should not last.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);
/// How long keys are fresh if the issuer does not say.
const DEFAULT_FRESH: Duration = Duration::from_mins(5);
/// Bounds on what the issuer says. An hour is how long a revoked key may live on.
const FRESH_BOUNDS: (Duration, Duration) = (Duration::from_mins(1), Duration::from_hours(1));
/// How long keys serve while their issuer cannot be reached.
const USABLE_FOR: Duration = Duration::from_hours(24);

/// One issuer's keys.
pub(super) struct KeySource {
    fetcher: Arc<Fetcher>,
    last_attempt: Arc<Mutex<Option<Timestamp>>>,
    last_used: AtomicU64,
}

/// What a fetch needs and leaves behind.
struct Fetcher {
    issuer: IssuerUrl,
    client: reqwest::Client,
    settings: Arc<Settings>,
    fetches: Arc<Semaphore>,
    current: ArcSwapOption<KeySet>,
    failure: SyncMutex<Option<FetchError>>,
}

impl KeySource {
    pub(super) fn new(
        issuer: IssuerUrl,
        client: reqwest::Client,
        settings: Arc<Settings>,
        fetches: Arc<Semaphore>,
        now: Timestamp,
    ) -> Self {
        let (current, failure) = (ArcSwapOption::empty(), SyncMutex::default());
        Self {
            fetcher: Arc::new(Fetcher { issuer, client, settings, fetches, current, failure }),
            last_attempt: Arc::default(),
            last_used: AtomicU64::new(now.millis()),
        }
    }

    pub(super) fn touch(&self, now: Timestamp) {
        self.last_used.store(now.millis(), Ordering::Relaxed);
    }

    pub(super) fn last_used(&self) -> Timestamp {
        Timestamp::from_millis(self.last_used.load(Ordering::Relaxed))
    }

    /// The keys for a token with this `kid`, refreshed if need be and allowed.
    pub(super) async fn keys(&self, kid: Option<&str>, now: Timestamp) -> Result<Arc<KeySet>, FetchError> {
        if let Some(keys) = self.fresh(kid, now) {
            return Ok(keys);
        }
        let serves = self.usable(now).filter(|keys| keys.has(kid));
        let last_attempt = Arc::clone(&self.last_attempt);
        let attempt = match serves {
            // Somebody is refreshing; keys that know this kid need not wait for it.
            Some(keys) => match last_attempt.try_lock_owned() {
                Ok(attempt) => attempt,
                Err(_) => return Ok(keys),
            },
            None => last_attempt.lock_owned().await,
        };
        // Whoever held the lock before us may have fetched what we want.
        if let Some(keys) = self.fresh(kid, now) {
            return Ok(keys);
        }
        if self.is_due(*attempt, now) {
            self.fetch(attempt, now).await;
        }
        self.usable(now).ok_or_else(|| self.fetcher.last_failure())
    }

    fn fresh(&self, kid: Option<&str>, now: Timestamp) -> Option<Arc<KeySet>> {
        self.fetcher.current.load_full().filter(|keys| now < keys.fresh_until && keys.has(kid))
    }

    fn usable(&self, now: Timestamp) -> Option<Arc<KeySet>> {
        self.fetcher.current.load_full().filter(|keys| now < keys.usable_until)
    }

    fn is_due(&self, last_attempt: Option<Timestamp>, now: Timestamp) -> bool {
        let interval = if self.usable(now).is_some() { REFRESH_INTERVAL } else { RETRY_INTERVAL };
        // A clock that stepped back must not postpone the next attempt.
        last_attempt.is_none_or(|at| now < at || now >= at.plus(interval))
    }

    /// Fetches in a task of its own, which this call awaits. A caller who hangs up must not abort the fetch: it
    /// counts as the attempt of this interval, and strangers could keep us from ever seeing a rotated key.
    async fn fetch(&self, mut attempt: OwnedMutexGuard<Option<Timestamp>>, now: Timestamp) {
        *attempt = Some(now);
        let fetcher = Arc::clone(&self.fetcher);
        let task = tokio::spawn(async move {
            fetcher.refresh(now).await;
            drop(attempt);
        });
        if let Err(error) = task.await {
            tracing::error!(issuer = self.fetcher.issuer.as_str(), %error, "the key fetch was lost");
        }
    }
}

impl Fetcher {
    async fn refresh(&self, now: Timestamp) {
        let fetched = tokio::time::timeout(self.settings.fetch_timeout, self.fetch(now)).await;
        match fetched.unwrap_or(Err(FetchError::Timeout)) {
            Ok(keys) => self.current.store(Some(Arc::new(keys))),
            Err(error) => {
                tracing::warn!(issuer = self.issuer.as_str(), %error, "cannot fetch the issuer's keys");
                *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            }
        }
    }

    fn last_failure(&self) -> FetchError {
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone();
        failure.map_or(FetchError::Timeout, |error| FetchError::Recent(Box::new(error)))
    }

    async fn fetch(&self, now: Timestamp) -> Result<KeySet, FetchError> {
        let _permit = self.fetches.acquire().await.map_err(|_| FetchError::Timeout)?;
        let document = fetch::get(&self.client, &self.issuer.discovery()).await?;
        let document: Value = serde_json::from_slice(&document.body)
            .map_err(|_| FetchError::Malformed("discovery document"))?;
        if document.get("issuer").and_then(Value::as_str) != Some(self.issuer.as_str()) {
            return Err(FetchError::IssuerMismatch);
        }
        let jwks_uri = document.get("jwks_uri").and_then(Value::as_str);
        let jwks_uri = self.check_key_host(jwks_uri.ok_or(FetchError::Malformed("discovery document"))?)?;
        let jwks = fetch::get(&self.client, jwks_uri.as_str()).await?;
        let fresh = jwks.max_age.unwrap_or(DEFAULT_FRESH).clamp(FRESH_BOUNDS.0, FRESH_BOUNDS.1);
        let supported = supported_algorithms(&document);
        KeySet::parse(&jwks.body, supported.as_deref(), now.plus(fresh), now.plus(USABLE_FOR))
    }

    /// `jwks_uri` must be https on the issuer's own host, or on one that the settings allow it; on http only for an
    /// issuer that is on http itself.
    fn check_key_host(&self, uri: &str) -> Result<Url, FetchError> {
        let url = Url::parse(uri).map_err(|_| FetchError::Malformed("discovery document"))?;
        let refused = || FetchError::KeyHost(excerpt(uri));
        let plain = url.scheme() == "http" && self.issuer.is_plain_http() && is_loopback(&url);
        if !(plain || url.scheme() == "https") || !url.username().is_empty() || url.password().is_some() {
            return Err(refused());
        }
        let host = url.host_str().ok_or_else(refused)?;
        let own = self.issuer.url().host_str().unwrap_or_default();
        let allowed = self.settings.jwks_hosts.get(own).is_some_and(|hosts| hosts.iter().any(|h| h == host));
        if host != own && !allowed {
            return Err(refused());
        }
        Ok(url)
    }
}
