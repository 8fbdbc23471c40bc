//! The checks that go-openapi makes of requests before Rekor sees them, with its texts and its codes above 600.
//!
//! HTTP says 422 for all of them; `code` in the body says which rule it was.

use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use serde::de::DeserializeOwned;

use crate::serve::Problem;

const TYPE: u16 = 601;
pub(super) const REQUIRED: u16 = 602;
const TOO_LONG: u16 = 603;
const TOO_SHORT: u16 = 604;
pub(super) const PATTERN: u16 = 605;
const ENUM: u16 = 606;
const MIN: u16 = 609;
const MAX_ITEMS: u16 = 611;
const MIN_ITEMS: u16 = 612;

/// Pattern of entry ids, as the genuine server prints it.
pub(super) const ENTRY_ID: &str = "^([0-9a-fA-F]{64}|[0-9a-fA-F]{80})$";

/// A query string as its pairs; unknown ones are ignored by never being asked for.
pub(super) type Pairs = Result<Query<Vec<(String, String)>>, QueryRejection>;

fn invalid(code: u16, message: String) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, message).with_code(code)
}

/// `name` must be there.
pub(super) fn required(name: &str, place: &str) -> Problem {
    invalid(REQUIRED, format!("{name} in {place} is required"))
}

/// `name` must match.
pub(super) fn pattern(name: &str, place: &str, pattern: &str) -> Problem {
    invalid(PATTERN, format!("{name} in {place} should match '{pattern}'"))
}

/// `name` must be of a type or format.
pub(super) fn type_of(name: &str, place: &str, wanted: &str, found: &str) -> Problem {
    invalid(TYPE, format!("{name} in {place} must be of type {wanted}: {found:?}"))
}

/// `name` must be one of a few.
pub(super) fn one_of(name: &str, choices: &str) -> Problem {
    invalid(ENUM, format!("{name} in body should be one of [{choices}]"))
}

/// A number at least `min`.
pub(super) fn at_least(name: &str, place: &str, value: i64, min: i64) -> Result<u64, Problem> {
    match u64::try_from(value) {
        Ok(number) if value >= min => Ok(number),
        _ => Err(invalid(MIN, format!("{name} in {place} should be greater than or equal to {min}"))),
    }
}

/// A text of 1 to `max` characters.
pub(super) fn length(name: &str, text: &str, max: usize) -> Result<(), Problem> {
    match text.chars().count() {
        0 => Err(invalid(TOO_SHORT, format!("{name} in body should be at least 1 chars long"))),
        count if count > max => {
            Err(invalid(TOO_LONG, format!("{name} in body should be at most {max} chars long")))
        }
        _ => Ok(()),
    }
}

/// An array of 1 to `max` items.
pub(super) fn items(name: &str, count: usize, max: usize) -> Result<(), Problem> {
    match count {
        0 => Err(invalid(MIN_ITEMS, format!("{name} in body should have at least 1 items"))),
        count if count > max => {
            Err(invalid(MAX_ITEMS, format!("{name} in body should have at most {max} items")))
        }
        _ => Ok(()),
    }
}

/// The value of query parameter `name`. The last occurrence counts, and an empty value counts as absent.
pub(super) fn query<'q>(pairs: &'q Pairs, name: &str) -> Result<Option<&'q str>, Problem> {
    let Query(pairs) = pairs.as_ref().map_err(|_| Problem::bad_request("malformed query string"))?;
    let last = pairs.iter().rfind(|(key, _)| key == name);
    Ok(last.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty()))
}

/// An integer query parameter of at least `min`.
pub(super) fn query_int(pairs: &Pairs, name: &str, min: i64) -> Result<Option<u64>, Problem> {
    let Some(text) = query(pairs, name)? else { return Ok(None) };
    let value = text.parse::<i64>().map_err(|_| type_of(name, "query", "int64", text))?;
    at_least(name, "query", value, min).map(Some)
}

/// Checks that there is a body and that it says to be JSON. An empty body has no type to check; white space has one and
/// is no more than nothing then.
pub(super) fn body(name: &str, headers: &HeaderMap, body: &[u8]) -> Result<(), Problem> {
    if body.is_empty() {
        return Err(required(name, "body"));
    }
    let stated = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let stated = stated.unwrap_or("application/octet-stream");
    let media_type = stated.split(';').next().unwrap_or_default().trim();
    if media_type.eq_ignore_ascii_case("application/json") {
        return if body.trim_ascii().is_empty() { Err(required(name, "body")) } else { Ok(()) };
    }
    let message = format!("unsupported media type {stated:?}, only [application/json] are allowed");
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message))
}

/// Reads a JSON body; `null` is an object without members, as Go reads it.
pub(super) fn parse_or_null<T: DeserializeOwned + Default>(name: &str, bytes: &[u8]) -> Result<T, Problem> {
    parse::<Option<T>>(name, bytes).map(Option::unwrap_or_default)
}

/// Reads a JSON body.
pub(super) fn parse<T: DeserializeOwned>(name: &str, bytes: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(bytes)
        .map_err(|error| Problem::bad_request(format!("parsing {name} body failed, because {error}")))
}
