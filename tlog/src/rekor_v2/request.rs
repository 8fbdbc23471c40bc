//! `CreateEntryRequest` as it is sent: every field may be missing, as in all of protobuf. JSON is read here; what is
//! generated from `.proto` files for gRPC is turned into the same.
//!
//! Nothing is judged here but the encoding: [`CanonicalEntry::from_request`](super::CanonicalEntry::from_request) does.

use serde::Deserialize;

use super::algorithm::KeyDetails;
use super::{EntryError, MAX_REQUEST, MAX_SIGNATURES};
use crate::protojson::{Base64, List, Message};

/// Longest error text: serde's quote what they found.
const MAX_ERROR: usize = 300;

/// A request to add an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CreateEntryRequest {
    /// `hashedRekordRequestV002`.
    HashedRekord(HashedRekordRequest),
    /// `dsseRequestV002`.
    Dsse(DsseRequest),
}

/// A signature over a digest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HashedRekordRequest {
    /// The digest; which hash made it is in the verifier's [`KeyDetails`].
    pub digest: Vec<u8>,
    /// The signature and who made it.
    pub signature: Option<RequestSignature>,
}

/// A DSSE envelope and who signed it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DsseRequest {
    /// The envelope.
    pub envelope: Option<Envelope>,
    /// Who signed, in any order.
    pub verifiers: Vec<RequestVerifier>,
}

/// A DSSE envelope. Key ids are hints that nobody signed; they are not kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Envelope {
    /// The payload.
    pub payload: Vec<u8>,
    /// What the payload is.
    pub payload_type: String,
    /// The signatures.
    pub signatures: Vec<Vec<u8>>,
}

/// A signature and who made it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestSignature {
    /// The signature.
    pub content: Vec<u8>,
    /// Who made it.
    pub verifier: Option<RequestVerifier>,
}

/// Who made a signature.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestVerifier {
    /// Key or certificate.
    pub material: Option<RequestMaterial>,
    /// How it signs; `None` for what this log does not take.
    pub key_details: Option<KeyDetails>,
}

/// DER of what verifies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestMaterial {
    /// SubjectPublicKeyInfo.
    PublicKey(Vec<u8>),
    /// X.509 certificate.
    X509Certificate(Vec<u8>),
}

impl CreateEntryRequest {
    /// Most signature verifications that it may take: each signature may be by each verifier.
    pub fn signature_checks(&self) -> usize {
        match self {
            Self::HashedRekord(_) => 1,
            Self::Dsse(DsseRequest { envelope, verifiers }) => {
                let signatures = envelope.as_ref().map_or(0, |envelope| envelope.signatures.len());
                signatures.saturating_mul(verifiers.len())
            }
        }
    }

    /// Reads protojson. A body without text is an empty message, as grpc-gateway has it.
    pub fn from_json(body: &[u8]) -> Result<Self, EntryError> {
        if body.len() > MAX_REQUEST {
            return Err(EntryError::RequestTooLarge);
        }
        if body.iter().all(u8::is_ascii_whitespace) {
            return Err(EntryError::NoType);
        }
        let malformed = |error: &dyn std::fmt::Display| {
            EntryError::Malformed(error.to_string().chars().take(MAX_ERROR).collect())
        };
        let Message(json): Message<RequestJson> = serde_json::from_slice(body).map_err(|e| malformed(&e))?;
        match (json.hashed_rekord, json.dsse) {
            (Some(Message(request)), None) => Ok(Self::HashedRekord(request.into())),
            (None, Some(Message(request))) => Ok(Self::Dsse(request.into())),
            (None, None) => Err(EntryError::NoType),
            (Some(_), Some(_)) => Err(malformed(&"hashedRekordRequestV002 and dsseRequestV002 are both set")),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RequestJson {
    #[serde(rename = "hashedRekordRequestV002", alias = "hashed_rekord_request_v002")]
    hashed_rekord: Option<Message<HashedRekordJson>>,
    #[serde(rename = "dsseRequestV002", alias = "dsse_request_v002")]
    dsse: Option<Message<DsseJson>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HashedRekordJson {
    digest: Option<Base64>,
    signature: Option<Message<SignatureJson>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignatureJson {
    content: Option<Base64>,
    verifier: Option<Message<RequestVerifier>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VerifierJson {
    #[serde(rename = "publicKey", alias = "public_key")]
    public_key: Option<Message<RawJson>>,
    #[serde(rename = "x509Certificate", alias = "x509_certificate")]
    x509_certificate: Option<Message<RawJson>>,
    #[serde(rename = "keyDetails", alias = "key_details")]
    key_details: Option<KeyDetails>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawJson {
    #[serde(rename = "rawBytes", alias = "raw_bytes")]
    raw_bytes: Option<Base64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DsseJson {
    envelope: Option<Message<EnvelopeJson>>,
    verifiers: Option<List<RequestVerifier, MAX_SIGNATURES>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EnvelopeJson {
    payload: Option<Base64>,
    // The one field that is spelled so in the `.proto` file too.
    #[serde(rename = "payloadType")]
    payload_type: Option<String>,
    signatures: Option<List<EnvelopeSignatureJson, MAX_SIGNATURES>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EnvelopeSignatureJson {
    sig: Option<Base64>,
    #[serde(rename = "keyid")]
    _keyid: Option<String>,
}

fn bytes(field: Option<Base64>) -> Vec<u8> {
    field.unwrap_or_default().0
}

impl<'de> Deserialize<'de> for RequestVerifier {
    /// Refuses both members of the oneof together.
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let VerifierJson { public_key, x509_certificate, key_details } =
            VerifierJson::deserialize(deserializer)?;
        let material = match (public_key, x509_certificate) {
            (Some(_), Some(_)) => {
                return Err(serde::de::Error::custom("publicKey and x509Certificate are both set"));
            }
            (Some(Message(key)), None) => Some(RequestMaterial::PublicKey(bytes(key.raw_bytes))),
            (None, Some(Message(certificate))) => {
                Some(RequestMaterial::X509Certificate(bytes(certificate.raw_bytes)))
            }
            (None, None) => None,
        };
        Ok(Self { material, key_details })
    }
}

impl From<HashedRekordJson> for HashedRekordRequest {
    fn from(json: HashedRekordJson) -> Self {
        let signature = json.signature.map(|Message(signature)| RequestSignature {
            content: bytes(signature.content),
            verifier: signature.verifier.map(|Message(verifier)| verifier),
        });
        Self { digest: bytes(json.digest), signature }
    }
}

impl From<DsseJson> for DsseRequest {
    fn from(json: DsseJson) -> Self {
        let envelope = json.envelope.map(|Message(envelope)| Envelope {
            payload: bytes(envelope.payload),
            payload_type: envelope.payload_type.unwrap_or_default(),
            signatures: envelope.signatures.unwrap_or_default().0.into_iter().map(|s| bytes(s.sig)).collect(),
        });
        Self { envelope, verifiers: json.verifiers.unwrap_or_default().0 }
    }
}
