//! The key sources of all issuers, and how many new ones a client may cause.
//!
//! Verifiers of one configuration after the other share them, so keys and limits outlive a reload. A source that was made
//! for another way to the issuer's keys is replaced when it is next asked for; requests with the old configuration may put
//! theirs back for a moment, and nothing else comes of it.
//!
//! A configured issuer has its source for ever. A meta-issuer stands for issuers without number, and any
//! unsigned token that names one makes the CA fetch. So an issuer is *unproven* until a token
//! that one of its keys verified was permitted too: new unproven issuers are limited per client address, per pattern and overall, they fetch
//! through few slots of their own, and they displace only each other. *Proven* issuers are displaced by
//! proven ones only, and fetch through slots of their own. The URLs of proven issuers outlive a restart (see
//! `memory`): one that is *remembered* counts as proven from its first token on.
//!
//! A trickle of garbage from a handful of addresses uses up the rate of strangers. Part of the rate is therefore
//! reserved for addresses from which such a token of such an issuer has come before.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use chancery_tlog::clock::Timestamp;
use chancery_tlog::serve::rate::{Limiter, Rate, network};
use tokio::sync::Semaphore;

use super::source::{KeySource, Slots, Standing, Waits};

/// Proven meta-issuers whose keys are held; past it the one unused for longest is dropped. Each takes a few
/// KiB.
pub(super) const MAX_PROVEN: usize = 1024;
/// The same for unproven ones.
pub(super) const MAX_UNPROVEN: usize = 128;
/// New issuers that one client address may cause to be contacted.
pub(super) const NEW_PER_ADDRESS: Rate = Rate { per_minute: 10, burst: 10 };
/// New issuers of one pattern, and of all, that strangers may cause to be contacted.
pub(super) const NEW_PER_PATTERN: Rate = Rate { per_minute: 45, burst: 45 };
pub(super) const NEW_OVERALL: Rate = Rate { per_minute: 90, burst: 90 };
/// The same in addition, for known addresses.
pub(super) const RESERVED_PER_PATTERN: Rate = Rate { per_minute: 15, burst: 15 };
const RESERVED_OVERALL: Rate = Rate { per_minute: 30, burst: 30 };
/// Known addresses; past twice as many the older half is forgotten.
const MAX_KNOWN: usize = 2048;
/// Concurrent fetches from unproven issuers: of one client address, of one pattern, and of all.
const FETCHES_PER_ADDRESS: usize = 2;
const FETCHES_PER_PATTERN: usize = 8;
const FETCHES_UNPROVEN: usize = 16;
/// Concurrent fetches from unproven issuers that known addresses have named, beside those of strangers.
const FETCHES_KNOWN: usize = 8;
/// Concurrent fetches from proven meta-issuers.
const FETCHES_PROVEN: usize = 16;

/// All key sources of one verifier.
pub(super) struct Sources {
    configured: Mutex<HashMap<String, Arc<KeySource>>>,
    meta: Mutex<Meta>,
    addresses: Limiter<IpAddr>,
    strangers: Share,
    reserved: Share,
    known: Mutex<KnownAddresses>,
    unproven_slots: Arc<Semaphore>,
    known_slots: Arc<Semaphore>,
    proven_slots: Arc<Semaphore>,
    waits: Arc<Waits>,
}

/// The new issuers that one class of client addresses may cause to be contacted.
struct Share {
    patterns: Limiter<String>,
    overall: Limiter<()>,
}

impl Share {
    fn new(per_pattern: Rate, overall: Rate) -> Self {
        Self { patterns: Limiter::new(per_pattern), overall: Limiter::new(overall) }
    }

    fn take(&self, pattern: &str) -> Result<(), Duration> {
        self.patterns.take(pattern.to_owned())?;
        self.overall.take(())
    }
}

/// Networks of clients from which a permitted token of an issuer of a pattern has come, in two generations.
#[derive(Default)]
struct KnownAddresses {
    young: HashSet<IpAddr>,
    old: HashSet<IpAddr>,
}

impl KnownAddresses {
    fn add(&mut self, network: IpAddr) {
        if self.young.len() >= MAX_KNOWN && !self.young.contains(&network) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(network);
    }

