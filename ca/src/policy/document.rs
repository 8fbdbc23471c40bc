//! Claim policies as they are written, and their way into [`ClaimPolicy`].
//!
//! Every form that would surprise is refused with the form to write instead: a text with `*` that is not
//! called a glob, an empty list, a rule without conditions, a glob that matches everything.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::condition::{ClaimPath, Condition, Expected, Expression, Scalar};
use super::{ClaimPolicy, Glob, Rule, Tenants};

/// Rules of one issuer. Each is a label of a metric.
const MAX_RULES: usize = 256;
/// Accepted values of one rule, over all its conditions.
const MAX_VALUES: usize = 10_000;
/// Tables within tables.
const MAX_DEPTH: usize = 8;
/// Longest name of a rule.
const MAX_NAME: usize = 64;
/// Highest level of SLSA's build track.
const MAX_BUILD_LEVEL: u8 = 3;
/// Tables with one of these keys are conditions, not nested claims.
const OPERATORS: [&str; 3] = ["glob", "exact", "contains"];

/// The policy of one issuer as a configuration file has it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PolicyDocument {
    issuer: String,
    #[serde(default)]
    any_tenant: bool,
    #[serde(default)]
    single_use: bool,
    rule: Option<Vec<RuleDocument>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleDocument {
    name: String,
    permits: Option<Vec<Permission>>,
    max_build_level: Option<u8>,
    claims: Option<Map<String, Value>>,
    any: Option<Vec<GroupDocument>>,
    all: Option<Vec<GroupDocument>>,
}

/// Permissions that a rule can give. There is one today; it is written so that a rule says what it is for.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Permission {
    Certificate,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct GroupDocument {
    claims: Option<Map<String, Value>>,
    any: Option<Vec<GroupDocument>>,
    all: Option<Vec<GroupDocument>>,
}

impl TryFrom<PolicyDocument> for ClaimPolicy {
    type Error = String;

    fn try_from(document: PolicyDocument) -> Result<Self, String> {
        let PolicyDocument { issuer, any_tenant, single_use, rule } = document;
        let at = |problem: String| format!("policy of `{issuer}`: {problem}");
        let tenants = match rule {
            Some(_) if any_tenant => {
                return Err(at(
                    "`any_tenant = true` makes its rules meaningless: remove one or the other".to_owned()
                ));
            }
            None if any_tenant => Tenants::Any,
            None => Tenants::Unruled,
            Some(rules) => Tenants::Rules(read_rules(rules).map_err(at)?),
        };
        Ok(Self { issuer, tenants, single_use })
    }
}

fn read_rules(documents: Vec<RuleDocument>) -> Result<Vec<Rule>, String> {
    if documents.is_empty() {
        return Err("`rule` is an empty list: write a rule, or leave it out".to_owned());
    }
    if documents.len() > MAX_RULES {
        return Err(format!("there are more than {MAX_RULES} rules: use lists within a rule"));
    }
    let mut rules: Vec<Rule> = Vec::new();
    for document in documents {
        let name = document.name.clone();
        if rules.iter().any(|rule| rule.name == name) {
            return Err(format!("two rules are named `{name}`: rename one"));
        }
        rules.push(read_rule(document).map_err(|problem| format!("rule `{name}`: {problem}"))?);
    }
    Ok(rules)
}

fn read_rule(document: RuleDocument) -> Result<Rule, String> {
    let RuleDocument { name, permits, max_build_level, claims, any, all } = document;
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(plain) {
        return Err(format!("`name` must be 1 to {MAX_NAME} letters, digits, `-`, `_` and `.`"));
    }
    if permits.is_some_and(|permits| permits.is_empty()) {
        return Err(
            "`permits` is an empty list: write `permits = [\"certificate\"]`, or remove the rule".to_owned()
        );
    }
    if max_build_level.is_some_and(|level| level > MAX_BUILD_LEVEL) {
        return Err(format!("`max_build_level` is a level of SLSA's build track: 0 to {MAX_BUILD_LEVEL}"));
    }
    let when = read_group(GroupDocument { claims, any, all }, 0)?.ok_or(
        "it has no conditions and would permit every token of the issuer: add `claims`, or write `any_tenant = true` \
         for the issuer instead of rules",
    )?;
    if when.count() > MAX_VALUES {
        return Err(format!("it has more than {MAX_VALUES} values: use several rules"));
    }
    Ok(Rule { name, max_build_level, when })
}

/// The conditions of a table, all of which have to hold; `None` if there are none.
fn read_group(document: GroupDocument, depth: usize) -> Result<Option<Expression>, String> {
    if depth > MAX_DEPTH {
        return Err(format!("`any` and `all` are nested more than {MAX_DEPTH} deep"));
    }
    let mut parts = Vec::new();
    if let Some(claims) = document.claims {
        read_claims(&mut Vec::new(), claims, &mut parts)?;
    }
    if let Some(all) = document.all {
        parts.extend(read_groups("all", all, depth)?);
    }
    if let Some(any) = document.any {
        parts.push(Expression::Any(read_groups("any", any, depth)?));
    }
    Ok(match parts.len() {
        0 => None,
        1 => parts.pop(),
        _ => Some(Expression::All(parts)),
    })
}

