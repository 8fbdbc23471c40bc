//! Templates of CI providers: from claims to extension values.
//!
//! Fulcio evaluates Go's `text/template`. This is a small evaluator for the five constructs that its public
//! configurations use; everything else is refused when the file is loaded, with the construct's name, so that a
//! template never means one thing here and another there:
//!
//! - `{{ .name }}`, and `{{ index . "name/with.dots" }}`, both also in parentheses;
//! - `{{ if eq A "literal" }}…{{ else }}…{{ end }}`, where A is one of the above or a literal.
//!
//! A text without `{{` is not a literal but the name of one claim.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

mod parse;
pub mod shipped;
#[cfg(test)]
mod tests;

pub use parse::TemplateError;

/// Longest value that a template may produce, in bytes.
pub const MAX_RENDERED: usize = 4096;

/// A value could not be produced from a token's claims.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// A claim is needed that neither the token nor the defaults have. Fulcio's sentence.
    #[error("value {0} not present in either claims or defaults")]
    Missing(String),
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

/// Whether `index` may find nothing.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Absent {
    Empty,
    Refused,
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
        self.evaluate(values, Absent::Empty)
    }

    /// The value for a subject alternative name: every claim that it mentions must be there. A name with a hole in
    /// it (`https://…/projects//pipeline-definitions/`) would be shared by strangers.
    pub fn render_name(&self, values: &Values) -> Result<String, RenderError> {
        self.evaluate(values, Absent::Refused)
    }

    fn evaluate(&self, values: &Values, absent: Absent) -> Result<String, RenderError> {
        let mut out = String::new();
        match &self.0 {
            Body::Claim(name) => out.push_str(values.get(name)?),
            Body::Nodes(nodes) => evaluate(nodes, values, absent, &mut out)?,
        }
        if out.len() > MAX_RENDERED {
            return Err(RenderError::TooLong);
        }
        Ok(out)
    }
}

fn evaluate(nodes: &[Node], values: &Values, absent: Absent, out: &mut String) -> Result<(), RenderError> {
    for node in nodes {
        match node {
            Node::Text(text) => out.push_str(text),
            Node::Value(operand) => out.push_str(operand.value(values, absent)?),
            Node::If { left, right, then, otherwise } => {
                let equal = left.value(values, absent)? == right.value(values, absent)?;
                evaluate(if equal { then } else { otherwise }, values, absent, out)?;
            }
        }
        if out.len() > MAX_RENDERED {
            return Err(RenderError::TooLong);
        }
    }
    Ok(())
}

impl Operand {
    fn value<'a>(&'a self, values: &'a Values, absent: Absent) -> Result<&'a str, RenderError> {
        match self {
            Self::Literal(text) => Ok(text),
            Self::Field(name) => values.get(name),
            Self::Index(name) if absent == Absent::Refused => values.get(name),
            Self::Index(name) => Ok(values.0.get(name).map_or("", String::as_str)),
        }
    }
}

/// The flat map of texts that templates read: a provider's defaults overlaid by a token's claims.
#[derive(Clone, Debug, Default)]
pub struct Values(BTreeMap<String, String>);

impl Values {
    fn get(&self, name: &str) -> Result<&str, RenderError> {
        self.0.get(name).map(String::as_str).ok_or_else(|| RenderError::Missing(name.to_owned()))
    }
}

/// How one CI system's claims become a name and extensions.
#[derive(Clone, Debug)]
pub struct Provider {
    /// Key in `ci-issuer-metadata`.
    pub name: String,
    /// Values for claims that a token lacks.
    pub defaults: BTreeMap<String, String>,
    /// Defaults that hold a URL and may nevertheless be replaced by a claim. Not known to Fulcio, which ignores it.
    pub overridable: BTreeSet<String>,
    /// Extension number and template, ascending.
    pub extensions: Vec<(u8, Template)>,
    /// Template of the certificate's name.
    pub subject_alternative_name: Template,
}

impl Provider {
    /// Overlays the defaults with a token's claims.
    ///
    /// Claims win, as in Fulcio, with one exception. A default that holds a URL is the base of the names that are
    /// certified; an identity provider that lets its users add claims would let them write `url` and speak for
    /// another host. Such a claim is refused unless it agrees or the name is listed in `overridable`.
    pub fn values(&self, claims: &Map<String, Value>) -> Result<Values, RenderError> {
        let mut values = self.defaults.clone();
        for (name, claim) in claims {
            let text = stringify(claim);
            let fixed = self.defaults.get(name).is_some_and(|default| {
                default.contains("://") && *default != text && !self.overridable.contains(name)
            });
            if fixed {
                return Err(RenderError::FixedDefault(name.clone()));
            }
            values.insert(name.clone(), text);
        }
        Ok(Values(values))
    }
}

/// A claim as text, as Go prints what its JSON decoder makes of it: whole numbers without exponent, arrays as
/// `[a b]`, objects as `map[k:v]` with sorted keys, null as `<nil>`. Integers keep all their digits; Go would round
/// those above 2^53.
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
    // Rust prints floats without an exponent, and whole ones without a fraction: Go's 'f' format with precision -1.
    number.as_f64().map_or_else(|| number.to_string(), |float| format!("{float}"))
}
