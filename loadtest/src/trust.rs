//! Whom the load believes: the keys of a trusted root, and the tree heads that they sign.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Mutex;

use anyhow::{Context as _, Result, bail, ensure};
use chancery_tlog::checkpoint::Checkpoint;
use chancery_tlog::key::KeyKind;
use chancery_tlog::merkle::Hash;
use chancery_tlog::note::{KeyName, Note, NoteKey};
use chancery_tlog::trust::{Keyring, TrustedLog};
use reqwest::Client;
use url::Url;

use crate::http;

/// Signed heads that are remembered as verified; each batch of a log has one for all its submitters.
const REMEMBERED: usize = 4096;

/// A tree head that a trusted key has signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TreeHead {
    /// Number of entries.
    pub(crate) size: u64,
    /// Root hash.
    pub(crate) root: Hash,
}

/// The keyring in `file`, or else the one that a Chancery server at `url` publishes of itself.
pub(crate) async fn keyring(client: &Client, url: &str, file: Option<&Path>) -> Result<Keyring> {
    let json = if let Some(file) = file {
        std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?
    } else {
        let published = format!("{url}/.well-known/chancery/trusted_root.json");
        let json = http::get(client, &published).await;
        json.context("the server does not publish its keys: give them with `--trusted-root`")?.to_vec()
    };
    Keyring::parse(&json).context("the trusted root cannot be read")
}

/// An attestation log's keys, and the heads that were verified with them already.
pub(crate) struct LogKeys {
    logs: Vec<TrustedLog>,
    keys: Vec<NoteKey>,
    verified: Mutex<HashMap<Hash, TreeHead>>,
}

impl LogKeys {
    /// The logs of `keyring` whose keys Rekor v1 clients take (not Ed25519).
    pub(crate) fn rekor_v1(keyring: &Keyring) -> Result<Self> {
        Self::of(keyring, |kind| kind != KeyKind::Ed25519).context("a Rekor v1 log")
    }

    /// The logs of `keyring` that can be Rekor v2's. Any kind of key: a foreign one need not have Ed25519.
    pub(crate) fn rekor_v2(keyring: &Keyring) -> Result<Self> {
        Self::of(keyring, |_| true).context("a Rekor v2 log")
    }

    fn of(keyring: &Keyring, takes: impl Fn(KeyKind) -> bool) -> Result<Self> {
        let logs: Vec<_> = keyring.logs.iter().filter(|log| takes(log.key.kind())).cloned().collect();
        if logs.is_empty() {
            bail!("the trusted root lists none");
        }
        let key = |log: &TrustedLog| {
            let host = Url::parse(&log.url).ok().and_then(|url| url.host_str().map(str::to_owned));
            let host = host
                .with_context(|| format!("the log's address in the trusted root has no host: {}", log.url))?;
            Ok(NoteKey::new(KeyName::new(host)?, log.key.clone())?)
        };
        let keys = logs.iter().map(key).collect::<Result<_>>()?;
        Ok(Self { logs, keys, verified: Mutex::default() })
    }

    /// The log with this id.
    pub(crate) fn log(&self, id: &[u8]) -> Result<&TrustedLog> {
        self.logs
            .iter()
            .find(|log| log.id == id)
            .with_context(|| format!("no trusted log has the id {}", hex::encode(id)))
    }

    /// The head of a checkpoint, once a trusted key's signature on it is verified.
    pub(crate) fn head(&self, checkpoint: &str) -> Result<TreeHead> {
        let identity = Hash::digest(checkpoint.as_bytes());
        let known = self.verified.lock().ok().and_then(|verified| verified.get(&identity).copied());
        if let Some(head) = known {
            return Ok(head);
        }
        let note = Note::parse(checkpoint.as_bytes())?;
        let signers = note.verify(&self.keys).context("the checkpoint's signature")?;
        ensure!(!signers.is_empty(), "no trusted log has signed the checkpoint");
        let Checkpoint { size, root, .. } = Checkpoint::parse(note.text())?;
        let head = TreeHead { size, root };
        if let Ok(mut verified) = self.verified.lock() {
            if verified.len() >= REMEMBERED {
                verified.clear();
            }
            verified.insert(identity, head);
        }
        Ok(head)
    }
}
