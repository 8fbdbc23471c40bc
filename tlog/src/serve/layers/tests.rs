//! The parts of the layers that need no socket.

use axum::routing::{get, post};
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderName, StatusCode};
use http_body_util::BodyExt as _;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::sync::Notify;
use tower::ServiceExt as _;

use super::super::health;
use super::super::rate::Rate;
use super::super::shares::Full;
use super::*;

mod given_up;
mod unread;

impl Around {
    fn layer(self, routes: Routes) -> Routes {
        Chassis::new(self).around(routes)
    }
}

fn around(router: Router, limits: &Limits) -> Router {
    limited(router, limits, Effective::default())
}

fn limited(router: Router, limits: &Limits, rates: Effective) -> Router {
    with_hosts(router, limits, rates, None)
}

fn with_hosts(router: Router, limits: &Limits, rates: Effective, hosts: Option<Hosts>) -> Router {
    let (limits, occupancy) = (limits.clone(), Occupancy::new(limits));
    Around { limits, rates, hosts, occupancy, stop: CancellationToken::new() }
        .layer(router.into())
        .usual()
        .clone()
}

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
    let client = |proxy: bool, headers: &HeaderMap| {
        let proxy = proxy.then(|| Arc::new(Forwarding::default()));
        Peer { socket, proxy, usage: None }.client(headers).to_string()
    };
    assert_eq!(client(true, &forwarded), "192.0.2.7");
    assert_eq!(client(false, &forwarded), "10.0.0.9");
    assert_eq!(client(true, &headers(&[("x-forwarded-for", "nonsense")])), "10.0.0.9");
    assert_eq!(client(true, &HeaderMap::new()), "10.0.0.9");
}

#[tokio::test]
async fn ambiguous_paths_do_not_reach_a_handler() {
    let any = get(async || "reached");
    let router = Router::new().route("/{*path}", any.clone()).route("/", any);
    let router = around(router, &Limits::default());
    for (path, expected) in [
        ("/a/b", 200),
        ("/a?b=%2f&c=//", 200),
        ("/a/%62", 400),
        ("/a%2fb", 400),
        ("/a/../b", 400),
        ("/a/./b", 400),
        ("/a;b", 400),
        ("//a", 400),
    ] {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let answer = router.clone().oneshot(request).await.unwrap();
        assert_eq!(answer.status().as_u16(), expected, "{path}");
        assert!(answer.headers().contains_key("x-request-id"), "{path}");
    }
}

#[tokio::test]
async fn requests_for_foreign_hosts_do_not_reach_a_handler() {
    let router = Router::new().route("/", get(async || "reached"));
    let hosts = Hosts::with(&["sigstore.example.com".to_owned()]);
    let router = with_hosts(router, &Limits::default(), Effective::default(), Some(hosts));
    for (host, expected) in [("localhost", 200), ("sigstore.example.com", 200), ("evil.example", 421)] {
        let request = Request::get("/").header("host", host).body(Body::empty()).unwrap();
        assert_eq!(router.clone().oneshot(request).await.unwrap().status().as_u16(), expected, "{host}");
    }
}

#[test]
fn ids_come_from_a_store_that_is_filled_again() {
    let ids: std::collections::HashSet<String> =
        (0..1000).map(|_| RequestId::fresh().as_str().to_owned()).collect();
    assert_eq!(ids.len(), 1000);
}

