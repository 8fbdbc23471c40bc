//! Files that are read again when they change, as monitoring and the log see them.
//!
//! A file that cannot be used leaves the old contents in use. That is shown by a gauge for as long as it lasts, counted
//! at every attempt, and logged once for each reason: attempts are made every second or two until one succeeds.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use metrics::{Counter, Gauge, counter, gauge};

/// The metric that is 1 while what a file holds is in use.
pub(super) const CURRENT: &str = "chancery_file_current";
/// The metric of attempts that failed.
pub(super) const FAILURES: &str = "chancery_file_failures_total";

/// The state of one file, or of several that belong together.
pub(super) struct Followed {
    current: Gauge,
    failures: Counter,
    /// The reason that was logged last, while the files cannot be used.
    reason: Mutex<Option<String>>,
}

impl Followed {
    /// Files that have just been read, under a name from a closed set.
    pub(super) fn new(name: &'static str) -> Self {
        let followed = Self {
            current: gauge!(CURRENT, "file" => name),
            failures: counter!(FAILURES, "file" => name),
            reason: Mutex::default(),
        };
        followed.failures.increment(0);
        followed.is_current();
        followed
    }

    /// Records that what the files hold is in use.
    pub(super) fn is_current(&self) {
        self.current.set(1.0);
        *self.reason() = None;
    }

    /// Records a failed attempt. True if the reason has not been logged yet.
    pub(super) fn failed(&self, reason: String) -> bool {
        self.current.set(0.0);
        self.failures.increment(1);
        let mut known = self.reason();
        let is_new = known.as_ref() != Some(&reason);
        *known = Some(reason);
        is_new
    }

    fn reason(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.reason.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Followed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Followed")
    }
}

/// What tells one version of a file from another: a rename into place, a write and a change of rights all show in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Version {
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Version {
    /// The version of the file at this path now; `None` if there is none.
    pub(super) fn of(path: &Path) -> Option<Self> {
        use std::os::unix::fs::MetadataExt as _;
        let data = std::fs::metadata(path).ok()?;
        Some(Self {
            inode: data.ino(),
            size: data.len(),
            modified: (data.mtime(), data.mtime_nsec()),
            changed: (data.ctime(), data.ctime_nsec()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_logged_once_until_it_changes_or_the_file_is_good_again() {
        let followed = Followed::new("test");
        assert!(followed.failed("missing".to_owned()));
        assert!(!followed.failed("missing".to_owned()));
        assert!(followed.failed("broken".to_owned()));
        followed.is_current();
        assert!(followed.failed("broken".to_owned()));
    }

    #[test]
    fn a_change_of_rights_is_another_version() {
        use std::os::unix::fs::PermissionsExt as _;
        let file = tempfile::NamedTempFile::new().unwrap();
        let before = Version::of(file.path());
        assert_eq!(Version::of(file.path()), before);
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o600)).unwrap();
        let first = Version::of(file.path());
        std::fs::write(file.path(), "more").unwrap();
        assert_ne!(Version::of(file.path()), first);
        assert_eq!(Version::of(Path::new("/no/such/file")), None);
    }
}
