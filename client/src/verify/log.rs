//! Claims about the attestation log: the entry is this signature's, it is included, the log signed for tree and time.
//!
//! Required as soon as the trusted root lists a log. Every entry of the bundle must then hold, not just one. Entries of
//! Rekor v1 and v2 are told apart by kind and version, which the leaf repeats; v2 states no time ([`super::time`]).

mod leaf;
mod tree;

use chancery_tlog::clock::Timestamp;
use chancery_tlog::key::HashAlgorithm;
use chancery_tlog::rekor::set_payload;
use chancery_tlog::trust::{Known, TrustedLog};

use super::{Case, Outcome, Refusal, not_required, untrusted};
use crate::bundle::LogEntry;

/// How the claims about the log came out.
pub(super) struct Logged {
    pub(super) entry: Result<Outcome, Refusal>,
    pub(super) inclusion: Result<Outcome, Refusal>,
    pub(super) checkpoint: Result<Outcome, Refusal>,
    /// The times at which logs took the entries, as far as they state one.
    pub(super) times: Result<Vec<Timestamp>, Refusal>,
}

impl Logged {
    fn all(outcome: &Result<Outcome, Refusal>, times: Result<Vec<Timestamp>, Refusal>) -> Self {
        let same = || outcome.clone();
        Self { entry: same(), inclusion: same(), checkpoint: same(), times }
    }
}

pub(super) fn judge(case: &Case<'_>) -> Logged {
    let entries = &case.bundle.entries;
    if case.trust.logs.is_empty() {
        return Logged::all(&not_required("no trusted root lists an attestation log"), Ok(Vec::new()));
    }
    if entries.is_empty() {
        let why = "the trusted root lists an attestation log, but the bundle has no log entry";
        return Logged::all(&Err(why.to_owned()), Err(why.to_owned()));
    }
    let expected = leaf::Expected::default();
    Logged {
        entry: each(entries, |entry| leaf::matches_bundle(case, entry, &expected)),
        inclusion: each(entries, |entry| tree::included(case, entry)),
        checkpoint: each(entries, |entry| tree::checkpointed(case, entry)),
        times: times(case),
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

/// Every entry's log was trusted at all `known` times. A log signs no time in its checkpoints, so an entry
/// that a stolen key made is found out by what others know: timestamps, other logs and the certificate.
pub(super) fn trusted_throughout(case: &Case<'_>, known: &[Known]) -> Result<(), Refusal> {
    if case.trust.logs.is_empty() {
        return Ok(());
    }
    case.bundle.entries.iter().try_for_each(|entry| trusted_at(trusted_log(case, entry)?, known))
}

fn trusted_at(log: &TrustedLog, known: &[Known]) -> Result<(), Refusal> {
    log.validity.covers(known).map_err(|why| format!("the trusted root does not trust {} {why}", log.url))
}

/// The signed times, if all that are there hold; the certificate must be valid at every one of them.
fn times(case: &Case<'_>) -> Result<Vec<Timestamp>, Refusal> {
    let mut times = Vec::new();
    for entry in &case.bundle.entries {
        let Some(time) = signed_time(case, entry)? else { continue };
        case.within_life(time)?;
        times.push(time);
    }
    Ok(times)
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
    trusted_at(log, &[Known::At(time)])?;
    Ok(Some(time))
}
