//! `POST /api/v1/index/retrieve`.

use super::*;

const SEARCH: &str = "/api/v1/index/retrieve";

impl Rekor {
    async fn search(&self, query: &Value) -> Vec<String> {
        let answer = self.post(SEARCH, query).await;
        assert_eq!(answer.status, 200, "{query}: {}", answer.text());
        serde_json::from_value(answer.json()).unwrap()
    }
}

fn pem(label: &str) -> String {
    p256_signer(label).public_key().to_pem()
}

fn x509(label: &str) -> Value {
    json!({"format": "x509", "content": STANDARD.encode(pem(label))})
}

#[tokio::test]
async fn an_entry_is_found_by_artifact_hash_with_and_without_prefix_in_any_case() {
    let rekor = Rekor::start().await;
    rekor.fill(2).await;
    let id = rekor.add(&hashedrekord("wanted", &p256_signer("client"))).await;
    let digest = Hash::digest(b"wanted").to_hex();
    for hash in [digest.clone(), format!("sha256:{digest}"), digest.to_uppercase()] {
        assert_eq!(rekor.search(&json!({"hash": hash})).await, [id.as_str()], "{hash}");
    }
}

#[tokio::test]
async fn an_entry_is_found_by_its_key_and_by_the_keys_hash() {
    let rekor = Rekor::start().await;
    rekor.fill(2).await;
    let id = rekor.add(&hashedrekord("wanted", &p256_signer("other"))).await;
    assert_eq!(rekor.search(&json!({"publicKey": x509("other")})).await, [id.as_str()]);
    let hash = Hash::digest(pem("other").as_bytes()).to_hex();
    assert_eq!(rekor.search(&json!({"hash": hash})).await, [id]);
}

#[tokio::test]
async fn terms_are_joined_by_or_unless_and_is_said() {
    let rekor = Rekor::start().await;
    let mut ids = rekor.fill(2).await;
    let wanted = rekor.add(&hashedrekord("wanted", &p256_signer("client"))).await;
    let other = rekor.add(&hashedrekord("wanted", &p256_signer("other"))).await;
    let query = json!({"hash": Hash::digest(b"wanted").to_hex(), "publicKey": x509("client")});
    let mut either = rekor.search(&query).await;
    ids.extend([wanted.clone(), other]);
    either.sort();
    ids.sort();
    assert_eq!(either, ids);
    let mut both = query;
    both["operator"] = json!("and");
    assert_eq!(rekor.search(&both).await, [wanted]);
}

#[tokio::test]
async fn what_is_not_there_is_an_empty_array() {
    let rekor = Rekor::start().await;
    rekor.fill(1).await;
    for query in [
        json!({}),
        json!({"email": "nobody@example.com"}),
        json!({"subject": "https://ci.example/none"}),
        json!({"hash": MISSING}),
        json!({"publicKey": x509("unused")}),
    ] {
        assert_eq!(rekor.search(&query).await, [""; 0], "{query}");
    }
}

#[tokio::test]
async fn malformed_searches_are_refused_with_their_codes() {
    let rekor = Rekor::start().await;
    let rows = [
        (json!({"email": "nobody"}), 422, 601),
        (json!({"subject": ""}), 422, 604),
        (json!({"subject": "x".repeat(513)}), 422, 603),
        (json!({"hash": "abc"}), 422, 605),
        (json!({"hash": format!("sha512:{MISSING}")}), 422, 605),
        (json!({"hash": "0".repeat(96)}), 422, 605),
        (json!({"operator": "xor"}), 422, 606),
        (json!({"publicKey": {"content": "AA=="}}), 422, 602),
        (json!({"publicKey": {"format": "der", "content": "AA=="}}), 422, 606),
        (json!({"publicKey": {"format": "pgp", "content": "AA=="}}), 400, 400),
        (json!({"publicKey": {"format": "x509", "content": "AA=="}}), 400, 400),
        (json!({"publicKey": {"format": "x509", "content": "*"}}), 400, 400),
        (json!({"publicKey": {"format": "x509", "url": "http://169.254.169.254/"}}), 400, 400),
        (json!({"email": 1}), 400, 400),
    ];
    for (query, status, code) in rows {
        let answer = rekor.post(SEARCH, &query).await.problem();
        assert_eq!((answer.0, answer.1), (status, code), "{query}: {}", answer.2);
    }
}
