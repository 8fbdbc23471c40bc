//! Instruction counts of the hot paths, compared with those that `.ci/instructions.json` records. Run by `.ci/benches`.
//!
//! ```text
//! instructions                 run under callgrind, print a table, fail beyond the tolerance
//! instructions --update        record what was counted
//! instructions --self-test     prove that a path that does its work twice would be caught
//! instructions --once [NAME]   what runs inside of callgrind: every path, or one
//! ```
//!
//! Everything is made before it is measured, and each path runs once before it counts, so that neither keys nor
//! first-time tables are in the figures. Nothing here leaves the process's memory but one request for an issuer's
//! keys: RocksDB and sockets are not in the counts, they are what `chancery-loadtest` measures.
#![expect(clippy::print_stdout, reason = "a benchmark's output is its purpose")]

mod authorities;
mod client;
#[path = "../../../client/tests/fixture/mod.rs"]
mod fixture;
mod issuer;
mod log;
mod primitives;
mod requests;
mod world;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail, ensure};
use chancery_tests::instructions::baseline::{Baseline, Difference, TOLERANCE};
use chancery_tests::instructions::{Count, Environment, callgrind};

use crate::world::World;

/// How often a path runs in one measurement: enough to average signatures' randomness out.
const ROUNDS: u32 = 8;
/// The function that is counted: [`under_measurement`]. Without a wildcard: of two options with the same pattern
/// callgrind 3.19 heeds the first alone, and would count without writing dumps.
const MARKED: &str = "instructions::under_measurement";
/// The path that the self-test slows down: a cheap one, whose only other fault could be that nobody looks.
const SLOWED: &str = "checkpoint: parse and verify";

/// One operation, as often as it is called.
type Operation = Box<dyn FnMut() -> Result<()>>;
/// Makes an operation and its input.
type Make = Box<dyn FnOnce(&World) -> Result<Operation>>;

/// An operation under measurement, and how to make what it works on. That is done for paths that run and for no
/// others: two logs of hundreds of entries take a valgrind a while.
struct HotPath {
    name: &'static str,
    make: Make,
}

impl HotPath {
    fn new<Run: FnMut() -> Result<()> + 'static>(
        name: &'static str,
        make: impl FnOnce(&World) -> Result<Run> + 'static,
    ) -> Self {
        Self { name, make: Box::new(|world| Ok(Box::new(make(world)?))) }
    }
}

/// The last word of a path: what it made is taken, or the compiler might not make it.
#[expect(clippy::unnecessary_wraps, reason = "paths end in a result")]
fn used<T>(made: T) -> Result<()> {
    drop(std::hint::black_box(made));
    Ok(())
}

fn main() -> Result<ExitCode> {
    // `cargo bench` adds its own `--bench`.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => compare(),
        ["--update"] => update(),
        ["--self-test"] => self_test(),
        ["--once"] => once(|_| true, 1),
        ["--once", name] => once(|path| path == name, 1),
        ["--once-slowed", name] => once(|path| path == name, 2),
        _ => bail!("unknown arguments; see the head of tests/benches/instructions/main.rs"),
    }
}

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../.ci/instructions.json")
}

/// Counts every path and holds it to the record. In another environment nothing follows from a difference: it is
/// shown, and does not fail.
fn compare() -> Result<ExitCode> {
    let (recorded, environment) = (Baseline::read(&file())?, Environment::here()?);
    let counts = count(&["--once"])?;
    print!("{}", recorded.table(&counts));
    let differences = recorded.compare(&counts);
    if differences.is_empty() {
        println!("all {} paths within {TOLERANCE} % of what is recorded", counts.len());
        return Ok(ExitCode::SUCCESS);
    }
    let comparable = environment == recorded.environment;
    let verdict = if comparable { "FAILED" } else { "differs" };
    for difference in &differences {
        println!("{verdict}: {}", difference.explain());
    }
    if !comparable {
        println!("NOT COMPARABLE: recorded with {};", recorded.environment.describe());
        println!("counted with {}", environment.describe());
        println!("hint: `.ci/benches --update` on an unchanged checkout records this environment");
        return Ok(ExitCode::SUCCESS);
    }
    println!("hint: if this is as intended, `.ci/benches --update` records it; say in the commit why");
    Ok(ExitCode::FAILURE)
}

fn update() -> Result<ExitCode> {
    let counts = count(&["--once"])?;
    let before = Baseline::read(&file());
    let now = Baseline::new(Environment::here()?, &counts);
    print!("{}", before.as_ref().unwrap_or(&now).table(&counts));
    std::fs::write(file(), now.encode()).context("cannot write the counts")?;
    println!("recorded in .ci/instructions.json");
    Ok(ExitCode::SUCCESS)
}

/// Runs one path twice in each round, and expects to be told so.
fn self_test() -> Result<ExitCode> {
    let honest = count(&["--once", SLOWED])?;
    let recorded = Baseline::new(Environment::here()?, &honest);
    ensure!(recorded.compare(&count(&["--once", SLOWED])?).is_empty(), "two counts of the same path differ");
    let slowed = recorded.compare(&count(&["--once-slowed", SLOWED])?);
    ensure!(
        slowed == [Difference::Slower(SLOWED.to_owned())],
        "a path that works twice is not caught: {slowed:?}"
    );
    println!("a path that does its work twice is caught: {}", slowed[0].explain());
    Ok(ExitCode::SUCCESS)
}

/// Runs this program under callgrind.
fn count(arguments: &[&str]) -> Result<Vec<(String, Count)>> {
    let scratch = tempfile::tempdir()?;
    let program = std::env::current_exe()?;
    let counts = callgrind::count(&program, arguments, MARKED, scratch.path())?;
    ensure!(!counts.is_empty(), "no path of this name");
    Ok(counts)
}

/// Runs the wanted paths, each once unseen and then under measurement with its work done `times` as often; prints the
/// name of each and how many rounds were measured.
fn once(wanted: impl Fn(&str) -> bool, times: u32) -> Result<ExitCode> {
    let world = World::new()?;
    for HotPath { name, make } in world::paths().into_iter().filter(|path| wanted(path.name)) {
        let mut operation = make(&world).context(name)?;
        operation().context(name)?;
        under_measurement(&mut operation, ROUNDS * times).context(name)?;
        println!("{name}\t{ROUNDS}");
    }
    Ok(ExitCode::SUCCESS)
}

/// What callgrind counts: it begins anew when this is entered and writes a dump when it is left.
#[inline(never)]
fn under_measurement(operation: &mut Operation, rounds: u32) -> Result<()> {
    for _ in 0..rounds {
        operation()?;
    }
    Ok(())
}
