//! Verification: the list of claims that a bundle must prove, all of them, offline.
//!
//! Each claim is one function in a submodule and one named line of the [`Report`]. A claim is proven, not required
//! (with the reason), or refused; the bundle is verified only if none is refused. No claim is left out: what the
//! policy does not ask for is said to be not required, and what a statement says is not judged unless its signature and
//! the signer's certificate hold. (design §7, facts in sigstore-go `pkg/verify`)
//!
//! Lessons built in: the log entry is compared with the bundle member by member (CVE-2026-22703, CVE-2022-36056),
//! the whole chain is judged at the signing time (CVE-2026-24122), and "signed by anyone" cannot be asked for.

mod certificate;
mod identity;
mod log;
mod policy;
mod provenance;
mod signature;
mod stated;
mod time;

pub use identity::Identity;
pub use policy::{IdentityPolicy, IssuerRule, NameRule, Policy, PolicyError, SignerPolicy, SourceUri};

use std::fmt;

use chancery_tlog::certificate::Certificate;
use chancery_tlog::clock::{Clock, Timestamp};
use chancery_tlog::key::{HashAlgorithm, PublicKey};
use chancery_tlog::trust::{Keyring, Listed};
use serde::Serialize;

use self::stated::Stated;
use crate::artifact::Artifact;
use crate::bundle::{Bundle, Content, SigningMaterial};
use crate::statement::{self, Statement};

/// What can be proven, in the order in which it is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Claim {
    /// The signing key signed the content.
    Signature,
    /// The content is about this artifact.
    Artifact,
    /// The log's entries say exactly what the bundle says.
    LogEntry,
    /// They are in the log.
    InclusionProof,
    /// The log signed the tree that they are in.
    Checkpoint,
    /// A trusted party signed when: the log when it took the entry (SET), or a timestamp authority.
    SigningTime,
    /// Every timestamp of the bundle holds (RFC 3161): its authority signed when the signature existed.
    Timestamp,
    /// A trusted authority issued the signing certificate, valid at the time of signing.
    CertificateChain,
    /// The certificate's issuance was logged (SCT).
    CertificateLog,
    /// The certificate names the expected signer.
    Identity,
    /// The statement is of the expected type.
    PredicateType,
    /// It was built from the expected source.
    Source,
    /// It was built by the expected builder.
    Builder,
    /// The provenance says nothing else than the certificate about source and builder.
    Provenance,
}

impl Claim {
    /// Name for people.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Signature => "signature",
            Self::Artifact => "artifact",
            Self::LogEntry => "log entry",
            Self::InclusionProof => "inclusion proof",
            Self::Checkpoint => "checkpoint",
            Self::SigningTime => "signing time",
            Self::Timestamp => "timestamp",
            Self::CertificateChain => "certificate chain",
            Self::CertificateLog => "certificate log",
            Self::Identity => "identity",
            Self::PredicateType => "predicate type",
            Self::Source => "source",
            Self::Builder => "builder",
            Self::Provenance => "provenance",
        }
    }
}

/// How a claim came out; the text says what was found or why not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "outcome", content = "detail")]
pub enum Outcome {
    /// It holds.
    Proven(String),
    /// The policy does not ask for it.
    NotRequired(String),
    /// It does not hold, or cannot be shown to.
    Refused(String),
    /// It was not looked at, because a claim that it rests on is refused.
    NotJudged(String),
}

/// A claim with its outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The claim.
    pub claim: Claim,
    /// The outcome.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// A refusal's reason.
pub(crate) type Refusal = String;

/// Everything that verification found.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Whether everything was judged and nothing refused.
    pub verified: bool,
    /// The artifact's digest.
    pub artifact: String,
    /// All claims, each once.
    pub claims: Vec<Finding>,
    /// Who signed. Only to be believed if `verified`, as everything below.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
    /// When, RFC 3339, as a trusted log or timestamp authority signed it; null if nobody trusted says.
    pub signed_at: Option<String>,
    /// The statement, if the content is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statement: Option<Statement>,
}

impl Report {
    /// What was refused, and why.
    pub fn refusals(&self) -> impl Iterator<Item = (Claim, &str)> {
        self.claims.iter().filter_map(|finding| match &finding.outcome {
            Outcome::Refused(why) => Some((finding.claim, why.as_str())),
            _ => None,
        })
    }
}

/// The hash functions, other than SHA-256, that an artifact must be read with to be judged by this bundle.
pub fn algorithms(bundle: &Bundle) -> Vec<HashAlgorithm> {
    match &bundle.content {
        Content::Message(message) => message.digest.iter().map(|(algorithm, _)| *algorithm).collect(),
        Content::Envelope(envelope) => statement::algorithms(envelope.payload()),
    }
}

