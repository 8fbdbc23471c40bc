//! The timestamp authority's API: RFC 3161 over HTTP (§3.4 there), one request, one answer.
//!
//! The timestamp is of the signature's bytes, so it says nothing about who signed what. It is verified at once, with
//! the nonce that only this run knows: an authority that answers with an old timestamp is found out before a log entry
//! stands for it.

use chancery_tlog::timestamp::{Expected, NONCE, TimestampError, request, verify_response};
use chancery_tlog::trust::Keyring;
use url::Url;

use crate::guard::{Guard, HttpError, Request};

/// Media type of a request.
const QUERY: &str = "application/timestamp-query";
/// Media type of an answer.
const REPLY: &str = "application/timestamp-reply";

/// Why there is no timestamp.
#[derive(Debug, thiserror::Error)]
pub enum TimestampingError {
    /// No randomness.
    #[error("the system gives no randomness")]
    Randomness,
    /// The request could not be sent.
    #[error("the timestamp authority: {0}")]
    Http(#[from] HttpError),
    /// It refused.
    #[error("the timestamp authority refused: {0}")]
    Refused(String),
    /// Its timestamp does not hold.
    #[error("the timestamp authority's answer: {0}")]
    Timestamp(#[from] TimestampError),
}

/// A DER TimeStampResp over `signature` by the authority at `url` (the full endpoint), which `trust` must list.
pub async fn stamp(
    guard: &Guard,
    url: &Url,
    signature: &[u8],
    trust: &Keyring,
) -> Result<Vec<u8>, TimestampingError> {
    let mut nonce = [0; NONCE];
    aws_lc_rs::rand::fill(&mut nonce).map_err(|_| TimestampingError::Randomness)?;
    let query = Request::post_bytes(url.clone(), QUERY, request(signature, &nonce), REPLY);
    let answer = guard.send(query).await?;
    if !matches!(answer.status, 200 | 201) {
        return Err(TimestampingError::Refused(answer.explain()));
    }
    let expected = Expected { nonce: Some(&nonce), policy: None };
    verify_response(&answer.body, signature, trust.timestamp_authorities.as_slice(), expected)?;
    Ok(answer.body)
}
