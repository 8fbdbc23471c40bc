use std::io::Read as _;

use http::HeaderMap;

use super::super::fixture::{Answer, RunningLog, closed_gate, get, send};
use super::super::log::Submission;
use super::*;
use crate::merkle::{CompactRange, Hash, leaf_hash};
use crate::tile::decode_bundle;

const SIZE: u64 = 300;

/// A log of 300 entries: one full tile, and 44 leaves in a partial one.
async fn face() -> (Router, RunningLog) {
    let running = RunningLog::start(None).await;
    let adds = (0..SIZE).map(|n| {
        let leaf = Bytes::from(format!("an entry that compresses well, number {n}"));
        let submission =
            Submission { identity: leaf_hash(&leaf), leaf: leaf.into(), extra: Bytes::new(), terms: vec![] };
        running.log.add(submission)
    });
    for added in futures::future::join_all(adds).await {
        added.unwrap();
    }
    (router(running.log.clone(), &Gate::open()), running)
}

fn hashes(answer: &Answer) -> Vec<Hash> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.body.chunks(32).map(|hash| Hash::from_slice(hash).unwrap()).collect()
}

#[tokio::test]
async fn the_checkpoint_is_text_of_the_current_head_and_not_kept() {
    let (router, running) = face().await;
    let answer = get(&router, "/checkpoint").await;
    assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
    assert_eq!(answer.header("cache-control"), "no-cache");
    assert_eq!(answer.text(), running.log.head().checkpoint);
}

#[tokio::test]
async fn tiles_add_up_to_the_root() {
    let (router, running) = face().await;
    let (full, partial) =
        (hashes(&get(&router, "/tile/0/000").await), hashes(&get(&router, "/tile/0/001.p/44").await));
    assert_eq!((full.len(), partial.len()), (256, 44));
    let mut range = CompactRange::new();
    for leaf in full.iter().chain(&partial) {
        range.append(*leaf, |_, _| {});
    }
    assert_eq!(range.root(), running.log.head().root);
    let mut first = CompactRange::new();
    for leaf in full {
        first.append(leaf, |_, _| {});
    }
    assert_eq!(hashes(&get(&router, "/tile/1/000.p/1").await), [first.root()]);
}

#[tokio::test]
async fn entry_bundles_hold_the_leaves() {
    let (router, _running) = face().await;
    for (bundle, tile) in
        [("/tile/entries/000", "/tile/0/000"), ("/tile/entries/001.p/44", "/tile/0/001.p/44")]
    {
        let answer = get(&router, bundle).await;
        let leaves: Vec<_> = decode_bundle(&answer.body).unwrap().into_iter().map(leaf_hash).collect();
        assert_eq!(leaves, hashes(&get(&router, tile).await));
    }
}

#[tokio::test]
async fn a_partial_tile_is_answered_after_the_full_one_exists() {
    let (router, _running) = face().await;
    let full = hashes(&get(&router, "/tile/0/000").await);
    assert_eq!(hashes(&get(&router, "/tile/0/000.p/17").await), full[..17]);
    let bundle = get(&router, "/tile/entries/000.p/17").await;
    assert_eq!(decode_bundle(&bundle.body).unwrap().len(), 17);
}

