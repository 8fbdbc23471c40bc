//! Making a root and a timestamping certificate for a new instance.
//!
//! The profile is that of timestamp-authority `pkg/x509`: a root, and under it a leaf whose one extended key usage is
//! timestamping, critical. There is no issuing CA between them: the root signs one leaf in years, and stays offline.

use std::sync::Arc;
use std::time::Duration;

use chancery_tlog::certificate::{Certificate, oid};
use chancery_tlog::clock::{Clock, Timestamp};
use chancery_tlog::key::{KeyKind, PublicKey, Signer, SoftwareSigner};
use rcgen::{CertificateParams, DistinguishedName, DnType, Issuer, SubjectPublicKeyInfo};

use crate::ceremony::{CeremonyError, check_organization};
use crate::der;
use crate::profile::{self, Extension, ProfileError, SignerKey};

/// The root's life: about ten years, as the CA's.
const ROOT_LIFETIME: Duration = Duration::from_hours(24 * 3652);
/// The leaf's life: about five. Timestamps outlive it, because they are judged at their own time.
const LEAF_LIFETIME: Duration = Duration::from_hours(24 * 1826);

const ROOT_NAME: &str = "Chancery Timestamp Root";
const LEAF_NAME: &str = "Chancery Timestamp Authority";

const KEY_USAGE: &str = "2.5.29.15";
const EXTENDED_KEY_USAGE: &str = "2.5.29.37";
const SUBJECT_KEY_IDENTIFIER: &str = "2.5.29.14";
const AUTHORITY_KEY_IDENTIFIER: &str = "2.5.29.35";

/// A new timestamp authority. Keep the root's key offline: it is needed only to make the next leaf.
pub struct TimestampCeremony {
    /// The root's key.
    pub root_key: Arc<SoftwareSigner>,
    /// The root.
    pub root: Certificate,
    /// The authority's key.
    pub key: Arc<SoftwareSigner>,
    /// Its certificate.
    pub leaf: Certificate,
}

impl TimestampCeremony {
    /// The chain as [`super::TimestampAuthority::load`] wants it: leaf first, root last.
    pub fn chain_pem(&self) -> String {
        self.leaf.to_pem() + &self.root.to_pem()
    }
}

/// Makes both keys and certificates, valid from now on.
pub fn make_timestamp_authority(
    organization: &str,
    kind: KeyKind,
    clock: &dyn Clock,
) -> Result<TimestampCeremony, CeremonyError> {
    check_organization(organization)?;
    if !matches!(kind, KeyKind::EcdsaP256 | KeyKind::EcdsaP384) {
        return Err(CeremonyError::KeyKind(kind));
    }
    let (root_key, key) =
        (Arc::new(SoftwareSigner::generate(kind)?), Arc::new(SoftwareSigner::generate(kind)?));
    let now = clock.now();

    let extensions = profile::ca_extensions(root_key.public_key(), 0, None)?;
    let params = params(organization, ROOT_NAME, (now, now.plus(ROOT_LIFETIME)), &extensions)?;
    let issuer = Issuer::new(params.clone(), SignerKey::new(root_key.clone()));
    let root = sign(&params, root_key.public_key(), &issuer)?;

    let extensions = leaf_extensions(key.public_key(), root_key.public_key())?;
    let params = self::params(organization, LEAF_NAME, (now, now.plus(LEAF_LIFETIME)), &extensions)?;
    let leaf = sign(&params, key.public_key(), &issuer)?;
    Ok(TimestampCeremony { root_key, root, key, leaf })
}

fn leaf_extensions(key: &PublicKey, issuer: &PublicKey) -> Result<Vec<Extension>, ProfileError> {
    let usage = der::object_identifier(oid::TIME_STAMPING)
        .ok_or_else(|| ProfileError::Name(oid::TIME_STAMPING.to_owned()))?;
    let issuer = der::tlv(0x80, &profile::key_identifier(issuer));
    Ok(vec![
        // digitalSignature: one used bit, seven unused.
        Extension::new(KEY_USAGE, true, vec![0x03, 0x02, 0x07, 0x80]),
        Extension::new(EXTENDED_KEY_USAGE, true, der::sequence(&[usage])),
        Extension::new(SUBJECT_KEY_IDENTIFIER, false, der::octet_string(&profile::key_identifier(key))),
        Extension::new(AUTHORITY_KEY_IDENTIFIER, false, der::sequence(&[issuer])),
    ])
}

fn params(
    organization: &str,
    common_name: &str,
    validity: (Timestamp, Timestamp),
    extensions: &[Extension],
) -> Result<CertificateParams, ProfileError> {
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, organization);
    name.push(DnType::CommonName, common_name);
    profile::params(name, &profile::serial()?, validity, extensions)
}

fn sign(
    params: &CertificateParams,
    key: &PublicKey,
    issuer: &Issuer<'_, SignerKey>,
) -> Result<Certificate, ProfileError> {
    let key = SubjectPublicKeyInfo::from_der(key.spki_der()).map_err(|e| ProfileError::Key(e.to_string()))?;
    let certificate = params.signed_by(&key, issuer).map_err(|e| ProfileError::Sign(e.to_string()))?;
    Certificate::from_der(certificate.der()).map_err(|e| ProfileError::Sign(e.to_string()))
}
