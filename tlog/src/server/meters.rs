//! What a log measures of itself, one method an operation.

use std::time::Duration;

use metrics::{Gauge, Histogram, counter, gauge, histogram};

use super::log::AddError;
use crate::checkpoint::Origin;

/// The log's meters, looked up once: a look-up costs more than a batch's bookkeeping.
pub(super) struct Meters {
    log: String,
    queue_entries: Gauge,
    queue_bytes: Gauge,
    size: Gauge,
    batch_entries: Histogram,
    commit_seconds: Histogram,
}

impl Meters {
    pub(super) fn new(origin: &Origin) -> Self {
        let log = origin.as_str().to_owned();
        Self {
            queue_entries: gauge!("chancery_log_queue_entries", "log" => log.clone()),
            queue_bytes: gauge!("chancery_log_queue_bytes", "log" => log.clone()),
            size: gauge!("chancery_log_size", "log" => log.clone()),
            batch_entries: histogram!("chancery_log_batch_entries", "log" => log.clone()),
            commit_seconds: histogram!("chancery_log_commit_seconds", "log" => log.clone()),
            log,
        }
    }

    pub(super) fn refused(&self, refusal: &AddError) {
        counter!("chancery_log_refusals_total", "log" => self.log.clone(), "reason" => refusal.reason())
            .increment(1);
    }

    pub(super) fn committed(&self, entries: usize, size: u64, took: Duration) {
        self.batch_entries.record(count(entries));
        self.commit_seconds.record(took.as_secs_f64());
        #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
        self.size.set(size as f64);
    }

    pub(super) fn queued(&self, entries: usize, bytes: usize) {
        self.queue_entries.set(count(entries));
        self.queue_bytes.set(count(bytes));
    }
}

#[expect(clippy::cast_precision_loss, reason = "a meter is a float")]
fn count(n: usize) -> f64 {
    n as f64
}
