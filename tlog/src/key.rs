//! Public keys that verify and signers that sign, for every algorithm the Sigstore clients use.
//!
//! Signing and verifying are aws-lc-rs; the one exception is Ed25519ph, which it does not have and which Rekor's
//! hashedrekord needs (ed25519-dalek). `p256` parses keys for clients and cross-checks aws-lc-rs in tests.

use std::fmt;
use std::sync::Arc;

/// A hash algorithm that signatures may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HashAlgorithm {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl HashAlgorithm {
    /// `sha256`, `sha384`, `sha512`: the spelling of Rekor v1 and in-toto.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }
    /// The algorithm of a [`HashAlgorithm::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Sha256, Self::Sha384, Self::Sha512].into_iter().find(|a| a.name() == name)
    }
    /// Length of a digest in bytes.
    pub const fn len(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }
    /// Digest of `data`.
    pub fn digest(self, _data: &[u8]) -> Vec<u8> {
        unimplemented!()
    }
}

/// What a public key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyKind {
    /// ECDSA on P-256.
    EcdsaP256,
    /// ECDSA on P-384.
    EcdsaP384,
    /// ECDSA on P-521.
    EcdsaP521,
    /// RSA; modulus length in bits.
    Rsa(u32),
    /// Ed25519.
    Ed25519,
}

impl KeyKind {
    /// The hash of Sigstore's default algorithm for this kind: by curve for ECDSA, SHA-256 for RSA, SHA-512 for
    /// Ed25519 (which hashes internally).
    pub const fn default_hash(self) -> HashAlgorithm {
        match self {
            Self::EcdsaP256 | Self::Rsa(_) => HashAlgorithm::Sha256,
            Self::EcdsaP384 => HashAlgorithm::Sha384,
            Self::EcdsaP521 | Self::Ed25519 => HashAlgorithm::Sha512,
        }
    }
    /// The protobuf-specs `PublicKeyDetails` name with the default hash, such as `PKIX_ECDSA_P256_SHA_256`.
    /// `None` for RSA lengths without one.
    pub fn key_details(self) -> Option<&'static str> {
        match self {
            Self::EcdsaP256 => Some("PKIX_ECDSA_P256_SHA_256"),
            Self::EcdsaP384 => Some("PKIX_ECDSA_P384_SHA_384"),
            Self::EcdsaP521 => Some("PKIX_ECDSA_P521_SHA_512"),
            Self::Rsa(2048) => Some("PKIX_RSA_PKCS1V15_2048_SHA256"),
            Self::Rsa(3072) => Some("PKIX_RSA_PKCS1V15_3072_SHA256"),
            Self::Rsa(4096) => Some("PKIX_RSA_PKCS1V15_4096_SHA256"),
            Self::Rsa(_) => None,
            Self::Ed25519 => Some("PKIX_ED25519"),
        }
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EcdsaP256 => f.write_str("ECDSA P-256"),
            Self::EcdsaP384 => f.write_str("ECDSA P-384"),
            Self::EcdsaP521 => f.write_str("ECDSA P-521"),
            Self::Rsa(bits) => write!(f, "RSA-{bits}"),
            Self::Ed25519 => f.write_str("Ed25519"),
        }
    }
}

/// Why a key cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not the encoding it should be.
    #[error("malformed key: {0}")]
    Malformed(&'static str),
    /// An algorithm or curve that Chancery does not use.
    #[error("unsupported key algorithm {0}")]
    Unsupported(String),
    /// The key is encrypted and no passphrase was given, or the passphrase is wrong.
    #[error("cannot decrypt the private key: {0}")]
    Locked(&'static str),
}

/// A signature does not verify. Deliberately without detail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not verify")]
pub struct BadSignature;

/// A signer could not sign.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("signing failed: {0}")]
pub struct SignError(pub String);

/// A public key, as DER SubjectPublicKeyInfo and ready to verify.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    spki: Vec<u8>,
    kind: KeyKind,
}

