//! Small requests that take many signature verifications, or slow ones.

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P521_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chancery_tlog::certificate::Certificate;
use chancery_tlog::key::{KeyKind, PublicKey, Signer as _, SoftwareSigner};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SerialNumber,
};
use serde_json::{Value, json};

use super::pae;

/// Keys and signatures of one envelope, and certificates of one chain.
const MOST: usize = 10;
const KIND: &str = "application/vnd.in-toto+json";
const PAYLOAD: &str = r#"{"_type":"https://in-toto.io/Statement/v1","subject":[]}"#;

/// Requests and what they are, each under 64 KiB and each to its path.
pub(super) fn requests() -> Vec<(&'static str, String, Vec<u8>)> {
    let (v1, v2) = ("/api/v1/log/entries", "/api/v2/log/entries");
    let mut requests = vec![
        (v1, "10 keys of ECDSA P-521".to_owned(), v1_dsse()),
        (v2, "10 keys of ECDSA P-384".to_owned(), v2_dsse()),
    ];
    for kind in [KeyKind::EcdsaP384, KeyKind::EcdsaP521] {
        let chain = look_alikes(kind);
        let entry = hashedrekord(&chain, &[1; 70]);
        let retrieve = json!({ "entries": [entry, entry] }).to_string().into_bytes();
        requests.push((v1, format!("look-alikes with {kind}"), entry.to_string().into_bytes()));
        requests.push(("/api/v1/log/entries/retrieve", format!("look-alikes with {kind}"), retrieve));
        let search = json!({ "publicKey": { "format": "x509", "content": STANDARD.encode(&chain) } });
        requests.push((
            "/api/v1/index/retrieve",
            format!("look-alikes with {kind}"),
            search.to_string().into(),
        ));
        let chain = Certificate::chain_from_pem(&chain).unwrap();
        let chain: Vec<_> = chain.iter().map(|certificate| STANDARD.encode(certificate.der())).collect();
        let chain = json!({ "chain": chain }).to_string().into_bytes();
        requests.push(("/ct/ct/v1/add-chain", format!("look-alikes with {kind}"), chain));
    }
    for exponent in [&[1, 0, 1][..], &[0x7f, 0xff, 0xff, 0xff], &[1, 0xff, 0xff, 0xff, 0xff]] {
        let key = rsa_8192(exponent);
        let what = format!("RSA of 8,192 bits, {exponent:x?}");
        let entry = hashedrekord(&key.to_pem(), &[1; 1024]).to_string().into_bytes();
        requests.push((v1, what.clone(), entry));
        let signatures = (0..MOST).map(|at| STANDARD.encode([u8::try_from(at).unwrap(); 1024]));
        let signatures: Vec<_> = signatures.map(|signature| json!({ "sig": signature })).collect();
        requests.push((v1, what, v1_envelope(&signatures, &[key.to_pem()])));
    }
    assert!(requests.iter().all(|(_, _, body)| body.len() < 64 * 1024), "small ones");
    requests
}

/// An entry whose keys stand in the order that makes matching them to signatures the most expensive.
fn v1_dsse() -> Vec<u8> {
    let signed = |_| {
        let key = EcdsaKeyPair::generate(&ECDSA_P521_SHA256_ASN1_SIGNING).unwrap();
        let signature = key.sign(&SystemRandom::new(), &pae(KIND, PAYLOAD)).unwrap();
        let spki: PublicKeyX509Der<'_> = key.public_key().as_der().unwrap();
        (STANDARD.encode(signature), PublicKey::from_spki_der(spki.as_ref()).unwrap().to_pem())
    };
    let mut signed: Vec<_> = (0..MOST).map(signed).collect();
    signed.sort();
    let signatures: Vec<_> = signed.iter().map(|(signature, _)| json!({ "sig": signature })).collect();
    let keys: Vec<_> = signed.into_iter().rev().map(|(_, key)| key).collect();
    v1_envelope(&signatures, &keys)
}

