//! Where one issuer's keys come from: discovery and key set, or a file, and the memory of both.
//!
//! At most one fetch runs per issuer. An unknown `kid` or a signature that no key verifies triggers a refresh
//! (that is how rotation is noticed) at most every [`REFRESH_INTERVAL`], so that garbage tokens cannot make
//! us hammer the issuer. If the issuer fails, the last good keys serve for [`USABLE_FOR`].
//!
//! A request that waits for a fetch holds one of the instance's places for writes, so only
//! [`MAX_WAITING`] wait for one issuer, and [`Waits`] bounds those of all issuers of patterns. Further ones are
//! refused at once, with the advice to try again.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex as SyncMutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use chancery_tlog::clock::Timestamp;
use tokio::sync::{Mutex, OwnedMutexGuard, Semaphore, SemaphorePermit};

use super::keys::{KeySet, Times};
use super::place::Place;
use super::{FetchError, Settings};
use crate::config::{Issuer, KeyAccess};

/// Shortest time between two fetches while there are keys.
const REFRESH_INTERVAL: Duration = Duration::from_secs(30);
/// Shortest time between two fetches while there are none: a start-up hiccup should not last.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);
/// The same for an issuer of a pattern whose keys never verified a token: most of those do not exist.
const UNPROVEN_RETRY_INTERVAL: Duration = Duration::from_secs(30);
/// How long an unproven issuer may take. It holds one of few slots.
const UNPROVEN_TIMEOUT: Duration = Duration::from_secs(5);
/// How long keys are fresh if the issuer does not say.
const DEFAULT_FRESH: Duration = Duration::from_mins(5);
/// Bounds on what the issuer says. An hour is how long a revoked key may live on.
const FRESH_BOUNDS: (Duration, Duration) = (Duration::from_mins(1), Duration::from_hours(1));
/// How long keys serve while their issuer cannot be reached.
const USABLE_FOR: Duration = Duration::from_hours(24);
/// Requests that wait for the keys of one issuer. A fetch takes some 100 ms, and there is one at each start.
pub(super) const MAX_WAITING: usize = 32;
/// Requests that wait for the keys of unproven issuers, all together: those of addresses that have proven none,
/// and those that only addresses which have may add. An instance has hundreds of places.
pub(super) const MAX_WAITING_STRANGERS: usize = 64;
const MAX_WAITING_KNOWN: usize = 32;
/// The same for proven issuers of patterns. Their tenants may be strangers still, and may stop answering.
const MAX_WAITING_PROVEN: usize = 128;
/// When to come again if too many are waiting.
const BUSY_PAUSE: Duration = Duration::from_secs(1);

/// Room for requests that wait for keys of issuers of patterns.
pub(super) struct Waits {
    strangers: Semaphore,
    known: Semaphore,
    proven: Semaphore,
}

impl Waits {
    pub(super) fn new() -> Self {
        Self {
            strangers: Semaphore::new(MAX_WAITING_STRANGERS),
            known: Semaphore::new(MAX_WAITING_KNOWN),
            proven: Semaphore::new(MAX_WAITING_PROVEN),
        }
    }

    fn enter(&self, is_proven: bool, from: Standing) -> Option<SemaphorePermit<'_>> {
        if is_proven {
            return self.proven.try_acquire().ok();
        }
        let reserved = (from == Standing::Known).then(|| self.known.try_acquire().ok()).flatten();
        reserved.or_else(|| self.strangers.try_acquire().ok())
    }
}

/// The standing of a client address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nothing is known of it.
    Stranger,
    /// A token of an issuer of a pattern has verified that came from it.
    Known,
}

/// The slots that a fetch waits for, all of them, and the room for requests that wait for it.
pub(super) struct Slots {
    /// While the issuer is unproven; empty for a configured issuer, which is proven from the start.
    pub(super) unproven: Vec<Arc<Semaphore>>,
    /// Afterwards.
    pub(super) proven: Arc<Semaphore>,
    /// Absent for a configured issuer: those are few, and nothing of a pattern's takes their room.
    pub(super) waits: Option<Arc<Waits>>,
}

impl Slots {
    /// A slot that no other issuer takes.
    pub(super) fn own() -> Self {
        Self { unproven: Vec::new(), proven: Arc::new(Semaphore::new(1)), waits: None }
    }

