//! Tile paths have one spelling, tiles exist by arithmetic, bundles round-trip. `tlog_tiles` is the oracle.

use proptest::prelude::*;

use super::*;

fn hashes(level: u8, index: u64, width: u16) -> HashTile {
    HashTile { level, index, width }
}

fn entries(index: u64, width: u16) -> EntryBundle {
    EntryBundle { index, width }
}

#[test]
fn paths_are_those_of_the_specification() {
    for (tile, path) in [
        (hashes(0, 0, 256), "tile/0/000"),
        (hashes(0, 1_234_067, 256), "tile/0/x001/x234/067"),
        (hashes(1, 999, 1), "tile/1/999.p/1"),
        (hashes(2, 1_000, 255), "tile/2/x001/000.p/255"),
        (hashes(7, 0, 255), "tile/7/000.p/255"),
    ] {
        assert_eq!(tile.path(), path);
        assert_eq!(HashTile::parse_path(path), Ok(tile));
        assert!(EntryBundle::parse_path(path).is_err(), "{path}");
    }
    for (bundle, path) in [
        (entries(273, 112), "tile/entries/273.p/112"),
        (entries(0, 256), "tile/entries/000"),
        (entries((1 << 56) - 1, 255), "tile/entries/x072/x057/x594/x037/x927/935.p/255"),
    ] {
        assert_eq!(bundle.path(), path);
        assert_eq!(EntryBundle::parse_path(path), Ok(bundle));
        assert!(HashTile::parse_path(path).is_err(), "{path}");
    }
}

#[test]
fn any_other_spelling_of_a_path_is_refused() {
    for path in [
        "",
        "tile",
        "tile/",
        "tile/0",
        "tile/0/",
        "/tile/0/000",
        "tile//000",
        "tile/0/000/",
        "tile/0//000",
        "Tile/0/000",
        // Groups: too short, too long, with and without their `x`, leading zero groups.
        "tile/0/0",
        "tile/0/00",
        "tile/0/0000",
        "tile/0/x000",
        "tile/0/1000",
        "tile/0/001/234",
        "tile/0/x001/x234",
        "tile/0/xx001/234",
        "tile/0/X001/234",
        "tile/0/x000/001",
        "tile/0/x000/x001/234",
        "tile/0/-01",
        "tile/0/+01",
        "tile/0/0 1",
        "tile/0/０００",
        // Levels.
        "tile/00/000",
        "tile/+1/000",
        "tile/8/000",
        "tile/63/000",
        "tile/256/000",
        "tile/x/000",
        "tile/data/000",
        "tile/Entries/000",
        // Widths.
        "tile/0/000.p",
        "tile/0/000.p/",
        "tile/0/000.p/0",
        "tile/0/000.p/01",
        "tile/0/000.p/+1",
        "tile/0/000.p/256",
        "tile/0/000.p/257",
        "tile/0/000.p/65537",
        "tile/0/000.p/1/",
        "tile/0/000.p/1.p/1",
        "tile/0/x001.p/234",
        "tile/0/000.P/1",
        "tile/0/000/.p/1",
        // Traversal and escapes.
        "tile/0/../000",
        "tile/0/%30%30%30",
        "tile/0/000?",
        "tile/0/000\0",
        // No 64-bit tree has these.
        "tile/entries/x072/x057/x594/x037/x927/936.p/1",
        "tile/7/001.p/1",
        "tile/7/000",
        "tile/0/x018/x446/x744/x073/x709/x551/616",
        "tile/0/x999/x999/x999/x999/x999/x999/x999/x999/999",
        "tile/0/x001/x001/x001/x001/x001/x001/x001/x001/x001/x001/x001/x001/x001/x001/001",
    ] {
        assert!(HashTile::parse_path(path).is_err(), "{path:?}");
        assert!(EntryBundle::parse_path(path).is_err(), "{path:?}");
    }
}

/// The worked example of the specification: 70,000 leaves.
#[test]
fn the_tiles_of_70_000_leaves_are_273_and_a_partial_112_then_1_and_17_then_1() {
    let exists = |level, index, width| hashes(level, index, width).exists_at(70_000);
    assert!(exists(0, 272, 256) && !exists(0, 273, 256));
    assert!(exists(0, 273, 112) && !exists(0, 273, 113));
    assert!(exists(1, 0, 256) && !exists(1, 1, 256));
    assert!(exists(1, 1, 17) && !exists(1, 1, 18));
    assert!(exists(2, 0, 1) && !exists(2, 0, 2));
    assert!(!exists(3, 0, 1));
    assert!(entries(273, 112).exists_at(70_000) && !entries(273, 113).exists_at(70_000));
}

#[test]
fn a_tree_of_256_leaves_has_one_full_tile_and_one_hash_above() {
    assert!(hashes(0, 0, 256).exists_at(256));
    assert!(hashes(1, 0, 1).exists_at(256));
    assert!(!hashes(0, 1, 1).exists_at(256));
    assert!(!hashes(1, 0, 1).exists_at(255));
    assert!(!hashes(0, 0, 1).exists_at(0));
}

