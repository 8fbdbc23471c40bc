//! Members of a JSON entry, with go-openapi's words where one is missing.
//!
//! `null` counts as missing everywhere: Rekor's parsers once crashed on it, so none gets past here.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Map, Value, json};

use super::EntryError;
use crate::merkle::Hash;

/// Padded base64 as Go's decoder takes it: unused bits may be set.
const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// A JSON object and where in the entry it is.
#[derive(Clone, Debug)]
pub(super) struct Object<'v> {
    members: &'v Map<String, Value>,
    path: String,
}

impl<'v> Object<'v> {
    /// The entry itself.
    pub(super) fn root(json: &'v Value) -> Result<Self, EntryError> {
        Self::new(json, String::new())
    }

    fn new(json: &'v Value, path: String) -> Result<Self, EntryError> {
        match json {
            Value::Object(members) => Ok(Self { members, path }),
            _ => Err(failure(&path, "must be of type object")),
        }
    }

    fn path(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    fn optional(&self, name: &str) -> Option<&'v Value> {
        self.members.get(name).filter(|value| !value.is_null())
    }

    fn required(&self, name: &str) -> Result<&'v Value, EntryError> {
        self.optional(name).ok_or_else(|| failure(&self.path(name), "is required"))
    }

    /// Whether the member is there and not null.
    pub(super) fn has(&self, name: &str) -> bool {
        self.optional(name).is_some()
    }

    pub(super) fn object(&self, name: &str) -> Result<Self, EntryError> {
        Self::new(self.required(name)?, self.path(name))
    }

    pub(super) fn optional_text(&self, name: &str) -> Result<Option<&'v str>, EntryError> {
        match self.optional(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(failure(&self.path(name), "must be of type string")),
        }
    }

    pub(super) fn text(&self, name: &str) -> Result<&'v str, EntryError> {
        self.optional_text(name)?.ok_or_else(|| failure(&self.path(name), "is required"))
    }

    /// A member of format `byte`, decoded; must not be empty.
    pub(super) fn bytes(&self, name: &str) -> Result<Vec<u8>, EntryError> {
        let text = self.text(name)?;
        if text.is_empty() {
            return Err(failure(&self.path(name), "is required"));
        }
        standard_base64(text).ok_or_else(|| failure(&self.path(name), "must be of type byte"))
    }

    /// A member of the shape `{"algorithm":"sha256","value":hex}`.
    pub(super) fn sha256(&self, name: &str) -> Result<Hash, EntryError> {
        let hash = self.object(name)?;
        let value =
            Hash::from_hex(hash.text("value")?).ok().filter(|_| hash.text("algorithm") == Ok("sha256"));
        value.ok_or_else(|| EntryError::invalid(format!("{} is not a sha256 hash", self.path(name))))
    }

    /// A list of 1 to `most` elements.
    fn list(&self, name: &str, most: usize) -> Result<&'v [Value], EntryError> {
        match self.required(name)? {
            Value::Array(list) if list.is_empty() => {
                Err(failure(&self.path(name), "should have at least 1 items"))
            }
            Value::Array(list) if list.len() > most => {
                Err(failure(&self.path(name), &format!("should have at most {most} items")))
            }
            Value::Array(list) => Ok(list),
            _ => Err(failure(&self.path(name), "must be of type array")),
        }
    }

    /// A list of 1 to `most` objects.
    pub(super) fn objects(&self, name: &str, most: usize) -> Result<Vec<Self>, EntryError> {
        let element = |(at, json)| Self::new(json, format!("{}.{at}", self.path(name)));
        self.list(name, most)?.iter().enumerate().map(element).collect()
    }

    /// A list of 1 to `most` members of format `byte`, decoded.
    pub(super) fn byte_list(&self, name: &str, most: usize) -> Result<Vec<Vec<u8>>, EntryError> {
        let element = |(at, json): (usize, &Value)| {
            json.as_str()
                .and_then(standard_base64)
                .ok_or_else(|| failure(&format!("{}.{at}", self.path(name)), "must be of type byte"))
        };
        self.list(name, most)?.iter().enumerate().map(element).collect()
    }
}

fn failure(path: &str, problem: &str) -> EntryError {
    let path = if path.is_empty() { "proposedEntry" } else { path };
    EntryError::invalid(format!("validation failure list:\n{path} in body {problem}"))
}

/// What [`Object::sha256`] reads.
pub(super) fn sha256(hash: &Hash) -> Value {
    json!({ "algorithm": "sha256", "value": hash.to_hex() })
}

/// Standard padded base64; line breaks inside are skipped, as `base64` of coreutils makes them.
pub(super) fn standard_base64(text: &str) -> Option<Vec<u8>> {
    decode(&STANDARD, text)
}

/// Standard or URL-safe, padded: DSSE's rule.
pub(super) fn either_base64(text: &str) -> Option<Vec<u8>> {
    standard_base64(text).or_else(|| decode(&URL_SAFE, text))
}

fn decode(engine: &GeneralPurpose, text: &str) -> Option<Vec<u8>> {
    // Few have line breaks. No decoder takes one, so looking for them can wait until it did not take the text.
    let without_breaks = || engine.decode(text.replace(['\n', '\r'], "")).ok();
    engine.decode(text).ok().or_else(without_breaks)
}
