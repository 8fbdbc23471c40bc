//! The pinned instance: what this machine trusts and where it signs, in one file under the configuration folder.
//!
//! The file keeps the served bytes and their SHA-256; it is refused if they no longer agree. An instance is
//! replaced only when asked to, since whoever swaps it decides what verifies. One with a TUF repository is followed
//! through every change of its trust, which its own keys sign.

mod repository;
mod services;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chancery_tlog::clock::Timestamp;
use chancery_tlog::files;
use chancery_tlog::merkle::Hash;
use chancery_tlog::trust::{ClientTrustConfig, Keyring, SigningConfig, TrustError};
use serde::{Deserialize, Serialize};
use url::Url;

use self::repository::Repository;
pub use self::services::{Dialect, Expected, LogService, Services, Without};
use crate::guard::{Contact, Guard, GuardError, HttpError, Purpose, Request, RequestId, join};

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
    #[error("the instance's identifier is sha256:{found}, not the expected sha256:{expected}")]
    Identifier {
        /// Expected.
        expected: String,
        /// Found.
        found: String,
    },
    /// Another one is pinned.
    #[error("another instance is pinned: {url} with identifier sha256:{sha256}")]
    AlreadyPinned {
        /// Its address.
        url: String,
        /// Its identifier.
        sha256: String,
    },
    /// The same address is pinned, with trust that nothing connects with today's.
    #[error(
        "what {url} trusts has changed since it was pinned: its identifier was sha256:{pinned}, and is sha256:{found}"
    )]
    Changed {
        /// The address.
        url: String,
        /// The identifier that is pinned.
        pinned: String,
        /// Today's.
        found: String,
    },
    /// The pinned instance cannot be followed.
    #[error("{url} is pinned by a file, so changes of what it trusts cannot be told from forgeries")]
    Fixed {
        /// The address.
        url: String,
    },
    /// The TUF repository does not verify.
    #[error("the instance's TUF repository is refused: {0}")]
    Tuf(String),
    /// Its metadata has not been renewed.
    #[error("the instance's TUF repository has not been renewed: its {role} metadata has ended")]
    TufEnded {
        /// Which metadata.
        role: String,
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
    /// `None` if the instance had none when it was pinned.
    repository: Option<Repository>,
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    repository: Option<Repository>,
}

impl Instance {
    /// Fetches what an instance trusts. Contacts nobody but `url`, and refuses a configuration that would later send a
    /// signer to a public instance.
    ///
    /// `expected` is the identifier that it must have, or the fingerprint of its configuration as it is now (hex, an optional
    /// `sha256:` in front). An instance with a TUF repository is read through it, unless a fingerprint was expected.
    pub async fn fetch(
        url: &Url,
        expected: Option<&str>,
        allow_public: bool,
        now: Timestamp,
    ) -> Result<Self, InstanceError> {
        let guard = Arc::new(Guard::new(&[(Purpose::Instance, url)], allow_public)?);
        let url = join(url, "");
        let expected =
            expected.map(|hex| hex.trim().to_ascii_lowercase().trim_start_matches("sha256:").to_owned());
        let repository = Repository::find(&guard, &url).await?;
        let known = repository.as_ref().map(Repository::id);
        let is_named =
            known.is_some() && expected.as_ref().is_none_or(|expected| known.as_ref() == Some(expected));
        let instance = match repository.filter(|_| is_named) {
            Some(repository) => Self::follow(&guard, &url, repository, &now.to_rfc3339(), now).await?,
            None => Self::download(&guard, &url, now).await?,
        };
        if let Some(expected) = expected.filter(|expected| *expected != instance.id()) {
            return Err(InstanceError::Identifier {
                expected,
                found: known.unwrap_or_else(|| instance.id()),
            });
        }
        instance.refuse_public(allow_public, now)?;
        Ok(instance)
    }

    /// This instance with what it trusts now, and who was contacted to learn it.
    pub async fn update(
        &self,
        allow_public: bool,
        now: Timestamp,
    ) -> Result<(Self, Vec<Contact>), InstanceError> {
        let Some(repository) = self.repository.clone() else {
            return Err(InstanceError::Fixed { url: self.url.clone() });
        };
        let url = Url::parse(&self.url).map_err(|error| InstanceError::Config(error.to_string()))?;
        let guard = Arc::new(Guard::new(&[(Purpose::Instance, &url)], allow_public)?);
        let instance = Self::follow(&guard, &url, repository, &self.pinned_at, now).await?;
        instance.refuse_public(allow_public, now)?;
        Ok((instance, guard.contacts()))
    }

