//! The C2SP face that every log has, whatever its dialect: `/checkpoint`, `/tile/…`. <https://c2sp.org/tlog-tiles>
//!
//! Hash tiles and checkpoints reveal no names and may be cached by anyone. Entry bundles hold names: only the
//! client that was allowed to read one may keep it.

mod coding;
mod kept;

use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, VARY};
use http::{HeaderMap, HeaderValue, StatusCode};

use self::coding::{Coding, gzip};
use self::kept::Kept;
use super::log::Log;
use crate::serve::access::Gate;
use crate::serve::{Problem, cors};
use crate::tile::{TILE_WIDTH, Tile, TileKind};

/// Bytes of full hash tiles that are kept: a thousand of 8 KiB, those that the proofs of a quarter of a million entries
/// are made of.
const HASHES_KEPT: usize = 8 << 20;
/// Bytes of full entry bundles that are kept: some eighty of 256 entries with certificates, far more where readers take
/// gzip. Monitors follow the head, so the newest are what they read.
const BUNDLES_KEPT: usize = 64 << 20;

/// What the handlers share.
#[derive(Clone)]
struct Face {
    log: Log,
    hashes: Arc<Kept>,
    bundles: Arc<Kept>,
}

/// The face of `log`, to be nested under its prefix. Entry bundles are behind `gate`.
pub fn router(log: Log, gate: &Gate) -> Router {
    let (hashes, bundles) = (Kept::within(HASHES_KEPT), Kept::within(BUNDLES_KEPT));
    let face = Face { log, hashes: Arc::new(hashes), bundles: Arc::new(bundles) };
    let router = Router::new()
        .route("/checkpoint", get(checkpoint))
        .route("/tile/{*path}", get(hash_tile))
        .route("/tile/entries/{*path}", gate.before(get(entry_bundle)));
    cors::allow_any_origin(router.with_state(face))
}

async fn checkpoint(State(face): State<Face>) -> Response {
    let headers = [(CONTENT_TYPE, "text/plain; charset=utf-8"), (CACHE_CONTROL, "no-cache")];
    (headers, face.log.head().checkpoint.clone()).into_response()
}

type Tail = Result<Path<String>, PathRejection>;

async fn hash_tile(State(face): State<Face>, tail: Tail) -> Result<Response, Problem> {
    let tile = named("tile", tail)?;
    let bytes = face.rendered(&face.hashes, tile, Coding::Plain).await?;
    Ok((headers(tile), bytes).into_response())
}

async fn entry_bundle(State(face): State<Face>, accepts: HeaderMap, tail: Tail) -> Result<Response, Problem> {
    let tile = named("tile/entries", tail)?;
    let coding = Coding::accepted(&accepts);
    let bytes = face.rendered(&face.bundles, tile, coding).await?;
    let mut answer = (headers(tile), bytes).into_response();
    answer.headers_mut().append(VARY, HeaderValue::from(ACCEPT_ENCODING));
    if coding == Coding::Gzip {
        answer.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    Ok(answer)
}

fn named(kind: &str, tail: Tail) -> Result<Tile, Problem> {
    let Path(tail) = tail.map_err(|_| missing())?;
    Tile::parse_path(&format!("{kind}/{tail}")).map_err(|_| missing())
}

fn missing() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "no such tile")
}

fn headers(tile: Tile) -> [(http::HeaderName, HeaderValue); 2] {
    [
        (CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")),
        (CACHE_CONTROL, HeaderValue::from_static(caching(tile))),
    ]
}

impl Face {
    /// The bytes of `tile`: those in `kept`, or rendered anew and kept there if the tile is full.
    async fn rendered(&self, kept: &Kept, tile: Tile, coding: Coding) -> Result<Bytes, Problem> {
        if !is_full(tile) {
            let plain = self.read(tile).await?;
            return coded(plain, coding, false).await;
        }
        if let Some(bytes) = kept.get(tile, coding) {
            return Ok(bytes);
        }
        let plain = match kept.get(tile, Coding::Plain) {
            Some(plain) => plain,
            None => self.read(tile).await?,
        };
        let bytes = coded(plain, coding, true).await?;
        kept.keep(tile, coding, bytes.clone());
        Ok(bytes)
    }

    async fn read(&self, tile: Tile) -> Result<Bytes, Problem> {
        let read = self.log.tile(tile).await.map_err(|error| {
            tracing::error!(%error, "reading a tile failed");
            Problem::internal()
        });
        read?.ok_or_else(missing)
    }
}

/// `plain` in this coding. Compressing a bundle takes tens of milliseconds, which no async thread has.
async fn coded(plain: Bytes, coding: Coding, lasting: bool) -> Result<Bytes, Problem> {
    if coding == Coding::Plain {
        return Ok(plain);
    }
    let packed = tokio::task::spawn_blocking(move || gzip(&plain, lasting)).await;
    packed.map_err(std::io::Error::other).flatten().map_err(|error| {
        tracing::error!(%error, "compressing a bundle failed");
        Problem::internal()
    })
}

fn is_full(tile: Tile) -> bool {
    u64::from(tile.width) == TILE_WIDTH
}

/// A full tile is for ever. A partial one never changes either, but nobody asks for it again once the tree grew.
fn caching(tile: Tile) -> &'static str {
    match (tile.kind, is_full(tile)) {
        (TileKind::Hashes { .. }, true) => "public, max-age=31536000, immutable",
        (TileKind::Hashes { .. }, false) => "public, max-age=60",
        (TileKind::Entries, true) => "private, max-age=31536000, immutable",
        (TileKind::Entries, false) => "private, max-age=60",
    }
}

#[cfg(test)]
mod tests;
