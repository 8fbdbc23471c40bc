//! X.509 certificates as Sigstore uses them: identity in the SAN, facts in Fulcio's extensions, SCTs embedded.
//!
//! Parsing is x509-parser's; this module keeps what the rest of the house asks for, owned, and rebuilds the
//! TBSCertificate that an SCT covers.

mod parse;
mod tbs;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use self::parse::Parts;
pub(crate) use self::parse::printable;
use crate::clock::Timestamp;
use crate::key::{BadSignature, KeyError, PublicKey};
use crate::merkle::Hash;
use crate::pem::Block;

/// Largest certificate that is read, in bytes.
pub const MAX_CERTIFICATE: usize = 64 * 1024;
/// Most certificates read from one PEM text, as Rekor v1 limits it.
pub const MAX_CHAIN: usize = 10;
/// Most certificates read from a collection of roots. Mozilla's has some 150.
pub const MAX_COLLECTION: usize = 1000;

/// Object identifiers as dotted text, in one place.
pub mod oid {
    /// Fulcio's arc, with a final dot: append the extension's number.
    pub const FULCIO: &str = "1.3.6.1.4.1.57264.1.";
    /// `otherName` type of a Fulcio username.
    pub const FULCIO_USERNAME: &str = "1.3.6.1.4.1.57264.1.7";
    /// Embedded SCT list, RFC 6962 §3.3.
    pub const SCT_LIST: &str = "1.3.6.1.4.1.11129.2.4.2";
    /// Precertificate poison, RFC 6962 §3.1.
    pub const POISON: &str = "1.3.6.1.4.1.11129.2.4.3";
    /// Extended key usage: code signing.
    pub const CODE_SIGNING: &str = "1.3.6.1.5.5.7.3.3";
    /// Extended key usage: timestamping.
    pub const TIME_STAMPING: &str = "1.3.6.1.5.5.7.3.8";
}

/// Why a certificate is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// No certificate, or a broken one.
    #[error("malformed certificate: {0}")]
    Malformed(String),
    /// Its public key.
    #[error("the certificate's key: {0}")]
    Key(#[from] KeyError),
    /// More certificates than are read.
    #[error("more than {0} certificates")]
    TooMany(usize),
}

/// One subject alternative name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubjectName {
    /// `rfc822Name`.
    Email(String),
    /// `uniformResourceIdentifier`.
    Uri(String),
    /// `dNSName`.
    Dns(String),
    /// `iPAddress`, printed.
    Ip(String),
    /// `otherName` with a UTF8String, such as Fulcio's usernames.
    Other {
        /// Type OID, dotted.
        oid: String,
        /// The UTF8String.
        value: String,
    },
}

impl SubjectName {
    /// The name's text.
    pub fn value(&self) -> &str {
        match self {
            Self::Email(v) | Self::Uri(v) | Self::Dns(v) | Self::Ip(v) | Self::Other { value: v, .. } => v,
        }
    }
}

/// A certificate extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension {
    /// OID, dotted.
    pub oid: Cow<'static, str>,
    /// Criticality.
    pub critical: bool,
    /// Contents of the `extnValue` OCTET STRING.
    pub value: Vec<u8>,
}

/// A parsed certificate, owning its DER. Clones share it.
#[derive(Clone)]
pub struct Certificate(Arc<Parts>);

