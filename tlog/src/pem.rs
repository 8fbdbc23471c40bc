//! PEM (RFC 7468), read the way the Sigstore servers read it and written one way only.
//!
//! Invariant: what [`encode`] writes, [`Block::first`] reads back to the same bytes. Text in front of a block is skipped, as
//! Go's `encoding/pem` does and as Rekor's users rely on; what follows a block is the caller's to judge. Encapsulated
//! headers are refused: no Sigstore object has them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";

/// One PEM block and the text after it.
#[derive(Debug)]
pub(crate) struct Block<'t> {
    pub(crate) label: &'t str,
    pub(crate) contents: Vec<u8>,
    pub(crate) rest: &'t str,
}

impl<'t> Block<'t> {
    /// The first block of `text`; `None` if there is none, or it is broken.
    pub(crate) fn first(text: &'t str) -> Option<Self> {
        let after = &text[begin(text)? + BEGIN.len()..];
        let (label, body) = after.split_once(DASHES)?;
        if label.is_empty() || label.contains(['\n', '\r']) {
            return None;
        }
        let (body, rest) = body.split_once(END)?;
        let rest = rest.strip_prefix(label)?.strip_prefix(DASHES)?;
        Some(Self { label, contents: STANDARD.decode(without_whitespace(body)).ok()?, rest })
    }

    /// The first block whose label is wanted; others, and the text around them, are skipped.
    pub(crate) fn labelled(text: &'t str, wanted: impl Fn(&str) -> bool) -> Option<Self> {
        let mut rest = text;
        loop {
            let block = Self::first(rest)?;
            if wanted(block.label) {
                return Some(block);
            }
            rest = block.rest;
        }
    }

    /// The label of the first block of `text`, which may be broken.
    pub(crate) fn first_label(text: &str) -> Option<&str> {
        Some(text[begin(text)? + BEGIN.len()..].split_once(DASHES)?.0)
    }
}

/// Whole lines at once: a block is its base64 but for one byte in 65.
fn without_whitespace(body: &str) -> Vec<u8> {
    let mut base64 = Vec::with_capacity(body.len());
    for line in body.split('\n') {
        // No early end: so it is done for many bytes at once.
        let odd = line.bytes().fold(false, |odd, byte| odd | byte.is_ascii_whitespace());
        if odd {
            base64.extend(line.bytes().filter(|byte| !byte.is_ascii_whitespace()));
        } else {
            base64.extend_from_slice(line.as_bytes());
        }
    }
    base64
}

/// Where the first `-----BEGIN ` at the start of a line is.
fn begin(text: &str) -> Option<usize> {
    text.match_indices(BEGIN).map(|(at, _)| at).find(|&at| at == 0 || text.as_bytes()[at - 1] == b'\n')
}

/// A block with 64-character lines and a final newline.
pub(crate) fn encode(label: &str, contents: &[u8]) -> String {
    let base64 = STANDARD.encode(contents);
    let frame = BEGIN.len() + END.len() + 2 * (label.len() + DASHES.len() + 1);
    let mut text = String::with_capacity(frame + base64.len() + base64.len().div_ceil(64));
    text.push_str(BEGIN);
    text.push_str(label);
    text.push_str(DASHES);
    text.push('\n');
    let mut rest = base64.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = tail;
    }
    text.push_str(END);
    text.push_str(label);
    text.push_str(DASHES);
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_read_back_as_it_was_written() {
        for length in [0, 1, 47, 48, 49, 96, 200] {
            let contents = vec![7; length];
            let text = encode("THING", &contents);
            let block = Block::first(&text).unwrap();
            assert_eq!((block.label, &block.contents, block.rest), ("THING", &contents, "\n"));
            assert!(text.lines().all(|line| line.len() <= 64));
        }
    }

    #[test]
    fn leading_text_is_skipped_and_trailing_text_is_handed_over() {
        let text = format!("junk\n{}tail", encode("A", b"a"));
        let block = Block::first(&text).unwrap();
        assert_eq!((block.contents.as_slice(), block.rest), (&b"a"[..], "\ntail"));
    }

    #[test]
    fn the_room_for_a_block_is_what_it_takes() {
        for length in [0, 1, 48, 49, 2000] {
            let text = encode("THING", &vec![7; length]);
            assert_eq!(text.capacity(), text.len(), "{length}");
        }
    }

    #[test]
    fn whitespace_of_any_sort_may_stand_in_the_base64() {
        let text = "-----BEGIN A-----\r\nYW\x0cFh\r\n \tYWFh \n\n-----END A-----";
        assert_eq!(Block::first(text).unwrap().contents, b"aaaaaa");
        assert_eq!(Block::first_label(text), Some("A"));
        assert!(Block::first("-----BEGIN A-----\nYW\x0bFh\n-----END A-----").is_none(), "vertical tab");
    }

    #[test]
    fn broken_blocks_are_refused() {
        for text in [
            "",
            "-----BEGIN A-----\nYQ==\n",
            "-----BEGIN A-----\nYQ==\n-----END B-----\n",
            "-----BEGIN A-----\nYQ\n-----END A-----\n",
            "-----BEGIN A-----\nKey: value\n\nYQ==\n-----END A-----\n",
            "x-----BEGIN A-----\nYQ==\n-----END A-----\n",
            "-----BEGIN A\n-----\nYQ==\n-----END A\n-----\n",
        ] {
            assert!(Block::first(text).is_none(), "{text:?}");
        }
    }
}
