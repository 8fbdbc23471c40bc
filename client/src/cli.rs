//! The command line: what a person or a CI job says, and what they are told.
//!
//! Data goes to stdout, talk to stderr. Exit codes: 0 done or verified, 1 not verified, 2 could not run.

mod arguments;
mod console;
mod signing;
mod trust;
mod verification;

use std::process::ExitCode;
use std::sync::Arc;

use chancery_tlog::clock::{Clock, SystemClock};
use clap::Parser as _;

use arguments::{Arguments, Command};
use console::Console;

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
            // Help and version are answers, everything else is a mistake. A closed pipe is nobody's failure.
            let _ = message.print();
            return ExitCode::from(if message.use_stderr() { 2 } else { 0 });
        }
    };
    let console = Console::new(arguments.output);
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
