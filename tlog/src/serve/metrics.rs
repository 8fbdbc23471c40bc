//! Prometheus metrics: one recorder a process, served on a port of its own.
//!
//! Invariant: label values come from closed sets (route templates, known methods, classes of status codes), so no
//! client can grow the number of series, and no name of a repository or a person is among them.
//!
//! What is cheap is counted as it happens, through handles that are made once. What would cost the hot path something,
//! or says nothing between two looks (the length of a queue, the free disk), is sampled when somebody scrapes.

use std::sync::{Arc, Mutex, TryLockError};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use http::header::CONTENT_TYPE;
use metrics::{Counter, Label};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio_util::sync::CancellationToken;

use super::{block, followed, logging};

/// Upper bounds of the latency of requests in seconds: from one fsync of a good disk to the request timeout.
pub const LATENCY_BUCKETS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
/// Upper bounds of the duration of single steps in seconds: from one signature to a disk that hangs.
pub const STEP_BUCKETS: &[f64] = &[
    0.00001, 0.00003, 0.0001, 0.0003, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0,
    10.0,
];
/// Upper bounds of numbers of entries: powers of two up to the largest batch.
pub const COUNT_BUCKETS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0];
/// Upper bounds of sizes in bytes: from one small entry to the largest batch.
pub const SIZE_BUCKETS: &[f64] =
    &[1024.0, 4096.0, 16384.0, 65536.0, 262_144.0, 1_048_576.0, 4_194_304.0, 16_777_216.0];

/// How often samples are folded into buckets if nobody scrapes. Until then each takes 8 bytes.
const UPKEEP: Duration = Duration::from_secs(5);

/// What the HTTP chassis measures.
pub const METRICS: &[Metric] = &[
    Metric::gauge("chancery_http_connections", "Open connections"),
    Metric::counter("chancery_http_connections_ended_total", "Connections that the server ended, by reason"),
    Metric::gauge("chancery_http_addresses", "Client addresses that hold something"),
    Metric::gauge("chancery_http_requests_in_flight", "Requests in work"),
    Metric::gauge("chancery_http_writes", "Complete requests that write, in work"),
    Metric::gauge("chancery_http_reads", "Complete requests that only read, in work"),
    Metric::gauge("chancery_http_bodies", "Requests whose bodies are not complete"),
    Metric::gauge("chancery_http_body_bytes", "Bytes of request bodies in memory"),
    Metric::gauge(
        "chancery_http_unread_bytes",
        "Bytes of answers that clients have not read, and 4096 for each",
    ),
    Metric::counter("chancery_http_requests_total", "Requests by method, route and class of status code"),
    Metric::histogram(
        "chancery_http_request_duration_seconds",
        LATENCY_BUCKETS,
        "From a request's head to its answer",
    ),
    Metric::counter(
        "chancery_http_refusals_total",
        "Requests that the chassis refused before any handler saw them, by reason",
    ),
    Metric::counter(logging::LOST, "Log lines that could not be written, by kind"),
    Metric::counter("chancery_rate_limited_total", "Requests answered 429, by the limit that was reached"),
    Metric::gauge(
        followed::CURRENT,
        "1 while what a file holds that is read again when it changes is in use, 0 while it cannot be used",
    ),
    Metric::counter(followed::FAILURES, "Attempts to read such a file again that failed"),
    Metric::counter("chancery_access_admitted_total", "Requests let into the sealed zone"),
    Metric::counter(
        "chancery_access_refusals_total",
        "Requests not let into the sealed zone, by what was wrong with their credentials",
    ),
];

/// A metric's one definition, from which its type, help text and buckets come.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    name: &'static str,
    help: &'static str,
    kind: Kind,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Counter,
    Gauge,
    Histogram(&'static [f64]),
}

impl Metric {
    /// Something that is counted; its name ends in `_total`.
    pub const fn counter(name: &'static str, help: &'static str) -> Self {
        Self { name, help, kind: Kind::Counter }
    }

    /// Something that goes up and down.
    pub const fn gauge(name: &'static str, help: &'static str) -> Self {
        Self { name, help, kind: Kind::Gauge }
    }

    /// Something whose distribution matters, in buckets with these upper bounds.
    pub const fn histogram(name: &'static str, buckets: &'static [f64], help: &'static str) -> Self {
        Self { name, help, kind: Kind::Histogram(buckets) }
    }

    fn describe(&self) {
        match self.kind {
            Kind::Counter => metrics::describe_counter!(self.name, self.help),
            Kind::Gauge => metrics::describe_gauge!(self.name, self.help),
            Kind::Histogram(_) => metrics::describe_histogram!(self.name, self.help),
        }
    }
}

