//! Requesters' keys of every kind, made in the test's process.

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING,
    ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_ASN1_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING,
    EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaEncoding,
};
use chancery_tlog::key::PublicKey;

/// A private key of a requester.
pub(crate) enum TestKey {
    Ecdsa(EcdsaKeyPair),
    Rsa(aws_lc_rs::rsa::KeyPair),
    Ed25519(Ed25519KeyPair),
}

impl TestKey {
    pub(crate) fn p256() -> Self {
        Self::ecdsa(&ECDSA_P256_SHA256_ASN1_SIGNING)
    }

    /// One key of every kind and signature format that is accepted, with a name for messages.
    pub(crate) fn all() -> Vec<(&'static str, Self)> {
        vec![
            ("P-256 DER", Self::p256()),
            ("P-256 P1363", Self::ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING)),
            ("P-384 DER", Self::ecdsa(&ECDSA_P384_SHA384_ASN1_SIGNING)),
            ("P-384 P1363", Self::ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING)),
            ("P-521 DER", Self::ecdsa(&ECDSA_P521_SHA512_ASN1_SIGNING)),
            ("P-521 P1363", Self::ecdsa(&ECDSA_P521_SHA512_FIXED_SIGNING)),
            ("RSA-2048", Self::rsa(KeySize::Rsa2048)),
            ("RSA-3072", Self::rsa(KeySize::Rsa3072)),
            ("RSA-4096", Self::rsa(KeySize::Rsa4096)),
            ("Ed25519", Self::Ed25519(Ed25519KeyPair::generate().unwrap())),
        ]
    }

    pub(crate) fn ecdsa(algorithm: &'static EcdsaSigningAlgorithm) -> Self {
        Self::Ecdsa(EcdsaKeyPair::generate(algorithm).unwrap())
    }

    pub(crate) fn rsa(size: KeySize) -> Self {
        Self::Rsa(aws_lc_rs::rsa::KeyPair::generate(size).unwrap())
    }

    pub(crate) fn spki(&self) -> Vec<u8> {
        let der: PublicKeyX509Der<'static> = match self {
            Self::Ecdsa(key) => key.public_key().as_der().unwrap(),
            Self::Rsa(key) => key.public_key().as_der().unwrap(),
            Self::Ed25519(key) => key.public_key().as_der().unwrap(),
        };
        der.as_ref().to_vec()
    }

    pub(crate) fn pem(&self) -> String {
        PublicKey::from_spki_der(&self.spki()).unwrap().to_pem()
    }

    pub(crate) fn sign(&self, message: &str) -> Vec<u8> {
        self.sign_with(message, &RSA_PKCS1_SHA256)
    }

    /// As [`TestKey::sign`], with another padding or hash for RSA.
    pub(crate) fn sign_with(&self, message: &str, rsa: &'static dyn RsaEncoding) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Ecdsa(key) => key.sign(&random, message.as_bytes()).unwrap().as_ref().to_vec(),
            Self::Ed25519(key) => key.sign(message.as_bytes()).as_ref().to_vec(),
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(rsa, &random, message.as_bytes(), &mut signature).unwrap();
                signature
            }
        }
    }
}
