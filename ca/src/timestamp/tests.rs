//! The authority by its rules, held against OpenSSL and the verifier of `chancery-tlog`.

use std::path::Path;
use std::process::Command;

use ::der::asn1::{Int, ObjectIdentifier};
use ::der::{Any, Decode as _, Encode as _};
use chancery_tlog::clock::FixedClock;
use chancery_tlog::key::{HashAlgorithm, PublicKey, SoftwareSigner};
use chancery_tlog::timestamp::TimestampError;
use cms::cert::x509::ext::Extension as X509Extension;
use cms::cert::x509::spki::AlgorithmIdentifierOwned;
use cms::signed_data::SignedData;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use proptest::prelude::*;
use tempfile::TempDir;
use tower::ServiceExt as _;
use x509_tsp::{MessageImprint, TimeStampReq, TimeStampResp, TspVersion, TstInfo};

use super::*;
use crate::der;
use crate::profile::{Extension, SignerKey};

mod api;

/// Noon of 2026-11-21.
const NOON: Timestamp = Timestamp::from_seconds(1_795_262_400);
const MESSAGE: &[u8] = b"the signature bytes";
const QUERY: &str = "application/timestamp-query";

struct Instance {
    clock: Arc<FixedClock>,
    authority: Arc<TimestampAuthority>,
}

impl Instance {
    fn new() -> Self {
        Self::with(KeyKind::EcdsaP256, &TimestampSettings::default())
    }

    fn with(kind: KeyKind, settings: &TimestampSettings) -> Self {
        let made = make_timestamp_authority("Example Org", kind, &FixedClock::new(NOON)).unwrap();
        Self::load(&made.chain_pem(), made.key.clone(), settings).unwrap()
    }

    fn load(
        chain: &str,
        key: Arc<dyn Signer>,
        settings: &TimestampSettings,
    ) -> Result<Self, TimestampAuthorityError> {
        let clock = Arc::new(FixedClock::new(NOON));
        let authority = Arc::new(TimestampAuthority::load(chain, key, settings, clock.clone())?);
        Ok(Self { clock, authority })
    }

    fn trusted(&self) -> TrustedAuthority {
        let (anchor, intermediates) = self.authority.chain().split_last().unwrap();
        TrustedAuthority {
            intermediates: intermediates.to_vec(),
            anchor: anchor.clone(),
            validity: Validity { start: NOON, end: None },
            url: String::new(),
        }
    }

    async fn post(&self, content_type: &str, body: impl Into<axum::body::Body>) -> Answer {
        let request = http::Request::post("/api/v1/timestamp").header(CONTENT_TYPE, content_type);
        self.ask(request.body(body.into()).unwrap()).await
    }

    async fn ask(&self, request: http::Request<axum::body::Body>) -> Answer {
        let response = router(self.authority.clone()).oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        Answer { parts, body: body.collect().await.unwrap().to_bytes().to_vec() }
    }

    /// The answer to a request that must be granted.
    async fn granted(&self, request: &TimeStampReq) -> Granted {
        let answer = self.post(QUERY, request.to_der().unwrap()).await;
        assert_eq!(answer.parts.status, StatusCode::OK, "{}", String::from_utf8_lossy(&answer.body));
        Granted::read(answer.body)
    }
}

struct Answer {
    parts: http::response::Parts,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: http::HeaderName) -> &str {
        self.parts.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Status and message of an error answer, whose body must have the form of one.
    fn refusal(&self) -> (u16, String) {
        let body: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(body["code"], self.parts.status.as_u16());
        assert_eq!(self.header(CONTENT_TYPE), "application/json");
        (self.parts.status.as_u16(), body["message"].as_str().unwrap().to_owned())
    }
}

/// An answer, read by RustCrypto.
struct Granted {
    der: Vec<u8>,
    info: TstInfo,
    data: SignedData,
}

impl Granted {
    fn read(der: Vec<u8>) -> Self {
        let response = TimeStampResp::from_der(&der).unwrap();
        assert_eq!(response.to_der().unwrap(), der, "our frames are those of RustCrypto's encoder");
        let token = response.time_stamp_token.unwrap();
        let data: SignedData = token.content.decode_as().unwrap();
        assert_eq!(data.to_der().unwrap(), token.content.to_der().unwrap());
        let content = data.encap_content_info.econtent.as_ref().unwrap();
        let info = TstInfo::from_der(content.value()).unwrap();
        Self { der, info, data }
    }

