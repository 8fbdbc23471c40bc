//! What a verifier expects. A policy that would accept anyone's signature cannot be made.

use chancery_tlog::key::PublicKey;
use regex::{Regex, RegexBuilder};

/// Compiled size limit of an identity expression: far above honest ones, far below what could hurt.
const MAX_EXPRESSION: usize = 256 * 1024;
/// Longest expression that is read.
const MAX_EXPRESSION_TEXT: usize = 4096;

/// Why expectations make no policy.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Nothing says who must have signed.
    #[error("nothing says who must have signed, so anyone's signature would do")]
    Anyone,
    /// A name without the provider that vouches for it.
    #[error("a certificate identity means little without the provider that vouches for it")]
    NoIssuer,
    /// Both forms of a name.
    #[error("give either an exact certificate identity or an expression, not both")]
    TwoNames,
    /// The expression is broken or too large.
    #[error("the identity expression: {0}")]
    Expression(String),
    /// A key along with expectations about certificates.
    #[error("a key has no identity: expectations about certificates need a certificate")]
    KeyWithIdentity,
    /// Not a repository.
    #[error("`{0}` is not a repository; write it like https://github.com/octo-org/app")]
    Source(String),
}

/// A rule for a certificate's subject name.
#[derive(Clone, Debug)]
pub enum NameRule {
    /// This name.
    Exact(String),
    /// A name that this expression matches as a whole.
    Matching(Regex),
}

impl NameRule {
    /// An expression; it is anchored at both ends.
    pub fn matching(expression: &str) -> Result<Self, PolicyError> {
        if expression.len() > MAX_EXPRESSION_TEXT {
            return Err(PolicyError::Expression(format!("longer than {MAX_EXPRESSION_TEXT} bytes")));
        }
        // Compiled bare first: an expression such as `a)|(b` must not break out of the anchors.
        let compile = |text: &str| {
            RegexBuilder::new(text)
                .size_limit(MAX_EXPRESSION)
                .dfa_size_limit(MAX_EXPRESSION)
                .build()
                .map_err(|error| PolicyError::Expression(error.to_string()))
        };
        compile(expression)?;
        compile(&format!(r"\A(?:{expression})\z")).map(Self::Matching)
    }

    /// Whether `name` obeys.
    pub fn accepts(&self, name: &str) -> bool {
        match self {
            Self::Exact(expected) => expected == name,
            Self::Matching(expression) => expression.is_match(name),
        }
    }

    /// The rule for people.
    pub fn describe(&self) -> String {
        match self {
            Self::Exact(expected) => format!("`{expected}`"),
            Self::Matching(expression) => format!("one matching `{expression}`"),
        }
    }
}

/// A source repository's URI, normalised: scheme, no `git+`, no trailing slash or `.git`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceUri(String);

impl SourceUri {
    /// Parses what people write: `github.com/o/r`, `https://github.com/o/r`, `git+https://github.com/o/r.git`.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let bad = || PolicyError::Source(text.chars().take(200).collect());
        let bare = text.strip_prefix("git+").unwrap_or(text);
        let full = if bare.contains("://") { bare.to_owned() } else { format!("https://{bare}") };
        let url = url::Url::parse(&full).map_err(|_| bad())?;
        let path_is_root = url.path().trim_matches('/').is_empty();
        if path_is_root || url.query().is_some() || url.fragment().is_some() || url.path().contains('@') {
            return Err(bad());
        }
        let trimmed = url.as_str().trim_end_matches('/');
        Ok(Self(trimmed.strip_suffix(".git").unwrap_or(trimmed).to_owned()))
    }

    /// The URI.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `uri`, as a certificate or provenance spells it, names this repository.
    pub fn is(&self, uri: &str) -> bool {
        Self::parse(uri).is_ok_and(|other| other == *self)
    }
}

/// Who must have signed with a certificate.
#[derive(Clone, Debug)]
pub struct IdentityPolicy {
    /// Subject name. `None` only if a source or builder is expected.
    pub name: Option<NameRule>,
    /// OIDC provider that vouches for it.
    pub issuer: Option<String>,
}

/// Who must have signed.
#[derive(Clone, Debug)]
pub enum SignerPolicy {
    /// The holder of this key.
    Key(PublicKey),
    /// The holder of a certificate like this.
    Certificate(IdentityPolicy),
}