    async fn take(&self, proven: bool) -> Result<Vec<SemaphorePermit<'_>>, FetchError> {
        let slots = if proven { std::slice::from_ref(&self.proven) } else { self.unproven.as_slice() };
        let mut permits = Vec::with_capacity(slots.len());
        for slot in slots {
            permits.push(slot.acquire().await.map_err(|_| FetchError::Timeout)?);
        }
        Ok(permits)
    }
}

/// The way to an issuer's keys, as it was configured when its source was made. While it is the same, the source and the
/// keys in it outlive a new configuration.
pub(super) struct Way {
    pub(super) development: bool,
    pub(super) roots: Option<String>,
    pub(super) access: KeyAccess,
}

impl Way {
    pub(super) fn to(issuer: &Issuer, development: bool) -> Self {
        Self { development, roots: issuer.ca_certificates.clone(), access: issuer.key_access.clone() }
    }

    fn leads_to(&self, issuer: &Issuer, development: bool) -> bool {
        self.development == development
            && self.roots == issuer.ca_certificates
            && self.access == issuer.key_access
    }
}

/// One issuer's keys.
pub(super) struct KeySource {
    way: Way,
    fetcher: Arc<Fetcher>,
    last_attempt: Arc<Mutex<Option<Timestamp>>>,
    waiting: Semaphore,
    last_used: AtomicU64,
}

/// What a fetch needs and leaves behind.
struct Fetcher {
    place: Place,
    settings: Arc<Settings>,
    slots: Slots,
    is_proven: AtomicBool,
    current: ArcSwapOption<KeySet>,
    failure: SyncMutex<Option<FetchError>>,
}

impl KeySource {
    pub(super) fn new(place: Place, way: Way, settings: Arc<Settings>, slots: Slots, now: Timestamp) -> Self {
        let is_proven = AtomicBool::new(slots.unproven.is_empty());
        let (current, failure) = (ArcSwapOption::empty(), SyncMutex::default());
        Self {
            way,
            fetcher: Arc::new(Fetcher { place, settings, slots, is_proven, current, failure }),
            last_attempt: Arc::default(),
            waiting: Semaphore::new(MAX_WAITING),
            last_used: AtomicU64::new(now.millis()),
        }
    }

    /// Whether its keys are those of the issuer as it is configured now.
    pub(super) fn serves(&self, issuer: &Issuer, development: bool) -> bool {
        self.way.leads_to(issuer, development)
    }

    pub(super) fn touch(&self, now: Timestamp) {
        self.last_used.store(now.millis(), Ordering::Relaxed);
    }

    pub(super) fn last_used(&self) -> Timestamp {
        Timestamp::from_millis(self.last_used.load(Ordering::Relaxed))
    }

    /// The issuer's URL.
    pub(super) fn issuer(&self) -> &str {
        self.fetcher.place.issuer()
    }

    /// Marks the issuer as proven; whether it was not before.
    pub(super) fn prove(&self) -> bool {
        // Read first: every later token passes here, and a shared write would bounce between the cores.
        !self.fetcher.is_proven.load(Ordering::Relaxed)
            && !self.fetcher.is_proven.swap(true, Ordering::Relaxed)
    }

    fn is_proven(&self) -> bool {
        self.fetcher.is_proven.load(Ordering::Relaxed)
    }

    /// When a request that failed with this error may succeed; `None` if nothing says that it will. An issuer of
    /// a pattern whose keys never verified a token most likely does not exist.
    pub(super) fn retry_after(&self, error: &FetchError) -> Option<Duration> {
        match error {
            FetchError::Busy => Some(BUSY_PAUSE),
            _ => self.is_proven().then_some(RETRY_INTERVAL),
        }
    }

