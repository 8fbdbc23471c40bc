//! A Rekor v1 log: hashedrekord 0.0.1 entries with a workflow's certificate, the commonest entry there is.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chancery_tlog::key::HashAlgorithm;
use chancery_tlog::merkle::{Hash, leaf_hash, verify_consistency, verify_inclusion};
use chancery_tlog::rekor::{Body, set_payload};
use futures::{StreamExt as _, TryStreamExt as _};
use reqwest::{Client, Request};
use serde::Deserialize;
use url::Url;

use super::{Signatures, Target, Template, post};
use crate::audit::Tiles;
use crate::http;
use crate::ledger::{Acknowledged, Leaf, Ledger};
use crate::submitter::{Signed, Submitter};
use crate::trust::{LogKeys, TreeHead};

/// Entries that are read again at the same time, where there are no tiles.
const AT_ONCE: usize = 8;

/// A Rekor v1 log under load.
pub(crate) struct RekorV1 {
    log: RekorV1Log,
    entries: Url,
    tiles: Tiles,
    start: TreeHead,
    signatures: Signatures,
    template: Template,
}

/// A Rekor v1 log as a client sees it.
pub(crate) struct RekorV1Log {
    client: Client,
    url: String,
    keys: LogKeys,
}

/// An entry in an answer, of which everything was verified.
pub(crate) struct Entry {
    /// The leaf.
    pub(crate) body: Vec<u8>,
    /// Where it stands.
    pub(crate) leaf: Leaf,
    /// The head that the proof leads to.
    pub(crate) head: TreeHead,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EntryJson {
    body: String,
    integrated_time: u64,
    #[serde(rename = "logID")]
    log_id: String,
    log_index: u64,
    verification: VerificationJson,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct VerificationJson {
    inclusion_proof: ProofJson,
    signed_entry_timestamp: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ProofJson {
    checkpoint: String,
    hashes: Vec<String>,
    log_index: u64,
    root_hash: String,
    tree_size: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct InfoJson {
    signed_tree_head: String,
}

#[derive(Deserialize)]
struct ConsistencyJson {
    hashes: Vec<String>,
}

impl RekorV1Log {
    /// The log at `url` with these keys.
    pub(crate) fn new(client: Client, url: &str, keys: LogKeys) -> Self {
        Self { client, url: url.to_owned(), keys }
    }

    /// The current signed head.
    pub(crate) async fn head(&self) -> Result<TreeHead> {
        let info: InfoJson = http::get_json(&self.client, &format!("{}/api/v1/log", self.url)).await?;
        self.keys.head(&info.signed_tree_head)
    }

    /// Checks all that an answer says about an entry: id, promise, proof and checkpoint.
    pub(crate) fn entry(&self, answer: &[u8]) -> Result<Entry> {
        let answer: BTreeMap<String, EntryJson> =
            serde_json::from_slice(answer).context("not a log entry")?;
        ensure!(answer.len() == 1, "{} entries, where one was asked for", answer.len());
        let (id, entry) = answer.into_iter().next().context("no entry")?;
        let body = STANDARD.decode(&entry.body).context("the body is not base64")?;
        let hash = leaf_hash(&body);
        ensure!(id.ends_with(&hash.to_hex()), "the id {id} is not that of the entry");

        let log_id: [u8; 32] =
            hex::decode(&entry.log_id)?.try_into().ok().context("logID has another length")?;
        let log = self.keys.log(&log_id)?;
        let promise = STANDARD.decode(&entry.verification.signed_entry_timestamp)?;
        let promised = set_payload(&body, entry.integrated_time, &log_id, entry.log_index);
        log.key.verify(HashAlgorithm::Sha256, &promised, &promise).context("the signed entry timestamp")?;

        let proof = entry.verification.inclusion_proof;
        let head = self.keys.head(&proof.checkpoint)?;
        ensure!(
            proof.tree_size == head.size && proof.root_hash == head.root.to_hex(),
            "the proof is for another head"
        );
        verify_inclusion(&hash, proof.log_index, head.size, &hashes(&proof.hashes)?, &head.root)?;
        Ok(Entry { body, leaf: Leaf { hash, index: Some(proof.log_index) }, head })
    }

    /// The entry at `index`: its answer as it was given.
    pub(crate) async fn by_index(&self, index: u64) -> Result<bytes::Bytes> {
        http::get(&self.client, &format!("{}/api/v1/log/entries?logIndex={index}", self.url)).await
    }

    /// Where the entry with this leaf is read.
    pub(crate) fn entry_url(&self, leaf: &Hash) -> Result<Url> {
        Ok(Url::parse(&format!("{}/api/v1/log/entries/{leaf}", self.url))?)
    }

    /// The audit of a log that serves no tiles: every head is proven consistent with the last, every entry read again.
    async fn audit(&self, start: TreeHead, last: TreeHead, ledger: &mut Ledger) -> Result<()> {
        ledger.saw(start);
        for (size, root) in ledger.heads.clone() {
            if size > 0 && size < last.size {
                let head = TreeHead { size, root };
                if let Err(error) = self.consistent(head, last).await {
                    ledger.breach(format!(
                        "the final tree does not extend the head of {size} entries: {error:#}"
                    ));
                }
            } else if size > last.size {
                ledger.breach(format!(
                    "a head of {size} entries was signed, and the final tree has {}",
                    last.size
                ));
            }
        }
        let leaves = futures::stream::iter(ledger.leaves.clone());
        let read = leaves.map(|leaf| self.read_again(leaf)).buffer_unordered(AT_ONCE);
        let missing: Vec<Option<String>> = read.try_collect().await?;
        missing.into_iter().flatten().for_each(|what| ledger.breach(what));
        Ok(())
    }

    async fn consistent(&self, old: TreeHead, new: TreeHead) -> Result<()> {
        let query = format!("{}/api/v1/log/proof?firstSize={}&lastSize={}", self.url, old.size, new.size);
        let proof: ConsistencyJson = http::get_json(&self.client, &query).await?;
        Ok(verify_consistency(old.size, &old.root, new.size, &new.root, &hashes(&proof.hashes)?)?)
    }

    /// What is wrong with an acknowledged entry when it is read again.
    async fn read_again(&self, leaf: Leaf) -> Result<Option<String>> {
        let Leaf { hash, index } = leaf;
        let Some(answer) = http::find(&self.client, self.entry_url(&hash)?.as_str()).await? else {
            return Ok(Some(format!("the acknowledged entry {hash} is not found")));
        };
        Ok(match self.entry(&answer) {
            Ok(entry) if entry.leaf == leaf => None,
            Ok(entry) => {
                Some(format!("entry {hash} was acknowledged at {index:?} and is at {:?}", entry.leaf.index))
            }
            Err(error) => Some(format!("the acknowledged entry {hash} does not verify when read: {error:#}")),
        })
    }
}

impl RekorV1 {
    /// Load by `submitter` for `log`, whose C2SP face, if it has one, is under `tiles`.
    pub(crate) async fn new(log: RekorV1Log, tiles: &str, submitter: Submitter) -> Result<Self> {
        let start = log.head().await.context("the log's head before the run")?;
        let signatures = Signatures::by(submitter);
        let pem = STANDARD.encode(signatures.submitter.certificate().to_pem());
        let template = Template {
            before: r#"{"apiVersion":"0.0.1","kind":"hashedrekord","spec":{"data":{"hash":{"algorithm":"sha256","value":""#
                .to_owned(),
            between: r#""}},"signature":{"content":""#.to_owned(),
            after: format!(r#"","publicKey":{{"content":"{pem}"}}}}}}}}"#),
        };
        let entries = Url::parse(&format!("{}/api/v1/log/entries", log.url))?;
        let tiles = Tiles::new(log.client.clone(), tiles);
        Ok(Self { log, entries, tiles, start, signatures, template })
    }
}

impl Target for RekorV1 {
    type Shot = Signed;

    async fn prepare(&self, count: usize) -> Result<Vec<Signed>> {
        self.signatures.make(count).await
    }

    fn request(&self, shot: &Signed) -> Request {
        let body = self.template.fill(&hex::encode(shot.digest), &STANDARD.encode(&shot.signature));
        post(&self.entries, "application/json", body)
    }

    fn verify(&self, shot: &Signed, answer: &[u8]) -> Result<Acknowledged> {
        let Entry { body, leaf, head } = self.log.entry(answer)?;
        let Body::HashedRekord { digest, signature, .. } = Body::parse(&body)? else {
            anyhow::bail!("the entry is of another kind than the one that was sent");
        };
        ensure!(
            digest == shot.digest && signature == shot.signature,
            "the entry is not the one that was sent"
        );
        Ok(Acknowledged { leaf: Some(leaf), head: Some(head) })
    }

    fn entries(&self) -> Option<u64> {
        Some(self.start.size)
    }

    async fn audit(&self, ledger: &mut Ledger) -> Result<()> {
        let last = self.log.head().await.context("the log's head after the run")?;
        ledger.saw(last);
        match self.tiles.checkpoint().await? {
            Some(_) => self.tiles.audit(self.start, last, ledger).await,
            None => self.log.audit(self.start, last, ledger).await,
        }
    }
}

fn hashes(list: &[String]) -> Result<Vec<Hash>> {
    list.iter().map(|hash| Ok(Hash::from_hex(hash)?)).collect()
}
