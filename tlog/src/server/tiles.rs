//! The C2SP face that every log has, whatever its dialect: `/checkpoint`, `/tile/…`. <https://c2sp.org/tlog-tiles>
//!
//! Hash tiles and checkpoints reveal no names and may be cached by anyone. Entry bundles hold names: only the
//! client that was allowed to read one may keep it.

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::SizeAbove;

use super::log::Log;
use crate::serve::access::Gate;
use crate::serve::{Problem, cors};
use crate::tile::{TILE_WIDTH, Tile, TileKind};

/// Bundles below this many bytes are not worth compressing.
const MIN_COMPRESSED: u16 = 256;

/// The face of `log`, to be nested under its prefix. Entry bundles are behind `gate`.
pub fn router(log: Log, gate: &Gate) -> Router {
    let entries = Router::new()
        .route("/tile/entries/{*path}", gate.before(get(entries)))
        .layer(CompressionLayer::new().gzip(true).compress_when(SizeAbove::new(MIN_COMPRESSED)));
    let open = Router::new().route("/checkpoint", get(checkpoint)).route("/tile/{*path}", get(hashes));
    cors::allow_any_origin(entries.merge(open).with_state(log))
}

async fn checkpoint(State(log): State<Log>) -> Response {
    let headers = [(CONTENT_TYPE, "text/plain; charset=utf-8"), (CACHE_CONTROL, "no-cache")];
    (headers, log.head().checkpoint.clone()).into_response()
}

type Tail = Result<Path<String>, PathRejection>;

async fn hashes(State(log): State<Log>, tail: Tail) -> Result<Response, Problem> {
    tile(&log, "tile", tail).await
}

async fn entries(State(log): State<Log>, tail: Tail) -> Result<Response, Problem> {
    tile(&log, "tile/entries", tail).await
}

async fn tile(log: &Log, kind: &str, tail: Tail) -> Result<Response, Problem> {
    let missing = || Problem::new(StatusCode::NOT_FOUND, "no such tile");
    let Path(tail) = tail.map_err(|_| missing())?;
    let tile = Tile::parse_path(&format!("{kind}/{tail}")).map_err(|_| missing())?;
    let read = log.tile(tile).await.map_err(|error| {
        tracing::error!(%error, "reading a tile failed");
        Problem::internal()
    });
    let bytes = read?.ok_or_else(missing)?;
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")),
        (CACHE_CONTROL, HeaderValue::from_static(caching(tile))),
    ];
    Ok((headers, bytes).into_response())
}

/// A full tile is for ever. A partial one never changes either, but nobody asks for it again once the tree grew.
fn caching(tile: Tile) -> &'static str {
    match (tile.kind, u64::from(tile.width) == TILE_WIDTH) {
        (TileKind::Hashes { .. }, true) => "public, max-age=31536000, immutable",
        (TileKind::Hashes { .. }, false) => "public, max-age=60",
        (TileKind::Entries, true) => "private, max-age=31536000, immutable",
        (TileKind::Entries, false) => "private, max-age=60",
    }
}

#[cfg(test)]
mod tests;
