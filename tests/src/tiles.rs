//! A reader of a log's C2SP face: it downloads every entry and recomputes the whole tree under the signed checkpoint.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use chancery_tlog::checkpoint::Checkpoint;
use chancery_tlog::key::{Signer as _, SoftwareSigner};
use chancery_tlog::merkle::{CompactRange, Hash, leaf_hash};
use chancery_tlog::note::{KeyName, Note, NoteKey};
use chancery_tlog::tile::{EntryBundle, TILE_WIDTH, decode_bundle};

/// A log's prefix and key.
pub struct TiledLog {
    prefix: String,
    key: NoteKey,
    http: reqwest::Client,
}

/// All entries of a log at one moment, and every root that it has passed through.
pub struct Copy {
    /// The leaves.
    pub leaves: Vec<Vec<u8>>,
    roots: Vec<Hash>,
}

impl Copy {
    /// The root when the log had `size` entries.
    pub fn root_at(&self, size: u64) -> Option<&Hash> {
        self.roots.get(usize::try_from(size).ok()?)
    }
}

impl TiledLog {
    /// The log at `prefix`, whose origin is the prefix without its scheme, and whose private checkpoint key (the
    /// operator's file) stands in `key`.
    pub fn new(prefix: &str, key: &Path) -> Result<Self> {
        let origin = prefix.split_once("://").context("a URL")?.1;
        Self::named(prefix, origin, key)
    }

    /// The same for a log of another origin: that of a Rekor v2 log is the host alone.
    pub fn named(prefix: &str, origin: &str, key: &Path) -> Result<Self> {
        let signer = SoftwareSigner::from_pkcs8_pem(&std::fs::read_to_string(key)?, None)?;
        let key = NoteKey::new(KeyName::new(origin)?, signer.public_key().clone())?;
        Ok(Self { prefix: prefix.to_owned(), key, http: crate::http()? })
    }

    /// The signed checkpoint.
    pub async fn checkpoint(&self) -> Result<Checkpoint> {
        let note = Note::parse(&self.get("checkpoint").await?)?;
        note.verify(std::slice::from_ref(&self.key))?;
        let checkpoint = Checkpoint::parse(note.text())?;
        ensure!(checkpoint.origin.as_str() == self.key.name().as_str(), "another log's checkpoint");
        Ok(checkpoint)
    }

    /// Downloads every entry and demands that together they make the signed root.
    pub async fn copy(&self) -> Result<Copy> {
        let checkpoint = self.checkpoint().await?;
        let mut leaves = Vec::new();
        for index in 0..checkpoint.size.div_ceil(TILE_WIDTH) {
            let width = u16::try_from(TILE_WIDTH.min(checkpoint.size - index * TILE_WIDTH))?;
            let bundle = self.get(&EntryBundle { index, width }.path()).await?;
            leaves.extend(decode_bundle(&bundle)?.into_iter().take(width.into()).map(<[u8]>::to_vec));
        }
        let mut range = CompactRange::new();
        let mut roots = vec![range.root()];
        for leaf in &leaves {
            range.append(leaf_hash(leaf), |_, _| {});
            roots.push(range.root());
        }
        ensure!(
            range.size() == checkpoint.size,
            "{} entries under a head of {}",
            range.size(),
            checkpoint.size
        );
        ensure!(range.root() == checkpoint.root, "the entries do not make the signed root");
        Ok(Copy { leaves, roots })
    }

    async fn get(&self, path: &str) -> Result<Vec<u8>> {
        let answer = self.http.get(format!("{}/{path}", self.prefix)).send().await?;
        ensure!(answer.status().is_success(), "{path} answers {}", answer.status());
        Ok(answer.bytes().await?.to_vec())
    }
}
