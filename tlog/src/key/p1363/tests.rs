use proptest::prelude::*;

use super::*;
use crate::fixture::p1363_signed;
use crate::key::PublicKey;

const MESSAGE: &[u8] = b"hello\n";

/// The verdicts over the message and over its digest, which must be the same.
#[track_caller]
fn verifies(key: &PublicKey, message: &[u8], signature: &[u8]) -> bool {
    let hash = key.kind().default_hash();
    let whole = key.verify_any_encoding(hash, message, signature);
    let digest = hash.digest(message);
    assert_eq!(whole, key.verify_digest_any_encoding(hash, &digest, signature));
    whole.is_ok()
}

/// Each half with `count` zero bytes before it.
fn padded(signature: &[u8], count: usize) -> Vec<u8> {
    let (r, s) = signature.split_at(signature.len() / 2);
    let zeros = vec![0; count];
    [zeros.as_slice(), r, &zeros, s].concat()
}

#[test]
fn both_encodings_of_every_curve_verify_and_the_strict_verifier_takes_one() {
    for (key, signature) in p1363_signed(MESSAGE) {
        let (kind, hash) = (key.kind(), key.kind().default_hash());
        let asn1 = to_asn1(kind, &signature).into_owned();
        assert!(verifies(&key, MESSAGE, &signature) && verifies(&key, MESSAGE, &asn1), "{kind}");
        assert!(!verifies(&key, b"other", &signature), "{kind}");
        key.verify(hash, MESSAGE, &asn1).unwrap();
        assert!(key.verify(hash, MESSAGE, &signature).is_err(), "{kind}");
        assert!(key.verify_digest(hash, &hash.digest(MESSAGE), &signature).is_err(), "{kind}");
    }
}

#[test]
fn halves_may_have_leading_zeros_up_to_the_largest_field() {
    for (key, signature) in p1363_signed(MESSAGE) {
        for count in 0..=40 {
            let padded = padded(&signature, count);
            assert_eq!(verifies(&key, MESSAGE, &padded), padded.len() <= MAX, "{} {count}", key.kind());
        }
    }
}

#[test]
fn other_shapes_are_refused() {
    for (key, signature) in p1363_signed(MESSAGE) {
        let asn1 = to_asn1(key.kind(), &signature).into_owned();
        let half = signature.len() / 2;
        for bad in [
            Vec::new(),
            signature[1..].to_vec(),
            signature[..signature.len() - 1].to_vec(),
            vec![0; signature.len()],
            [&[0; 66][..half], &signature[half..]].concat(),
            [&signature[..half], &[0; 66][..half]].concat(),
            [&signature[half..], &signature[..half]].concat(),
            vec![0xff; signature.len()],
            [asn1.as_slice(), &[0]].concat(),
            [asn1.as_slice(), &[0, 0]].concat(),
            asn1[..asn1.len() - 1].to_vec(),
        ] {
            assert!(!verifies(&key, MESSAGE, &bad), "{} {}", key.kind(), hex::encode(bad));
        }
    }
}

#[test]
fn only_ecdsa_has_two_encodings() {
    let signature = [7; 64];
    for kind in [KeyKind::Ed25519, KeyKind::Rsa(2048)] {
        assert_eq!(to_asn1(kind, &signature)[..], signature);
    }
}

/// The verdicts of Go 1.26's `asn1.Unmarshal` into a struct of two big integers.
#[test]
fn what_go_reads_as_asn1_is_never_two_halves() {
    for (signature, asn1) in [
        ("3006020101020101", true),
        ("300602010102017f0000", true),
        ("30080201010201010500", true),
        ("30060201ff020180", true),
        ("3006020100020100", true),
        ("3003020101", false),
        ("30070202000102010100", false),
        ("30070202ffff020101", false),
        ("300602000201010000", false),
        ("308106020101020101", false),
        ("3080020101020101", false),
        ("3106020101020101", false),
        ("3006020101040101", false),
        ("3007020101020101", false),
    ] {
        let bytes = hex::decode(signature).unwrap();
        assert_eq!(is_asn1(&bytes), asn1, "{signature}");
        let unchanged = to_asn1(KeyKind::EcdsaP256, &bytes)[..] == bytes;
        assert_eq!(unchanged, asn1 || bytes.len() % 2 == 1, "{signature}");
    }
}

proptest! {
    #[test]
    fn two_halves_become_two_numbers(r in proptest::collection::vec(any::<u8>(), 1..=66), seed in any::<u8>()) {
        let s: Vec<u8> = r.iter().map(|byte| byte ^ seed).collect();
        let signature = [r.as_slice(), &s].concat();
        prop_assume!(!is_asn1(&signature));
        let asn1 = to_asn1(KeyKind::EcdsaP521, &signature);
        prop_assert!(is_asn1(&asn1));
        let mut numbers = Reader::new(der::only(&asn1, SEQUENCE).unwrap());
        for half in [r, s] {
            let number = numbers.expect(INTEGER).unwrap();
            let value = |bytes: &[u8]| bytes.iter().copied().skip_while(|&byte| byte == 0).collect::<Vec<_>>();
            prop_assert!(number[0] < 0x80);
            prop_assert_eq!(value(number), value(&half));
        }
    }

    #[test]
    fn a_changed_signature_never_verifies(at in 0_usize..64, bit in 0_u8..8) {
        let (key, mut signature) = p1363_signed(MESSAGE).remove(0);
        signature[at] ^= 1 << bit;
        prop_assert!(!verifies(&key, MESSAGE, &signature));
    }
}
