//! Reads: hash tiles, entry bundles and the checkpoint of a log's C2SP face, and entries of a Rekor v1 log by id.
//!
//! What a tile holds never changes, so each is read once before the clock starts, its hashes compared with those of
//! its bundle's entries, and every later read must give the same bytes.

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use chancery_tlog::checkpoint::Checkpoint;
use chancery_tlog::merkle::leaf_hash;
use chancery_tlog::note::Note;
use chancery_tlog::tile::{TILE_WIDTH, Tile, TileKind, decode_bundle};
use reqwest::{Method, Request};
use url::Url;

use super::Target;
use super::rekor_v1::RekorV1Log;
use crate::audit::{Tiles, width};
use crate::ledger::{Acknowledged, Ledger};

/// Tiles, and entries, that are read over and over.
const SAMPLE: u64 = 64;

/// Reads of a log.
pub(crate) struct Reads {
    checkpoint: Url,
    size: u64,
    tiles: Vec<(Url, Bytes)>,
    entries: Vec<Url>,
    v1: Option<RekorV1Log>,
}

/// One read.
#[derive(Clone, Copy)]
pub(crate) enum Read {
    /// The checkpoint.
    Checkpoint,
    /// A tile or bundle of the sample.
    Tile(usize),
    /// An entry of the sample by its id.
    Entry(usize),
}

impl Reads {
    /// Reads of the log whose tiles are under `prefix`; and by id, if there is one, of a Rekor v1 log.
    pub(crate) async fn new(tiles: Tiles, prefix: &str, v1: Option<RekorV1Log>) -> Result<Self> {
        let checkpoint = Url::parse(&format!("{}/checkpoint", prefix.trim_end_matches('/')))?;
        let note = tiles
            .checkpoint()
            .await?
            .with_context(|| format!("no log at {checkpoint}: say where with `--tiles`"))?;
        let size = read_checkpoint(note.as_bytes())?;
        ensure!(size > 0, "the log at {checkpoint} is empty: there is nothing to read");
        let sample = sample(&tiles, size).await?;
        let entries = match &v1 {
            Some(log) => entries(log).await?,
            None => Vec::new(),
        };
        Ok(Self { checkpoint, size, tiles: sample, entries, v1 })
    }
}

impl Target for Reads {
    type Shot = Read;

    /// A tenth checkpoints, and of the rest half tiles and half entries.
    async fn prepare(&self, count: usize) -> Result<Vec<Read>> {
        let read = |n: usize| match (n % 10, self.entries.len()) {
            (0, _) => Read::Checkpoint,
            (part, entries) if part % 2 == 0 && entries > 0 => Read::Entry(n / 2 % entries),
            _ => Read::Tile(n / 2 % self.tiles.len()),
        };
        Ok((0..count).map(read).collect())
    }

    fn request(&self, shot: &Read) -> Request {
        let url = match shot {
            Read::Checkpoint => &self.checkpoint,
            Read::Tile(n) => &self.tiles[*n].0,
            Read::Entry(n) => &self.entries[*n],
        };
        Request::new(Method::GET, url.clone())
    }

    fn verify(&self, shot: &Read, answer: &[u8]) -> Result<Acknowledged> {
        match shot {
            Read::Checkpoint => ensure!(read_checkpoint(answer)? >= self.size, "the log has shrunk"),
            Read::Tile(n) => ensure!(self.tiles[*n].1 == answer, "{} has changed", self.tiles[*n].0),
            Read::Entry(n) => {
                let log = self.v1.as_ref().context("entries are read of a Rekor v1 log")?;
                let entry = log.entry(answer)?;
                let asked = self.entries[*n].path().ends_with(&entry.leaf.hash.to_hex());
                ensure!(asked, "another entry than the one that was asked for");
                return Ok(Acknowledged { leaf: None, head: Some(entry.head) });
            }
        }
        Ok(Acknowledged::default())
    }

    /// Every read was compared with what it must be already.
    async fn audit(&self, _: &mut Ledger) -> Result<()> {
        Ok(())
    }
}

fn read_checkpoint(note: &[u8]) -> Result<u64> {
    Ok(Checkpoint::parse(Note::parse(note)?.text())?.size)
}

/// The last tiles of the log with their bundles, compared with each other.
async fn sample(tiles: &Tiles, size: u64) -> Result<Vec<(Url, Bytes)>> {
    let count = size.div_ceil(TILE_WIDTH);
    let mut sample = Vec::new();
    for index in count.saturating_sub(SAMPLE)..count {
        let width = width(size, index);
        let hashes = Tile { kind: TileKind::Hashes { level: 0 }, index, width };
        let bundle = Tile { kind: TileKind::Entries, index, width };
        let (hashes_read, bundle_read) = (tiles.bytes(hashes).await?, tiles.bytes(bundle).await?);
        let leaves: Vec<u8> =
            decode_bundle(&bundle_read)?.into_iter().flat_map(|entry| *leaf_hash(entry).as_bytes()).collect();
        ensure!(leaves == hashes_read, "{} is not of the entries in {}", hashes.path(), bundle.path());
        sample.push((Url::parse(&tiles.url(hashes))?, hashes_read));
        sample.push((Url::parse(&tiles.url(bundle))?, bundle_read));
    }
    Ok(sample)
}

/// Where the last entries of the log are read by their ids.
async fn entries(log: &RekorV1Log) -> Result<Vec<Url>> {
    let size = log.head().await?.size;
    let mut urls = Vec::new();
    for index in size.saturating_sub(SAMPLE)..size {
        let entry = log.entry(&log.by_index(index).await?)?;
        urls.push(log.entry_url(&entry.leaf.hash)?);
    }
    Ok(urls)
}
