//! How an entry of the log looks to a v1 client: body, times, ids, SET, inclusion proof and checkpoint.

use std::collections::{BTreeMap, VecDeque};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Serialize;
use tokio::sync::Mutex;

use super::problem;
use super::shard::Served;
use crate::clock::Timestamp;
use crate::merkle::{Hash, leaf_hash};
use crate::rekor::{entry_id, sign_checkpoint, sign_set};
use crate::serve::Problem;
use crate::serve::access::Permit;
use crate::server::signing::with_signer;
use crate::server::store::Head;

/// Signed checkpoints that are kept: the current head's, and those of batches whose submitters are being answered.
const CHECKPOINTS_KEPT: usize = 8;

/// One entry under its id: `{"<80 hex>": {…}}`.
pub(super) type Answer = BTreeMap<String, LogEntry>;

/// A `LogEntry` of rekor's `openapi.yaml`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LogEntry {
    body: String,
    integrated_time: u64,
    #[serde(rename = "logID")]
    log_id: String,
    log_index: u64,
    verification: Verification,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Verification {
    inclusion_proof: InclusionProof,
    signed_entry_timestamp: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct InclusionProof {
    checkpoint: String,
    // Never null: an empty list for the only entry of a tree, or Go and Python clients refuse the answer.
    hashes: Vec<String>,
    log_index: u64,
    root_hash: String,
    tree_size: u64,
}

/// An entry with its place in its tree and the proof of it, all at one head.
pub(super) struct Located<'h> {
    pub(super) index: u64,
    pub(super) time: Timestamp,
    pub(super) leaf: Bytes,
    pub(super) leaf_hash: Hash,
    pub(super) proof: Vec<Hash>,
    pub(super) head: &'h Head,
}

impl Served {
    /// The id of the entry with this leaf hash.
    pub(super) fn id_of(&self, leaf: &Hash) -> String {
        entry_id(self.tree_id, leaf)
    }

    /// Renders an entry, with a fresh SET.
    pub(super) async fn render(&self, at: Located<'_>) -> Result<Answer, Problem> {
        let (integrated_time, log_id) = (at.time.seconds(), self.log_id);
        // The proof counts in the tree, everything else through all shards.
        let log_index = self.first_index + at.index;
        let body = STANDARD.encode(&at.leaf);
        let set = with_signer(&self.signer, move |signer| {
            sign_set(&at.leaf, integrated_time, &log_id, log_index, signer)
        });
        let signed_entry_timestamp = STANDARD.encode(set.await?);
        let inclusion_proof = InclusionProof {
            checkpoint: self.checkpoint(at.head).await?,
            hashes: at.proof.iter().map(ToString::to_string).collect(),
            log_index: at.index,
            root_hash: at.head.root.to_hex(),
            tree_size: at.head.size,
        };
        let verification = Verification { inclusion_proof, signed_entry_timestamp };
        let log_id = hex::encode(self.log_id);
        let entry = LogEntry { body, integrated_time, log_id, log_index, verification };
        Ok(BTreeMap::from([(self.id_of(&at.leaf_hash), entry)]))
    }

    /// The entry at `index` in the current tree; `None` if the tree does not reach it.
    pub(super) async fn read(&self, permit: Permit, index: u64) -> Result<Option<Answer>, Problem> {
        let head = self.log.head();
        if index >= head.size {
            return Ok(None);
        }
        let Some(entry) = self.log.entry(permit, index).await.map_err(|error| problem::store(&error))? else {
            return Ok(None);
        };
        let proof =
            self.log.inclusion_proof(index, head.size).await.map_err(|error| problem::proof(&error))?;
        let leaf_hash = leaf_hash(&entry.leaf);
        let located = Located { index, time: entry.time, leaf: entry.leaf, leaf_hash, proof, head: &head };
        self.render(located).await.map(Some)
    }

    /// The entry with this leaf hash.
    pub(super) async fn read_by_hash(&self, permit: Permit, leaf: &Hash) -> Result<Option<Answer>, Problem> {
        match self.log.find(leaf).await.map_err(|error| problem::store(&error))? {
            Some(index) => self.read(permit, index).await,
            None => Ok(None),
        }
    }

    /// The v1 checkpoint of `head`: only this log's own signature, or sigstore-go and rekor-cli refuse it.
    pub(super) async fn checkpoint(&self, head: &Head) -> Result<String, Problem> {
        // Held while signing, so that the many submitters of one batch wait for one signature.
        let mut kept = self.checkpoints.0.lock().await;
        if let Some((_, signed)) = kept.iter().find(|(size, _)| *size == head.size) {
            return Ok(signed.clone());
        }
        let (host, tree_id, size, root) = (self.host.clone(), self.tree_id, head.size, head.root);
        let signed =
            with_signer(&self.signer, move |signer| sign_checkpoint(&host, tree_id, size, &root, signer));
        let signed = signed.await?;
        kept.push_back((head.size, signed.clone()));
        if kept.len() > CHECKPOINTS_KEPT {
            kept.pop_front();
        }
        Ok(signed)
    }
}

/// Checkpoints that are signed already, by tree size: a log has one root per size.
#[derive(Default)]
pub(super) struct Checkpoints(Mutex<VecDeque<(u64, String)>>);
