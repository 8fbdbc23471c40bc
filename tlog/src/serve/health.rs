//! `/healthz` and `/readyz`.
//!
//! Alive is: the process answers. Ready is: every vital check passes. A role that is out of service while others go on
//! is named and keeps nothing from being ready: a balancer that takes the instance away would take the others too. Both
//! are outside of the request limit, or the orchestrator would kill a server for being busy. Anyone may ask, and as often
//! as the rate of probes allows, so only changes of readiness are logged.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::routing::get;
use futures::future::BoxFuture;
use http::{Method, StatusCode};
use serde::Serialize;

use super::reply;

/// Path of the liveness endpoint.
pub const LIVE: &str = "/healthz";
/// Path of the readiness endpoint.
pub const READY: &str = "/readyz";

/// Paths of the gRPC service, and of its one method.
const GRPC: &str = "/grpc.health.v1.Health/";
const GRPC_CHECK: &str = "/grpc.health.v1.Health/Check";

/// True for an orchestrator's question. It has a rate of its own, needs no place, and is not logged.
pub(super) fn is_probe(method: &Method, path: &str) -> bool {
    match path {
        LIVE | READY => matches!(*method, Method::GET | Method::HEAD),
        GRPC_CHECK => *method == Method::POST,
        _ => false,
    }
}

/// True for a path of health checks, whatever is asked of it.
pub(super) fn is_health(path: &str) -> bool {
    matches!(path, LIVE | READY) || path.starts_with(GRPC)
}

type Probe = Arc<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// What must be true before traffic is wanted.
#[derive(Clone, Default)]
pub struct Readiness {
    checks: Vec<Check>,
}

#[derive(Clone)]
struct Check {
    name: &'static str,
    vital: bool,
    probe: Probe,
    /// The outcome that was logged last.
    fails: Arc<AtomicBool>,
}

/// The names of checks that do not pass.
#[derive(Default, Serialize)]
struct Failures {
    /// Without them no traffic is wanted.
    failing: Vec<&'static str>,
    /// The others.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    degraded: Vec<&'static str>,
}

#[derive(Serialize)]
struct Report {
    ready: bool,
    #[serde(flatten)]
    failures: Failures,
}

impl Readiness {
    /// No checks: ready as soon as the listener answers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a check under a name that may be shown to anyone. The error text goes to the log only.
    #[must_use]
    pub fn with<F>(self, name: &'static str, check: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        self.with_check(name, true, check)
    }

    /// Adds a check of a role beside others. If it is not `vital`, its failure is shown as `degraded`, and the server stays
    /// ready.
    #[must_use]
    pub fn with_check<F>(
        mut self,
        name: &'static str,
        vital: bool,
        check: impl Fn() -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        let probe: Probe = Arc::new(move || Box::pin(check()));
        self.checks.push(Check { name, vital, probe, fails: Arc::default() });
        self
    }

    /// `/healthz` answers 200 `ok`; `/readyz` answers 200 or 503 and names the checks that do not pass.
    pub fn router(self) -> Router {
        let ready = move || {
            let this = self.clone();
            async move { this.report().await }
        };
        Router::new().route(LIVE, get(async || "ok\n")).route(READY, get(ready))
    }

    /// Whether every vital check passes at this moment.
    pub(super) async fn is_ready(&self) -> bool {
        self.failures().await.failing.is_empty()
    }

    async fn failures(&self) -> Failures {
        let mut failures = Failures::default();
        for check in &self.checks {
            let outcome = (check.probe)().await;
            check.note(&outcome);
            match outcome {
                Ok(()) => {}
                Err(_) if check.vital => failures.failing.push(check.name),
                Err(_) => failures.degraded.push(check.name),
            }
        }
        failures
    }

    async fn report(&self) -> axum::response::Response {
        let failures = self.failures().await;
        let ready = failures.failing.is_empty();
        let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        reply::json(status, &Report { ready, failures })
    }
}

