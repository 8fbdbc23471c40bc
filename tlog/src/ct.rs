//! Certificate transparency structures, RFC 6962 §3: leaves, SCTs, tree heads, in their TLS encoding.

use serde::{Deserialize, Serialize};

use crate::certificate::{Certificate, CertificateError};
use crate::clock::Timestamp;
use crate::key::{BadSignature, PublicKey, SignError, Signer};
use crate::merkle::Hash;

/// Why a CT structure is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CtError {
    /// The bytes are not the structure.
    #[error("malformed {0}")]
    Malformed(&'static str),
    /// A certificate in it.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// A signature does not verify.
    #[error(transparent)]
    Signature(#[from] BadSignature),
    /// No SCT by a known log.
    #[error("no signed certificate timestamp by a known log")]
    UnknownLog,
}

/// What a log certifies to have seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A final certificate, DER.
    X509(Vec<u8>),
    /// A precertificate: the TBSCertificate without poison, and whose key will sign it.
    Precert {
        /// SHA-256 of the issuing CA's SPKI.
        issuer_key_hash: [u8; 32],
        /// DER TBSCertificate.
        tbs: Vec<u8>,
    },
}

impl Entry {
    /// The entry of a precertificate (poison removed) issued by `issuer`.
    pub fn from_precertificate(_precert: &Certificate, _issuer: &Certificate) -> Result<Self, CtError> {
        unimplemented!()
    }
    /// The precert entry that an embedded SCT of this final certificate covers (SCT list removed).
    pub fn from_final(_certificate: &Certificate, _issuer: &Certificate) -> Result<Self, CtError> {
        unimplemented!()
    }
    /// `MerkleTreeLeaf` (v1, timestamped_entry): the bytes that the log hashes.
    pub fn leaf(&self, _at: Timestamp, _extensions: &[u8]) -> Vec<u8> {
        unimplemented!()
    }
    /// SHA-256 over type, issuer and certificate without the time: the identity by which a log finds duplicates.
    pub fn identity(&self) -> Hash {
        unimplemented!()
    }
}

/// A signed certificate timestamp, v1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sct {
    /// SHA-256 of the log's SPKI.
    pub log_id: [u8; 32],
    /// When the log saw the entry.
    pub timestamp: Timestamp,
    /// Extension bytes, signed, without their length prefix.
    pub extensions: Vec<u8>,
    /// Hash (4 = SHA-256) and signature (3 = ECDSA, 1 = RSA) algorithm bytes of TLS 1.2.
    pub algorithms: [u8; 2],
    /// The signature.
    pub signature: Vec<u8>,
}

impl Sct {
    /// Signs an SCT for `entry`. The signer must be P-256 (Go's CT clients take no other ECDSA curve).
    pub fn sign(_entry: &Entry, _at: Timestamp, _signer: &dyn Signer) -> Result<Self, SignError> {
        unimplemented!()
    }
    /// Verifies it over `entry` by the log's key.
    pub fn verify(&self, _entry: &Entry, _log: &PublicKey) -> Result<(), CtError> {
        unimplemented!()
    }
    /// The TLS `SignedCertificateTimestamp`.
    pub fn encode(&self) -> Vec<u8> {
        unimplemented!()
    }
    /// Parses one, without trailing bytes.
    pub fn decode(_bytes: &[u8]) -> Result<Self, CtError> {
        unimplemented!()
    }
    /// The extension value (DER OCTET STRING around a TLS `SignedCertificateTimestampList`) that embeds `scts`.
    pub fn encode_list(_scts: &[Sct]) -> Vec<u8> {
        unimplemented!()
    }
    /// The SCTs embedded in a certificate; empty if there is no such extension. At most 16 are read.
    pub fn embedded(_certificate: &Certificate) -> Result<Vec<Sct>, CtError> {
        unimplemented!()
    }
}

/// The JSON answer of `add-chain` and `add-pre-chain`, RFC 6962 §4.1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddChainResponse {
    /// Always 0 (v1).
    pub sct_version: u8,
    /// Base64 of the log id.
    pub id: String,
    /// Milliseconds since the epoch.
    pub timestamp: u64,
    /// Base64 of the extensions, often empty.
    pub extensions: String,
    /// Base64 of the TLS `DigitallySigned`.
    pub signature: String,
}

impl From<&Sct> for AddChainResponse {
    fn from(_sct: &Sct) -> Self {
        unimplemented!()
    }
}

impl TryFrom<&AddChainResponse> for Sct {
    type Error = CtError;
    fn try_from(_response: &AddChainResponse) -> Result<Self, CtError> {
        unimplemented!()
    }
}

/// The TLS `DigitallySigned` over a v1 `TreeHeadSignature`, RFC 6962 §3.5.
pub fn sign_tree_head(
    _size: u64,
    _root: &Hash,
    _at: Timestamp,
    _signer: &dyn Signer,
) -> Result<Vec<u8>, SignError> {
    unimplemented!()
}

/// Verifies what [`sign_tree_head`] makes.
pub fn verify_tree_head(
    _size: u64,
    _root: &Hash,
    _at: Timestamp,
    _signature: &[u8],
    _log: &PublicKey,
) -> Result<(), CtError> {
    unimplemented!()
}
