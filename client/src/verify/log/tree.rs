//! Claims about the tree: the leaf is in it, and the log signed its root.

use chancery_tlog::checkpoint::{Checkpoint, CheckpointError};
use chancery_tlog::merkle::{leaf_hash, verify_inclusion};
use chancery_tlog::note::{KeyName, Note, NoteError, NoteKey};
use chancery_tlog::trust::TrustedLog;
use url::Url;

use super::{Case, Outcome, Refusal, not_required, trusted_log};
use crate::bundle::{InclusionProof, LogEntry, Version};
use crate::verify::proven;

/// What a bundle of version 0.1 may have instead of a proof.
const PROMISE_INSTEAD: &str =
    "a bundle of version 0.1 may carry the log's signed promise instead, see signing time";

pub(super) fn included(case: &Case<'_>, entry: &LogEntry) -> Result<Outcome, Refusal> {
    trusted_log(case, entry)?;
    let Some(proof) = required_proof(case, entry)? else { return not_required(PROMISE_INSTEAD) };
    // A v2 log has one tree, and nothing but the proof signs for the index.
    if entry.is_rekor_v2() && entry.index != proof.index {
        return Err(format!(
            "the proof is of leaf {}, but the log entry claims index {}",
            proof.index, entry.index
        ));
    }
    verify_inclusion(&leaf_hash(&entry.body), proof.index, proof.size, &proof.hashes, &proof.root)
        .map_err(|error| format!("the log entry is not in the tree: {error}"))?;
    proven(format!("leaf {} of a tree of {}", proof.index, proof.size))
}

/// The log's own signature line is required; lines of others, such as witnesses, are not read.
pub(super) fn checkpointed(case: &Case<'_>, entry: &LogEntry) -> Result<Outcome, Refusal> {
    let log = trusted_log(case, entry)?;
    let Some(proof) = required_proof(case, entry)? else { return not_required(PROMISE_INSTEAD) };
    let Some(signed) = &proof.checkpoint else { return not_required(PROMISE_INSTEAD) };
    let (checkpoint, name) = open(log, entry, signed).map_err(|error| format!("the checkpoint: {error}"))?;
    if (checkpoint.size, checkpoint.root) != (proof.size, proof.root) {
        return Err("the checkpoint: it is of another tree than the inclusion proof".to_owned());
    }
    proven(format!("tree of {} signed by {name}", checkpoint.size))
}

/// The checkpoint, with the log's signature verified, under its name.
fn open(log: &TrustedLog, entry: &LogEntry, signed: &str) -> Result<(Checkpoint, String), Refusal> {
    let name = if entry.is_rekor_v2() { v2_name(log)? } else { v1_name(log, signed)? };
    let key = NoteKey::new(name.clone(), log.key.clone()).map_err(|error| error.to_string())?;
    let (checkpoint, _) = Checkpoint::open(signed.as_bytes(), &[key]).map_err(|error| match error {
        CheckpointError::Note(NoteError::Unsigned) => {
            format!("not signed by the key of {} under the name {name}", log.url)
        }
        error => error.to_string(),
    })?;
    let (origin, name) = (checkpoint.origin.as_str(), name.as_str());
    if entry.is_rekor_v2() && origin != name {
        return Err(format!("origin `{origin}` is not `{name}`, the host of the trusted log"));
    }
    if !entry.is_rekor_v2() && !is_v1_origin(origin, name) {
        return Err(format!("origin `{origin}` is not `{name} - <tree id>`"));
    }
    let name = name.to_owned();
    Ok((checkpoint, name))
}

/// Rekor v2 signs under the host of its URL in the trusted root: without scheme, port and path.
fn v2_name(log: &TrustedLog) -> Result<KeyName, Refusal> {
    let url = Url::parse(&log.url).ok();
    let host = url.as_ref().and_then(Url::host_str).map(|host| host.trim_matches(['[', ']']));
    let host = host.ok_or_else(|| format!("the trusted log's URL `{}` names no host", log.url))?;
    KeyName::new(host).map_err(|error| error.to_string())
}

/// Rekor v1 logs are named by whoever runs them: the name of the line that its key made.
fn v1_name(log: &TrustedLog, signed: &str) -> Result<KeyName, Refusal> {
    let note = Note::parse(signed.as_bytes()).map_err(|error| error.to_string())?;
    let hint = &log.key.fingerprint()[..4];
    let line = note.signatures().iter().find(|line| line.id == hint);
    line.map(|line| line.name.clone()).ok_or_else(|| format!("not signed by the key of {}", log.url))
}

/// The proof; `None` where version 0.1 lets the promise stand for it.
fn required_proof<'e>(case: &Case<'_>, entry: &'e LogEntry) -> Result<Option<&'e InclusionProof>, Refusal> {
    match &entry.proof {
        None if case.bundle.version > Version::V0_1 || entry.is_rekor_v2() => {
            Err("the log entry has no inclusion proof".to_owned())
        }
        proof => Ok(proof.as_ref()),
    }
}

/// Rekor v1 names a checkpoint `<host> - <tree id>` and signs it as `<host>`.
fn is_v1_origin(origin: &str, host: &str) -> bool {
    origin
        .strip_prefix(host)
        .and_then(|rest| rest.strip_prefix(" - "))
        .is_some_and(|tree| !tree.is_empty() && tree.bytes().all(|b| b.is_ascii_digit()))
}
