//! What a log measures of itself, one method an operation. Handles are made once: a look-up costs more than a batch's
//! bookkeeping.

use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Label, NoopRecorder, counter, gauge, histogram};
use tokio::time::Instant;

use super::log::AddError;
use super::pool::Load;
use super::store::{CommitError, Head, Store};
use crate::checkpoint::Origin;
use crate::clock::Timestamp;
use crate::serve::metrics::{COUNT_BUCKETS, Counters, Metric, SIZE_BUCKETS, STEP_BUCKETS};

/// What logs measure. All have the label `log`, the log's origin, but for admission's.
pub const METRICS: &[Metric] = &[
    Metric::gauge("chancery_log_open", "1 while the log takes entries, 0 once it has stopped"),
    Metric::gauge("chancery_log_size", "Entries in the log"),
    Metric::gauge("chancery_log_head_timestamp_seconds", "Unix time of the newest signed head"),
    Metric::gauge("chancery_log_clock_behind_seconds", "How far the clock stands behind the newest head"),
    Metric::gauge("chancery_log_queue_entries", "Entries that wait for a batch"),
    Metric::gauge("chancery_log_queue_bytes", "Bytes that wait for a batch"),
    Metric::gauge("chancery_log_queue_oldest_seconds", "How long the oldest entry has waited for a batch"),
    Metric::histogram("chancery_log_batch_entries", COUNT_BUCKETS, "Entries of a committed batch"),
    Metric::histogram("chancery_log_batch_bytes", SIZE_BUCKETS, "Bytes of a committed batch"),
    Metric::histogram("chancery_log_stage_seconds", STEP_BUCKETS, "Duration of one stage of a round"),
    Metric::histogram(
        "chancery_log_sync_seconds",
        STEP_BUCKETS,
        "Append and sync of the write-ahead log, the part of a commit that waits for the disk",
    ),
    Metric::counter("chancery_log_commits_total", "Commits by outcome"),
    Metric::counter("chancery_log_entries_total", "Entries added by this process"),
    Metric::counter("chancery_log_duplicates_total", "Submissions answered with an entry that was there"),
    Metric::counter("chancery_log_refusals_total", "Submissions that were not added, by reason"),
    Metric::gauge("chancery_log_store_bytes", "Bytes of the files of the log's store"),
    Metric::gauge("chancery_log_disk_free_bytes", "Free bytes on the disk under the log's store"),
    Metric::gauge("chancery_log_disk_watermark_bytes", "Free bytes below which the log refuses entries"),
    Metric::counter(
        "chancery_admission_refusals_total",
        "Entries that no log took because of who signed them, by reason",
    ),
];

/// A stage of a round.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stage {
    /// Looking for entries that were stored meanwhile.
    Find,
    Integrate,
    Check,
    Sign,
    Commit,
}

impl Stage {
    const ALL: [Self; 5] = [Self::Find, Self::Integrate, Self::Check, Self::Sign, Self::Commit];

    fn name(self) -> &'static str {
        match self {
            Self::Find => "find",
            Self::Integrate => "integrate",
            Self::Check => "check",
            Self::Sign => "sign",
            Self::Commit => "commit",
        }
    }
}

const OUTCOMES: [&str; 4] = ["committed", "not_applied", "superseded", "unknown"];

/// The meters of one log.
pub(super) struct Meters {
    batch_entries: Histogram,
    batch_bytes: Histogram,
    stages: [Histogram; Stage::ALL.len()],
    sync: Histogram,
    commits: Counters,
    entries: Counter,
    duplicates: Counter,
    refusals: Counters,
    sampled: Sampled,
}

/// What is looked at when somebody scrapes.
struct Sampled {
    open: Gauge,
    size: Gauge,
    head_time: Gauge,
    clock_behind: Gauge,
    queue_entries: Gauge,
    queue_bytes: Gauge,
    queue_oldest: Gauge,
    store_bytes: Gauge,
    disk_free: Gauge,
    disk_watermark: Gauge,
}

/// A log as it is at this moment.
pub(super) struct Look<'l> {
    pub(super) open: bool,
    pub(super) head: &'l Head,
    pub(super) now: Timestamp,
    pub(super) load: Load,
    pub(super) store: &'l dyn Store,
    pub(super) min_free_bytes: u64,
}

