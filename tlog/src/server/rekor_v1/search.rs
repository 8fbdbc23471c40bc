//! `POST /api/v1/index/retrieve`: ids of entries by e-mail, subject, key or hash.
//!
//! The terms are [`crate::rekor::CanonicalEntry::index_keys`], written in the entry's own commit: unlike Rekor's,
//! this index has no false negatives below its size limit.

use std::collections::BTreeSet;

use axum::extract::State;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;

use super::shard::Served;
use super::{Shared, problem, schema};
use crate::effort::Effort;
use crate::merkle::Hash;
use crate::rekor::Verifier;
use crate::serve::access::Permit;
use crate::serve::reply::json;
use crate::serve::{Problem, with_effort};

/// Most entries that one term finds, the newest ones.
///
/// KNOWN LIMIT: the API has no pages, so older entries of a busier term are found by other terms only.
const MAX_FOUND: usize = 1000;
/// Longest subject, as Rekor has it.
const MAX_SUBJECT: usize = 512;
const HASH: &str = "^(sha512:)?[0-9a-fA-F]{128}$|^(sha256:)?[0-9a-fA-F]{64}$|^(sha1:)?[0-9a-fA-F]{40}$";
const OPERATORS: &str = "and or";
const FORMATS: &str = "pgp x509 minisign ssh tuf";

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct IndexQuery {
    email: Option<String>,
    subject: Option<String>,
    public_key: Option<QueriedKey>,
    hash: Option<String>,
    operator: Option<String>,
}

/// `url` is not here: a server must not fetch what a client names (GHSA-4c4x-jm2x-pf9j).
#[derive(Deserialize)]
struct QueriedKey {
    format: Option<String>,
    content: Option<String>,
}

/// The handler.
pub(super) async fn retrieve(
    State(dialect): Shared,
    permit: Permit,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    schema::body("query", &headers, &body)?;
    let query: IndexQuery = schema::parse_or_null("query", &body)?;
    let every = match query.operator.as_deref() {
        None | Some("" | "or") => false,
        Some("and") => true,
        Some(_) => return Err(schema::one_of("operator", OPERATORS)),
    };
    let terms = with_effort(|effort| terms(&query, effort)).await?;
    let mut ids = Vec::new();
    for tree in dialect.trees() {
        find(permit, tree, &terms, every, &mut ids).await?;
    }
    Ok(json(StatusCode::OK, &ids))
}

/// Adds the ids of a tree's entries with one of the terms, or with every one, as long as there are not too many.
async fn find(
    permit: Permit,
    tree: &Served,
    terms: &[String],
    every: bool,
    ids: &mut Vec<String>,
) -> Result<(), Problem> {
    let mut found: Option<BTreeSet<u64>> = None;
    for term in terms {
        let one = tree.log.search(permit, term, MAX_FOUND).await.map_err(|error| problem::store(&error))?;
        let one = BTreeSet::from_iter(one);
        found = Some(match found {
            None => one,
            Some(before) if every => &before & &one,
            Some(before) => &before | &one,
        });
    }
    let room = MAX_FOUND.saturating_sub(ids.len());
    for index in found.unwrap_or_default().into_iter().rev().take(room) {
        let leaf = tree.log.leaf_hash(index).await.map_err(|error| problem::store(&error))?;
        ids.extend(leaf.map(|leaf| tree.id_of(&leaf)));
    }
    Ok(())
}

/// The search terms of a query, lower-case as they are stored.
fn terms(query: &IndexQuery, effort: &Effort) -> Result<Vec<String>, Problem> {
    let mut terms = Vec::new();
    if let Some(email) = query.email.as_deref().filter(|email| !email.is_empty()) {
        let sane = email.split_once('@').is_some_and(|(local, host)| !local.is_empty() && !host.is_empty());
        if !sane || email.len() > MAX_SUBJECT {
            return Err(schema::type_of("email", "body", "email", email));
        }
        terms.push(email.to_lowercase());
    }
    if let Some(subject) = &query.subject {
        schema::length("subject", subject, MAX_SUBJECT)?;
        terms.push(subject.to_lowercase());
    }
    if let Some(key) = &query.public_key {
        terms.push(key_term(key, effort)?);
    }
    if let Some(hash) = query.hash.as_deref().filter(|hash| !hash.is_empty()) {
        terms.push(hash_term(hash).ok_or_else(|| schema::pattern("hash", "body", HASH))?);
    }
    Ok(terms)
}

fn key_term(key: &QueriedKey, effort: &Effort) -> Result<String, Problem> {
    let format = key.format.as_deref().ok_or_else(|| schema::required("publicKey.format", "body"))?;
    if !FORMATS.split(' ').any(|known| known == format) {
        return Err(schema::one_of("publicKey.format", FORMATS));
    }
    if format != "x509" {
        return Err(Problem::bad_request("the PKI format requested is not supported by this server"));
    }
    let unreadable = || Problem::bad_request("public key provided could not be parsed");
    let pem = STANDARD.decode(key.content.as_deref().unwrap_or_default()).map_err(|_| unreadable())?;
    let verifier = Verifier::from_pem_within(&pem, effort).map_err(|_| unreadable())?;
    Ok(Hash::digest(verifier.to_pem().as_bytes()).to_hex())
}

/// `sha256:…` and its siblings; the length says which where the prefix does not.
fn hash_term(text: &str) -> Option<String> {
    let (prefix, digits) = text.split_once(':').map_or((None, text), |(prefix, rest)| (Some(prefix), rest));
    let algorithm = match digits.len() {
        40 => "sha1",
        64 => "sha256",
        128 => "sha512",
        _ => return None,
    };
    let hexadecimal = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let matches = prefix.is_none_or(|prefix| prefix == algorithm);
    (hexadecimal && matches).then(|| format!("{algorithm}:{}", digits.to_ascii_lowercase()))
}
