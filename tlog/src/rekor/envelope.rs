//! DSSE envelopes as the `dsse` and `intoto` kinds check them: every signature by some key, keys in their order.

use std::cell::OnceCell;
use std::collections::BTreeMap;

use super::field::{Object, either_base64};
use super::{EntryError, MAX_SIGNATURES, Verifier};
use crate::effort::Effort;
use crate::key::{HashAlgorithm, KeyKind, PublicKey};

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
    /// Rekor tries every key with every signature, and the last key that verifies one has it. Here a key is tried with
    /// the signatures that have none yet, and with the others only if it verifies none of those. The outcome is
    /// another only for a signature that two keys verify, which takes keys made for it: then the first one keeps it.
    ///
    /// Keys hash with SHA-256 whatever their curve; Ed25519 is pure.
    pub(super) fn verify(
        &self,
        verifiers: &[Vec<u8>],
        effort: &Effort,
    ) -> Result<BTreeMap<&'e str, Verifier>, EntryError> {
        let signed = Signed::new(self);
        let decoded = self.decoded()?;
        let mut matched: BTreeMap<&str, Verifier> = BTreeMap::new();
        let mut tried: Vec<(PublicKey, Vec<&str>)> = Vec::new();
        for pem in verifiers {
            if matched.len() == decoded.len() {
                break;
            }
            let verifier = Verifier::from_pem_within(pem, effort)?;
            let key = verifier.public_key();
            let known = tried.iter().find(|(known, _)| known == key).map(|(_, verified)| verified.clone());
            let verified = known.unwrap_or_else(|| {
                let by_key = |matched_already: bool| {
                    let some =
                        decoded.iter().filter(|(text, _)| matched.contains_key(*text) == matched_already);
                    let by_key = some.filter(|(_, bytes)| effort.check(|| signed.is_by(key, bytes)));
                    by_key.map(|(text, _)| *text).collect::<Vec<_>>()
                };
                let verified = by_key(false);
                if verified.is_empty() { by_key(true) } else { verified }
            });
            if verified.is_empty() {
                return Err(EntryError::invalid(BELOW_THRESHOLD));
            }
            matched.extend(verified.iter().map(|text| (*text, verifier.clone())));
            tried.push((key.clone(), verified));
        }
        if matched.len() < decoded.len() {
            return Err(EntryError::invalid("all signatures must have a key that verifies it"));
        }
        Ok(matched)
    }

    /// Whether the key verifies any of the signatures, as `intoto` 0.0.1 asks. The others may be anybody's.
    /// Returns that signature.
    pub(super) fn verify_any(&self, verifier: &Verifier, effort: &Effort) -> Result<Vec<u8>, EntryError> {
        let signed = Signed::new(self);
        let by_key = |bytes: &Vec<u8>| effort.check(|| signed.is_by(verifier.public_key(), bytes));
        let found = self.decoded()?.into_values().find(by_key);
        found.ok_or_else(|| EntryError::invalid(BELOW_THRESHOLD))
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

/// What the signatures of an envelope cover, hashed once for all keys that sign a digest: the payload may be megabytes.
struct Signed {
    message: Vec<u8>,
    digest: OnceCell<Vec<u8>>,
}

impl Signed {
    fn new(envelope: &Envelope<'_>) -> Self {
        Self { message: pae(envelope.payload_type, &envelope.payload), digest: OnceCell::new() }
    }

    fn is_by(&self, key: &PublicKey, signature: &[u8]) -> bool {
        let hash = HashAlgorithm::Sha256;
        let verdict = if key.kind() == KeyKind::Ed25519 {
            key.verify_any_encoding(hash, &self.message, signature)
        } else {
            let digest = self.digest.get_or_init(|| hash.digest(&self.message));
            key.verify_digest_any_encoding(hash, digest, signature)
        };
        verdict.is_ok()
    }
}

/// Pre-authentication encoding: what a DSSE signature covers.
pub(crate) fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut signed = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    signed.extend_from_slice(payload);
    signed
}
