//! `/api/v1/log/entries…`: create, get and retrieve.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::header::{ETAG, LOCATION};
use http::{HeaderMap, HeaderValue, StatusCode, Uri};
use serde::Deserialize;

use super::answer::{Answer, Located};
use super::{Shared, problem, schema};
use crate::effort::Effort;
use crate::merkle::{Hash, leaf_hash};
use crate::rekor::CanonicalEntry;
use crate::serve::access::Permit;
use crate::serve::reply::json;
use crate::serve::{Problem, with_effort};
use crate::server::log::{HashedLeaf, Submission};

/// Most items that one `retrieve` may ask for, over its three lists together.
const MAX_RETRIEVE: usize = 10;
/// Most elements in each list of `retrieve`.
const MAX_LIST: usize = 10;

/// `POST /api/v1/log/entries`
pub(super) async fn create(
    State(dialect): Shared,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    schema::body("proposedEntry", &headers, &body)?;
    let entry = with_effort(|effort| CanonicalEntry::from_proposed_within(&body, effort)).await;
    let entry = entry.map_err(|error| problem::entry(&error))?;
    let fee = dialect.admission.admit(&entry.signatories).map_err(|refusal| problem::admission(&refusal))?;
    let leaf = HashedLeaf::new(entry.body);
    let body = leaf.bytes().clone();
    let submission = Submission { identity: leaf.hash(), leaf, extra: Bytes::new(), terms: entry.index_keys };
    let tree = &dialect.current;
    let receipt = tree.log.add_for(submission, &fee).await.map_err(|error| problem::add(&error))?;
    let id = tree.id_of(&receipt.leaf_hash);
    let location = header(&format!("{}/{id}", uri.path().trim_end_matches('/')))?;
    // Clients fetch what a 409 names. Where they could not, whoever sends an entry again gets it at once: they had it
    // already, signature and all.
    if receipt.duplicate && dialect.entries_are_open {
        let message = format!("an equivalent entry already exists in the transparency log with UUID {id}");
        return Err(Problem::new(StatusCode::CONFLICT, message).with_header(LOCATION, location));
    }
    let located = Located {
        index: receipt.index,
        time: receipt.time,
        leaf: body,
        leaf_hash: receipt.leaf_hash,
        proof: receipt.proof,
        head: &receipt.head,
    };
    let answer = tree.render(located).await?;
    let mut response = json(StatusCode::CREATED, &answer);
    // Unquoted, against RFC 9110: sigstore-go looks the answer's only member up by this text.
    response.headers_mut().insert(ETAG, header(&id)?);
    response.headers_mut().insert(LOCATION, location);
    Ok(response)
}

/// `GET /api/v1/log/entries?logIndex=N`
pub(super) async fn by_index(
    State(dialect): Shared,
    permit: Permit,
    pairs: schema::Pairs,
) -> Result<Response, Problem> {
    let index = schema::query_int(&pairs, "logIndex", 0)?;
    let index = index.ok_or_else(|| schema::required("logIndex", "query"))?;
    Ok(found(dialect.read(permit, index).await?))
}

/// `GET /api/v1/log/entries/{entryUUID}`
pub(super) async fn by_uuid(
    State(dialect): Shared,
    permit: Permit,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    // A path that is no UTF-8 is no id either.
    let text = path.map(|Path(text)| text).unwrap_or_default();
    let id = EntryId::parse(&text, "entryUUID", "path")?;
    Ok(found(dialect.read_by_hash(permit, id.tree, &id.leaf).await?))
}

/// The answer, or the genuine server's 404, which has no body.
fn found(answer: Option<Answer>) -> Response {
    answer.map_or_else(|| StatusCode::NOT_FOUND.into_response(), |answer| json(StatusCode::OK, &answer))
}

