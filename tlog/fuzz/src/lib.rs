//! What each fuzz target does with its bytes: parse, and if they parse, encode to the very same bytes.
//!
//! Every function tells whether the bytes were accepted, and panics where an invariant is broken. libFuzzer calls
//! them through `fuzz_targets/`, and `tlog/tests/fuzz_smoke.rs` includes this file, so both run the same code.

use chancery_tlog::certificate::Certificate;
use chancery_tlog::checkpoint::Checkpoint;
use chancery_tlog::ct::{Entry, Sct};
use chancery_tlog::note::{Note, NoteKey};
use chancery_tlog::rekor::{Body, CanonicalEntry};
use chancery_tlog::rekor_v2;
use chancery_tlog::strict_uri;
use chancery_tlog::tile::{EntryBundle, HashTile, decode_bundle, encode_bundle};
use chancery_tlog::trust::{ClientTrustConfig, SigningConfig, TrustedRoot};

/// A signed note, or a verifier key.
pub fn note(data: &[u8]) -> bool {
    if let Ok(vkey) = std::str::from_utf8(data)
        && let Ok(key) = NoteKey::parse_vkey(vkey)
    {
        assert_eq!(key.to_vkey().as_deref(), Some(vkey));
        return true;
    }
    let Ok(note) = Note::parse(data) else { return false };
    assert_eq!(note.encode().as_bytes(), data);
    assert_eq!(Note::new(note.text().to_owned(), note.signatures().to_vec()).as_ref(), Ok(&note));
    true
}

/// The text of a checkpoint.
pub fn checkpoint(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    let Ok(checkpoint) = Checkpoint::parse(text) else { return false };
    assert_eq!(checkpoint.encode(), text);
    true
}

/// A path of a tile or entry bundle.
pub fn tile_path(data: &[u8]) -> bool {
    let Ok(path) = std::str::from_utf8(data) else { return false };
    match (HashTile::parse_path(path), EntryBundle::parse_path(path)) {
        (Ok(tile), bundle) => {
            assert!(bundle.is_err(), "a path of a hash tile names entries");
            assert_eq!(tile.path(), path);
            assert!(tile.exists_at(u64::MAX));
            assert_eq!(tile.nodes().count(), usize::from(tile.width));
        }
        (Err(_), Ok(bundle)) => {
            assert_eq!(bundle.path(), path);
            assert!(bundle.exists_at(u64::MAX));
            assert_eq!(bundle.entries().count(), usize::from(bundle.width));
        }
        (Err(_), Err(_)) => return false,
    }
    true
}

/// An entry bundle.
pub fn entry_bundle(data: &[u8]) -> bool {
    let Ok(entries) = decode_bundle(data) else { return false };
    assert_eq!(encode_bundle(entries).as_deref(), Ok(data));
    true
}

/// A proposed Rekor v1 entry, or a stored leaf.
pub fn rekor_entry(data: &[u8]) -> bool {
    let is_body = Body::parse(data).is_ok();
    if let Ok(query) = serde_json::from_slice(data) {
        let _ = CanonicalEntry::from_query(&query);
    }
    let Ok(entry) = CanonicalEntry::from_proposed(data) else { return is_body };
    assert!(Body::parse(&entry.body).is_ok(), "a leaf that we made does not parse");
    let value: serde_json::Value = serde_json::from_slice(&entry.body).expect("a leaf is JSON");
    let canonical = serde_json_canonicalizer::to_vec(&value).expect("JSON has a canonical form");
    assert_eq!(canonical, entry.body, "a leaf is not in its canonical form");
    true
}

/// A Rekor v2 request, or a leaf of that dialect.
pub fn rekor_v2_entry(data: &[u8]) -> bool {
    if let Ok(body) = rekor_v2::Body::parse(data) {
        assert_eq!(body.encode().as_deref(), Ok(data));
        return true;
    }
    let Ok(request) = rekor_v2::CreateEntryRequest::from_json(data) else { return false };
    let Ok(entry) = rekor_v2::CanonicalEntry::from_request(request) else { return false };
    let body = rekor_v2::Body::parse(&entry.body).expect("a leaf that we made parses");
    assert_eq!(body.kind_version(), entry.kind_version);
    true
}

/// A DER certificate and what certificate transparency makes of it, or an SCT.
pub fn certificate(data: &[u8]) -> bool {
    if let Ok(sct) = Sct::decode(data) {
        assert_eq!(sct.encode(), data);
        return true;
    }
    let Ok(certificate) = Certificate::from_der(data) else { return false };
    assert_eq!(certificate.der(), data);
    let again = Certificate::from_pem(&certificate.to_pem()).expect("our own PEM parses");
    assert_eq!(again.der(), data);
    for sct in Sct::embedded(&certificate).unwrap_or_default() {
        assert_eq!(Sct::decode(&sct.encode()).as_ref(), Ok(&sct));
    }
    let _ = Entry::from_final(&certificate, &certificate);
    let _ = Entry::from_precertificate(&certificate, &certificate);
    true
}

/// A trusted root, a signing config, or both in one.
pub fn trust_file(data: &[u8]) -> bool {
    if let Ok(config) = SigningConfig::parse(data) {
        assert_eq!(SigningConfig::parse(config.to_json().as_bytes()).as_ref(), Ok(&config));
        return true;
    }
    if let Ok(config) = ClientTrustConfig::parse(data) {
        assert_eq!(ClientTrustConfig::parse(config.to_json().as_bytes()).as_ref(), Ok(&config));
        return true;
    }
    let Ok(root) = TrustedRoot::parse(data) else { return false };
    assert_eq!(TrustedRoot::parse(root.to_json().as_bytes()).as_ref(), Ok(&root));
    let _ = root.keyring();
    true
}

/// A URI that may stand in a certificate.
pub fn strict_uri(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    if strict_uri::check(text).is_err() {
        return false;
    }
    assert_eq!(strict_uri::check_reference(text), Ok(()));
    assert!(!text.chars().any(|c| c.is_whitespace() || c.is_control() || c == '\\'));
    let path = text.split(['?', '#']).next().unwrap_or_default();
    assert!(path.split('/').all(|segment| segment != "." && segment != ".."));
    true
}
