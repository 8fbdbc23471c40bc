//! Integers: JSON numbers in any form, or texts of one.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, Unexpected, Visitor};
use serde::{Serialize, Serializer};

/// Digits of the largest `int64`, and with them the most that a value can have.
const MAX_DIGITS: usize = 19;
/// The smallest integer behind which a JSON number with a fraction or exponent is not exact.
const INEXACT: f64 = 9_007_199_254_740_992.0;

/// A protobuf `int64` that is never negative in Sigstore's messages: written as text, read as text or number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Int64(pub u64);

impl Serialize for Int64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Int64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Integer { most: i64::MAX.unsigned_abs() }).map(Self)
    }
}

/// A field of type `uint32`, for `deserialize_with`.
pub fn uint32<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    optional_uint32(deserializer).map(Option::unwrap_or_default)
}

/// A field of type `uint32` that may be absent, for `deserialize_with` beside `default`.
pub fn optional_uint32<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    struct Narrow(u32);
    impl<'de> Deserialize<'de> for Narrow {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let value = deserializer.deserialize_any(Integer { most: u64::from(u32::MAX) })?;
            u32::try_from(value).map(Self).map_err(de::Error::custom)
        }
    }
    Ok(Option::<Narrow>::deserialize(deserializer)?.map(|Narrow(value)| value))
}

/// A number that is an integer from zero to `most`.
pub(super) struct Integer {
    pub(super) most: u64,
}

impl Integer {
    fn bounded<E: de::Error>(&self, value: Option<u64>, found: Unexpected<'_>) -> Result<u64, E> {
        value.filter(|value| *value <= self.most).ok_or_else(|| E::invalid_value(found, self))
    }
}

impl Visitor<'_> for Integer {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an integer from 0 to {}", self.most)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<u64, E> {
        self.bounded(Some(value), Unexpected::Unsigned(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<u64, E> {
        self.bounded(u64::try_from(value).ok(), Unexpected::Signed(value))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<u64, E> {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is checked")]
        let exact = ((0.0..INEXACT).contains(&value) && value.fract() == 0.0).then_some(value as u64);
        self.bounded(exact, Unexpected::Float(value))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<u64, E> {
        let shown: String = text.chars().take(64).collect();
        self.bounded(exact(text), Unexpected::Str(&shown))
    }
}

/// The value of a JSON number (RFC 8259 §6), if it is a non-negative integer.
fn exact(text: &str) -> Option<u64> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent_of(exponent)?),
        None => (text, 0),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((_, "")) => return None,
        Some((whole, fraction)) => (whole, fraction),
        None => (mantissa, ""),
    };
    let (whole, is_negative) = whole.strip_prefix('-').map_or((whole, false), |whole| (whole, true));
    let has_leading_zero = whole.len() > 1 && whole.starts_with('0');
    let digits = [whole, fraction].concat();
    if whole.is_empty() || has_leading_zero || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let significant = digits.trim_start_matches('0').trim_end_matches('0');
    if significant.is_empty() {
        return Some(0);
    }
    let trailing = digits.len() - digits.trim_end_matches('0').len();
    let shift = i64::try_from(trailing).ok()? - i64::try_from(fraction.len()).ok()? + exponent;
    let zeros = usize::try_from(shift).ok().filter(|zeros| significant.len() + zeros <= MAX_DIGITS)?;
    if is_negative { None } else { format!("{significant}{}", "0".repeat(zeros)).parse().ok() }
}

/// The digits of an exponent; `None` for one that no number here can have.
fn exponent_of(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten().filter(|exponent: &i64| exponent.abs() < 1 << 32)
}