#[test]
fn tiles_that_no_tree_has_exist_at_no_size_and_have_paths_without_panic() {
    for tile in [
        hashes(0, 0, 0),
        hashes(0, 0, 257),
        hashes(7, u64::MAX, 256),
        hashes(8, 0, 1),
        hashes(255, u64::MAX, u16::MAX),
    ] {
        assert!(!tile.exists_at(u64::MAX), "{tile:?}");
        assert!(HashTile::parse_path(&tile.path()).is_err(), "{tile:?}");
        assert_eq!(tile.nodes().count(), usize::from(tile.width));
    }
    for bundle in [entries(0, 0), entries(0, 257), entries(u64::MAX, 256)] {
        assert!(!bundle.exists_at(u64::MAX), "{bundle:?}");
        assert!(EntryBundle::parse_path(&bundle.path()).is_err(), "{bundle:?}");
    }
}

#[test]
fn the_nodes_of_a_tile_are_eight_levels_apart() {
    let nodes: Vec<_> = hashes(1, 1, 17).nodes().collect();
    assert_eq!(nodes.len(), 17);
    assert_eq!(nodes[0], NodeId { level: 8, index: 256 });
    assert_eq!(nodes[16], NodeId { level: 8, index: 272 });
    assert_eq!(entries(2, 1).entries(), 512..513);
}

#[test]
fn a_bundle_is_lengths_and_entries() {
    let bundle = encode_bundle([b"a".as_slice(), b"", b"xyz"]).unwrap();
    assert_eq!(bundle, b"\0\x01a\0\0\0\x03xyz");
    assert_eq!(decode_bundle(&bundle).unwrap(), [b"a".as_slice(), b"", b"xyz"]);
}

#[test]
fn a_bundle_has_1_to_256_entries_of_at_most_65_535_bytes() {
    let large = vec![7; MAX_ENTRY + 1];
    assert_eq!(encode_bundle([large.as_slice()]), Err(TileError::EntryTooLarge(65_536)));
    let bundle = encode_bundle([&large[1..]]).unwrap();
    assert_eq!(decode_bundle(&bundle).unwrap(), [&large[1..]]);
    assert!(encode_bundle([b""; 0]).is_err());
    assert!(decode_bundle(&[]).is_err());
    assert_eq!(decode_bundle(&encode_bundle([b"".as_slice(); 256]).unwrap()).unwrap().len(), 256);
    assert!(encode_bundle([b"".as_slice(); 257]).is_err());
    assert!(decode_bundle(&[0; 514]).is_err());
}

#[test]
fn a_bundle_cut_short_is_refused() {
    let bundle = encode_bundle([b"ab".as_slice(), b"c"]).unwrap();
    for end in (1..bundle.len()).filter(|end| *end != 4) {
        assert!(decode_bundle(&bundle[..end]).is_err(), "{end}");
    }
    assert!(decode_bundle(b"\xff\xffa").is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn every_tile_of_a_tree_round_trips_as_tlog_tiles_spells_it(
        size in 1_u64.., level in 0..8_u8, at in any::<u64>(), width in 1..=256_u16
    ) {
        let tile = hashes(level, at % (size >> (8 * level)).div_ceil(256).max(1), width);
        prop_assume!(tile.exists_at(size));
        prop_assert_eq!(HashTile::parse_path(&tile.path()), Ok(tile));
        let theirs = tlog_tiles::Tile::new(8, level, tile.index, width.into(), false);
        // Go's path names the height, 8, before the level.
        prop_assert_eq!(theirs.path(), tile.path().replacen("tile/", "tile/8/", 1));
        prop_assert!(tile.nodes().all(|node| size >> node.level > node.index));
    }

    #[test]
    fn what_parses_has_that_path(path in "tile/([0-9]{1,2}|entries)/(x[0-9]{3}/){0,3}[0-9]{2,3}(\\.p/[0-9]{1,3})?") {
        let hashes = HashTile::parse_path(&path);
        if let Ok(tile) = &hashes {
            prop_assert_eq!(&tile.path(), &path);
        }
        if let Ok(bundle) = EntryBundle::parse_path(&path) {
            prop_assert_eq!(bundle.path(), path);
            prop_assert!(hashes.is_err(), "of two kinds");
        }
    }

    #[test]
    fn nothing_below_entries_is_a_hash_tile(tail in "\\PC{0,20}") {
        for spelling in ["entries", "entries/", "/entries/", "./entries/", "0/../entries/"] {
            let path = format!("{spelling}{tail}");
            prop_assert!(HashTile::parse_tail(&path).is_err(), "{}", path);
        }
    }

    #[test]
    fn bundles_round_trip(entries in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 1..40)) {
        let bundle = encode_bundle(entries.iter().map(Vec::as_slice)).unwrap();
        prop_assert_eq!(decode_bundle(&bundle).unwrap(), entries);
    }

    #[test]
    fn what_decodes_encodes_to_the_same_bundle(bundle in proptest::collection::vec(0..4_u8, 0..60)) {
        if let Ok(entries) = decode_bundle(&bundle) {
            prop_assert_eq!(encode_bundle(entries).unwrap(), bundle);
        }
    }
}
