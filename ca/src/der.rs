//! The few DER encodings that certificate extensions need, X.690 §8 and §10.
//!
//! rcgen encodes the certificate; it takes extension contents as bytes, and these are those bytes.

/// Most numbers of an object identifier that is encoded here; those in use have ten.
const MAX_ARCS: usize = 32;

/// A tag, a length in its shortest form, and the contents.
pub(crate) fn tlv(tag: u8, contents: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let len = contents.len();
    if len < 0x80 {
        out.push(u8::try_from(len).unwrap_or(0x7f));
    } else {
        let bytes = len.to_be_bytes();
        let significant = &bytes[bytes.iter().take_while(|&&b| b == 0).count()..];
        out.push(0x80 | u8::try_from(significant.len()).unwrap_or(8));
        out.extend_from_slice(significant);
    }
    out.extend_from_slice(contents);
    out
}

/// SEQUENCE of already encoded elements.
pub(crate) fn sequence(elements: &[Vec<u8>]) -> Vec<u8> {
    tlv(0x30, &elements.concat())
}

/// OCTET STRING.
pub(crate) fn octet_string(contents: &[u8]) -> Vec<u8> {
    tlv(0x04, contents)
}

/// UTF8String.
pub(crate) fn utf8_string(text: &str) -> Vec<u8> {
    tlv(0x0c, text.as_bytes())
}

/// INTEGER from unsigned big-endian bytes.
pub(crate) fn unsigned_integer(bytes: &[u8]) -> Vec<u8> {
    let significant = &bytes[bytes.iter().take_while(|&&b| b == 0).count()..];
    let mut contents = Vec::with_capacity(significant.len() + 1);
    if significant.first().is_none_or(|&b| b >= 0x80) {
        contents.push(0);
    }
    contents.extend_from_slice(significant);
    tlv(0x02, &contents)
}

/// OBJECT IDENTIFIER from dotted text; `None` if it is not one.
pub(crate) fn object_identifier(dotted: &str) -> Option<Vec<u8>> {
    let arcs = Arcs::parse(dotted)?;
    let [first, second, rest @ ..] = arcs.as_slice() else { return None };
    let mut contents = base128(first.checked_mul(40)?.checked_add(*second)?);
    for arc in rest {
        contents.extend(base128(*arc));
    }
    Some(tlv(0x06, &contents))
}

/// The numbers of a dotted OID, without an allocation: a certificate has thirty.
pub(crate) struct Arcs {
    numbers: [u64; MAX_ARCS],
    count: usize,
}

impl Arcs {
    /// `None` if it is not one, or has more than [`MAX_ARCS`] numbers.
    pub(crate) fn parse(dotted: &str) -> Option<Self> {
        let mut arcs = Self { numbers: [0; MAX_ARCS], count: 0 };
        for number in dotted.split('.') {
            *arcs.numbers.get_mut(arcs.count)? = decimal(number)?;
            arcs.count += 1;
        }
        Some(arcs)
    }

    pub(crate) fn as_slice(&self) -> &[u64] {
        &self.numbers[..self.count]
    }
}

fn decimal(digits: &str) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.bytes().try_fold(0_u64, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

fn base128(mut value: u64) -> Vec<u8> {
    let mut out = vec![(value & 0x7f) as u8];
    value >>= 7;
    while value > 0 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.reverse();
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_take_their_shortest_form() {
        assert_eq!(tlv(4, &[])[..], [4, 0]);
        assert_eq!(tlv(4, &[1; 127])[..3], [4, 127, 1]);
        assert_eq!(tlv(4, &[1; 128])[..4], [4, 0x81, 128, 1]);
        assert_eq!(tlv(4, &[1; 256])[..5], [4, 0x82, 1, 0, 1]);
    }

    #[test]
    fn integers_are_positive_and_minimal() {
        assert_eq!(unsigned_integer(&[0, 0, 5])[..], [2, 1, 5]);
        assert_eq!(unsigned_integer(&[0x80])[..], [2, 2, 0, 0x80]);
        assert_eq!(unsigned_integer(&[0, 0])[..], [2, 1, 0]);
    }

    #[test]
    fn object_identifiers_match_the_known_encoding_of_code_signing() {
        let oid = object_identifier("1.3.6.1.5.5.7.3.3").unwrap();
        assert_eq!(oid[..], [6, 8, 0x2b, 6, 1, 5, 5, 7, 3, 3]);
        let fulcio = object_identifier("1.3.6.1.4.1.57264.1.7").unwrap();
        assert_eq!(fulcio[..], [6, 10, 0x2b, 6, 1, 4, 1, 0x83, 0xbf, 0x30, 1, 7]);
        assert_eq!(object_identifier("1"), None);
        let longest = vec!["1"; MAX_ARCS].join(".");
        assert!(object_identifier(&longest).is_some());
        for refused in ["1.x", "", "1..2", "1.+2", "1.18446744073709551616", &format!("{longest}.1")] {
            assert_eq!(object_identifier(refused), None, "{refused}");
        }
    }
}
