//! Answers that clients keep by not reading them: every one is counted, or holds nothing.

use axum::body::HttpBody as _;

use super::*;

/// A router of probes and others in layers whose bound on unread answers is so low, and what it holds.
fn bounded(unread_bytes: usize, rates: Effective) -> (Router, Occupancy) {
    let mut limits = Limits::default();
    limits.per_address.unread_bytes = unread_bytes;
    let check = "/grpc.health.v1.Health/Check";
    let router = Router::new()
        .route(health::LIVE, get(async || "ok"))
        .route(check, post(async || "message"))
        .route("/read", get(async || "read"))
        .fallback(crate::serve::reply::not_found);
    let occupancy = Occupancy::new(&limits);
    let (counted, stop) = (occupancy.clone(), CancellationToken::new());
    let router = Around { limits, rates, hosts: None, occupancy, stop }.layer(router.into()).usual().clone();
    (router, counted)
}

/// Unread bytes.
fn unread(occupancy: &Occupancy) -> usize {
    let text = format!("{occupancy:?}");
    let before = text.split(" of answers not read").next().unwrap();
    before.rsplit(' ').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn answers_to_probes_and_refusals_cost_a_price_or_end_with_their_heads() {
    let (router, occupancy) = bounded(50_000, Effective::default());
    let mut held = Vec::new();
    for (method, path, kind, refused) in [
        ("GET", health::LIVE, "", 200),
        ("GET", "/read", "", 429),
        ("GET", "/nothing", "", 429),
        ("POST", "/grpc.health.v1.Health/Check", "", 200),
        ("POST", "/grpc.health.v1.Health/Check", "application/grpc", 200),
    ] {
        for at in 0..100 {
            let answer = ask(&router, method, path, "192.0.2.1", kind).await;
            assert!(answer.body().is_end_stream() || at < 12, "{at} {method} {path}");
            assert!(at < 50 || answer.status().as_u16() == refused, "{at} {method} {path}");
            held.push(answer);
        }
        assert!(unread(&occupancy) > 40_000 && unread(&occupancy) <= 50_000, "{occupancy:?}");
    }
    let other = ask(&router, "GET", health::LIVE, "192.0.2.2", "").await;
    assert_eq!(other.into_body().collect().await.unwrap().to_bytes(), "ok");
    drop(held);
    assert_eq!(unread(&occupancy), 0);
}

#[tokio::test(start_paused = true)]
async fn probes_have_a_rate_of_their_own() {
    let probes_per_address = Some(Rate { per_minute: 60, burst: 3 });
    let (router, _) = bounded(50_000, Effective { probes_per_address, ..Effective::default() });
    let status = async |method, path| ask(&router, method, path, "192.0.2.1", "").await.status().as_u16();
    for _ in 0..3 {
        assert_eq!(status("GET", health::LIVE).await, 200);
    }
    assert_eq!(status("HEAD", health::LIVE).await, 429);
    assert_eq!(status("POST", "/grpc.health.v1.Health/Check").await, 429);
    assert_eq!(status("GET", "/read").await, 200);
    assert_eq!(ask(&router, "GET", health::LIVE, "192.0.2.2", "").await.status(), 200);
}
