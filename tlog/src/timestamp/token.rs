//! How a timestamp is signed: the CMS SignedData (RFC 5652 §5) of a TimeStampToken, as far as RFC 3161 narrows it.
//!
//! Invariant: a parsed [`Token`] has exactly one SignerInfo, which names its certificate by issuer and serial number,
//! and each of its signed attributes once.

use super::TimestampError;
use crate::der::{self, Reader};
use crate::key::{HashAlgorithm, KeyKind};

/// 1.2.840.113549.1.7.2
pub(super) const SIGNED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02];
/// 1.2.840.113549.1.9.16.1.4
pub(super) const TST_INFO: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x10, 0x01, 0x04];
/// 1.2.840.113549.1.9.3
pub(super) const CONTENT_TYPE: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x03];
/// 1.2.840.113549.1.9.4
pub(super) const MESSAGE_DIGEST: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x04];
/// 1.2.840.113549.1.9.16.2.12
pub(super) const SIGNING_CERTIFICATE: &[u8] =
    &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x10, 0x02, 0x0c];
/// 1.2.840.113549.1.9.16.2.47
pub(super) const SIGNING_CERTIFICATE_V2: &[u8] =
    &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x10, 0x02, 0x2f];
/// 2.16.840.1.101.3.4.2.1
pub(super) const SHA256: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01];
/// SHA-2 under 2.16.840.1.101.3.4.2.
const HASHES: [(&[u8], HashAlgorithm); 3] = [
    (SHA256, HashAlgorithm::Sha256),
    (&[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02], HashAlgorithm::Sha384),
    (&[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03], HashAlgorithm::Sha512),
];
/// ecdsa-with-SHA256 to SHA512 (1.2.840.10045.4.3.2 to 4), without the last arc.
const ECDSA_WITH: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03];
/// PKCS #1 (1.2.840.113549.1.1), without the last arc: 1 is rsaEncryption, 11 to 13 are sha256WithRSAEncryption to
/// sha512.
const PKCS1: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
/// 1.3.101.112
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
/// Most signed attributes; authorities send four or five.
const MAX_ATTRIBUTES: usize = 32;

/// A TimeStampToken.
#[derive(Debug)]
pub(super) struct Token<'d> {
    /// DER of the TSTInfo.
    pub(super) content: &'d [u8],
    /// DER of the Name in the SignerInfo.
    pub(super) issuer: &'d [u8],
    /// The serial number in the SignerInfo, big-endian.
    pub(super) serial: &'d [u8],
    pub(super) digest: HashAlgorithm,
    pub(super) attributes: Attributes<'d>,
    /// Contents of the OID.
    pub(super) signature_algorithm: &'d [u8],
    pub(super) signature: &'d [u8],
}

/// The signed attributes that RFC 3161 §2.4.1 asks for.
#[derive(Debug)]
pub(super) struct Attributes<'d> {
    /// What the signature is over: all attributes as SET OF.
    pub(super) signed: Vec<u8>,
    pub(super) content_type: &'d [u8],
    pub(super) message_digest: &'d [u8],
    /// The first certificate hash of signingCertificate and of signingCertificateV2, of those that there are.
    pub(super) certificate_hashes: Vec<(Hash, &'d [u8])>,
}

/// What a certificate may be identified by. SHA-1 is all that RFC 2634's attribute has; which certificate signed does
/// not hang on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hash {
    Sha1,
    Sha2(HashAlgorithm),
}

const fn malformed(what: &'static str) -> TimestampError {
    TimestampError::Malformed(what)
}

impl<'d> Token<'d> {
    pub(super) fn parse(der: &'d [u8]) -> Result<Self, TimestampError> {
        let (content, signer) = signed_data(der).ok_or(malformed("not a CMS SignedData of a TSTInfo"))?;
        let mut signers = Reader::new(signer);
        let only = signers.expect(der::SEQUENCE).filter(|_| signers.is_empty());
        let fields = only.ok_or(malformed("it does not have exactly one signer"))?;
        signer_info(content, fields)
    }
}

