//! An RFC 3161 timestamp authority: SHA-256 imprints with a nonce, certificates included.

use anyhow::{Context as _, Result, ensure};
use chancery_tlog::merkle::Hash;
use chancery_tlog::timestamp::{Expected, verify_response};
use chancery_tlog::trust::{Keyring, TrustedAuthority};
use reqwest::Request;
use url::Url;

use super::{Target, post};
use crate::ledger::{Acknowledged, Ledger};
use crate::parallel;
use crate::submitter::random;

/// A `TimeStampReq` up to its digest: version 1, SHA-256 with NULL parameters.
const BEFORE_DIGEST: [u8; 24] = [
    0x30, 0x43, 0x02, 0x01, 0x01, 0x30, 0x31, 0x30, 0x0D, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03,
    0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20,
];
/// The head of a nonce of 8 bytes.
const BEFORE_NONCE: [u8; 2] = [0x02, 0x08];
/// `certReq` TRUE.
const CERT_REQ: [u8; 3] = [0x01, 0x01, 0xFF];

/// A timestamp authority under load.
pub(crate) struct Timestamps {
    endpoint: Url,
    authorities: Vec<TrustedAuthority>,
}

/// What is to be stamped.
pub(crate) struct Imprint {
    message: [u8; 32],
    nonce: [u8; 8],
}

impl Timestamps {
    /// Load for the authority at `endpoint`.
    pub(crate) fn new(endpoint: &str, keyring: &Keyring) -> Result<Self> {
        let authorities = keyring.timestamp_authorities.as_slice().to_vec();
        ensure!(!authorities.is_empty(), "the trusted root lists no timestamp authority");
        Ok(Self { endpoint: Url::parse(endpoint)?, authorities })
    }
}

impl Target for Timestamps {
    type Shot = Imprint;

    async fn prepare(&self, count: usize) -> Result<Vec<Imprint>> {
        let imprint = |_| -> Result<Imprint> {
            let mut nonce = random::<8>()?;
            // Positive, and without a leading zero byte that DER would not allow.
            nonce[0] = nonce[0] & 0x7F | 0x40;
            Ok(Imprint { message: random()?, nonce })
        };
        parallel::map(count, imprint).await?.into_iter().collect()
    }

    fn request(&self, shot: &Imprint) -> Request {
        let digest = Hash::digest(&shot.message);
        let parts: [&[u8]; 5] = [&BEFORE_DIGEST, digest.as_bytes(), &BEFORE_NONCE, &shot.nonce, &CERT_REQ];
        post(&self.endpoint, "application/timestamp-query", parts.concat())
    }

    fn verify(&self, shot: &Imprint, answer: &[u8]) -> Result<Acknowledged> {
        let expected = Expected { nonce: Some(&shot.nonce), policy: None };
        verify_response(answer, &shot.message, &self.authorities, expected).context("the timestamp")?;
        Ok(Acknowledged::default())
    }

    /// A timestamp is whole by itself: there is no state to hold it against.
    async fn audit(&self, _: &mut Ledger) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_has_the_length_that_it_says() {
        let whole = BEFORE_DIGEST.len() + 32 + BEFORE_NONCE.len() + 8 + CERT_REQ.len();
        assert_eq!(usize::from(BEFORE_DIGEST[1]), whole - 2);
    }
}
