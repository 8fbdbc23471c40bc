//! C2SP checkpoints: the signed statement "my tree has this size and this root". <https://c2sp.org/tlog-checkpoint>

use crate::merkle::Hash;
use crate::note::NoteError;

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
    pub fn new(_origin: impl Into<String>) -> Result<Self, CheckpointError> {
        unimplemented!()
    }
    /// The origin line without its newline.
    pub fn as_str(&self) -> &str {
        &self.0
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
    /// Extension lines, each non-empty, in order. Usually none.
    pub extensions: Vec<String>,
}

impl Checkpoint {
    /// A checkpoint without extension lines.
    pub fn new(origin: Origin, size: u64, root: Hash) -> Self {
        Self { origin, size, root, extensions: Vec::new() }
    }
    /// Parses the text of a note; refuses what would not re-encode to the same bytes (leading zeros, non-canonical
    /// base64, a missing final newline).
    pub fn parse(_text: &str) -> Result<Self, CheckpointError> {
        unimplemented!()
    }
    /// The text to sign, final newline included.
    pub fn encode(&self) -> String {
        unimplemented!()
    }
}
