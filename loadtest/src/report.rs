//! What was measured, as numbers with units in their names, and what follows from them. The JSON is this file's types.

mod table;

pub(crate) use self::table::HEAD;

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::ceiling::{Cost, Operation};
use crate::cpu::Usage;
use crate::ledger::Ledger;
use crate::load::{Counts, Volley};
use crate::primitives::Primitives;

/// A step in which the server keeps up: it accepts this share of what is offered.
const KEEPS_UP: f64 = 0.95;
/// Fewer operations than this are too few to divide processor time by: it is counted in ticks of 10 ms.
const ENOUGH: usize = 100;

/// A whole run.
#[derive(Serialize)]
pub(crate) struct Report {
    /// Version of the load generator.
    pub(crate) version: &'static str,
    /// When it began, RFC 3339.
    pub(crate) began: String,
    /// What it was run against.
    pub(crate) against: String,
    /// The machine that the load came from.
    pub(crate) machine: Machine,
    /// What its primitives cost, in microseconds.
    pub(crate) primitives: Primitives,
    /// How the load was offered.
    pub(crate) load: Offered,
    /// Each thing that was under load.
    pub(crate) tested: Vec<Tested>,
}

/// The machine of the load generator; that of the server too, unless it is a remote one.
#[derive(Serialize)]
pub(crate) struct Machine {
    /// Model of its processor.
    pub(crate) processor: String,
    /// Logical processors.
    pub(crate) cores: usize,
    /// Load average of the last minute before the run began: what else the machine was doing.
    pub(crate) load_average: Option<f64>,
}

/// How the load was offered.
#[derive(Serialize)]
pub(crate) struct Offered {
    /// `even`, or `poisson`.
    pub(crate) arrivals: &'static str,
    /// Most requests without an answer.
    pub(crate) in_flight: usize,
    /// After which a request counts as not answered.
    pub(crate) timeout_seconds: f64,
    /// Threads of the generator.
    pub(crate) threads: usize,
}

/// One rate, for one span.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Step {
    /// Requests that were due, per second.
    pub(crate) offered: f64,
    /// Accepted ones, per second from the first arrival to the last acceptance.
    pub(crate) accepted_rate: f64,
    /// Length of the step.
    pub(crate) seconds: f64,
    /// What became of the requests.
    #[serde(flatten)]
    pub(crate) counts: Counts,
    /// From when a request was due to its answer or timeout, in milliseconds.
    pub(crate) latency_ms: Latency,
    /// How late the generator itself was, 99th percentile in milliseconds.
    pub(crate) generator_late_p99_ms: f64,
    /// Processor time of the server for each accepted operation, in microseconds, refusals included.
    pub(crate) server_cpu_us: Option<f64>,
    /// Bytes that the server read from disks for each accepted operation.
    pub(crate) server_read_bytes: Option<f64>,
    /// Bytes that it made the kernel write to disks for each, later or at once.
    pub(crate) server_written_bytes: Option<f64>,
}

/// Percentiles.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Latency {
    /// Median.
    pub(crate) p50: f64,
    /// 90th percentile.
    pub(crate) p90: f64,
    /// 99th percentile.
    pub(crate) p99: f64,
    /// 99.9th percentile.
    pub(crate) p999: f64,
    /// The longest.
    pub(crate) max: f64,
}

/// One thing that was under load.
#[derive(Serialize)]
pub(crate) struct Tested {
    /// Its name on the command line, and the kind of read.
    pub(crate) name: &'static str,
    /// Entries that the log had before, if it is one.
    pub(crate) entries_before: Option<u64>,
    /// Steps, by offered rate.
    pub(crate) steps: Vec<Step>,
    /// What follows from them.
    pub(crate) findings: Findings,
    /// Acknowledgements whose signatures and proofs hold.
    pub(crate) verified: usize,
    /// Entries that were held against the final tree.
    pub(crate) entries_in_final_tree: usize,
    /// Signed heads that the final tree was held against.
    pub(crate) heads: usize,
    /// Promises that do not hold.
    pub(crate) breaches: usize,
    /// The first of them.
    pub(crate) breaches_told: Vec<String>,
    #[serde(skip)]
    operation: Option<Operation>,
}

/// What the steps say about the server, as ratios to what its machine can do.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Findings {
    /// Highest accepted rate of any step.
    pub(crate) peak_rate: f64,
    /// Server processor time for one operation at the highest rate that it kept up with, in microseconds. Steps of too
    /// few operations do not count.
    pub(crate) cpu_us: Option<f64>,
    /// The least that the operation costs, in microseconds.
    pub(crate) ceiling_us: Option<Cost>,
    /// The ceiling over what the server used: 1 would be a server made of nothing but what cannot be avoided.
    pub(crate) cpu_ratio: Option<f64>,
    /// The peak over what one core could do at the ceiling. Above 1 takes more than one core.
    pub(crate) peak_to_one_core: Option<f64>,
    /// Median latency at the lowest rate, in milliseconds.
    pub(crate) idle_p50_ms: f64,
    /// What the idle median leaves after two fdatasyncs, in milliseconds; negative if it takes fewer.
    pub(crate) idle_beyond_two_fdatasyncs_ms: Option<f64>,
    /// 99th percentile at the step nearest to 80 % of the peak, over fdatasync.
    pub(crate) p99_near_80_percent_in_fdatasyncs: Option<f64>,
    /// Past saturation: the lowest accepted rate over the peak. None if no step went past it.
    pub(crate) past_saturation: Option<f64>,
    /// What it costs in comparison with the same on the first log of the run, which had another size.
    pub(crate) to_the_first: Option<Growth>,
}

