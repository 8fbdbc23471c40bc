//! Reading protobuf's JSON, as all Sigstore formats have it: in every spelling that protojson readers take,
//! and never in two at once.
//!
//! A field may be named as in the `.proto` file or in camel case, be null instead of absent, hold an enum's
//! name or number, an integer as a JSON number or as text, bytes in either base64 alphabet with or without
//! padding. What is written is the one usual spelling. A member that occurs twice, in whichever spellings, is
//! refused at any depth: two readers that take different ones of the two would see two documents under one
//! signature.
//!
//! A message is an object: serde's derive would read it from an array as well, so fields that hold messages are
//! read by [`object`], [`optional_object`] and [`objects`].
//!
//! Two ways to read: serde's derive with the field types below, which costs no second tree and for which
//! every field names its `alias`; and [`message`], for files with members that are to be ignored.

mod enums;
mod names;
mod number;
mod strict;

use std::fmt;
use std::marker::PhantomData;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use serde::de::value::MapAccessDeserializer;
use serde::de::{
    self, Deserialize, DeserializeOwned, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde::{Serialize, Serializer};

pub use self::enums::{hash_algorithm, key_details, service_selector};
pub use self::names::is_lookalike;
pub use self::number::{Int64, optional_uint32, uint32};
pub use self::strict::json;

/// Go's decoder: padded or not, unused bits may be set.
const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// Reads a message whose unknown members are ignored: names in camel case, nulls absent.
pub fn message<T: DeserializeOwned>(json: &[u8]) -> Result<T, serde_json::Error> {
    serde_json::from_value(strict::message(json)?).map(|Message(message)| message)
}

/// A field that may be null, which is its default: for `deserialize_with` beside `default`.
pub fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// A field that holds a message, with null as its default: for `deserialize_with` beside `default`.
pub fn object<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    optional_object(deserializer).map(Option::unwrap_or_default)
}

/// A field that holds a message, absent or null otherwise: for `deserialize_with` beside `default`.
pub fn optional_object<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.map(|Message(message)| message))
}

/// A repeated message, as [`list`] reads it.
pub fn objects<'de, D, T, const KEPT: usize>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let messages = list::<_, Message<T>, KEPT>(deserializer)?;
    Ok(messages.into_iter().map(|Message(message)| message).collect())
}

/// A repeated field, of which the first `KEPT` elements and one more are kept: enough to refuse it as too
/// long, whatever its length. For `deserialize_with` beside `default`.
pub fn list<'de, D, T, const KEPT: usize>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct Beginning<T, const KEPT: usize>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>, const KEPT: usize> Visitor<'de> for Beginning<T, KEPT> {
        type Value = Vec<T>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array")
        }
        fn visit_unit<E>(self) -> Result<Vec<T>, E> {
            Ok(Vec::new())
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Vec<T>, A::Error> {
            let mut list = Vec::new();
            while list.len() <= KEPT {
                let Some(element) = array.next_element()? else { return Ok(list) };
                list.push(element);
            }
            while array.next_element::<IgnoredAny>()?.is_some() {}
            Ok(list)
        }
    }
    deserializer.deserialize_any(Beginning::<T, KEPT>(PhantomData))
}

/// A field of type `bytes`: read in either alphabet, with or without padding, written in the standard one
/// with padding.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Base64(pub Vec<u8>);

impl Base64 {
    /// Decodes `text`; `None` if it is not base64. One text uses one alphabet. Line breaks inside are
    /// skipped, as Go's decoder does: `base64` of coreutils makes them.
    pub fn decode(text: &str) -> Option<Vec<u8>> {
        // The usual text is the standard alphabet and nothing else: one pass says so. Looking for each odd
        // character first took twice as long as decoding.
        if let Ok(bytes) = STANDARD.decode(text) {
            return Some(bytes);
        }
        let engine = if text.contains(['-', '_']) { &URL_SAFE } else { &STANDARD };
        engine.decode(text.replace(['\n', '\r'], "")).ok()
    }

    /// Encodes with the standard alphabet and padding.
    pub fn encode(bytes: &[u8]) -> String {
        STANDARD.encode(bytes)
    }
}

impl fmt::Debug for Base64 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Base64({} bytes)", self.0.len())
    }
}

impl Serialize for Base64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&Self::encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Base64;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a base64 text")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Base64, E> {
                Base64::decode(text).map(Base64).ok_or_else(|| E::custom("invalid base64"))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// A message: an object. (serde's derive would also read a struct from an array.)
#[derive(Debug)]
pub struct Message<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Message<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Object<T> {
            type Value = Message<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Message<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Message)
            }
        }
        deserializer.deserialize_map(Object(PhantomData))
    }
}

/// A repeated message, of which `MOST` are read and one more refuses the whole: a few bytes of input must not
/// become many of memory.
#[derive(Debug)]
pub struct List<T, const MOST: usize>(pub Vec<T>);

impl<T, const MOST: usize> Default for List<T, MOST> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>, const MOST: usize> Deserialize<'de> for List<T, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Array<T, const MOST: usize>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for Array<T, MOST> {
            type Value = List<T, MOST>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "an array of at most {MOST} objects")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<List<T, MOST>, A::Error> {
                let mut list = Vec::new();
                while let Some(Message(element)) = array.next_element()? {
                    if list.len() == MOST {
                        return Err(de::Error::invalid_length(MOST + 1, &self));
                    }
                    list.push(element);
                }
                Ok(List(list))
            }
        }
        deserializer.deserialize_seq(Array(PhantomData))
    }
}

#[cfg(test)]
mod tests;
