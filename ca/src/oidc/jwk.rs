//! One JSON Web Key, read leniently and only as far as it verifies tokens. RFC 7517 §4, RFC 7518 §6, RFC 8037
//! §2.

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::Value;

use super::token::{CompactToken, algorithm};

/// Padding and loose trailing bits are tolerated, as Go's library does.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);
/// Bits of an RSA modulus: what the signature library verifies.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// A key that can verify tokens.
#[derive(Debug)]
pub(super) struct Key {
    kid: Option<String>,
    algorithms: Vec<Algorithm>,
    material: Material,
    decoding: DecodingKey,
}

/// Two entries with the same `kid`, purpose and key material are one key.
impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.kid == other.kid && self.algorithms == other.algorithms && self.material == other.material
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Material {
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// The uncompressed point, or the 32 bytes of an Ed25519 key.
    Curve(Vec<u8>),
}

impl Key {
    /// Reads an entry of a key set; `Err` with the reason why it cannot be used.
    pub(super) fn read(entry: &Value) -> Result<Self, &'static str> {
        if text(entry, "use")?.is_some_and(|purpose| purpose != "sig") {
            return Err("not for signatures (`use`)");
        }
        let operations = entry.get("key_ops").filter(|operations| !operations.is_null());
        if let Some(operations) = operations
            && !operations.as_array().is_some_and(|list| list.iter().any(|operation| operation == "verify"))
        {
            return Err("not for verifying (`key_ops`)");
        }
        let kid = text(entry, "kid")?.map(str::to_owned);
        let (material, mut algorithms) = material(entry)?;
        // `alg` narrows. One that is unknown here must not widen.
        if let Some(stated) = text(entry, "alg")? {
            let stated = algorithm(stated);
            algorithms.retain(|a| Some(*a) == stated);
        }
        if algorithms.is_empty() {
            return Err("`alg` is unknown or does not suit the kind of key");
        }
        let decoding = match &material {
            Material::Rsa { n, e } => DecodingKey::from_rsa_raw_components(n, e),
            Material::Curve(key) if algorithms == [Algorithm::EdDSA] => DecodingKey::from_ed_der(key),
            Material::Curve(point) => DecodingKey::from_ec_der(point),
        };
        Ok(Self { kid, algorithms, material, decoding })
    }

    pub(super) fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// A token without `kid` may be signed by any key of its algorithm.
    pub(super) fn fits(&self, token: &CompactToken<'_>) -> bool {
        let named = token.kid.is_none() || self.kid == token.kid;
        named && self.algorithms.contains(&token.algorithm)
    }

    pub(super) fn verify(&self, token: &CompactToken<'_>) -> bool {
        let signed = token.signed.as_bytes();
        jsonwebtoken::crypto::verify(token.signature, signed, &self.decoding, token.algorithm)
            .unwrap_or(false)
    }
}

/// A member that is text; absent, null and empty are alike.
fn text<'e>(entry: &'e Value, name: &str) -> Result<Option<&'e str>, &'static str> {
    match entry.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err("a member is not text"),
    }
}

fn material(entry: &Value) -> Result<(Material, Vec<Algorithm>), &'static str> {
    use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
    let curve = text(entry, "crv")?;
    match (text(entry, "kty")?, curve) {
        (Some("RSA"), _) => {
            let (n, e) = (integer(entry, "n")?, integer(entry, "e")?);
            if !RSA_BITS.contains(&(n.len() * 8)) || e.is_empty() || e.len() > 4 {
                return Err("an RSA key of a size that is not accepted");
            }
            Ok((Material::Rsa { n, e }, vec![RS256, RS384, RS512, PS256, PS384, PS512]))
        }
        (Some("EC"), Some("P-256")) => Ok((Material::Curve(point(entry, 32)?), vec![ES256])),
        (Some("EC"), Some("P-384")) => Ok((Material::Curve(point(entry, 48)?), vec![ES384])),
        (Some("OKP"), Some("Ed25519")) => {
            let key = octets(entry, "x")?;
            if key.len() != 32 {
                return Err("an Ed25519 key of the wrong length");
            }
            Ok((Material::Curve(key), vec![EdDSA]))
        }
        (Some("EC" | "OKP"), _) => Err("an unknown curve"),
        _ => Err("an unknown kind of key (`kty`)"),
    }
}

fn octets(entry: &Value, name: &str) -> Result<Vec<u8>, &'static str> {
    let text = text(entry, name)?.ok_or("a member of the key is missing")?;
    BASE64.decode(text).map_err(|_| "a member of the key is not base64url")
}

/// An unsigned integer without the zero octets before it, which RFC 7518 §6.3.1.1 says that implementations
/// add.
fn integer(entry: &Value, name: &str) -> Result<Vec<u8>, &'static str> {
    let octets = octets(entry, name)?;
    let zeros = octets.iter().take_while(|octet| **octet == 0).count();
    Ok(octets[zeros..].to_vec())
}

/// The uncompressed point, each coordinate at its full length whatever zeros the issuer added or dropped.
fn point(entry: &Value, length: usize) -> Result<Vec<u8>, &'static str> {
    let mut point = vec![4];
    for name in ["x", "y"] {
        let coordinate = integer(entry, name)?;
        let missing = length.checked_sub(coordinate.len()).ok_or("a coordinate that is too long")?;
        point.resize(point.len() + missing, 0);
        point.extend_from_slice(&coordinate);
    }
    Ok(point)
}
