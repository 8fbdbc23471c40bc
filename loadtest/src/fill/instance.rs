//! The log of an instance that is to be filled: as much of `chancery.toml` as that takes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use chancery_tlog::checkpoint::Origin;
use chancery_tlog::serve::key_file::{self, Passphrase, Protection};
use chancery_tlog::server::round::Face;
use figment::providers::{Format as _, Toml};
use serde::Deserialize;

/// A log of an instance.
pub(crate) struct FilledLog {
    /// Folder of its store.
    pub(crate) store: PathBuf,
    origin: Origin,
    key: PathBuf,
    protection: Protection,
}

/// The server checks all of the file; here the rest is somebody else's.
#[derive(Deserialize)]
struct ConfigToml {
    passphrase: Option<Passphrase>,
    #[serde(default)]
    group_readable_keys: bool,
    log: Vec<LogToml>,
}

#[derive(Deserialize)]
struct LogToml {
    name: String,
    dialect: String,
    origin: String,
    checkpoint_key: PathBuf,
}

impl FilledLog {
    /// The log `name` of the instance in `folder`.
    pub(crate) fn find(folder: &Path, name: &str) -> Result<Self> {
        let path = folder.join("chancery.toml");
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let config: ConfigToml = Toml::from_str(&text).with_context(|| format!("in {}", path.display()))?;
        let found = config.log.into_iter().find(|log| log.name == name);
        let log = found.with_context(|| format!("there is no log `{name}` in {}", path.display()))?;
        ensure!(
            log.dialect == "rekor-v2",
            "the log `{name}` is of dialect {}: only rekor-v2 is filled",
            log.dialect
        );
        let passphrase = config.passphrase.map(|from| match from {
            Passphrase::File(file) => Passphrase::File(folder.join(file)),
            other @ Passphrase::Env(_) => other,
        });
        Ok(Self {
            store: folder.join("logs").join(name),
            origin: Origin::new(log.origin)?,
            key: folder.join(log.checkpoint_key),
            protection: Protection { passphrase, group_may_read: config.group_readable_keys },
        })
    }

    /// Who signs its heads.
    pub(crate) fn face(&self) -> Result<Face> {
        let signer = key_file::load(&self.key, &self.protection)?;
        Ok(Face::new(self.origin.clone(), Arc::new(signer))?)
    }
}
