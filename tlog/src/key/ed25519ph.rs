//! Ed25519ph (RFC 8032 §5.1) over a digest that arrives ready-made, as hashedrekord's does.
//!
//! ed25519-dalek asks for the hasher and finishes it itself, so [`Ready`] poses as a SHA-512 that has seen the message.

use ed25519_dalek::{Signature, VerifyingKey};
use sha2::digest::consts::U64;
use sha2::digest::{FixedOutput, HashMarker, Output, OutputSizeUser, Update};

use super::BadSignature;

/// Verifies `signature` over `digest`, the SHA-512 of a message.
pub(super) fn verify(key: &[u8], digest: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
    let key = key.try_into().map_err(|_| BadSignature)?;
    let key = VerifyingKey::from_bytes(key).map_err(|_| BadSignature)?;
    let digest = Ready(digest.try_into().map_err(|_| BadSignature)?);
    let signature = Signature::from_slice(signature).map_err(|_| BadSignature)?;
    key.verify_prehashed_strict(digest, None, &signature).map_err(|_| BadSignature)
}

/// A hasher that already knows its answer.
struct Ready([u8; 64]);

impl Default for Ready {
    fn default() -> Self {
        Self([0; 64])
    }
}

impl HashMarker for Ready {}

impl OutputSizeUser for Ready {
    type OutputSize = U64;
}

impl Update for Ready {
    /// Nothing is ever added: the message is not here.
    fn update(&mut self, _data: &[u8]) {}
}

impl FixedOutput for Ready {
    fn finalize_into(self, out: &mut Output<Self>) {
        out.copy_from_slice(&self.0);
    }
}