/// Judges a bundle. `clock` is read only where neither a log nor a timestamp authority is trusted: then a
/// certificate must be valid now.
pub fn verify(
    bundle: &Bundle,
    artifact: &Artifact,
    trust: Option<&Keyring>,
    policy: &Policy,
    clock: &dyn Clock,
) -> Report {
    let nothing = Keyring::default();
    let case = Case { bundle, artifact, trust: trust.unwrap_or(&nothing), policy };
    let signature = signature::by_signer(&case);
    let logged = log::judge(&case);
    let timed = time::judge(&case, &logged.times, clock);
    let certified = certificate::judge(&case, &timed);
    let known = [timed.known.as_slice(), &certified.known].concat();
    let entry = logged.entry.and_then(|outcome| log::trusted_throughout(&case, &known).map(|()| outcome));
    let timestamp = timed.trusted_throughout(&known);
    let unread = stated::unread(&bundle.content, &signature, &certified.chain);
    let stated = unread.map_or_else(|| Ok(Stated::read(&bundle.content)), Err);
    let content = |claim: fn(&Case<'_>, &Stated) -> Result<Outcome, Refusal>| match &stated {
        Ok(stated) => claim(&case, stated),
        Err(why) => Ok(Outcome::NotJudged((*why).to_owned())),
    };
    let mut claims = vec![
        finding(Claim::Signature, signature),
        finding(Claim::Artifact, content(signature::over_artifact)),
        finding(Claim::LogEntry, entry),
        finding(Claim::InclusionProof, logged.inclusion),
        finding(Claim::Checkpoint, logged.checkpoint),
        finding(Claim::SigningTime, timed.signing_time),
        finding(Claim::Timestamp, timestamp),
        finding(Claim::CertificateChain, certified.chain),
        finding(Claim::CertificateLog, certified.log),
        finding(Claim::Identity, identity::expected(&case)),
    ];
    claims.extend([
        finding(Claim::PredicateType, content(provenance::predicate_type)),
        finding(Claim::Source, content(provenance::source)),
        finding(Claim::Builder, content(provenance::builder)),
        finding(Claim::Provenance, content(provenance::agrees)),
    ]);
    let fails = |outcome: &Outcome| matches!(outcome, Outcome::Refused(_) | Outcome::NotJudged(_));
    Report {
        verified: !claims.iter().any(|finding| fails(&finding.outcome)),
        artifact: artifact.name(),
        claims,
        identity: case.certificate().map(Identity::of),
        signed_at: timed.signed_at.map(Timestamp::to_rfc3339),
        statement: stated.ok().and_then(|stated| stated.statement).and_then(Result::ok),
    }
}

/// Checks a certificate before it is used for signing: issued under the trusted root, and logged if the root lists
/// issuance logs. Judged at the start of its life: it is for a key that this run made, so it cannot be an old one,
/// and a runner's clock a few seconds behind the authority's must not stop it.
pub(crate) fn check_issued(certificate: &Certificate, trust: &Keyring) -> Result<(), Refusal> {
    certificate::check_issued(certificate, trust)
}

fn finding(claim: Claim, result: Result<Outcome, Refusal>) -> Finding {
    Finding { claim, outcome: result.unwrap_or_else(Outcome::Refused) }
}

#[expect(clippy::unnecessary_wraps, reason = "the last word of a claim, which is a result")]
fn proven(detail: impl Into<String>) -> Result<Outcome, Refusal> {
    Ok(Outcome::Proven(detail.into()))
}

#[expect(clippy::unnecessary_wraps, reason = "the last word of a claim, which is a result")]
fn not_required(reason: impl Into<String>) -> Result<Outcome, Refusal> {
    Ok(Outcome::NotRequired(reason.into()))
}

/// A refusal for want of trust, with what the trusted root lists and we cannot read: it might be what is missing.
fn untrusted<T>(why: impl fmt::Display, list: &Listed<T>) -> Refusal {
    const SHOWN: usize = 3;
    let skipped = list.skipped();
    if skipped.is_empty() {
        return why.to_string();
    }
    let mut named: Vec<String> = skipped.iter().take(SHOWN).map(ToString::to_string).collect();
    if skipped.len() > SHOWN {
        named.push(format!("and {} more", skipped.len() - SHOWN));
    }
    format!("{why} (this version cannot use all that it lists: {})", named.join(", "))
}

/// What all claims are judged on.
struct Case<'a> {
    bundle: &'a Bundle,
    artifact: &'a Artifact,
    trust: &'a Keyring,
    policy: &'a Policy,
}

impl<'a> Case<'a> {
    fn certificate(&self) -> Option<&'a Certificate> {
        match &self.bundle.signer {
            SigningMaterial::Certificate(certificate) => Some(certificate),
            SigningMaterial::PublicKey { .. } => None,
        }
    }

    /// The key that must have signed: the certificate's, or the verifier's own. The bundle and the policy must
    /// speak of the same kind of signer.
    fn signing_key(&self) -> Result<&'a PublicKey, Refusal> {
        match (&self.bundle.signer, &self.policy.signer) {
            (SigningMaterial::Certificate(certificate), SignerPolicy::Certificate(_)) => {
                Ok(certificate.public_key())
            }
            (SigningMaterial::PublicKey { .. }, SignerPolicy::Key(key)) => Ok(key),
            (SigningMaterial::Certificate(_), SignerPolicy::Key(_)) => {
                Err("the bundle is signed with a certificate, but a key was expected".to_owned())
            }
            (SigningMaterial::PublicKey { .. }, SignerPolicy::Certificate(_)) => {
                Err("the bundle is signed with a key, but a certificate was expected".to_owned())
            }
        }
    }
}
