//! Several logs with the same paths on one listener, each at a host of its own: Rekor v2 has no other way.
//!
//! Its clients take the log's name from the host of its address and know no prefix. So the host that a request was
//! sent to (`Host`, or `:authority` in HTTP/2) chooses the log. A request to any other host, such as an address behind
//! a proxy, is for the log at the instance's own host, or else for the last one.

use axum::Router;
use axum::extract::Request;
use axum::http::header::HOST;
use axum::http::uri::Authority;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use tower::ServiceExt as _;

/// The routes of all `logs`, which come with their hosts, oldest first; `own` is the host of the instance.
pub(super) fn by_host(mut logs: Vec<(String, Router)>, own: &str) -> Option<Router> {
    let usual = logs.iter().position(|(host, _)| host.eq_ignore_ascii_case(own));
    let (_, usual) = match usual {
        Some(at) => logs.remove(at),
        None => logs.pop()?,
    };
    if logs.is_empty() {
        return Some(usual);
    }
    let choose = move |request: Request, next: Next| {
        let other = host(&request)
            .and_then(|sent_to| logs.iter().find(|(host, _)| host.eq_ignore_ascii_case(&sent_to)))
            .map(|(_, router)| router.clone());
        async move { answer(other, request, next).await }
    };
    Some(usual.layer(from_fn(choose)))
}

async fn answer(other: Option<Router>, request: Request, next: Next) -> Response {
    match other {
        // A router cannot fail, but its type does not say so everywhere.
        Some(router) => router.oneshot(request).await.unwrap_or_else(|never| match never {}),
        None => next.run(request).await,
    }
}

/// The host that a request was sent to, without port and without the brackets of an IPv6 address.
fn host(request: &Request) -> Option<String> {
    let authority = match request.uri().authority() {
        Some(authority) => authority.clone(),
        None => Authority::try_from(request.headers().get(HOST)?.as_bytes()).ok()?,
    };
    Some(authority.host().trim_matches(['[', ']']).to_owned())
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::routing::get;

    use super::*;

    fn log(host: &str) -> (String, Router) {
        let name = host.to_owned();
        (host.to_owned(), Router::new().route("/checkpoint", get(async move || name)))
    }

    async fn asked(router: &Router, request: axum::http::request::Builder) -> String {
        let answer = router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        String::from_utf8(to_bytes(answer.into_body(), 1024).await.unwrap().to_vec()).unwrap()
    }

    #[tokio::test]
    async fn the_host_of_a_request_chooses_the_log() {
        let logs = || vec![log("sigstore.example"), log("log2027.example"), log("::1")];
        let router = by_host(logs(), "sigstore.example").unwrap();
        for (sent_to, log) in [
            ("log2027.example", "log2027.example"),
            ("LOG2027.example:8443", "log2027.example"),
            ("[::1]:80", "::1"),
            ("sigstore.example:80", "sigstore.example"),
            ("10.0.0.7:8080", "sigstore.example"),
            ("not a host", "sigstore.example"),
        ] {
            let request = Request::get("/checkpoint").header(HOST, sent_to);
            assert_eq!(asked(&router, request).await, log, "{sent_to}");
        }
        let request = Request::get("https://log2027.example/checkpoint").header(HOST, "sigstore.example");
        assert_eq!(asked(&router, request).await, "log2027.example", "the request's own authority counts");
        assert_eq!(asked(&router, Request::get("/checkpoint")).await, "sigstore.example");
    }

    #[tokio::test]
    async fn where_no_log_has_the_instances_host_the_newest_is_the_usual_one() {
        let router = by_host(vec![log("a.example"), log("b.example")], "moved.example").unwrap();
        let request = Request::get("/checkpoint").header(HOST, "moved.example");
        assert_eq!(asked(&router, request).await, "b.example");
        assert!(by_host(Vec::new(), "moved.example").is_none());
    }
}
