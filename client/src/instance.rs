//! The pinned instance: what this machine trusts and where it signs, in one file under the configuration folder.
//!
//! The file keeps the served bytes and their SHA-256; it is refused if they no longer agree. An instance is
//! replaced only when asked to, since whoever swaps it decides what verifies.

mod services;

use std::fs;
use std::path::{Path, PathBuf};

use chancery_tlog::clock::Timestamp;
use chancery_tlog::files;
use chancery_tlog::merkle::Hash;
use chancery_tlog::trust::{ClientTrustConfig, Keyring, SigningConfig, TrustError};
use serde::{Deserialize, Serialize};
use url::Url;

pub use self::services::{Dialect, Expected, LogService, Services, Without};
use crate::guard::{Guard, GuardError, HttpError, Purpose, Request, RequestId, join};

/// Where an instance serves its trust configuration.
pub const WELL_KNOWN: &str = "/.well-known/chancery/client_trust_config.json";
/// Name of the file under the configuration folder.
const FILE: &str = "instance.json";

/// Why there is no usable instance.
#[derive(Debug, thiserror::Error)]
pub enum InstanceError {
    /// The file.
    #[error("cannot {action} `{}`: {error}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// How it failed.
        error: std::io::Error,
    },
    /// The file was changed.
    #[error("`{}` is damaged: {what}", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The endpoint may not be contacted.
    #[error(transparent)]
    Guard(#[from] GuardError),
    /// The endpoint could not be.
    #[error("cannot get the trust configuration: {0}")]
    Http(#[from] HttpError),
    /// It answered something else.
    #[error("{url} has no trust configuration: it answered {answer}")]
    Answer {
        /// Where.
        url: Url,
        /// What.
        answer: String,
    },
    /// Not a client trust config.
    #[error("not a client trust configuration: {0}")]
    Config(String),
    /// One with a member that cannot be read.
    #[error("the trust configuration cannot be used: {0}")]
    Trust(#[from] TrustError),
    /// An answer with a configuration that is refused.
    #[error("{error}{request}")]
    Served {
        /// Why.
        error: Box<Self>,
        /// The request's id.
        request: RequestId,
    },
    /// Another one than the caller expects.
    #[error("the instance's fingerprint is sha256:{found}, not the expected sha256:{expected}")]
    Fingerprint {
        /// Expected.
        expected: String,
        /// Found.
        found: String,
    },
    /// Another one is pinned.
    #[error("another instance is pinned: {url} with fingerprint sha256:{sha256}")]
    AlreadyPinned {
        /// Its address.
        url: String,
        /// Its fingerprint.
        sha256: String,
    },
    /// The signing config does not say where to sign.
    #[error("the instance's signing configuration: {0}")]
    Services(String),
    /// No log would have the signature.
    #[error("no attestation log would have this signature, and nobody could tell that it was made: {0}")]
    NoLog(&'static str),
    /// The signature would soon be verifiable by nobody.
    #[error(
        "nobody trusted would say when this was signed, so it would verify only while its certificate lives, a few \
         minutes: the instance names neither a timestamp authority nor a log that signs the time"
    )]
    NoSignedTime,
    /// A caller says that there is none, and there is.
    #[error("the instance has {0}: without it a signature would not verify")]
    Expected(Expected),
}

/// An instance: what to trust and where to sign.
#[derive(Clone, Debug)]
pub struct Instance {
    url: String,
    pinned_at: String,
    document: String,
    /// What to trust.
    pub trust: Keyring,
    /// Where to sign.
    pub signing: SigningConfig,
}

/// The file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct PinnedFile {
    url: String,
    sha256: String,
    pinned_at: String,
    client_trust_config: String,
}

impl Instance {
    /// Fetches an instance's configuration. Contacts nobody but `url`, and refuses a configuration that would later
    /// send a signer to a public instance.
    pub async fn fetch(url: &Url, allow_public: bool, now: Timestamp) -> Result<Self, InstanceError> {
        let guard = Guard::new(&[(Purpose::Instance, url)], allow_public)?;
        let url = join(url, "");
        let answer = guard.send(Request::get(join(&url, WELL_KNOWN))).await?;
        if answer.status != 200 {
            return Err(InstanceError::Answer { url, answer: answer.explain() });
        }
        let document = String::from_utf8(answer.body)
            .map_err(|_| InstanceError::Config(format!("it is not UTF-8{}", answer.request)))?;
        let instance = Self::parse(url.as_str().trim_end_matches('/'), document, &now.to_rfc3339());
        let request = answer.request;
        let instance = instance.map_err(|error| InstanceError::Served { error: Box::new(error), request })?;
        // One that is good for verifying alone has no services, and nobody to send to.
        if let Ok(services) = instance.services(now) {
            Guard::new(&services.endpoints(), allow_public)?;
        }
        Ok(instance)
    }

