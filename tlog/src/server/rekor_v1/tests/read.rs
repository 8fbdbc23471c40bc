//! Entries by index and id, `retrieve`, the tree and its key.

use super::*;
use crate::merkle::{EMPTY_ROOT, verify_consistency};

const RETRIEVE: &str = "/api/v1/log/entries/retrieve";

#[tokio::test]
async fn an_entry_is_read_by_index_and_by_both_ids_in_any_case() {
    let rekor = Rekor::start().await;
    let ids = rekor.fill(5).await;
    for (index, id) in ids.iter().enumerate() {
        for path in [
            format!("{ENTRIES}?logIndex={index}"),
            format!("{ENTRIES}/{id}"),
            format!("{ENTRIES}/{}", id.to_uppercase()),
            format!("{ENTRIES}/{}", &id[16..]),
        ] {
            let answer = rekor.get(&path).await;
            assert_eq!(answer.status, 200, "{path}");
            let (found, entry) = rekor.check(&answer.json());
            assert_eq!((&found, entry["logIndex"].as_u64()), (id, u64::try_from(index).ok()));
            assert_eq!(entry["verification"]["inclusionProof"]["treeSize"], 5, "not the current tree");
        }
    }
}

#[tokio::test]
async fn the_set_is_fresh_on_every_read_and_the_time_is_not() {
    let rekor = Rekor::start().await;
    let id = rekor.fill(1).await.remove(0);
    rekor.running.clock.advance(std::time::Duration::from_mins(1));
    let (_, one) = rekor.check(&rekor.get(&format!("{ENTRIES}/{id}")).await.json());
    let (_, two) = rekor.check(&rekor.get(&format!("{ENTRIES}/{id}")).await.json());
    assert_ne!(one["verification"]["signedEntryTimestamp"], two["verification"]["signedEntryTimestamp"]);
    assert_eq!(one["integratedTime"], crate::fixture::NOON.seconds());
}

#[tokio::test]
async fn what_is_not_in_the_log_is_404_without_a_body() {
    let rekor = Rekor::start().await;
    let id = rekor.fill(1).await.remove(0);
    let other_tree = format!("{:016x}{}", TREE + 1, &id[16..]);
    for path in [
        format!("{ENTRIES}?logIndex=1"),
        format!("{ENTRIES}?logIndex={}", i64::MAX),
        format!("{ENTRIES}/{MISSING}"),
        format!("{ENTRIES}/{TREE:016x}{MISSING}"),
        format!("{ENTRIES}/{other_tree}"),
    ] {
        let answer = rekor.get(&path).await;
        assert_eq!((answer.status.as_u16(), answer.text()), (404, ""), "{path}");
    }
}

#[tokio::test]
async fn a_malformed_index_is_422_with_its_code() {
    let rekor = Rekor::start().await;
    let rows = [
        ("", 602, "logIndex in query is required"),
        ("?logIndex=-1", 609, "logIndex in query should be greater than or equal to 0"),
        ("?logIndex=x", 601, "logIndex in query must be of type int64: \"x\""),
        (
            "?logIndex=9223372036854775808",
            601,
            "logIndex in query must be of type int64: \"9223372036854775808\"",
        ),
    ];
    for (query, code, message) in rows {
        let answer = rekor.get(&format!("{ENTRIES}{query}")).await;
        assert_eq!(answer.problem(), (422, code, message.to_owned()), "{query}");
    }
}

#[tokio::test]
async fn a_malformed_id_is_422_with_code_605_and_an_impossible_tree_400() {
    let rekor = Rekor::start().await;
    let pattern = "entryUUID in path should match '^([0-9a-fA-F]{64}|[0-9a-fA-F]{80})$'";
    for id in ["x", "%ff", &MISSING[1..], &format!("{MISSING}0"), &MISSING.replace('8', "g")] {
        let answer = rekor.get(&format!("{ENTRIES}/{id}")).await;
        assert_eq!(answer.problem(), (422, 605, pattern.to_owned()), "{id}");
    }
    for tree in ["0000000000000000", "8000000000000000"] {
        assert_eq!(rekor.get(&format!("{ENTRIES}/{tree}{MISSING}")).await.problem().0, 400);
    }
}

#[tokio::test]
async fn retrieve_finds_by_id_index_and_entry_and_leaves_out_what_is_missing() {
    let rekor = Rekor::start().await;
    let ids = rekor.fill(3).await;
    let entry = hashedrekord("looked up", &p256_signer("client"));
    let last = rekor.add(&entry).await;
    let unknown = hashedrekord("never added", &p256_signer("client"));
    let query = json!({
        "entryUUIDs": [ids[0], ids[1][16..], MISSING],
        "logIndexes": [2, 99],
        "entries": [entry, unknown],
    });
    let answer = rekor.post(RETRIEVE, &query).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer = answer.json();
    let found: Vec<_> = answer.as_array().unwrap().iter().map(|one| rekor.check(one).0).collect();
    assert_eq!(found, [&ids[0], &ids[1], &last, &ids[2]].map(String::clone));
}