/// The encapsulated TSTInfo and the contents of signerInfos.
fn signed_data(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut info = Reader::new(der::only(der, der::SEQUENCE)?);
    let is_signed = info.expect(der::OID)? == SIGNED_DATA;
    let data = der::only(info.expect(der::CONTEXT_0)?, der::SEQUENCE)?;
    if !is_signed || !info.is_empty() {
        return None;
    }
    let mut fields = Reader::new(data);
    // The version follows from what is present, and the digest algorithms stand once more in the SignerInfo.
    fields.expect(der::INTEGER)?;
    fields.expect(der::SET)?;
    let mut encapsulated = Reader::new(fields.expect(der::SEQUENCE)?);
    let is_tst_info = encapsulated.expect(der::OID)? == TST_INFO;
    let content = der::only(encapsulated.expect(der::CONTEXT_0)?, der::OCTET_STRING)?;
    if !is_tst_info || !encapsulated.is_empty() {
        return None;
    }
    let mut field = fields.next()?;
    // Certificates and revocation lists: not signed, not needed, not read.
    for unread in [der::CONTEXT_0, der::CONTEXT_1] {
        if field.tag == unread {
            field = fields.next()?;
        }
    }
    (field.tag == der::SET && fields.is_empty()).then_some((content, field.contents))
}

fn signer_info<'d>(content: &'d [u8], fields: &'d [u8]) -> Result<Token<'d>, TimestampError> {
    const MALFORMED: TimestampError = malformed("the SignerInfo cannot be read");
    let mut fields = Reader::new(fields);
    if fields.expect(der::INTEGER) != Some(&[1]) {
        return Err(malformed("the signer is not identified by issuer and serial number"));
    }
    let mut id = Reader::new(fields.expect(der::SEQUENCE).ok_or(MALFORMED)?);
    let issuer = id.next().filter(|name| name.tag == der::SEQUENCE).ok_or(MALFORMED)?.whole;
    let serial =
        id.expect(der::INTEGER).and_then(der::positive).filter(|_| id.is_empty()).ok_or(MALFORMED)?;
    let digest = hash_algorithm(fields.expect(der::SEQUENCE).ok_or(MALFORMED)?)
        .ok_or(TimestampError::Unsupported("digest"))?;
    let attributes = fields.expect(der::CONTEXT_0).ok_or(malformed("it has no signed attributes"))?;
    let attributes = Attributes::parse(attributes)?;
    let signature_algorithm =
        fields.expect(der::SEQUENCE).and_then(algorithm).ok_or(TimestampError::Unsupported("signature"))?;
    let signature = fields.expect(der::OCTET_STRING).ok_or(MALFORMED)?;
    // Unsigned attributes may follow.
    if !fields.is_empty() && (fields.expect(der::CONTEXT_1).is_none() || !fields.is_empty()) {
        return Err(MALFORMED);
    }
    Ok(Token { content, issuer, serial, digest, attributes, signature_algorithm, signature })
}

impl<'d> Attributes<'d> {
    fn parse(contents: &'d [u8]) -> Result<Self, TimestampError> {
        let list = attribute_list(contents)?;
        let value =
            |oid: &[u8]| list.iter().find(|attribute| attribute.oid == oid).map(|attribute| attribute.value);
        let content_type = value(CONTENT_TYPE)
            .and_then(|value| der::only(value, der::OID))
            .ok_or(TimestampError::Attribute("contentType is missing"))?;
        let message_digest = value(MESSAGE_DIGEST)
            .and_then(|value| der::only(value, der::OCTET_STRING))
            .ok_or(TimestampError::Attribute("messageDigest is missing"))?;
        let mut certificate_hashes = Vec::new();
        for (oid, read) in [
            (SIGNING_CERTIFICATE, certificate_id as fn(&[u8]) -> Option<(Hash, &[u8])>),
            (SIGNING_CERTIFICATE_V2, certificate_id_v2),
        ] {
            if let Some(value) = value(oid) {
                let id = read(value).ok_or(TimestampError::Attribute("signingCertificate cannot be read"))?;
                certificate_hashes.push(id);
            }
        }
        let signed = der::encode(der::SET, contents);
        Ok(Self { signed, content_type, message_digest, certificate_hashes })
    }
}

/// One signed attribute: the contents of its type's OID, and its only value with the tag.
struct Attribute<'d> {
    oid: &'d [u8],
    value: &'d [u8],
}

