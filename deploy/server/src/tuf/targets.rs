//! The targets: which trust files clients get through TUF, and under which names.
//!
//! Every current client reads `trusted_root.json` and `signing_config.v0.2.json`. The files with one key or chain each
//! are for those from before: they choose by the custom metadata `sigstore.usage`, and by these names.

use std::path::Path;

use super::TufError;
use crate::trust::Document;

/// Our name, TUF's name, usage, and whether clients cannot do without it.
const FILES: [(&str, &str, Option<&str>, bool); 6] = [
    ("trusted_root.json", "trusted_root.json", None, true),
    ("signing_config.json", "signing_config.v0.2.json", None, true),
    ("ca-chain.pem", "fulcio.crt.pem", Some("Fulcio"), false),
    ("ct.pub", "ctfe.pub", Some("CTFE"), false),
    // Clients that old know Rekor v1 only.
    ("rekor.pub", "rekor.pub", Some("Rekor"), false),
    ("tsa-chain.pem", "tsa.crt.pem", Some("TSA"), false),
];

/// A target with its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TargetFile {
    /// Name in the targets' metadata.
    pub(super) name: &'static str,
    /// Which service it is about, for clients that choose by that.
    pub(super) usage: Option<&'static str>,
    /// Contents.
    pub(super) bytes: Vec<u8>,
}

/// The targets of an instance that publishes `documents`.
pub(super) fn from_documents(documents: &[Document]) -> Result<Vec<TargetFile>, TufError> {
    collect(|name| {
        let document = documents.iter().find(|document| document.name == name);
        Ok(document.map(|document| document.text.clone().into_bytes()))
    })
}

/// The targets that lie in the folder `trust`. It needs no instance, so the ceremony can be on another machine.
pub(super) fn from_folder(trust: &Path) -> Result<Vec<TargetFile>, TufError> {
    collect(|name| {
        let path = trust.join(name);
        match std::fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(TufError::Io { action: "read", path, source }),
        }
    })
}

fn collect(read: impl Fn(&str) -> Result<Option<Vec<u8>>, TufError>) -> Result<Vec<TargetFile>, TufError> {
    let mut files = Vec::new();
    for (document, name, usage, needed) in FILES {
        match read(document)? {
            Some(bytes) => files.push(TargetFile { name, usage, bytes }),
            None if needed => return Err(TufError::NoTrustFile(document.into())),
            None => {}
        }
    }
    Ok(files)
}
