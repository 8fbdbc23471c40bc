//! Claims about the signing certificate: a trusted authority issued it, and its issuance is logged.

use chancery_tlog::certificate::Certificate;
use chancery_tlog::chain::{self, Purpose};
use chancery_tlog::clock::Timestamp;
use chancery_tlog::ct::{Entry, Sct};
use chancery_tlog::trust::{Keyring, Known, Outside, Validity};

use super::time::Timed;
use super::{Case, Outcome, Refusal, not_required, proven, untrusted};

/// How the claims about the certificate came out.
pub(super) struct Certified {
    pub(super) chain: Result<Outcome, Refusal>,
    pub(super) log: Result<Outcome, Refusal>,
    /// What the issuance logs know of the time of signing: it was not before they saw the certificate.
    pub(super) known: Vec<Known>,
}

pub(super) fn judge(case: &Case<'_>, timed: &Timed) -> Certified {
    let Some(certificate) = case.certificate() else {
        let reason = || not_required("the bundle is signed with a key");
        return Certified { chain: reason(), log: reason(), known: Vec::new() };
    };
    let path = match timed.at {
        Ok(Some(at)) => path(certificate, case.trust, at, &timed.known),
        _ => Err("cannot be judged without a trusted time of signing".to_owned()),
    };
    let log = logged(certificate, path.as_ref(), case.trust);
    let seen = log.as_ref().map_or(&[][..], |(_, seen)| seen.as_slice());
    let known = seen.iter().map(|at| Known::Within(*at, certificate.not_after())).collect();
    let chain = path.and_then(|path| {
        // The authority was at work when the issuance log saw the certificate.
        let seen: Vec<Known> = seen.iter().copied().map(Known::At).collect();
        path.validity.covers(&seen).map_err(|why| not_trusted(&why))?;
        let issuers: Vec<String> = path.certificates.iter().skip(1).map(Certificate::subject).collect();
        proven(issuers.join(" < "))
    });
    Certified { chain, log: log.map(|(outcome, _)| outcome), known }
}

/// A path to an authority of the trusted root.
struct Path {
    /// The certificate itself first.
    certificates: Vec<Certificate>,
    /// The authority's period.
    validity: Validity,
}

fn not_trusted(why: &Outside) -> Refusal {
    format!("the trusted root trusts no certificate authority {why}")
}

/// A certificate that is to be used for signing, judged as [`super::check_issued`] says.
pub(super) fn check_issued(certificate: &Certificate, trust: &Keyring) -> Result<(), Refusal> {
    let at = certificate.not_before();
    let path = path(certificate, trust, at, &[Known::At(at)])?;
    logged(certificate, Ok(&path), trust).map(|_| ())
}

/// A path to any authority of the trusted root that was in use at all `known` times, every member valid at
/// `at` and at those.
///
/// # Errors
/// The reason of the authority that came closest.
fn path(certificate: &Certificate, trust: &Keyring, at: Timestamp, known: &[Known]) -> Result<Path, Refusal> {
    if trust.authorities.is_empty() {
        return Err("the trusted root lists no certificate authority".to_owned());
    }
    let (mut outside, mut reason) = (None, None);
    for authority in &trust.authorities {
        if let Err(why) = authority.validity.covers(known) {
            outside = Some(not_trusted(&why));
            continue;
        }
        let anchor = std::slice::from_ref(&authority.anchor);
        match chain::verify(certificate, &authority.intermediates, anchor, at, Purpose::CodeSigning) {
            Ok(certificates) => match issuer_expired(&certificates, known) {
                None => return Ok(Path { certificates, validity: authority.validity }),
                Some(why) => reason = Some(why),
            },
            Err(error) => reason = Some(error.to_string()),
        }
    }
    let reason = reason.or(outside).unwrap_or_else(|| "no certificate authority can be used".to_owned());
    Err(untrusted(reason, &trust.authorities))
}

/// The signer's own certificate is held to every time where that time is read ([`Case::within_life`]).
fn issuer_expired(path: &[Certificate], known: &[Known]) -> Option<Refusal> {
    let times =
        || known.iter().filter_map(|time| if let Known::At(time) = time { Some(*time) } else { None });
    let issuers = path.iter().skip(1);
    let mut expired =
        issuers.flat_map(|issuer| times().filter(|at| !issuer.is_valid_at(*at)).map(move |at| (issuer, at)));
    expired
        .next()
        .map(|(issuer, at)| format!("the certificate of {} was not valid at {at}", issuer.subject()))
}

/// The certificate carries an SCT of a trusted issuance log, and none that is wrong. Returns the times of
/// those that count.
fn logged(
    certificate: &Certificate,
    path: Result<&Path, &Refusal>,
    trust: &Keyring,
) -> Result<(Outcome, Vec<Timestamp>), Refusal> {
    if trust.ct_logs.is_empty() {
        return Ok((not_required("no trusted root lists an issuance log")?, Vec::new()));
    }
    let scts = Sct::embedded(certificate).map_err(|error| error.to_string())?;
    if scts.is_empty() {
        return Err("the certificate has no signed certificate timestamp (SCT)".to_owned());
    }
    let Ok([_, issuer, ..]) = path.map(|path| path.certificates.as_slice()) else {
        return Err("cannot be judged without the issuing certificate".to_owned());
    };
    let entry = Entry::from_final(certificate, issuer).map_err(|error| error.to_string())?;
    // A certificate that lives after a log's end was not logged before it, whatever time the SCT states.
    let life = Known::Within(certificate.not_before(), certificate.not_after());
    let (mut by, mut seen) = (Vec::new(), Vec::new());
    for sct in &scts {
        let Some(log) =
            trust.ct_logs.iter().find(|log| log.id == sct.log_id || log.key.fingerprint() == sct.log_id)
        else {
            continue;
        };
        sct.verify(&entry, &log.key).map_err(|error| format!("the SCT by {}: {error}", log.url))?;
        log.validity
            .covers(&[Known::At(sct.timestamp), life])
            .map_err(|why| format!("the trusted root does not trust {} {why}", log.url))?;
        by.push(log.url.as_str());
        seen.push(sct.timestamp);
    }
    if by.is_empty() {
        return Err(untrusted("no SCT by an issuance log of the trusted root", &trust.ct_logs));
    }
    Ok((proven(format!("logged by {}", by.join(", ")))?, seen))
}
