use super::*;

const CLIENT_HASH: &str = "00112233445566778899AABBCCDDEEFF00112233445566778899aabbccddeeff";

/// An entry as cosign 2 uploads it.
pub(super) fn known() -> Value {
    let sig = b64(sign("kav-signer", &pae(IN_TOTO, PAYLOAD)));
    json!({ "apiVersion": "0.0.2", "kind": "intoto", "spec": { "content": {
        "envelope": {
            "payload": b64(b64(PAYLOAD)),
            "payloadType": IN_TOTO,
            "signatures": [{ "sig": b64(sig), "publicKey": b64(pem("kav-signer")) }],
        },
        "hash": { "algorithm": "sha256", "value": CLIENT_HASH },
    } } })
}

#[test]
fn the_leaf_drops_the_payload_and_keeps_the_rest_as_sent() {
    let proposal = known();
    let entry = insert(&proposal).unwrap();
    assert_eq!((entry.kind, entry.api_version), ("intoto", "0.0.2"));
    let content = leaf(&entry)["spec"]["content"].clone();
    let sent = &proposal["spec"]["content"]["envelope"];
    assert_eq!(
        content,
        json!({
            "envelope": { "payloadType": IN_TOTO, "signatures": sent["signatures"] },
            "hash": { "algorithm": "sha256", "value": CLIENT_HASH },
            "payloadHash": {
                "algorithm": "sha256",
                "value": "efd35cf5b72b5b9eeee4ee292f5d6b079191324b19ee9231892fb391c82c1d51",
            },
        })
    );
}

#[test]
fn the_envelope_hash_is_no_search_key() {
    let keys = insert(&known()).unwrap().index_keys;
    let key = "1c7841b3669bd547a8785ddc4f1db864d83054cf9a46da0ace040412e903a28a";
    let payload = "sha256:efd35cf5b72b5b9eeee4ee292f5d6b079191324b19ee9231892fb391c82c1d51";
    assert_eq!(keys, [key, &format!("sha256:{key}"), payload]);
}

#[test]
fn every_member_is_required() {
    members_are_required(
        &known(),
        &[
            "/spec/content",
            "/spec/content/hash",
            "/spec/content/hash/algorithm",
            "/spec/content/hash/value",
            "/spec/content/envelope",
            "/spec/content/envelope/payload",
            "/spec/content/envelope/payloadType",
            "/spec/content/envelope/signatures",
            "/spec/content/envelope/signatures/0/sig",
            "/spec/content/envelope/signatures/0/publicKey",
        ],
    );
}

#[test]
fn single_base64_and_a_wrong_signature_are_refused() {
    let mut single = known();
    single["spec"]["content"]["envelope"]["payload"] = b64(PAYLOAD).into();
    refusal(&single);
    let mut single = known();
    let signature = sign("kav-signer", &pae(IN_TOTO, PAYLOAD));
    single["spec"]["content"]["envelope"]["signatures"][0]["sig"] = b64(signature).into();
    refusal(&single);
    let mut wrong = known();
    wrong["spec"]["content"]["envelope"]["payloadType"] = "text/plain".into();
    refusal(&wrong);
}

#[test]
fn the_key_id_stays_unless_empty_and_the_key_bytes_stay_as_sent() {
    let untidy = b64(format!("\n{}", pem("kav-signer")));
    for (keyid, kept) in [("", Value::Null), ("k1", json!("k1"))] {
        let mut entry = known();
        let signature = &mut entry["spec"]["content"]["envelope"]["signatures"][0];
        signature["keyid"] = keyid.into();
        signature["publicKey"] = untidy.clone().into();
        let entry = insert(&entry).unwrap();
        let signature = leaf(&entry)["spec"]["content"]["envelope"]["signatures"][0].clone();
        assert_eq!((&signature["keyid"], &signature["publicKey"]), (&kept, &json!(untidy)));
        assert_eq!(entry.index_keys, insert(&known()).unwrap().index_keys, "the index takes canonical PEM");
    }
}

#[test]
fn the_signature_order_stays() {
    let message = pae(IN_TOTO, PAYLOAD);
    for order in [["kav-signer", "other"], ["other", "kav-signer"]] {
        let mut entry = known();
        let signatures: Vec<Value> = order
            .iter()
            .map(|label| json!({ "sig": b64(b64(sign(label, &message))), "publicKey": b64(pem(label)) }))
            .collect();
        entry["spec"]["content"]["envelope"]["signatures"] = signatures.clone().into();
        let leaf = leaf(&insert(&entry).unwrap());
        assert_eq!(leaf["spec"]["content"]["envelope"]["signatures"], json!(signatures));
    }
}

#[test]
fn the_leaf_is_read_back() {
    let body = insert(&known()).unwrap().body;
    let Body::Intoto { payload_hash, signatures } = Body::parse(&body).unwrap() else {
        panic!("another kind")
    };
    assert_eq!(payload_hash, Hash::digest(PAYLOAD.as_bytes()));
    let key = Verifier::Key(p256_signer("kav-signer").public_key().clone());
    assert_eq!(signatures, [(sign("kav-signer", &pae(IN_TOTO, PAYLOAD)), key)]);
}

#[test]
fn a_stored_body_is_a_query_and_no_proposal() {
    let mut entry = known();
    entry["spec"]["content"]["envelope"]["signatures"][0]["keyid"] = "k1".into();
    let logged = insert(&entry).unwrap();
    let stored = leaf(&logged);
    refusal(&stored);
    for payload in [Value::Null, json!("")] {
        let mut query = stored.clone();
        query["spec"]["content"]["envelope"]["payload"] = payload;
        assert_eq!(CanonicalEntry::from_query(&query).unwrap().body, logged.body);
    }
    for pointer in [
        "/spec/content/envelope",
        "/spec/content/envelope/payloadType",
        "/spec/content/envelope/signatures",
        "/spec/content/envelope/signatures/0/sig",
        "/spec/content/envelope/signatures/0/publicKey",
        "/spec/content/hash",
        "/spec/content/payloadHash",
    ] {
        let mut query = stored.clone();
        *query.pointer_mut(pointer).unwrap() = Value::Null;
        CanonicalEntry::from_query(&query).unwrap_err();
    }
    let mut proposal = entry;
    proposal["spec"]["content"]["envelope"]["signatures"][0]["sig"] =
        b64(b64(sign("other", &pae(IN_TOTO, PAYLOAD)))).into();
    CanonicalEntry::from_query(&proposal).unwrap_err();
}

#[test]
fn a_payload_without_a_type_is_not_insertable() {
    let mut entry = known();
    let envelope = &mut entry["spec"]["content"]["envelope"];
    envelope["payloadType"] = "".into();
    envelope["signatures"][0]["sig"] = b64(b64(sign("kav-signer", &pae("", PAYLOAD)))).into();
    assert!(refusal(&entry).ends_with("missing payloadType content"));
    CanonicalEntry::from_query(&entry).unwrap();
}
