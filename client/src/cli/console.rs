//! Where words go: results to stdout, everything else to stderr. Colour only for terminals, and never if
//! `NO_COLOR` is set.

use std::fs::File;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;

use chancery::artifact::Artifact;
use chancery_tlog::key::HashAlgorithm;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::Failure;
use super::arguments::Output;

/// Files from this size on show their progress: below, hashing takes a blink.
const LONG: u64 = 64 * 1024 * 1024;

/// Colours that mean something here.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Tone {
    /// It holds.
    Good,
    /// It does not.
    Bad,
    /// It does not matter.
    Faint,
}

/// The terminal, or what stands in for it.
pub(crate) struct Console {
    output: Output,
    colour_out: bool,
    colour_err: bool,
}

#[expect(clippy::unused_self, reason = "all words pass the console, whether it tones them or not")]
impl Console {
    pub(crate) fn new(output: Output) -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self {
            output,
            colour_out: wanted && io::stdout().is_terminal(),
            colour_err: wanted && io::stderr().is_terminal(),
        }
    }

    /// Whether results are JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.output == Output::Json
    }

    /// A line of the result.
    pub(crate) fn line(&self, text: &str) -> Result<(), Failure> {
        written(writeln!(io::stdout().lock(), "{}", printable(text)))
    }

    /// A line of the result that starts with a toned word.
    pub(crate) fn toned(&self, tone: Tone, word: &str, text: &str) -> Result<(), Failure> {
        let word = paint(self.colour_out, tone, word);
        written(writeln!(io::stdout().lock(), "{word}{}", printable(text)))
    }

    /// The whole result as JSON.
    pub(crate) fn json(&self, value: &impl Serialize) -> Result<(), Failure> {
        let json = serde_json::to_string_pretty(value).map_err(Failure::could_not_run)?;
        written(writeln!(io::stdout().lock(), "{json}"))
    }

    /// Talk.
    pub(crate) fn say(&self, text: &str) {
        // There is nobody to tell that stderr is closed.
        let _ = writeln!(io::stderr().lock(), "{}", printable(text));
    }

    /// Why a command failed, and what to do.
    pub(crate) fn failure(&self, failure: &Failure) {
        let mut stderr = io::stderr().lock();
        let _ = writeln!(
            stderr,
            "{} {}",
            paint(self.colour_err, Tone::Bad, "error:"),
            printable(&failure.message)
        );
        if let Some(hint) = &failure.hint {
            let _ = writeln!(stderr, "{} {hint}", paint(self.colour_err, Tone::Good, "hint:"));
        }
    }

    /// Hashes a file, with progress if it is long and someone is looking.
    pub(crate) fn hash(&self, path: &Path, more: &[HashAlgorithm]) -> Result<Artifact, Failure> {
        let failed =
            |error: io::Error| Failure::could_not_run(format!("cannot read `{}`: {error}", path.display()));
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if metadata.is_dir() {
            return Err(Failure::could_not_run(format!("`{}` is a folder", path.display())));
        }
        let progress = progress(metadata.len(), path);
        let artifact = Artifact::read(file, more, |done| progress.set_position(done)).map_err(failed);
        progress.finish_and_clear();
        artifact
    }
}

fn progress(length: u64, path: &Path) -> ProgressBar {
    if length < LONG || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{msg} {bar:30} {bytes}/{total_bytes} {eta}");
    let bar = ProgressBar::new(length).with_message(format!("hashing {}", path.display()));
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Much of what is printed comes out of bundles and answers: no control characters reach the terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

fn paint(colour: bool, tone: Tone, text: &str) -> String {
    let code = match tone {
        Tone::Good => 32,
        Tone::Bad => 31,
        Tone::Faint => 2,
    };
    if colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

/// A reader that went away has what it wanted.
fn written(result: io::Result<()>) -> Result<(), Failure> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::could_not_run(format!("cannot write to stdout: {error}")))
        }
        _ => Ok(()),
    }
}
