//! The border to the terminal: results to stdout, everything else to stderr. Colour only for terminals, and never if
//! `NO_COLOR` is set.
//!
//! Invariant: no other module writes to stdout or stderr (clippy refuses it), and everything that is written here has
//! been through [`inert`], since much of it comes from bundles, certificates, file names and answers, and CI runners take
//! some lines of a job's log for commands.
#![expect(clippy::disallowed_methods, reason = "this is the module that owns stdout and stderr")]

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;

use chancery::artifact::Artifact;
use chancery_tlog::escape::{Form, inert};
use chancery_tlog::files::check_stdout;
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
        written(writeln!(io::stdout().lock(), "{}", inert(text, Form::Line)))
    }

    /// The path of a file as a line of the result. One that would be a runner's command gets a folder in front, and is the
    /// same path still.
    pub(crate) fn path(&self, path: &Path) -> Result<(), Failure> {
        let text = path.display().to_string();
        let is_plain = path.is_absolute() || text.starts_with(|c: char| c.is_alphanumeric() || c == '.');
        self.line(&if is_plain { text } else { format!("./{text}") })
    }

    /// A line of the result that starts with a toned word.
    pub(crate) fn toned(&self, tone: Tone, word: &str, text: &str) -> Result<(), Failure> {
        let word = paint(self.colour_out, tone, word);
        written(writeln!(io::stdout().lock(), "{word}{}", inert(text, Form::Line)))
    }

    /// The whole result as JSON.
    pub(crate) fn json(&self, value: &impl Serialize) -> Result<(), Failure> {
        let json = serde_json::to_string_pretty(value).map_err(Failure::could_not_run)?;
        written(writeln!(io::stdout().lock(), "{}", inert(&json, Form::Json)))
    }

    /// A JSON document that is the whole result, such as a bundle. Unlike with other results, a reader that went away is
    /// a failure, since the document may exist nowhere else.
    pub(crate) fn document(&self, json: &str) -> io::Result<()> {
        check_stdout()?;
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "{}", inert(json, Form::Json))?;
        stdout.flush()
    }

    /// A JSON document that no other place takes, on stderr.
    pub(crate) fn last_resort(&self, json: &str) {
        // There is nobody left to tell.
        let _ = writeln!(io::stderr().lock(), "{}", inert(json, Form::Json));
    }

    /// Help, version, or what is wrong with the arguments, which must be escaped in it: its line breaks are its own.
    pub(crate) fn usage(message: &clap::Error) {
        let text = message.render().to_string();
        let is_inert = |line: &str| matches!(inert(line, Form::Line), Cow::Borrowed(_));
        // A closed pipe is not a failure here.
        let _ = if text.lines().all(is_inert) {
            message.print()
        } else {
            text.lines().try_for_each(|line| writeln!(io::stderr().lock(), "{}", inert(line, Form::Line)))
        };
    }

    /// Talk.
    pub(crate) fn say(&self, text: &str) {
        // There is nobody to tell that stderr is closed.
        let _ = writeln!(io::stderr().lock(), "{}", inert(text, Form::Line));
    }

    /// Why a command failed, and what to do.
    pub(crate) fn failure(&self, failure: &Failure) {
        let mut stderr = io::stderr().lock();
        let _ = writeln!(
            stderr,
            "{} {}",
            paint(self.colour_err, Tone::Bad, "error:"),
            inert(&failure.message, Form::Line)
        );
        if let Some(hint) = &failure.hint {
            let _ = writeln!(
                stderr,
                "{} {}",
                paint(self.colour_err, Tone::Good, "hint:"),
                inert(hint, Form::Line)
            );
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
    let message = format!("hashing {}", path.display());
    let bar = ProgressBar::new(length).with_message(inert(&message, Form::Line).into_owned());
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
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
