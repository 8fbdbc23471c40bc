//! The compact JWS, taken apart once. RFC 7515 §7.1.
//!
//! CVE-2025-66506: splitting an unbounded text at every dot costs memory before anyone is authenticated. Here
//! the length is capped and the dots are counted first. The payload that is parsed is the payload that is
//! verified; there is no second parse that could see something else.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde_json::{Map, Value};

use super::{MAX_TOKEN, TokenError};
use crate::excerpt::excerpt;

/// The algorithms that any issuer may use. No HMAC (there is no shared secret) and no `none`.
/// KNOWN LIMIT: Fulcio also takes ES512, which jsonwebtoken does not have and no known CI issuer uses.
const ALLOWED: [(&str, Algorithm); 9] = [
    ("RS256", Algorithm::RS256),
    ("RS384", Algorithm::RS384),
    ("RS512", Algorithm::RS512),
    ("ES256", Algorithm::ES256),
    ("ES384", Algorithm::ES384),
    ("PS256", Algorithm::PS256),
    ("PS384", Algorithm::PS384),
    ("PS512", Algorithm::PS512),
    ("EdDSA", Algorithm::EdDSA),
];

/// The names of the allowed algorithms.
pub(super) fn algorithm_names() -> impl Iterator<Item = &'static str> {
    ALLOWED.iter().map(|(name, _)| *name)
}

/// The allowed algorithm of this name.
pub(super) fn algorithm(name: &str) -> Option<Algorithm> {
    ALLOWED.iter().find(|(allowed, _)| *allowed == name).map(|(_, algorithm)| *algorithm)
}

/// A token whose form is right and whose signature is not yet verified.
#[derive(Debug)]
pub(super) struct CompactToken<'a> {
    /// `base64(header).base64(payload)`.
    pub(super) signed: &'a str,
    /// Base64 of the signature.
    pub(super) signature: &'a str,
    pub(super) algorithm: Algorithm,
    pub(super) kid: Option<String>,
    pub(super) claims: Map<String, Value>,
}

/// The token without the white space that its way here may add: a newline of the file that it was in, a
/// second space after `Bearer`. Like in Fulcio, line breaks may be anywhere, and spaces and tabs anywhere but
/// inside of the payload.
pub(super) fn unfold(token: &str) -> Result<Cow<'_, str>, TokenError> {
    if token.len() > MAX_TOKEN {
        return Err(TokenError::TooLong);
    }
    if !token.bytes().any(|b| b.is_ascii_whitespace()) {
        return Ok(Cow::Borrowed(token));
    }
    let mut parts = 0;
    let kept = token.chars().filter(|c| {
        parts += u8::from(*c == '.' && parts < 2);
        !(matches!(c, '\r' | '\n') || parts != 1 && c.is_ascii_whitespace())
    });
    Ok(Cow::Owned(kept.collect()))
}

impl<'a> CompactToken<'a> {
    /// Parses the result of [`unfold`].
    pub(super) fn parse(token: &'a str) -> Result<Self, TokenError> {
        if token.is_empty() {
            return Err(TokenError::Absent);
        }
        if token.len() > MAX_TOKEN {
            return Err(TokenError::TooLong);
        }
        if token.bytes().filter(|&b| b == b'.').count() != 2 {
            return Err(TokenError::Malformed("not three parts"));
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed("not three parts"))?;
        let (header, payload) = signed.split_once('.').ok_or(TokenError::Malformed("not three parts"))?;
        let header = json(header).ok_or(TokenError::Malformed("the header is not a JSON object"))?;
        let claims = json(payload).ok_or(TokenError::Malformed("the payload is not a JSON object"))?;
        let (algorithm, kid) = read_header(&header)?;
        Ok(Self { signed, signature, algorithm, kid, claims })
    }

    /// A claim that is text.
    pub(super) fn text(&self, claim: &str) -> Option<&str> {
        self.claims.get(claim).and_then(Value::as_str)
    }
}

fn json(part: &str) -> Option<Map<String, Value>> {
    // No member twice, at any depth: parsers that pick different ones of two `sub` claims see two identities in one
    // token (RFC 8725 §2.4, RFC 7519 §4).
    match chancery_tlog::protojson::json(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()? {
        Value::Object(members) => Some(members),
        _ => None,
    }
}

fn read_header(header: &Map<String, Value>) -> Result<(Algorithm, Option<String>), TokenError> {
    // RFC 7515 §4.1.11: a critical parameter that is not understood refuses the token; none is understood
    // here.
    if header.contains_key("crit") {
        return Err(TokenError::Critical);
    }
    let name = header.get("alg").and_then(Value::as_str).ok_or(TokenError::Malformed("no `alg`"))?;
    let algorithm = algorithm(name).ok_or_else(|| TokenError::Algorithm(excerpt(name)))?;
    let kid = match header.get("kid") {
        None | Some(Value::Null) => None,
        Some(Value::String(kid)) if kid.is_empty() => None,
        Some(Value::String(kid)) => Some(kid.clone()),
        Some(_) => return Err(TokenError::Malformed("`kid` is not text")),
    };
    Ok((algorithm, kid))
}
