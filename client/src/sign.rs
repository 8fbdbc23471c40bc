//! Signing: a certificate from the authority, a signature, timestamps of it, log entries, a bundle, and the proof that
//! it verifies.
//!
//! Nothing that a service answers is believed. The certificate is checked against the pinned root before the key
//! signs anything, each timestamp before a log entry stands for good, and a bundle is handed out only after the
//! verifier that everybody uses has accepted it.

use chancery_tlog::certificate::Certificate;
use chancery_tlog::clock::Clock;
use chancery_tlog::fulcio;
use chancery_tlog::key::HashAlgorithm;

use crate::artifact::Artifact;
use crate::bundle::{Bundle, Content, MessageSignature, SigningMaterial, Version};
use crate::dsse::{self, Envelope};
use crate::ephemeral::{EphemeralKey, EphemeralKeyError};
use crate::fulcio::{FulcioError, request_certificate};
use crate::guard::Guard;
use crate::identity_token::IdentityToken;
use crate::instance::{Dialect, Instance, InstanceError, Services};
use crate::rekor::{self, ProposedEntry, RekorError};
use crate::rekor_v2::{self, HashedRekordRequest};
use crate::slsa::Provenance;
use crate::statement::{Statement, StatementError};
use crate::timestamp::{self, TimestampingError};
use crate::verify::{self, Identity, NameRule, Policy, Report};

/// Why nothing was signed, or what was signed is not handed out.
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
    /// A log.
    #[error(transparent)]
    Rekor(#[from] RekorError),
    /// The key.
    #[error(transparent)]
    Key(#[from] EphemeralKeyError),
    /// The statement.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// The certificate is not what it should be; nothing was signed.
    #[error("the certificate that came back is not used: {0}")]
    Certificate(String),
    /// The statement says something else than the certificate; nothing was signed.
    #[error("the provenance would name builder `{stated}`, but the certificate is for `{certified}`")]
    Builder {
        /// In the provenance.
        stated: String,
        /// In the certificate.
        certified: String,
    },
    /// The artifact has no SHA-256 digest.
    #[error("signing needs the artifact's SHA-256")]
    NoSha256,
    /// What was made does not verify.
    #[error("the bundle that was made does not verify, so it is not handed out: {0}")]
    Unverifiable(String),
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
        verify::check_issued(&certificate, &instance.trust).map_err(SigningError::Certificate)?;
        let (name, issuer) = named(&certificate, token).map_err(SigningError::Certificate)?;
        Ok(Self { instance, services, guard, clock, key, certificate, name, issuer })
    }

    /// Whom the certificate names.
    pub fn identity(&self) -> Identity {
        Identity::of(&self.certificate)
    }

    /// Signs a statement.
    pub async fn attest(&self, statement: &Statement) -> Result<Bundle, SigningError> {
        self.check_builder(statement)?;
        let payload = statement.encode()?;
        let digest = HashAlgorithm::Sha256.digest(&dsse::pae(dsse::IN_TOTO, &payload));
        let signature = self.key.sign_digest(&digest)?;
        self.bundle(Content::Envelope(Envelope::new(dsse::IN_TOTO, payload, signature)), &digest).await
    }

    /// Signs an artifact.
    pub async fn sign(&self, artifact: &Artifact) -> Result<Bundle, SigningError> {
        let digest = artifact.digest(HashAlgorithm::Sha256).ok_or(SigningError::NoSha256)?;
        let signature = self.key.sign_digest(digest)?;
        let named = Some((HashAlgorithm::Sha256, digest.to_vec()));
        self.bundle(Content::Message(MessageSignature { digest: named, signature }), digest).await
    }

    /// Verifies a bundle that this session made as everybody would, for one of its artifacts; what that found.
    pub fn check(&self, bundle: &Bundle, artifact: &Artifact) -> Result<Report, SigningError> {
        let mut policy = Policy::identity(NameRule::Exact(self.name.clone()), &self.issuer);
        if matches!(bundle.content, Content::Envelope(_)) {
            policy = policy.with_builder(&self.name);
        }
        let report = verify::verify(bundle, artifact, Some(&self.instance.trust), &policy, self.clock);
        if report.verified {
            return Ok(report);
        }
        let refusals: Vec<String> =
            report.refusals().map(|(claim, why)| format!("{}: {why}", claim.title())).collect();
        Err(SigningError::Unverifiable(refusals.join("; ")))
    }

    /// Timestamps first: a log entry cannot be taken back.
    async fn bundle(&self, content: Content, digest: &[u8]) -> Result<Bundle, SigningError> {
        let signer = SigningMaterial::Certificate(Box::new(self.certificate.clone()));
        let (entries, timestamps) = (Vec::new(), Vec::new());
        let mut bundle = Bundle { version: Version::V0_3, signer, entries, timestamps, content };
        for authority in &self.services.timestamp_authorities {
            let stamp = timestamp::stamp(self.guard, authority, bundle.signature(), &self.instance.trust);
            bundle.timestamps.push(stamp.await?);
        }
        for log in &self.services.logs {
            let entry = match log.dialect {
                Dialect::RekorV1 => {
                    let proposed = self.proposed(&bundle.content, digest);
                    rekor::add(self.guard, &log.url, &proposed).await?
                }
                Dialect::RekorV2 => {
                    let request = HashedRekordRequest::new(digest, bundle.signature(), &self.certificate);
                    rekor_v2::add(self.guard, &log.url, &request).await?
                }
            };
            bundle.entries.push(entry);
        }
        Ok(bundle)
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

    /// A builder id is the certificate's name, or the pair would mean nothing to a verifier.
    fn check_builder(&self, statement: &Statement) -> Result<(), SigningError> {
        match Provenance::read(statement) {
            Ok(Some(provenance)) if provenance.builder != self.name => {
                Err(SigningError::Builder { stated: provenance.builder, certified: self.name.clone() })
            }
            _ => Ok(()),
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
