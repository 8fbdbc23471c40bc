//! The signed answer: TSTInfo in CMS SignedData in TimeStampResp, encoded by RustCrypto's ASN.1 and signed by our key.
//!
//! The builder of the `cms` crate wants RustCrypto's signature traits, which a key in an HSM does not have; its
//! structures do not, so the few steps of RFC 5652 §5.4 are taken here.

use std::time::Duration;

use ::der::asn1::{GeneralizedTime, Int, ObjectIdentifier, OctetString, SetOfVec, UtcTime};
use ::der::{Any, Decode as _, Encode as _, Tag};
use chancery_tlog::certificate::Certificate;
use chancery_tlog::clock::Timestamp;
use chancery_tlog::key::{HashAlgorithm, KeyKind, SignError, Signer};
use cms::cert::x509::Certificate as X509;
use cms::cert::x509::attr::Attribute;
use cms::cert::x509::spki::AlgorithmIdentifierOwned;
use cms::cert::{CertificateChoices, IssuerAndSerialNumber};
use cms::content_info::{CmsVersion, ContentInfo};
use cms::signed_data::{
    CertificateSet, EncapsulatedContentInfo, SignedAttributes, SignedData, SignerIdentifier, SignerInfo,
    SignerInfos,
};
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

/// What is the same in all tokens of one authority.
pub(super) struct Seal {
    id: SignerIdentifier,
    digest: HashAlgorithm,
    digest_algorithm: AlgorithmIdentifierOwned,
    signature_algorithm: AlgorithmIdentifierOwned,
    signing_certificate: Attribute,
    certificates: CertificateSet,
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
        let algorithm = |oid| AlgorithmIdentifierOwned { oid, parameters: None };
        let signer = &X509::from_der(leaf.der())?.tbs_certificate;
        let id = IssuerAndSerialNumber {
            issuer: signer.issuer.clone(),
            serial_number: signer.serial_number.clone(),
        };
        let included = if include_chain { chain } else { &chain[..1] };
        Ok(Self {
            id: SignerIdentifier::IssuerAndSerialNumber(id),
            digest,
            digest_algorithm: algorithm(hash),
            signature_algorithm: algorithm(signature),
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
        let signature = key.sign(&attributes.to_der()?)?;
        let signer = SignerInfo {
            version: CmsVersion::V1,
            sid: self.id.clone(),
            digest_alg: self.digest_algorithm.clone(),
            signed_attrs: Some(attributes),
            signature_algorithm: self.signature_algorithm.clone(),
            signature: OctetString::new(signature)?,
            unsigned_attrs: None,
        };
        let data = SignedData {
            version: CmsVersion::V3,
            digest_algorithms: SetOfVec::try_from(vec![self.digest_algorithm.clone()])?,
            encap_content_info: EncapsulatedContentInfo {
                econtent_type: TST_INFO,
                econtent: Some(Any::new(Tag::OctetString, content)?),
            },
            certificates: statement.request.certificates.then(|| self.certificates.clone()),
            crls: None,
            signer_infos: SignerInfos::try_from(vec![signer])?,
        };
        let token = ContentInfo { content_type: SIGNED_DATA, content: Any::encode_from(&data)? };
        let granted = der::sequence(&[der::unsigned_integer(&[0])]);
        Ok(der::sequence(&[granted, token.to_der()?]))
    }

    /// What the signature is over: type and digest of the content, the signer's certificate, and the time once more,
    /// for verifiers of CMS that know no timestamps.
    fn signed_attributes(&self, content: &[u8], time: Timestamp) -> Result<SignedAttributes, ::der::Error> {
        SignedAttributes::try_from(vec![
            attribute(CONTENT_TYPE, Any::encode_from(&TST_INFO)?)?,
            attribute(SIGNING_TIME, signing_time(time)?)?,
            attribute(MESSAGE_DIGEST, Any::new(Tag::OctetString, self.digest.digest(content))?)?,
            self.signing_certificate.clone(),
        ])
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

fn attribute(oid: ObjectIdentifier, value: Any) -> Result<Attribute, ::der::Error> {
    Ok(Attribute { oid, values: SetOfVec::try_from(vec![value])? })
}

/// SigningCertificateV2 with one ESSCertIDv2: SHA-256, which is the default and therefore left out (RFC 5035 §4).
fn signing_certificate(leaf: &Certificate) -> Result<Attribute, ::der::Error> {
    let id = der::sequence(&[der::octet_string(&HashAlgorithm::Sha256.digest(leaf.der()))]);
    let value = der::sequence(&[der::sequence(&[id])]);
    attribute(SIGNING_CERTIFICATE_V2, Any::from_der(&value)?)
}

/// The certificates in the order of DER's SET OF, which rfc3161-client insists on.
fn certificate_set(chain: &[Certificate]) -> Result<CertificateSet, ::der::Error> {
    let read = |certificate: &Certificate| {
        let parsed = X509::from_der(certificate.der())?;
        // Another encoding would not have the hash that signingCertificateV2 states.
        let same = parsed.to_der()? == certificate.der();
        if same { Ok(CertificateChoices::Certificate(parsed)) } else { Err(::der::ErrorKind::Failed.into()) }
    };
    let certificates: Vec<CertificateChoices> =
        chain.iter().map(read).collect::<Result<_, ::der::Error>>()?;
    CertificateSet::try_from(certificates)
}
