//! Claim: the certificate names the expected signer.

use chancery_tlog::certificate::{Certificate, SubjectName};
use chancery_tlog::escape::is_hidden;
use chancery_tlog::fulcio;
use chancery_tlog::strict_uri::{self, NotStrict};
use serde::Serialize;

use super::{Case, Outcome, Refusal, SignerPolicy, not_required, proven};

/// Numbers of the extensions that name a place: issuer, builder, repository, owner, workflow, run.
const PLACES: [u8; 8] = [1, 5, 8, 9, 12, 16, 18, 21];
/// Numbers of the extensions that hold a git ref.
const REFS: [u8; 2] = [6, 14];

/// Who a certificate names, and what its authority says about the build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    /// Subject alternative names.
    pub names: Vec<String>,
    /// OIDC provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// Repository (extension 12).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_repository: Option<String>,
    /// Commit (extension 13).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_digest: Option<String>,
    /// Git ref (extension 14).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_ref: Option<String>,
    /// Builder (extension 9).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub build_signer: Option<String>,
    /// Run (extension 21).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_invocation: Option<String>,
}

impl Identity {
    /// Reads a certificate.
    pub fn of(certificate: &Certificate) -> Self {
        Self {
            names: certificate.subject_names().iter().map(|name| name.value().to_owned()).collect(),
            issuer: fulcio::issuer(certificate),
            source_repository: fulcio::read(certificate, 12),
            source_digest: fulcio::read(certificate, 13),
            source_ref: fulcio::read(certificate, 14),
            build_signer: fulcio::read(certificate, 9),
            run_invocation: fulcio::read(certificate, 21),
        }
    }
}

/// The one name of a signing certificate. With several it would be open which of them signed.
pub(super) fn sole_name(certificate: &Certificate) -> Result<&str, Refusal> {
    match certificate.subject_names() {
        [name] => Ok(name.value()),
        names => Err(format!("the certificate has {} subject names; exactly one is needed", names.len())),
    }
}

pub(super) fn expected(case: &Case<'_>) -> Result<Outcome, Refusal> {
    let SignerPolicy::Certificate(policy) = &case.policy.signer else {
        return not_required("the key itself is the identity");
    };
    let Some(certificate) = case.certificate() else {
        return Err("the bundle has no certificate, so nobody is named".to_owned());
    };
    check_texts(certificate)?;
    let name = sole_name(certificate)?;
    let issuer = fulcio::issuer(certificate);
    if let Some(rule) = &policy.name
        && !rule.accepts(name)
    {
        return Err(format!("the certificate is for `{name}`; expected {}", rule.describe()));
    }
    let Some(issuer) = issuer.filter(|issuer| policy.issuer.accepts(issuer)) else {
        let found = fulcio::issuer(certificate).unwrap_or_else(|| "nobody".to_owned());
        let expected = policy.issuer.describe();
        return Err(format!("`{found}` vouches for the certificate's name; expected {expected}"));
    };
    if policy.name.is_none() {
        // The policy names a source or builder; those claims bind the certificate.
        return proven(format!("`{name}` by {issuer}, held to the expected source or builder below"));
    }
    proven(format!("`{name}` by {issuer}"))
}

/// Refuses names and places that can be read in two ways or are shown as something else than they are.
fn check_texts(certificate: &Certificate) -> Result<(), Refusal> {
    for name in certificate.subject_names() {
        let text = name.value();
        let checked =
            if matches!(name, SubjectName::Uri(_)) { strict_uri::check(text) } else { visible(text) };
        checked.map_err(|why| ambiguous("name", text, why))?;
    }
    PLACES.iter().try_for_each(|number| check_extension(certificate, *number, strict_uri::check_place))?;
    REFS.iter().try_for_each(|number| check_extension(certificate, *number, visible))
}

fn check_extension(
    certificate: &Certificate,
    number: u8,
    check: fn(&str) -> Result<(), NotStrict>,
) -> Result<(), Refusal> {
    let Some(text) = fulcio::read(certificate, number) else { return Ok(()) };
    let what = fulcio::definition(number).map_or("extension", |definition| definition.name);
    check(&text).map_err(|why| ambiguous(what, &text, why))
}

#[expect(clippy::needless_pass_by_value, reason = "the argument of a map_err")]
fn ambiguous(what: &str, text: &str, why: NotStrict) -> Refusal {
    format!("the certificate's {what} {text:?} is ambiguous: {why}")
}

fn visible(text: &str) -> Result<(), NotStrict> {
    text.chars().find(|c| is_hidden(*c)).map_or(Ok(()), |c| Err(NotStrict::Character(c)))
}
