//! Claims about the signing certificate: a trusted authority issued it, and its issuance is logged.

use chancery_tlog::certificate::Certificate;
use chancery_tlog::chain::{self, Purpose};
use chancery_tlog::clock::Timestamp;
use chancery_tlog::ct::{Entry, Sct};
use chancery_tlog::trust::Keyring;

use super::{Case, Outcome, Refusal, not_required, proven, untrusted};

/// How the claims about the certificate came out.
pub(super) struct Certified {
    pub(super) chain: Result<Outcome, Refusal>,
    pub(super) log: Result<Outcome, Refusal>,
}

pub(super) fn judge(case: &Case<'_>, signing_time: &Result<Option<Timestamp>, Refusal>) -> Certified {
    let Some(certificate) = case.certificate() else {
        let reason = || not_required("the bundle is signed with a key");
        return Certified { chain: reason(), log: reason() };
    };
    let path = match signing_time {
        Ok(Some(at)) => path(certificate, case.trust, *at),
        _ => Err("cannot be judged without a trusted time of signing".to_owned()),
    };
    Certified {
        log: logged(certificate, path.as_deref(), case.trust),
        chain: path.map(|path| {
            let issuers: Vec<String> = path.iter().skip(1).map(Certificate::subject).collect();
            Outcome::Proven(issuers.join(" < "))
        }),
    }
}

/// A path to any authority of the trusted root that was in use at `at`, every member valid then.
///
/// # Errors
/// The reason of the authority that came closest.
pub(crate) fn path(
    certificate: &Certificate,
    trust: &Keyring,
    at: Timestamp,
) -> Result<Vec<Certificate>, Refusal> {
    if trust.authorities.is_empty() {
        return Err("the trusted root lists no certificate authority".to_owned());
    }
    let mut reason = format!("the trusted root trusts no certificate authority at {at}");
    for authority in trust.authorities.iter().filter(|authority| authority.validity.contains(at)) {
        let anchor = std::slice::from_ref(&authority.anchor);
        match chain::verify(certificate, &authority.intermediates, anchor, at, Purpose::CodeSigning) {
            Ok(path) => return Ok(path),
            Err(error) => reason = error.to_string(),
        }
    }
    Err(untrusted(reason, &trust.authorities))
}

/// The certificate carries an SCT of a trusted issuance log, and none that is wrong.
pub(crate) fn logged(
    certificate: &Certificate,
    path: Result<&[Certificate], &Refusal>,
    trust: &Keyring,
) -> Result<Outcome, Refusal> {
    if trust.ct_logs.is_empty() {
        return not_required("no trusted root lists an issuance log");
    }
    let scts = Sct::embedded(certificate).map_err(|error| error.to_string())?;
    if scts.is_empty() {
        return Err("the certificate has no signed certificate timestamp (SCT)".to_owned());
    }
    let Ok([_, issuer, ..]) = path else {
        return Err("cannot be judged without the issuing certificate".to_owned());
    };
    let entry = Entry::from_final(certificate, issuer).map_err(|error| error.to_string())?;
    let mut by = Vec::new();
    for sct in &scts {
        let Some(log) =
            trust.ct_logs.iter().find(|log| log.id == sct.log_id || log.key.fingerprint() == sct.log_id)
        else {
            continue;
        };
        sct.verify(&entry, &log.key).map_err(|error| format!("the SCT by {}: {error}", log.url))?;
        if !log.validity.contains(sct.timestamp) {
            return Err(format!("the trusted root does not trust {} at {}", log.url, sct.timestamp));
        }
        by.push(log.url.as_str());
    }
    if by.is_empty() {
        return Err(untrusted("no SCT by an issuance log of the trusted root", &trust.ct_logs));
    }
    proven(format!("logged by {}", by.join(", ")))
}
