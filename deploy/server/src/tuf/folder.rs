//! The repository on disk: `tuf/` in the instance's folder, laid out as it is served.
//!
//! Invariant: a file is there whole or not at all, and once [`Folder::write`] has returned it survives a power cut.
//! A static file server could serve the folder as it is.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use chancery_tlog::files;

use super::TufError;

/// Name in the instance's folder.
const NAME: &str = "tuf";
/// Largest file that is read. A trusted root of a dozen shards is 30 KiB.
const MAX_FILE: u64 = 4 * 1024 * 1024;

/// The folder.
#[derive(Clone, Debug)]
pub(super) struct Folder(PathBuf);

impl Folder {
    /// That of the instance in `dir`.
    pub(super) fn of(dir: &Path) -> Self {
        Self(dir.join(NAME))
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Makes it, with its folder for targets.
    pub(super) fn create(&self) -> Result<(), TufError> {
        for path in [self.0.clone(), self.0.join(super::serve::TARGETS)] {
            std::fs::create_dir(&path).map_err(|source| failed("write", path, source))?;
        }
        Ok(())
    }

    /// A file's contents, `None` if it is not there.
    pub(super) fn read(&self, name: &str) -> Result<Option<Vec<u8>>, TufError> {
        let path = self.0.join(name);
        let mut bytes = Vec::new();
        let read = File::open(&path).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes));
        match read {
            Ok(_) if bytes.len() as u64 > MAX_FILE => {
                let problem = format!("it is larger than {MAX_FILE} bytes");
                Err(TufError::Refused { file: shown(name), problem })
            }
            Ok(_) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(failed("read", path, source)),
        }
    }

    /// Writes a file, replacing an older one in one step.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), TufError> {
        let path = self.0.join(name);
        files::replace(&path, files::PUBLIC, bytes).map_err(|source| failed("write", path, source))
    }

    /// Removes all snapshots but those with the `kept` names. What cannot be removed stays: it harms nobody.
    pub(super) fn prune_snapshots(&self, kept: &[&str]) {
        let Ok(entries) = std::fs::read_dir(&self.0) else { return };
        for entry in entries.filter_map(Result::ok) {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.ends_with(".snapshot.json") && !kept.contains(&name.as_str()) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
}

/// A file of the folder, as messages name it.
pub(super) fn shown(name: &str) -> String {
    format!("{NAME}/{name}")
}

fn failed(action: &'static str, path: PathBuf, source: std::io::Error) -> TufError {
    TufError::Io { action, path, source }
}
