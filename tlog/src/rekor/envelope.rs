//! DSSE envelopes as the `dsse` and `intoto` kinds check them: every signature by some key, keys in their order.

use std::collections::BTreeMap;

use super::field::{Object, either_base64};
use super::{EntryError, MAX_SIGNATURES, Verifier};
use crate::key::HashAlgorithm;

/// What Rekor says where no key fits.
const BELOW_THRESHOLD: &str =
    "could not verify envelope: accepted signatures do not match threshold, Found: 0, Expected 1";

/// An envelope with its payload decoded.
pub(super) struct Envelope<'e> {
    pub(super) payload_type: &'e str,
    pub(super) payload: Vec<u8>,
    /// Signatures in the envelope's own spelling.
    pub(super) signatures: Vec<&'e str>,
}

impl<'e> Envelope<'e> {
    /// Reads the JSON of an envelope.
    pub(super) fn read(json: &Object<'e>) -> Result<Self, EntryError> {
        let payload = either_base64(json.text("payload")?)
            .ok_or_else(|| EntryError::invalid("could not decode the payload of the DSSE envelope"))?;
        let signatures = json
            .objects("signatures", MAX_SIGNATURES)?
            .iter()
            .map(|signature| signature.text("sig"))
            .collect::<Result<_, _>>()?;
        Ok(Self { payload_type: json.text("payloadType")?, payload, signatures })
    }

    /// Finds for every signature the key that verifies it, as Rekor does: keys are tried in order until no signature
    /// is left; a key that was tried must verify something, one that was not is ignored. Signatures spelled alike are one.
    ///
    /// Keys hash with SHA-256 whatever their curve; Ed25519 is pure.
    pub(super) fn verify(&self, verifiers: &[Vec<u8>]) -> Result<BTreeMap<&'e str, Verifier>, EntryError> {
        let signed = pae(self.payload_type, &self.payload);
        let decoded = self.decoded()?;
        let mut matched = BTreeMap::new();
        for pem in verifiers {
            if matched.len() == decoded.len() {
                break;
            }
            let verifier = Verifier::from_pem(pem)?;
            let mut verified = false;
            for (signature, bytes) in &decoded {
                if verifier.public_key().verify(HashAlgorithm::Sha256, &signed, bytes).is_ok() {
                    matched.insert(*signature, verifier.clone());
                    verified = true;
                }
            }
            if !verified {
                return Err(EntryError::invalid(BELOW_THRESHOLD));
            }
        }
        if matched.len() < decoded.len() {
            return Err(EntryError::invalid("all signatures must have a key that verifies it"));
        }
        Ok(matched)
    }

    /// Whether the key verifies any of the signatures, as `intoto` 0.0.1 asks. The others may be anybody's.
    pub(super) fn verify_any(&self, verifier: &Verifier) -> Result<(), EntryError> {
        let signed = pae(self.payload_type, &self.payload);
        let by_key =
            |bytes: &Vec<u8>| verifier.public_key().verify(HashAlgorithm::Sha256, &signed, bytes).is_ok();
        if self.decoded()?.values().any(by_key) { Ok(()) } else { Err(EntryError::invalid(BELOW_THRESHOLD)) }
    }

    /// The signatures' bytes, by their spelling.
    fn decoded(&self) -> Result<BTreeMap<&'e str, Vec<u8>>, EntryError> {
        let decode = |&signature: &&'e str| {
            let bytes = either_base64(signature).filter(|bytes| !bytes.is_empty()).ok_or_else(|| {
                EntryError::invalid("could not verify envelope: unable to base64 decode signature")
            })?;
            Ok((signature, bytes))
        };
        self.signatures.iter().map(decode).collect()
    }
}

/// Pre-authentication encoding: what a DSSE signature covers.
pub(crate) fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut signed = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    signed.extend_from_slice(payload);
    signed
}
