//! Who signed: envelopes with several signatures and keys in every order, and chains of certificates in and out of
//! order. Which of them a log takes decides how many signatures it has to verify.

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chancery_tests::genuine::{Case, Request};
use chancery_tlog::key::HashAlgorithm;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, SerialNumber,
    SigningKey as _,
};
use serde_json::json;

use super::{JSON, Maker, PATH};

/// P-256, RSA of 2,048 bits and Ed25519 sign envelopes with the hash that Rekor verifies them with.
const SIGNERS: [usize; 3] = [0, 3, 5];

impl Maker {
    /// Envelopes that one to three keys have signed, with every list of up to three keys, and some longer ones.
    pub(super) fn several(&mut self) -> Result<Vec<Case>> {
        let mut lists: Vec<Vec<usize>> = Vec::new();
        for number in 0..3_usize.pow(3) {
            let list = [number / 9, number / 3 % 3, number % 3];
            lists.extend([list[..1].to_vec(), list[..2].to_vec(), list.to_vec()]);
        }
        lists.extend([vec![0; 10], vec![0, 0, 0, 1, 1, 1, 2], [vec![1; 9], vec![0]].concat()]);
        lists.sort();
        lists.dedup();
        let mut cases = Vec::new();
        let artifact = self.artifact();
        let envelope = self.envelope(0, &artifact, "application/vnd.in-toto+json")?;
        cases.push(self.dsse("dsse eleven-keys".to_owned(), &envelope, &[0; 11]));
        for signers in [&SIGNERS[..1], &SIGNERS[1..], &SIGNERS] {
            for list in &lists {
                let artifact = self.artifact();
                let mut signatures = Vec::new();
                let mut envelope = json!({});
                for signer in signers {
                    envelope = self.envelope(*signer, &artifact, "application/vnd.in-toto+json")?;
                    signatures.push(envelope["signatures"][0].clone());
                }
                envelope["signatures"] = signatures.into();
                let keys: Vec<usize> = list.iter().map(|key| SIGNERS[*key]).collect();
                cases.push(self.dsse(format!("dsse signers={signers:?} keys={keys:?}"), &envelope, &keys));
            }
        }
        Ok(cases)
    }

    /// Entries whose verifier is a chain.
    pub(super) fn chains(&mut self) -> Result<Vec<Case>> {
        let hierarchy = Hierarchy::new()?;
        let Hierarchy { leaf, one, two, root, stranger, twins, .. } = &hierarchy;
        let leaf = leaf.as_str();
        let [one, two, root, stranger] = [one, two, root, stranger].map(String::as_str);
        let twins = twins.each_ref().map(String::as_str);
        let chains = [
            ("in-order", vec![leaf, two, one, root]),
            ("out-of-order", vec![leaf, one, two, root]),
            ("twice", vec![leaf, two, two, one, one, root]),
            ("with-a-stranger", vec![leaf, stranger, two, one, root]),
            ("stranger-last", vec![leaf, two, one, stranger]),
            ("root-in-between", vec![leaf, two, root, one]),
            ("no-root", vec![leaf, two, one]),
            ("no-intermediate", vec![leaf, root]),
            ("leaf-twice", vec![leaf, leaf, two, one, root]),
            ("look-alikes-before", vec![leaf, twins[0], twins[1], twins[2], two, one, root]),
            ("look-alikes-behind", vec![leaf, two, one, twins[0], twins[1], twins[2], root]),
            ("ten", vec![leaf, two, one, twins[0], twins[1], twins[2], stranger, two, one, root]),
            ("eleven", vec![leaf, two, one, twins[0], twins[1], twins[2], stranger, two, one, one, root]),
        ];
        let mut cases = Vec::new();
        for (what, chain) in chains {
            let artifact = self.artifact();
            let chain = chain.concat();
            let digest = hex::encode(HashAlgorithm::Sha256.digest(&artifact));
            let entry = json!({ "apiVersion": "0.0.1", "kind": "hashedrekord", "spec": {
                "data": { "hash": { "algorithm": "sha256", "value": digest } },
                "signature": {
                    "content": STANDARD.encode(hierarchy.key.sign(&artifact)?),
                    "publicKey": { "content": STANDARD.encode(chain) },
                },
            } });
            let request = Request::post(PATH, JSON, entry.to_string().into_bytes());
            cases.push(Case { what: format!("hashedrekord chain={what}"), request });
        }
        Ok(cases)
    }
}

/// A root, two authorities below it, a leaf, and others that only look as if they belonged to it.
struct Hierarchy {
    key: KeyPair,
    leaf: String,
    one: String,
    two: String,
    root: String,
    stranger: String,
    /// Named like the issuer of the leaf, each with a key of its own.
    twins: [String; 3],
}

impl Hierarchy {
    fn new() -> Result<Self> {
        let [key, root_key, one_key, two_key, other] = [(); 5].map(|()| KeyPair::generate());
        let (key, root_key, one_key, two_key, other) = (key?, root_key?, one_key?, two_key?, other?);
        let [root, one, two] =
            [("Root", 1), ("One", 2), ("Two", 3)].map(|(name, serial)| authority(name, serial));
        let root = Issuer::from_params(&root, &root_key);
        let one = Issuer::from_params(&one, &one_key);
        let two = Issuer::from_params(&two, &two_key);
        let mut leaf = authority("Leaf", 4);
        leaf.is_ca = IsCa::NoCa;
        let twin = |serial| {
            Ok::<_, anyhow::Error>(authority("Two", serial).self_signed(&KeyPair::generate()?)?.pem())
        };
        Ok(Self {
            leaf: leaf.signed_by(&key, &two)?.pem(),
            one: authority("One", 2).signed_by(&one_key, &root)?.pem(),
            two: authority("Two", 3).signed_by(&two_key, &one)?.pem(),
            root: authority("Root", 1).self_signed(&root_key)?.pem(),
            stranger: authority("Stranger", 5).self_signed(&other)?.pem(),
            twins: [twin(6)?, twin(7)?, twin(8)?],
            key,
        })
    }
}

fn authority(name: &str, serial: u64) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.serial_number = Some(SerialNumber::from(serial));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}