    /// Room to wait for a fetch, for as long as the result lives.
    fn enter(&self, from: Standing) -> Result<impl Sized + '_, FetchError> {
        let own = self.waiting.try_acquire().map_err(|_| FetchError::Busy)?;
        let shared = match &self.fetcher.slots.waits {
            None => None,
            Some(waits) => Some(waits.enter(self.is_proven(), from).ok_or(FetchError::Busy)?),
        };
        Ok((own, shared))
    }

    /// The keys for a token with this `kid`, refreshed if need be and allowed.
    pub(super) async fn keys(
        &self,
        kid: Option<&str>,
        now: Timestamp,
        from: Standing,
    ) -> Result<Arc<KeySet>, FetchError> {
        if let Some(keys) = self.fresh(kid, now) {
            return Ok(keys);
        }
        let serves = self.usable(now).filter(|keys| keys.has(kid));
        let last_attempt = Arc::clone(&self.last_attempt);
        // Held until this call returns.
        let _room = if serves.is_none() { Some(self.enter(from)?) } else { None };
        let attempt = if let Some(keys) = serves {
            // A refresh is running; keys that know this kid need not wait for it.
            let Ok(attempt) = last_attempt.try_lock_owned() else { return Ok(keys) };
            attempt
        } else {
            last_attempt.lock_owned().await
        };
        // The holder of the lock before us may have fetched what we want.
        if let Some(keys) = self.fresh(kid, now) {
            return Ok(keys);
        }
        if self.is_due(*attempt, now) {
            self.fetch(attempt, now).await;
        }
        self.usable(now).ok_or_else(|| self.fetcher.last_failure())
    }

    /// Keys newer than those that did not verify a token, if a refresh is due or has happened meanwhile. An
    /// issuer may publish another key under a `kid` that it used before, or none at all.
    pub(super) async fn newer(
        &self,
        than: &KeySet,
        now: Timestamp,
        from: Standing,
    ) -> Result<Option<Arc<KeySet>>, FetchError> {
        let _room = self.enter(from)?;
        let attempt = Arc::clone(&self.last_attempt).lock_owned().await;
        let is_newer = |keys: &Arc<KeySet>| keys.fetched > than.fetched;
        if let Some(keys) = self.usable(now).filter(is_newer) {
            return Ok(Some(keys));
        }
        if !self.is_due(*attempt, now) {
            return Ok(None);
        }
        self.fetch(attempt, now).await;
        Ok(self.usable(now).filter(is_newer))
    }

    fn fresh(&self, kid: Option<&str>, now: Timestamp) -> Option<Arc<KeySet>> {
        self.fetcher.current.load_full().filter(|keys| now < keys.fresh_until && keys.has(kid))
    }

    fn usable(&self, now: Timestamp) -> Option<Arc<KeySet>> {
        self.fetcher.current.load_full().filter(|keys| now < keys.usable_until)
    }

    fn is_due(&self, last_attempt: Option<Timestamp>, now: Timestamp) -> bool {
        let interval = match self.usable(now) {
            Some(_) => REFRESH_INTERVAL,
            None if self.is_proven() => RETRY_INTERVAL,
            None => UNPROVEN_RETRY_INTERVAL,
        };
        // A clock that stepped back must not postpone the next attempt.
        last_attempt.is_none_or(|at| now < at || now >= at.plus(interval))
    }

    /// Fetches in a task of its own, which this call awaits. A caller who hangs up must not abort the fetch:
    /// it counts as the attempt of this interval, and strangers could keep us from ever seeing a rotated key.
    async fn fetch(&self, mut attempt: OwnedMutexGuard<Option<Timestamp>>, now: Timestamp) {
        *attempt = Some(now);
        let fetcher = Arc::clone(&self.fetcher);
        let task = tokio::spawn(async move {
            fetcher.refresh(now).await;
            drop(attempt);
        });
        if let Err(error) = task.await {
            tracing::error!(issuer = self.fetcher.place.issuer(), %error, "key fetch task panicked");
        }
    }
}

impl Fetcher {
    async fn refresh(&self, now: Timestamp) {
        let is_proven = self.is_proven.load(Ordering::Relaxed);
        let most = self.settings.fetch_timeout;
        let time = if is_proven { most } else { most.min(UNPROVEN_TIMEOUT) };
        let fetched = tokio::time::timeout(time, async {
            let _slots = self.slots.take(is_proven).await?;
            self.place
                .fetch(&self.settings, |max_age| {
                    let fresh = max_age.unwrap_or(DEFAULT_FRESH).clamp(FRESH_BOUNDS.0, FRESH_BOUNDS.1);
                    Times { fetched: now, fresh_until: now.plus(fresh), usable_until: now.plus(USABLE_FOR) }
                })
                .await
        });
        match fetched.await.unwrap_or(Err(FetchError::Timeout)) {
            Ok(keys) => self.current.store(Some(Arc::new(keys))),
            Err(error) => {
                tracing::warn!(issuer = self.place.issuer(), %error, "cannot fetch the issuer's keys");
                *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            }
        }
    }

    fn last_failure(&self) -> FetchError {
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone();
        failure.map_or(FetchError::Timeout, |error| FetchError::Recent(Box::new(error)))
    }
}
