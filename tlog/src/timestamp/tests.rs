//! Held against OpenSSL's tokens (`testdata/make.sh`), and rule by rule against tokens forged here.

use proptest::prelude::*;
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose};

use super::*;
use crate::fixture::{Authority, NOON, extension, p256_signer};
use crate::key::{Signer as _, SoftwareSigner};
use crate::trust::Validity;

const MESSAGE: &[u8] = b"the signature bytes";
const ECDSA: (&[u8], &str) = (include_bytes!("testdata/ecdsa-chain.tsr"), include_str!("testdata/ecdsa.pem"));
const RSA: (&[u8], &str) = (include_bytes!("testdata/rsa-v1.tsr"), include_str!("testdata/rsa.pem"));

fn trusted(chain: &[Certificate]) -> TrustedAuthority {
    let (anchor, intermediates) = chain.split_last().unwrap();
    TrustedAuthority {
        intermediates: intermediates.to_vec(),
        anchor: anchor.clone(),
        validity: Validity { start: Timestamp::default(), end: None },
        url: "https://tsa.example/api/v1/timestamp".to_owned(),
    }
}

fn openssl(pem: &str) -> TrustedAuthority {
    trusted(&Certificate::chain_from_pem(pem).unwrap())
}

fn nothing_expected(
    response: &[u8],
    authority: &TrustedAuthority,
) -> Result<VerifiedTimestamp, TimestampError> {
    verify_response(response, MESSAGE, std::slice::from_ref(authority), Expected::default())
}

#[test]
fn timestamps_of_openssl_verify() {
    for ((response, pem), serial) in [(ECDSA, 2), (RSA, 3)] {
        let timestamp = nothing_expected(response, &openssl(pem)).unwrap();
        assert_eq!(timestamp.time, Timestamp::parse_rfc3339("2026-11-21T23:03:56Z").unwrap());
        assert_eq!(timestamp.policy, "1.2.3.4.1");
        assert_eq!(timestamp.serial, [serial]);
        assert_eq!(&timestamp.signer, &openssl(pem).intermediates[0]);
    }
}

#[test]
fn a_timestamp_is_bound_to_the_message() {
    for (response, pem) in [ECDSA, RSA] {
        let verdict = verify_response(response, b"other bytes", &[openssl(pem)], Expected::default());
        assert_eq!(verdict, Err(TimestampError::OtherMessage));
    }
}

#[test]
fn the_right_authority_is_found_among_several() {
    let all = [openssl(RSA.1), openssl(ECDSA.1)];
    for (response, _) in [ECDSA, RSA] {
        verify_response(response, MESSAGE, &all, Expected::default()).unwrap();
    }
    assert_eq!(nothing_expected(ECDSA.0, &openssl(RSA.1)), Err(TimestampError::UnknownSigner));
    let without_leaf = trusted(&Certificate::chain_from_pem(ECDSA.1).unwrap()[1..]);
    assert_eq!(nothing_expected(ECDSA.0, &without_leaf), Err(TimestampError::UnknownSigner));
}

#[test]
fn every_bit_of_a_response_is_signed_or_decides_nothing() {
    // Without certificates in it, only encodings and statements are left: whatever changes must not verify.
    let (response, authority) = (RSA.0, openssl(RSA.1));
    let honest = nothing_expected(response, &authority).unwrap();
    let mut unsigned = 0;
    for at in 0..response.len() {
        for bit in 0..8 {
            let mut changed = response.to_vec();
            changed[at] ^= 1 << bit;
            if let Ok(timestamp) = nothing_expected(&changed, &authority) {
                assert_eq!(timestamp, honest, "byte {at}, bit {bit}");
                unsigned += 1;
            }
        }
    }
    // CMS version (8 bits) and digestAlgorithms (15 bytes: a set that says once more what the SignerInfo says).
    assert!(unsigned <= 8 + 15 * 8, "{unsigned} bits of {} are free", response.len() * 8);
}

/// GitHub's authority of 2023 made serial numbers of random bytes and did not look at the sign.
#[test]
fn a_serial_number_may_be_negative() {
    let signer = Signer::new();
    let mut token = Forged::by(&signer);
    token.info[SERIAL] = vec![2, 4, 0xde, 0xad, 0xbe, 0xef];
    let timestamp = nothing_expected(&token.response(), &signer.authority()).unwrap();
    assert_eq!(timestamp.serial, [0xde, 0xad, 0xbe, 0xef]);
}

