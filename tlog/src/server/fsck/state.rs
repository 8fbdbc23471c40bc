//! [`StateFile`]: what an interrupted run had finished.
//!
//! One JSON line for each log, then one for each full chunk, some 300 bytes and at most 22 KB. The operator says where
//! it is, and it should be on another disk: the folder that is checked may be evidence, mounted read-only or failing,
//! and its log's file system is the last place to write to. A line that was torn by the interruption is one chunk that
//! is checked again. What a state says is valid for one head, one way of checking and one version of it.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::chunk::Chunk;
use super::tally::Key;
use super::{FsckError, Options};
use crate::checkpoint::Origin;
use crate::files;
use crate::server::store::Head;

/// Raised when chunks get another meaning.
const VERSION: u32 = 2;

/// Where a run keeps what it has finished. Removed by [`StateFile::remove`] when all logs are done, so that the next
/// run starts anew.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
}

#[derive(Serialize, Deserialize)]
enum Line {
    Log { version: u32, origin: String, size: u64, root: [u8; 32], parse_leaves: bool, key: Key },
    Chunk { origin: String, chunk: Box<Chunk> },
}

/// One log's part of it.
pub(super) struct Progress {
    pub(super) key: Key,
    origin: String,
    path: PathBuf,
    file: Mutex<File>,
    chunks: Mutex<Vec<Chunk>>,
}

impl StateFile {
    /// The state in `path`, which need not exist.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Forgets everything.
    pub fn remove(&self) -> Result<(), FsckError> {
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed(&self.path, &error)),
            _ => Ok(()),
        }
    }

    /// What is known of this log under this head; else a new beginning.
    pub(super) fn resume(
        &self,
        origin: &Origin,
        head: &Head,
        options: Options,
    ) -> Result<Progress, FsckError> {
        // Opened first: what another user put into a shared folder is not believed.
        let opened = files::open_append(&self.path, files::PUBLIC);
        let mut file = opened.map_err(|error| failed(&self.path, &error))?;
        let text = std::fs::read_to_string(&self.path).map_err(|error| failed(&self.path, &error))?;
        let origin = origin.as_str();
        if let Some((key, chunks)) = known(&text, origin, head, options) {
            let (file, chunks) = (Mutex::new(file), Mutex::new(chunks));
            return Ok(Progress { key, origin: origin.to_owned(), path: self.path.clone(), file, chunks });
        }
        let key = Key::random();
        let line = Line::Log {
            version: VERSION,
            origin: origin.to_owned(),
            size: head.size,
            root: *head.root.as_bytes(),
            parse_leaves: options.parse_leaves,
            key,
        };
        write(&mut file, &line).map_err(|error| failed(&self.path, &error))?;
        let (file, chunks) = (Mutex::new(file), Mutex::default());
        Ok(Progress { key, origin: origin.to_owned(), path: self.path.clone(), file, chunks })
    }
}

/// The chunks behind the last line of this log, if that one is of this head.
fn known(text: &str, wanted: &str, head: &Head, options: Options) -> Option<(Key, Vec<Chunk>)> {
    let mut known = None;
    for line in text.lines().filter_map(|line| serde_json::from_str(line).ok()) {
        match line {
            Line::Log { version, origin, size, root, parse_leaves, key } if origin == wanted => {
                let same = version == VERSION && parse_leaves == options.parse_leaves;
                known =
                    (same && size == head.size && root == *head.root.as_bytes()).then(|| (key, Vec::new()));
            }
            Line::Chunk { origin, chunk } if origin == wanted => {
                if let Some((_, chunks)) = &mut known {
                    chunks.push(*chunk);
                }
            }
            _ => {}
        }
    }
    known
}

impl Progress {
    /// The finished chunks, once.
    pub(super) fn chunks(&self) -> Vec<Chunk> {
        std::mem::take(&mut *self.chunks.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Remembers a chunk. Not synced: what a power cut takes is checked again.
    pub(super) fn keep(&self, chunk: &Chunk) -> Result<(), FsckError> {
        let origin = &self.origin;
        let line = serde_json::json!({ "Chunk": { "origin": origin, "chunk": chunk } });
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        write(&mut file, &line).map_err(|error| failed(&self.path, &error))
    }
}

/// In one call, behind a line that an interruption may have torn.
fn write(file: &mut File, line: &impl Serialize) -> std::io::Result<()> {
    file.write_all(format!("\n{}\n", serde_json::to_string(line)?).as_bytes())
}

fn failed(path: &Path, error: &std::io::Error) -> FsckError {
    FsckError::State { path: path.display().to_string(), reason: error.to_string() }
}
