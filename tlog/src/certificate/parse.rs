//! From DER to the parts that [`Certificate`](super::Certificate) owns.
//!
//! x509-parser reads, and of the extensions only those that decide over trust; what it leaves to its caller is decided
//! here: no trailing bytes, no extension twice, an extension that decides over trust must parse, the fields around the
//! extensions are strict DER, and inner and outer signature algorithm are the same bytes.

use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Range;
use std::sync::OnceLock;

use x509_parser::certificate::{X509Certificate, X509CertificateParser};
use x509_parser::der_parser::Oid;
use x509_parser::error::X509Error;
use x509_parser::extensions::{BasicConstraints, ExtendedKeyUsage, GeneralName, SubjectAlternativeName};
use x509_parser::nom::Parser as _;
use x509_parser::prelude::FromDer;
use x509_parser::x509::X509Name;

use super::{CertificateError, Extension, MAX_CERTIFICATE, SubjectName, tbs};
use crate::clock::Timestamp;
use crate::der;
use crate::key::{HashAlgorithm, KeyKind, PublicKey};
use crate::merkle::Hash;

/// What the accessors return.
pub(super) struct Parts {
    pub(super) der: Vec<u8>,
    /// SHA-256 of it, for whoever asks first.
    pub(super) digest: OnceLock<Hash>,
    /// Where in `der` the TBSCertificate is.
    pub(super) tbs: Range<usize>,
    pub(super) signature_algorithm: SignatureAlgorithm,
    pub(super) signature: Vec<u8>,
    pub(super) public_key: PublicKey,
    pub(super) names: Vec<SubjectName>,
    pub(super) subject_der: Vec<u8>,
    pub(super) issuer_der: Vec<u8>,
    pub(super) subject: String,
    pub(super) organization: Option<String>,
    pub(super) common_name: Option<String>,
    pub(super) serial: Vec<u8>,
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
    pub(super) extensions: Vec<Extension>,
    pub(super) is_ca: bool,
    pub(super) path_len: Option<u32>,
    pub(super) key_usage: Option<KeyUsage>,
    pub(super) extended_key_usages: Option<Vec<String>>,
}

/// The two key usages that matter here.
#[derive(Clone, Copy)]
pub(super) struct KeyUsage {
    pub(super) digital_signature: bool,
    pub(super) sign_certificates: bool,
}

/// How a certificate says that it was signed.
#[derive(Clone, Copy)]
pub(super) enum SignatureAlgorithm {
    Ecdsa(HashAlgorithm),
    RsaPkcs1(HashAlgorithm),
    Ed25519,
    /// One that we do not verify; such a certificate can be an anchor, and nothing else.
    Other,
}

impl SignatureAlgorithm {
    fn from_oid(oid: &str) -> Self {
        match oid {
            "1.2.840.10045.4.3.2" => Self::Ecdsa(HashAlgorithm::Sha256),
            "1.2.840.10045.4.3.3" => Self::Ecdsa(HashAlgorithm::Sha384),
            "1.2.840.10045.4.3.4" => Self::Ecdsa(HashAlgorithm::Sha512),
            "1.2.840.113549.1.1.11" => Self::RsaPkcs1(HashAlgorithm::Sha256),
            "1.2.840.113549.1.1.12" => Self::RsaPkcs1(HashAlgorithm::Sha384),
            "1.2.840.113549.1.1.13" => Self::RsaPkcs1(HashAlgorithm::Sha512),
            "1.3.101.112" => Self::Ed25519,
            _ => Self::Other,
        }
    }

    /// The hash to verify with, if the issuer's key is of the declared sort.
    pub(super) fn hash_for(self, issuer: KeyKind) -> Option<HashAlgorithm> {
        match (self, issuer) {
            (Self::Ecdsa(hash), KeyKind::EcdsaP256 | KeyKind::EcdsaP384 | KeyKind::EcdsaP521)
            | (Self::RsaPkcs1(hash), KeyKind::Rsa(_)) => Some(hash),
            (Self::Ed25519, KeyKind::Ed25519) => Some(HashAlgorithm::Sha512),
            _ => None,
        }
    }
}

/// Extensions that decide over trust, by how x509-parser reads them.
#[derive(Default)]
struct Known {
    names: Vec<SubjectName>,
    is_ca: bool,
    path_len: Option<u32>,
    key_usage: Option<KeyUsage>,
    extended_key_usages: Option<Vec<String>>,
}

