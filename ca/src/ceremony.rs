//! Making a root and an issuing CA: for a new instance, and the next issuing CA under a root that exists.
//!
//! The profile is fulcio's certificate specification: the root has no EKU, the issuing CA has code signing alone and
//! issues leaves only (path length 0). Both carry the same organization, because GitHub's verifier tells instances
//! apart by it and treats `sigstore.dev` as the public one.

use std::sync::Arc;
use std::time::Duration;

use chancery_tlog::certificate::Certificate;
use chancery_tlog::clock::{Clock, Timestamp};
use chancery_tlog::key::{KeyError, KeyKind, PublicKey, Signer, SoftwareSigner};
use rcgen::{DistinguishedName, DnType, SubjectPublicKeyInfo};

use crate::possession::{self, PossessionError};
use crate::profile::{self, ProfileError, SignerKey};

const DAY: Duration = Duration::from_hours(24);
/// The root's life: about ten years.
const ROOT_LIFETIME: Duration = Duration::from_secs(DAY.as_secs() * 3652);
/// The issuing CA's life: about three years.
const ISSUING_LIFETIME: Duration = Duration::from_secs(DAY.as_secs() * 1096);
/// Upper bound of X.520 for organization and common names.
const MAX_NAME: usize = 64;

const ROOT_NAME: &str = "Chancery Root CA";
const ISSUING_NAME: &str = "Chancery Code Signing CA";

