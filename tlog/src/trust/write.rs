//! Building the messages from keys, certificates and times, and rendering them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use super::{
    Authority, CLIENT_TRUST_CONFIG_TYPE, CertChain, ClientTrustConfig, LogId, LogInstance, RawBytes,
    SIGNING_CONFIG_TYPE, Service, ServiceSelection, SigningConfig, Subject, TRUSTED_ROOT_TYPE, TimeRange,
    TrustedKey, TrustedRoot,
};
use crate::certificate::Certificate;
use crate::clock::Timestamp;
use crate::key::PublicKey;

impl TimeRange {
    /// From `start` on, without an end: the end comes with the key's successor.
    pub fn since(start: Timestamp) -> Self {
        Self { start: start.to_rfc3339(), end: None }
    }
}

impl LogInstance {
    /// A log that is known by the SHA-256 of its SPKI, as RFC 6962 and Rekor v1 name logs. RSA keys of lengths that
    /// `PublicKeyDetails` has no name for get an empty one.
    pub fn for_key(base_url: impl Into<String>, key: &PublicKey, start: Timestamp) -> Self {
        Self {
            base_url: base_url.into(),
            hash_algorithm: "SHA2_256".to_owned(),
            public_key: TrustedKey {
                raw_bytes: STANDARD.encode(key.spki_der()),
                key_details: key.kind().key_details().unwrap_or_default().to_owned(),
                valid_for: TimeRange::since(start),
            },
            log_id: LogId { key_id: STANDARD.encode(key.fingerprint()) },
            checkpoint_key_id: None,
            operator: None,
        }
    }

    /// The same, run by `operator`. cosign 2.5 parses strictly and refuses the member: leave it out where that counts.
    #[must_use]
    pub fn operated_by(self, operator: impl Into<String>) -> Self {
        Self { operator: Some(operator.into()), ..self }
    }
}

impl Authority {
    /// An authority with this chain: for a CA issuing certificate first, for a TSA its leaf first, anchor last. Named
    /// after the anchor.
    pub fn from_chain(uri: impl Into<String>, chain: &[Certificate], start: Timestamp) -> Self {
        let (organization, common_name) = chain.last().map(Certificate::subject_o_cn).unwrap_or_default();
        let raw = |certificate: &Certificate| RawBytes { raw_bytes: STANDARD.encode(certificate.der()) };
        Self {
            subject: Subject {
                organization: organization.unwrap_or_default(),
                common_name: common_name.unwrap_or_default(),
            },
            uri: uri.into(),
            cert_chain: CertChain { certificates: chain.iter().map(raw).collect() },
            valid_for: TimeRange::since(start),
            operator: None,
        }
    }

    /// The same, run by `operator`. cosign 2.5 parses strictly and refuses the member: leave it out where that counts.
    #[must_use]
    pub fn operated_by(self, operator: impl Into<String>) -> Self {
        Self { operator: Some(operator.into()), ..self }
    }
}

impl Service {
    /// A service in use from `start` on. Clients know major version 1 of CAs, OIDC providers and TSAs, 1 and 2 of logs.
    pub fn new(
        url: impl Into<String>,
        major_api_version: u32,
        start: Timestamp,
        operator: impl Into<String>,
    ) -> Self {
        Self {
            url: url.into(),
            major_api_version,
            valid_for: TimeRange::since(start),
            operator: operator.into(),
        }
    }
}

impl ServiceSelection {
    /// Any one of the services.
    pub fn any() -> Self {
        Self { selector: "ANY".to_owned(), count: None }
    }
}

impl TrustedRoot {
    /// A trusted root that trusts nobody yet.
    pub fn new() -> Self {
        Self { media_type: TRUSTED_ROOT_TYPE.to_owned(), ..Self::default() }
    }

    /// The file: indented, with a final newline.
    pub fn to_json(&self) -> String {
        pretty(self)
    }
}

impl SigningConfig {
    /// A signing config without services, that asks for any one of those to come.
    pub fn new() -> Self {
        Self {
            media_type: SIGNING_CONFIG_TYPE.to_owned(),
            rekor_tlog_config: ServiceSelection::any(),
            tsa_config: ServiceSelection::any(),
            ..Self::default()
        }
    }

    /// The file: indented, with a final newline.
    pub fn to_json(&self) -> String {
        pretty(self)
    }
}

impl ClientTrustConfig {
    /// Both in one.
    pub fn new(trusted_root: TrustedRoot, signing_config: SigningConfig) -> Self {
        Self { media_type: CLIENT_TRUST_CONFIG_TYPE.to_owned(), trusted_root, signing_config }
    }

    /// The file: indented, with a final newline.
    pub fn to_json(&self) -> String {
        pretty(self)
    }
}

fn pretty(message: &impl Serialize) -> String {
    let mut json =
        serde_json::to_string_pretty(message).expect("messages are structs of strings and numbers");
    json.push('\n');
    json
}
