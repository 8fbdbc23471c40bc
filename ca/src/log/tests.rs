//! The remote log over a loopback server.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::response::IntoResponse;
use axum::routing::post;
use chancery_tlog::clock::{Clock as _, FixedClock, SystemClock};
use chancery_tlog::ct::Entry;
use chancery_tlog::key::{KeyKind, Signer as _, SoftwareSigner};

use super::*;

/// Starts a log that answers the n-th request with the n-th status, then with this body.
async fn server(statuses: Vec<u16>, body: String) -> (String, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&calls);
    let answer = move |axum::Json(request): axum::Json<serde_json::Value>| async move {
        assert!(request["chain"].as_array().is_some_and(|chain| chain.len() == 2));
        let n = counter.fetch_add(1, Ordering::SeqCst);
        let status = statuses.get(n).copied().unwrap_or(200);
        (StatusCode::from_u16(status).unwrap(), body).into_response()
    };
    let router = Router::new().route("/prefix/ct/v1/add-pre-chain", post(answer));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/prefix/", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (url, calls)
}

fn chain() -> Vec<Certificate> {
    let clock = FixedClock::new(SystemClock.now());
    let made = crate::make_root_and_intermediate("Example Org", KeyKind::EcdsaP256, &clock).unwrap();
    vec![made.issuing, made.root]
}

fn sct(signer: &SoftwareSigner) -> Sct {
    Sct::sign(&Entry::X509(vec![1, 2, 3]), SystemClock.now(), signer).unwrap()
}

async fn ask(statuses: Vec<u16>, body: &str) -> (Result<Sct, IssuanceLogError>, usize) {
    let signer = SoftwareSigner::generate(KeyKind::EcdsaP256).unwrap();
    let (url, calls) = server(statuses, body.to_owned()).await;
    let log = RemoteLog::new(&url, signer.public_key().clone()).unwrap();
    let answer = log.add_pre_chain(&chain()).await;
    (answer, calls.load(Ordering::SeqCst))
}

fn answer_of(sct: &Sct) -> String {
    serde_json::to_string(&AddChainResponse::from(sct)).unwrap()
}

#[tokio::test]
async fn the_answer_is_the_timestamp_and_overload_is_retried() {
    let signer = SoftwareSigner::generate(KeyKind::EcdsaP256).unwrap();
    let sct = sct(&signer);
    assert_eq!(ask(vec![], &answer_of(&sct)).await, (Ok(sct.clone()), 1));
    assert_eq!(ask(vec![503, 429], &answer_of(&sct)).await, (Ok(sct), 3));
}

#[tokio::test]
async fn a_refusal_is_final() {
    for status in [400, 403, 404, 500, 302] {
        let (answer, calls) = ask(vec![status; 9], "no such root").await;
        assert!(matches!(answer, Err(IssuanceLogError::Refused(_))), "{status}");
        assert_eq!(calls, 1);
    }
}

#[tokio::test]
async fn an_answer_without_sense_is_unusable() {
    for body in ["", "{}", "[]", r#"{"sct_version":1}"#, &" ".repeat(MAX_ANSWER + 1)] {
        let (answer, _) = ask(vec![], body).await;
        assert!(matches!(answer, Err(IssuanceLogError::Unusable(_))), "{body:.20}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_log_that_cannot_be_reached_ends_at_the_deadline() {
    let signer = SoftwareSigner::generate(KeyKind::EcdsaP256).unwrap();
    let log = RemoteLog::new("http://127.0.0.1:1", signer.public_key().clone()).unwrap();
    assert_eq!(log.add_pre_chain(&chain()).await, Err(IssuanceLogError::Timeout));
}
