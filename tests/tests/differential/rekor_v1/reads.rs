//! Reads of entries, searches, and proofs.

use chancery_tests::genuine::{Case, Request};
use serde_json::{Value, json};

use super::{JSON, PATH, TREE};

const RETRIEVE: &str = "/api/v1/log/entries/retrieve";
const SEARCH: &str = "/api/v1/index/retrieve";

/// Reads of what is in both logs: `ids` are hashes of leaves.
pub(super) fn reads(ids: &[String], entry: &Value) -> Vec<Case> {
    let mut cases = Vec::new();
    let (id, missing) = (&ids[0], "0".repeat(64));
    for (what, path) in [
        ("id", format!("{PATH}/{id}")),
        ("id long", format!("{PATH}/{TREE}{id}")),
        ("id capitals", format!("{PATH}/{}", id.to_uppercase())),
        ("id missing", format!("{PATH}/{missing}")),
        ("id short", format!("{PATH}/{}", &id[2..])),
        ("id words", format!("{PATH}/nothing")),
        ("id other-tree", format!("{PATH}/0000000000000001{id}")),
        ("id slash", format!("{PATH}/{id}/")),
        ("index 1", format!("{PATH}?logIndex=1")),
        ("index beyond", format!("{PATH}?logIndex=100000")),
        ("index negative", format!("{PATH}?logIndex=-1")),
        ("index words", format!("{PATH}?logIndex=x")),
        ("index empty", format!("{PATH}?logIndex=")),
        ("index missing", PATH.to_owned()),
        ("index plus", format!("{PATH}?logIndex=%2B1")),
        ("index zero-first", format!("{PATH}?logIndex=01")),
        ("index twice", format!("{PATH}?logIndex=1&logIndex=2")),
        ("index large", format!("{PATH}?logIndex=99999999999999999999")),
        ("log", "/api/v1/log".to_owned()),
        ("log stable", "/api/v1/log?stable=true".to_owned()),
        ("log stable words", "/api/v1/log?stable=x".to_owned()),
        ("log slash", "/api/v1/log/".to_owned()),
        ("log two-slashes", "//api/v1/log".to_owned()),
        ("log slash-inside", "/api/v1//log".to_owned()),
        ("key", "/api/v1/log/publicKey".to_owned()),
        ("key tree-empty", "/api/v1/log/publicKey?treeID=".to_owned()),
        ("key tree-words", "/api/v1/log/publicKey?treeID=x".to_owned()),
        ("key tree-other", "/api/v1/log/publicKey?treeID=7".to_owned()),
        ("proof 1-2", "/api/v1/log/proof?firstSize=1&lastSize=2".to_owned()),
        ("proof last", "/api/v1/log/proof?lastSize=2".to_owned()),
        ("proof first-empty", "/api/v1/log/proof?firstSize=&lastSize=2".to_owned()),
        ("proof last-empty", "/api/v1/log/proof?firstSize=1&lastSize=".to_owned()),
        ("proof none", "/api/v1/log/proof".to_owned()),
        ("proof same", "/api/v1/log/proof?firstSize=2&lastSize=2".to_owned()),
        ("proof backwards", "/api/v1/log/proof?firstSize=2&lastSize=1".to_owned()),
        ("proof zero", "/api/v1/log/proof?firstSize=0&lastSize=2".to_owned()),
        ("proof beyond", "/api/v1/log/proof?firstSize=1&lastSize=100000".to_owned()),
        ("proof tree-empty", "/api/v1/log/proof?firstSize=1&lastSize=2&treeID=".to_owned()),
        ("proof tree-words", "/api/v1/log/proof?firstSize=1&lastSize=2&treeID=x".to_owned()),
        ("nothing", "/api/v1/nothing".to_owned()),
        ("ping", "/ping".to_owned()),
        ("version", "/api/v1/version".to_owned()),
    ] {
        cases.push(Case { what: format!("read {what}"), request: Request::get(&path) });
    }
    for method in ["HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        for path in [PATH, "/api/v1/log", RETRIEVE, SEARCH, "/ping", "/api/v1/nothing"] {
            cases.push(Case {
                what: format!("method {method} {path}"),
                request: Request { method, ..Request::get(path) },
            });
        }
    }
    for (what, body) in [
        ("ids", json!({ "entryUUIDs": [id] })),
        ("ids missing", json!({ "entryUUIDs": [missing] })),
        ("ids both", json!({ "entryUUIDs": [id, missing] })),
        ("ids long", json!({ "entryUUIDs": [format!("{TREE}{id}")] })),
        ("ids twice", json!({ "entryUUIDs": [id, id] })),
        ("ids words", json!({ "entryUUIDs": ["nothing"] })),
        ("ids empty", json!({ "entryUUIDs": [] })),
        ("ids eleven", json!({ "entryUUIDs": vec![id; 11] })),
        ("indexes", json!({ "logIndexes": [1, 2] })),
        ("indexes beyond", json!({ "logIndexes": [100_000] })),
        ("indexes negative", json!({ "logIndexes": [-1] })),
        ("indexes text", json!({ "logIndexes": ["1"] })),
        ("indexes eleven", json!({ "logIndexes": [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1] })),
        ("two-lists", json!({ "entryUUIDs": [id], "logIndexes": [1] })),
        ("entries", json!({ "entries": [entry] })),
        ("entries empty", json!({ "entries": [] })),
        ("entries words", json!({ "entries": ["x"] })),
        ("nothing", json!({})),
        ("null", Value::Null),
        ("list", json!([])),
        ("extra", json!({ "more": 1 })),
    ] {
        let request = Request::post(RETRIEVE, JSON, body.to_string().into_bytes());
        cases.push(Case { what: format!("retrieve {what}"), request });
    }
    cases.extend(searches(entry));
    cases
}

fn searches(entry: &Value) -> Vec<Case> {
    let hash = entry["spec"]["data"]["hash"]["value"].as_str().unwrap_or_default();
    let key = &entry["spec"]["signature"]["publicKey"]["content"];
    let mut cases = Vec::new();
    for (what, body) in [
        ("hash", json!({ "hash": format!("sha256:{hash}") })),
        ("hash bare", json!({ "hash": hash })),
        ("hash capitals", json!({ "hash": format!("sha256:{}", hash.to_uppercase()) })),
        ("hash missing", json!({ "hash": format!("sha256:{}", "0".repeat(64)) })),
        ("hash words", json!({ "hash": "nothing" })),
        ("hash empty", json!({ "hash": "" })),
        ("key", json!({ "publicKey": { "format": "x509", "content": key } })),
        ("key format", json!({ "publicKey": { "format": "nothing", "content": key } })),
        ("key no-format", json!({ "publicKey": { "content": key } })),
        ("key garbage", json!({ "publicKey": { "format": "x509", "content": "AAAA" } })),
        ("email", json!({ "email": "octocat@example.com" })),
        ("email words", json!({ "email": "nothing" })),
        (
            "and",
            json!({ "operator": "and", "hash": format!("sha256:{hash}"), "email": "octocat@example.com" }),
        ),
        ("or", json!({ "operator": "or", "hash": format!("sha256:{hash}"), "email": "octocat@example.com" })),
        ("operator words", json!({ "operator": "xor", "hash": format!("sha256:{hash}") })),
        ("nothing", json!({})),
        ("null", Value::Null),
        ("list", json!([])),
        ("extra", json!({ "more": 1 })),
    ] {
        let request = Request::post(SEARCH, JSON, body.to_string().into_bytes());
        cases.push(Case { what: format!("search {what}"), request });
    }
    cases
}