/// A log of one size compared with one of another: 1 is no difference.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Growth {
    /// Entries that the other log had.
    pub(crate) entries: Option<u64>,
    /// Server processor time for one operation, over that of the other.
    pub(crate) cpu: Option<f64>,
    /// Idle median latency, over that of the other.
    pub(crate) idle_p50: f64,
}

impl Step {
    /// What a volley of `span` shows, when it took the server `used`.
    pub(crate) fn new(span: Duration, volley: &Volley, used: Option<Usage>) -> Self {
        let counts = &volley.counts;
        let used = used.filter(|_| counts.accepted >= ENOUGH);
        let took = volley.took.max(span).as_secs_f64();
        let each = |sum: f64| sum / count(counts.accepted);
        Self {
            offered: count(counts.due) / span.as_secs_f64(),
            accepted_rate: count(counts.accepted) / took,
            seconds: span.as_secs_f64(),
            counts: counts.clone(),
            latency_ms: Latency::of(&volley.latency),
            generator_late_p99_ms: quantile(&volley.lateness, 0.99),
            server_cpu_us: used.map(|used| each(used.processor.as_secs_f64() * 1e6)),
            server_read_bytes: used.map(|used| each(bytes(used.read))),
            server_written_bytes: used.map(|used| each(bytes(used.written))),
        }
    }

    /// Whether the server did nearly all that was offered.
    fn kept_up(&self) -> bool {
        self.accepted_rate >= KEEPS_UP * self.offered
    }
}

impl Latency {
    fn of(histogram: &Histogram<u64>) -> Self {
        Self {
            p50: quantile(histogram, 0.5),
            p90: quantile(histogram, 0.9),
            p99: quantile(histogram, 0.99),
            p999: quantile(histogram, 0.999),
            max: millis(histogram.max()),
        }
    }
}

impl Tested {
    /// Steps and ledger of a target.
    pub(crate) fn new(
        name: &'static str,
        entries_before: Option<u64>,
        operation: Option<Operation>,
        mut steps: Vec<Step>,
        ledger: &Ledger,
    ) -> Self {
        steps.sort_by(|a, b| a.offered.total_cmp(&b.offered));
        Self {
            name,
            entries_before,
            findings: Findings::default(),
            steps,
            verified: ledger.verified,
            entries_in_final_tree: ledger.leaves.len(),
            heads: ledger.heads.len(),
            breaches: ledger.breaches,
            breaches_told: ledger.told.clone(),
            operation,
        }
    }

    /// Draws the conclusions, on a machine with these primitives.
    pub(crate) fn conclude(&mut self, primitives: &Primitives) {
        self.findings = Findings::of(&self.steps, self.operation, primitives);
    }

    /// Compares each with the first of the same name, which was of another size: what a log's growth costs.
    pub(crate) fn compare(all: &mut [Self]) {
        for at in 1..all.len() {
            let (before, [this, ..]) = all.split_at_mut(at) else { continue };
            let Some(first) = before.iter().find(|first| first.name == this.name) else { continue };
            let growth = Growth {
                entries: first.entries_before,
                cpu: this.findings.cpu_us.zip(first.findings.cpu_us).map(|(own, first)| own / first),
                idle_p50: this.findings.idle_p50_ms / first.findings.idle_p50_ms,
            };
            this.findings.to_the_first = Some(growth);
        }
    }
}

impl Findings {
    fn of(steps: &[Step], operation: Option<Operation>, primitives: &Primitives) -> Self {
        let peak_rate = steps.iter().map(|step| step.accepted_rate).fold(0.0, f64::max);
        let ceiling_us = operation.map(|operation| Cost::of(operation, primitives));
        // Where it kept up, the busiest; a server that never did is judged where it did most.
        let counted = || steps.iter().filter(|step| step.server_cpu_us.is_some());
        let most = || counted().max_by(|a, b| a.accepted_rate.total_cmp(&b.accepted_rate));
        let cpu_us =
            counted().rev().find(|step| step.kept_up()).or_else(most).and_then(|step| step.server_cpu_us);
        let sync_ms = primitives.fdatasync_p50.map(|micros| micros / 1000.0);
        let idle_p50_ms = steps.first().map_or(0.0, |step| step.latency_ms.p50);
        let distance = |step: &&Step| (step.offered - 0.8 * peak_rate).abs();
        let near = steps.iter().min_by(|a, b| distance(a).total_cmp(&distance(b)));
        let past = steps.iter().filter(|step| !step.kept_up() && peak_rate > 0.0 && step.offered > peak_rate);
        Self {
            peak_rate,
            cpu_us,
            ceiling_us,
            cpu_ratio: ceiling_us.zip(cpu_us).map(|(ceiling, cpu)| ceiling.total() / cpu),
            peak_to_one_core: ceiling_us.map(|ceiling| peak_rate / ceiling.per_second()),
            idle_p50_ms,
            idle_beyond_two_fdatasyncs_ms: sync_ms.map(|sync| idle_p50_ms - 2.0 * sync),
            p99_near_80_percent_in_fdatasyncs: near
                .zip(sync_ms)
                .map(|(step, sync)| step.latency_ms.p99 / sync),
            past_saturation: past.map(|step| step.accepted_rate / peak_rate).reduce(f64::min),
            to_the_first: None,
        }
    }
}

fn quantile(histogram: &Histogram<u64>, quantile: f64) -> f64 {
    millis(histogram.value_at_quantile(quantile))
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn millis(micros: u64) -> f64 {
    micros as f64 / 1000.0
}

#[expect(clippy::cast_precision_loss, reason = "a step moves far less than 2^52 bytes")]
fn bytes(n: u64) -> f64 {
    n as f64
}

#[expect(clippy::cast_precision_loss, reason = "counts of requests are far below 2^52")]
fn count(n: usize) -> f64 {
    n as f64
}

#[cfg(test)]
pub(crate) mod tests;
