//! The issuers that a CA trusts: Fulcio's configuration file, read as it is.
//!
//! Owns the model of facts that `config.yaml` (kebab-case) and its JSON twin (Go field names) describe. Invariant:
//! an [`IssuerConfig`] that exists can be used without further checks. Every issuer has an audience, a URL that
//! obeys [`IssuerUrl`]'s rules and equals its key, and templates that parse; there is at least one issuer. Where
//! Fulcio loads a file that can only fail later (no issuers, a key that differs from `issuer-url`, an unknown
//! provider or type), this refuses it and says what to change. Unknown keys are reported, never fatal.
//! Reference: fulcio `pkg/config/config.go`, `docs/oidc.md`.

use std::collections::BTreeMap;
use std::sync::Arc;

mod document;
mod issuer_url;
mod key_access;
mod pattern;
mod reader;
#[cfg(test)]
mod tests;

pub use issuer_url::{IssuerUrl, IssuerUrlError};
pub(crate) use issuer_url::{MAX_ISSUER_URL, is_loopback};
pub use key_access::{Authority, KeyAccess};
pub use pattern::Pattern;
pub(crate) use reader::read_provider_file;

use crate::template::Provider;

/// Largest configuration file that is read, in bytes.
pub const MAX_CONFIG: usize = 4 * 1024 * 1024;

/// Why a configuration is refused. All of these are for the operator.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The text is neither JSON nor YAML, or not an object.
    #[error("the issuer configuration cannot be read: {0}")]
    Malformed(String),
    /// Nothing would ever get a certificate.
    #[error(
        "the issuer configuration names no issuer; add one under `oidc-issuers` or `meta-issuers` \
         (in JSON the keys are spelled `OIDCIssuers` and `MetaIssuers`)"
    )]
    NoIssuers,
    /// One value is wrong.
    #[error("{at}: {problem}")]
    Invalid {
        /// Where, as a path of keys.
        at: String,
        /// What is wrong and what to do.
        problem: String,
    },
}

impl ConfigError {
    fn at(at: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Invalid { at: at.into(), problem: problem.into() }
    }
}

/// All issuers of one instance.
#[derive(Debug)]
pub struct IssuerConfig {
    issuers: BTreeMap<String, Arc<Issuer>>,
    meta: Vec<(Pattern, Arc<Issuer>)>,
    warnings: Vec<String>,
}

impl IssuerConfig {
    /// Reads a Fulcio configuration: JSON if it is JSON, else YAML with anchors and merge keys.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        reader::read(text)
    }

    /// The issuer that `iss` names, byte for byte. An exact entry wins over patterns; of several patterns the one
    /// with the most literal text wins, then the alphabetically first, so that the answer never depends on chance.
    pub fn find(&self, iss: &str) -> Option<&Arc<Issuer>> {
        if let Some(issuer) = self.issuers.get(iss) {
            return Some(issuer);
        }
        self.meta.iter().find(|(pattern, _)| pattern.matches(iss)).map(|(_, issuer)| issuer)
    }

    /// All issuers, exact ones first.
    pub fn issuers(&self) -> impl Iterator<Item = &Arc<Issuer>> {
        self.issuers.values().chain(self.meta.iter().map(|(_, issuer)| issuer))
    }

    /// How these issuers differ from those `before`, in the order of their URLs: added, removed or changed.
    pub fn changes_since(&self, before: &Self) -> Vec<IssuerChange> {
        let by_name = |issuers: &Self| -> BTreeMap<String, Arc<Issuer>> {
            issuers.issuers().map(|issuer| (issuer.location.text().to_owned(), Arc::clone(issuer))).collect()
        };
        let (old, new) = (by_name(before), by_name(self));
        let names: std::collections::BTreeSet<_> = old.keys().chain(new.keys()).collect();
        let change = |name: &String| match (old.get(name), new.get(name)) {
            (None, Some(_)) => Some(IssuerChange::Added(name.clone())),
            (Some(_), None) => Some(IssuerChange::Removed(name.clone())),
            (Some(old), Some(new)) if old != new => Some(IssuerChange::Changed(name.clone())),
            _ => None,
        };
        names.into_iter().filter_map(change).collect()
    }

    /// What an operator should look at: unknown keys and settings without effect.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