#[test]
fn certificates_in_the_token_are_not_read() {
    let signer = Signer::new();
    let mut token = Forged::by(&signer);
    token.bag = [signer.impostor().der(), b"\x30\x03not"].concat();
    nothing_expected(&token.response(), &signer.authority()).unwrap();
}

/// A root, and under it a timestamping certificate.
struct Signer {
    root: Authority,
    key: SoftwareSigner,
    leaf: Certificate,
}

fn critical_usages(usages: &[u8]) -> impl FnOnce(&mut CertificateParams) {
    let mut usage = extension(&[2, 5, 29, 37], &der::encode(der::SEQUENCE, usages));
    usage.set_criticality(true);
    |params| {
        params.extended_key_usages = vec![];
        params.custom_extensions = vec![usage];
    }
}

/// id-kp-timeStamping.
const TIME_STAMPING: &[u8] = &[0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x08];
const CODE_SIGNING: &[u8] = &[0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x03];

impl Signer {
    fn new() -> Self {
        Self::with(critical_usages(TIME_STAMPING))
    }

    fn with(change: impl FnOnce(&mut CertificateParams)) -> Self {
        let root = Authority::root("Timestamp Root", |_| {});
        let key = p256_signer("timestamp authority");
        let leaf = root.leaf(key.public_key(), change);
        Self { root, key, leaf }
    }

    /// Another certificate for the same key.
    fn impostor(&self) -> Certificate {
        self.root.leaf(self.key.public_key(), |params| {
            critical_usages(TIME_STAMPING)(params);
            params.serial_number = Some(vec![0x22; 20].into());
        })
    }

    fn authority(&self) -> TrustedAuthority {
        trusted(&[self.leaf.clone(), self.root.certificate.clone()])
    }
}

const SHA256: &[u8] = &[0x30, 0x0b, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01];
const ECDSA_WITH_SHA256: &[u8] = &[0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];

/// A response in parts: change one, and encode it with a good signature over the rest.
struct Forged<'s> {
    signer: &'s Signer,
    status: u8,
    /// Fields of the TSTInfo, encoded.
    info: Vec<Vec<u8>>,
    content_type: Vec<u8>,
    /// Type and value.
    attributes: Vec<(Vec<u8>, Vec<u8>)>,
    message_digest: Option<Vec<u8>>,
    version: u8,
    id: Vec<u8>,
    bag: Vec<u8>,
    signature_algorithm: Vec<u8>,
    signers: usize,
}

const IMPRINT: usize = 2;
const SERIAL: usize = 3;
const GEN_TIME: usize = 4;

impl<'s> Forged<'s> {
    fn by(signer: &'s Signer) -> Self {
        let sequence = |parts: &[&[u8]]| der::encode(der::SEQUENCE, &parts.concat());
        let digest = HashAlgorithm::Sha256.digest(MESSAGE);
        let certificate = HashAlgorithm::Sha256.digest(signer.leaf.der());
        let id = sequence(&[&der::encode(der::OCTET_STRING, &certificate)]);
        Self {
            signer,
            status: 0,
            info: vec![
                vec![2, 1, 1],
                vec![6, 4, 0x2a, 3, 4, 1],
                sequence(&[SHA256, &der::encode(der::OCTET_STRING, &digest)]),
                vec![2, 1, 7],
                der::encode(der::GENERALIZED_TIME, b"20261121120100Z"),
                sequence(&[&[2, 1, 1]]),
                vec![2, 2, 0x12, 0x34],
            ],
            content_type: token::TST_INFO.to_vec(),
            attributes: vec![(token::SIGNING_CERTIFICATE_V2.to_vec(), sequence(&[&sequence(&[&id])]))],
            message_digest: None,
            version: 1,
            id: sequence(&[signer.leaf.issuer_der(), &der::encode(der::INTEGER, signer.leaf.serial())]),
            bag: Vec::new(),
            signature_algorithm: ECDSA_WITH_SHA256.to_vec(),
            signers: 1,
        }
    }

    fn response(&self) -> Vec<u8> {
        let status = der::encode(der::SEQUENCE, &[2, 1, self.status]);
        der::encode(der::SEQUENCE, &[status, self.token()].concat())
    }

