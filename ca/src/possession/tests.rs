//! Proof of possession for every kind of key, PKCS#10 requests made by OpenSSL, and the key policy.

use std::process::Command;

use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{RSA_PKCS1_SHA512, RSA_PSS_SHA256};
use chancery_tlog::certificate::SubjectName;

use super::test_key::TestKey;
use super::*;

const NAME: &str = "repo:octo-org/octo-repo:ref:refs/heads/main";

fn principal() -> Principal {
    Principal {
        subject: SubjectName::Uri("https://example.com/x".to_owned()),
        challenge: NAME.to_owned(),
        other_challenge: Some("alice@example.com".to_owned()),
        extensions: Vec::new(),
    }
}

fn verify(key: Vec<u8>, proof: Vec<u8>) -> Result<ProvenKey, PossessionError> {
    KeyRequest::PublicKey { key, proof }.verify(&principal())
}

/// A PKCS#10 request made by the OpenSSL program.
pub(crate) fn openssl_request(key: &[&str], digest: &str, critical_constraints: bool) -> String {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new("openssl");
    command.args(["req", "-new", "-nodes", &format!("-{digest}")]).args(key);
    if !key.contains(&"-subj") {
        command.args(["-subj", "/"]);
    }
    command.arg("-keyout").arg(folder.path().join("key.pem"));
    if critical_constraints {
        command.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn verify_request(pem: &str) -> Result<ProvenKey, PossessionError> {
    KeyRequest::SigningRequest(pem.as_bytes().to_vec()).verify(&principal())
}

#[test]
fn every_kind_of_key_proves_possession_in_pem_and_der() {
    for (name, key) in TestKey::all() {
        for encoded in [key.pem().into_bytes(), key.spki()] {
            let proven = verify(encoded, key.sign(NAME)).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(proven.public_key().spki_der(), key.spki(), "{name}");
        }
        assert_eq!(
            verify(key.spki(), key.sign("someone else")).unwrap_err(),
            PossessionError::Proof,
            "{name}"
        );
    }
}

#[test]
fn the_name_and_the_other_challenge_are_the_only_texts() {
    let key = TestKey::p256();
    assert!(verify(key.spki(), key.sign("alice@example.com")).is_ok());
    for text in ["", "repo:octo-org", "alice@example.com\n"] {
        assert_eq!(verify(key.spki(), key.sign(text)).unwrap_err(), PossessionError::Proof, "{text:?}");
    }
}

#[test]
fn rsa_is_pkcs1_with_sha256_only() {
    let key = TestKey::rsa(KeySize::Rsa2048);
    assert!(verify(key.spki(), key.sign(NAME)).is_ok());
    for padding in [&RSA_PSS_SHA256 as &'static dyn aws_lc_rs::signature::RsaEncoding, &RSA_PKCS1_SHA512] {
        assert_eq!(verify(key.spki(), key.sign_with(NAME, padding)).unwrap_err(), PossessionError::Proof);
    }
}

#[test]
fn a_pkcs1_public_key_is_certified_as_spki() {
    let key = TestKey::rsa(KeySize::Rsa2048);
    let spki = PublicKey::from_spki_der(&key.spki()).unwrap();
    let pem = pem::encode(&pem::Pem::new("RSA PUBLIC KEY", spki.key_bits()));
    let proven = verify(pem.into_bytes(), key.sign(NAME)).unwrap();
    assert_eq!(proven.public_key().spki_der(), key.spki());
}

#[test]
fn raw_signatures_with_the_wrong_length_are_refused() {
    let key = TestKey::ecdsa(&aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED_SIGNING);
    let proof = key.sign(NAME);
    assert!(verify(key.spki(), proof.clone()).is_ok());
    assert_eq!(verify(key.spki(), proof[..62].to_vec()).unwrap_err(), PossessionError::Proof);
    assert_eq!(verify(key.spki(), [proof.as_slice(), &[0, 0]].concat()).unwrap_err(), PossessionError::Proof);
    assert_eq!(verify(key.spki(), Vec::new()).unwrap_err(), PossessionError::Proof);
}

#[test]
fn rsa_moduli_outside_the_three_lengths_are_insecure() {
    for bits in ["rsa:2056", "rsa:2560"] {
        let pem = openssl_request(&["-newkey", bits], "sha256", false);
        assert!(matches!(verify_request(&pem), Err(PossessionError::Insecure(_))), "{bits}");
    }
}

#[test]
fn an_rsa_exponent_other_than_65537_is_insecure() {
    let pem = openssl_request(&["-newkey", "rsa:2048", "-pkeyopt", "rsa_keygen_pubexp:3"], "sha256", false);
    assert!(matches!(verify_request(&pem), Err(PossessionError::Insecure(_))));
}

#[test]
fn other_curves_and_private_keys_are_no_keys() {
    let pem = openssl_request(&["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:secp256k1"], "sha256", false);
    assert_eq!(verify_request(&pem).unwrap_err(), PossessionError::SigningRequest);
    for key in ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "rubbish"] {
        assert_eq!(verify(key.as_bytes().to_vec(), Vec::new()).unwrap_err(), PossessionError::Key, "{key}");
    }
}

#[test]
fn requests_by_openssl_are_accepted_for_every_kind_of_key() {
    let curve = |name: &str| {
        vec!["-newkey".to_owned(), "ec".into(), "-pkeyopt".into(), format!("ec_paramgen_curve:{name}")]
    };
    let keys: [(Vec<String>, &str); 5] = [
        (curve("P-256"), "sha256"),
        (curve("P-384"), "sha384"),
        (curve("P-521"), "sha512"),
        (vec!["-newkey".into(), "rsa:2048".into()], "sha256"),
        (vec!["-newkey".into(), "ed25519".into()], "sha256"),
    ];
    for (key, digest) in keys {
        let key: Vec<&str> = key.iter().map(String::as_str).collect();
        for critical in [false, true] {
            let pem = openssl_request(&key, digest, critical);
            verify_request(&pem).unwrap_or_else(|e| panic!("{key:?}, critical {critical}: {e}"));
            let renamed = pem.replace("CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST");
            verify_request(&renamed).unwrap_or_else(|e| panic!("{key:?}: {e}"));
        }
    }
}

#[test]
fn whatever_a_request_says_about_its_subject_is_ignored() {
    let key = ["-newkey", "ed25519", "-utf8", "-subj", "/CN=Wurzel für alle/emailAddress=root@example.com"];
    verify_request(&openssl_request(&key, "sha256", true)).unwrap();
}

#[test]
fn a_request_whose_hash_does_not_go_with_its_key_is_not_permitted() {
    for (key, digest, message) in [
        (
            &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384"][..],
            "sha256",
            "*ecdsa.PublicKey, SHA-256",
        ),
        (
            &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"][..],
            "sha384",
            "*ecdsa.PublicKey, SHA-384",
        ),
        (&["-newkey", "rsa:2048"][..], "sha512", "*rsa.PublicKey, SHA-512"),
    ] {
        let error = verify_request(&openssl_request(key, digest, false)).unwrap_err();
        assert_eq!(error.to_string(), format!("signing algorithm not permitted: {message}"));
    }
}

#[test]
fn sha1_and_pss_requests_have_an_unrecognized_algorithm() {
    let p256 = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
    let pss = ["-newkey", "rsa:2048", "-sigopt", "rsa_padding_mode:pss"];
    for (key, digest) in [(&p256[..], "sha1"), (&pss[..], "sha256")] {
        let error = verify_request(&openssl_request(key, digest, false)).unwrap_err();
        assert!(error.to_string().starts_with("unrecognized signature algorithm"), "{error}");
    }
}

/// As `openssl req -text` writes it.
#[test]
fn text_around_a_request_is_skipped() {
    let pem = openssl_request(&["-newkey", "ed25519"], "sha256", false);
    for text in [format!("Certificate Request:\n    Data:\n{pem}"), format!("{pem}\n# for alice\n")] {
        verify_request(&text).unwrap();
    }
}

#[test]
fn a_request_with_a_broken_signature_or_wrapping_is_refused() {
    let pem = openssl_request(&["-newkey", "ed25519"], "sha256", false);
    let mut der = pem::parse(&pem).unwrap().into_contents();
    assert_eq!(
        verify_request(&pem::encode(&pem::Pem::new("CERTIFICATE", der.clone()))).unwrap_err(),
        PossessionError::SigningRequest
    );
    let bare = KeyRequest::SigningRequest(der.clone()).verify(&principal());
    assert_eq!(bare.unwrap_err(), PossessionError::SigningRequest, "bare DER is refused");
    let trailing = [der.as_slice(), &[0]].concat();
    assert_eq!(
        verify_request(&pem::encode(&pem::Pem::new("CERTIFICATE REQUEST", trailing))).unwrap_err(),
        PossessionError::SigningRequest
    );
    *der.last_mut().unwrap() ^= 1;
    assert_eq!(
        verify_request(&pem::encode(&pem::Pem::new("CERTIFICATE REQUEST", der))).unwrap_err(),
        PossessionError::Proof
    );
}
