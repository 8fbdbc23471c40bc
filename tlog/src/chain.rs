//! Path validation of short certificate chains, every member judged at one given time.
//!
//! rustls-webpki judges the same leaf paths in this crate's tests. It is not the implementation because three of
//! our four uses are outside of what it accepts: a precertificate (critical poison), an issuing CA checked as the
//! end of a path at load, and Rekor v1's chains whose leaf may be anything. CVE-2026-24122 is the reason for
//! "every member": an expired intermediate once verified where no log was asked.

use std::collections::HashSet;
use std::sync::Mutex;

use crate::certificate::{Certificate, oid, printable};
use crate::clock::Timestamp;
use crate::effort::Effort;
use crate::key::PublicKey;
use crate::merkle::Hash;

/// What a chain's leaf is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A signing certificate: not a CA, EKU code signing.
    CodeSigning,
    /// A precertificate of one: as [`Purpose::CodeSigning`], with the critical poison extension.
    Precertificate,
    /// A CA that issues signing certificates: CA, EKU code signing unless it is itself the root.
    CodeSigningCa,
    /// A timestamp authority's certificate: not a CA, timestamping as its only EKU, and that critical (RFC 3161
    /// §2.3).
    TimeStamping,
    /// Anything at all, as Rekor v1 checks submitted chains.
    Any,
}

/// Why there is no path.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// No issuer among the given certificates.
    #[error("no trusted certificate authority issued `{0}`")]
    UnknownIssuer(String),
    /// A member is outside its validity.
    #[error("`{subject}` was not valid at {at}")]
    NotValidAt {
        /// Whose.
        subject: String,
        /// The time asked about.
        at: Timestamp,
    },
    /// A member may not do what it does here.
    #[error("`{subject}`: {problem}")]
    Unsuitable {
        /// Whose.
        subject: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// Too long.
    #[error("the chain is longer than {0} certificates")]
    TooLong(usize),
}

/// Longest path, leaf and root included.
pub const MAX_PATH: usize = crate::certificate::MAX_CHAIN;
/// Most signatures that one search checks. Real hierarchies need two or three; look-alikes that all share one name
/// would otherwise cost a factorial.
const MAX_SIGNATURE_CHECKS: usize = 64;
/// Most signatures that the search for a path through submitted certificates checks. A chain in its order takes two for
/// each link: one of the root, if that has the name, and one of the next certificate.
const MAX_SUBMITTED_CHECKS: usize = 2 * MAX_PATH;
/// Most links that are remembered, 64 bytes each. A CA has a handful; whoever submits more than this costs others one
/// verification, nothing else.
const MAX_KNOWN_LINKS: usize = 1024;
/// Any extended key usage.
const ANY_USAGE: &str = "2.5.29.37.0";
const EXTENDED_KEY_USAGE: &str = "2.5.29.37";
const NAME_CONSTRAINTS: &str = "2.5.29.30";
/// Extensions that may be critical because they are obeyed, or constrain nothing that is used here: key identifiers,
/// key usage, alternative names, basic constraints, policies without policy constraints, extended key usage.
const UNDERSTOOD: [&str; 8] =
    ["2.5.29.14", "2.5.29.15", "2.5.29.17", "2.5.29.18", "2.5.29.19", "2.5.29.32", "2.5.29.35", "2.5.29.37"];

/// The moment nearest to `now` at which all `certificates` are valid; `None` if there is none. A chain whose time is over,
/// or still to come, can be judged at it in every other respect.
pub fn nearest_validity(certificates: &[Certificate], now: Timestamp) -> Option<Timestamp> {
    let start = certificates.iter().map(Certificate::not_before).max()?;
    let end = certificates.iter().map(Certificate::not_after).min()?;
    (start <= end).then(|| now.clamp(start, end))
}

