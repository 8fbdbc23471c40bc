use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use self::past::Past;
use super::*;
use crate::clock::Timestamp;
use crate::fixture::{Authority as TestAuthority, NOON, p256_signer};
use crate::key::{KeyKind, Signer as _};

mod past;

fn at(text: &str) -> Timestamp {
    Timestamp::parse_rfc3339(text).unwrap()
}

/// A trusted root with one log and one CA, as JSON to be spoilt.
fn instance() -> Value {
    let ca = TestAuthority::root("Root", |_| {});
    let issuing = ca.intermediate("Issuing", |_| {});
    let key = p256_signer("log");
    let mut root = TrustedRoot::new();
    root.tlogs
        .push(LogInstance::for_key("https://sign.example", key.public_key(), NOON).operated_by("example"));
    root.ctlogs.push(LogInstance::for_key("https://sign.example/ct", key.public_key(), NOON));
    root.certificate_authorities.push(Authority::from_chain(
        "https://sign.example",
        &[issuing.certificate, ca.certificate],
        NOON,
    ));
    serde_json::from_str(&root.to_json()).unwrap()
}

fn bytes(json: &Value) -> Vec<u8> {
    serde_json::to_vec(json).unwrap()
}

fn keyring(json: &Value) -> Result<Keyring, TrustError> {
    Keyring::parse(&bytes(json))
}

#[test]
fn both_ends_of_a_validity_are_included() {
    let at = Timestamp::from_seconds;
    let validity = Validity { start: at(10), end: Some(at(20)) };
    assert!(validity.contains(at(10)) && validity.contains(at(20)));
    assert!(!validity.contains(at(9)) && !validity.contains(at(21)));
}

#[test]
fn ended_and_current_authorities_are_read_in_full() {
    let past = Past::new();
    let keyring = keyring(&past.trusted_root()).unwrap();
    assert_eq!(keyring.skipped().count(), 0);
    let [old, new] = keyring.authorities.as_slice() else { panic!("two generations") };
    assert_eq!((old.intermediates.as_slice(), &old.anchor), (&[][..], &past.old_ca));
    let [issuing, root] = &past.new_ca;
    assert_eq!((new.intermediates.as_slice(), &new.anchor), (std::slice::from_ref(issuing), root));
    assert_eq!(new.anchor.subject(), "O=Example, CN=New root");
    new.intermediates[0].verify_signed_by(new.anchor.public_key()).unwrap();
    for (time, ended) in [(past::CA_END, false), ("2023-01-01T00:00:00Z", true)] {
        assert_eq!(old.validity.contains(at(time)), !ended, "the end is included");
        assert!(new.validity.contains(at(time)));
    }
    let [tsa] = keyring.timestamp_authorities.as_slice() else { panic!("one") };
    let [leaf, root] = &past.tsa;
    assert_eq!((tsa.intermediates.as_slice(), &tsa.anchor), (std::slice::from_ref(leaf), root));
    assert_eq!(tsa.url, "https://tsa.example/api/v1/timestamp");
}

#[test]
fn ended_and_current_logs_of_every_sort_of_key_are_read() {
    let past = Past::new();
    let keyring = keyring(&past.trusted_root()).unwrap();
    let keys = |logs: &Listed<TrustedLog>| logs.iter().map(|log| log.key.clone()).collect::<Vec<_>>();
    assert_eq!(keys(&keyring.logs), past.logs);
    assert_eq!(keys(&keyring.ct_logs), past.ct_logs);
    let kinds: Vec<KeyKind> = keyring.logs.iter().map(|log| log.key.kind()).collect();
    assert_eq!(kinds, [KeyKind::EcdsaP256, KeyKind::Ed25519, KeyKind::Ed25519]);
    let [v1, old, new] = keyring.logs.as_slice() else { panic!("three") };
    assert_eq!(v1.id, v1.key.fingerprint());
    assert_eq!([old.id, new.id], past.v2_ids, "Rekor v2 names logs by origin and key");
    assert_ne!(old.id, old.key.fingerprint());
    assert!(old.validity.contains(at(past::LOG_END)) && !old.validity.contains(at("2025-09-04T00:00:01Z")));
    assert_eq!(new.validity, Validity { start: at(past::LOG_END), end: None });
    let kinds: Vec<KeyKind> = keyring.ct_logs.iter().map(|log| log.key.kind()).collect();
    assert_eq!(kinds, [KeyKind::Rsa(2048), KeyKind::EcdsaP256, KeyKind::EcdsaP256]);
    assert_eq!(keyring.ct_logs.as_slice()[0].id, past.ct_logs[0].fingerprint(), "the id is over the SPKI");
    let ended: Vec<bool> = keyring.ct_logs.iter().map(|log| log.validity.end.is_some()).collect();
    assert_eq!(ended, [true, true, false]);
}

