//! The lock of an instance's folder: one server or one changing command at a time.
//!
//! The stores of logs have locks of their own, but an instance need not have a store here: a timestamp authority alone has
//! none, nor has a CA whose issuance log is elsewhere. So `run` and every command that changes an instance hold this lock,
//! whatever its roles are, and read the configuration only after they have it. Commands that only read take none.
//!
//! It is an advisory lock (`flock`) on the folder itself. Nothing is written for it, so it works where the folder is
//! mounted read-only, no backup copies it, and an empty folder stays empty. The kernel releases it when the process ends,
//! however it ends. KNOWN LIMIT: on a network file system, other machines do not see it; the stores' locks are all there is.

use std::fs::{File, TryLockError};
use std::path::Path;

use anyhow::Context as _;

/// A lock, until it is dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    _folder: File,
}

impl Lock {
    /// The lock of `run`, and of whatever changes the instance in `dir`.
    pub(crate) fn take(dir: &Path) -> anyhow::Result<Self> {
        Self::by(File::try_lock, dir)
    }

    /// The lock of what copies the instance: others may copy it meanwhile, nobody may change or serve it.
    pub(crate) fn share(dir: &Path) -> anyhow::Result<Self> {
        Self::by(File::try_lock_shared, dir)
    }

    fn by(lock: fn(&File) -> Result<(), TryLockError>, dir: &Path) -> anyhow::Result<Self> {
        let folder = File::open(dir).with_context(|| format!("cannot open {}", dir.display()))?;
        match lock(&folder) {
            Ok(()) => Ok(Self { _folder: folder }),
            Err(TryLockError::WouldBlock) => Err(anyhow::anyhow!(
                "{} is in use by another process: a server or another command is at work there, stop it first \
                 (`fuser -v {0}` names it)",
                dir.display()
            )),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("cannot lock {}", dir.display()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_changes_or_several_copy() {
        let dir = tempfile::tempdir().unwrap();
        let one = Lock::take(dir.path()).unwrap();
        for refused in [Lock::take(dir.path()), Lock::share(dir.path())] {
            let refused = refused.unwrap_err().to_string();
            assert!(refused.contains("in use by another process"), "{refused}");
        }
        drop(one);
        let copies = [Lock::share(dir.path()).unwrap(), Lock::share(dir.path()).unwrap()];
        assert!(Lock::take(dir.path()).is_err());
        drop(copies);
        Lock::take(dir.path()).unwrap();
        assert!(chancery_tlog::files::is_unused(dir.path()).unwrap(), "the lock left something behind");
    }
}
