//! Who signed, and how: a key or a certificate, and the algorithm that goes with it.

use super::algorithm::KeyDetails;
use super::request::{RequestMaterial, RequestVerifier};
use crate::certificate::Certificate;
use crate::key::{BadSignature, HashAlgorithm, PublicKey};
use crate::rekor;

/// What a signature is verified with. Certificates are kept whole; chain and dates are the clients' business.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Material {
    /// A bare key.
    Key(PublicKey),
    /// A certificate.
    Certificate(Certificate),
}

/// Key material and the algorithm it signs with, which fit each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verifier {
    key_details: KeyDetails,
    material: Material,
}

impl Verifier {
    /// Puts both together; `None` if this key cannot sign so.
    pub fn new(key_details: KeyDetails, material: Material) -> Option<Self> {
        let verifier = Self { key_details, material };
        key_details.fits(verifier.public_key().kind()).then_some(verifier)
    }

    /// Parses what a request holds; the problem if it cannot be.
    pub(super) fn from_request(request: RequestVerifier) -> Result<Self, String> {
        let RequestVerifier { material, key_details } = request;
        let material = match material {
            None => {
                return Err("missing verifier: one of publicKey and x509Certificate is required".to_owned());
            }
            Some(RequestMaterial::PublicKey(der)) => {
                Material::Key(PublicKey::from_spki_der(&der).map_err(|e| format!("publicKey: {e}"))?)
            }
            Some(RequestMaterial::X509Certificate(der)) => Material::Certificate(
                Certificate::from_der(&der).map_err(|e| format!("x509Certificate: {e}"))?,
            ),
        };
        let key_details = key_details.ok_or("missing keyDetails, or one that this log does not take")?;
        Self::from_parts(key_details, material)
    }

    /// As [`Verifier::new`], with words.
    pub(super) fn from_parts(key_details: KeyDetails, material: Material) -> Result<Self, String> {
        let kind = match &material {
            Material::Key(key) => key.kind(),
            Material::Certificate(certificate) => certificate.public_key().kind(),
        };
        Self::new(key_details, material)
            .ok_or_else(|| format!("keyDetails say {key_details}, the key is {kind}"))
    }

    /// The algorithm.
    pub fn key_details(&self) -> KeyDetails {
        self.key_details
    }

    /// Key or certificate.
    pub fn material(&self) -> &Material {
        &self.material
    }

    /// The verifying key.
    pub fn public_key(&self) -> &PublicKey {
        match &self.material {
            Material::Key(key) => key,
            Material::Certificate(certificate) => certificate.public_key(),
        }
    }

    /// This verifier over a message that is here whole.
    pub(super) fn over<'m>(&'m self, message: &'m [u8]) -> Over<'m> {
        let key = self.public_key();
        match self.key_details.prehash() {
            Some(hash) => Over::Digest(key, hash, hash.digest(message)),
            None => Over::Message(key, message),
        }
    }

    /// The same signer as Rekor v1 spells it: what entries of both dialects are found by.
    pub(crate) fn to_v1(&self) -> rekor::Verifier {
        match &self.material {
            Material::Key(key) => rekor::Verifier::Key(key.clone()),
            Material::Certificate(certificate) => rekor::Verifier::Certificates(vec![certificate.clone()]),
        }
    }
}

/// A key and what its signatures cover.
pub(super) enum Over<'m> {
    /// A digest.
    Digest(&'m PublicKey, HashAlgorithm, Vec<u8>),
    /// The message itself: pure Ed25519.
    Message(&'m PublicKey, &'m [u8]),
}

impl Over<'_> {
    pub(super) fn verify(&self, signature: &[u8]) -> Result<(), BadSignature> {
        match self {
            Self::Digest(key, hash, digest) => key.verify_digest_any_encoding(*hash, digest, signature),
            Self::Message(key, message) => key.verify_any_encoding(HashAlgorithm::Sha512, message, signature),
        }
    }
}