impl PublicKey {
    /// Parses DER SPKI. Accepts only what re-encodes to the same bytes. RSA from 2,048 to 8,192 bits.
    pub fn from_spki_der(_der: &[u8]) -> Result<Self, KeyError> {
        unimplemented!()
    }
    /// Parses the first PEM block: `PUBLIC KEY` (SPKI) or `RSA PUBLIC KEY` (PKCS#1). Re-encoded as SPKI.
    pub fn from_pem(_pem: &str) -> Result<Self, KeyError> {
        unimplemented!()
    }
    /// The DER SPKI.
    pub fn spki_der(&self) -> &[u8] {
        &self.spki
    }
    /// PEM, block type `PUBLIC KEY`, 64-character lines, final newline.
    pub fn to_pem(&self) -> String {
        unimplemented!()
    }
    /// Kind and size.
    pub fn kind(&self) -> KeyKind {
        self.kind
    }
    /// SHA-256 of the DER SPKI: the log id of RFC 6962 and of Rekor v1.
    pub fn fingerprint(&self) -> [u8; 32] {
        crate::merkle::Hash::digest(&self.spki).as_bytes().to_owned()
    }
    /// The bits of the SPKI's BIT STRING: what an RFC 5280 §4.2.1.2 key identifier hashes, and for Ed25519 the
    /// 32-byte key itself.
    pub fn key_bits(&self) -> &[u8] {
        unimplemented!()
    }
    /// For RSA: the public exponent, if it fits 64 bits.
    pub fn rsa_exponent(&self) -> Option<u64> {
        unimplemented!()
    }
    /// Verifies `signature` over `message`: ECDSA (ASN.1 DER) and RSA PKCS#1 v1.5 with `hash`; pure Ed25519,
    /// which ignores `hash`.
    pub fn verify(
        &self,
        _hash: HashAlgorithm,
        _message: &[u8],
        _signature: &[u8],
    ) -> Result<(), BadSignature> {
        unimplemented!()
    }
    /// Verifies over a digest made elsewhere: ECDSA, RSA PKCS#1 v1.5, and for Ed25519 keys Ed25519ph, whose
    /// digest must be SHA-512 (RFC 8032 §5.1).
    pub fn verify_digest(
        &self,
        _hash: HashAlgorithm,
        _digest: &[u8],
        _signature: &[u8],
    ) -> Result<(), BadSignature> {
        unimplemented!()
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({} {})", self.kind, hex::encode(&self.fingerprint()[..8]))
    }
}

/// Something that holds a private key: a file's, an HSM's, a KMS's. The key never leaves it.
///
/// `sign` may block for as long as the key's home needs: microseconds for a file's key, milliseconds for PKCS#11,
/// a network round trip for a KMS. Callers on an async runtime ask [`Signer::may_block`] and move the call to a
/// blocking thread if so.
pub trait Signer: Send + Sync {
    /// The public half.
    fn public_key(&self) -> &PublicKey;
    /// Signs `message` with the key's default hash ([`KeyKind::default_hash`]): ECDSA as ASN.1 DER, RSA PKCS#1
    /// v1.5, pure Ed25519.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError>;
    /// Whether `sign` can take longer than a few hundred microseconds.
    fn may_block(&self) -> bool {
        false
    }
}

impl<S: Signer + ?Sized> Signer for Arc<S> {
    fn public_key(&self) -> &PublicKey {
        (**self).public_key()
    }
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        (**self).sign(message)
    }
    fn may_block(&self) -> bool {
        (**self).may_block()
    }
}

/// A private key in this process's memory: P-256, P-384 or Ed25519.
pub struct SoftwareSigner {
    public: PublicKey,
    // Implementation: an aws-lc-rs key pair per kind, and the PKCS#8 document (zeroized) for export.
}

impl SoftwareSigner {
    /// A fresh key from the system's randomness. Refuses kinds other than P-256, P-384 and Ed25519.
    pub fn generate(_kind: KeyKind) -> Result<Self, KeyError> {
        unimplemented!()
    }
    /// Reads PKCS#8 PEM: `PRIVATE KEY`, or `ENCRYPTED PRIVATE KEY` (PBES2) with `passphrase`.
    pub fn from_pkcs8_pem(_pem: &str, _passphrase: Option<&[u8]>) -> Result<Self, KeyError> {
        unimplemented!()
    }
    /// Reads a PKCS#8 DER document.
    pub fn from_pkcs8_der(_der: &[u8]) -> Result<Self, KeyError> {
        unimplemented!()
    }
    /// PKCS#8 PEM, encrypted (PBES2, scrypt, AES-256-CBC) if a passphrase is given.
    pub fn to_pkcs8_pem(&self, _passphrase: Option<&[u8]>) -> Result<zeroize::Zeroizing<String>, KeyError> {
        unimplemented!()
    }
}

impl Signer for SoftwareSigner {
    fn public_key(&self) -> &PublicKey {
        &self.public
    }
    fn sign(&self, _message: &[u8]) -> Result<Vec<u8>, SignError> {
        unimplemented!()
    }
}

impl fmt::Debug for SoftwareSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SoftwareSigner({:?})", self.public)
    }
}
