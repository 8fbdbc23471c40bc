//! `POST /api/v1/log/entries`.

use super::*;

#[tokio::test]
async fn an_entry_is_201_with_unquoted_etag_location_and_everything_to_verify_it() {
    let rekor = Rekor::start().await;
    let answer = rekor.post(ENTRIES, &hashedrekord("hello", &p256_signer("client"))).await;
    assert_eq!(answer.status, 201);
    let (id, entry) = rekor.check(&answer.json());
    assert_eq!(id.len(), 80);
    assert_eq!(answer.header("etag"), id, "sigstore-go looks the entry up by this text");
    assert_eq!(answer.header("location"), format!("/api/v1/log/entries/{id}"));
    assert_eq!(entry["integratedTime"], crate::fixture::NOON.seconds());
    assert_eq!(entry["logIndex"], 0);
}

#[tokio::test]
async fn the_known_entry_gets_the_known_id() {
    let rekor = Rekor::start().await;
    let signature =
        "MEQCIFVZ8zNUJ8WJM/MPDQ8uf8omNJWEvGTigbHzp4Jjd+WUAiAOxOW20W3EgsKrrUUxz+bMVvx2YZdnrafvWcokLfiRhg==";
    let pem = p256_signer("kav-signer").public_key().to_pem();
    let id = rekor.add(&proposal("hello\n", signature, &pem)).await;
    assert_eq!(id, "112210f47de9811548175a5c4e0ac19add482463bbc609d9f122bf3a8e9c2f19845a81c7d03dc9e0");
    let log = rekor.get("/api/v1/log").await.json();
    let root = Hash::from_base64("SBdaXE4KwZrdSCRju8YJ2fEivzqOnC8ZhFqBx9A9yeA=").unwrap();
    assert_eq!(log["rootHash"], root.to_hex());
}

#[tokio::test]
async fn the_only_entry_of_a_tree_has_an_empty_list_of_hashes_and_not_null() {
    let rekor = Rekor::start().await;
    let answer = rekor.post(ENTRIES, &hashedrekord("hello", &p256_signer("client"))).await;
    let (_, entry) = rekor.check(&answer.json());
    assert_eq!(entry["verification"]["inclusionProof"]["hashes"], json!([]));
}

#[tokio::test]
async fn every_answer_speaks_of_one_head_under_concurrency() {
    let rekor = Rekor::start().await;
    let key = p256_signer("client");
    let entries: Vec<_> = (0..40).map(|n| hashedrekord(&format!("artifact {n}"), &key)).collect();
    let answers = futures::future::join_all(entries.iter().map(|entry| rekor.post(ENTRIES, entry))).await;
    let mut indexes = std::collections::BTreeSet::new();
    for answer in answers {
        assert_eq!(answer.status, 201);
        indexes.insert(rekor.check(&answer.json()).1["logIndex"].as_u64().unwrap());
    }
    assert_eq!(indexes, (0..40).collect());
}

#[tokio::test]
async fn a_duplicate_is_409_with_the_location_of_the_first() {
    let rekor = Rekor::start().await;
    let entry = hashedrekord("hello", &p256_signer("client"));
    let id = rekor.add(&entry).await;
    rekor.fill(3).await;
    let answer = rekor.post(ENTRIES, &entry).await;
    let message = format!("an equivalent entry already exists in the transparency log with UUID {id}");
    assert_eq!(answer.problem(), (409, 409, message));
    assert_eq!(answer.header("location"), format!("/api/v1/log/entries/{id}"));
    let (found, _) = rekor.check(&rekor.get(answer.header("location")).await.json());
    assert_eq!(found, id);
}

#[tokio::test]
async fn a_trailing_slash_does_not_get_into_the_location() {
    let rekor = Rekor::start().await;
    let answer = rekor.post("/api/v1/log/entries/", &hashedrekord("hello", &p256_signer("client"))).await;
    assert_eq!(answer.status, 201);
    assert_eq!(answer.header("location"), format!("/api/v1/log/entries/{}", answer.header("etag")));
}

#[tokio::test]
async fn unknown_members_are_dropped() {
    let rekor = Rekor::start().await;
    let entry = hashedrekord("hello", &p256_signer("client"));
    let mut padded = entry.clone();
    padded["extra"] = json!(1);
    padded["spec"]["extra"] = json!({"a": []});
    let id = rekor.add(&padded).await;
    let answer = rekor.post(ENTRIES, &entry).await;
    assert_eq!(answer.status, 409, "an unknown member changed the leaf");
    assert!(answer.header("location").ends_with(&id));
}

#[tokio::test]
async fn another_media_type_is_415() {
    let rekor = Rekor::start().await;
    let entry = hashedrekord("hello", &p256_signer("client")).to_string();
    let text = [("content-type", "text/plain")];
    let answer = send(&rekor.router, "POST", ENTRIES, &text, entry.clone()).await;
    let message = "unsupported media type \"text/plain\", only [application/json] are allowed";
    assert_eq!(answer.problem(), (415, 415, message.to_owned()));
    assert_eq!(send(&rekor.router, "POST", ENTRIES, &[], entry.clone()).await.status, 415);
    let charset =
        [("content-type", "application/json; charset=utf-8"), ("accept", "application/json;q=1,*/*")];
    assert_eq!(send(&rekor.router, "POST", ENTRIES, &charset, entry).await.status, 201);
}

