//! Places for a bundle: checked before anything is signed, and nothing that was logged is lost if one of them fails
//! afterwards.

use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chancery::bundle::MAX_BUNDLE;
use chancery::sign::Flaw;
use chancery_tlog::files::{self, Destination};
use serde_json::Value;

use super::Failure;
use super::console::Console;

/// Bytes of a bundle without its statement: a certificate, timestamps, and log entries.
const ROOM: u64 = 64 * 1024;
/// Bytes that a subject adds to a statement, which is in a bundle twice: as payload, and behind a log entry's proof.
const ROOM_PER_SUBJECT: u64 = 1024;

/// What a bundle holds, as far as one may take the place of another: one file has one of them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Held {
    /// A signature over the artifact.
    Signature,
    /// A statement with a predicate of this type.
    Statement(String),
}

impl Held {
    /// What the bundle in a file holds. `None` if there is no such file, or no bundle in it.
    fn in_file(path: &Path) -> Option<Self> {
        // A FIFO would be waited for, and what is in a device is nobody's.
        std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?;
        let mut json = Vec::new();
        File::open(path).ok()?.take(MAX_BUNDLE as u64).read_to_end(&mut json).ok()?;
        // Read leniently: a bundle that this version cannot use is somebody's work too.
        let bundle: Value = serde_json::from_slice(&json).ok()?;
        if bundle.get("messageSignature").is_some() {
            return Some(Self::Signature);
        }
        let payload = bundle.pointer("/dsseEnvelope/payload")?.as_str()?;
        let statement: Value =
            STANDARD.decode(payload).ok().and_then(|it| serde_json::from_slice(&it).ok())?;
        Some(Self::Statement(statement.get("predicateType")?.as_str()?.to_owned()))
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signature => f.write_str("a signature of the file"),
            Self::Statement(predicate) => write!(f, "a statement of type {predicate}"),
        }
    }
}

/// What is to be written, and over what.
pub(crate) struct Intent {
    /// What the bundle will hold.
    pub(crate) holds: Held,
    /// Whether a bundle that holds something else is replaced.
    pub(crate) force: bool,
}

impl Intent {
    /// Refuses to replace a bundle that says something else.
    fn check(&self, path: &Path) -> Result<(), Failure> {
        match Held::in_file(path) {
            Some(held) if held != self.holds && !self.force => {
                let path = path.display();
                Err(Failure::could_not_run(format!(
                    "`{path}` holds {held}, and {} would take its place",
                    self.holds
                ))
                .hint("nothing was signed; keep both with `--bundle FILE`, or replace it with `--force`"))
            }
            _ => Ok(()),
        }
    }
}

/// The places for one bundle.
pub(crate) struct Outputs(Vec<(PathBuf, Destination)>);

impl Outputs {
    /// Checks all `paths`, none of which may be one of the `inputs`.
    pub(crate) fn prepare(
        paths: &[PathBuf],
        inputs: &[PathBuf],
        intent: &Intent,
        console: &Console,
    ) -> Result<Self, Failure> {
        let room = ROOM + ROOM_PER_SUBJECT * inputs.len() as u64;
        let prepare = |path: &PathBuf| {
            if inputs.iter().any(|input| is_same(input, path)) {
                return Err(Failure::could_not_run(format!(
                    "the bundle would replace `{}`, the file to sign",
                    path.display()
                )));
            }
            intent.check(path)?;
            let destination = Destination::prepare(path, room).map_err(|error| cannot_write(path, &error))?;
            if destination.is_stdout() && console.is_json() {
                return Err(Failure::could_not_run("both the bundle and the results would go to stdout")
                    .hint("write the bundle to a file, or leave `--output json` out"));
            }
            Ok((path.clone(), destination))
        };
        paths.iter().map(prepare).collect::<Result<_, _>>().map(Self)
    }