/// A difference between two configurations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IssuerChange {
    /// An issuer that was not there.
    Added(String),
    /// An issuer that is there no longer.
    Removed(String),
    /// An issuer of which something else is said.
    Changed(String),
}

impl std::fmt::Display for IssuerChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (word, name) = match self {
            Self::Added(name) => ("added", name),
            Self::Removed(name) => ("removed", name),
            Self::Changed(name) => ("changed", name),
        };
        write!(f, "{word} {name}")
    }
}

/// One trusted issuer, or a family of them.
#[derive(Debug, PartialEq, Eq)]
pub struct Issuer {
    /// The URL or, for a meta-issuer, the pattern text.
    pub location: Location,
    /// The audience that tokens must carry.
    pub audience: String,
    /// The `type` as configured, for `/api/v2/configuration`.
    pub type_name: String,
    /// How a token becomes a principal.
    pub kind: IssuerKind,
    /// Advertised to clients; has no other effect, as in Fulcio.
    pub challenge_claim: String,
    /// PEM certificates added to the system's roots for this issuer; one may be the issuer's own.
    pub ca_certificates: Option<String>,
    /// The way to its keys.
    pub key_access: KeyAccess,
}

/// Where an issuer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// Exactly here.
    Url(String),
    /// At any URL of this pattern.
    Pattern(String),
}

impl Location {
    /// The URL or pattern.
    pub fn text(&self) -> &str {
        let (Self::Url(text) | Self::Pattern(text)) = self;
        text
    }
}

/// How a token of an issuer becomes a principal.
#[derive(Debug, PartialEq, Eq)]
pub enum IssuerKind {
    /// The verified `email` claim.
    Email {
        /// Path of claim names to the issuer to embed instead of `iss` (Dex's connector id).
        issuer_claim: Option<Vec<String>>,
        /// Accept addresses that the issuer does not call verified.
        skip_verification: bool,
    },
    /// `sub` is a URI on this scheme and host.
    Uri {
        /// `scheme://host` that subjects must have.
        subject_domain: String,
    },
    /// `sub` is a user name within a domain.
    Username {
        /// The domain after the `!`.
        subject_domain: String,
    },
    /// `sub` is a SPIFFE ID.
    Spiffe {
        /// The trust domain that it must be of.
        trust_domain: String,
    },
    /// A Kubernetes service account.
    Kubernetes,
    /// Chainguard's identities: the issuer's URL with the subject as path.
    Chainguard,
    /// A CI system described by templates.
    CiProvider(Arc<Provider>),
}

impl IssuerKind {
    /// The kind in one word, as `type` names it: a closed set, for metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Email { .. } => "email",
            Self::Uri { .. } => "uri",
            Self::Username { .. } => "username",
            Self::Spiffe { .. } => "spiffe",
            Self::Kubernetes => "kubernetes",
            Self::Chainguard => "chainguard-identity",
            Self::CiProvider(_) => "ci-provider",
        }
    }

    /// `subjectDomain` as `/api/v2/configuration` shows it.
    pub fn subject_domain(&self) -> &str {
        match self {
            Self::Uri { subject_domain } | Self::Username { subject_domain } => subject_domain,
            _ => "",
        }
    }

    /// `spiffeTrustDomain` as `/api/v2/configuration` shows it.
    pub fn spiffe_trust_domain(&self) -> &str {
        match self {
            Self::Spiffe { trust_domain } => trust_domain,
            _ => "",
        }
    }

    /// `skipEmailVerification` as `/api/v2/configuration` shows it.
    pub fn skips_email_verification(&self) -> bool {
        matches!(self, Self::Email { skip_verification: true, .. })
    }
}
