//! The targets: which trust files clients get through TUF, and under which names.
//!
//! Every current client reads `trusted_root.json` and `signing_config.v0.2.json`. The files with one key or chain each
//! are for those from before: they choose by the custom metadata `sigstore.usage`, and by these names.

use std::borrow::Cow;
use std::path::Path;

use chancery_tlog::certificate::Certificate;
use chancery_tlog::key::PublicKey;

use super::TufError;
use crate::trust::{Document, Keys, PAST};

/// The target that says whom to trust.
pub(super) const TRUSTED_ROOT: &str = "trusted_root.json";

/// Our name, TUF's name, usage, and whether clients cannot do without it.
const FILES: [(&str, &str, Option<&str>, bool); 6] = [
    (TRUSTED_ROOT, TRUSTED_ROOT, None, true),
    ("signing_config.json", "signing_config.v0.2.json", None, true),
    ("ca-chain.pem", "fulcio.crt.pem", Some("Fulcio"), false),
    ("ct.pub", "ctfe.pub", Some("CTFE"), false),
    // Clients that old know Rekor v1 only.
    ("rekor.pub", "rekor.pub", Some("Rekor"), false),
    ("tsa-chain.pem", "tsa.crt.pem", Some("TSA"), false),
];

/// Keys of the past that clients from before trusted roots need: their dialect, usage, and TUF's name for the active one.
const PAST_KEYS: [(&str, &str, &str); 2] = [("ct", "CTFE", "ctfe"), ("rekor-v1", "Rekor", "rekor")];

/// Chains of the past that those clients need: their role, usage, and TUF's name for the active one.
const PAST_CHAINS: [(&str, &str, &str); 2] = [("ca", "Fulcio", "fulcio"), ("tsa", "TSA", "tsa")];

/// A target with its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TargetFile {
    /// Name in the targets' metadata.
    pub(super) name: Cow<'static, str>,
    /// Which service it is about, for clients that choose by that.
    pub(super) usage: Option<&'static str>,
    /// Whether that service signs nothing with it any more.
    pub(super) expired: bool,
    /// Contents.
    pub(super) bytes: Vec<u8>,
}

/// The targets of an instance that publishes `documents`.
pub(super) fn from_documents(documents: &[Document]) -> Result<Vec<TargetFile>, TufError> {
    let names = documents.iter().map(|document| document.name.clone().into_owned());
    collect(names.collect(), |name| {
        let document = documents.iter().find(|document| document.name == name);
        Ok(document.map(|document| document.text.clone().into_bytes()))
    })
}

/// The targets that lie in the folder `trust`. It needs no instance, so the ceremony can be on another machine.
pub(super) fn from_folder(trust: &Path) -> Result<Vec<TargetFile>, TufError> {
    let unreadable = |source| TufError::Io { action: "read", path: trust.to_owned(), source };
    let entries = std::fs::read_dir(trust).map_err(unreadable)?;
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    collect(names.collect::<std::io::Result<_>>().map_err(unreadable)?, |name| {
        let path = trust.join(name);
        match std::fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(TufError::Io { action: "read", path, source }),
        }
    })
}

/// Keys of logs and chains of the past in the folder `trust`, of all dialects and roles.
pub(super) fn ended(trust: &Path) -> Result<Keys, TufError> {
    let mut keys = Keys::default();
    let unreadable = |path: &Path, source| TufError::Io { action: "read", path: path.to_owned(), source };
    for entry in std::fs::read_dir(trust).map_err(|source| unreadable(trust, source))? {
        let entry = entry.map_err(|source| unreadable(trust, source))?;
        if !entry.file_name().to_string_lossy().starts_with(PAST) {
            continue;
        }
        let path = entry.path();
        let pem = std::fs::read(&path).map_err(|source| unreadable(&path, source))?;
        let pem = String::from_utf8_lossy(&pem);
        if let Ok(key) = PublicKey::from_pem(&pem) {
            keys.insert(&key);
        } else if let Ok([first, ..]) = Certificate::chain_from_pem(&pem).as_deref() {
            keys.insert(first.public_key());
        }
    }
    Ok(keys)
}

/// The targets among files with these names.
fn collect(
    mut names: Vec<String>,
    read: impl Fn(&str) -> Result<Option<Vec<u8>>, TufError>,
) -> Result<Vec<TargetFile>, TufError> {
    let mut files = Vec::new();
    for (document, name, usage, needed) in FILES {
        match read(document)? {
            Some(bytes) => files.push(TargetFile { name: name.into(), usage, expired: false, bytes }),
            None if needed => return Err(TufError::NoTrustFile(document.into())),
            None => {}
        }
    }
    names.sort_unstable();
    for document in names {
        let Some((name, usage)) = past(&document) else { continue };
        if let Some(bytes) = read(&document)? {
            files.push(TargetFile { name: name.into(), usage: Some(usage), expired: true, bytes });
        }
    }
    Ok(files)
}

/// TUF's name and the usage of `past.DIALECT.NAME.pub` and `past.ROLE.NAME.pem`.
fn past(document: &str) -> Option<(String, &'static str)> {
    let (table, suffix) = match document.rsplit_once('.')?.1 {
        "pub" => (PAST_KEYS, ".pub"),
        "pem" => (PAST_CHAINS, ".pem"),
        _ => return None,
    };
    let (kind, given) = document.strip_prefix(PAST)?.strip_suffix(suffix)?.split_once('.')?;
    let (_, usage, name) = table.iter().find(|(known, ..)| *known == kind)?;
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let end = if suffix == ".pem" { "crt.pem" } else { "pub" };
    (!given.is_empty() && given.chars().all(plain)).then(|| (format!("{name}.{given}.{end}"), *usage))
}