    fn certificates(&self) -> Vec<Vec<u8>> {
        let set = self.data.certificates.as_ref();
        set.map_or_else(Vec::new, |set| set.0.iter().map(|c| c.to_der().unwrap()).collect())
    }
}

fn oid(dotted: &str) -> ObjectIdentifier {
    ObjectIdentifier::new(dotted).unwrap()
}

fn request(hash: HashAlgorithm) -> TimeStampReq {
    let arc = match hash {
        HashAlgorithm::Sha256 => 1,
        HashAlgorithm::Sha384 => 2,
        HashAlgorithm::Sha512 => 3,
    };
    TimeStampReq {
        version: TspVersion::V1,
        message_imprint: MessageImprint {
            hash_algorithm: AlgorithmIdentifierOwned {
                oid: oid(&format!("2.16.840.1.101.3.4.2.{arc}")),
                parameters: Some(Any::null()),
            },
            hashed_message: ::der::asn1::OctetString::new(hash.digest(MESSAGE)).unwrap(),
        },
        req_policy: None,
        nonce: None,
        cert_req: false,
        extensions: None,
    }
}

fn sha256() -> TimeStampReq {
    request(HashAlgorithm::Sha256)
}

/// What the authority says to a request with one thing changed.
async fn refused(change: impl FnOnce(&mut TimeStampReq)) -> String {
    let mut request = sha256();
    change(&mut request);
    let (status, message) = Instance::new().post(QUERY, request.to_der().unwrap()).await.refusal();
    assert_eq!(status, 400);
    message
}

#[tokio::test]
async fn timestamps_verify_with_every_hash_and_key() {
    for kind in [KeyKind::EcdsaP256, KeyKind::EcdsaP384] {
        let instance = Instance::with(kind, &TimestampSettings::default());
        for hash in [HashAlgorithm::Sha256, HashAlgorithm::Sha384, HashAlgorithm::Sha512] {
            for certificates in [false, true] {
                let answer =
                    instance.granted(&TimeStampReq { cert_req: certificates, ..request(hash) }).await;
                let trusted = [instance.trusted()];
                let verified = verify_response(&answer.der, MESSAGE, &trusted, Expected::default()).unwrap();
                assert_eq!(verified.time, NOON);
                assert_eq!(verified.policy, DEFAULT_POLICY);
                let other = verify_response(&answer.der, b"other", &trusted, Expected::default());
                assert_eq!(other, Err(TimestampError::OtherMessage));
            }
        }
    }
}

#[tokio::test]
async fn the_info_says_what_rfc_3161_asks_for() {
    let instance = Instance::new();
    instance.clock.advance(Duration::from_millis(1999));
    let info = instance.granted(&sha256()).await.info;
    assert_eq!(info.message_imprint, sha256().message_imprint, "as requested, parameters included");
    assert_eq!(info.gen_time.to_unix_duration().as_secs(), NOON.seconds() + 1);
    assert_eq!(info.accuracy.unwrap().seconds, Some(1));
    assert!(!info.ordering && info.nonce.is_none() && info.tsa.is_none() && info.extensions.is_none());
}

#[tokio::test]
async fn the_nonce_is_echoed_whatever_its_sign() {
    let instance = Instance::new();
    for nonce in [&[0x7f][..], &[0x12; 8], &[0xff, 0x01], &[0]] {
        let nonce = Some(Int::from_der(&der::tlv(2, nonce)).unwrap());
        let answer = instance.granted(&TimeStampReq { nonce: nonce.clone(), ..sha256() }).await;
        assert_eq!(answer.info.nonce, nonce);
    }
}

#[tokio::test]
async fn certificates_come_when_asked_for() {
    let instance = Instance::new();
    assert!(instance.granted(&sha256()).await.certificates().is_empty());
    let answer = instance.granted(&TimeStampReq { cert_req: true, ..sha256() }).await;
    assert_eq!(answer.certificates(), [instance.authority.chain()[0].der()]);
}

#[tokio::test]
async fn a_whole_chain_comes_in_the_order_of_a_der_set() {
    let settings = TimestampSettings { include_chain: true, ..TimestampSettings::default() };
    // Eight random keys: the order of the path is hardly that of the set every time.
    for _ in 0..8 {
        let (chain, key) = chain_with_intermediate(&[oid::TIME_STAMPING]);
        let instance = Instance::load(&chain, key, &settings).unwrap();
        let answer = instance.granted(&TimeStampReq { cert_req: true, ..sha256() }).await;
        let certificates = answer.certificates();
        assert_eq!(certificates.len(), 3);
        assert!(certificates.is_sorted());
        assert!(
            answer.data.signer_infos.0.as_slice()[0]
                .signed_attrs
                .as_ref()
                .is_some_and(|attributes| { attributes.iter().map(|a| a.to_der().unwrap()).is_sorted() })
        );
    }
}

