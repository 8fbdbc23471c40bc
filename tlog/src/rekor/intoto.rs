//! `intoto` 0.0.2: an envelope in double base64, as sigstore-js and rekor-cli upload attestations.
//!
//! The leaf drops the payload and keeps the rest as sent: signature order, key PEM, and the client's own `hash`, which
//! nobody can check.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::envelope::Envelope;
use super::field::{Object, either_base64};
use super::{Body, Covers, EntryError, MAX_SIGNATURES, Terms, Use, Verifier};
use crate::effort::Effort;
use crate::merkle::Hash;

/// Checks a proposal; its canonical spec and search keys.
pub(super) fn canonicalize(
    spec: &Object<'_>,
    purpose: Use,
    effort: &Effort,
) -> Result<(Value, Terms), EntryError> {
    let content = spec.object("content")?;
    let sent = content.object("envelope")?;
    if purpose == Use::Query && sent.optional_text("payload")?.is_none_or(str::is_empty) {
        return canonicalize_leaf(&content, &sent, effort);
    }
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
    let matched = envelope.verify(&pems, effort)?;
    if purpose == Use::Insert && envelope.payload_type.is_empty() {
        return Err(EntryError::invalid("entry not insertable into log: missing payloadType content"));
    }

    let mut terms = Terms::default();
    for (signature, verifier) in &matched {
        terms.add_signature(verifier, &either_base64(signature).unwrap_or_default(), Covers::Message);
    }
    let payload_hash = Hash::digest(&envelope.payload).to_hex();
    terms.add_hash("sha256", &payload_hash);
    terms.add_statement(envelope.payload_type, &envelope.payload);

    let mut kept = Vec::with_capacity(signatures.len());
    for ((signature, pem), sig) in signatures.iter().zip(&pems).zip(&sigs) {
        kept.push(kept_signature(signature, pem, sig.as_bytes())?);
    }
    Ok((leaf_spec(envelope.payload_type, kept, hash, &payload_hash), terms))
}

/// A canonical body, sent to find itself. Nothing of it is verified: it has no payload to verify signatures over.
fn canonicalize_leaf(
    content: &Object<'_>,
    sent: &Object<'_>,
    effort: &Effort,
) -> Result<(Value, Terms), EntryError> {
    let hash = client_hash(content)?;
    let payload_hash = content.sha256("payloadHash")?.to_hex();
    let (mut terms, mut kept) = (Terms::default(), Vec::new());
    for signature in sent.objects("signatures", MAX_SIGNATURES)? {
        let pem = signature.bytes("publicKey")?;
        terms.add_verifier(&Verifier::from_pem_within(&pem, effort)?);
        kept.push(kept_signature(&signature, &pem, &signature.bytes("sig")?)?);
    }
    terms.add_hash("sha256", &payload_hash);
    Ok((leaf_spec(sent.text("payloadType")?, kept, hash, &payload_hash), terms))
}

/// One signature as the leaf keeps it.
fn kept_signature(signature: &Object<'_>, pem: &[u8], sig: &[u8]) -> Result<Value, EntryError> {
    let mut kept = json!({ "publicKey": STANDARD.encode(pem), "sig": STANDARD.encode(sig) });
    if let Some(keyid) = signature.optional_text("keyid")?.filter(|keyid| !keyid.is_empty()) {
        kept["keyid"] = keyid.into();
    }
    Ok(kept)
}

fn leaf_spec(payload_type: &str, signatures: Vec<Value>, hash: &str, payload_hash: &str) -> Value {
    json!({ "content": {
        "envelope": { "payloadType": payload_type, "signatures": signatures },
        "hash": { "algorithm": "sha256", "value": hash },
        "payloadHash": { "algorithm": "sha256", "value": payload_hash },
    } })
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
