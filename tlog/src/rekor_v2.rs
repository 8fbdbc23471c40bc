//! Rekor v2: requests to add an entry, their checks, their canonical leaves, and the answer that clients keep.
//!
//! Kinds: `hashedrekord` 0.0.2, and `dsse` 0.0.2, which rekor-tiles gave up in 2.3.0 and sigstore-js still sends. The
//! wire is protojson: lenient in what it reads ([`CreateEntryRequest::from_json`]), strict in what it writes
//! ([`TransparencyLogEntry`]).
//!
//! Invariant: an entry that exists here passed every check, and its leaf is the one RFC 8785 spelling of it. Go
//! clients do not read leaves, they make them again from a bundle and compare hashes.

mod algorithm;
mod answer;
mod leaf;
mod request;
mod verifier;

pub use self::algorithm::KeyDetails;
pub use self::answer::{KindVersion, TransparencyLogEntry};
pub use self::leaf::Body;
pub use self::request::{
    CreateEntryRequest, DsseRequest, Envelope, HashedRekordRequest, RequestMaterial, RequestSignature,
    RequestVerifier,
};
pub use self::verifier::{Material, Verifier};
use crate::key::HashAlgorithm;
use crate::merkle::Hash;
use crate::rekor::{Covers, Signatory, Terms, pae};
use crate::tile::MAX_ENTRY;

/// Largest request that is parsed, in bytes: what rekor-tiles takes.
pub const MAX_REQUEST: usize = 4 * 1024 * 1024;
/// Most signatures in one envelope, and most verifiers beside it.
pub const MAX_SIGNATURES: usize = 10;

/// Why a request is refused. The texts begin as those of rekor-tiles.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// The body is no request of this protocol.
    #[error("malformed request: {0}")]
    Malformed(String),
    /// The body is longer than [`MAX_REQUEST`].
    #[error("http: request body too large")]
    RequestTooLarge,
    /// The request holds neither kind.
    #[error("invalid type, must be hashedrekord or dsse")]
    NoType,
    /// The entry does not pass its checks.
    #[error("invalid {kind} request: {problem}")]
    Invalid {
        /// `hashedrekord` or `dsse`.
        kind: &'static str,
        /// Which check.
        problem: String,
    },
    /// The leaf does not fit an entry bundle.
    #[error("the entry would have {0} bytes, a leaf has at most {MAX_ENTRY}: sign a digest instead")]
    LeafTooLarge(usize),
    /// A leaf is not one that this dialect writes.
    #[error("malformed leaf: {0}")]
    Leaf(String),
}

/// An entry that passed every check, ready to be a leaf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CanonicalEntry {
    /// The leaf: RFC 8785 bytes, at most [`MAX_ENTRY`].
    pub body: Vec<u8>,
    /// `hashedrekord` or `dsse`.
    pub kind_version: KindVersion,
    /// Search keys, the same as of Rekor v1 entries.
    pub index_keys: Vec<String>,
    /// Who signed, each once, spelled as in Rekor v1.
    pub signatories: Vec<Signatory>,
}

impl CanonicalEntry {
    /// Verifies and canonicalises a request.
    pub fn from_request(request: CreateEntryRequest) -> Result<Self, EntryError> {
        match request {
            CreateEntryRequest::HashedRekord(request) => hashedrekord(request),
            CreateEntryRequest::Dsse(request) => dsse(request),
        }
    }

    fn new(body: &Body, terms: Terms) -> Result<Self, EntryError> {
        let leaf = body.encode()?;
        if leaf.len() > MAX_ENTRY {
            return Err(EntryError::LeafTooLarge(leaf.len()));
        }
        let (index_keys, signatories) = terms.into_parts();
        Ok(Self { body: leaf, kind_version: body.kind_version(), index_keys, signatories })
    }
}

