use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P521_SHA256_ASN1_SIGNING, ECDSA_P521_SHA512_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _,
    RSA_PKCS1_SHA512, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::Signer as _;
use p256::ecdsa::signature::Verifier as _;
use proptest::prelude::*;
use sha2::Digest as _;

use super::*;
use crate::fixture::{p256_secret, p256_signer};

const KAV_SPKI: &str = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEBzbLVCpwU36llwUed1zAVfuRbf2e//oElYAqc2BGFBYyge+ISoCfUcriGlmzxMksDb/lSlOK7kRKO0F1tVsNpQ==";
const KAV_SIGNATURE: &str =
    "MEQCIFVZ8zNUJ8WJM/MPDQ8uf8omNJWEvGTigbHzp4Jjd+WUAiAOxOW20W3EgsKrrUUxz+bMVvx2YZdnrafvWcokLfiRhg==";

/// `kav-signer`, encrypted by OpenSSL 3.0 with PBKDF2 under the passphrase `correct`.
const OPENSSL_PBKDF2: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAjtTpKdbU3vdgICCAAw
DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEELp507lkdZHYAcpL+rD/U6wEgZBZ
TW1VOZlpQwFKpoaoNrJ6c69VWliQzpN8gKRTKl0la2kMAWpn+4kuZ+GrmZpQCGPh
oRP9CL8UPRlLAxeLEdya+Sy0ErX03o9uv/ObUyA7QyP7qCicAG6Q0/x6lHU9kiXS
fQdH38unCNNLEkOFbICNLxkjvJT38rP4LncCj6uYrF+z2GpAXALVDNe4rqS8+pw=
-----END ENCRYPTED PRIVATE KEY-----
";

/// The same with scrypt.
const OPENSSL_SCRYPT: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHkME8GCSqGSIb3DQEFDTBCMCEGCSsGAQQB2kcECzAUBAhIEgRo50lg3QICBAAC
AQgCAQEwHQYJYIZIAWUDBAEqBBADha2oTIb/rZBIQ3cTFo3iBIGQg+D9veizYjoJ
s7OXXsq/sVtbAy6b7VXbFH47RkINmPGWyNnl9+F9YHisYb3lyXr2qhp01fPIa/io
lWeodoqn5u69lpqr0aSaGkkc1IhMbZXHyv+9m5dDs2zeb4S10y6CTB5OYzCGL4O2
4g1St7gFBX2E+DbNQ4jLYouDQJYZTSP9UIUk+HVqlw74vPkUsH1t
-----END ENCRYPTED PRIVATE KEY-----
";

fn rsa() -> (RsaKeyPair, PublicKey) {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let spki: aws_lc_rs::encoding::PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
    let public = PublicKey::from_spki_der(spki.as_ref()).unwrap();
    (pair, public)
}

#[test]
fn the_known_key_verifies_the_known_signature() {
    let key = PublicKey::from_spki_der(&STANDARD.decode(KAV_SPKI).unwrap()).unwrap();
    assert_eq!(key.kind(), KeyKind::EcdsaP256);
    assert_eq!(key.to_pem().len(), 178);
    assert_eq!(&key, p256_signer("kav-signer").public_key());
    let signature = STANDARD.decode(KAV_SIGNATURE).unwrap();
    key.verify(HashAlgorithm::Sha256, b"hello\n", &signature).unwrap();
    let digest = HashAlgorithm::Sha256.digest(b"hello\n");
    key.verify_digest(HashAlgorithm::Sha256, &digest, &signature).unwrap();
    assert_eq!(key.verify(HashAlgorithm::Sha256, b"hello", &signature), Err(BadSignature));
    assert_eq!(key.verify(HashAlgorithm::Sha384, b"hello\n", &signature), Err(BadSignature));
    assert_eq!(key.verify_digest(HashAlgorithm::Sha256, &digest[1..], &signature), Err(BadSignature));
}

