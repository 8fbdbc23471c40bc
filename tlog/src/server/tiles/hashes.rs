//! Hash tiles, which are public. Requests are parsed as [`HashTile`], which cannot refer to entries.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};

use super::coding::Coding;
use super::kept::Kept;
use super::{Tail, found, headers, named};
use crate::serve::Problem;
use crate::server::log::Log;
use crate::tile::HashTile;

/// Size of the cache of full tiles: a thousand tiles of 8 KiB, enough for the proofs of a quarter of a
/// million entries.
const KEPT: usize = 8 << 20;

/// The hash tiles of a log.
#[derive(Clone)]
pub(super) struct HashTiles {
    log: Log,
    kept: Arc<Kept<HashTile>>,
}

impl HashTiles {
    /// The hash tiles of `log`.
    pub(super) fn of(log: Log) -> Self {
        Self { log, kept: Arc::new(Kept::within(KEPT)) }
    }
}

/// `GET /tile/<L>/<N>[.p/<W>]`
pub(super) async fn answer(State(tiles): State<HashTiles>, tail: Tail) -> Result<Response, Problem> {
    let tile = named(tail, HashTile::parse_tail)?;
    if !tile.is_full() {
        let bytes = found(tiles.log.hash_tile(tile).await)?;
        return Ok((headers("public, max-age=60"), bytes).into_response());
    }
    let immutable = headers("public, max-age=31536000, immutable");
    if let Some(bytes) = tiles.kept.get(tile, Coding::Plain) {
        return Ok((immutable, bytes).into_response());
    }
    let bytes = found(tiles.log.hash_tile(tile).await)?;
    tiles.kept.keep(tile, Coding::Plain, bytes.clone());
    Ok((immutable, bytes).into_response())
}
