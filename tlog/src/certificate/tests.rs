use proptest::prelude::*;
use rcgen::{CustomExtension, OtherNameValue, SanType};

use super::*;
use crate::fixture::{Authority, NOON, any_key, extension, minutes_after_noon, p256_signer};
use crate::key::Signer as _;

const POISON: &[u64] = &[1, 3, 6, 1, 4, 1, 11_129, 2, 4, 3];
const SCT_LIST: &[u64] = &[1, 3, 6, 1, 4, 1, 11_129, 2, 4, 2];

fn seconds(minutes: i64) -> Timestamp {
    Timestamp::from_seconds(u64::try_from(minutes_after_noon(minutes).unix_timestamp()).unwrap())
}

#[test]
fn the_parts_are_those_that_were_issued() {
    let root = Authority::root("Root", |_| {});
    let key = p256_signer("leaf");
    let leaf = root.leaf(key.public_key(), |params| {
        params.custom_extensions =
            vec![extension(&[1, 3, 6, 1, 4, 1, 57_264, 1, 1], b"https://issuer.example")];
    });
    assert_eq!(leaf.public_key(), key.public_key());
    assert_eq!(leaf.subject_names(), [SubjectName::Uri("https://ci.example/build@v1".to_owned())]);
    assert_eq!(leaf.subject_der(), [0x30, 0x00]);
    assert_eq!(leaf.issuer_der(), root.certificate.subject_der());
    assert_eq!(leaf.serial(), [0x11; 20]);
    assert_eq!((leaf.not_before(), leaf.not_after()), (seconds(0), seconds(10)));
    assert_eq!(leaf.extended_key_usages(), Some(&[oid::CODE_SIGNING.to_owned()][..]));
    assert!(leaf.may_sign() && !leaf.may_sign_certificates() && !leaf.is_ca());
    assert_eq!(leaf.extension("1.3.6.1.4.1.57264.1.1").unwrap().value, b"https://issuer.example");
    leaf.verify_signed_by(root.certificate.public_key()).unwrap();
    assert_eq!(leaf.verify_signed_by(leaf.public_key()), Err(BadSignature));

    let root = root.certificate;
    assert_eq!(root.subject(), "O=Example, CN=Root");
    assert_eq!(root.subject_o_cn(), (Some("Example".to_owned()), Some("Root".to_owned())));
    assert!(root.is_ca() && root.may_sign_certificates() && root.path_len().is_none());
    root.verify_signed_by(root.public_key()).unwrap();
}

#[test]
fn validity_includes_both_ends_and_whole_seconds() {
    let leaf = Authority::root("Root", |_| {}).leaf(&any_key(), |_| {});
    let last_millisecond = Timestamp::from_millis(leaf.not_after().millis() + 999);
    for (at, valid) in [
        (NOON, true),
        (leaf.not_after(), true),
        (last_millisecond, true),
        (Timestamp::from_millis(NOON.millis() - 1), false),
        (Timestamp::from_millis(last_millisecond.millis() + 1), false),
    ] {
        assert_eq!(leaf.is_valid_at(at), valid, "{at}");
    }
}

#[test]
fn every_sort_of_identity_is_read() {
    let names = vec![
        SanType::Rfc822Name("dev@example.com".try_into().unwrap()),
        SanType::DnsName("host.example".try_into().unwrap()),
        SanType::IpAddress("192.0.2.1".parse().unwrap()),
        SanType::IpAddress("2001:db8::1".parse().unwrap()),
        SanType::OtherName((
            vec![1, 3, 6, 1, 4, 1, 57_264, 1, 7],
            OtherNameValue::Utf8String("user!example.com".to_owned()),
        )),
    ];
    let leaf = Authority::root("Root", |_| {}).leaf(&any_key(), |params| params.subject_alt_names = names);
    let username =
        SubjectName::Other { oid: oid::FULCIO_USERNAME.to_owned(), value: "user!example.com".to_owned() };
    assert_eq!(
        leaf.subject_names(),
        [
            SubjectName::Email("dev@example.com".to_owned()),
            SubjectName::Dns("host.example".to_owned()),
            SubjectName::Ip("192.0.2.1".to_owned()),
            SubjectName::Ip("2001:db8::1".to_owned()),
            username,
        ]
    );
}

#[test]
fn bytes_after_the_certificate_are_refused() {
    let der = Authority::root("Root", |_| {}).certificate.der().to_vec();
    assert!(Certificate::from_der(&[&der[..], &[0]].concat()).is_err());
    assert!(Certificate::from_der(&der[..der.len() - 1]).is_err());
}

#[test]
fn bytes_inside_of_the_certificate_that_belong_to_no_field_are_refused() {
    let der = Authority::root("Root", |_| {}).certificate.der().to_vec();
    let contents = crate::der::only(&der, crate::der::SEQUENCE).unwrap();
    assert_eq!(crate::der::encode(crate::der::SEQUENCE, contents), der);
    for extra in [&[0x05, 0x00][..], &[0x04, 0x01, 0x00]] {
        let outside = crate::der::encode(crate::der::SEQUENCE, &[contents, extra].concat());
        assert!(Certificate::from_der(&outside).is_err(), "after the signature");
        let mut parts = crate::der::Reader::new(contents);
        let tbs = parts.next().unwrap();
        let longer = crate::der::encode(crate::der::SEQUENCE, &[tbs.contents, extra].concat());
        let inside =
            crate::der::encode(crate::der::SEQUENCE, &[&longer, &contents[tbs.whole.len()..]].concat());
        assert!(Certificate::from_der(&inside).is_err(), "after the extensions");
    }
}

