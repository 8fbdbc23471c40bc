//! The attestation log's API, Rekor v1: `POST /api/v1/log/entries`. (facts: rekor `openapi.yaml`)
//!
//! What the log answers is only parsed here. It is believed after [`crate::verify`] has judged the whole bundle.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chancery_tlog::certificate::Certificate;
use chancery_tlog::merkle::Hash;
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use crate::bundle::{BundleError, InclusionProof, LogEntry, MAX_PROOF};
use crate::dsse::Envelope;
use crate::guard::{Answer, Answered, Guard, HttpError, Request, RequestId, join};

/// Path of the entries.
const ENTRIES: &str = "/api/v1/log/entries";

/// Why there is no log entry.
#[derive(Debug, thiserror::Error)]
pub enum RekorError {
    /// The request could not be sent.
    #[error("the transparency log: {0}")]
    Http(#[from] HttpError),
    /// It refused: it has certainly not taken the entry.
    #[error("the transparency log refused: {0}")]
    Refused(String),
    /// It failed, and does not say whether it took the entry.
    #[error("the transparency log failed: {0}")]
    Failed(String),
    /// Its answer makes no sense.
    #[error("the transparency log's answer: {0}{1}")]
    Answer(&'static str, RequestId),
    /// It has the entry, and does not hand it out.
    #[error(
        "the transparency log has this entry already and does not hand it out ({0}): an answer was lost on its way; \
         sign again, which makes a new signature"
    )]
    Exists(String),
    /// Its answer is no entry of Rekor v2.
    #[error("the transparency log's answer: {0}{1}")]
    Entry(BundleError, RequestId),
}

impl RekorError {
    /// The error for an answer that has no entry.
    pub(crate) fn of(answer: &Answer) -> Self {
        if answer.is_refusal() { Self::Refused(answer.explain()) } else { Self::Failed(answer.explain()) }
    }

    /// Whether the log may have taken the entry all the same.
    pub const fn may_be_logged(&self) -> bool {
        match self {
            Self::Refused(_) => false,
            Self::Http(error) => error.may_have_arrived(),
            Self::Failed(_) | Self::Answer(..) | Self::Exists(_) | Self::Entry(..) => true,
        }
    }
}

/// An entry to be logged.
#[derive(Clone, Debug, PartialEq)]
pub struct ProposedEntry(Value);

impl ProposedEntry {
    /// `dsse` 0.0.1: a signed statement.
    pub fn dsse(envelope: &Envelope, certificate: &Certificate) -> Self {
        Self(json!({
            "kind": "dsse",
            "apiVersion": "0.0.1",
            "spec": {
                "proposedContent": {
                    "envelope": envelope.to_json(),
                    "verifiers": [STANDARD.encode(certificate.to_pem())],
                },
            },
        }))
    }

    /// `hashedrekord` 0.0.1: a signature over a SHA-256 digest.
    pub fn hashedrekord(digest: &[u8], signature: &[u8], certificate: &Certificate) -> Self {
        Self(json!({
            "kind": "hashedrekord",
            "apiVersion": "0.0.1",
            "spec": {
                "data": { "hash": { "algorithm": "sha256", "value": hex::encode(digest) } },
                "signature": {
                    "content": STANDARD.encode(signature),
                    "publicKey": { "content": STANDARD.encode(certificate.to_pem()) },
                },
            },
        }))
    }
}

/// Logs an entry. If the log has it already, it answers where, and that entry is taken.
pub async fn add(guard: &Guard, log: &Url, entry: &ProposedEntry) -> Result<Answered<LogEntry>, RekorError> {
    let answer = guard.send(Request::post(join(log, ENTRIES), &entry.0)).await?;
    match answer.status {
        200 | 201 => read(answer),
        409 => existing(guard, log, &answer).await,
        _ => Err(RekorError::of(&answer)),
    }
}

fn read(Answer { body, request, .. }: Answer) -> Result<Answered<LogEntry>, RekorError> {
    match parse_answer(&body) {
        Ok(value) => Ok(Answered { value, request }),
        Err(why) => Err(RekorError::Answer(why, request)),
    }
}

/// The entry that a log has already.
async fn existing(guard: &Guard, log: &Url, conflict: &Answer) -> Result<Answered<LogEntry>, RekorError> {
    let id = conflict.location.as_deref().and_then(|location| location.rsplit('/').next());
    let unnamed = || RekorError::Answer("409 without a location", conflict.request.clone());
    let id = id.filter(|id| is_entry_id(id)).ok_or_else(unnamed)?;
    let found = guard.send(Request::get(join(log, &format!("{ENTRIES}/{id}")))).await;
    let found = found.map_err(|error| RekorError::Exists(error.to_string()))?;
    match found.status {
        200 => read(found),
        _ => Err(RekorError::Exists(found.explain())),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    body: String,
    integrated_time: u64,
    #[serde(rename = "logID")]
    log_id: String,
    log_index: u64,
    verification: Verification,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Verification {
    inclusion_proof: Proof,
    signed_entry_timestamp: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Proof {
    checkpoint: String,
    hashes: Vec<String>,
    log_index: u64,
    root_hash: String,
    tree_size: u64,
}

/// Parses the answer to an addition or a read: one entry under its id.
///
/// # Errors
/// What is wrong with it.
pub fn parse_answer(body: &[u8]) -> Result<LogEntry, &'static str> {
    const BAD: &str = "it is not one log entry with an inclusion proof and a SET";
    let entries: BTreeMap<String, Entry> = serde_json::from_slice(body).map_err(|_| BAD)?;
    let mut entries = entries.into_values();
    let (Some(entry), None) = (entries.next(), entries.next()) else { return Err(BAD) };
    let leaf = STANDARD.decode(&entry.body).map_err(|_| BAD)?;
    let (kind, version) = kind_of(&leaf).ok_or("the entry's body has no kind")?;
    let mut log_id = [0; 32];
    hex::decode_to_slice(&entry.log_id, &mut log_id).map_err(|_| BAD)?;
    let proof = entry.verification.inclusion_proof;
    if proof.hashes.len() > MAX_PROOF {
        return Err(BAD);
    }
    let hash = |text: &str| Hash::from_hex(text).map_err(|_| BAD);
    Ok(LogEntry {
        index: entry.log_index,
        log_id,
        kind,
        version,
        integrated_time: Some(entry.integrated_time).filter(|time| *time != 0),
        promise: Some(STANDARD.decode(&entry.verification.signed_entry_timestamp).map_err(|_| BAD)?),
        proof: Some(InclusionProof {
            index: proof.log_index,
            size: proof.tree_size,
            root: hash(&proof.root_hash)?,
            hashes: proof.hashes.iter().map(|text| hash(text)).collect::<Result<_, _>>()?,
            checkpoint: Some(proof.checkpoint),
        }),
        body: leaf,
    })
}

fn kind_of(leaf: &[u8]) -> Option<(String, String)> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Leaf {
        kind: String,
        api_version: String,
    }
    let Leaf { kind, api_version } = serde_json::from_slice(leaf).ok()?;
    Some((kind, api_version))
}

fn is_entry_id(text: &str) -> bool {
    matches!(text.len(), 64 | 80) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entry_ids_cannot_lead_elsewhere() {
        assert!(is_entry_id(&"a0".repeat(40)) && is_entry_id(&"A0".repeat(32)));
        assert!(!is_entry_id("../../x") && !is_entry_id(&"a".repeat(65)));
    }

    #[test]
    fn an_answer_must_be_one_entry() {
        assert!(parse_answer(b"{}").is_err());
        assert!(parse_answer(b"[]").is_err());
    }
}