#[tokio::test]
async fn retrieve_answers_several_lists_in_the_order_of_the_genuine_server() {
    let rekor = Rekor::start().await;
    let ids = rekor.fill(3).await;
    let entry = hashedrekord("looked up", &p256_signer("client"));
    let last = rekor.add(&entry).await;
    for (query, expected) in [
        (json!({"logIndexes": [2, 0], "entryUUIDs": [ids[1]]}), vec![&ids[1], &ids[2], &ids[0]]),
        (json!({"logIndexes": [0], "entries": [entry]}), vec![&last, &ids[0]]),
        // Bare hashes come after ids with a tree.
        (json!({"entryUUIDs": [ids[0][16..], ids[1]], "entries": [entry]}), vec![&ids[1], &ids[0], &last]),
    ] {
        let answer = rekor.post(RETRIEVE, &query).await.json();
        let found: Vec<_> = answer.as_array().unwrap().iter().map(|one| rekor.check(one).0).collect();
        assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{query}");
    }
}

#[tokio::test]
async fn empty_parameters_count_as_absent_and_the_last_occurrence_counts() {
    let rekor = Rekor::start().await;
    rekor.fill(3).await;
    for (path, status) in [
        ("/api/v1/log/proof?firstSize=&lastSize=2", 200),
        ("/api/v1/log/proof?lastSize=2&treeID=", 200),
        ("/api/v1/log/proof?firstSize=&lastSize=2&treeID=", 200),
        ("/api/v1/log/proof?firstSize=3&firstSize=1&lastSize=2", 200),
        ("/api/v1/log/proof?lastSize=2&lastSize=99", 400),
        ("/api/v1/log/proof?lastSize=", 422),
        ("/api/v1/log/proof?lastSize=2&lastSize=", 422),
        ("/api/v1/log/entries?logIndex=", 422),
        ("/api/v1/log/publicKey?treeID=", 200),
    ] {
        let answer = rekor.get(path).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
        if status == 422 {
            assert_eq!(answer.problem().1, 602, "{path}");
        }
    }
}

#[tokio::test]
async fn retrieve_finds_the_stored_body_of_every_kind() {
    let rekor = Rekor::start().await;
    for entry in crate::rekor::tests::all_known() {
        let id = rekor.add(&entry).await;
        let (_, logged) = rekor.check(&rekor.get(&format!("{ENTRIES}/{id}")).await.json());
        let body = STANDARD.decode(logged["body"].as_str().unwrap()).unwrap();
        let stored: Value = serde_json::from_slice(&body).unwrap();
        let answer = rekor.post(RETRIEVE, &json!({"entries": [stored]})).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(rekor.check(&answer.json()[0]).0, id, "{stored}");
    }
}

#[tokio::test]
async fn retrieve_of_nothing_is_an_empty_array() {
    let rekor = Rekor::start().await;
    for query in [
        json!({}),
        json!({"logIndexes": [7]}),
        json!({"entryUUIDs": [MISSING]}),
        json!({"entries": null}),
        json!({"entries": []}),
        json!(null),
    ] {
        let answer = rekor.post(RETRIEVE, &query).await;
        assert_eq!((answer.status.as_u16(), answer.json()), (200, json!([])), "{query}");
    }
}

#[tokio::test]
async fn retrieve_takes_one_to_ten_of_each_and_ten_in_all() {
    let rekor = Rekor::start().await;
    let rows = [
        (json!({"logIndexes": []}), 612, "logIndexes in body should have at least 1 items"),
        (json!({"entryUUIDs": vec![MISSING; 11]}), 611, "entryUUIDs in body should have at most 10 items"),
        (
            json!({"entryUUIDs": vec![MISSING; 6], "logIndexes": [1, 2, 3, 4, 5]}),
            422,
            "more than max allowed 10 entries in request",
        ),
        (json!({"logIndexes": [-1]}), 609, "logIndexes.0 in body should be greater than or equal to 0"),
        (
            json!({"entryUUIDs": ["xy"]}),
            605,
            "entryUUIDs.0 in body should match '^([0-9a-fA-F]{64}|[0-9a-fA-F]{80})$'",
        ),
    ];
    for (query, code, message) in rows {
        let answer = rekor.post(RETRIEVE, &query).await;
        assert_eq!(answer.problem(), (422, code, message.to_owned()), "{query}");
    }
    assert_eq!(rekor.post(RETRIEVE, &json!({"logIndexes": (0..10).collect::<Vec<_>>()})).await.status, 200);
}

#[tokio::test]
async fn one_bad_entry_refuses_the_whole_retrieve() {
    let rekor = Rekor::start().await;
    let good = hashedrekord("hello", &p256_signer("client"));
    rekor.add(&good).await;
    let mut bad = good.clone();
    bad["spec"]["data"]["hash"]["value"] = json!(MISSING);
    assert_eq!(rekor.post(RETRIEVE, &json!({"entries": [good, bad]})).await.problem().0, 400);
    assert_eq!(rekor.post(RETRIEVE, &json!({"logIndexes": "1"})).await.problem().0, 400);
}