impl Certificate {
    /// Parses DER; trailing bytes are refused.
    pub fn from_der(der: &[u8]) -> Result<Self, CertificateError> {
        parse::parts(der).map(|parts| Self(Arc::new(parts)))
    }
    /// Parses PEM with exactly one block, a `CERTIFICATE`; text around it is skipped.
    pub fn from_pem(pem: &str) -> Result<Self, CertificateError> {
        let mut chain = Self::chain_from_pem(pem)?;
        match (chain.pop(), chain.is_empty()) {
            (Some(certificate), true) => Ok(certificate),
            _ => Err(CertificateError::Malformed("more than one PEM block".to_owned())),
        }
    }
    /// Parses 1 to [`MAX_CHAIN`] PEM blocks, in order. Text before, between and after them is skipped, such as the
    /// subjects and comments that `openssl` and distributions of roots write.
    pub fn chain_from_pem(pem: &str) -> Result<Vec<Self>, CertificateError> {
        Self::read_pem(pem, MAX_CHAIN, true)
    }
    /// Parses a collection of 1 to [`MAX_COLLECTION`] roots, otherwise as [`Self::chain_from_pem`].
    pub fn collection_from_pem(pem: &str) -> Result<Vec<Self>, CertificateError> {
        Self::read_pem(pem, MAX_COLLECTION, true)
    }
    /// Parses the chain of a log entry: text after the last block is refused, as Rekor does.
    pub(crate) fn chain_from_entry(pem: &str) -> Result<Vec<Self>, CertificateError> {
        Self::read_pem(pem, MAX_CHAIN, false)
    }
    fn read_pem(pem: &str, limit: usize, text_after: bool) -> Result<Vec<Self>, CertificateError> {
        let malformed = |what: &str| CertificateError::Malformed(what.to_owned());
        let mut chain = Vec::new();
        let mut rest = pem;
        loop {
            let is_end = rest.trim_start().is_empty() || (text_after && Block::first_label(rest).is_none());
            if is_end && !chain.is_empty() {
                return Ok(chain);
            }
            if chain.len() == limit {
                return Err(CertificateError::TooMany(limit));
            }
            let block = Block::first(rest).ok_or_else(|| malformed("no PEM block, or a broken one"))?;
            if block.label != "CERTIFICATE" {
                return Err(malformed("the PEM block is no CERTIFICATE"));
            }
            chain.push(Self::from_der(&block.contents)?);
            rest = block.rest;
        }
    }
    /// The DER.
    pub fn der(&self) -> &[u8] {
        &self.0.der
    }
    /// SHA-256 of the DER.
    pub(crate) fn digest(&self) -> Hash {
        *self.0.digest.get_or_init(|| Hash::digest(self.der()))
    }
    /// PEM with 64-character lines and a final newline.
    pub fn to_pem(&self) -> String {
        crate::pem::encode("CERTIFICATE", self.der())
    }
    /// The subject's public key.
    pub fn public_key(&self) -> &PublicKey {
        &self.0.public_key
    }
    /// Subject alternative names, in order.
    pub fn subject_names(&self) -> &[SubjectName] {
        &self.0.names
    }
    /// DER of the subject name.
    pub fn subject_der(&self) -> &[u8] {
        &self.0.subject_der
    }
    /// DER of the issuer name.
    pub fn issuer_der(&self) -> &[u8] {
        &self.0.issuer_der
    }
    /// Subject for people, RFC 4514-like: `O=Example, CN=Example CA`. Control characters are replaced.
    pub fn subject(&self) -> String {
        self.0.subject.clone()
    }
    /// First organization (O) and common name (CN) of the subject.
    pub fn subject_o_cn(&self) -> (Option<String>, Option<String>) {
        (self.0.organization.clone(), self.0.common_name.clone())
    }
    /// Serial number, big-endian without sign byte.
    pub fn serial(&self) -> &[u8] {
        &self.0.serial
    }
    /// Start of validity.
    pub fn not_before(&self) -> Timestamp {
        self.0.not_before
    }
    /// End of validity, inclusive.
    pub fn not_after(&self) -> Timestamp {
        self.0.not_after
    }
    /// Whether `at` lies within the validity, both ends included (whole seconds).
    pub fn is_valid_at(&self, at: Timestamp) -> bool {
        (self.not_before().seconds()..=self.not_after().seconds()).contains(&at.seconds())
    }
    /// All extensions, in order.
    pub fn extensions(&self) -> &[Extension] {
        &self.0.extensions
    }
    /// The extension with this OID.
    pub fn extension(&self, oid: &str) -> Option<&Extension> {
        self.extensions().iter().find(|e| e.oid == oid)
    }
    /// Whether basic constraints say CA.
    pub fn is_ca(&self) -> bool {
        self.0.is_ca
    }
    /// Path length constraint, if CA and present.
    pub fn path_len(&self) -> Option<u32> {
        self.0.path_len
    }
    /// Extended key usages as dotted OIDs; `None` if the extension is absent.
    pub fn extended_key_usages(&self) -> Option<&[String]> {
        self.0.extended_key_usages.as_deref()
    }
    /// Whether key usage is absent or allows signing certificates.
    pub fn may_sign_certificates(&self) -> bool {
        self.0.key_usage.is_none_or(|usage| usage.sign_certificates)
    }
    /// Whether key usage is absent or allows digital signatures.
    pub fn may_sign(&self) -> bool {
        self.0.key_usage.is_none_or(|usage| usage.digital_signature)
    }
    /// Checks this certificate's signature by `issuer`'s key (not names, not dates).
    pub fn verify_signed_by(&self, issuer: &PublicKey) -> Result<(), BadSignature> {
        let hash = self.0.signature_algorithm.hash_for(issuer.kind()).ok_or(BadSignature)?;
        issuer.verify(hash, self.tbs_der(), &self.0.signature)
    }
    /// DER of the TBSCertificate as signed.
    pub fn tbs_der(&self) -> &[u8] {
        &self.0.der[self.0.tbs.clone()]
    }
    /// DER of the TBSCertificate without the extensions of these OIDs, every other byte kept: what RFC 6962 §3.2
    /// hashes for a precertificate.
    pub fn tbs_without(&self, oids: &[&str]) -> Result<Vec<u8>, CertificateError> {
        tbs::without(self.tbs_der(), oids)
            .ok_or_else(|| CertificateError::Malformed("the TBSCertificate is not DER".to_owned()))
    }
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.der() == other.der()
    }
}

impl Eq for Certificate {}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({:?}, {} bytes)", self.0.subject, self.0.der.len())
    }
}

#[cfg(test)]
mod tests;
