//! Requests whose clients go away while a thread computes for them: they hold what they held until it is done.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};

use super::*;
use crate::serve::{block, compute, leave_runtime};

/// Where the thread of a request stands until it is let go.
#[derive(Clone)]
struct Gate {
    begun: Sender<()>,
    go: Arc<Mutex<Receiver<()>>>,
}

impl Gate {
    fn new() -> (Self, Receiver<()>, Sender<()>) {
        let ((begin, begun), (go, wait)) = (channel(), channel());
        (Self { begun: begin, go: Arc::new(Mutex::new(wait)) }, begun, go)
    }

    /// What a handler computes: it ends when the test says so.
    fn pass(&self) {
        self.begun.send(()).unwrap();
        self.go.lock().unwrap_or_else(PoisonError::into_inner).recv().unwrap();
    }
}

/// Every way in which a thread works for a request, each under a path of its own.
fn ways(gate: &Gate) -> Router {
    let [computes, blocks, offloads, leaves] = [0; 4].map(|_| gate.clone());
    let leaves = async move || {
        leave_runtime().await;
        leaves.pass();
    };
    let blocks = async move || block(move || blocks.pass()).await.unwrap();
    Router::new()
        .route("/itself", post(async move |_: Bytes| computes.pass()))
        .route("/blocking", post(blocks.clone()).get(blocks))
        .route("/leaving", post(leaves.clone()).get(leaves))
        .route("/computing", post(async move || compute(move || offloads.pass()).await.unwrap()))
        .route("/quick", post(async |_: Bytes| "").get(async || ""))
}

fn sent(method: Method, path: &str, size: usize) -> Request {
    let (mut parts, body) = request(1, Body::from(vec![b'x'; size])).into_parts();
    (parts.method, parts.uri) = (method, path.parse().unwrap());
    Request::from_parts(parts, body)
}

/// Writes and bytes of bodies that are held.
fn held(occupancy: &Occupancy) -> [usize; 2] {
    let text = format!("{occupancy:?}");
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok());
    let (writes, _bodies, bytes) = (numbers.next(), numbers.next(), numbers.next());
    [writes, bytes].map(Option::unwrap)
}

async fn until(mut reached: impl FnMut() -> bool) {
    let reached = async {
        while !reached() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), reached).await.unwrap();
}

#[tokio::test]
async fn a_request_that_is_given_up_holds_its_place_and_bytes_until_its_thread_is_done() {
    let (gate, begun, go) = Gate::new();
    let (limits, stop) = (Limits { max_requests: 1, ..Limits::default() }, CancellationToken::new());
    let occupancy = Occupancy::new(&limits);
    let counted = occupancy.clone();
    let router = Around { limits, rates: Effective::default(), hosts: None, occupancy, stop }
        .layer(ways(&gate).into())
        .usual()
        .clone();
    for (method, path, size, expected) in [
        (Method::POST, "/itself", LARGE, [1, LARGE]),
        (Method::POST, "/blocking", LARGE, [1, LARGE]),
        (Method::POST, "/blocking", 9, [1, 9]),
        (Method::POST, "/computing", 9, [1, 9]),
        (Method::POST, "/leaving", 9, [1, 9]),
        (Method::GET, "/blocking", 0, [0, 0]),
        (Method::GET, "/leaving", 0, [0, 0]),
    ] {
        let mut answer = Box::pin(router.clone().oneshot(sent(method.clone(), path, size)));
        until(|| {
            let _ = futures::FutureExt::now_or_never(&mut answer);
            begun.try_recv().is_ok()
        })
        .await;
        drop(answer);
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(held(&counted), expected, "{method} {path} {size}, given up");
        let read = async || router.clone().oneshot(sent(Method::GET, "/quick", 0)).await.unwrap().status();
        assert_eq!(read().await, StatusCode::SERVICE_UNAVAILABLE, "it holds the only place");
        go.send(()).unwrap();
        while read().await == StatusCode::SERVICE_UNAVAILABLE {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(held(&counted), [0, 0], "{method} {path} {size}, done");
    }
}

#[tokio::test]
async fn turns_of_requests_that_are_given_up_are_not_given_away_before_their_work_ends() {
    let turns = (cores() / 2).max(1);
    for (path, size) in [("/itself", LARGE), ("/leaving", 9)] {
        let (gate, begun, go) = Gate::new();
        let router = around(ways(&gate), &Limits::default());
        for _ in 0..4 * turns {
            let answer = router.clone().oneshot(sent(Method::POST, path, size));
            let answer = tokio::time::timeout(Duration::from_millis(50), answer).await;
            assert!(answer.is_err(), "{path} computes, or waits");
        }
        until(|| begun.try_recv().is_ok()).await;
        assert_eq!(begun.try_iter().count() + 1, turns, "{path}, requests that compute");
        let mut waiting = Box::pin(router.clone().oneshot(sent(Method::POST, "/quick", LARGE)));
        assert!(tokio::time::timeout(Duration::from_millis(50), &mut waiting).await.is_err());
        (0..turns).for_each(|_| go.send(()).unwrap());
        assert_eq!(waiting.await.unwrap().status(), StatusCode::OK);
        assert_eq!(begun.try_iter().count(), 0, "those that waited and were given up have not begun");
    }
}

#[tokio::test]
async fn a_handler_that_leaves_goes_on_off_the_runtimes_threads() {
    let here = std::thread::current().id();
    let thread = async move || {
        // Before it leaves it may have waited for something.
        tokio::task::yield_now().await;
        let before = std::thread::current().id() == here;
        leave_runtime().await;
        let moved = std::thread::current().id() == here;
        leave_runtime().await;
        tokio::task::yield_now().await;
        format!("{before} {moved} {}", std::thread::current().id() == here)
    };
    let router = around(Router::new().route("/work", post(thread)), &Limits::default());
    let answer = router.oneshot(request(1, Body::empty())).await.unwrap();
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "true false false");
}
