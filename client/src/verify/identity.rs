//! Claim: the certificate names the expected signer.

use chancery_tlog::certificate::Certificate;
use chancery_tlog::fulcio;
use serde::Serialize;

use super::{Case, Outcome, Refusal, SignerPolicy, not_required, proven};

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
    let name = sole_name(certificate)?;
    let issuer = fulcio::issuer(certificate);
    if let Some(rule) = &policy.name
        && !rule.accepts(name)
    {
        return Err(format!("the certificate is for `{name}`; expected {}", rule.describe()));
    }
    if let Some(expected) = &policy.issuer
        && issuer.as_ref() != Some(expected)
    {
        let found = issuer.as_deref().unwrap_or("nobody");
        return Err(format!("`{found}` vouches for the certificate's name; expected `{expected}`"));
    }
    let by = issuer.as_deref().unwrap_or("an unnamed provider");
    if policy.name.is_none() {
        // The policy names a source or builder; those claims bind the certificate.
        return proven(format!("`{name}` by {by}, held to the expected source or builder below"));
    }
    proven(format!("`{name}` by {by}"))
}
