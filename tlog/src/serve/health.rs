//! `/healthz` and `/readyz`.
//!
//! Alive is: the process answers. Ready is: every named check passes. Both are outside of the request limit, or
//! the orchestrator would kill a server for being busy.

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
    checks: Vec<(&'static str, Probe)>,
}

#[derive(Serialize)]
struct Report<'r> {
    ready: bool,
    failing: Vec<&'r str>,
}

impl Readiness {
    /// No checks: ready as soon as the listener answers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a check under a name that may be shown to anyone. The error text goes to the log only.
    #[must_use]
    pub fn with<F>(mut self, name: &'static str, check: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        self.checks.push((name, Arc::new(move || Box::pin(check()))));
        self
    }

    /// `/healthz` answers 200 `ok`; `/readyz` answers 200 or 503 and names the failing checks.
    pub fn router(self) -> Router {
        let ready = move || {
            let this = self.clone();
            async move { this.report().await }
        };
        Router::new().route(LIVE, get(async || "ok\n")).route(READY, get(ready))
    }

    /// The names of the checks that do not pass at this moment.
    pub(super) async fn failing(&self) -> Vec<&'static str> {
        let mut failing = Vec::new();
        for (name, check) in &self.checks {
            if let Err(error) = check().await {
                tracing::warn!(check = name, %error, "not ready");
                failing.push(*name);
            }
        }
        failing
    }

    async fn report(&self) -> axum::response::Response {
        let failing = self.failing().await;
        let status = if failing.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        reply::json(status, &Report { ready: failing.is_empty(), failing })
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
    async fn alive_asks_nothing() {
        let readiness = Readiness::new().with("log", async || Err("down".to_owned()));
        assert_eq!(get(readiness.router(), LIVE).await, (StatusCode::OK, "ok\n".to_owned()));
    }
}
