//! What may be asked for: a TimeStampReq in DER, or its JSON form.
//!
//! Invariant: a [`Request`] has a digest of SHA-2 with the right length and no extensions, and its DER form was DER. Where
//! a string is split (CVE-2025-66564), its pieces are counted first.

mod json;

use ::der::asn1::AnyRef;
use ::der::asn1::{Int, ObjectIdentifier, OctetString};
use ::der::{Any, Decode as _, Encode as _};
use chancery_tlog::key::HashAlgorithm;
use cms::cert::x509::spki::AlgorithmIdentifierOwned;
use x509_tsp::{MessageImprint, TimeStampReq, TsaPolicyId};

/// Largest DER request: with SHA-512, a policy and a nonce of any sense it takes 200 bytes.
pub const MAX_DER: usize = 16 * 1024;
/// Largest JSON request, as in timestamp-authority.
pub const MAX_JSON: usize = 1024;
/// Most components of an object identifier.
pub const MAX_OID_COMPONENTS: usize = 128;
/// Longest nonce, in bytes: more than a JSON request has room for. RFC 3161 suggests 64 bits, and it is echoed.
const MAX_NONCE: usize = 512;

const SHA1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.14.3.2.26");
const MD5: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.2.5");
const HASHES: [(ObjectIdentifier, HashAlgorithm); 3] = [
    (ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1"), HashAlgorithm::Sha256),
    (ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.2"), HashAlgorithm::Sha384),
    (ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.3"), HashAlgorithm::Sha512),
];
/// What [`Request::trial`] stamps.
pub(super) const TRIAL_MESSAGE: &[u8] = b"";

/// Why a request is refused. All are the requester's fault. The texts begin as those of timestamp-authority.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Too large for its form.
    #[error("timestamp request is too large: at most {0} bytes are read")]
    TooLarge(usize),
    /// Not its form.
    #[error("Error generating timestamp response: {0}")]
    Malformed(&'static str),
    /// SHA-1, MD5.
    #[error("Weak hash algorithm in timestamp request")]
    WeakHash,
    /// Something else.
    #[error("Error generating timestamp response: unsupported hash algorithm; use sha256, sha384 or sha512")]
    UnsupportedHash,
    /// The digest's length.
    #[error("Message digest has incorrect length for specified algorithm")]
    DigestLength,
    /// A policy that is not offered.
    #[error("unaccepted policy: requested TSA policy is not supported by the TSA: {0}")]
    Policy(String),
    /// An object identifier of the JSON form that is not one, or has more than [`MAX_OID_COMPONENTS`].
    #[error("OID should be comprised of at most {MAX_OID_COMPONENTS} components")]
    OidComponents,
    /// Any extension.
    #[error("unaccepted extension: requested extensions are not supported by the TSA")]
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
        if request.extensions.is_some() {
            return Err(RequestError::Extension);
        }
        if !request.to_der().is_ok_and(|again| again == der || writes_default(&again, der)) {
            return Err(RequestError::Malformed("it is not DER: another encoding of it is"));
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

    /// The request with which an authority tries itself.
    pub(super) fn trial() -> Result<Self, RequestError> {
        let imprint = imprint(HASHES[0].0, HashAlgorithm::Sha256.digest(TRIAL_MESSAGE))?;
        Ok(Self { imprint, policy: None, nonce: None, certificates: true })
    }
}

/// Whether `der` is the request `canonical` but for a `certReq FALSE` at its end. DER leaves a default out, some clients
/// write it, and Go's reader, which timestamp-authority has, takes both.
fn writes_default(canonical: &[u8], der: &[u8]) -> bool {
    const FALSE: &[u8] = &[0x01, 0x01, 0x00];
    let fields = |der| AnyRef::from_der(der).map(|request| request.value().to_vec());
    match (fields(canonical), fields(der)) {
        (Ok(canonical), Ok(written)) => written.strip_suffix(FALSE) == Some(&canonical),
        _ => false,
    }
}

fn imprint(oid: ObjectIdentifier, digest: Vec<u8>) -> Result<MessageImprint, RequestError> {
    let hashed_message = OctetString::new(digest).map_err(|_| RequestError::DigestLength)?;
    // With NULL, as timestamp-authority and OpenSSL write it.
    let hash_algorithm = AlgorithmIdentifierOwned { oid, parameters: Some(Any::null()) };
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

/// The policies under which an authority works.
pub(super) struct Policies {
    default: TsaPolicyId,
    accepted: Vec<TsaPolicyId>,
}

impl Policies {
    /// Reads the settings; the error is the text that is no OID.
    pub(super) fn new(default: &str, accepted: &[String]) -> Result<Self, String> {
        let read = |dotted: &str| ObjectIdentifier::new(dotted).map_err(|_| dotted.to_owned());
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A request whose fields are these, DER or not.
    fn request(fields: &[&[u8]]) -> Vec<u8> {
        let imprint =
            [&[0x30, 0x0d, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1, 5, 0, 4, 32][..], &[7; 32]].concat();
        let imprint = [&[0x30, u8::try_from(imprint.len()).unwrap()][..], &imprint].concat();
        let fields = [&[2, 1, 1][..], &imprint, &fields.concat()].concat();
        [&[0x30, u8::try_from(fields.len()).unwrap()][..], &fields].concat()
    }

    const NONCE: &[u8] = &[2, 1, 5];
    const TRUE: &[u8] = &[1, 1, 0xff];
    const FALSE: &[u8] = &[1, 1, 0];

    /// timestamp-authority 2.1.3 reads requests with Go's encoding/asn1, which takes a default that is written.
    #[test]
    fn a_certificate_request_of_false_may_be_written_or_left_out() {
        for (fields, certificates) in [
            (&[][..], false),
            (&[TRUE][..], true),
            (&[FALSE], false),
            (&[NONCE, FALSE], false),
            (&[NONCE, TRUE], true),
        ] {
            assert_eq!(Request::from_der(&request(fields)).unwrap().certificates, certificates, "{fields:?}");
        }
    }

    #[test]
    fn what_else_is_not_der_stays_refused() {
        for fields in
            [&[&[1, 1, 1][..]][..], &[FALSE, FALSE], &[&[2, 2, 0, 5], FALSE], &[FALSE, NONCE], &[TRUE, FALSE]]
        {
            assert!(Request::from_der(&request(fields)).is_err(), "{fields:?}");
        }
        let mut long = request(&[FALSE]);
        let length = long[1];
        long.splice(1..2, [0x81, length]);
        assert!(Request::from_der(&long).is_err(), "a length of more bytes than it takes");
    }
}