#[tokio::test]
async fn a_tile_that_does_not_exist_is_404() {
    let (router, _running) = face().await;
    for path in [
        "/tile/0/001",
        "/tile/0/001.p/45",
        "/tile/0/002.p/1",
        "/tile/1/000",
        "/tile/1/000.p/2",
        "/tile/2/000.p/1",
        "/tile/entries/001",
        "/tile/0/000.p/0",
        "/tile/0/000.p/256",
        "/tile/00/000",
        "/tile/0/0",
        "/tile/0/x001",
        "/tile/64/000",
        "/tile/entries/",
        "/tile/0/../checkpoint",
        "/tile/data/000",
        "/tile/0/%ff",
    ] {
        assert_eq!(get(&router, path).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn full_tiles_are_immutable_and_bundles_are_for_the_reader_alone() {
    let (router, _running) = face().await;
    let rows = [
        ("/tile/0/000", "public, max-age=31536000, immutable"),
        ("/tile/0/001.p/44", "public, max-age=60"),
        ("/tile/entries/000", "private, max-age=31536000, immutable"),
        ("/tile/entries/001.p/44", "private, max-age=60"),
    ];
    for (path, caching) in rows {
        let answer = get(&router, path).await;
        assert_eq!(answer.header("cache-control"), caching, "{path}");
        assert_eq!(answer.header("content-type"), "application/octet-stream", "{path}");
    }
}

#[tokio::test]
async fn bundles_are_compressed_for_whoever_accepts_gzip_and_hash_tiles_never() {
    let (router, _running) = face().await;
    let gzip = [("accept-encoding", "gzip")];
    let plain = get(&router, "/tile/entries/000").await;
    let packed = send(&router, "GET", "/tile/entries/000", &gzip, "").await;
    let encoding = |headers: &HeaderMap| headers.get("content-encoding").cloned();
    assert_eq!(encoding(&plain.headers), None);
    assert_eq!(encoding(&packed.headers).unwrap(), "gzip");
    assert!(packed.body.starts_with(&[0x1f, 0x8b]) && packed.body.len() < plain.body.len() / 2);
    assert!(
        packed.headers.get_all("vary").iter().any(|vary| vary.to_str().unwrap().contains("accept-encoding"))
    );
    assert_eq!(encoding(&send(&router, "GET", "/tile/0/000", &gzip, "").await.headers), None);
}

#[tokio::test]
async fn a_full_tile_is_read_once_whatever_its_coding_and_partial_ones_each_time() {
    let (router, running) = face().await;
    let store = &running.store;
    let gzip = [("accept-encoding", "gzip")];
    for path in ["/tile/0/000", "/tile/entries/000"] {
        let first = get(&router, path).await;
        store.fail_reads(usize::MAX);
        let second = get(&router, path).await;
        assert_eq!((second.status, &second.body), (StatusCode::OK, &first.body), "{path}");
        assert_eq!(second.headers, first.headers, "{path}");
        store.fail_reads(0);
    }
    // The plain bytes are there, so packing them needs no read, and neither does the second answer.
    store.fail_reads(usize::MAX);
    let packed = send(&router, "GET", "/tile/entries/000", &gzip, "").await;
    let again = send(&router, "GET", "/tile/entries/000", &gzip, "").await;
    assert_eq!((packed.status, packed.body == again.body), (StatusCode::OK, true));
    for path in ["/tile/0/001.p/44", "/tile/entries/001.p/44", "/tile/0/000.p/17"] {
        assert_eq!(get(&router, path).await.status, 500, "{path}");
        store.fail_reads(0);
        assert_eq!(get(&router, path).await.status, 200, "{path}");
        store.fail_reads(usize::MAX);
    }
}

#[tokio::test]
async fn packed_bundles_unpack_to_the_plain_ones() {
    let (router, _running) = face().await;
    for path in ["/tile/entries/000", "/tile/entries/001.p/44", "/tile/entries/000.p/1"] {
        let plain = get(&router, path).await;
        let packed = send(&router, "GET", path, &[("accept-encoding", "br, gzip;q=0.5")], "").await;
        let mut unpacked = Vec::new();
        flate2::read::MultiGzDecoder::new(&*packed.body).read_to_end(&mut unpacked).unwrap();
        assert_eq!(unpacked, plain.body, "{path}");
        for header in ["content-type", "cache-control", "vary"] {
            assert_eq!(packed.header(header), plain.header(header), "{path}");
        }
    }
}

/// The router alone, without the listener, which refuses such paths.
#[tokio::test]
async fn no_encoding_of_a_bundle_reaches_the_handler_of_hash_tiles() {
    let (_, running) = face().await;
    for gate in [closed_gate().0, Gate::open()] {
        let router = router(running.log.clone(), &gate);
        for bundle in ["entries/000", "entries/000.p/17", "entries/001.p/44"] {
            for at in 0..bundle.len() {
                let (before, byte, after) = (&bundle[..at], bundle.as_bytes()[at], &bundle[at + 1..]);
                for spelling in [format!("%{byte:02x}"), format!("%{byte:02X}"), format!("%25{byte:02x}")] {
                    let path = format!("/tile/{before}{spelling}{after}");
                    let answer = get(&router, &path).await;
                    // Encoded behind `/tile/entries/`, the path matches the sealed route and its gate.
                    let sealed = path.starts_with("/tile/entries/") && gate.is_open();
                    assert!(
                        matches!(answer.status.as_u16(), 401 | 404) || sealed,
                        "{path}: {}",
                        answer.status
                    );
                }
            }
        }
    }
}

#[tokio::test]
async fn entry_bundles_are_sealed_and_hash_tiles_open() {
    let (_, running) = face().await;
    let (gate, word) = closed_gate();
    let router = router(running.log.clone(), &gate);
    for path in ["/tile/entries/000", "/tile/entries/001.p/44", "/tile/entries/000.p/1", "/tile/entries/999"]
    {
        let refused = get(&router, path).await;
        assert_eq!(refused.status, 401, "{path}");
        assert_eq!(refused.header("cache-control"), "private, no-store");
    }
    let bundle = send(&router, "GET", "/tile/entries/000", &word, "").await;
    assert_eq!(decode_bundle(&bundle.body).unwrap().len(), 256);
    assert_eq!(bundle.header("cache-control"), "private, max-age=31536000, immutable");
    for path in ["/checkpoint", "/tile/0/000", "/tile/0/001.p/44", "/tile/1/000.p/1"] {
        assert_eq!(get(&router, path).await.status, 200, "{path}");
    }
}
