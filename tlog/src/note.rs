//! C2SP signed notes: a text and the signature lines under it. <https://c2sp.org/signed-note>
//!
//! Parsers here accept only what re-encodes to the same bytes, and signers sign only re-encodings.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::key::{HashAlgorithm, KeyKind, PublicKey, SignError, Signer};
use crate::merkle::Hash;

/// Largest note that is read, in bytes. A checkpoint with sixteen post-quantum cosignatures fits.
pub const MAX_NOTE: usize = 128 * 1024;
/// Most signature lines that are read. The specification asks for at least 16.
pub const MAX_SIGNATURES: usize = 64;

/// Signature type of plain Ed25519.
const TYPE_ED25519: u8 = 0x01;
/// DER of an Ed25519 SubjectPublicKeyInfo up to the 32 key bytes, RFC 8410 §4.
const ED25519_SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// Starts every signature line: an em dash (U+2014) and a space.
const LINE_START: &str = "\u{2014} ";

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
    pub fn new(name: impl Into<String>) -> Result<Self, NoteError> {
        let name = name.into();
        let refused = |c: char| c.is_whitespace() || c == '+' || is_forbidden(c);
        if name.is_empty() || name.contains(refused) {
            return Err(NoteError::KeyName(name));
        }
        Ok(Self(name))
    }
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
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
    pub fn new(name: KeyName, key: PublicKey) -> Result<Self, NoteError> {
        if matches!(key.kind(), KeyKind::Rsa(_)) {
            return Err(NoteError::Vkey("RSA keys do not sign notes, use Ed25519 or ECDSA"));
        }
        let [a, b, c, d, ..] = key_hash(&name, &key);
        Ok(Self { name, id: [a, b, c, d], key })
    }
    /// Parses `<name>+<8 hex>+<base64(type ‖ key)>` (Ed25519 only, as the specification defines).
    pub fn parse_vkey(text: &str) -> Result<Self, NoteError> {
        // Base64 has a `+` of its own, names and ids have none.
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(encoded)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(NoteError::Vkey("expected <name>+<id>+<key>"));
        };
        let typed = BASE64.decode(encoded).map_err(|_| NoteError::Vkey("the key is not canonical base64"))?;
        let Some((&TYPE_ED25519, bytes)) = typed.split_first() else {
            return Err(NoteError::Vkey("only Ed25519 keys (type 0x01) are supported"));
        };
        let key = PublicKey::from_spki_der(&[&ED25519_SPKI, bytes].concat())
            .map_err(|_| NoteError::Vkey("an Ed25519 key has 32 bytes"))?;
        let key = Self::new(KeyName::new(name)?, key)?;
        if hex::encode(key.id) != id {
            return Err(NoteError::Vkey("the key id is not that of this name and key"));
        }
        Ok(key)
    }
    /// The `vkey` line of an Ed25519 key; `None` for ECDSA, which has no such form.
    pub fn to_vkey(&self) -> Option<String> {
        if self.key.kind() != KeyKind::Ed25519 {
            return None;
        }
        let typed = [&[TYPE_ED25519], self.key.key_bits()].concat();
        Some(format!("{}+{}+{}", self.name, hex::encode(self.id), BASE64.encode(typed)))
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
        key_hash(&self.name, &self.key)
    }
    /// The public key.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    fn made(&self, line: &NoteSignature) -> bool {
        self.name == line.name && self.id == line.id
    }

    fn verifies(&self, text: &str, signature: &[u8]) -> bool {
        // ECDSA notes hash with SHA-256 whatever the curve; pure Ed25519 ignores the algorithm.
        self.key.verify(HashAlgorithm::Sha256, text.as_bytes(), signature).is_ok()
    }
}

/// The key hash whose first four bytes are the key id: over name, type and key for Ed25519; for ECDSA over the SPKI
/// alone, the one exception that the specification makes (for Rekor v1).
fn key_hash(name: &KeyName, key: &PublicKey) -> [u8; 32] {
    if key.kind() != KeyKind::Ed25519 {
        return key.fingerprint();
    }
    let input = [name.0.as_bytes(), b"\n", &[TYPE_ED25519], key.key_bits()].concat();
    *Hash::digest(&input).as_bytes()
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

impl NoteSignature {
    /// Parses one line, without its newline.
    fn parse(line: &str) -> Result<Self, NoteError> {
        let rest = line
            .strip_prefix(LINE_START)
            .ok_or(NoteError::Malformed("a signature line starts with an em dash and a space"))?;
        let (name, encoded) = rest
            .split_once(' ')
            .ok_or(NoteError::Malformed("a signature line has a name and a signature"))?;
        let blob = BASE64
            .decode(encoded)
            .map_err(|_| NoteError::Malformed("a signature is canonical, padded, standard base64"))?;
        match blob.split_first_chunk() {
            Some((id, signature)) if !signature.is_empty() => {
                Ok(Self { name: KeyName::new(name)?, id: *id, signature: signature.to_vec() })
            }
            _ => Err(NoteError::Malformed("a signature is a key id of four bytes and at least one byte")),
        }
    }
}

impl fmt::Display for NoteSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let blob = [&self.id, self.signature.as_slice()].concat();
        write!(f, "{LINE_START}{} {}", self.name, BASE64.encode(blob))
    }
}

