//! C2SP checkpoints: the signed statement "my tree has this size and this root". <https://c2sp.org/tlog-checkpoint>

use std::fmt;

use crate::key::Signer;
use crate::merkle::Hash;
use crate::note::{KeyName, MAX_NOTE, Note, NoteError, NoteKey};

/// Longest origin in bytes: cosignatures carry its length in one byte.
pub const MAX_ORIGIN: usize = 255;

/// Why a text is no checkpoint.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// A line is missing or malformed.
    #[error("malformed checkpoint: {0}")]
    Malformed(&'static str),
    /// The note around it is.
    #[error(transparent)]
    Note(#[from] NoteError),
}

/// The identity of a log: non-empty, one line. For C2SP faces a scheme-less URL; for Rekor v1
/// `<host> - <tree id>`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin(String);

impl Origin {
    /// Checks an origin: non-empty, no control characters, at most 255 bytes.
    pub fn new(origin: impl Into<String>) -> Result<Self, CheckpointError> {
        let origin = origin.into();
        if origin.is_empty() || origin.len() > MAX_ORIGIN {
            return Err(CheckpointError::Malformed("an origin has 1 to 255 bytes"));
        }
        if origin.contains(char::is_control) {
            return Err(CheckpointError::Malformed("the origin has a control character"));
        }
        Ok(Self(origin))
    }
    /// The origin line without its newline.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A checkpoint: the text of a note, unsigned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log.
    pub origin: Origin,
    /// Number of leaves.
    pub size: u64,
    /// Root hash of the tree of that size.
    pub root: Hash,
    // Only parsing fills this, so that every checkpoint encodes to what parses back to it.
    extensions: Vec<String>,
}

impl Checkpoint {
    /// A checkpoint without extension lines.
    pub fn new(origin: Origin, size: u64, root: Hash) -> Self {
        Self { origin, size, root, extensions: Vec::new() }
    }
    /// Parses the text of a note; refuses what would not re-encode to the same bytes (leading zeros, non-canonical
    /// base64, a missing final newline).
    pub fn parse(text: &str) -> Result<Self, CheckpointError> {
        if text.len() > MAX_NOTE {
            return Err(CheckpointError::Malformed("longer than any note"));
        }
        let text = text.strip_suffix('\n').ok_or(CheckpointError::Malformed("no newline at the end"))?;
        let mut lines = text.split('\n');
        let origin = Origin::new(lines.next().unwrap_or_default())?;
        let size = parse_size(lines.next().ok_or(CheckpointError::Malformed("no size line"))?)?;
        let root = Hash::from_base64(lines.next().ok_or(CheckpointError::Malformed("no root hash line"))?)
            .map_err(|_| CheckpointError::Malformed("the root is not 32 bytes in canonical base64"))?;
        let extensions: Vec<_> = lines.map(str::to_owned).collect();
        if extensions.iter().any(|line| line.is_empty() || line.contains(|c| c < ' ')) {
            return Err(CheckpointError::Malformed("an extension line is empty or has a control character"));
        }
        Ok(Self { origin, size, root, extensions })
    }
    /// Opens a signed note: parses it, verifies it by [`Note::verify`] and parses its text. Gives the keys that
    /// signed, in the order of their lines; a caller that knows witnesses too looks for the log's among them.
    pub fn open<'k>(note: &[u8], known: &'k [NoteKey]) -> Result<(Self, Vec<&'k NoteKey>), CheckpointError> {
        let note = Note::parse(note)?;
        let signed = note.verify(known)?;
        Ok((Self::parse(note.text())?, signed))
    }
    /// The signed note with one line by `signer` under `name`.
    pub fn sign(&self, name: &KeyName, signer: &dyn Signer) -> Result<String, CheckpointError> {
        let text = self.encode();
        let line = Note::sign(&text, name, signer)?;
        Ok(Note::new(text, vec![line])?.encode())
    }
    /// Extension lines, each non-empty, in order. Usually none; we never write any.
    pub fn extensions(&self) -> &[String] {
        &self.extensions
    }
    /// The text to sign, final newline included.
    pub fn encode(&self) -> String {
        let mut text = format!("{}\n{}\n{}\n", self.origin, self.size, self.root.to_base64());
        for line in &self.extensions {
            text.push_str(line);
            text.push('\n');
        }
        text
    }
}

/// A size as the specification writes it: ASCII digits without leading zeros.
fn parse_size(line: &str) -> Result<u64, CheckpointError> {
    let malformed = CheckpointError::Malformed("the size is not a decimal number without leading zeros");
    // `parse` takes `+1` and `007`.
    if !line.bytes().all(|b| b.is_ascii_digit()) || (line.len() > 1 && line.starts_with('0')) {
        return Err(malformed);
    }
    line.parse().map_err(|_| malformed)
}

#[cfg(test)]
mod tests;
