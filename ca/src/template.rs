//! Templates of CI providers: from claims to extension values.
//!
//! Fulcio evaluates Go's `text/template`. This is a small evaluator for the five constructs that its public
//! configurations use; everything else is refused when the file is loaded, with the construct's name, so that
//! a template never means one thing here and another there:
//!
//! - `{{ .name }}`, and `{{ index . "name/with.dots" }}`, both also in parentheses;
//! - `{{ if eq A "literal" }}…{{ else }}…{{ end }}`, where A is one of the above or a literal.
//!
//! A text without `{{` is not a literal but the name of one claim.
//!
//! A name is stricter than an extension: every claim in it must be there, be text and not be empty, because a
//! name with a hole or with Go's print of a list in it would be shared by strangers. Where Go prints `<nil>`
//! for a null claim, a null claim counts as absent here, and as empty where it is the whole value of an
//! extension.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

pub mod forge;
mod legacy;
mod parse;
pub mod shipped;
#[cfg(test)]
mod tests;

pub use legacy::Legacy;
pub use parse::TemplateError;

/// Longest value that a template may produce, in bytes.
pub const MAX_RENDERED: usize = 4096;

/// A value could not be produced from a token's claims.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// A claim is needed that neither the token nor the defaults have. Fulcio's sentence.
    #[error("value {0} not present in either claims or defaults")]
    Missing(String),
    /// A name needs a claim that is a number, a boolean, a list or an object.
    #[error("the claim {0} is not text and cannot be part of a name")]
    NotText(String),
    /// A name needs a claim that is empty.
    #[error("the claim {0} is empty and cannot be part of a name")]
    Empty(String),
    /// The result is larger than [`MAX_RENDERED`].
    #[error("the rendered value is longer than {MAX_RENDERED} bytes")]
    TooLong,
    /// A claim would replace a base URL of the configuration.
    #[error("the claim {0} must not replace the configured default of the same name")]
    FixedDefault(String),
}

/// A parsed template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Body);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Body {
    /// The value of one claim.
    Claim(String),
    /// A program.
    Nodes(Vec<Node>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    Text(String),
    Value(Operand),
    If { left: Operand, right: Operand, then: Vec<Node>, otherwise: Vec<Node> },
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Operand {
    /// `.name`: missing is an error.
    Field(String),
    /// `index . "name"`: missing is the empty text in Go, whatever the `missingkey` option says.
    Index(String),
    Literal(String),
}

/// The purpose of a rendered value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Extension,
    Name,
}

impl Template {
    /// Parses; `text` must not be empty.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        if text.contains("{{") {
            return parse::program(text).map(|nodes| Self(Body::Nodes(nodes)));
        }
        Ok(Self(Body::Claim(text.to_owned())))
    }

    /// The value for an extension. As in Go, `index` of an absent claim is empty.
    pub fn render(&self, values: &Values) -> Result<String, RenderError> {
        self.evaluate(values, Purpose::Extension)
    }

    /// The value for a subject alternative name: every claim in it must be text that is not empty.
    pub fn render_name(&self, values: &Values) -> Result<String, RenderError> {
        self.evaluate(values, Purpose::Name)
    }

    fn evaluate(&self, values: &Values, purpose: Purpose) -> Result<String, RenderError> {
        let mut out = String::new();
        match (&self.0, purpose) {
            (Body::Claim(name), Purpose::Name) => out.push_str(values.name_part(name)?),
            (Body::Claim(name), Purpose::Extension) if values.is_null(name) => {}
            (Body::Claim(name), Purpose::Extension) => out.push_str(values.get(name)?),
            (Body::Nodes(nodes), _) => evaluate(nodes, values, purpose, &mut out)?,
        }
        if out.len() > MAX_RENDERED {
            return Err(RenderError::TooLong);
        }
        Ok(out)
    }

    /// The template with `sample` for every claim that `defaults` lacks, and with all conditions true or all
    /// false. `None` if it begins with such a claim, because then its scheme is not known before there is a
    /// token.
    pub(crate) fn example(
        &self,
        defaults: &BTreeMap<String, String>,
        sample: &str,
        conditions: bool,
    ) -> Option<String> {
        let known = |name: &String| defaults.get(name).filter(|value| !value.is_empty());
        let mut out = String::new();
        let nodes = match &self.0 {
            Body::Claim(name) => return known(name).cloned(),
            Body::Nodes(nodes) => nodes,
        };
        let mut stack: Vec<&Node> = nodes.iter().rev().collect();
        while let Some(node) = stack.pop() {
            match node {
                Node::Text(text) | Node::Value(Operand::Literal(text)) => out.push_str(text),
                Node::Value(Operand::Field(name) | Operand::Index(name)) => match known(name) {
                    Some(value) => out.push_str(value),
                    None if out.is_empty() => return None,
                    None => out.push_str(sample),
                },
                Node::If { then, otherwise, .. } => {
                    stack.extend(if conditions { then } else { otherwise }.iter().rev());
                }
            }
        }
        Some(out)
    }
}

fn evaluate(nodes: &[Node], values: &Values, purpose: Purpose, out: &mut String) -> Result<(), RenderError> {
    for node in nodes {
        match node {
            Node::Text(text) => out.push_str(text),
            Node::Value(Operand::Field(name) | Operand::Index(name)) if purpose == Purpose::Name => {
                out.push_str(values.name_part(name)?);
            }
            Node::Value(operand) => out.push_str(operand.value(values, purpose)?),
            Node::If { left, right, then, otherwise } => {
                let equal = left.value(values, purpose)? == right.value(values, purpose)?;
                evaluate(if equal { then } else { otherwise }, values, purpose, out)?;
            }
        }
        if out.len() > MAX_RENDERED {
            return Err(RenderError::TooLong);
        }
    }
    Ok(())
}

