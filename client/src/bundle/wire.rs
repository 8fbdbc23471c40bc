//! The JSON of a Sigstore bundle as it stands in files: protobuf-specs `sigstore_bundle.proto` in protojson form.
//!
//! These types only mirror the file. They refuse members that the format does not have, so that nothing in a
//! bundle goes unread, and accept both spellings that protojson has for integers and for base64.

use std::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// Bytes as base64: read in either alphabet, with or without padding and line breaks, written in the standard one.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Base64(pub Vec<u8>);

impl Base64 {
    /// Decodes `text`; `None` if it is not base64. Line breaks are skipped, as Go's decoder does: coreutils makes them.
    pub fn decode(text: &str) -> Option<Vec<u8>> {
        if text.contains(['\n', '\r']) {
            return Self::decode(&text.replace(['\n', '\r'], ""));
        }
        STANDARD.decode(text).or_else(|_| URL_SAFE.decode(text)).ok()
    }

    /// Encodes with the standard alphabet and padding.
    pub fn encode(bytes: &[u8]) -> String {
        STANDARD.encode(bytes)
    }
}

impl fmt::Debug for Base64 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Base64({} bytes)", self.0.len())
    }
}

impl Serialize for Base64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&Self::encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::decode(&text).map(Self).ok_or_else(|| de::Error::custom("a value is not base64"))
    }
}

/// A protobuf `int64`, which is never negative in a bundle: a string in protojson, a number also accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Int64(pub u64);

impl Serialize for Int64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Int64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Spelling {
            Number(u64),
            Text(String),
        }
        let value = match Spelling::deserialize(deserializer)? {
            Spelling::Number(value) => Some(value),
            Spelling::Text(text) if text.bytes().all(|b| b.is_ascii_digit()) => text.parse().ok(),
            Spelling::Text(_) => None,
        };
        value
            .filter(|value| i64::try_from(*value).is_ok())
            .map(Self)
            .ok_or_else(|| de::Error::custom("a number is not a non-negative int64"))
    }
}

/// `Bundle`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Bundle {
    /// Media type with the version of the format.
    pub media_type: String,
    /// Who signed, and what witnesses it.
    pub verification_material: VerificationMaterial,
    /// A signature over the artifact itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_signature: Option<MessageSignature>,
    /// A signature over a statement about the artifact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dsse_envelope: Option<Envelope>,
}

/// `VerificationMaterial`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct VerificationMaterial {
    /// The signing certificate (v0.3).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<RawBytes>,
    /// The signing certificate and its chain (v0.1 and v0.2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub x509_certificate_chain: Option<CertificateChain>,
    /// A key known by other means.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_key: Option<PublicKeyHint>,
    /// Entries in attestation logs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tlog_entries: Option<Vec<TransparencyLogEntry>>,
    /// RFC 3161 timestamps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp_verification_data: Option<TimestampVerificationData>,
}

/// `X509Certificate`: DER in a message of its own.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawBytes {
    /// DER.
    pub raw_bytes: Base64,
}

/// `X509CertificateChain`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateChain {
    /// Leaf first.
    pub certificates: Vec<RawBytes>,
}

/// `PublicKeyIdentifier`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PublicKeyHint {
    /// Anything; never trusted.
    pub hint: String,
}

/// `TransparencyLogEntry`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TransparencyLogEntry {
    /// Index over all shards of the log.
    pub log_index: Int64,
    /// Which log.
    pub log_id: LogId,
    /// What the body is.
    pub kind_version: KindVersion,
    /// Seconds since the epoch; 0, null or absent if the log gives no time. Absent is how sigstore-go writes that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub integrated_time: Option<Int64>,
    /// The log's promise to include the entry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inclusion_promise: Option<InclusionPromise>,
    /// The proof that it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inclusion_proof: Option<InclusionProof>,
    /// The leaf.
    pub canonicalized_body: Base64,
}

/// `LogId`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LogId {
    /// 32 bytes.
    pub key_id: Base64,
}

/// `KindVersion`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KindVersion {
    /// Kind of entry, such as `dsse`.
    pub kind: String,
    /// Its version, such as `0.0.1`.
    pub version: String,
}

/// `InclusionPromise`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct InclusionPromise {
    /// SET.
    pub signed_entry_timestamp: Base64,
}

/// `InclusionProof`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct InclusionProof {
    /// Index in this tree.
    pub log_index: Int64,
    /// Root.
    pub root_hash: Base64,
    /// Leaves.
    pub tree_size: Int64,
    /// Leaf to root.
    pub hashes: Vec<Base64>,
    /// The signed root.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<Checkpoint>,
}

/// `Checkpoint`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Checkpoint {
    /// A signed note.
    pub envelope: String,
}

/// `TimestampVerificationData`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TimestampVerificationData {
    /// Timestamps.
    pub rfc3161_timestamps: Vec<SignedTimestamp>,
}

/// `RFC3161SignedTimestamp`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SignedTimestamp {
    /// DER `TimeStampResp`.
    pub signed_timestamp: Base64,
}

/// `MessageSignature`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MessageSignature {
    /// What was signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_digest: Option<HashOutput>,
    /// The signature.
    pub signature: Base64,
}

/// `HashOutput`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HashOutput {
    /// `SHA2_256`, `SHA2_384` or `SHA2_512`.
    pub algorithm: String,
    /// Digest.
    pub digest: Base64,
}

/// A DSSE envelope.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Envelope {
    /// What is signed.
    pub payload: Base64,
    /// Its media type.
    pub payload_type: String,
    /// Who signed.
    pub signatures: Vec<EnvelopeSignature>,
}

/// A signature of a DSSE envelope.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnvelopeSignature {
    /// The signature.
    pub sig: Base64,
    /// A hint, never trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keyid: Option<String>,
}
