//! Who may write to an attestation log: anyone, or only those whom this instance's CA has certified.
//!
//! An entry's signature has been verified when it comes here, so its signer has shown the key. That is not yet a name:
//! anyone can sign a certificate for anyone's name. A name counts, for admission and for the rate of an identity, if
//! one of our certificate authorities issued the certificate, and it is valid now; all else is counted by its key. What
//! an identity is charged for is decided in `identities`.

mod identities;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::certificate::Certificate;
use crate::chain::{self, ChainError, Purpose};
use crate::clock::{Clock, Timestamp};
use crate::fulcio;
use crate::rekor::{Signatory, Verifier};
use crate::serve::metrics::Counters;

use self::identities::Signed;
pub use self::identities::{EntryFee, Identities};

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
}

/// The rules of one log.
#[derive(Clone)]
pub struct Admission {
    /// Certificates of authorities: first those without an end, then the others, the latest end first. So those that
    /// are trusted at any time come before those that no longer are.
    authorities: Arc<[Certificate]>,
    /// The ends of the last of them.
    ends: Arc<[Timestamp]>,
    own_only: bool,
    identities: Option<Arc<Identities>>,
    clock: Arc<dyn Clock>,
    refusals: Arc<Counters>,
}

impl Admission {
    /// Any signer, keys and certificates of any CA. Those of `authorities` are known by name.
    pub fn any(authorities: Vec<Certificate>, clock: Arc<dyn Clock>) -> Self {
        let refusals = Counters::new("chancery_admission_refusals_total", "reason", &Refusal::REASONS);
        let refusals = Arc::new(refusals);
        Self {
            authorities: authorities.into(),
            ends: Arc::default(),
            own_only: false,
            identities: None,
            clock,
            refusals,
        }
    }

    /// Only certificates that one of `authorities` issued; the issuing ones have to be among them.
    pub fn own_ca(authorities: Vec<Certificate>, clock: Arc<dyn Clock>) -> Self {
        Self { own_only: true, ..Self::any(authorities, clock) }
    }

    /// With authorities of the past: entries by certificates of each are admitted until its end, and [`LEEWAY`] longer.
    #[must_use]
    pub fn with_past(mut self, mut past: Vec<(Certificate, Timestamp)>) -> Self {
        past.sort_by_key(|(_, until)| std::cmp::Reverse(*until));
        let (certificates, ends): (Vec<_>, Vec<_>) = past.into_iter().unzip();
        self.authorities = self.authorities.iter().cloned().chain(certificates).collect();
        self.ends = ends.into();
        self
    }

    /// With a limit for each identity.
    #[must_use]
    pub fn limited(mut self, identities: Option<Arc<Identities>>) -> Self {
        self.identities = identities;
        self
    }

    /// Judges an entry by who signed it, and returns the fee that is due when the entry is taken in.
    pub fn admit(&self, signatories: &[Signatory]) -> Result<EntryFee, Refusal> {
        let admitted = self.judge(signatories);
        if let Err(refusal) = &admitted {
            self.refusals.increment(refusal.reason());
        }
        admitted
    }

    fn judge(&self, signatories: &[Signatory]) -> Result<EntryFee, Refusal> {
        if signatories.is_empty() && self.own_only {
            return Err(Refusal::Key);
        }
        let now = self.clock.now();
        let authorities = self.authorities_at(now);
        let mut signed = Vec::with_capacity(signatories.len());
        for signatory in signatories {
            let verifier = &signatory.verifier;
            if self.own_only {
                refuse_company(verifier, authorities)?;
            }
            let name = name(verifier, authorities, now);
            let is_certified = name.is_ok();
            let name = match name {
                Ok(name) => name,
                Err(refusal) if self.own_only => return Err(refusal),
                Err(_) => format!("key {}", hex::encode(verifier.public_key().fingerprint())),
            };
            if self.identities.is_some() {
                signed.push(Signed::new(name, is_certified, signatory));
            }
        }
        Ok(EntryFee::new(self.identities.clone(), signed))
    }

    /// The authorities whose certificates are admitted at a time.
    fn authorities_at(&self, now: Timestamp) -> &[Certificate] {
        let over = self.ends.iter().rev().take_while(|end| end.plus(LEEWAY) < now).count();
        self.authorities.get(..self.authorities.len() - over).unwrap_or_default()
    }
}

/// Refuses a chain with certificates that are not this instance's. Genuine clients send the leaf alone; what is stored
/// is served for ever, and of a chain only the leaf proves to be ours.
fn refuse_company(verifier: &Verifier, authorities: &[Certificate]) -> Result<(), Refusal> {
    let ours = |further: &Certificate| authorities.contains(further);
    if verifier.further_certificates().iter().all(ours) { Ok(()) } else { Err(Refusal::Beside) }
}

/// Issuer and name of a signer whom one of `authorities` has certified.
fn name(verifier: &Verifier, authorities: &[Certificate], now: Timestamp) -> Result<String, Refusal> {
    let certificate = verifier.certificate().ok_or(Refusal::Key)?;
    let at = within_leeway(certificate, now).ok_or(Refusal::NotNow)?;
    // Every authority is an anchor, the issuing ones too: submitters send the leaf alone.
    chain::verify(certificate, &[], authorities, at, Purpose::CodeSigning).map_err(Refusal::Foreign)?;
    let name = certificate.subject_names().first().map_or("", |name| name.value());
    Ok(format!("{} {name}", fulcio::issuer(certificate).unwrap_or_default()))
}

/// The moment of a certificate's life that is nearest to `now`, unless that is too far away.
fn within_leeway(certificate: &Certificate, now: Timestamp) -> Option<Timestamp> {
    let (begin, end) = (certificate.not_before(), certificate.not_after());
    let valid = begin <= now.plus(LEEWAY) && now <= end.plus(LEEWAY) && begin <= end;
    valid.then(|| now.clamp(begin, end))
}

impl Refusal {
    const REASONS: [&'static str; 3] = ["key", "foreign_certificate", "not_valid_now"];

    /// As a metric label: a closed set.
    fn reason(&self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Foreign(_) | Self::Beside => "foreign_certificate",
            Self::NotNow => "not_valid_now",
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