    /// Writes the bundle of a signature that is logged to all places.
    pub(crate) fn write(self, bundle: &str, console: &Console) -> Delivered {
        let folder = self.folder();
        let (mut written, mut failed, mut intact) = (Vec::new(), Vec::new(), None);
        for (path, destination) in self.0 {
            let keeps = destination.keeps();
            let outcome = if destination.is_stdout() {
                console.document(bundle)
            } else {
                destination.write(bundle.as_bytes()).inspect(|()| written.push(path.clone()))
            };
            match outcome {
                Ok(()) if keeps => intact = Some(path),
                Ok(()) => {}
                Err(error) => failed.push((path, error)),
            }
        }
        if failed.is_empty() {
            return Delivered { what: "the bundle", written, kept: None, failure: None };
        }
        let kept = intact.map_or_else(|| set_aside(folder.as_deref(), "bundle", bundle), Kept::At);
        let mut message = "the signature is logged, but its bundle cannot be written to".to_owned();
        for (i, (path, error)) in failed.iter().enumerate() {
            let separator = if i == 0 { "" } else { ", and to" };
            // Writing to a `String` cannot fail.
            let _ = write!(message, "{separator} `{}`: {error}", path.display());
        }
        Delivered::elsewhere("the bundle", ": copy it from there", written, kept, Failure::logged(message))
    }

    /// Keeps the bundle of a signature that is logged, or may be, and is not to be relied upon, out of the way of what
    /// was wanted.
    pub(crate) fn set_aside(self, bundle: &str, flaw: &Flaw) -> Delivered {
        let (mark, what) = match flaw {
            Flaw::Unverifiable(..) => ("not-verified", "the bundle, which does not verify,"),
            Flaw::Unknown { .. } | Flaw::Incomplete { .. } => ("incomplete", "the bundle as far as it goes"),
        };
        let kept = set_aside(self.folder().as_deref(), mark, bundle);
        let advice = "; to sign again makes another log entry";
        Delivered::elsewhere(what, advice, Vec::new(), kept, Failure::logged(flaw))
    }

    /// The folder of the first place that is in one: a device's or descriptor's is not one for files.
    fn folder(&self) -> Option<PathBuf> {
        let (path, _) = self.0.iter().find(|(_, destination)| destination.keeps())?;
        path.parent().map(Path::to_owned)
    }
}

/// Where the bundle of a signature that is logged went.
pub(crate) struct Delivered {
    /// The bundle, in words.
    what: &'static str,
    /// Places that took it, other than standard output.
    pub(crate) written: Vec<PathBuf>,
    /// Where it is if some place did not take it.
    pub(crate) kept: Option<Kept>,
    /// What went wrong.
    pub(crate) failure: Option<Failure>,
}

/// Where a bundle is that is not everywhere where it was wanted.
#[derive(PartialEq, Eq)]
pub(crate) enum Kept {
    /// A file.
    At(PathBuf),
    /// No folder took it: it must be printed.
    Nowhere,
}

impl Delivered {
    fn elsewhere(
        what: &'static str,
        advice: &str,
        written: Vec<PathBuf>,
        kept: Kept,
        failure: Failure,
    ) -> Self {
        let place = match &kept {
            Kept::At(path) => Some(format!("is in `{}`{advice}", path.display())),
            Kept::Nowhere => None,
        };
        let mut delivered = Self { what, written, kept: Some(kept), failure: Some(failure) };
        if let Some(place) = place {
            delivered.explain(&place);
        }
        delivered
    }

    /// Says where the bundle is.
    pub(crate) fn explain(&mut self, place: &str) {
        let hint = format!("{} {place}", self.what);
        self.failure = self.failure.take().map(|failure| failure.hint(hint));
    }
}

/// Saves a bundle in the folder `beside`, the working folder or that for temporary files.
fn set_aside(beside: Option<&Path>, mark: &str, bundle: &str) -> Kept {
    let beside = beside.map(Path::to_owned);
    let folders: Vec<PathBuf> =
        beside.into_iter().chain([PathBuf::from("."), std::env::temp_dir()]).collect();
    files::rescue(&folders, &format!("{mark}.sigstore.json"), bundle.as_bytes())
        .map_or(Kept::Nowhere, Kept::At)
}

fn cannot_write(path: &Path, error: &io::Error) -> Failure {
    Failure::could_not_run(format!("cannot write the bundle to `{}`: {error}", path.display()))
        .hint("nothing was signed; choose another place with `--bundle FILE`, or `--bundle -` for stdout")
}

fn is_same(input: &Path, output: &Path) -> bool {
    let identity = |path: &Path| std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file);
    match (identity(input), identity(output)) {
        (Some(input), Some(output)) => (input.dev(), input.ino()) == (output.dev(), output.ino()),
        _ => false,
    }
}
