use sha2::Digest as _;

use super::*;

/// The request of the known-answer vectors.
pub(super) fn known() -> Value {
    let key = key(P256, p256_signer("kav-signer").public_key());
    request(&HashAlgorithm::Sha256.digest(ARTIFACT), &sign("kav-signer", ARTIFACT), &key)
}

fn request(digest: &[u8], signature: &[u8], verifier: &Value) -> Value {
    json!({ "hashedRekordRequestV002": {
        "digest": b64(digest),
        "signature": { "content": b64(signature), "verifier": verifier },
    } })
}

/// A request with a fresh key of `kind`, signed with the kind's own hash.
fn signed_by(kind: KeyKind, details: &str) -> Value {
    let signer = SoftwareSigner::generate(kind).unwrap();
    let digest = kind.default_hash().digest(ARTIFACT);
    request(&digest, &signer.sign(ARTIFACT).unwrap(), &key(details, signer.public_key()))
}

const VERIFIER: &str = "/hashedRekordRequestV002/signature/verifier";

fn with(pointer: &str, value: Value) -> Value {
    let mut request = known();
    *request.pointer_mut(pointer).unwrap() = value;
    request
}

fn without(pointer: &str) -> Value {
    let mut request = known();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    request.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(name).unwrap();
    request
}

#[test]
fn the_known_request_makes_the_known_leaf() {
    let entry = add(&known()).unwrap();
    assert_eq!(entry.body.len(), 489);
    assert_eq!(
        leaf_hash(&entry.body).to_hex(),
        "86b5b58584bef97aecbce94dd8cc2b805b7e5fb816c9477fb01389599e3a8cc2"
    );
    assert_eq!(entry.kind_version, KindVersion { kind: "hashedrekord", version: "0.0.2" });
    let key = "1c7841b3669bd547a8785ddc4f1db864d83054cf9a46da0ace040412e903a28a";
    let artifact = "sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
    assert_eq!(entry.index_keys, [key, &format!("sha256:{key}"), artifact]);
}

#[test]
fn leaves_are_canonical_json_for_keys_and_certificates() {
    let certified = Authority::root("Root", |_| {}).leaf(p256_signer("kav-signer").public_key(), |_| {});
    let certified = json!({ "x509Certificate": { "rawBytes": b64(certified.der()) }, "keyDetails": P256 });
    for request in [known(), with(VERIFIER, certified)] {
        let body = add(&request).unwrap().body;
        let json: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(serde_json_canonicalizer::to_vec(&json).unwrap(), body);
    }
}

#[test]
fn the_leaf_is_read_back() {
    let Body::HashedRekord { algorithm, digest, signature, verifier } =
        Body::parse(&add(&known()).unwrap().body).unwrap()
    else {
        panic!("another kind")
    };
    assert_eq!((algorithm, digest), (HashAlgorithm::Sha256, algorithm.digest(ARTIFACT)));
    assert_eq!(signature, sign("kav-signer", ARTIFACT));
    assert_eq!(verifier.key_details(), KeyDetails::EcdsaP256);
    assert_eq!(verifier.public_key(), p256_signer("kav-signer").public_key());
}

#[test]
fn a_certificate_is_kept_as_it_came_and_not_judged() {
    let certificate =
        Authority::root("Nobody", |_| {}).leaf(p256_signer("kav-signer").public_key(), |params| {
            params.not_after = params.not_before;
            params.subject_alt_names =
                vec![rcgen::SanType::Rfc822Name("Dev@Example.com".try_into().unwrap())];
        });
    let der = b64(certificate.der());
    let verifier = json!({ "x509Certificate": { "rawBytes": der }, "keyDetails": P256 });
    let entry = add(&with(VERIFIER, verifier.clone())).unwrap();
    let leaf: Value = serde_json::from_slice(&entry.body).unwrap();
    assert_eq!(leaf["spec"]["hashedRekordV002"]["signature"]["verifier"], verifier);
    assert!(entry.index_keys.contains(&"dev@example.com".to_owned()), "{:?}", entry.index_keys);
    assert!(matches!(Body::parse(&entry.body).unwrap(), Body::HashedRekord { verifier, .. }
        if *verifier.material() == Material::Certificate(certificate)));
}

