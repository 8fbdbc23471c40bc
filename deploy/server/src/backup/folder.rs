//! A folder in the making, and files on their way into it.
//!
//! Invariants: what is made has the name `NAME.incomplete` until all of it is on the disk; one that is not finished
//! is removed; every byte that is written is hashed on its way, so that what was read is what is vouched for.

use std::collections::BTreeSet;
use std::fs::{DirBuilder, File, Permissions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use aws_lc_rs::digest;
use chancery_tlog::files;
use indicatif::{ProgressBar, ProgressStyle};

use super::manifest::FileEntry;

/// Bytes copied at once.
const STRIDE: usize = 1 << 20;
/// What a disk should have left beyond the files' bytes.
const MARGIN: u64 = 64 << 20;

/// A folder that gets its name when it is whole.
pub(crate) struct Folder {
    /// Where it is made.
    pub(crate) path: PathBuf,
    wanted: PathBuf,
    folders: BTreeSet<PathBuf>,
    finished: bool,
}

impl Folder {
    /// Begins `wanted`, which must not exist, or be empty.
    pub(crate) fn begin(wanted: &Path) -> anyhow::Result<Self> {
        refuse_occupied(wanted)?;
        let mut name = wanted.file_name().context("the new folder needs a name")?.to_owned();
        name.push(".incomplete");
        let path = wanted.with_file_name(name);
        match DirBuilder::new().mode(0o700).create(&path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => bail!(
                "{} is in the way: it is being made by another process, or is what an interrupted one left; if so, \
                 remove it",
                path.display()
            ),
            made => made.with_context(|| format!("cannot make {}", path.display()))?,
        }
        Ok(Self { folders: BTreeSet::from([path.clone()]), path, wanted: wanted.to_owned(), finished: false })
    }

    /// Demands that the disk under it can take so many bytes more.
    pub(crate) fn has_room_for(&self, bytes: u64) -> anyhow::Result<()> {
        let free = self.free()?;
        if free < bytes.saturating_add(MARGIN) {
            bail!(
                "{} has {free} bytes left, {bytes} and some more are needed: free some, or choose another disk",
                self.wanted.display()
            );
        }
        Ok(())
    }

    /// Demands that so many bytes more would leave `kept` to `logs`, if they are on the same disk.
    pub(crate) fn leaves_room_to(&self, logs: &Path, kept: u64, bytes: u64) -> anyhow::Result<()> {
        let disk = |path: &Path| std::fs::metadata(path).map(|found| found.dev()).ok();
        let free = self.free()?;
        if disk(logs) == disk(&self.path) && free < bytes.saturating_add(kept) {
            bail!(
                "{} is on the disk of the logs, which refuse entries if less than {kept} bytes of it are free; {free} \
                 are, and {bytes} are to be copied: choose another disk",
                self.wanted.display()
            );
        }
        Ok(())
    }

    fn free(&self) -> anyhow::Result<u64> {
        let disk = rustix::fs::statvfs(&self.path).context("cannot ask for free disk space")?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    /// Copies the file `from` to `to` in this folder.
    pub(crate) fn take(&mut self, from: &Path, to: &Path, bar: &ProgressBar) -> anyhow::Result<FileEntry> {
        let path = self.path.join(to);
        self.make_parents(to)?;
        let name = || format!("cannot copy {} to {}", from.display(), path.display());
        let mut source = File::open(from).with_context(name)?;
        let mode = source.metadata().with_context(name)?.permissions().mode() & 0o777;
        let copy = files::open_new(&path, files::PRIVATE);
        let mut copy = copy.map_err(full).with_context(name)?;
        let (size, sha256) = pour(&mut source, &mut copy, bar).map_err(full).with_context(name)?;
        copy.set_permissions(Permissions::from_mode(mode)).with_context(name)?;
        copy.sync_all().map_err(full).with_context(name)?;
        let path = to.to_str().with_context(|| format!("{}: the name is not UTF-8", from.display()))?;
        Ok(FileEntry { path: path.to_owned(), size, sha256, mode })
    }

    fn make_parents(&mut self, to: &Path) -> anyhow::Result<()> {
        let mut parent = self.path.clone();
        for part in to.parent().into_iter().flat_map(Path::components) {
            parent.push(part);
            if self.folders.insert(parent.clone()) {
                let made = DirBuilder::new().mode(0o700).create(&parent);
                made.map_err(full).with_context(|| format!("cannot make {}", parent.display()))?;
            }
        }
        Ok(())
    }

    /// Makes everything durable and gives the folder its name.
    pub(crate) fn finish(mut self) -> anyhow::Result<()> {
        let sync = |path: &Path| {
            File::open(path).and_then(|folder| folder.sync_all()).with_context(|| path.display().to_string())
        };
        for folder in &self.folders {
            sync(folder)?;
        }
        std::fs::rename(&self.path, &self.wanted)
            .with_context(|| format!("cannot rename {} to {}", self.path.display(), self.wanted.display()))?;
        self.finished = true;
        sync(parent_of(&self.wanted))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.finished {
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

/// Demands that `path` is not there, or is an empty folder.
fn refuse_occupied(path: &Path) -> anyhow::Result<()> {
    match std::fs::read_dir(path).map(|mut entries| entries.next().is_none()) {
        Ok(true) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Ok(false) => {
            bail!("{} is not empty and nothing is ever overwritten: choose another folder", path.display())
        }
        Err(error) => Err(error).with_context(|| format!("cannot use {}", path.display())),
    }
}

fn parent_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn pour(from: &mut File, to: &mut File, bar: &ProgressBar) -> std::io::Result<(u64, String)> {
    let mut hash = digest::Context::new(&digest::SHA256);
    let mut buffer = vec![0; STRIDE];
    let mut size = 0;
    loop {
        let count = match from.read(&mut buffer) {
            Ok(0) => return Ok((size, hex::encode(hash.finish()))),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let bytes = buffer.get(..count).unwrap_or_default();
        hash.update(bytes);
        to.write_all(bytes)?;
        size += bytes.len() as u64;
        bar.inc(bytes.len() as u64);
    }
}

/// What to do about a disk that somebody else has filled since it was asked.
fn full(error: std::io::Error) -> anyhow::Error {
    let is_full = matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
    let error = anyhow::Error::new(error);
    if is_full { error.context("free some space there, or choose another disk") } else { error }
}

/// A bar of bytes on standard error, if that is a terminal.
pub(crate) fn bar(what: &'static str, bytes: u64) -> ProgressBar {
    let template = "{prefix} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} {eta}";
    let bar = ProgressBar::new(bytes).with_prefix(what);
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style.progress_chars("=> ")),
        Err(_) => bar,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unfinished_folder_goes_away_and_a_finished_one_has_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let (source, wanted) = (dir.path().join("source"), dir.path().join("new"));
        std::fs::write(&source, "abc").unwrap();
        let mut folder = Folder::begin(&wanted).unwrap();
        folder.take(&source, Path::new("a/b"), &ProgressBar::hidden()).unwrap();
        let path = folder.path.clone();
        assert!(path.join("a/b").exists() && !wanted.exists());
        drop(folder);
        assert!(!path.exists() && !wanted.exists());

        let mut folder = Folder::begin(&wanted).unwrap();
        std::fs::set_permissions(&source, Permissions::from_mode(0o640)).unwrap();
        let taken = folder.take(&source, Path::new("a/b"), &ProgressBar::hidden()).unwrap();
        let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad".to_owned();
        assert_eq!(taken, FileEntry { path: "a/b".to_owned(), size: 3, sha256, mode: 0o640 });
        folder.finish().unwrap();
        let mode = |path: &str| std::fs::metadata(wanted.join(path)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(""), mode("a"), mode("a/b")), (0o700, 0o700, 0o640));
        assert!(Folder::begin(&wanted).is_err(), "nothing is overwritten");
    }

    #[test]
    fn what_an_interrupted_run_left_is_not_touched() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("new.incomplete")).unwrap();
        let refused = Folder::begin(&dir.path().join("new")).map(|_| ()).unwrap_err().to_string();
        assert!(refused.contains("remove it"), "{refused}");
        assert!(dir.path().join("new.incomplete").exists());
    }

    #[test]
    fn a_disk_that_is_too_small_is_said_beforehand() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::begin(&dir.path().join("new")).unwrap();
        folder.has_room_for(0).unwrap();
        let refused = folder.has_room_for(u64::MAX).unwrap_err().to_string();
        assert!(refused.contains("choose another disk"), "{refused}");
    }
}
