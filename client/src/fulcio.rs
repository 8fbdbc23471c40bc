//! The certificate authority's API, Fulcio v2: `POST /api/v2/signingCert`. (facts: fulcio `fulcio.proto`)

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chancery_tlog::certificate::Certificate;
use serde::Deserialize;
use serde_json::json;
use url::Url;

use crate::ephemeral::{EphemeralKey, EphemeralKeyError};
use crate::guard::{Answered, Guard, HttpError, Request, join};
use crate::identity_token::{IdentityToken, TokenError};

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum FulcioError {
    /// The request could not be sent.
    #[error("the certificate authority: {0}")]
    Http(#[from] HttpError),
    /// It refused.
    #[error("the certificate authority refused: {0}")]
    Refused(String),
    /// Its answer makes no sense.
    #[error("the certificate authority's answer: {0}")]
    Answer(String),
    /// The token.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The key.
    #[error(transparent)]
    Key(#[from] EphemeralKeyError),
}

impl FulcioError {
    /// A refusal with what its reason probably is; authorities say only that the token was not good enough.
    #[must_use]
    pub fn with_doubt(self, doubt: Option<String>) -> Self {
        match (self, doubt) {
            (Self::Refused(answer), Some(doubt)) => Self::Refused(format!("{answer} ({doubt})")),
            (other, _) => other,
        }
    }
}

/// Exactly one member is set.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SigningCertificate {
    signed_certificate_embedded_sct: Option<Issued>,
    signed_certificate_detached_sct: Option<Issued>,
}

#[derive(Deserialize)]
struct Issued {
    chain: Chain,
}

#[derive(Deserialize)]
struct Chain {
    certificates: Vec<String>,
}

/// Asks for a certificate for `key` in the name of `token`'s subject. The certificate is for this key, but
/// otherwise unchecked; the rest of the chain that came with it is dropped, since paths are built from the
/// trusted root.
pub async fn request_certificate(
    guard: &Guard,
    authority: &Url,
    token: &IdentityToken,
    key: &EphemeralKey,
) -> Result<Answered<Certificate>, FulcioError> {
    let proof = key.sign(token.proof_subject()?.as_bytes())?;
    let request = json!({
        "publicKeyRequest": {
            "publicKey": { "algorithm": "ECDSA", "content": key.public_key().to_pem() },
            "proofOfPossession": STANDARD.encode(proof),
        },
    });
    let url = join(authority, "/api/v2/signingCert");
    let answer = guard.send(Request::post(url, &request).bearer(token.as_str())).await?;
    if !matches!(answer.status, 200 | 201) {
        return Err(FulcioError::Refused(answer.explain()));
    }
    let request = answer.request;
    let certificate = parse_answer(&answer.body, key);
    let value = certificate.map_err(|why| FulcioError::Answer(format!("{why}{request}")))?;
    Ok(Answered { value, request })
}

fn parse_answer(body: &[u8], key: &EphemeralKey) -> Result<Certificate, String> {
    let answer: SigningCertificate = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let issued = answer.signed_certificate_embedded_sct.or(answer.signed_certificate_detached_sct);
    let leaf = issued.and_then(|issued| issued.chain.certificates.into_iter().next());
    let leaf = leaf.ok_or("it has no certificate")?;
    let certificate = Certificate::from_pem(&leaf).map_err(|error| error.to_string())?;
    if certificate.public_key() != key.public_key() {
        return Err("the certificate is for another key".to_owned());
    }
    Ok(certificate)
}
