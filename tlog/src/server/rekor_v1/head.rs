//! `/api/v1/log`, `/api/v1/log/proof` and `/api/v1/log/publicKey`: the tree as a whole.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use serde::Serialize;

use super::shard::Served;
use super::{Dialect, Shared, problem, schema};
use crate::serve::Problem;
use crate::serve::reply::json;

/// Media type of PEM as Rekor names it. Errors of `publicKey` have it too, but for those of its query, which are found
/// before the media type is chosen.
const PEM: HeaderValue = HeaderValue::from_static("application/x-pem-file");

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LogInfo {
    // JSON null, not an empty list, where there are none. Oldest first.
    inactive_shards: Option<Vec<TreeInfo>>,
    #[serde(flatten)]
    current: TreeInfo,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TreeInfo {
    root_hash: String,
    signed_tree_head: String,
    #[serde(rename = "treeID")]
    tree_id: String,
    tree_size: u64,
}

/// `GET /api/v1/log`
pub(super) async fn log_info(State(dialect): Shared) -> Result<Response, Problem> {
    let mut inactive = Vec::with_capacity(dialect.past.len());
    for tree in &dialect.past {
        inactive.push(tree_info(tree).await?);
    }
    let inactive_shards = Some(inactive).filter(|inactive| !inactive.is_empty());
    Ok(json(StatusCode::OK, &LogInfo { inactive_shards, current: tree_info(&dialect.current).await? }))
}

async fn tree_info(tree: &Served) -> Result<TreeInfo, Problem> {
    let head = tree.log.head();
    Ok(TreeInfo {
        root_hash: head.root.to_hex(),
        signed_tree_head: tree.checkpoint(&head).await?,
        tree_id: tree.tree_id.to_string(),
        tree_size: head.size,
    })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ConsistencyProof {
    hashes: Vec<String>,
    root_hash: String,
}

/// `GET /api/v1/log/proof?firstSize&lastSize&treeID`
pub(super) async fn consistency_proof(
    State(dialect): Shared,
    pairs: schema::Pairs,
) -> Result<Response, Problem> {
    let first = schema::query_int(&pairs, "firstSize", 1)?.unwrap_or(1);
    let last = schema::query_int(&pairs, "lastSize", 1)?;
    let last = last.ok_or_else(|| schema::required("lastSize", "query"))?;
    let tree = tree(&dialect, &pairs)?;
    if first > last {
        let message = format!("firstSize({first}) must be less than lastSize({last})");
        return Err(Problem::bad_request(message));
    }
    let head = tree.log.head();
    if last > head.size {
        let message = format!(
            "the tree size requested({last}) was greater than what is currently observable({})",
            head.size
        );
        return Err(Problem::bad_request(message));
    }
    let hashes = tree.log.consistency_proof(first, last).await.map_err(|error| problem::proof(&error))?;
    let hashes = hashes.iter().map(ToString::to_string).collect();
    // The root of the current tree, as the genuine server answers, not that of `lastSize`.
    Ok(json(StatusCode::OK, &ConsistencyProof { hashes, root_hash: head.root.to_hex() }))
}

/// `GET /api/v1/log/publicKey[?treeID]`
pub(super) async fn public_key(State(dialect): Shared, pairs: schema::Pairs) -> Response {
    let mut response = match tree(&dialect, &pairs) {
        Ok(tree) => tree.signer.public_key().to_pem().into_response(),
        Err(problem) if problem.status() == StatusCode::UNPROCESSABLE_ENTITY => {
            return problem.into_response();
        }
        Err(problem) => problem.into_response(),
    };
    response.headers_mut().insert(CONTENT_TYPE, PEM);
    response
}

/// The tree that `treeID` names, which is decimal here and hexadecimal in entry ids; without it the current one.
fn tree<'d>(dialect: &'d Dialect, pairs: &schema::Pairs) -> Result<&'d Served, Problem> {
    let Some(text) = schema::query(pairs, "treeID")? else { return Ok(&dialect.current) };
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(schema::pattern("treeID", "query", "^[0-9]+$"));
    }
    let named = text.parse().ok().and_then(|id| dialect.tree(id));
    named.ok_or_else(|| Problem::bad_request(format!("no log range found for tree ID {text}")))
}