/// Counters of one name that differ in one label from a closed set. They exist, at zero, from the beginning: a series
/// that appears with its first event has no rate to alert on.
pub struct Counters {
    name: &'static str,
    label: &'static str,
    fixed: Vec<Label>,
    by_value: Vec<(&'static str, Counter)>,
}

impl Counters {
    /// A counter for each of `values`.
    pub fn new(name: &'static str, label: &'static str, values: &[&'static str]) -> Self {
        Self::with(Vec::new(), name, label, values)
    }

    /// The same, all of them with the labels `fixed` as well.
    pub fn with(fixed: Vec<Label>, name: &'static str, label: &'static str, values: &[&'static str]) -> Self {
        let mut family = Self { name, label, fixed, by_value: Vec::new() };
        family.by_value = values.iter().map(|value| (*value, family.register(value))).collect();
        family
    }

    /// Counts one. A value that was not foreseen is counted as well, at the cost of a look-up.
    pub fn increment(&self, value: &'static str) {
        match self.by_value.iter().find(|(known, _)| *known == value) {
            Some((_, counter)) => counter.increment(1),
            None => self.register(value).increment(1),
        }
    }

    fn register(&self, value: &'static str) -> Counter {
        let mut labels = self.fixed.clone();
        labels.push(Label::from_static_parts(self.label, value));
        metrics::counter!(self.name, labels)
    }
}

/// Why metrics could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up metrics: {0}")]
pub struct MetricsError(String);

/// The recorder of this process.
#[derive(Clone)]
pub struct Metrics(PrometheusHandle);

/// Installs the recorder of this process, for the metrics in `tables`. Once only.
pub fn install(tables: &[&[Metric]]) -> Result<Metrics, MetricsError> {
    let failed = |error: &dyn std::fmt::Display| MetricsError(error.to_string());
    let all = || tables.iter().copied().flatten();
    let mut builder = PrometheusBuilder::new().set_buckets(LATENCY_BUCKETS).map_err(|e| failed(&e))?;
    for metric in all() {
        if let Kind::Histogram(buckets) = metric.kind {
            let name = Matcher::Full(metric.name.to_owned());
            builder = builder.set_buckets_for_metric(name, buckets).map_err(|e| failed(&e))?;
        }
    }
    let handle = builder.install_recorder().map_err(|e| failed(&e))?;
    all().for_each(Metric::describe);
    Ok(Metrics(handle))
}

/// Path of the metrics.
pub const PATH: &str = "/metrics";

/// `GET /metrics` in Prometheus' text format. `sample` is called before each answer and may block.
pub fn router(metrics: Metrics, sample: impl Fn() + Send + Sync + 'static) -> Router {
    let scraper = Arc::new(Scraper { metrics, sample: Mutex::new(sample) });
    let render = move || {
        let scraper = Arc::clone(&scraper);
        async move {
            // A panic in there has been logged; the scraper sees an empty answer, which it reports.
            let text = block(move || scraper.text()).await.unwrap_or_default();
            ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
        }
    };
    Router::new().route(PATH, get(render))
}

struct Scraper<S> {
    metrics: Metrics,
    sample: Mutex<S>,
}

impl<S: Fn()> Scraper<S> {
    /// Two scrapes at once share a sample: one that hangs in a dead disk must not hold a thread for every scrape.
    fn text(&self) -> String {
        match self.sample.try_lock() {
            Ok(sample) => sample(),
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner()(),
            Err(TryLockError::WouldBlock) => {}
        }
        for (kind, lost) in logging::lost() {
            metrics::counter!(logging::LOST, "kind" => kind).absolute(lost);
        }
        self.metrics.render()
    }
}

impl Metrics {
    /// Folds samples into buckets until `shutdown`. Someone has to run it beside the server.
    pub async fn upkeep(self, shutdown: CancellationToken) {
        while shutdown.run_until_cancelled(tokio::time::sleep(UPKEEP)).await.is_some() {
            self.0.run_upkeep();
        }
    }

    /// The text that `/metrics` answers.
    pub fn render(&self) -> String {
        self.0.render()
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use http::Request;
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    use super::*;

    const TABLE: &[Metric] = &[
        Metric::histogram("test_seconds", LATENCY_BUCKETS, "A duration"),
        Metric::histogram("test_entries", COUNT_BUCKETS, "A number"),
        Metric::gauge("test_sampled", "Looked at when scraped"),
        Metric::counter("test_refusals_total", "Refusals"),
    ];

    async fn scraped(router: Router) -> String {
        let request = Request::get("/metrics").body(Body::empty()).unwrap();
        let response = router.oneshot(request).await.unwrap();
        assert_eq!(response.headers()[CONTENT_TYPE], "text/plain; version=0.0.4; charset=utf-8");
        let text = response.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(text.to_vec()).unwrap()
    }

    // One test, because a process has one recorder.
    #[tokio::test(start_paused = true)]
    async fn what_is_recorded_or_sampled_is_scraped_with_help_type_and_buckets() {
        let metrics = install(&[TABLE]).unwrap();
        assert!(install(&[]).is_err(), "a second recorder would split the numbers");
        ::metrics::histogram!("test_seconds").record(0.003);
        ::metrics::histogram!("test_entries").record(3.0);
        let refusals = Counters::new("test_refusals_total", "reason", &["full", "closed"]);
        refusals.increment("full");
        refusals.increment("unforeseen");
        let shutdown = CancellationToken::new();
        let upkeep = tokio::spawn(metrics.clone().upkeep(shutdown.clone()));
        tokio::time::sleep(UPKEEP * 2).await;
        shutdown.cancel();
        upkeep.await.unwrap();
        let router = router(metrics, || ::metrics::gauge!("test_sampled").increment(1.0));
        scraped(router.clone()).await;
        let text = scraped(router).await;
        for line in [
            "# HELP test_seconds A duration",
            "# TYPE test_seconds histogram",
            "test_seconds_bucket{le=\"0.0025\"} 0",
            "test_seconds_bucket{le=\"0.005\"} 1",
            "test_entries_bucket{le=\"2\"} 0",
            "test_entries_bucket{le=\"4\"} 1",
            "# TYPE test_sampled gauge",
            "test_sampled 2",
            "test_refusals_total{reason=\"full\"} 1",
            "test_refusals_total{reason=\"closed\"} 0",
            "test_refusals_total{reason=\"unforeseen\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}:\n{text}");
        }
    }
}
