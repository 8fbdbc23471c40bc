//! The signing key: made for one run, never written anywhere, forgotten at the end.

use std::fmt;

use chancery_tlog::key::{KeyError, PublicKey};
use p256::ecdsa::signature::hazmat::PrehashSigner as _;
use p256::ecdsa::{DerSignature, SigningKey};
use p256::pkcs8::EncodePublicKey as _;

/// Why there is no signature.
#[derive(Debug, thiserror::Error)]
pub enum EphemeralKeyError {
    /// No randomness.
    #[error("the system gives no randomness")]
    Randomness,
    /// The key or its signature.
    #[error("the signing key: {0}")]
    Ecdsa(#[from] p256::ecdsa::Error),
    /// The public half.
    #[error("the signing key: {0}")]
    Public(#[from] KeyError),
    /// Its encoding.
    #[error("the signing key's encoding: {0}")]
    Encoding(String),
}

/// An ECDSA P-256 key. Zeroized when dropped.
pub struct EphemeralKey {
    secret: SigningKey,
    public: PublicKey,
}

impl EphemeralKey {
    /// A fresh key.
    pub fn generate() -> Result<Self, EphemeralKeyError> {
        let mut scalar = [0; 32];
        aws_lc_rs::rand::fill(&mut scalar).map_err(|_| EphemeralKeyError::Randomness)?;
        // A random scalar is out of range once in 2^32 for P-256; then the run fails and is repeated.
        let secret = SigningKey::from_slice(&scalar);
        scalar.fill(0);
        let secret = secret?;
        let spki = secret
            .verifying_key()
            .to_public_key_der()
            .map_err(|error| EphemeralKeyError::Encoding(error.to_string()))?;
        Ok(Self { public: PublicKey::from_spki_der(spki.as_bytes())?, secret })
    }

    /// The public half.
    pub fn public_key(&self) -> &PublicKey {
        &self.public
    }

    /// Signs a SHA-256 digest; ASN.1 DER.
    pub fn sign_digest(&self, digest: &[u8]) -> Result<Vec<u8>, EphemeralKeyError> {
        let signature: DerSignature = self.secret.sign_prehash(digest)?;
        Ok(signature.as_bytes().to_vec())
    }

    /// Signs the SHA-256 digest of `message`.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, EphemeralKeyError> {
        self.sign_digest(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, message).as_ref())
    }
}

impl fmt::Debug for EphemeralKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EphemeralKey({:?})", self.public)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chancery_tlog::key::HashAlgorithm;

    #[test]
    fn its_signatures_verify_with_the_other_library() {
        let key = EphemeralKey::generate().unwrap();
        let signature = key.sign(b"hello\n").unwrap();
        assert_eq!(key.public_key().verify(HashAlgorithm::Sha256, b"hello\n", &signature), Ok(()));
        assert!(key.public_key().verify(HashAlgorithm::Sha256, b"hello", &signature).is_err());
    }
}
