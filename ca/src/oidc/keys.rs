//! An issuer's published keys, and those that fit a token. RFC 7515 §4.1.4, RFC 7517, RFC 7518 §6.
//!
//! Key sets are read member by member, because real ones are odd: one key listed twice, one `kid` for two
//! keys, zero octets before a modulus, `null` for a member that is absent. A key that cannot be used here is
//! left out with its reason and spoils no other. A token is verified by any key that its header allows, as in
//! Fulcio, up to [`MAX_TRIED`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use chancery_tlog::clock::Timestamp;
use jsonwebtoken::Algorithm;
use serde_json::Value;

use super::jwk::Key;
use super::token::{CompactToken, algorithm};
use super::{FetchError, TokenError};
use crate::excerpt::excerpt;

/// Most keys read from one set.
const MAX_KEYS: usize = 100;
/// Most keys tried for one token. One RSA verification costs about 30 µs; no public issuer has more than a
/// few keys.
const MAX_TRIED: usize = 16;

/// The keys of one issuer at one time.
#[derive(Debug)]
pub(super) struct KeySet {
    keys: Vec<Key>,
    left_out: LeftOut,
    /// What the discovery document allows; RS256 alone if it says nothing (OpenID Connect Discovery §3).
    algorithms: Vec<Algorithm>,
    /// The time of the fetch.
    pub(super) fetched: Timestamp,
    /// Until when no refresh is needed.
    pub(super) fresh_until: Timestamp,
    /// Until when the set serves if the issuer cannot be reached.
    pub(super) usable_until: Timestamp,
}

/// The times of a key set.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) fetched: Timestamp,
    pub(super) fresh_until: Timestamp,
    pub(super) usable_until: Timestamp,
}

/// Entries of a key set that cannot be used, counted by reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeftOut(BTreeMap<&'static str, usize>);

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (reason, count)) in self.0.iter().enumerate() {
            let separator = if at == 0 { "; left out: " } else { ", " };
            write!(f, "{separator}{count} × {reason}")?;
        }
        Ok(())
    }
}

impl KeySet {
    /// Reads `{"keys": […]}`. `supported` are the names of the algorithms that the issuer uses, if it lists
    /// any.
    pub(super) fn parse(jwks: &[u8], supported: Option<&[String]>, times: Times) -> Result<Self, FetchError> {
        let document: Value = serde_json::from_slice(jwks).map_err(|_| FetchError::Malformed("key set"))?;
        let entries =
            document.get("keys").and_then(Value::as_array).ok_or(FetchError::Malformed("key set"))?;
        if entries.len() > MAX_KEYS {
            return Err(FetchError::TooLarge);
        }
        let mut keys: Vec<Key> = Vec::with_capacity(entries.len());
        let mut left_out = LeftOut::default();
        for entry in entries {
            match Key::read(entry) {
                Ok(key) if keys.contains(&key) => {}
                Ok(key) => keys.push(key),
                Err(reason) => *left_out.0.entry(reason).or_default() += 1,
            }
        }
        if keys.is_empty() {
            return Err(FetchError::NoKeys(left_out));
        }
        let algorithms = match supported {
            Some(names) => names.iter().filter_map(|name| algorithm(name)).collect(),
            None => vec![Algorithm::RS256],
        };
        let Times { fetched, fresh_until, usable_until } = times;
        Ok(Self { keys, left_out, algorithms, fetched, fresh_until, usable_until })
    }

    /// Whether a token with this `kid` could be signed by one of these.
    pub(super) fn has(&self, kid: Option<&str>) -> bool {
        kid.is_none() || self.keys.iter().any(|key| key.kid() == kid)
    }

    /// Verifies a token's signature by any of the keys that its `kid` and `alg` allow.
    pub(super) fn verify(&self, token: &CompactToken<'_>) -> Result<(), TokenError> {
        if !self.algorithms.contains(&token.algorithm) {
            return Err(TokenError::Algorithm(format!("{:?}", token.algorithm)));
        }
        let mut tried = 0;
        for key in self.keys.iter().filter(|key| key.fits(token)).take(MAX_TRIED) {
            if key.verify(token) {
                return Ok(());
            }
            tried += 1;
        }
        Err(if tried == 0 {
            TokenError::UnknownKey(self.misfit(token))
        } else {
            TokenError::Signature { tried }
        })
    }

    /// The reason why no key fits, for the operator.
    fn misfit(&self, token: &CompactToken<'_>) -> String {
        let (count, left_out) = (self.keys.len(), &self.left_out);
        match token.kid.as_deref() {
            Some(kid) if !self.has(Some(kid)) => {
                format!("none of its {count} usable keys has the `kid` `{}`{left_out}", excerpt(kid))
            }
            Some(kid) => {
                format!("the key `{}` is not for the algorithm {:?}{left_out}", excerpt(kid), token.algorithm)
            }
            None => format!(
                "none of its {count} usable keys is for the algorithm {:?}{left_out}",
                token.algorithm
            ),
        }
    }
}

/// The `id_token_signing_alg_values_supported` of a discovery document, if it has any.
pub(super) fn supported_algorithms(document: &Value) -> Option<Vec<String>> {
    let names = document.get("id_token_signing_alg_values_supported")?.as_array()?;
    let names: BTreeSet<&str> = names.iter().filter_map(Value::as_str).collect();
    (!names.is_empty()).then(|| names.into_iter().map(str::to_owned).collect())
}
