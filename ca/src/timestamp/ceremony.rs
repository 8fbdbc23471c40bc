//! Making a root and a timestamping certificate: for a new instance, and the next certificate under a root that exists.
//!
//! The profile is that of timestamp-authority `pkg/x509`: a root, and under it a leaf whose one extended key usage is
//! timestamping, critical. There is no issuing CA between them: the root signs one leaf in years, and stays offline.

use std::sync::Arc;
use std::time::Duration;

use chancery_tlog::certificate::{Certificate, oid};
use chancery_tlog::clock::Clock;
use chancery_tlog::key::{KeyKind, PublicKey, Signer, SoftwareSigner};
use rcgen::Issuer;

use crate::ceremony::{CeremonyError, check_kind, check_organization, issuer, name, sign};
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
    check_kind(kind)?;
    let (root_key, key) =
        (Arc::new(SoftwareSigner::generate(kind)?), Arc::new(SoftwareSigner::generate(kind)?));
    let now = clock.now();

    let extensions = profile::ca_extensions(root_key.public_key(), 0, None)?;
    let validity = (now, now.plus(ROOT_LIFETIME));
    let subject = name(organization, ROOT_NAME);
    let params = profile::params(subject, &profile::serial()?, validity, &extensions)?;
    let issuer = Issuer::new(params.clone(), SignerKey::new(root_key.clone()));
    let root = sign(&params, root_key.public_key(), &issuer)?;

    let leaf = make_timestamp_certificate(&root, root_key.clone(), key.public_key(), clock)?;
    Ok(TimestampCeremony { root_key, root, key, leaf })
}

/// The certificate of a timestamp authority with the key `key`, signed by a root that exists, in the root's organization.
/// Valid from now on, and no longer than the root.
pub fn make_timestamp_certificate(
    root: &Certificate,
    root_key: Arc<dyn Signer>,
    key: &PublicKey,
    clock: &dyn Clock,
) -> Result<Certificate, CeremonyError> {
    let (issuer, organization) = issuer(root, root_key, clock.now())?;
    check_kind(key.kind())?;
    let extensions = leaf_extensions(key, root.public_key())?;
    let validity = (clock.now(), clock.now().plus(LEAF_LIFETIME).min(root.not_after()));
    let subject = name(&organization, LEAF_NAME);
    let params = profile::params(subject, &profile::serial()?, validity, &extensions)?;
    sign(&params, key, &issuer)
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
