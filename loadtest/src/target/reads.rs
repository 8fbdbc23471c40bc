//! Reads: hash tiles, entry bundles and the checkpoint of a log's C2SP face, and entries of a Rekor v1 log by id.
//!
//! What a tile holds never changes, so each is read once before the clock starts, its hashes compared with those of
//! its bundle's entries, and every later read must give the same bytes, packed or not.

use std::io::Read as _;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use chancery_tlog::checkpoint::Checkpoint;
use chancery_tlog::merkle::leaf_hash;
use chancery_tlog::note::Note;
use chancery_tlog::tile::{EntryBundle, HashTile, TILE_WIDTH, decode_bundle};
use clap::ValueEnum;
use flate2::read::MultiGzDecoder;
use reqwest::header::{ACCEPT_ENCODING, HeaderValue};
use reqwest::{Method, Request};
use url::Url;

use super::Target;
use super::rekor_v1::RekorV1Log;
use crate::audit::{Tiles, width};
use crate::ceiling::Operation;
use crate::ledger::{Acknowledged, Ledger};

/// Tiles, and entries, that are read over and over.
const SAMPLE: u64 = 64;

/// A kind of read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// A tenth checkpoints, and of the rest half tiles and bundles, half entries by id if there are any
    Mix,
    /// The checkpoint
    Checkpoint,
    /// Hash tiles of level 0
    Hashes,
    /// Entry bundles
    Bundles,
    /// Entry bundles, packed by gzip
    Packed,
    /// Entries of a Rekor v1 log by their ids
    Entries,
}

impl Kind {
    /// What it is called in a report.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Mix => "reads",
            Self::Checkpoint => "reads: checkpoint",
            Self::Hashes => "reads: hashes",
            Self::Bundles => "reads: bundles",
            Self::Packed => "reads: packed",
            Self::Entries => "reads: entries",
        }
    }
}

/// Reads of a log.
pub(crate) struct Reads {
    kind: Kind,
    checkpoint: Url,
    size: u64,
    hashes: Vec<(Url, Bytes)>,
    bundles: Vec<(Url, Bytes)>,
    entries: Vec<Url>,
    v1: Option<RekorV1Log>,
}

/// One read.
#[derive(Clone, Copy)]
pub(crate) enum Read {
    /// The checkpoint.
    Checkpoint,
    /// A hash tile of the sample.
    Hashes(usize),
    /// A bundle of the sample.
    Bundle(usize),
    /// The same, packed.
    Packed(usize),
    /// An entry of the sample by its id.
    Entry(usize),
}

impl Reads {
    /// Reads of this kind of the log whose tiles are under `prefix`; and by id, if there is one, of a Rekor v1 log.
    pub(crate) async fn new(kind: Kind, tiles: Tiles, prefix: &str, v1: Option<RekorV1Log>) -> Result<Self> {
        let checkpoint = Url::parse(&format!("{}/checkpoint", prefix.trim_end_matches('/')))?;
        let note = tiles
            .checkpoint()
            .await?
            .with_context(|| format!("no log at {checkpoint}: say where with `--tiles`"))?;
        let size = read_checkpoint(note.as_bytes())?;
        ensure!(size > 0, "the log at {checkpoint} is empty: there is nothing to read");
        let (hashes, bundles) = sample(&tiles, size).await?;
        let entries = match &v1 {
            Some(log) => entries(log).await?,
            None => Vec::new(),
        };
        ensure!(kind != Kind::Entries || !entries.is_empty(), "the server has no Rekor v1 log with entries");
        Ok(Self { kind, checkpoint, size, hashes, bundles, entries, v1 })
    }

    /// What has a ceiling: a single kind. A packed bundle is sent as the bytes that the server makes of it, which are not
    /// known, so it has none.
    pub(crate) fn operation(&self) -> Option<Operation> {
        let mean = |tiles: &[(Url, Bytes)]| {
            tiles.iter().map(|(_, bytes)| bytes.len()).sum::<usize>() / tiles.len().max(1)
        };
        match self.kind {
            Kind::Mix | Kind::Packed => None,
            Kind::Checkpoint => Some(Operation::Read { bytes: 0 }),
            Kind::Hashes => Some(Operation::Read { bytes: mean(&self.hashes) }),
            Kind::Bundles => Some(Operation::Read { bytes: mean(&self.bundles) }),
            Kind::Entries => Some(Operation::ReadEntry),
        }
    }

