//! Entries to fill a log with: hashedrekord 0.0.2 with a public key, 460 bytes each, no two alike.

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use chancery_tlog::key::{HashAlgorithm, KeyKind, Signer as _, SoftwareSigner};
use chancery_tlog::rekor;
use chancery_tlog::rekor_v2::{Body, KeyDetails, Material, Verifier};
use chancery_tlog::server::log::{HashedLeaf, Submission};
use rand::rngs::StdRng;
use rand::{Rng as _, RngCore as _, SeedableRng as _};

use crate::submitter::random;

/// Keys that the entries are by. So each finds a thousandth of the log, as a build server's key would.
const SIGNERS: usize = 1000;

/// Endless entries.
pub(crate) struct Entries {
    random: StdRng,
    signers: Vec<Signer>,
}

/// What all entries by one key have in common.
struct Signer {
    /// The leaf up to the digest, from there to the signature, and after it.
    leaf: [String; 3],
    /// The search terms of the key.
    terms: [String; 2],
}

impl Entries {
    /// Entries that no other run makes.
    pub(crate) fn new() -> Result<Self> {
        let signers = (0..SIGNERS).map(|_| Signer::new()).collect::<Result<_>>()?;
        Ok(Self { random: StdRng::from_seed(random()?), signers })
    }

    /// The next one.
    pub(crate) fn next(&mut self) -> Submission {
        let digest: [u8; 32] = self.random.random();
        let signature = self.signature();
        let signer = &self.signers[self.random.random_range(0..self.signers.len())];
        let [before, between, after] = &signer.leaf;
        let (text, signature) = (STANDARD.encode(digest), STANDARD.encode(signature));
        let leaf = HashedLeaf::new([before, text.as_str(), between, &signature, after].concat());
        let [key, spelled_key] = signer.terms.clone();
        let terms = vec![key, spelled_key, format!("sha256:{}", hex::encode(digest))];
        Submission { identity: leaf.hash(), leaf, extra: Bytes::new(), terms }
    }

    /// The form of an ECDSA signature, of random numbers.
    fn signature(&mut self) -> [u8; SIGNATURE] {
        let mut signature = [0; SIGNATURE];
        self.random.fill_bytes(&mut signature);
        signature[..4].copy_from_slice(&[0x30, 0x44, 0x02, 0x20]);
        signature[36..38].copy_from_slice(&[0x02, 0x20]);
        for first in [4, 38] {
            // Neither negative nor with a zero too many.
            signature[first] = signature[first] & 0x7F | 0x40;
        }
        signature
    }
}

/// Bytes of a DER signature of two numbers of 32 bytes.
const SIGNATURE: usize = 70;

impl Signer {
    fn new() -> Result<Self> {
        let key = SoftwareSigner::generate(KeyKind::EcdsaP256)?.public_key().clone();
        let hash = rekor::Verifier::Key(key.clone()).pem_hash().to_hex();
        let terms = [hash.clone(), format!("sha256:{hash}")];
        let verifier = Verifier::new(KeyDetails::EcdsaP256, Material::Key(key))
            .context("the key is of the kind that its details name")?;
        let (digest, signature) = (vec![0x11; 32], vec![0x22; SIGNATURE]);
        let holes = [&digest, &signature].map(|bytes| STANDARD.encode(bytes));
        let body = Body::HashedRekord { algorithm: HashAlgorithm::Sha256, digest, signature, verifier };
        let leaf = String::from_utf8(body.encode()?)?;
        let (before, rest) = leaf.split_once(&holes[0]).context("a leaf has a digest")?;
        let (between, after) = rest.split_once(&holes[1]).context("a leaf has a signature")?;
        Ok(Self { leaf: [before, between, after].map(str::to_owned), terms })
    }
}
