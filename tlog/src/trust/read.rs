//! Reading the messages: bounded, and into keys, certificates and times.
//!
//! Every error names the member, as in `tlogs[0].publicKey.rawBytes: not base64`. A member that is
//! well-formed but of a sort that this program does not know (a key algorithm of tomorrow) is left out and
//! reported in [`Listed::skipped`], so that one new log does not make a whole instance unreadable.

use serde::de::DeserializeOwned;

use super::{
    Authority, CLIENT_TRUST_CONFIG_TYPE, ClientTrustConfig, Keyring, Listed, LogInstance, MAX_TRUST_FILE,
    SIGNING_CONFIG_TYPE, SigningConfig, Skipped, TimeRange, TrustedAuthority, TrustedKey, TrustedLog,
    TrustedRoot, Validity,
};
use crate::certificate::{Certificate, CertificateError, MAX_CHAIN};
use crate::clock::Timestamp;
use crate::key::{KeyError, KeyKind, PublicKey};
use crate::protojson::{self, Base64};

/// How media types of trusted roots start. There are three spellings of two versions, and one content.
const TRUSTED_ROOT_PREFIX: &str = "application/vnd.dev.sigstore.trustedroot";
/// Most logs, authorities or services of one sort.
const MAX_MEMBERS: usize = 256;

