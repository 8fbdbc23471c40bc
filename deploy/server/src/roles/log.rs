//! A log of the instance: its dialect with keys and files in memory, and how its store is opened.
//!
//! Invariant: a log that takes entries has both its private keys. One that has ended needs the dialect's as long as it
//! is served, since Rekor v1 and RFC 6962 sign answers when they are read; for the rest public keys do.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use chancery_tlog::certificate::Certificate;
use chancery_tlog::clock::Clock;
use chancery_tlog::key::{KeyKind, PublicKey, Signer};
use chancery_tlog::note::{KeyName, NoteKey};
use chancery_tlog::serve::key_file::{self, Protection};
use chancery_tlog::server::log::{Log, LogSettings, Sequencer};
use chancery_tlog::server::store::{Rocks, Store};
use chancery_tlog::server::{rekor_v1, rekor_v2};

use super::{chain, read};
use crate::config::{BaseUrl, Dialect, EndedConfig, Face, LogConfig};
use crate::observe::measured;
use crate::trust::LogIdentity;

/// What the key of its checkpoints is used for, in metrics.
pub(crate) const CHECKPOINTS: &str = "checkpoints";
/// What a dialect's key is used for.
const ANSWERS: &str = "answers";

/// A log that can sign.
#[derive(Clone)]
pub(crate) struct LogRole {
    /// What the operator said.
    pub(crate) config: LogConfig,
    /// What its clients speak.
    pub(crate) speaks: Speaks,
    /// CA certificates of other processes whose leaves its signers have.
    pub(crate) authorities: Vec<Certificate>,
    checkpoint_key: LogKey,
    store: PathBuf,
}

/// A log that is open, for those beside its clients: memories and backups.
pub(crate) struct OpenLog {
    /// What the operator said.
    pub(crate) config: LogConfig,
    /// Verifies its checkpoints.
    pub(crate) key: NoteKey,
    /// The log.
    pub(crate) log: Log,
    /// Its store.
    pub(crate) store: Rocks,
}

/// A dialect with its keys and files in memory.
#[derive(Clone)]
pub(crate) enum Speaks {
    /// RFC 6962.
    Ct {
        /// Where its paths begin.
        prefix: String,
        /// Signs SCTs and tree heads.
        key: LogKey,
        /// Roots of other CAs that may write to it.
        roots: Vec<Certificate>,
    },
    /// Rekor v1.
    RekorV1 {
        /// Where its C2SP paths begin.
        prefix: String,
        /// Signs SETs and v1 checkpoints.
        key: LogKey,
        /// Name in v1 checkpoints.
        hostname: String,
        /// Number with which entry ids begin.
        tree_id: u64,
    },
    /// Rekor v2, which has no key but that of the checkpoints.
    RekorV2,
}

/// A key of a log, or what is left of it.
#[derive(Clone)]
pub(crate) enum LogKey {
    /// It can sign.
    Private(Arc<dyn Signer>),
    /// Only its public half is here: the log has ended.
    Public(PublicKey),
}

impl LogKey {
    /// Reads a private key or, in a PEM file whose first block is a `PUBLIC KEY`, a public one.
    /// What it signs is counted under `used_for`.
    pub(crate) fn load(path: &Path, protection: &Protection, used_for: &'static str) -> anyhow::Result<Self> {
        let text = read(path)?;
        if PublicKey::leads(&text) {
            let key = PublicKey::from_pem(&text).with_context(|| path.display().to_string())?;
            return Ok(Self::Public(key));
        }
        Ok(Self::Private(measured(key_file::load(path, protection)?, used_for)))
    }

    /// Verifies what it signed.
    pub(crate) fn public(&self) -> &PublicKey {
        match self {
            Self::Private(signer) => signer.public_key(),
            Self::Public(key) => key,
        }
    }

    /// Signs, if it can.
    pub(crate) fn signer(&self) -> Option<&Arc<dyn Signer>> {
        match self {
            Self::Private(signer) => Some(signer),
            Self::Public(_) => None,
        }
    }
}

impl LogRole {
    /// Loads its keys and files.
    pub(super) fn load(config: &LogConfig, store: PathBuf, protection: &Protection) -> anyhow::Result<Self> {
        let key = |face: &Face| {
            let signs = config.is_served();
            load(config, &face.key, Use { name: ANSWERS, kind: KeyKind::EcdsaP256, signs }, protection)
        };
        let speaks = match &config.dialect {
            Dialect::Ct { face, roots } => Speaks::Ct {
                prefix: face.prefix.clone(),
                key: key(face)?,
                roots: roots.as_deref().map(chain).transpose()?.unwrap_or_default(),
            },
            Dialect::RekorV1 { face, hostname, tree_id } => Speaks::RekorV1 {
                prefix: face.prefix.clone(),
                key: key(face)?,
                hostname: hostname.clone(),
                tree_id: *tree_id,
            },
            Dialect::RekorV2 => Speaks::RekorV2,
        };
        let checkpoints = Use { name: CHECKPOINTS, kind: KeyKind::Ed25519, signs: config.is_active() };
        let checkpoint_key = load(config, &config.checkpoint_key, checkpoints, protection)?;
        let authorities = config.admission.roots.as_deref().map(chain).transpose()?.unwrap_or_default();
        Ok(Self { config: config.clone(), speaks, authorities, checkpoint_key, store })
    }

