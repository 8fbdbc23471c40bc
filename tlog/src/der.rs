//! The little DER (X.690) that the core reads and writes by hand: keys, the edges of a TBSCertificate, timestamps.
//!
//! Invariant: the reader takes only definite, minimal lengths and single-byte tags, so a value that it accepts has one
//! encoding and [`encode`] restores it.

mod names;

use std::borrow::Cow;

use x509_parser::der_parser::Oid;

pub(crate) use self::names::FULCIO;

pub(crate) const BOOLEAN: u8 = 0x01;
pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const NULL: u8 = 0x05;
pub(crate) const OID: u8 = 0x06;
pub(crate) const UTF8_STRING: u8 = 0x0c;
pub(crate) const GENERALIZED_TIME: u8 = 0x18;
pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const SET: u8 = 0x31;
/// `[0] EXPLICIT`: the version of a TBSCertificate, the value of an otherName.
pub(crate) const CONTEXT_0: u8 = 0xa0;
/// `[1]`, constructed: extensions of a TSTInfo, revocation lists and unsigned attributes of CMS.
pub(crate) const CONTEXT_1: u8 = 0xa1;
/// `[3] EXPLICIT`, the extensions of a TBSCertificate.
pub(crate) const CONTEXT_3: u8 = 0xa3;

/// One value: tag, contents, and both with the length between them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Value<'d> {
    pub(crate) tag: u8,
    pub(crate) contents: &'d [u8],
    pub(crate) whole: &'d [u8],
}

/// Reads values one after another.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'d>(&'d [u8]);

impl<'d> Reader<'d> {
    pub(crate) fn new(der: &'d [u8]) -> Self {
        Self(der)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next value; `None` if there is none or it is not DER.
    pub(crate) fn next(&mut self) -> Option<Value<'d>> {
        let (&tag, after_tag) = self.0.split_first()?;
        if tag & 0x1f == 0x1f {
            return None;
        }
        let (length, header) = read_length(after_tag)?;
        let end = header.checked_add(length)?.checked_add(1)?;
        if end > self.0.len() {
            return None;
        }
        let (whole, rest) = self.0.split_at(end);
        self.0 = rest;
        Some(Value { tag, contents: &whole[1 + header..], whole })
    }

    /// The next value's contents, if it has this tag.
    pub(crate) fn expect(&mut self, tag: u8) -> Option<&'d [u8]> {
        self.next().filter(|value| value.tag == tag).map(|value| value.contents)
    }
}

/// Length and how many bytes encode it.
fn read_length(bytes: &[u8]) -> Option<(usize, usize)> {
    let (&first, rest) = bytes.split_first()?;
    if first < 0x80 {
        return Some((first.into(), 1));
    }
    let count = usize::from(first & 0x7f);
    if count == 0 || count > 4 || rest.len() < count || rest[0] == 0 {
        return None;
    }
    let length = rest[..count].iter().fold(0usize, |length, &byte| length << 8 | usize::from(byte));
    (length >= 0x80).then_some((length, 1 + count))
}

/// The contents of the only value in `der`, if it has this tag.
pub(crate) fn only(der: &[u8], tag: u8) -> Option<&[u8]> {
    let mut reader = Reader::new(der);
    let contents = reader.expect(tag)?;
    reader.is_empty().then_some(contents)
}

/// The magnitude of a positive INTEGER's contents, big-endian without leading zeros; `None` unless positive and minimal.
pub(crate) fn positive(contents: &[u8]) -> Option<&[u8]> {
    match contents {
        [0, second, ..] if *second >= 0x80 => Some(&contents[1..]),
        [first, ..] if (1..0x80).contains(first) => Some(contents),
        _ => None,
    }
}

/// The shortest contents of an INTEGER that is these bytes, big-endian and not negative.
pub(crate) fn unsigned(bytes: &[u8]) -> Vec<u8> {
    let significant = &bytes[bytes.iter().take_while(|&&b| b == 0).count()..];
    let sign = significant.first().is_none_or(|&b| b >= 0x80).then_some(0);
    sign.into_iter().chain(significant.iter().copied()).collect()
}

/// The contents of an OBJECT IDENTIFIER as dotted text. x509-parser's own text counts in big integers, which made it a
/// seventh of the cost of a certificate; it is asked only where an arc is larger than any that is in use.
pub(crate) fn dotted(contents: &[u8]) -> Cow<'static, str> {
    if let Some(known) = names::of(contents) {
        return Cow::Borrowed(known);
    }
    let mut text = String::with_capacity(4 * contents.len());
    if small_arcs(contents, &mut text).is_none() {
        text = Oid::new(contents.into()).to_id_string();
    }
    Cow::Owned(text)
}