/// Why a trust file is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// Larger than [`MAX_TRUST_FILE`].
    #[error("the file is larger than {MAX_TRUST_FILE} bytes")]
    TooLarge,
    /// No JSON, or JSON of another shape.
    #[error("the JSON is not that of a trust file: {0}")]
    Json(String),
    /// The media type of something else.
    #[error("mediaType: expected `{expected}`, found `{found}`")]
    MediaType {
        /// What it should be, or start with.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// A member is malformed.
    #[error("{member}: {problem}")]
    Member {
        /// Path of the member.
        member: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl TrustedRoot {
    /// Parses the file: bounded in size and counts, with the media type of a trusted root.
    pub fn parse(json: &[u8]) -> Result<Self, TrustError> {
        let root: Self = parse(json)?;
        root.check()?;
        Ok(root)
    }

    /// Decodes keys, certificates and times.
    pub fn keyring(&self) -> Result<Keyring, TrustError> {
        self.check()?;
        Ok(Keyring {
            logs: each("tlogs", &self.tlogs, log)?,
            ct_logs: each("ctlogs", &self.ctlogs, log)?,
            authorities: each("certificateAuthorities", &self.certificate_authorities, authority)?,
            timestamp_authorities: each("timestampAuthorities", &self.timestamp_authorities, authority)?,
        })
    }

    fn check(&self) -> Result<(), TrustError> {
        if !self.media_type.starts_with(TRUSTED_ROOT_PREFIX) {
            return Err(media_type(TRUSTED_ROOT_PREFIX, &self.media_type));
        }
        bounded("tlogs", &self.tlogs)?;
        bounded("ctlogs", &self.ctlogs)?;
        bounded("certificateAuthorities", &self.certificate_authorities)?;
        bounded("timestampAuthorities", &self.timestamp_authorities)
    }
}

impl SigningConfig {
    /// Parses the file: bounded in size and counts, with the media type of a signing config, every time readable.
    pub fn parse(json: &[u8]) -> Result<Self, TrustError> {
        let config: Self = parse(json)?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), TrustError> {
        if self.media_type != SIGNING_CONFIG_TYPE {
            return Err(media_type(SIGNING_CONFIG_TYPE, &self.media_type));
        }
        for (name, services) in [
            ("caUrls", &self.ca_urls),
            ("oidcUrls", &self.oidc_urls),
            ("rekorTlogUrls", &self.rekor_tlog_urls),
            ("tsaUrls", &self.tsa_urls),
        ] {
            bounded(name, services)?;
            for (at, service) in services.iter().enumerate() {
                service
                    .valid_for
                    .validity()
                    .map_err(|problem| in_member(&format!("{name}[{at}]"), problem))?;
            }
        }
        Ok(())
    }
}

impl ClientTrustConfig {
    /// Parses the file, and both in it as their own `parse` does.
    pub fn parse(json: &[u8]) -> Result<Self, TrustError> {
        let config: Self = parse(json)?;
        if config.media_type != CLIENT_TRUST_CONFIG_TYPE {
            return Err(media_type(CLIENT_TRUST_CONFIG_TYPE, &config.media_type));
        }
        config.trusted_root.check()?;
        config.signing_config.check()?;
        Ok(config)
    }
}

impl TimeRange {
    /// The range as times. Without a start it starts at the epoch, as protobuf reads it.
    pub fn validity(&self) -> Result<Validity, TrustError> {
        let parse = |name: &str, text: &str| {
            Timestamp::parse_rfc3339(text)
                .ok_or_else(|| member(&format!("validFor.{name}"), "not an RFC 3339 time"))
        };
        let start = if self.start.is_empty() { Timestamp::default() } else { parse("start", &self.start)? };
        let end = self.end.as_deref().map(|end| parse("end", end)).transpose()?;
        Ok(Validity { start, end })
    }
}

fn parse<T: DeserializeOwned>(json: &[u8]) -> Result<T, TrustError> {
    if json.len() > MAX_TRUST_FILE {
        return Err(TrustError::TooLarge);
    }
    protojson::message(json).map_err(|error| TrustError::Json(error.to_string()))
}

fn bounded<T>(name: &str, list: &[T]) -> Result<(), TrustError> {
    if list.len() > MAX_MEMBERS {
        return Err(member(name, &format!("more than {MAX_MEMBERS} elements")));
    }
    Ok(())
}

fn media_type(expected: &'static str, found: &str) -> TrustError {
    TrustError::MediaType { expected, found: found.chars().take(100).collect() }
}

fn member(member: &str, problem: &str) -> TrustError {
    TrustError::Member { member: member.to_owned(), problem: problem.to_owned() }
}

/// The error with `outer` in front of the member that it names.
fn in_member(outer: &str, error: TrustError) -> TrustError {
    match error {
        TrustError::Member { member, problem } => {
            TrustError::Member { member: format!("{outer}.{member}"), problem }
        }
        other => other,
    }
}

/// Why one element of a list is not read.
enum Obstacle {
    /// It is of a sort that we do not know.
    Unsupported(String),
    /// It is broken.
    Broken(TrustError),
}

impl From<TrustError> for Obstacle {
    fn from(error: TrustError) -> Self {
        Self::Broken(error)
    }
}

/// Reads a list; elements of unknown sorts are left out.
fn each<T, U>(
    name: &str,
    list: &[T],
    read: impl Fn(&T) -> Result<U, Obstacle>,
) -> Result<Listed<U>, TrustError> {
    let (mut kept, mut skipped) = (Vec::with_capacity(list.len()), Vec::new());
    for (at, element) in list.iter().enumerate() {
        let path = format!("{name}[{at}]");
        match read(element) {
            Ok(element) => kept.push(element),
            Err(Obstacle::Unsupported(reason)) => skipped.push(Skipped { member: path, reason }),
            Err(Obstacle::Broken(error)) => return Err(in_member(&path, error)),
        }
    }
    Ok(Listed::new(kept, skipped))
}

fn log(log: &LogInstance) -> Result<TrustedLog, Obstacle> {
    if log.hash_algorithm != "SHA2_256" {
        let name: String = log.hash_algorithm.chars().take(50).collect();
        return Err(Obstacle::Unsupported(format!("hash algorithm `{name}`")));
    }
    let key = public_key(&log.public_key)?;
    let id = decode("logId.keyId", &log.log_id.key_id)?;
    let validity = log.public_key.valid_for.validity().map_err(|e| in_member("publicKey", e))?;
    if log.public_key.valid_for.start.is_empty() {
        return Err(member("publicKey.validFor.start", "missing").into());
    }
    Ok(TrustedLog {
        id: id.try_into().map_err(|_| member("logId.keyId", "not 32 bytes"))?,
        key,
        validity,
        url: log.base_url.clone(),
    })
}

/// Keys are SPKI, except for the legacy `PKCS1_RSA_…` details, which hold a bare `RSAPublicKey`.
fn public_key(trusted: &TrustedKey) -> Result<PublicKey, Obstacle> {
    const MEMBER: &str = "publicKey.rawBytes";
    let der = decode(MEMBER, &trusted.raw_bytes)?;
    let details = trusted.key_details.as_str();
    let key = if details.starts_with("PKCS1_RSA_") {
        PublicKey::from_pem(&crate::pem::encode("RSA PUBLIC KEY", &der))
    } else {
        PublicKey::from_spki_der(&der)
    };
    let key = key.map_err(|error| match error {
        KeyError::Unsupported(_) => Obstacle::Unsupported(error.to_string()),
        error => member(MEMBER, &error.to_string()).into(),
    })?;
    if contradicts(details, key.kind()) {
        return Err(member("publicKey.keyDetails", &format!("the key is {}", key.kind())).into());
    }
    Ok(key)
}

/// Whether `PublicKeyDetails` names another family of keys.
fn contradicts(details: &str, kind: KeyKind) -> bool {
    let is_rsa = matches!(kind, KeyKind::Rsa(_));
    [
        ("PKIX_ECDSA_P256", kind == KeyKind::EcdsaP256),
        ("PKIX_ECDSA_P384", kind == KeyKind::EcdsaP384),
        ("PKIX_ECDSA_P521", kind == KeyKind::EcdsaP521),
        ("PKIX_ED25519", kind == KeyKind::Ed25519),
        ("PKIX_RSA", is_rsa),
        ("PKCS1_RSA", is_rsa),
    ]
    .iter()
    .any(|(family, holds)| details.starts_with(family) && !holds)
}

fn authority(authority: &Authority) -> Result<TrustedAuthority, Obstacle> {
    let chain = &authority.cert_chain.certificates;
    if chain.len() > MAX_CHAIN {
        return Err(member("certChain.certificates", &format!("more than {MAX_CHAIN} elements")).into());
    }
    let mut intermediates = Vec::with_capacity(chain.len());
    for (at, certificate) in chain.iter().enumerate() {
        let path = format!("certChain.certificates[{at}].rawBytes");
        let der = decode(&path, &certificate.raw_bytes)?;
        intermediates.push(Certificate::from_der(&der).map_err(|error| match error {
            CertificateError::Key(KeyError::Unsupported(_)) => Obstacle::Unsupported(error.to_string()),
            error => member(&path, &error.to_string()).into(),
        })?);
    }
    Ok(TrustedAuthority {
        anchor: intermediates.pop().ok_or_else(|| member("certChain.certificates", "missing"))?,
        intermediates,
        validity: authority.valid_for.validity()?,
        url: authority.uri.clone(),
    })
}

fn decode(path: &str, text: &str) -> Result<Vec<u8>, TrustError> {
    if text.is_empty() {
        return Err(member(path, "missing"));
    }
    Base64::decode(text).ok_or_else(|| member(path, "not base64"))
}
