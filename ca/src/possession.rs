//! Proof that the requester holds the private key, and which keys are good enough.
//!
//! Two forms: a signature over the principal's name, or a PKCS#10 request signed by the key. Of a PKCS#10 request
//! only key and signature matter; subject, attributes and requested extensions are ignored, whatever they say.
//! The order of the checks is Fulcio's, because each has its own answer: parse, key parameters, signature,
//! algorithm. Reference: fulcio `pkg/server/grpc_server.go`, sigstore `pkg/cryptoutils/publickey.go`.

use chancery_tlog::key::{HashAlgorithm, KeyKind, PublicKey};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

use crate::principal::Principal;

#[cfg(test)]
pub(crate) mod test_key;
#[cfg(test)]
pub(crate) mod tests;

/// Longest key or request that is read, in bytes. An RSA-4096 key in PEM has 800.
const MAX_KEY: usize = 64 * 1024;

/// What a requester sends for its key.
#[derive(Clone, Debug)]
pub enum KeyRequest {
    /// A key, PEM or DER, and a signature over the principal's name.
    PublicKey {
        /// PEM (`PUBLIC KEY`, `RSA PUBLIC KEY`) or DER SPKI.
        key: Vec<u8>,
        /// The signature.
        proof: Vec<u8>,
    },
    /// PEM of a PKCS#10 request.
    SigningRequest(Vec<u8>),
}

/// Why a key is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PossessionError {
    /// No key, or none that can be read.
    #[error("the public key cannot be parsed")]
    Key,
    /// The PKCS#10 request cannot be read.
    #[error("the certificate signing request cannot be parsed")]
    SigningRequest,
    /// Key size, curve or exponent.
    #[error("the public key is insecure: {0}")]
    Insecure(&'static str),
    /// The signature is not by this key over this name.
    #[error("the proof of possession does not verify")]
    Proof,
    /// The PKCS#10 request is signed with something else than the algorithms of §2.4.
    #[error("unrecognized signature algorithm: {0}")]
    UnknownAlgorithm(String),
    /// A good key with a hash that does not go with it.
    #[error("signing algorithm not permitted: {0}, {1}")]
    NotPermitted(&'static str, &'static str),
}

impl PossessionError {
    /// The reason as a metric label: a closed set.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Key => "key_malformed",
            Self::SigningRequest => "csr_malformed",
            Self::Insecure(_) => "key_insecure",
            Self::Proof => "possession",
            Self::UnknownAlgorithm(_) | Self::NotPermitted(..) => "key_algorithm",
        }
    }
}

/// A key whose holder has proven possession. There is no other way to get one.
#[derive(Clone, Debug)]
pub struct ProvenKey(PublicKey);

impl ProvenKey {
    /// The key.
    pub fn public_key(&self) -> &PublicKey {
        &self.0
    }
}

impl KeyRequest {
    /// Checks key and proof for this principal.
    pub fn verify(&self, principal: &Principal) -> Result<ProvenKey, PossessionError> {
        match self {
            Self::PublicKey { key, proof } => {
                let key = parse_key(key)?;
                check_parameters(&key)?;
                verify_proof(&key, principal, proof)?;
                // The proof was verified with the kind's default hash, which is what the allow-list holds.
                Ok(ProvenKey(key))
            }
            Self::SigningRequest(pem) => verify_signing_request(pem),
        }
    }
}

fn parse_key(bytes: &[u8]) -> Result<PublicKey, PossessionError> {
    if bytes.is_empty() || bytes.len() > MAX_KEY {
        return Err(PossessionError::Key);
    }
    if let Some(key) = std::str::from_utf8(bytes).ok().and_then(|pem| PublicKey::from_pem(pem).ok()) {
        return Ok(key);
    }
    PublicKey::from_spki_der(bytes).map_err(|_| PossessionError::Key)
}

/// RSA of 2,048, 3,072 or 4,096 bits with exponent 65,537, the three NIST curves, Ed25519. The exponent rule is the
/// written specification's (§7.3); Fulcio's code stopped checking it.
/// KNOWN LIMIT: no search for small factors or ROCA keys, which old Fulcio releases made and current ones do not.
pub(crate) fn check_parameters(key: &PublicKey) -> Result<(), PossessionError> {
    match key.kind() {
        KeyKind::Rsa(2048 | 3072 | 4096) => match key.rsa_exponent() {
            Some(65_537) => Ok(()),
            _ => Err(PossessionError::Insecure("the RSA exponent is not 65537")),
        },
        KeyKind::Rsa(_) => Err(PossessionError::Insecure("the RSA modulus has not 2048, 3072 or 4096 bits")),
        KeyKind::EcdsaP256 | KeyKind::EcdsaP384 | KeyKind::EcdsaP521 | KeyKind::Ed25519 => Ok(()),
    }
}

