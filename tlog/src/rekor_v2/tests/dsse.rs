use super::*;

/// One signature, by the key of the vectors.
pub(super) fn known() -> Value {
    request(&[sign("kav-signer", &message())], &[key(P256, p256_signer("kav-signer").public_key())])
}

fn message() -> Vec<u8> {
    pae(IN_TOTO, PAYLOAD)
}

fn request(signatures: &[Vec<u8>], verifiers: &[Value]) -> Value {
    let signatures: Vec<_> = signatures.iter().map(|sig| json!({ "sig": b64(sig), "keyid": "" })).collect();
    json!({ "dsseRequestV002": {
        "envelope": { "payload": b64(PAYLOAD), "payloadType": IN_TOTO, "signatures": signatures },
        "verifiers": verifiers,
    } })
}

/// `labels` sign, `named` are named.
fn by(labels: &[&str], named: &[&str]) -> Value {
    let signatures: Vec<_> = labels.iter().map(|label| sign(label, &message())).collect();
    let verifiers: Vec<_> = named.iter().map(|label| key(P256, p256_signer(label).public_key())).collect();
    request(&signatures, &verifiers)
}

#[test]
fn the_known_envelope_makes_a_leaf_of_its_payload_hash() {
    let entry = add(&known()).unwrap();
    let leaf: Value = serde_json::from_slice(&entry.body).unwrap();
    let payload_hash =
        hex::decode("efd35cf5b72b5b9eeee4ee292f5d6b079191324b19ee9231892fb391c82c1d51").unwrap();
    let signature =
        "MEUCIQD2ARmxN9s8+/JloEwk13MFW4XOMvYoK+PiEXBzGzYkygIgde6CgQcwvSYjApY+IHzVFwN3vK67OjeYk4uKLptIeUM=";
    let verifier = key(P256, p256_signer("kav-signer").public_key());
    assert_eq!(
        leaf,
        json!({ "apiVersion": "0.0.2", "kind": "dsse", "spec": { "dsseV002": {
            "payloadHash": { "algorithm": "SHA2_256", "digest": b64(payload_hash) },
            "signatures": [{ "content": signature, "verifier": verifier }],
        } } })
    );
    assert_eq!(serde_json_canonicalizer::to_vec(&leaf).unwrap(), entry.body);
    assert_eq!(entry.kind_version, KindVersion { kind: "dsse", version: "0.0.2" });
    let Body::Dsse { payload_hash, signatures } = Body::parse(&entry.body).unwrap() else {
        panic!("another kind")
    };
    assert_eq!((payload_hash, signatures.len()), (Hash::digest(PAYLOAD), 1));
}

#[test]
fn subjects_of_the_statement_are_search_keys() {
    let payload = br#"{"subject":[{"name":"a","digest":{"sha256":"AB"}}]}"#;
    let mut request = by(&[], &["a"]);
    let envelope = &mut request["dsseRequestV002"]["envelope"];
    envelope["payload"] = b64(payload).into();
    envelope["signatures"] = json!([{ "sig": b64(sign("a", &pae(IN_TOTO, payload))) }]);
    assert!(add(&request).unwrap().index_keys.contains(&"sha256:ab".to_owned()));
}

#[test]
fn signatures_are_sorted_by_their_bytes_and_keep_their_verifiers() {
    let labels = ["a", "b", "c", "d"];
    let entry = add(&by(&labels, &["d", "b", "a", "c"])).unwrap();
    assert_eq!(add(&by(&["c", "a", "d", "b"], &labels)).unwrap().body, entry.body);
    let Body::Dsse { signatures, .. } = Body::parse(&entry.body).unwrap() else { panic!("another kind") };
    assert!(signatures.is_sorted_by(|(a, _), (b, _)| a < b));
    for (signature, verifier) in signatures {
        verifier.public_key().verify(HashAlgorithm::Sha256, &message(), &signature).unwrap();
    }
}