    fn mixed(&self, n: usize) -> Read {
        match (n % 10, self.entries.len()) {
            (0, _) => Read::Checkpoint,
            (part, entries) if part % 2 == 0 && entries > 0 => Read::Entry(n / 2 % entries),
            _ if (n / 2).is_multiple_of(2) => Read::Hashes(n / 4 % self.hashes.len()),
            _ => Read::Bundle(n / 4 % self.bundles.len()),
        }
    }
}

impl Target for Reads {
    type Shot = Read;

    async fn prepare(&self, count: usize) -> Result<Vec<Read>> {
        let read = |n: usize| match self.kind {
            Kind::Mix => self.mixed(n),
            Kind::Checkpoint => Read::Checkpoint,
            Kind::Hashes => Read::Hashes(n % self.hashes.len()),
            Kind::Bundles => Read::Bundle(n % self.bundles.len()),
            Kind::Packed => Read::Packed(n % self.bundles.len()),
            Kind::Entries => Read::Entry(n % self.entries.len()),
        };
        Ok((0..count).map(read).collect())
    }

    fn request(&self, shot: &Read) -> Request {
        let url = match shot {
            Read::Checkpoint => &self.checkpoint,
            Read::Hashes(n) => &self.hashes[*n].0,
            Read::Bundle(n) | Read::Packed(n) => &self.bundles[*n].0,
            Read::Entry(n) => &self.entries[*n],
        };
        let mut request = Request::new(Method::GET, url.clone());
        if let Read::Packed(_) = shot {
            request.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        }
        request
    }

    fn verify(&self, shot: &Read, answer: &[u8]) -> Result<Acknowledged> {
        match shot {
            Read::Checkpoint => ensure!(read_checkpoint(answer)? >= self.size, "the log has shrunk"),
            Read::Hashes(n) => same(&self.hashes[*n], answer)?,
            Read::Bundle(n) => same(&self.bundles[*n], answer)?,
            Read::Packed(n) => same(&self.bundles[*n], &unpacked(answer, self.bundles[*n].1.len())?)?,
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

    fn entries(&self) -> Option<u64> {
        Some(self.size)
    }

    /// Every read was compared with what it must be already.
    async fn audit(&self, _: &mut Ledger) -> Result<()> {
        Ok(())
    }
}

fn read_checkpoint(note: &[u8]) -> Result<u64> {
    Ok(Checkpoint::parse(Note::parse(note)?.text())?.size)
}

fn same((url, known): &(Url, Bytes), answer: &[u8]) -> Result<()> {
    ensure!(known == answer, "{url} has changed");
    Ok(())
}

/// What was packed, if it is no more than a little over what it should be.
fn unpacked(packed: &[u8], expected: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(expected);
    MultiGzDecoder::new(packed)
        .take(expected as u64 + 1)
        .read_to_end(&mut bytes)
        .context("not packed by gzip")?;
    Ok(bytes)
}

/// Tiles with their addresses.
type Sample = Vec<(Url, Bytes)>;

/// The last hash tiles of the log and their bundles, compared with each other.
async fn sample(tiles: &Tiles, size: u64) -> Result<(Sample, Sample)> {
    let count = size.div_ceil(TILE_WIDTH);
    let (mut hash_tiles, mut bundles) = (Vec::new(), Vec::new());
    for index in count.saturating_sub(SAMPLE)..count {
        let width = width(size, index);
        let hashes = HashTile { level: 0, index, width }.path();
        let bundle = EntryBundle { index, width }.path();
        let (hashes_read, bundle_read) = (tiles.bytes(&hashes).await?, tiles.bytes(&bundle).await?);
        let leaves: Vec<u8> =
            decode_bundle(&bundle_read)?.into_iter().flat_map(|entry| *leaf_hash(entry).as_bytes()).collect();
        ensure!(leaves == hashes_read, "{hashes} is not of the entries in {bundle}");
        hash_tiles.push((Url::parse(&tiles.url(&hashes))?, hashes_read));
        bundles.push((Url::parse(&tiles.url(&bundle))?, bundle_read));
    }
    Ok((hash_tiles, bundles))
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