#[tokio::test]
async fn log_info_has_a_decimal_tree_id_null_shards_and_a_signed_head() {
    let rekor = Rekor::start().await;
    let empty = rekor.get("/api/v1/log").await.json();
    assert_eq!(rekor.check_checkpoint(empty["signedTreeHead"].as_str().unwrap()), (EMPTY_ROOT, 0));
    rekor.fill(3).await;
    let info = rekor.get("/api/v1/log?stable=true").await.json();
    assert_eq!(info["treeID"], TREE.to_string());
    assert_eq!(info["treeSize"], 3);
    assert!(info.as_object().unwrap().contains_key("inactiveShards"));
    assert_eq!(info["inactiveShards"], Value::Null);
    let (root, size) = rekor.check_checkpoint(info["signedTreeHead"].as_str().unwrap());
    assert_eq!((json!(root.to_hex()), size), (info["rootHash"].clone(), 3));
    assert_eq!(info.as_object().unwrap().len(), 5);
}

#[tokio::test]
async fn a_checkpoint_is_signed_once_for_a_head() {
    let rekor = Rekor::start().await;
    rekor.fill(2).await;
    let one = rekor.get("/api/v1/log").await.json();
    assert_eq!(one["signedTreeHead"], rekor.get("/api/v1/log").await.json()["signedTreeHead"]);
}

#[tokio::test]
async fn consistency_is_proven_between_any_two_sizes() {
    let rekor = Rekor::start().await;
    let mut roots = Vec::new();
    for n in 0..7 {
        rekor.add(&hashedrekord(&format!("artifact {n}"), &p256_signer("client"))).await;
        let root = rekor.get("/api/v1/log").await.json()["rootHash"].as_str().unwrap().to_owned();
        roots.push(Hash::from_hex(&root).unwrap());
    }
    for first in 1..=7 {
        for last in first..=7 {
            let path = format!("/api/v1/log/proof?firstSize={first}&lastSize={last}&treeID={TREE}");
            let answer = rekor.get(&path).await.json();
            let hashes = answer["hashes"].as_array().unwrap().iter();
            let hashes: Vec<_> = hashes.map(|hash| Hash::from_hex(hash.as_str().unwrap()).unwrap()).collect();
            let (old, new) = (&roots[first - 1], &roots[last - 1]);
            verify_consistency(first as u64, old, last as u64, new, &hashes).unwrap();
            assert_eq!(answer["rootHash"], roots[6].to_hex(), "the current root, whatever lastSize is");
        }
    }
}

#[tokio::test]
async fn impossible_consistency_proofs_are_refused_with_rekors_words() {
    let rekor = Rekor::start().await;
    rekor.fill(3).await;
    let rows = [
        ("firstSize=3&lastSize=2", 400, 400, "firstSize(3) must be less than lastSize(2)"),
        (
            "lastSize=9",
            400,
            400,
            "the tree size requested(9) was greater than what is currently observable(3)",
        ),
        ("lastSize=2&treeID=5", 400, 400, "no log range found for tree ID 5"),
        ("lastSize=2&treeID=a", 422, 605, "treeID in query should match '^[0-9]+$'"),
        ("firstSize=1", 422, 602, "lastSize in query is required"),
        ("firstSize=0&lastSize=2", 422, 609, "firstSize in query should be greater than or equal to 1"),
        ("lastSize=two", 422, 601, "lastSize in query must be of type int64: \"two\""),
    ];
    for (query, status, code, message) in rows {
        let answer = rekor.get(&format!("/api/v1/log/proof?{query}")).await;
        assert_eq!(answer.problem(), (status, code, message.to_owned()), "{query}");
    }
    let same = rekor.get("/api/v1/log/proof?firstSize=3&lastSize=3").await;
    assert_eq!(same.json()["hashes"], json!([]));
}

#[tokio::test]
async fn the_public_key_is_pem_under_its_own_media_type() {
    let rekor = Rekor::start().await;
    for query in ["", &format!("?treeID={TREE}")] {
        let answer = rekor.get(&format!("/api/v1/log/publicKey{query}")).await;
        assert_eq!(answer.header("content-type"), "application/x-pem-file");
        assert_eq!(answer.text(), rekor.signer.public_key().to_pem());
        assert!(answer.text().ends_with("-----END PUBLIC KEY-----\n"));
    }
    let answer = rekor.get("/api/v1/log/publicKey?treeID=5").await;
    assert_eq!((answer.status.as_u16(), answer.header("content-type")), (400, "application/x-pem-file"));
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(body["message"], "no log range found for tree ID 5");
    let answer = rekor.get("/api/v1/log/publicKey?treeID=x").await;
    assert_eq!((answer.status.as_u16(), answer.header("content-type")), (422, "application/json"));
}
