//! The attestation log's API, Rekor v2: `POST /api/v2/log/entries`. (facts: rekor-tiles `rekor_service.proto`)
//!
//! Files and statements alike become a `hashedrekord`: the signature, who made it, and the digest that it covers.
//! What the log answers is only parsed here. It is believed after [`crate::verify`] has judged the whole bundle.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chancery_tlog::certificate::Certificate;
use chancery_tlog::rekor_v2::KeyDetails;
use serde_json::{Value, json};
use url::Url;

use crate::bundle::LogEntry;
use crate::guard::{Answered, Guard, Request, join};
use crate::rekor::RekorError;

/// Path of the entries.
const ENTRIES: &str = "/api/v2/log/entries";

/// A request to log a signature over a SHA-256 digest: of the artifact, or of an envelope's signed bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct HashedRekordRequest(Value);

impl HashedRekordRequest {
    /// Signed by a P-256 key, which the certificate is for.
    pub fn new(digest: &[u8], signature: &[u8], certificate: &Certificate) -> Self {
        Self(json!({
            "hashedRekordRequestV002": {
                "digest": STANDARD.encode(digest),
                "signature": {
                    "content": STANDARD.encode(signature),
                    "verifier": {
                        "x509Certificate": { "rawBytes": STANDARD.encode(certificate.der()) },
                        "keyDetails": KeyDetails::EcdsaP256.name(),
                    },
                },
            },
        }))
    }
}

/// Logs an entry; the answer comes once it is in the tree of a signed checkpoint.
pub async fn add(
    guard: &Guard,
    log: &Url,
    request: &HashedRekordRequest,
) -> Result<Answered<LogEntry>, RekorError> {
    let answer = guard.send(Request::post(join(log, ENTRIES), &request.0)).await?;
    match answer.status {
        200 | 201 => match LogEntry::parse(&answer.body) {
            Ok(value) => Ok(Answered { value, request: answer.request }),
            Err(error) => Err(RekorError::Entry(error, answer.request)),
        },
        409 => Err(RekorError::Exists(answer.explain())),
        _ => Err(RekorError::of(&answer)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chancery_tlog::rekor_v2::CreateEntryRequest;

    #[test]
    fn the_request_is_one_that_a_log_reads() {
        let certificate = rcgen::generate_simple_self_signed(vec!["signer.example".to_owned()]).unwrap().cert;
        let certificate = Certificate::from_der(certificate.der()).unwrap();
        let request = HashedRekordRequest::new(&[7; 32], &[8; 70], &certificate);
        let read = CreateEntryRequest::from_json(request.0.to_string().as_bytes()).unwrap();
        let CreateEntryRequest::HashedRekord(read) = read else { panic!("another kind") };
        assert_eq!(read.digest, [7; 32]);
        let signature = read.signature.unwrap();
        assert_eq!(signature.content, [8; 70]);
        assert_eq!(signature.verifier.unwrap().key_details, Some(KeyDetails::EcdsaP256));
    }
}
