//! `intoto` 0.0.2: an envelope in double base64, as sigstore-js and rekor-cli upload attestations.
//!
//! The leaf drops the payload and keeps the rest as sent: signature order, key PEM, and the client's own `hash`, which
//! nobody can check.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::envelope::Envelope;
use super::field::{Object, either_base64};
use super::{Body, EntryError, MAX_SIGNATURES, Terms, Verifier};
use crate::merkle::Hash;

/// Checks a proposal; its canonical spec and search keys.
pub(super) fn canonicalize(spec: &Object<'_>) -> Result<(Value, Terms), EntryError> {
    let content = spec.object("content")?;
    let sent = content.object("envelope")?;
    let hash = client_hash(&content)?;
    let signatures = sent.objects("signatures", MAX_SIGNATURES)?;
    let pems = signatures.iter().map(|s| s.bytes("publicKey")).collect::<Result<Vec<_>, _>>()?;
    let sigs = signatures.iter().map(inner_text).collect::<Result<Vec<_>, _>>()?;
    let payload = String::from_utf8(sent.bytes("payload")?).ok().and_then(|inner| either_base64(&inner));
    let envelope = Envelope {
        payload_type: sent.text("payloadType")?,
        payload: payload
            .ok_or_else(|| EntryError::invalid("could not decode the payload of the DSSE envelope"))?,
        signatures: sigs.iter().map(String::as_str).collect(),
    };
    let matched = envelope.verify(&pems)?;

    let mut terms = Terms::default();
    for verifier in matched.values() {
        terms.add_verifier(verifier);
    }
    let payload_hash = Hash::digest(&envelope.payload).to_hex();
    terms.add_hash("sha256", &payload_hash);
    terms.add_statement(envelope.payload_type, &envelope.payload);

    let mut kept = Vec::with_capacity(signatures.len());
    for ((signature, pem), sig) in signatures.iter().zip(&pems).zip(&sigs) {
        let mut leaf = json!({ "publicKey": STANDARD.encode(pem), "sig": STANDARD.encode(sig) });
        if let Some(keyid) = signature.optional_text("keyid")?.filter(|keyid| !keyid.is_empty()) {
            leaf["keyid"] = keyid.into();
        }
        kept.push(leaf);
    }
    let spec = json!({ "content": {
        "envelope": { "payloadType": envelope.payload_type, "signatures": kept },
        "hash": { "algorithm": "sha256", "value": hash },
        "payloadHash": { "algorithm": "sha256", "value": payload_hash },
    } });
    Ok((spec, terms))
}

/// The client's hash of its own envelope: shape checked, contents kept.
fn client_hash<'v>(content: &Object<'v>) -> Result<&'v str, EntryError> {
    if !content.has("hash") {
        return Err(EntryError::invalid("hash must be specified"));
    }
    let hash = content.object("hash")?;
    let value = hash.text("value")?;
    if hash.text("algorithm")? != "sha256" || Hash::from_hex(value).is_err() {
        return Err(EntryError::invalid("content.hash is not a sha256 hash"));
    }
    Ok(value)
}

/// The envelope's own spelling of a signature.
fn inner_text(signature: &Object<'_>) -> Result<String, EntryError> {
    String::from_utf8(signature.bytes("sig")?).map_err(|_| EntryError::invalid("a signature is not base64"))
}

/// Reads a stored spec.
pub(super) fn parse(spec: &Object<'_>) -> Result<Body, EntryError> {
    let content = spec.object("content")?;
    let read = |signature: &Object<'_>| {
        let bytes = either_base64(&inner_text(signature)?)
            .ok_or_else(|| EntryError::invalid("a signature is not base64"))?;
        Ok((bytes, Verifier::from_pem(&signature.bytes("publicKey")?)?))
    };
    Ok(Body::Intoto {
        payload_hash: content.sha256("payloadHash")?,
        signatures: content
            .object("envelope")?
            .objects("signatures", MAX_SIGNATURES)?
            .iter()
            .map(read)
            .collect::<Result<_, _>>()?,
    })
}
