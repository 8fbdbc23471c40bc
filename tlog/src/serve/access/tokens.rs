//! Readers who show a token that the operator gave them.
//!
//! The file has a line for each: a name and the SHA-256 of the token in hex. A token has 256 random bits, so its digest
//! needs neither salt nor slowness, and the file is no secret.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::time::Instant;

use super::super::followed::{Followed, Version};
use super::{Credentials, Denied, Reader, Readers};
use crate::merkle::Hash;

/// How often the file is looked at, at most. A line that was removed lets nobody in after this time.
const LOOK: Duration = Duration::from_secs(1);
/// Largest file that is read: some ten thousand readers.
const MAX_FILE: u64 = 1024 * 1024;
/// Longest name of a reader.
const MAX_NAME: usize = 64;
/// Begins every token, so that scanners for leaked secrets can know one.
const PREFIX: &str = "chancery-reader-";

/// What is wrong with a file of tokens.
#[derive(Debug, thiserror::Error)]
pub enum TokenFileError {
    /// It cannot be read.
    #[error("cannot read {path}: {source}", path = path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line is not a name and a digest.
    #[error(
        "{path} line {line}: write a reader's name, a space, and the token's SHA-256 in hex",
        path = path.display()
    )]
    Line {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
    },
    /// A name stands twice.
    #[error("{path}: two lines for `{name}`: remove the old one", path = path.display())]
    Twice {
        /// Which file.
        path: PathBuf,
        /// Whose.
        name: String,
    },
    /// It is no file of tokens by its size.
    #[error("{path} is larger than {MAX_FILE} bytes", path = path.display())]
    TooLarge {
        /// Which.
        path: PathBuf,
    },
    /// A reader's name would not fit a line.
    #[error("the name `{0}` must be of letters, digits, `-`, `_`, `.` and `@`, at most {MAX_NAME} of them")]
    Name(String),
    /// The system gives no random numbers.
    #[error("no randomness for a token")]
    Randomness,
}

/// A fresh token, to be shown once, and the line that admits it.
pub fn new_token(name: &str) -> Result<(String, String), TokenFileError> {
    if !is_name(name) {
        return Err(TokenFileError::Name(name.to_owned()));
    }
    let mut random = [0; 32];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| TokenFileError::Randomness)?;
    let token = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(random));
    let line = format!("{name} {}", Hash::digest(token.as_bytes()));
    Ok((token, line))
}

/// The readers of a file, which is read again when it changes.
#[derive(Debug)]
pub struct TokenReaders {
    path: PathBuf,
    state: Mutex<State>,
    followed: Followed,
}

#[derive(Debug)]
struct State {
    readers: Vec<(Reader, Hash)>,
    version: Option<Version>,
    looked: Instant,
}

impl TokenReaders {
    /// Reads the file.
    pub fn load(path: &Path) -> Result<Self, TokenFileError> {
        // Older than what is read, never newer: a change in between is seen at the next look.
        let version = Version::of(path);
        let readers = read(path)?;
        let state = Mutex::new(State { readers, version, looked: Instant::now() });
        Ok(Self { path: path.to_owned(), state, followed: Followed::new("readers") })
    }

    /// How many readers there are.
    pub fn count(&self) -> usize {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).readers.len()
    }

    /// Whether the same tokens of the same readers are listed.
    pub fn lists_same_as(&self, other: &Self) -> bool {
        let listed =
            |readers: &Self| readers.state.lock().unwrap_or_else(PoisonError::into_inner).readers.clone();
        listed(self) == listed(other)
    }

    /// Whether there is a reader of this name.
    pub fn has(&self, name: &str) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.readers.iter().any(|(reader, _)| reader.name() == name)
    }

    fn find(&self, token: &str) -> Option<Reader> {
        let digest = Hash::digest(token.as_bytes());
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.follow(&mut state);
        // Every line is compared, and each in constant time.
        state.readers.iter().fold(None, |found, (reader, known)| {
            let same = verify_slices_are_equal(known.as_bytes(), digest.as_bytes()).is_ok();
            if same { Some(reader.clone()) } else { found }
        })
    }

    /// Takes over a file that has changed. One that cannot be read leaves the readers as they were: half-written files
    /// are a normal state for a moment, and locking everyone out is no answer to a typing error.
    fn follow(&self, state: &mut State) {
        if state.looked.elapsed() < LOOK {
            return;
        }
        state.looked = Instant::now();
        let version = Version::of(&self.path);
        if version == state.version {
            return self.followed.is_current();
        }
        match read(&self.path) {
            Ok(readers) => {
                tracing::info!(file = %self.path.display(), readers = readers.len(), "reader tokens reloaded");
                state.readers = readers;
                state.version = version;
                self.followed.is_current();
            }
            Err(error) => {
                if self.followed.failed(error.to_string()) {
                    tracing::error!(%error, "reader tokens not reloaded, the old ones stay in use");
                }
            }
        }
    }
}