/// The attributes: in DER's order, no type twice.
fn attribute_list(contents: &[u8]) -> Result<Vec<Attribute<'_>>, TimestampError> {
    const MALFORMED: TimestampError = malformed("the signed attributes cannot be read");
    let mut reader = Reader::new(contents);
    let mut list: Vec<Attribute<'_>> = Vec::new();
    let mut last: &[u8] = &[];
    while !reader.is_empty() {
        let attribute = reader.next().filter(|a| a.tag == der::SEQUENCE).ok_or(MALFORMED)?;
        if attribute.whole <= last || list.len() == MAX_ATTRIBUTES {
            return Err(malformed("the signed attributes are not in DER order, or too many"));
        }
        last = attribute.whole;
        let mut fields = Reader::new(attribute.contents);
        let oid = fields.expect(der::OID).ok_or(MALFORMED)?;
        let mut set = Reader::new(fields.expect(der::SET).filter(|_| fields.is_empty()).ok_or(MALFORMED)?);
        let value = set.next().filter(|_| set.is_empty()).ok_or(MALFORMED)?;
        if list.iter().any(|earlier| earlier.oid == oid) {
            return Err(malformed("a signed attribute comes twice"));
        }
        list.push(Attribute { oid, value: value.whole });
    }
    Ok(list)
}

/// The first ESSCertID or ESSCertIDv2: the signer's (RFC 5035 §5.4.1).
fn first_id(signing_certificate: &[u8]) -> Option<Reader<'_>> {
    let mut fields = Reader::new(der::only(signing_certificate, der::SEQUENCE)?);
    let mut ids = Reader::new(fields.expect(der::SEQUENCE)?);
    ids.expect(der::SEQUENCE).map(Reader::new)
}

fn certificate_id(value: &[u8]) -> Option<(Hash, &[u8])> {
    first_id(value)?.expect(der::OCTET_STRING).map(|hash| (Hash::Sha1, hash))
}

fn certificate_id_v2(value: &[u8]) -> Option<(Hash, &[u8])> {
    let mut fields = first_id(value)?;
    let field = fields.next()?;
    if field.tag == der::SEQUENCE {
        let hash = hash_algorithm(field.contents)?;
        return fields.expect(der::OCTET_STRING).map(|value| (Hash::Sha2(hash), value));
    }
    // The default.
    (field.tag == der::OCTET_STRING).then_some((Hash::Sha2(HashAlgorithm::Sha256), field.contents))
}

/// The OID of an AlgorithmIdentifier whose parameters are absent or NULL.
fn algorithm(identifier: &[u8]) -> Option<&[u8]> {
    let mut fields = Reader::new(identifier);
    let oid = fields.expect(der::OID)?;
    if fields.is_empty() {
        return Some(oid);
    }
    let parameters = fields.next()?;
    (parameters.whole == [0x05, 0x00] && fields.is_empty()).then_some(oid)
}

/// SHA-256, SHA-384 or SHA-512 by its AlgorithmIdentifier.
pub(super) fn hash_algorithm(identifier: &[u8]) -> Option<HashAlgorithm> {
    let oid = algorithm(identifier)?;
    HASHES.iter().find(|(known, _)| *known == oid).map(|(_, hash)| *hash)
}

/// The hash under the signature, if algorithm and key agree; it must be the one that the attributes were made with.
pub(super) fn signature_hash(oid: &[u8], key: KeyKind, digest: HashAlgorithm) -> Option<HashAlgorithm> {
    let hash = |arc: u8, first: u8| match arc.checked_sub(first)? {
        0 => Some(HashAlgorithm::Sha256),
        1 => Some(HashAlgorithm::Sha384),
        2 => Some(HashAlgorithm::Sha512),
        _ => None,
    };
    let stated = match (key, oid.split_last()?) {
        (KeyKind::EcdsaP256 | KeyKind::EcdsaP384 | KeyKind::EcdsaP521, (arc, ECDSA_WITH)) => hash(*arc, 2)?,
        (KeyKind::Rsa(_), (1, PKCS1)) => digest,
        (KeyKind::Rsa(_), (arc, PKCS1)) => hash(*arc, 11)?,
        // RFC 8419 §3.1: with signed attributes the digest is SHA-512.
        (KeyKind::Ed25519, _) if oid == ED25519 => HashAlgorithm::Sha512,
        _ => return None,
    };
    (stated == digest).then_some(stated)
}
