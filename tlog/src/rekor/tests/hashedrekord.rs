use sha2::Digest as _;

use super::*;

/// The entry of the known-answer vectors.
pub(super) fn known() -> Value {
    entry(HashAlgorithm::Sha256, &sign("kav-signer", ARTIFACT), &pem("kav-signer"))
}

fn entry(algorithm: HashAlgorithm, signature: &[u8], pem: &str) -> Value {
    let digest = hex::encode(algorithm.digest(ARTIFACT));
    json!({ "apiVersion": "0.0.1", "kind": "hashedrekord", "spec": {
        "data": { "hash": { "algorithm": algorithm.name(), "value": digest } },
        "signature": { "content": b64(signature), "publicKey": { "content": b64(pem) } },
    } })
}

#[test]
fn the_known_entry_makes_the_known_leaf_and_id() {
    let entry = insert(&known()).unwrap();
    assert_eq!(entry.body.len(), 557);
    let hash = leaf_hash(&entry.body);
    assert_eq!(hash.to_hex(), "48175a5c4e0ac19add482463bbc609d9f122bf3a8e9c2f19845a81c7d03dc9e0");
    assert_eq!(entry_id(TREE_ID, &hash), format!("112210f47de98115{hash}"));
    assert_eq!((entry.kind, entry.api_version), ("hashedrekord", "0.0.1"));
    let key = "1c7841b3669bd547a8785ddc4f1db864d83054cf9a46da0ace040412e903a28a";
    let artifact = "sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
    assert_eq!(entry.index_keys, [key, &format!("sha256:{key}"), artifact]);
}

#[test]
fn the_leaf_is_read_back() {
    let entry = insert(&known()).unwrap();
    let Body::HashedRekord { algorithm, digest, signature, verifier } = Body::parse(&entry.body).unwrap()
    else {
        panic!("another kind")
    };
    assert_eq!((algorithm, digest), (HashAlgorithm::Sha256, algorithm.digest(ARTIFACT)));
    assert_eq!(signature, sign("kav-signer", ARTIFACT));
    assert_eq!(verifier, Verifier::Key(p256_signer("kav-signer").public_key().clone()));
}

#[test]
fn a_canonical_body_goes_through_once_more_unchanged() {
    let entry = insert(&known()).unwrap();
    assert_eq!(CanonicalEntry::from_proposed(&entry.body).unwrap(), entry);
}

#[test]
fn the_hash_keeps_the_letter_case_it_came_in() {
    let mut upper = known();
    let value = upper["spec"]["data"]["hash"]["value"].as_str().unwrap().to_uppercase();
    upper["spec"]["data"]["hash"]["value"] = value.clone().into();
    let (entry, plain) = (insert(&upper).unwrap(), insert(&known()).unwrap());
    assert_eq!(leaf(&entry)["spec"]["data"]["hash"]["value"], value);
    assert_ne!(entry.body, plain.body);
    assert_eq!(entry.index_keys, plain.index_keys, "search is in lower case");
}

#[test]
fn every_member_is_required() {
    members_are_required(
        &known(),
        &[
            "/spec/data",
            "/spec/data/hash",
            "/spec/data/hash/algorithm",
            "/spec/data/hash/value",
            "/spec/signature",
            "/spec/signature/content",
            "/spec/signature/publicKey",
            "/spec/signature/publicKey/content",
        ],
    );
    let mut entry = known();
    entry["spec"]["signature"]["content"] = Value::Null;
    let text = "error processing entry: validation failure list:\nspec.signature.content in body is required";
    assert_eq!(refusal(&entry), text);
}

#[test]
fn the_hash_has_its_algorithms_length_in_hex() {
    for (algorithm, value) in [
        ("sha256", "ab".repeat(31)),
        ("sha256", "ab".repeat(64)),
        ("sha256", "xy".repeat(32)),
        ("sha512", "ab".repeat(32)),
        ("md5", "ab".repeat(16)),
    ] {
        let mut entry = known();
        entry["spec"]["data"]["hash"] = json!({ "algorithm": algorithm, "value": value });
        refusal(&entry);
    }
}

#[test]
fn the_signature_verifies_over_the_given_digest() {
    refusal(&entry(HashAlgorithm::Sha256, &sign("kav-signer", b"other"), &pem("kav-signer")));
    refusal(&entry(HashAlgorithm::Sha256, &sign("other", ARTIFACT), &pem("kav-signer")));
}

#[test]
fn keys_are_base64_of_pem_in_the_standard_alphabet_with_padding() {
    let pem = pem("kav-signer");
    let unpadded = b64(format!("{pem}\n"));
    assert!(unpadded.ends_with('='));
    for content in [pem.clone(), unpadded.trim_end_matches('=').to_owned()] {
        let mut entry = known();
        entry["spec"]["signature"]["publicKey"]["content"] = content.into();
        refusal(&entry);
    }
    let mut wrapped = known();
    let mut content = b64(&pem);
    content.insert(76, '\n');
    wrapped["spec"]["signature"]["publicKey"]["content"] = content.into();
    assert_eq!(insert(&wrapped).unwrap(), insert(&known()).unwrap());
}

#[test]
fn the_key_is_stored_as_canonical_pem() {
    let untidy = format!("junk\n  \n{}\n\n", pem("kav-signer").replace('\n', "\r\n"));
    let entry = entry(HashAlgorithm::Sha256, &sign("kav-signer", ARTIFACT), &untidy);
    assert_eq!(insert(&entry).unwrap(), insert(&known()).unwrap());
}