    async fn follow(
        guard: &Arc<Guard>,
        url: &Url,
        mut repository: Repository,
        pinned_at: &str,
        now: Timestamp,
    ) -> Result<Self, InstanceError> {
        let document = repository.read(guard, url, now).await?;
        let instance = Self::parse(url.as_str().trim_end_matches('/'), document, pinned_at)?;
        Ok(Self { repository: Some(repository), ..instance })
    }

    async fn download(guard: &Guard, url: &Url, now: Timestamp) -> Result<Self, InstanceError> {
        let answer = guard.send(Request::get(join(url, WELL_KNOWN))).await?;
        if answer.status != 200 {
            return Err(InstanceError::Answer { url: url.clone(), answer: answer.explain() });
        }
        let document = String::from_utf8(answer.body)
            .map_err(|_| InstanceError::Config(format!("it is not UTF-8{}", answer.request)))?;
        let request = answer.request;
        Self::parse(url.as_str().trim_end_matches('/'), document, &now.to_rfc3339())
            .map_err(|error| InstanceError::Served { error: Box::new(error), request })
    }

    fn refuse_public(&self, allow_public: bool, now: Timestamp) -> Result<(), InstanceError> {
        // One that is good for verifying alone has no services, and nobody to send to.
        if let Ok(services) = self.services(now) {
            Guard::new(&services.endpoints(), allow_public)?;
        }
        Ok(())
    }

    /// Reads a client trust config.
    pub fn parse(url: &str, document: String, pinned_at: &str) -> Result<Self, InstanceError> {
        let config = ClientTrustConfig::parse(document.as_bytes())?;
        let trust = config.trusted_root.keyring()?;
        let (url, pinned_at) = (url.to_owned(), pinned_at.to_owned());
        Ok(Self { url, pinned_at, document, repository: None, trust, signing: config.signing_config })
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
        Ok(Some(Self { repository: file.repository, ..instance }))
    }

    /// Pins this instance, or what it trusts now. Refuses to take the place of a different one unless `replace`. Returns the
    /// file.
    pub fn pin(&self, folder: &Path, replace: bool) -> Result<PathBuf, InstanceError> {
        if !replace && let Some(pinned) = Self::load(folder)? {
            let (url, sha256, found) = (pinned.url.clone(), pinned.id(), self.id());
            if !pinned.is(self) && url != self.url {
                return Err(InstanceError::AlreadyPinned { url, sha256 });
            }
            if sha256 != found {
                return Err(InstanceError::Changed { url, pinned: sha256, found });
            }
        }
        let file = PinnedFile {
            url: self.url.clone(),
            sha256: self.fingerprint(),
            pinned_at: self.pinned_at.clone(),
            client_trust_config: self.document.clone(),
            repository: self.repository.clone(),
        };
        let json =
            serde_json::to_vec_pretty(&file).map_err(|error| InstanceError::Config(error.to_string()))?;
        let path = folder.join(FILE);
        let failed = |action, error| InstanceError::File { action, path: path.clone(), error };
        fs::create_dir_all(folder).map_err(|error| failed("make the folder of", error))?;
        files::write(&path, &json).map_err(|error| failed("write", error))?;
        Ok(path)
    }

    /// What names the instance and stays for good: SHA-256 of its first TUF root, hex. Of one without a TUF repository, that of its
    /// configuration, which changes with what it trusts.
    pub fn id(&self) -> String {
        self.repository.as_ref().map_or_else(|| self.fingerprint(), Repository::id)
    }

    /// Whether both are one instance: of one identifier, at one address or another. A configuration is no identifier.
    pub fn is(&self, other: &Self) -> bool {
        self.id() == other.id() && (self.url == other.url || (self.is_followed() && other.is_followed()))
    }

    /// This instance, found at the address of `other` from now on.
    #[must_use]
    pub fn at_address_of(&self, other: &Self) -> Self {
        Self { url: other.url.clone(), ..self.clone() }
    }

    /// Whether changes of what it trusts are followed.
    pub const fn is_followed(&self) -> bool {
        self.repository.is_some()
    }

    /// When its TUF repository was read last.
    pub fn checked_at(&self) -> Option<Timestamp> {
        self.repository.as_ref().and_then(Repository::checked_at)
    }

    /// Whether its TUF repository should be read again: it was not within `period` before `now`.
    pub fn is_due(&self, period: Duration, now: Timestamp) -> bool {
        let fresh = |checked: Timestamp| checked <= now && now < checked.plus(period);
        self.is_followed() && !self.checked_at().is_some_and(fresh)
    }

    /// SHA-256 of the configuration, hex.
    fn fingerprint(&self) -> String {
        Hash::digest(self.document.as_bytes()).to_hex()
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
