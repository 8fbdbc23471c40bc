//! `chancery-loadtest`: open-loop load for Sigstore servers, ours and others.
//!
//! Map: [`arguments`] is the manual. [`schedule`] and [`plan`] say when and how much, [`load`] sends it and measures,
//! [`target`] is what can be put under load and how its answers are verified, [`ledger`] and [`audit`] hold everything
//! that was acknowledged against the final tree. [`abuse`] measures what a hostile client costs others.
//! [`fill`] makes large logs. [`primitives`] and [`ceiling`] say what the
//! machine could do at best, [`report`] and [`plot`] what came of it.
//!
//! Invariants: requests leave on schedule and are timed from when they were due; nothing is prepared or verified while
//! the clock runs; a single promise that does not hold makes the run fail.

mod abuse;
mod arguments;
mod audit;
mod ceiling;
mod cpu;
mod drive;
mod fill;
mod http;
mod instance;
mod ledger;
mod load;
mod parallel;
mod plan;
mod plot;
mod primitives;
mod report;
mod run;
mod schedule;
mod submitter;
mod target;
mod trust;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;

use crate::arguments::Arguments;
use crate::run::Verdict;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let threads = arguments.load.threads();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build();
    let verdict = match runtime {
        Ok(runtime) => runtime.block_on(run::run(arguments)),
        Err(error) => Err(error.into()),
    };
    match verdict {
        Ok(Verdict::Kept) => ExitCode::SUCCESS,
        Ok(Verdict::Broken(promises)) => {
            say(&format!("error: {promises} promises of the server do not hold, see above"));
            ExitCode::from(1)
        }
        Err(error) => {
            say(&format!("error: {}", chancery_tlog::causes::in_full(error.as_ref())));
            ExitCode::from(2)
        }
    }
}

/// Progress and complaints, on stderr: results alone go to stdout.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