#[tokio::test]
async fn serial_numbers_are_long_random_and_positive() {
    let instance = Instance::new();
    let mut seen = std::collections::HashSet::new();
    for _ in 0..100 {
        let serial = instance.granted(&sha256()).await.info.serial_number.as_bytes().to_vec();
        assert_eq!(serial.len(), 20);
        assert!(serial[0] < 0x80);
        assert!(seen.insert(serial));
    }
}

#[tokio::test]
async fn only_offered_policies_are_accepted() {
    let other = "1.2.3.4.5";
    let message = refused(|request| request.req_policy = Some(oid(other))).await;
    assert_eq!(message, "unaccepted policy: requested TSA policy is not supported by the TSA: 1.2.3.4.5");
    let settings =
        TimestampSettings { accepted_policies: vec![other.to_owned()], ..TimestampSettings::default() };
    let instance = Instance::with(KeyKind::EcdsaP256, &settings);
    for policy in [DEFAULT_POLICY, other] {
        let answer = instance.granted(&TimeStampReq { req_policy: Some(oid(policy)), ..sha256() }).await;
        assert_eq!(answer.info.policy, oid(policy));
    }
}

#[tokio::test]
async fn weak_and_unknown_hashes_are_refused() {
    let weak = "Weak hash algorithm in timestamp request";
    for algorithm in ["1.3.14.3.2.26", "1.2.840.113549.2.5"] {
        assert_eq!(refused(|r| r.message_imprint.hash_algorithm.oid = oid(algorithm)).await, weak);
    }
    let message = refused(|r| r.message_imprint.hash_algorithm.oid = oid("2.16.840.1.101.3.4.2.4")).await;
    assert!(
        message.starts_with("Error generating timestamp response: unsupported hash algorithm"),
        "{message}"
    );
    let message = refused(|r| {
        r.message_imprint.hash_algorithm.parameters = Some(Any::encode_from(&oid("1.2.3")).unwrap());
    });
    assert!(message.await.ends_with("the hash algorithm has parameters"));
}

#[tokio::test]
async fn the_digest_has_the_length_of_its_algorithm() {
    let message = refused(|r| r.message_imprint.hash_algorithm.oid = oid("2.16.840.1.101.3.4.2.3")).await;
    assert_eq!(message, "Message digest has incorrect length for specified algorithm");
}

#[tokio::test]
async fn extensions_are_refused() {
    let extension = X509Extension {
        extn_id: oid("1.2.3.4"),
        critical: false,
        extn_value: ::der::asn1::OctetString::new(vec![5, 0]).unwrap(),
    };
    let message = refused(|r| r.extensions = Some(vec![extension])).await;
    assert_eq!(message, "unaccepted extension: requested extensions are not supported by the TSA");
}

#[tokio::test]
async fn requests_that_are_not_der_are_refused() {
    let instance = Instance::new();
    let good = sha256().to_der().unwrap();
    let trailing = [good.clone(), vec![0]].concat();
    for body in [trailing, good[..good.len() - 1].to_vec(), b"{}".to_vec()] {
        let (status, message) = instance.post(QUERY, body).await.refusal();
        assert_eq!(status, 400);
        assert!(message.starts_with("Error generating timestamp response: "), "{message}");
    }
}

#[tokio::test]
async fn the_chain_is_served_leaf_first() {
    let instance = Instance::new();
    let request = http::Request::get("/api/v1/timestamp/certchain").body(String::new().into()).unwrap();
    let answer = instance.ask(request).await;
    assert_eq!(answer.header(CONTENT_TYPE), "application/pem-certificate-chain");
    let chain = Certificate::chain_from_pem(std::str::from_utf8(&answer.body).unwrap()).unwrap();
    assert_eq!(chain, instance.authority.chain());
}

#[tokio::test]
async fn a_clock_that_steps_back_stops_it_until_it_has_caught_up() {
    let instance = Instance::new();
    instance.granted(&sha256()).await;
    instance.clock.set(NOON.minus(Duration::from_secs(30)));
    let answer = instance.post(QUERY, sha256().to_der().unwrap()).await;
    assert_eq!(answer.refusal(), (503, "Error generating timestamp response".to_owned()));
    assert_eq!(answer.header(RETRY_AFTER), "30");
    instance.clock.set(NOON);
    instance.granted(&sha256()).await;
}

