//! The genuine servers and ours, asked the same: every endpoint, generated requests, one at a time. Statuses, media
//! types and bodies agree, or a row of a table gives the reason; a row that is not needed fails too.
//!
//! `CHANCERY_REQUESTS` is how many requests of each kind are generated besides the fixed ones, `CHANCERY_SEED` decides
//! which.
//! `tests/long` generates thousands.

mod fulcio;
mod keys;
mod rekor_v1;
mod rekor_v2;
mod tsa;

use anyhow::{Context as _, Result};
use serde_json::Value;

/// Host and port of a URL.
fn authority(url: &str) -> Result<String> {
    Ok(url.strip_prefix("http://").context("a URL of http")?.trim_end_matches('/').to_owned())
}

/// The names of all members and the kinds of their values.
fn members(value: &Value) -> String {
    match value {
        Value::Object(object) => {
            let inner: Vec<String> =
                object.iter().map(|(name, value)| format!("{name}:{}", members(value))).collect();
            format!("{{{}}}", inner.join(","))
        }
        Value::Array(_) => "list".to_owned(),
        Value::String(_) => "text".to_owned(),
        Value::Number(_) => "number".to_owned(),
        Value::Bool(_) => "bool".to_owned(),
        Value::Null => "null".to_owned(),
    }
}
