//! The certificate profile: what stands in a leaf, a precertificate, an issuing CA and a root, byte for byte.
//!
//! Invariant: the precertificate and the certificate of one [`Leaf`] differ only in their last extension (poison or
//! SCT list). That is so because both are made from the same [`Leaf`] by the same function. All extensions are given
//! to rcgen as custom ones: its own would come in another order than Fulcio's. References: fulcio
//! `docs/certificate-specification.md`, architecture-docs `fulcio-spec.md` §7.3, RFC 5280 §4.2, RFC 6962 §3.1.

use std::borrow::{Borrow, Cow};

use chancery_tlog::certificate::{SubjectName, oid};
use chancery_tlog::clock::Timestamp;
use chancery_tlog::ct::Sct;
use chancery_tlog::fulcio;
use chancery_tlog::key::{KeyKind, PublicKey, Signer};
use rcgen::{
    CertificateParams, CustomExtension, DistinguishedName, PublicKeyData, SerialNumber, SignatureAlgorithm,
    SigningKey, SubjectPublicKeyInfo,
};

use crate::der;
use crate::principal::Principal;

/// How long a certificate is valid. Fixed, as in Fulcio: clients and documents rely on it.
pub const LIFETIME: std::time::Duration = std::time::Duration::from_mins(10);
/// Serial numbers: 159 random bits (RFC 5280 §4.1.2.2 allows 20 bytes and wants them positive).
const SERIAL_LEN: usize = 20;

const KEY_USAGE: &str = "2.5.29.15";
const EXTENDED_KEY_USAGE: &str = "2.5.29.37";
const SUBJECT_KEY_IDENTIFIER: &str = "2.5.29.14";
const AUTHORITY_KEY_IDENTIFIER: &str = "2.5.29.35";
const SUBJECT_ALTERNATIVE_NAME: &str = "2.5.29.17";
const BASIC_CONSTRAINTS: &str = "2.5.29.19";

/// A certificate that cannot be built. None of these is the requester's fault.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// A name that the profile has no encoding for.
    #[error("the name `{0}` cannot be encoded")]
    Name(String),
    /// The public key's algorithm is unknown to the encoder.
    #[error("the public key cannot be encoded: {0}")]
    Key(String),
    /// The CA's key did not sign, or encoding failed.
    #[error("the certificate cannot be signed: {0}")]
    Sign(String),
    /// No randomness.
    #[error("no random serial number could be drawn")]
    Random,
}

/// An extension: OID, criticality and the contents of `extnValue`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension {
    /// Dotted OID.
    pub oid: Cow<'static, str>,
    /// Criticality.
    pub critical: bool,
    /// Contents.
    pub value: Vec<u8>,
}

impl Extension {
    pub(crate) fn new(oid: &'static str, critical: bool, value: Vec<u8>) -> Self {
        Self { oid: Cow::Borrowed(oid), critical, value }
    }

    fn to_rcgen(&self) -> Result<CustomExtension, ProfileError> {
        let refused = || ProfileError::Name(self.oid.clone().into_owned());
        let arcs = der::Arcs::parse(&self.oid).ok_or_else(refused)?;
        let mut extension = CustomExtension::from_oid_content(arcs.as_slice(), self.value.clone());
        extension.set_criticality(self.critical);
        Ok(extension)
    }
}

/// Everything that a precertificate and its certificate have in common.
#[derive(Clone, Debug)]
pub struct Leaf {
    serial: Vec<u8>,
    not_before: Timestamp,
    public_key: PublicKey,
    extensions: Vec<Extension>,
}

/// The extension in which the two differ.
#[derive(Clone, Debug)]
pub enum Seal {
    /// The precertificate's poison.
    Poison,
    /// The certificate's embedded timestamp.
    Timestamp(Sct),
    /// A certificate without a log.
    None,
}

