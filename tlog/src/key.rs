//! Public keys that verify and signers that sign, for every algorithm the Sigstore clients use.
//!
//! Signing and verifying are aws-lc-rs; the one exception is Ed25519ph, which it does not have and which Rekor's
//! hashedrekord needs (ed25519-dalek). `p256` cross-checks aws-lc-rs in the tests.

mod ed25519ph;
mod p1363;
mod signer;
mod spki;

use std::fmt;
use std::sync::{Arc, OnceLock};

use aws_lc_rs::digest::{self, Digest};
use aws_lc_rs::signature::{self, ParsedPublicKey, UnparsedPublicKey, VerificationAlgorithm};

pub use self::signer::{Signer, SoftwareSigner};

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
    #[expect(clippy::len_without_is_empty, reason = "no digest is empty")]
    pub const fn len(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }
    /// Digest of `data`.
    pub fn digest(self, data: &[u8]) -> Vec<u8> {
        digest::digest(self.provider(), data).as_ref().to_vec()
    }

    /// The same algorithm, as aws-lc-rs names it.
    const fn provider(self) -> &'static digest::Algorithm {
        match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
            Self::Sha512 => &digest::SHA512,
        }
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

/// A public key, as DER SubjectPublicKeyInfo and ready to verify. Clones share it.
#[derive(Clone)]
pub struct PublicKey(Arc<Parts>);

struct Parts {
    spki: Vec<u8>,
    /// Where in `spki` the key bits start; they run to its end.
    bits_at: usize,
    kind: KeyKind,
    /// For the kind's default hash, which nearly every signature has. Parsing is a tenth of what verifying RSA costs.
    parsed: ParsedPublicKey,
    fingerprint: OnceLock<[u8; 32]>,
}

impl PublicKey {
    /// Parses DER SPKI. Accepts only what re-encodes to the same bytes. RSA from 2,048 to 8,192 bits.
    pub fn from_spki_der(der: &[u8]) -> Result<Self, KeyError> {
        let (kind, bits) = spki::parse(der)?;
        let bits_at = der.len() - bits.len();
        // Asks the provider whether the point is on the curve and the modulus usable, once and here.
        let parsed = ParsedPublicKey::new(algorithm(kind, kind.default_hash()), bits)
            .map_err(|_| KeyError::Malformed("not a point of the curve, or not a usable modulus"))?;
        let fingerprint = OnceLock::new();
        Ok(Self(Arc::new(Parts { spki: der.to_vec(), bits_at, kind, parsed, fingerprint })))
    }
    /// Parses the first PEM block: `PUBLIC KEY` (SPKI) or `RSA PUBLIC KEY` (PKCS#1). Re-encoded as SPKI.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let block = crate::pem::Block::first(pem).ok_or(KeyError::Malformed("no PEM block"))?;
        match block.label {
            "PUBLIC KEY" => Self::from_spki_der(&block.contents),
            "RSA PUBLIC KEY" => Self::from_spki_der(&spki::encode_rsa(&block.contents)),
            _ => Err(KeyError::Malformed("the PEM block is neither PUBLIC KEY nor RSA PUBLIC KEY")),
        }
    }
    /// Whether the first key or certificate in a PEM text is a public key.
    pub fn leads(pem: &str) -> bool {
        crate::pem::Block::first_label(pem) == Some("PUBLIC KEY")
    }
    /// The key of 32 raw Ed25519 bytes, as in C2SP verifier keys.
    pub fn from_ed25519(key: &[u8; 32]) -> Result<Self, KeyError> {
        Self::from_spki_der(&spki::encode_ed25519(key))
    }
    /// The DER SPKI.
    pub fn spki_der(&self) -> &[u8] {
        &self.0.spki
    }
    /// PEM, block type `PUBLIC KEY`, 64-character lines, final newline.
    pub fn to_pem(&self) -> String {
        crate::pem::encode("PUBLIC KEY", &self.0.spki)
    }
    /// Kind and size.
    pub fn kind(&self) -> KeyKind {
        self.0.kind
    }
    /// SHA-256 of the DER SPKI: the log id of RFC 6962 and of Rekor v1.
    pub fn fingerprint(&self) -> [u8; 32] {
        *self.0.fingerprint.get_or_init(|| *crate::merkle::Hash::digest(&self.0.spki).as_bytes())
    }
    /// The bits of the SPKI's BIT STRING: what an RFC 5280 §4.2.1.2 key identifier hashes, and for Ed25519 the
    /// 32-byte key itself.
    pub fn key_bits(&self) -> &[u8] {
        &self.0.spki[self.0.bits_at..]
    }
    /// For RSA: the public exponent, if it fits 64 bits.
    pub fn rsa_exponent(&self) -> Option<u64> {
        match self.kind() {
            KeyKind::Rsa(_) => spki::rsa_exponent(self.key_bits()),
            _ => None,
        }
    }
    /// Verifies `signature` over `message`: ECDSA (ASN.1 DER) and RSA PKCS#1 v1.5 with `hash`; pure Ed25519,
    /// which ignores `hash`. Signatures by users are verified by [`PublicKey::verify_any_encoding`].
    pub fn verify(&self, hash: HashAlgorithm, message: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        let verdict = if hash == self.kind().default_hash() {
            self.0.parsed.verify_sig(message, signature)
        } else {
            UnparsedPublicKey::new(algorithm(self.kind(), hash), self.key_bits()).verify(message, signature)
        };
        verdict.map_err(|_| BadSignature)
    }
    /// [`PublicKey::verify`] for what users sign (entries, bundles, proofs of possession): ECDSA may also be encoded
    /// as IEEE P1363, as in sigstore's signature library. Certificates, SCTs, promises and checkpoints may not.
    pub fn verify_any_encoding(
        &self,
        hash: HashAlgorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), BadSignature> {
        self.verify(hash, message, &p1363::to_asn1(self.kind(), signature))
    }
    /// The part of a signature that nobody but its signer can change: `r` for ECDSA, else all of it.
    ///
    /// An ECDSA signature has two encodings here, and whoever has `(r, s)` also has `(r, -s)`. None of that takes the
    /// private key, and all of it leaves `r` as it is.
    pub(crate) fn unmalleable_part<'s>(&self, signature: &'s [u8]) -> std::borrow::Cow<'s, [u8]> {
        p1363::first_number(self.kind(), signature)
    }
    /// [`PublicKey::verify_digest`] with the encodings of [`PublicKey::verify_any_encoding`].
    pub fn verify_digest_any_encoding(
        &self,
        hash: HashAlgorithm,
        digest: &[u8],
        signature: &[u8],
    ) -> Result<(), BadSignature> {
        self.verify_digest(hash, digest, &p1363::to_asn1(self.kind(), signature))
    }
    /// Verifies over a digest made elsewhere: ECDSA, RSA PKCS#1 v1.5, and for Ed25519 keys Ed25519ph, whose
    /// digest must be SHA-512 (RFC 8032 §5.1).
    pub fn verify_digest(
        &self,
        hash: HashAlgorithm,
        digest: &[u8],
        signature: &[u8],
    ) -> Result<(), BadSignature> {
        if self.kind() == KeyKind::Ed25519 {
            return match hash {
                HashAlgorithm::Sha512 => ed25519ph::verify(self.key_bits(), digest, signature),
                HashAlgorithm::Sha256 | HashAlgorithm::Sha384 => Err(BadSignature),
            };
        }
        let digest = Digest::import_less_safe(digest, hash.provider()).map_err(|_| BadSignature)?;
        let verdict = if hash == self.kind().default_hash() {
            self.0.parsed.verify_digest_sig(&digest, signature)
        } else {
            UnparsedPublicKey::new(algorithm(self.kind(), hash), self.key_bits())
                .verify_digest(&digest, signature)
        };
        verdict.map_err(|_| BadSignature)
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.spki_der() == other.spki_der()
    }
}

