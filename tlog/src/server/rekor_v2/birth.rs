//! The entry that a new v2 log is born with.
//!
//! sigstore-python cannot verify entry 0, whose zeros Go clients leave out of the bundles they write. So entry 0 is
//! the log's own statement, and no user ever meets it.
//!
//! The log's key does not sign it: it is a checkpoint key, Ed25519, and what it signs has to be checkpoints and nothing
//! else, while a digest would be signed with Ed25519ph. An ephemeral P-256 key signs instead and is dropped. That makes
//! the statement no weaker: it is the first thing the log commits to, and every checkpoint after it says so.

use bytes::Bytes;

use crate::checkpoint::Origin;
use crate::clock::Clock;
use crate::key::{HashAlgorithm, KeyError, KeyKind, SignError, Signer as _, SoftwareSigner};
use crate::rekor_v2::{
    CanonicalEntry, CreateEntryRequest, EntryError, HashedRekordRequest, KeyDetails, RequestMaterial,
    RequestSignature, RequestVerifier,
};
use crate::server::log::{HashedLeaf, Submission};

/// Why a log cannot state its birth.
#[derive(Debug, thiserror::Error)]
pub enum BirthError {
    /// There is no ephemeral key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// It does not sign.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The statement makes no valid entry.
    #[error("the log's first entry: {0}")]
    Entry(#[from] EntryError),
}

/// A `hashedrekord` over a statement of origin and time, which is kept beside it in words.
pub fn birth(origin: &Origin, clock: &dyn Clock) -> Result<Submission, BirthError> {
    let statement = format!("The log `{origin}` was born at {}.\n", clock.now());
    let signer = SoftwareSigner::generate(KeyKind::EcdsaP256)?;
    let verifier = RequestVerifier {
        material: Some(RequestMaterial::PublicKey(signer.public_key().spki_der().to_vec())),
        key_details: Some(KeyDetails::EcdsaP256),
    };
    let request = CreateEntryRequest::HashedRekord(HashedRekordRequest {
        digest: HashAlgorithm::Sha256.digest(statement.as_bytes()),
        signature: Some(RequestSignature {
            content: signer.sign(statement.as_bytes())?,
            verifier: Some(verifier),
        }),
    });
    let entry = CanonicalEntry::from_request(request)?;
    let leaf = HashedLeaf::new(entry.body);
    Ok(Submission { identity: leaf.hash(), leaf, extra: Bytes::from(statement), terms: entry.index_keys })
}
