//! Keys of every kind that clients sign with, and signatures that are good or not.

use anyhow::{Context as _, Result};
use aws_lc_rs::encoding::{AsBigEndian as _, AsDer as _, Curve25519SeedBin};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    self as algorithms, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, RsaKeyPair,
};
use chancery_tlog::key::HashAlgorithm;
use ed25519_dalek::Digest as _;

/// A key pair with a certificate for it that it has signed itself.
pub(super) struct Key {
    /// Its kind, as one word.
    pub(super) name: &'static str,
    /// The name that protobuf-specs has for it with its usual hash.
    pub(super) details: &'static str,
    /// SubjectPublicKeyInfo, DER.
    pub(super) spki: Vec<u8>,
    /// A certificate, DER.
    pub(super) certificate: Vec<u8>,
    pair: Pair,
}

enum Pair {
    Ecdsa(Vec<u8>, Curve),
    Rsa(RsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Ed25519Ph(Box<ed25519_dalek::SigningKey>),
}

/// What a curve's signatures are made with: its usual hash, in DER or as two integers side by side.
struct Curve {
    hash: HashAlgorithm,
    der: &'static EcdsaSigningAlgorithm,
    fixed: &'static EcdsaSigningAlgorithm,
}

impl Key {
    /// One of every kind.
    pub(super) fn all() -> Result<Vec<Self>> {
        Ok(vec![
            Self::ecdsa("p256", "PKIX_ECDSA_P256_SHA_256", P256)?,
            Self::ecdsa("p384", "PKIX_ECDSA_P384_SHA_384", P384)?,
            Self::ecdsa("p521", "PKIX_ECDSA_P521_SHA_512", P521)?,
            Self::rsa("rsa2048", "PKIX_RSA_PKCS1V15_2048_SHA256", KeySize::Rsa2048)?,
            Self::rsa("rsa3072", "PKIX_RSA_PKCS1V15_3072_SHA256", KeySize::Rsa3072)?,
            Self::ed25519()?,
            Self::ed25519_ph()?,
        ])
    }

    fn ecdsa(name: &'static str, details: &'static str, curve: Curve) -> Result<Self> {
        let pair = EcdsaKeyPair::generate(curve.der)?;
        let pkcs8 = pair.to_pkcs8v1()?.as_ref().to_vec();
        let spki = pair.public_key().as_der()?.as_ref().to_vec();
        let certificate = certificate(&pkcs8)?;
        Ok(Self { name, details, spki, certificate, pair: Pair::Ecdsa(pkcs8, curve) })
    }

    fn rsa(name: &'static str, details: &'static str, size: KeySize) -> Result<Self> {
        let pair = RsaKeyPair::generate(size)?;
        let pkcs8: aws_lc_rs::encoding::Pkcs8V1Der<'_> = pair.as_der()?;
        let certificate = certificate(pkcs8.as_ref())?;
        let spki = pair.public_key().as_der()?.as_ref().to_vec();
        Ok(Self { name, details, spki, certificate, pair: Pair::Rsa(pair) })
    }

    fn ed25519() -> Result<Self> {
        let pair = Ed25519KeyPair::generate()?;
        let certificate = certificate(pair.to_pkcs8v1()?.as_ref())?;
        let spki = pair.public_key().as_der()?.as_ref().to_vec();
        Ok(Self { name: "ed25519", details: "PKIX_ED25519", spki, certificate, pair: Pair::Ed25519(pair) })
    }

    fn ed25519_ph() -> Result<Self> {
        let pair = Ed25519KeyPair::generate()?;
        let pkcs8 = pair.to_pkcs8v1()?.as_ref().to_vec();
        let certificate = certificate(&pkcs8)?;
        let spki = pair.public_key().as_der()?.as_ref().to_vec();
        let seed: Curve25519SeedBin<'_> = pair.seed()?.as_be_bytes()?;
        let seed: [u8; 32] = seed.as_ref().try_into()?;
        let pair = Pair::Ed25519Ph(Box::new(ed25519_dalek::SigningKey::from_bytes(&seed)));
        Ok(Self { name: "ed25519ph", details: "PKIX_ED25519_PH", spki, certificate, pair })
    }

    /// The hash that belongs to it.
    pub(super) fn hash(&self) -> HashAlgorithm {
        match &self.pair {
            Pair::Ecdsa(_, curve) => curve.hash,
            Pair::Rsa(_) => HashAlgorithm::Sha256,
            Pair::Ed25519(_) | Pair::Ed25519Ph(_) => HashAlgorithm::Sha512,
        }
    }

    /// A good signature.
    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        let random = SystemRandom::new();
        Ok(match &self.pair {
            Pair::Ecdsa(pkcs8, curve) => {
                let pair = EcdsaKeyPair::from_pkcs8(curve.der, pkcs8).ok().context("an ECDSA key")?;
                pair.sign(&random, message)?.as_ref().to_vec()
            }
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&algorithms::RSA_PKCS1_SHA256, &random, message, &mut signature)?;
                signature
            }
            Pair::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
            Pair::Ed25519Ph(pair) => {
                let digest = ed25519_dalek::Sha512::new_with_prefix(message);
                pair.sign_prehashed(digest, None)?.to_bytes().to_vec()
            }
        })
    }

    /// A good signature in IEEE P1363's form, for the kinds that have one.
    pub(super) fn sign_fixed(&self, message: &[u8]) -> Result<Option<Vec<u8>>> {
        let Pair::Ecdsa(pkcs8, Curve { fixed, .. }) = &self.pair else { return Ok(None) };
        let pair = EcdsaKeyPair::from_pkcs8(fixed, pkcs8).ok().context("an ECDSA key")?;
        Ok(Some(pair.sign(&SystemRandom::new(), message)?.as_ref().to_vec()))
    }
}

const P256: Curve = Curve {
    hash: HashAlgorithm::Sha256,
    der: &algorithms::ECDSA_P256_SHA256_ASN1_SIGNING,
    fixed: &algorithms::ECDSA_P256_SHA256_FIXED_SIGNING,
};
const P384: Curve = Curve {
    hash: HashAlgorithm::Sha384,
    der: &algorithms::ECDSA_P384_SHA384_ASN1_SIGNING,
    fixed: &algorithms::ECDSA_P384_SHA384_FIXED_SIGNING,
};
const P521: Curve = Curve {
    hash: HashAlgorithm::Sha512,
    der: &algorithms::ECDSA_P521_SHA512_ASN1_SIGNING,
    fixed: &algorithms::ECDSA_P521_SHA512_FIXED_SIGNING,
};

fn certificate(pkcs8: &[u8]) -> Result<Vec<u8>> {
    let pair = rcgen::KeyPair::try_from(pkcs8)?;
    let certificate = rcgen::CertificateParams::new(vec!["signer.example".to_owned()])?.self_signed(&pair)?;
    Ok(certificate.der().to_vec())
}
