//! The issuers of patterns that were proven before, in a file, so that a restart does not make them new again.
//!
//! Each line is a URL; the most recently used is the first. The file is written whenever an issuer is proven for the
//! first time, which the limits on new issuers make rare, and may be deleted at any time. What is read from it gives
//! no token any credit: it only saves the issuer the limits on new ones. So a line counts only if it is an issuer's
//! URL that a configured pattern matches, and what is wrong with the file is logged and otherwise ignored.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use chancery_tlog::files;

use super::place::read_bounded;
use super::sources::MAX_PROVEN;
use crate::config::{IssuerConfig, IssuerUrl, Location, MAX_ISSUER_URL};

const HEADING: &str =
    "# Issuers under `meta-issuers` whose tokens have verified. Written by the server; may be deleted.\n";
/// Largest file that is read: as many of the longest URLs as are ever written.
const MAX_FILE: usize = MAX_PROVEN * (MAX_ISSUER_URL + 1) + HEADING.len();

/// The file.
pub(super) struct ProvenFile {
    path: PathBuf,
    /// Held while the file is written, so that the newest state is the last one written.
    writing: Mutex<()>,
}

impl ProvenFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, writing: Mutex::default() }
    }

    /// The URLs in the file that these issuers' patterns match.
    pub(super) fn read(&self, issuers: &IssuerConfig) -> Vec<String> {
        // Opening anything but a plain file could wait for ever, or reach another one.
        match std::fs::symlink_metadata(&self.path) {
            Err(_) => return Vec::new(),
            Ok(data) if data.is_file() => {}
            Ok(_) => {
                tracing::warn!(file = %self.path.display(), "not a plain file, proven issuers are not read");
                return Vec::new();
            }
        }
        let content = match read_bounded(&self.path, MAX_FILE) {
            Ok(content) => String::from_utf8_lossy(&content).into_owned(),
            Err(error) => {
                tracing::warn!(file = %self.path.display(), %error, "cannot read the proven issuers");
                return Vec::new();
            }
        };
        let mut seen = HashSet::new();
        let lines = content.lines().filter(|line| is_of_pattern(line, issuers) && seen.insert(*line));
        lines.take(MAX_PROVEN).map(str::to_owned).collect()
    }

    /// Writes the URLs that `proven` names once it is this call's turn.
    pub(super) fn write(&self, proven: impl FnOnce() -> Vec<String>) {
        let _turn = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut content = HEADING.to_owned();
        for iss in proven() {
            content += &iss;
            content.push('\n');
        }
        if let Err(error) = files::replace(&self.path, files::PRIVATE, content.as_bytes()) {
            tracing::warn!(
                file = %self.path.display(),
                %error,
                "cannot record the proven issuers, they will count as new after a restart"
            );
        }
    }
}

fn is_of_pattern(line: &str, issuers: &IssuerConfig) -> bool {
    IssuerUrl::parse(line).is_ok()
        && issuers.find(line).is_some_and(|issuer| matches!(issuer.location, Location::Pattern(_)))
}
