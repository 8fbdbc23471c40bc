//! `TransparencyLogEntry`: what a client gets for its entry and puts into its bundle.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use crate::merkle::Hash;

/// Kind and version of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct KindVersion {
    /// `hashedrekord` or `dsse`.
    pub kind: &'static str,
    /// `0.0.2`.
    pub version: &'static str,
}

impl KindVersion {
    /// `hashedrekord` 0.0.2.
    pub const HASHED_REKORD: Self = Self { kind: "hashedrekord", version: "0.0.2" };
    /// `dsse` 0.0.2.
    pub const DSSE: Self = Self { kind: "dsse", version: "0.0.2" };
}

/// An entry with the proof of its place, all at one checkpoint. This dialect states no time and makes no promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransparencyLogEntry {
    /// Index of the entry.
    pub log_index: u64,
    /// The full id of the checkpoint key: [`NoteKey::full_id`](crate::note::NoteKey::full_id).
    pub log_id: [u8; 32],
    /// Kind and version.
    pub kind_version: KindVersion,
    /// Size of the tree that is proven.
    pub tree_size: u64,
    /// Its root.
    pub root_hash: Hash,
    /// Inclusion proof, from leaf to root.
    pub hashes: Vec<Hash>,
    /// The checkpoint of that tree, signed.
    pub checkpoint: String,
    /// The leaf.
    pub canonicalized_body: Vec<u8>,
}

impl TransparencyLogEntry {
    /// Protojson with unpopulated fields, as strict readers demand: 64-bit integers are strings, `inclusionPromise`
    /// is null, no member more or less.
    pub fn to_json(&self) -> impl Serialize + use<> {
        let log_index = self.log_index.to_string();
        EntryJson {
            log_index: log_index.clone(),
            log_id: LogIdJson { key_id: STANDARD.encode(self.log_id) },
            kind_version: self.kind_version,
            integrated_time: "0",
            inclusion_promise: None,
            inclusion_proof: ProofJson {
                log_index,
                root_hash: self.root_hash.to_base64(),
                tree_size: self.tree_size.to_string(),
                hashes: self.hashes.iter().copied().map(Hash::to_base64).collect(),
                checkpoint: CheckpointJson { envelope: self.checkpoint.clone() },
            },
            canonicalized_body: STANDARD.encode(&self.canonicalized_body),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EntryJson {
    log_index: String,
    log_id: LogIdJson,
    kind_version: KindVersion,
    integrated_time: &'static str,
    // There is no promise; `{}` would be one that does not verify.
    inclusion_promise: Option<()>,
    inclusion_proof: ProofJson,
    canonicalized_body: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LogIdJson {
    key_id: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ProofJson {
    log_index: String,
    root_hash: String,
    tree_size: String,
    hashes: Vec<String>,
    checkpoint: CheckpointJson,
}

#[derive(Serialize)]
struct CheckpointJson {
    envelope: String,
}
