//! A bounded, repeatable run of the fuzz targets: their seeds, and mutations of them by a fixed random sequence.
//!
//! Finds the careless panic in seconds on every change; `tlog/fuzz/README.md` tells how to run the long version.
//! A seed's name says what its target makes of it: `valid-…` is accepted, `refused-…` is not.

#[path = "fuzz_smoke/engine.rs"]
mod engine;
#[path = "../fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "it is the fuzz package's library, included here as a module")]
mod targets;

use engine::smoke;

#[test]
fn notes() {
    smoke("note", 30_000, targets::note);
}

#[test]
fn checkpoints() {
    smoke("checkpoint", 60_000, targets::checkpoint);
}

#[test]
fn tile_paths() {
    smoke("tile_path", 200_000, targets::tile_path);
}

#[test]
fn entry_bundles() {
    smoke("entry_bundle", 20_000, targets::entry_bundle);
}

#[test]
fn rekor_entries() {
    smoke("rekor_entry", 6_000, targets::rekor_entry);
}

#[test]
fn rekor_v2_entries() {
    smoke("rekor_v2_entry", 6_000, targets::rekor_v2_entry);
}

#[test]
fn certificates() {
    smoke("certificate", 12_000, targets::certificate);
}

#[test]
fn trust_files() {
    smoke("trust_file", 12_000, targets::trust_file);
}

#[test]
fn strict_uris() {
    smoke("strict_uri", 60_000, targets::strict_uri);
}
