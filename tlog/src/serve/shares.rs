//! What clients hold of a listener, all of them together and each address by itself.
//!
//! Connections, bodies that arrive, complete requests and answers that are not read: everything that a client
//! can keep for longer than a moment is counted and bounded for its address, for its site if it has an IPv6
//! address, and for all clients. A client at its bounds is refused, and the rest stays for others. Counting is
//! adding to two or three numbers; an address has an entry here for as long as it holds something.

mod held;
mod unread;

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use self::held::{Held, Table};
pub(super) use self::unread::PIECE;
use super::settings::Limits;

/// One in so many places for complete requests is kept for reads, however many writes there are, and one for
/// writes, however many reads there are.
const RESERVED: usize = 8;
/// A listener whose bounds for all have refused every write for this long is not ready.
const STUCK: Duration = Duration::from_secs(10);

/// Reasons of refusals, as labels of a metric.
pub(super) const REASONS: [&str; 12] = [
    "writes",
    "reads",
    "requests",
    "bodies",
    "body_bytes",
    "unread_bytes",
    "address_requests",
    "address_reads",
    "address_bodies",
    "address_body_bytes",
    "address_unread_bytes",
    "slow_body",
];

/// A bound was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// That of this address, by its reason.
    Address(&'static str),
    /// That of all clients, by its reason.
    All(&'static str),
}

/// The state of one listener's bounds, for its readiness and metrics.
#[derive(Clone)]
pub struct Occupancy(pub(super) Arc<Shares>);

impl Occupancy {
    /// Nothing is held yet.
    pub fn new(limits: &Limits) -> Self {
        Self(Arc::new(Shares::new(limits)))
    }

    /// An error while the bounds for all clients refuse every write, and have done so for ten seconds.
    pub fn check(&self) -> Result<(), String> {
        match self.0.stuck() {
            Some(since) => Err(format!("every write has been refused for {} s: {self:?}", since.as_secs())),
            None => Ok(()),
        }
    }

    /// Sets the gauges. For the moment of a scrape.
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
    pub fn sample(&self) {
        let (all, addresses) = (&self.0.all, self.0.table().len());
        metrics::gauge!("chancery_http_addresses").set(addresses as f64);
        metrics::gauge!("chancery_http_bodies").set(read(&all.bodies) as f64);
        metrics::gauge!("chancery_http_body_bytes").set(read(&all.body_bytes) as f64);
        metrics::gauge!("chancery_http_unread_bytes").set(read(&all.unread) as f64);
        metrics::gauge!("chancery_http_reads").set(read(&all.reads) as f64);
        metrics::gauge!("chancery_http_writes").set(read(&all.writes) as f64);
    }
}

impl std::fmt::Debug for Occupancy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let all = &self.0.all;
        let (writes, reads, bodies) = (read(&all.writes), read(&all.reads), read(&all.bodies));
        let (bytes, unread) = (read(&all.body_bytes), read(&all.unread));
        write!(f, "{writes} writes, {bodies} unfinished bodies, {bytes} bytes of bodies, ")?;
        write!(f, "{unread} of answers not read, {reads} reads")
    }
}

/// What all clients of a listener hold.
pub(super) struct Shares {
    limits: Limits,
    all: Held,
    table: Mutex<Table>,
    /// Places for connections.
    slots: Arc<Semaphore>,
    begun: Instant,
    /// Milliseconds since the beginning at which a write was refused by a bound for all and none was admitted
    /// after; 0 for never.
    refused_at: AtomicU64,
}

impl Shares {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            limits: limits.clone(),
            all: Held::default(),
            table: Mutex::default(),
            slots: Arc::new(Semaphore::new(limits.max_connections.min(Semaphore::MAX_PERMITS))),
            begun: Instant::now(),
            refused_at: AtomicU64::new(0),
        }
    }

    /// The share of an address, kept while the result or anything made of it is.
    pub(super) fn of(self: &Arc<Self>, address: IpAddr) -> Share {
        let held = self.table().join(address);
        Share { shares: Arc::clone(self), held: Some((address, held)) }
    }

    /// The share of clients that cannot be told apart: bounded by what all may hold alone.
    pub(super) fn of_all(self: &Arc<Self>) -> Share {
        Share { shares: Arc::clone(self), held: None }
    }

    /// Places for connections, however many sockets they come by.
    pub(super) fn slots(&self) -> Arc<Semaphore> {
        Arc::clone(&self.slots)
    }

    /// Whether a write would find a place now: asked before its body is read.
    pub(super) fn may_write(&self) -> Result<(), Full> {
        if read(&self.all.writes) < self.most_of_a_kind() { Ok(()) } else { Err(self.refused("writes")) }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes that may be in flight at one time, and reads.
    fn most_of_a_kind(&self) -> usize {
        let most = self.limits.max_requests;
        most - most / RESERVED
    }

    fn refused(&self, reason: &'static str) -> Full {
        let now = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
        // Kept if it is set: since then no write has been admitted.
        let _ = self.refused_at.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
        Full::All(reason)
    }

    fn stuck(&self) -> Option<Duration> {
        let at = self.refused_at.load(Ordering::Relaxed);
        let full = read(&self.all.writes) >= self.most_of_a_kind()
            || read(&self.all.requests) >= self.limits.max_requests
            || read(&self.all.bodies) >= self.limits.max_bodies
            || read(&self.all.unread) >= self.limits.max_unread_bytes
            || read(&self.all.body_bytes) + self.limits.max_body > self.limits.max_body_bytes;
        let since = self.begun.elapsed().checked_sub(Duration::from_millis(at))?;
        (at != 0 && full && since > STUCK).then_some(since)
    }
}

