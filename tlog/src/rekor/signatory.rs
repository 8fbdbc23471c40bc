//! Signers of an entry together with their signatures, which bind the entry to them.

use super::Verifier;
use crate::key::KeyKind;
use crate::merkle::Hash;

/// A signer of an entry, and the signatures by which it signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signatory {
    /// Who signed.
    pub verifier: Verifier,
    signatures: Vec<Signature>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Signature {
    bytes: Vec<u8>,
    covers: Covers,
}

/// What a signature was verified over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Covers {
    /// The message, which is here whole.
    Message,
    /// A digest that the submitter names, of a message that nobody has shown.
    Digest,
}

impl Signatory {
    /// A signer, as yet without signatures.
    pub fn new(verifier: Verifier) -> Self {
        Self { verifier, signatures: Vec::new() }
    }

    /// Records a signature of this signer that has been verified.
    pub(crate) fn signed(&mut self, bytes: &[u8], covers: Covers) {
        self.signatures.push(Signature { bytes: bytes.to_vec(), covers });
    }

    /// Hashes by which the signatures are recognised, whatever their encoding: see
    /// [`PublicKey::unmalleable_part`](crate::key::PublicKey::unmalleable_part).
    pub(crate) fn marks(&self) -> Vec<Hash> {
        let key = self.verifier.public_key();
        let fingerprint = key.fingerprint();
        let mark = |signature: &Signature| {
            Hash::digest(&[&fingerprint[..], &key.unmalleable_part(&signature.bytes)].concat())
        };
        self.signatures.iter().map(mark).collect()
    }

    /// True if anyone who knows the public key could have made every one of the signatures.
    ///
    /// A bare digest does not bind an ECDSA signature to its signer: for any `a` and `b` there is a valid signature
    /// with `r` of the point `aG + bQ`, `s = r/b`, over the digest `a·s`, and nobody asks for that digest's message.
    /// RSA's padding and Ed25519ph, which hashes the digest with the key, leave no such choice.
    pub(crate) fn may_be_forged(&self) -> bool {
        let kind = self.verifier.public_key().kind();
        let is_ecdsa = matches!(kind, KeyKind::EcdsaP256 | KeyKind::EcdsaP384 | KeyKind::EcdsaP521);
        is_ecdsa && self.signatures.iter().all(|signature| signature.covers == Covers::Digest)
    }
}