    /// Creates the log's store, with an entry of its own where clients cannot verify index 0.
    pub(crate) async fn create(&self, clock: Arc<dyn Clock>) -> anyhow::Result<()> {
        let birth = match &self.speaks {
            Speaks::Ct { .. } => None,
            Speaks::RekorV1 { hostname, tree_id, key, .. } => {
                Some(rekor_v1::birth(hostname, *tree_id, &**signer(key)?, &*clock)?)
            }
            Speaks::RekorV2 => Some(rekor_v2::birth(&self.config.origin, &*clock)?),
        };
        let store = Rocks::create(&self.store)?;
        let checkpoint_signer = signer(&self.checkpoint_key)?.clone();
        Log::create(&self.settings(), &store, checkpoint_signer, &*clock, birth).await?;
        Ok(())
    }

    /// Opens the log. Entries are added for as long as the sequencer runs; one that has ended has none.
    pub(crate) async fn open(&self, clock: Arc<dyn Clock>) -> anyhow::Result<(OpenLog, Option<Sequencer>)> {
        let store = Rocks::open(&self.store)?;
        let shared: Arc<dyn Store> = Arc::new(store.clone());
        let (log, sequencer) = if let Some(ended) = &self.config.ended {
            let log = self.open_to_read(shared, &*clock).await?;
            check_size(ended, log.head().size)?;
            (log, None)
        } else {
            let checkpoint_signer = signer(&self.checkpoint_key)?.clone();
            let (log, sequencer) = Log::open(self.settings(), shared, checkpoint_signer, clock).await?;
            (log, Some(sequencer))
        };
        Ok((OpenLog { config: self.config.clone(), key: self.note_key()?, log, store }, sequencer))
    }

    /// Opens the log in `store` for reading alone, whether or not it has ended.
    pub(crate) async fn open_to_read(&self, store: Arc<dyn Store>, clock: &dyn Clock) -> anyhow::Result<Log> {
        Ok(Log::open_ended(self.settings(), store, self.checkpoint_key(), clock).await?)
    }

    /// The log's folder, if it is needed and not there.
    pub(crate) fn missing_store(&self) -> Option<&Path> {
        Some(self.store.as_path()).filter(|store| self.config.is_served() && !store.is_dir())
    }

    /// Verifies its C2SP checkpoints.
    pub(crate) fn checkpoint_key(&self) -> &PublicKey {
        self.checkpoint_key.public()
    }

    /// The same under the log's name.
    fn note_key(&self) -> anyhow::Result<NoteKey> {
        Ok(NoteKey::new(KeyName::new(self.config.origin.as_str())?, self.checkpoint_key().clone())?)
    }

    /// As the trust files of the instance at `url` name it.
    pub(crate) fn identity<'l>(&'l self, url: &BaseUrl) -> anyhow::Result<LogIdentity<'l>> {
        Ok(match &self.speaks {
            Speaks::Ct { prefix, key, .. } => self.known_by_its_key(format!("{url}{prefix}"), key.public()),
            Speaks::RekorV1 { key, .. } => self.known_by_its_key(url.to_string(), key.public()),
            Speaks::RekorV2 => self.known_by_its_origin(url)?,
        })
    }

    fn settings(&self) -> LogSettings {
        LogSettings::new(self.config.origin.clone())
    }

    /// As RFC 6962 and Rekor v1 name logs.
    fn known_by_its_key<'l>(&'l self, base_url: String, key: &'l PublicKey) -> LogIdentity<'l> {
        self.named(base_url, key, key.fingerprint())
    }

    /// As Rekor v2 does: by the id of the key in its checkpoints, which clients find by the host of the base URL.
    fn known_by_its_origin(&self, url: &BaseUrl) -> anyhow::Result<LogIdentity<'_>> {
        let key = self.checkpoint_key();
        let origin = self.config.origin.as_str();
        let log_id = self.note_key()?.full_id();
        let base_url = self.config.url.as_ref().map_or_else(|| url.naming(origin), BaseUrl::to_string);
        Ok(self.named(base_url, key, log_id))
    }

    fn named<'l>(&'l self, base_url: String, key: &'l PublicKey, log_id: [u8; 32]) -> LogIdentity<'l> {
        let LogConfig { name, dialect, since, url, ended, .. } = &self.config;
        LogIdentity {
            base_url,
            key,
            log_id,
            service_url: url.as_ref().map(BaseUrl::as_str),
            since: *since,
            until: ended.as_ref().map(|ended| ended.until),
            past: ended.as_ref().map(|_| (dialect.name(), name.as_str())),
        }
    }
}

/// What a key of a log is for.
struct Use {
    name: &'static str,
    kind: KeyKind,
    /// Whether its private half is needed.
    signs: bool,
}

fn load(
    config: &LogConfig,
    path: &Path,
    Use { name: used_for, kind, signs }: Use,
    protection: &Protection,
) -> anyhow::Result<LogKey> {
    let (key, name) = (LogKey::load(path, protection, used_for)?, &config.name);
    let found = key.public().kind();
    if found != kind {
        bail!("{}: log `{name}` needs a key of kind {kind}, this is {found}", path.display());
    }
    if signs && key.signer().is_none() {
        bail!("{}: log `{name}` signs with this key, and it is a public one", path.display());
    }
    Ok(key)
}

/// The key that a log in service signs with; [`LogRole::load`] has checked that it is there.
pub(crate) fn signer(key: &LogKey) -> anyhow::Result<&Arc<dyn Signer>> {
    key.signer().context("this log signs, and its key is a public one")
}

/// What a log has that ended once is what it will always have.
fn check_size(ended: &EndedConfig, found: u64) -> anyhow::Result<()> {
    if found != ended.size {
        bail!("it ended with {} entries and its store has {found}: restore its newest copy", ended.size);
    }
    Ok(())
}
