//! RFC 3161 timestamps, asked for and verified: the statement of a trusted authority that given bytes existed at a time.
//!
//! Invariant: a [`VerifiedTimestamp`] was signed by the certificate that its SignerInfo names by issuer and serial
//! number, and that certificate comes from the trusted root. The certificates that travel in the token are not even parsed:
//! CVE-2026-39984 was a verifier that took the wrong one of them. References: RFC 3161 §2.4.2, RFC 5652 §5, RFC 5035.
//!
//! The order of claims in [`verify_token`] is the order of the argument: over these bytes, by a known signer, who bound
//! himself to content and certificate, with a valid signature, while the chain was valid and trusted.

mod info;
mod request;
mod token;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

use self::info::Info;
pub use self::request::{NONCE, request};
use self::token::{Hash, Token};
use crate::certificate::Certificate;
use crate::chain::{self, ChainError, Purpose};
use crate::clock::Timestamp;
use crate::der;
use crate::key::HashAlgorithm;
use crate::trust::{Known, Outside, TrustedAuthority, Validity};

/// Largest response or token that is read, in bytes. With a whole chain in it one takes less than eight thousand.
pub const MAX_TOKEN: usize = 64 * 1024;

/// Why a timestamp proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimestampError {
    /// Larger than [`MAX_TOKEN`].
    #[error("the timestamp is larger than {MAX_TOKEN} bytes")]
    TooLarge,
    /// Not the ASN.1 of RFC 3161 in DER.
    #[error("malformed timestamp: {0}")]
    Malformed(&'static str),
    /// The authority refused; its PKIStatus.
    #[error("the timestamp authority did not grant the timestamp (PKIStatus {0})")]
    NotGranted(u8),
    /// An algorithm that is weak or unknown.
    #[error("the timestamp uses an unsupported {0} algorithm")]
    Unsupported(&'static str),
    /// The timestamp is of something else.
    #[error("the timestamp is not over these bytes")]
    OtherMessage,
    /// No trusted authority has the certificate that the token names.
    #[error("the timestamp is not by a trusted timestamp authority")]
    UnknownSigner,
    /// A signed attribute is missing or does not fit.
    #[error("the timestamp's signed attribute {0}")]
    Attribute(&'static str),
    /// The signature.
    #[error("the timestamp's signature does not verify")]
    Signature,
    /// The certificate path at the timestamp's own time.
    #[error("the timestamp authority's chain: {0}")]
    Chain(String),
    /// Not while the authority was trusted.
    #[error("the timestamp authority is not trusted {0}")]
    NotTrusted(Outside),
    /// Not the nonce that was sent.
    #[error("the timestamp does not carry the nonce of its request")]
    Nonce,
    /// Another policy.
    #[error("the timestamp was made under policy {0}, which was not asked for")]
    Policy(String),
}

impl From<ChainError> for TimestampError {
    fn from(error: ChainError) -> Self {
        Self::Chain(error.to_string())
    }
}

/// What the requester knows of his own request. Verifiers of stored timestamps know nothing: [`Expected::default`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Expected<'e> {
    /// The nonce that was sent: big-endian, not negative.
    pub nonce: Option<&'e [u8]>,
    /// The policy that was asked for, dotted.
    pub policy: Option<&'e str>,
}

/// A timestamp that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedTimestamp {
    /// When: `genTime`.
    pub time: Timestamp,
    /// Serial number, contents of the INTEGER: with [`VerifiedTimestamp::signer`] it tells two timestamps apart.
    pub serial: Vec<u8>,
    /// Policy, dotted.
    pub policy: String,
    /// Who signed.
    pub signer: Certificate,
    /// Period of the authority that signed. It covers `time`, which is the authority's own word: callers that
    /// know other times hold those against it too ([`Validity::covers`]).
    pub validity: Validity,
}

/// Verifies a DER TimeStampResp, as bundles carry it, over `message`.
pub fn verify_response(
    response: &[u8],
    message: &[u8],
    authorities: &[TrustedAuthority],
    expected: Expected<'_>,
) -> Result<VerifiedTimestamp, TimestampError> {
    if response.len() > MAX_TOKEN {
        return Err(TimestampError::TooLarge);
    }
    verify_token(granted(response)?, message, authorities, expected)
}