#[tokio::test]
async fn nothing_is_signed_after_the_chain_has_expired() {
    let instance = Instance::new();
    instance.clock.set(instance.authority.chain()[0].not_after());
    instance.granted(&sha256()).await;
    instance.clock.advance(Duration::from_secs(1));
    let (status, why) = instance.post(QUERY, sha256().to_der().unwrap()).await.refusal();
    assert_eq!((status, why.contains("renew it")), (503, true), "{why}");
}

#[tokio::test]
async fn a_key_that_may_block_signs_in_a_blocking_thread() {
    struct Slow(Arc<SoftwareSigner>);
    impl Signer for Slow {
        fn public_key(&self) -> &PublicKey {
            self.0.public_key()
        }
        fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
            self.0.sign(message)
        }
        fn may_block(&self) -> bool {
            true
        }
    }
    let made = make_timestamp_authority("Example", KeyKind::EcdsaP256, &FixedClock::new(NOON)).unwrap();
    let slow = Arc::new(Slow(made.key.clone()));
    let instance = Instance::load(&made.chain_pem(), slow, &TimestampSettings::default()).unwrap();
    instance.granted(&sha256()).await;
}

/// Leaf, intermediate with these usages, root; and the leaf's key.
fn chain_with_intermediate(usages: &[&str]) -> (String, Arc<dyn Signer>) {
    let keys: Vec<Arc<SoftwareSigner>> =
        (0..3).map(|_| Arc::new(SoftwareSigner::generate(KeyKind::EcdsaP256).unwrap())).collect();
    let usage = |usages: &[&str], critical| {
        let usages: Vec<Vec<u8>> = usages.iter().map(|u| der::object_identifier(u).unwrap()).collect();
        Extension::new("2.5.29.37", critical, der::sequence(&usages))
    };
    let ca = |key: &SoftwareSigner| profile::ca_extensions(key.public_key(), 1, None).unwrap();
    let mut intermediate = ca(&keys[1]);
    if !usages.is_empty() {
        intermediate.push(usage(usages, false));
    }
    let extensions = [ca(&keys[0]), intermediate, vec![usage(&[oid::TIME_STAMPING], true)]];
    let mut chain = String::new();
    let mut issuer: Option<rcgen::Issuer<'_, SignerKey>> = None;
    for (level, (key, extensions)) in keys.iter().zip(extensions).enumerate() {
        let mut name = rcgen::DistinguishedName::new();
        name.push(rcgen::DnType::CommonName, format!("Level {level}"));
        let validity = (NOON, NOON.plus(Duration::from_hours(1)));
        let params = profile::params(name, &profile::serial().unwrap(), validity, &extensions).unwrap();
        let own = rcgen::Issuer::new(params.clone(), SignerKey::new(key.clone()));
        let spki = rcgen::SubjectPublicKeyInfo::from_der(key.public_key().spki_der()).unwrap();
        let certificate = params.signed_by(&spki, issuer.as_ref().unwrap_or(&own)).unwrap();
        chain = Certificate::from_der(certificate.der()).unwrap().to_pem() + &chain;
        issuer = Some(own);
    }
    (chain, keys[2].clone())
}

#[test]
fn a_chain_that_clients_would_refuse_is_refused_at_load() {
    let settings = TimestampSettings::default();
    let refusal = |chain: &str, key: Arc<dyn Signer>| {
        Instance::load(chain, key, &settings).err().map_or_else(String::new, |error| error.to_string())
    };
    let (chain, key) = chain_with_intermediate(&[oid::TIME_STAMPING]);
    assert_eq!(refusal(&chain, key.clone()), "");
    let blocks = Certificate::chain_from_pem(&chain).unwrap();
    let pem = |order: &[usize]| order.iter().map(|&i| blocks[i].to_pem()).collect::<String>();
    assert!(refusal(&pem(&[0]), key.clone()).contains("at least a leaf and a root"));
    assert!(refusal(&pem(&[2, 1, 0]), key.clone()).contains("does not validate"));
    assert!(refusal(&pem(&[0, 2]), key.clone()).contains("does not validate"));
    assert!(refusal(&pem(&[0, 1, 1, 2]), key.clone()).contains("one path in order"));
    let other = SoftwareSigner::generate(KeyKind::EcdsaP256).unwrap();
    assert!(refusal(&chain, Arc::new(other)).contains("does not belong"));
    let other = SoftwareSigner::generate(KeyKind::Ed25519).unwrap();
    assert!(refusal(&chain, Arc::new(other)).contains("must be ECDSA P-256 or P-384"));

    let (chain, key) = chain_with_intermediate(&[]);
    assert!(refusal(&chain, key).contains("an intermediate without the extended key usage"));
    let (chain, key) = chain_with_intermediate(&[oid::CODE_SIGNING]);
    assert!(refusal(&chain, key).contains("does not allow timestamping below it"));
    let ca =
        crate::make_root_and_intermediate("Example", KeyKind::EcdsaP256, &FixedClock::new(NOON)).unwrap();
    assert!(refusal(&ca.chain_pem(), ca.issuing_key.clone()).contains("does not validate"));
}

