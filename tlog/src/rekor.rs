//! Rekor v1: proposed entries, their checks, their canonical leaves, SETs, ids and the v1 checkpoint.
//!
//! Kinds: `hashedrekord` 0.0.1, `dsse` 0.0.1, `intoto` 0.0.1 and 0.0.2. The leaf is the RFC 8785 form of
//! `{"apiVersion","kind","spec"}` after canonicalisation (rekor `pkg/types`). Each kind has a module with the two
//! directions: a proposal is checked in full and becomes a leaf, a leaf is read back without judging signatures.
//!
//! What Rekor tolerates is tolerated, down to the byte that ends in the leaf: clients compare leaves.

mod algorithms;
mod canonical;
mod dsse;
mod envelope;
mod field;
mod hashedrekord;
mod intoto;
mod intoto_v001;
mod signatory;
mod terms;
mod verifier;
mod version;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use self::canonical::canonical;
pub(crate) use self::envelope::pae;
use self::field::Object;
pub(crate) use self::signatory::Covers;
pub use self::signatory::Signatory;
pub(crate) use self::terms::Terms;
pub use self::verifier::Verifier;
use crate::effort::Effort;
use crate::key::{HashAlgorithm, SignError, Signer};
use crate::merkle::Hash;
use crate::note::{KeyName, Note, NoteError};

/// Largest proposed entry that is parsed, in bytes.
pub const MAX_PROPOSED_ENTRY: usize = 4 * 1024 * 1024;
/// Most signatures in one envelope, and most verifiers beside it.
pub const MAX_SIGNATURES: usize = 10;
/// Most search keys of one entry. A statement may name more subjects; those past the limit are logged and not found.
pub const MAX_INDEX_KEYS: usize = 1024;

/// Kinds that Rekor has and this log does not take.
const OTHER_KINDS: [&str; 8] = ["alpine", "cose", "helm", "jar", "rekord", "rfc3161", "rpm", "tuf"];

/// Why a proposed entry is refused. The texts are Rekor's where scripts search for them.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// `kind` is not one that this log takes: HTTP 422.
    #[error("invalid kind value: \"{0}\"")]
    UnknownKind(String),
    /// `kind`, `apiVersion` or `spec` is missing: HTTP 422.
    #[error("{0} in body is required")]
    Required(&'static str),
    /// `apiVersion` is not a version: HTTP 422.
    #[error("apiVersion in body should match '{}'", version::PATTERN)]
    Version,
    /// Anything else about the entry: HTTP 400.
    #[error("error processing entry: {0}")]
    Invalid(String),
    /// Key and hash do not go together: HTTP 400.
    #[error("error processing entry: entry algorithms are not allowed")]
    Algorithm,
}

impl EntryError {
    fn invalid(problem: impl Into<String>) -> Self {
        Self::Invalid(problem.into())
    }
}

/// A proposed entry that passed every check, ready to be a leaf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CanonicalEntry {
    /// The leaf: RFC 8785 bytes.
    pub body: Vec<u8>,
    /// `hashedrekord`, `dsse` or `intoto`.
    pub kind: &'static str,
    /// `0.0.1` or `0.0.2`.
    pub api_version: &'static str,
    /// Search keys, lower-case, both spellings of key hashes (bare hex and `sha256:`), without duplicates. At most
    /// [`MAX_INDEX_KEYS`].
    pub index_keys: Vec<String>,
    /// Who signed, each once: every one of them has verified a signature of an entry that was proposed.
    pub signatories: Vec<Signatory>,
}

impl CanonicalEntry {
    /// Parses, verifies and canonicalises the JSON of a proposed entry to be inserted.
    pub fn from_proposed(json: &[u8]) -> Result<Self, EntryError> {
        Self::from_proposed_within(json, &Effort::any())
    }
    /// As [`CanonicalEntry::from_proposed`], with no more `effort` than this.
    pub fn from_proposed_within(json: &[u8], effort: &Effort) -> Result<Self, EntryError> {
        if json.len() > MAX_PROPOSED_ENTRY {
            return Err(EntryError::invalid(format!("larger than {MAX_PROPOSED_ENTRY} bytes")));
        }
        let proposal: Value =
            serde_json::from_slice(json).map_err(|e| EntryError::invalid(format!("malformed JSON: {e}")))?;
        Self::from_value(&proposal, Use::Insert, effort)
    }
    /// As [`CanonicalEntry::from_proposed`] for `retrieve`, which also takes the canonical body of every kind, though some
    /// drop what their signatures are over, and keys that may not sign new entries.
    pub fn from_query(json: &Value) -> Result<Self, EntryError> {
        Self::from_query_within(json, &Effort::any())
    }
    /// As [`CanonicalEntry::from_query`], with no more `effort` than this.
    pub fn from_query_within(json: &Value, effort: &Effort) -> Result<Self, EntryError> {
        Self::from_value(json, Use::Query, effort)
    }

