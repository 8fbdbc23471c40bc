//! [`Coding`]: content codings of entry bundles, RFC 9110 §8.4 and §12.5.3.

use std::io::{self, Write as _};
use std::num::NonZero;
use std::sync::Arc;
use std::thread;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::HeaderMap;
use http::header::ACCEPT_ENCODING;
use tokio::sync::Semaphore;

use crate::serve::block;

/// How the bytes of an answer are coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Coding {
    /// As they are.
    Plain,
    /// By gzip.
    Gzip,
}

impl Coding {
    /// Gzip for whoever names it and does not weigh it with zero. Clients that name nothing get plain bytes, and so do
    /// those who take anything (`*`): not all that send it can decompress.
    pub(super) fn accepted(headers: &HeaderMap) -> Self {
        let lines = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
        let mut accepts = false;
        for item in lines.flat_map(|line| line.split(',')) {
            let (name, parameters) = item.split_once(';').unwrap_or((item, ""));
            if ["gzip", "x-gzip"].iter().any(|known| name.trim().eq_ignore_ascii_case(known)) {
                accepts = !is_zero(parameters);
            }
        }
        if accepts { Self::Gzip } else { Self::Plain }
    }
}

/// Whether the parameters of a coding are the weight `q=0`, `q=0.0` and so on.
fn is_zero(parameters: &str) -> bool {
    let weight = parameters.trim().split_once('=').filter(|(name, _)| name.trim().eq_ignore_ascii_case("q"));
    weight.is_some_and(|(_, weight)| weight.trim().parse().is_ok_and(|weight: f32| weight <= 0.0))
}

/// Threads that compress the bundles of a log: half of the cores, so that readers cannot take all of them.
///
/// A reader for whom none is free gets the plain bytes, which are right for every client, instead of a place
/// in a queue. Work that has begun keeps its thread when its reader goes away.
#[derive(Clone)]
pub(super) struct Packers(Arc<Semaphore>);

impl Packers {
    pub(super) fn new() -> Self {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        Self(Arc::new(Semaphore::new((cores / 2).max(1))))
    }

    /// The bytes of a gzip file with these contents, `None` if no thread is free.
    pub(super) async fn gzip(&self, plain: &Bytes, lasting: bool) -> io::Result<Option<Bytes>> {
        let Ok(thread) = Arc::clone(&self.0).try_acquire_owned() else { return Ok(None) };
        let plain = plain.clone();
        let packed = block(move || {
            let packed = gzip(&plain, lasting);
            drop(thread);
            packed
        });
        packed.await.map_err(io::Error::other).flatten().map(Some)
    }
}

/// The bytes of a gzip file with these contents. `lasting`: they will be sent often, so that smaller is worth time.
fn gzip(bytes: &[u8], lasting: bool) -> io::Result<Bytes> {
    let level = if lasting { Compression::default() } else { Compression::fast() };
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 2), level);
    encoder.write_all(bytes)?;
    let mut packed = encoder.finish()?;
    packed.shrink_to_fit();
    Ok(packed.into())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[tokio::test]
    async fn bundles_stay_plain_while_no_thread_is_free() {
        let (packers, plain) = (Packers::new(), Bytes::from(vec![b'x'; 1000]));
        let busy: Vec<_> = std::iter::from_fn(|| packers.0.try_acquire().ok()).collect();
        assert!(!busy.is_empty());
        assert_eq!(packers.gzip(&plain, true).await.unwrap(), None);
        drop(busy);
        let packed = packers.gzip(&plain, true).await.unwrap().unwrap();
        assert_eq!(packed, gzip(&plain, true).unwrap());
    }

    #[tokio::test]
    async fn a_reader_that_goes_away_leaves_no_free_thread_behind_before_its_work_is_done() {
        let (packers, plain) = (Packers::new(), Bytes::from(vec![b'x'; 1 << 20]));
        let free = packers.0.available_permits();
        let mut packing = Box::pin(packers.gzip(&plain, true));
        assert!(futures::poll!(&mut packing).is_pending());
        drop(packing);
        assert_eq!(packers.0.available_permits(), free - 1);
        let done = packers.0.acquire_many(u32::try_from(free).unwrap());
        let _all = tokio::time::timeout(std::time::Duration::from_secs(20), done).await.unwrap().unwrap();
    }

    #[test]
    fn gzip_is_for_whoever_names_it_with_a_weight_above_zero() {
        let rows = [
            (&["gzip"][..], Coding::Gzip),
            (&["br, GZIP;q=0.5, *"], Coding::Gzip),
            (&["deflate", "x-gzip"], Coding::Gzip),
            (&["gzip;q=1.0"], Coding::Gzip),
            (&["gzip ; q=0.001"], Coding::Gzip),
            (&[], Coding::Plain),
            (&[""], Coding::Plain),
            (&["*"], Coding::Plain),
            (&["identity, br"], Coding::Plain),
            (&["gzip;q=0"], Coding::Plain),
            (&["gzip; Q = 0.000, br"], Coding::Plain),
            (&["gzipped"], Coding::Plain),
        ];
        for (lines, expected) in rows {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(ACCEPT_ENCODING, HeaderValue::from_static(line));
            }
            assert_eq!(Coding::accepted(&headers), expected, "{lines:?}");
        }
        let mut hostile = HeaderMap::new();
        hostile.insert(ACCEPT_ENCODING, HeaderValue::from_bytes(b"gzip\xff").unwrap());
        assert_eq!(Coding::accepted(&hostile), Coding::Plain);
    }
}