fn small_arcs(contents: &[u8], text: &mut String) -> Option<()> {
    let (&first, rest) = contents.split_first()?;
    // 2.48 and above share the first byte with nothing here, and no extension or algorithm has them.
    if first >= 120 || rest.is_empty() {
        return None;
    }
    push_number(u32::from(first / 40), text);
    text.push('.');
    push_number(u32::from(first % 40), text);
    let (mut arc, mut ended) = (0_u32, true);
    for byte in rest {
        // Another seven bits must fit.
        arc = (arc < 1 << 25).then_some(arc << 7 | u32::from(byte & 0x7f))?;
        ended = byte & 0x80 == 0;
        if ended {
            text.push('.');
            push_number(arc, text);
            arc = 0;
        }
    }
    ended.then_some(())
}

/// Most arcs have one digit, which the formatter takes a hundred instructions for.
fn push_number(number: u32, text: &mut String) {
    if number >= 10 {
        push_number(number / 10, text);
    }
    text.push(char::from_digit(number % 10, 10).unwrap_or('0'));
}

/// A value with these contents.
pub(crate) fn encode(tag: u8, contents: &[u8]) -> Vec<u8> {
    let mut der = Vec::with_capacity(contents.len() + 6);
    der.push(tag);
    let length = contents.len().to_be_bytes();
    let significant = &length[length.iter().position(|&b| b != 0).unwrap_or(length.len() - 1)..];
    if contents.len() >= 0x80 {
        // At most eight length bytes, so the count never reaches the high bit.
        der.push(0x80 | u8::try_from(significant.len()).unwrap_or(0x7f));
    }
    der.extend_from_slice(significant);
    der.extend_from_slice(contents);
    der
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_class_is_read_back() {
        for length in [0, 1, 127, 128, 255, 256, 65_535, 65_536] {
            let contents = vec![1; length];
            assert_eq!(only(&encode(OCTET_STRING, &contents), OCTET_STRING), Some(contents.as_slice()));
        }
    }

    #[test]
    fn lengths_that_der_forbids_are_refused() {
        for der in [
            &[0x04, 0x80, 0, 0][..],
            &[0x04, 0x81, 0x01, 0],
            &[0x04, 0x82, 0x00, 0x80],
            &[0x04, 0x02, 0],
            &[0x04],
            &[0x1f, 0x01, 0x00],
            &[0x04, 0x85, 1, 0, 0, 0, 0],
        ] {
            assert!(Reader::new(der).next().is_none(), "{der:02x?}");
        }
        assert!(only(&[0x04, 0, 0], OCTET_STRING).is_none(), "trailing byte");
    }

    #[test]
    fn object_identifiers_are_written_as_x509_parser_writes_them() {
        let known: [(&[u8], &str); 3] = [
            (&[0x2b, 6, 1, 4, 1, 0x83, 0xbf, 0x30, 1, 24], "1.3.6.1.4.1.57264.1.24"),
            (&[0x55, 0x1d, 0x11], "2.5.29.17"),
            (&[0x2b, 6, 1, 4, 1, 0xd6, 0x79, 2, 4, 3], "1.3.6.1.4.1.11129.2.4.3"),
        ];
        for (contents, text) in known {
            assert_eq!(dotted(contents), text);
        }
        let mut strange: Vec<Vec<u8>> =
            (0..=255).flat_map(|b| [vec![b], vec![b, 1], vec![0x2b, b, 1]]).collect();
        strange.extend((0..=255).map(|b| vec![0x2b, 0x8f, 0xff, 0xff, 0xff, b]));
        strange.extend((0..=255).map(|b| vec![0x2b, 0x90, 0x80, 0x80, 0x80, b]));
        strange.extend((0..=255).map(|b| vec![0x55, 0x1d, b]));
        strange.extend((0..=255).map(|b| vec![0x2b, 6, 1, 4, 1, 0x83, 0xbf, 0x30, 1, b]));
        strange.extend((0..=255).map(|b| vec![0x2b, 6, 1, 4, 1, 0xd6, 0x79, 2, 4, b]));
        strange.extend([vec![0x2b, 0x80, 1], [vec![0x2b], vec![0xff; 30], vec![1]].concat()]);
        for contents in strange {
            let expected = Oid::new(contents.as_slice().into()).to_id_string();
            assert_eq!(dotted(&contents), expected, "{contents:02x?}");
        }
    }

    #[test]
    fn only_minimal_positive_integers_are_positive() {
        assert_eq!(positive(&[0x7f]), Some(&[0x7f][..]));
        assert_eq!(positive(&[0, 0x80]), Some(&[0x80][..]));
        for contents in [&[][..], &[0], &[0x80], &[0, 0x7f]] {
            assert_eq!(positive(contents), None);
        }
    }
}
