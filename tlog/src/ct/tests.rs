use proptest::prelude::*;

use super::*;
use crate::fixture::{Authority, NOON, any_key, extension, p256_signer};
use crate::key::SoftwareSigner;

const POISON: &[u64] = &[1, 3, 6, 1, 4, 1, 11_129, 2, 4, 3];
const SCT_LIST: &[u64] = &[1, 3, 6, 1, 4, 1, 11_129, 2, 4, 2];

/// A precertificate and the final certificate with the SCTs that `logs` signed for it.
fn issue(ca: &Authority, logs: &[&SoftwareSigner]) -> (Certificate, Certificate) {
    let key = any_key();
    let precert = ca.leaf(&key, |params| {
        let mut poison = extension(POISON, &[5, 0]);
        poison.set_criticality(true);
        params.custom_extensions = vec![poison];
    });
    let entry = Entry::from_precertificate(&precert, &ca.certificate).unwrap();
    let scts: Vec<Sct> = logs.iter().map(|log| Sct::sign(&entry, NOON, *log).unwrap()).collect();
    let last = ca.leaf(&key, |params| {
        params.custom_extensions = vec![extension(SCT_LIST, &Sct::encode_list(&scts))];
    });
    (precert, last)
}

#[test]
fn an_embedded_sct_of_the_precertificate_verifies_over_the_final_certificate() {
    let ca = Authority::root("Root", |_| {}).intermediate("CA", |_| {});
    let (log, other) = (p256_signer("ct"), p256_signer("other"));
    let (precert, last) = issue(&ca, &[&log, &other]);
    let scts = Sct::embedded(&last).unwrap();
    let entry = Entry::from_final(&last, &ca.certificate).unwrap();
    assert_eq!(entry, Entry::from_precertificate(&precert, &ca.certificate).unwrap());
    scts[0].verify(&entry, log.public_key()).unwrap();
    scts[1].verify(&entry, other.public_key()).unwrap();
    assert_eq!(scts[0].verify(&entry, other.public_key()), Err(CtError::UnknownLog));

    let (_, another) = issue(&ca, &[&log]);
    let entry = Entry::from_final(&another, &ca.certificate).unwrap();
    assert_eq!(scts[0].verify(&entry, log.public_key()), Err(CtError::Signature(BadSignature)));
}

#[test]
fn the_issuers_key_the_time_and_the_extensions_are_signed() {
    let ca = Authority::root("Root", |_| {});
    let log = p256_signer("ct");
    let (_, last) = issue(&ca, &[&log]);
    let sct = Sct::embedded(&last).unwrap().remove(0);
    let entry = Entry::from_final(&last, &ca.certificate).unwrap();
    let stranger = Authority::root("Root", |_| {});
    let elsewhere = Entry::from_final(&last, &stranger.certificate).unwrap();
    let later = Sct { timestamp: Timestamp::from_millis(NOON.millis() + 1), ..sct.clone() };
    let extended = Sct { extensions: vec![0], ..sct.clone() };
    let rsa = Sct { algorithms: [SHA256, RSA], ..sct.clone() };
    sct.verify(&entry, log.public_key()).unwrap();
    for (sct, entry) in [(&sct, &elsewhere), (&later, &entry), (&extended, &entry), (&rsa, &entry)] {
        assert_eq!(sct.verify(entry, log.public_key()), Err(CtError::Signature(BadSignature)));
    }
}

#[test]
fn the_extension_value_starts_as_fulcios_does() {
    let log = p256_signer("ct");
    let entry = Entry::X509(vec![1]);
    // An ECDSA signature is 70 to 72 bytes; the sample of the facts has 71.
    let sct = std::iter::repeat_with(|| Sct::sign(&entry, NOON, &log).unwrap())
        .find(|sct| sct.signature.len() == 71)
        .unwrap();
    let list = Sct::encode_list(std::slice::from_ref(&sct));
    assert_eq!(list[..7], [0x04, 0x7a, 0x00, 0x78, 0x00, 0x76, 0x00]);
    assert_eq!(list[7..39], log.public_key().fingerprint());
    assert_eq!(list[39..47], NOON.millis().to_be_bytes());
    assert_eq!(list[47..53], [0x00, 0x00, 0x04, 0x03, 0x00, 0x47]);
    assert_eq!(list[53..], sct.signature);
}

#[test]
fn the_leaf_is_the_merkle_tree_leaf_of_rfc_6962() {
    let at = Timestamp::from_millis(0x0102_0304_0506_0708);
    let leaf = Entry::X509(vec![0xaa, 0xbb]).leaf(at, &[0xee]);
    assert_eq!(leaf, [0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 2, 0xaa, 0xbb, 0, 1, 0xee]);
    let precert = Entry::Precert { issuer_key_hash: [7; 32], tbs: vec![0xcc] };
    let expected = [&[0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 1][..], &[7; 32], &[0, 0, 1, 0xcc, 0, 0]].concat();
    assert_eq!(precert.leaf(at, &[]), expected);
}