/// The bounds of one kind of thing that is held.
struct Bounds {
    /// Of an address, and the reason of its refusals.
    own: usize,
    own_reason: &'static str,
    /// Of an IPv6 site.
    site: usize,
    /// Of all clients, and the reason of their refusals.
    all: usize,
    all_reason: &'static str,
}

impl Bounds {
    /// A site has half of everything: it can have more addresses than all tables have room for.
    fn new(own: usize, own_reason: &'static str, all: usize, all_reason: &'static str) -> Self {
        Self { own, own_reason, site: own.max(all / 2), all, all_reason }
    }
}

/// The share of one address, or of clients that cannot be told apart.
pub(super) struct Share {
    shares: Arc<Shares>,
    held: Option<(IpAddr, Arc<Held>)>,
}

impl Share {
    /// The same once more.
    pub(super) fn again(&self) -> Self {
        if let Some((_, held)) = &self.held {
            held.users.fetch_add(1, Ordering::Relaxed);
        }
        Self { shares: Arc::clone(&self.shares), held: self.held.clone() }
    }

    /// Counts of the address and of its site.
    fn own(&self) -> (Option<&Held>, Option<&Held>) {
        let own = self.held.as_ref().map(|(_, held)| &**held);
        (own, own.and_then(|own| own.site.as_ref()).map(|site| &*site.held))
    }

    /// Takes from the address, its site and all; nothing if one of them is full.
    fn take(&self, of: fn(&Held) -> &AtomicUsize, count: usize, bounds: &Bounds) -> Result<(), Full> {
        let (own, site) = self.own();
        if own.is_some_and(|own| !take(of(own), count, bounds.own)) {
            return Err(Full::Address(bounds.own_reason));
        }
        if site.is_some_and(|site| !take(of(site), count, bounds.site)) {
            give_all([own, None], of, count);
            return Err(Full::Address(bounds.own_reason));
        }
        if !take(of(&self.shares.all), count, bounds.all) {
            give_all([own, site], of, count);
            return Err(self.shares.refused(bounds.all_reason));
        }
        Ok(())
    }

    /// Takes whether there is room or not.
    fn add(&self, of: fn(&Held) -> &AtomicUsize, count: usize) {
        let (own, site) = self.own();
        for held in [own, site, Some(&self.shares.all)].into_iter().flatten() {
            of(held).fetch_add(count, Ordering::Relaxed);
        }
    }

    fn give(&self, of: fn(&Held) -> &AtomicUsize, count: usize) {
        let (own, site) = self.own();
        give_all([own, site, Some(&self.shares.all)], of, count);
    }

    /// An error if nothing more could be taken.
    fn has_room(&self, of: fn(&Held) -> &AtomicUsize, bounds: &Bounds) -> Result<(), Full> {
        let (own, site) = self.own();
        let full = |held: Option<&Held>, most: usize| held.is_some_and(|held| read(of(held)) >= most);
        if full(own, bounds.own) || full(site, bounds.site) {
            return Err(Full::Address(bounds.own_reason));
        }
        if full(Some(&self.shares.all), bounds.all) {
            return Err(self.shares.refused(bounds.all_reason));
        }
        Ok(())
    }

    /// Counts a connection.
    pub(super) fn connection(self) -> Result<Connection, Full> {
        let limits = &self.shares.limits;
        let bounds = Bounds::new(limits.per_address.connections, "address", limits.max_connections, "all");
        // Those of all clients are bounded by their slots.
        self.take(|held| &held.connections, 1, &Bounds { all: usize::MAX, ..bounds })?;
        Ok(Connection(self))
    }