    fn token(&self) -> Vec<u8> {
        let info = der::encode(der::SEQUENCE, &self.info.concat());
        let content = der::encode(der::CONTEXT_0, &der::encode(der::OCTET_STRING, &info));
        let bag = if self.bag.is_empty() { vec![] } else { der::encode(der::CONTEXT_0, &self.bag) };
        let signers = self.signer_info(&info).repeat(self.signers);
        let data = [
            vec![2, 1, 3],
            der::encode(der::SET, SHA256),
            der::encode(der::SEQUENCE, &[der::encode(der::OID, token::TST_INFO), content].concat()),
            bag,
            der::encode(der::SET, &signers),
        ];
        let data = der::encode(der::CONTEXT_0, &der::encode(der::SEQUENCE, &data.concat()));
        der::encode(der::SEQUENCE, &[der::encode(der::OID, token::SIGNED_DATA), data].concat())
    }

    fn signer_info(&self, info: &[u8]) -> Vec<u8> {
        let digest = self.message_digest.clone().unwrap_or_else(|| HashAlgorithm::Sha256.digest(info));
        let mut attributes = self.attributes.clone();
        if !self.content_type.is_empty() {
            attributes.push((token::CONTENT_TYPE.to_vec(), der::encode(der::OID, &self.content_type)));
        }
        if !digest.is_empty() {
            attributes.push((token::MESSAGE_DIGEST.to_vec(), der::encode(der::OCTET_STRING, &digest)));
        }
        let mut attributes: Vec<Vec<u8>> = attributes
            .iter()
            .map(|(oid, value)| [der::encode(der::OID, oid), der::encode(der::SET, value)].concat())
            .map(|attribute| der::encode(der::SEQUENCE, &attribute))
            .collect();
        attributes.sort();
        let signature = self.signer.key.sign(&der::encode(der::SET, &attributes.concat())).unwrap();
        let fields = [
            vec![2, 1, self.version],
            self.id.clone(),
            SHA256.to_vec(),
            der::encode(der::CONTEXT_0, &attributes.concat()),
            self.signature_algorithm.clone(),
            der::encode(der::OCTET_STRING, &signature),
        ];
        der::encode(der::SEQUENCE, &fields.concat())
    }

    fn verify(&self) -> Result<VerifiedTimestamp, TimestampError> {
        nothing_expected(&self.response(), &self.signer.authority())
    }
}

#[test]
fn a_forged_response_that_breaks_no_rule_verifies() {
    let signer = Signer::new();
    let timestamp = Forged::by(&signer).verify().unwrap();
    assert_eq!(timestamp.time, NOON.plus(std::time::Duration::from_mins(1)));
    let token = Forged::by(&signer).token();
    assert_eq!(verify_token(&token, MESSAGE, &[signer.authority()], Expected::default()), Ok(timestamp));
}

/// The verdict on a response with one thing changed.
fn changed(change: impl FnOnce(&mut Forged<'_>)) -> TimestampError {
    let signer = Signer::new();
    let mut forged = Forged::by(&signer);
    change(&mut forged);
    forged.verify().unwrap_err()
}

#[test]
fn only_granted_responses_count() {
    for status in 1..=6 {
        assert_eq!(changed(|f| f.status = status), TimestampError::NotGranted(status));
    }
    let rejected = der::encode(der::SEQUENCE, &der::encode(der::SEQUENCE, &[2, 1, 2]));
    assert_eq!(nothing_expected(&rejected, &Signer::new().authority()), Err(TimestampError::NotGranted(2)));
}

#[test]
fn there_is_exactly_one_signer() {
    for signers in [0, 2] {
        let error = changed(|f| f.signers = signers);
        assert_eq!(error, TimestampError::Malformed("it does not have exactly one signer"));
    }
}

#[test]
fn the_signer_is_named_by_issuer_and_serial() {
    let error = changed(|f| {
        let impostor = f.signer.impostor();
        let serial = der::encode(der::INTEGER, impostor.serial());
        f.id = der::encode(der::SEQUENCE, &[f.signer.leaf.issuer_der(), &serial].concat());
        f.bag = impostor.der().to_vec();
    });
    assert_eq!(error, TimestampError::UnknownSigner, "though the token brings that certificate along");
    let error = changed(|f| {
        let issuer = Authority::root("Another", |_| {}).certificate;
        let serial = der::encode(der::INTEGER, f.signer.leaf.serial());
        f.id = der::encode(der::SEQUENCE, &[issuer.subject_der(), &serial].concat());
    });
    assert_eq!(error, TimestampError::UnknownSigner);
    let error = changed(|f| {
        f.version = 3;
        f.id = der::encode(0x80, &[1; 20]);
    });
    assert!(matches!(error, TimestampError::Malformed(_)), "a subjectKeyIdentifier names no one certificate");
}

#[test]
fn the_signed_attributes_bind_type_content_and_certificate() {
    use TimestampError::Attribute;
    assert_eq!(
        changed(|f| f.content_type = vec![0x2a, 3]),
        Attribute("contentType is not that of a timestamp")
    );
    assert_eq!(changed(|f| f.content_type.clear()), Attribute("contentType is missing"));
    assert_eq!(
        changed(|f| f.message_digest = Some(vec![7; 32])),
        Attribute("messageDigest is not that of the content")
    );
    assert_eq!(changed(|f| f.message_digest = Some(vec![])), Attribute("messageDigest is missing"));
    assert_eq!(changed(|f| f.attributes.clear()), Attribute("signingCertificateV2 is missing"));
    let other = "signingCertificate names another certificate than the signer's";
    assert_eq!(changed(|f| *f.attributes[0].1.last_mut().unwrap() ^= 1), Attribute(other));
    let both = |f: &mut Forged<'_>| {
        let id = der::encode(der::SEQUENCE, &der::encode(der::OCTET_STRING, &[7; 20]));
        let value = der::encode(der::SEQUENCE, &der::encode(der::SEQUENCE, &id));
        f.attributes.push((token::SIGNING_CERTIFICATE.to_vec(), value));
    };
    assert_eq!(changed(both), Attribute(other), "where there are two, both count");
    let twice = |f: &mut Forged<'_>| f.attributes.push((f.attributes[0].0.clone(), vec![5, 0]));
    assert_eq!(changed(twice), TimestampError::Malformed("a signed attribute comes twice"));
}

