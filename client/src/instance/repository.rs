//! The TUF repository that an instance serves, by which a pinned instance learns of every later change of trust.
//!
//! The first root never changes, so its SHA-256 is the instance's identifier; each later root is signed by the keys of
//! the one before (TUF specification, section 5.3). Invariant: what was seen last is kept with the pin and every update
//! starts from it, so nobody can show an older state again (rollback, sections 5.4 and 5.5).

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use chancery_tlog::clock::Timestamp;
use chancery_tlog::files;
use chancery_tlog::merkle::Hash;
use chancery_tlog::trust::{CLIENT_TRUST_CONFIG_TYPE, SigningConfig, TrustedRoot};
use futures::stream;
use serde::{Deserialize, Serialize};
use tough::error::Error as TufError;
use tough::{
    Bytes, IntoVec as _, Limits, RepositoryLoader, TargetName, Transport, TransportError, TransportErrorKind,
    TransportStream, async_trait,
};
use url::Url;

use super::InstanceError;
use crate::guard::{Guard, Request, join};

/// Where the metadata is, under an instance's address.
const METADATA: &str = "/tuf/";
/// Where the targets are.
const TARGETS: &str = "/tuf/targets/";
/// The targets that are read: whom to trust, and where to sign.
const TRUSTED_ROOT: &str = "trusted_root.json";
const SIGNING_CONFIG: &str = "signing_config.v0.2.json";
/// Name under which the newest root is kept.
const NEWEST_ROOT: &str = "root.json";
/// The metadata that is kept. Not the time: a clock that was set back by a second would end all updates.
const KEPT: [&str; 4] = [NEWEST_ROOT, "timestamp.json", "snapshot.json", "targets.json"];
/// An instance's roots and snapshots have 2 to 10 KiB. Of the roots since the last update, one request each, a thousand
/// would take longer than anyone waits.
const LIMITS: Limits = Limits {
    max_root_size: 256 * 1024,
    max_targets_size: 1024 * 1024,
    max_timestamp_size: 64 * 1024,
    max_snapshot_size: 256 * 1024,
    max_root_updates: 256,
};

/// An instance's repository as a client knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Repository {
    /// `1.root.json`, as served.
    first_root: String,
    /// The metadata that was seen last, by file name.
    seen: BTreeMap<String, String>,
    /// When, RFC 3339.
    checked_at: String,
}

impl Repository {
    /// The repository of the instance at `url`, of which nothing but the first root is known; `None` if it has none.
    pub(super) async fn find(guard: &Guard, url: &Url) -> Result<Option<Self>, InstanceError> {
        let url = join(url, &format!("{METADATA}1.root.json"));
        let answer = guard.send(Request::get(url.clone())).await?;
        match answer.status {
            200 => {}
            404 | 410 => return Ok(None),
            _ => return Err(InstanceError::Answer { url, answer: answer.explain() }),
        }
        let first_root = String::from_utf8(answer.body)
            .map_err(|_| InstanceError::Tuf("the first root is not UTF-8".to_owned()))?;
        Ok(Some(Self { first_root, seen: BTreeMap::new(), checked_at: String::new() }))
    }

    /// SHA-256 of the first root, hex.
    pub(super) fn id(&self) -> String {
        Hash::digest(self.first_root.as_bytes()).to_hex()
    }

    /// When the repository was read last.
    pub(super) fn checked_at(&self) -> Option<Timestamp> {
        Timestamp::parse_rfc3339(&self.checked_at)
    }

