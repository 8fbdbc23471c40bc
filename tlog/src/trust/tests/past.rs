//! The trust files of an instance with a past: keys and CAs that ended, all sorts of keys, and members of tomorrow.

use super::*;
use crate::certificate::Certificate;
use crate::key::{PublicKey, SoftwareSigner};
use crate::note::{KeyName, NoteKey};
use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::KeyPair as _;
use rcgen::ExtendedKeyUsagePurpose;

/// Ends of ranges; the successors start where their predecessors end.
pub(super) const CA_END: &str = "2022-12-31T23:59:59.999Z";
pub(super) const LOG_END: &str = "2025-09-04T00:00:00Z";
pub(super) const CT_END: &str = "2022-07-31T00:00:00Z";

/// An instance and everything that its trusted root is about.
pub(super) struct Past {
    /// Rekor v1 (P-256), then Rekor v2 twice (Ed25519), of which the first ended.
    pub(super) logs: [PublicKey; 3],
    /// The full note key hashes by which the Rekor v2 logs are named.
    pub(super) v2_ids: [[u8; 32]; 2],
    /// RSA as bare PKCS#1, then P-256 twice; the first two ended.
    pub(super) ct_logs: [PublicKey; 3],
    /// A self-signed CA that ended and issued itself.
    pub(super) old_ca: Certificate,
    /// Its successor: issuing certificate and root.
    pub(super) new_ca: [Certificate; 2],
    /// A timestamp authority: its leaf and root.
    pub(super) tsa: [Certificate; 2],
}

impl Past {
    pub(super) fn new() -> Self {
        let generate = |kind| SoftwareSigner::generate(kind).unwrap().public_key().clone();
        let v2 = [generate(KeyKind::Ed25519), generate(KeyKind::Ed25519)];
        let id = |host: &str, key: &PublicKey| {
            NoteKey::new(KeyName::new(host).unwrap(), key.clone()).unwrap().full_id()
        };
        let root = TestAuthority::root("New root", |_| {});
        let issuing = root.intermediate("New issuing", |_| {});
        let stamps = TestAuthority::root("Timestamps", |_| {});
        let leaf = stamps.leaf(p256_signer("tsa").public_key(), |params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::TimeStamping];
        });
        Self {
            v2_ids: [id("log1.example", &v2[0]), id("log2.example", &v2[1])],
            logs: [p256_signer("v1").public_key().clone(), v2[0].clone(), v2[1].clone()],
            ct_logs: [
                rsa(),
                p256_signer("ct1").public_key().clone(),
                p256_signer("ct2").public_key().clone(),
            ],
            old_ca: TestAuthority::root("Old root", |_| {}).certificate,
            new_ca: [issuing.certificate, root.certificate],
            tsa: [leaf, stamps.certificate],
        }
    }

    /// The trusted root, with members that no version of the format has on every level.
    pub(super) fn trusted_root(&self) -> Value {
        let [v1, old_v2, new_v2] = &self.logs;
        let [rsa, old_ct, new_ct] = &self.ct_logs;
        let log = |host: &str, key, start| LogInstance::for_key(format!("https://{host}"), key, at(start));
        let mut root = TrustedRoot::new();
        root.tlogs = vec![
            log("log.example", v1, "2021-01-12T11:53:27Z"),
            ended(named(log("log1.example", old_v2, "2025-04-16T00:00:00Z"), &self.v2_ids[0]), LOG_END),
            named(log("log2.example", new_v2, LOG_END), &self.v2_ids[1]),
        ];
        root.ctlogs = vec![
            ended(pkcs1(log("ct.example/test", rsa, "2021-03-14T00:00:00Z"), rsa), CT_END),
            ended(log("ct.example/2022", old_ct, "2022-07-01T00:00:00Z"), CT_END),
            log("ct.example/2023", new_ct, CT_END),
        ];
        let old_ca = std::slice::from_ref(&self.old_ca);
        let mut old = Authority::from_chain("https://ca.example", old_ca, at("2021-03-07T03:20:29Z"));
        old.valid_for.end = Some(CA_END.to_owned());
        let new = Authority::from_chain("https://ca.example", &self.new_ca, at("2022-04-13T20:06:15Z"));
        root.certificate_authorities = vec![old, new];
        let url = "https://tsa.example/api/v1/timestamp";
        root.timestamp_authorities = vec![Authority::from_chain(url, &self.tsa, at("2025-07-04T00:00:00Z"))];
        let mut json = serde_json::from_str(&root.to_json()).unwrap();
        add_members_of_tomorrow(&mut json);
        json
    }
}

/// A signing config with a log that ended and logs of two API versions.
pub(super) fn signing_config() -> SigningConfig {
    let service = |url: &str, version, start| Service::new(url, version, at(start), "example");
    let mut config = SigningConfig::new();
    config.ca_urls = vec![service("https://ca.example", 1, "2022-04-14T21:38:40Z")];
    config.oidc_urls = vec![service("https://id.example/auth", 1, "2025-04-16T00:00:00Z")];
    let mut old = service("https://log1.example", 2, "2025-05-07T12:00:00Z");
    old.valid_for.end = Some(LOG_END.to_owned());
    let v1 = service("https://log.example", 1, "2021-01-12T11:53:27Z");
    config.rekor_tlog_urls = vec![service("https://log2.example", 2, LOG_END), old, v1];
    config.tsa_urls = vec![service("https://tsa.example/api/v1/timestamp", 1, "2025-07-04T00:00:00Z")];
    config
}

/// A log of tomorrow: an SPKI of id-ML-DSA-65 with nonsense for a key.
pub(super) fn unknown_key(log: &Value) -> Value {
    let spki = hex::decode("3012300b0609608648016503040312030300abcd").unwrap();
    let mut log = log.clone();
    log["publicKey"]["rawBytes"] = STANDARD.encode(spki).into();
    log["publicKey"]["keyDetails"] = "ML_DSA_65".into();
    log
}

fn rsa() -> PublicKey {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let spki: aws_lc_rs::encoding::PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
    PublicKey::from_spki_der(spki.as_ref()).unwrap()
}

fn ended(mut log: LogInstance, end: &str) -> LogInstance {
    log.public_key.valid_for.end = Some(end.to_owned());
    log
}

fn named(mut log: LogInstance, id: &[u8; 32]) -> LogInstance {
    log.log_id.key_id = STANDARD.encode(id);
    log
}

fn pkcs1(mut log: LogInstance, key: &PublicKey) -> LogInstance {
    log.public_key.raw_bytes = STANDARD.encode(key.key_bits());
    log.public_key.key_details = "PKCS1_RSA_PKCS1V5".to_owned();
    log
}

fn add_members_of_tomorrow(json: &mut Value) {
    match json {
        Value::Object(members) => {
            members.values_mut().for_each(add_members_of_tomorrow);
            members.insert("ofTomorrow".to_owned(), json!({ "a": [1] }));
        }
        Value::Array(list) => list.iter_mut().for_each(add_members_of_tomorrow),
        _ => {}
    }
}
