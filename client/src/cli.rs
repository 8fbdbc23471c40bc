//! The command line: what a person or a CI job says, and what they are told.
//!
//! Data goes to stdout, talk to stderr. Exit codes: 0 done or verified, 1 not verified, 2 could not run (and nothing was
//! logged), 3 a log has the signature or may have it, but there is no verified bundle where it was wanted.

mod arguments;
mod console;
mod network;
mod output;
mod signing;
mod trust;
mod verification;

use std::process::ExitCode;
use std::sync::Arc;

use chancery_tlog::clock::{Clock, SystemClock};
use chancery_tlog::{escape, variables};
use clap::Parser as _;

use arguments::{Arguments, Command};
use console::Console;

/// Exit code if a signature is logged, or may be, and the run did not end well.
const LOGGED: u8 = 3;

/// Why a command did not do what was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    hint: Option<String>,
    code: u8,
}

impl Failure {
    /// The command could not do its work.
    fn could_not_run(error: impl ToString) -> Self {
        Self { message: error.to_string(), hint: None, code: 2 }
    }

    /// The work was done, and the answer is no.
    fn not_verified(error: impl ToString) -> Self {
        Self { message: error.to_string(), hint: None, code: 1 }
    }

    /// The signature is logged, or may be, and the run did not end well.
    fn logged(error: impl ToString) -> Self {
        Self { message: error.to_string(), hint: None, code: LOGGED }
    }

    /// Adds what to do next.
    fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

/// Runs the command line of this process.
pub(crate) fn run() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(message) => {
            // A message quotes arguments, line breaks and all. Where only the escaped ones are right, nothing is quoted.
            let visible = Arguments::try_parse_from(escape::arguments(std::env::args_os()));
            let message = visible.err().filter(|same| same.kind() == message.kind()).unwrap_or(message);
            Console::usage(&message);
            // Help and version are answers, everything else is a mistake.
            return ExitCode::from(if message.use_stderr() { 2 } else { 0 });
        }
    };
    let console = Console::new(arguments.output);
    let variables = std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned());
    for unread in variables::unread(variables, &[]) {
        console.say(&format!("warning: {unread}"));
    }
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let done = execute(arguments, &console, &*clock);
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            console.failure(&failure);
            ExitCode::from(failure.code)
        }
    }
}

fn execute(arguments: Arguments, console: &Console, clock: &dyn Clock) -> Result<(), Failure> {
    let folder = || arguments.folder();
    match &arguments.command {
        Command::Trust(command) => trust::run(command, &folder()?, console, clock),
        Command::Attest(command) => signing::attest(command, &folder()?, console, clock),
        Command::Sign(command) => signing::sign(command, &folder()?, console, clock),
        Command::Verify(command) => verification::run(command, folder, console, clock),
    }
}

/// Runs a future to its end on this thread: a command does one thing at a time.
fn block_on<T>(future: impl Future<Output = T>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Ok(runtime.map_err(Failure::could_not_run)?.block_on(future))
}