#[test]
fn a_printed_subject_has_no_control_characters() {
    let root = Authority::root("Ro\u{1b}[2Jot\n", |_| {});
    assert_eq!(root.certificate.subject(), "O=Example, CN=Ro\u{fffd}[2Jot\u{fffd}");
}

#[test]
fn an_extension_that_comes_twice_is_refused() {
    let root = Authority::root("Root", |_| {});
    let twice = extension(&[1, 2, 3, 4], b"x");
    let der = root.leaf_der(&any_key(), |params| params.custom_extensions = vec![twice.clone(), twice]);
    let error = Certificate::from_der(&der).unwrap_err();
    assert_eq!(error.to_string(), "malformed certificate: extension 1.2.3.4 comes twice");
}

#[test]
fn pem_chains_keep_their_order_and_have_a_limit() {
    let root = Authority::root("Root", |_| {});
    let intermediate = root.intermediate("Intermediate", |_| {});
    let pair = format!("{}{}", intermediate.certificate.to_pem(), root.certificate.to_pem());
    let chain = Certificate::chain_from_pem(&format!("text before\n{pair}\n \n")).unwrap();
    assert_eq!(chain, [intermediate.certificate.clone(), root.certificate.clone()]);

    let one = root.certificate.to_pem();
    assert_eq!(Certificate::chain_from_pem(&one.repeat(MAX_CHAIN)).unwrap().len(), MAX_CHAIN);
    assert_eq!(
        Certificate::chain_from_pem(&one.repeat(MAX_CHAIN + 1)),
        Err(CertificateError::TooMany(MAX_CHAIN))
    );
    assert!(Certificate::chain_from_entry(&format!("{one}junk")).is_err(), "as Rekor");
    let truncated = format!("{one}{}", &one[..one.len() / 2]);
    assert!(Certificate::chain_from_pem(&truncated).is_err(), "half a certificate is not text");
    let many = one.repeat(MAX_COLLECTION + 1);
    assert_eq!(Certificate::collection_from_pem(&many), Err(CertificateError::TooMany(MAX_COLLECTION)));
    assert!(Certificate::chain_from_pem(&format!("{one}{}", any_key().to_pem())).is_err());
    assert!(Certificate::chain_from_pem("").is_err());
    assert!(Certificate::from_pem(&pair).is_err());
    assert_eq!(Certificate::from_pem(&one).unwrap(), root.certificate);
}

/// Text as `openssl pkcs12`, `s_client -showcerts` and collections of roots have it: any lines that begin no block.
fn commentary() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "Bag Attributes\n    localKeyID: 01\nsubject=CN = root\n",
        " 1 s:O=acme, CN=root\n   i:O=acme\n",
        "\n# Főtanúsítvány\n==========\r\n",
        "-----\n----BEGIN CERTIFICATE-----\n -----BEGIN CERTIFICATE-----\n",
    ]);
    let any = "([^\n-][^\n]{0,40}\n){0,4}";
    prop_oneof![known.prop_map(str::to_owned), any, Just(String::new())]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn text_before_between_and_after_certificates_is_skipped(texts in proptest::collection::vec(commentary(), 2..6)) {
        let root = Authority::root("Root", |_| {});
        let certificates: Vec<_> = texts[1..].iter().map(|_| root.certificate.clone()).collect();
        let pem: String = texts[1..].iter().map(|text| root.certificate.to_pem() + text).collect();
        let pem = texts[0].clone() + &pem;
        prop_assert_eq!(Certificate::chain_from_pem(&pem).unwrap(), certificates.clone());
        prop_assert_eq!(Certificate::collection_from_pem(&pem).unwrap(), certificates.clone());
        let text_after = !texts[texts.len() - 1].trim().is_empty();
        let entry = Certificate::chain_from_entry(&pem);
        prop_assert_eq!(entry.ok(), (!text_after).then_some(certificates));
    }
}

#[test]
fn a_precertificate_without_poison_is_the_final_one_without_scts() {
    let root = Authority::root("Root", |_| {});
    let key = any_key();
    let fact = extension(&[1, 3, 6, 1, 4, 1, 57_264, 1, 8], b"\x0c\x01x");
    let issue = |last: Option<CustomExtension>| {
        root.leaf(&key, |params| params.custom_extensions = [fact.clone()].into_iter().chain(last).collect())
    };
    let mut poison = extension(POISON, &[5, 0]);
    poison.set_criticality(true);
    let (bare, precert) = (issue(None), issue(Some(poison)));
    for length in [0, 40, 200, 70_000 / 2] {
        let last = issue(Some(extension(SCT_LIST, &vec![4; length])));
        assert_eq!(last.tbs_without(&[oid::SCT_LIST]).unwrap(), bare.tbs_der(), "{length} bytes of SCTs");
    }
    assert_eq!(precert.tbs_without(&[oid::POISON]).unwrap(), bare.tbs_der());
    assert_eq!(bare.tbs_without(&[oid::POISON, oid::SCT_LIST]).unwrap(), bare.tbs_der());
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600), text in ".{0,200}") {
        let _ = Certificate::from_der(&bytes);
        let _ = Certificate::chain_from_pem(&text);
    }

    #[test]
    fn a_damaged_certificate_never_panics(at in any::<prop::sample::Index>(), value in any::<u8>()) {
        static DER: std::sync::LazyLock<Vec<u8>> =
            std::sync::LazyLock::new(|| Authority::root("Root", |_| {}).leaf(&any_key(), |_| {}).der().to_vec());
        let mut der = DER.clone();
        let at = at.index(der.len());
        der[at] = value;
        if let Ok(certificate) = Certificate::from_der(&der) {
            prop_assert!(certificate.tbs_without(&[oid::POISON]).is_ok());
        }
    }
}
