//! `dsse` 0.0.1: hashes of an envelope and its payload, and who signed.
//!
//! The envelope comes as a string whose very bytes are hashed; it is not stored. Signatures keep the envelope's spelling
//! and are sorted by it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::envelope::Envelope;
use super::field::{Object, either_base64, sha256};
use super::{Body, Covers, EntryError, MAX_SIGNATURES, Terms, Use, Verifier};
use crate::effort::Effort;
use crate::merkle::Hash;

const CANONICAL: [&str; 3] = ["envelopeHash", "payloadHash", "signatures"];
const NOT_BOTH: &str =
    "either proposedContent or envelopeHash, payloadHash, and signatures must be present but not both";

/// Checks a proposal; its canonical spec and search keys.
pub(super) fn canonicalize(
    spec: &Object<'_>,
    purpose: Use,
    effort: &Effort,
) -> Result<(Value, Terms), EntryError> {
    let given = CANONICAL.iter().filter(|name| spec.has(name)).count();
    match (spec.has("proposedContent"), given) {
        (true, 0) => canonicalize_proposal(&spec.object("proposedContent")?, effort),
        (false, 3) if purpose == Use::Query => canonicalize_leaf(spec, effort),
        (false, 3) => Err(EntryError::invalid("entry not insertable into log: missing proposed content")),
        _ => Err(EntryError::invalid(NOT_BOTH)),
    }
}

fn canonicalize_proposal(content: &Object<'_>, effort: &Effort) -> Result<(Value, Terms), EntryError> {
    let text = content.text("envelope")?;
    let verifiers = content.byte_list("verifiers", MAX_SIGNATURES)?;
    let json: Value = serde_json::from_str(text)
        .map_err(|e| EntryError::invalid(format!("could not parse the DSSE envelope: {e}")))?;
    let envelope = Envelope::read(&Object::root(&json)?)?;
    let matched = envelope.verify(&verifiers, effort)?;

    let (envelope_hash, payload_hash) = (Hash::digest(text.as_bytes()), Hash::digest(&envelope.payload));
    let mut terms = Terms::default();
    let mut signatures = Vec::with_capacity(matched.len());
    for (signature, verifier) in &matched {
        terms.add_signature(verifier, &either_base64(signature).unwrap_or_default(), Covers::Message);
        signatures.push(json!({ "signature": signature, "verifier": STANDARD.encode(verifier.to_pem()) }));
    }
    terms.add_hash("sha256", &payload_hash.to_hex());
    terms.add_hash("sha256", &envelope_hash.to_hex());
    terms.add_statement(envelope.payload_type, &envelope.payload);
    Ok((leaf_spec(&envelope_hash, &payload_hash, signatures), terms))
}

/// A canonical body, sent to find itself.
fn canonicalize_leaf(spec: &Object<'_>, effort: &Effort) -> Result<(Value, Terms), EntryError> {
    let (envelope_hash, payload_hash) = (spec.sha256("envelopeHash")?, spec.sha256("payloadHash")?);
    let mut terms = Terms::default();
    let mut signatures = Vec::new();
    for signature in spec.objects("signatures", MAX_SIGNATURES)? {
        let verifier = Verifier::from_pem_within(&signature.bytes("verifier")?, effort)?;
        terms.add_verifier(&verifier);
        let pem = STANDARD.encode(verifier.to_pem());
        signatures.push(json!({ "signature": signature.text("signature")?, "verifier": pem }));
    }
    terms.add_hash("sha256", &payload_hash.to_hex());
    terms.add_hash("sha256", &envelope_hash.to_hex());
    Ok((leaf_spec(&envelope_hash, &payload_hash, signatures), terms))
}

fn leaf_spec(envelope_hash: &Hash, payload_hash: &Hash, signatures: Vec<Value>) -> Value {
    json!({
        "envelopeHash": sha256(envelope_hash),
        "payloadHash": sha256(payload_hash),
        "signatures": signatures,
    })
}

/// The canonical spec, signatures in the standard alphabet.
pub(super) fn spec_of(
    envelope_hash: &Hash,
    payload_hash: &Hash,
    signatures: &[(Vec<u8>, Verifier)],
) -> Value {
    let signatures = signatures.iter().map(|(signature, verifier)| {
        let pem = STANDARD.encode(verifier.to_pem());
        json!({ "signature": STANDARD.encode(signature), "verifier": pem })
    });
    leaf_spec(envelope_hash, payload_hash, signatures.collect())
}

/// Reads a stored spec.
pub(super) fn parse(spec: &Object<'_>) -> Result<Body, EntryError> {
    let read = |signature: &Object<'_>| {
        let bytes = either_base64(signature.text("signature")?)
            .ok_or_else(|| EntryError::invalid("a signature is not base64"))?;
        Ok((bytes, Verifier::from_pem(&signature.bytes("verifier")?)?))
    };
    Ok(Body::Dsse {
        envelope_hash: spec.sha256("envelopeHash")?,
        payload_hash: spec.sha256("payloadHash")?,
        signatures: spec.objects("signatures", MAX_SIGNATURES)?.iter().map(read).collect::<Result<_, _>>()?,
    })
}
