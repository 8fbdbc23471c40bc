//! RFC 6962 §4 over HTTP: JSON in and out, base64 inside.

use std::time::Duration;

use axum::extract::{Query, State};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::submit::Leaf;
use super::{CtLog, CtLogError};
use crate::certificate::{Certificate, MAX_CERTIFICATE, MAX_CHAIN};
use crate::ct::AddChainResponse;
use crate::merkle::Hash;
use crate::serve::Problem;
use crate::serve::access::Permit;
use crate::serve::reply::json;
use crate::server::log::{AddError, ProofReadError};
use crate::server::store::StoredEntry;

/// A closed log is restarting.
const RESTART: Duration = Duration::from_secs(2);

/// The HTTP answer for an error: the submitter's are explained, ours only named.
pub(super) fn problem(error: &CtLogError) -> Problem {
    match error {
        CtLogError::Chain(_)
        | CtLogError::Submission(_)
        | CtLogError::Structure(_)
        | CtLogError::Add(AddError::TooLarge { .. })
        | CtLogError::Proof(ProofReadError::OutOfRange(_)) => Problem::bad_request(error.to_string()),
        CtLogError::Add(AddError::Full { retry_after } | AddError::ReadOnly { retry_after }) => {
            Problem::busy(error.to_string(), *retry_after)
        }
        CtLogError::Add(AddError::Ended) => Problem::new(StatusCode::FORBIDDEN, error.to_string()),
        CtLogError::Add(AddError::Closed) => Problem::busy(error.to_string(), RESTART),
        _ => {
            tracing::error!(%error, "the CT log failed");
            Problem::internal()
        }
    }
}

#[derive(Deserialize)]
struct Chain {
    chain: Vec<String>,
}

/// `POST add-pre-chain`
pub(super) async fn add_pre_chain(State(log): State<CtLog>, body: Bytes) -> Result<Response, Problem> {
    add(&log, Leaf::Precertificate, &body).await
}

/// `POST add-chain`
pub(super) async fn add_chain(State(log): State<CtLog>, body: Bytes) -> Result<Response, Problem> {
    add(&log, Leaf::Certificate, &body).await
}

async fn add(log: &CtLog, kind: Leaf, body: &[u8]) -> Result<Response, Problem> {
    let sct = log.submit(kind, &chain(body)?).await?;
    Ok(json(StatusCode::OK, &AddChainResponse::from(&sct)))
}

fn chain(body: &[u8]) -> Result<Vec<Certificate>, Problem> {
    let Chain { chain } = serde_json::from_slice(body).map_err(|error| {
        Problem::bad_request(format!("the body is not {{\"chain\": [base64, …]}}: {error}"))
    })?;
    if chain.len() > MAX_CHAIN {
        return Err(CtLogError::Submission("the chain is longer than 10 certificates").into());
    }
    let certificate = |(at, text): (usize, &String)| {
        let refused = |why: String| Problem::bad_request(format!("chain[{at}]: {why}"));
        if text.len() > MAX_CERTIFICATE.div_ceil(3) * 4 {
            return Err(refused("too large".to_owned()));
        }
        let der = STANDARD.decode(text).map_err(|_| refused("not base64".to_owned()))?;
        Certificate::from_der(&der).map_err(|error| refused(error.to_string()))
    };
    chain.iter().enumerate().map(certificate).collect()
}

#[derive(Serialize)]
struct TreeHead {
    tree_size: u64,
    timestamp: u64,
    sha256_root_hash: String,
    #[serde(rename = "tree_head_signature")]
    signature: String,
}

/// `GET get-sth`
pub(super) async fn get_sth(State(log): State<CtLog>) -> Result<Response, Problem> {
    let head = log.signed_head().await?;
    let head = TreeHead {
        tree_size: head.size,
        timestamp: head.time.millis(),
        sha256_root_hash: head.root.to_base64(),
        signature: STANDARD.encode(&head.signature),
    };
    Ok(json(StatusCode::OK, &head))
}

/// A query that did not parse; axum's own text says which parameter.
fn query<T>(parsed: Result<Query<T>, axum::extract::rejection::QueryRejection>) -> Result<T, Problem> {
    parsed.map(|Query(query)| query).map_err(|error| Problem::bad_request(error.body_text()))
}

