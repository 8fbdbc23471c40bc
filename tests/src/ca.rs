//! A client of the CA's v2 API that checks the SCT of every certificate it gets.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chancery_tlog::certificate::Certificate;
use chancery_tlog::ct::{Entry, Sct};
use chancery_tlog::key::{KeyKind, PublicKey, Signer as _, SoftwareSigner};
use serde_json::{Value, json};

use crate::dev_issuer::IdToken;

/// A CA and the key of its issuance log.
#[derive(Clone)]
pub struct CaClient {
    url: String,
    log_key: PublicKey,
    http: reqwest::Client,
}

/// A certificate whose embedded SCT verified.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The signing certificate.
    pub certificate: Certificate,
    /// The leaf that the issuance log must hold.
    pub leaf: Vec<u8>,
}

impl CaClient {
    /// The CA at `url`; `log_key` is the PEM file of its log's key.
    pub fn new(url: &str, log_key: &Path) -> Result<Self> {
        let log_key = PublicKey::from_pem(&std::fs::read_to_string(log_key)?)?;
        Ok(Self { url: url.to_owned(), log_key, http: crate::http()? })
    }

    /// Asks for a certificate over a fresh key; status and body of the answer, whatever it is.
    pub async fn request(&self, token: &IdToken) -> Result<(u16, String)> {
        let answer = self.send(token).await?;
        let status = answer.status().as_u16();
        Ok((status, answer.text().await?))
    }

    /// Gets a certificate; `Ok(None)` if the CA asked to try again later or could not be reached.
    pub async fn issue(&self, token: &IdToken) -> Result<Option<Issued>> {
        let Ok(answer) = self.send(token).await else { return Ok(None) };
        let status = answer.status().as_u16();
        let Ok(text) = answer.text().await else { return Ok(None) };
        if matches!(status, 429 | 503) {
            return Ok(None);
        }
        ensure!(status == 200, "the CA answers {status}: {text}");
        Ok(Some(self.issued(&serde_json::from_str(&text)?)?))
    }

    async fn send(&self, token: &IdToken) -> Result<reqwest::Response> {
        let signer = SoftwareSigner::generate(KeyKind::EcdsaP256)?;
        let proof = STANDARD.encode(signer.sign(token.claim("sub").as_bytes())?);
        let request = json!({
            "credentials": { "oidcIdentityToken": token.as_str() },
            "publicKeyRequest": {
                "publicKey": { "algorithm": "ECDSA", "content": signer.public_key().to_pem() },
                "proofOfPossession": proof,
            },
        });
        Ok(self.http.post(format!("{}/api/v2/signingCert", self.url)).json(&request).send().await?)
    }

    fn issued(&self, answer: &Value) -> Result<Issued> {
        let chain = answer["signedCertificateEmbeddedSct"]["chain"]["certificates"].as_array();
        let chain = chain.with_context(|| format!("no chain with an embedded SCT: {answer}"))?;
        let certificates =
            chain.iter().map(|pem| Ok(Certificate::from_pem(pem.as_str().unwrap_or_default())?));
        let certificates = certificates.collect::<Result<Vec<_>>>()?;
        let [certificate, issuer, ..] = certificates.as_slice() else { anyhow::bail!("a chain of one") };
        let entry = Entry::from_final(certificate, issuer)?;
        let scts = Sct::embedded(certificate)?;
        let [sct] = scts.as_slice() else { anyhow::bail!("{} SCTs, one expected", scts.len()) };
        sct.verify(&entry, &self.log_key).context("the embedded SCT")?;
        Ok(Issued { certificate: certificate.clone(), leaf: entry.leaf(sct.timestamp, &sct.extensions) })
    }
}
