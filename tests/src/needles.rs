//! Finds words in bytes, however they were written down: as they are, in another case, backwards, in UTF-16, in
//! hexadecimal, base64 (both alphabets, at any alignment), percent or JSON escapes, gzip, and one within the other.
//!
//! Two ways meet: what a word looks like in an encoding is looked for directly, and everything that looks encoded is
//! decoded and searched again. The first finds a word in the middle of something unknown, the second a word inside
//! something that was encoded twice, or broken into lines like PEM.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::io::Read as _;

use anyhow::{Result, ensure};
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use flate2::read::GzDecoder;
use sha2::{Digest as _, Sha256};

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_encode_padding(false)
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// Shortest word: anything shorter is found by chance.
const MIN_WORD: usize = 8;
/// Shortest run of characters that is taken for an encoding.
const MIN_RUN: usize = 12;
/// How often an encoding may contain another one.
const DEPTH: usize = 6;
/// Most bytes that a gzip stream may become.
const MAX_INFLATED: u64 = 16 * 1024 * 1024;

/// Words to look for.
pub struct Needles {
    words: Vec<String>,
    in_any_case: Patterns,
    exactly: Patterns,
}

/// A word that was found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Found {
    /// The word's name.
    pub word: String,
    /// The encodings from the outside in, such as `gzip, base64, raw`.
    pub encoding: String,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.word, self.encoding)
    }
}

impl Needles {
    /// Words by name. Each is looked for as it is, and as its SHA-256, which whoever guesses the word can compare.
    pub fn new(words: &[(&str, &[u8])]) -> Result<Self> {
        let mut needles =
            Self { words: Vec::new(), in_any_case: Patterns::default(), exactly: Patterns::default() };
        for (name, word) in words {
            ensure!(word.len() >= MIN_WORD, "`{name}` is so short that it is found by chance");
            needles.add((*name).to_owned(), word);
            needles.add(format!("SHA-256 of {name}"), &Sha256::digest(word));
        }
        Ok(needles)
    }

    /// A word by what it looks like in each encoding.
    fn add(&mut self, name: String, word: &[u8]) {
        let index = self.words.len();
        self.words.push(name);
        let reversed: Vec<u8> = word.iter().rev().copied().collect();
        let big_endian: Vec<u8> = word.iter().flat_map(|&byte| [0, byte]).collect();
        let percent = percent_encoded(word);
        for (encoding, pattern) in [
            ("raw", word),
            ("reversed", &reversed),
            // Little-endian is the same but for the ends.
            ("UTF-16", &big_endian[1..]),
            ("hexadecimal", hex::encode(word).as_bytes()),
            ("percent escapes", percent.as_bytes()),
        ] {
            self.in_any_case.add(pattern.to_ascii_lowercase(), (index, encoding));
        }
        for cased in [word.to_vec(), word.to_ascii_lowercase(), word.to_ascii_uppercase()] {
            for alignment in 0..3 {
                for (encoding, engine) in [("base64", &STANDARD), ("base64url", &URL_SAFE)] {
                    let text = engine.encode([&vec![0; alignment], &cased[..]].concat());
                    // Without the characters that also hold bits of what stands before or behind.
                    let (start, end) = ((alignment * 8).div_ceil(6), (alignment + cased.len()) * 8 / 6);
                    self.exactly.add(text.as_bytes()[start..end].to_vec(), (index, encoding));
                }
            }
        }
    }

    /// Everything that is found in `bytes`, sorted.
    pub fn find(&self, bytes: &[u8]) -> Vec<Found> {
        let (mut found, mut seen) = (Vec::new(), HashSet::new());
        self.search(bytes, &mut Vec::new(), &mut seen, &mut found);
        found.sort();
        found.dedup();
        found
    }

    fn search(
        &self,
        bytes: &[u8],
        way: &mut Vec<&'static str>,
        seen: &mut HashSet<[u8; 32]>,
        found: &mut Vec<Found>,
    ) {
        if bytes.len() < MIN_WORD || way.len() > DEPTH || !seen.insert(Sha256::digest(bytes).into()) {
            return;
        }
        let folded = bytes.to_ascii_lowercase();
        for (word, encoding) in self.in_any_case.within(&folded).into_iter().chain(self.exactly.within(bytes))
        {
            let encoding = [&way[..], &[encoding]].concat().join(", ");
            found.push(Found { word: self.words[word].clone(), encoding });
        }
        for (encoding, inner) in decodings(bytes) {
            way.push(encoding);
            self.search(&inner, way, seen, found);
            way.pop();
        }
    }
}

/// Byte strings, and what each means: a word, and how it is written.
#[derive(Default)]
struct Patterns {
    patterns: Vec<(Vec<u8>, Meaning)>,
    // By the first two bytes, so that most places in a haystack cost one look.
    by_start: HashMap<[u8; 2], Vec<usize>>,
}

