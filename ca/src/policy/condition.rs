//! Conditions over the claims of a token, and their evaluation.
//!
//! Invariant: nothing is converted. Text matches text, a whole number a whole number, true and false only
//! themselves; an absent claim, a null, and a value of another type never match. An address in `email` counts
//! only if the issuer has verified it, because an address that was not verified belongs to anyone.

use std::fmt;

use serde_json::{Map, Value};

use super::Glob;
use crate::excerpt::excerpt;
use crate::principal::is_verified;

/// Path of claim names, from the token's top level down.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ClaimPath(pub(super) Vec<String>);

impl ClaimPath {
    fn find<'a>(&self, claims: &'a Map<String, Value>) -> Option<&'a Value> {
        let (last, parents) = self.0.split_last()?;
        parents.iter().try_fold(claims, |map, name| map.get(name)?.as_object())?.get(last)
    }

    fn is_email(&self) -> bool {
        self.is("email")
    }

    /// True if this is the claim of this name at the token's top level.
    pub(super) fn is(&self, name: &str) -> bool {
        self.0 == [name]
    }
}

/// As in TOML: names with other characters than letters, digits, `_` and `-` in quotation marks.
impl fmt::Display for ClaimPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, name) in self.0.iter().enumerate() {
            let dot = if i == 0 { "" } else { "." };
            let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
            if !name.is_empty() && name.bytes().all(plain) {
                write!(f, "{dot}{name}")?;
            } else {
                write!(f, "{dot}{name:?}")?;
            }
        }
        Ok(())
    }
}

/// Value that a condition accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Scalar {
    /// Exactly this text.
    Text(String),
    /// Text that the glob matches.
    Glob(Glob),
    /// Exactly this whole number.
    Number(i64),
    /// True or false.
    Flag(bool),
}

impl Scalar {
    fn accepts(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::Text(text), Value::String(found)) => text == found,
            (Self::Glob(glob), Value::String(found)) => glob.matches(found),
            (Self::Number(number), Value::Number(found)) => found.as_i64() == Some(*number),
            (Self::Flag(flag), Value::Bool(found)) => flag == found,
            _ => false,
        }
    }

    /// True if every value that `other` accepts is accepted, as far as that can be seen.
    pub(super) fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Glob(glob), Self::Text(text)) => glob.matches(text),
            _ => self == other,
        }
    }
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Glob(glob) => write!(f, "like {:?}", glob.as_str()),
            Self::Number(number) => number.fmt(f),
            Self::Flag(flag) => flag.fmt(f),
        }
    }
}

/// One of the things that a claim may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// The claim is this.
    Is(Scalar),
    /// The claim is a list that contains this.
    Contains(Scalar),
}

impl Expected {
    fn accepts(&self, value: &Value) -> bool {
        match self {
            Self::Is(scalar) => scalar.accepts(value),
            Self::Contains(scalar) => {
                value.as_array().is_some_and(|items| items.iter().any(|item| scalar.accepts(item)))
            }
        }
    }

    /// See [`Scalar::covers`].
    pub(super) fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Is(a), Self::Is(b)) | (Self::Contains(a), Self::Contains(b)) => a.covers(b),
            _ => false,
        }
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Is(scalar) => scalar.fmt(f),
            Self::Contains(scalar) => write!(f, "a list with {scalar}"),
        }
    }
}

/// One claim, and the values that it may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Condition {
    pub(super) claim: ClaimPath,
    /// Not empty; one has to accept the value.
    pub(super) one_of: Vec<Expected>,
}

impl Condition {
    fn holds(&self, claims: &Claims<'_>) -> bool {
        let value = self.claim.find(claims.map);
        let usable = !self.claim.is_email() || claims.email_is_verified();
        usable && value.is_some_and(|value| self.one_of.iter().any(|expected| expected.accepts(value)))
    }

    /// The values that it accepts, in words.
    pub(super) fn expected(&self) -> String {
        let all: Vec<String> = self.one_of.iter().map(ToString::to_string).collect();
        all.join(" or ")
    }

    /// The value that was found, in words that are short and on one line.
    pub(super) fn found(&self, claims: &Claims<'_>) -> String {
        match self.claim.find(claims.map) {
            None => "absent".to_owned(),
            Some(value) if self.claim.is_email() && !claims.email_is_verified() => {
                format!("{}, which the issuer has not verified", excerpt(&value.to_string()))
            }
            Some(value) => excerpt(&value.to_string()),
        }
    }
}

/// The claims of one token, as conditions see them.
pub(super) struct Claims<'a> {
    pub(super) map: &'a Map<String, Value>,
    /// The operator takes addresses of this issuer unverified (`skip-email-verification`).
    pub(super) trusts_email: bool,
}

impl Claims<'_> {
    fn email_is_verified(&self) -> bool {
        self.trusts_email || is_verified(self.map) == Some(true)
    }
}

/// Conditions and their combinations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expression {
    /// One condition.
    Claim(Condition),
    /// Every one of these holds; not empty.
    All(Vec<Expression>),
    /// At least one of these holds; not empty.
    Any(Vec<Expression>),
}

impl Expression {
    pub(super) fn holds(&self, claims: &Claims<'_>) -> bool {
        match self {
            Self::Claim(condition) => condition.holds(claims),
            Self::All(all) => all.iter().all(|one| one.holds(claims)),
            Self::Any(any) => any.iter().any(|one| one.holds(claims)),
        }
    }

    /// The least number of conditions that would have to be otherwise for it to hold, and the first of them.
    pub(super) fn shortfall<'a>(&'a self, claims: &Claims<'_>) -> (usize, Option<&'a Condition>) {
        match self {
            Self::Claim(condition) if condition.holds(claims) => (0, None),
            Self::Claim(condition) => (1, Some(condition)),
            Self::All(all) => all
                .iter()
                .map(|one| one.shortfall(claims))
                .fold((0, None), |sum, one| (sum.0 + one.0, sum.1.or(one.1))),
            Self::Any(any) => any
                .iter()
                .map(|one| one.shortfall(claims))
                .min_by_key(|(count, _)| *count)
                .unwrap_or((0, None)),
        }
    }

    /// All its conditions with what was found, in order.
    pub(super) fn trace(&self, claims: &Claims<'_>, depth: usize, lines: &mut Vec<TraceLine>) {
        let (what, parts) = match self {
            Self::Claim(condition) => {
                let Condition { claim, .. } = condition;
                let text = format!("{claim} is {}", condition.expected());
                let found = Some(condition.found(claims));
                return lines.push(TraceLine { depth, text, holds: condition.holds(claims), found });
            }
            Self::All(all) => ("all of these", all),
            Self::Any(any) => ("one of these", any),
        };
        lines.push(TraceLine { depth, text: what.to_owned(), holds: self.holds(claims), found: None });
        for part in parts {
            part.trace(claims, depth + 1, lines);
        }
    }

    /// Conditions in it.
    pub(super) fn count(&self) -> usize {
        match self {
            Self::Claim(condition) => condition.one_of.len(),
            Self::All(parts) | Self::Any(parts) => parts.iter().map(Self::count).sum(),
        }
    }
}

/// One line of the explanation of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceLine {
    /// Nesting, from 0.
    pub depth: usize,
    /// The condition.
    pub text: String,
    /// True if it holds.
    pub holds: bool,
    /// The claim's value, for a condition; short and on one line.
    pub found: Option<String>,
}