/// A `hashedrekord`: one signature over a digest, verified as prehashed.
fn hashedrekord(request: HashedRekordRequest) -> Result<CanonicalEntry, EntryError> {
    let invalid = |problem: &str| EntryError::Invalid { kind: "hashedrekord", problem: problem.to_owned() };
    let HashedRekordRequest { digest, signature } = request;
    let RequestSignature { content, verifier } = signature.ok_or_else(|| invalid("missing signature"))?;
    let verifier = verifier.ok_or_else(|| invalid("missing verifier"))?;
    if content.is_empty() {
        return Err(invalid("missing signature"));
    }
    if digest.is_empty() {
        return Err(invalid("missing digest"));
    }
    let verifier = Verifier::from_request(verifier).map_err(|problem| invalid(&problem))?;
    let algorithm = verifier
        .key_details()
        .prehash()
        .ok_or_else(|| invalid("pure Ed25519 cannot be verified over a digest, sign with PKIX_ED25519_PH"))?;
    if digest.len() != algorithm.len() {
        let problem =
            format!("the digest has {} bytes, {} has {}", digest.len(), algorithm.name(), algorithm.len());
        return Err(invalid(&problem));
    }
    verifier
        .public_key()
        .verify_digest_any_encoding(algorithm, &digest, &content)
        .map_err(|_| invalid("the signature does not verify over the digest"))?;

    let mut terms = Terms::default();
    terms.add_signature(&verifier.to_v1(), &content, Covers::Digest);
    terms.add_hash(algorithm.name(), &hex::encode(&digest));
    CanonicalEntry::new(&Body::HashedRekord { algorithm, digest, signature: content, verifier }, terms)
}

/// A `dsse`: every signature of an envelope, each by one of the verifiers beside it.
fn dsse(request: DsseRequest) -> Result<CanonicalEntry, EntryError> {
    let invalid = |problem: String| EntryError::Invalid { kind: "dsse", problem };
    let DsseRequest { envelope, verifiers } = request;
    let envelope = envelope.ok_or_else(|| invalid("missing envelope".to_owned()))?;
    for (what, count) in [("verifiers", verifiers.len()), ("signatures", envelope.signatures.len())] {
        if !(1..=MAX_SIGNATURES).contains(&count) {
            return Err(invalid(format!("1 to {MAX_SIGNATURES} {what} are required, there are {count}")));
        }
    }
    let verifiers: Vec<_> =
        verifiers.into_iter().map(Verifier::from_request).collect::<Result<_, _>>().map_err(invalid)?;
    let signatures =
        match_signatures(&envelope, &verifiers).map_err(|problem| invalid(problem.to_owned()))?;

    let payload_hash = Hash::digest(&envelope.payload);
    let mut terms = Terms::default();
    for verifier in &verifiers {
        terms.add_verifier(&verifier.to_v1());
    }
    for (signature, verifier) in &signatures {
        terms.add_signature(&verifier.to_v1(), signature, Covers::Message);
    }
    terms.add_hash(HashAlgorithm::Sha256.name(), &payload_hash.to_hex());
    terms.add_statement(&envelope.payload_type, &envelope.payload);
    CanonicalEntry::new(&Body::Dsse { payload_hash, signatures }, terms)
}

/// Who made each signature, sorted by signature. Nothing may be left over on either side: an unverified signature
/// would be in the log as if it were verified, and an idle verifier names somebody who did not sign.
fn match_signatures(
    envelope: &Envelope,
    verifiers: &[Verifier],
) -> Result<Vec<(Vec<u8>, Verifier)>, &'static str> {
    let message = pae(&envelope.payload_type, &envelope.payload);
    // Hashed once for each verifier, not for each pair: the payload may be megabytes.
    let mut makers: Vec<_> = verifiers.iter().map(|verifier| (verifier.over(&message), true)).collect();
    let mut matched = Vec::with_capacity(envelope.signatures.len());
    for signature in &envelope.signatures {
        let maker = makers.iter().position(|(maker, _)| maker.verify(signature).is_ok());
        let maker = maker.ok_or("every signature needs a verifier that verifies it")?;
        makers[maker].1 = false;
        matched.push((signature.clone(), verifiers[maker].clone()));
    }
    if makers.iter().any(|(_, idle)| *idle) {
        return Err("every verifier must have made a signature");
    }
    matched.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    if matched.windows(2).any(|pair| pair[0].0 == pair[1].0) {
        return Err("two signatures are the same");
    }
    Ok(matched)
}

#[cfg(test)]
mod tests;