/// Parses one certificate and nothing after it.
pub(super) fn parts(der: &[u8]) -> Result<Parts, CertificateError> {
    if der.len() > MAX_CERTIFICATE {
        return Err(malformed(&format!("larger than {MAX_CERTIFICATE} bytes")));
    }
    let (tbs, tbs_spki) = outline(der).ok_or_else(|| malformed("not DER, or bytes after the certificate"))?;
    if tbs::without(&der[tbs.clone()], &[]).as_deref() != Some(&der[tbs.clone()]) {
        return Err(malformed("the signed part is not DER"));
    }
    // What most extensions hold is nobody's question here; of the others `known_extensions` asks.
    let mut parser = X509CertificateParser::new().with_deep_parse_extensions(false);
    let (_, parsed) = parser.parse(der).map_err(|e| malformed(&e.to_string()))?;
    if parsed.signature_algorithm != parsed.tbs_certificate.signature {
        return Err(malformed("the signature algorithm differs inside and outside of the signed part"));
    }
    let known = known_extensions(&parsed)?;
    let subject = parsed.subject();
    Ok(Parts {
        public_key: PublicKey::from_spki_der(tbs_spki)?,
        tbs,
        signature_algorithm: SignatureAlgorithm::from_oid(&dotted(&parsed.signature_algorithm.algorithm)),
        signature: parsed.signature_value.data.to_vec(),
        subject_der: subject.as_raw().to_vec(),
        issuer_der: parsed.issuer().as_raw().to_vec(),
        subject: printable(&subject.to_string()),
        organization: text(subject, "2.5.4.10"),
        common_name: text(subject, "2.5.4.3"),
        serial: serial(parsed.raw_serial())?,
        not_before: instant(parsed.validity().not_before.timestamp()),
        not_after: instant(parsed.validity().not_after.timestamp()),
        extensions: extensions(&parsed)?,
        names: known.names,
        is_ca: known.is_ca,
        path_len: known.path_len,
        key_usage: known.key_usage,
        extended_key_usages: known.extended_key_usages,
        der: der.to_vec(),
        digest: OnceLock::new(),
    })
}