#[async_trait]
impl Readers for TokenReaders {
    async fn admit(&self, credentials: Credentials) -> Result<Reader, Denied> {
        let token = credentials.token().ok_or(Denied::Missing)?;
        self.find(token).ok_or(Denied::Invalid)
    }

    fn look(&self) {
        self.follow(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn challenges(&self) -> &'static [&'static str] {
        &["Bearer realm=\"entries\"", "Basic realm=\"entries\", charset=\"UTF-8\""]
    }

    fn advice(&self) -> &'static str {
        "send a reader token as `Authorization: Bearer …`, or as the password of `Authorization: Basic`"
    }
}

fn read(path: &Path) -> Result<Vec<(Reader, Hash)>, TokenFileError> {
    use std::io::Read as _;
    let failed = |source| TokenFileError::Read { path: path.to_owned(), source };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(MAX_FILE + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > MAX_FILE {
        return Err(TokenFileError::TooLarge { path: path.to_owned() });
    }
    let mut readers: Vec<(Reader, Hash)> = Vec::new();
    for (number, line) in text.lines().map(str::trim).enumerate() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (reader, digest) =
            entry(line).ok_or_else(|| TokenFileError::Line { path: path.to_owned(), line: number + 1 })?;
        if readers.iter().any(|(known, _)| *known == reader) {
            return Err(TokenFileError::Twice { path: path.to_owned(), name: reader.name().to_owned() });
        }
        readers.push((reader, digest));
    }
    Ok(readers)
}

fn entry(line: &str) -> Option<(Reader, Hash)> {
    let (name, digest) = line.split_once(char::is_whitespace)?;
    let digest = Hash::from_hex(digest.trim()).ok()?;
    is_name(name).then(|| (Reader::named(name), digest))
}

fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
    (1..=MAX_NAME).contains(&name.len()) && name.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder_with(text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("readers");
        std::fs::write(&path, text).unwrap();
        (folder, path)
    }

    async fn ask(readers: &TokenReaders, token: Option<&str>) -> Result<String, Denied> {
        let credentials = Credentials { token: token.map(str::to_owned), ..Credentials::default() };
        readers.admit(credentials).await.map(|reader| reader.name().to_owned())
    }

    #[tokio::test]
    async fn a_token_admits_by_its_digest_alone_and_under_its_name() {
        let ((one, first), (two, second)) = (new_token("audit").unwrap(), new_token("monitor@ci").unwrap());
        assert_ne!(one, two);
        assert!(!first.contains(&one), "{first}");
        let (_folder, path) = folder_with(&format!("# who reads\n\n{first}\n  {second}  \n"));
        let readers = TokenReaders::load(&path).unwrap();
        assert_eq!(readers.count(), 2);
        assert_eq!(ask(&readers, Some(&one)).await, Ok("audit".to_owned()));
        assert_eq!(ask(&readers, Some(&two)).await, Ok("monitor@ci".to_owned()));
        for wrong in ["", "audit", &one[1..], first.split_once(' ').unwrap().1] {
            assert_eq!(ask(&readers, Some(wrong)).await, Err(Denied::Invalid), "{wrong}");
        }
        assert_eq!(ask(&readers, None).await, Err(Denied::Missing));
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_that_is_removed_admits_nobody_any_more_and_a_broken_file_changes_nothing() {
        let ((old, first), (new, second)) = (new_token("old").unwrap(), new_token("new").unwrap());
        let (_folder, path) = folder_with(&first);
        let readers = TokenReaders::load(&path).unwrap();
        std::fs::write(&path, "neither this nor that: half a line").unwrap();
        tokio::time::advance(LOOK * 2).await;
        assert_eq!(ask(&readers, Some(&old)).await, Ok("old".to_owned()));
        std::fs::write(&path, second + "\n").unwrap();
        tokio::time::advance(LOOK * 2).await;
        assert_eq!(ask(&readers, Some(&old)).await, Err(Denied::Invalid));
        assert_eq!(ask(&readers, Some(&new)).await, Ok("new".to_owned()));
    }

    #[test]
    fn a_line_that_is_not_a_name_and_a_digest_is_refused_with_its_number() {
        let (_, good) = new_token("good").unwrap();
        for bad in ["name", "name 00", "na/me 00", &good[5..]] {
            let (_folder, path) = folder_with(&format!("{good}\n{bad}\n"));
            let refused = TokenReaders::load(&path).unwrap_err().to_string();
            assert!(refused.contains("readers line 2: write a reader"), "{refused}");
        }
        let (_folder, path) = folder_with(&format!("{good}\n{good}\n"));
        assert!(matches!(TokenReaders::load(&path), Err(TokenFileError::Twice { .. })));
        new_token("no spaces").unwrap_err();
    }
}