#[test]
fn aws_lc_and_p256_verify_each_others_signatures() {
    let ours = p256_signer("cross");
    let theirs = p256::ecdsa::SigningKey::from(p256_secret("cross"));
    let message = b"message";

    let signature = p256::ecdsa::DerSignature::try_from(ours.sign(message).unwrap().as_slice()).unwrap();
    theirs.verifying_key().verify(message, &signature).unwrap();

    let signature: p256::ecdsa::DerSignature = theirs.sign(message);
    ours.public_key().verify(HashAlgorithm::Sha256, message, signature.as_bytes()).unwrap();
}

#[test]
fn generated_keys_sign_with_their_default_hash_and_survive_pem() {
    for kind in [KeyKind::EcdsaP256, KeyKind::EcdsaP384, KeyKind::Ed25519] {
        let signer = SoftwareSigner::generate(kind).unwrap();
        assert_eq!(signer.public_key().kind(), kind);
        let signature = signer.sign(b"message").unwrap();
        signer.public_key().verify(kind.default_hash(), b"message", &signature).unwrap();

        let again = SoftwareSigner::from_pkcs8_pem(&signer.to_pkcs8_pem(None).unwrap(), None).unwrap();
        assert_eq!(again.public_key(), signer.public_key());
        assert_eq!(&PublicKey::from_pem(&signer.public_key().to_pem()).unwrap(), signer.public_key());
    }
}

#[test]
fn kinds_that_we_do_not_hold_are_refused() {
    for kind in [KeyKind::EcdsaP521, KeyKind::Rsa(2048)] {
        assert!(matches!(SoftwareSigner::generate(kind), Err(KeyError::Unsupported(_))));
    }
}