    /// Reads a client trust config.
    pub fn parse(url: &str, document: String, pinned_at: &str) -> Result<Self, InstanceError> {
        let config = ClientTrustConfig::parse(document.as_bytes())?;
        let trust = config.trusted_root.keyring()?;
        let (url, pinned_at) = (url.to_owned(), pinned_at.to_owned());
        Ok(Self { url, pinned_at, document, trust, signing: config.signing_config })
    }

    /// The pinned instance, if there is one.
    pub fn load(folder: &Path) -> Result<Option<Self>, InstanceError> {
        let path = folder.join(FILE);
        let json = match fs::read(&path) {
            Ok(json) => json,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(InstanceError::File { action: "read", path, error }),
        };
        let damaged = |what: String| InstanceError::Damaged { path: path.clone(), what };
        let file: PinnedFile = serde_json::from_slice(&json).map_err(|error| damaged(error.to_string()))?;
        let instance = Self::parse(&file.url, file.client_trust_config, &file.pinned_at)
            .map_err(|error| damaged(error.to_string()))?;
        if instance.fingerprint() != file.sha256 {
            return Err(damaged("its fingerprint does not fit its content".to_owned()));
        }
        Ok(Some(instance))
    }

    /// Pins this instance. Refuses to take the place of a different one unless `replace`. Returns the file.
    pub fn pin(&self, folder: &Path, replace: bool) -> Result<PathBuf, InstanceError> {
        if !replace && let Some(pinned) = Self::load(folder)? {
            if pinned.fingerprint() != self.fingerprint() || pinned.url != self.url {
                let sha256 = pinned.fingerprint();
                return Err(InstanceError::AlreadyPinned { url: pinned.url, sha256 });
            }
            return Ok(folder.join(FILE));
        }
        let file = PinnedFile {
            url: self.url.clone(),
            sha256: self.fingerprint(),
            pinned_at: self.pinned_at.clone(),
            client_trust_config: self.document.clone(),
        };
        let json =
            serde_json::to_vec_pretty(&file).map_err(|error| InstanceError::Config(error.to_string()))?;
        let path = folder.join(FILE);
        let failed = |action, error| InstanceError::File { action, path: path.clone(), error };
        fs::create_dir_all(folder).map_err(|error| failed("make the folder of", error))?;
        files::write(&path, &json).map_err(|error| failed("write", error))?;
        Ok(path)
    }

    /// SHA-256 of the configuration as served, hex.
    pub fn fingerprint(&self) -> String {
        Hash::digest(self.document.as_bytes()).to_hex()
    }

    /// Refuses any fingerprint but `expected` (hex, an optional `sha256:` in front).
    pub fn expect_fingerprint(&self, expected: &str) -> Result<(), InstanceError> {
        let expected = expected.trim().to_ascii_lowercase().trim_start_matches("sha256:").to_owned();
        let found = self.fingerprint();
        if expected == found { Ok(()) } else { Err(InstanceError::Fingerprint { expected, found }) }
    }

    /// Where it was fetched from.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// When, RFC 3339.
    pub fn pinned_at(&self) -> &str {
        &self.pinned_at
    }

    /// Where to sign at `now`.
    pub fn services(&self, now: Timestamp) -> Result<Services, InstanceError> {
        Services::choose(&self.signing, now)
    }

    /// Where to sign at `now`, if what is signed there will be verifiable: a log will have it, and somebody trusted will say
    /// when it was signed. `without` is what the caller knows to be missing by design.
    pub fn services_for_signing(&self, now: Timestamp, without: Without) -> Result<Services, InstanceError> {
        let services = self.services(now)?;
        services.suffice(&self.trust, without)?;
        Ok(services)
    }
}

#[cfg(test)]
mod tests;
