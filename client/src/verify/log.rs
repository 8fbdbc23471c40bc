//! Claims about the attestation log: the entry is this signature's, it is included, the log signed for tree and time.
//!
//! Required as soon as the trusted root lists a log. Every entry of the bundle must then hold, not just one. Entries of
//! Rekor v1 and v2 are told apart by kind and version, which the leaf repeats; v2 states no time ([`super::time`]).

mod leaf;
mod tree;

use chancery_tlog::clock::Timestamp;
use chancery_tlog::key::HashAlgorithm;
use chancery_tlog::rekor::set_payload;
use chancery_tlog::trust::TrustedLog;

use super::{Case, Outcome, Refusal, not_required, untrusted};
use crate::bundle::LogEntry;

/// How the claims about the log came out.
pub(super) struct Logged {
    pub(super) entry: Result<Outcome, Refusal>,
    pub(super) inclusion: Result<Outcome, Refusal>,
    pub(super) checkpoint: Result<Outcome, Refusal>,
    /// When the log says that it took the entry; `None` if nothing says so.
    pub(super) time: Result<Option<Timestamp>, Refusal>,
}

impl Logged {
    fn all(outcome: &Result<Outcome, Refusal>, time: Result<Option<Timestamp>, Refusal>) -> Self {
        let same = || outcome.clone();
        Self { entry: same(), inclusion: same(), checkpoint: same(), time }
    }
}

pub(super) fn judge(case: &Case<'_>) -> Logged {
    let entries = &case.bundle.entries;
    if case.trust.logs.is_empty() {
        return Logged::all(&not_required("no trusted root lists an attestation log"), Ok(None));
    }
    if entries.is_empty() {
        let why = "the trusted root lists an attestation log, but the bundle has no log entry";
        return Logged::all(&Err(why.to_owned()), Err(why.to_owned()));
    }
    Logged {
        entry: each(entries, |entry| leaf::matches_bundle(case, entry)),
        inclusion: each(entries, |entry| tree::included(case, entry)),
        checkpoint: each(entries, |entry| tree::checkpointed(case, entry)),
        time: times(case),
    }
}

/// The first entry's outcome if `claim` holds for all of them.
fn each(
    entries: &[LogEntry],
    claim: impl Fn(&LogEntry) -> Result<Outcome, Refusal>,
) -> Result<Outcome, Refusal> {
    let outcomes = entries.iter().map(claim).collect::<Result<Vec<_>, _>>()?;
    outcomes.into_iter().next().ok_or_else(|| "no log entry".to_owned())
}

fn trusted_log<'a>(case: &Case<'a>, entry: &LogEntry) -> Result<&'a TrustedLog, Refusal> {
    case.trust.logs.iter().find(|log| log.id == entry.log_id).ok_or_else(|| {
        let id = hex::encode(entry.log_id);
        let why = format!("the trusted root has no log with id {id}, which the log entry names");
        untrusted(why, &case.trust.logs)
    })
}

/// The earliest signed time, if all that are there hold; the certificate must be valid at every one of them.
fn times(case: &Case<'_>) -> Result<Option<Timestamp>, Refusal> {
    let mut earliest: Option<Timestamp> = None;
    for entry in &case.bundle.entries {
        let Some(time) = signed_time(case, entry)? else { continue };
        case.within_life(time)?;
        earliest = Some(earliest.map_or(time, |known| known.min(time)));
    }
    Ok(earliest)
}

fn signed_time(case: &Case<'_>, entry: &LogEntry) -> Result<Option<Timestamp>, Refusal> {
    let log = trusted_log(case, entry)?;
    if entry.is_rekor_v2() && (entry.promise.is_some() || entry.integrated_time.is_some()) {
        return Err("Rekor v2 states no time, but the bundle has one for its log entry".to_owned());
    }
    let Some(promise) = &entry.promise else { return Ok(None) };
    let seconds = entry.integrated_time.ok_or_else(|| {
        "the log entry has a signed entry timestamp (SET) but no integrated time".to_owned()
    })?;
    let signed = set_payload(&entry.body, seconds, &entry.log_id, entry.index);
    log.key
        .verify(HashAlgorithm::Sha256, &signed, promise)
        .map_err(|error| format!("the signed entry timestamp (SET): {error}"))?;
    let time = Timestamp::from_seconds(seconds);
    if !log.validity.contains(time) {
        return Err(format!("the trusted root does not trust {} at {time}", log.url));
    }
    Ok(Some(time))
}
