//! The certificate transparency dialect, RFC 6962 §4: the private issuance log.
//!
//! Our own CA submits in process and others over HTTP; both go through [`CtLog::submit`]. A leaf carries the time of
//! its submission, so its time is chosen here, before the sequencer, and a duplicate is answered with an SCT of the
//! time that is stored.
//!
//! Invariant: an SCT is signed only for a leaf that is committed. Unlike logs with a merge delay, a submitter who
//! holds our SCT can be shown the inclusion proof at once.

mod api;
mod heads;
mod reads;
pub(super) mod submit;

use std::collections::VecDeque;
use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};
use tokio::sync::Mutex;

use self::heads::SignedHead;
use super::log::{AddError, Log, ProofReadError};
use super::store::StoreError;
use crate::certificate::Certificate;
use crate::chain::{ChainError, KnownLinks};
use crate::clock::Clock;
use crate::ct::{CtError, Sct};
use crate::key::{KeyKind, PublicKey, Signer};
use crate::serve::access::Gate;
use crate::serve::{Problem, cors};

/// Why the log does not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum CtLogError {
    /// The chain leads to no accepted root, or its leaf is not what this endpoint takes.
    #[error("the chain is not accepted: {0}")]
    Chain(#[from] ChainError),
    /// No chain, too long a one, or a leaf for the other endpoint.
    #[error("the submission is not accepted: {0}")]
    Submission(&'static str),
    /// A structure could not be made or read.
    #[error(transparent)]
    Structure(#[from] CtError),
    /// The entry was not added.
    #[error(transparent)]
    Add(#[from] AddError),
    /// The log could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A proof could not be made.
    #[error(transparent)]
    Proof(#[from] ProofReadError),
    /// The log's key did not sign.
    #[error("the log's signing key failed")]
    Sign,
    /// Not a key for a CT log.
    #[error("a CT log's key must be ECDSA P-256, Go's clients take no other curve; this one is {0}")]
    Key(KeyKind),
    /// No certificate to lead to.
    #[error("a CT log needs at least one accepted root certificate")]
    NoRoots,
}

/// A log that speaks RFC 6962. Cheap to clone.
#[derive(Clone)]
pub struct CtLog(Arc<Inner>);

struct Inner {
    log: Log,
    roots: Vec<Certificate>,
    /// Our own CA submits the same chain with every certificate.
    known: KnownLinks,
    signer: Arc<dyn Signer>,
    clock: Arc<dyn Clock>,
    heads: Mutex<VecDeque<SignedHead>>,
}

impl CtLog {
    /// The CT face of `log`, which accepts chains to `roots` and signs with `signer`.
    pub fn new(
        log: Log,
        roots: Vec<Certificate>,
        signer: Arc<dyn Signer>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, CtLogError> {
        match signer.public_key().kind() {
            KeyKind::EcdsaP256 => {}
            other => return Err(CtLogError::Key(other)),
        }
        if roots.is_empty() {
            return Err(CtLogError::NoRoots);
        }
        Ok(Self(Arc::new(Inner {
            log,
            roots,
            known: KnownLinks::default(),
            signer,
            clock,
            heads: Mutex::default(),
        })))
    }

    /// The key that verifies this log's SCTs.
    pub fn public_key(&self) -> &PublicKey {
        self.0.signer.public_key()
    }

    /// Logs a precertificate (`chain[0]`) that leads by the rest of `chain` to an accepted root. RFC 6962 §4.2.
    pub async fn add_pre_chain(&self, chain: &[Certificate]) -> Result<Sct, CtLogError> {
        self.submit(submit::Leaf::Precertificate, chain).await
    }

    /// Logs a final certificate. RFC 6962 §4.1.
    pub async fn add_chain(&self, chain: &[Certificate]) -> Result<Sct, CtLogError> {
        self.submit(submit::Leaf::Certificate, chain).await
    }

    /// The HTTP API below `/ct/v1`, to be nested under the log's prefix: a client of the log at `<url>/ct` posts to
    /// `<url>/ct/ct/v1/add-pre-chain`.
    ///
    /// What holds names is behind `gate`.
    pub fn router(self, gate: &Gate) -> Router {
        let routes = [
            ("/ct/v1/add-pre-chain", cors::any_origin(post(api::add_pre_chain))),
            ("/ct/v1/add-chain", cors::any_origin(post(api::add_chain))),
            ("/ct/v1/get-sth", cors::any_origin(get(api::get_sth))),
            ("/ct/v1/get-sth-consistency", cors::any_origin(get(api::get_sth_consistency))),
            ("/ct/v1/get-proof-by-hash", cors::any_origin(get(api::get_proof_by_hash))),
            ("/ct/v1/get-entries", gate.before(get(api::get_entries))),
            ("/ct/v1/get-roots", cors::any_origin(get(api::get_roots))),
            ("/ct/v1/get-entry-and-proof", gate.before(get(api::get_entry_and_proof))),
        ];
        let mut router = Router::new();
        for (path, methods) in routes {
            router = router.route(path, methods);
        }
        router.with_state(self)
    }
}

impl From<CtLogError> for Problem {
    fn from(error: CtLogError) -> Self {
        api::problem(&error)
    }
}

#[cfg(test)]
mod tests;