    fn from_value(json: &Value, purpose: Use, effort: &Effort) -> Result<Self, EntryError> {
        let (kind, spec) = dispatch(json)?;
        let (spec, terms) = match kind {
            Kind::HashedRekord => hashedrekord::canonicalize(&spec, purpose, effort)?,
            Kind::Dsse => dsse::canonicalize(&spec, purpose, effort)?,
            Kind::IntotoV001 => intoto_v001::canonicalize(&spec, purpose, effort)?,
            Kind::Intoto => intoto::canonicalize(&spec, purpose, effort)?,
        };
        let (index_keys, signatories) = terms.into_parts();
        Ok(Self {
            body: kind.leaf(spec)?,
            kind: kind.name(),
            api_version: kind.version(),
            index_keys,
            signatories,
        })
    }
}

/// What a proposed entry was sent for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Insert,
    Query,
}

/// The kinds that this log takes, each version apart.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    HashedRekord,
    Dsse,
    IntotoV001,
    Intoto,
}

impl Kind {
    const ALL: [Self; 4] = [Self::HashedRekord, Self::Dsse, Self::IntotoV001, Self::Intoto];

    const fn name(self) -> &'static str {
        match self {
            Self::HashedRekord => "hashedrekord",
            Self::Dsse => "dsse",
            Self::IntotoV001 | Self::Intoto => "intoto",
        }
    }

    const fn version(self) -> &'static str {
        match self {
            Self::HashedRekord | Self::Dsse | Self::IntotoV001 => "0.0.1",
            Self::Intoto => "0.0.2",
        }
    }

    /// The RFC 8785 bytes of an entry of this kind.
    fn leaf(self, spec: Value) -> Result<Vec<u8>, EntryError> {
        // Not by `json!`, which copies what it is given.
        let mut entry = Map::new();
        entry.insert("apiVersion".to_owned(), self.version().into());
        entry.insert("kind".to_owned(), self.name().into());
        entry.insert("spec".to_owned(), spec);
        canonical(&Value::Object(entry))
    }
}

/// Kind and spec of an entry, proposed or stored. The checks are in Rekor's order, as each has its own answer.
fn dispatch(json: &Value) -> Result<(Kind, Object<'_>), EntryError> {
    if json.is_null() {
        return Err(EntryError::Required("kind"));
    }
    let entry = Object::root(json)?;
    let name = entry.optional_text("kind")?.unwrap_or_default();
    if name.is_empty() {
        return Err(EntryError::Required("kind"));
    }
    let is_ours = Kind::ALL.iter().any(|kind| kind.name() == name);
    if !is_ours && !OTHER_KINDS.contains(&name) {
        return Err(EntryError::UnknownKind(name.chars().take(64).collect()));
    }
    let version = entry.optional_text("apiVersion")?.ok_or(EntryError::Required("apiVersion"))?;
    if !version::is_version(version) {
        return Err(EntryError::Version);
    }
    if !entry.has("spec") {
        return Err(EntryError::Required("spec"));
    }
    if !is_ours {
        let problem = format!("entry kind '{name}' is not enabled for submission on this server");
        return Err(EntryError::invalid(problem));
    }
    let Some(kind) = Kind::ALL.into_iter().find(|kind| (kind.name(), kind.version()) == (name, version))
    else {
        let version: String = version.chars().take(64).collect();
        return Err(EntryError::invalid(format!("{name} implementation for version '{version}' not found")));
    };
    Ok((kind, entry.object("spec")?))
}

