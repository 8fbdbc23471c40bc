//! Which keys may sign which hashes in a hashedrekord: Sigstore's algorithm registry, without RSA-PSS (Rekor never
//! verifies that).

use super::EntryError;
use crate::key::{HashAlgorithm, KeyKind};

/// Refuses combinations that are not in the registry. Larger curves with SHA-256 are: cosign signed so for years.
pub(super) fn check(kind: KeyKind, hash: HashAlgorithm) -> Result<(), EntryError> {
    use HashAlgorithm::{Sha256, Sha384, Sha512};
    let allowed = match kind {
        KeyKind::EcdsaP256 | KeyKind::Rsa(2048 | 3072 | 4096) => hash == Sha256,
        KeyKind::EcdsaP384 => matches!(hash, Sha256 | Sha384),
        KeyKind::EcdsaP521 => matches!(hash, Sha256 | Sha512),
        KeyKind::Ed25519 => hash == Sha512,
        KeyKind::Rsa(_) => false,
    };
    if allowed { Ok(()) } else { Err(EntryError::Algorithm) }
}
