//! The timestamp authority's API: RFC 3161 over HTTP (§3.4 there), one request, one answer.
//!
//! The timestamp is of the signature's bytes, so it says nothing about who signed what. It is verified at once, with
//! the nonce that only this run knows, and compared with the certificate's life: an authority that answers with an old
//! timestamp, or has another clock than the CA, is found out before a log entry stands for it.

use std::time::Duration;

use chancery_tlog::certificate::Certificate;
use chancery_tlog::clock::Timestamp;
use chancery_tlog::timestamp::{
    Expected, NONCE, TimestampError, VerifiedTimestamp, request, verify_response,
};
use chancery_tlog::trust::Keyring;
use url::Url;

use crate::guard::{Answered, Guard, HttpError, Request, RequestId};

/// Media type of a request.
const QUERY: &str = "application/timestamp-query";
/// Media type of an answer.
const REPLY: &str = "application/timestamp-reply";
/// Longest wait for an authority whose clock has not reached the certificate's first second: certificates are not
/// back-dated, and two machines' clocks agree to a second at best.
const MAX_WAIT: Duration = Duration::from_secs(10);
/// Requests to one authority, the last of which must be answered with a time in the certificate's life.
const ATTEMPTS: usize = 3;

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
    #[error("the timestamp authority's answer: {0}{1}")]
    Timestamp(TimestampError, RequestId),
    /// Its clock is not the CA's.
    #[error(
        "the timestamp authority's clock shows {time}, outside of the certificate's life from {} to {}: its clock \
         differs from the certificate authority's{request}",
        life.0,
        life.1
    )]
    Clock {
        /// The time in the timestamp.
        time: Timestamp,
        /// First and last second of the certificate.
        life: (Timestamp, Timestamp),
        /// The last request's id.
        request: RequestId,
    },
}

/// A DER TimeStampResp over `signature` by the authority at `url` (the full endpoint), which `trust` must list, with a time
/// at which `certificate` is valid. Waits for an authority whose clock is a few seconds behind.
pub async fn stamp(
    guard: &Guard,
    url: &Url,
    signature: &[u8],
    certificate: &Certificate,
    trust: &Keyring,
) -> Result<Vec<u8>, TimestampingError> {
    let mut attempt = 1;
    loop {
        let Answered { value: (response, stamp), request } = ask(guard, url, signature, trust).await?;
        if certificate.is_valid_at(stamp.time) {
            return Ok(response);
        }
        let early = certificate.not_before().millis().saturating_sub(stamp.time.millis());
        let wait = Duration::from_millis(early);
        if attempt == ATTEMPTS || wait.is_zero() || wait > MAX_WAIT {
            let life = (certificate.not_before(), certificate.not_after());
            return Err(TimestampingError::Clock { time: stamp.time, life, request });
        }
        tokio::time::sleep(wait).await;
        attempt += 1;
    }
}

/// One request and its answer, which holds.
async fn ask(
    guard: &Guard,
    url: &Url,
    signature: &[u8],
    trust: &Keyring,
) -> Result<Answered<(Vec<u8>, VerifiedTimestamp)>, TimestampingError> {
    let mut nonce = [0; NONCE];
    aws_lc_rs::rand::fill(&mut nonce).map_err(|_| TimestampingError::Randomness)?;
    let query = Request::post_bytes(url.clone(), QUERY, request(signature, &nonce), REPLY);
    let answer = guard.send(query).await?;
    if !matches!(answer.status, 200 | 201) {
        return Err(TimestampingError::Refused(answer.explain()));
    }
    let expected = Expected { nonce: Some(&nonce), policy: None };
    let authorities = trust.timestamp_authorities.as_slice();
    match verify_response(&answer.body, signature, authorities, expected) {
        Ok(stamp) => Ok(Answered { value: (answer.body, stamp), request: answer.request }),
        Err(error) => Err(TimestampingError::Timestamp(error, answer.request)),
    }
}
