//! The entry that a new attestation log is born with.
//!
//! sigstore-python and cosign 2.5 cannot verify entry 0: the Go clients leave zero values and empty lists out of
//! the bundles they write. So entry 0 is the log's own statement, and no user ever meets it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::json;

use crate::clock::Clock;
use crate::key::{SignError, Signer};
use crate::merkle::Hash;
use crate::rekor::{CanonicalEntry, EntryError};
use crate::server::log::{HashedLeaf, Submission};

/// Why a log cannot state its birth.
#[derive(Debug, thiserror::Error)]
pub enum BirthError {
    /// Its key does not sign.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// Its key makes no valid entry. Rekor v1 needs P-256.
    #[error("the log's key cannot sign its first entry: {0}")]
    Entry(#[from] EntryError),
}

/// A `hashedrekord` over a statement of host, tree and time, signed by the log's own P-256 key. The statement
/// itself is kept beside the entry.
pub fn birth(
    host: &str,
    tree_id: u64,
    signer: &dyn Signer,
    clock: &dyn Clock,
) -> Result<Submission, BirthError> {
    let statement = format!("The log `{host} - {tree_id}` was born at {}.\n", clock.now());
    let digest = Hash::digest(statement.as_bytes());
    let signature = signer.sign(statement.as_bytes())?;
    let key = signer.public_key().to_pem();
    let proposed = json!({
        "apiVersion": "0.0.1",
        "kind": "hashedrekord",
        "spec": {
            "data": { "hash": { "algorithm": "sha256", "value": digest.to_hex() } },
            "signature": {
                "content": STANDARD.encode(signature),
                "publicKey": { "content": STANDARD.encode(key) },
            },
        },
    });
    let entry = CanonicalEntry::from_proposed(proposed.to_string().as_bytes())?;
    let leaf = HashedLeaf::new(entry.body);
    Ok(Submission { identity: leaf.hash(), leaf, extra: Bytes::from(statement), terms: entry.index_keys })
}