#[test]
fn a_pair_of_key_and_hash_that_the_registry_lacks_is_refused_after_verifying() {
    let secret = p256::ecdsa::SigningKey::from(p256_secret("kav-signer"));
    let prehash = HashAlgorithm::Sha512.digest(ARTIFACT);
    let signature: p256::ecdsa::Signature =
        p256::ecdsa::signature::hazmat::PrehashSigner::sign_prehash(&secret, &prehash).unwrap();
    let good = entry(HashAlgorithm::Sha512, signature.to_der().as_bytes(), &pem("kav-signer"));
    assert_eq!(insert(&good), Err(EntryError::Algorithm));
    assert!(refusal(&good).ends_with("entry algorithms are not allowed"));
}

#[test]
fn p384_is_allowed_with_its_own_hash_and_with_sha256() {
    let signer = SoftwareSigner::generate(KeyKind::EcdsaP384).unwrap();
    let signature = Signer::sign(&signer, ARTIFACT).unwrap();
    insert(&entry(HashAlgorithm::Sha384, &signature, &signer.public_key().to_pem())).unwrap();
    assert_eq!(algorithms::check(KeyKind::EcdsaP384, HashAlgorithm::Sha256), Ok(()));
    assert_eq!(algorithms::check(KeyKind::Rsa(2048), HashAlgorithm::Sha512), Err(EntryError::Algorithm));
    assert_eq!(algorithms::check(KeyKind::Rsa(8192), HashAlgorithm::Sha256), Err(EntryError::Algorithm));
}

#[test]
fn ed25519_signs_prehashed_with_sha512_and_no_other_way() {
    use ed25519_dalek::Signer as _;
    let secret = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
    let pem = PublicKey::from_ed25519(secret.verifying_key().as_bytes()).unwrap().to_pem();
    let prehashed = secret.sign_prehashed(sha2::Sha512::new_with_prefix(ARTIFACT), None).unwrap();
    insert(&entry(HashAlgorithm::Sha512, &prehashed.to_bytes(), &pem)).unwrap();
    refusal(&entry(HashAlgorithm::Sha256, &prehashed.to_bytes(), &pem));
    refusal(&entry(HashAlgorithm::Sha512, &secret.sign(ARTIFACT).to_bytes(), &pem));
}

#[test]
fn a_certificates_names_are_search_keys_in_lower_case() {
    let names = vec![
        rcgen::SanType::Rfc822Name("Dev@Example.com".try_into().unwrap()),
        rcgen::SanType::URI("https://CI.example/Build@v1".try_into().unwrap()),
        rcgen::SanType::OtherName((
            vec![1, 3, 6, 1, 4, 1, 57_264, 1, 7],
            rcgen::OtherNameValue::Utf8String("User!example.com".to_owned()),
        )),
        rcgen::SanType::OtherName((
            vec![1, 2, 3, 4],
            rcgen::OtherNameValue::Utf8String("unknown".to_owned()),
        )),
    ];
    let certificate =
        Authority::root("Root", |_| {}).leaf(p256_signer("kav-signer").public_key(), |params| {
            params.subject_alt_names = names;
            params.custom_extensions = vec![extension(&[1, 3, 6, 1, 4, 1, 57_264, 1, 8], b"\x0c\x01x")];
        });
    let pem = certificate.to_pem();
    let entry = insert(&entry(HashAlgorithm::Sha256, &sign("kav-signer", ARTIFACT), &pem)).unwrap();
    let key = Hash::digest(pem.as_bytes()).to_hex();
    assert_eq!(
        entry.index_keys[..5],
        [
            key.clone(),
            format!("sha256:{key}"),
            "dev@example.com".to_owned(),
            "https://ci.example/build@v1".to_owned(),
            "user!example.com".to_owned(),
        ]
    );
    assert_eq!(entry.index_keys.len(), 6);
}

#[test]
fn p1363_signatures_of_every_curve_are_taken() {
    for (key, signature) in p1363_signed(ARTIFACT) {
        let hash = key.kind().default_hash();
        let mut entry = known();
        entry["spec"]["data"]["hash"] =
            json!({ "algorithm": hash.name(), "value": hex::encode(hash.digest(ARTIFACT)) });
        entry["spec"]["signature"] =
            json!({ "content": b64(&signature), "publicKey": { "content": b64(key.to_pem()) } });
        let logged = insert(&entry).unwrap();
        assert_eq!(leaf(&logged)["spec"]["signature"]["content"], b64(&signature), "{}", key.kind());
        let Body::HashedRekord { signature: kept, .. } = Body::parse(&logged.body).unwrap() else {
            panic!("another kind")
        };
        assert_eq!(kept, signature);
    }
}

#[test]
fn a_query_may_be_about_an_algorithm_that_is_not_taken_any_more() {
    let digest = HashAlgorithm::Sha512.digest(ARTIFACT);
    let signer = p256::ecdsa::SigningKey::from(p256_secret("kav-signer"));
    let signature: p256::ecdsa::DerSignature =
        p256::ecdsa::signature::hazmat::PrehashSigner::sign_prehash(&signer, &digest).unwrap();
    let mut entry = known();
    entry["spec"]["data"]["hash"] = json!({ "algorithm": "sha512", "value": hex::encode(digest) });
    entry["spec"]["signature"]["content"] = b64(signature.as_bytes()).into();
    assert_eq!(insert(&entry).unwrap_err(), EntryError::Algorithm);
    CanonicalEntry::from_query(&entry).unwrap();
    entry["spec"]["data"]["hash"]["value"] = hex::encode([1; 64]).into();
    CanonicalEntry::from_query(&entry).unwrap_err();
}
