//! A log in memory, served over HTTP on loopback, that keeps its promises or breaks one.

use std::collections::HashMap;

use chancery_tlog::tile::encode_bundle;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::ledger::{Acknowledged, Leaf};

fn entries(count: u64) -> Vec<Vec<u8>> {
    (0..count).map(|n| format!("entry {n}").into_bytes()).collect()
}

fn head(entries: &[Vec<u8>]) -> TreeHead {
    let mut range = CompactRange::new();
    for entry in entries {
        range.append(leaf_hash(entry), |_, _| {});
    }
    TreeHead { size: range.size(), root: range.root() }
}

/// Every tile of a log with these entries, by path.
fn files(entries: &[Vec<u8>]) -> HashMap<String, Vec<u8>> {
    let mut nodes = HashMap::new();
    let mut range = CompactRange::new();
    for entry in entries {
        range.append(leaf_hash(entry), |id, hash| {
            nodes.insert(id, hash);
        });
    }
    let size = range.size();
    let mut files = HashMap::new();
    for level in 0..3u8 {
        let count = size >> (8 * level);
        for index in 0..count.div_ceil(TILE_WIDTH) {
            let tile = HashTile { level, index, width: width(count, index) };
            files.insert(tile.path(), tile.nodes().flat_map(|id| *nodes[&id].as_bytes()).collect());
        }
    }
    for (index, bundle) in (0..).zip(entries.chunks(256)) {
        let place = EntryBundle { index, width: u16::try_from(bundle.len()).unwrap() };
        files.insert(place.path(), encode_bundle(bundle).unwrap());
    }
    files
}

/// Serves `files`, one connection at a time, until the test ends.
async fn serve(files: HashMap<String, Vec<u8>>) -> Tiles {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 4096];
            let length = stream.read(&mut request).await.unwrap();
            let request = String::from_utf8_lossy(&request[..length]).into_owned();
            let path = request.split(' ').nth(1).unwrap().trim_start_matches('/').to_owned();
            let (status, body) =
                files.get(&path).map_or(("404 Not Found", [].as_slice()), |body| ("200 OK", body));
            let head =
                format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            stream.write_all(&[head.as_bytes(), body].concat()).await.unwrap();
        }
    });
    Tiles::new(http::client(std::time::Duration::from_secs(30)).unwrap(), &format!("http://{address}/"))
}

/// A ledger in which every entry from `first` on was acknowledged, with the head of each tenth.
fn ledger(entries: &[Vec<u8>], first: usize) -> Ledger {
    let mut ledger = Ledger::default();
    for (index, entry) in entries.iter().enumerate().skip(first) {
        let leaf = Leaf { hash: leaf_hash(entry), index: Some(index as u64) };
        let head = (index % 10 == 0).then(|| head(&entries[..=index]));
        ledger.enter(Ok(Acknowledged { leaf: Some(leaf), head }));
    }
    ledger
}

async fn audit(served: &[Vec<u8>], acknowledged: &[Vec<u8>], first: usize) -> Result<Ledger> {
    let mut ledger = ledger(acknowledged, first);
    let tiles = serve(files(served)).await;
    tiles.audit(head(&acknowledged[..first]), head(served), &mut ledger).await?;
    Ok(ledger)
}

#[tokio::test]
async fn a_log_that_keeps_its_promises_passes_from_any_start() {
    let entries = entries(700);
    for first in [0, 1, 255, 256, 300, 512, 699] {
        let ledger = audit(&entries, &entries, first).await.unwrap();
        assert_eq!((ledger.breaches, ledger.verified), (0, 700 - first), "{first}: {:?}", ledger.told);
    }
}

#[tokio::test]
async fn an_acknowledged_entry_that_is_not_there_is_found() {
    let promised = entries(300);
    let ledger = audit(&promised[..299], &promised, 10).await.unwrap();
    assert_eq!(ledger.breaches, 1, "{:?}", ledger.told);
    assert!(ledger.told[0].contains("entry 299"), "{:?}", ledger.told);
}

#[tokio::test]
async fn an_entry_that_was_replaced_is_found_with_the_heads_after_it() {
    let promised = entries(300);
    let mut kept = promised.clone();
    kept[285] = b"another".to_vec();
    let ledger = audit(&kept, &promised, 260).await.unwrap();
    // The entry, and the heads of 291.
    assert_eq!(ledger.breaches, 2, "{:?}", ledger.told);
    assert!(ledger.told[0].contains("entry 285 was acknowledged"), "{:?}", ledger.told);
    assert!(ledger.told[1].contains("the head of 291 entries"), "{:?}", ledger.told);
}

#[tokio::test]
async fn a_bundle_that_is_not_what_the_head_signs_is_found() {
    let entries = entries(300);
    let mut other = entries.clone();
    other[299] = b"another".to_vec();
    let mut served = files(&entries);
    served.extend(files(&other).into_iter().filter(|(path, _)| path.starts_with("tile/entries/001")));
    let mut ledger = Ledger::default();
    let tiles = serve(served).await;
    tiles.audit(head(&entries[..0]), head(&entries), &mut ledger).await.unwrap();
    assert!(ledger.told[0].contains("do not make the final root"), "{:?}", ledger.told);
}

#[tokio::test]
async fn a_log_that_lost_its_past_cannot_be_audited() {
    let promised = entries(300);
    let mut kept = promised.clone();
    kept[5] = b"another".to_vec();
    let error = audit(&kept, &promised, 290).await.unwrap_err().to_string();
    assert!(error.contains("no longer has the 290 entries"), "{error}");
    let error = audit(&promised[..100], &promised, 200).await.unwrap_err().to_string();
    assert!(error.contains("has shrunk"), "{error}");
}

#[tokio::test]
async fn a_head_beyond_the_final_tree_is_found() {
    let entries = entries(20);
    let mut ledger = Ledger::default();
    ledger.saw(head(&entries));
    let tiles = serve(files(&entries[..15])).await;
    tiles.audit(head(&entries[..0]), head(&entries[..15]), &mut ledger).await.unwrap();
    assert_eq!(ledger.told, ["a head of 20 entries was signed, and the final tree has 15"]);
}
