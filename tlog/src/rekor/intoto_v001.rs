//! `intoto` 0.0.1: an envelope as a string with one key beside it, as cosign 2 uploads attestations.
//!
//! The leaf keeps the key in its canonical PEM and two hashes, of the envelope's very bytes and of its payload; the
//! signatures are dropped. Hashes that a client sends beside its envelope are ignored.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::envelope::Envelope;
use super::field::{Object, sha256, standard_base64};
use super::{Body, Covers, EntryError, Terms, Use, Verifier};
use crate::effort::Effort;
use crate::merkle::Hash;

/// Checks a proposal; its canonical spec and search keys.
pub(super) fn canonicalize(
    spec: &Object<'_>,
    purpose: Use,
    effort: &Effort,
) -> Result<(Value, Terms), EntryError> {
    let content = spec.object("content")?;
    let verifier = Verifier::from_pem_within(&spec.bytes("publicKey")?, effort)?;
    match content.optional_text("envelope")?.filter(|text| !text.is_empty()) {
        Some(text) => canonicalize_proposal(text, &verifier, effort),
        None if purpose == Use::Query => {
            let leaf = Leaf::read(&content, verifier)?;
            Ok((leaf.spec(), leaf.terms()))
        }
        None => Err(EntryError::invalid("entry not insertable into log: missing envelope content")),
    }
}

fn canonicalize_proposal(
    text: &str,
    verifier: &Verifier,
    effort: &Effort,
) -> Result<(Value, Terms), EntryError> {
    let json: Value = serde_json::from_str(text)
        .map_err(|e| EntryError::invalid(format!("could not parse the DSSE envelope: {e}")))?;
    let json = Object::root(&json)?;
    let envelope = Envelope::read(&json)?;
    let signature = envelope.verify_any(verifier, effort)?;
    // The signature covers either alphabet's payload; this kind stores attestations, in the standard one only.
    if standard_base64(json.text("payload")?).is_none() {
        return Err(EntryError::invalid("the payload of the DSSE envelope is not standard base64"));
    }
    if envelope.payload.is_empty() || envelope.payload_type.is_empty() {
        return Err(EntryError::invalid("entry not insertable into log: invalid DSSE envelope"));
    }
    let leaf = Leaf {
        envelope_hash: Hash::digest(text.as_bytes()),
        payload_hash: Hash::digest(&envelope.payload),
        verifier: verifier.clone(),
    };
    let mut terms = leaf.terms();
    terms.add_signature(verifier, &signature, Covers::Message);
    terms.add_statement(envelope.payload_type, &envelope.payload);
    Ok((leaf.spec(), terms))
}

/// Reads a stored spec. Entries of before 2022 have no `payloadHash`; without it nothing can be said about a statement.
pub(super) fn parse(spec: &Object<'_>) -> Result<Body, EntryError> {
    let verifier = Verifier::from_pem(&spec.bytes("publicKey")?)?;
    let Leaf { envelope_hash, payload_hash, verifier } = Leaf::read(&spec.object("content")?, verifier)?;
    Ok(Body::IntotoV001 { envelope_hash, payload_hash, verifier })
}

/// The canonical spec.
pub(super) fn spec_of(envelope_hash: &Hash, payload_hash: &Hash, verifier: &Verifier) -> Value {
    let (envelope_hash, payload_hash) = (*envelope_hash, *payload_hash);
    Leaf { envelope_hash, payload_hash, verifier: verifier.clone() }.spec()
}

/// What is left of an entry in its leaf.
struct Leaf {
    envelope_hash: Hash,
    payload_hash: Hash,
    verifier: Verifier,
}

impl Leaf {
    fn read(content: &Object<'_>, verifier: Verifier) -> Result<Self, EntryError> {
        let (envelope_hash, payload_hash) = (content.sha256("hash")?, content.sha256("payloadHash")?);
        Ok(Self { envelope_hash, payload_hash, verifier })
    }

    fn spec(&self) -> Value {
        json!({
            "content": { "hash": sha256(&self.envelope_hash), "payloadHash": sha256(&self.payload_hash) },
            "publicKey": STANDARD.encode(self.verifier.to_pem()),
        })
    }

    fn terms(&self) -> Terms {
        let mut terms = Terms::default();
        terms.add_hash("sha256", &self.envelope_hash.to_hex());
        terms.add_verifier(&self.verifier);
        terms.add_hash("sha256", &self.payload_hash.to_hex());
        terms
    }
}
