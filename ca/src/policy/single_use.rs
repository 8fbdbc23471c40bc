//! Tokens that have bought a certificate, for issuers whose tokens are for single use.
//!
//! Invariant: within one process a token's id is spent at most once before the token expires. The memory is
//! bounded, and when it is full further tokens are refused rather than old ones forgotten. It starts empty,
//! so a token that was not issued after its start is refused: it may have been used. It starts with the process, or
//! with the configuration that makes the issuer's tokens single-use.
//!
//! Whoever can get many tokens must not be able to fill the memory for others. So a token lives [`MAX_LIFE`] at most,
//! and nobody records more tokens than there is room left: one subject takes half of the memory at most, two take a
//! third each, and so on. If a policy is for a pattern, the same holds for its issuers.
//!
//! KNOWN LIMIT: every process has its own memory, so a token can be used once at each of several processes
//! with one CA key; and an issuer whose clock is ahead, by [`AHEAD`] at most, can issue a token that is used both
//! before and after a restart.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use chancery_tlog::clock::Timestamp;
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::PolicyRefusal;

/// Tokens of one policy that are recorded at once; at some 200 bytes each that is 52 MB. At ten minutes a
/// token, half of it is enough for 210 certificates a second.
const CAPACITY: usize = 1 << 18;
/// Longest life of a token, from `iat` to `exp`. Those of CI systems live five minutes to an hour.
pub(super) const MAX_LIFE: Duration = Duration::from_hours(1);
/// Time by which the issuer's clock may be ahead.
const AHEAD: Duration = Duration::from_mins(5);
/// Time by which a record outlives its token, against a clock that is set back.
const GRACE: Duration = Duration::from_mins(5);

/// SHA-256 of issuer and `jti`.
type Id = [u8; 32];
/// An issuer or subject whose tokens share the room with those of others.
type Holder = [u8; 16];

/// The use of one token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TokenUse {
    id: Id,
    issuer: Holder,
    subject: Holder,
    issued: Timestamp,
    expires: Timestamp,
}

impl TokenUse {
    /// The use of a token with this issuer, subject and claims.
    pub(super) fn of(iss: &str, sub: &str, claims: &Map<String, Value>) -> Result<Self, PolicyRefusal> {
        let jti = claims.get("jti").and_then(Value::as_str).filter(|jti| !jti.is_empty());
        let jti = jti.ok_or(PolicyRefusal::NotSingleUse("jti"))?;
        let (issued, expires) = (time(claims, "iat")?, time(claims, "exp")?);
        if expires > issued.plus(MAX_LIFE) {
            return Err(PolicyRefusal::LivesTooLong);
        }
        // A space cannot be in an issuer's URL, so no two pairs have one text.
        Ok(Self {
            id: hash(&format!("{iss} {jti}")),
            issuer: holder(iss),
            subject: holder(&format!("{iss} {sub}")),
            issued,
            expires,
        })
    }
}

fn hash(text: &str) -> Id {
    let mut hash = Id::default();
    hash.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
    hash
}

fn holder(text: &str) -> Holder {
    let mut holder = Holder::default();
    let length = holder.len();
    holder.copy_from_slice(&hash(text)[..length]);
    holder
}

/// A NumericDate in whole seconds, rounded down.
fn time(claims: &Map<String, Value>, claim: &'static str) -> Result<Timestamp, PolicyRefusal> {
    let seconds = claims.get(claim).and_then(Value::as_f64).filter(|seconds| *seconds >= 0.0);
    let seconds = seconds.ok_or(PolicyRefusal::NotSingleUse(claim))?;
    let whole = Duration::try_from_secs_f64(seconds).map_or(u64::MAX / 1000, |time| time.as_secs());
    Ok(Timestamp::from_seconds(whole.min(u64::MAX / 1000)))
}

/// The reason that a token cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpendError {
    /// It has bought a certificate, or is about to.
    #[error("the token is for single use and has been used")]
    Used,
    /// It may have bought a certificate before uses were recorded.
    #[error(
        "the token is for single use and was not issued after this server began to record such uses: get a new one"
    )]
    BeforeStart,
    /// Its `iat` is too far in the future: it would have to be recorded for as long as its issuer likes.
    #[error("the token is for single use and its `iat` lies in the future: the clock of its issuer is ahead")]
    NotYetIssued,
    /// The memory is full, or has no more room for this issuer or subject.
    #[error("no room to record another single-use token of this issuer or subject, try again later")]
    Full,
}

