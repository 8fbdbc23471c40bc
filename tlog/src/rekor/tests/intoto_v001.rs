use super::*;

fn envelope(signers: &[&str]) -> String {
    let message = pae(IN_TOTO, PAYLOAD);
    let signatures: Vec<String> =
        signers.iter().map(|s| format!(r#"{{"keyid":"","sig":"{}"}}"#, b64(sign(s, &message)))).collect();
    let signatures = signatures.join(",");
    format!(r#"{{"payloadType":"{IN_TOTO}","payload":"{}","signatures":[{signatures}]}}"#, b64(PAYLOAD))
}

fn entry(envelope: &str, pem: &str) -> Value {
    let hash = json!({ "algorithm": "sha256", "value": Hash::digest(envelope.as_bytes()).to_hex() });
    json!({ "apiVersion": "0.0.1", "kind": "intoto", "spec": {
        "content": { "envelope": envelope, "hash": hash },
        "publicKey": b64(pem),
    } })
}

/// An entry as cosign 2 uploads it.
pub(super) fn known() -> Value {
    entry(&envelope(&["kav-signer"]), &pem("kav-signer"))
}

const PAYLOAD_HASH: &str = "efd35cf5b72b5b9eeee4ee292f5d6b079191324b19ee9231892fb391c82c1d51";

#[test]
fn the_leaf_is_two_hashes_and_the_key() {
    let proposal = known();
    let logged = insert(&proposal).unwrap();
    assert_eq!((logged.kind, logged.api_version), ("intoto", "0.0.1"));
    let envelope_hash = Hash::digest(envelope(&["kav-signer"]).as_bytes()).to_hex();
    let key = b64(pem("kav-signer"));
    let expected = format!(
        concat!(
            r#"{{"apiVersion":"0.0.1","kind":"intoto","spec":{{"content":{{"#,
            r#""hash":{{"algorithm":"sha256","value":"{}"}},"#,
            r#""payloadHash":{{"algorithm":"sha256","value":"{}"}}}},"publicKey":"{}"}}}}"#,
        ),
        envelope_hash, PAYLOAD_HASH, key
    );
    assert_eq!(String::from_utf8(logged.body).unwrap(), expected);
}

#[test]
fn hashes_that_the_client_sends_are_ignored() {
    let plain = insert(&known()).unwrap();
    let wrong = json!({ "algorithm": "sha256", "value": "00".repeat(32) });
    for (hash, payload_hash) in [(Value::Null, Value::Null), (wrong.clone(), wrong)] {
        let mut entry = known();
        entry["spec"]["content"]["hash"] = hash;
        entry["spec"]["content"]["payloadHash"] = payload_hash;
        assert_eq!(insert(&entry).unwrap(), plain);
    }
}

#[test]
fn it_is_found_by_envelope_key_payload_subjects_and_materials() {
    let statement = r#"{"subject":[{"digest":{"sha256":"AA11"}}],"predicate":{"materials":[{"digest":{"sha1":"bb22"}}]}}"#;
    let sig = b64(sign("kav-signer", &pae(IN_TOTO, statement)));
    let text = json!({ "payload": b64(statement), "payloadType": IN_TOTO, "signatures": [{ "sig": sig }] })
        .to_string();
    let key = "1c7841b3669bd547a8785ddc4f1db864d83054cf9a46da0ace040412e903a28a";
    assert_eq!(
        insert(&entry(&text, &pem("kav-signer"))).unwrap().index_keys,
        [
            format!("sha256:{}", Hash::digest(text.as_bytes())),
            key.to_owned(),
            format!("sha256:{key}"),
            format!("sha256:{}", Hash::digest(statement.as_bytes())),
            "sha256:aa11".to_owned(),
            "sha1:bb22".to_owned(),
        ]
    );
}

#[test]
fn key_and_envelope_are_required() {
    members_are_required(&known(), &["/spec/content", "/spec/content/envelope", "/spec/publicKey"]);
    assert!(refusal(&entry("", &pem("kav-signer"))).contains("missing envelope content"));
    for envelope in ["{", "[]", "null", "{}"] {
        refusal(&entry(envelope, &pem("kav-signer")));
    }
}

#[test]
fn one_signature_by_the_key_is_enough_and_none_is_not() {
    insert(&entry(&envelope(&["other", "kav-signer"]), &pem("kav-signer"))).unwrap();
    let text = refusal(&entry(&envelope(&["other"]), &pem("kav-signer")));
    assert!(text.contains("accepted signatures do not match threshold"), "{text}");
    let changed = envelope(&["kav-signer"]).replace(IN_TOTO, "text/plain");
    refusal(&entry(&changed, &pem("kav-signer")));
    let undecodable = envelope(&["kav-signer", "other"]).replacen(r#""sig":""#, r#""sig":"!"#, 1);
    refusal(&entry(&undecodable, &pem("other")));
}

#[test]
fn an_empty_payload_or_type_is_refused() {
    for (kind, payload) in [(IN_TOTO, ""), ("", PAYLOAD)] {
        let sig = b64(sign("kav-signer", &pae(kind, payload)));
        let text = json!({ "payload": b64(payload), "payloadType": kind, "signatures": [{ "sig": sig }] });
        refusal(&entry(&text.to_string(), &pem("kav-signer")));
    }
}

#[test]
fn the_payload_must_be_standard_base64() {
    let payload = "\u{3ff}\u{3ff}?>>?";
    let sig = b64(sign("kav-signer", &pae(IN_TOTO, payload)));
    let standard = b64(payload);
    let url_safe = standard.replace('+', "-").replace('/', "_");
    assert_ne!(standard, url_safe);
    let text = |payload: &str| {
        json!({ "payload": payload, "payloadType": IN_TOTO, "signatures": [{ "sig": sig }] }).to_string()
    };
    insert(&entry(&text(&standard), &pem("kav-signer"))).unwrap();
    refusal(&entry(&text(&url_safe), &pem("kav-signer")));
}

#[test]
fn the_key_is_kept_as_canonical_pem() {
    let untidy = format!("\n{}\n\n", pem("kav-signer"));
    let logged = insert(&entry(&envelope(&["kav-signer"]), &untidy)).unwrap();
    assert_eq!(logged, insert(&known()).unwrap());
}

#[test]
fn a_stored_body_finds_itself_but_is_not_insertable() {
    let logged = insert(&known()).unwrap();
    let stored = leaf(&logged);
    assert_eq!(CanonicalEntry::from_query(&stored).unwrap().body, logged.body);
    assert!(refusal(&stored).contains("missing envelope content"));
}

#[test]
fn the_leaf_is_read_back() {
    let body = insert(&known()).unwrap().body;
    let Body::IntotoV001 { envelope_hash, payload_hash, verifier } = Body::parse(&body).unwrap() else {
        panic!("another kind")
    };
    assert_eq!(envelope_hash, Hash::digest(envelope(&["kav-signer"]).as_bytes()));
    assert_eq!(payload_hash.to_hex(), PAYLOAD_HASH);
    assert_eq!(verifier, Verifier::Key(p256_signer("kav-signer").public_key().clone()));
}
