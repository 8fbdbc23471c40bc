//! Signing: a certificate from the authority, a signature, timestamps of it, log entries, a bundle, and the proof that
//! it verifies.
//!
//! Nothing that a service answers is believed. The certificate is checked against the pinned root before the key
//! signs anything. Everything else that a verifier will judge, but the log entries themselves, is verified before the
//! first log sees the signature, since an entry cannot be taken back.
//!
//! Invariant: a [`SigningError`] means that no log has the signature. As soon as one has it, or may have it, the bundle
//! is in a [`Signed`] as far as it goes, with the [`Flaw`] that it may have: no failure after that loses it.

use std::fmt;

use chancery_tlog::certificate::Certificate;
use chancery_tlog::clock::{Clock, FixedClock};
use chancery_tlog::fulcio;
use chancery_tlog::key::HashAlgorithm;
use chancery_tlog::trust::{Keyring, Listed};

use crate::artifact::Artifact;
use crate::bundle::{Bundle, Content, LogEntry, MessageSignature, SigningMaterial, Version};
use crate::dsse::{self, Envelope};
use crate::ephemeral::{EphemeralKey, EphemeralKeyError};
use crate::fulcio::{FulcioError, request_certificate};
use crate::guard::{Answered, Guard, RequestId};
use crate::identity_token::IdentityToken;
use crate::instance::{Dialect, Instance, InstanceError, LogService, Services};
use crate::rekor::{self, ProposedEntry, RekorError};
use crate::rekor_v2::{self, HashedRekordRequest};
use crate::statement::{Statement, StatementError};
use crate::timestamp::{self, TimestampingError};
use crate::verify::{self, Claim, Identity, NameRule, Policy, Report};

/// Why nothing was signed, or nothing was logged of what was signed.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    /// The instance.
    #[error(transparent)]
    Instance(#[from] InstanceError),
    /// The certificate authority.
    #[error(transparent)]
    Fulcio(#[from] FulcioError),
    /// A timestamp authority.
    #[error(transparent)]
    Timestamp(#[from] TimestampingError),
    /// A log, which has certainly not taken the entry.
    #[error(transparent)]
    Rekor(#[from] RekorError),
    /// The key.
    #[error(transparent)]
    Key(#[from] EphemeralKeyError),
    /// The statement.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// The certificate is not what it should be; nothing was signed.
    #[error("the certificate that came back is not used: {0}{1}")]
    Certificate(String, RequestId),
    /// The artifact has no SHA-256 digest.
    #[error("signing needs the artifact's SHA-256")]
    NoSha256,
    /// A verifier would refuse the bundle, whatever the logs answer.
    #[error("the bundle would not verify, so nothing was logged: {0}")]
    Unverifiable(Refusals),
}

/// A signature that a log has, or may have.
#[derive(Debug)]
#[must_use = "a log entry cannot be taken back: keep the bundle, whatever is wrong with it"]
pub struct Signed {
    /// The bundle, with the log entries that there are.
    pub bundle: Bundle,
    /// If the bundle is complete and verifies: when it was signed (RFC 3339), as far as anyone trusted says so.
    pub outcome: Result<Option<String>, Flaw>,
}

/// What is wrong with a signature that a log has, or may have.
#[derive(Debug, thiserror::Error)]
pub enum Flaw {
    /// The first log does not say whether it took the signature.
    #[error("the signature may be logged: {} did not answer understandably: {error}", log.url)]
    Unknown {
        /// The log.
        log: LogService,
        /// What came instead of an answer.
        error: RekorError,
    },
    /// A log took the signature, and a further one did not, or does not say so.
    #[error("the signature is logged in {logged} of {wanted} logs, but not in {}: {error}", log.url)]
    Incomplete {
        /// How many logs have it.
        logged: usize,
        /// How many should have it.
        wanted: usize,
        /// The log that failed.
        log: LogService,
        /// How.
        error: RekorError,
    },
    /// The logs took it, and a verifier would refuse what they answered.
    #[error("the signature is logged, but its bundle does not verify: {0}{answers}", answers = listed(.1))]
    Unverifiable(Refusals, Vec<RequestId>),
}

fn listed(answers: &[RequestId]) -> String {
    answers.iter().map(RequestId::to_string).collect()
}

/// Why a verifier refuses a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusals(Vec<(Option<Claim>, String)>);

impl Refusals {
    fn of(report: &Report) -> Self {
        Self(report.refusals().map(|(claim, why)| (Some(claim), why.to_owned())).collect())
    }

    /// Whether this claim is refused.
    pub fn has(&self, claim: Claim) -> bool {
        self.0.iter().any(|(refused, _)| *refused == Some(claim))
    }
}

impl fmt::Display for Refusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (claim, why)) in self.0.iter().enumerate() {
            let separator = if i == 0 { "" } else { "; " };
            let title = claim.map(|claim| format!("{}: ", claim.title())).unwrap_or_default();
            write!(f, "{separator}{title}{why}")?;
        }
        Ok(())
    }
}

/// A signer with its certificate, good for the certificate's few minutes.
pub struct Session<'a> {
    instance: &'a Instance,
    services: &'a Services,
    guard: &'a Guard,
    clock: &'a dyn Clock,
    key: EphemeralKey,
    certificate: Certificate,
    name: String,
    issuer: String,
}