#[test]
fn settings_are_checked_at_load() {
    let made = make_timestamp_authority("Example", KeyKind::EcdsaP256, &FixedClock::new(NOON)).unwrap();
    let load =
        |settings: &TimestampSettings| Instance::load(&made.chain_pem(), made.key.clone(), settings).err();
    let error = load(&TimestampSettings { policy: "sigstore".to_owned(), ..TimestampSettings::default() });
    assert!(matches!(error, Some(TimestampAuthorityError::Policy(policy)) if policy == "sigstore"));
    let behind = TimestampSettings { not_before: NOON.plus(Duration::from_mins(1)), ..Default::default() };
    let error = load(&behind).unwrap().to_string();
    assert!(error.contains("the clock shows 2026-11-21T12:00:00Z"), "{error}");
}

#[test]
fn an_organization_has_a_name() {
    for organization in ["", " ", &"x".repeat(65), "a\nb"] {
        let made = make_timestamp_authority(organization, KeyKind::EcdsaP256, &FixedClock::new(NOON));
        assert!(made.is_err(), "{organization:?}");
    }
    assert!(make_timestamp_authority("Example", KeyKind::Ed25519, &FixedClock::new(NOON)).is_err());
}

fn openssl(folder: &Path, arguments: &str) -> std::process::Output {
    let mut command = Command::new("openssl");
    command.current_dir(folder).args(arguments.split(' ')).output().unwrap()
}

#[tokio::test]
async fn openssl_accepts_the_timestamps_that_it_asked_for() {
    for (kind, hash, certificates) in [
        (KeyKind::EcdsaP256, "sha256", true),
        (KeyKind::EcdsaP256, "sha512", false),
        (KeyKind::EcdsaP384, "sha384", true),
    ] {
        let instance = Instance::with(kind, &TimestampSettings::default());
        let folder = TempDir::new().unwrap();
        let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
        let chain = instance.authority.chain();
        write("message", MESSAGE);
        write("leaf.pem", chain[0].to_pem().as_bytes());
        write("root.pem", chain[1].to_pem().as_bytes());
        let certificate = if certificates { " -cert" } else { "" };
        let made =
            openssl(folder.path(), &format!("ts -query -data message -{hash}{certificate} -out query"));
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));

        let answer = instance.post(QUERY, std::fs::read(folder.path().join("query")).unwrap()).await;
        assert_eq!(answer.parts.status, StatusCode::OK, "{}", String::from_utf8_lossy(&answer.body));
        write("reply", &answer.body);
        let untrusted = if certificates { "" } else { " -untrusted leaf.pem" };
        let verify = |what: &str| {
            let at = NOON.seconds();
            openssl(
                folder.path(),
                &format!("ts -verify {what} -in reply -CAfile root.pem{untrusted} -attime {at}"),
            )
        };
        for what in ["-queryfile query", "-data message"] {
            let verified = verify(what);
            assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
        }
        write("message", b"another");
        assert!(!verify("-data message").status.success(), "and not for another message");
    }
}

proptest! {
    #[test]
    fn no_request_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Request::from_der(&bytes);
        let _ = Request::from_json(&bytes);
    }

    #[test]
    fn no_damage_to_a_request_makes_it_panic(at in 0..80usize, with in any::<u8>()) {
        let request = TimeStampReq { req_policy: Some(oid(DEFAULT_POLICY)), cert_req: true, ..sha256() };
        let mut der = request.to_der().unwrap();
        if let Some(byte) = der.get_mut(at) {
            *byte = with;
        }
        if let Ok(request) = Request::from_der(&der) {
            prop_assert_eq!(request.imprint.hashed_message.as_bytes().len() % 16, 0);
        }
    }
}