/// The tokens of one policy that were used.
#[derive(Debug)]
pub(crate) struct SpentTokens {
    /// Seconds since 1970.
    started: AtomicU64,
    capacity: usize,
    /// Whether the room is shared by issuers too: there are many, and each chooses its subjects.
    shared_by_issuers: bool,
    records: Mutex<Records>,
}

#[derive(Debug, Default)]
struct Records {
    by_id: HashMap<Id, Record>,
    by_expiry: BTreeSet<(Timestamp, Id)>,
    /// Records of each issuer and subject.
    held: HashMap<Holder, usize>,
}

#[derive(Debug)]
struct Record {
    holders: [Holder; 2],
    expires: Timestamp,
    /// The same as `expires`, with [`GRACE`], by the clock that never steps.
    keep_until: Instant,
}

impl SpentTokens {
    /// An empty memory of a process that starts now.
    pub(crate) fn new(shared_by_issuers: bool, started: Timestamp) -> Self {
        let started = AtomicU64::new(started.seconds());
        Self { started, capacity: CAPACITY, shared_by_issuers, records: Mutex::default() }
    }

    /// Starts when requests that do not record their tokens come no more, the last of which may be in flight with a token
    /// of this second.
    pub(crate) fn start(&self, now: Timestamp) {
        self.started.store(now.seconds(), Ordering::Relaxed);
    }

    /// Spends a token, unless the certificate does not come about: see [`Reservation`].
    pub(crate) fn reserve(
        self: &Arc<Self>,
        token: &TokenUse,
        now: Timestamp,
    ) -> Result<Reservation, SpendError> {
        // `iat` may be rounded down by its issuer, as it is here: within one second nothing says which came first.
        if token.issued.seconds() <= self.started.load(Ordering::Relaxed) {
            return Err(SpendError::BeforeStart);
        }
        if token.issued > now.plus(AHEAD) {
            return Err(SpendError::NotYetIssued);
        }
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        records.forget_expired(now);
        if records.by_id.contains_key(&token.id) {
            return Err(SpendError::Used);
        }
        self.check_room(&records, token)?;
        records.add(token, now);
        Ok(Reservation { spent: Arc::clone(self), id: token.id, kept: false })
    }

    /// Checks that neither subject nor issuer holds more records than there is room left.
    fn check_room(&self, records: &Records, token: &TokenUse) -> Result<(), SpendError> {
        let room = self.capacity.saturating_sub(records.by_id.len());
        let held = |holder: &Holder| records.held.get(holder).copied().unwrap_or(0);
        let issuer = if self.shared_by_issuers { held(&token.issuer) } else { 0 };
        if held(&token.subject).max(issuer) >= room { Err(SpendError::Full) } else { Ok(()) }
    }
}

impl Records {
    fn add(&mut self, token: &TokenUse, now: Timestamp) {
        let left = token.expires.millis().saturating_sub(now.millis());
        // Bounded by `MAX_LIFE` and `AHEAD`.
        let keep_until = Instant::now() + Duration::from_millis(left) + GRACE;
        let holders = [token.issuer, token.subject];
        for holder in holders {
            *self.held.entry(holder).or_default() += 1;
        }
        self.by_expiry.insert((token.expires, token.id));
        self.by_id.insert(token.id, Record { holders, expires: token.expires, keep_until });
    }

    /// Forgets tokens that have expired by both clocks. The wall clock can jump ahead and come back; the other one
    /// does not know that it was set back, after which a token is good once more.
    fn forget_expired(&mut self, now: Timestamp) {
        while let Some(&(expires, id)) = self.by_expiry.first() {
            let kept = self.by_id.get(&id).is_some_and(|record| record.keep_until > Instant::now());
            if kept || expires.plus(GRACE) > now {
                return;
            }
            self.remove(&id);
        }
    }

    fn remove(&mut self, id: &Id) {
        let Some(Record { holders, expires, .. }) = self.by_id.remove(id) else { return };
        self.by_expiry.remove(&(expires, *id));
        for holder in holders {
            let Some(held) = self.held.get_mut(&holder) else { continue };
            *held -= 1;
            if *held == 0 {
                self.held.remove(&holder);
            }
        }
    }
}

/// A token that is about to be used. Dropped, the token is as good as before; kept, it is spent.
#[must_use]
#[derive(Debug)]
pub(crate) struct Reservation {
    spent: Arc<SpentTokens>,
    id: Id,
    kept: bool,
}

impl Reservation {
    /// Makes it final.
    pub(crate) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        let mut records = self.spent.records.lock().unwrap_or_else(PoisonError::into_inner);
        records.remove(&self.id);
    }
}

#[cfg(test)]
mod tests;