/// Finds a path from `leaf` through `intermediates` to one of `roots`, all valid at `at`. Returns it, leaf first,
/// root last. A root is trusted as given; self-signature is not asked of it, its dates and CA bit are.
pub fn verify(
    leaf: &Certificate,
    intermediates: &[Certificate],
    roots: &[Certificate],
    at: Timestamp,
    purpose: Purpose,
) -> Result<Vec<Certificate>, ChainError> {
    let effort = Effort::any();
    let search = Search::new(intermediates, roots, at, purpose, &effort);
    Search { checks_left: MAX_SIGNATURE_CHECKS, ..search }.run(leaf)
}

/// As [`verify`], for certificates that anyone may have submitted.
pub fn verify_submitted(
    leaf: &Certificate,
    intermediates: &[Certificate],
    roots: &[Certificate],
    at: Timestamp,
    purpose: Purpose,
    effort: &Effort,
) -> Result<Vec<Certificate>, ChainError> {
    Search::new(intermediates, roots, at, purpose, effort).run(leaf)
}

/// As [`verify_submitted`], for callers who see the same authorities again and again: signatures on certificates above
/// the leaf that are in `known` are not verified again, and those that verify are added to it.
pub fn verify_knowing(
    leaf: &Certificate,
    intermediates: &[Certificate],
    roots: &[Certificate],
    at: Timestamp,
    purpose: Purpose,
    known: &KnownLinks,
    effort: &Effort,
) -> Result<Vec<Certificate>, ChainError> {
    let search = Search::new(intermediates, roots, at, purpose, effort);
    Search { known: Some(known), ..search }.run(leaf)
}

/// Signatures of keys over the certificates of authorities that verified before.
///
/// A signature that holds, holds for ever: remembering it decides nothing else. Dates, usages and constraints are judged
/// anew every time, and a leaf's signature is never remembered.
#[derive(Debug, Default)]
pub struct KnownLinks(Mutex<HashSet<[Hash; 2]>>);

impl KnownLinks {
    /// Whether `key` has signed `certificate`.
    fn holds(&self, certificate: &Certificate, key: &PublicKey, effort: &Effort) -> bool {
        let link = [certificate.digest(), Hash::from_bytes(key.fingerprint())];
        if self.0.lock().is_ok_and(|known| known.contains(&link)) {
            return true;
        }
        if !effort.check(|| certificate.verify_signed_by(key).is_ok()) {
            return false;
        }
        if let Ok(mut known) = self.0.lock() {
            if known.len() >= MAX_KNOWN_LINKS {
                known.clear();
            }
            known.insert(link);
        }
        true
    }
}

/// Depth-first search for an anchor.
struct Search<'c> {
    intermediates: &'c [Certificate],
    roots: &'c [Certificate],
    at: Timestamp,
    purpose: Purpose,
    known: Option<&'c KnownLinks>,
    effort: &'c Effort,
    checks_left: usize,
    /// Why the first issuer that did sign was no good: says more than "no issuer".
    obstacle: Option<ChainError>,
}

impl<'c> Search<'c> {
    fn new(
        intermediates: &'c [Certificate],
        roots: &'c [Certificate],
        at: Timestamp,
        purpose: Purpose,
        effort: &'c Effort,
    ) -> Self {
        let checks_left = MAX_SUBMITTED_CHECKS;
        Self { intermediates, roots, at, purpose, known: None, effort, checks_left, obstacle: None }
    }

    fn run(mut self, leaf: &Certificate) -> Result<Vec<Certificate>, ChainError> {
        let is_root = self.roots.contains(leaf);
        check_leaf(leaf, is_root, self.at, self.purpose)?;
        if is_root && matches!(self.purpose, Purpose::CodeSigningCa | Purpose::Any) {
            return Ok(vec![leaf.clone()]);
        }
        let mut path = vec![leaf.clone()];
        if self.extend(&mut path) {
            return Ok(path);
        }
        Err(self.obstacle.unwrap_or_else(|| ChainError::UnknownIssuer(name(leaf))))
    }