impl<'a> Session<'a> {
    /// Gets a certificate for the token's subject, and checks it: for our key, issued under the pinned root, logged
    /// if the root lists issuance logs, in the name and by the provider that the token says.
    pub async fn open(
        instance: &'a Instance,
        services: &'a Services,
        guard: &'a Guard,
        clock: &'a dyn Clock,
        token: &IdentityToken,
    ) -> Result<Self, SigningError> {
        let key = EphemeralKey::generate()?;
        let certificate = request_certificate(guard, &services.authority, token, &key).await;
        let certificate = certificate.map_err(|error| error.with_doubt(token.doubt(clock.now())))?;
        let Answered { value: certificate, request } = certificate;
        let checked = verify::check_issued(&certificate, &instance.trust);
        let named = checked.and_then(|()| named(&certificate, token));
        let (name, issuer) = named.map_err(|why| SigningError::Certificate(why, request))?;
        Ok(Self { instance, services, guard, clock, key, certificate, name, issuer })
    }

    /// Whom the certificate names.
    pub fn identity(&self) -> Identity {
        Identity::of(&self.certificate)
    }

    /// Signs a statement about `artifacts`.
    pub async fn attest(
        &self,
        statement: &Statement,
        artifacts: &[Artifact],
    ) -> Result<Signed, SigningError> {
        let payload = statement.encode()?;
        let digest = HashAlgorithm::Sha256.digest(&dsse::pae(dsse::IN_TOTO, &payload));
        let signature = self.key.sign_digest(&digest)?;
        let content = Content::Envelope(Envelope::new(dsse::IN_TOTO, payload, signature));
        self.complete(content, &digest, artifacts).await
    }

    /// Signs an artifact.
    pub async fn sign(&self, artifact: &Artifact) -> Result<Signed, SigningError> {
        let digest = artifact.digest(HashAlgorithm::Sha256).ok_or(SigningError::NoSha256)?;
        let signature = self.key.sign_digest(digest)?;
        let named = Some((HashAlgorithm::Sha256, digest.to_vec()));
        let content = Content::Message(MessageSignature { digest: named, signature });
        self.complete(content, digest, std::slice::from_ref(artifact)).await
    }

    /// Timestamps, the check of all that logs have no part in, log entries, and the check of all.
    async fn complete(
        &self,
        content: Content,
        digest: &[u8],
        artifacts: &[Artifact],
    ) -> Result<Signed, SigningError> {
        let mut bundle = self.stamped(content).await?;
        if self.services.logs.is_empty() {
            let outcome = self.check(&bundle, artifacts, &self.instance.trust, self.clock);
            return Ok(Signed { outcome: Ok(outcome.map_err(SigningError::Unverifiable)?), bundle });
        }
        self.check_unlogged(&bundle, artifacts).map_err(SigningError::Unverifiable)?;
        let outcome = match self.log(&mut bundle, digest).await? {
            Err(flaw) => Err(flaw),
            Ok(answers) => self
                .check(&bundle, artifacts, &self.instance.trust, self.clock)
                .map_err(|refusals| Flaw::Unverifiable(refusals, answers)),
        };
        Ok(Signed { bundle, outcome })
    }

    /// The bundle without log entries.
    async fn stamped(&self, content: Content) -> Result<Bundle, SigningError> {
        let signer = SigningMaterial::Certificate(Box::new(self.certificate.clone()));
        let (entries, timestamps) = (Vec::new(), Vec::new());
        let mut bundle = Bundle { version: Version::V0_3, signer, entries, timestamps, content };
        for authority in &self.services.timestamp_authorities {
            let (signature, trust) = (bundle.signature(), &self.instance.trust);
            let stamp = timestamp::stamp(self.guard, authority, signature, &self.certificate, trust);
            bundle.timestamps.push(stamp.await?);
        }
        Ok(bundle)
    }

