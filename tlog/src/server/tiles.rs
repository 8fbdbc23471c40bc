//! The C2SP face that every log has, whatever its dialect: `/checkpoint`, `/tile/…`. <https://c2sp.org/tlog-tiles>
//!
//! Hash tiles and checkpoints reveal no names and may be cached by anyone. Entry bundles hold names: only the
//! client that was allowed to read one may keep it. They have separate types, handlers and caches, in
//! [`hashes`] and [`bundles`].

mod bundles;
mod coding;
mod hashes;
mod kept;

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, StatusCode};

use self::bundles::Bundles;
use self::hashes::HashTiles;
use super::log::Log;
use super::store::StoreError;
use crate::serve::access::Gate;
use crate::serve::{Problem, cors};

/// The face of `log`, to be nested under its prefix. Entry bundles are behind `gate`.
pub fn router(log: Log, gate: &Gate) -> Router {
    let checkpoints = Router::new().route("/checkpoint", cors::any_origin(get(checkpoint)));
    let tiles = Router::new().route("/tile/{*path}", cors::any_origin(get(hashes::answer)));
    let entries = Router::new().route("/tile/entries/{*path}", gate.before(get(bundles::answer)));
    checkpoints
        .with_state(log.clone())
        .merge(tiles.with_state(HashTiles::of(log.clone())))
        .merge(entries.with_state(Bundles::of(log)))
}

async fn checkpoint(State(log): State<Log>) -> Response {
    let headers = [(CONTENT_TYPE, "text/plain; charset=utf-8"), (CACHE_CONTROL, "no-cache")];
    (headers, log.head().checkpoint.clone()).into_response()
}

/// The path below a tile route.
type Tail = Result<Path<String>, PathRejection>;

/// Parses the path below a tile route.
fn named<T, E>(tail: Tail, parse: fn(&str) -> Result<T, E>) -> Result<T, Problem> {
    let Path(tail) = tail.map_err(|_| missing())?;
    parse(&tail).map_err(|_| missing())
}

fn missing() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "no such tile")
}

/// The bytes of a tile, or 404.
fn found(read: Result<Option<Bytes>, StoreError>) -> Result<Bytes, Problem> {
    let read = read.map_err(|error| {
        tracing::error!(%error, "reading a tile failed");
        Problem::internal()
    });
    read?.ok_or_else(missing)
}

fn headers(caching: &'static str) -> [(HeaderName, HeaderValue); 2] {
    [
        (CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")),
        (CACHE_CONTROL, HeaderValue::from_static(caching)),
    ]
}

#[cfg(test)]
mod tests;
