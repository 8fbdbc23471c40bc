//! The Rekor v1 dialect: `/api/v1/log…` and `/api/v1/index/retrieve` over one log, or over a chain of them.
//!
//! The engine below knows nothing of it. What an entry looks like to a v1 client (its id, SET, inclusion proof and
//! checkpoint) is rendered here on every answer, by rekor `openapi.yaml` and by what its clients demand where that
//! says less: they index the answer with the unquoted `ETag`, and dereference a proof that is always there.
//!
//! Entries and search are behind the gate of the sealed zone; the tree as a whole is open.
//!
//! Rekor's fixed paths serve one log to its clients. Should it need another key or another year, the API goes on over
//! several trees, which Rekor calls shards: the current one takes entries, those before it have ended.
//!
//! Invariant: one answer speaks of one head. `treeSize`, `rootHash`, `hashes` and `checkpoint` never mix two.

mod answer;
mod birth;
mod entries;
mod head;
mod problem;
mod schema;
mod search;
mod shard;

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::{MethodRouter, get, post};
use http::header::{ALLOW, CACHE_CONTROL, EXPIRES, PRAGMA};
use http::{HeaderName, HeaderValue, Method, StatusCode};

use self::shard::Served;
use super::admission::Admission;
use crate::serve::access::Gate;
use crate::serve::{Problem, cors};

pub use self::birth::{BirthError, birth};
pub use self::shard::Shard;

/// A log that speaks Rekor v1.
pub struct RekorV1 {
    /// The shard that takes entries, or the last one that did.
    pub current: Shard,
    /// Those before it that are still served, oldest first.
    pub past: Vec<Shard>,
    /// Who may write.
    pub admission: Admission,
    /// Who may read entries.
    pub gate: Gate,
}

/// What the handlers share.
struct Dialect {
    admission: Admission,
    /// Whether whoever sent an entry twice can fetch it by the id that a 409 names.
    entries_are_open: bool,
    current: Served,
    /// Oldest first.
    past: Vec<Served>,
}

type Shared = axum::extract::State<Arc<Dialect>>;

/// The whole API under its absolute paths, `/ping` included.
pub fn router(rekor: RekorV1) -> Router {
    let RekorV1 { current, past, admission, gate } = rekor;
    let dialect = Arc::new(Dialect {
        admission,
        entries_are_open: gate.is_open(),
        current: current.into(),
        past: past.into_iter().map(Served::from).collect(),
    });
    let entry = gate.before(get(entries::by_index)).post(entries::create);
    let sealed = [
        ("/api/v1/log/entries", cors::any_origin_for_post(only("GET, POST", entry))),
        ("/api/v1/log/entries/retrieve", only("POST", gate.before(post(entries::retrieve)))),
        ("/api/v1/log/entries/{entry_uuid}", only("GET", gate.before(get(entries::by_uuid)))),
        ("/api/v1/index/retrieve", only("POST", gate.before(post(search::retrieve)))),
    ];
    let open = [
        ("/api/v1/log", only("GET", get(head::log_info))),
        ("/api/v1/log/proof", only("GET", get(head::consistency_proof))),
        ("/api/v1/log/publicKey", only("GET", get(head::public_key))),
        // A health check, the only path on which the genuine server answers HEAD.
        ("/ping", get(async || ".")),
    ];
    let open = open.map(|(path, methods)| (path, cors::any_origin(methods)));
    let routes = sealed.into_iter().chain(open);
    let router = routes.fold(Router::new(), |router, (path, methods)| router.route(path, methods));
    router.with_state(dialect).layer(from_fn(never_cached))
}

/// Answers other methods 405, HEAD too: the genuine server has no HEAD, and axum would make one of GET.
fn only(allow: &'static str, methods: MethodRouter<Arc<Dialect>>) -> MethodRouter<Arc<Dialect>> {
    let refuse = async move |method: Method| {
        let message = format!("method {method} is not allowed, but [{}] are", allow.replace(", ", ","));
        Problem::new(StatusCode::METHOD_NOT_ALLOWED, message)
            .with_header(ALLOW, HeaderValue::from_static(allow))
    };
    methods.head(refuse).fallback(refuse)
}

/// The headers of go-chi's `NoCache` on every GET: an entry's SET and checkpoint are made anew each time.
async fn never_cached(request: Request, next: Next) -> Response {
    const HEADERS: [(HeaderName, &str); 4] = [
        (CACHE_CONTROL, "no-cache, no-store, no-transform, must-revalidate, private, max-age=0"),
        (EXPIRES, "Thu, 01 Jan 1970 00:00:00 GMT"),
        (PRAGMA, "no-cache"),
        (HeaderName::from_static("x-accel-expires"), "0"),
    ];
    let read = request.method() == Method::GET;
    let mut answer = next.run(request).await;
    if read {
        let headers = HEADERS.map(|(name, value)| (name, HeaderValue::from_static(value)));
        answer.headers_mut().extend(headers);
    }
    answer
}

#[cfg(test)]
mod tests;