fn header(text: &str) -> Result<HeaderValue, Problem> {
    HeaderValue::from_str(text).map_err(|_| Problem::bad_request("malformed request path"))
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct LogQuery {
    #[serde(rename = "entryUUIDs")]
    entry_uuids: Option<Vec<String>>,
    log_indexes: Option<Vec<i64>>,
    entries: Option<Vec<serde_json::Value>>,
}

/// What `retrieve` asks for, checked.
enum Wanted {
    Entry(EntryId),
    Index(u64),
}

/// `POST /api/v1/log/entries/retrieve`: what is not in the log is left out; what is malformed refuses the request.
pub(super) async fn retrieve(
    State(dialect): Shared,
    permit: Permit,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    schema::body("entry", &headers, &body)?;
    let query = schema::parse_or_null("entry", &body)?;
    let wanted = with_effort(|effort| wanted(&query, effort)).await?;
    let mut answers = Vec::with_capacity(wanted.len());
    for one in wanted {
        answers.extend(match one {
            Wanted::Entry(id) => dialect.read_by_hash(permit, id.tree, &id.leaf).await?,
            Wanted::Index(index) => dialect.read(permit, index).await?,
        });
    }
    Ok(json(StatusCode::OK, &answers))
}

fn wanted(query: &LogQuery, effort: &Effort) -> Result<Vec<Wanted>, Problem> {
    let lists = [
        ("entryUUIDs", query.entry_uuids.as_ref().map(Vec::len)),
        ("logIndexes", query.log_indexes.as_ref().map(Vec::len)),
        // An empty one is none for the genuine server; of the others it is an error.
        ("entries", query.entries.as_ref().map(Vec::len).filter(|count| *count > 0)),
    ];
    let mut total = 0;
    for (name, count) in lists {
        let Some(count) = count else { continue };
        schema::items(name, count, MAX_LIST)?;
        total += count;
    }
    if total > MAX_RETRIEVE {
        let message = format!("more than max allowed {MAX_RETRIEVE} entries in request");
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, message));
    }
    let mut ids = Vec::with_capacity(total);
    for (at, text) in query.entry_uuids.iter().flatten().enumerate() {
        ids.push(EntryId::parse(text, &format!("entryUUIDs.{at}"), "body")?);
    }
    let mut indexes = Vec::new();
    for (at, index) in query.log_indexes.iter().flatten().enumerate() {
        indexes.push(Wanted::Index(schema::at_least(&format!("logIndexes.{at}"), "body", *index, 0)?));
    }
    // The order of the genuine server: ids with a tree, then bare hashes, hashes of entries, and indexes.
    let (in_a_tree, mut anywhere): (Vec<_>, Vec<_>) = ids.into_iter().partition(|id| id.tree.is_some());
    for entry in query.entries.iter().flatten() {
        let entry =
            CanonicalEntry::from_query_within(entry, effort).map_err(|error| problem::entry(&error))?;
        anywhere.push(EntryId { tree: None, leaf: leaf_hash(&entry.body) });
    }
    let ids = in_a_tree.into_iter().chain(anywhere).map(Wanted::Entry);
    Ok(ids.chain(indexes).collect())
}

/// An entry id: 64 hex digits of the leaf hash, optionally after 16 of the tree id. Any case.
struct EntryId {
    tree: Option<u64>,
    leaf: Hash,
}

impl EntryId {
    fn parse(text: &str, name: &str, place: &str) -> Result<Self, Problem> {
        let malformed = || schema::pattern(name, place, schema::ENTRY_ID);
        if !text.bytes().all(|byte| byte.is_ascii_hexdigit()) || !matches!(text.len(), 64 | 80) {
            return Err(malformed());
        }
        let (tree, leaf) = text.split_at(text.len() - 64);
        let leaf = Hash::from_hex(leaf).map_err(|_| malformed())?;
        if tree.is_empty() {
            return Ok(Self { tree: None, leaf });
        }
        let tree = u64::from_str_radix(tree, 16).map_err(|_| malformed())?;
        if tree == 0 || i64::try_from(tree).is_err() {
            return Err(Problem::bad_request(format!("invalid tree ID {tree} in entry ID")));
        }
        Ok(Self { tree: Some(tree), leaf })
    }
}
