//! After the load: is every acknowledged entry in the final tree, and does that tree extend every head ever signed?
//!
//! The tree is rebuilt from its entry bundles, from where it stood before the run to its final signed head. The right
//! edge of before is checked against the head of before, so the rebuilt root stands on nothing that is merely claimed.

use std::collections::HashMap;

use anyhow::{Context as _, Result, ensure};
use chancery_tlog::merkle::{CompactRange, Hash, NodeId, leaf_hash, node_hash};
use chancery_tlog::tile::{EntryBundle, HashTile, TILE_WIDTH, decode_bundle};
use futures::{StreamExt as _, TryStreamExt as _};
use reqwest::Client;

use crate::http;
use crate::ledger::Ledger;
use crate::trust::TreeHead;

/// Bundles that are fetched at the same time.
const AT_ONCE: usize = 8;
/// Levels of a tree in one tile.
const TILE_HEIGHT: u8 = 8;

/// The C2SP face of a log.
#[derive(Clone)]
pub(crate) struct Tiles {
    client: Client,
    prefix: String,
}

impl Tiles {
    /// The tiles under `prefix`.
    pub(crate) fn new(client: Client, prefix: &str) -> Self {
        Self { client, prefix: prefix.trim_end_matches('/').to_owned() }
    }

    /// Its checkpoint as it stands there; `None` if there is no such log.
    pub(crate) async fn checkpoint(&self) -> Result<Option<String>> {
        let found = http::find(&self.client, &format!("{}/checkpoint", self.prefix)).await?;
        found.map(|note| String::from_utf8(note.to_vec()).context("the checkpoint is not text")).transpose()
    }

    /// The bytes of the tile or bundle with this path.
    pub(crate) async fn bytes(&self, path: &str) -> Result<bytes::Bytes> {
        http::get(&self.client, &self.url(path)).await
    }

    /// Where the tile or bundle with this path is.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.prefix)
    }

    /// Rebuilds the tree from `start` to `last` and enters into the ledger what does not hold.
    pub(crate) async fn audit(&self, start: TreeHead, last: TreeHead, ledger: &mut Ledger) -> Result<()> {
        ensure!(start.size <= last.size, "the log has shrunk from {} to {} entries", start.size, last.size);
        let mut rebuilt = Rebuilt::new(self.edge(start, last.size).await?, ledger);
        let first = start.size / TILE_WIDTH;
        let mut bundles = futures::stream::iter(first..last.size.div_ceil(TILE_WIDTH))
            .map(|index| async move {
                let bundle = EntryBundle { index, width: width(last.size, index) };
                Ok::<_, anyhow::Error>((bundle, self.bytes(&bundle.path()).await?))
            })
            .buffered(AT_ONCE);
        while let Some((bundle, bytes)) = bundles.try_next().await? {
            let entries = decode_bundle(&bytes).with_context(|| bundle.path())?;
            let long = entries.len() >= usize::from(bundle.width);
            ensure!(long, "{} is shorter than its width", bundle.path());
            let known = start.size.saturating_sub(bundle.index * TILE_WIDTH);
            let new = entries.into_iter().take(bundle.width.into()).skip(usize::try_from(known)?);
            new.for_each(|entry| rebuilt.append(leaf_hash(entry)));
        }
        rebuilt.conclude(last);
        Ok(())
    }

    /// The right edge of the tree as it was at `start`, read from the tree of `size`.
    async fn edge(&self, start: TreeHead, size: u64) -> Result<CompactRange> {
        let mut hashes = Vec::new();
        for id in CompactRange::node_ids(start.size) {
            hashes.push(self.node(id, size).await?);
        }
        let edge = CompactRange::from_parts(start.size, hashes)?;
        ensure!(
            edge.root() == start.root,
            "the log no longer has the {} entries of before the run",
            start.size
        );
        Ok(edge)
    }

    /// A node, folded from the tile that holds its descendants.
    async fn node(&self, id: NodeId, size: u64) -> Result<Hash> {
        let (level, height) = (id.level / TILE_HEIGHT, id.level % TILE_HEIGHT);
        let first = id.index << height;
        let index = first / TILE_WIDTH;
        let width = width(size >> (level * TILE_HEIGHT), index);
        let tile = HashTile { level, index, width };
        let bytes = self.bytes(&tile.path()).await?;
        let from = usize::try_from(first % TILE_WIDTH)? * 32;
        let part = bytes
            .get(from..from + (32 << height))
            .with_context(|| format!("{} is too short", tile.path()))?;
        let mut hashes = part.chunks(32).map(Hash::from_slice).collect::<Result<Vec<_>, _>>()?;
        while hashes.len() > 1 {
            hashes = hashes.chunks(2).map(|pair| node_hash(&pair[0], &pair[1])).collect();
        }
        hashes.pop().context("a node has descendants")
    }
}

/// Nodes of tile `index` in a level of `nodes`, at least 1.
pub(crate) fn width(nodes: u64, index: u64) -> u16 {
    u16::try_from(nodes.saturating_sub(index * TILE_WIDTH).clamp(1, TILE_WIDTH)).unwrap_or(u16::MAX)
}

/// A tree that grows leaf by leaf, and what the ledger expects of each step.
struct Rebuilt<'l> {
    range: CompactRange,
    ledger: &'l mut Ledger,
    /// Leaves whose index the server has named.
    expected: HashMap<u64, Hash>,
}

impl<'l> Rebuilt<'l> {
    fn new(range: CompactRange, ledger: &'l mut Ledger) -> Self {
        let mut expected = HashMap::with_capacity(ledger.leaves.len());
        let mut twice = Vec::new();
        for leaf in &ledger.leaves {
            let Some(index) = leaf.index else { continue };
            if expected.insert(index, leaf.hash).is_some_and(|other| other != leaf.hash) {
                twice.push(index);
            }
        }
        for index in twice {
            ledger.breach(format!("two entries were acknowledged at index {index}"));
        }
        let mut rebuilt = Self { range, ledger, expected };
        rebuilt.check_head();
        rebuilt
    }

    fn append(&mut self, leaf: Hash) {
        let index = self.range.size();
        if let Some(expected) = self.expected.remove(&index)
            && expected != leaf
        {
            self.ledger
                .breach(format!("entry {index} was acknowledged as {expected}, and the log holds {leaf}"));
        }
        self.range.append(leaf, |_, _| {});
        self.check_head();
    }

    /// The head that was signed for this size, if one was.
    fn check_head(&mut self) {
        let size = self.range.size();
        let Some(signed) = self.ledger.heads.get(&size).copied() else { return };
        let rebuilt = self.range.root();
        if signed != rebuilt {
            self.ledger.breach(format!(
                "the head of {size} entries is signed as {signed}, its entries make {rebuilt}"
            ));
        }
    }

    fn conclude(self, last: TreeHead) {
        let Self { range, ledger, expected } = self;
        if range.root() != last.root {
            ledger.breach(format!("the entries do not make the final root of {} entries", last.size));
        }
        let mut missing: Vec<_> = expected.into_iter().collect();
        missing.sort_unstable();
        for (index, hash) in missing {
            ledger.breach(format!(
                "the acknowledged entry {index} ({hash}) is not in the final tree of {}",
                last.size
            ));
        }
        let beyond: Vec<_> = ledger.heads.range(last.size + 1..).map(|(size, _)| *size).collect();
        for size in beyond {
            ledger
                .breach(format!("a head of {size} entries was signed, and the final tree has {}", last.size));
        }
    }
}

#[cfg(test)]
mod tests;