fn verify_proof(key: &PublicKey, principal: &Principal, proof: &[u8]) -> Result<(), PossessionError> {
    let hash = key.kind().default_hash();
    let mut texts = std::iter::once(principal.challenge.as_str()).chain(principal.other_challenge.as_deref());
    if texts.any(|text| key.verify_any_encoding(hash, text.as_bytes(), proof).is_ok()) {
        return Ok(());
    }
    Err(PossessionError::Proof)
}

/// The key of a PKCS #10 request in PEM, proven by the request's own signature.
pub(crate) fn verify_signing_request(pem: &[u8]) -> Result<ProvenKey, PossessionError> {
    let unreadable = PossessionError::SigningRequest;
    if pem.len() > MAX_KEY {
        return Err(unreadable);
    }
    let block = pem::parse(pem).map_err(|_| PossessionError::SigningRequest)?;
    if !matches!(block.tag(), "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST") {
        return Err(unreadable);
    }
    let (rest, request) =
        X509CertificationRequest::from_der(block.contents()).map_err(|_| PossessionError::SigningRequest)?;
    if !rest.is_empty() {
        return Err(unreadable);
    }
    let info = &request.certification_request_info;
    let key = PublicKey::from_spki_der(info.subject_pki.raw).map_err(|_| PossessionError::SigningRequest)?;
    check_parameters(&key)?;
    let algorithm = request.signature_algorithm.algorithm.to_id_string();
    let (family, hash) = signature_algorithm(&algorithm)
        .ok_or_else(|| PossessionError::UnknownAlgorithm(algorithm.chars().take(64).collect()))?;
    if family != Family::of(key.kind()) {
        return Err(PossessionError::Proof);
    }
    key.verify(hash, info.raw, &request.signature_value.data).map_err(|_| PossessionError::Proof)?;
    if hash != key.kind().default_hash() {
        return Err(PossessionError::NotPermitted(family.go_type(), go_hash(hash)));
    }
    Ok(ProvenKey(key))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    Ecdsa,
    Rsa,
    Ed25519,
}

impl Family {
    fn of(kind: KeyKind) -> Self {
        match kind {
            KeyKind::EcdsaP256 | KeyKind::EcdsaP384 | KeyKind::EcdsaP521 => Self::Ecdsa,
            KeyKind::Rsa(_) => Self::Rsa,
            KeyKind::Ed25519 => Self::Ed25519,
        }
    }

    /// As Fulcio's message names it.
    fn go_type(self) -> &'static str {
        match self {
            Self::Ecdsa => "*ecdsa.PublicKey",
            Self::Rsa => "*rsa.PublicKey",
            Self::Ed25519 => "ed25519.PublicKey",
        }
    }
}

fn go_hash(hash: HashAlgorithm) -> &'static str {
    match hash {
        HashAlgorithm::Sha256 => "SHA-256",
        HashAlgorithm::Sha384 => "SHA-384",
        HashAlgorithm::Sha512 => "SHA-512",
    }
}

/// The signature algorithms of PKCS#10 requests: ECDSA and RSA PKCS#1 v1.5 with SHA-2, pure Ed25519.
fn signature_algorithm(oid: &str) -> Option<(Family, HashAlgorithm)> {
    use HashAlgorithm::{Sha256, Sha384, Sha512};
    match oid {
        "1.2.840.10045.4.3.2" => Some((Family::Ecdsa, Sha256)),
        "1.2.840.10045.4.3.3" => Some((Family::Ecdsa, Sha384)),
        "1.2.840.10045.4.3.4" => Some((Family::Ecdsa, Sha512)),
        "1.2.840.113549.1.1.11" => Some((Family::Rsa, Sha256)),
        "1.2.840.113549.1.1.12" => Some((Family::Rsa, Sha384)),
        "1.2.840.113549.1.1.13" => Some((Family::Rsa, Sha512)),
        "1.3.101.112" => Some((Family::Ed25519, Sha512)),
        _ => None,
    }
}