/// Verifies a DER TimeStampToken over `message`: one of `authorities` signed it, while it was valid and trusted.
pub fn verify_token(
    token: &[u8],
    message: &[u8],
    authorities: &[TrustedAuthority],
    expected: Expected<'_>,
) -> Result<VerifiedTimestamp, TimestampError> {
    if token.len() > MAX_TOKEN {
        return Err(TimestampError::TooLarge);
    }
    let token = Token::parse(token)?;
    let info = Info::parse(token.content)?;
    check_message(&info, message)?;
    check_expected(&info, expected)?;

    let mut obstacle = TimestampError::UnknownSigner;
    for authority in authorities {
        // A TSA's entry in a trusted root starts with its leaf.
        let [leaf, intermediates @ ..] = authority.intermediates.as_slice() else { continue };
        if leaf.issuer_der() != token.issuer || leaf.serial() != token.serial {
            continue;
        }
        let roots = std::slice::from_ref(&authority.anchor);
        let verdict = check_signer(&token, leaf)
            .and_then(|()| Ok(chain::verify(leaf, intermediates, roots, info.time, Purpose::TimeStamping)?))
            .and_then(|_| {
                authority.validity.covers(&[Known::At(info.time)]).map_err(TimestampError::NotTrusted)
            });
        match verdict {
            Ok(()) => {
                let (time, serial, policy) = (info.time, info.serial.to_vec(), info.policy);
                let (signer, validity) = (leaf.clone(), authority.validity);
                return Ok(VerifiedTimestamp { time, serial, policy, signer, validity });
            }
            Err(error) => obstacle = error,
        }
    }
    Err(obstacle)
}

/// The token of a response whose status is `granted`.
fn granted(response: &[u8]) -> Result<&[u8], TimestampError> {
    let malformed = TimestampError::Malformed("not a TimeStampResp");
    let Some(contents) = der::only(response, der::SEQUENCE) else { return Err(malformed) };
    let mut fields = der::Reader::new(contents);
    let status = fields.expect(der::SEQUENCE).and_then(|info| der::Reader::new(info).expect(der::INTEGER));
    match status {
        Some([0]) => {}
        Some([status]) => return Err(TimestampError::NotGranted(*status)),
        _ => return Err(malformed),
    }
    match fields.next() {
        Some(token) if fields.is_empty() => Ok(token.whole),
        _ => Err(malformed),
    }
}

fn check_message(info: &Info<'_>, message: &[u8]) -> Result<(), TimestampError> {
    if info.hash.digest(message) == info.digest { Ok(()) } else { Err(TimestampError::OtherMessage) }
}

fn check_expected(info: &Info<'_>, expected: Expected<'_>) -> Result<(), TimestampError> {
    let trimmed = |bytes: &[u8]| bytes.iter().skip_while(|&&b| b == 0).copied().collect::<Vec<u8>>();
    if let Some(sent) = expected.nonce
        && info
            .nonce
            .is_none_or(|nonce| nonce.first().is_none_or(|b| *b >= 0x80) || trimmed(nonce) != trimmed(sent))
    {
        return Err(TimestampError::Nonce);
    }
    match expected.policy {
        Some(policy) if policy != info.policy => Err(TimestampError::Policy(info.policy.clone())),
        _ => Ok(()),
    }
}

/// Signed attributes and signature, by `leaf`'s key.
fn check_signer(token: &Token<'_>, leaf: &Certificate) -> Result<(), TimestampError> {
    let attributes = &token.attributes;
    if attributes.content_type != token::TST_INFO {
        return Err(TimestampError::Attribute("contentType is not that of a timestamp"));
    }
    if attributes.message_digest != token.digest.digest(token.content) {
        return Err(TimestampError::Attribute("messageDigest is not that of the content"));
    }
    if attributes.certificate_hashes.is_empty() {
        return Err(TimestampError::Attribute("signingCertificateV2 is missing"));
    }
    if !attributes.certificate_hashes.iter().all(|(hash, value)| *value == certificate_hash(*hash, leaf)) {
        return Err(TimestampError::Attribute(
            "signingCertificate names another certificate than the signer's",
        ));
    }
    let key = leaf.public_key();
    let hash = token::signature_hash(token.signature_algorithm, key.kind(), token.digest)
        .ok_or(TimestampError::Unsupported("signature"))?;
    key.verify(hash, &attributes.signed, token.signature).map_err(|_| TimestampError::Signature)
}

fn certificate_hash(hash: Hash, certificate: &Certificate) -> Vec<u8> {
    match hash {
        Hash::Sha1 => digest(&SHA1_FOR_LEGACY_USE_ONLY, certificate.der()).as_ref().to_vec(),
        Hash::Sha2(algorithm) => HashAlgorithm::digest(algorithm, certificate.der()),
    }
}

#[cfg(test)]
mod tests;
