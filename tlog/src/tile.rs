//! C2SP tiles: tile coordinates, their paths, and entry bundles. <https://c2sp.org/tlog-tiles>

use crate::merkle::NodeId;

/// Hashes in a full tile.
pub const TILE_WIDTH: u64 = 256;
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
    pub fn parse_path(_path: &str) -> Result<Self, TileError> {
        unimplemented!()
    }
    /// The path below the log's prefix.
    pub fn path(&self) -> String {
        unimplemented!()
    }
    /// Whether a tree of `size` leaves has this tile with this width or more.
    pub fn exists_at(&self, _size: u64) -> bool {
        unimplemented!()
    }
    /// The complete nodes whose hashes make this tile, left to right; for entries the level-0 nodes.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> + use<> {
        let level = match self.kind {
            TileKind::Hashes { level } => level * 8,
            TileKind::Entries => 0,
        };
        let first = self.index.saturating_mul(TILE_WIDTH);
        (0..u64::from(self.width)).map(move |i| NodeId { level, index: first + i })
    }
}

/// Encodes entries as a bundle: big-endian `u16` length, then the entry, repeated.
pub fn encode_bundle<'e>(_entries: impl IntoIterator<Item = &'e [u8]>) -> Result<Vec<u8>, TileError> {
    unimplemented!()
}

/// Decodes a bundle into at most 256 entries.
pub fn decode_bundle(_bundle: &[u8]) -> Result<Vec<&[u8]>, TileError> {
    unimplemented!()
}
