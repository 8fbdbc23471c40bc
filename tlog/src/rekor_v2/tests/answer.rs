use super::*;

#[test]
fn an_answer_is_protojson_with_every_member() {
    let entry = TransparencyLogEntry {
        log_index: 735,
        log_id: [0xab; 32],
        kind_version: KindVersion::HASHED_REKORD,
        tree_size: 736,
        root_hash: Hash::digest(b"root"),
        hashes: vec![Hash::digest(b"a"), Hash::digest(b"b")],
        checkpoint: "log.example\n736\n".to_owned(),
        canonicalized_body: b"{}".to_vec(),
    };
    let root = Hash::digest(b"root").to_base64();
    let hashes = [b"a", b"b"].map(|leaf| Hash::digest(leaf).to_base64());
    assert_eq!(
        serde_json::to_value(entry.to_json()).unwrap(),
        json!({
            "logIndex": "735", "logId": { "keyId": b64([0xab; 32]) },
            "kindVersion": { "kind": "hashedrekord", "version": "0.0.2" },
            "integratedTime": "0", "inclusionPromise": null,
            "inclusionProof": {
                "logIndex": "735", "rootHash": root, "treeSize": "736", "hashes": hashes,
                "checkpoint": { "envelope": "log.example\n736\n" },
            },
            "canonicalizedBody": "e30=",
        })
    );
}

#[test]
fn the_proof_of_a_lone_entry_is_an_empty_list() {
    let entry = TransparencyLogEntry {
        log_index: 0,
        log_id: [0; 32],
        kind_version: KindVersion::DSSE,
        tree_size: 1,
        root_hash: Hash::digest(b""),
        hashes: vec![],
        checkpoint: String::new(),
        canonicalized_body: vec![],
    };
    let json = serde_json::to_value(entry.to_json()).unwrap();
    assert_eq!(json["inclusionProof"]["hashes"], json!([]));
    assert_eq!(json["logIndex"], "0");
}

#[test]
fn only_canonical_bytes_are_a_leaf() {
    for request in [hashedrekord::known(), dsse::known()] {
        let leaf = add(&request).unwrap().body;
        Body::parse(&leaf).unwrap();
        assert!(Body::parse(&[b" ", &leaf[..]].concat()).is_err());
        let json: Value = serde_json::from_slice(&leaf).unwrap();
        assert!(Body::parse(&serde_json::to_vec_pretty(&json).unwrap()).is_err());
        for (pointer, other) in [("/kind", "rekord"), ("/apiVersion", "0.0.1")] {
            let mut changed = json.clone();
            *changed.pointer_mut(pointer).unwrap() = other.into();
            assert!(Body::parse(&serde_json_canonicalizer::to_vec(&changed).unwrap()).is_err());
        }
    }
}

#[test]
fn every_known_log_id_is_the_full_id_of_its_note_key() {
    use crate::note::{KeyName, NoteKey};
    for (key, name, id) in [
        (
            "MCowBQYDK2VwAyEAt8rlp1knGwjfbcXAYPYAkn0XiLz1x8O4t0YkEhie244=",
            "log2025-1.rekor.sigstore.dev",
            "zxGZFVvd0FEmjR8WrFwMdcAJ9vtaY/QXf44Y1wUeP6A=",
        ),
        (
            "MCowBQYDK2VwAyEAREvJyNZGjX6B3DAIuD3BTg9rIwV00GY8Xg5FU+IFDUQ=",
            "rekor-local",
            "2AtEIMfG6Y41yK0tcwRTBS2tjhOrjKGIpDkHFgp65g0=",
        ),
    ] {
        let key = PublicKey::from_spki_der(&STANDARD.decode(key).unwrap()).unwrap();
        let key = NoteKey::new(KeyName::new(name).unwrap(), key).unwrap();
        assert_eq!(b64(key.full_id()), id);
    }
}