#[test]
fn the_identity_ignores_the_time_and_nothing_else() {
    let entries = [
        Entry::X509(vec![1]),
        Entry::X509(vec![2]),
        Entry::Precert { issuer_key_hash: [1; 32], tbs: vec![1] },
        Entry::Precert { issuer_key_hash: [2; 32], tbs: vec![1] },
        Entry::Precert { issuer_key_hash: [1; 32], tbs: vec![2] },
    ];
    let identities: std::collections::BTreeSet<Hash> = entries.iter().map(Entry::identity).collect();
    assert_eq!(identities.len(), entries.len());
    assert_eq!(entries[2].identity(), entries[2].clone().identity());
}

#[test]
fn a_precertificate_has_poison() {
    let ca = Authority::root("Root", |_| {});
    let (_, last) = issue(&ca, &[]);
    assert!(matches!(Entry::from_precertificate(&last, &ca.certificate), Err(CtError::Malformed(_))));
}

#[test]
fn a_certificate_without_an_sct_list_has_none_and_a_broken_list_is_an_error() {
    let ca = Authority::root("Root", |_| {});
    assert_eq!(Sct::embedded(&ca.leaf(&any_key(), |_| {})), Ok(vec![]));
    let sct = Sct::sign(&Entry::X509(vec![1]), NOON, &p256_signer("ct")).unwrap();
    let good = Sct::encode_list(std::slice::from_ref(&sct));
    let with = |value: &[u8]| {
        let leaf = ca.leaf(&any_key(), |params| params.custom_extensions = vec![extension(SCT_LIST, value)]);
        Sct::embedded(&leaf)
    };
    assert_eq!(with(&good), Ok(vec![sct.clone()]));
    let mut trailing = good.clone();
    trailing.push(0);
    for broken in [&good[1..], &good[..good.len() - 1], &trailing, &[0x04, 0x02, 0, 0], &[]] {
        assert!(with(broken).is_err(), "{broken:02x?}");
    }
    assert_eq!(with(&Sct::encode_list(&vec![sct.clone(); MAX_SCTS])).unwrap().len(), MAX_SCTS);
    assert!(with(&Sct::encode_list(&vec![sct; MAX_SCTS + 1])).is_err());
}

#[test]
fn the_json_answer_carries_the_whole_sct() {
    let mut sct = Sct::sign(&Entry::X509(vec![1]), NOON, &p256_signer("ct")).unwrap();
    sct.extensions = vec![0, 0, 5, 0, 0, 0, 0, 1];
    let response = AddChainResponse::from(&sct);
    assert_eq!(response.timestamp, NOON.millis());
    let json = serde_json::to_string(&response).unwrap();
    assert_eq!(Sct::try_from(&serde_json::from_str::<AddChainResponse>(&json).unwrap()), Ok(sct));
    for broken in [
        AddChainResponse { sct_version: 1, ..response.clone() },
        AddChainResponse { id: "AAAA".to_owned(), ..response.clone() },
        AddChainResponse { signature: "AAAA".to_owned(), ..response.clone() },
        AddChainResponse { extensions: "!".to_owned(), ..response },
    ] {
        assert!(matches!(Sct::try_from(&broken), Err(CtError::Malformed(_))));
    }
}

#[test]
fn a_tree_head_verifies_with_its_size_root_and_time_only() {
    let log = p256_signer("ct");
    let root = Hash::digest(b"root");
    let signature = sign_tree_head(5, &root, NOON, &log).unwrap();
    verify_tree_head(5, &root, NOON, &signature, log.public_key()).unwrap();
    let later = Timestamp::from_millis(NOON.millis() + 1);
    for (size, root, at) in [(6, root, NOON), (5, Hash::digest(b"other"), NOON), (5, root, later)] {
        assert!(verify_tree_head(size, &root, at, &signature, log.public_key()).is_err());
    }
}

#[test]
fn only_p256_keys_sign_for_a_ct_log() {
    let signer = SoftwareSigner::generate(KeyKind::Ed25519).unwrap();
    let error = Sct::sign(&Entry::X509(vec![1]), NOON, &signer).unwrap_err();
    assert_eq!(
        error.to_string(),
        "signing failed: a certificate transparency log signs with ECDSA P-256, not Ed25519"
    );
}

proptest! {
    #[test]
    fn what_decodes_encodes_to_the_same_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        // Half of the runs get past the version byte.
        for bytes in [bytes.clone(), [&[0][..], &bytes].concat()] {
            if let Ok(sct) = Sct::decode(&bytes) {
                prop_assert_eq!(sct.encode(), bytes);
            }
        }
    }

    #[test]
    fn an_sct_is_read_back(
        log_id: [u8; 32], millis: u64, extensions in proptest::collection::vec(any::<u8>(), 0..50),
        algorithms: [u8; 2], signature in proptest::collection::vec(any::<u8>(), 0..80),
    ) {
        let timestamp = Timestamp::from_millis(millis);
        let sct = Sct { log_id, timestamp, extensions, algorithms, signature };
        prop_assert_eq!(Sct::decode(&sct.encode()), Ok(sct.clone()));
        prop_assert!(Sct::decode(&[&sct.encode()[..], &[0]].concat()).is_err());
    }
}
