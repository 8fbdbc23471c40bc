//! Claims about the build: predicate type, source, builder, and that provenance and certificate agree.
//!
//! A certificate's facts come from the authority, which had them from the CI provider's token; a predicate's
//! facts come from whoever ran in the job. Where both speak, both must say what is expected.

use chancery_tlog::certificate::Certificate;
use chancery_tlog::fulcio;

use super::identity::sole_name;
use super::stated::Stated;
use super::{Case, Outcome, Refusal, SignerPolicy, SourceUri, not_required, proven};
use crate::slsa::{self, Fact, FactKind, Provenance};

/// One place that states nothing.
const NOTHING: &[Option<String>] = &[None];

pub(super) fn predicate_type(case: &Case<'_>, stated: &Stated) -> Result<Outcome, Refusal> {
    let Some(expected) = &case.policy.predicate_type else {
        return match &stated.statement {
            None => not_required("the artifact itself is signed"),
            Some(Ok(statement)) => not_required(format!("found {}", statement.predicate_type)),
            Some(Err(why)) => Err(why.clone()),
        };
    };
    let found = &stated.statement()?.predicate_type;
    if found != expected {
        return Err(format!("the statement is of type {found}; expected {expected}"));
    }
    proven(found)
}

pub(super) fn source(case: &Case<'_>, stated: &Stated) -> Result<Outcome, Refusal> {
    let (source, source_ref) = (&case.policy.source, &case.policy.source_ref);
    if source.is_none() && source_ref.is_none() {
        return not_required("no source was expected");
    }
    let provenance = stated.provenance()?;
    if case.certificate().is_none() && provenance.is_none() {
        return Err("neither a certificate nor provenance names a source".to_owned());
    }
    if let Some(source) = source {
        named(case, provenance, FactKind::SourceRepository, source.as_str(), |found| source.is(found))?;
    }
    if let Some(source_ref) = source_ref {
        named(case, provenance, FactKind::SourceRef, source_ref, |found| found == source_ref)?;
    }
    let uri = source.as_ref().map(SourceUri::as_str);
    proven([uri, source_ref.as_deref()].into_iter().flatten().collect::<Vec<_>>().join("@"))
}

/// A place that is there must name what is expected; a place that is not there cannot contradict.
fn named(
    case: &Case<'_>,
    provenance: Option<&Provenance>,
    kind: FactKind,
    expected: &str,
    is: impl Fn(&str) -> bool,
) -> Result<(), Refusal> {
    if let Some(certificate) = case.certificate() {
        let found = fulcio::read(certificate, kind.extension());
        expect("certificate", kind.name(), found.as_deref(), expected, &is)?;
    }
    let Some(provenance) = provenance else { return Ok(()) };
    let stated = provenance.stated(kind);
    let stated = if stated.is_empty() { NOTHING } else { stated };
    stated.iter().try_for_each(|found| expect("provenance", kind.name(), found.as_deref(), expected, &is))
}

pub(super) fn builder(case: &Case<'_>, stated: &Stated) -> Result<Outcome, Refusal> {
    let Some(expected) = &case.policy.builder else { return not_required("no builder was expected") };
    let provenance = stated.provenance()?;
    let certified =
        case.certificate().map(|it| certified_builder(case, it, provenance.is_some())).transpose()?;
    let certified = certified.flatten();
    if let Some(certified) = &certified
        && !is_builder(expected, certified)
    {
        return Err(format!("the certificate is for builder `{certified}`; expected builder `{expected}`"));
    }
    let stated = provenance.map(|provenance| provenance.builder.as_str());
    if let Some(stated) = stated
        && !is_builder(expected, stated)
    {
        return Err(format!("the provenance names builder `{stated}`; expected `{expected}`"));
    }
    match (certified, stated) {
        // A statement without a ref leaves it to the certificate.
        (Some(certified), Some(stated)) if stated != certified && stated.contains('@') => {
            Err(format!("the provenance names builder `{stated}`, the certificate `{certified}`"))
        }
        (Some(certified), _) => proven(certified),
        (None, Some(stated)) => proven(stated),
        (None, None) => Err("neither a certificate nor provenance names a builder".to_owned()),
    }
}