impl Leaf {
    /// A leaf for this principal and key, valid from `now`, with a fresh serial number.
    pub fn new(
        principal: &Principal,
        public_key: &PublicKey,
        authority_key_id: Option<&[u8]>,
        now: Timestamp,
    ) -> Result<Self, ProfileError> {
        let mut extensions = vec![
            // digitalSignature: one used bit, seven unused.
            Extension::new(KEY_USAGE, true, vec![0x03, 0x02, 0x07, 0x80]),
            extended_key_usage()?,
            subject_key_identifier(public_key),
        ];
        extensions.extend(authority_key_id.map(authority_key_identifier));
        extensions.push(subject_alternative_name(&principal.subject)?);
        extensions.extend(principal.extensions.iter().filter_map(|(number, value)| {
            let definition = fulcio::definition(*number)?;
            let oid = fulcio::object_identifier(*number)?;
            Some(Extension::new(oid, false, fulcio::encode(definition, value)))
        }));
        Ok(Self { serial: serial()?, not_before: now, public_key: public_key.clone(), extensions })
    }

    /// The serial number, big-endian.
    pub fn serial(&self) -> &[u8] {
        &self.serial
    }

    /// The end of validity.
    pub fn not_after(&self) -> Timestamp {
        Timestamp::from_seconds(self.not_before.seconds()).plus(LIFETIME)
    }

    /// The key it certifies.
    pub fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// The extensions with this seal, in order.
    pub fn extensions<'l>(&'l self, seal: &Seal) -> impl Iterator<Item = Cow<'l, Extension>> {
        let last = match seal {
            Seal::Poison => Some(Extension::new(oid::POISON, true, vec![0x05, 0x00])),
            Seal::Timestamp(sct) => {
                let list = Sct::encode_list(std::slice::from_ref(sct));
                Some(Extension::new(oid::SCT_LIST, false, list))
            }
            Seal::None => None,
        };
        self.extensions.iter().map(Cow::Borrowed).chain(last.map(Cow::Owned))
    }

    /// Signs the leaf with this seal; returns DER.
    pub(crate) fn sign(
        &self,
        seal: &Seal,
        issuer: &rcgen::Issuer<'_, SignerKey>,
    ) -> Result<Vec<u8>, ProfileError> {
        let key = SubjectPublicKeyInfo::from_der(self.public_key.spki_der())
            .map_err(|e| ProfileError::Key(e.to_string()))?;
        let validity = (self.not_before, self.not_after());
        let params = params(DistinguishedName::new(), &self.serial, validity, self.extensions(seal))?;
        let certificate = params.signed_by(&key, issuer).map_err(|e| ProfileError::Sign(e.to_string()))?;
        Ok(certificate.der().to_vec())
    }
}

/// Extensions of a CA certificate, in the order of facts' table: usage, constraints, EKU, identifiers.
pub(crate) fn ca_extensions(
    key: &PublicKey,
    path_len: u8,
    issued_by: Option<&PublicKey>,
) -> Result<Vec<Extension>, ProfileError> {
    let mut extensions = vec![
        // keyCertSign and cRLSign: bits 5 and 6, one unused.
        Extension::new(KEY_USAGE, true, vec![0x03, 0x02, 0x01, 0x06]),
        Extension::new(
            BASIC_CONSTRAINTS,
            true,
            der::sequence(&[vec![0x01, 0x01, 0xff], der::unsigned_integer(&[path_len])]),
        ),
    ];
    if issued_by.is_some() {
        extensions.push(extended_key_usage()?);
    }
    extensions.push(subject_key_identifier(key));
    extensions.extend(issued_by.map(|issuer| authority_key_identifier(&key_identifier(issuer))));
    Ok(extensions)
}

/// The parameters that rcgen signs, with nothing added of its own.
pub(crate) fn params(
    subject: DistinguishedName,
    serial: &[u8],
    (not_before, not_after): (Timestamp, Timestamp),
    extensions: impl IntoIterator<Item = impl Borrow<Extension>>,
) -> Result<CertificateParams, ProfileError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = subject;
    params.serial_number = Some(SerialNumber::from_slice(serial));
    params.not_before = date(not_before)?;
    params.not_after = date(not_after)?;
    params.custom_extensions =
        extensions.into_iter().map(|extension| extension.borrow().to_rcgen()).collect::<Result<_, _>>()?;
    Ok(params)
}

/// A random positive serial number that takes all of its bytes.
pub(crate) fn serial() -> Result<Vec<u8>, ProfileError> {
    let mut serial = vec![0; SERIAL_LEN];
    loop {
        aws_lc_rs::rand::fill(&mut serial).map_err(|_| ProfileError::Random)?;
        serial[0] &= 0x7f;
        if serial[0] != 0 {
            return Ok(serial);
        }
    }
}