#[test]
fn nothing_may_be_left_over_on_either_side() {
    add(&by(&["a", "b"], &["a", "b"])).unwrap();
    assert!(refusal(&by(&["a", "b"], &["a"])).contains("every signature needs a verifier"));
    assert!(refusal(&by(&["a"], &["a", "b"])).contains("every verifier must have made a signature"));
    assert!(refusal(&by(&["a", "a"], &["a"])).contains("the same"));
    refusal(&by(&["a"], &["b"]));
}

#[test]
fn counts_are_from_one_to_ten() {
    let labels: Vec<String> = (0..11).map(|n| n.to_string()).collect();
    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    add(&by(&labels[..10], &labels[..10])).unwrap();
    refusal(&by(&[], &["a"]));
    refusal(&by(&["a"], &[]));
    for request in [by(&labels, &labels[..10]), by(&labels[..10], &labels)] {
        assert!(malformed(&request.to_string()).contains("at most 10"));
    }
    let binary = DsseRequest {
        envelope: Some(Envelope { signatures: vec![vec![1]; 11], ..Envelope::default() }),
        verifiers: vec![RequestVerifier::default()],
    };
    let error = CanonicalEntry::from_request(CreateEntryRequest::Dsse(binary)).unwrap_err();
    assert!(error.to_string().contains("there are 11"), "{error}");
}

#[test]
fn an_envelope_is_required_and_its_type_is_signed() {
    let mut request = known();
    request["dsseRequestV002"]["envelope"]["payloadType"] = "text/plain".into();
    refusal(&request);
    request["dsseRequestV002"]["envelope"] = Value::Null;
    assert!(refusal(&request).contains("missing envelope"));
}

#[test]
fn the_hash_is_the_one_of_the_key_details() {
    let signer = SoftwareSigner::generate(KeyKind::EcdsaP384).unwrap();
    let verifier = key("PKIX_ECDSA_P384_SHA_384", signer.public_key());
    add(&request(&[signer.sign(&message()).unwrap()], &[verifier])).unwrap();
}

#[test]
fn ed25519_signs_envelopes_pure_or_prehashed_as_it_says() {
    use sha2::Digest as _;
    let secret = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
    let public = PublicKey::from_ed25519(secret.verifying_key().as_bytes()).unwrap();
    let pure = ed25519_dalek::Signer::sign(&secret, &message()).to_bytes().to_vec();
    let prehashed = secret.sign_prehashed(sha2::Sha512::new_with_prefix(message()), None).unwrap();
    let prehashed = prehashed.to_bytes().to_vec();
    let [pure_key, prehashed_key] = ["PKIX_ED25519", "PKIX_ED25519_PH"].map(|name| key(name, &public));
    let entry = add(&request(std::slice::from_ref(&pure), std::slice::from_ref(&pure_key))).unwrap();
    Body::parse(&entry.body).unwrap();
    add(&request(std::slice::from_ref(&prehashed), std::slice::from_ref(&prehashed_key))).unwrap();
    refusal(&request(&[pure], &[prehashed_key]));
    refusal(&request(&[prehashed], &[pure_key]));
}

#[test]
fn a_leaf_with_signatures_out_of_order_or_none_is_none() {
    let entry = add(&by(&["a", "b"], &["a", "b"])).unwrap();
    let mut leaf: Value = serde_json::from_slice(&entry.body).unwrap();
    let parse = |leaf: &Value| Body::parse(&serde_json_canonicalizer::to_vec(leaf).unwrap());
    parse(&leaf).unwrap();
    leaf["spec"]["dsseV002"]["signatures"].as_array_mut().unwrap().reverse();
    parse(&leaf).unwrap_err();
    leaf["spec"]["dsseV002"]["signatures"] = json!([]);
    parse(&leaf).unwrap_err();
}

#[test]
fn p1363_signatures_of_every_curve_are_taken_and_kept_as_sent() {
    for (public, signature) in p1363_signed(&message()) {
        let details = KeyDetails::of_prehash(public.kind()).unwrap();
        let sent = request(std::slice::from_ref(&signature), &[key(details.name(), &public)]);
        let Body::Dsse { signatures, .. } = Body::parse(&add(&sent).unwrap().body).unwrap() else {
            panic!("another kind")
        };
        assert_eq!(signatures[0].0, signature, "{details}");
    }
}
