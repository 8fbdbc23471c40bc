//! Tokens that have bought a certificate, for issuers whose tokens are for single use.
//!
//! Invariant: within one process a token's id is spent at most once before the token expires. The memory is
//! bounded, and when it is full further tokens are refused rather than old ones forgotten. It starts empty,
//! so a token that was issued before is refused: it may have been used. It starts with the process, or with the
//! configuration that makes the issuer's tokens single-use.
//!
//! KNOWN LIMIT: every process has its own memory, so a token can be used once at each of several processes
//! with one CA key; and an issuer whose clock is ahead can issue a token that is used both before and after a
//! restart.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use chancery_tlog::clock::Timestamp;
use serde_json::{Map, Value};

/// Tokens of one issuer that are recorded at once; at some 120 bytes each that is 31 MB. At ten minutes a
/// token it is enough for 430 certificates a second.
const CAPACITY: usize = 1 << 18;
/// Time by which a record outlives its token, against a clock that is set back.
const GRACE: Duration = Duration::from_mins(5);

/// SHA-256 of issuer and `jti`.
type Id = [u8; 32];

/// The use of one token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TokenUse {
    id: Id,
    issued: Timestamp,
    expires: Timestamp,
}

impl TokenUse {
    /// The use of a token with these claims. `Err` names the claim that is missing.
    pub(super) fn of(iss: &str, claims: &Map<String, Value>) -> Result<Self, &'static str> {
        let jti = claims.get("jti").and_then(Value::as_str).filter(|jti| !jti.is_empty()).ok_or("jti")?;
        // A space cannot be in an issuer's URL, so no two pairs have one text.
        let id = digest(&SHA256, format!("{iss} {jti}").as_bytes());
        let id = id.as_ref().try_into().map_err(|_| "jti")?;
        Ok(Self { id, issued: time(claims, "iat")?, expires: time(claims, "exp")? })
    }
}

/// A NumericDate in whole seconds, rounded down.
fn time(claims: &Map<String, Value>, claim: &'static str) -> Result<Timestamp, &'static str> {
    let seconds = claims.get(claim).and_then(Value::as_f64).filter(|seconds| *seconds >= 0.0).ok_or(claim)?;
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
        "the token is for single use and was issued before this server recorded such uses: get a new one"
    )]
    BeforeStart,
    /// The memory is full.
    #[error("no room to record another single-use token, try again later")]
    Full,
}

/// The tokens of one issuer that were used.
#[derive(Debug)]
pub(crate) struct SpentTokens {
    /// Seconds since 1970.
    started: AtomicU64,
    capacity: usize,
    records: Mutex<Records>,
}

#[derive(Debug, Default)]
struct Records {
    by_id: HashMap<Id, Timestamp>,
    by_expiry: BTreeSet<(Timestamp, Id)>,
}

impl SpentTokens {
    /// An empty memory of a process that starts now.
    pub(crate) fn new(started: Timestamp) -> Self {
        Self { started: AtomicU64::new(started.seconds()), capacity: CAPACITY, records: Mutex::default() }
    }

    /// Starts when requests that do not record their tokens come no more, the last of which may be in flight with a token
    /// of this second.
    pub(crate) fn start(&self, now: Timestamp) {
        self.started.store(now.seconds() + 1, Ordering::Relaxed);
    }

    /// Spends a token, unless the certificate does not come about: see [`Reservation`].
    pub(crate) fn reserve(
        self: &Arc<Self>,
        token: &TokenUse,
        now: Timestamp,
    ) -> Result<Reservation, SpendError> {
        if token.issued.seconds() < self.started.load(Ordering::Relaxed) {
            return Err(SpendError::BeforeStart);
        }
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        records.forget_expired(now);
        if records.by_id.contains_key(&token.id) {
            return Err(SpendError::Used);
        }
        if records.by_id.len() >= self.capacity {
            return Err(SpendError::Full);
        }
        records.by_id.insert(token.id, token.expires);
        records.by_expiry.insert((token.expires, token.id));
        Ok(Reservation { spent: Arc::clone(self), id: token.id, kept: false })
    }
}

