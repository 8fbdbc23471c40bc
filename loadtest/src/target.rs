//! What can be put under load. A target makes requests, verifies each answer by itself, and afterwards holds all of
//! them against the server's final state.

pub(crate) mod certificates;
pub(crate) mod reads;
pub(crate) mod rekor_v1;
pub(crate) mod rekor_v2;
pub(crate) mod timestamps;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Body, Method, Request};
use url::Url;

use crate::ledger::{Acknowledged, Ledger};
use crate::parallel;
use crate::submitter::{Signed, Submitter};

/// Something to put under load.
pub(crate) trait Target: Send + Sync + 'static {
    /// What one request has that no other has, made before the clock starts.
    type Shot: Send + Sync + 'static;

    /// Makes `count` shots that this run has not made before.
    fn prepare(&self, count: usize) -> impl Future<Output = Result<Vec<Self::Shot>>> + Send;

    /// The request of a shot. Copying, no cryptography: this runs while the clock does.
    fn request(&self, shot: &Self::Shot) -> Request;

    /// Verifies the answer to an accepted request as far as it goes by itself, offline.
    fn verify(&self, shot: &Self::Shot, answer: &[u8]) -> Result<Acknowledged>;

    /// Entries that the log had when the run began, if the target is a log.
    fn entries(&self) -> Option<u64> {
        None
    }

    /// Holds all acknowledgements against the server's final state. What does not hold goes into the ledger; an error
    /// means that it could not be found out.
    fn audit(&self, ledger: &mut Ledger) -> impl Future<Output = Result<()>> + Send;
}

/// A POST of `body`.
fn post(url: &Url, content_type: &'static str, body: impl Into<Body>) -> Request {
    let mut request = Request::new(Method::POST, url.clone());
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    *request.body_mut() = Some(body.into());
    request
}

/// A JSON text with a hole for each shot's own parts: they are copied in, and the certificate is encoded once.
struct Template {
    before: String,
    between: String,
    after: String,
}

impl Template {
    fn fill(&self, first: &str, second: &str) -> Bytes {
        let Self { before, between, after } = self;
        [before.as_str(), first, between, second, after].concat().into()
    }
}

/// Artifacts and signatures, numbered through the whole run.
struct Signatures {
    submitter: Arc<Submitter>,
    made: AtomicU64,
}

impl Signatures {
    fn by(submitter: Submitter) -> Self {
        Self { submitter: Arc::new(submitter), made: AtomicU64::new(0) }
    }

    async fn make(&self, count: usize) -> Result<Vec<Signed>> {
        let first = self.made.fetch_add(u64::try_from(count)?, Ordering::Relaxed);
        let submitter = Arc::clone(&self.submitter);
        parallel::map(count, move |n| submitter.sign(first + n as u64)).await?.into_iter().collect()
    }
}
