//! The issuance log as the CA sees it: a precertificate chain goes in, a signed certificate timestamp comes out.
//!
//! The CA never trusts the answer: the timestamp is verified by the log's key before it is embedded (see
//! [`crate::issuance`]). In one process the server adapts its own log to [`IssuanceLog`]; over the network
//! [`RemoteLog`] speaks RFC 6962 §4.2.

use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chancery_tlog::certificate::Certificate;
use chancery_tlog::ct::{AddChainResponse, Sct};
use chancery_tlog::key::PublicKey;
use http::StatusCode;
use url::Url;

use crate::excerpt::excerpt;

#[cfg(test)]
mod tests;

/// How long a log may take. sigstore-js gives a whole signing request five seconds.
pub const DEADLINE: Duration = Duration::from_secs(4);
/// Largest answer of a log, in bytes.
const MAX_ANSWER: usize = 64 * 1024;
/// First pause before a retry; doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// Why there is no timestamp.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IssuanceLogError {
    /// The log did not answer within [`DEADLINE`].
    #[error("the issuance log did not answer in time")]
    Timeout,
    /// It cannot take entries now: overload, shutdown, or not reachable.
    #[error("the issuance log is not available: {0}")]
    Unavailable(String),
    /// It will never take this chain.
    #[error("the issuance log refused the precertificate: {0}")]
    Refused(String),
    /// Its answer makes no sense.
    #[error("the issuance log gave an unusable answer: {0}")]
    Unusable(String),
}

/// A certificate transparency log that takes precertificates.
#[async_trait]
pub trait IssuanceLog: Send + Sync {
    /// Logs a precertificate; the chain goes on with the issuing CA and ends with the root. Safe to repeat.
    async fn add_pre_chain(&self, chain: &[Certificate]) -> Result<Sct, IssuanceLogError>;
    /// The key that signs the log's timestamps.
    fn public_key(&self) -> &PublicKey;
}

/// A log behind HTTP.
pub struct RemoteLog {
    endpoint: Url,
    key: PublicKey,
    client: reqwest::Client,
}

impl RemoteLog {
    /// A log at `url`, the part before `/ct/v1/`, whose timestamps `key` signs.
    pub fn new(url: &str, key: PublicKey) -> Result<Self, IssuanceLogError> {
        let wrong = |problem: String| IssuanceLogError::Unavailable(format!("{url}: {problem}"));
        let endpoint = format!("{}/ct/v1/add-pre-chain", url.trim_end_matches('/'));
        let endpoint = Url::parse(&endpoint).map_err(|e| wrong(e.to_string()))?;
        let client = crate::proxy::through(reqwest::Client::builder())
            .map_err(wrong)?
            .redirect(reqwest::redirect::Policy::none())
            .timeout(DEADLINE)
            .user_agent(concat!("chancery-ca/", env!("CARGO_PKG_VERSION")))
            .build();
        Ok(Self { endpoint, key, client: client.map_err(|e| wrong(e.to_string()))? })
    }

    async fn try_once(&self, body: &serde_json::Value) -> Result<Sct, Attempt> {
        let sent = self.client.post(self.endpoint.clone()).json(body).send().await;
        let mut response = sent.map_err(|e| Attempt::Again(e.to_string()))?;
        let status = response.status();
        let mut answer = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| Attempt::Again(e.to_string()))? {
            if answer.len() + chunk.len() > MAX_ANSWER {
                return Err(Attempt::Final(IssuanceLogError::Unusable("too large".to_owned())));
            }
            answer.extend_from_slice(&chunk);
        }
        match status {
            StatusCode::OK => read_answer(&answer).map_err(Attempt::Final),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE | StatusCode::REQUEST_TIMEOUT => {
                Err(Attempt::Again(format!("status {status}")))
            }
            _ => {
                let text = excerpt(&String::from_utf8_lossy(&answer));
                Err(Attempt::Final(IssuanceLogError::Refused(format!("status {status}: {text}"))))
            }
        }
    }
}

/// What one try came to.
enum Attempt {
    Again(String),
    Final(IssuanceLogError),
}

#[async_trait]
impl IssuanceLog for RemoteLog {
    async fn add_pre_chain(&self, chain: &[Certificate]) -> Result<Sct, IssuanceLogError> {
        let encoded: Vec<String> = chain.iter().map(|c| STANDARD.encode(c.der())).collect();
        let body = serde_json::json!({ "chain": encoded });
        let retrying = async {
            let mut pause = FIRST_PAUSE;
            loop {
                match self.try_once(&body).await {
                    Ok(sct) => return Ok(sct),
                    Err(Attempt::Final(error)) => return Err(error),
                    Err(Attempt::Again(problem)) => {
                        tracing::warn!(%problem, "the issuance log did not take a precertificate; trying again");
                    }
                }
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
        };
        tokio::time::timeout(DEADLINE, retrying).await.unwrap_or(Err(IssuanceLogError::Timeout))
    }

    fn public_key(&self) -> &PublicKey {
        &self.key
    }
}

fn read_answer(answer: &[u8]) -> Result<Sct, IssuanceLogError> {
    let response: AddChainResponse =
        serde_json::from_slice(answer).map_err(|e| IssuanceLogError::Unusable(e.to_string()))?;
    Sct::try_from(&response).map_err(|e| IssuanceLogError::Unusable(e.to_string()))
}
