//! The JSON of a Sigstore bundle as it stands in files: protobuf-specs `sigstore_bundle.proto` in protojson
//! form.
//!
//! These types only mirror the file. They refuse members that the format does not have and members that occur
//! twice, so that nothing in a bundle goes unread, and take every spelling of protojson
//! ([`chancery_tlog::protojson`]). What is absent or null is empty: [`super::Bundle::parse`] decides what a
//! bundle needs.

pub use chancery_tlog::protojson::{Base64, Int64};

use chancery_tlog::protojson::{hash_algorithm, list, object, objects, optional_object, or_default};
use serde::{Deserialize, Serialize};

use super::{MAX_CHAIN, MAX_ENTRIES, MAX_PROOF, MAX_TIMESTAMPS};

/// Most signatures of an envelope that are told apart from too many.
const MAX_SIGNATURES: usize = 32;

/// `Bundle`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Bundle {
    /// Media type with the version of the format.
    #[serde(alias = "media_type", deserialize_with = "or_default")]
    pub media_type: String,
    /// Who signed, and what witnesses it.
    #[serde(alias = "verification_material", deserialize_with = "object")]
    pub verification_material: VerificationMaterial,
    /// A signature over the artifact itself.
    #[serde(alias = "message_signature", deserialize_with = "optional_object")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_signature: Option<MessageSignature>,
    /// A signature over a statement about the artifact.
    #[serde(alias = "dsse_envelope", deserialize_with = "optional_object")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dsse_envelope: Option<Envelope>,
}

/// `VerificationMaterial`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct VerificationMaterial {
    /// The signing certificate (v0.3).
    #[serde(deserialize_with = "optional_object", skip_serializing_if = "Option::is_none")]
    pub certificate: Option<RawBytes>,
    /// The signing certificate and its chain (v0.1 and v0.2).
    #[serde(alias = "x509_certificate_chain", deserialize_with = "optional_object")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub x509_certificate_chain: Option<CertificateChain>,
    /// A key known by other means.
    #[serde(alias = "public_key", deserialize_with = "optional_object")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_key: Option<PublicKeyHint>,
    /// Entries in attestation logs.
    #[serde(alias = "tlog_entries", deserialize_with = "objects::<_, _, MAX_ENTRIES>")]
    pub tlog_entries: Vec<TransparencyLogEntry>,
    /// RFC 3161 timestamps.
    #[serde(alias = "timestamp_verification_data", deserialize_with = "optional_object")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp_verification_data: Option<TimestampVerificationData>,
}

/// `X509Certificate`: DER in a message of its own.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RawBytes {
    /// DER.
    #[serde(alias = "raw_bytes", deserialize_with = "or_default")]
    pub raw_bytes: Base64,
}

/// `X509CertificateChain`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CertificateChain {
    /// Leaf first.
    #[serde(deserialize_with = "objects::<_, _, MAX_CHAIN>")]
    pub certificates: Vec<RawBytes>,
}

/// `PublicKeyIdentifier`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PublicKeyHint {
    /// Anything; never trusted.
    #[serde(deserialize_with = "or_default")]
    pub hint: String,
}

/// `TransparencyLogEntry`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TransparencyLogEntry {
    /// Index over all shards of the log.
    #[serde(alias = "log_index", deserialize_with = "or_default")]
    pub log_index: Int64,
    /// Which log.
    #[serde(alias = "log_id", deserialize_with = "object")]
    pub log_id: LogId,
    /// What the body is.
    #[serde(alias = "kind_version", deserialize_with = "object")]
    pub kind_version: KindVersion,
    /// Seconds since the epoch; 0, null or absent if the log gives no time. Absent is how sigstore-go writes that.
    #[serde(alias = "integrated_time", skip_serializing_if = "Option::is_none")]
    pub integrated_time: Option<Int64>,
    /// The log's promise to include the entry.
    #[serde(alias = "inclusion_promise", deserialize_with = "optional_object")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inclusion_promise: Option<InclusionPromise>,
    /// The proof that it did.
    #[serde(alias = "inclusion_proof", deserialize_with = "optional_object")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inclusion_proof: Option<InclusionProof>,
    /// The leaf.
    #[serde(alias = "canonicalized_body", deserialize_with = "or_default")]
    pub canonicalized_body: Base64,
}

/// `LogId`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LogId {
    /// 32 bytes.
    #[serde(alias = "key_id", deserialize_with = "or_default")]
    pub key_id: Base64,
}

/// `KindVersion`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KindVersion {
    /// Kind of entry, such as `dsse`.
    #[serde(deserialize_with = "or_default")]
    pub kind: String,
    /// Its version, such as `0.0.1`.
    #[serde(deserialize_with = "or_default")]
    pub version: String,
}

/// `InclusionPromise`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct InclusionPromise {
    /// SET.
    #[serde(alias = "signed_entry_timestamp", deserialize_with = "or_default")]
    pub signed_entry_timestamp: Base64,
}

/// `InclusionProof`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct InclusionProof {
    /// Index in this tree.
    #[serde(alias = "log_index", deserialize_with = "or_default")]
    pub log_index: Int64,
    /// Root.
    #[serde(alias = "root_hash", deserialize_with = "or_default")]
    pub root_hash: Base64,
    /// Leaves.
    #[serde(alias = "tree_size", deserialize_with = "or_default")]
    pub tree_size: Int64,
    /// Leaf to root.
    #[serde(deserialize_with = "list::<_, _, MAX_PROOF>")]
    pub hashes: Vec<Base64>,
    /// The signed root.
    #[serde(deserialize_with = "optional_object", skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<Checkpoint>,
}

/// `Checkpoint`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Checkpoint {
    /// A signed note.
    #[serde(deserialize_with = "or_default")]
    pub envelope: String,
}

/// `TimestampVerificationData`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TimestampVerificationData {
    /// Timestamps.
    #[serde(alias = "rfc3161_timestamps", deserialize_with = "objects::<_, _, MAX_TIMESTAMPS>")]
    pub rfc3161_timestamps: Vec<SignedTimestamp>,
}

/// `RFC3161SignedTimestamp`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SignedTimestamp {
    /// DER `TimeStampResp`.
    #[serde(alias = "signed_timestamp", deserialize_with = "or_default")]
    pub signed_timestamp: Base64,
}

/// `MessageSignature`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct MessageSignature {
    /// What was signed.
    #[serde(alias = "message_digest", deserialize_with = "optional_object")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_digest: Option<HashOutput>,
    /// The signature.
    #[serde(deserialize_with = "or_default")]
    pub signature: Base64,
}

/// `HashOutput`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HashOutput {
    /// `SHA2_256`, `SHA2_384` or `SHA2_512`.
    #[serde(deserialize_with = "hash_algorithm")]
    pub algorithm: String,
    /// Digest.
    #[serde(deserialize_with = "or_default")]
    pub digest: Base64,
}

/// A DSSE envelope.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Envelope {
    /// What is signed.
    #[serde(deserialize_with = "or_default")]
    pub payload: Base64,
    /// Its media type.
    #[serde(deserialize_with = "or_default")]
    pub payload_type: String,
    /// Who signed.
    #[serde(deserialize_with = "objects::<_, _, MAX_SIGNATURES>")]
    pub signatures: Vec<EnvelopeSignature>,
}

/// A signature of a DSSE envelope.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EnvelopeSignature {
    /// The signature.
    #[serde(deserialize_with = "or_default")]
    pub sig: Base64,
    /// A hint, never trusted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keyid: Option<String>,
}
