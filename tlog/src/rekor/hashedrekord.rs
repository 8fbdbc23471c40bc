//! `hashedrekord` 0.0.1: a signature over a digest.
//!
//! The leaf keeps the digest's letter case as it came, and the key as canonical PEM.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::field::Object;
use super::{Body, Covers, EntryError, Terms, Use, Verifier, algorithms};
use crate::effort::Effort;
use crate::key::HashAlgorithm;

/// The fields of a spec, proposed or stored: they are the same.
struct Fields<'v> {
    algorithm: HashAlgorithm,
    value: &'v str,
    digest: Vec<u8>,
    signature: Vec<u8>,
    verifier: Verifier,
}

fn fields<'v>(spec: &Object<'v>, effort: &Effort) -> Result<Fields<'v>, EntryError> {
    let hash = spec.object("data")?.object("hash")?;
    let (name, value) = (hash.text("algorithm")?, hash.text("value")?);
    let algorithm = HashAlgorithm::from_name(name).ok_or_else(|| {
        EntryError::invalid(
            "validation failure list:\ndata.hash.algorithm in body should be one of [sha256 sha384 sha512]",
        )
    })?;
    let digest = hex::decode(value).ok().filter(|digest| digest.len() == algorithm.len());
    let signature = spec.object("signature")?;
    Ok(Fields {
        algorithm,
        value,
        digest: digest.ok_or_else(|| EntryError::invalid("invalid value for hash"))?,
        signature: signature.bytes("content")?,
        verifier: Verifier::from_pem_within(&signature.object("publicKey")?.bytes("content")?, effort)?,
    })
}

/// Checks a proposal; its canonical spec and search keys.
pub(super) fn canonicalize(
    spec: &Object<'_>,
    purpose: Use,
    effort: &Effort,
) -> Result<(Value, Terms), EntryError> {
    let Fields { algorithm, value, digest, signature, verifier } = fields(spec, effort)?;
    let key = verifier.public_key();
    if !effort.check(|| key.verify_digest_any_encoding(algorithm, &digest, &signature).is_ok()) {
        return Err(EntryError::invalid("verifying signature: invalid signature when validating"));
    }
    if purpose == Use::Insert {
        algorithms::check(key.kind(), algorithm)?;
    }

    let mut terms = Terms::default();
    terms.add_signature(&verifier, &signature, Covers::Digest);
    terms.add_hash(algorithm.name(), value);
    Ok((spec_of(algorithm, value, &signature, &verifier), terms))
}

/// The canonical spec; `value` is the digest in hex.
pub(super) fn spec_of(algorithm: HashAlgorithm, value: &str, signature: &[u8], verifier: &Verifier) -> Value {
    // Not by `json!` alone, which copies what it is given: most of an entry is this key.
    let mut key = Map::new();
    key.insert("content".to_owned(), STANDARD.encode(verifier.to_pem()).into());
    let mut spec = json!({
        "data": { "hash": { "algorithm": algorithm.name(), "value": value } },
        "signature": { "content": STANDARD.encode(signature) },
    });
    spec["signature"]["publicKey"] = Value::Object(key);
    spec
}

/// Reads a stored spec.
pub(super) fn parse(spec: &Object<'_>) -> Result<Body, EntryError> {
    let Fields { algorithm, digest, signature, verifier, .. } = fields(spec, &Effort::any())?;
    Ok(Body::HashedRekord { algorithm, digest, signature, verifier })
}
