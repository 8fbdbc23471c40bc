//! SubjectPublicKeyInfo (RFC 5280 §4.1.2.7) of the kinds that Sigstore uses, each in its one DER spelling.
//!
//! Elliptic curve points are uncompressed and named by curve, RSA parameters are NULL, Ed25519 has none. Anything else would
//! give one key two fingerprints, hence two log ids and two index keys.

use super::{KeyError, KeyKind};
use crate::der;

/// Everything of an SPKI in front of the key bits, by kind.
const FIXED: [(KeyKind, &[u8], usize); 4] = [
    (
        KeyKind::EcdsaP256,
        &[
            0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
            0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
        ],
        65,
    ),
    (
        KeyKind::EcdsaP384,
        &[
            0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b,
            0x81, 0x04, 0x00, 0x22, 0x03, 0x62, 0x00,
        ],
        97,
    ),
    (
        KeyKind::EcdsaP521,
        &[
            0x30, 0x81, 0x9b, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05,
            0x2b, 0x81, 0x04, 0x00, 0x23, 0x03, 0x81, 0x86, 0x00,
        ],
        133,
    ),
    (KeyKind::Ed25519, &[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00], 32),
];

/// AlgorithmIdentifier of rsaEncryption with its NULL.
const RSA: &[u8] =
    &[0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
const UNCOMPRESSED: u8 = 0x04;
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// The kind of an SPKI and its key bits.
pub(super) fn parse(der: &[u8]) -> Result<(KeyKind, &[u8]), KeyError> {
    for (kind, prefix, length) in FIXED {
        if let Some(bits) = der.strip_prefix(prefix) {
            let point = kind == KeyKind::Ed25519 || bits.first() == Some(&UNCOMPRESSED);
            return if bits.len() == length && point {
                Ok((kind, bits))
            } else {
                Err(KeyError::Malformed("the key has a wrong length or a compressed point"))
            };
        }
    }
    let mut parts = der::Reader::new(der::only(der, der::SEQUENCE).ok_or(NOT_SPKI)?);
    let algorithm = parts.next().filter(|value| value.tag == der::SEQUENCE).ok_or(NOT_SPKI)?;
    let bits = parts.expect(der::BIT_STRING).ok_or(NOT_SPKI)?;
    if !parts.is_empty() {
        return Err(NOT_SPKI);
    }
    if algorithm.whole != RSA {
        return Err(KeyError::Unsupported(describe(algorithm.contents)));
    }
    let bits = bits.strip_prefix(&[0]).ok_or(NOT_SPKI)?;
    Ok((KeyKind::Rsa(rsa_bits(bits)?), bits))
}

const NOT_SPKI: KeyError = KeyError::Malformed("not a DER SubjectPublicKeyInfo");

/// Modulus length of a PKCS#1 RSAPublicKey, which must be strict DER.
fn rsa_bits(pkcs1: &[u8]) -> Result<u32, KeyError> {
    let malformed = KeyError::Malformed("not a PKCS#1 RSAPublicKey");
    let Some((modulus, _)) = rsa_parts(pkcs1) else { return Err(malformed) };
    let leading = modulus.first().map_or(0, |byte| byte.leading_zeros() as usize);
    let bits = modulus.len() * 8 - leading;
    match u32::try_from(bits) {
        Ok(fits) if RSA_BITS.contains(&bits) => Ok(fits),
        _ => Err(KeyError::Unsupported(format!("RSA with {bits} bits (2048 to 8192 are supported)"))),
    }
}

/// Modulus and exponent of a PKCS#1 RSAPublicKey.
fn rsa_parts(pkcs1: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut parts = der::Reader::new(der::only(pkcs1, der::SEQUENCE)?);
    let modulus = der::positive(parts.expect(der::INTEGER)?)?;
    let exponent = der::positive(parts.expect(der::INTEGER)?)?;
    parts.is_empty().then_some((modulus, exponent))
}

/// The public exponent of a PKCS#1 RSAPublicKey, if it fits 64 bits.
pub(super) fn rsa_exponent(pkcs1: &[u8]) -> Option<u64> {
    let (_, exponent) = rsa_parts(pkcs1)?;
    (exponent.len() <= 8).then(|| exponent.iter().fold(0, |value, &byte| value << 8 | u64::from(byte)))
}

/// SPKI around a PKCS#1 RSAPublicKey; checks nothing.
pub(super) fn encode_rsa(pkcs1: &[u8]) -> Vec<u8> {
    let bits = der::encode(der::BIT_STRING, &[&[0], pkcs1].concat());
    der::encode(der::SEQUENCE, &[RSA, &bits].concat())
}

/// SPKI around an Ed25519 key.
pub(super) fn encode_ed25519(key: &[u8; 32]) -> Vec<u8> {
    FIXED.iter().find(|row| row.0 == KeyKind::Ed25519).map_or_else(Vec::new, |row| [row.1, key].concat())
}

/// The OIDs of an AlgorithmIdentifier for an error message.
fn describe(algorithm: &[u8]) -> String {
    let mut parts = der::Reader::new(algorithm);
    let mut oids = Vec::new();
    while let Some(value) = parts.next() {
        if value.tag == der::OID && oids.len() < 2 {
            oids.push(x509_parser::der_parser::Oid::new(value.contents.into()).to_id_string());
        }
    }
    if oids.is_empty() { "without an identifier".to_owned() } else { oids.join(" ") }
}