/// SHA-1 over the bits of the key: RFC 5280 §4.2.1.2 method 1. An identifier, not a security property.
pub(crate) fn key_identifier(key: &PublicKey) -> Vec<u8> {
    let algorithm = &aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY;
    aws_lc_rs::digest::digest(algorithm, key.key_bits()).as_ref().to_vec()
}

/// The identifier of a CA's key as its own certificate states it, for the leaf's authority key identifier.
pub(crate) fn stated_key_identifier(ca: &chancery_tlog::certificate::Certificate) -> Option<Vec<u8>> {
    let value = &ca.extension(SUBJECT_KEY_IDENTIFIER)?.value;
    match value.as_slice() {
        [0x04, len, id @ ..] if usize::from(*len) == id.len() => Some(id.to_vec()),
        _ => None,
    }
}

fn extended_key_usage() -> Result<Extension, ProfileError> {
    let code_signing = encoded_oid(oid::CODE_SIGNING)?;
    Ok(Extension::new(EXTENDED_KEY_USAGE, false, der::sequence(&[code_signing])))
}

fn subject_key_identifier(key: &PublicKey) -> Extension {
    Extension::new(SUBJECT_KEY_IDENTIFIER, false, der::octet_string(&key_identifier(key)))
}

fn authority_key_identifier(id: &[u8]) -> Extension {
    Extension::new(AUTHORITY_KEY_IDENTIFIER, false, der::sequence(&[der::tlv(0x80, id)]))
}

/// Critical, because the subject is empty (RFC 5280 §4.2.1.6).
fn subject_alternative_name(subject: &SubjectName) -> Result<Extension, ProfileError> {
    let refused = || ProfileError::Name(subject.value().to_owned());
    let ia5 = |text: &str| text.is_ascii().then(|| text.as_bytes().to_vec()).ok_or_else(refused);
    let name = match subject {
        SubjectName::Email(address) => der::tlv(0x81, &ia5(address)?),
        SubjectName::Uri(uri) => der::tlv(0x86, &ia5(uri)?),
        SubjectName::Other { oid, value } => {
            let value = der::tlv(0xa0, &der::utf8_string(value));
            der::tlv(0xa0, &[encoded_oid(oid)?, value].concat())
        }
        SubjectName::Dns(_) | SubjectName::Ip(_) => return Err(refused()),
    };
    Ok(Extension::new(SUBJECT_ALTERNATIVE_NAME, true, der::sequence(&[name])))
}

fn encoded_oid(dotted: &str) -> Result<Vec<u8>, ProfileError> {
    der::object_identifier(dotted).ok_or_else(|| ProfileError::Name(dotted.to_owned()))
}

fn date(at: Timestamp) -> Result<time::OffsetDateTime, ProfileError> {
    let seconds = i64::try_from(at.seconds()).unwrap_or(i64::MAX);
    time::OffsetDateTime::from_unix_timestamp(seconds).map_err(|e| ProfileError::Sign(e.to_string()))
}

/// One of our signers as rcgen wants to see it.
pub(crate) struct SignerKey {
    signer: std::sync::Arc<dyn Signer>,
    algorithm: &'static SignatureAlgorithm,
}

impl SignerKey {
    pub(crate) fn new(signer: std::sync::Arc<dyn Signer>) -> Self {
        let algorithm = match signer.public_key().kind() {
            KeyKind::EcdsaP256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            KeyKind::EcdsaP384 => &rcgen::PKCS_ECDSA_P384_SHA384,
            KeyKind::EcdsaP521 => &rcgen::PKCS_ECDSA_P521_SHA512,
            KeyKind::Rsa(_) => &rcgen::PKCS_RSA_SHA256,
            KeyKind::Ed25519 => &rcgen::PKCS_ED25519,
        };
        Self { signer, algorithm }
    }
}

impl PublicKeyData for SignerKey {
    fn der_bytes(&self) -> &[u8] {
        self.signer.public_key().key_bits()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.algorithm
    }
}

impl SigningKey for SignerKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.signer.sign(message).map_err(|error| {
            // rcgen's error carries no text.
            tracing::error!(%error, "the CA's key did not sign");
            rcgen::Error::RemoteKeyError
        })
    }
}
