//! JSON in which no object names a member twice.
//!
//! serde_json's own `Value` keeps the last of two members of one name, other parsers the first. Under a
//! signature that is two documents, so there are none such, at any depth and in ignored members too.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::map::Entry;
use serde_json::{Map, Number, Value};

/// Longest name that an error repeats.
const MAX_SHOWN: usize = 100;

/// Parses any JSON document, without repeated members and trailing bytes.
pub fn json(bytes: &[u8]) -> Result<Value, serde_json::Error> {
    parse(bytes, Strict { is_message: false })
}

/// Parses the JSON of a protobuf message: names become camel case, members that are null are left out.
pub(super) fn message(bytes: &[u8]) -> Result<Value, serde_json::Error> {
    parse(bytes, Strict { is_message: true })
}

fn parse(bytes: &[u8], strict: Strict) -> Result<Value, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = strict.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

#[derive(Clone, Copy)]
struct Strict {
    is_message: bool,
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without repeated members")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("not a finite number"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(self)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        let mut has_null = false;
        while let Some(name) = access.next_key::<String>()? {
            let name = if self.is_message { camel_case(name) } else { name };
            match members.entry(name) {
                Entry::Vacant(place) => {
                    let value = access.next_value_seed(self)?;
                    has_null |= value.is_null();
                    place.insert(value);
                }
                Entry::Occupied(first) => {
                    let name: String = first.key().chars().take(MAX_SHOWN).collect();
                    return Err(A::Error::custom(format_args!("duplicate field `{name}`")));
                }
            }
        }
        // Only now: null and a value beside it are two members as well.
        if self.is_message && has_null {
            members.retain(|_, value| !value.is_null());
        }
        Ok(Value::Object(members))
    }
}

/// The JSON name of a field: as `protoc` makes it of the name in the `.proto` file.
fn camel_case(name: String) -> String {
    if !name.contains('_') {
        return name;
    }
    let mut is_after_underscore = false;
    let mut camel = String::with_capacity(name.len());
    for c in name.chars() {
        if c == '_' {
            is_after_underscore = true;
            continue;
        }
        camel.push(if is_after_underscore { c.to_ascii_uppercase() } else { c });
        is_after_underscore = false;
    }
    camel
}
