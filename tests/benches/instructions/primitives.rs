//! The primitives that all else stands on, by themselves. If these move, the library or the compiler did.

use std::hint::black_box;

use anyhow::{Result, anyhow};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use chancery_tlog::key::{HashAlgorithm, Signer as _, SoftwareSigner};

use crate::issuer::Issuer;
use crate::world::{ed25519_signer, p256_signer};
use crate::{HotPath, used};

const MESSAGE: [u8; 128] = [0x5A; 128];
/// Size of a Rekor v2 entry with a GitHub workflow's certificate, in bytes.
const ENTRY: usize = 3200;

pub(crate) fn paths() -> Vec<HotPath> {
    vec![
        signature("primitive: P-256 signature", p256_signer),
        verification("primitive: P-256 verification", p256_signer, HashAlgorithm::Sha256),
        signature("primitive: Ed25519 signature", ed25519_signer),
        verification("primitive: Ed25519 verification", ed25519_signer, HashAlgorithm::Sha512),
        HotPath::new("primitive: RSA-2048 verification", |_| {
            let issuer = Issuer::key()?;
            let signature = issuer.sign(&MESSAGE)?;
            let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, issuer.public_key_der());
            Ok(move || {
                let verified = key.verify(black_box(&MESSAGE), &signature);
                verified.map_err(|_| anyhow!("the signature does not verify"))
            })
        }),
        HotPath::new("primitive: SHA-256 of an entry", |_| {
            let entry = vec![0x5A; ENTRY];
            Ok(move || used(digest(&SHA256, black_box(&entry))))
        }),
    ]
}

fn signature(name: &'static str, key: fn(&str) -> Result<SoftwareSigner>) -> HotPath {
    HotPath::new(name, move |_| {
        let key = key("primitive")?;
        Ok(move || used(key.sign(black_box(&MESSAGE))?))
    })
}

fn verification(name: &'static str, key: fn(&str) -> Result<SoftwareSigner>, hash: HashAlgorithm) -> HotPath {
    HotPath::new(name, move |_| {
        let signer = key("primitive")?;
        let (key, signature) = (signer.public_key().clone(), signer.sign(&MESSAGE)?);
        Ok(move || Ok(key.verify(hash, black_box(&MESSAGE), &signature)?))
    })
}