#[test]
fn a_key_sent_as_a_certificate_is_refused() {
    let der = b64(p256_signer("kav-signer").public_key().spki_der());
    refusal(&with(VERIFIER, json!({ "x509Certificate": { "rawBytes": der }, "keyDetails": P256 })));
}

#[test]
fn every_part_is_required() {
    let base = "/hashedRekordRequestV002";
    for (pointer, missing) in [
        ("/digest", "missing digest"),
        ("/signature", "missing signature"),
        ("/signature/content", "missing signature"),
        ("/signature/verifier", "missing verifier"),
        ("/signature/verifier/publicKey", "missing verifier"),
        ("/signature/verifier/keyDetails", "missing keyDetails"),
    ] {
        let pointer = format!("{base}{pointer}");
        for request in [without(&pointer), with(&pointer, Value::Null)] {
            let text = refusal(&request);
            assert!(
                text.starts_with(&format!("invalid hashedrekord request: {missing}")),
                "{pointer}: {text}"
            );
        }
    }
    refusal(&without(&format!("{VERIFIER}/publicKey/rawBytes")));
    refusal(&with(&format!("{base}/digest"), json!("")));
    refusal(&with(&format!("{base}/signature/content"), json!("")));
}

#[test]
fn each_algorithm_signs_with_its_own_hash() {
    for (kind, details, name) in [
        (KeyKind::EcdsaP256, "PKIX_ECDSA_P256_SHA_256", "SHA2_256"),
        (KeyKind::EcdsaP384, "PKIX_ECDSA_P384_SHA_384", "SHA2_384"),
    ] {
        let entry = add(&signed_by(kind, details)).unwrap();
        let leaf: Value = serde_json::from_slice(&entry.body).unwrap();
        assert_eq!(leaf["spec"]["hashedRekordV002"]["data"]["algorithm"], name);
        Body::parse(&entry.body).unwrap();
    }
}

#[test]
fn key_details_must_be_those_of_the_key() {
    for details in KeyDetails::ALL.into_iter().filter(|details| details.name() != P256) {
        let text = refusal(&with(&format!("{VERIFIER}/keyDetails"), json!(details.name())));
        assert!(text.contains("the key is ECDSA P-256"), "{text}");
    }
    refusal(&signed_by(KeyKind::EcdsaP384, P256));
}

#[test]
fn names_and_numbers_of_key_details_are_those_of_protobuf_specs() {
    let known = [
        ("PKIX_ECDSA_P256_SHA_256", 5),
        ("PKIX_ED25519", 7),
        ("PKIX_ED25519_PH", 8),
        ("PKIX_RSA_PKCS1V15_2048_SHA256", 9),
        ("PKIX_RSA_PKCS1V15_3072_SHA256", 10),
        ("PKIX_RSA_PKCS1V15_4096_SHA256", 11),
        ("PKIX_ECDSA_P384_SHA_384", 12),
        ("PKIX_ECDSA_P521_SHA_512", 13),
    ];
    assert_eq!(known.len(), KeyDetails::ALL.len());
    for (name, number) in known {
        let details = KeyDetails::from_name(name).unwrap();
        assert_eq!((details.name(), details.number()), (name, number));
        assert_eq!(KeyDetails::from_number(number), Some(details));
    }
}

#[test]
fn rsa_lengths_are_told_apart() {
    for bits in [2048, 3072, 4096] {
        let details = KeyDetails::of_prehash(KeyKind::Rsa(bits)).unwrap();
        assert!(details.name().contains(&bits.to_string()));
        for other in [2048, 3072, 4096] {
            assert_eq!(details.fits(KeyKind::Rsa(other)), bits == other);
        }
    }
    assert_eq!(KeyDetails::of_prehash(KeyKind::Rsa(8192)), None);
}