    /// A place for a complete request that only reads.
    pub(super) fn reading(self) -> Result<Reading, Full> {
        let most = self.shares.most_of_a_kind();
        let bounds = Bounds::new(self.shares.limits.per_address.reads, "address_reads", most, "reads");
        self.take(|held| &held.reads, 1, &bounds)?;
        if let Err(full) = self.request() {
            self.give(|held| &held.reads, 1);
            return Err(full);
        }
        Ok(Reading(self))
    }

    /// A place for a complete request that writes.
    pub(super) fn writing(self) -> Result<Writing, Full> {
        let shares = &self.shares;
        let (own, most) = (shares.limits.per_address.requests, shares.most_of_a_kind());
        self.take(|held| &held.writes, 1, &Bounds::new(own, "address_requests", most, "writes"))?;
        if let Err(full) = self.request() {
            self.give(|held| &held.writes, 1);
            return Err(full);
        }
        if self.shares.refused_at.load(Ordering::Relaxed) != 0 {
            self.shares.refused_at.store(0, Ordering::Relaxed);
        }
        Ok(Writing(self))
    }

    /// A place among all complete requests.
    fn request(&self) -> Result<(), Full> {
        let fits = take(&self.shares.all.requests, 1, self.shares.limits.max_requests);
        if fits { Ok(()) } else { Err(self.shares.refused("requests")) }
    }

    /// A place for a body that has not arrived completely.
    pub(super) fn body(self) -> Result<Receiving, Full> {
        let limits = &self.shares.limits;
        let bounds = Bounds::new(limits.per_address.bodies, "address_bodies", limits.max_bodies, "bodies");
        self.take(|held| &held.bodies, 1, &bounds)?;
        Ok(Receiving { body: ReceivedBytes { share: self, bytes: 0 } })
    }

    fn unread_bounds(&self) -> Bounds {
        let Limits { per_address, max_unread_bytes, .. } = &self.shares.limits;
        Bounds::new(per_address.unread_bytes, "address_unread_bytes", *max_unread_bytes, "unread_bytes")
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let Some((address, held)) = self.held.take() else { return };
        if held.users.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.shares.table().leave(address, &held);
        }
    }
}

/// A complete request in flight that only reads.
pub(super) struct Reading(Share);

impl Drop for Reading {
    fn drop(&mut self) {
        give(&self.0.shares.all.requests, 1);
        self.0.give(|held| &held.reads, 1);
    }
}

/// A complete request in flight that writes.
pub(super) struct Writing(Share);

impl Drop for Writing {
    fn drop(&mut self) {
        give(&self.0.shares.all.requests, 1);
        self.0.give(|held| &held.writes, 1);
    }
}

/// A body that arrives.
pub(super) struct Receiving {
    body: ReceivedBytes,
}

impl Receiving {
    /// Counts bytes that have arrived and are kept.
    pub(super) fn grow(&mut self, count: usize) -> Result<(), Full> {
        let share = &self.body.share;
        let limits = &share.shares.limits;
        let (own, all) = (limits.per_address.body_bytes, limits.max_body_bytes);
        let bounds = Bounds::new(own, "address_body_bytes", all, "body_bytes");
        share.take(|held| &held.body_bytes, count, &bounds)?;
        self.body.bytes += count;
        Ok(())
    }

    /// The body is complete: only its bytes are held from now on.
    pub(super) fn complete(mut self) -> ReceivedBytes {
        let bytes = std::mem::take(&mut self.body.bytes);
        ReceivedBytes { share: self.body.share.again(), bytes }
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        self.body.share.give(|held| &held.bodies, 1);
    }
}

/// The bytes of a body, until its request is answered.
pub(super) struct ReceivedBytes {
    share: Share,
    bytes: usize,
}

impl Drop for ReceivedBytes {
    fn drop(&mut self) {
        self.share.give(|held| &held.body_bytes, self.bytes);
    }
}

/// An open connection.
pub(super) struct Connection(Share);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.give(|held| &held.connections, 1);
    }
}

fn read(number: &AtomicUsize) -> usize {
    number.load(Ordering::Relaxed)
}

fn take(number: &AtomicUsize, count: usize, most: usize) -> bool {
    let before = number.fetch_add(count, Ordering::Relaxed);
    let fits = before.saturating_add(count) <= most;
    if !fits {
        give(number, count);
    }
    fits
}

fn give(number: &AtomicUsize, count: usize) {
    number.fetch_sub(count, Ordering::Relaxed);
}

fn give_all<const N: usize>(holders: [Option<&Held>; N], of: fn(&Held) -> &AtomicUsize, count: usize) {
    for held in holders.into_iter().flatten() {
        give(of(held), count);
    }
}

#[cfg(test)]
mod tests;
