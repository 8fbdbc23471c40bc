//! Structured logs on standard error, for people or as one JSON object a line.
//!
//! Invariant: no request waits for the log, and none fails because of it. Lines go through a bounded queue to
//! a thread of their own; what does not fit or cannot be written is dropped and counted, and a line reports
//! the count as soon as the log can be written again. Panics are logged the same way, because the standard
//! hook would block on a full pipe. Each event is one line without hidden characters, whatever its values hold.

mod queue;
mod visible;
mod writer;

use std::io::{IsTerminal as _, stderr};
use std::os::fd::AsFd as _;
use std::panic::PanicHookInfo;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt as _;

pub use self::queue::{LOST, lost};
use self::visible::Visible;
use self::writer::Lines;
pub use self::writer::{Flush, write_briefly};
use crate::escape::Form;

/// Environment variable with the filter, such as `info,chancery_tlog=debug`. Default: `info`.
pub const FILTER_VARIABLE: &str = "CHANCERY_LOG";
/// Target of audit lines, which are dropped last.
pub const AUDIT: &str = "chancery::audit";
/// Name of events of the target [`AUDIT`] that anyone can cause, without a token or key of their own, and as many as
/// they like. They are dropped first, like lines of the access log, so that they displace no line about what was done.
pub const ANONYMOUS: &str = "anonymous";

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The filter is malformed.
    #[error("`{FILTER_VARIABLE}` is not a log filter: {0}")]
    Filter(String),
    /// This process has a subscriber already.
    #[error("logging is set up already")]
    Twice,
    /// The thread that writes could not be started.
    #[error("cannot start the thread that writes the log: {0}")]
    Thread(std::io::Error),
}

/// Sends this process's logs to standard error: JSON for machines, else text with colours on a terminal.
/// Dropping the result waits briefly for the last lines.
pub fn init(json: bool) -> Result<Flush, LoggingError> {
    let text = std::env::var(FILTER_VARIABLE).unwrap_or_default();
    let filter = match text.trim() {
        "" => EnvFilter::new("info"),
        text => EnvFilter::try_new(text).map_err(|error| LoggingError::Filter(error.to_string()))?,
    };
    let colours = stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    // A descriptor of its own: the lock of `stderr()` would be held for as long as a write blocks.
    let output = stderr().as_fd().try_clone_to_owned().map_err(LoggingError::Thread)?;
    let (lines, flush) = Lines::to(output.into()).map_err(LoggingError::Thread)?;
    let form = match (json, colours) {
        (true, _) => Form::Json,
        (false, true) => Form::Coloured,
        (false, false) => Form::Line,
    };
    let lines = Visible::new(lines, form);
    let builder = tracing_subscriber::fmt().with_writer(lines).with_env_filter(filter).with_ansi(colours);
    // Its report of a failed write goes to standard error and panics if that fails too.
    let builder = builder.log_internal_errors(false);
    let outcome = if json {
        builder.json().flatten_event(true).with_current_span(true).with_span_list(false).finish().try_init()
    } else {
        builder.finish().try_init()
    };
    outcome.map_err(|_| LoggingError::Twice)?;
    std::panic::set_hook(Box::new(log_panic));
    Ok(flush)
}

fn log_panic(panic: &PanicHookInfo<'_>) {
    let text = panic.payload_as_str().unwrap_or("not a text");
    let location = panic.location().map(tracing::field::display);
    tracing::error!(panic = text, location, "panicked");
}
