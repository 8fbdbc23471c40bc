//! `/tuf/` over HTTP: the published files by their exact path, from memory.
//!
//! Invariant: a path is a key of a map, so none leads anywhere but to a published file. `timestamp.json` is asked for
//! again each time; every other name is never used for other contents. That there is no next root yet is no news to
//! be remembered.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use chancery_tlog::serve::reply::Problem;
use tokio::sync::watch;

use super::Publisher;
use super::publish::{Published, TIMESTAMP};

/// Where the repository is.
pub(crate) const PATH: &str = "/tuf";
/// Where targets are in it.
pub(super) const TARGETS: &str = "targets";

/// Path of a target in a repository with consistent snapshots.
pub(super) fn target_path(sha256: &str, name: &str) -> String {
    format!("{TARGETS}/{sha256}.{name}")
}

/// The routes.
pub(crate) fn router(publisher: &Publisher) -> Router {
    Router::new().route(&format!("{PATH}/{{*file}}"), get(file)).with_state(publisher.published())
}

async fn file(
    State(published): State<watch::Receiver<Arc<Published>>>,
    Path(path): Path<String>,
) -> Response {
    let found = published.borrow().file(&path);
    let Some(bytes) = found else {
        return Problem::new(StatusCode::NOT_FOUND, "no such file in the TUF repository")
            .with_header(CACHE_CONTROL, HeaderValue::from_static("no-store"))
            .into_response();
    };
    ([(CONTENT_TYPE, media_type(&path)), (CACHE_CONTROL, caching(&path))], bytes).into_response()
}

fn media_type(path: &str) -> &'static str {
    match path.rsplit_once('.') {
        Some((_, "json")) => "application/json",
        _ => "application/x-pem-file",
    }
}

fn caching(path: &str) -> &'static str {
    if path == TIMESTAMP { "no-cache" } else { "public, max-age=31536000, immutable" }
}