#[test]
fn signature_algorithms_must_fit_key_and_digest() {
    for arc in [3, 4] {
        let error = changed(|f| *f.signature_algorithm.last_mut().unwrap() = arc);
        assert_eq!(error, TimestampError::Unsupported("signature"));
    }
    let rsa = der::encode(der::SEQUENCE, &[6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11]);
    assert_eq!(changed(|f| f.signature_algorithm = rsa), TimestampError::Unsupported("signature"));
}

#[test]
fn the_signature_is_by_the_named_key() {
    let (signer, mut thief) = (Signer::new(), Signer::new());
    thief.leaf = signer.leaf.clone();
    thief.key = p256_signer("another key");
    let response = Forged::by(&thief).response();
    assert_eq!(nothing_expected(&response, &signer.authority()), Err(TimestampError::Signature));
}

#[test]
fn weak_hashes_are_refused() {
    let sha1 = der::encode(der::SEQUENCE, &[6, 5, 0x2b, 0x0e, 3, 2, 0x1a]);
    let imprint = [sha1, der::encode(der::OCTET_STRING, &[0; 20])].concat();
    let error = changed(|f| f.info[IMPRINT] = der::encode(der::SEQUENCE, &imprint));
    assert_eq!(error, TimestampError::Unsupported("hash"));
}

#[test]
fn the_chain_must_be_valid_at_the_timestamps_own_time() {
    for time in ["20261121115959Z", "20261121121001Z", "20361121120100Z"] {
        let error = changed(|f| f.info[GEN_TIME] = der::encode(der::GENERALIZED_TIME, time.as_bytes()));
        assert!(matches!(error, TimestampError::Chain(_)), "{time}: {error}");
    }
}

#[test]
fn the_authority_must_be_trusted_at_that_time() {
    let signer = Signer::new();
    let response = Forged::by(&signer).response();
    let time = nothing_expected(&response, &signer.authority()).unwrap().time;
    let second = std::time::Duration::from_secs(1);
    for (start, end, holds) in [
        (time, Some(time), true),
        (time.plus(second), None, false),
        (time.minus(second), Some(time.minus(second)), false),
    ] {
        let authority = TrustedAuthority { validity: Validity { start, end }, ..signer.authority() };
        let verdict = nothing_expected(&response, &authority).map(|timestamp| timestamp.time);
        match (holds, verdict) {
            (true, verdict) => assert_eq!(verdict, Ok(time)),
            (false, Err(TimestampError::NotTrusted(_))) => {}
            (false, other) => panic!("{other:?}"),
        }
    }
}