/// What is expected of a bundle.
#[derive(Clone, Debug)]
pub struct Policy {
    pub(super) signer: SignerPolicy,
    pub(super) source: Option<SourceUri>,
    pub(super) source_ref: Option<String>,
    pub(super) builder: Option<String>,
    pub(super) predicate_type: Option<String>,
}

impl Policy {
    /// A signature by this key.
    pub fn key(key: PublicKey) -> Self {
        Self::signed_by(SignerPolicy::Key(key))
    }

    /// A certificate for this subject name, vouched for by this OIDC provider.
    pub fn identity(name: NameRule, issuer: &str) -> Self {
        let issuer = Some(issuer.to_owned());
        Self::signed_by(SignerPolicy::Certificate(IdentityPolicy { name: Some(name), issuer }))
    }

    /// A certificate of a build of this repository.
    pub fn source(source: SourceUri) -> Self {
        let anyone = IdentityPolicy { name: None, issuer: None };
        Self { source: Some(source), ..Self::signed_by(SignerPolicy::Certificate(anyone)) }
    }

    /// A certificate of this builder. Without an `@ref`, any ref of the builder is meant.
    pub fn builder(builder: &str) -> Self {
        let anyone = IdentityPolicy { name: None, issuer: None };
        Self { builder: Some(builder.to_owned()), ..Self::signed_by(SignerPolicy::Certificate(anyone)) }
    }

    /// Also expects this OIDC provider. Does nothing for a key.
    #[must_use]
    pub fn with_issuer(mut self, issuer: &str) -> Self {
        if let SignerPolicy::Certificate(identity) = &mut self.signer {
            identity.issuer = Some(issuer.to_owned());
        }
        self
    }

    /// Also expects this source repository.
    #[must_use]
    pub fn with_source(self, source: SourceUri) -> Self {
        Self { source: Some(source), ..self }
    }

    /// Also expects this git ref, such as `refs/tags/v1.2.3`.
    #[must_use]
    pub fn with_source_ref(self, source_ref: &str) -> Self {
        Self { source_ref: Some(source_ref.to_owned()), ..self }
    }

    /// Also expects this builder.
    #[must_use]
    pub fn with_builder(self, builder: &str) -> Self {
        Self { builder: Some(builder.to_owned()), ..self }
    }

    /// Also expects a statement with this type of predicate.
    #[must_use]
    pub fn with_predicate_type(self, predicate_type: &str) -> Self {
        Self { predicate_type: Some(predicate_type.to_owned()), ..self }
    }

    fn signed_by(signer: SignerPolicy) -> Self {
        Self { signer, source: None, source_ref: None, builder: None, predicate_type: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_anchored_and_cannot_break_out() {
        let rule = NameRule::matching("https://ci.example/a|https://ci.example/b").unwrap();
        assert!(rule.accepts("https://ci.example/a") && rule.accepts("https://ci.example/b"));
        assert!(!rule.accepts("https://ci.example/ab") && !rule.accepts("x https://ci.example/b"));
        assert!(!NameRule::matching("a").unwrap().accepts("a\n"));
        assert!(NameRule::matching("a)|(b").is_err());
    }

    #[test]
    fn huge_expressions_are_refused() {
        assert!(NameRule::matching(&"a".repeat(MAX_EXPRESSION_TEXT + 1)).is_err());
        assert!(NameRule::matching(r"(\w{1000}){1000}").is_err());
    }

    #[test]
    fn repositories_are_the_same_in_every_spelling() {
        let source = SourceUri::parse("github.com/octo-org/app").unwrap();
        for same in [
            "https://github.com/octo-org/app",
            "git+https://github.com/octo-org/app",
            "https://github.com/octo-org/app/",
            "https://github.com/octo-org/app.git",
            "https://GITHUB.com/octo-org/app",
        ] {
            assert!(source.is(same), "{same}");
        }
        for other in ["https://github.com/octo-org/app2", "http://github.com/octo-org/app", "x", ""] {
            assert!(!source.is(other), "{other}");
        }
    }

    #[test]
    fn a_host_alone_is_no_repository() {
        assert!(SourceUri::parse("https://github.com").is_err());
        assert!(SourceUri::parse("https://github.com/o/r@main").is_err());
    }
}
