//! Who may read and who may write.

use super::*;
use crate::fixture::Authority;
use crate::server::fixture::closed_gate;

/// A log whose entries are sealed, and the header that opens them.
async fn sealed() -> (Rekor, [(&'static str, &'static str); 1]) {
    let running = RunningLog::start(None).await;
    let admission = Admission::any(Vec::new(), running.clock.clone());
    let (gate, word) = closed_gate();
    (Rekor::with(running, admission, gate), word)
}

#[tokio::test]
async fn entries_and_search_are_sealed_and_the_tree_is_open() {
    let (rekor, word) = sealed().await;
    let id = rekor.add(&hashedrekord("hello", &p256_signer("client"))).await;
    let json = [("content-type", "application/json"), word[0]];
    let sealed = [
        ("GET", format!("{ENTRIES}?logIndex=0"), "{}"),
        ("GET", format!("{ENTRIES}/?logIndex=0"), "{}"),
        ("GET", format!("{ENTRIES}/{id}"), "{}"),
        ("POST", format!("{ENTRIES}/retrieve"), "{\"logIndexes\":[0]}"),
        ("POST", format!("{ENTRIES}/retrieve/"), "{\"logIndexes\":[0]}"),
        ("POST", "/api/v1/index/retrieve".to_owned(), "{\"email\":\"a@b.example\"}"),
    ];
    for (method, path, body) in &sealed {
        let refused = send(&rekor.router, method, path, &json[..1], *body).await;
        let (status, code, message) = refused.problem();
        assert_eq!((status, code), (401, 401), "{method} {path}");
        assert!(message.contains("say the word"), "{message}");
        assert_eq!(refused.header("www-authenticate"), "Bearer");
        let answer = send(&rekor.router, method, path, &json, *body).await;
        assert_eq!(answer.status, 200, "{method} {path}: {}", answer.text());
    }
    for path in ["/api/v1/log", "/api/v1/log/proof?lastSize=1", "/api/v1/log/publicKey", "/ping"] {
        assert_eq!(rekor.get(path).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn a_sealed_read_is_kept_by_nobody_whether_answered_or_refused() {
    let (rekor, word) = sealed().await;
    let id = rekor.add(&hashedrekord("hello", &p256_signer("client"))).await;
    let entry = format!("{ENTRIES}/{id}");
    for headers in [&word[..], &[]] {
        let answer = send(&rekor.router, "GET", &entry, headers, "").await;
        assert!(answer.header("cache-control").contains("no-store"), "{}", answer.header("cache-control"));
        assert!(answer.header("cache-control").contains("private"));
    }
}

#[tokio::test]
async fn whoever_sends_a_sealed_entry_again_gets_it_and_not_a_409_that_leads_to_a_401() {
    let (rekor, _) = sealed().await;
    let entry = hashedrekord("hello", &p256_signer("client"));
    let first = rekor.add(&entry).await;
    rekor.fill(2).await;
    rekor.running.clock.advance(std::time::Duration::from_secs(5));
    assert_eq!(rekor.add(&entry).await, first);
    assert_eq!(rekor.get("/api/v1/log").await.json()["treeSize"], 3);
}

#[tokio::test]
async fn a_log_for_the_own_ca_refuses_others_with_403_and_says_what_to_do() {
    let running = RunningLog::start(None).await;
    let root = Authority::root("root", |_| {});
    let admission = Admission::own_ca(vec![root.certificate.clone()], running.clock.clone());
    let rekor = Rekor::with(running, admission, Gate::open());
    let key = p256_signer("client");
    let (status, code, message) = rekor.post(ENTRIES, &hashedrekord("hello", &key)).await.problem();
    assert_eq!((status, code), (403, 403));
    assert!(message.contains("sign keyless"), "{message}");
    let mut certified = hashedrekord("hello", &key);
    let leaf = root.leaf(key.public_key(), |_| {});
    certified["spec"]["signature"]["publicKey"]["content"] = json!(STANDARD.encode(leaf.to_pem()));
    rekor.add(&certified).await;
    rekor.running.clock.advance(std::time::Duration::from_hours(1));
    certified["spec"]["signature"]["content"] =
        hashedrekord("later", &key)["spec"]["signature"]["content"].clone();
    certified["spec"]["data"] = hashedrekord("later", &key)["spec"]["data"].clone();
    let (status, _, message) = rekor.post(ENTRIES, &certified).await.problem();
    assert_eq!(status, 403);
    assert!(message.contains("not valid at this time"), "{message}");
}
