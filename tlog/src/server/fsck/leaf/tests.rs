//! What is remembered of a key is what follows from it.

use bytes::Bytes;

use super::*;
use crate::clock::Timestamp;
use crate::key::{KeyKind, Signer as _, SoftwareSigner};
use crate::merkle::leaf_hash;
use crate::rekor_v2::KeyDetails;

fn read(leaf: Vec<u8>, keys: &mut KnownKeys) -> (Vec<Hash>, Vec<Hash>) {
    let identity = leaf_hash(&leaf);
    let time = Timestamp::from_seconds(1);
    let entry = StoredEntry { leaf: Bytes::from(leaf), time, extra: Bytes::new(), identity };
    let meaning = Leaves::RekorV2.read(&entry, &identity, keys).unwrap();
    assert!(meaning.complete);
    let spelled = Leaves::RekorV2.spell(&entry, &identity).unwrap();
    (meaning.terms, spelled.iter().map(|term| Hash::digest(term.as_bytes())).collect())
}

fn leaf(details: KeyDetails, key: &PublicKey, digest: &[u8]) -> Vec<u8> {
    let verifier = rekor_v2::Verifier::new(details, Material::Key(key.clone())).unwrap();
    let algorithm = details.prehash().unwrap();
    let (digest, signature) = (digest.to_vec(), vec![1; 70]);
    rekor_v2::Body::HashedRekord { algorithm, digest, signature, verifier }.encode().unwrap()
}

#[test]
fn a_known_key_has_the_terms_of_an_unknown_one() {
    let mut keys = KnownKeys::default();
    let fresh = |kind| SoftwareSigner::generate(kind).unwrap().public_key().clone();
    let (first, second) = (fresh(KeyKind::EcdsaP256), fresh(KeyKind::Ed25519));
    for round in 0..3 {
        let (read_terms, spelled) = read(leaf(KeyDetails::EcdsaP256, &first, &[round; 32]), &mut keys);
        assert_eq!(read_terms, spelled);
        let (read_terms, spelled) = read(leaf(KeyDetails::Ed25519ph, &second, &[round; 64]), &mut keys);
        assert_eq!(read_terms, spelled);
        assert_eq!((keys.0.len(), spelled.len()), (2, 3));
        assert!(keys.0.values().all(|known| known.terms.is_some()));
    }
}

#[test]
fn a_key_that_signed_its_own_hash_has_that_term_once() {
    let mut keys = KnownKeys::default();
    let key = SoftwareSigner::generate(KeyKind::EcdsaP256).unwrap().public_key().clone();
    let own = rekor::Verifier::Key(key.clone()).pem_hash();
    let (read_terms, spelled) = read(leaf(KeyDetails::EcdsaP256, &key, own.as_ref()), &mut keys);
    assert_eq!((read_terms.len(), &read_terms), (2, &spelled));
}

#[test]
fn memory_of_keys_is_bounded() {
    let mut keys = KnownKeys::default();
    let key = SoftwareSigner::generate(KeyKind::EcdsaP256).unwrap().public_key().clone();
    let wrong = || Known { key: key.clone(), terms: Some([Hash::default(); 2]) };
    keys.0.extend((0..KNOWN_KEYS as u64).map(|n| (n.to_be_bytes().to_vec(), wrong())));
    let (read_terms, spelled) = read(leaf(KeyDetails::EcdsaP256, &key, &[1; 32]), &mut keys);
    assert_eq!((keys.0.len(), read_terms), (1, spelled));
}
