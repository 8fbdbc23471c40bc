//! What a verifier trusts, ready to use: the keys and certificates of a `TrustedRoot`, parsed once.
//!
//! Any Sigstore instance's file works. A file with a member that cannot be read is refused as a whole: dropping a
//! log would quietly drop the claims that its presence demands.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chancery_tlog::certificate::{Certificate, CertificateError};
use chancery_tlog::clock::Timestamp;
use chancery_tlog::key::{KeyError, PublicKey};
use chancery_tlog::trust::{self, MAX_TRUST_FILE, TrustedRoot};

/// Most logs or authorities of one kind that are read.
const MAX_MEMBERS: usize = 256;

/// Why a trusted root cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// Larger than [`MAX_TRUST_FILE`].
    #[error("the trusted root is larger than {MAX_TRUST_FILE} bytes")]
    TooLarge,
    /// Not the JSON of a trusted root.
    #[error("not a trusted root: {0}")]
    Json(String),
    /// Another media type.
    #[error("`{0}` is not the media type of a trusted root")]
    MediaType(String),
    /// A member is malformed.
    #[error("malformed trusted root: {0}")]
    Malformed(&'static str),
    /// A log's key.
    #[error("the key of log `{0}`: {1}")]
    Key(String, KeyError),
    /// A certificate.
    #[error("a certificate authority of the trusted root: {0}")]
    Certificate(#[from] CertificateError),
}

/// When something may have been used; both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// Start.
    pub start: Timestamp,
    /// End; open if `None`.
    pub end: Option<Timestamp>,
}

impl Validity {
    /// Whether `at` lies within.
    pub fn contains(&self, at: Timestamp) -> bool {
        self.start <= at && self.end.is_none_or(|end| at <= end)
    }
}

/// A log whose signatures count.
#[derive(Clone, Debug)]
pub struct TrustedLog {
    /// Id by which entries and SCTs name it.
    pub id: [u8; 32],
    /// Its key.
    pub key: PublicKey,
    /// When the key may have been used.
    pub validity: Validity,
    /// Its URL: a name here, never contacted.
    pub url: String,
}

/// A certificate authority.
#[derive(Clone, Debug)]
pub struct TrustedAuthority {
    /// Between leaf and anchor, issuing certificate first; empty if the anchor issues.
    pub intermediates: Vec<Certificate>,
    /// The anchor.
    pub anchor: Certificate,
    /// When it may have been used.
    pub validity: Validity,
    /// Its URL: a name here, never contacted.
    pub url: String,
}

/// A trusted root, ready to verify with.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// Attestation logs.
    pub logs: Vec<TrustedLog>,
    /// Issuance logs.
    pub ct_logs: Vec<TrustedLog>,
    /// Certificate authorities.
    pub authorities: Vec<TrustedAuthority>,
    /// Whether there are timestamp authorities.
    pub has_timestamp_authorities: bool,
}

impl Trust {
    /// Parses the JSON of a `TrustedRoot`.
    pub fn parse(json: &[u8]) -> Result<Self, TrustError> {
        if json.len() > MAX_TRUST_FILE {
            return Err(TrustError::TooLarge);
        }
        let root: TrustedRoot =
            serde_json::from_slice(json).map_err(|error| TrustError::Json(error.to_string()))?;
        Self::from_root(&root)
    }

    /// Reads a trusted root.
    pub fn from_root(root: &TrustedRoot) -> Result<Self, TrustError> {
        let is_trusted_root = root.media_type.starts_with("application/vnd.dev.sigstore.trustedroot");
        if !is_trusted_root {
            return Err(TrustError::MediaType(root.media_type.chars().take(100).collect()));
        }
        let members = [&root.tlogs, &root.ctlogs].map(Vec::len);
        if members.into_iter().chain([root.certificate_authorities.len()]).any(|n| n > MAX_MEMBERS) {
            return Err(TrustError::Malformed("too many logs or authorities"));
        }
        Ok(Self {
            logs: root.tlogs.iter().map(log).collect::<Result<_, _>>()?,
            ct_logs: root.ctlogs.iter().map(log).collect::<Result<_, _>>()?,
            authorities: root.certificate_authorities.iter().map(authority).collect::<Result<_, _>>()?,
            has_timestamp_authorities: !root.timestamp_authorities.is_empty(),
        })
    }
}

