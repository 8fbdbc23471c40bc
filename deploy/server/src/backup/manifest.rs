//! `backup.json`: what a backup consists of. Written last, so that a folder with one is a whole backup.

use std::io::Read as _;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, bail};
use chancery_tlog::files;
use serde::{Deserialize, Serialize};

/// Name in a backup's folder. A server refuses to serve a folder that has one.
pub(crate) const MANIFEST: &str = "backup.json";
/// Raised when its form changes.
const FORMAT: u32 = 1;
/// Largest manifest that is read: some 200 bytes for each file, of which RocksDB has one for 64 MB.
const MAX_MANIFEST: u64 = 256 << 20;

/// What a backup consists of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    format: u32,
    /// Program and version.
    made_by: String,
    /// When, RFC 3339.
    pub(crate) made_at: String,
    /// Address of the instance, for people.
    pub(crate) url: String,
    /// Whether secret files are in it.
    pub(crate) keys: bool,
    /// How each log ends.
    pub(crate) logs: Vec<LogEnd>,
    /// Every file but this one.
    pub(crate) files: Vec<FileEntry>,
}

/// How a log ends in a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LogEnd {
    /// Its name.
    pub(crate) name: String,
    /// What verifies its checkpoints: keys may be left out of a backup.
    pub(crate) vkey: String,
    /// Number of entries.
    pub(crate) size: u64,
    /// Its checkpoint.
    pub(crate) checkpoint: String,
}

/// A file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileEntry {
    /// Path from the backup's folder, with `/`.
    pub(crate) path: String,
    /// Bytes.
    pub(crate) size: u64,
    /// SHA-256, hex.
    pub(crate) sha256: String,
    /// Permission bits.
    pub(crate) mode: u32,
}

impl Manifest {
    /// Of a backup that is made now, by this program.
    pub(crate) fn new(made_at: String, url: String, keys: bool) -> Self {
        let made_by = format!("chancery-server {}", env!("CARGO_PKG_VERSION"));
        Self { format: FORMAT, made_by, made_at, url, keys, logs: Vec::new(), files: Vec::new() }
    }

    /// Whether `dir` is a backup.
    pub(crate) fn is_in(dir: &Path) -> bool {
        dir.join(MANIFEST).exists()
    }

    /// Reads and checks that of the backup in `dir`.
    pub(crate) fn read(dir: &Path) -> anyhow::Result<Self> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let path = dir.join(MANIFEST);
        let name = || path.display().to_string();
        let file = match std::fs::File::open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                bail!("{} has no {MANIFEST}: it is no backup, or one that was not finished", dir.display())
            }
            opened => opened.with_context(name)?,
        };
        let mut text = String::new();
        file.take(MAX_MANIFEST).read_to_string(&mut text).with_context(name)?;
        let Format { format } = serde_json::from_str(&text).with_context(name)?;
        if format != FORMAT {
            bail!("{}: format {format} is of another version of chancery-server, use that one", name());
        }
        let manifest: Self = serde_json::from_str(&text).with_context(name)?;
        for file in &manifest.files {
            relative(&file.path).with_context(name)?;
        }
        Ok(manifest)
    }

    /// Writes it into `dir` and makes it durable.
    pub(super) fn write(&self, dir: &Path) -> anyhow::Result<()> {
        let path = dir.join(MANIFEST);
        files::create(&path, files::PRIVATE, serde_json::to_string_pretty(self)?.as_bytes())
            .with_context(|| format!("cannot write {}", path.display()))
    }
}

/// A path that stays in the folder it is joined to.
pub(crate) fn relative(path: &str) -> anyhow::Result<PathBuf> {
    let path = Path::new(path);
    let inside = path.components().all(|part| matches!(part, Component::Normal(_)));
    if !inside || path.as_os_str().is_empty() || path == Path::new(MANIFEST) {
        bail!("the path {} leads out of the backup", path.display());
    }
    Ok(path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(path: &str) -> Manifest {
        let mut manifest =
            Manifest::new("2026-11-22T04:00:00Z".to_owned(), "https://a.example".to_owned(), true);
        let file = FileEntry { path: path.to_owned(), size: 1, sha256: "00".repeat(32), mode: 0o600 };
        manifest.files.push(file);
        manifest
    }

    #[test]
    fn a_manifest_is_read_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let written = manifest("logs/ct/CURRENT");
        written.write(dir.path()).unwrap();
        assert_eq!(Manifest::read(dir.path()).unwrap(), written);
    }

    #[test]
    fn paths_that_lead_out_are_refused() {
        for path in ["../x", "/etc/passwd", "a/../../x", "./x", "", MANIFEST] {
            let dir = tempfile::tempdir().unwrap();
            manifest(path).write(dir.path()).unwrap();
            let refused = format!("{:#}", Manifest::read(dir.path()).unwrap_err());
            assert!(refused.contains("leads out of the backup"), "{path}: {refused}");
        }
    }

    #[test]
    fn another_format_and_a_missing_or_torn_manifest_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let refused = || format!("{:#}", Manifest::read(dir.path()).unwrap_err());
        assert!(refused().contains("was not finished"), "{}", refused());
        std::fs::write(dir.path().join(MANIFEST), "{\"format\": 2, \"new\": true}").unwrap();
        assert!(refused().contains("format 2 is of another version"), "{}", refused());
        let text = serde_json::to_string(&manifest("a")).unwrap();
        std::fs::write(dir.path().join(MANIFEST), &text[..text.len() - 9]).unwrap();
        assert!(refused().contains(MANIFEST), "{}", refused());
    }
}
