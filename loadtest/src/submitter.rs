//! A CI job that signs: a key, and a certificate as large as those that GitHub workflows get.
//!
//! The certificate's authority is forgotten at once. Rekor's logs check no chains, so its bytes are all that counts; for
//! a log that takes only certificates of its own authority, one of those is used instead.

use anyhow::{Context as _, Result};
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use chancery_tlog::certificate::Certificate;
use chancery_tlog::clock::{Clock, SystemClock};
use chancery_tlog::fulcio;
use chancery_tlog::key::{KeyKind, Signer as _, SoftwareSigner};
use chancery_tlog::merkle::Hash;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType, SerialNumber, SubjectPublicKeyInfo,
};
use time::OffsetDateTime;

/// The embedded list of one signed certificate timestamp, which this certificate has for its size only.
const SCT_LIST: &[u64] = &[1, 3, 6, 1, 4, 1, 11_129, 2, 4, 2];

/// A signature over an artifact that nobody has signed before.
#[derive(Clone, Debug)]
pub(crate) struct Signed {
    /// SHA-256 of the artifact.
    pub(crate) digest: [u8; 32],
    /// ECDSA P-256, DER.
    pub(crate) signature: Vec<u8>,
}

/// Signs artifacts, each one once.
pub(crate) struct Submitter {
    signer: SoftwareSigner,
    certificate: Certificate,
    run: [u8; 16],
}

impl Submitter {
    /// One with a fresh key and a certificate of nobody's.
    pub(crate) fn new() -> Result<Self> {
        let signer = SoftwareSigner::generate(KeyKind::EcdsaP256)?;
        let certificate = certificate(&signer).context("cannot make a certificate")?;
        Self::certified(signer, certificate)
    }

    /// One whose key an authority has certified.
    pub(crate) fn certified(signer: SoftwareSigner, certificate: Certificate) -> Result<Self> {
        Ok(Self { signer, certificate, run: random()? })
    }

    /// Its certificate.
    pub(crate) fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// Signs artifact number `n` of this run.
    pub(crate) fn sign(&self, n: u64) -> Result<Signed> {
        let artifact = [self.run.as_slice(), &n.to_be_bytes()].concat();
        let digest = *Hash::digest(&artifact).as_bytes();
        Ok(Signed { digest, signature: self.signer.sign(&artifact)? })
    }
}

/// Random bytes.
pub(crate) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).ok().context("the system gives no randomness")?;
    Ok(bytes)
}

/// A certificate of a workflow whose repository has names of ordinary length.
fn certificate(signer: &SoftwareSigner) -> Result<Certificate> {
    let now = OffsetDateTime::from_unix_timestamp(i64::try_from(SystemClock.now().seconds())?)?;
    let authority_key = KeyPair::generate()?;
    let mut authority = CertificateParams::default();
    authority.distinguished_name = name();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);

    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.serial_number = Some(SerialNumber::from_slice(&random::<19>()?));
    params.not_before = now;
    params.not_after = now + time::Duration::minutes(10);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
    params.use_authority_key_identifier_extension = true;
    params.subject_alt_names = vec![SanType::URI(WORKFLOW.try_into()?)];
    params.custom_extensions = extensions()?;
    let key = SubjectPublicKeyInfo::from_der(signer.public_key().spki_der())?;
    let issuer = Issuer::from_params(&authority, &authority_key);
    Ok(Certificate::from_der(params.signed_by(&key, &issuer)?.der())?)
}

fn name() -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, "sigstore.example");
    name.push(DnType::CommonName, "sigstore-intermediate");
    name
}

const WORKFLOW: &str = "https://github.com/acme-industries/rocket-flight-telemetry-service/.github/workflows/release-and-publish.yml@refs/tags/v2026.11.3";
const REPOSITORY: &str = "https://github.com/acme-industries/rocket-flight-telemetry-service";
const COMMIT: &str = "3f8a1c5d9e7b2046f1a8c3d5e7092b4d6f8a1c3e";

/// What Fulcio writes into a certificate of a GitHub workflow, old extensions and new, and a list of one SCT.
fn extensions() -> Result<Vec<CustomExtension>> {
    let provider = "https://token.actions.githubusercontent.com";
    let run = format!("{REPOSITORY}/actions/runs/17345678901/attempts/1");
    let texts = [
        (1, provider),
        (2, "push"),
        (3, COMMIT),
        (4, "Release"),
        (5, "acme-industries/rocket-flight-telemetry-service"),
        (6, "refs/tags/v2026.11.3"),
        (8, provider),
        (9, WORKFLOW),
        (10, COMMIT),
        (11, "github-hosted"),
        (12, REPOSITORY),
        (13, COMMIT),
        (14, "refs/tags/v2026.11.3"),
        (15, "741234567"),
        (16, "https://github.com/acme-industries"),
        (17, "99191234"),
        (18, WORKFLOW),
        (19, COMMIT),
        (20, "push"),
        (21, &run),
        (22, "private"),
        (24, "repo:acme-industries/rocket-flight-telemetry-service:ref:refs/tags/v2026.11.3"),
    ];
    let mut extensions = Vec::with_capacity(texts.len() + 1);
    for (number, text) in texts {
        let definition = fulcio::definition(number).context("an extension of Fulcio's")?;
        let id = [1, 3, 6, 1, 4, 1, 57_264, 1, u64::from(number)];
        extensions.push(CustomExtension::from_oid_content(&id, fulcio::encode(definition, text)));
    }
    extensions.push(CustomExtension::from_oid_content(SCT_LIST, random::<124>()?.to_vec()));
    Ok(extensions)
}

#[cfg(test)]
mod tests {
    use chancery_tlog::key::HashAlgorithm;

    use super::*;

    #[test]
    fn the_certificate_has_the_size_of_a_github_workflows() {
        let size = Submitter::new().unwrap().certificate().der().len();
        assert!((1900..2200).contains(&size), "{size}");
    }

    #[test]
    fn every_number_gives_another_artifact_and_a_good_signature() {
        let submitter = Submitter::new().unwrap();
        let (one, two) = (submitter.sign(1).unwrap(), submitter.sign(2).unwrap());
        assert_ne!(one.digest, two.digest);
        let key = submitter.certificate().public_key();
        key.verify_digest(HashAlgorithm::Sha256, &one.digest, &one.signature).unwrap();
        let other_run = Submitter::new().unwrap().sign(1).unwrap();
        assert_ne!(one.digest, other_run.digest);
    }
}
