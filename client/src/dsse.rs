//! DSSE envelopes with exactly one signature, as Sigstore bundles carry them.
//! <https://github.com/secure-systems-lab/dsse>

use crate::bundle::MAX_SIGNATURE;
use crate::bundle::wire::{self, Base64};

/// The payload type of in-toto statements.
pub const IN_TOTO: &str = "application/vnd.in-toto+json";

/// Why an envelope is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// Sigstore bundles have one signature: with more it would not be clear which of them the log entry is about.
    #[error("it has {0} signatures; exactly one is needed")]
    SignatureCount(usize),
    /// The signature has no bytes.
    #[error("its signature is empty")]
    EmptySignature,
    /// The signature is longer than any key makes.
    #[error("its signature is longer than {MAX_SIGNATURE} bytes")]
    LongSignature,
}

/// A signed payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    payload_type: String,
    payload: Vec<u8>,
    signature: Vec<u8>,
    key_id: Option<String>,
}

impl Envelope {
    /// An envelope of a payload and the signature over its [`pae`].
    pub fn new(payload_type: &str, payload: Vec<u8>, signature: Vec<u8>) -> Self {
        Self { payload_type: payload_type.to_owned(), payload, signature, key_id: None }
    }

    /// Media type of the payload.
    pub fn payload_type(&self) -> &str {
        &self.payload_type
    }

    /// The payload.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The signature.
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// The bytes that the signature covers.
    pub fn signed_bytes(&self) -> Vec<u8> {
        pae(&self.payload_type, &self.payload)
    }

    /// Compact JSON with the members in the order that the Go clients write: what is submitted to a log, whose
    /// entry hashes exactly these bytes.
    #[expect(clippy::missing_panics_doc, reason = "structures with text keys always serialise")]
    pub fn to_json(&self) -> String {
        serde_json::to_string(&self.to_wire()).expect("an envelope has string keys only, so it serialises")
    }

    /// The envelope's JSON as signers are known to write it: like [`Envelope::to_json`], or in the order of
    /// go-securesystemslib (cosign), which always has a `keyid`.
    pub(crate) fn spellings(&self) -> [String; 2] {
        let text = |text: &str| serde_json::Value::from(text).to_string();
        let (payload, signature) = (Base64::encode(&self.payload), Base64::encode(&self.signature));
        let go = format!(
            r#"{{"payloadType":{},"payload":"{payload}","signatures":[{{"keyid":{},"sig":"{signature}"}}]}}"#,
            text(&self.payload_type),
            text(self.key_id.as_deref().unwrap_or_default()),
        );
        [self.to_json(), go]
    }

    pub(crate) fn from_wire(wire: wire::Envelope) -> Result<Self, EnvelopeError> {
        let count = wire.signatures.len();
        let Ok([signature]) = <[wire::EnvelopeSignature; 1]>::try_from(wire.signatures) else {
            return Err(EnvelopeError::SignatureCount(count));
        };
        if signature.sig.0.is_empty() {
            return Err(EnvelopeError::EmptySignature);
        }
        if signature.sig.0.len() > MAX_SIGNATURE {
            return Err(EnvelopeError::LongSignature);
        }
        Ok(Self {
            payload_type: wire.payload_type,
            payload: wire.payload.0,
            signature: signature.sig.0,
            key_id: signature.keyid,
        })
    }

    pub(crate) fn to_wire(&self) -> wire::Envelope {
        wire::Envelope {
            payload: Base64(self.payload.clone()),
            payload_type: self.payload_type.clone(),
            signatures: vec![wire::EnvelopeSignature {
                sig: Base64(self.signature.clone()),
                keyid: self.key_id.clone(),
            }],
        }
    }
}

/// Pre-authentication encoding: `DSSEv1`, then length and bytes of type and payload, separated by spaces.
pub fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut encoded = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    encoded.extend_from_slice(payload);
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use chancery_tlog::merkle::Hash;

    const STATEMENT: &[u8] = br#"{"_type":"https://in-toto.io/Statement/v1"}"#;

    #[test]
    fn pae_matches_the_known_answer() {
        assert_eq!(
            Hash::digest(&pae(IN_TOTO, STATEMENT)).to_hex(),
            "57dd565335c70baa2e9fc48a46e80907434e3c6ea2342ef806dad983891349cd"
        );
    }

    #[test]
    fn envelope_json_hashes_to_the_known_answer() {
        let signature = Base64::decode(
            "MEUCIQD2ARmxN9s8+/JloEwk13MFW4XOMvYoK+PiEXBzGzYkygIgde6CgQcwvSYjApY+IHzVFwN3vK67OjeYk4uKLptIeUM=",
        );
        let envelope = Envelope::new(IN_TOTO, STATEMENT.to_vec(), signature.unwrap());
        assert_eq!(
            Hash::digest(envelope.to_json().as_bytes()).to_hex(),
            "46bf4739d3ca750bd9f6ec9614f0d277ef021e7d442f0fc491fd326db2e50277"
        );
    }

    #[test]
    fn several_signatures_are_refused() {
        let one = wire::EnvelopeSignature { sig: Base64(vec![1]), keyid: None };
        for count in [0, 2] {
            let wire = wire::Envelope {
                payload: Base64(vec![]),
                payload_type: IN_TOTO.to_owned(),
                signatures: vec![one.clone(); count],
            };
            assert_eq!(Envelope::from_wire(wire), Err(EnvelopeError::SignatureCount(count)));
        }
    }
}