#[test]
fn what_is_written_is_read_back() {
    let json = instance();
    let read = keyring(&json).unwrap();
    let key = p256_signer("log");
    assert_eq!(&read.logs.as_slice()[0].key, key.public_key());
    assert_eq!(read.logs.as_slice()[0].id, key.public_key().fingerprint());
    assert_eq!(read.logs.as_slice()[0].validity, Validity { start: NOON, end: None });
    assert_eq!(read.authorities.as_slice()[0].intermediates.len(), 1);
    assert_eq!(read.authorities.as_slice()[0].anchor.subject(), "O=Example, CN=Root");
}

#[test]
fn the_json_is_what_the_clients_read() {
    let json = instance();
    assert_eq!(json["mediaType"], TRUSTED_ROOT_TYPE);
    let key = p256_signer("log");
    assert_eq!(
        json["tlogs"][0],
        json!({
            "baseUrl": "https://sign.example",
            "hashAlgorithm": "SHA2_256",
            "publicKey": {
                "rawBytes": STANDARD.encode(key.public_key().spki_der()),
                "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                "validFor": { "start": "2026-11-21T12:00:00Z" },
            },
            "logId": { "keyId": STANDARD.encode(key.public_key().fingerprint()) },
            "operator": "example",
        })
    );
    assert_eq!(
        json["certificateAuthorities"][0]["subject"],
        json!({ "organization": "Example", "commonName": "Root" })
    );
    assert!(json.get("timestampAuthorities").is_none());

    let mut config = SigningConfig::new();
    config.ca_urls.push(Service::new("https://sign.example", 1, NOON, "example"));
    let both = ClientTrustConfig::new(serde_json::from_value(json).unwrap(), config.clone());
    assert!(both.to_json().ends_with("}\n"));
    assert_eq!(ClientTrustConfig::parse(both.to_json().as_bytes()), Ok(both));
    let config: Value = serde_json::from_str(&config.to_json()).unwrap();
    assert_eq!(
        config,
        json!({
            "mediaType": SIGNING_CONFIG_TYPE,
            "caUrls": [{
                "url": "https://sign.example",
                "majorApiVersion": 1,
                "validFor": { "start": "2026-11-21T12:00:00Z" },
                "operator": "example",
            }],
            "oidcUrls": [], "rekorTlogUrls": [], "tsaUrls": [],
            "rekorTlogConfig": { "selector": "ANY" }, "tsaConfig": { "selector": "ANY" },
        })
    );
}

#[test]
fn an_error_names_the_member() {
    let cases = [
        ("/tlogs/0/publicKey/rawBytes", json!("!"), "tlogs[0].publicKey.rawBytes: not base64"),
        (
            "/tlogs/0/publicKey/rawBytes",
            json!("AAAA"),
            "tlogs[0].publicKey.rawBytes: malformed key: not a DER SubjectPublicKeyInfo",
        ),
        ("/tlogs/0/publicKey/rawBytes", json!(null), "tlogs[0].publicKey.rawBytes: missing"),
        (
            "/tlogs/0/publicKey/keyDetails",
            json!("PKIX_ED25519"),
            "tlogs[0].publicKey.keyDetails: the key is ECDSA P-256",
        ),
        (
            "/tlogs/0/publicKey/validFor/start",
            json!("yesterday"),
            "tlogs[0].publicKey.validFor.start: not an RFC 3339 time",
        ),
        ("/tlogs/0/publicKey/validFor", json!(null), "tlogs[0].publicKey.validFor.start: missing"),
        ("/ctlogs/0/logId/keyId", json!("AAAA"), "ctlogs[0].logId.keyId: not 32 bytes"),
        (
            "/certificateAuthorities/0/certChain/certificates",
            json!([]),
            "certificateAuthorities[0].certChain.certificates: missing",
        ),
        (
            "/certificateAuthorities/0/validFor/end",
            json!("x"),
            "certificateAuthorities[0].validFor.end: not an RFC 3339 time",
        ),
    ];
    let good = instance();
    for (pointer, value, message) in cases {
        let mut json = good.clone();
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        json.pointer_mut(parent).unwrap()[name] = value;
        assert_eq!(keyring(&json).unwrap_err().to_string(), message, "{pointer}");
    }
    let mut json = good;
    json["certificateAuthorities"][0]["certChain"]["certificates"][1]["rawBytes"] = "AAAA".into();
    let message = keyring(&json).unwrap_err().to_string();
    assert!(
        message.starts_with(
            "certificateAuthorities[0].certChain.certificates[1].rawBytes: malformed certificate"
        )
    );
}

