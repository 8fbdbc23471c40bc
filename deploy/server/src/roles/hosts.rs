//! Roles of the instance on other hosts: their trust files, and what keeps them from going together with this host's.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use chancery_tlog::trust::MAX_TRUST_FILE;

use super::Instance;
use crate::trust::{self, Merged};

impl Instance {
    /// Adds the trust files of other hosts, which must go together with what is there.
    pub(crate) fn merge(&mut self, files: &[PathBuf]) -> anyhow::Result<()> {
        for file in files {
            self.merged.push(read(file, &file.display().to_string())?);
        }
        self.check_merged()
    }

    /// Whether other hosts have roles of this instance.
    pub(crate) fn has_merged(&self) -> bool {
        !self.merged.is_empty()
    }

    pub(super) fn check_merged(&self) -> anyhow::Result<()> {
        match trust::conflict(&self.identity()?) {
            Some(conflict) => Err(conflict).context("trust files of several hosts do not go together"),
            None => Ok(()),
        }
    }
}

/// The trust files of another host: a file, or the folder that `export-trust --output` made.
pub(crate) fn read(path: &Path, name: &str) -> anyhow::Result<Merged> {
    let path = if path.is_dir() { path.join(trust::CLIENT_TRUST_CONFIG) } else { path.to_owned() };
    let unreadable = || format!("cannot read {}", path.display());
    let size = std::fs::metadata(&path).with_context(unreadable)?.len();
    ensure!(size <= MAX_TRUST_FILE as u64, "{} has {size} bytes, more than trust files have", path.display());
    let json = std::fs::read(&path).with_context(unreadable)?;
    Merged::parse(name, &json)
}
