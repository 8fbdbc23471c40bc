//! Rekor v1: proposed entries, their checks, their canonical leaves, SETs, ids and the v1 checkpoint.
//!
//! Kinds: `hashedrekord` 0.0.1, `dsse` 0.0.1, `intoto` 0.0.2. The leaf is the RFC 8785 form of
//! `{"apiVersion","kind","spec"}` after canonicalisation (rekor `pkg/types`).

use crate::certificate::Certificate;
use crate::key::{HashAlgorithm, PublicKey, SignError, Signer};
use crate::merkle::Hash;
use crate::note::NoteError;

/// Largest proposed entry that is parsed, in bytes.
pub const MAX_PROPOSED_ENTRY: usize = 4 * 1024 * 1024;

/// Why a proposed entry is refused. The texts are Rekor's where scripts search for them.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// `kind` is not one that this log takes: HTTP 422.
    #[error("invalid kind value: \"{0}\"")]
    UnknownKind(String),
    /// Anything else about the entry: HTTP 400.
    #[error("error processing entry: {0}")]
    Invalid(String),
    /// Key and hash do not go together: HTTP 400.
    #[error("error processing entry: entry algorithms are not allowed")]
    Algorithm,
}

/// Who signed: what an entry's `verifier`/`publicKey` holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verifier {
    /// A bare public key.
    Key(PublicKey),
    /// A certificate, or a chain with the leaf first.
    Certificates(Vec<Certificate>),
}

impl Verifier {
    /// Parses the PEM that v1 entries carry: one `PUBLIC KEY`, or 1 to 10 `CERTIFICATE`s (a chain is verified at
    /// its leaf's notBefore). Whitespace around and junk before are tolerated, junk after is not.
    pub fn from_pem(_pem: &[u8]) -> Result<Self, EntryError> {
        unimplemented!()
    }
    /// The canonical PEM: 64-character lines, `\n` only.
    pub fn to_pem(&self) -> String {
        unimplemented!()
    }
    /// The verifying key.
    pub fn public_key(&self) -> &PublicKey {
        unimplemented!()
    }
    /// The signing certificate, if it is one.
    pub fn certificate(&self) -> Option<&Certificate> {
        unimplemented!()
    }
}

/// A proposed entry that passed every check, ready to be a leaf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CanonicalEntry {
    /// The leaf: RFC 8785 bytes.
    pub body: Vec<u8>,
    /// `hashedrekord`, `dsse` or `intoto`.
    pub kind: &'static str,
    /// `0.0.1` or `0.0.2`.
    pub api_version: &'static str,
    /// Search keys, lower-case, both spellings of key hashes (bare hex and `sha256:`), without duplicates.
    pub index_keys: Vec<String>,
}

impl CanonicalEntry {
    /// Parses, verifies and canonicalises the JSON of a proposed entry to be inserted.
    pub fn from_proposed(_json: &[u8]) -> Result<Self, EntryError> {
        unimplemented!()
    }
    /// As [`CanonicalEntry::from_proposed`] for `retrieve`, which also takes canonical `dsse` bodies.
    pub fn from_query(_json: &serde_json::Value) -> Result<Self, EntryError> {
        unimplemented!()
    }
}

/// A stored v1 leaf, read back: what a verifier compares with a bundle. Signatures are not verified by parsing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// `hashedrekord` 0.0.1.
    HashedRekord {
        /// Hash of the artifact.
        algorithm: HashAlgorithm,
        /// Its digest.
        digest: Vec<u8>,
        /// Signature bytes.
        signature: Vec<u8>,
        /// Who signed.
        verifier: Verifier,
    },
    /// `dsse` 0.0.1.
    Dsse {
        /// SHA-256 of the envelope as it was submitted.
        envelope_hash: Hash,
        /// SHA-256 of the payload.
        payload_hash: Hash,
        /// Signature bytes, and who made each.
        signatures: Vec<(Vec<u8>, Verifier)>,
    },
    /// `intoto` 0.0.2.
    Intoto {
        /// SHA-256 of the payload.
        payload_hash: Hash,
        /// Signature bytes, and who made each.
        signatures: Vec<(Vec<u8>, Verifier)>,
    },
}

impl Body {
    /// Parses a leaf.
    pub fn parse(_body: &[u8]) -> Result<Self, EntryError> {
        unimplemented!()
    }
}

/// Bytes that a SET signs: RFC 8785 of body (base64), integratedTime, logID, logIndex.
pub fn set_payload(_body: &[u8], _integrated_time: u64, _log_id: &[u8; 32], _log_index: u64) -> Vec<u8> {
    unimplemented!()
}

/// Entry id: 16 hex digits of the tree id and 64 of the leaf hash.
pub fn entry_id(tree_id: u64, leaf: &Hash) -> String {
    format!("{tree_id:016x}{leaf}")
}

/// The v1 checkpoint, signed: origin `<host> - <tree id>`, one signature line, ECDSA under the name `<host>`.
pub fn sign_checkpoint(
    _host: &str,
    _tree_id: u64,
    _size: u64,
    _root: &Hash,
    _signer: &dyn Signer,
) -> Result<String, NoteError> {
    unimplemented!()
}

/// Signs a SET over [`set_payload`].
pub fn sign_set(
    body: &[u8],
    integrated_time: u64,
    log_id: &[u8; 32],
    log_index: u64,
    signer: &dyn Signer,
) -> Result<Vec<u8>, SignError> {
    signer.sign(&set_payload(body, integrated_time, log_id, log_index))
}
