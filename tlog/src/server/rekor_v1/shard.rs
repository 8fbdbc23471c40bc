//! Shards: the trees that one Rekor v1 API is about, each with an id, a key and a checkpoint of its own.
//!
//! What clients call a log index counts through all of them in their order. Proofs and tree sizes count in one tree.
//! Invariant: an entry keeps its index for ever, so a tree begins where those before it ended, served or not.

use std::sync::Arc;

use super::Dialect;
use super::answer::{Answer, Checkpoints};
use crate::key::Signer;
use crate::merkle::Hash;
use crate::serve::Problem;
use crate::serve::access::Permit;
use crate::server::log::Log;

/// One tree of a log that speaks Rekor v1.
pub struct Shard {
    /// The log. One that has ended, unless the shard is the current one.
    pub log: Log,
    /// Name of the checkpoint key and first part of the checkpoint's origin: the bare host of the trusted root's
    /// `baseUrl`, or sigstore-js refuses it.
    pub host: String,
    /// Id of the tree, from 1 to 2⁶³−1. Never changes, it is part of every entry's id.
    pub tree_id: u64,
    /// Number of entries in all trees before it.
    pub first_index: u64,
    /// The dialect's key. P-256, or cosign will sign and refuse to verify. One that has ended needs it too: Rekor's
    /// clients want a signed time with every entry that they read, and it is made when they do.
    pub signer: Arc<dyn Signer>,
}

/// A shard in service.
pub(super) struct Served {
    pub(super) log: Log,
    pub(super) host: String,
    pub(super) tree_id: u64,
    pub(super) first_index: u64,
    pub(super) signer: Arc<dyn Signer>,
    pub(super) log_id: [u8; 32],
    pub(super) checkpoints: Checkpoints,
}

impl From<Shard> for Served {
    fn from(shard: Shard) -> Self {
        let Shard { log, host, tree_id, first_index, signer } = shard;
        let log_id = signer.public_key().fingerprint();
        Self { log, host, tree_id, first_index, signer, log_id, checkpoints: Checkpoints::default() }
    }
}

impl Dialect {
    /// All trees, the current one first, as what is looked for is there most of the time.
    pub(super) fn trees(&self) -> impl Iterator<Item = &Served> {
        std::iter::once(&self.current).chain(self.past.iter().rev())
    }

    /// The tree with this id.
    pub(super) fn tree(&self, id: u64) -> Option<&Served> {
        self.trees().find(|tree| tree.tree_id == id)
    }

    /// The entry at an index that counts through all trees; `None` if no tree that is served has it.
    pub(super) async fn read(&self, permit: Permit, index: u64) -> Result<Option<Answer>, Problem> {
        match self.trees().find(|tree| tree.first_index <= index) {
            Some(tree) => tree.read(permit, index - tree.first_index).await,
            None => Ok(None),
        }
    }

    /// The entry with this leaf hash, in the tree with this id or in any.
    pub(super) async fn read_by_hash(
        &self,
        permit: Permit,
        id: Option<u64>,
        leaf: &Hash,
    ) -> Result<Option<Answer>, Problem> {
        for tree in self.trees().filter(|tree| id.is_none_or(|id| id == tree.tree_id)) {
            let answer = tree.read_by_hash(permit, leaf).await?;
            if answer.is_some() {
                return Ok(answer);
            }
        }
        Ok(None)
    }
}
