//! The routes of a listener: one router, and others for requests that are sent to hosts of their own.
//!
//! The host chooses the router before any route is looked up. A router that handed a request on to another one would
//! leave its own matches in it, and the handlers of the second would see the path parameters of both.

use axum::Router;
use http::Request;

use super::target;

/// Routers by host.
#[derive(Clone, Debug)]
pub struct Routes {
    usual: Router,
    others: Vec<(String, Router)>,
}

impl Routes {
    /// Answers requests to `host`, whatever its port, by `router`.
    #[must_use]
    pub fn with_host(mut self, host: String, router: Router) -> Self {
        self.others.push((host, router));
        self
    }

    /// The router of requests to any other host.
    pub fn usual(&self) -> &Router {
        &self.usual
    }

    /// The router of a request.
    pub fn choose<B>(&self, request: &Request<B>) -> &Router {
        if self.others.is_empty() {
            return &self.usual;
        }
        let chosen = target::host(request)
            .and_then(|sent_to| self.others.iter().find(|(host, _)| host.eq_ignore_ascii_case(sent_to)));
        chosen.map_or(&self.usual, |(_, router)| router)
    }

    /// The same with something done to every router.
    pub(super) fn map(self, each: impl Fn(Router) -> Router) -> Self {
        let others = self.others.into_iter().map(|(host, router)| (host, each(router))).collect();
        Self { usual: each(self.usual), others }
    }
}

impl From<Router> for Routes {
    fn from(usual: Router) -> Self {
        Self { usual, others: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::extract::Path;
    use axum::http::header::HOST;
    use axum::http::request::Builder;
    use axum::routing::get;
    use tower::ServiceExt as _;

    use super::*;

    fn log(name: &'static str) -> Router {
        Router::new()
            .route("/tile/{*path}", get(async move |Path(path): Path<String>| format!("{path} of {name}")))
    }

    async fn asked(routes: &Routes, request: Builder) -> String {
        let request = request.body(Body::empty()).unwrap();
        let answer = routes.choose(&request).clone().oneshot(request).await.unwrap();
        String::from_utf8(to_bytes(answer.into_body(), 1024).await.unwrap().to_vec()).unwrap()
    }

    #[tokio::test]
    async fn the_host_of_a_request_chooses_the_router_and_paths_stay_whole() {
        let routes = Routes::from(log("usual"))
            .with_host("log2027.example".to_owned(), log("2027"))
            .with_host("::1".to_owned(), log("loopback"));
        for (sent_to, router) in [
            ("log2027.example", "2027"),
            ("LOG2027.example:8443", "2027"),
            ("[::1]:80", "loopback"),
            ("sigstore.example:80", "usual"),
            ("10.0.0.7:8080", "usual"),
            ("not a host", "usual"),
            ("", "usual"),
        ] {
            let request = Request::get("/tile/0/000").header(HOST, sent_to);
            assert_eq!(asked(&routes, request).await, format!("0/000 of {router}"), "{sent_to}");
        }
        let request = Request::get("https://log2027.example/tile/0/000").header(HOST, "sigstore.example");
        assert_eq!(asked(&routes, request).await, "0/000 of 2027", "the request's own authority counts");
        assert_eq!(asked(&routes, Request::get("/tile/0/000")).await, "0/000 of usual");
    }
}
