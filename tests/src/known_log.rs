//! A log that a test talks to, and the key that it is held to: what clients of every dialect have in common.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use chancery_tlog::checkpoint::Checkpoint;
use chancery_tlog::key::PublicKey;
use chancery_tlog::note::{KeyName, Note, NoteKey};
use serde_json::Value;

/// A log's address and key.
#[derive(Clone)]
pub(crate) struct KnownLog {
    url: String,
    pub(crate) key: NoteKey,
    http: reqwest::Client,
}

impl KnownLog {
    /// The log at `url`, whose key stands in the PEM file `key` and whose checkpoints are named by the URL's host.
    pub(crate) fn new(url: &str, key: &Path) -> Result<Self> {
        let host = url::Url::parse(url)?.host_str().context("a URL with a host")?.to_owned();
        let key = PublicKey::from_pem(&std::fs::read_to_string(key)?)?;
        Ok(Self { url: url.to_owned(), key: NoteKey::new(KeyName::new(host)?, key)?, http: crate::http()? })
    }

    /// Posts an entry; `Ok(None)` if the log asked to try again later or could not be reached: then nothing is
    /// acknowledged. Any other answer than 201 is an error.
    pub(crate) async fn post(&self, path: &str, entry: &Value) -> Result<Option<Value>> {
        let Ok(answer) = self.http.post(format!("{}{path}", self.url)).json(entry).send().await else {
            return Ok(None);
        };
        let status = answer.status().as_u16();
        let Ok(text) = answer.text().await else { return Ok(None) };
        if matches!(status, 429 | 503) {
            return Ok(None);
        }
        ensure!(status == 201, "the log answers {status}: {text}");
        Ok(Some(serde_json::from_str(&text)?))
    }

    /// What the log says at `path`; a failure is an error.
    pub(crate) async fn get(&self, path: &str) -> Result<Value> {
        let answer = self.http.get(format!("{}{path}", self.url)).send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        ensure!(status.is_success(), "{path} answers {status}: {text}");
        Ok(serde_json::from_str(&text)?)
    }

    /// The checkpoint in `note`, which the log's key must have signed.
    pub(crate) fn checkpoint(&self, note: &str) -> Result<Checkpoint> {
        let note = Note::parse(note.as_bytes())?;
        note.verify(std::slice::from_ref(&self.key))?;
        Ok(Checkpoint::parse(note.text())?)
    }
}
