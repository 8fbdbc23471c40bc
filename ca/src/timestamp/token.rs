//! The signed answer: TSTInfo in CMS SignedData in TimeStampResp.
//!
//! What is stated is encoded by RustCrypto's ASN.1, and so is, once for each authority, what all its tokens share: encoding
//! certificates anew was most of what a timestamp cost besides its signature. The frames around both are few and ours
//! (RFC 5652 §5). The builder of the `cms` crate wants RustCrypto's signature traits, which a key in an HSM does not
//! have.

use std::time::Duration;

use ::der::asn1::{GeneralizedTime, Int, ObjectIdentifier, SetOfVec, UtcTime};
use ::der::{Any, Decode as _, Encode as _, Tag};
use chancery_tlog::certificate::Certificate;
use chancery_tlog::clock::Timestamp;
use chancery_tlog::key::{HashAlgorithm, KeyKind, SignError, Signer};
use cms::cert::IssuerAndSerialNumber;
use cms::cert::x509::Certificate as X509;
use cms::cert::x509::attr::Attribute;
use cms::cert::x509::spki::AlgorithmIdentifierOwned;
use x509_tsp::{Accuracy, TsaPolicyId, TspVersion, TstInfo};

use super::request::Request;
use crate::der;

const SIGNED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");
const TST_INFO: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.1.4");
const CONTENT_TYPE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.3");
const MESSAGE_DIGEST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.4");
const SIGNING_TIME: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.5");
const SIGNING_CERTIFICATE_V2: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.2.47");
const SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
const SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.2");
const ECDSA_WITH_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
const ECDSA_WITH_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3");

const SET: u8 = 0x31;
/// `[0]`, constructed.
const CONTEXT_0: u8 = 0xa0;

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The key's home.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// A value that ASN.1 has no room for.
    #[error(transparent)]
    Encode(#[from] ::der::Error),
}

/// What is stated.
pub(super) struct Statement<'s> {
    pub(super) request: &'s Request,
    pub(super) policy: TsaPolicyId,
    /// Big-endian, positive.
    pub(super) serial: &'s [u8],
    pub(super) time: Timestamp,
}

/// What is the same in all tokens of one authority, in DER.
pub(super) struct Seal {
    digest: HashAlgorithm,
    /// SignerIdentifier: issuer and serial number.
    id: Vec<u8>,
    digest_algorithm: Vec<u8>,
    signature_algorithm: Vec<u8>,
    /// Two of the signed attributes.
    content_type: Vec<u8>,
    signing_certificate: Vec<u8>,
    /// `[0] IMPLICIT CertificateSet`.
    certificates: Vec<u8>,
}

impl Seal {
    /// The seal of the key that `chain` starts with.
    pub(super) fn new(chain: &[Certificate], include_chain: bool) -> Result<Self, ::der::Error> {
        let leaf = chain.first().ok_or(::der::ErrorKind::Failed)?;
        let digest = leaf.public_key().kind().default_hash();
        let (hash, signature) = match leaf.public_key().kind() {
            KeyKind::EcdsaP256 => (SHA256, ECDSA_WITH_SHA256),
            KeyKind::EcdsaP384 => (SHA384, ECDSA_WITH_SHA384),
            _ => return Err(::der::ErrorKind::Failed.into()),
        };
        // Absent parameters: RFC 5754 §2 and §3.3.
        let algorithm = |oid| AlgorithmIdentifierOwned { oid, parameters: None }.to_der();
        let signer = &X509::from_der(leaf.der())?.tbs_certificate;
        let id = IssuerAndSerialNumber {
            issuer: signer.issuer.clone(),
            serial_number: signer.serial_number.clone(),
        };
        let included = if include_chain { chain } else { &chain[..1] };
        Ok(Self {
            digest,
            id: id.to_der()?,
            digest_algorithm: algorithm(hash)?,
            signature_algorithm: algorithm(signature)?,
            content_type: attribute(CONTENT_TYPE, Any::encode_from(&TST_INFO)?)?,
            signing_certificate: signing_certificate(leaf)?,
            certificates: certificate_set(included)?,
        })
    }

