//! Claims about time: what logs (SET) and timestamp authorities (RFC 3161) signed about when the signature existed.
//!
//! Every time that a trusted party states must lie in the certificate's life; the certificate is judged at the
//! earliest. Rekor v2 states none, so a certificate in such a log needs a timestamp.

use chancery_tlog::clock::{Clock, Timestamp};
use chancery_tlog::timestamp::{Expected, TimestampError, VerifiedTimestamp, verify_response};
use chancery_tlog::trust::{Known, Validity};

use super::{Case, Outcome, Refusal, not_required, proven, untrusted};

/// How the claims about time came out.
pub(super) struct Timed {
    pub(super) signing_time: Result<Outcome, Refusal>,
    /// The claim about the timestamps, each by itself; [`Timed::trusted_throughout`] is the whole of it.
    timestamp: Result<Outcome, Refusal>,
    /// When to judge the certificate; `None` for keys that need no time. It is the moment of verification where nobody
    /// trusted says when it was signed, and then no fact about the signature.
    pub(super) at: Result<Option<Timestamp>, Refusal>,
    /// The earliest time of signing that a trusted party signed.
    pub(super) signed_at: Option<Timestamp>,
    /// Everything that is known of the time: what trusted parties signed, and the certificate's life.
    pub(super) known: Vec<Known>,
    /// Periods of the authorities of the timestamps.
    authorities: Vec<Validity>,
}

impl Timed {
    /// The claim about the timestamps, of which every authority must have been trusted at all `known` times.
    /// A stolen key of an authority can sign any time, so one that was used after its end is found out by what
    /// others know: logs, other authorities and the certificate.
    pub(super) fn trusted_throughout(&self, known: &[Known]) -> Result<Outcome, Refusal> {
        let timestamp = self.timestamp.clone()?;
        for authority in &self.authorities {
            authority.covers(known).map_err(|why| TimestampError::NotTrusted(why).to_string())?;
        }
        Ok(timestamp)
    }
}

/// `logged` is what the logs stated.
pub(super) fn judge(case: &Case<'_>, logged: &Result<Vec<Timestamp>, Refusal>, clock: &dyn Clock) -> Timed {
    let stamps = stamps(case);
    let stamped: Vec<Timestamp> = stamps.iter().flat_map(|(_, stamps)| stamps).map(|it| it.time).collect();
    let authorities = stamps.iter().flat_map(|(_, stamps)| stamps).map(|it| it.validity).collect();
    let chosen = match (logged, &stamps) {
        (Err(why), _) => Err(why.clone()),
        (Ok(logged), Err(why)) if logged.is_empty() => {
            Err(format!("no trusted time: the timestamp does not hold: {why}"))
        }
        // A timestamp that does not hold refuses the bundle; the rest is still judged, by the log's word.
        (Ok(logged), _) => choose(case, logged.iter().min().copied(), stamped.iter().min().copied(), clock),
    };
    let told = || logged.iter().flatten().chain(&stamped).copied();
    let earliest = told().min();
    let signed = told().map(Known::At);
    let life = case.certificate().map(|it| Known::Within(it.not_before(), it.not_after()));
    let mut known: Vec<Known> = signed.chain(life).collect();
    let timestamp = stamps.map(|(outcome, _)| outcome);
    match chosen {
        Ok((outcome, at)) => {
            // At the moment of verification the signature exists: that is known, too.
            known.extend(at.map(Known::At));
            let (signing_time, at) = (Ok(outcome), Ok(at));
            Timed { signing_time, timestamp, at, signed_at: earliest, known, authorities }
        }
        Err(why) => {
            let (signing_time, at) = (Err(why.clone()), Err(why));
            Timed { signing_time, timestamp, at, signed_at: None, known, authorities }
        }
    }
}

/// When the certificate is judged, and by whose word.
fn choose(
    case: &Case<'_>,
    logged: Option<Timestamp>,
    stamped: Option<Timestamp>,
    clock: &dyn Clock,
) -> Result<(Outcome, Option<Timestamp>), Refusal> {
    let signed =
        |time: Timestamp, by: &str| Ok((Outcome::Proven(format!("{time}, signed by {by}")), Some(time)));
    match (logged, stamped) {
        (Some(logged), None) => signed(logged, "the log"),
        (None, Some(stamped)) => signed(stamped, "a timestamp authority"),
        (Some(logged), Some(stamped)) => {
            signed(logged.min(stamped), "the log and a timestamp authority, the earlier")
        }
        (None, None) if case.certificate().is_none() => {
            Ok((Outcome::NotRequired("a key needs no time of signing".to_owned()), None))
        }
        (None, None) if case.trust.logs.is_empty() && case.trust.timestamp_authorities.is_empty() => {
            let now = clock.now();
            let why = format!(
                "no log or timestamp authority is trusted to say when; the certificate is judged at the moment of \
                 verification, {now}"
            );
            Ok((Outcome::NotRequired(why), Some(now)))
        }
        (None, None) => Err(nobody_tells(case)),
    }
}

fn nobody_tells(case: &Case<'_>) -> Refusal {
    let log = match case.bundle.entries.first() {
        None => "there is no log entry",
        Some(entry) if entry.is_rekor_v2() => "Rekor v2 states none",
        Some(_) => "the log entry has no signed entry timestamp (SET)",
    };
    let stamp = if case.bundle.timestamps.is_empty() {
        "the bundle has no RFC 3161 timestamp"
    } else {
        "the trusted root lists no authority for its RFC 3161 timestamps"
    };
    format!("no trusted time: {log}, and {stamp}")
}

/// The claim about the timestamps, and those that hold: all must, not one of them.
fn stamps(case: &Case<'_>) -> Result<(Outcome, Vec<VerifiedTimestamp>), Refusal> {
    let (responses, authorities) = (&case.bundle.timestamps, &case.trust.timestamp_authorities);
    if responses.is_empty() {
        return Ok((not_required("the bundle has none")?, Vec::new()));
    }
    if authorities.is_empty() {
        let why = format!("{} in the bundle, but no timestamp authority is trusted", responses.len());
        return Ok((not_required(why)?, Vec::new()));
    }
    let mut known: Vec<VerifiedTimestamp> = Vec::with_capacity(responses.len());
    for response in responses {
        let stamp =
            verify_response(response, case.bundle.signature(), authorities.as_slice(), Expected::default());
        let stamp = stamp.map_err(|error| match error {
            TimestampError::UnknownSigner => untrusted(error, authorities),
            error => error.to_string(),
        })?;
        if known.iter().any(|other| (&other.signer, &other.serial) == (&stamp.signer, &stamp.serial)) {
            return Err("the bundle has the same timestamp twice".to_owned());
        }
        case.within_life(stamp.time)?;
        known.push(stamp);
    }
    let told: Vec<String> =
        known.iter().map(|stamp| format!("{} by {}", stamp.time, stamp.signer.subject())).collect();
    Ok((proven(told.join("; "))?, known))
}

impl Case<'_> {
    /// Refuses a time at which the signing certificate was not valid.
    pub(super) fn within_life(&self, time: Timestamp) -> Result<(), Refusal> {
        match self.certificate() {
            Some(certificate) if !certificate.is_valid_at(time) => Err(format!(
                "signed at {time}, outside of the certificate's life from {} to {}",
                certificate.not_before(),
                certificate.not_after()
            )),
            _ => Ok(()),
        }
    }
}
