//! An issuer's published keys, and the one that fits a token. RFC 7517.

use std::collections::BTreeSet;

use chancery_tlog::clock::Timestamp;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::Value;

use super::token::{CompactToken, algorithm};
use super::{FetchError, TokenError};

/// Most keys read from one set.
const MAX_KEYS: usize = 100;

/// The keys of one issuer at one time.
#[derive(Debug)]
pub(super) struct KeySet {
    keys: Vec<Key>,
    /// What the discovery document allows; RS256 alone if it says nothing (OpenID Connect Discovery §3).
    algorithms: Vec<Algorithm>,
    /// Until when no refresh is needed.
    pub(super) fresh_until: Timestamp,
    /// Until when the set serves if the issuer cannot be reached.
    pub(super) usable_until: Timestamp,
}

#[derive(Debug)]
struct Key {
    kid: Option<String>,
    algorithms: Vec<Algorithm>,
    decoding: DecodingKey,
}

impl KeySet {
    /// Reads `{"keys": […]}`. A key that we cannot use is left out: issuers publish encryption keys and new kinds
    /// in the same set.
    pub(super) fn parse(
        jwks: &[u8],
        supported: Option<&[String]>,
        fresh_until: Timestamp,
        usable_until: Timestamp,
    ) -> Result<Self, FetchError> {
        let document: Value = serde_json::from_slice(jwks).map_err(|_| FetchError::Malformed("key set"))?;
        let entries =
            document.get("keys").and_then(Value::as_array).ok_or(FetchError::Malformed("key set"))?;
        if entries.len() > MAX_KEYS {
            return Err(FetchError::TooLarge);
        }
        let keys: Vec<Key> = entries.iter().filter_map(Key::read).collect();
        if keys.is_empty() {
            return Err(FetchError::NoKeys);
        }
        let algorithms = match supported {
            Some(names) => names.iter().filter_map(|name| algorithm(name)).collect(),
            None => vec![Algorithm::RS256],
        };
        Ok(Self { keys, algorithms, fresh_until, usable_until })
    }

    /// Whether a token with this `kid` could be signed by one of these.
    pub(super) fn has(&self, kid: Option<&str>) -> bool {
        kid.is_none() || self.keys.iter().any(|key| key.kid.as_deref() == kid)
    }

    /// Verifies a token's signature by the one key that fits it. Several are refused rather than tried: a token
    /// without `kid` from an issuer with several keys says too little.
    pub(super) fn verify(&self, token: &CompactToken<'_>) -> Result<(), TokenError> {
        if !self.algorithms.contains(&token.algorithm) {
            return Err(TokenError::Algorithm(format!("{:?}", token.algorithm)));
        }
        let mut fitting = self.keys.iter().filter(|key| key.fits(token));
        let (Some(key), None) = (fitting.next(), fitting.next()) else {
            return Err(TokenError::UnknownKey);
        };
        match jsonwebtoken::crypto::verify(
            token.signature,
            token.signed.as_bytes(),
            &key.decoding,
            token.algorithm,
        ) {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(TokenError::Signature),
        }
    }
}

impl Key {
    fn read(entry: &Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(entry.clone()).ok()?;
        let for_signatures = jwk.common.public_key_use.as_ref().is_none_or(|u| *u == PublicKeyUse::Signature);
        let operations = jwk.common.key_operations.as_ref();
        let may_verify = operations.is_none_or(|ops| ops.contains(&KeyOperations::Verify));
        if !for_signatures || !may_verify {
            return None;
        }
        let mut algorithms = algorithms_of(&jwk.algorithm)?;
        // `alg` in the entry narrows; read as text, because an `alg` unknown to the library must not widen.
        if let Some(stated) = entry.get("alg") {
            let stated = algorithm(stated.as_str()?)?;
            algorithms.retain(|a| *a == stated);
        }
        let decoding = DecodingKey::from_jwk(&jwk).ok()?;
        (!algorithms.is_empty()).then_some(Self { kid: jwk.common.key_id, algorithms, decoding })
    }

    fn fits(&self, token: &CompactToken<'_>) -> bool {
        let named = token.kid.is_none() || self.kid == token.kid;
        named && self.algorithms.contains(&token.algorithm)
    }
}

/// What a key of this type and curve can verify.
fn algorithms_of(parameters: &AlgorithmParameters) -> Option<Vec<Algorithm>> {
    use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
    match parameters {
        AlgorithmParameters::RSA(_) => Some(vec![RS256, RS384, RS512, PS256, PS384, PS512]),
        AlgorithmParameters::EllipticCurve(ec) => match ec.curve {
            EllipticCurve::P256 => Some(vec![ES256]),
            EllipticCurve::P384 => Some(vec![ES384]),
            _ => None,
        },
        AlgorithmParameters::OctetKeyPair(okp) if okp.curve == EllipticCurve::Ed25519 => Some(vec![EdDSA]),
        _ => None,
    }
}

/// The `id_token_signing_alg_values_supported` of a discovery document, if it has any.
pub(super) fn supported_algorithms(document: &Value) -> Option<Vec<String>> {
    let names = document.get("id_token_signing_alg_values_supported")?.as_array()?;
    let names: BTreeSet<&str> = names.iter().filter_map(Value::as_str).collect();
    (!names.is_empty()).then(|| names.into_iter().map(str::to_owned).collect())
}