#[tokio::test]
async fn an_empty_body_is_422_with_code_602() {
    let rekor = Rekor::start().await;
    let rows = [
        (ENTRIES, "proposedEntry"),
        ("/api/v1/log/entries/retrieve", "entry"),
        ("/api/v1/index/retrieve", "query"),
    ];
    for (path, name) in rows {
        for (headers, body) in [(&[][..], ""), (&[("content-type", "application/json")], " \n")] {
            let answer = send(&rekor.router, "POST", path, headers, body).await;
            assert_eq!(answer.problem(), (422, 602, format!("{name} in body is required")), "{body:?}");
        }
    }
}

#[tokio::test]
async fn a_frame_with_a_hole_is_422_with_the_code_of_its_rule() {
    let rekor = Rekor::start().await;
    for (entry, code, message) in [
        (json!({}), 602, "kind in body is required"),
        (json!(null), 602, "kind in body is required"),
        (json!({"kind": "dsse"}), 602, "apiVersion in body is required"),
        (json!({"kind": "dsse", "apiVersion": "0.0.1"}), 602, "spec in body is required"),
        (json!({"kind": "rpm", "apiVersion": "0.0.1", "spec": null}), 602, "spec in body is required"),
        (
            json!({"kind": "dsse", "apiVersion": "1", "spec": {}}),
            605,
            "apiVersion in body should match '^(0|",
        ),
    ] {
        let (status, found, text) = rekor.post(ENTRIES, &entry).await.problem();
        assert_eq!((status, found), (422, code), "{entry}: {text}");
        assert!(text.starts_with(message), "{entry}: {text}");
    }
}

#[tokio::test]
async fn an_unknown_kind_is_422() {
    let rekor = Rekor::start().await;
    let answer = rekor.post(ENTRIES, &json!({"kind": "nope", "apiVersion": "0.0.1", "spec": {}})).await;
    assert_eq!(answer.problem(), (422, 422, "invalid kind value: \"nope\"".to_owned()));
}

#[tokio::test]
async fn what_is_no_json_is_400() {
    let rekor = Rekor::start().await;
    let json = [("content-type", "application/json")];
    for body in ["{", "nonsense", "[]", "null", "\u{0}"] {
        let answer = send(&rekor.router, "POST", ENTRIES, &json, body).await;
        assert!(matches!(answer.status.as_u16(), 400 | 422), "{body:?}: {}", answer.text());
        answer.problem();
    }
    let deep = "[".repeat(100_000);
    assert_eq!(send(&rekor.router, "POST", ENTRIES, &json, deep).await.status, 400);
}

#[tokio::test]
async fn an_entry_that_does_not_verify_is_400_and_leaves_no_trace() {
    let rekor = Rekor::start().await;
    let mut entry = hashedrekord("hello", &p256_signer("client"));
    entry["spec"]["data"]["hash"]["value"] = json!(MISSING);
    let (status, code, message) = rekor.post(ENTRIES, &entry).await.problem();
    assert_eq!((status, code), (400, 400));
    assert!(message.starts_with("error processing entry: "), "{message}");
    entry["spec"]["signature"] = json!(null);
    assert_eq!(rekor.post(ENTRIES, &entry).await.status, 400);
    assert_eq!(rekor.get("/api/v1/log").await.json()["treeSize"], 0);
}

#[tokio::test]
async fn a_busy_log_is_503_with_retry_after_in_json() {
    let (log, _sequencer) = standing_log(|settings| settings.max_pool_entries = 1).await;
    let admission = Admission::any(Vec::new(), Arc::new(SystemClock));
    let current = shard(log, TREE, 0, log_key());
    let router = router(RekorV1 { current, past: Vec::new(), admission, gate: Gate::open() });
    let key = p256_signer("client");
    let (first, second) = (hashedrekord("one", &key), hashedrekord("two", &key));
    let waiting = post(&router, ENTRIES, &first);
    let refused = post(&router, ENTRIES, &second);
    let answer = tokio::select! {
        biased;
        answer = waiting => answer,
        answer = refused => answer,
    };
    let (status, code, _) = answer.problem();
    assert_eq!((status, code), (503, 503));
    assert!(answer.header("retry-after").parse::<u64>().unwrap() >= 1);
}

#[tokio::test]
async fn a_closed_log_is_503_and_can_still_be_read() {
    let mut rekor = Rekor::start().await;
    let id = rekor.fill(1).await.remove(0);
    rekor.running.close().await;
    let answer = rekor.post(ENTRIES, &hashedrekord("late", &p256_signer("client"))).await;
    assert_eq!(answer.status, 503);
    assert!(answer.header("retry-after").parse::<u64>().unwrap() >= 1);
    assert_eq!(rekor.get(&format!("{ENTRIES}/{id}")).await.status, 200);
}