#[test]
fn the_signers_only_usage_is_timestamping_and_critical() {
    let verdict = |signer: &Signer| Forged::by(signer).verify().unwrap_err().to_string();
    let plain = Signer::with(|p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::TimeStamping]);
    assert!(verdict(&plain).ends_with("its extended key usage is not critical"));
    for usages in [CODE_SIGNING.to_vec(), [TIME_STAMPING, CODE_SIGNING].concat()] {
        let signer = Signer::with(critical_usages(&usages));
        assert!(verdict(&signer).ends_with("its extended key usage is not timestamping alone"));
    }
    let authority = Signer::with(|params| {
        critical_usages(TIME_STAMPING)(params);
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    });
    assert!(verdict(&authority).contains("a certificate authority"));
}

#[test]
fn an_issuer_limited_to_code_signing_certifies_no_timestamp_authority() {
    let mut signer = Signer::new();
    let limited = signer.root.intermediate("Code Signing", |_| {});
    signer.leaf = limited.leaf(signer.key.public_key(), critical_usages(TIME_STAMPING));
    let chain = [signer.leaf.clone(), limited.certificate.clone(), signer.root.certificate.clone()];
    let error = nothing_expected(&Forged::by(&signer).response(), &trusted(&chain)).unwrap_err();
    assert!(error.to_string().ends_with("does not allow timestamping below it"), "{error}");
}

#[test]
fn nonce_and_policy_are_compared_where_they_are_known() {
    let signer = Signer::new();
    let mut forged = Forged::by(&signer);
    let verdict = |forged: &Forged<'_>, nonce, policy| {
        let expected = Expected { nonce, policy };
        verify_response(&forged.response(), MESSAGE, &[signer.authority()], expected).map(|_| ())
    };
    assert_eq!(verdict(&forged, Some(&[0x12, 0x34]), Some("1.2.3.4.1")), Ok(()));
    assert_eq!(verdict(&forged, Some(&[0, 0x12, 0x34]), None), Ok(()));
    assert_eq!(verdict(&forged, Some(&[0x12, 0x35]), None), Err(TimestampError::Nonce));
    let other = Err(TimestampError::Policy("1.2.3.4.1".to_owned()));
    assert_eq!(verdict(&forged, None, Some("1.2.3.4")), other);
    forged.info.pop();
    assert_eq!(verdict(&forged, Some(&[0x12, 0x34]), None), Err(TimestampError::Nonce));
    assert_eq!(verdict(&forged, None, None), Ok(()));
}

#[test]
fn fields_of_the_info_come_once_and_in_order() {
    let malformed = |change: fn(&mut Forged<'_>)| {
        let error = changed(change);
        assert!(matches!(error, TimestampError::Malformed(_)), "{error}");
    };
    malformed(|f| f.info[0] = vec![2, 1, 2]);
    malformed(|f| f.info.push(vec![2, 1, 1]));
    malformed(|f| f.info.swap(5, 6));
    malformed(|f| f.info[SERIAL] = vec![2, 0]);
    malformed(|f| f.info[SERIAL] = der::encode(der::INTEGER, &[1; 65]));
    malformed(|f| f.info.push(vec![4, 0]));
}

#[test]
fn a_critical_extension_that_is_not_understood_refuses_the_timestamp() {
    let with = |critical: &[u8]| {
        let extension = [&[6, 2, 0x2a, 3], critical, &[4, 0]].concat();
        der::encode(der::CONTEXT_1, &der::encode(der::SEQUENCE, &extension))
    };
    let signer = Signer::new();
    let mut forged = Forged::by(&signer);
    forged.info.push(with(&[]));
    forged.verify().unwrap();
    let error = changed(|f| f.info.push(with(&[1, 1, 0xff])));
    assert!(error.to_string().contains("critical extension"));
}

#[test]
fn size_is_bounded_before_anything_is_parsed() {
    let large = vec![0x30; MAX_TOKEN + 1];
    assert_eq!(nothing_expected(&large, &openssl(RSA.1)), Err(TimestampError::TooLarge));
    let verdict = verify_token(&large, MESSAGE, &[], Expected::default());
    assert_eq!(verdict, Err(TimestampError::TooLarge));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = verify_response(&bytes, MESSAGE, &[], Expected::default());
        let _ = verify_token(&bytes, MESSAGE, &[], Expected::default());
        let _ = Info::parse(&bytes);
    }

    #[test]
    fn no_damage_makes_it_panic(
        at in 0..ECDSA.0.len(), length in 0..40usize, with in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let mut response = ECDSA.0.to_vec();
        let end = (at + length).min(response.len());
        response.splice(at..end, with);
        let _ = nothing_expected(&response, &openssl(ECDSA.1));
    }
}
