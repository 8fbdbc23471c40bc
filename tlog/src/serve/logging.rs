//! Structured logs on standard error, for people or as one JSON object a line.

use std::io::{IsTerminal as _, stderr};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Environment variable with the filter, such as `info,chancery_tlog=debug`. Default: `info`.
pub const FILTER_VARIABLE: &str = "CHANCERY_LOG";

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The filter is malformed.
    #[error("`{FILTER_VARIABLE}` is no log filter: {0}")]
    Filter(String),
    /// This process has a subscriber already.
    #[error("logging is set up already")]
    Twice,
}

/// Sends this process's logs to standard error: JSON for machines, else text with colours on a terminal.
pub fn init(json: bool) -> Result<(), LoggingError> {
    let text = std::env::var(FILTER_VARIABLE).unwrap_or_default();
    let filter = match text.trim() {
        "" => EnvFilter::new("info"),
        text => EnvFilter::try_new(text).map_err(|error| LoggingError::Filter(error.to_string()))?,
    };
    let colours = stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let builder = tracing_subscriber::fmt().with_writer(stderr).with_env_filter(filter).with_ansi(colours);
    let outcome = if json {
        builder.json().flatten_event(true).with_current_span(true).with_span_list(false).finish().try_init()
    } else {
        builder.finish().try_init()
    };
    outcome.map_err(|_| LoggingError::Twice)
}