impl Eq for PublicKey {}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({} {})", self.kind(), hex::encode(&self.fingerprint()[..8]))
    }
}

/// aws-lc-rs's verification algorithm of such a key with `hash`.
fn algorithm(kind: KeyKind, hash: HashAlgorithm) -> &'static dyn VerificationAlgorithm {
    use HashAlgorithm::{Sha256, Sha384, Sha512};
    match (kind, hash) {
        (KeyKind::EcdsaP256, Sha256) => &signature::ECDSA_P256_SHA256_ASN1,
        (KeyKind::EcdsaP256, Sha384) => &signature::ECDSA_P256_SHA384_ASN1,
        (KeyKind::EcdsaP256, Sha512) => &signature::ECDSA_P256_SHA512_ASN1,
        (KeyKind::EcdsaP384, Sha256) => &signature::ECDSA_P384_SHA256_ASN1,
        (KeyKind::EcdsaP384, Sha384) => &signature::ECDSA_P384_SHA384_ASN1,
        (KeyKind::EcdsaP384, Sha512) => &signature::ECDSA_P384_SHA512_ASN1,
        (KeyKind::EcdsaP521, Sha256) => &signature::ECDSA_P521_SHA256_ASN1,
        (KeyKind::EcdsaP521, Sha384) => &signature::ECDSA_P521_SHA384_ASN1,
        (KeyKind::EcdsaP521, Sha512) => &signature::ECDSA_P521_SHA512_ASN1,
        (KeyKind::Rsa(_), Sha256) => &signature::RSA_PKCS1_2048_8192_SHA256,
        (KeyKind::Rsa(_), Sha384) => &signature::RSA_PKCS1_2048_8192_SHA384,
        (KeyKind::Rsa(_), Sha512) => &signature::RSA_PKCS1_2048_8192_SHA512,
        (KeyKind::Ed25519, _) => &signature::ED25519,
    }
}

#[cfg(test)]
mod tests;
