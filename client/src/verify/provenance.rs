//! Claims about the build: predicate type, source, builder, and that provenance and certificate agree.
//!
//! A certificate's facts come from the authority, which had them from the CI provider's token; a predicate's
//! facts come from whoever ran in the job. Where both speak, both must say what is expected.

use super::identity::{Identity, sole_name};
use super::{Case, Outcome, Refusal, SignerPolicy, SourceUri, not_required, proven};
use crate::slsa::{GITHUB_WORKFLOW, Provenance};
use crate::statement::Statement;

pub(super) fn predicate_type(case: &Case<'_>) -> Result<Outcome, Refusal> {
    let Some(expected) = &case.policy.predicate_type else {
        return match &case.statement {
            None => not_required("the artifact itself is signed"),
            Some(Ok(statement)) => not_required(format!("found {}", statement.predicate_type)),
            Some(Err(why)) => Err(why.clone()),
        };
    };
    let found = &case.statement()?.predicate_type;
    if found != expected {
        return Err(format!("the statement is of type {found}; expected {expected}"));
    }
    proven(found)
}

pub(super) fn source(case: &Case<'_>) -> Result<Outcome, Refusal> {
    let (source, source_ref) = (&case.policy.source, &case.policy.source_ref);
    if source.is_none() && source_ref.is_none() {
        return not_required("no source was expected");
    }
    let certificate = case.certificate().map(Identity::of);
    let provenance = provenance(case)?;
    if certificate.is_none() && provenance.is_none() {
        return Err("neither a certificate nor provenance names a source".to_owned());
    }
    let certified =
        certificate.as_ref().map(|it| (it.source_repository.as_deref(), it.source_ref.as_deref()));
    let stated = provenance.as_ref().map(|it| (it.source.as_deref(), it.source_ref.as_deref()));
    // A place that is there must name what is expected; a place that is not there cannot contradict.
    for (place, found) in [("certificate", certified), ("provenance", stated)] {
        let Some((found_source, found_ref)) = found else { continue };
        if let Some(expected) = source {
            expect(place, "repository", found_source, expected.as_str(), |uri| expected.is(uri))?;
        }
        if let Some(expected) = source_ref {
            expect(place, "ref", found_ref, expected, |found| found == expected)?;
        }
    }
    let uri = source.as_ref().map(SourceUri::as_str);
    proven([uri, source_ref.as_deref()].into_iter().flatten().collect::<Vec<_>>().join("@"))
}

pub(super) fn builder(case: &Case<'_>) -> Result<Outcome, Refusal> {
    let Some(expected) = &case.policy.builder else { return not_required("no builder was expected") };
    let provenance = provenance(case)?;
    let name = case.certificate().map(sole_name).transpose()?;
    // The pair (signer, builder) must be bound: either the certificate is the builder's own, or the caller named
    // the signer that it accepts for this builder.
    let signer_named =
        matches!(&case.policy.signer, SignerPolicy::Certificate(identity) if identity.name.is_some());
    match (name, &provenance) {
        (None, None) => return Err("neither a certificate nor provenance names a builder".to_owned()),
        (Some(name), _) if !signer_named && !is_builder(expected, name) => {
            return Err(format!("the certificate is for `{name}`; expected builder `{expected}`"));
        }
        (Some(name), None) if !is_builder(expected, name) => {
            return Err(format!("the certificate is for `{name}`; expected builder `{expected}`"));
        }
        _ => {}
    }
    if let Some(provenance) = &provenance
        && !is_builder(expected, &provenance.builder)
    {
        return Err(format!("the provenance names builder `{}`; expected `{expected}`", provenance.builder));
    }
    let found = provenance.map(|provenance| provenance.builder).or(name.map(str::to_owned));
    proven(found.unwrap_or_default())
}

/// Held against the provenance as soon as anything is expected of it. Otherwise the signer is trusted with what it
/// says, as by every other client, and a difference is only told.
pub(super) fn agrees(case: &Case<'_>) -> Result<Outcome, Refusal> {
    let policy = case.policy;
    let expected = policy.source.is_some()
        || policy.source_ref.is_some()
        || policy.builder.is_some()
        || policy.predicate_type.is_some();
    match agreement(case) {
        Err(why) if !expected => not_required(format!("nothing was expected of the build; {why}")),
        outcome => outcome,
    }
}

fn agreement(case: &Case<'_>) -> Result<Outcome, Refusal> {
    let Some(provenance) = provenance(case)? else {
        return not_required("the content is not SLSA provenance");
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
    let identity = Identity::of(certificate);
    if provenance.build_type != GITHUB_WORKFLOW || identity.source_repository.is_none() {
        return not_required("the certificate says nothing that this build type repeats");
    }
    let pairs = [
        ("source repository", &provenance.source, &identity.source_repository),
        ("commit", &provenance.source_digest, &identity.source_digest),
        ("ref", &provenance.source_ref, &identity.source_ref),
        ("run", &provenance.invocation, &identity.run_invocation),
        ("builder", &Some(provenance.builder.clone()), &identity.build_signer),
    ];
    for (what, stated, certified) in pairs {
        if let (Some(stated), Some(certified)) = (stated, certified)
            && stated != certified
        {
            return Err(format!("the provenance says {what} `{stated}`, the certificate `{certified}`"));
        }
    }
    proven("source, commit, ref, run and builder are the certificate's")
}

/// The provenance, if the content is some; an error if it claims to be and is malformed.
fn provenance(case: &Case<'_>) -> Result<Option<Provenance>, Refusal> {
    match &case.statement {
        None => Ok(None),
        Some(Err(why)) => Err(why.clone()),
        Some(Ok(statement)) => Provenance::read(statement).map_err(|error| error.to_string()),
    }
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

impl Case<'_> {
    pub(super) fn statement(&self) -> Result<&Statement, Refusal> {
        match &self.statement {
            Some(statement) => statement.as_ref().map_err(Clone::clone),
            None => Err("the artifact itself is signed, not a statement about it".to_owned()),
        }
    }
}