/// The builder that the certificate binds: its extension, whatever the statement says, or else its name. The
/// name need not be a builder's if the caller named the signer that it accepts, and the provenance names a
/// builder.
fn certified_builder(
    case: &Case<'_>,
    certificate: &Certificate,
    has_provenance: bool,
) -> Result<Option<String>, Refusal> {
    let name = sole_name(certificate)?;
    let builder = fulcio::read(certificate, FactKind::Builder.extension());
    let is_signer_named =
        matches!(&case.policy.signer, SignerPolicy::Certificate(identity) if identity.name.is_some());
    Ok(match builder {
        None if is_signer_named && has_provenance => None,
        builder => Some(builder.unwrap_or_else(|| name.to_owned())),
    })
}

/// Held against the provenance as soon as anything is expected of it. Otherwise the signer is trusted with what it
/// says, as by every other client, and a difference is only told.
pub(super) fn agrees(case: &Case<'_>, stated: &Stated) -> Result<Outcome, Refusal> {
    let policy = case.policy;
    let expected = policy.source.is_some()
        || policy.source_ref.is_some()
        || policy.builder.is_some()
        || policy.predicate_type.is_some();
    match agreement(case, stated) {
        Err(why) if !expected => not_required(format!("nothing was expected of the build; {why}")),
        outcome => outcome,
    }
}

fn agreement(case: &Case<'_>, stated: &Stated) -> Result<Outcome, Refusal> {
    let Some(provenance) = stated.provenance()? else {
        return not_required(no_provenance(stated));
    };
    if !provenance.unknown_parameters.is_empty() {
        return Err(format!(
            "external parameters that build type {} does not define: {}",
            provenance.build_type,
            provenance.unknown_parameters.join(", ")
        ));
    }
    let Some(certificate) = case.certificate() else {
        return not_required("a key says nothing about a build");
    };
    if !provenance.repeats_certificate {
        let build_type = &provenance.build_type;
        return not_required(format!(
            "nothing of build type {build_type} is known to repeat the certificate"
        ));
    }
    let repository = fulcio::read(certificate, FactKind::SourceRepository.extension());
    let stated_repository = provenance.stated(FactKind::SourceRepository).iter().flatten().next();
    let repository = repository.as_ref().or(stated_repository).map_or("", String::as_str);
    let mut compared = Vec::new();
    for fact in &provenance.facts {
        let Some(text) = fulcio::read(certificate, fact.kind.extension()) else { continue };
        let certified = fact.kind.certified(&text, repository).ok_or_else(|| {
            format!("the certificate's workflow `{text}` is not a file of `{repository}` at a ref")
        })?;
        same(fact, certified)?;
        compared.push(fact.kind.name());
    }
    match compared.split_last() {
        None => not_required("the certificate says nothing that this build type repeats"),
        Some((last, [])) => proven(format!("{last} is the certificate's")),
        Some((last, others)) => proven(format!("{} and {last} are the certificate's", others.join(", "))),
    }
}

fn no_provenance(stated: &Stated) -> String {
    match &stated.statement {
        Some(Ok(statement)) if slsa::is_unread(&statement.predicate_type) => {
            let found: String = statement.predicate_type.chars().take(100).collect();
            format!("{found} is not read; versions 0.2 and 1 of SLSA provenance are")
        }
        _ => "the content is not SLSA provenance".to_owned(),
    }
}

/// Everywhere that the fact must be stated, it is stated as the certificate has it.
fn same(fact: &Fact, certified: &str) -> Result<(), Refusal> {
    let name = fact.kind.name();
    if fact.stated.is_empty() {
        return Err(format!("the provenance says no {name}, the certificate `{certified}`"));
    }
    for stated in &fact.stated {
        match stated {
            Some(stated) if fact.kind.same(stated, certified) => {}
            Some(stated) => {
                return Err(format!("the provenance says {name} `{stated}`, the certificate `{certified}`"));
            }
            None => return Err(format!("the provenance says no {name}, the certificate `{certified}`")),
        }
    }
    Ok(())
}

fn expect(
    place: &str,
    what: &str,
    found: Option<&str>,
    expected: &str,
    is: impl Fn(&str) -> bool,
) -> Result<(), Refusal> {
    match found {
        Some(found) if is(found) => Ok(()),
        Some(found) => Err(format!("the {place} names {what} `{found}`; expected `{expected}`")),
        None => Err(format!("the {place} names no {what}; expected `{expected}`")),
    }
}

/// `expected` names a builder exactly, or without `@ref` any of its refs.
fn is_builder(expected: &str, found: &str) -> bool {
    found == expected
        || (!expected.contains('@') && found.split_once('@').is_some_and(|(builder, _)| builder == expected))
}
