use std::collections::BTreeMap;

use super::*;

/// Who signs, and what the signature looks like in the envelope.
fn envelope(payload: &str, signatures: &[String]) -> String {
    let signatures: Vec<String> = signatures.iter().map(|sig| format!(r#"{{"sig":"{sig}"}}"#)).collect();
    format!(
        r#"{{"payload":"{}","payloadType":"{IN_TOTO}","signatures":[{}]}}"#,
        b64(payload),
        signatures.join(",")
    )
}

fn sig(label: &str) -> String {
    b64(sign(label, &pae(IN_TOTO, PAYLOAD)))
}

fn entry(envelope: &str, verifiers: &[&str]) -> Value {
    let verifiers: Vec<String> = verifiers.iter().map(|label| b64(pem(label))).collect();
    json!({ "apiVersion": "0.0.1", "kind": "dsse", "spec": {
        "proposedContent": { "envelope": envelope, "verifiers": verifiers },
    } })
}

/// The entry of the known-answer vectors.
pub(super) fn known() -> Value {
    entry(&envelope(PAYLOAD, &[sig("kav-signer")]), &["kav-signer"])
}

#[test]
fn the_known_envelope_makes_the_known_leaf() {
    let known_sig =
        "MEUCIQD2ARmxN9s8+/JloEwk13MFW4XOMvYoK+PiEXBzGzYkygIgde6CgQcwvSYjApY+IHzVFwN3vK67OjeYk4uKLptIeUM=";
    assert_eq!(sig("kav-signer"), known_sig);
    let entry = insert(&known()).unwrap();
    assert_eq!(entry.body.len(), 652);
    assert_eq!(
        leaf_hash(&entry.body).to_hex(),
        "8f1f6f5f21512c57ebd8887318557f848d1644ed64b60626013ea5bc46d0ee47"
    );
    let key = "1c7841b3669bd547a8785ddc4f1db864d83054cf9a46da0ace040412e903a28a";
    let payload = "sha256:efd35cf5b72b5b9eeee4ee292f5d6b079191324b19ee9231892fb391c82c1d51";
    let envelope = "sha256:46bf4739d3ca750bd9f6ec9614f0d277ef021e7d442f0fc491fd326db2e50277";
    assert_eq!(entry.index_keys, [key, &format!("sha256:{key}"), payload, envelope]);
}

#[test]
fn the_leaf_is_read_back() {
    let Body::Dsse { payload_hash, signatures, .. } = Body::parse(&insert(&known()).unwrap().body).unwrap()
    else {
        panic!("another kind")
    };
    assert_eq!(payload_hash, Hash::digest(PAYLOAD.as_bytes()));
    let key = Verifier::Key(p256_signer("kav-signer").public_key().clone());
    assert_eq!(signatures, [(sign("kav-signer", &pae(IN_TOTO, PAYLOAD)), key)]);
}

#[test]
fn every_member_is_required() {
    members_are_required(
        &known(),
        &["/spec/proposedContent", "/spec/proposedContent/envelope", "/spec/proposedContent/verifiers"],
    );
    let mut none = known();
    none["spec"]["proposedContent"]["verifiers"] = json!([]);
    refusal(&none);
    for envelope in [
        json!({ "payload": null, "payloadType": IN_TOTO, "signatures": [{ "sig": sig("kav-signer") }] }),
        json!({ "payload": b64(PAYLOAD), "payloadType": null, "signatures": [{ "sig": sig("kav-signer") }] }),
        json!({ "payload": b64(PAYLOAD), "payloadType": IN_TOTO, "signatures": null }),
        json!({ "payload": b64(PAYLOAD), "payloadType": IN_TOTO, "signatures": [] }),
        json!({ "payload": b64(PAYLOAD), "payloadType": IN_TOTO, "signatures": [null] }),
        json!({ "payload": b64(PAYLOAD), "payloadType": IN_TOTO, "signatures": [{ "sig": null }] }),
        json!({ "payload": b64(PAYLOAD), "payloadType": IN_TOTO, "signatures": [{ "sig": "" }] }),
        json!({ "payload": "!", "payloadType": IN_TOTO, "signatures": [{ "sig": sig("kav-signer") }] }),
        json!(null),
    ] {
        refusal(&entry(&envelope.to_string(), &["kav-signer"]));
    }
    refusal(&entry("no json", &["kav-signer"]));
}

#[test]
fn the_envelope_hash_is_over_its_very_bytes() {
    let spaced = format!(" {} ", envelope(PAYLOAD, &[sig("kav-signer")]));
    let spec = leaf(&insert(&entry(&spaced, &["kav-signer"])).unwrap())["spec"].clone();
    assert_eq!(spec["envelopeHash"]["value"], Hash::digest(spaced.as_bytes()).to_hex());
    assert_eq!(spec["payloadHash"]["value"], Hash::digest(PAYLOAD.as_bytes()).to_hex());
}

#[test]
fn a_canonical_body_is_a_query_and_no_proposal() {
    let body = insert(&known()).unwrap().body;
    let error = CanonicalEntry::from_proposed(&body).unwrap_err();
    assert_eq!(
        error.to_string(),
        "error processing entry: entry not insertable into log: missing proposed content"
    );
    let query = CanonicalEntry::from_query(&serde_json::from_slice(&body).unwrap()).unwrap();
    assert_eq!(query.body, body);
}

#[test]
fn proposed_content_excludes_the_canonical_members() {
    for name in ["envelopeHash", "payloadHash", "signatures"] {
        let mut both = known();
        both["spec"][name] = leaf(&insert(&known()).unwrap())["spec"][name].clone();
        assert!(refusal(&both).contains("but not both"), "{name}");
    }
    refusal(&json!({ "apiVersion": "0.0.1", "kind": "dsse", "spec": {} }));
}

#[test]
fn a_verifier_that_is_not_needed_is_ignored_after_the_good_one_and_refused_before_it() {
    let text = envelope(PAYLOAD, &[sig("kav-signer")]);
    let good = insert(&entry(&text, &["kav-signer", "unused"])).unwrap();
    assert_eq!(good, insert(&known()).unwrap(), "the unused key is not in the leaf");
    assert!(refusal(&entry(&text, &["unused", "kav-signer"])).contains("could not verify envelope"));
}

#[test]
fn every_signature_needs_a_key() {
    let text = envelope(PAYLOAD, &[sig("kav-signer"), sig("other")]);
    assert!(
        refusal(&entry(&text, &["kav-signer"])).ends_with("all signatures must have a key that verifies it")
    );
    insert(&entry(&text, &["kav-signer", "other"])).unwrap();
    insert(&entry(&text, &["other", "kav-signer"])).unwrap();
}

#[test]
fn signatures_are_sorted_by_their_spelling_and_collapse() {
    let (one, two) = (sig("kav-signer"), sig("other"));
    let mut sorted = [one.clone(), two.clone()];
    sorted.sort();
    for order in [[&one, &two, &one], [&two, &one, &two]] {
        let text = envelope(PAYLOAD, &order.map(Clone::clone));
        let spec = leaf(&insert(&entry(&text, &["other", "kav-signer"])).unwrap())["spec"].clone();
        let signatures = spec["signatures"].as_array().unwrap();
        assert_eq!(signatures.iter().map(|s| s["signature"].as_str().unwrap()).collect::<Vec<_>>(), sorted);
    }
}

#[test]
fn url_safe_base64_is_taken_and_a_signature_keeps_its_spelling() {
    // A payload and a signature whose base64 differs between the alphabets.
    let payload = r#"{"a":"???>>>"}"#;
    let url_safe = |text: String| text.replace('+', "-").replace('/', "_");
    let (label, sig) = (0..10_000)
        .map(|n| format!("signer {n}"))
        .map(|label| (label.clone(), b64(sign(&label, &pae(IN_TOTO, payload)))))
        .find(|(_, sig)| sig.contains('+') && sig.contains('/'))
        .unwrap();
    let text = envelope(payload, &[url_safe(sig.clone())]).replace(&b64(payload), &url_safe(b64(payload)));
    assert_ne!(url_safe(b64(payload)), b64(payload));
    let spec = leaf(&insert(&entry(&text, &[&label])).unwrap())["spec"].clone();
    assert_eq!(spec["signatures"][0]["signature"], url_safe(sig));
    assert_eq!(spec["payloadHash"]["value"], Hash::digest(payload.as_bytes()).to_hex());
    Body::parse(&insert(&entry(&text, &[&label])).unwrap().body).unwrap();
}

#[test]
fn the_key_id_is_ignored() {
    let text = envelope(PAYLOAD, &[sig("kav-signer")]).replace(r#"{"sig""#, r#"{"keyid":"whose?","sig""#);
    insert(&entry(&text, &["kav-signer"])).unwrap();
}

#[test]
fn larger_curves_are_checked_with_sha256_and_ed25519_is_pure() {
    use ed25519_dalek::Signer as _;
    let message = pae(IN_TOTO, PAYLOAD);
    let secret = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
    let ed25519 = PublicKey::from_ed25519(secret.verifying_key().as_bytes()).unwrap();
    let text = envelope(PAYLOAD, &[b64(secret.sign(&message).to_bytes())]);
    let mut proposal = entry(&text, &[]);
    proposal["spec"]["proposedContent"]["verifiers"] = json!([b64(ed25519.to_pem())]);
    insert(&proposal).unwrap();

    // A P-384 key signs with SHA-384 by itself, which is not what this kind asks for.
    let p384 = SoftwareSigner::generate(KeyKind::EcdsaP384).unwrap();
    let text = envelope(PAYLOAD, &[b64(Signer::sign(&p384, &message).unwrap())]);
    let mut proposal = entry(&text, &[]);
    proposal["spec"]["proposedContent"]["verifiers"] = json!([b64(p384.public_key().to_pem())]);
    refusal(&proposal);
}

#[test]
fn signatures_and_verifiers_have_a_limit() {
    let sigs = vec![sig("kav-signer"); MAX_SIGNATURES];
    insert(&entry(&envelope(PAYLOAD, &sigs), &["kav-signer"; MAX_SIGNATURES])).unwrap();
    let more = vec![sig("kav-signer"); MAX_SIGNATURES + 1];
    refusal(&entry(&envelope(PAYLOAD, &more), &["kav-signer"]));
    refusal(&entry(&envelope(PAYLOAD, &sigs), &["kav-signer"; MAX_SIGNATURES + 1]));
}

#[test]
fn a_statements_subjects_and_materials_are_search_keys() {
    let subject: Vec<Value> = (0..3)
        .map(|n| json!({ "name": "x", "digest": { "sha256": format!("AB{n}"), "gitCommit": format!("c{n}") } }))
        .collect();
    let statement = json!({
        "subject": subject,
        "predicate": { "materials": [{ "uri": "git", "digest": { "sha1": "m" } }, null, { "digest": 1 }] },
    })
    .to_string();
    let text = envelope(&statement, &[b64(sign("kav-signer", &pae(IN_TOTO, &statement)))]);
    let keys = insert(&entry(&text, &["kav-signer"])).unwrap().index_keys;
    let expected =
        ["gitcommit:c0", "sha256:ab0", "gitcommit:c1", "sha256:ab1", "gitcommit:c2", "sha256:ab2", "sha1:m"];
    assert_eq!(keys[4..], expected);

    let many: Vec<Value> =
        (0..2 * MAX_INDEX_KEYS).map(|n| json!({ "digest": { "sha256": n.to_string() } })).collect();
    let statement = json!({ "subject": many }).to_string();
    let text = envelope(&statement, &[b64(sign("kav-signer", &pae(IN_TOTO, &statement)))]);
    assert_eq!(insert(&entry(&text, &["kav-signer"])).unwrap().index_keys.len(), MAX_INDEX_KEYS);
}

/// As Rekor matches: every key is tried with every signature.
fn matched_by_rekor<'l>(keys: &[&'l str], signers: &[&'l str]) -> Option<BTreeMap<&'l str, &'l str>> {
    let mut matched = BTreeMap::new();
    for key in keys {
        if matched.len() == signers.len() {
            break;
        }
        if !signers.contains(key) {
            return None;
        }
        matched.insert(*key, *key);
    }
    (matched.len() == signers.len()).then_some(matched)
}

#[test]
fn keys_match_signatures_as_in_rekor_in_every_order_and_number() {
    const LABELS: [&str; 3] = ["one", "two", "three"];
    for signers in [&LABELS[..1], &LABELS[1..], &LABELS] {
        let text = envelope(PAYLOAD, &signers.iter().map(|label| sig(label)).collect::<Vec<_>>());
        for number in 0..3_usize.pow(4) * 4 {
            let keys: Vec<_> = (0..=number % 4)
                .map(|at| LABELS[number / 4 / 3_usize.pow(u32::try_from(at).unwrap()) % 3])
                .collect();
            let expected = matched_by_rekor(&keys, signers);
            let found = insert(&entry(&text, &keys));
            assert_eq!(found.is_ok(), expected.is_some(), "{signers:?} by {keys:?}");
            let Ok(found) = found else { continue };
            let Body::Dsse { signatures, .. } = Body::parse(&found.body).unwrap() else { panic!("a kind") };
            assert_eq!(signatures.len(), signers.len());
            for (signature, verifier) in signatures {
                verifier
                    .public_key()
                    .verify(HashAlgorithm::Sha256, &pae(IN_TOTO, PAYLOAD), &signature)
                    .unwrap();
            }
        }
    }
}

/// Verifications that an entry takes.
fn checks(keys: &[&str], signers: &[&str]) -> usize {
    let text = envelope(PAYLOAD, &signers.iter().map(|label| sig(label)).collect::<Vec<_>>());
    let (effort, entry) = (Effort::of(1000), entry(&text, keys));
    let _ = CanonicalEntry::from_proposed_within(&serde_json::to_vec(&entry).unwrap(), &effort);
    1000 - effort.left()
}

#[test]
fn matched_signatures_and_tried_keys_are_not_tried_again() {
    let mut labels: Vec<_> = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"].into();
    labels.sort_by_key(|label| sig(label));
    let backwards: Vec<_> = labels.iter().rev().copied().collect();
    assert_eq!(checks(&labels, &labels), 55, "one signature fewer for each key");
    assert_eq!(checks(&backwards, &labels), 55);
    assert_eq!(checks(&["a"], &["a"]), 1);
    assert_eq!(checks(&["a"; 10], &["a", "b"]), 2, "a key that comes ten times is tried once");
    assert_eq!(checks(&["other", "a"], &labels), 10, "a key that verifies nothing ends it");
}

#[test]
fn an_entry_that_exceeds_the_effort_is_not_decided() {
    let text = envelope(PAYLOAD, &["a", "b", "c"].map(sig));
    let json = serde_json::to_vec(&entry(&text, &["a", "b", "c"])).unwrap();
    let whole = CanonicalEntry::from_proposed(&json).unwrap();
    for left in 0..=9 {
        let effort = Effort::of(left);
        let found = CanonicalEntry::from_proposed_within(&json, &effort);
        assert_eq!(found.is_err(), effort.is_exceeded(), "with {left}");
        assert!(found.is_err() || found.unwrap() == whole);
    }
}
