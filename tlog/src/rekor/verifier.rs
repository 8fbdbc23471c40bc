//! Who signed: the PEM that entries carry, and its one canonical spelling.

use super::EntryError;
use crate::certificate::Certificate;
use crate::chain::{self, Purpose};
use crate::effort::Effort;
use crate::key::PublicKey;
use crate::merkle::Hash;
use crate::pem::Block;

/// Who signed: what an entry's `verifier`/`publicKey` holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verifier {
    /// A bare public key.
    Key(PublicKey),
    /// A certificate, or a chain with the leaf first; never empty.
    Certificates(Vec<Certificate>),
}

impl Verifier {
    /// Parses the PEM that v1 entries carry: one `PUBLIC KEY`, or 1 to 10 `CERTIFICATE`s (a chain is verified at
    /// its leaf's notBefore). As in Go's readers whitespace around and text before a block are tolerated, text after the
    /// last one is not.
    pub fn from_pem(pem: &[u8]) -> Result<Self, EntryError> {
        Self::from_pem_within(pem, &Effort::any())
    }

    /// As [`Verifier::from_pem`], with no more `effort` than this for a chain.
    pub fn from_pem_within(pem: &[u8], effort: &Effort) -> Result<Self, EntryError> {
        let text =
            std::str::from_utf8(pem).map_err(|_| EntryError::invalid("invalid public key: not PEM"))?;
        let text = text.trim();
        if Block::first_label(text) == Some("CERTIFICATE") {
            return Self::from_certificates(text, effort);
        }
        let block =
            Block::first(text).ok_or_else(|| EntryError::invalid("invalid public key: no PEM block"))?;
        if block.label != "PUBLIC KEY" || !block.rest.trim().is_empty() {
            return Err(EntryError::invalid(
                "invalid public key: one PUBLIC KEY or CERTIFICATEs, and nothing after",
            ));
        }
        let key = PublicKey::from_spki_der(&block.contents);
        key.map(Self::Key).map_err(|e| EntryError::invalid(format!("invalid public key: {e}")))
    }

    fn from_certificates(pem: &str, effort: &Effort) -> Result<Self, EntryError> {
        let invalid = |e: &dyn std::fmt::Display| EntryError::invalid(format!("invalid public key: {e}"));
        let certificates = Certificate::chain_from_entry(pem).map_err(|e| invalid(&e))?;
        if let [leaf, intermediates @ .., root] = certificates.as_slice() {
            let roots = std::slice::from_ref(root);
            chain::verify_submitted(leaf, intermediates, roots, leaf.not_before(), Purpose::Any, effort)
                .map_err(|e| invalid(&e))?;
        }
        Ok(Self::Certificates(certificates))
    }

    /// The canonical PEM: 64-character lines, `\n` only.
    pub fn to_pem(&self) -> String {
        match self {
            Self::Key(key) => key.to_pem(),
            Self::Certificates(chain) => chain.iter().map(Certificate::to_pem).collect(),
        }
    }
    /// The verifying key.
    pub fn public_key(&self) -> &PublicKey {
        match self {
            Self::Key(key) => key,
            Self::Certificates(chain) => chain[0].public_key(),
        }
    }
    /// The signing certificate, if it is one.
    pub fn certificate(&self) -> Option<&Certificate> {
        match self {
            Self::Key(_) => None,
            Self::Certificates(chain) => chain.first(),
        }
    }
    /// The certificates of a chain behind the signing one.
    pub fn further_certificates(&self) -> &[Certificate] {
        match self {
            Self::Certificates(chain) => chain.get(1..).unwrap_or_default(),
            Self::Key(_) => &[],
        }
    }
    /// SHA-256 of the canonical PEM: how entries are found by key.
    pub fn pem_hash(&self) -> Hash {
        Hash::digest(self.to_pem().as_bytes())
    }
}
