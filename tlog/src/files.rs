//! Files that the programs write: the one module that creates, replaces and appends.
//!
//! Invariants. A plain file is there whole or not at all, and durable when a function here has returned. The exception is
//! a file that cannot be replaced, because its folder takes no new files or something is mounted on it: it is written in
//! place once the file system has set the room aside, and a crash in the midst of that leaves a part. Temporary files have
//! names that no one can guess, in the folder of their target, and are created anew (`O_EXCL`): a link that was put in
//! their place is never followed.
//!
//! Links in the path of a target are followed by [`Destination`] alone, for what users name on a command line, and by the
//! rule of `fs.protected_symlinks`, with which the kernel itself stops a race: none that another user put into a folder
//! that everyone can write to, be it the last component, one before it, or in the path that a link leads to.

mod destination;
mod resolve;
#[cfg(test)]
mod tests;

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, OFlags, fallocate};
use rustix::io::Errno;

pub use self::destination::{Destination, check_stdout};
use self::resolve::{Resolved, resolve};

/// Mode of a file that only its owner can read.
pub const PRIVATE: u32 = 0o600;
/// Mode of any other file, of which the process's mask takes its share.
pub const PUBLIC: u32 = 0o666;

/// Folder that a fresh file system begins with.
pub const LOST_AND_FOUND: &str = "lost+found";

const TEMPORARY_PREFIX: &str = ".chancery-";
const TEMPORARY_SUFFIX: &str = ".new";

/// Opens a new file for writing. What is there already, even a dangling link, is an error.
pub fn open_new(path: &Path, mode: u32) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(mode).open(path)
}

/// Writes a new file. What is there already is an error.
pub fn create(path: &Path, mode: u32, content: &[u8]) -> io::Result<()> {
    fill_new(path, mode, content)?;
    sync_folder(path)
}

/// Writes a file, in the place of an older one, whose mode and owner it keeps, in one step. A link is replaced, not
/// followed.
pub fn replace(path: &Path, mode: u32, content: &[u8]) -> io::Result<()> {
    let temporary = temporary(path)?;
    let replaced = fill_new(&temporary, mode, content)
        .and_then(|file| resemble(&file, path))
        .and_then(|()| fs::rename(&temporary, path));
    if replaced.is_err() {
        // The first error is the one to report.
        let _ = fs::remove_file(&temporary);
    }
    replaced.and_then(|()| sync_folder(path))
}

/// Opens a file to add to it; it is created if it is not there. Links are followed as by [`Destination`].
pub fn open_append(path: &Path, mode: u32) -> io::Result<File> {
    let path = match resolve(path)? {
        Resolved::Descriptor(number) => return destination::descriptor(number),
        Resolved::Found(path, _) | Resolved::Absent(path) => path,
    };
    let nofollow = flags(OFlags::NOFOLLOW);
    OpenOptions::new().append(true).create(true).mode(mode).custom_flags(nofollow).open(path)
}

/// Adds to a file, which is created if it is not there, durably.
pub fn append(path: &Path, mode: u32, content: &[u8]) -> io::Result<()> {
    let mut file = open_append(path, mode)?;
    file.write_all(content)?;
    file.sync_all()?;
    sync_folder(path)
}

/// Writes what a user wants in `path`, as [`Destination`] does.
pub fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    Destination::prepare(path, content.len() as u64)?.write(content)
}

/// Saves content under a new name in the first of these folders that takes it; the file is readable by its owner alone.
pub fn rescue(folders: &[PathBuf], name: &str, content: &[u8]) -> Option<PathBuf> {
    folders.iter().find_map(|folder| {
        let path = folder.join(format!("chancery-rescue-{}-{name}", random().ok()?));
        let written = create(&path, PRIVATE, content);
        if written.is_err() {
            // Half a file is not a rescue; the next folder may do better.
            let _ = fs::remove_file(&path);
        }
        written.ok().map(|()| path)
    })
}

/// Removes the temporary files that a killed process left in a folder which no other process writes to.
pub fn remove_leftovers(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.filter_map(Result::ok) {
        let name = entry.file_name();
        let random = name
            .to_str()
            .and_then(|name| name.strip_prefix(TEMPORARY_PREFIX)?.strip_suffix(TEMPORARY_SUFFIX));
        if random.is_some_and(|random| random.len() == 16) {
            // One that stays does no harm.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Whether a folder holds nothing, or nothing but what a fresh file system does.
pub fn is_unused(folder: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(folder)? {
        if entry?.file_name() != LOST_AND_FOUND {
            return Ok(false);
        }
    }
    Ok(true)
}

fn fill_new(path: &Path, mode: u32, content: &[u8]) -> io::Result<File> {
    let mut file = open_new(path, mode)?;
    file.write_all(content)?;
    file.sync_all()?;
    Ok(file)
}

/// Gives a new file the mode and owner of the plain file that it will replace.
fn resemble(new: &File, path: &Path) -> io::Result<()> {
    let Ok(old) = fs::symlink_metadata(path) else { return Ok(()) };
    if !old.is_file() {
        return Ok(());
    }
    let metadata = new.metadata()?;
    if (metadata.uid(), metadata.gid()) != (old.uid(), old.gid()) {
        // Only root can, and only root has to: a server must be able to read what root changed for it.
        let _ = fchown(new, Some(old.uid()), Some(old.gid()));
    }
    new.set_permissions(Permissions::from_mode(old.mode() & 0o777))
}

/// Writes over a file that cannot be replaced. Nothing of it changes if there is no room for the content.
fn overwrite(mut file: File, content: &[u8]) -> io::Result<()> {
    reserve(&file, content.len() as u64)?;
    file.write_all(content)?;
    file.set_len(content.len() as u64)?;
    file.sync_all()
}

/// Sets room aside for the first bytes of a file, which stays as long as it is.
fn reserve(file: &File, room: u64) -> io::Result<()> {
    match fallocate(file, FallocateFlags::KEEP_SIZE, 0, room.max(1)) {
        Err(full @ (Errno::NOSPC | Errno::DQUOT | Errno::FBIG)) => Err(full.into()),
        // Not every file system can reserve.
        _ => Ok(()),
    }
}

/// Opens what is there; a link that has taken its place is not followed.
fn open_in_place(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).custom_flags(flags(OFlags::NOFOLLOW)).open(path)
}

fn flags(flags: OFlags) -> i32 {
    flags.bits().cast_signed()
}

/// A new name is as durable as its folder. One that may be written but not read cannot be synced.
fn sync_folder(path: &Path) -> io::Result<()> {
    match File::open(folder_of(path)).and_then(|folder| folder.sync_all()) {
        Err(error) if !matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::InvalidInput) => {
            Err(error)
        }
        _ => Ok(()),
    }
}

/// A name for a temporary file beside `path`: short, since the target's own may be as long as a name can be.
fn temporary(path: &Path) -> io::Result<PathBuf> {
    if path.file_name().is_none() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "this is not the name of a file"));
    }
    Ok(folder_of(path).join(format!("{TEMPORARY_PREFIX}{}{TEMPORARY_SUFFIX}", random()?)))
}

/// Sixteen characters.
fn random() -> io::Result<String> {
    let mut bytes = [0; 8];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| io::Error::other("no randomness"))?;
    Ok(hex::encode(bytes))
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