impl Check {
    /// Logs a change. The words of an error may change at each question, so they are no change.
    fn note(&self, outcome: &Result<(), String>) {
        if self.fails.swap(outcome.is_err(), Ordering::Relaxed) == outcome.is_err() {
            return;
        }
        match outcome {
            Err(error) if self.vital => tracing::warn!(check = self.name, %error, "not ready"),
            Err(error) => tracing::warn!(check = self.name, %error, "degraded"),
            Ok(()) => tracing::info!(check = self.name, "ready again"),
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use futures::FutureExt as _;
    use http::Request;
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    use super::*;

    async fn get(router: Router, path: &str) -> (StatusCode, String) {
        let response = router.oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn ready_names_what_fails_and_not_why() {
        let readiness = Readiness::new()
            .with("log", async || Ok(()))
            .with("disk", async || Err("/srv/secret is full".to_owned()));
        let (status, body) = get(readiness.router(), READY).await;
        assert_eq!(status, 503);
        assert_eq!(body, "{\"ready\":false,\"failing\":[\"disk\"]}\n");
    }

    #[tokio::test]
    async fn a_role_beside_others_is_named_and_leaves_the_server_ready() {
        let readiness =
            Readiness::new()
                .with("log", async || Ok(()))
                .with_check("authority", false, async || Err("expired".to_owned()));
        let (status, body) = get(readiness.router(), READY).await;
        assert_eq!(status, 200);
        assert_eq!(body, "{\"ready\":true,\"failing\":[],\"degraded\":[\"authority\"]}\n");
    }

    #[test]
    fn a_probe_is_a_question_of_an_orchestrator_and_nothing_else() {
        for (method, path, probe) in [
            (Method::GET, LIVE, true),
            (Method::HEAD, READY, true),
            (Method::POST, "/grpc.health.v1.Health/Check", true),
            (Method::POST, LIVE, false),
            (Method::OPTIONS, READY, false),
            (Method::GET, "/grpc.health.v1.Health/Check", false),
            (Method::POST, "/grpc.health.v1.Health/Watch", false),
            (Method::POST, "/grpc.health.v1.Health/Check/x", false),
            (Method::GET, "/healthz/x", false),
        ] {
            assert_eq!(is_probe(&method, path), probe, "{method} {path}");
        }
    }

    /// Once every question had a line for each check that failed.
    #[test]
    fn readiness_is_logged_when_it_changes() {
        let (reader, writer) = std::io::pipe().unwrap();
        let writer = std::sync::Mutex::new(writer);
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(writer).finish();
        tracing::subscriber::with_default(subscriber, || {
            let down = Arc::new(AtomicBool::new(false));
            let checked = Arc::clone(&down);
            let readiness = Readiness::new().with("disk", move || {
                let down = checked.load(Ordering::Relaxed);
                async move { if down { Err("full".to_owned()) } else { Ok(()) } }
            });
            // Asked over both protocols.
            let again = readiness.clone();
            for now in [false, true, false] {
                down.store(now, Ordering::Relaxed);
                for _ in 0..100 {
                    assert_eq!(readiness.is_ready().now_or_never(), Some(!now));
                    assert_eq!(again.is_ready().now_or_never(), Some(!now));
                }
            }
        });
        let log = std::io::read_to_string(reader).unwrap();
        let lines: Vec<_> = log.lines().collect();
        let [failed, passed] = lines.as_slice() else { panic!("{log}") };
        assert!(
            failed.contains("WARN") && failed.contains("not ready check=\"disk\" error=full"),
            "{failed}"
        );
        assert!(passed.contains("INFO") && passed.contains("ready again check=\"disk\""), "{passed}");
    }

    #[tokio::test]
    async fn both_answer_head() {
        let router = Readiness::new().with("log", async || Err("down".to_owned())).router();
        for (path, status) in [(LIVE, 200), (READY, 503)] {
            let request = Request::head(path).body(Body::empty()).unwrap();
            let response = router.clone().oneshot(request).await.unwrap();
            assert_eq!(response.status(), status, "{path}");
            assert!(response.into_body().collect().await.unwrap().to_bytes().is_empty(), "{path}");
        }
    }

    #[tokio::test]
    async fn alive_asks_nothing() {
        let readiness = Readiness::new().with("log", async || Err("down".to_owned()));
        assert_eq!(get(readiness.router(), LIVE).await, (StatusCode::OK, "ok\n".to_owned()));
    }
}
