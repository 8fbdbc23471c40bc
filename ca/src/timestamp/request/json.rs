//! The JSON form of a request, read as Go's `encoding/json` reads it into timestamp-authority's `JSONRequest`.
//!
//! Letter case of names does not matter, unknown ones are ignored, the last of several wins, and null is absence.
//! KNOWN LIMIT: Go also takes U+017F for `s` and U+212A for `k` in names, and bytes that are not UTF-8 in ignored texts.

use std::fmt;

use ::der::Decode as _;
use ::der::asn1::{Int, ObjectIdentifier};
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
use chancery_tlog::key::HashAlgorithm;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{HASHES, MAX_JSON, MAX_OID_COMPONENTS, Request, RequestError, check_imprint, imprint};
use crate::der;

/// Padded base64 as Go's decoder takes it: unused bits may be set.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);
const INTEGER: u8 = 0x02;
/// Digits that are multiplied in at once; their power of ten fits a limb.
const DIGITS: usize = 9;

const NOT_JSON: RequestError = RequestError::Malformed(
    "expected JSON with artifactHash, hashAlgorithm and, if wanted, nonce, certificates, tsaPolicyOID",
);

impl Request {
    /// Reads the JSON form.
    pub fn from_json(json: &[u8]) -> Result<Self, RequestError> {
        if json.len() > MAX_JSON {
            return Err(RequestError::TooLarge(MAX_JSON));
        }
        let form: Form<'_> = serde_json::from_slice(json).map_err(|_| NOT_JSON)?;
        let nonce = form.nonce.map(integer).transpose()?;
        let hash = hash(&form.hash_algorithm)?;
        let policy = Some(form.policy.as_str()).filter(|oid| !oid.is_empty()).map(oid).transpose()?;
        let digest =
            base64(&form.artifact_hash).ok_or(RequestError::Malformed("artifactHash is not base64"))?;
        let imprint = imprint(hash, digest)?;
        check_imprint(&imprint)?;
        Ok(Self { imprint, policy, nonce, certificates: form.certificates })
    }
}

#[derive(Default)]
struct Form<'j> {
    artifact_hash: String,
    hash_algorithm: String,
    nonce: Option<&'j str>,
    certificates: bool,
    policy: String,
}

impl<'de> Deserialize<'de> for Form<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Form<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Form<'de>, A::Error> {
                let mut form = Form::default();
                while let Some(name) = members.next_key::<String>()? {
                    form.set(&name, &mut members)?;
                }
                Ok(form)
            }
        }
        deserializer.deserialize_map(Object)
    }
}

impl<'de> Form<'de> {
    fn set<A: MapAccess<'de>>(&mut self, name: &str, members: &mut A) -> Result<(), A::Error> {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        if is("nonce") {
            let text = members.next_value::<&RawValue>()?.get();
            self.nonce = Some(text).filter(|text| *text != "null");
        } else if is("certificates") {
            self.certificates = members.next_value::<Option<bool>>()?.unwrap_or(self.certificates);
        } else if is("artifactHash") {
            replace(&mut self.artifact_hash, members.next_value()?);
        } else if is("hashAlgorithm") {
            replace(&mut self.hash_algorithm, members.next_value()?);
        } else if is("tsaPolicyOID") {
            replace(&mut self.policy, members.next_value()?);
        } else {
            members.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }
}

/// A null leaves what an earlier member of the same name said.
fn replace(text: &mut String, with: Option<String>) {
    if let Some(with) = with {
        *text = with;
    }
}

/// Line breaks are skipped, as Go's decoder skips them.
fn base64(text: &str) -> Option<Vec<u8>> {
    BASE64.decode(text.replace(['\n', '\r'], "")).ok()
}

fn hash(name: &str) -> Result<ObjectIdentifier, RequestError> {
    let is = |known: &str| name.eq_ignore_ascii_case(known);
    let known = HASHES.iter().find(|(_, algorithm): &&(_, HashAlgorithm)| is(algorithm.name()));
    match known {
        Some((oid, _)) => Ok(*oid),
        None if is("sha1") || is("md5") => Err(RequestError::WeakHash),
        None => Err(RequestError::UnsupportedHash),
    }
}

/// A dotted object identifier whose numbers may have a plus sign and leading zeros.
fn oid(dotted: &str) -> Result<ObjectIdentifier, RequestError> {
    let mut arcs = [0_u32; MAX_OID_COMPONENTS];
    let mut count = 0;
    for component in dotted.split('.') {
        let arc = arcs.get_mut(count).ok_or(RequestError::OidComponents)?;
        *arc = component.parse().map_err(|_| RequestError::OidComponents)?;
        count += 1;
    }
    ObjectIdentifier::from_arcs(arcs[..count].iter().copied())
        .map_err(|_| RequestError::Policy(dotted.chars().take(64).collect()))
}

/// A JSON number of any length as an INTEGER.
fn integer(literal: &str) -> Result<Int, RequestError> {
    let malformed = RequestError::Malformed("the nonce is not a whole number");
    let (negative, digits) = literal.strip_prefix('-').map_or((false, literal), |digits| (true, digits));
    let magnitude = magnitude(digits).ok_or(malformed.clone())?;
    let integer = if negative { negated(&magnitude) } else { der::unsigned_integer(&magnitude) };
    Int::from_der(&integer).map_err(|_| malformed)
}

