//! Material for the dialects' tests: a running log in memory, and requests to a router without a socket.

use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::log::{Log, LogSettings, Submission};
use super::sequencer::Sequencer;
use super::store::{Faulty, Memory};
use crate::checkpoint::Origin;
use crate::clock::{Clock, FixedClock};
use crate::fixture::NOON;
use crate::key::{KeyKind, Signer, SoftwareSigner};
use crate::serve::access::{Credentials, Denied, Gate, Reader, Readers};

/// A log in memory whose sequencer runs until the fixture is dropped.
pub(super) struct RunningLog {
    pub(super) log: Log,
    /// Its store, which can be told to fail.
    pub(super) store: Arc<Faulty<Memory>>,
    pub(super) clock: Arc<FixedClock>,
    pub(super) shutdown: CancellationToken,
    pub(super) sequencer: JoinHandle<()>,
}

impl RunningLog {
    pub(super) async fn start(birth: Option<Submission>) -> Self {
        let (log, sequencer, clock, store) = open(LogSettings::new(origin()), birth).await;
        let shutdown = CancellationToken::new();
        let running = sequencer.run(shutdown.clone());
        let sequencer = tokio::spawn(async move { running.await.unwrap() });
        Self { log, store, clock, shutdown, sequencer }
    }

    /// Stops the sequencer: from here on the log is read only.
    pub(super) async fn close(&mut self) {
        self.shutdown.cancel();
        (&mut self.sequencer).await.unwrap();
    }
}

impl Drop for RunningLog {
    fn drop(&mut self) {
        self.sequencer.abort();
    }
}

fn origin() -> Origin {
    Origin::new("log.example/test").unwrap()
}

/// An opened log whose sequencer does not run: everything that is added waits.
pub(super) async fn standing_log(settings: impl FnOnce(&mut LogSettings)) -> (Log, Sequencer) {
    let mut changed = LogSettings::new(origin());
    settings(&mut changed);
    let (log, sequencer, ..) = open(changed, None).await;
    (log, sequencer)
}

type Opened = (Log, Sequencer, Arc<FixedClock>, Arc<Faulty<Memory>>);

async fn open(settings: LogSettings, birth: Option<Submission>) -> Opened {
    let signer: Arc<dyn Signer> = Arc::new(SoftwareSigner::generate(KeyKind::Ed25519).unwrap());
    let clock = Arc::new(FixedClock::new(NOON));
    let store = Arc::new(Faulty::new(Memory::new()));
    Log::create(&settings, &*store, Arc::clone(&signer), &*clock, birth).await.unwrap();
    let shown: Arc<dyn Clock> = clock.clone();
    let (log, sequencer) = Log::open(settings, store.clone(), signer, shown).await.unwrap();
    (log, sequencer, clock, store)
}

/// Opens to whoever says the word.
struct Sesame;

#[async_trait]
impl Readers for Sesame {
    async fn admit(&self, credentials: Credentials) -> Result<Reader, Denied> {
        match credentials.token() {
            Some("sesame") => Ok(Reader::named("ali")),
            Some(_) => Err(Denied::Invalid),
            None => Err(Denied::Missing),
        }
    }

    fn challenges(&self) -> &'static [&'static str] {
        &["Bearer"]
    }

    fn advice(&self) -> &'static str {
        "say the word"
    }
}

/// A closed gate, and the header that passes it.
pub(super) fn closed_gate() -> (Gate, [(&'static str, &'static str); 1]) {
    (Gate::closed(Arc::new(Sesame)), [("authorization", "Bearer sesame")])
}

/// What a router answered.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The body, which must be one line of JSON and say so.
    pub(super) fn json(&self) -> serde_json::Value {
        assert_eq!(self.header("content-type"), "application/json", "{}", self.text());
        assert!(self.body.ends_with(b"\n"), "{}", self.text());
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Status, and `code` and `message` of an error.
    pub(super) fn problem(&self) -> (u16, u64, String) {
        let body = self.json();
        let message = body["message"].as_str().unwrap().to_owned();
        (self.status.as_u16(), body["code"].as_u64().unwrap(), message)
    }
}

/// Sends a request with these headers and body. Its path is normalised first.
pub(super) async fn send(
    router: &Router,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Body>,
) -> Answer {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut request = request.body(body.into()).unwrap();
    // As the listener does before routing.
    crate::serve::target::normalise(&mut request);
    let response = router.clone().oneshot(request).await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    let body = response.into_body().collect().await.unwrap().to_bytes().to_vec();
    Answer { status, headers, body }
}

/// `GET path`.
pub(super) async fn get(router: &Router, path: &str) -> Answer {
    send(router, "GET", path, &[], Body::empty()).await
}

/// `POST path` with JSON.
pub(super) async fn post(router: &Router, path: &str, json: &serde_json::Value) -> Answer {
    send(router, "POST", path, &[("content-type", "application/json")], json.to_string()).await
}
