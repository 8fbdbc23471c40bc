//! What a running instance shows of itself beyond what its parts count: sampled when somebody scrapes.
//!
//! Invariant: nothing here stops the instance. What cannot be read keeps its last value, or is not shown.

mod last_run;
mod process;
mod signer;

use std::sync::Arc;

use chancery_tlog::certificate::Certificate;
use chancery_tlog::clock::{Clock, Timestamp};
use chancery_tlog::serve::Tls;
use chancery_tlog::serve::metrics::{Metric, STEP_BUCKETS};
use chancery_tlog::server::log::Log;
use metrics::{Gauge, gauge};

use crate::build;

pub(crate) use self::last_run::{Ending, LastRun};
use self::process::Process;
pub(crate) use self::signer::measured;

/// What is measured in this package.
pub(crate) const METRICS: &[Metric] = &[
    Metric::gauge("chancery_build_info", "Always 1; version and commit are labels"),
    Metric::counter("chancery_reloads_total", "Reloads of the configuration, by result"),
    Metric::gauge("chancery_reload_successful", "1 if the last reload was made, 0 if it was refused"),
    Metric::gauge(
        "chancery_reload_success_timestamp_seconds",
        "Unix time at which the configuration that runs was loaded",
    ),
    Metric::gauge("chancery_previous_run", "1 for how the run before this one ended, 0 for all other ways"),
    Metric::histogram("chancery_signer_seconds", STEP_BUCKETS, "Making one signature"),
    Metric::counter("chancery_signer_failures_total", "Signatures that a key's home did not make"),
    Metric::gauge(
        "chancery_certificate_expires_timestamp_seconds",
        "Unix time at which the first certificate of a chain ends",
    ),
    Metric::gauge("chancery_tuf_expires_timestamp_seconds", "Unix time at which TUF metadata ends, by role"),
    Metric::counter("chancery_tuf_failures_total", "Renewals of the TUF repository that failed"),
    Metric::gauge("chancery_memory_size", "Entries of the newest head that a memory holds"),
    Metric::counter("chancery_memory_failures_total", "Heads that a memory did not take"),
    Metric::counter("process_cpu_seconds_total", "User and system time of the process"),
    Metric::gauge("process_open_fds", "Open file descriptors"),
    Metric::gauge("process_max_fds", "Most file descriptors that the process may open"),
    Metric::gauge("process_resident_memory_bytes", "Memory in RAM"),
    Metric::gauge("process_virtual_memory_bytes", "Address space"),
    Metric::gauge("process_threads", "Threads"),
    Metric::gauge("process_start_time_seconds", "Unix time at which the process started"),
];

/// Everything that is looked at when somebody scrapes.
pub(crate) struct Sampler {
    logs: Vec<Log>,
    tls: Option<(Arc<Tls>, Gauge)>,
    process: Process,
    clock: Arc<dyn Clock>,
}

impl Sampler {
    /// For an instance with these logs.
    pub(crate) fn new(logs: Vec<Log>, clock: Arc<dyn Clock>) -> Self {
        gauge!("chancery_build_info", "version" => build::VERSION, "commit" => build::COMMIT).set(1.0);
        let process = Process::new(clock.now());
        Self { logs, tls: None, process, clock }
    }

    /// With the end of the certificate that the listener shows.
    pub(crate) fn watching(self, tls: Option<&Arc<Tls>>) -> Self {
        Self { tls: tls.map(|tls| (Arc::clone(tls), certificate_gauge("tls"))), ..self }
    }

    /// Looks. Asks the file system, so it may block.
    pub(crate) fn sample(&self) {
        let now = self.clock.now();
        self.logs.iter().for_each(|log| log.sample(now));
        if let Some((tls, gauge)) = &self.tls {
            // So that what is shown is not older than the files, as whoever renews them expects.
            tls.look();
            gauge.set(seconds(tls.current().until()));
        }
        self.process.sample();
    }
}

/// Shows when the first certificate of a chain ends; `which` says whose chain it is.
pub(crate) fn show_chain(which: &'static str, chain: &[Certificate]) {
    if let Some(end) = chain.iter().map(Certificate::not_after).min() {
        certificate_gauge(which).set(seconds(end));
    }
}

fn certificate_gauge(which: &'static str) -> Gauge {
    gauge!("chancery_certificate_expires_timestamp_seconds", "certificate" => which)
}

pub(crate) fn seconds(at: Timestamp) -> f64 {
    float(at.seconds())
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
fn float(n: u64) -> f64 {
    n as f64
}