/// A text with its signature lines, verified or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<NoteSignature>,
}

impl Note {
    /// Parses a whole note. The text is everything before the last empty line and ends in a newline.
    pub fn parse(note: &[u8]) -> Result<Self, NoteError> {
        if note.len() > MAX_NOTE {
            return Err(NoteError::Malformed(TOO_LONG));
        }
        let note = std::str::from_utf8(note).map_err(|_| NoteError::Malformed("not UTF-8"))?;
        let end = note.rfind("\n\n").ok_or(NoteError::Malformed("no empty line before the signatures"))?;
        let (text, lines) = (&note[..=end], &note[end + 2..]);
        let lines =
            lines.strip_suffix('\n').ok_or(NoteError::Malformed("the last signature line has no newline"))?;
        // One more than allowed is enough to refuse the note, so no more are decoded.
        let signatures =
            lines.split('\n').take(MAX_SIGNATURES + 1).map(NoteSignature::parse).collect::<Result<_, _>>()?;
        Self::new(text.to_owned(), signatures)
    }
    /// A note from a text that ends in a newline and signatures made over it.
    pub fn new(text: String, signatures: Vec<NoteSignature>) -> Result<Self, NoteError> {
        check_text(&text)?;
        if signatures.is_empty() || signatures.len() > MAX_SIGNATURES {
            return Err(NoteError::Malformed("a note has 1 to 64 signature lines"));
        }
        if signatures.iter().any(|line| line.signature.is_empty()) {
            return Err(NoteError::Malformed("a signature is empty"));
        }
        let note = Self { text, signatures };
        if note.encode().len() > MAX_NOTE {
            return Err(NoteError::Malformed(TOO_LONG));
        }
        Ok(note)
    }
    /// Signs `text` under `name`: Ed25519 or ECDSA by the signer's key.
    pub fn sign(text: &str, name: &KeyName, signer: &dyn Signer) -> Result<NoteSignature, NoteError> {
        check_text(text)?;
        let key = signer.public_key();
        // Signers hash by curve, but ECDSA notes are SHA-256: only P-256 does both.
        if !matches!(key.kind(), KeyKind::Ed25519 | KeyKind::EcdsaP256) {
            return Err(SignError(format!(
                "notes are signed with Ed25519 or ECDSA P-256, not {}",
                key.kind()
            ))
            .into());
        }
        let id = NoteKey::new(name.clone(), key.clone())?.id;
        Ok(NoteSignature { name: name.clone(), id, signature: signer.sign(text.as_bytes())? })
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
    pub fn verify<'k>(&self, known: &'k [NoteKey]) -> Result<Vec<&'k NoteKey>, NoteError> {
        let mut signed: Vec<&NoteKey> = Vec::new();
        for line in &self.signatures {
            let mut keys = known.iter().filter(|key| key.made(line)).peekable();
            if keys.peek().is_none() {
                continue;
            }
            // Two keys can share a name and four bytes of id; the line is good if it is one of theirs.
            let key = keys
                .find(|key| key.verifies(&self.text, &line.signature))
                .ok_or_else(|| NoteError::BadSignature(line.name.0.clone()))?;
            if !signed.iter().any(|earlier| std::ptr::eq(*earlier, key)) {
                signed.push(key);
            }
        }
        if signed.is_empty() { Err(NoteError::Unsigned) } else { Ok(signed) }
    }
    /// The note as bytes of text.
    pub fn encode(&self) -> String {
        let mut note = format!("{}\n", self.text);
        for line in &self.signatures {
            note.push_str(&line.to_string());
            note.push('\n');
        }
        note
    }
}

const TOO_LONG: &str = "longer than 128 KiB";

/// Whether a character must not stand in a note: a control character below U+0020 other than newline.
fn is_forbidden(c: char) -> bool {
    c < ' ' && c != '\n'
}

fn check_text(text: &str) -> Result<(), NoteError> {
    if !text.ends_with('\n') {
        return Err(NoteError::Malformed("the text does not end in a newline"));
    }
    if text.contains(is_forbidden) {
        return Err(NoteError::Malformed("the text has a control character other than newline"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
