//! C2SP tiles: tile coordinates, their paths, and entry bundles. <https://c2sp.org/tlog-tiles>

use crate::merkle::NodeId;

/// Hashes in a full tile.
pub const TILE_WIDTH: u64 = 256;
/// Tree levels in a tile.
const TILE_HEIGHT: u8 = 8;
/// Width of a full tile.
const FULL: u16 = 256;
/// Longer than the longest path, of seven index groups.
const MAX_PATH: usize = 64;
/// Largest entry that an entry bundle can carry: its length prefix is 16 bits.
pub const MAX_ENTRY: usize = 65_535;

/// Why a path or bundle is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TileError {
    /// The path is not the one canonical spelling of a tile.
    #[error("not a tile path: {0}")]
    Path(&'static str),
    /// A bundle's lengths do not add up.
    #[error("malformed entry bundle: {0}")]
    Bundle(&'static str),
    /// An entry is larger than [`MAX_ENTRY`].
    #[error("an entry of {0} bytes does not fit an entry bundle (at most {MAX_ENTRY})")]
    EntryTooLarge(usize),
}

/// What a tile holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TileKind {
    /// Hashes of tree level `8 * level`; level 0 to 7 (a 64-bit tree has no more).
    Hashes {
        /// Tile level.
        level: u8,
    },
    /// Entries: an entry bundle.
    Entries,
}

/// A tile or entry bundle: `tile/<L>/<N>[.p/<W>]` or `tile/entries/<N>[.p/<W>]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tile {
    /// Hashes of a level, or entries.
    pub kind: TileKind,
    /// Position among the tiles of that level.
    pub index: u64,
    /// Hashes or entries in it: 256 for a full tile, 1 to 255 for a partial one.
    pub width: u16,
}

impl Tile {
    /// Parses the path below the log's prefix, without a leading slash.
    pub fn parse_path(path: &str) -> Result<Self, TileError> {
        if path.len() > MAX_PATH {
            return Err(TileError::Path("longer than any tile's path"));
        }
        let below = path.strip_prefix("tile/").ok_or(TileError::Path("it does not start with `tile/`"))?;
        let (kind, rest) = below.split_once('/').ok_or(TileError::Path("it has no tile index"))?;
        let kind = match kind {
            "entries" => TileKind::Entries,
            level => TileKind::Hashes { level: parse_number(level)? },
        };
        let (index, width) = match rest.rsplit_once(".p/") {
            Some((index, width)) => (index, parse_number(width)?),
            None => (rest, FULL),
        };
        let tile = Self { kind, index: parse_index(index)?, width };
        if tile.end().is_none() {
            return Err(TileError::Path("no tree of 64-bit size has such a tile"));
        }
        // The one check that makes the spelling canonical: zeros, groups, `.p/256`, all of it.
        if tile.path() != path {
            return Err(TileError::Path("it is not spelled canonically"));
        }
        Ok(tile)
    }
    /// The path below the log's prefix.
    pub fn path(&self) -> String {
        let mut index = format!("{:03}", self.index % 1000);
        let mut rest = self.index / 1000;
        while rest > 0 {
            index = format!("x{:03}/{index}", rest % 1000);
            rest /= 1000;
        }
        let width = if self.width == FULL { String::new() } else { format!(".p/{}", self.width) };
        match self.kind {
            TileKind::Hashes { level } => format!("tile/{level}/{index}{width}"),
            TileKind::Entries => format!("tile/entries/{index}{width}"),
        }
    }
    /// Whether a tree of `size` leaves has this tile with this width or more.
    pub fn exists_at(&self, size: u64) -> bool {
        self.end().is_some_and(|end| end <= size)
    }
    /// The complete nodes whose hashes make this tile, left to right; for entries the level-0 nodes.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> + use<> {
        let level = self.tree_level();
        let first = self.index.saturating_mul(TILE_WIDTH);
        (0..u64::from(self.width)).map(move |i| NodeId { level, index: first.saturating_add(i) })
    }

    /// Level in the tree of the nodes that this tile holds.
    fn tree_level(&self) -> u8 {
        match self.kind {
            TileKind::Hashes { level } => level.saturating_mul(TILE_HEIGHT),
            TileKind::Entries => 0,
        }
    }

    /// Leaves that a tree must have for this tile to exist; `None` if no tree has it.
    fn end(&self) -> Option<u64> {
        if !(1..=FULL).contains(&self.width) {
            return None;
        }
        let nodes = self.index.checked_mul(TILE_WIDTH)?.checked_add(u64::from(self.width))?;
        nodes.checked_mul(1_u64.checked_shl(u32::from(self.tree_level()))?)
    }
}

/// Encodes entries as a bundle: big-endian `u16` length, then the entry, repeated. A bundle has 1 to 256 entries.
pub fn encode_bundle(entries: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Result<Vec<u8>, TileError> {
    let mut bundle = Vec::new();
    let mut count = 0;
    for entry in entries {
        let entry = entry.as_ref();
        let length = u16::try_from(entry.len()).map_err(|_| TileError::EntryTooLarge(entry.len()))?;
        bundle.extend_from_slice(&length.to_be_bytes());
        bundle.extend_from_slice(entry);
        count += 1;
        check_count(count)?;
    }
    if count == 0 {
        return Err(TileError::Bundle("it has no entry"));
    }
    Ok(bundle)
}

/// Decodes a bundle into 1 to 256 entries.
pub fn decode_bundle(bundle: &[u8]) -> Result<Vec<&[u8]>, TileError> {
    let mut entries = Vec::new();
    let mut rest = bundle;
    while let Some((length, after)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes(*length));
        let (entry, after) =
            after.split_at_checked(length).ok_or(TileError::Bundle("an entry is cut short"))?;
        entries.push(entry);
        check_count(entries.len())?;
        rest = after;
    }
    if !rest.is_empty() {
        return Err(TileError::Bundle("a length is cut short"));
    }
    if entries.is_empty() {
        return Err(TileError::Bundle("it has no entry"));
    }
    Ok(entries)
}

fn check_count(entries: usize) -> Result<(), TileError> {
    if entries > usize::from(FULL) {
        return Err(TileError::Bundle("it has more than 256 entries"));
    }
    Ok(())
}

fn parse_number<N: std::str::FromStr>(text: &str) -> Result<N, TileError> {
    text.parse().map_err(|_| TileError::Path("a level or width is not a number in range"))
}

/// Reads `x001/x234/067`: groups of three digits, all but the last marked with an `x`.
fn parse_index(text: &str) -> Result<u64, TileError> {
    let malformed = TileError::Path("the tile index is not made of groups of three digits");
    let group = |group: &str| group.trim_start_matches('x').parse::<u16>().ok().filter(|n| *n < 1000);
    let joined =
        text.split('/').try_fold(0_u64, |n, text| n.checked_mul(1000)?.checked_add(group(text)?.into()));
    joined.ok_or(malformed)
}

#[cfg(test)]
mod tests;
