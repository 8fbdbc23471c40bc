//! Signing a head: only what was [`Checked`] can be.

use std::fmt;
use std::sync::Arc;

use super::{Batch, Checked, check::RightRows};
use crate::checkpoint::{Checkpoint, Origin};
use crate::key::{KeyKind, PublicKey, Signer};
use crate::note::{KeyName, Note, NoteError, NoteKey};
use crate::server::log::OpenError;
use crate::server::store::Head;

/// Who signs checkpoints: an origin and its Ed25519 key. The C2SP face of the log.
#[derive(Clone)]
pub struct Face {
    origin: Origin,
    key: NoteKey,
    signer: Arc<dyn Signer>,
}

impl Face {
    /// The face of the log `origin`. Refuses keys other than Ed25519: witnesses verify no other.
    pub fn new(origin: Origin, signer: Arc<dyn Signer>) -> Result<Self, OpenError> {
        let key = Self::key_of(&origin, signer.public_key())?;
        Ok(Self { origin, key, signer })
    }

    /// What verifies the checkpoints of the log `origin` whose public key this is.
    pub(in crate::server) fn key_of(origin: &Origin, key: &PublicKey) -> Result<NoteKey, OpenError> {
        let kind = key.kind();
        if kind != KeyKind::Ed25519 {
            return Err(OpenError::KeyKind(kind));
        }
        Ok(NoteKey::new(KeyName::new(origin.as_str())?, key.clone())?)
    }

    /// The log's origin.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The key that verifies its checkpoints.
    pub fn key(&self) -> &NoteKey {
        &self.key
    }

    /// Whether signing can block for longer than an async thread may.
    pub fn may_block(&self) -> bool {
        self.signer.may_block()
    }

    fn sign(&self, checkpoint: &Checkpoint) -> Result<String, NoteError> {
        let text = checkpoint.encode();
        let signature = Note::sign(&text, self.key.name(), &*self.signer)?;
        let note = Note::new(text, vec![signature])?;
        // A signer that lost its key or its mind is found here, not at the next start, when the head is stored.
        note.verify(std::slice::from_ref(&self.key))?;
        Ok(note.encode())
    }
}

impl fmt::Debug for Face {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Face").field("key", &self.key).finish_non_exhaustive()
    }
}

/// A checked batch with the signed head after it.
#[derive(Debug)]
pub struct Signed {
    pub(super) batch: Batch,
    pub(super) rows: RightRows,
    pub(super) head: Head,
}

impl Checked {
    /// Signs the checkpoint of the re-derived root. May block as long as the signer does.
    pub fn sign(self, face: &Face) -> Result<Signed, NoteError> {
        let Self { batch, root, rows } = self;
        let size = batch.edge.size();
        let checkpoint = face.sign(&Checkpoint::new(face.origin.clone(), size, root))?;
        Ok(Signed { head: Head { size, root, time: batch.time, checkpoint }, batch, rows })
    }
}