fn log(log: &trust::LogInstance) -> Result<TrustedLog, TrustError> {
    let spki = decode(&log.public_key.raw_bytes)?;
    let key = public_key(&spki, &log.public_key.key_details)
        .map_err(|error| TrustError::Key(log.base_url.clone(), error))?;
    if log.public_key.valid_for.start.is_empty() {
        return Err(TrustError::Malformed("a log's key has no start of validity"));
    }
    let id = decode(&log.log_id.key_id)?
        .try_into()
        .map_err(|_| TrustError::Malformed("a log id is not 32 bytes"))?;
    Ok(TrustedLog { id, key, validity: validity(&log.public_key.valid_for)?, url: log.base_url.clone() })
}

/// Keys are SPKI except for the legacy `PKCS1_RSA_…` details, which hold a bare `RSAPublicKey`.
fn public_key(der: &[u8], details: &str) -> Result<PublicKey, KeyError> {
    if !details.starts_with("PKCS1_RSA_") {
        return PublicKey::from_spki_der(der);
    }
    PublicKey::from_pem(&pem::encode(&pem::Pem::new("RSA PUBLIC KEY", der)))
}

fn authority(authority: &trust::Authority) -> Result<TrustedAuthority, TrustError> {
    let chain = &authority.cert_chain.certificates;
    if chain.len() > chancery_tlog::certificate::MAX_CHAIN {
        return Err(TrustError::Certificate(CertificateError::TooMany));
    }
    let mut intermediates = chain
        .iter()
        .map(|certificate| Ok(Certificate::from_der(&decode(&certificate.raw_bytes)?)?))
        .collect::<Result<Vec<_>, TrustError>>()?;
    let anchor = intermediates.pop().ok_or(TrustError::Malformed("an authority without certificates"))?;
    let validity = validity(&authority.valid_for)?;
    Ok(TrustedAuthority { intermediates, anchor, validity, url: authority.uri.clone() })
}

fn validity(range: &trust::TimeRange) -> Result<Validity, TrustError> {
    let parse = |text: &str| {
        Timestamp::parse_rfc3339(text).ok_or(TrustError::Malformed("a `validFor` time is not RFC 3339"))
    };
    // Authorities of some published roots have no start; protobuf reads that as the epoch.
    let start = if range.start.is_empty() { Timestamp::default() } else { parse(&range.start)? };
    let end = range.end.as_deref().map(parse).transpose()?;
    Ok(Validity { start, end })
}

fn decode(text: &str) -> Result<Vec<u8>, TrustError> {
    STANDARD.decode(text).map_err(|_| TrustError::Malformed("a value is not standard base64"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use chancery_tlog::trust::TRUSTED_ROOT_TYPE;

    #[test]
    fn both_ends_of_a_validity_are_included() {
        let at = Timestamp::from_seconds;
        let validity = Validity { start: at(10), end: Some(at(20)) };
        assert!(validity.contains(at(10)) && validity.contains(at(20)));
        assert!(!validity.contains(at(9)) && !validity.contains(at(21)));
    }

    #[test]
    fn another_media_type_is_refused() {
        assert!(matches!(Trust::parse(br#"{"mediaType":"x"}"#), Err(TrustError::MediaType(_))));
        assert!(Trust::parse(format!(r#"{{"mediaType":"{TRUSTED_ROOT_TYPE}"}}"#).as_bytes()).is_ok());
    }

    #[test]
    fn a_log_without_a_key_refuses_the_file() {
        let json = format!(r#"{{"mediaType":"{TRUSTED_ROOT_TYPE}","tlogs":[{{"baseUrl":"x"}}]}}"#);
        assert!(Trust::parse(json.as_bytes()).is_err());
    }
}
