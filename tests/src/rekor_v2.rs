//! A Rekor v2 client that believes nothing: every answer is verified against the log's key with the pure core.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chancery_tlog::merkle::{Hash, leaf_hash, verify_inclusion};
use serde_json::Value;

use crate::known_log::KnownLog;
use crate::rekor::TreeHead;

/// An entry that a log has acknowledged with a valid inclusion proof.
#[derive(Clone, Debug)]
pub struct AcknowledgedV2 {
    /// Index in the log.
    pub index: u64,
    /// The leaf.
    pub body: Vec<u8>,
    /// The head that the proof leads to.
    pub head: TreeHead,
}

/// A Rekor v2 log and the key to check it with.
#[derive(Clone)]
pub struct RekorV2Log(KnownLog);

impl RekorV2Log {
    /// The log at `url`, whose key stands in the PEM file `key` and whose origin is the URL's host.
    pub fn new(url: &str, key: &Path) -> Result<Self> {
        Ok(Self(KnownLog::new(url, key)?))
    }

    /// Adds an entry; `Ok(None)` if the log asked to try again later or could not be reached: then nothing is
    /// acknowledged. An answer that does not verify is an error.
    pub async fn add(&self, request: &Value) -> Result<Option<AcknowledgedV2>> {
        let answer = self.0.post("/api/v2/log/entries", request).await?;
        answer.map(|answer| self.acknowledged(&answer)).transpose()
    }

    fn acknowledged(&self, entry: &Value) -> Result<AcknowledgedV2> {
        ensure!(bytes(&entry["logId"]["keyId"])? == self.0.key.full_id(), "another log's id: {entry}");
        let body = bytes(&entry["canonicalizedBody"])?;
        let proof = &entry["inclusionProof"];
        let index = number(&entry["logIndex"])?;
        ensure!(number(&proof["logIndex"])? == index, "two indexes: {entry}");
        let head = self.checkpoint(text(&proof["checkpoint"]["envelope"])?)?;
        ensure!(number(&proof["treeSize"])? == head.size, "treeSize is not the checkpoint's: {proof}");
        ensure!(hash(&proof["rootHash"])? == head.root, "rootHash is not the checkpoint's: {proof}");
        // A tree of one leaf has an empty proof, which protojson leaves out.
        let hashes: Vec<Hash> =
            proof["hashes"].as_array().into_iter().flatten().map(hash).collect::<Result<_>>()?;
        verify_inclusion(&leaf_hash(&body), index, head.size, &hashes, &head.root)?;
        Ok(AcknowledgedV2 { index, body, head })
    }

    fn checkpoint(&self, note: &str) -> Result<TreeHead> {
        let checkpoint = self.0.checkpoint(note)?;
        ensure!(checkpoint.origin.as_str() == self.0.key.name().as_str(), "another log's checkpoint");
        Ok(TreeHead { size: checkpoint.size, root: checkpoint.root })
    }
}

fn text(value: &Value) -> Result<&str> {
    value.as_str().with_context(|| format!("a string, not {value}"))
}

/// protojson writes 64-bit numbers as strings.
fn number(value: &Value) -> Result<u64> {
    Ok(text(value)?.parse()?)
}

fn bytes(value: &Value) -> Result<Vec<u8>> {
    Ok(STANDARD.decode(text(value)?)?)
}

fn hash(value: &Value) -> Result<Hash> {
    Ok(Hash::from_hex(&hex::encode(bytes(value)?))?)
}