fn dotted(oid: &Oid<'_>) -> Cow<'static, str> {
    der::dotted(oid.as_bytes())
}

fn malformed(what: &str) -> CertificateError {
    CertificateError::Malformed(what.to_owned())
}

/// Where the TBSCertificate is, and its SubjectPublicKeyInfo as it stands there.
fn outline(der: &[u8]) -> Option<(Range<usize>, &[u8])> {
    let contents = der::only(der, der::SEQUENCE)?;
    let mut parts = der::Reader::new(contents);
    let tbs = parts.next().filter(|value| value.tag == der::SEQUENCE)?;
    parts.expect(der::SEQUENCE)?;
    let signature = parts.expect(der::BIT_STRING)?;
    if signature.first() != Some(&0) || !parts.is_empty() {
        return None;
    }
    let start = der.len() - contents.len();
    Some((start..start + tbs.whole.len(), spki(tbs.contents)?))
}

/// The SubjectPublicKeyInfo of a TBSCertificate that has nothing but its optional fields after it, in their order.
fn spki(tbs: &[u8]) -> Option<&[u8]> {
    let mut fields = der::Reader::new(tbs);
    // Optional [0] version, then serial, signature, issuer, validity, subject; the key follows.
    let first = fields.next()?;
    for _ in 0..if first.tag == der::CONTEXT_0 { 5 } else { 4 } {
        fields.next()?;
    }
    let spki = fields.next()?.whole;
    let mut last = 0;
    while !fields.is_empty() {
        // [1] and [2] unique identifiers, [3] extensions.
        let tag = fields.next()?.tag;
        if !matches!(tag, 0x81 | 0x82 | der::CONTEXT_3) || tag <= last {
            return None;
        }
        last = tag;
    }
    Some(spki)
}

/// Magnitude of a serial number. Zero is tolerated, as every verifier does; negative is not.
fn serial(raw: &[u8]) -> Result<Vec<u8>, CertificateError> {
    match raw {
        [] => Err(malformed("no serial number")),
        [first, ..] if *first >= 0x80 => Err(malformed("negative serial number")),
        [0, rest @ ..] if !rest.is_empty() => Ok(rest.to_vec()),
        _ => Ok(raw.to_vec()),
    }
}

/// Times before the epoch are the epoch: nothing was signed then.
fn instant(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(u64::try_from(seconds).unwrap_or(0))
}

/// Text that cannot move a terminal's cursor or break a log line.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// First attribute of this type, as text.
fn text(name: &X509Name<'_>, oid: &str) -> Option<String> {
    name.iter_attributes()
        .find(|attribute| dotted(attribute.attr_type()) == oid)
        .and_then(|attribute| attribute.as_str().ok())
        .map(str::to_owned)
}

/// All extensions; none may come twice (RFC 5280 §4.2).
fn extensions(parsed: &X509Certificate<'_>) -> Result<Vec<Extension>, CertificateError> {
    let mut all: Vec<Extension> = Vec::with_capacity(parsed.extensions().len());
    for extension in parsed.extensions() {
        let oid = dotted(&extension.oid);
        if all.iter().any(|earlier| earlier.oid == oid) {
            return Err(malformed(&format!("extension {oid} comes twice")));
        }
        all.push(Extension { oid, critical: extension.critical, value: extension.value.to_vec() });
    }
    Ok(all)
}

/// Those of which an unreadable one makes the whole certificate unreadable: names, key usage, basic constraints,
/// extended key usage.
fn known_extensions(parsed: &X509Certificate<'_>) -> Result<Known, CertificateError> {
    let mut known = Known::default();
    for extension in parsed.extensions() {
        let oid = &*dotted(&extension.oid);
        match oid {
            "2.5.29.17" => {
                let SubjectAlternativeName { general_names } = read(oid, extension.value)?;
                if general_names.iter().any(is_broken) {
                    return Err(malformed("a subject alternative name cannot be read"));
                }
                known.names = general_names.iter().filter_map(subject_name).collect();
            }
            "2.5.29.19" => {
                let constraints: BasicConstraints = read(oid, extension.value)?;
                known.is_ca = constraints.ca;
                known.path_len = constraints.path_len_constraint.filter(|_| constraints.ca);
            }
            "2.5.29.15" => {
                let usage: x509_parser::extensions::KeyUsage = read(oid, extension.value)?;
                known.key_usage = Some(KeyUsage {
                    digital_signature: usage.digital_signature(),
                    sign_certificates: usage.key_cert_sign(),
                });
            }
            "2.5.29.37" => {
                known.extended_key_usages = Some(extended_key_usages(&read(oid, extension.value)?));
            }
            _ => {}
        }
    }
    Ok(known)
}

fn read<'v, T: FromDer<'v, X509Error>>(oid: &str, value: &'v [u8]) -> Result<T, CertificateError> {
    let read = T::from_der(value).map_err(|_| malformed(&format!("extension {oid} cannot be read")))?;
    Ok(read.1)
}

fn extended_key_usages(usages: &ExtendedKeyUsage<'_>) -> Vec<String> {
    let named = [
        (usages.any, "2.5.29.37.0"),
        (usages.server_auth, "1.3.6.1.5.5.7.3.1"),
        (usages.client_auth, "1.3.6.1.5.5.7.3.2"),
        (usages.code_signing, super::oid::CODE_SIGNING),
        (usages.email_protection, "1.3.6.1.5.5.7.3.4"),
        (usages.time_stamping, "1.3.6.1.5.5.7.3.8"),
        (usages.ocsp_signing, "1.3.6.1.5.5.7.3.9"),
    ];
    let named = named.into_iter().filter(|(listed, _)| *listed).map(|(_, oid)| oid.to_owned());
    named.chain(usages.other.iter().map(|oid| dotted(oid).into_owned())).collect()
}

/// Whether this is an e-mail address, DNS name or URI that is none.
fn is_broken(name: &GeneralName<'_>) -> bool {
    matches!(name, GeneralName::Invalid(tag, _) if matches!(tag.0, 1 | 2 | 6))
}

/// A name of a sort that carries an identity; directory names and the like are none.
fn subject_name(name: &GeneralName<'_>) -> Option<SubjectName> {
    match name {
        GeneralName::RFC822Name(text) => Some(SubjectName::Email((*text).to_owned())),
        GeneralName::URI(text) => Some(SubjectName::Uri((*text).to_owned())),
        GeneralName::DNSName(text) => Some(SubjectName::Dns((*text).to_owned())),
        GeneralName::IPAddress(bytes) => address(bytes).map(SubjectName::Ip),
        GeneralName::OtherName(oid, value) => {
            other_name(value).map(|value| SubjectName::Other { oid: dotted(oid).into_owned(), value })
        }
        _ => None,
    }
}

fn address(bytes: &[u8]) -> Option<String> {
    <[u8; 4]>::try_from(bytes)
        .map(|v4| Ipv4Addr::from(v4).to_string())
        .or_else(|_| <[u8; 16]>::try_from(bytes).map(|v6| Ipv6Addr::from(v6).to_string()))
        .ok()
}

/// The text of `[0] EXPLICIT UTF8String`.
fn other_name(value: &[u8]) -> Option<String> {
    let inner = der::only(value, der::CONTEXT_0)?;
    String::from_utf8(der::only(inner, der::UTF8_STRING)?.to_vec()).ok()
}