    /// A DER TimeStampResp with status granted.
    pub(super) fn response(
        &self,
        statement: &Statement<'_>,
        key: &dyn Signer,
    ) -> Result<Vec<u8>, TokenError> {
        let content = info(statement)?.to_der()?;
        let attributes = self.signed_attributes(&content, statement.time)?;
        // Signed as the SET that they are, sent under an implicit tag (RFC 5652 §5.4).
        let signature = key.sign(&der::tlv(SET, &attributes))?;
        let signer = der::sequence(&[
            der::unsigned_integer(&[1]),
            self.id.clone(),
            self.digest_algorithm.clone(),
            der::tlv(CONTEXT_0, &attributes),
            self.signature_algorithm.clone(),
            der::octet_string(&signature),
        ]);
        let content = der::tlv(CONTEXT_0, &der::octet_string(&content));
        let certificates =
            if statement.request.certificates { self.certificates.clone() } else { Vec::new() };
        let data = der::sequence(&[
            der::unsigned_integer(&[3]),
            der::tlv(SET, &self.digest_algorithm),
            der::sequence(&[TST_INFO.to_der()?, content]),
            certificates,
            der::tlv(SET, &signer),
        ]);
        let token = der::sequence(&[SIGNED_DATA.to_der()?, der::tlv(CONTEXT_0, &data)]);
        let granted = der::sequence(&[der::unsigned_integer(&[0])]);
        Ok(der::sequence(&[granted, token]))
    }

    /// What the signature is over: type and digest of the content, the signer's certificate, and the time once more,
    /// for verifiers of CMS that know no timestamps. In the order of DER's SET OF.
    fn signed_attributes(&self, content: &[u8], time: Timestamp) -> Result<Vec<u8>, ::der::Error> {
        let mut attributes = [
            self.content_type.clone(),
            attribute(SIGNING_TIME, signing_time(time)?)?,
            attribute(MESSAGE_DIGEST, Any::new(Tag::OctetString, self.digest.digest(content))?)?,
            self.signing_certificate.clone(),
        ];
        attributes.sort();
        Ok(attributes.concat())
    }
}

/// The TSTInfo: hash, nonce and policy as in the request, whole seconds, no ordering beyond them.
fn info(statement: &Statement<'_>) -> Result<TstInfo, ::der::Error> {
    Ok(TstInfo {
        version: TspVersion::V1,
        policy: statement.policy,
        message_imprint: statement.request.imprint.clone(),
        serial_number: Int::from_der(&der::unsigned_integer(statement.serial))?,
        gen_time: GeneralizedTime::from_unix_duration(whole_seconds(statement.time))?,
        accuracy: Some(Accuracy { seconds: Some(super::ACCURACY.as_secs()), millis: None, micros: None }),
        ordering: false,
        nonce: statement.request.nonce.clone(),
        tsa: None,
        extensions: None,
    })
}

fn whole_seconds(time: Timestamp) -> Duration {
    Duration::from_secs(time.seconds())
}

/// UTCTime until 2049 (RFC 5652 §11.3).
fn signing_time(time: Timestamp) -> Result<Any, ::der::Error> {
    let time = whole_seconds(time);
    match UtcTime::from_unix_duration(time) {
        Ok(time) => Any::encode_from(&time),
        Err(_) => Any::encode_from(&GeneralizedTime::from_unix_duration(time)?),
    }
}

fn attribute(oid: ObjectIdentifier, value: Any) -> Result<Vec<u8>, ::der::Error> {
    Attribute { oid, values: SetOfVec::try_from(vec![value])? }.to_der()
}

/// SigningCertificateV2 with one ESSCertIDv2: SHA-256, which is the default and therefore left out (RFC 5035 §4).
fn signing_certificate(leaf: &Certificate) -> Result<Vec<u8>, ::der::Error> {
    let id = der::sequence(&[der::octet_string(&HashAlgorithm::Sha256.digest(leaf.der()))]);
    let value = der::sequence(&[der::sequence(&[id])]);
    attribute(SIGNING_CERTIFICATE_V2, Any::from_der(&value)?)
}

/// The certificates in the order of DER's SET OF, which rfc3161-client insists on.
fn certificate_set(chain: &[Certificate]) -> Result<Vec<u8>, ::der::Error> {
    let mut certificates = Vec::with_capacity(chain.len());
    for certificate in chain {
        // What is not DER would be read back as something else.
        if X509::from_der(certificate.der())?.to_der()? != certificate.der() {
            return Err(::der::ErrorKind::Failed.into());
        }
        certificates.push(certificate.der());
    }
    certificates.sort_unstable();
    Ok(der::tlv(CONTEXT_0, &certificates.concat()))
}
