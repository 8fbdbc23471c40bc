//! [`DiskWatch`]: refuses adds while the disk under the store is nearly full. Public logs died of a full disk.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::AddError;
use crate::server::store::Store;

/// How long one answer of the file system is good for. Adds within it cannot fill a watermark's worth of disk.
const VALIDITY: Duration = Duration::from_secs(1);
/// What a refused client is told: disks are emptied by people.
const RETRY_AFTER: Duration = Duration::from_mins(1);

pub(super) struct DiskWatch {
    min_free_bytes: u64,
    last: Mutex<Option<(Instant, bool)>>,
}

impl DiskWatch {
    pub(super) fn new(min_free_bytes: u64) -> Self {
        Self { min_free_bytes, last: Mutex::new(None) }
    }

    pub(super) fn check(&self, store: &dyn Store) -> Result<(), AddError> {
        let now = Instant::now();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let enough = match *last {
            Some((at, enough)) if now.duration_since(at) < VALIDITY => enough,
            _ => store.free_bytes()?.is_none_or(|free| free >= self.min_free_bytes),
        };
        if last.is_none_or(|(at, _)| now.duration_since(at) >= VALIDITY) {
            *last = Some((now, enough));
        }
        if enough { Ok(()) } else { Err(AddError::ReadOnly { retry_after: RETRY_AFTER }) }
    }
}
