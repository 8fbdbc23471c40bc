//! Several logs with the same paths on one listener, each at a host of its own: Rekor v2 has no other way.
//!
//! Its clients take the log's name from the host of its address and know no prefix. So the host that a request was
//! sent to (`Host`, or `:authority` in HTTP/2) chooses the log. A request to any other host, such as an address behind
//! a proxy, is for the log at the instance's own host, or else for the last one.

use axum::Router;
use chancery_tlog::serve::Routes;

/// The routes of all `logs`, which come with their hosts, oldest first, each together with the routes of `common`;
/// `own` is the host of the instance.
pub(super) fn by_host(common: &Router, mut logs: Vec<(String, Router)>, own: &str) -> Routes {
    let usual = logs.iter().position(|(host, _)| host.eq_ignore_ascii_case(own));
    let usual = usual.or(logs.len().checked_sub(1)).map(|at| logs.remove(at).1).unwrap_or_default();
    let routes = Routes::from(common.clone().merge(usual));
    logs.into_iter().fold(routes, |routes, (host, log)| routes.with_host(host, common.clone().merge(log)))
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::extract::Request;
    use axum::http::header::HOST;
    use axum::routing::get;
    use tower::ServiceExt as _;

    use super::*;

    fn log(host: &str) -> (String, Router) {
        let name = host.to_owned();
        (host.to_owned(), Router::new().route("/checkpoint", get(async move || name)))
    }

    async fn asked(routes: &Routes, path: &str, sent_to: &str) -> String {
        let request = Request::get(path).header(HOST, sent_to).body(Body::empty()).unwrap();
        let answer = routes.choose(&request).clone().oneshot(request).await.unwrap();
        String::from_utf8(to_bytes(answer.into_body(), 1024).await.unwrap().to_vec()).unwrap()
    }

    fn common() -> Router {
        Router::new().route("/healthz", get(async || "ok")).fallback(async || "nothing")
    }

    #[tokio::test]
    async fn each_host_has_its_log_and_all_else() {
        let logs = vec![log("log2026.example"), log("sigstore.example"), log("log2027.example")];
        let routes = by_host(&common(), logs, "sigstore.example");
        for (sent_to, log) in [
            ("log2026.example", "log2026.example"),
            ("log2027.example:8443", "log2027.example"),
            ("sigstore.example", "sigstore.example"),
            ("10.0.0.7:8080", "sigstore.example"),
        ] {
            assert_eq!(asked(&routes, "/checkpoint", sent_to).await, log, "{sent_to}");
            assert_eq!(asked(&routes, "/healthz", sent_to).await, "ok", "{sent_to}");
            assert_eq!(asked(&routes, "/other", sent_to).await, "nothing", "{sent_to}");
        }
    }

    #[tokio::test]
    async fn where_no_log_has_the_instances_host_the_newest_is_the_usual_one() {
        let routes = by_host(&common(), vec![log("a.example"), log("b.example")], "moved.example");
        assert_eq!(asked(&routes, "/checkpoint", "moved.example").await, "b.example");
        assert_eq!(asked(&routes, "/checkpoint", "a.example").await, "a.example");
        let none = by_host(&common(), Vec::new(), "moved.example");
        assert_eq!(asked(&none, "/checkpoint", "moved.example").await, "nothing");
    }
}