impl Records {
    fn forget_expired(&mut self, now: Timestamp) {
        while let Some(&(expires, id)) = self.by_expiry.first() {
            if expires.plus(GRACE) > now {
                return;
            }
            self.by_expiry.pop_first();
            self.by_id.remove(&id);
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
        if let Some(expires) = records.by_id.remove(&self.id) {
            records.by_expiry.remove(&(expires, self.id));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const START: u64 = 1_790_000_000;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_seconds(START + seconds)
    }

    fn token(jti: &str, issued: u64, expires: u64) -> TokenUse {
        let claims = json!({"jti": jti, "iat": START + issued, "exp": START + expires});
        TokenUse::of("https://issuer.example", claims.as_object().unwrap()).unwrap()
    }

    fn memory(capacity: usize) -> Arc<SpentTokens> {
        Arc::new(SpentTokens { capacity, ..SpentTokens::new(at(0)) })
    }

    #[test]
    fn a_token_is_spent_once_and_given_back_if_no_certificate_came_about() {
        let memory = memory(10);
        let used = token("a", 1, 300);
        let first = memory.reserve(&used, at(2)).unwrap();
        assert_eq!(memory.reserve(&used, at(2)).unwrap_err(), SpendError::Used, "while it is in use");
        drop(first);
        memory.reserve(&used, at(3)).unwrap().keep();
        for later in [3, 299, 301, 599] {
            assert_eq!(memory.reserve(&used, at(later)).unwrap_err(), SpendError::Used, "{later}");
        }
        memory.reserve(&token("b", 1, 300), at(3)).unwrap().keep();
    }

    #[test]
    fn a_full_memory_refuses_and_empties_by_expiry_only() {
        let memory = memory(3);
        for (jti, expires) in [("a", 300), ("b", 400), ("c", 500)] {
            memory.reserve(&token(jti, 1, expires), at(1)).unwrap().keep();
        }
        let more = token("d", 1, 900);
        assert_eq!(memory.reserve(&more, at(599)).unwrap_err(), SpendError::Full);
        assert_eq!(memory.reserve(&token("a", 1, 300), at(599)).unwrap_err(), SpendError::Used);
        memory.reserve(&more, at(600)).unwrap().keep();
        assert_eq!(memory.records.lock().unwrap().by_id.len(), 3);
        assert_eq!(memory.records.lock().unwrap().by_expiry.len(), 3);
    }

    #[test]
    fn a_token_from_before_the_start_is_refused() {
        let memory = memory(3);
        let claims = json!({"jti": "a", "iat": START - 1, "exp": START + 300});
        let before = TokenUse::of("https://issuer.example", claims.as_object().unwrap()).unwrap();
        assert_eq!(memory.reserve(&before, at(1)).unwrap_err(), SpendError::BeforeStart);
        memory.reserve(&token("a", 0, 300), at(1)).unwrap().keep();
    }

    #[test]
    fn a_memory_that_starts_later_refuses_what_may_have_been_used_unrecorded() {
        let memory = memory(3);
        memory.start(at(10));
        assert_eq!(memory.reserve(&token("a", 10, 300), at(11)).unwrap_err(), SpendError::BeforeStart);
        memory.reserve(&token("b", 11, 300), at(11)).unwrap().keep();
    }

    #[test]
    fn a_token_needs_an_id_and_times_and_ids_belong_to_their_issuer() {
        let whole = json!({"jti": "a", "iat": START, "exp": 1_790_000_300.5});
        let whole = whole.as_object().unwrap();
        for claim in ["jti", "iat", "exp"] {
            let mut lacking = whole.clone();
            lacking.remove(claim);
            assert_eq!(TokenUse::of("i", &lacking).unwrap_err(), claim);
        }
        for odd in [json!(""), json!(7), json!(null), json!(["a"])] {
            let mut odd_id = whole.clone();
            odd_id.insert("jti".to_owned(), odd);
            assert_eq!(TokenUse::of("i", &odd_id).unwrap_err(), "jti");
        }
        let far = json!({"jti": "a", "iat": 0, "exp": 1e300});
        TokenUse::of("i", far.as_object().unwrap()).unwrap();
        assert_ne!(TokenUse::of("i", whole).unwrap(), TokenUse::of("j", whole).unwrap());
    }
}