    /// Reads the newest trust of the instance at `url`, a client trust configuration, and remembers what was seen.
    pub(super) async fn read(
        &mut self,
        guard: &Arc<Guard>,
        url: &Url,
        now: Timestamp,
    ) -> Result<String, InstanceError> {
        let folder = tempfile::tempdir().map_err(scratch)?;
        self.unpack(folder.path()).map_err(scratch)?;
        let transport = Door { guard: guard.clone(), failure: Arc::default() };
        let root = self.seen.get(NEWEST_ROOT).unwrap_or(&self.first_root);
        let loaded = RepositoryLoader::new(root, join(url, METADATA), join(url, TARGETS))
            .transport(transport.clone())
            .limits(LIMITS)
            .datastore(folder.path())
            .load()
            .await;
        // The loader takes every failure at the next root for its absence, so this is asked first.
        transport.check()?;
        let repository = loaded.map_err(tuf)?;
        let trusted_root = target(&repository, TRUSTED_ROOT, &transport).await?;
        let signing_config = target(&repository, SIGNING_CONFIG, &transport).await?;
        TrustedRoot::parse(trusted_root.as_bytes())?;
        SigningConfig::parse(signing_config.as_bytes())?;
        self.seen = pack(folder.path()).map_err(scratch)?;
        self.checked_at = now.to_rfc3339();
        // As text, so that members which this version does not know stay what they are.
        Ok(format!(
            "{{\"mediaType\": \"{CLIENT_TRUST_CONFIG_TYPE}\", \"trustedRoot\": {}, \"signingConfig\": {}}}\n",
            trusted_root.trim_end(),
            signing_config.trim_end(),
        ))
    }

    fn unpack(&self, folder: &Path) -> std::io::Result<()> {
        for name in KEPT {
            if let Some(text) = self.seen.get(name) {
                files::write(&folder.join(name), text.as_bytes())?;
            }
        }
        Ok(())
    }
}

fn pack(folder: &Path) -> std::io::Result<BTreeMap<String, String>> {
    let read = |name: &str| match std::fs::read_to_string(folder.join(name)) {
        Ok(text) => Ok(Some((name.to_owned(), text))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    };
    KEPT.into_iter().filter_map(|name| read(name).transpose()).collect()
}

async fn target(
    repository: &tough::Repository,
    name: &str,
    transport: &Door,
) -> Result<String, InstanceError> {
    let missing = || InstanceError::Tuf(format!("it has no target `{name}`"));
    let stream = repository.read_target(&TargetName::new(name).map_err(tuf)?).await;
    transport.check()?;
    let bytes = stream.map_err(tuf)?.ok_or_else(missing)?.into_vec().await.map_err(tuf)?;
    String::from_utf8(bytes).map_err(|_| InstanceError::Tuf(format!("target `{name}` is not UTF-8")))
}

/// Every request of the loader, through the guard.
#[derive(Clone)]
struct Door {
    guard: Arc<Guard>,
    /// Why a request failed, unless the file is simply not there.
    failure: Arc<Mutex<Option<InstanceError>>>,
}

impl Door {
    /// Fails if a request did.
    fn check(&self) -> Result<(), InstanceError> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take().map_or(Ok(()), Err)
    }

    fn failed(&self, url: &Url, why: InstanceError) -> TransportError {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
        TransportError::new(TransportErrorKind::Other, url.as_str())
    }
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door").finish_non_exhaustive()
    }
}

#[async_trait]
impl Transport for Door {
    async fn fetch(&self, url: Url) -> Result<TransportStream, TransportError> {
        let answer = self
            .guard
            .send(Request::get(url.clone()))
            .await
            .map_err(|error| self.failed(&url, error.into()))?;
        match answer.status {
            200 => {
                let body = Bytes::from(answer.body);
                Ok(Box::pin(stream::once(std::future::ready(Ok(body)))))
            }
            404 => Err(TransportError::new(TransportErrorKind::FileNotFound, url.as_str())),
            _ => {
                let why = InstanceError::Answer { url: url.clone(), answer: answer.explain() };
                Err(self.failed(&url, why))
            }
        }
    }
}

/// What the loader says, with its causes.
fn tuf(error: TufError) -> InstanceError {
    match &error {
        TufError::ExpiredMetadata { role, .. } => return InstanceError::TufEnded { role: role.to_string() },
        // Every other failure of a request has ended the run before.
        TufError::Transport { url, .. } => {
            return InstanceError::Answer { url: url.clone(), answer: "404: no such file".to_owned() };
        }
        _ => {}
    }
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    InstanceError::Tuf(text)
}

fn scratch(error: std::io::Error) -> InstanceError {
    InstanceError::File { action: "use", path: std::env::temp_dir(), error }
}