/// Why no CA was made.
#[derive(Debug, thiserror::Error)]
pub enum CeremonyError {
    /// The name.
    #[error("the organization {0}")]
    Organization(&'static str),
    /// The kind of key.
    #[error("a CA key must be ECDSA P-256 or P-384, not {0}; sigstore-python verifies no Ed25519 CA")]
    KeyKind(KeyKind),
    /// Key generation.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Encoding or signing.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// The root cannot sign the next certificate.
    #[error("the root {0}")]
    Root(&'static str),
    /// The signing request.
    #[error("the signing request cannot be used: {0}")]
    Request(#[from] PossessionError),
}

/// A new root and issuing CA. Keep the root's key offline: it is needed only to make the next issuing CA.
pub struct Ceremony {
    /// The root's key.
    pub root_key: Arc<SoftwareSigner>,
    /// The root.
    pub root: Certificate,
    /// The issuing CA's key.
    pub issuing_key: Arc<SoftwareSigner>,
    /// The issuing CA.
    pub issuing: Certificate,
}

impl Ceremony {
    /// The chain as [`crate::Authority::load`] wants it: issuing CA first, root last.
    pub fn chain_pem(&self) -> String {
        self.issuing.to_pem() + &self.root.to_pem()
    }
}

/// Makes both keys and certificates, valid from now on.
pub fn make_root_and_intermediate(
    organization: &str,
    kind: KeyKind,
    clock: &dyn Clock,
) -> Result<Ceremony, CeremonyError> {
    check_organization(organization)?;
    check_kind(kind)?;
    let root_key = Arc::new(SoftwareSigner::generate(kind)?);
    let issuing_key = Arc::new(SoftwareSigner::generate(kind)?);
    let now = clock.now();

    let root = {
        let signer = SignerKey::new(root_key.clone());
        let extensions = profile::ca_extensions(root_key.public_key(), 1, None)?;
        let subject = name(organization, ROOT_NAME);
        let params =
            profile::params(subject, &profile::serial()?, (now, now.plus(ROOT_LIFETIME)), &extensions)?;
        let issuer = rcgen::Issuer::from_params(&params, signer);
        sign(&params, root_key.public_key(), &issuer)?
    };
    let issuing = make_intermediate(&root, root_key.clone(), issuing_key.public_key(), clock)?;
    Ok(Ceremony { root_key, root, issuing_key, issuing })
}

/// The certificate of an issuing CA with the key `key`, signed by a root that exists, in the root's organization. Valid from
/// now on, and no longer than the root.
pub fn make_intermediate(
    root: &Certificate,
    root_key: Arc<dyn Signer>,
    key: &PublicKey,
    clock: &dyn Clock,
) -> Result<Certificate, CeremonyError> {
    let (issuer, organization) = issuer(root, root_key, clock.now())?;
    check_kind(key.kind())?;
    let extensions = profile::ca_extensions(key, 0, Some(root.public_key()))?;
    let validity = (clock.now(), clock.now().plus(ISSUING_LIFETIME).min(root.not_after()));
    let name = name(&organization, ISSUING_NAME);
    let params = profile::params(name, &profile::serial()?, validity, &extensions)?;
    sign(&params, key, &issuer)
}

/// A root that signs at `now`, and its organization.
pub(crate) fn issuer(
    root: &Certificate,
    key: Arc<dyn Signer>,
    now: Timestamp,
) -> Result<(rcgen::Issuer<'static, SignerKey>, String), CeremonyError> {
    if key.public_key() != root.public_key() {
        return Err(CeremonyError::Root("has another key than the one that was given"));
    }
    if !root.is_valid_at(now) {
        return Err(CeremonyError::Root("is not valid now, so make a new one"));
    }
    let organization = root.subject_o_cn().0.ok_or(CeremonyError::Root("names no organization"))?;
    check_organization(&organization)?;
    let issuer = rcgen::Issuer::from_ca_cert_der(&root.der().to_vec().into(), SignerKey::new(key))
        .map_err(|_| CeremonyError::Root("has a name that cannot be written as an issuer's"))?;
    Ok((issuer, organization))
}

/// A PKCS #10 request, in PEM, for the certificate of `key`. Who signs it decides about everything but the key.
pub fn signing_request(key: Arc<dyn Signer>) -> Result<String, CeremonyError> {
    let params = rcgen::CertificateParams::default();
    let request = params
        .serialize_request(&SignerKey::new(key))
        .and_then(|request| request.pem())
        .map_err(|error| ProfileError::Sign(error.to_string()))?;
    Ok(request)
}

/// The key of a request that [`signing_request`] or another tool made, whose signature verifies.
pub fn requested_key(pem: &str) -> Result<PublicKey, CeremonyError> {
    let proven = possession::verify_signing_request(pem.as_bytes())?;
    Ok(proven.public_key().clone())
}

pub(crate) fn check_kind(kind: KeyKind) -> Result<(), CeremonyError> {
    match kind {
        KeyKind::EcdsaP256 | KeyKind::EcdsaP384 => Ok(()),
        _ => Err(CeremonyError::KeyKind(kind)),
    }
}

/// Signs a certificate for `key`.
pub(crate) fn sign(
    params: &rcgen::CertificateParams,
    key: &PublicKey,
    issuer: &rcgen::Issuer<'_, SignerKey>,
) -> Result<Certificate, CeremonyError> {
    let key = SubjectPublicKeyInfo::from_der(key.spki_der()).map_err(|e| ProfileError::Key(e.to_string()))?;
    let certificate = params.signed_by(&key, issuer).map_err(|e| ProfileError::Sign(e.to_string()))?;
    Ok(Certificate::from_der(certificate.der()).map_err(|e| ProfileError::Sign(e.to_string()))?)
}

/// The subject of a certificate of this organization.
pub(crate) fn name(organization: &str, common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, organization);
    name.push(DnType::CommonName, common_name);
    name
}

pub(crate) fn check_organization(organization: &str) -> Result<(), CeremonyError> {
    if organization.trim().is_empty() || organization.chars().count() > MAX_NAME {
        return Err(CeremonyError::Organization("must have 1 to 64 characters"));
    }
    if organization.chars().any(char::is_control) {
        return Err(CeremonyError::Organization("must not contain control characters"));
    }
    if organization.eq_ignore_ascii_case("sigstore.dev") {
        return Err(CeremonyError::Organization(
            "must not be `sigstore.dev`: that name is the public instance's",
        ));
    }
    Ok(())
}
