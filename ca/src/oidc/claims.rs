//! The checks of claims that need no key: audience and time. RFC 7519 §4.1.3 to §4.1.6.

use std::time::Duration;

use chancery_tlog::clock::Timestamp;
use serde_json::{Map, Value};

use super::{Settings, TokenError};

/// Checks `aud`, `exp`, `nbf` and `iat`.
pub(super) fn check(
    claims: &Map<String, Value>,
    audience: &str,
    settings: &Settings,
    now: Timestamp,
) -> Result<(), TokenError> {
    check_audience(claims, audience)?;
    check_times(claims, settings, now)
}

/// Checks `exp`, `nbf` and `iat`.
pub(super) fn check_times(
    claims: &Map<String, Value>,
    settings: &Settings,
    now: Timestamp,
) -> Result<(), TokenError> {
    let latest = seconds(now.plus(settings.leeway));
    let now = seconds(now);
    let exp = date(claims, "exp")?.ok_or(TokenError::Malformed("no `exp`"))?;
    if now >= exp {
        return Err(TokenError::Expired);
    }
    if date(claims, "nbf")?.is_some_and(|nbf| nbf > latest) {
        return Err(TokenError::NotYetValid);
    }
    // Fulcio does not compare `iat`. It matters only where tokens must be young.
    let iat = date(claims, "iat")?;
    if let Some(max_age) = settings.max_age {
        let iat = iat.ok_or(TokenError::Malformed("no `iat`"))?;
        if iat > latest {
            return Err(TokenError::NotYetValid);
        }
        if now - iat > max_age.as_secs_f64() {
            return Err(TokenError::TooOld);
        }
    }
    Ok(())
}

/// Exact membership, byte for byte. Other audiences beside ours are allowed (Kubernetes lists several).
pub(super) fn check_audience(claims: &Map<String, Value>, audience: &str) -> Result<(), TokenError> {
    let ours = match claims.get("aud") {
        Some(Value::String(aud)) => aud == audience,
        Some(Value::Array(items)) => {
            if !items.iter().all(Value::is_string) {
                return Err(TokenError::Malformed("`aud` is not text"));
            }
            items.iter().any(|item| item.as_str() == Some(audience))
        }
        _ => return Err(TokenError::Malformed("no `aud`")),
    };
    if ours { Ok(()) } else { Err(TokenError::Audience(audience.to_owned())) }
}

/// A NumericDate, which may have a fraction (RFC 7519 §2).
fn date(claims: &Map<String, Value>, claim: &str) -> Result<Option<f64>, TokenError> {
    match claims.get(claim) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Number(number)) => Ok(number.as_f64()),
        Some(_) => Err(TokenError::Malformed("a time is not a number")),
    }
}

fn seconds(at: Timestamp) -> f64 {
    Duration::from_millis(at.millis()).as_secs_f64()
}
