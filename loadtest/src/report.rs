//! What was measured, as numbers with units in their names, and what follows from them. The JSON is this file's types.

mod table;

pub(crate) use self::table::HEAD;

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::ceiling::{Cost, Operation};
use crate::ledger::Ledger;
use crate::load::Volley;
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

/// One rate, for one span.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Step {
    /// Requests that were due, per second.
    pub(crate) offered: f64,
    /// Accepted ones, per second from the first arrival to the last acceptance.
    pub(crate) accepted_rate: f64,
    /// Length of the step.
    pub(crate) seconds: f64,
    /// Requests that were due.
    pub(crate) due: usize,
    /// Accepted.
    pub(crate) accepted: usize,
    /// Answered 429 or 503 with `Retry-After`.
    pub(crate) refused_cleanly: usize,
    /// Answered anything else.
    pub(crate) refused_uncleanly: usize,
    /// Not answered in time.
    pub(crate) timed_out: usize,
    /// Connections that failed.
    pub(crate) broken: usize,
    /// Not sent, because too many were in flight.
    pub(crate) not_sent: usize,
    /// What was answered uncleanly or broke, and how often.
    pub(crate) complaints: BTreeMap<String, usize>,
    /// From when a request was due to its answer or timeout, in milliseconds.
    pub(crate) latency_ms: Latency,
    /// How late the generator itself was, 99th percentile in milliseconds.
    pub(crate) generator_late_p99_ms: f64,
    /// Processor time of the server for each accepted operation, in microseconds, refusals included.
    pub(crate) server_cpu_us: Option<f64>,
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
    /// Its name on the command line.
    pub(crate) name: &'static str,
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
}

impl Step {
    /// What a volley of `span` shows, when the server used `cpu`.
    pub(crate) fn new(span: Duration, volley: &Volley, cpu: Option<Duration>) -> Self {
        let took = volley.took.max(span).as_secs_f64();
        let per_operation = |cpu: Duration| cpu.as_secs_f64() * 1e6 / count(volley.accepted);
        Self {
            offered: count(volley.due) / span.as_secs_f64(),
            accepted_rate: count(volley.accepted) / took,
            seconds: span.as_secs_f64(),
            due: volley.due,
            accepted: volley.accepted,
            refused_cleanly: volley.refused_cleanly,
            refused_uncleanly: volley.refused_uncleanly,
            timed_out: volley.timed_out,
            broken: volley.broken,
            not_sent: volley.not_sent,
            complaints: volley.complaints.clone(),
            latency_ms: Latency::of(&volley.latency),
            generator_late_p99_ms: quantile(&volley.lateness, 0.99),
            server_cpu_us: cpu.filter(|_| volley.accepted >= ENOUGH).map(per_operation),
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
        operation: Option<Operation>,
        mut steps: Vec<Step>,
        ledger: &Ledger,
    ) -> Self {
        steps.sort_by(|a, b| a.offered.total_cmp(&b.offered));
        Self {
            name,
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

#[expect(clippy::cast_precision_loss, reason = "counts of requests are far below 2^52")]
fn count(n: usize) -> f64 {
    n as f64
}

#[cfg(test)]
pub(crate) mod tests;
