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
use std::sync::Arc;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt as _;

pub use self::queue::{LOST, lost};
use self::visible::Visible;
use self::writer::Lines;
pub use self::writer::{Flush, write_briefly};
use crate::escape::Form;

/// Environment variable with the filter, such as `info,chancery_tlog=debug`; it wins over the configuration.
pub const FILTER_VARIABLE: &str = "CHANCERY_LOG";
/// The filter if none is named.
const DEFAULT_FILTER: &str = "info";
/// Target of audit lines, which are dropped last.
pub const AUDIT: &str = "chancery::audit";
/// Name of events of the target [`AUDIT`] that anyone can cause, without a token or key of their own, and as many as
/// they like. They are dropped first, like lines of the access log, so that they displace no line about what was done.
pub const ANONYMOUS: &str = "anonymous";

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The filter is malformed.
    #[error("{0}")]
    Filter(#[from] FilterError),
    /// This process has a subscriber already.
    #[error("logging is set up already")]
    Twice,
    /// The thread that writes could not be started.
    #[error("cannot start the thread that writes the log: {0}")]
    Thread(std::io::Error),
}

/// A filter that is none.
#[derive(Debug, thiserror::Error)]
#[error("`{text}` is not a log filter: {problem}; write it as in `info,chancery_tlog=debug`")]
pub struct FilterError {
    text: String,
    problem: String,
}

/// Which events are logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter(String);

impl Default for Filter {
    fn default() -> Self {
        Self(DEFAULT_FILTER.to_owned())
    }
}

impl Filter {
    /// Parses a filter such as `info,chancery_tlog=debug`.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        let text = text.trim();
        // An empty one would log errors alone.
        let text = if text.is_empty() { DEFAULT_FILTER } else { text };
        let failed = |problem: String| FilterError { text: text.to_owned(), problem };
        EnvFilter::try_new(text).map_err(|error| failed(error.to_string()))?;
        Ok(Self(text.to_owned()))
    }

    /// That of the environment if it names one, else `configured`, else `info`.
    pub fn in_force(configured: Option<&Self>) -> Result<Self, FilterError> {
        let named = std::env::var(FILTER_VARIABLE).unwrap_or_default();
        match (named.trim(), configured) {
            ("", Some(configured)) => Ok(configured.clone()),
            (named, _) => Self::parse(named),
        }
    }

    fn directives(&self) -> EnvFilter {
        EnvFilter::new(&self.0)
    }
}

/// The log of this process. Dropping it waits briefly for the last lines.
pub struct Logging {
    changer: FilterChanger,
    _flush: Flush,
}

impl Logging {
    /// What replaces the filter.
    pub fn filter(&self) -> FilterChanger {
        self.changer.clone()
    }
}

/// Replaces the filter of the log.
#[derive(Clone)]
pub struct FilterChanger(Arc<dyn Fn(EnvFilter) -> bool + Send + Sync>);

impl FilterChanger {
    /// Filters events by `filter` from now on. False if there is no log any more.
    pub fn replace(&self, filter: &Filter) -> bool {
        (self.0)(filter.directives())
    }
}

/// Sends this process's logs to standard error: JSON for machines, else text with colours on a terminal.
pub fn init(json: bool, filter: &Filter) -> Result<Logging, LoggingError> {
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
    // Its report of a failed write goes to standard error and panics if that fails too.
    let builder = tracing_subscriber::fmt().with_writer(lines).with_ansi(colours).log_internal_errors(false);
    let (changer, outcome) = if json {
        let builder = builder.json().flatten_event(true).with_current_span(true).with_span_list(false);
        let builder = builder.with_env_filter(filter.directives()).with_filter_reloading();
        let handle = builder.reload_handle();
        let change = FilterChanger(Arc::new(move |filter| handle.reload(filter).is_ok()));
        (change, builder.finish().try_init())
    } else {
        let builder = builder.with_env_filter(filter.directives()).with_filter_reloading();
        let handle = builder.reload_handle();
        let change = FilterChanger(Arc::new(move |filter| handle.reload(filter).is_ok()));
        (change, builder.finish().try_init())
    };
    outcome.map_err(|_| LoggingError::Twice)?;
    std::panic::set_hook(Box::new(log_panic));
    Ok(Logging { changer, _flush: flush })
}

fn log_panic(panic: &PanicHookInfo<'_>) {
    let text = panic.payload_as_str().unwrap_or("not a text");
    let location = panic.location().map(tracing::field::display);
    tracing::error!(panic = text, location, "panicked");
}