#[test]
fn a_log_of_tomorrow_is_left_out_and_reported() {
    let mut json = instance();
    let tomorrow = past::unknown_key(&json["tlogs"][0]);
    let mut hash = json["tlogs"][0].clone();
    hash["hashAlgorithm"] = "SHA3_256".into();
    let logs = json["tlogs"].as_array_mut().unwrap();
    logs.insert(0, tomorrow);
    logs.push(hash);
    let keyring = keyring(&json).unwrap();
    assert_eq!(keyring.logs.as_slice().len(), 1);
    assert_eq!(keyring.skipped().collect::<Vec<_>>(), keyring.logs.skipped().iter().collect::<Vec<_>>());
    let skipped: Vec<String> = keyring.skipped().map(ToString::to_string).collect();
    assert_eq!(
        skipped,
        [
            "tlogs[0]: unsupported key algorithm 2.16.840.1.101.3.4.3.18",
            "tlogs[2]: hash algorithm `SHA3_256`",
        ]
    );
}

#[test]
fn a_list_of_which_nothing_is_read_is_not_empty() {
    let mut json = instance();
    json["tlogs"][0] = past::unknown_key(&json["tlogs"][0]);
    json["ctlogs"] = json!([]);
    let keyring = keyring(&json).unwrap();
    assert_eq!(keyring.logs.as_slice(), []);
    assert!(!keyring.logs.is_empty() && !keyring.authorities.is_empty());
    assert!(keyring.ct_logs.is_empty() && keyring.timestamp_authorities.is_empty());
}

#[test]
fn unknown_members_and_nulls_are_ignored() {
    let mut json = instance();
    json["extra"] = json!({ "a": 1 });
    json["timestampAuthorities"] = Value::Null;
    json["tlogs"][0]["checkpointKeyId"] = Value::Null;
    json["tlogs"][0]["publicKey"]["validFor"]["end"] = Value::Null;
    json["certificateAuthorities"][0]["validFor"] = Value::Null;
    let keyring = keyring(&json).unwrap();
    assert_eq!(
        keyring.authorities.as_slice()[0].validity,
        Validity { start: Timestamp::default(), end: None }
    );
}

#[test]
fn another_media_type_is_refused() {
    let mut json = instance();
    for good in [TRUSTED_ROOT_TYPE, "application/vnd.dev.sigstore.trustedroot.v0.2+json"] {
        json["mediaType"] = good.into();
        keyring(&json).unwrap();
    }
    json["mediaType"] = SIGNING_CONFIG_TYPE.into();
    assert!(matches!(keyring(&json), Err(TrustError::MediaType { .. })));
    assert!(matches!(TrustedRoot::parse(b"{}"), Err(TrustError::MediaType { .. })));
    let root = bytes(&instance());
    assert!(matches!(SigningConfig::parse(&root), Err(TrustError::MediaType { .. })));
    assert!(matches!(ClientTrustConfig::parse(&root), Err(TrustError::MediaType { .. })));
}

#[test]
fn a_signing_config_is_read_and_its_times_checked() {
    let file = past::signing_config().to_json();
    let config = SigningConfig::parse(file.as_bytes()).unwrap();
    assert_eq!(config.rekor_tlog_urls.len(), 3);
    assert_eq!(config.rekor_tlog_urls[0].major_api_version, 2);
    let ended = config.rekor_tlog_urls[1].valid_for.validity().unwrap();
    assert!(!ended.contains(at("2025-09-04T00:00:01Z")) && ended.contains(at(past::LOG_END)));

    let mut json: Value = serde_json::from_str(&file).unwrap();
    json["ofTomorrow"] = json!({ "a": 1 });
    assert_eq!(SigningConfig::parse(&bytes(&json)), Ok(config));
    json["caUrls"][0]["validFor"]["start"] = "soon".into();
    let error = SigningConfig::parse(&bytes(&json)).unwrap_err();
    assert_eq!(error.to_string(), "caUrls[0].validFor.start: not an RFC 3339 time");
}

#[test]
fn sizes_and_counts_are_bounded() {
    assert_eq!(TrustedRoot::parse(&vec![b' '; MAX_TRUST_FILE + 1]), Err(TrustError::TooLarge));
    let mut json = instance();
    json["ctlogs"] = vec![json["ctlogs"][0].clone(); 257].into();
    assert_eq!(keyring(&json).unwrap_err().to_string(), "ctlogs: more than 256 elements");
    let mut json = instance();
    let certificates = &mut json["certificateAuthorities"][0]["certChain"]["certificates"];
    *certificates = vec![certificates[0].clone(); 11].into();
    let message = "certificateAuthorities[0].certChain.certificates: more than 10 elements";
    assert_eq!(keyring(&json).unwrap_err().to_string(), message);
}