impl Operand {
    fn value<'a>(&'a self, values: &'a Values, purpose: Purpose) -> Result<&'a str, RenderError> {
        match self {
            Self::Literal(text) => Ok(text),
            Self::Field(name) => values.get(name),
            Self::Index(name) if purpose == Purpose::Name => values.get(name),
            Self::Index(name) => Ok(values.get(name).unwrap_or_default()),
        }
    }
}

/// The flat map of texts that templates read: a provider's defaults overlaid by a token's claims.
#[derive(Clone, Debug, Default)]
pub struct Values(BTreeMap<String, Item>);

#[derive(Clone, Debug)]
enum Item {
    /// A claim that is text, or a default.
    Text(String),
    /// Go's print of any other claim.
    Printed(String),
    /// A null claim without a default.
    Null,
}

impl Values {
    fn get(&self, name: &str) -> Result<&str, RenderError> {
        match self.0.get(name) {
            Some(Item::Text(text) | Item::Printed(text)) => Ok(text),
            Some(Item::Null) | None => Err(RenderError::Missing(name.to_owned())),
        }
    }

    fn is_null(&self, name: &str) -> bool {
        matches!(self.0.get(name), Some(Item::Null))
    }

    fn name_part(&self, name: &str) -> Result<&str, RenderError> {
        match self.0.get(name) {
            Some(Item::Text(text)) if text.is_empty() => Err(RenderError::Empty(name.to_owned())),
            Some(Item::Text(text)) => Ok(text),
            Some(Item::Printed(_)) => Err(RenderError::NotText(name.to_owned())),
            Some(Item::Null) | None => Err(RenderError::Missing(name.to_owned())),
        }
    }
}

/// How one CI system's claims become a name and extensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provider {
    /// Key in `ci-issuer-metadata`.
    pub name: String,
    /// Values for claims that a token lacks.
    pub defaults: BTreeMap<String, String>,
    /// Defaults that hold a URL and may nevertheless be replaced by a claim. Not known to Fulcio, which
    /// ignores it.
    pub overridable: BTreeSet<String>,
    /// Claims that may be whole numbers and part of a name. Not known to Fulcio, which prints any claim into
    /// a name.
    pub numbers: BTreeSet<String>,
    /// Extension number and template, ascending.
    pub extensions: Vec<(u8, Template)>,
    /// Template of the certificate's name.
    pub subject_alternative_name: Template,
    /// For one of Fulcio's types from before `ci-provider`: the claims that it requires and how it makes
    /// URLs.
    pub legacy: Option<&'static Legacy>,
}

impl Provider {
    /// Overlays the defaults with a token's claims.
    ///
    /// Claims win, as in Fulcio, with two exceptions. A null claim counts as absent. A default that holds a
    /// URL is the base of the names that are certified; an identity provider that lets its users add claims
    /// would let them write `url` and speak for another host. Such a claim is refused unless it agrees or the
    /// name is listed in `overridable`.
    pub fn values(&self, claims: &Map<String, Value>) -> Result<Values, RenderError> {
        let default = |(name, text): (&String, &String)| (name.clone(), Item::Text(text.clone()));
        let mut values: BTreeMap<String, Item> = self.defaults.iter().map(default).collect();
        for (name, claim) in claims {
            let default = self.defaults.get(name);
            if claim.is_null() && default.is_some() {
                continue;
            }
            let item = self.item(name, claim);
            let fixed = default.is_some_and(|default| {
                let agrees = matches!(&item, Item::Text(text) if text == default);
                default.contains("://") && !agrees && !self.overridable.contains(name)
            });
            if fixed {
                return Err(RenderError::FixedDefault(name.clone()));
            }
            values.insert(name.clone(), item);
        }
        Ok(Values(values))
    }

    fn item(&self, name: &str, claim: &Value) -> Item {
        match claim {
            Value::Null => Item::Null,
            Value::String(text) => Item::Text(text.clone()),
            Value::Number(n) if (n.is_u64() || n.is_i64()) && self.numbers.contains(name) => {
                Item::Text(n.to_string())
            }
            other => Item::Printed(stringify(other)),
        }
    }
}

/// A claim as text, as Go prints what its JSON decoder makes of it: whole numbers without exponent, arrays as
/// `[a b]`, objects as `map[k:v]` with sorted keys, null as `<nil>`. Integers keep all their digits; Go would
/// round those above 2^53.
pub fn stringify(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::String(text) => text.clone(),
        Value::Number(number) => number_text(number),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(stringify).collect();
            format!("[{}]", items.join(" "))
        }
        Value::Object(fields) => {
            let mut fields: Vec<(&String, &Value)> = fields.iter().collect();
            fields.sort_by_key(|(key, _)| *key);
            let fields: Vec<String> = fields.iter().map(|(k, v)| format!("{k}:{}", stringify(v))).collect();
            format!("map[{}]", fields.join(" "))
        }
    }
}

fn number_text(number: &serde_json::Number) -> String {
    if number.is_i64() || number.is_u64() {
        return number.to_string();
    }
    // Rust prints floats without an exponent, and whole ones without a fraction: Go's 'f' format with
    // precision -1.
    number.as_f64().map_or_else(|| number.to_string(), |float| format!("{float}"))
}
