//! What may be asked for: a TimeStampReq in DER, or its JSON form.
//!
//! Invariant: a [`Request`] has a digest of SHA-2 with the right length and no extensions, and its DER form was DER. Where
//! a string is split (CVE-2025-66564), its pieces are counted first.

use ::der::asn1::{Int, ObjectIdentifier, OctetString};
use ::der::{Any, Decode as _, Encode as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chancery_tlog::key::HashAlgorithm;
use cms::cert::x509::spki::AlgorithmIdentifierOwned;
use serde::Deserialize;
use x509_tsp::{MessageImprint, TimeStampReq, TsaPolicyId};

/// Largest DER request: with SHA-512, a policy and a nonce of any sense it takes 200 bytes.
pub const MAX_DER: usize = 16 * 1024;
/// Largest JSON request, as in timestamp-authority.
pub const MAX_JSON: usize = 1024;
/// Most components of an object identifier.
pub const MAX_OID_COMPONENTS: usize = 128;
/// Longest nonce, in bytes: RFC 3161 suggests 64 bits, and it is echoed.
const MAX_NONCE: usize = 64;

const SHA1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.14.3.2.26");
const MD5: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.2.5");
const HASHES: [(ObjectIdentifier, HashAlgorithm); 3] = [
    (ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1"), HashAlgorithm::Sha256),
    (ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.2"), HashAlgorithm::Sha384),
    (ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.3"), HashAlgorithm::Sha512),
];
/// What [`Request::trial`] stamps.
pub(super) const TRIAL_MESSAGE: &[u8] = b"";

/// Why a request is refused. All are the requester's fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Too large for its form.
    #[error("the timestamp request is larger than {0} bytes")]
    TooLarge(usize),
    /// Not its form.
    #[error("Error parsing timestamp request: {0}")]
    Malformed(&'static str),
    /// SHA-1, MD5.
    #[error("Weak hash algorithm in timestamp request")]
    WeakHash,
    /// Something else.
    #[error("unsupported hash algorithm in timestamp request; use SHA-256, SHA-384 or SHA-512")]
    UnsupportedHash,
    /// The digest's length.
    #[error("Message digest has incorrect length for specified algorithm")]
    DigestLength,
    /// A policy that is not offered.
    #[error("unaccepted policy {0} in timestamp request")]
    Policy(String),
    /// An object identifier with more than [`MAX_OID_COMPONENTS`].
    #[error("object identifier with more than {MAX_OID_COMPONENTS} components in timestamp request")]
    OidComponents,
    /// Any extension.
    #[error("unaccepted extension in timestamp request")]
    Extension,
}

/// A request for a timestamp.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub(super) imprint: MessageImprint,
    pub(super) policy: Option<TsaPolicyId>,
    pub(super) nonce: Option<Int>,
    pub(super) certificates: bool,
}

impl Request {
    /// Reads a DER TimeStampReq (RFC 3161 §2.4.1).
    pub fn from_der(der: &[u8]) -> Result<Self, RequestError> {
        if der.len() > MAX_DER {
            return Err(RequestError::TooLarge(MAX_DER));
        }
        let request = TimeStampReq::from_der(der)
            .map_err(|_| RequestError::Malformed("not the DER of a TimeStampReq of version 1"))?;
        if !request.to_der().is_ok_and(|again| again == der) {
            return Err(RequestError::Malformed("it is not DER: another encoding of it is"));
        }
        if request.extensions.is_some() {
            return Err(RequestError::Extension);
        }
        if request.nonce.as_ref().is_some_and(|nonce| nonce.as_bytes().len() > MAX_NONCE) {
            return Err(RequestError::Malformed("the nonce is too long"));
        }
        check_imprint(&request.message_imprint)?;
        Ok(Self {
            imprint: request.message_imprint,
            policy: request.req_policy,
            nonce: request.nonce,
            certificates: request.cert_req,
        })
    }

    /// Reads the JSON form.
    pub fn from_json(json: &[u8]) -> Result<Self, RequestError> {
        if json.len() > MAX_JSON {
            return Err(RequestError::TooLarge(MAX_JSON));
        }
        let form: Form = serde_json::from_slice(json).map_err(|_| {
            RequestError::Malformed(
                "expected JSON with artifactHash, hashAlgorithm and, if wanted, nonce, certificates, tsaPolicyOID",
            )
        })?;
        let digest = STANDARD
            .decode(form.artifact_hash)
            .map_err(|_| RequestError::Malformed("artifactHash is not base64"))?;
        let imprint = imprint(hash(&form.hash_algorithm)?, digest)?;
        check_imprint(&imprint)?;
        let nonce = form.nonce.map(integer).transpose()?;
        let policy = form.tsa_policy_oid.as_deref().filter(|oid| !oid.is_empty()).map(oid).transpose()?;
        Ok(Self { imprint, policy, nonce, certificates: form.certificates })
    }

    /// The request with which an authority tries itself.
    pub(super) fn trial() -> Result<Self, RequestError> {
        let imprint = imprint(HASHES[0].0, HashAlgorithm::Sha256.digest(TRIAL_MESSAGE))?;
        Ok(Self { imprint, policy: None, nonce: None, certificates: true })
    }
}

/// The JSON form; other members are ignored, as in timestamp-authority.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Form {
    artifact_hash: String,
    hash_algorithm: String,
    nonce: Option<u64>,
    #[serde(default)]
    certificates: bool,
    #[serde(rename = "tsaPolicyOID")]
    tsa_policy_oid: Option<String>,
}

fn hash(name: &str) -> Result<ObjectIdentifier, RequestError> {
    let known = HASHES.iter().find(|(_, algorithm)| name.eq_ignore_ascii_case(algorithm.name()));
    match known {
        Some((oid, _)) => Ok(*oid),
        None if name.eq_ignore_ascii_case("sha1") || name.eq_ignore_ascii_case("md5") => {
            Err(RequestError::WeakHash)
        }
        None => Err(RequestError::UnsupportedHash),
    }
}

fn imprint(oid: ObjectIdentifier, digest: Vec<u8>) -> Result<MessageImprint, RequestError> {
    let hashed_message = OctetString::new(digest).map_err(|_| RequestError::DigestLength)?;
    let hash_algorithm = AlgorithmIdentifierOwned { oid, parameters: None };
    Ok(MessageImprint { hash_algorithm, hashed_message })
}

fn check_imprint(imprint: &MessageImprint) -> Result<(), RequestError> {
    let algorithm = &imprint.hash_algorithm;
    if [SHA1, MD5].contains(&algorithm.oid) {
        return Err(RequestError::WeakHash);
    }
    let known = HASHES.iter().find(|(oid, _)| *oid == algorithm.oid);
    let (_, hash) = known.ok_or(RequestError::UnsupportedHash)?;
    if algorithm.parameters.as_ref().is_some_and(|parameters| *parameters != Any::null()) {
        return Err(RequestError::Malformed("the hash algorithm has parameters"));
    }
    if imprint.hashed_message.as_bytes().len() == hash.len() {
        Ok(())
    } else {
        Err(RequestError::DigestLength)
    }
}

fn integer(nonce: u64) -> Result<Int, RequestError> {
    let der = crate::der::unsigned_integer(&nonce.to_be_bytes());
    Int::from_der(&der).map_err(|_| RequestError::Malformed("the nonce cannot be encoded"))
}

fn oid(dotted: &str) -> Result<ObjectIdentifier, RequestError> {
    if dotted.bytes().filter(|&b| b == b'.').count() >= MAX_OID_COMPONENTS {
        return Err(RequestError::OidComponents);
    }
    ObjectIdentifier::new(dotted)
        .map_err(|_| RequestError::Malformed("tsaPolicyOID is not a dotted identifier"))
}

/// The policies under which an authority works.
pub(super) struct Policies {
    default: TsaPolicyId,
    accepted: Vec<TsaPolicyId>,
}

impl Policies {
    /// Reads the settings; the error is the text that is no OID.
    pub(super) fn new(default: &str, accepted: &[String]) -> Result<Self, String> {
        let read = |dotted: &str| oid(dotted).map_err(|_| dotted.to_owned());
        let accepted = accepted.iter().map(|dotted| read(dotted)).collect::<Result<_, _>>()?;
        Ok(Self { default: read(default)?, accepted })
    }

    /// The policy for this request.
    pub(super) fn choose(&self, request: &Request) -> Result<TsaPolicyId, RequestError> {
        match request.policy {
            None => Ok(self.default),
            Some(policy) if policy == self.default || self.accepted.contains(&policy) => Ok(policy),
            Some(policy) => Err(RequestError::Policy(policy.to_string())),
        }
    }
}
