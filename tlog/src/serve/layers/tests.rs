//! The parts of the layers that need no socket.

use axum::routing::{get, post};
use http::HeaderName;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tower::ServiceExt as _;

use super::*;

/// Sends `GET path` through all layers and returns what Prometheus would then scrape.
async fn scrape_after(path: &str, patience: Duration) -> (Option<StatusCode>, String) {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle: PrometheusHandle = recorder.handle();
    // Holds for this thread, which is the only one of a test's runtime.
    let _recording = metrics::set_default_local_recorder(&recorder);
    let slow = async || std::future::pending::<()>().await;
    let router = Router::new().route("/things/{id}", get(async || "thing")).route("/slow", get(slow));
    let request = Request::get(path).body(Body::empty()).unwrap();
    let answer = tokio::time::timeout(patience, around(router, &Limits::default()).oneshot(request)).await;
    (answer.ok().map(|answer| answer.unwrap().status()), handle.render())
}

#[tokio::test]
async fn a_request_is_counted_under_its_route_and_not_its_path() {
    let (status, scraped) = scrape_after("/things/4711", Duration::from_secs(9)).await;
    assert_eq!(status, Some(StatusCode::OK));
    let line = "chancery_http_requests_total{method=\"GET\",route=\"/things/{id}\",code=\"2xx\"} 1";
    assert!(scraped.contains(line), "{scraped}");
    assert!(scraped.contains("chancery_http_requests_in_flight 0"), "{scraped}");
    assert!(!scraped.contains("4711"), "{scraped}");
    let (_, scraped) = scrape_after("/a/guess", Duration::from_secs(9)).await;
    assert!(scraped.contains("route=\"unmatched\",code=\"4xx\"} 1"), "{scraped}");
}

#[tokio::test]
async fn a_client_that_goes_away_is_counted_too() {
    let (status, scraped) = scrape_after("/slow", Duration::from_millis(50)).await;
    assert_eq!(status, None);
    assert!(scraped.contains("route=\"/slow\",code=\"4xx\"} 1"), "{scraped}");
    assert!(scraped.contains("chancery_http_requests_in_flight 0"), "{scraped}");
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
}

#[test]
fn a_sane_request_id_is_taken_over_and_another_is_replaced() {
    let id = |text: &str| RequestId::of(&headers(&[("x-request-id", text)]));
    assert_eq!(id("abc-1").as_str(), "abc-1");
    for bad in ["", "two words", &"x".repeat(129)] {
        assert_eq!(id(bad).as_str().len(), 32, "{bad:?}");
    }
    assert_ne!(RequestId::fresh().as_str(), RequestId::fresh().as_str());
}

#[test]
fn forwarded_addresses_are_believed_from_a_proxy_only_and_only_the_last() {
    let socket = "10.0.0.9:1".parse().unwrap();
    let forwarded = headers(&[("x-forwarded-for", "6.6.6.6, 192.0.2.7")]);
    let client = |proxy, headers: &HeaderMap| Peer { socket, proxy }.client(headers).to_string();
    assert_eq!(client(true, &forwarded), "192.0.2.7");
    assert_eq!(client(false, &forwarded), "10.0.0.9");
    assert_eq!(client(true, &headers(&[("x-forwarded-for", "nonsense")])), "10.0.0.9");
    assert_eq!(client(true, &HeaderMap::new()), "10.0.0.9");
}

#[test]
fn ids_come_from_a_store_that_is_filled_again() {
    let ids: std::collections::HashSet<String> =
        (0..1000).map(|_| RequestId::fresh().as_str().to_owned()).collect();
    assert_eq!(ids.len(), 1000);
}

/// A POST whose body nobody may look at.
fn untouchable() -> Request {
    let body = futures::stream::poll_fn(|_| -> std::task::Poll<Option<Result<Bytes, std::io::Error>>> {
        panic!("the body of a refused request was read")
    });
    Request::post("/work").body(Body::from_stream(body)).unwrap()
}

#[tokio::test]
async fn writes_that_wait_leave_room_for_reads_and_the_rest_is_refused_unread() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle: PrometheusHandle = recorder.handle();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let work = async || std::future::pending::<()>().await;
    let router = Router::new().route("/work", post(work)).route("/read", get(async || "read"));
    let router = around(router, &Limits { max_requests: 8, ..Limits::default() });
    let mut waiting = Vec::new();
    for _ in 0..7 {
        let request = Request::post("/work").body(Body::empty()).unwrap();
        let mut answer = Box::pin(router.clone().oneshot(request));
        assert!(futures::poll!(&mut answer).is_pending());
        waiting.push(answer);
    }
    let refused = router.clone().oneshot(untouchable()).await.unwrap();
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.headers()["retry-after"], "1");
    let read = Request::get("/read").body(Body::empty()).unwrap();
    assert_eq!(router.clone().oneshot(read).await.unwrap().status(), StatusCode::OK);
    let scraped = handle.render();
    assert!(scraped.contains("chancery_http_refusals_total{reason=\"writes\"} 1"), "{scraped}");
    waiting.pop();
    let request = Request::post("/work").body(Body::empty()).unwrap();
    assert!(futures::poll!(Box::pin(router.oneshot(request))).is_pending(), "a place that was left is free");
}

#[tokio::test]
async fn a_body_in_pieces_is_put_together() {
    let echo = async |body: Bytes| body;
    let router = around(Router::new().route("/work", post(echo)), &Limits::default());
    for announced in [None, Some("6")] {
        let pieces =
            ["", "abc", "def"].map(|piece| Ok::<_, std::io::Error>(Bytes::from_static(piece.as_bytes())));
        let mut request = Request::post("/work");
        if let Some(length) = announced {
            request = request.header(CONTENT_LENGTH, length);
        }
        let request = request.body(Body::from_stream(futures::stream::iter(pieces))).unwrap();
        let answer = router.clone().oneshot(request).await.unwrap();
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "abcdef");
    }
}
