//! What a verifier trusts and where a signer goes: TrustedRoot, SigningConfig, ClientTrustConfig.
//!
//! The JSON is that of protobuf-specs `sigstore_trustroot.proto` in its protojson form. Writers emit exactly the
//! media types that sigstore-go, sigstore-python and cosign accept; readers take every spelling of
//! protojson ([`crate::protojson`]) and ignore unknown members.
//!
//! Two layers: the messages, which hold what the files say, and [`Keyring`], which holds what a [`TrustedRoot`] means:
//! keys, certificates and times, decoded once.

mod keyring;
mod read;
mod validity;
mod write;

use serde::{Deserialize, Serialize};

pub use self::keyring::{Keyring, Listed, Skipped, TrustedAuthority, TrustedLog};
pub use self::read::TrustError;
pub use self::validity::{Known, Outside, Validity};
use crate::protojson;

/// The only media type of trusted roots that every client accepts.
pub const TRUSTED_ROOT_TYPE: &str = "application/vnd.dev.sigstore.trustedroot+json;version=0.1";
/// The media type of signing configs, v0.2.
pub const SIGNING_CONFIG_TYPE: &str = "application/vnd.dev.sigstore.signingconfig.v0.2+json";
/// The media type of client trust configs.
pub const CLIENT_TRUST_CONFIG_TYPE: &str = "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json";
/// Largest trust file that is read, in bytes.
pub const MAX_TRUST_FILE: usize = 4 * 1024 * 1024;

/// Most elements of a list that are kept: more than any reader allows, and enough to refuse it.
const MAX_KEPT: usize = 1024;

/// Keys and certificates of one or more instances.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TrustedRoot {
    /// [`TRUSTED_ROOT_TYPE`].
    pub media_type: String,
    /// Attestation logs.
    #[serde(
        deserialize_with = "protojson::objects::<_, _, MAX_KEPT>",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub tlogs: Vec<LogInstance>,
    /// Certificate authorities.
    #[serde(
        deserialize_with = "protojson::objects::<_, _, MAX_KEPT>",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub certificate_authorities: Vec<Authority>,
    /// Certificate transparency logs.
    #[serde(
        deserialize_with = "protojson::objects::<_, _, MAX_KEPT>",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub ctlogs: Vec<LogInstance>,
    /// Timestamp authorities.
    #[serde(
        deserialize_with = "protojson::objects::<_, _, MAX_KEPT>",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub timestamp_authorities: Vec<Authority>,
}

/// A log: its key and its names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LogInstance {
    /// URL whose host names the log. Never contacted by verifiers.
    pub base_url: String,
    /// Always `SHA2_256`.
    #[serde(deserialize_with = "protojson::hash_algorithm")]
    pub hash_algorithm: String,
    /// The key.
    #[serde(deserialize_with = "protojson::object")]
    pub public_key: TrustedKey,
    /// Log id.
    #[serde(deserialize_with = "protojson::object")]
    pub log_id: LogId,
    /// Id in checkpoints, where it differs.
    #[serde(deserialize_with = "protojson::optional_object", skip_serializing_if = "Option::is_none")]
    pub checkpoint_key_id: Option<LogId>,
    /// Operator, schemeless.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operator: Option<String>,
}

/// A public key with its validity.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TrustedKey {
    /// Base64 of the DER SPKI.
    pub raw_bytes: String,
    /// `PublicKeyDetails` name.
    #[serde(deserialize_with = "protojson::key_details")]
    pub key_details: String,
    /// When the key may have been used.
    #[serde(deserialize_with = "protojson::object")]
    pub valid_for: TimeRange,
}

/// A log id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LogId {
    /// Base64 of 32 bytes.
    pub key_id: String,
}

/// RFC 3339 range; both ends inclusive.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TimeRange {
    /// Start.
    pub start: String,
    /// End, open if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<String>,
}

/// A certificate or timestamp authority.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Authority {
    /// Subject, informational.
    #[serde(deserialize_with = "protojson::object")]
    pub subject: Subject,
    /// Base URL (CA) or full endpoint (TSA).
    pub uri: String,
    /// Certificates: for a CA issuing certificate first, anchor last; for a TSA its leaf first.
    #[serde(deserialize_with = "protojson::object")]
    pub cert_chain: CertChain,
    /// When it may have been used.
    #[serde(deserialize_with = "protojson::object")]
    pub valid_for: TimeRange,
    /// Operator, schemeless.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operator: Option<String>,
}

/// A distinguished name, shortened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Subject {
    /// O.
    pub organization: String,
    /// CN.
    pub common_name: String,
}

/// Certificates in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CertChain {
    /// Each as base64 DER.
    #[serde(deserialize_with = "protojson::objects::<_, _, MAX_KEPT>")]
    pub certificates: Vec<RawBytes>,
}

/// Base64 bytes in a message of their own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RawBytes {
    /// Standard base64.
    pub raw_bytes: String,
}

/// Where a signer goes, v0.2.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SigningConfig {
    /// [`SIGNING_CONFIG_TYPE`].
    pub media_type: String,
    /// Certificate authorities; major API version 1.
    #[serde(deserialize_with = "protojson::objects::<_, _, MAX_KEPT>")]
    pub ca_urls: Vec<Service>,
    /// OIDC providers for interactive use.
    #[serde(deserialize_with = "protojson::objects::<_, _, MAX_KEPT>")]
    pub oidc_urls: Vec<Service>,
    /// Attestation logs; major API version 1 or 2.
    #[serde(deserialize_with = "protojson::objects::<_, _, MAX_KEPT>")]
    pub rekor_tlog_urls: Vec<Service>,
    /// Timestamp authorities (full endpoint).
    #[serde(deserialize_with = "protojson::objects::<_, _, MAX_KEPT>")]
    pub tsa_urls: Vec<Service>,
    /// How many logs to use.
    #[serde(deserialize_with = "protojson::object")]
    pub rekor_tlog_config: ServiceSelection,
    /// How many timestamp authorities to use.
    #[serde(deserialize_with = "protojson::object")]
    pub tsa_config: ServiceSelection,
}

/// One service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Service {
    /// Base URL.
    pub url: String,
    /// API version.
    #[serde(deserialize_with = "protojson::uint32")]
    pub major_api_version: u32,
    /// When to use it.
    #[serde(deserialize_with = "protojson::object")]
    pub valid_for: TimeRange,
    /// Operator.
    pub operator: String,
}

/// Selector over services: `ANY`, `ALL` or `EXACT` with a count.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServiceSelection {
    /// `ANY`, `ALL`, `EXACT`.
    #[serde(deserialize_with = "protojson::service_selector")]
    pub selector: String,
    /// For `EXACT`.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "protojson::optional_uint32")]
    pub count: Option<u32>,
}

/// Both files in one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClientTrustConfig {
    /// [`CLIENT_TRUST_CONFIG_TYPE`].
    pub media_type: String,
    /// What to trust.
    #[serde(deserialize_with = "protojson::object")]
    pub trusted_root: TrustedRoot,
    /// Where to go.
    #[serde(deserialize_with = "protojson::object")]
    pub signing_config: SigningConfig,
}

#[cfg(test)]
mod tests;
