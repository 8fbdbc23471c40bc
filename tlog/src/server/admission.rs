//! Who may write to an attestation log: anyone, or only those whom this instance's CA has certified.
//!
//! An entry's signature has been verified when it comes here, so its signer has shown the key. That is not yet a name:
//! anyone can sign a certificate for anyone's name. A name counts, for admission and for the rate of an identity, if
//! one of our certificate authorities issued the certificate, and it is valid now; all else is counted by its key.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::certificate::Certificate;
use crate::chain::{self, ChainError, Purpose};
use crate::clock::{Clock, Timestamp};
use crate::fulcio;
use crate::rekor::Verifier;
use crate::serve::metrics::Counters;
use crate::serve::rate::{IdentityLimiter, WRITES_PER_IDENTITY, note};

/// How long after its end, or before its beginning, a certificate is still admitted. Signers submit at once, and the
/// CA's certificates live ten minutes: a log that took older ones would take signatures by keys stolen long ago. What
/// is allowed for is that CA and log are two machines.
pub const LEEWAY: Duration = Duration::from_mins(1);

/// What an operator who turns somebody away should know to say.
const ADVICE: &str =
    "sign keyless, with a certificate of this instance, or ask its operator to admit any signers";

/// Why an entry is not admitted. For its submitter.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is signed by a bare key.
    #[error("this log takes only signatures by certificates of its own CA, not by keys: {ADVICE}")]
    Key,
    /// It is signed by a certificate of somebody else.
    #[error("this log takes only signatures by certificates of its own CA: {0}: {ADVICE}")]
    Foreign(ChainError),
    /// Certificates of somebody else come along with one of ours: they would be published in its company.
    #[error(
        "certificates beside the signer's are not of this instance: send the signer's certificate alone, or with this \
         instance's chain"
    )]
    Beside,
    /// The certificate has expired, or is not valid yet.
    #[error("the certificate is not valid at this time: get a new one and sign again")]
    NotNow,
    /// This identity has had its share for now.
    #[error("too many entries of this identity, try again later")]
    TooMany {
        /// When to.
        retry_after: Duration,
    },
}

/// The rules of one log.
#[derive(Clone)]
pub struct Admission {
    authorities: Arc<[Certificate]>,
    own_only: bool,
    identities: Option<Arc<IdentityLimiter>>,
    clock: Arc<dyn Clock>,
    refusals: Arc<Counters>,
}

impl Admission {
    /// Any signer, keys and certificates of any CA. Those of `authorities` are known by name.
    pub fn any(authorities: Vec<Certificate>, clock: Arc<dyn Clock>) -> Self {
        let refusals = Counters::new("chancery_admission_refusals_total", "reason", &Refusal::REASONS);
        let refusals = Arc::new(refusals);
        Self { authorities: authorities.into(), own_only: false, identities: None, clock, refusals }
    }

    /// Only certificates that one of `authorities` issued; the issuing ones have to be among them.
    pub fn own_ca(authorities: Vec<Certificate>, clock: Arc<dyn Clock>) -> Self {
        Self { own_only: true, ..Self::any(authorities, clock) }
    }

    /// With a limit for each identity.
    #[must_use]
    pub fn limited(mut self, identities: Option<Arc<IdentityLimiter>>) -> Self {
        self.identities = identities;
        self
    }

    /// Judges an entry by who signed it; `verifiers` have verified its signatures.
    pub fn admit(&self, verifiers: &[Verifier]) -> Result<(), Refusal> {
        let admitted = self.judge(verifiers);
        match &admitted {
            Err(Refusal::TooMany { .. }) => note(WRITES_PER_IDENTITY),
            Err(refusal) => self.refusals.increment(refusal.reason()),
            Ok(()) => {}
        }
        admitted
    }

    fn judge(&self, verifiers: &[Verifier]) -> Result<(), Refusal> {
        if verifiers.is_empty() && self.own_only {
            return Err(Refusal::Key);
        }
        for verifier in verifiers {
            if self.own_only {
                self.refuse_company(verifier)?;
            }
            let identity = match self.name(verifier) {
                Ok(name) => name,
                Err(refusal) if self.own_only => return Err(refusal),
                Err(_) => format!("key {}", hex::encode(verifier.public_key().fingerprint())),
            };
            if let Some(limiter) = &self.identities {
                limiter.take(&identity).map_err(|retry_after| Refusal::TooMany { retry_after })?;
            }
        }
        Ok(())
    }

    /// Refuses a chain with certificates that are not this instance's. Genuine clients send the leaf alone; what is stored
    /// is served for ever, and of a chain only the leaf proves to be ours.
    fn refuse_company(&self, verifier: &Verifier) -> Result<(), Refusal> {
        let ours = |further: &Certificate| self.authorities.contains(further);
        if verifier.further_certificates().iter().all(ours) { Ok(()) } else { Err(Refusal::Beside) }
    }

    /// Issuer and name of a signer whom one of our authorities has certified.
    fn name(&self, verifier: &Verifier) -> Result<String, Refusal> {
        let certificate = verifier.certificate().ok_or(Refusal::Key)?;
        let at = within_leeway(certificate, self.clock.now()).ok_or(Refusal::NotNow)?;
        // Every authority is an anchor, the issuing ones too: submitters send the leaf alone.
        chain::verify(certificate, &[], &self.authorities, at, Purpose::CodeSigning)
            .map_err(Refusal::Foreign)?;
        let name = certificate.subject_names().first().map_or("", |name| name.value());
        Ok(format!("{} {name}", fulcio::issuer(certificate).unwrap_or_default()))
    }
}

/// The moment of a certificate's life that is nearest to `now`, unless that is too far away.
fn within_leeway(certificate: &Certificate, now: Timestamp) -> Option<Timestamp> {
    let (begin, end) = (certificate.not_before(), certificate.not_after());
    let valid = begin <= now.plus(LEEWAY) && now <= end.plus(LEEWAY) && begin <= end;
    valid.then(|| now.clamp(begin, end))
}

impl Refusal {
    /// Those that are counted here; `too_many` is counted with the rate limits.
    const REASONS: [&'static str; 3] = ["key", "foreign_certificate", "not_valid_now"];

    /// As a metric label: a closed set.
    fn reason(&self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Foreign(_) | Self::Beside => "foreign_certificate",
            Self::NotNow => "not_valid_now",
            Self::TooMany { .. } => "too_many",
        }
    }
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.own_only { "Admission(own CA)" } else { "Admission(any)" })
    }
}

#[cfg(test)]
mod tests;
