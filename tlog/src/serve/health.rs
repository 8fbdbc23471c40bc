//! `/healthz` and `/readyz`.
//!
//! Alive is: the process answers. Ready is: every vital check passes. A role that is out of service while others go on
//! is named and keeps nothing from being ready: a balancer that takes the instance away would take the others too. Both
//! are outside of the request limit, or the orchestrator would kill a server for being busy.

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use futures::future::BoxFuture;
use http::StatusCode;
use serde::Serialize;

use super::reply;

/// Path of the liveness endpoint.
pub const LIVE: &str = "/healthz";
/// Path of the readiness endpoint.
pub const READY: &str = "/readyz";

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
        self.checks.push(Check { name, vital, probe: Arc::new(move || Box::pin(check())) });
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
        for Check { name, vital, probe } in &self.checks {
            let Err(error) = probe().await else { continue };
            if *vital {
                tracing::warn!(check = name, %error, "not ready");
                failures.failing.push(name);
            } else {
                tracing::warn!(check = name, %error, "degraded");
                failures.degraded.push(name);
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

#[cfg(test)]
mod tests {
    use axum::body::Body;
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