    /// Extends `path` to a root, or leaves it as it was and returns false.
    fn extend(&mut self, path: &mut Vec<Certificate>) -> bool {
        let (roots, intermediates) = (self.roots, self.intermediates);
        for root in roots {
            if self.issued(root, path) {
                path.push(root.clone());
                return true;
            }
        }
        // The next in the given order first: behind it those that are out of order.
        let next = intermediates.iter().position(|given| path.last() == Some(given)).map_or(0, |at| at + 1);
        let (before, after) = intermediates.split_at(next);
        for issuer in after.iter().chain(before) {
            // The root still has to fit.
            if path.len() + 2 > MAX_PATH {
                self.obstacle.get_or_insert(ChainError::TooLong(MAX_PATH));
                return false;
            }
            if !path.contains(issuer) && self.issued(issuer, path) {
                path.push(issuer.clone());
                if self.extend(path) {
                    return true;
                }
                path.pop();
            }
        }
        false
    }

    /// Whether `issuer` signed the last certificate of `path` and may have.
    fn issued(&mut self, issuer: &Certificate, path: &[Certificate]) -> bool {
        let Some(subject) = path.last() else { return false };
        if issuer.subject_der() != subject.issuer_der() || self.checks_left == 0 {
            return false;
        }
        self.checks_left -= 1;
        let key = issuer.public_key();
        let signed = match self.known {
            Some(known) if path.len() > 1 => known.holds(subject, key, self.effort),
            _ => self.effort.check(|| subject.verify_signed_by(key).is_ok()),
        };
        if !signed {
            return false;
        }
        match check_issuer(issuer, path, self.at, self.purpose) {
            Ok(()) => true,
            Err(problem) => {
                self.obstacle.get_or_insert(problem);
                false
            }
        }
    }
}

fn check_leaf(leaf: &Certificate, is_root: bool, at: Timestamp, purpose: Purpose) -> Result<(), ChainError> {
    check_dates(leaf, at)?;
    if purpose == Purpose::CodeSigningCa {
        check_name_constraints(leaf)?;
    }
    check_critical(leaf, purpose)?;
    let signs_code = leaf.extended_key_usages().map(|usages| usages.iter().any(|u| u == oid::CODE_SIGNING));
    match purpose {
        Purpose::Any => Ok(()),
        Purpose::CodeSigningCa => {
            if !leaf.is_ca() || !leaf.may_sign_certificates() {
                return Err(unsuitable(leaf, NOT_CA));
            }
            match signs_code {
                Some(true) => Ok(()),
                None if is_root => Ok(()),
                _ => Err(unsuitable(leaf, "its extended key usage does not list code signing")),
            }
        }
        Purpose::CodeSigning | Purpose::Precertificate => {
            check_end_entity(leaf)?;
            if signs_code != Some(true) {
                return Err(unsuitable(leaf, "its extended key usage does not list code signing"));
            }
            Ok(())
        }
        Purpose::TimeStamping => {
            check_end_entity(leaf)?;
            if leaf.extended_key_usages().is_none_or(|usages| usages != [oid::TIME_STAMPING]) {
                return Err(unsuitable(leaf, "its extended key usage is not timestamping alone"));
            }
            if leaf.extension(EXTENDED_KEY_USAGE).is_none_or(|usage| !usage.critical) {
                return Err(unsuitable(leaf, "its extended key usage is not critical"));
            }
            Ok(())
        }
    }
}

fn check_end_entity(leaf: &Certificate) -> Result<(), ChainError> {
    if leaf.is_ca() {
        return Err(unsuitable(leaf, "a certificate authority, where a signing certificate is needed"));
    }
    if !leaf.may_sign() {
        return Err(unsuitable(leaf, "its key usage does not allow digital signatures"));
    }
    Ok(())
}

const NOT_CA: &str = "not a certificate authority";

