//! CORS of open routes, sealed routes, and a write on the path of a sealed read.

use axum::Router;
use axum::body::Body;
use axum::routing::{get, post};
use tower::ServiceExt as _;

use super::super::access::Gate;
use super::*;

const PAGE: &str = "https://dashboard.example.com";

fn router(gate: &Gate) -> Router {
    let entry = gate.before(get(async || "entry")).post(async || "written");
    Router::new()
        .route("/open", any_origin(get(async || "open")))
        .route("/entry", any_origin_for_post(entry))
        .route("/search", gate.before(post(async || "found")))
}

/// Status, `Access-Control-Allow-Origin` and `Vary`.
async fn ask(router: &Router, method: &str, path: &str, headers: &[(&str, &str)]) -> (u16, String, String) {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let header = |name| {
        let values = answer.headers().get_all(name).iter().map(|value| value.to_str().unwrap());
        values.collect::<Vec<_>>().join(", ")
    };
    (answer.status().as_u16(), header(ACCESS_CONTROL_ALLOW_ORIGIN), header(VARY))
}

async fn preflight_of(router: &Router, method: &str, path: &str, page: &str) -> (u16, String) {
    let headers = [("origin", page), ("access-control-request-method", method)];
    let (status, origin, _) = ask(router, "OPTIONS", path, &headers).await;
    (status, origin)
}

#[tokio::test]
async fn open_routes_and_writes_allow_any_origin() {
    let router = router(&Gate::open());
    for (method, path) in [("GET", "/open"), ("POST", "/entry")] {
        assert_eq!(ask(&router, method, path, &[("origin", PAGE)]).await.1, "*", "{method} {path}");
        assert_eq!(preflight_of(&router, method, path, PAGE).await, (204, "*".to_owned()), "{method} {path}");
    }
    assert_eq!(ask(&router, "GET", "/open", &[]).await.1, "*", "shared caches keep one response for all");
}

#[tokio::test]
async fn sealed_routes_allow_listed_origins_only() {
    let sealed = [("GET", "/entry"), ("POST", "/search")];
    let none = router(&Gate::open());
    let listed = router(&Gate::open().for_pages_of(Origins::parse(&["https://a.example", PAGE]).unwrap()));
    for (method, path) in sealed {
        assert_eq!(ask(&none, method, path, &[("origin", PAGE)]).await.1, "", "{method} {path}");
        assert_eq!(preflight_of(&none, method, path, PAGE).await.1, "", "{method} {path}");
        let (status, origin, vary) = ask(&listed, method, path, &[("origin", PAGE)]).await;
        assert_eq!((status, origin.as_str(), vary.as_str()), (200, PAGE, "origin"), "{method} {path}");
        assert_eq!(preflight_of(&listed, method, path, PAGE).await, (204, PAGE.to_owned()));
        for other in ["https://evil.example", "null", "https://dashboard.example.com.evil.example"] {
            let (status, origin, vary) = ask(&listed, method, path, &[("origin", other)]).await;
            assert_eq!((status, origin.as_str(), vary.as_str()), (200, "", "origin"), "{other}");
            assert_eq!(preflight_of(&listed, method, path, other).await.1, "", "{other}");
        }
    }
    let everyone = router(&Gate::open().for_pages_of(Origins::parse(&["*"]).unwrap()));
    assert_eq!(ask(&everyone, "GET", "/entry", &[("origin", PAGE)]).await.1, "*");
}

#[test]
fn an_origin_is_written_as_browsers_send_it() {
    for good in ["https://a.example", "http://localhost:3000", "http://[::1]:8080", "*"] {
        Origins::parse(&[good]).unwrap();
    }
    let long = format!("https://{}", "a".repeat(400));
    for bad in [
        "",
        "a.example",
        "https://",
        "https://a.example/",
        "https://A.example",
        "null",
        "https://*.example",
        "ftp://a",
        "https://a.example\n",
        "https://a.example, *",
        &long,
    ] {
        let refused = Origins::parse(&["https://a.example", bad]).unwrap_err().to_string();
        assert!(refused.contains("dashboard.example.com") && !refused.contains('\n'), "{refused}");
    }
}