fn read_groups(key: &str, groups: Vec<GroupDocument>, depth: usize) -> Result<Vec<Expression>, String> {
    if groups.is_empty() {
        return Err(format!("`{key}` is an empty list: write conditions, or leave it out"));
    }
    let empty = || format!("`{key}` has a table without conditions, which always holds: add `claims` to it");
    groups.into_iter().map(|group| read_group(group, depth + 1)?.ok_or_else(empty)).collect()
}

/// Reads a table of claims. A table within it that is not an operator has the claims of a nested object.
fn read_claims(
    path: &mut Vec<String>,
    claims: Map<String, Value>,
    into: &mut Vec<Expression>,
) -> Result<(), String> {
    if claims.is_empty() {
        let place = if path.is_empty() { "claims".to_owned() } else { ClaimPath(path.clone()).to_string() };
        return Err(format!("`{place}` is an empty table: name a claim in it"));
    }
    if path.len() > MAX_DEPTH {
        return Err(format!("claims are nested more than {MAX_DEPTH} deep"));
    }
    for (name, value) in claims {
        if name.starts_with("$__toml_private") {
            return Err(format!(
                "claim `{}`: write a time as text in quotation marks",
                ClaimPath(path.clone())
            ));
        }
        path.push(name);
        match value {
            Value::Object(nested) if !is_operator(&nested) => read_claims(path, nested, into)?,
            value => {
                let claim = ClaimPath(path.clone());
                let one_of = read_expected(value).map_err(|problem| format!("claim `{claim}`: {problem}"))?;
                into.push(Expression::Claim(Condition { claim, one_of }));
            }
        }
        path.pop();
    }
    Ok(())
}

fn is_operator(table: &Map<String, Value>) -> bool {
    table.keys().any(|key| OPERATORS.contains(&key.as_str()))
}

/// The accepted values: one, or a list of which one has to match.
fn read_expected(value: Value) -> Result<Vec<Expected>, String> {
    let items = match value {
        Value::Array(items) if items.is_empty() => {
            return Err("an empty list matches nothing: write values, or remove the rule".to_owned());
        }
        Value::Array(items) => items,
        one => vec![one],
    };
    let expected: Vec<Vec<Expected>> = items.into_iter().map(read_one).collect::<Result<_, _>>()?;
    Ok(expected.into_iter().flatten().collect())
}

fn read_one(value: Value) -> Result<Vec<Expected>, String> {
    let Value::Object(table) = value else { return Ok(vec![Expected::Is(read_scalar(value)?)]) };
    let mut entries = table.into_iter();
    let (Some((operator, value)), None) = (entries.next(), entries.next()) else {
        return Err(format!("a table with one of {OPERATORS:?} has no other keys"));
    };
    if operator != "contains" {
        return Ok(vec![Expected::Is(read_operator(&operator, value)?)]);
    }
    let items = match value {
        Value::Array(items) if items.is_empty() => return Err("`contains` has an empty list".to_owned()),
        Value::Array(items) => items,
        one => vec![one],
    };
    items
        .into_iter()
        .map(|item| match item {
            Value::Object(table) => {
                let mut entries = table.into_iter();
                match (entries.next(), entries.next()) {
                    (Some((operator, value)), None) => {
                        read_operator(&operator, value).map(Expected::Contains)
                    }
                    _ => Err("a table in `contains` has one key: `glob` or `exact`".to_owned()),
                }
            }
            scalar => read_scalar(scalar).map(Expected::Contains),
        })
        .collect()
}

fn read_operator(operator: &str, value: Value) -> Result<Scalar, String> {
    let Value::String(text) = value else { return Err(format!("`{operator}` takes one text")) };
    match operator {
        "glob" => Glob::parse(&text).map(Scalar::Glob),
        "exact" => Ok(Scalar::Text(text)),
        _ => Err(format!("`{operator}` is not one of `glob`, `exact` and `contains`")),
    }
}

fn read_scalar(value: Value) -> Result<Scalar, String> {
    match value {
        Value::String(text) if text.contains('*') => Err(format!(
            "{text:?} has a `*`: write {{ glob = {text:?} }} for a glob, or {{ exact = {text:?} }} for this very text"
        )),
        Value::String(text) => Ok(Scalar::Text(text)),
        Value::Bool(flag) => Ok(Scalar::Flag(flag)),
        Value::Number(number) => number
            .as_i64()
            .map(Scalar::Number)
            .ok_or_else(|| format!("{number} is not a whole number of 64 bits")),
        Value::Null => Err("a value is missing".to_owned()),
        Value::Array(_) => {
            Err("a list within a list: write { contains = … } for a claim that is a list".to_owned())
        }
        Value::Object(_) => Err("a table stands where a text, a number, true or false belongs".to_owned()),
    }
}