#[test]
fn ed25519_signs_prehashed_and_no_other_way() {
    let secret = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
    let public = PublicKey::from_ed25519(secret.verifying_key().as_bytes()).unwrap();
    let prehashed = secret.sign_prehashed(sha2::Sha512::new_with_prefix(ARTIFACT), None).unwrap();
    let digest = HashAlgorithm::Sha512.digest(ARTIFACT);
    let entry = add(&request(&digest, &prehashed.to_bytes(), &key("PKIX_ED25519_PH", &public))).unwrap();
    let leaf: Value = serde_json::from_slice(&entry.body).unwrap();
    assert_eq!(leaf["spec"]["hashedRekordV002"]["data"]["algorithm"], "SHA2_512");

    let pure = ed25519_dalek::Signer::sign(&secret, ARTIFACT).to_bytes();
    refusal(&request(&digest, &pure, &key("PKIX_ED25519_PH", &public)));
    let text = refusal(&request(&digest, &prehashed.to_bytes(), &key("PKIX_ED25519", &public)));
    assert!(text.contains("sign with PKIX_ED25519_PH"), "{text}");
}

#[test]
fn a_digest_has_the_length_of_its_hash() {
    let digest = "/hashedRekordRequestV002/digest";
    for length in [1, 31, 33, 48, 64] {
        let text = refusal(&with(digest, json!(b64(vec![1; length]))));
        assert!(text.contains(&format!("the digest has {length} bytes, sha256 has 32")), "{text}");
    }
}

#[test]
fn what_does_not_verify_is_refused() {
    let base = "/hashedRekordRequestV002";
    for request in [
        with(&format!("{base}/digest"), json!(b64([1; 32]))),
        with(&format!("{base}/signature/content"), json!(b64(sign("other", ARTIFACT)))),
        with(VERIFIER, key(P256, p256_signer("other").public_key())),
        with(&format!("{base}/signature/content"), json!(b64([0; 64]))),
    ] {
        assert!(refusal(&request).contains("does not verify"));
    }
}

#[test]
fn a_leaf_that_fits_no_bundle_is_refused_in_clear_words() {
    let key = p256_signer("kav-signer").public_key().clone();
    let certificate = |padding: usize| {
        let der = Authority::root("Large", |_| {}).leaf(&key, |params| {
            let contents = vec![0; padding];
            params.custom_extensions = vec![crate::fixture::extension(&[1, 2, 3, 4], &contents)];
        });
        json!({ "x509Certificate": { "rawBytes": b64(der.der()) }, "keyDetails": P256 })
    };
    add(&with(VERIFIER, certificate(40_000))).unwrap();
    let error = add(&with(VERIFIER, certificate(50_000))).unwrap_err();
    assert!(matches!(error, EntryError::LeafTooLarge(size) if size > 65_535));
    assert!(error.to_string().contains("at most 65535"), "{error}");
}

#[test]
fn p1363_signatures_of_every_curve_are_taken_and_kept_as_sent() {
    for (public, signature) in p1363_signed(ARTIFACT) {
        let details = KeyDetails::of_prehash(public.kind()).unwrap();
        let digest = public.kind().default_hash().digest(ARTIFACT);
        let entry = add(&request(&digest, &signature, &key(details.name(), &public))).unwrap();
        let Body::HashedRekord { signature: kept, .. } = Body::parse(&entry.body).unwrap() else {
            panic!("another kind")
        };
        assert_eq!(kept, signature, "{details}");
        let mut other = signature.clone();
        *other.last_mut().unwrap() ^= 1;
        assert!(
            refusal(&request(&digest, &other, &key(details.name(), &public))).contains("does not verify")
        );
    }
}
