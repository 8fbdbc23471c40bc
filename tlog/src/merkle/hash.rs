//! The 32-byte SHA-256 hash and the three RFC 6962 §2.1 hash functions.

use std::fmt;

/// A SHA-256 hash: a leaf, an interior node or a root.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Hash([u8; 32]);

/// Root of the tree of size 0: SHA-256 of nothing.
pub const EMPTY_ROOT: Hash = Hash([
    0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24, 0x27,
    0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
]);

/// Why a text or slice is not a hash.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a hash is 32 bytes (64 hex digits, or 44 characters of standard base64)")]
pub struct HashParseError;

impl Hash {
    /// Wraps 32 bytes that are already a hash.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
    /// From exactly 32 bytes.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, HashParseError> {
        bytes.try_into().map(Self).map_err(|_| HashParseError)
    }
    /// Parses 64 hex digits of any case.
    pub fn from_hex(text: &str) -> Result<Self, HashParseError> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| HashParseError)?;
        Ok(Self(bytes))
    }
    /// Parses canonical, padded standard base64.
    pub fn from_base64(text: &str) -> Result<Self, HashParseError> {
        use base64::Engine as _;
        let bytes = base64::engine::general_purpose::STANDARD.decode(text).map_err(|_| HashParseError)?;
        Self::from_slice(&bytes)
    }
    /// 64 lower-case hex digits.
    pub fn to_hex(self) -> String {
        self.to_string()
    }
    /// Padded standard base64.
    pub fn to_base64(self) -> String {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(self.0)
    }
    /// SHA-256 of `data`, without any prefix. Not a node of a tree: these are hashed by sha2, so that the check before
    /// signing has another implementation to disagree with. Everything else may have the faster one.
    pub fn digest(data: &[u8]) -> Self {
        use aws_lc_rs::digest::{SHA256, digest};
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, data).as_ref());
        Self(hash)
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hash({self})")
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [0; 64];
        // Two digits a byte, all ASCII: neither can fail.
        hex::encode_to_slice(self.0, &mut digits).map_err(|_| fmt::Error)?;
        f.write_str(std::str::from_utf8(&digits).map_err(|_| fmt::Error)?)
    }
}

impl AsRef<[u8]> for Hash {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Hash of a leaf: SHA-256(0x00 ‖ `data`), RFC 6962 §2.1.
pub fn leaf_hash(data: &[u8]) -> Hash {
    use sha2::Digest as _;
    Hash(sha2::Sha256::new().chain_update([0x00]).chain_update(data).finalize().into())
}

/// Hash of an interior node: SHA-256(0x01 ‖ `left` ‖ `right`), RFC 6962 §2.1.
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    use sha2::Digest as _;
    Hash(
        sha2::Sha256::new().chain_update([0x01]).chain_update(left.0).chain_update(right.0).finalize().into(),
    )
}
