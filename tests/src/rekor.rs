//! A Rekor v1 client that believes nothing: every answer is verified against the log's key with the pure core.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chancery_tlog::key::{HashAlgorithm, KeyKind, Signer as _, SoftwareSigner};
use chancery_tlog::merkle::{Hash, leaf_hash, verify_consistency, verify_inclusion};
use chancery_tlog::rekor::set_payload;
use serde_json::{Value, json};

use crate::known_log::KnownLog;

/// A tree head that a log has signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeHead {
    /// Number of entries.
    pub size: u64,
    /// Root hash.
    pub root: Hash,
}

/// An entry that a log has acknowledged with a valid SET and inclusion proof.
#[derive(Clone, Debug)]
pub struct Acknowledged {
    /// 80 hex digits.
    pub id: String,
    /// Index in the log.
    pub index: u64,
    /// When it was integrated; must never change.
    pub integrated: u64,
    /// The leaf.
    pub body: Vec<u8>,
    /// The head that the proof leads to.
    pub head: TreeHead,
}

/// A Rekor v1 log and the key to check it with.
#[derive(Clone)]
pub struct RekorLog(KnownLog);

impl RekorLog {
    /// The log at `url`, whose key stands in the PEM file `key` and whose checkpoints are named by the URL's host.
    pub fn new(url: &str, key: &Path) -> Result<Self> {
        Ok(Self(KnownLog::new(url, key)?))
    }

    /// Adds an entry; `Ok(None)` if the log asked to try again later or could not be reached: then nothing is
    /// acknowledged. An answer that does not verify is an error.
    pub async fn add(&self, entry: &Value) -> Result<Option<Acknowledged>> {
        let answer = self.0.post("/api/v1/log/entries", entry).await?;
        answer.map(|answer| self.acknowledged(&answer)).transpose()
    }

    /// Reads an entry by its id.
    pub async fn get(&self, id: &str) -> Result<Acknowledged> {
        let answer = self.0.get(&format!("/api/v1/log/entries/{id}")).await?;
        let entry = self.acknowledged(&answer)?;
        ensure!(entry.id == id, "asked for {id}, got {}", entry.id);
        Ok(entry)
    }

    /// The current head.
    pub async fn head(&self) -> Result<TreeHead> {
        let info = self.0.get("/api/v1/log").await?;
        let head = self.checkpoint(text(&info["signedTreeHead"])?)?;
        ensure!(info["treeSize"] == head.size, "treeSize is not the checkpoint's: {info}");
        ensure!(info["rootHash"] == head.root.to_hex(), "rootHash is not the checkpoint's: {info}");
        Ok(head)
    }

    /// Demands that the log proves `old` to be a prefix of `new`.
    pub async fn check_consistent(&self, old: &TreeHead, new: &TreeHead) -> Result<()> {
        let query = format!("/api/v1/log/proof?firstSize={}&lastSize={}", old.size, new.size);
        let answer = self.0.get(&query).await?;
        let proof = hashes(&answer["hashes"])?;
        verify_consistency(old.size, &old.root, new.size, &new.root, &proof).with_context(|| {
            format!("the heads of {} and {} entries contradict each other", old.size, new.size)
        })
    }

    /// Checks everything that the answer says about an entry: its id, its proof, its checkpoint, its SET.
    fn acknowledged(&self, answer: &Value) -> Result<Acknowledged> {
        let members = answer.as_object().context("an entry is an object")?;
        ensure!(members.len() == 1, "an answer names exactly one entry: {answer}");
        let (id, entry) = members.iter().next().context("one member")?;
        let body = STANDARD.decode(text(&entry["body"])?)?;
        let leaf = leaf_hash(&body);
        ensure!(id.len() == 80 && id.ends_with(&leaf.to_hex()), "id {id} is not of the leaf {leaf}");
        let index = number(&entry["logIndex"])?;
        let integrated = number(&entry["integratedTime"])?;
        self.check_set(entry, &body, integrated, index)?;
        let head = self.check_inclusion(&entry["verification"]["inclusionProof"], &leaf)?;
        Ok(Acknowledged { id: id.clone(), index, integrated, body, head })
    }

    fn check_set(&self, entry: &Value, body: &[u8], integrated: u64, index: u64) -> Result<()> {
        let log_id = self.0.key.key().fingerprint();
        ensure!(text(&entry["logID"])? == hex::encode(log_id), "another log's id: {entry}");
        let signature = STANDARD.decode(text(&entry["verification"]["signedEntryTimestamp"])?)?;
        let payload = set_payload(body, integrated, &log_id, index);
        self.0.key.key().verify(HashAlgorithm::Sha256, &payload, &signature).context("signedEntryTimestamp")
    }

    fn check_inclusion(&self, proof: &Value, leaf: &Hash) -> Result<TreeHead> {
        let head = self.checkpoint(text(&proof["checkpoint"])?)?;
        ensure!(proof["rootHash"] == head.root.to_hex(), "rootHash is not the checkpoint's: {proof}");
        ensure!(proof["treeSize"] == head.size, "treeSize is not the checkpoint's: {proof}");
        let index = number(&proof["logIndex"])?;
        verify_inclusion(leaf, index, head.size, &hashes(&proof["hashes"])?, &head.root)?;
        Ok(head)
    }

    fn checkpoint(&self, note: &str) -> Result<TreeHead> {
        let checkpoint = self.0.checkpoint(note)?;
        Ok(TreeHead { size: checkpoint.size, root: checkpoint.root })
    }
}

/// A submitter with one P-256 key, which makes entries that nobody made before.
pub struct Submitter {
    signer: SoftwareSigner,
    pem: String,
}

impl Submitter {
    /// A submitter with a fresh key.
    pub fn new() -> Result<Self> {
        let signer = SoftwareSigner::generate(KeyKind::EcdsaP256)?;
        let pem = STANDARD.encode(signer.public_key().to_pem());
        Ok(Self { signer, pem })
    }

    /// A proposed hashedrekord over `artifact`.
    pub fn hashedrekord(&self, artifact: &[u8]) -> Result<Value> {
        let signature = STANDARD.encode(self.signer.sign(artifact)?);
        Ok(json!({
            "apiVersion": "0.0.1",
            "kind": "hashedrekord",
            "spec": {
                "data": { "hash": { "algorithm": "sha256", "value": Hash::digest(artifact).to_hex() } },
                "signature": { "content": signature, "publicKey": { "content": self.pem } },
            },
        }))
    }

    /// The same as a request to a Rekor v2 log.
    pub fn hashedrekord_v2(&self, artifact: &[u8]) -> Result<Value> {
        let key = STANDARD.encode(self.signer.public_key().spki_der());
        Ok(json!({
            "hashedRekordRequestV002": {
                "digest": STANDARD.encode(HashAlgorithm::Sha256.digest(artifact)),
                "signature": {
                    "content": STANDARD.encode(self.signer.sign(artifact)?),
                    "verifier": { "publicKey": { "rawBytes": key }, "keyDetails": "PKIX_ECDSA_P256_SHA_256" },
                },
            },
        }))
    }
}

fn text(value: &Value) -> Result<&str> {
    value.as_str().with_context(|| format!("a string, not {value}"))
}

fn number(value: &Value) -> Result<u64> {
    value.as_u64().with_context(|| format!("a number, not {value}"))
}

fn hashes(value: &Value) -> Result<Vec<Hash>> {
    let list = value.as_array().with_context(|| format!("a list of hashes, not {value}"))?;
    list.iter().map(|hash| Ok(Hash::from_hex(text(hash)?)?)).collect()
}