type Parsed<T> = Result<Query<T>, axum::extract::rejection::QueryRejection>;

#[derive(Deserialize)]
pub(super) struct Sizes {
    first: u64,
    second: u64,
}

#[derive(Serialize)]
struct Consistency {
    consistency: Vec<String>,
}

/// `GET get-sth-consistency?first&second`
pub(super) async fn get_sth_consistency(
    State(log): State<CtLog>,
    sizes: Parsed<Sizes>,
) -> Result<Response, Problem> {
    let Sizes { first, second } = query(sizes)?;
    let consistency = base64_all(&log.consistency(first, second).await?);
    Ok(json(StatusCode::OK, &Consistency { consistency }))
}

#[derive(Deserialize)]
pub(super) struct ByHash {
    hash: String,
    tree_size: u64,
}

#[derive(Serialize)]
struct AuditProof {
    leaf_index: u64,
    audit_path: Vec<String>,
}

/// `GET get-proof-by-hash?hash&tree_size`
pub(super) async fn get_proof_by_hash(
    State(log): State<CtLog>,
    by: Parsed<ByHash>,
) -> Result<Response, Problem> {
    let ByHash { hash, tree_size } = query(by)?;
    // `+` of unescaped base64 arrives as a space.
    let hash = Hash::from_base64(&hash.replace(' ', "+"))
        .map_err(|_| Problem::bad_request("hash must be base64 of a leaf hash"))?;
    let found = log.proof_by_hash(&hash, tree_size).await?;
    let (leaf_index, path) = found.ok_or_else(|| {
        Problem::new(StatusCode::NOT_FOUND, "the tree of this size has no leaf with this hash")
    })?;
    Ok(json(StatusCode::OK, &AuditProof { leaf_index, audit_path: base64_all(&path) }))
}

#[derive(Deserialize)]
pub(super) struct Range {
    start: u64,
    end: u64,
}

#[derive(Serialize)]
struct Entries {
    entries: Vec<LeafEntry>,
}

#[derive(Serialize)]
struct LeafEntry {
    leaf_input: String,
    extra_data: String,
}

impl From<&StoredEntry> for LeafEntry {
    fn from(entry: &StoredEntry) -> Self {
        Self { leaf_input: STANDARD.encode(&entry.leaf), extra_data: STANDARD.encode(&entry.extra) }
    }
}

/// `GET get-entries?start&end`, both ends included
pub(super) async fn get_entries(
    State(log): State<CtLog>,
    permit: Permit,
    range: Parsed<Range>,
) -> Result<Response, Problem> {
    let Range { start, end } = query(range)?;
    let entries = log.range(permit, start, end).await?.iter().map(LeafEntry::from).collect();
    Ok(json(StatusCode::OK, &Entries { entries }))
}

#[derive(Serialize)]
struct Roots {
    certificates: Vec<String>,
}

/// `GET get-roots`
pub(super) async fn get_roots(State(log): State<CtLog>) -> Response {
    let certificates = log.0.roots.iter().map(|root| STANDARD.encode(root.der())).collect();
    json(StatusCode::OK, &Roots { certificates })
}

#[derive(Deserialize)]
pub(super) struct ByIndex {
    leaf_index: u64,
    tree_size: u64,
}

#[derive(Serialize)]
struct EntryAndProof {
    leaf_input: String,
    extra_data: String,
    audit_path: Vec<String>,
}

/// `GET get-entry-and-proof?leaf_index&tree_size`
pub(super) async fn get_entry_and_proof(
    State(log): State<CtLog>,
    permit: Permit,
    by: Parsed<ByIndex>,
) -> Result<Response, Problem> {
    let ByIndex { leaf_index, tree_size } = query(by)?;
    let (entry, path) = log.entry_and_proof(permit, leaf_index, tree_size).await?;
    let LeafEntry { leaf_input, extra_data } = LeafEntry::from(&entry);
    let answer = EntryAndProof { leaf_input, extra_data, audit_path: base64_all(&path) };
    Ok(json(StatusCode::OK, &answer))
}

fn base64_all(hashes: &[Hash]) -> Vec<String> {
    hashes.iter().map(|hash| hash.to_base64()).collect()
}
