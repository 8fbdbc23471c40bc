//! JSON and YAML as one tree with one spelling of keys.
//!
//! Fulcio's two spellings differ in case and hyphens only (`oidc-issuers`, `OIDCIssuers`), and Go matches JSON keys
//! without regard to case. So a key is compared by its canonical form: lower case, and for YAML without hyphens. A
//! JSON document with kebab-case keys keeps its hyphens and so matches nothing, which is what makes the
//! "parses into an empty configuration" trap visible as unknown keys and zero issuers.

use serde_json::{Map, Value};

use super::{ConfigError, MAX_CONFIG};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spelling {
    Json,
    Yaml,
}

impl Spelling {
    fn canonical(self, key: &str) -> String {
        match self {
            Self::Json => key.to_ascii_lowercase(),
            Self::Yaml => key.replace('-', "").to_ascii_lowercase(),
        }
    }
}

/// Parses the text, JSON first as Fulcio does.
pub(super) fn parse(text: &str) -> Result<(Map<String, Value>, Spelling), ConfigError> {
    if text.len() > MAX_CONFIG {
        return Err(ConfigError::Malformed(format!("larger than {MAX_CONFIG} bytes")));
    }
    if let Ok(value) = serde_json::from_str::<Value>(text) {
        return Ok((object(value)?, Spelling::Json));
    }
    let mut yaml: serde_yaml_ng::Value =
        serde_yaml_ng::from_str(text).map_err(|e| ConfigError::Malformed(e.to_string()))?;
    yaml.apply_merge().map_err(|e| ConfigError::Malformed(e.to_string()))?;
    Ok((object(from_yaml(yaml)?)?, Spelling::Yaml))
}

fn object(value: Value) -> Result<Map<String, Value>, ConfigError> {
    match value {
        Value::Object(map) => Ok(map),
        _ => Err(ConfigError::Malformed("the top level must be a mapping".to_owned())),
    }
}

fn from_yaml(value: serde_yaml_ng::Value) -> Result<Value, ConfigError> {
    use serde_yaml_ng::Value as Yaml;
    Ok(match value {
        Yaml::Null => Value::Null,
        Yaml::Bool(b) => Value::Bool(b),
        Yaml::Number(n) => Value::String(n.to_string()),
        Yaml::String(s) => Value::String(s),
        Yaml::Sequence(items) => Value::Array(items.into_iter().map(from_yaml).collect::<Result<_, _>>()?),
        Yaml::Mapping(map) => {
            let mut object = Map::new();
            for (key, value) in map {
                let Yaml::String(key) = key else {
                    return Err(ConfigError::Malformed("mapping keys must be text".to_owned()));
                };
                object.insert(key, from_yaml(value)?);
            }
            Value::Object(object)
        }
        Yaml::Tagged(tagged) => from_yaml(tagged.value)?,
    })
}

/// One mapping of the document. Fields are taken out; what is left was unknown.
pub(super) struct Section {
    at: String,
    spelling: Spelling,
    fields: Map<String, Value>,
}

impl Section {
    pub(super) fn new(at: &str, fields: Map<String, Value>, spelling: Spelling) -> Self {
        Self { at: at.to_owned(), spelling, fields }
    }

    pub(super) fn at(&self) -> &str {
        &self.at
    }

    /// The field with this YAML name, if present and not null.
    fn take(&mut self, name: &str) -> Option<Value> {
        let wanted = Spelling::Yaml.canonical(name);
        let key = self.fields.keys().find(|key| self.spelling.canonical(key) == wanted)?.clone();
        self.fields.remove(&key).filter(|value| !value.is_null())
    }

    fn invalid(&self, name: &str, problem: &str) -> ConfigError {
        ConfigError::at(format!("{}.{name}", self.at), problem)
    }

    /// A text field; absent counts as empty, as in Go.
    pub(super) fn text(&mut self, name: &str) -> Result<String, ConfigError> {
        match self.take(name) {
            None => Ok(String::new()),
            Some(Value::String(text)) => Ok(text),
            Some(Value::Number(number)) => Ok(number.to_string()),
            Some(_) => Err(self.invalid(name, "must be text")),
        }
    }

    /// A boolean field; absent counts as false.
    pub(super) fn flag(&mut self, name: &str) -> Result<bool, ConfigError> {
        match self.take(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(_) => Err(self.invalid(name, "must be true or false")),
        }
    }

    /// A list of texts; absent counts as empty.
    pub(super) fn texts(&mut self, name: &str) -> Result<Vec<String>, ConfigError> {
        let items = match self.take(name) {
            None => return Ok(Vec::new()),
            Some(Value::Array(items)) => items,
            Some(_) => return Err(self.invalid(name, "must be a list of texts")),
        };
        items
            .into_iter()
            .map(|item| match item {
                Value::String(text) => Ok(text),
                _ => Err(self.invalid(name, "must be a list of texts")),
            })
            .collect()
    }

    /// A mapping whose keys are the file's own, such as issuer URLs.
    pub(super) fn map(&mut self, name: &str) -> Result<Map<String, Value>, ConfigError> {
        match self.take(name) {
            None => Ok(Map::new()),
            Some(Value::Object(map)) => Ok(map),
            Some(_) => Err(self.invalid(name, "must be a mapping")),
        }
    }

    /// A mapping with known keys.
    pub(super) fn section(&mut self, name: &str) -> Result<Self, ConfigError> {
        let at = format!("{}.{name}", self.at);
        Ok(Self { fields: self.map(name)?, at, spelling: self.spelling })
    }

    /// A named entry of a [`Section::map`].
    pub(super) fn entry(
        parent: &str,
        key: &str,
        value: Value,
        spelling: Spelling,
    ) -> Result<Self, ConfigError> {
        let at = format!("{parent}.{key}");
        match value {
            Value::Object(fields) => Ok(Self { at, spelling, fields }),
            Value::Null => Ok(Self { at, spelling, fields: Map::new() }),
            _ => Err(ConfigError::at(at, "must be a mapping")),
        }
    }

    /// Reports every field that nobody took.
    pub(super) fn finish(self, warnings: &mut Vec<String>) {
        for key in self.fields.keys() {
            warnings.push(format!("{}: unknown key `{key}` is ignored", self.at));
        }
    }
}