impl Meters {
    pub(super) fn new(origin: &Origin) -> Self {
        let log = || origin.as_str().to_owned();
        let labels = || vec![Label::new("log", log())];
        let stage =
            |stage: Stage| histogram!("chancery_log_stage_seconds", "log" => log(), "stage" => stage.name());
        Self {
            batch_entries: histogram!("chancery_log_batch_entries", "log" => log()),
            batch_bytes: histogram!("chancery_log_batch_bytes", "log" => log()),
            stages: Stage::ALL.map(stage),
            sync: histogram!("chancery_log_sync_seconds", "log" => log()),
            commits: Counters::with(labels(), "chancery_log_commits_total", "outcome", &OUTCOMES),
            entries: counter!("chancery_log_entries_total", "log" => log()),
            duplicates: counter!("chancery_log_duplicates_total", "log" => log()),
            refusals: Counters::with(labels(), "chancery_log_refusals_total", "reason", &AddError::REASONS),
            sampled: Sampled {
                open: gauge!("chancery_log_open", "log" => log()),
                size: gauge!("chancery_log_size", "log" => log()),
                head_time: gauge!("chancery_log_head_timestamp_seconds", "log" => log()),
                clock_behind: gauge!("chancery_log_clock_behind_seconds", "log" => log()),
                queue_entries: gauge!("chancery_log_queue_entries", "log" => log()),
                queue_bytes: gauge!("chancery_log_queue_bytes", "log" => log()),
                queue_oldest: gauge!("chancery_log_queue_oldest_seconds", "log" => log()),
                store_bytes: gauge!("chancery_log_store_bytes", "log" => log()),
                disk_free: gauge!("chancery_log_disk_free_bytes", "log" => log()),
                disk_watermark: gauge!("chancery_log_disk_watermark_bytes", "log" => log()),
            },
        }
    }

    /// Those of a log that has ended: nothing is registered, nothing is shown, no alarm goes off.
    pub(super) fn none(origin: &Origin) -> Self {
        metrics::with_local_recorder(&NoopRecorder, || Self::new(origin))
    }

    pub(super) fn duplicate(&self) {
        self.duplicates.increment(1);
    }

    pub(super) fn refused(&self, refusal: &AddError) {
        self.refusals.increment(refusal.reason());
    }

    /// Runs one stage of a round and measures it.
    pub(super) fn timed<T>(&self, stage: Stage, run: impl FnOnce() -> T) -> T {
        let started = Instant::now();
        let result = run();
        self.took(stage, started.elapsed());
        result
    }

    pub(super) fn took(&self, stage: Stage, duration: Duration) {
        if let Some(histogram) = self.stages.get(stage as usize) {
            histogram.record(duration.as_secs_f64());
        }
    }

    pub(super) fn committed(&self, entries: usize, bytes: usize, sync: Option<Duration>) {
        self.commits.increment("committed");
        self.entries.increment(entries as u64);
        self.batch_entries.record(count(entries));
        self.batch_bytes.record(count(bytes));
        if let Some(sync) = sync {
            self.sync.record(sync.as_secs_f64());
        }
    }

    pub(super) fn not_committed(&self, error: &CommitError) {
        self.commits.increment(match error {
            CommitError::NotApplied(_) => "not_applied",
            CommitError::Superseded(_) => "superseded",
            CommitError::Unknown(_) => "unknown",
        });
    }

    /// May block for as long as the disk does.
    pub(super) fn sample(&self, look: &Look<'_>) {
        let (to, head) = (&self.sampled, look.head);
        to.open.set(if look.open { 1.0 } else { 0.0 });
        to.size.set(float(head.size));
        to.head_time.set(float(head.time.millis()) / 1000.0);
        to.clock_behind.set(float(head.time.millis().saturating_sub(look.now.millis())) / 1000.0);
        to.queue_entries.set(count(look.load.entries));
        to.queue_bytes.set(count(look.load.bytes));
        to.queue_oldest.set(look.load.oldest.as_secs_f64());
        to.disk_watermark.set(float(look.min_free_bytes));
        // What cannot be read keeps its last value; that the disk fails, the commits say.
        look.store.free_bytes().ok().flatten().into_iter().for_each(|free| to.disk_free.set(float(free)));
        look.store.size_bytes().ok().flatten().into_iter().for_each(|size| to.store_bytes.set(float(size)));
    }
}

fn count(n: usize) -> f64 {
    float(n as u64)
}

#[expect(clippy::cast_precision_loss, reason = "a meter is a float")]
fn float(n: u64) -> f64 {
    n as f64
}