type Meaning = (usize, &'static str);

impl Patterns {
    fn add(&mut self, pattern: Vec<u8>, meaning: Meaning) {
        if let [first, second, ..] = pattern[..] {
            self.by_start.entry([first, second]).or_default().push(self.patterns.len());
            self.patterns.push((pattern, meaning));
        }
    }

    /// The meanings of all that `bytes` contain.
    fn within(&self, bytes: &[u8]) -> BTreeSet<Meaning> {
        let mut found = BTreeSet::new();
        for at in 1..bytes.len() {
            let starting = self.by_start.get(&[bytes[at - 1], bytes[at]]);
            for (pattern, meaning) in starting.into_iter().flatten().map(|&index| &self.patterns[index]) {
                if bytes[at - 1..].starts_with(pattern) {
                    found.insert(*meaning);
                }
            }
        }
        found
    }
}

/// Every byte as an escape.
fn percent_encoded(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|byte| ["%".to_owned(), hex::encode([*byte])]).collect()
}

/// What `bytes` may be an encoding of.
fn decodings(bytes: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut inner = Vec::new();
    for at in 0..bytes.len().saturating_sub(17) {
        if bytes[at..].starts_with(&[0x1f, 0x8b, 8]) {
            let mut inflated = Vec::new();
            // What came before a stream broke off counts too.
            let _ = GzDecoder::new(&bytes[at..]).take(MAX_INFLATED).read_to_end(&mut inflated);
            inner.push(("gzip", inflated));
        }
    }
    if let Some(unescaped) = unescape(bytes, b'%', |rest| Some((byte_of(rest.get(..2)?)?, 2))) {
        inner.push(("percent escapes", unescaped));
    }
    if let Some(unescaped) = unescape(bytes, b'\\', json_escape) {
        inner.push(("JSON escapes", unescaped));
    }
    for run in runs(bytes, |byte| byte.is_ascii_hexdigit()) {
        for start in 0..2 {
            let even = &run[start..run.len() - (run.len() - start) % 2];
            inner.extend(hex::decode(even).ok().map(|bytes| ("hexadecimal", bytes)));
        }
    }
    // PEM and MIME break lines.
    let joined: Vec<u8> = bytes.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    for (encoding, engine, extra) in [("base64", &STANDARD, b"+/"), ("base64url", &URL_SAFE, b"-_")] {
        for run in runs(&joined, |byte| byte.is_ascii_alphanumeric() || extra.contains(&byte)) {
            for start in 0..4 {
                let part = &run[start..];
                // One character over holds no byte.
                let part = &part[..part.len() - usize::from(part.len() % 4 == 1)];
                inner.extend(engine.decode(part).ok().map(|bytes| (encoding, bytes)));
            }
        }
    }
    inner
}

fn runs(bytes: &[u8], of: impl Fn(u8) -> bool) -> Vec<&[u8]> {
    bytes.split(|&byte| !of(byte)).filter(|run| run.len() >= MIN_RUN).collect()
}

/// `bytes` with the escapes after `mark` replaced; `None` if there are none.
fn unescape(bytes: &[u8], mark: u8, escape: impl Fn(&[u8]) -> Option<(u8, usize)>) -> Option<Vec<u8>> {
    let (mut out, mut at, mut any) = (Vec::with_capacity(bytes.len()), 0, false);
    while at < bytes.len() {
        let escaped = if bytes[at] == mark { escape(&bytes[at + 1..]) } else { None };
        let (byte, length) = escaped.unwrap_or((bytes[at], 0));
        any |= length > 0;
        out.push(byte);
        at += 1 + length;
    }
    any.then_some(out)
}

fn byte_of(digits: &[u8]) -> Option<u8> {
    Some(*hex::decode(digits).ok()?.first()?)
}

