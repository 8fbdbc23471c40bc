//! C2SP tiles: tile coordinates, their paths, and entry bundles. <https://c2sp.org/tlog-tiles>
//!
//! Hash tiles and entry bundles are separate types with separate parsers, because hash tiles are public and
//! entries may not be: no spelling of a path makes the parser of hash tiles return an entry bundle.

use std::ops::Range;

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

/// A tile of hashes: `tile/<L>/<N>[.p/<W>]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HashTile {
    /// Tile level: hashes of tree level `8 * level`, from 0 to 7 (a 64-bit tree has no more).
    pub level: u8,
    /// Position among the tiles of that level.
    pub index: u64,
    /// Hashes in it: 256 for a full tile, 1 to 255 for a partial one.
    pub width: u16,
}

/// An entry bundle: `tile/entries/<N>[.p/<W>]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EntryBundle {
    /// Position among the bundles.
    pub index: u64,
    /// Entries in it: 256 for a full bundle, 1 to 255 for a partial one.
    pub width: u16,
}

impl HashTile {
    /// Parses `tile/<L>/<N>[.p/<W>]`, the path below the log's prefix, without a leading slash.
    pub fn parse_path(path: &str) -> Result<Self, TileError> {
        let below = within_limit(path)?.strip_prefix("tile/");
        Self::parse_tail(below.ok_or(TileError::Path("it does not start with `tile/`"))?)
    }

    /// Parses `<L>/<N>[.p/<W>]`, the path below `tile/`.
    pub fn parse_tail(tail: &str) -> Result<Self, TileError> {
        let (level, rest) =
            within_limit(tail)?.split_once('/').ok_or(TileError::Path("it has no tile index"))?;
        let (index, width) = parse_place(rest)?;
        let tile = Self { level: parse_number(level)?, index, width };
        checked(tile, tile.end(), tile.tail() == tail)
    }

    /// The path below the log's prefix.
    pub fn path(&self) -> String {
        format!("tile/{}", self.tail())
    }

    /// Whether a tree of `size` leaves has this tile with this width or more.
    pub fn exists_at(&self, size: u64) -> bool {
        self.end().is_some_and(|end| end <= size)
    }

    /// True for a tile of 256 hashes, which never changes.
    pub fn is_full(&self) -> bool {
        self.width == FULL
    }

    /// The complete nodes whose hashes make this tile, left to right.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> + use<> {
        let level = self.tree_level();
        let first = self.index.saturating_mul(TILE_WIDTH);
        (0..u64::from(self.width)).map(move |i| NodeId { level, index: first.saturating_add(i) })
    }

    fn tail(&self) -> String {
        format!("{}/{}", self.level, place(self.index, self.width))
    }

    /// Level in the tree of the nodes that this tile holds.
    fn tree_level(&self) -> u8 {
        self.level.saturating_mul(TILE_HEIGHT)
    }

    /// Leaves that a tree must have for this tile to exist; `None` if no tree has it.
    fn end(&self) -> Option<u64> {
        let nodes = end_of(self.index, self.width)?;
        nodes.checked_mul(1_u64.checked_shl(u32::from(self.tree_level()))?)
    }
}

impl EntryBundle {
    /// Parses `tile/entries/<N>[.p/<W>]`, the path below the log's prefix, without a leading slash.
    pub fn parse_path(path: &str) -> Result<Self, TileError> {
        let below = within_limit(path)?.strip_prefix("tile/entries/");
        Self::parse_tail(below.ok_or(TileError::Path("it does not start with `tile/entries/`"))?)
    }

    /// Parses `<N>[.p/<W>]`, the path below `tile/entries/`.
    pub fn parse_tail(tail: &str) -> Result<Self, TileError> {
        let (index, width) = parse_place(within_limit(tail)?)?;
        let bundle = Self { index, width };
        checked(bundle, bundle.end(), place(index, width) == tail)
    }

    /// The path below the log's prefix.
    pub fn path(&self) -> String {
        format!("tile/entries/{}", place(self.index, self.width))
    }

    /// True if a tree of `size` leaves has this bundle with this width or more.
    pub fn exists_at(&self, size: u64) -> bool {
        self.end().is_some_and(|end| end <= size)
    }

    /// True for a bundle of 256 entries, which never changes.
    pub fn is_full(&self) -> bool {
        self.width == FULL
    }

    /// Indexes of its entries in the log.
    pub fn entries(&self) -> Range<u64> {
        let first = self.index.saturating_mul(TILE_WIDTH);
        first..first.saturating_add(self.width.into())
    }

    fn end(&self) -> Option<u64> {
        end_of(self.index, self.width)
    }
}

/// The one check that makes a spelling canonical: zeros, groups, `.p/256`, all of it.
fn checked<T>(parsed: T, end: Option<u64>, canonical: bool) -> Result<T, TileError> {
    if end.is_none() {
        return Err(TileError::Path("no tree of 64-bit size has such a tile"));
    }
    if canonical { Ok(parsed) } else { Err(TileError::Path("it is not spelled canonically")) }
}

fn within_limit(path: &str) -> Result<&str, TileError> {
    if path.len() > MAX_PATH { Err(TileError::Path("longer than any tile's path")) } else { Ok(path) }
}

/// The number of nodes or entries up to the end of the tile at `index` with this width.
fn end_of(index: u64, width: u16) -> Option<u64> {
    let width = (1..=FULL).contains(&width).then_some(width)?;
    index.checked_mul(TILE_WIDTH)?.checked_add(u64::from(width))
}

/// `<N>[.p/<W>]`
fn place(index: u64, width: u16) -> String {
    let mut groups = format!("{:03}", index % 1000);
    let mut rest = index / 1000;
    while rest > 0 {
        groups = format!("x{:03}/{groups}", rest % 1000);
        rest /= 1000;
    }
    if width == FULL { groups } else { format!("{groups}.p/{width}") }
}

fn parse_place(text: &str) -> Result<(u64, u16), TileError> {
    let (index, width) = match text.rsplit_once(".p/") {
        Some((index, width)) => (index, parse_number(width)?),
        None => (text, FULL),
    };
    Ok((parse_index(index)?, width))
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
