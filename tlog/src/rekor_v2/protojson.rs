//! What protojson reads otherwise than serde_json: base64 in either alphabet, null as absence, messages that are
//! objects and nothing else. Unknown and repeated members are refused by serde's derive.

use std::fmt;
use std::marker::PhantomData;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::MAX_SIGNATURES;

/// Go's decoder: padded or not, unused bits may be set.
const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// A field of type `bytes`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Base64(pub(super) Vec<u8>);

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Base64;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a base64 text")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Base64, E> {
                decode(text).map(Base64).ok_or_else(|| E::custom("invalid base64"))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// One text uses one alphabet. Line breaks inside are skipped, as `base64` of coreutils makes them.
fn decode(text: &str) -> Option<Vec<u8>> {
    // The usual text is the standard alphabet and nothing else: one pass says so. Looking for each odd character first
    // took twice as long as decoding.
    if let Ok(bytes) = STANDARD.decode(text) {
        return Some(bytes);
    }
    let engine = if text.contains(['-', '_']) { &URL_SAFE } else { &STANDARD };
    engine.decode(text.replace(['\n', '\r'], "")).ok()
}

/// A message: an object. (serde's derive would also read a struct from an array.)
#[derive(Debug)]
pub(super) struct Message<T>(pub(super) T);

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

/// A repeated message, of which [`MAX_SIGNATURES`] are read and one more refuses the request: a few bytes of input
/// must not become many of memory.
#[derive(Debug)]
pub(super) struct List<T>(pub(super) Vec<T>);

impl<T> Default for List<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Array<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Array<T> {
            type Value = List<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "an array of at most {MAX_SIGNATURES} objects")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<List<T>, A::Error> {
                let mut list = Vec::new();
                while let Some(Message(element)) = array.next_element()? {
                    if list.len() == MAX_SIGNATURES {
                        return Err(de::Error::invalid_length(MAX_SIGNATURES + 1, &self));
                    }
                    list.push(element);
                }
                Ok(List(list))
            }
        }
        deserializer.deserialize_seq(Array(PhantomData))
    }
}
