//! [`Destination`]: a place that a user named, of any kind.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, OFlags, StatxAttributes, StatxFlags, statx};
use rustix::io::Errno;
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

use super::resolve::{Resolved, resolve};
use super::{PRIVATE, PUBLIC, flags, open_in_place, open_new, overwrite, replace, reserve, temporary};

/// Longest wait for a reader of a FIFO.
const FIFO_PATIENCE: Duration = Duration::from_secs(10);
const FIFO_INTERVAL: Duration = Duration::from_millis(50);

/// A place that has been checked: it could be written to just now.
#[derive(Debug)]
pub struct Destination(Kind);

#[derive(Debug)]
enum Kind {
    Stdout,
    /// A device, a FIFO with a reader, or an open descriptor.
    Stream(File),
    /// A plain file, to be replaced or created in one step.
    Plain(PathBuf),
    /// A plain file that cannot be replaced, open, with room for the content.
    InPlace(File),
}

impl Destination {
    /// Checks that `path` can take `room` bytes, and leaves what it holds. `-` and descriptor 1 are standard output.
    pub fn prepare(path: &Path, room: u64) -> io::Result<Self> {
        if path == Path::new("-") {
            return stdout().map(Self);
        }
        let kind = match resolve(path)? {
            Resolved::Descriptor(1) => stdout()?,
            Resolved::Descriptor(number) => Kind::Stream(descriptor(number)?),
            Resolved::Absent(path) => probe(&path, room).map(|()| Kind::Plain(path))?,
            Resolved::Found(path, metadata) if metadata.is_file() => plain(path, room)?,
            Resolved::Found(_, metadata) if metadata.is_dir() => return Err(ErrorKind::IsADirectory.into()),
            Resolved::Found(path, metadata) if metadata.file_type().is_fifo() => Kind::Stream(fifo(&path)?),
            Resolved::Found(path, _) => Kind::Stream(open_in_place(&path)?),
        };
        Ok(Self(kind))
    }

    /// Whether it is standard output, to which the caller writes by itself.
    pub fn is_stdout(&self) -> bool {
        matches!(self.0, Kind::Stdout)
    }

    /// Whether the content can be read from it again later.
    pub fn keeps(&self) -> bool {
        matches!(self.0, Kind::Plain(_) | Kind::InPlace(_))
    }

    /// Writes the content, which becomes all that a plain file holds. Nothing happens for standard output.
    pub fn write(self, content: &[u8]) -> io::Result<()> {
        match self.0 {
            Kind::Stdout => Ok(()),
            Kind::Stream(mut file) => file.write_all(content),
            Kind::InPlace(file) => overwrite(file, content),
            Kind::Plain(path) => match replace(&path, PUBLIC, content) {
                // Mounted since, or a kernel that does not tell ([`is_mounted`]).
                Err(error) if matches!(error.kind(), ErrorKind::ResourceBusy | ErrorKind::CrossesDevices) => {
                    overwrite(open_in_place(&path)?, content)
                }
                replaced => replaced,
            },
        }
    }
}

/// A descriptor of this process, as its owner opened it: what is written goes after what was written before, and whatever
/// comes later goes after that.
///
/// # Errors
/// It is not open, or not for writing: a file that is only read from must not change.
pub(super) fn descriptor(number: u32) -> io::Result<File> {
    let path = format!("/dev/fd/{number}");
    fs::symlink_metadata(&path)?;
    let raw = i32::try_from(number).map_err(|_| io::Error::from(ErrorKind::NotFound))?;
    let shared = pidfd_open(getpid(), PidfdFlags::empty())
        .and_then(|own| pidfd_getfd(own, raw, PidfdGetfdFlags::empty()));
    if let Ok(shared) = shared {
        check_writable(&shared)?;
        return Ok(File::from(shared));
    }
    // An old kernel, or a sandbox. Opened anew, and appended to, so that what is there stays.
    if !is_writable(number)? {
        return Err(read_only());
    }
    OpenOptions::new().append(true).open(path)
}

