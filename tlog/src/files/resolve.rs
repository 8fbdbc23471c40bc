//! The file behind a path, one link at a time.

use std::collections::VecDeque;
use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::PROC_SUPER_MAGIC;

use super::folder_of;

/// Links that are followed, as many as Linux follows.
const MAX_LINKS: usize = 40;
/// Permission bits of a folder in which anyone can create a link, and only its owner can remove it.
const STICKY_AND_SHARED: u32 = 0o1002;

/// A path's end.
pub(super) enum Resolved {
    /// A descriptor of this process, such as `/dev/fd/3`.
    Descriptor(u32),
    /// Something that is not a link.
    Found(PathBuf, Metadata),
    /// Nothing yet: a new name, or the target of a dangling link.
    Absent(PathBuf),
}

/// Follows the links in `path`, unless another user may have put them there.
pub(super) fn resolve(path: &Path) -> io::Result<Resolved> {
    if path.as_os_str().is_empty() {
        return Ok(Resolved::Absent(PathBuf::new()));
    }
    let mut names_folder = path.as_os_str().as_bytes().ends_with(b"/");
    let mut ahead = components(path);
    // What has been walked: it has no links in it but those of `/proc`.
    let mut walked = PathBuf::new();
    let mut links = 0;
    while let Some(component) = ahead.pop_front() {
        let next = walked.join(&component);
        if ahead.is_empty()
            && let Some(number) = descriptor(&next)
        {
            return Ok(Resolved::Descriptor(number));
        }
        let metadata = match fs::symlink_metadata(&next) {
            // A folder that does not exist: the kernel would create a plain file of that name.
            Err(error) if error.kind() == ErrorKind::NotFound && ahead.is_empty() && !names_folder => {
                return Ok(Resolved::Absent(next));
            }
            found => found?,
        };
        if metadata.is_symlink() && !is_magic(&next) {
            refuse_foreign(&next, &metadata, "a link")?;
            links += 1;
            if links > MAX_LINKS {
                return Err(io::Error::new(ErrorKind::InvalidInput, "too many symbolic links"));
            }
            let target = fs::read_link(&next)?;
            names_folder |= ahead.is_empty() && target.as_os_str().as_bytes().ends_with(b"/");
            let mut target = components(&target);
            target.append(&mut ahead);
            ahead = target;
        } else {
            // An absolute target of a link begins with a root, which takes the place of what was walked.
            walked = next;
        }
    }
    found(walked, names_folder)
}

/// The end of a walk, which is there.
fn found(path: PathBuf, names_folder: bool) -> io::Result<Resolved> {
    // A link that is left is one of `/proc`, such as `/proc/self/exe`, which leads to a file and not to a name.
    let metadata = fs::metadata(&path)?;
    if !metadata.is_dir() {
        if names_folder {
            return Err(ErrorKind::NotADirectory.into());
        }
        refuse_foreign(&path, &fs::symlink_metadata(&path)?, "a file")?;
    }
    Ok(Resolved::Found(path, metadata))
}

/// The components of a path, its root among them.
fn components(path: &Path) -> VecDeque<PathBuf> {
    path.components().map(|component| PathBuf::from(component.as_os_str())).collect()
}

/// Whether a link is one of the kernel's own in `/proc`: its text is not the path that it leads to, and no user made it.
fn is_magic(link: &Path) -> bool {
    rustix::fs::statfs(folder_of(link)).is_ok_and(|found| found.f_type == PROC_SUPER_MAGIC)
}

/// The descriptor that a path such as `/dev/fd/3` or `/proc/self/fd/3` names. Its link says `pipe:[…]`, or a name that the
/// file may no longer have.
fn descriptor(path: &Path) -> Option<u32> {
    let number = path.file_name()?.to_str()?.parse().ok()?;
    let folder = fs::canonicalize(folder_of(path)).ok()?;
    let own = ["/proc/self/fd", "/proc/thread-self/fd", "/dev/fd"].into_iter();
    own.filter_map(|own| fs::canonicalize(own).ok()).any(|own| own == folder).then_some(number)
}

/// In a folder such as `/tmp`, a file or link of another user may be there to catch or to divert what is written. Linux
/// refuses the same with `fs.protected_symlinks`, `protected_fifos` and `protected_regular`.
fn refuse_foreign(path: &Path, metadata: &Metadata, what: &str) -> io::Result<()> {
    let folder = fs::metadata(folder_of(path))?;
    let shared = folder.mode() & STICKY_AND_SHARED == STICKY_AND_SHARED;
    let own = [rustix::process::geteuid().as_raw(), folder.uid()].contains(&metadata.uid());
    if !shared || own {
        return Ok(());
    }
    let problem = format!("{what} of another user is at `{}`, where anyone can put one", path.display());
    Err(io::Error::new(ErrorKind::PermissionDenied, problem))
}