/// A stored v1 leaf, read back: what a verifier compares with a bundle. Signatures are not verified by parsing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// `hashedrekord` 0.0.1.
    HashedRekord {
        /// Hash of the artifact.
        algorithm: HashAlgorithm,
        /// Its digest.
        digest: Vec<u8>,
        /// Signature bytes.
        signature: Vec<u8>,
        /// Who signed.
        verifier: Verifier,
    },
    /// `dsse` 0.0.1.
    Dsse {
        /// SHA-256 of the envelope as it was submitted.
        envelope_hash: Hash,
        /// SHA-256 of the payload.
        payload_hash: Hash,
        /// Signature bytes, and who made each.
        signatures: Vec<(Vec<u8>, Verifier)>,
    },
    /// `intoto` 0.0.1. It keeps no signature: only the envelope's hash binds the entry to one.
    IntotoV001 {
        /// SHA-256 of the envelope as it was submitted.
        envelope_hash: Hash,
        /// SHA-256 of the payload.
        payload_hash: Hash,
        /// Who signed.
        verifier: Verifier,
    },
    /// `intoto` 0.0.2.
    Intoto {
        /// SHA-256 of the payload.
        payload_hash: Hash,
        /// Signature bytes, and who made each.
        signatures: Vec<(Vec<u8>, Verifier)>,
    },
}

impl Body {
    /// Parses a leaf. Only RFC 8785 bytes are one, so that no two parsers read different entries out of it.
    pub fn parse(body: &[u8]) -> Result<Self, EntryError> {
        let malformed = |e: serde_json::Error| EntryError::invalid(format!("malformed JSON: {e}"));
        let json: Value = serde_json::from_slice(body).map_err(malformed)?;
        if canonical(&json)? != body {
            return Err(EntryError::invalid("the entry is not in canonical form (RFC 8785)"));
        }
        let (kind, spec) = dispatch(&json)?;
        match kind {
            Kind::HashedRekord => hashedrekord::parse(&spec),
            Kind::Dsse => dsse::parse(&spec),
            Kind::IntotoV001 => intoto_v001::parse(&spec),
            Kind::Intoto => intoto::parse(&spec),
        }
    }

    /// The leaf, made again of nothing but these members: a verifier who compared all of them with a bundle finds by
    /// it that the leaf says nothing else. `None` for `intoto` 0.0.2, whose leaf keeps a hash that its signer chose.
    pub fn encode(&self) -> Option<Vec<u8>> {
        let (kind, spec) = match self {
            Self::HashedRekord { algorithm, digest, signature, verifier } => (
                Kind::HashedRekord,
                hashedrekord::spec_of(*algorithm, &hex::encode(digest), signature, verifier),
            ),
            Self::Dsse { envelope_hash, payload_hash, signatures } => {
                (Kind::Dsse, dsse::spec_of(envelope_hash, payload_hash, signatures))
            }
            Self::IntotoV001 { envelope_hash, payload_hash, verifier } => {
                (Kind::IntotoV001, intoto_v001::spec_of(envelope_hash, payload_hash, verifier))
            }
            Self::Intoto { .. } => return None,
        };
        kind.leaf(spec).ok()
    }
}

/// Bytes that a SET signs: RFC 8785 of body (base64), integratedTime, logID, logIndex.
pub fn set_payload(body: &[u8], integrated_time: u64, log_id: &[u8; 32], log_index: u64) -> Vec<u8> {
    // Written by hand: RFC 8785 goes through doubles, and these integers must stay integers at any size.
    format!(
        r#"{{"body":"{}","integratedTime":{integrated_time},"logID":"{}","logIndex":{log_index}}}"#,
        STANDARD.encode(body),
        hex::encode(log_id),
    )
    .into_bytes()
}

/// Entry id: 16 hex digits of the tree id and 64 of the leaf hash.
pub fn entry_id(tree_id: u64, leaf: &Hash) -> String {
    format!("{tree_id:016x}{leaf}")
}

/// The v1 checkpoint, signed: origin `<host> - <tree id>`, one signature line, ECDSA under the name `<host>`.
pub fn sign_checkpoint(
    host: &str,
    tree_id: u64,
    size: u64,
    root: &Hash,
    signer: &dyn Signer,
) -> Result<String, NoteError> {
    let name = KeyName::new(host)?;
    let text = format!("{host} - {tree_id}\n{size}\n{}\n", root.to_base64());
    let signature = Note::sign(&text, &name, signer)?;
    Ok(Note::new(text, vec![signature])?.encode())
}

/// Signs a SET over [`set_payload`].
pub fn sign_set(
    body: &[u8],
    integrated_time: u64,
    log_id: &[u8; 32],
    log_index: u64,
    signer: &dyn Signer,
) -> Result<Vec<u8>, SignError> {
    signer.sign(&set_payload(body, integrated_time, log_id, log_index))
}

#[cfg(test)]
pub(crate) mod tests;
