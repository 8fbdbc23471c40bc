//! A Rekor v2 log: hashedrekord 0.0.2 entries with a workflow's certificate.

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chancery_tlog::merkle::{Hash, leaf_hash, verify_inclusion};
use chancery_tlog::rekor_v2::Body;
use reqwest::{Client, Request};
use serde::Deserialize;
use url::Url;

use super::{Signatures, Target, Template, post};
use crate::audit::Tiles;
use crate::ledger::{Acknowledged, Leaf, Ledger};
use crate::submitter::{Signed, Submitter};
use crate::trust::{LogKeys, TreeHead};

/// A Rekor v2 log under load.
pub(crate) struct RekorV2 {
    keys: LogKeys,
    entries: Url,
    tiles: Tiles,
    start: TreeHead,
    signatures: Signatures,
    template: Template,
}

/// A `TransparencyLogEntry`, as far as it matters here. Its integers are strings.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EntryJson {
    log_index: String,
    log_id: LogIdJson,
    inclusion_proof: ProofJson,
    canonicalized_body: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LogIdJson {
    key_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ProofJson {
    log_index: String,
    root_hash: String,
    tree_size: String,
    hashes: Vec<String>,
    checkpoint: CheckpointJson,
}

#[derive(Deserialize)]
struct CheckpointJson {
    envelope: String,
}

impl RekorV2 {
    /// Load by `submitter` for the log at `url`, whose tiles are under `tiles`.
    pub(crate) async fn new(
        client: Client,
        url: &str,
        tiles: &str,
        keys: LogKeys,
        submitter: Submitter,
    ) -> Result<Self> {
        let tiles = Tiles::new(client, tiles);
        let start = published(&tiles, &keys).await.context("the log's head before the run")?;
        let signatures = Signatures::by(submitter);
        let certificate = STANDARD.encode(signatures.submitter.certificate().der());
        let template = Template {
            before: r#"{"hashedRekordRequestV002":{"digest":""#.to_owned(),
            between: r#"","signature":{"content":""#.to_owned(),
            after: format!(
                r#"","verifier":{{"x509Certificate":{{"rawBytes":"{certificate}"}},"keyDetails":"PKIX_ECDSA_P256_SHA_256"}}}}}}}}"#
            ),
        };
        let entries = Url::parse(&format!("{url}/api/v2/log/entries"))?;
        Ok(Self { keys, entries, tiles, start, signatures, template })
    }
}

impl Target for RekorV2 {
    type Shot = Signed;

    async fn prepare(&self, count: usize) -> Result<Vec<Signed>> {
        self.signatures.make(count).await
    }

    fn request(&self, shot: &Signed) -> Request {
        let body = self.template.fill(&STANDARD.encode(shot.digest), &STANDARD.encode(&shot.signature));
        post(&self.entries, "application/json", body)
    }

    fn verify(&self, shot: &Signed, answer: &[u8]) -> Result<Acknowledged> {
        let entry: EntryJson = serde_json::from_slice(answer).context("not a log entry")?;
        let body = STANDARD.decode(&entry.canonicalized_body).context("the body is not base64")?;
        match Body::parse(&body)? {
            Body::HashedRekord { digest, signature, .. }
                if digest == shot.digest && signature == shot.signature => {}
            _ => bail!("the entry is not the one that was sent"),
        }
        self.keys.log(&STANDARD.decode(&entry.log_id.key_id)?)?;
        let proof = entry.inclusion_proof;
        ensure!(proof.log_index == entry.log_index, "the proof is for another index");
        let head = self.keys.head(&proof.checkpoint.envelope)?;
        let same = proof.tree_size == head.size.to_string() && proof.root_hash == head.root.to_base64();
        ensure!(same, "the proof is for another head");
        let (hash, index) = (leaf_hash(&body), proof.log_index.parse()?);
        let hashes =
            proof.hashes.iter().map(|hash| Hash::from_base64(hash)).collect::<Result<Vec<_>, _>>()?;
        verify_inclusion(&hash, index, head.size, &hashes, &head.root)?;
        Ok(Acknowledged { leaf: Some(Leaf { hash, index: Some(index) }), head: Some(head) })
    }

    fn entries(&self) -> Option<u64> {
        Some(self.start.size)
    }

    async fn audit(&self, ledger: &mut Ledger) -> Result<()> {
        let last = published(&self.tiles, &self.keys).await.context("the log's head after the run")?;
        ledger.saw(last);
        self.tiles.audit(self.start, last, ledger).await
    }
}

/// The head that the log publishes.
async fn published(tiles: &Tiles, keys: &LogKeys) -> Result<TreeHead> {
    keys.head(
        &tiles.checkpoint().await?.context("the log publishes no checkpoint: say where with `--tiles`")?,
    )
}