/// The byte that a JSON escape stands for, and its length after the backslash.
fn json_escape(rest: &[u8]) -> Option<(u8, usize)> {
    match rest.first()? {
        b'u' if rest.get(1..3)? == b"00" => Some((byte_of(rest.get(3..5)?)?, 5)),
        b'n' => Some((b'\n', 1)),
        b'r' => Some((b'\r', 1)),
        b't' => Some((b'\t', 1)),
        &quoted @ (b'"' | b'\\' | b'/') => Some((quoted, 1)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    const NAME: &str = "Zyxwombat/Quokka";
    const DIGEST: [u8; 32] = [0xd1; 32];

    fn needles() -> Needles {
        Needles::new(&[("name", NAME.as_bytes()), ("digest", &DIGEST)]).unwrap()
    }

    #[track_caller]
    fn finds(bytes: impl AsRef<[u8]>, word: &str, encoding: &str) {
        let found = needles().find(bytes.as_ref());
        let expected = Found { word: word.to_owned(), encoding: encoding.to_owned() };
        assert!(found.contains(&expected), "{expected} is not among {found:?}");
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// Three alignments of the same bytes.
    fn aligned(bytes: &[u8]) -> [Vec<u8>; 3] {
        ["", "x", "xy"].map(|before| [before.as_bytes(), bytes, b" and more"].concat())
    }

    #[test]
    fn a_word_is_found_as_it_is_and_in_any_case() {
        for text in [NAME.to_owned(), NAME.to_lowercase(), NAME.to_uppercase()] {
            finds(format!("https://github.com/{text}.git"), "name", "raw");
        }
        finds([b"\x04\x20", &DIGEST[..]].concat(), "digest", "raw");
    }

    #[test]
    fn a_word_is_found_backwards() {
        let reversed: String = NAME.to_uppercase().chars().rev().collect();
        finds(format!("({reversed})"), "name", "reversed");
    }

    #[test]
    fn a_word_is_found_in_hexadecimal_of_both_cases() {
        for text in [hex::encode(NAME), hex::encode_upper(NAME), format!("a{}", hex::encode(NAME))] {
            finds(&text, "name", "hexadecimal");
        }
        finds(format!("f{}", hex::encode(NAME.to_lowercase())), "name", "hexadecimal, raw");
        finds(hex::encode_upper(DIGEST), "digest", "hexadecimal");
    }

    #[test]
    fn a_word_is_found_in_base64_at_every_alignment() {
        for bytes in aligned(NAME.as_bytes()) {
            finds(STANDARD.encode(&bytes), "name", "base64");
            finds(URL_SAFE.encode(&bytes), "name", "base64url");
            // Cut out of the middle, so that it cannot be decoded from the start.
            let long = STANDARD.encode([b"before", &bytes[..]].concat());
            finds(&long[1..], "name", "base64");
        }
        for bytes in aligned(&DIGEST) {
            finds(STANDARD.encode(&bytes), "digest", "base64");
        }
        // Case is lost in the characters but not in the search.
        finds(STANDARD.encode(NAME.replace('Q', "q")), "name", "base64, raw");
    }

    #[test]
    fn a_word_is_found_in_der_in_every_string_type() {
        let utf8 = [b"\x0c\x10", NAME.as_bytes()].concat();
        finds(&utf8, "name", "raw");
        let bmp: Vec<u8> = NAME.encode_utf16().flat_map(u16::to_be_bytes).collect();
        finds([b"\x1e\x20", &bmp[..]].concat(), "name", "UTF-16");
        let little: Vec<u8> = NAME.encode_utf16().flat_map(u16::to_le_bytes).collect();
        finds(little, "name", "UTF-16");
    }

    #[test]
    fn a_word_is_found_in_pem_whose_lines_break_it() {
        for before in 20..40 {
            let der = [vec![0x55; before], NAME.as_bytes().to_vec(), vec![0x55; 40]].concat();
            let text = STANDARD.encode(der);
            let lines: Vec<&str> =
                text.as_bytes().chunks(64).map(|c| std::str::from_utf8(c).unwrap()).collect();
            let pem =
                format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"));
            finds(&pem, "name", "base64, raw");
            // In JSON, as an answer of a certificate authority has it; and that as a log has it.
            let json = format!("{{\"chain\":\"{}\"}}", pem.replace('\n', "\\n"));
            finds(&json, "name", "JSON escapes, base64, raw");
            finds(STANDARD.encode(&json), "name", "base64, JSON escapes, base64, raw");
            finds(STANDARD.encode(&pem), "name", "base64, base64, raw");
        }
    }

    #[test]
    fn a_word_is_found_in_gzip() {
        let answer = format!("{{\"repository\":\"{NAME}\"}}").repeat(3);
        finds(gzip(answer.as_bytes()), "name", "gzip, raw");
        finds([b"HTTP/1.1 200 OK\r\n\r\n", &gzip(answer.as_bytes())[..]].concat(), "name", "gzip, raw");
        finds(STANDARD.encode(gzip(answer.as_bytes())), "name", "base64, gzip, raw");
        finds(gzip(STANDARD.encode(NAME).as_bytes()), "name", "gzip, base64");
    }

    #[test]
    fn a_word_is_found_in_percent_and_json_escapes() {
        finds(NAME.replace('/', "%2F"), "name", "percent escapes, raw");
        finds(percent_encoded(NAME.as_bytes()).to_uppercase(), "name", "percent escapes");
        finds(NAME.replace('/', "\\/"), "name", "JSON escapes, raw");
        finds(NAME.replace('o', "\\u006f"), "name", "JSON escapes, raw");
    }

    #[test]
    fn the_sha_256_of_a_word_is_found() {
        finds(hex::encode(Sha256::digest(NAME)), "SHA-256 of name", "hexadecimal");
        finds(STANDARD.encode(Sha256::digest(NAME)), "SHA-256 of name", "base64");
    }

    #[test]
    fn what_is_not_there_is_not_found() {
        let mut noise = Vec::new();
        for round in 0..400_u32 {
            noise.extend(Sha256::digest(round.to_be_bytes()));
        }
        let texts = [STANDARD.encode(&noise), hex::encode(&noise), "Zyxwombat and Quokka".repeat(9)];
        for bytes in texts.iter().map(String::as_bytes).chain([&noise[..], &gzip(&noise)]) {
            assert_eq!(needles().find(bytes), []);
        }
    }

    #[test]
    fn a_word_that_is_found_by_chance_is_no_word() {
        assert!(Needles::new(&[("run", b"1234567")]).is_err());
    }
}