/// The number that decimal digits say, big-endian.
///
/// The cost is quadratic, but [`MAX_JSON`] bounds the digits: a thousand take some microseconds.
fn magnitude(digits: &str) -> Option<Vec<u8>> {
    // Least significant first, 32 bits in each.
    let mut limbs: Vec<u64> = Vec::with_capacity(digits.len() / DIGITS + 1);
    let digits = digits.as_bytes();
    let (head, rest) = digits.split_at(digits.len() % DIGITS);
    for group in std::iter::once(head).filter(|head| !head.is_empty()).chain(rest.chunks(DIGITS)) {
        let (mut carry, mut scale) = (0_u64, 1_u64);
        for digit in group {
            carry = carry * 10 + u64::from(digit.is_ascii_digit().then(|| digit - b'0')?);
            scale *= 10;
        }
        for limb in &mut limbs {
            carry += *limb * scale;
            *limb = carry & u64::from(u32::MAX);
            carry >>= 32;
        }
        if carry > 0 {
            limbs.push(carry);
        }
    }
    (!digits.is_empty()).then(|| limbs.into_iter().rev().flat_map(four_bytes).collect())
}

/// A limb, which has 32 bits of its 64.
fn four_bytes(limb: u64) -> impl Iterator<Item = u8> {
    limb.to_be_bytes().into_iter().skip(4)
}

/// The INTEGER of a magnitude with a minus sign: its two's complement, in the fewest bytes.
fn negated(magnitude: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0];
    bytes.extend_from_slice(magnitude);
    let mut carry = true;
    for byte in bytes.iter_mut().rev() {
        (*byte, carry) = (!*byte).overflowing_add(u8::from(carry));
    }
    let redundant = |pair: &&[u8]| {
        matches!(pair, [0xff, next] if *next >= 0x80) || matches!(pair, [0, next] if *next < 0x80)
    };
    let start = bytes.windows(2).take_while(redundant).count();
    der::tlv(INTEGER, &bytes[start..])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Go 1.26 says of these, by `json.Unmarshal` and `asn1.Marshal`.
    #[test]
    fn nonces_are_those_of_go() {
        for (literal, der) in [
            ("0", "020100"),
            ("-0", "020100"),
            ("1", "020101"),
            ("-1", "0201ff"),
            ("127", "02017f"),
            ("128", "02020080"),
            ("-128", "020180"),
            ("-129", "0202ff7f"),
            ("255", "020200ff"),
            ("-255", "0202ff01"),
            ("-256", "0202ff00"),
            ("18446744073709551615", "020900ffffffffffffffff"),
            ("18446744073709551616", "0209010000000000000000"),
            ("-9223372036854775808", "02088000000000000000"),
            ("-9223372036854775809", "0209ff7fffffffffffffff"),
            ("1000000000000000000000000000000", "020d0c9f2c9cd04674edea40000000"),
        ] {
            let nonce = integer(literal).unwrap();
            assert_eq!(hex::encode(::der::Encode::to_der(&nonce).unwrap()), der, "{literal}");
        }
        for literal in ["", "-", "1.0", "1e3", "\"1\"", "true", "{}", "[1]", "+1", "0x10"] {
            assert!(integer(literal).is_err(), "{literal}");
        }
    }

    #[test]
    fn the_longest_nonce_of_a_request_is_read() {
        let nines = "9".repeat(MAX_JSON);
        assert_eq!(magnitude(&nines).unwrap().len(), 428);
        assert_eq!(magnitude(&"0".repeat(MAX_JSON)).unwrap(), Vec::<u8>::new());
    }

    proptest::proptest! {
        #[test]
        fn every_128_bit_nonce_has_its_value(number in proptest::prelude::any::<i128>()) {
            let der = ::der::Encode::to_der(&integer(&number.to_string()).unwrap()).unwrap();
            let contents = &der[2..];
            let sign = if contents[0] >= 0x80 { 0xff } else { 0 };
            let mut bytes = [sign; 16];
            bytes[16 - contents.len()..].copy_from_slice(contents);
            proptest::prop_assert_eq!(i128::from_be_bytes(bytes), number);
            proptest::prop_assert!(contents.len() == 1 || (contents[0] != sign) || (contents[1] ^ sign) >= 0x80);
        }
    }

    #[test]
    fn members_are_read_as_go_reads_them() {
        let read = |json: &str| {
            let form: Form<'_> = serde_json::from_str(json).ok()?;
            let Form { artifact_hash, hash_algorithm, nonce, certificates, policy } = form;
            Some((artifact_hash, hash_algorithm, nonce.map(str::to_owned), certificates, policy))
        };
        let some = |a: &str, h: &str, nonce: Option<&str>, certificates, policy: &str| {
            Some((a.to_owned(), h.to_owned(), nonce.map(str::to_owned), certificates, policy.to_owned()))
        };
        for (json, expected) in [
            ("{}", some("", "", None, false, "")),
            (r#"{"Nonce":5,"ARTIFACTHASH":"x","hashalgorithm":"y"}"#, some("x", "y", Some("5"), false, "")),
            (r#"{"nonce":5,"nonce":6}"#, some("", "", Some("6"), false, "")),
            (r#"{"nonce":5,"nonce":null}"#, some("", "", None, false, "")),
            (r#"{"artifactHash":"a","artifactHash":null}"#, some("a", "", None, false, "")),
            (r#"{"certificates":true,"certificates":null}"#, some("", "", None, true, "")),
            (r#"{"tsapolicyoid":"1.2","x":[[{"a":1}]]}"#, some("", "", None, false, "1.2")),
            (r#"{"artifact\u0048ash":"q"}"#, some("q", "", None, false, "")),
            (r#"{"certificates":1}"#, None),
            (r#"{"certificates":"true"}"#, None),
            (r#"{"tsaPolicyOID":1}"#, None),
            ("[]", None),
            ("{} x", None),
            (r#"{"nonce":5,}"#, None),
        ] {
            assert_eq!(read(json), expected, "{json}");
        }
    }
}
