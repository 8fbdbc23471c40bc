//! Prometheus metrics: one recorder a process, served on a port of its own.
//!
//! Invariant: label values come from closed sets (route templates, known methods, classes of status codes), so no
//! client can grow the number of series.

use std::time::Duration;

use axum::Router;
use axum::routing::get;
use http::header::CONTENT_TYPE;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio_util::sync::CancellationToken;

/// Upper bounds of the latency histograms in seconds: from one fsync of a good disk to the request timeout.
const LATENCY_BUCKETS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// How often samples are folded into buckets if nobody scrapes. Until then each takes 8 bytes.
const UPKEEP: Duration = Duration::from_secs(5);

/// Why metrics could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up metrics: {0}")]
pub struct MetricsError(String);

/// The recorder of this process.
#[derive(Clone)]
pub struct Metrics(PrometheusHandle);

/// Installs the recorder of this process. Once only.
pub fn install() -> Result<Metrics, MetricsError> {
    PrometheusBuilder::new()
        .set_buckets(LATENCY_BUCKETS)
        .and_then(PrometheusBuilder::install_recorder)
        .map(Metrics)
        .map_err(|error| MetricsError(error.to_string()))
}

/// `GET /metrics` in Prometheus' text format.
pub fn router(metrics: Metrics) -> Router {
    let render = move || {
        let text = metrics.0.render();
        async move { ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text) }
    };
    Router::new().route("/metrics", get(render))
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

    #[tokio::test(start_paused = true)]
    async fn what_is_recorded_is_scraped_in_buckets() {
        let metrics = install().unwrap();
        assert!(install().is_err(), "a second recorder would split the numbers");
        ::metrics::histogram!("test_seconds").record(0.003);
        let shutdown = CancellationToken::new();
        let upkeep = tokio::spawn(metrics.clone().upkeep(shutdown.clone()));
        tokio::time::sleep(UPKEEP * 2).await;
        shutdown.cancel();
        upkeep.await.unwrap();
        let request = Request::get("/metrics").body(Body::empty()).unwrap();
        let response = router(metrics).oneshot(request).await.unwrap();
        assert_eq!(response.headers()[CONTENT_TYPE], "text/plain; version=0.0.4; charset=utf-8");
        let text = response.into_body().collect().await.unwrap().to_bytes();
        let text = std::str::from_utf8(&text).unwrap();
        assert!(text.contains("test_seconds_bucket{le=\"0.0025\"} 0"), "{text}");
        assert!(text.contains("test_seconds_bucket{le=\"0.005\"} 1"), "{text}");
    }
}