    fn contains(&self, network: IpAddr) -> bool {
        self.young.contains(&network) || self.old.contains(&network)
    }
}

#[derive(Default)]
struct Meta {
    proven: HashMap<String, Arc<KeySource>>,
    unproven: HashMap<String, Arc<KeySource>>,
    /// URLs of issuers that were proven before this process began, and have no source yet.
    remembered: HashSet<String>,
    /// Slots by pattern and by client network, as long as a source holds them.
    pattern_slots: HashMap<String, Weak<Semaphore>>,
    address_slots: HashMap<IpAddr, Weak<Semaphore>>,
}

impl Meta {
    /// Drops the source of an issuer, which stays proven if it was.
    fn forget(&mut self, iss: &str) {
        self.unproven.remove(iss);
        if self.proven.remove(iss).is_some() {
            self.remembered.insert(iss.to_owned());
        }
    }
}

impl Sources {
    /// The sources of a verifier, which has proven the issuers at these URLs before.
    pub(super) fn new(remembered: impl IntoIterator<Item = String>) -> Self {
        let remembered = remembered.into_iter().take(MAX_PROVEN).collect();
        Self {
            configured: Mutex::default(),
            meta: Mutex::new(Meta { remembered, ..Meta::default() }),
            addresses: Limiter::new(NEW_PER_ADDRESS),
            strangers: Share::new(NEW_PER_PATTERN, NEW_OVERALL),
            reserved: Share::new(RESERVED_PER_PATTERN, RESERVED_OVERALL),
            known: Mutex::default(),
            unproven_slots: Arc::new(Semaphore::new(FETCHES_UNPROVEN)),
            known_slots: Arc::new(Semaphore::new(FETCHES_KNOWN)),
            proven_slots: Arc::new(Semaphore::new(FETCHES_PROVEN)),
            waits: Arc::new(Waits::new()),
        }
    }

    /// The source of a configured issuer, which `make` makes on first use, or if what there is does not serve.
    pub(super) fn configured<E>(
        &self,
        iss: &str,
        serves: impl Fn(&KeySource) -> bool,
        make: impl FnOnce(Slots) -> Result<KeySource, E>,
    ) -> Result<Arc<KeySource>, E> {
        let mut configured = self.configured.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(source) = configured.get(iss).filter(|source| serves(source)) {
            return Ok(Arc::clone(source));
        }
        let source = Arc::new(make(Slots::own())?);
        configured.insert(iss.to_owned(), Arc::clone(&source));
        Ok(source)
    }

    /// The source of an issuer of a pattern, if it is known or remembered; `make` makes that of a remembered one. An issuer
    /// whose source does not serve is known still, if it was proven.
    pub(super) fn known<E>(
        &self,
        iss: &str,
        now: Timestamp,
        serves: impl Fn(&KeySource) -> bool,
        make: impl FnOnce(Slots) -> Result<KeySource, E>,
    ) -> Result<Option<Arc<KeySource>>, E> {
        let mut meta = self.lock();
        match meta.proven.get(iss).or_else(|| meta.unproven.get(iss)) {
            Some(source) if serves(source) => {
                source.touch(now);
                return Ok(Some(Arc::clone(source)));
            }
            Some(_) => meta.forget(iss),
            None => {}
        }
        if !meta.remembered.remove(iss) {
            return Ok(None);
        }
        let source = Arc::new(make(self.slots(Vec::new()))?);
        make_room(&mut meta.proven, MAX_PROVEN);
        meta.proven.insert(iss.to_owned(), Arc::clone(&source));
        Ok(Some(source))
    }

    /// Counts one new issuer; `Err` with the time after which another is allowed. Asked from the narrowest
    /// limit to the widest, so that a client beyond its own share uses up nothing of the others'.
    pub(super) fn admit(&self, pattern: &str, from: Option<IpAddr>) -> Result<(), Duration> {
        if let Some(address) = from {
            self.addresses.take(network(address))?;
        }
        if self.standing(from) == Standing::Known && self.reserved.take(pattern).is_ok() {
            return Ok(());
        }
        self.strangers.take(pattern)
    }

