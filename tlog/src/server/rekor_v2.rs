//! The Rekor v2 dialect: `POST /api/v2/log/entries`, and the log's tiles where v2 readers look for them.
//!
//! An entry is answered as soon as it is committed. rekor-tiles waits for the next checkpoint of a clock; here every
//! commit is a checkpoint, so the answer carries one that is durable and is never contradicted.
//!
//! Invariant: one answer speaks of one head. Errors are `google.rpc.Status` in JSON, as grpc-gateway writes them.

mod birth;
mod grpc;
mod message;
mod refusal;

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{any, post};
use bytes::Bytes;
use http::StatusCode;

pub use self::birth::{BirthError, birth};
pub use self::refusal::{Code, Refusal};
use super::admission::Admission;
use super::log::{HashedLeaf, Log, Submission};
use super::tiles;
use crate::effort::Effort;
use crate::key::PublicKey;
use crate::note::{KeyName, Note, NoteError, NoteKey};
use crate::rekor_v2::{CanonicalEntry, CreateEntryRequest, TransparencyLogEntry};
use crate::serve::access::Gate;
use crate::serve::reply::json;
use crate::serve::{cors, leave_runtime};

/// Why a log cannot speak Rekor v2.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RekorV2Error {
    /// Go clients look the checkpoint's signature up by the host of the trusted root's `baseUrl`.
    #[error("the origin `{0}` of a Rekor v2 log must be its bare host name, without scheme, port and path")]
    Origin(String),
    /// The key is not the one that signs this log's checkpoints.
    #[error("this key does not sign the log's checkpoints: {0}")]
    Key(#[from] NoteError),
}

/// A log that speaks Rekor v2. Clones share it.
#[derive(Clone)]
pub struct RekorV2 {
    log: Log,
    log_id: [u8; 32],
    admission: Option<Admission>,
}

impl RekorV2 {
    /// The dialect over `log`, whose checkpoints `key` verifies. There is no other key.
    pub fn new(log: Log, key: &PublicKey) -> Result<Self, RekorV2Error> {
        let origin = log.origin().as_str();
        if origin.contains([':', '/']) && origin.parse::<IpAddr>().is_err() {
            return Err(RekorV2Error::Origin(origin.to_owned()));
        }
        let key = NoteKey::new(KeyName::new(origin)?, key.clone())?;
        let log_id = key.full_id();
        Note::parse(log.head().checkpoint.as_bytes())?.verify(&[key])?;
        Ok(Self { log, log_id, admission: None })
    }

    /// With rules for who may write; without them everyone may.
    #[must_use]
    pub fn admitting(self, admission: Admission) -> Self {
        Self { admission: Some(admission), ..self }
    }

    /// The log's id: what its trusted root says in `logId.keyId`.
    pub fn log_id(&self) -> [u8; 32] {
        self.log_id
    }

    /// Checks and adds an entry. Returns once it is durable under the checkpoint that the answer holds.
    pub async fn create_entry(&self, request: CreateEntryRequest) -> Result<TransparencyLogEntry, Refusal> {
        if request.signature_checks() > Effort::LITTLE {
            leave_runtime().await;
        }
        let CanonicalEntry { body, kind_version, index_keys, signatories } =
            CanonicalEntry::from_request(request)?;
        let fee = self.admission.as_ref().map(|admission| admission.admit(&signatories)).transpose()?;
        let leaf = HashedLeaf::new(body);
        let canonicalized_body = leaf.bytes().clone();
        let submission = Submission { identity: leaf.hash(), leaf, extra: Bytes::new(), terms: index_keys };
        let receipt = match &fee {
            Some(fee) => self.log.add_for(submission, fee).await?,
            None => self.log.add(submission).await?,
        };
        if receipt.duplicate {
            return Err(Refusal::duplicate(receipt.index));
        }
        Ok(TransparencyLogEntry {
            log_index: receipt.index,
            log_id: self.log_id,
            kind_version,
            tree_size: receipt.head.size,
            root_hash: receipt.head.root,
            hashes: receipt.proof,
            checkpoint: receipt.head.checkpoint.clone(),
            canonicalized_body: canonicalized_body.to_vec(),
        })
    }
}

/// The whole API under its absolute paths: entries over REST and gRPC, and the log's tiles both at the root (where Go
/// tools and monitors read) and under `/api/v2` (where the specification has them). Entry bundles are behind `gate`.
pub fn router(rekor: RekorV2, gate: &Gate) -> Router {
    let face = tiles::router(rekor.log.clone(), gate);
    let grpc = grpc::service(rekor.clone());
    let create = post(create_entry).head(other_method).fallback(other_method);
    let entries = Router::new()
        .route("/api/v2/log/entries", cors::any_origin(create))
        .route("/api/v2/log/{*path}", cors::any_origin(any(async || Refusal::not_found())))
        // The chassis has a limit too; without this axum's own, which is lower, would answer in text.
        .layer(DefaultBodyLimit::disable())
        .with_state(Arc::new(rekor));
    entries.merge(grpc).merge(face.clone()).nest("/api/v2", face)
}

/// `POST /api/v2/log/entries`
async fn create_entry(State(rekor): State<Arc<RekorV2>>, body: Bytes) -> Result<Response, Refusal> {
    let entry = rekor.create_entry(CreateEntryRequest::from_json(&body)?).await?;
    Ok(json(StatusCode::CREATED, &entry.to_json()).into_response())
}

/// grpc-gateway knows no other method of a path, whatever it is.
async fn other_method() -> Refusal {
    Refusal::new(Code::Unimplemented, "Method Not Allowed")
}

#[cfg(test)]
mod tests;
