//! What submitters send to logs: entries by a build job with a certificate of GitHub's size.

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chancery_tlog::certificate::Certificate;
use chancery_tlog::key::{HashAlgorithm, Signer as _, SoftwareSigner};
use serde_json::{Value, json};

/// Bytes of the statement in an envelope: SLSA provenance of a GitHub workflow.
const STATEMENT: usize = 1600;

/// Who signs.
pub(crate) struct Submitter<'w> {
    pub(crate) signer: &'w SoftwareSigner,
    pub(crate) certificate: &'w Certificate,
}

impl Submitter<'_> {
    /// `hashedrekord` 0.0.1 over the artifact `content`.
    pub(crate) fn hashedrekord_v1(&self, content: &[u8]) -> Result<Vec<u8>> {
        let digest = HashAlgorithm::Sha256.digest(content);
        Ok(to_bytes(&json!({
            "apiVersion": "0.0.1",
            "kind": "hashedrekord",
            "spec": {
                "data": { "hash": { "algorithm": "sha256", "value": hex::encode(digest) } },
                "signature": {
                    "content": STANDARD.encode(self.signer.sign(content)?),
                    "publicKey": { "content": STANDARD.encode(self.certificate.to_pem()) },
                },
            },
        })))
    }

    /// `dsse` 0.0.1.
    pub(crate) fn dsse_v1(&self) -> Result<Vec<u8>> {
        let envelope = self.envelope()?.to_string();
        let verifiers = [STANDARD.encode(self.certificate.to_pem())];
        let content = json!({ "envelope": envelope, "verifiers": verifiers });
        Ok(to_bytes(&json!({
            "apiVersion": "0.0.1", "kind": "dsse", "spec": { "proposedContent": content },
        })))
    }

    /// `hashedrekord` 0.0.2 over the artifact `content`.
    pub(crate) fn hashedrekord_v2(&self, content: &[u8]) -> Result<Vec<u8>> {
        Ok(to_bytes(&json!({ "hashedRekordRequestV002": {
            "digest": STANDARD.encode(HashAlgorithm::Sha256.digest(content)),
            "signature": {
                "content": STANDARD.encode(self.signer.sign(content)?),
                "verifier": self.verifier_v2(),
            },
        } })))
    }

    /// `dsse` 0.0.2.
    pub(crate) fn dsse_v2(&self) -> Result<Vec<u8>> {
        Ok(to_bytes(&json!({ "dsseRequestV002": {
            "envelope": self.envelope()?, "verifiers": [self.verifier_v2()],
        } })))
    }

    fn verifier_v2(&self) -> Value {
        json!({
            "x509Certificate": { "rawBytes": STANDARD.encode(self.certificate.der()) },
            "keyDetails": "PKIX_ECDSA_P256_SHA_256",
        })
    }

    fn envelope(&self) -> Result<Value> {
        let kind = "application/vnd.in-toto+json";
        let statement = json!({
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{ "name": "app.tar.gz", "digest": { "sha256": hex::encode([0x5A; 32]) } }],
            "predicateType": "https://slsa.dev/provenance/v1",
            "predicate": { "buildDefinition": "x".repeat(STATEMENT - 230) },
        })
        .to_string();
        // PAE of the DSSE protocol.
        let signed = format!("DSSEv1 {} {kind} {} {statement}", kind.len(), statement.len());
        Ok(json!({
            "payload": STANDARD.encode(&statement),
            "payloadType": kind,
            "signatures": [{ "keyid": "", "sig": STANDARD.encode(self.signer.sign(signed.as_bytes())?) }],
        }))
    }
}

fn to_bytes(json: &Value) -> Vec<u8> {
    json.to_string().into_bytes()
}
