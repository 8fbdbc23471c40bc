//! X.509 certificates as Sigstore uses them: identity in the SAN, facts in Fulcio's extensions, SCTs embedded.
//!
//! Parsing is x509-parser's; this module keeps what the rest of the house asks for, owned, and rebuilds the
//! TBSCertificate that an SCT covers.

use crate::clock::Timestamp;
use crate::key::{KeyError, PublicKey};

/// Largest certificate that is read, in bytes.
pub const MAX_CERTIFICATE: usize = 64 * 1024;
/// Most certificates read from one PEM text, as Rekor v1 limits it.
pub const MAX_CHAIN: usize = 10;

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
    /// More certificates than [`MAX_CHAIN`].
    #[error("more than {MAX_CHAIN} certificates")]
    TooMany,
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
    pub oid: String,
    /// Criticality.
    pub critical: bool,
    /// Contents of the `extnValue` OCTET STRING.
    pub value: Vec<u8>,
}

/// A parsed certificate, owning its DER.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    der: Vec<u8>,
    // Implementation adds the owned parts that the accessors return.
}

impl Certificate {
    /// Parses DER; trailing bytes are refused.
    pub fn from_der(_der: &[u8]) -> Result<Self, CertificateError> {
        unimplemented!()
    }
    /// Parses exactly one PEM `CERTIFICATE` block (surrounding whitespace allowed).
    pub fn from_pem(_pem: &str) -> Result<Self, CertificateError> {
        unimplemented!()
    }
    /// Parses 1 to [`MAX_CHAIN`] PEM blocks, in order.
    pub fn chain_from_pem(_pem: &str) -> Result<Vec<Self>, CertificateError> {
        unimplemented!()
    }
    /// The DER.
    pub fn der(&self) -> &[u8] {
        &self.der
    }
    /// PEM with 64-character lines and a final newline.
    pub fn to_pem(&self) -> String {
        unimplemented!()
    }
    /// The subject's public key.
    pub fn public_key(&self) -> &PublicKey {
        unimplemented!()
    }
    /// Subject alternative names, in order.
    pub fn subject_names(&self) -> &[SubjectName] {
        unimplemented!()
    }
    /// DER of the subject name.
    pub fn subject_der(&self) -> &[u8] {
        unimplemented!()
    }
    /// DER of the issuer name.
    pub fn issuer_der(&self) -> &[u8] {
        unimplemented!()
    }
    /// Subject for people, RFC 4514-like: `O=Example, CN=Example CA`.
    pub fn subject(&self) -> String {
        unimplemented!()
    }
    /// First organization (O) and common name (CN) of the subject.
    pub fn subject_o_cn(&self) -> (Option<String>, Option<String>) {
        unimplemented!()
    }
    /// Serial number, big-endian without sign byte.
    pub fn serial(&self) -> &[u8] {
        unimplemented!()
    }
    /// Start of validity.
    pub fn not_before(&self) -> Timestamp {
        unimplemented!()
    }
    /// End of validity, inclusive.
    pub fn not_after(&self) -> Timestamp {
        unimplemented!()
    }
    /// Whether `at` lies within the validity, both ends included (whole seconds).
    pub fn is_valid_at(&self, _at: Timestamp) -> bool {
        unimplemented!()
    }
    /// All extensions, in order.
    pub fn extensions(&self) -> &[Extension] {
        unimplemented!()
    }
    /// The extension with this OID.
    pub fn extension(&self, oid: &str) -> Option<&Extension> {
        self.extensions().iter().find(|e| e.oid == oid)
    }
    /// Whether basic constraints say CA.
    pub fn is_ca(&self) -> bool {
        unimplemented!()
    }
    /// Path length constraint, if CA and present.
    pub fn path_len(&self) -> Option<u32> {
        unimplemented!()
    }
    /// Extended key usages as dotted OIDs; `None` if the extension is absent.
    pub fn extended_key_usages(&self) -> Option<&[String]> {
        unimplemented!()
    }
    /// Whether key usage is absent or allows signing certificates.
    pub fn may_sign_certificates(&self) -> bool {
        unimplemented!()
    }
    /// Whether key usage is absent or allows digital signatures.
    pub fn may_sign(&self) -> bool {
        unimplemented!()
    }
    /// Checks this certificate's signature by `issuer`'s key (not names, not dates).
    pub fn verify_signed_by(&self, _issuer: &PublicKey) -> Result<(), crate::key::BadSignature> {
        unimplemented!()
    }
    /// DER of the TBSCertificate as signed.
    pub fn tbs_der(&self) -> &[u8] {
        unimplemented!()
    }
    /// DER of the TBSCertificate without the extensions of these OIDs, every other byte kept: what RFC 6962 §3.2
    /// hashes for a precertificate.
    pub fn tbs_without(&self, _oids: &[&str]) -> Result<Vec<u8>, CertificateError> {
        unimplemented!()
    }
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Certificate({} bytes)", self.der.len())
    }
}
