//! Charging entries to the identities that signed them.
//!
//! Signatures in a log are public: anyone can submit somebody else's entry again. Invariant: an identity's share is
//! used up only by signatures that it made itself. So an entry is charged when it is taken in, duplicates are free,
//! and an entry that another identity could have caused is charged to a share of its own (see [`Cause`]). All shares
//! have the same rate, so what one identity can write stays bounded.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::merkle::Hash;
use crate::rekor::Signatory;
use crate::serve::rate::{CAPACITY, IdentityLimiter};
use crate::server::log::Fee;

/// The shares of all identities, and the signatures that were charged to them. All logs of a process use one.
#[derive(Debug)]
pub struct Identities {
    limiter: Arc<IdentityLimiter>,
    seen: Mutex<Seen>,
}

impl Identities {
    /// Shares of the rate of `limiter`, which may limit other requests too.
    pub fn new(limiter: Arc<IdentityLimiter>) -> Self {
        Self { limiter, seen: Mutex::default() }
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Hashes of signatures and certificates, in two generations of half of [`CAPACITY`]: 4 MiB. Whoever can add as many
/// entries makes the oldest signatures count once more.
#[derive(Debug, Default)]
struct Seen {
    young: HashSet<Hash>,
    old: HashSet<Hash>,
}

impl Seen {
    fn contains(&self, mark: &Hash) -> bool {
        self.young.contains(mark) || self.old.contains(mark)
    }

    fn add(&mut self, marks: &[Hash]) {
        if self.young.len() + marks.len() > CAPACITY / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.extend(marks);
    }
}

/// The part that an identity has in an entry, which decides the share that is charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// It made a new signature, or it has not used this certificate before, which until then nobody else has.
    Own,
    /// There is a new signature, and anyone who knows its public key could have made it.
    Forgeable,
    /// There is no new signature: another spelling of an entry that is in the log.
    Replay,
}

impl Cause {
    /// Prefixes of the shares' names. A certificate authority in the same process uses `ca`.
    fn share(self) -> &'static str {
        match self {
            Self::Own => "log",
            Self::Forgeable => "log digest",
            Self::Replay => "log replay",
        }
    }
}

/// An identity that signed an entry.
#[derive(Debug)]
pub(super) struct Signed {
    name: String,
    certificate: Option<Hash>,
    marks: Vec<Hash>,
    may_be_forged: bool,
}

impl Signed {
    /// The signer of `name`. `is_certified` says that its certificate is one of this instance's.
    pub(super) fn new(name: String, is_certified: bool, signatory: &Signatory) -> Self {
        let certificate = signatory.verifier.certificate().filter(|_| is_certified);
        Self {
            name,
            certificate: certificate.map(crate::certificate::Certificate::digest),
            marks: signatory.marks(),
            may_be_forged: signatory.may_be_forged(),
        }
    }

    fn cause(&self, seen: &Seen) -> Cause {
        let has_new = self.marks.iter().any(|mark| !seen.contains(mark));
        let first_use = self.certificate.is_some_and(|certificate| !seen.contains(&certificate));
        match (has_new, self.may_be_forged && !first_use) {
            (false, _) => Cause::Replay,
            (true, true) => Cause::Forgeable,
            (true, false) => Cause::Own,
        }
    }

    fn share(&self, cause: Cause) -> String {
        format!("{} {}", cause.share(), self.name)
    }
}

/// The fee of one entry, for each of those who signed it.
#[derive(Debug)]
pub struct EntryFee {
    identities: Option<Arc<Identities>>,
    signed: Vec<Signed>,
    paid: Mutex<Vec<String>>,
}

impl EntryFee {
    pub(super) fn new(identities: Option<Arc<Identities>>, signed: Vec<Signed>) -> Self {
        Self { identities, signed, paid: Mutex::default() }
    }

    fn paid(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.paid.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fee for EntryFee {
    fn pay(&self) -> Result<(), Duration> {
        let Some(identities) = &self.identities else { return Ok(()) };
        for signed in &self.signed {
            let share = signed.share(signed.cause(&identities.seen()));
            if let Err(retry_after) = identities.limiter.take(&share) {
                self.give_back();
                return Err(retry_after);
            }
            self.paid().push(share);
        }
        let marks = self.signed.iter().flat_map(|signed| signed.marks.iter().chain(&signed.certificate));
        let marks: Vec<Hash> = marks.copied().collect();
        identities.seen().add(&marks);
        Ok(())
    }

    fn give_back(&self) {
        let Some(identities) = &self.identities else { return };
        for share in self.paid().drain(..) {
            identities.limiter.give_back(&share);
        }
    }
}