    /// The standing of a client address.
    pub(super) fn standing(&self, from: Option<IpAddr>) -> Standing {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if from.is_some_and(|from| known.contains(network(from))) {
            Standing::Known
        } else {
            Standing::Stranger
        }
    }

    /// Records that a token of an issuer of a pattern was permitted that came from this address.
    pub(super) fn know(&self, from: Option<IpAddr>) {
        let Some(from) = from else { return };
        self.known.lock().unwrap_or_else(PoisonError::into_inner).add(network(from));
    }

    /// Adds the source of a new issuer of a pattern.
    pub(super) fn add<E>(
        &self,
        iss: &str,
        pattern: &str,
        from: Option<IpAddr>,
        make: impl FnOnce(Slots) -> Result<KeySource, E>,
    ) -> Result<Arc<KeySource>, E> {
        let mut meta = self.lock();
        if let Some(source) = meta.proven.get(iss).or_else(|| meta.unproven.get(iss)) {
            return Ok(Arc::clone(source));
        }
        let mut unproven = Vec::with_capacity(3);
        if let Some(address) = from.map(network) {
            unproven.push(shared(&mut meta.address_slots, address, FETCHES_PER_ADDRESS));
        }
        if self.standing(from) == Standing::Known {
            unproven.push(Arc::clone(&self.known_slots));
        } else {
            unproven.push(shared(&mut meta.pattern_slots, pattern.to_owned(), FETCHES_PER_PATTERN));
            unproven.push(Arc::clone(&self.unproven_slots));
        }
        let source = Arc::new(make(self.slots(unproven))?);
        make_room(&mut meta.unproven, MAX_UNPROVEN);
        meta.unproven.insert(iss.to_owned(), Arc::clone(&source));
        Ok(source)
    }

    /// Records that a token of the issuer was permitted. True if it is an issuer of a pattern that was not
    /// proven before.
    pub(super) fn prove(&self, source: &Arc<KeySource>) -> bool {
        if !source.prove() {
            return false;
        }
        let iss = source.issuer();
        let mut meta = self.lock();
        meta.unproven.remove(iss);
        make_room(&mut meta.proven, MAX_PROVEN);
        meta.proven.insert(iss.to_owned(), Arc::clone(source));
        true
    }

    /// The URLs of proven issuers, the most recently used first, at most [`MAX_PROVEN`].
    pub(super) fn proven(&self) -> Vec<String> {
        let meta = self.lock();
        let mut used: Vec<_> = meta.proven.iter().map(|(iss, source)| (source.last_used(), iss)).collect();
        used.sort_by(|a, b| b.cmp(a));
        let remembered = meta.remembered.iter();
        used.into_iter().map(|(_, iss)| iss).chain(remembered).take(MAX_PROVEN).cloned().collect()
    }

    fn slots(&self, unproven: Vec<Arc<Semaphore>>) -> Slots {
        Slots { unproven, proven: Arc::clone(&self.proven_slots), waits: Some(Arc::clone(&self.waits)) }
    }

    fn lock(&self) -> MutexGuard<'_, Meta> {
        self.meta.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Numbers of proven and unproven issuers.
    #[cfg(test)]
    pub(super) fn counts(&self) -> (usize, usize) {
        let meta = self.meta.lock().unwrap();
        (meta.proven.len(), meta.unproven.len())
    }
}

/// Drops the source unused for longest if there are too many.
fn make_room(sources: &mut HashMap<String, Arc<KeySource>>, most: usize) {
    if sources.len() < most {
        return;
    }
    let oldest = sources.iter().min_by_key(|(_, source)| source.last_used()).map(|(iss, _)| iss.clone());
    if let Some(iss) = oldest {
        sources.remove(&iss);
    }
}

/// The slots under a key, which exist as long as a source holds them.
fn shared<K: Eq + std::hash::Hash>(
    slots: &mut HashMap<K, Weak<Semaphore>>,
    key: K,
    most: usize,
) -> Arc<Semaphore> {
    slots.retain(|_, slots| slots.strong_count() > 0);
    if let Some(slots) = slots.get(&key).and_then(Weak::upgrade) {
        return slots;
    }
    let made = Arc::new(Semaphore::new(most));
    slots.insert(key, Arc::downgrade(&made));
    made
}
