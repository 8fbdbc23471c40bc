//! One test per MUST of <https://c2sp.org/tlog-checkpoint>, and `tlog_tiles` as the oracle.

use proptest::prelude::*;

use super::*;
use crate::key::{KeyKind, SoftwareSigner};
use crate::merkle::EMPTY_ROOT;

const ROOT: &str = "hrW1hYS++XrsvOlN2MwrgFt+X7gWyUd/sBOJWZ46jMI=";

fn text(origin: &str, size: &str, root: &str) -> String {
    format!("{origin}\n{size}\n{root}\n")
}

#[test]
fn the_three_lines_are_read_and_written() {
    let checkpoint = Checkpoint::parse(&text("log.example", "18446744073709551615", ROOT)).unwrap();
    let expected =
        Checkpoint::new(Origin::new("log.example").unwrap(), u64::MAX, Hash::from_base64(ROOT).unwrap());
    assert_eq!(checkpoint, expected);
    assert_eq!(checkpoint.encode(), text("log.example", "18446744073709551615", ROOT));
}

#[test]
fn a_rekor_v1_origin_has_spaces() {
    let v1 = text("log.example - 1234567890123456789", "1", ROOT);
    assert_eq!(Checkpoint::parse(&v1).unwrap().origin.as_str(), "log.example - 1234567890123456789");
}

#[test]
fn the_empty_log_has_size_0() {
    let empty = text("log.example", "0", &EMPTY_ROOT.to_base64());
    assert_eq!(Checkpoint::parse(&empty).unwrap().size, 0);
}

#[test]
fn a_size_is_decimal_without_sign_spaces_or_leading_zeros() {
    for size in ["", "00", "01", "+1", "-1", " 1", "1 ", "1.0", "1e3", "0x1", "１", "18446744073709551616"] {
        assert!(Checkpoint::parse(&text("log", size, ROOT)).is_err(), "{size:?}");
    }
}

#[test]
fn a_root_is_32_bytes_of_canonical_padded_standard_base64() {
    for root in [
        "",
        "hrW1hYS++XrsvOlN2MwrgFt+X7gWyUd/sBOJWZ46jMI",
        // Bits beyond the last byte; the URL alphabet; 31 and 33 bytes; spaces; hex.
        "hrW1hYS++XrsvOlN2MwrgFt+X7gWyUd/sBOJWZ46jMJ=",
        "hrW1hYS--XrsvOlN2MwrgFt-X7gWyUd_sBOJWZ46jMI=",
        "hrW1hYS++XrsvOlN2MwrgFt+X7gWyUd/sBOJWZ46jA==",
        "hrW1hYS++XrsvOlN2MwrgFt+X7gWyUd/sBOJWZ46jMIA",
        " hrW1hYS++XrsvOlN2MwrgFt+X7gWyUd/sBOJWZ46jMI=",
        "hrW1hYS++XrsvOlN2MwrgFt+X7gWyUd/sBOJWZ46jMI= ",
        "86b5b58584bef97aecbce94dd8cc2b805b7e5fb816c9477fb01389599e3a8cc2",
    ] {
        assert!(Checkpoint::parse(&text("log", "1", root)).is_err(), "{root:?}");
    }
}

#[test]
fn a_checkpoint_ends_with_a_newline_and_has_no_empty_line() {
    let whole = text("log", "1", ROOT);
    assert!(Checkpoint::parse(&whole).is_ok());
    assert!(Checkpoint::parse(whole.trim_end()).is_err());
    for (line, at) in [(0, 0), (1, 4), (2, 6), (3, whole.len())] {
        let mut broken = whole.clone();
        broken.insert(at, '\n');
        assert!(Checkpoint::parse(&broken).is_err(), "empty line {line}");
    }
    for missing in ["", "\n", "log\n", "log\n1\n"] {
        assert!(Checkpoint::parse(missing).is_err(), "{missing:?}");
    }
}

#[test]
fn carriage_returns_and_control_characters_are_refused() {
    assert!(Checkpoint::parse(&text("log", "1", ROOT).replace('\n', "\r\n")).is_err());
    assert!(Checkpoint::parse(&(text("log", "1", ROOT) + "a\tb\n")).is_err());
    for origin in ["", "a\rb", "a\tb", "a\u{0}b", "a\u{7f}b", "a\nb"] {
        assert!(Origin::new(origin).is_err(), "{origin:?}");
    }
}

