//! Entry bundles, which hold names. Reading one requires a [`Permit`], whether from the log or from the
//! cache.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, VARY};
use http::{HeaderMap, HeaderValue};

use super::coding::{Coding, Packers};
use super::kept::Kept;
use super::{Tail, found, headers, named};
use crate::serve::Problem;
use crate::serve::access::Permit;
use crate::server::log::Log;
use crate::tile::EntryBundle;

/// Size of the cache of full bundles: some eighty bundles of 256 entries with certificates, more if readers
/// accept gzip. Monitors follow the head and read the newest bundles.
const KEPT: usize = 64 << 20;

/// The entry bundles of a log.
#[derive(Clone)]
pub(super) struct Bundles {
    log: Log,
    kept: Arc<Kept<EntryBundle>>,
    packers: Packers,
}

impl Bundles {
    /// The entry bundles of `log`.
    pub(super) fn of(log: Log) -> Self {
        Self { log, kept: Arc::new(Kept::within(KEPT)), packers: Packers::new() }
    }

    /// The bytes of `bundle`, from the cache or the log, in `coding` or plain. Only full bundles are cached.
    async fn rendered(
        &self,
        permit: Permit,
        bundle: EntryBundle,
        coding: Coding,
    ) -> Result<(Bytes, Coding), Problem> {
        let read = || self.log.entry_bundle(permit, bundle);
        if !bundle.is_full() {
            return self.coded(found(read().await)?, coding, false).await;
        }
        if let Some(bytes) = self.kept.get(bundle, coding) {
            return Ok((bytes, coding));
        }
        let plain = match self.kept.get(bundle, Coding::Plain) {
            Some(plain) => plain,
            None => found(read().await)?,
        };
        let (bytes, coding) = self.coded(plain, coding, true).await?;
        self.kept.keep(bundle, coding, bytes.clone());
        Ok((bytes, coding))
    }

    /// Encodes `plain` if it is to be encoded and a thread is free. Compressing a bundle takes tens of
    /// milliseconds, too long for an async thread.
    async fn coded(&self, plain: Bytes, coding: Coding, lasting: bool) -> Result<(Bytes, Coding), Problem> {
        if coding == Coding::Plain {
            return Ok((plain, coding));
        }
        let packed = self.packers.gzip(&plain, lasting).await.map_err(|error| {
            tracing::error!(%error, "compressing a bundle failed");
            Problem::internal()
        });
        Ok(packed?.map_or((plain, Coding::Plain), |packed| (packed, coding)))
    }
}

/// `GET /tile/entries/<N>[.p/<W>]`
pub(super) async fn answer(
    State(bundles): State<Bundles>,
    permit: Permit,
    accepts: HeaderMap,
    tail: Tail,
) -> Result<Response, Problem> {
    let bundle = named(tail, EntryBundle::parse_tail)?;
    let (bytes, coding) = bundles.rendered(permit, bundle, Coding::accepted(&accepts)).await?;
    let mut answer = (headers(caching(bundle)), bytes).into_response();
    answer.headers_mut().append(VARY, HeaderValue::from(ACCEPT_ENCODING));
    if coding == Coding::Gzip {
        answer.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    Ok(answer)
}

/// Full bundles are immutable. So are partial bundles, but clients stop requesting them as soon as the tree
/// grows.
fn caching(bundle: EntryBundle) -> &'static str {
    if bundle.is_full() { "private, max-age=31536000, immutable" } else { "private, max-age=60" }
}