/// Whether `issuer`, who signed the last of `path`, may have.
fn check_issuer(
    issuer: &Certificate,
    path: &[Certificate],
    at: Timestamp,
    purpose: Purpose,
) -> Result<(), ChainError> {
    check_dates(issuer, at)?;
    check_name_constraints(issuer)?;
    check_critical(issuer, Purpose::Any)?;
    if !issuer.is_ca() {
        return Err(unsuitable(issuer, NOT_CA));
    }
    if !issuer.may_sign_certificates() {
        return Err(unsuitable(issuer, "its key usage does not allow signing certificates"));
    }
    if issuer.path_len().is_some_and(|most| authorities_below(path, purpose) > most as usize) {
        return Err(unsuitable(
            issuer,
            "its path length constraint allows fewer certificate authorities below it",
        ));
    }
    // As Go and the CA/Browser rules read it, an extended key usage on an issuer limits everything below.
    let (usage, problem) = match purpose {
        Purpose::Any => return Ok(()),
        Purpose::TimeStamping => {
            (oid::TIME_STAMPING, "its extended key usage does not allow timestamping below it")
        }
        Purpose::CodeSigning | Purpose::Precertificate | Purpose::CodeSigningCa => {
            (oid::CODE_SIGNING, "its extended key usage does not allow code signing below it")
        }
    };
    let limited = issuer
        .extended_key_usages()
        .is_some_and(|usages| !usages.iter().any(|u| u == usage || u == ANY_USAGE));
    if limited { Err(unsuitable(issuer, problem)) } else { Ok(()) }
}

/// How many certificate authorities of `path` count against a path length (RFC 5280 §4.2.1.9: not self-issued ones).
/// An issuing CA at the end counts, because what it is for is to issue.
fn authorities_below(path: &[Certificate], purpose: Purpose) -> usize {
    let end_entities = usize::from(purpose != Purpose::CodeSigningCa);
    path.iter().skip(end_entities).filter(|ca| ca.subject_der() != ca.issuer_der()).count()
}

fn check_dates(certificate: &Certificate, at: Timestamp) -> Result<(), ChainError> {
    if certificate.is_valid_at(at) {
        return Ok(());
    }
    Err(ChainError::NotValidAt { subject: name(certificate), at })
}

/// No critical extension that is not understood (RFC 5280 §4.2); the poison is, in precertificates, and must be there.
fn check_critical(certificate: &Certificate, purpose: Purpose) -> Result<(), ChainError> {
    let poison = certificate.extension(oid::POISON);
    if purpose == Purpose::Precertificate && poison.is_none_or(|poison| !poison.critical) {
        return Err(unsuitable(certificate, "no precertificate: the critical poison extension is missing"));
    }
    let understood =
        |oid: &str| UNDERSTOOD.contains(&oid) || (oid == oid::POISON && purpose == Purpose::Precertificate);
    if certificate.extensions().iter().any(|e| e.critical && !understood(&e.oid)) {
        return Err(unsuitable(certificate, "it has a critical extension that is not understood"));
    }
    Ok(())
}

/// Name constraints would have to be obeyed, so they are refused, critical or not.
fn check_name_constraints(issuer: &Certificate) -> Result<(), ChainError> {
    match issuer.extension(NAME_CONSTRAINTS) {
        Some(_) => Err(unsuitable(issuer, "it has name constraints, which Chancery does not support")),
        None => Ok(()),
    }
}

fn unsuitable(certificate: &Certificate, problem: &'static str) -> ChainError {
    ChainError::Unsuitable { subject: name(certificate), problem }
}

/// What to call a certificate in an error: its subject, or where that is empty its first alternative name.
fn name(certificate: &Certificate) -> String {
    let subject = certificate.subject();
    if !subject.is_empty() {
        return subject;
    }
    certificate.subject_names().first().map_or_else(
        || format!("certificate {}", hex::encode(certificate.serial())),
        |name| printable(name.value()),
    )
}

#[cfg(test)]
mod tests;