#[test]
fn an_origin_is_at_most_255_bytes() {
    assert!(Origin::new("x".repeat(MAX_ORIGIN)).is_ok());
    assert!(Origin::new("x".repeat(MAX_ORIGIN + 1)).is_err());
}

#[test]
fn extension_lines_are_kept() {
    let extended = text("log", "1", ROOT) + "Timestamp: 1700000000\n\u{2014} odd\n";
    let checkpoint = Checkpoint::parse(&extended).unwrap();
    assert_eq!(checkpoint.extensions(), ["Timestamp: 1700000000", "\u{2014} odd"]);
    assert_eq!(checkpoint.encode(), extended);
}

#[test]
fn a_signed_checkpoint_opens_to_itself_with_its_key_only() {
    for kind in [KeyKind::Ed25519, KeyKind::EcdsaP256] {
        let (signer, other) =
            (SoftwareSigner::generate(kind).unwrap(), SoftwareSigner::generate(kind).unwrap());
        let name = KeyName::new("log.example").unwrap();
        let checkpoint = Checkpoint::new(Origin::new("log.example").unwrap(), 7, EMPTY_ROOT);
        let note = checkpoint.sign(&name, &signer).unwrap();
        let known = [NoteKey::new(name.clone(), signer.public_key().clone()).unwrap()];
        let (opened, by) = Checkpoint::open(note.as_bytes(), &known).unwrap();
        assert_eq!(opened, checkpoint);
        assert_eq!(by[0].id(), known[0].id());
        let foreign = [NoteKey::new(name, other.public_key().clone()).unwrap()];
        assert_eq!(Checkpoint::open(note.as_bytes(), &foreign).unwrap_err(), NoteError::Unsigned.into());
        let grown = note.replace("\n7\n", "\n8\n");
        assert!(Checkpoint::open(grown.as_bytes(), &known).is_err());
    }
}

#[test]
fn a_signed_text_that_is_no_checkpoint_does_not_open() {
    let signer = SoftwareSigner::generate(KeyKind::Ed25519).unwrap();
    let name = KeyName::new("log.example").unwrap();
    let line = Note::sign("log\n01\nAAAA\n", &name, &signer).unwrap();
    let note = Note::new("log\n01\nAAAA\n".to_owned(), vec![line]).unwrap().encode();
    let known = [NoteKey::new(name, signer.public_key().clone()).unwrap()];
    assert!(matches!(Checkpoint::open(note.as_bytes(), &known), Err(CheckpointError::Malformed(_))));
}

#[test]
fn curves_that_notes_do_not_use_cannot_sign_checkpoints() {
    let signer = SoftwareSigner::generate(KeyKind::EcdsaP384).unwrap();
    let checkpoint = Checkpoint::new(Origin::new("log").unwrap(), 0, EMPTY_ROOT);
    let refused = checkpoint.sign(&KeyName::new("log").unwrap(), &signer).unwrap_err();
    assert!(refused.to_string().contains("P-384"), "{refused}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn what_parses_encodes_to_the_same_text(
        origin in "[a-z ü./-]{1,20}", size in any::<u64>(), root in any::<[u8; 32]>(),
        extensions in proptest::collection::vec("[a-z =]{1,8}", 0..3),
        at in any::<prop::sample::Index>(), with in "[\n 0A=+\r]{0,2}",
    ) {
        let root = Hash::from_bytes(root);
        let mut text = text(&origin, &size.to_string(), &root.to_base64());
        for line in &extensions {
            text.extend([line, "\n"]);
        }
        let parsed = Checkpoint::parse(&text).unwrap();
        prop_assert_eq!((parsed.size, parsed.root, parsed.encode()), (size, root, text.clone()));

        let mut broken: Vec<char> = text.chars().collect();
        let at = at.index(broken.len());
        broken.splice(at..=at, with.chars());
        let broken: String = broken.into_iter().collect();
        if let Ok(parsed) = Checkpoint::parse(&broken) {
            prop_assert_eq!(parsed.encode(), broken);
        }
    }

    #[test]
    fn tlog_tiles_reads_the_same_checkpoint(size in any::<u64>(), root in any::<[u8; 32]>()) {
        let ours = Checkpoint::new(Origin::new("log.example/ct").unwrap(), size, Hash::from_bytes(root));
        let theirs = tlog_tiles::Checkpoint::from_bytes(ours.encode().as_bytes()).unwrap();
        prop_assert_eq!((theirs.origin(), theirs.size(), theirs.hash().0), ("log.example/ct", size, root));
        prop_assert_eq!(theirs.to_bytes(), ours.encode().into_bytes());
    }
}