    /// Verifies a bundle that no log has seen for everything that its entries will not change.
    fn check_unlogged(&self, bundle: &Bundle, artifacts: &[Artifact]) -> Result<(), Refusals> {
        let mut trust = Keyring { logs: Listed::default(), ..self.instance.trust.clone() };
        if bundle.timestamps.is_empty() {
            // The log will say when. Until then the certificate is judged at the start of its life, as when it came.
            trust.timestamp_authorities = Listed::default();
        }
        let clock = FixedClock::new(self.certificate.not_before());
        self.check(bundle, artifacts, &trust, &clock).map(drop)
    }

    /// Verifies a bundle that this session made as everyone would, as it will be read; when it was signed.
    fn check(
        &self,
        bundle: &Bundle,
        artifacts: &[Artifact],
        trust: &Keyring,
        clock: &dyn Clock,
    ) -> Result<Option<String>, Refusals> {
        let mut policy = Policy::identity(NameRule::Exact(self.name.clone()), &self.issuer);
        if matches!(bundle.content, Content::Envelope(_)) {
            policy = policy.with_builder(&self.name);
        }
        let read = Bundle::parse(bundle.to_json().as_bytes());
        let read = read.map_err(|error| Refusals(vec![(None, error.to_string())]))?;
        let mut signed_at = None;
        for artifact in artifacts {
            let report = verify::verify(&read, artifact, Some(trust), &policy, clock);
            if !report.verified {
                return Err(Refusals::of(&report));
            }
            signed_at = report.signed_at;
        }
        Ok(signed_at)
    }

    /// Adds the entries of all logs. Returns the ids of the requests for them.
    ///
    /// # Errors
    /// The first log has certainly not taken the signature. Any later failure is a flaw of what is logged.
    async fn log(
        &self,
        bundle: &mut Bundle,
        digest: &[u8],
    ) -> Result<Result<Vec<RequestId>, Flaw>, RekorError> {
        let mut answers = Vec::new();
        for log in &self.services.logs {
            let (log, error) = match self.add(log, bundle, digest).await {
                Ok(Answered { value: entry, request }) => {
                    bundle.entries.push(entry);
                    answers.push(request);
                    continue;
                }
                Err(error) => (log.clone(), error),
            };
            let (logged, wanted) = (bundle.entries.len(), self.services.logs.len());
            return match logged {
                0 if !error.may_be_logged() => Err(error),
                0 => Ok(Err(Flaw::Unknown { log, error })),
                _ => Ok(Err(Flaw::Incomplete { logged, wanted, log, error })),
            };
        }
        Ok(Ok(answers))
    }

    async fn add(
        &self,
        log: &LogService,
        bundle: &Bundle,
        digest: &[u8],
    ) -> Result<Answered<LogEntry>, RekorError> {
        match log.dialect {
            Dialect::RekorV1 => {
                let proposed = self.proposed(&bundle.content, digest);
                rekor::add(self.guard, &log.url, &proposed).await
            }
            Dialect::RekorV2 => {
                let request = HashedRekordRequest::new(digest, bundle.signature(), &self.certificate);
                rekor_v2::add(self.guard, &log.url, &request).await
            }
        }
    }

    /// What a Rekor v1 log gets: the artifact's digest with its signature, or the envelope.
    fn proposed(&self, content: &Content, digest: &[u8]) -> ProposedEntry {
        match content {
            Content::Message(message) => {
                ProposedEntry::hashedrekord(digest, &message.signature, &self.certificate)
            }
            Content::Envelope(envelope) => ProposedEntry::dsse(envelope, &self.certificate),
        }
    }
}

/// The certificate's name and provider, if they are the token's.
fn named(certificate: &Certificate, token: &IdentityToken) -> Result<(String, String), String> {
    let [name] = certificate.subject_names() else {
        return Err("it does not have exactly one subject name".to_owned());
    };
    let issuer = fulcio::issuer(certificate).ok_or("it does not say which provider vouches for its name")?;
    let claims = token.claims();
    // With `issuer-claim` (Dex) a provider names the one behind it, so only CI tokens are held to `iss`.
    if claims.text("email").is_none() && claims.text("iss") != Some(issuer.as_str()) {
        return Err(format!("provider `{issuer}` is not the token's"));
    }
    if let Some(email) = claims.text("email").filter(|_| claims.is_true("email_verified"))
        && name.value().contains('@')
        && !name.value().contains("://")
        && name.value() != email
    {
        return Err(format!("it is for `{}`, not the token's `{email}`", name.value()));
    }
    if let Some(job) = claims.text("job_workflow_ref")
        && !name.value().ends_with(&format!("/{job}"))
    {
        return Err(format!("it is for `{}`, not the token's job `{job}`", name.value()));
    }
    Ok((name.value().to_owned(), issuer))
}