/// Whether `/proc` says that a descriptor was opened for writing.
pub(super) fn is_writable(number: u32) -> io::Result<bool> {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{number}"))?;
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok()).unwrap_or_default();
    Ok(can_write(OFlags::from_bits_retain(flags)))
}

fn check_writable(descriptor: impl AsFd) -> io::Result<()> {
    if can_write(rustix::fs::fcntl_getfl(descriptor)?) { Ok(()) } else { Err(read_only()) }
}

fn can_write(flags: OFlags) -> bool {
    flags.intersects(OFlags::WRONLY | OFlags::RDWR) && !flags.contains(OFlags::PATH)
}

fn read_only() -> io::Error {
    io::Error::new(ErrorKind::PermissionDenied, "the descriptor is open for reading only")
}

fn stdout() -> io::Result<Kind> {
    check_stdout().map(|()| Kind::Stdout)
}

/// Whether standard output takes anything. Rust's own takes everything without an error if it is closed, since the runtime
/// opens `/dev/null` in its place (for reading too, which no shell's `>/dev/null` does), and if it is for reading only.
pub fn check_stdout() -> io::Result<()> {
    let metadata = fs::metadata("/dev/null")?;
    let stat = rustix::fs::fstat(io::stdout())?;
    let is_null = stat.st_rdev == metadata.rdev() && stat.st_ino == metadata.ino();
    if is_null && rustix::fs::fcntl_getfl(io::stdout())?.contains(OFlags::RDWR) {
        return Err(io::Error::new(ErrorKind::BrokenPipe, "standard output is closed"));
    }
    check_writable(io::stdout())
}

fn plain(path: PathBuf, room: u64) -> io::Result<Kind> {
    if is_mounted(&path) {
        return in_place(&path, room);
    }
    match probe(&path, room) {
        Ok(()) => Ok(Kind::Plain(path)),
        // A disk that is full is full for the file itself too.
        Err(error) if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => Err(error),
        Err(error) => in_place(&path, room).map_err(|inner| {
            // Which of the two stands in the way: no permission, or no room.
            if inner.kind() == ErrorKind::PermissionDenied { error } else { inner }
        }),
    }
}

/// Whether something is mounted on the file itself, as into a container: it cannot be renamed over, and its file system is
/// not its folder's.
fn is_mounted(path: &Path) -> bool {
    let found = statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::empty());
    found.is_ok_and(|found| found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

fn in_place(path: &Path, room: u64) -> io::Result<Kind> {
    let file = open_in_place(path)?;
    reserve(&file, room)?;
    Ok(Kind::InPlace(file))
}

/// Creates a temporary file where one will be needed, with room for the content, and removes it.
fn probe(path: &Path, room: u64) -> io::Result<()> {
    let temporary = temporary(path)?;
    let file = open_new(&temporary, PRIVATE)?;
    let reserved = reserve(&file, room);
    drop(file);
    fs::remove_file(&temporary).and(reserved)
}

/// Opens a FIFO once it has a reader. The descriptor that finds the reader is the one that is used: opening again would
/// wait for ever for a reader that has gone in between.
fn fifo(path: &Path) -> io::Result<File> {
    let started = Instant::now();
    let unblocked = flags(OFlags::NONBLOCK | OFlags::NOFOLLOW);
    let file = loop {
        match OpenOptions::new().write(true).custom_flags(unblocked).open(path) {
            Err(error) if error.raw_os_error() == Some(Errno::NXIO.raw_os_error()) => {
                if started.elapsed() > FIFO_PATIENCE {
                    let waited = format!("no process reads from this FIFO, after {FIFO_PATIENCE:?}");
                    return Err(io::Error::new(ErrorKind::TimedOut, waited));
                }
                std::thread::sleep(FIFO_INTERVAL);
            }
            opened => break opened?,
        }
    };
    let set = rustix::fs::fcntl_getfl(&file)?;
    rustix::fs::fcntl_setfl(&file, set.difference(OFlags::NONBLOCK))?;
    Ok(file)
}