fn v1_envelope(signatures: &[Value], keys: &[String]) -> Vec<u8> {
    let envelope =
        json!({ "payloadType": KIND, "payload": STANDARD.encode(PAYLOAD), "signatures": signatures });
    let keys: Vec<_> = keys.iter().map(|key| STANDARD.encode(key)).collect();
    let content = json!({ "envelope": envelope.to_string(), "verifiers": keys });
    let entry = json!({ "apiVersion": "0.0.1", "kind": "dsse", "spec": { "proposedContent": content } });
    entry.to_string().into_bytes()
}

fn v2_dsse() -> Vec<u8> {
    let signer = |_| SoftwareSigner::generate(KeyKind::EcdsaP384).unwrap();
    let signers: Vec<_> = (0..MOST).map(signer).collect();
    let signatures: Vec<_> = signers
        .iter()
        .rev()
        .map(|signer| json!({ "sig": STANDARD.encode(signer.sign(&pae(KIND, PAYLOAD)).unwrap()) }))
        .collect();
    let verifier = |signer: &SoftwareSigner| {
        let details = signer.public_key().kind().key_details();
        json!({
            "publicKey": { "rawBytes": STANDARD.encode(signer.public_key().spki_der()) }, "keyDetails": details,
        })
    };
    let verifiers: Vec<_> = signers.iter().map(verifier).collect();
    let envelope =
        json!({ "payloadType": KIND, "payload": STANDARD.encode(PAYLOAD), "signatures": signatures });
    json!({ "dsseRequestV002": { "envelope": envelope, "verifiers": verifiers } }).to_string().into_bytes()
}

/// A chain of a leaf, eight certificates that share name and key, and a root with that name and another key: none
/// of the many paths that it might have leads to the root.
fn look_alikes(kind: KeyKind) -> String {
    let algorithm = match kind {
        KeyKind::EcdsaP521 => &rcgen::PKCS_ECDSA_P521_SHA512,
        _ => &rcgen::PKCS_ECDSA_P384_SHA384,
    };
    let [key, another] = [0; 2].map(|_| KeyPair::generate_for(algorithm).unwrap());
    let params = |serial: u64| {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "Look-alike");
        params.serial_number = Some(SerialNumber::from(serial));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
    };
    let mut chain = vec![leaf(&Issuer::from_params(&params(0), &key))];
    chain.extend((1..=8).map(|serial| params(serial).self_signed(&key).unwrap().pem()));
    chain.push(params(9).self_signed(&another).unwrap().pem());
    chain.concat()
}

fn leaf(issuer: &Issuer<'_, &KeyPair>) -> String {
    let mut params = CertificateParams::default();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.signed_by(&KeyPair::generate().unwrap(), issuer).unwrap().pem()
}

fn hashedrekord(verifier: &str, signature: &[u8]) -> Value {
    json!({ "apiVersion": "0.0.1", "kind": "hashedrekord", "spec": {
        "data": { "hash": { "algorithm": "sha256", "value": "00".repeat(32) } },
        "signature": {
            "content": STANDARD.encode(signature), "publicKey": { "content": STANDARD.encode(verifier) },
        },
    } })
}

/// A public key whose private half nobody has: it verifies nothing, and takes its time to say so.
fn rsa_8192(exponent: &[u8]) -> PublicKey {
    let element = |tag: u8, content: &[u8]| {
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        let head =
            if content.len() < 128 { vec![tag, length[1]] } else { vec![tag, 0x82, length[0], length[1]] };
        [&head, content].concat()
    };
    let modulus = element(2, &[&[0][..], &[0xc5; 1024]].concat());
    let key = element(0x30, &[modulus, element(2, exponent)].concat());
    let algorithm = [0x30, 0x0d, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1, 5, 0];
    let bits = element(3, &[&[0], &key[..]].concat());
    PublicKey::from_spki_der(&element(0x30, &[&algorithm[..], &bits].concat())).unwrap()
}
