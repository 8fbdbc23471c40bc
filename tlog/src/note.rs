//! C2SP signed notes: a text and the signature lines under it. <https://c2sp.org/signed-note>
//!
//! Parsers here accept only what re-encodes to the same bytes, and signers sign only re-encodings.

use crate::key::{PublicKey, SignError, Signer};

/// Largest note that is read, in bytes. A checkpoint with sixteen post-quantum cosignatures fits.
pub const MAX_NOTE: usize = 128 * 1024;
/// Most signature lines that are read. The specification asks for at least 16.
pub const MAX_SIGNATURES: usize = 64;

/// Why a note or one of its parts is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// The bytes are no note.
    #[error("malformed note: {0}")]
    Malformed(&'static str),
    /// A key name has a space, a `+`, or is empty.
    #[error("`{0}` cannot name a key: it must be non-empty, without spaces or `+`")]
    KeyName(String),
    /// A verifier key (`vkey`) line is broken.
    #[error("malformed verifier key: {0}")]
    Vkey(&'static str),
    /// A signature by a key that we know does not verify, so the whole note is refused.
    #[error("the signature of `{0}` does not verify")]
    BadSignature(String),
    /// None of the known keys signed.
    #[error("no signature by a known key")]
    Unsigned,
    /// The signer failed.
    #[error(transparent)]
    Sign(#[from] SignError),
}

/// The name of a key: non-empty, no Unicode spaces, no `+`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyName(String);

impl KeyName {
    /// Checks a name.
    pub fn new(_name: impl Into<String>) -> Result<Self, NoteError> {
        unimplemented!()
    }
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A key that verifies note signatures. Ed25519 (type 0x01) or ECDSA (type 0x02, whose id is the first four bytes
/// of SHA-256 over the DER SPKI, without name or type byte).
#[derive(Clone, Debug)]
pub struct NoteKey {
    name: KeyName,
    id: [u8; 4],
    key: PublicKey,
}

impl NoteKey {
    /// The note key of `name` and `key`; the kind of the key decides the signature type. RSA is refused.
    pub fn new(_name: KeyName, _key: PublicKey) -> Result<Self, NoteError> {
        unimplemented!()
    }
    /// Parses `<name>+<8 hex>+<base64(type ‖ key)>` (Ed25519 only, as the specification defines).
    pub fn parse_vkey(_text: &str) -> Result<Self, NoteError> {
        unimplemented!()
    }
    /// The `vkey` line of an Ed25519 key; `None` for ECDSA, which has no such form.
    pub fn to_vkey(&self) -> Option<String> {
        unimplemented!()
    }
    /// Name of the key.
    pub fn name(&self) -> &KeyName {
        &self.name
    }
    /// Key id: the four bytes in front of each signature.
    pub fn id(&self) -> [u8; 4] {
        self.id
    }
    /// The full 32-byte key hash of which [`NoteKey::id`] is the start: Rekor v2's log id.
    pub fn full_id(&self) -> [u8; 32] {
        unimplemented!()
    }
    /// The public key.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }
}

/// One signature line: `— <name> <base64(id ‖ signature)>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteSignature {
    /// Name of the signing key.
    pub name: KeyName,
    /// Key id.
    pub id: [u8; 4],
    /// Signature bytes without the id.
    pub signature: Vec<u8>,
}

/// A text with its signature lines, verified or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<NoteSignature>,
}

impl Note {
    /// Parses a whole note. The text is everything before the last empty line and ends in a newline.
    pub fn parse(_note: &[u8]) -> Result<Self, NoteError> {
        unimplemented!()
    }
    /// A note from a text that ends in a newline and signatures made over it.
    pub fn new(_text: String, _signatures: Vec<NoteSignature>) -> Result<Self, NoteError> {
        unimplemented!()
    }
    /// Signs `text` under `name`: Ed25519 or ECDSA by the signer's key.
    pub fn sign(_text: &str, _name: &KeyName, _signer: &dyn Signer) -> Result<NoteSignature, NoteError> {
        unimplemented!()
    }
    /// The signed text, final newline included.
    pub fn text(&self) -> &str {
        &self.text
    }
    /// All signature lines, in order.
    pub fn signatures(&self) -> &[NoteSignature] {
        &self.signatures
    }
    /// Verifies against known keys: lines of unknown (name, id) are ignored, a known one that fails refuses the
    /// note, and at least one must verify. Returns the keys that signed.
    pub fn verify<'k>(&self, _known: &'k [NoteKey]) -> Result<Vec<&'k NoteKey>, NoteError> {
        unimplemented!()
    }
    /// The note as bytes of text.
    pub fn encode(&self) -> String {
        unimplemented!()
    }
}
