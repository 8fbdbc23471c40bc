//! Two readers, one judgement.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;
use crate::fixture::{Authority, p256_signer};
use crate::key::{KeyKind, Signer as _, SoftwareSigner};

/// A leaf of each shape: key and certificate, one signature and several, each hash.
fn leaves() -> &'static [Vec<u8>] {
    static LEAVES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(make_leaves);
    &LEAVES
}

fn make_leaves() -> Vec<Vec<u8>> {
    let key = |kind| SoftwareSigner::generate(kind).unwrap().public_key().clone();
    let by = |details, material| Verifier::new(details, material).unwrap();
    let p256 = || by(KeyDetails::EcdsaP256, Material::Key(p256_signer("canonical").public_key().clone()));
    let certificate = Authority::root("Root", |_| {}).leaf(p256_signer("canonical").public_key(), |_| {});
    let certified = by(KeyDetails::EcdsaP256, Material::Certificate(certificate));
    let hashed = |algorithm: HashAlgorithm, verifier| Body::HashedRekord {
        algorithm,
        digest: vec![7; algorithm.len()],
        signature: vec![1; 70],
        verifier,
    };
    let envelope = |signatures: Vec<_>| Body::Dsse { payload_hash: Hash::digest(b"payload"), signatures };
    [
        hashed(HashAlgorithm::Sha256, p256()),
        hashed(HashAlgorithm::Sha256, certified.clone()),
        hashed(HashAlgorithm::Sha384, by(KeyDetails::EcdsaP384, Material::Key(key(KeyKind::EcdsaP384)))),
        hashed(HashAlgorithm::Sha512, by(KeyDetails::Ed25519ph, Material::Key(key(KeyKind::Ed25519)))),
        envelope(vec![(vec![1; 71], p256())]),
        envelope(vec![(vec![1; 71], certified), (vec![2; 71], p256()), (vec![3; 72], p256())]),
    ]
    .iter()
    .map(|body| body.encode().unwrap())
    .collect()
}

#[test]
fn every_leaf_that_is_made_is_read_without_making_it_again() {
    for leaf in leaves() {
        let read = Body::from_spec(canonical::read(leaf).unwrap(), &mut PublicKey::from_spki_der).unwrap();
        assert_eq!(read, Body::parse_any(leaf).unwrap());
        assert_eq!(read.encode().unwrap(), *leaf);
    }
}

#[test]
fn every_leaf_that_ends_early_or_late_is_none() {
    for leaf in leaves() {
        for end in 0..leaf.len() {
            assert!(Body::parse(&leaf[..end]).is_err(), "{end}");
        }
        assert!(Body::parse(&[&leaf[..], b" "].concat()).is_err());
    }
}

#[test]
fn a_byte_that_is_put_in_changed_or_left_out_is_judged_alike_by_both() {
    let agree = |leaf: &[u8]| {
        let parsed = Body::parse(leaf).ok();
        assert_eq!(parsed, Body::parse_any(leaf).ok());
        // A digest or a signature may be any other; nothing that parses is spelled in two ways.
        assert!(parsed.is_none_or(|body| body.encode().unwrap() == leaf));
    };
    for leaf in leaves() {
        for at in 0..leaf.len() {
            let (before, after) = leaf.split_at(at);
            agree(&[before, &after[1..]].concat());
            for byte in *b"\"\\A" {
                agree(&[before, &[byte], after].concat());
                agree(&[before, &[byte], &after[1..]].concat());
            }
        }
    }
}

proptest! {
    #[test]
    fn a_piece_of_another_leaf_is_judged_alike_by_both(
        which in 0usize..6, other in 0usize..6, start in any::<prop::sample::Index>(), length in 0usize..200,
    ) {
        let (mut leaf, other) = (leaves()[which].clone(), &leaves()[other]);
        let start = start.index(leaf.len().min(other.len()));
        let end = (start + length).min(leaf.len()).min(other.len());
        leaf[start..end].copy_from_slice(&other[start..end]);
        prop_assert_eq!(Body::parse(&leaf).ok(), Body::parse_any(&leaf).ok());
    }
}