#[test]
fn a_passphrase_locks_a_key() {
    let signer = p256_signer("locked");
    let pem = signer.to_pkcs8_pem(Some(b"correct")).unwrap();
    assert!(pem.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"));
    let opened = SoftwareSigner::from_pkcs8_pem(&pem, Some(b"correct")).unwrap();
    assert_eq!(opened.public_key(), signer.public_key());
    assert!(matches!(SoftwareSigner::from_pkcs8_pem(&pem, Some(b"wrong")), Err(KeyError::Locked(_))));
    assert!(matches!(SoftwareSigner::from_pkcs8_pem(&pem, None), Err(KeyError::Locked(_))));
}

/// As `openssl pkcs12 -nodes` and `openssl ecparam -genkey` write them: with text, certificates and parameters around.
#[test]
fn a_private_key_is_found_among_text_and_other_blocks() {
    let signer = p256_signer("kav-signer");
    let other = crate::pem::encode("EC PARAMETERS", b"x") + &crate::pem::encode("CERTIFICATE", b"y");
    for passphrase in [None, Some(&b"correct"[..])] {
        let key = signer.to_pkcs8_pem(passphrase).unwrap();
        let text = format!(
            "Bag Attributes\n    localKeyID: 01\n{other}Key Attributes: <none>\n{}after\n{other}",
            *key
        );
        assert_eq!(SoftwareSigner::is_encrypted_pem(&text), passphrase.is_some());
        let found = SoftwareSigner::from_pkcs8_pem(&text, passphrase).unwrap();
        assert_eq!(found.public_key(), signer.public_key());
    }
    assert!(SoftwareSigner::from_pkcs8_pem(&other, None).is_err());
    // What looks like an encrypted key further on does not hide that the first is in clear.
    let clear = signer.to_pkcs8_pem(None).unwrap();
    assert!(!SoftwareSigner::is_encrypted_pem(&format!("{}{OPENSSL_SCRYPT}", *clear)));
    let public = format!("comment\n{}after", signer.public_key().to_pem());
    assert!(PublicKey::leads(&public) && !PublicKey::leads(&clear));
    assert_eq!(&PublicKey::from_pem(&public).unwrap(), signer.public_key());
}

#[test]
fn keys_that_openssl_encrypted_are_read() {
    for pem in [OPENSSL_PBKDF2, OPENSSL_SCRYPT] {
        let signer = SoftwareSigner::from_pkcs8_pem(pem, Some(b"correct")).unwrap();
        assert_eq!(signer.public_key(), p256_signer("kav-signer").public_key());
    }
}

#[test]
fn a_key_without_its_public_half_is_completed() {
    let bare = "-----BEGIN PRIVATE KEY-----
MEECAQAwEwYHKoZIzj0CAQYIKoZIzj0DAQcEJzAlAgEBBCBFPMRBSVp4a9wZmCKj
bbjTF5dKtS3w36tHDeB0iAnidQ==
-----END PRIVATE KEY-----
";
    let signer = SoftwareSigner::from_pkcs8_pem(bare, None).unwrap();
    assert_eq!(signer.public_key(), p256_signer("kav-signer").public_key());
}

#[test]
fn p521_verifies_with_every_hash() {
    for (algorithm, hash) in [
        (&ECDSA_P521_SHA256_ASN1_SIGNING, HashAlgorithm::Sha256),
        (&ECDSA_P521_SHA512_ASN1_SIGNING, HashAlgorithm::Sha512),
    ] {
        let pair = EcdsaKeyPair::generate(algorithm).unwrap();
        let spki: aws_lc_rs::encoding::PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
        let key = PublicKey::from_spki_der(spki.as_ref()).unwrap();
        let signature = pair.sign(&aws_lc_rs::rand::SystemRandom::new(), b"message").unwrap();
        key.verify(hash, b"message", signature.as_ref()).unwrap();
        key.verify_digest(hash, &hash.digest(b"message"), signature.as_ref()).unwrap();
        assert_eq!(key.verify(HashAlgorithm::Sha384, b"message", signature.as_ref()), Err(BadSignature));
    }
}

#[test]
fn rsa_keys_verify_pkcs1_and_are_read_from_both_pem_spellings() {
    let (pair, key) = rsa();
    assert_eq!((key.kind(), key.rsa_exponent()), (KeyKind::Rsa(2048), Some(65_537)));
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(&RSA_PKCS1_SHA512, &aws_lc_rs::rand::SystemRandom::new(), b"message", &mut signature).unwrap();
    key.verify(HashAlgorithm::Sha512, b"message", &signature).unwrap();
    key.verify_digest(HashAlgorithm::Sha512, &HashAlgorithm::Sha512.digest(b"message"), &signature).unwrap();
    assert_eq!(key.verify(HashAlgorithm::Sha256, b"message", &signature), Err(BadSignature));

    let pkcs1 = crate::pem::encode("RSA PUBLIC KEY", key.key_bits());
    assert_eq!(PublicKey::from_pem(&pkcs1).unwrap(), key);
}

#[test]
fn rsa_below_2048_bits_is_refused() {
    let modulus = [&[0x00][..], &[0xff; 128]].concat();
    let pkcs1 = crate::der::encode(
        crate::der::SEQUENCE,
        &[
            crate::der::encode(crate::der::INTEGER, &modulus),
            crate::der::encode(crate::der::INTEGER, &[1, 0, 1]),
        ]
        .concat(),
    );
    let error = PublicKey::from_spki_der(&spki::encode_rsa(&pkcs1)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "unsupported key algorithm RSA with 1024 bits (2048 to 8192 are supported)"
    );
}

#[test]
fn ed25519_is_pure_over_messages_and_prehashed_over_digests() {
    let secret = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
    let key = PublicKey::from_ed25519(secret.verifying_key().as_bytes()).unwrap();
    assert_eq!(key.key_bits(), secret.verifying_key().as_bytes());
    let digest = HashAlgorithm::Sha512.digest(b"message");

    let pure = secret.sign(b"message").to_bytes();
    key.verify(HashAlgorithm::Sha512, b"message", &pure).unwrap();
    assert_eq!(key.verify_digest(HashAlgorithm::Sha512, &digest, &pure), Err(BadSignature));

    let hasher = sha2::Sha512::new_with_prefix(b"message");
    let prehashed = secret.sign_prehashed(hasher, None).unwrap().to_bytes();
    key.verify_digest(HashAlgorithm::Sha512, &digest, &prehashed).unwrap();
    assert_eq!(key.verify(HashAlgorithm::Sha512, b"message", &prehashed), Err(BadSignature));
    let sha256 = HashAlgorithm::Sha256.digest(b"message");
    assert_eq!(key.verify_digest(HashAlgorithm::Sha256, &sha256, &prehashed), Err(BadSignature));
    assert_eq!(key.verify_digest(HashAlgorithm::Sha512, &sha256, &prehashed), Err(BadSignature));
}

#[test]
fn only_the_one_encoding_of_a_key_is_a_key() {
    let spki = STANDARD.decode(KAV_SPKI).unwrap();
    assert!(PublicKey::from_spki_der(&[&spki[..], &[0]].concat()).is_err(), "trailing byte");
    assert!(PublicKey::from_spki_der(&spki[..90]).is_err(), "cut short");
    let mut off_curve = spki.clone();
    off_curve[90] ^= 1;
    assert!(PublicKey::from_spki_der(&off_curve).is_err(), "not on the curve");

    let mut compressed = vec![0x30, 0x39];
    compressed.extend_from_slice(&spki[2..23]);
    compressed.extend_from_slice(&[0x03, 0x22, 0x00, 0x03]);
    compressed.extend_from_slice(&spki[27..59]);
    assert!(PublicKey::from_spki_der(&compressed).is_err(), "compressed point");
}

#[test]
fn an_unsupported_algorithm_is_named() {
    let x25519 = crate::der::encode(
        crate::der::SEQUENCE,
        &[&[0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x6e][..], &[0x03, 0x03, 0x00, 1, 2]].concat(),
    );
    let error = PublicKey::from_spki_der(&x25519).unwrap_err();
    assert_eq!(error.to_string(), "unsupported key algorithm 1.3.101.110");
}

#[test]
fn a_key_file_that_costs_too_much_to_open_is_refused() {
    // The scrypt fixture with N = 2^30 in place of 1,024: INTEGER of four bytes, the lengths around it two more.
    let block = crate::pem::Block::first(OPENSSL_SCRYPT).unwrap();
    let der =
        String::from_utf8(block.contents.iter().flat_map(|b| format!("{b:02x}").into_bytes()).collect());
    let der = der
        .unwrap()
        .replacen("3081e4304f", "3081e63051", 1)
        .replacen("30423021", "30443023", 1)
        .replacen("30140408", "30160408", 1)
        .replacen("02020400", "020440000000", 1);
    let pem = crate::pem::encode("ENCRYPTED PRIVATE KEY", &hex::decode(der).unwrap());
    let error = SoftwareSigner::from_pkcs8_pem(&pem, Some(b"correct")).unwrap_err();
    assert_eq!(error, KeyError::Locked("its key derivation asks for too much work"));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), text in ".{0,200}") {
        let _ = PublicKey::from_spki_der(&bytes);
        let _ = PublicKey::from_pem(&text);
        let _ = SoftwareSigner::from_pkcs8_der(&bytes);
    }

    #[test]
    fn a_changed_byte_is_refused_or_another_key(at in 0usize..91, bit in 0u8..8) {
        let spki = STANDARD.decode(KAV_SPKI).unwrap();
        let mut changed = spki.clone();
        changed[at] ^= 1 << bit;
        if let Ok(key) = PublicKey::from_spki_der(&changed) {
            prop_assert_eq!(key.spki_der(), &changed[..]);
        }
    }
}