/// A POST whose body nobody may look at.
fn untouchable() -> Request {
    let body = futures::stream::poll_fn(|_| -> Poll<Option<Result<Bytes, std::io::Error>>> {
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

async fn ask(router: &Router, method: &str, path: &str, from: &str, kind: &str) -> Response {
    let peer = Peer { socket: format!("{from}:1000").parse().unwrap(), proxy: None, usage: None };
    let request = Request::builder().method(method).uri(path).header(CONTENT_TYPE, kind).extension(peer);
    router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn reads_and_writes_of_an_address_are_counted_apart_and_refused_with_the_time_to_wait() {
    let router = Router::new()
        .route("/entries", get(async || "").post(async || ""))
        .route("/index/retrieve", post(async || ""))
        .route(health::LIVE, get(async || ""));
    let rate = Some(Rate { per_minute: 1, burst: 1 });
    let rates = Effective { writes_per_address: rate, reads_per_address: rate, ..Effective::default() };
    let router = limited(router, &Limits::default(), rates);
    let status = async |method, path, from| ask(&router, method, path, from, "").await.status().as_u16();
    assert_eq!(status("POST", "/entries", "192.0.2.1").await, 200);
    assert_eq!(status("GET", "/entries", "192.0.2.1").await, 200);
    assert_eq!(status("POST", "/entries", "192.0.2.1").await, 429);
    assert_eq!(status("POST", "/index/retrieve", "192.0.2.1").await, 429, "a search is a read");
    assert_eq!(status("POST", "/entries", "192.0.2.2").await, 200);
    for _ in 0..3 {
        assert_eq!(status("GET", health::LIVE, "192.0.2.1").await, 200, "probes are counted apart");
    }
    assert_eq!(status("POST", health::LIVE, "192.0.2.1").await, 429, "this is not a probe");
    let refused = ask(&router, "POST", "/entries", "192.0.2.1", "application/json").await;
    assert_eq!(refused.headers()["retry-after"], "60");
    assert_eq!(refused.headers()[CONTENT_TYPE], "application/json");
    let refused = ask(&router, "POST", "/entries", "192.0.2.1", "application/grpc+proto").await;
    assert_eq!((refused.status().as_u16(), &refused.headers()["grpc-status"]), (200, &"8".parse().unwrap()));
    assert_eq!(refused.headers()["retry-after"], "60");
}

/// A body that never ends, of pieces of this size at this interval.
fn endless(size: usize, every: Duration) -> Body {
    Body::from_stream(futures::stream::unfold((), move |()| async move {
        tokio::time::sleep(every).await;
        Some((Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; size])), ()))
    }))
}

fn request(from: u8, body: Body) -> Request {
    let peer = Peer { socket: format!("192.0.2.{from}:1000").parse().unwrap(), proxy: None, usage: None };
    Request::post("/work").extension(peer).body(body).unwrap()
}

/// Time is paused, so each of these takes no time and ends when the limits say so.
#[tokio::test(start_paused = true)]
async fn a_body_that_trickles_is_a_408_at_the_least_rate_or_at_the_deadline() {
    let router = around(Router::new().route("/work", post(async || "")), &Limits::default());
    for (size, every, seconds) in [(1, 9, 10), (10, 1, 10), (5000, 9, 10), (2000, 1, 30), (0, 1, 10)] {
        let begun = tokio::time::Instant::now();
        let body = endless(size, Duration::from_secs(every));
        let answer = router.clone().oneshot(request(1, body)).await.unwrap();
        assert_eq!(answer.status(), StatusCode::REQUEST_TIMEOUT, "{size} bytes every {every} s");
        assert_eq!(answer.headers()["connection"], "close");
        let after = begun.elapsed().as_secs();
        assert!((seconds..seconds + 2).contains(&after), "{size} bytes every {every} s: {after} s");
    }
}

#[tokio::test(start_paused = true)]
async fn unfinished_bodies_of_one_address_take_no_place_from_another() {
    let router = around(Router::new().route("/work", post(async || "")), &Limits::default());
    let mut unfinished = Vec::new();
    for at in 0..896 {
        let mut answer = Box::pin(router.clone().oneshot(request(1, endless(2000, Duration::from_secs(1)))));
        match futures::poll!(&mut answer) {
            Poll::Pending => unfinished.push(answer),
            Poll::Ready(answer) => {
                assert_eq!((at, answer.unwrap().status().as_u16()), (at.max(512), 429));
            }
        }
    }
    assert_eq!(unfinished.len(), 512, "the share of one address");
    for _ in 0..1000 {
        let answer = router.clone().oneshot(request(2, Body::from("complete"))).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
    }
}

#[tokio::test(start_paused = true)]
async fn bytes_of_bodies_are_bounded_for_an_address_and_given_back() {
    let router = around(Router::new().route("/work", post(async || "")), &Limits::default());
    let whole = vec![b'x'; 4 << 20];
    let mut held = Vec::new();
    let mut refused = 0;
    for _ in 0..20 {
        let pieces = [Ok::<_, std::io::Error>(Bytes::from(whole.clone()))];
        let body = futures::StreamExt::chain(futures::stream::iter(pieces), futures::stream::pending());
        let mut answer = Box::pin(router.clone().oneshot(request(1, Body::from_stream(body))));
        match futures::poll!(&mut answer) {
            Poll::Pending => held.push(answer),
            Poll::Ready(answer) => {
                assert_eq!(answer.unwrap().status().as_u16(), 429);
                refused += 1;
            }
        }
    }
    assert_eq!((held.len(), refused), (16, 4), "64 MiB");
    assert_eq!(router.clone().oneshot(request(2, Body::from(whole.clone()))).await.unwrap().status(), 200);
    drop(held);
    assert_eq!(router.clone().oneshot(request(1, Body::from(whole))).await.unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn room_that_is_made_for_a_body_is_counted_before_its_bytes_have_come() {
    let mut limits = Limits::default();
    limits.per_address.body_bytes = 10 * 64 * 1024;
    let router = around(Router::new().route("/work", post(async || "")), &limits);
    let mut held = Vec::new();
    for at in 0..20 {
        let mut request = request(1, endless(1, Duration::from_millis(1)));
        request.headers_mut().insert(CONTENT_LENGTH, "1000000".parse().unwrap());
        let mut answer = Box::pin(router.clone().oneshot(request));
        let answered = tokio::time::timeout(Duration::from_millis(100), &mut answer).await;
        assert_eq!(answered.is_ok(), at >= 10, "{at}");
        if let Ok(refused) = answered {
            assert_eq!(refused.unwrap().status(), StatusCode::TOO_MANY_REQUESTS);
        }
        held.push(answer);
    }
}

/// A handler that waits, and then gives a large answer.
fn large(size: usize) -> (Router, Arc<Notify>) {
    let go = Arc::new(Notify::new());
    let wait = Arc::clone(&go);
    let handler = async move || {
        wait.notified().await;
        vec![b'x'; size]
    };
    (Router::new().route("/work", get(handler.clone()).post(handler)), go)
}

/// All of them are admitted while nothing is unread.
#[tokio::test(start_paused = true)]
async fn large_answers_that_come_at_once_stay_within_the_share_of_their_address() {
    // A MiB with its price.
    let (router, go) = large((1 << 20) - 4096);
    let occupancy = Occupancy::new(&Limits::default());
    let router = Around {
        limits: Limits::default(),
        rates: Effective::default(),
        hosts: None,
        occupancy: occupancy.clone(),
        stop: CancellationToken::new(),
    }
    .layer(router.into())
    .usual()
    .clone();
    let of = |method: &'static str, from: u8| {
        let peer = Peer { socket: ([192, 0, 2, from], 1).into(), proxy: None, usage: None };
        let request = Request::builder().method(method).uri("/work").extension(peer);
        Box::pin(router.clone().oneshot(request.body(Body::empty()).unwrap()))
    };
    let mut reads: Vec<_> = (0..200).map(|_| of("GET", 1)).collect();
    for read in &mut reads {
        assert!(futures::poll!(read).is_pending());
    }
    go.notify_waiters();
    let answers: Vec<_> = futures::future::join_all(reads).await.into_iter().map(Result::unwrap).collect();
    let refused = answers.iter().filter(|answer| answer.status() == 429).count();
    assert_eq!(refused, 200 - 64, "64 MiB");
    let unread = answers.iter().find(|answer| answer.status() == 429).unwrap();
    assert!(unread.headers().contains_key("retry-after"));
    assert!(axum::body::HttpBody::is_end_stream(unread.body()), "there is no room for its words");
    occupancy.check().unwrap();
    // The next request is refused before anything is done for it; that of another is answered, and so is a
    // write that was done.
    assert_eq!(of("POST", 1).await.unwrap().status(), 429);
    for (method, from) in [("GET", 2), ("POST", 2)] {
        let mut answer = of(method, from);
        assert!(futures::poll!(&mut answer).is_pending());
        go.notify_waiters();
        assert_eq!(answer.await.unwrap().status(), 200, "{method}");
    }
    drop(answers);
    let mut answer = of("GET", 1);
    assert!(futures::poll!(&mut answer).is_pending(), "what was not read is given back");
}

#[tokio::test(start_paused = true)]
async fn reads_of_one_address_take_no_place_from_another_nor_from_writes() {
    let (router, _go) = large(1);
    let router = around(router.route("/quick", get(async || "").post(async || "")), &Limits::default());
    let of = |method: &'static str, path: &'static str, from: u8| {
        let peer = Peer { socket: ([192, 0, 2, from], 1).into(), proxy: None, usage: None };
        let request = Request::builder().method(method).uri(path).extension(peer);
        Box::pin(router.clone().oneshot(request.body(Body::empty()).unwrap()))
    };
    let mut held = Vec::new();
    for from in 1..=8 {
        for _ in 0..300 {
            let mut answer = of("GET", "/work", from);
            if let Poll::Ready(refused) = futures::poll!(&mut answer) {
                let status = refused.unwrap().status().as_u16();
                assert_eq!(status, if held.len() < 896 { 429 } else { 503 }, "{from}");
            } else {
                held.push(answer);
            }
        }
        if from == 1 {
            assert_eq!(held.len(), 256);
            assert_eq!(of("GET", "/quick", 2).await.unwrap().status(), 200);
        }
        assert_eq!(of("POST", "/quick", 1).await.unwrap().status(), 200, "a write");
    }
    assert_eq!(held.len(), 896);
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_bodies_that_are_not_complete() {
    let (limits, stop) = (Limits::default(), CancellationToken::new());
    let occupancy = Occupancy::new(&limits);
    let around = Around { limits, rates: Effective::default(), hosts: None, occupancy, stop: stop.clone() };
    let router = around.layer(Router::new().route("/work", post(async || "")).into()).usual().clone();
    let mut answer = Box::pin(router.oneshot(request(1, endless(4000, Duration::from_secs(1)))));
    assert!(futures::poll!(&mut answer).is_pending());
    stop.cancel();
    let begun = tokio::time::Instant::now();
    assert_eq!(answer.await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(begun.elapsed() < Duration::from_secs(7));
}

#[tokio::test]
async fn a_large_request_is_answered_off_the_runtimes_threads_and_a_small_one_on_them() {
    let here = std::thread::current().id();
    let thread = async move |_: Bytes| {
        let first = std::thread::current().id() == here;
        tokio::task::yield_now().await;
        format!("{first} {}", std::thread::current().id() == here)
    };
    let router = around(Router::new().route("/work", post(thread)), &Limits::default());
    for (size, text) in [(LARGE - 1, "true true"), (LARGE, "false false")] {
        let answer = router.clone().oneshot(request(1, Body::from(vec![b'x'; size]))).await.unwrap();
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), text, "{size}");
    }
}

#[tokio::test]
async fn every_refusal_has_a_grpc_status() {
    let grpc =
        |refusal: Refusal| refusal.into_response(true).headers()["grpc-status"].to_str().unwrap().to_owned();
    let second = Duration::from_secs(1);
    for (refusal, status) in [
        (Refusal::Rate(second), "8"),
        (Refusal::Full(Full::Address("bodies")), "8"),
        (Refusal::Full(Full::All("bodies")), "14"),
        (Refusal::TooLarge { gateway: false, found: 9, most: 8 }, "8"),
        (Refusal::Broken, "3"),
        (Refusal::Slow(second), "4"),
        (Refusal::Stopping, "14"),
        (Refusal::Late(second), "4"),
        (Refusal::Failed, "13"),
    ] {
        let text = format!("{refusal:?}");
        assert_eq!(grpc(refusal), status, "{text}");
    }
}
