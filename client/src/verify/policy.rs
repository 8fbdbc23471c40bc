//! What a verifier expects. A policy that would accept anyone's signature cannot be made.

use chancery_tlog::key::PublicKey;
use chancery_tlog::strict_uri;
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
    /// A source or builder whose place has no issuer of its own that is known.
    #[error("nothing says which OIDC provider vouches for builds at `{0}`")]
    NoIssuerOf(String),
    /// A source and a builder with different providers.
    #[error("the source and the builder are at different places, so either's OIDC provider could be meant")]
    TwoIssuers,
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

/// A source repository's URI, as certificates and provenance spell it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceUri {
    uri: String,
    /// Whether `.git` was written, and may be written where it is looked for.
    is_dot_git: bool,
}

impl SourceUri {
    /// Parses what people write: `github.com/o/r`, `https://github.com/o/r`, `git+https://github.com/o/r.git`.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let bad = || PolicyError::Source(text.chars().take(200).collect());
        let bare = text.strip_prefix("git+").unwrap_or(text);
        let full = if bare.contains("://") { bare.to_owned() } else { format!("https://{bare}") };
        // People may write the host in capitals, certificates may not.
        let path = full.find("://").and_then(|at| full[at + 3..].find('/').map(|slash| at + 3 + slash));
        let (host, path) = full.split_at(path.unwrap_or(full.len()));
        let full = host.to_ascii_lowercase() + path;
        strict_uri::check(&full).map_err(|_| bad())?;
        let url = url::Url::parse(&full).map_err(|_| bad())?;
        let path_is_root = url.path().trim_matches('/').is_empty();
        if path_is_root || url.query().is_some() || url.fragment().is_some() || url.path().contains('@') {
            return Err(bad());
        }
        let trimmed = url.as_str().trim_end_matches('/');
        let bare = trimmed.strip_suffix(".git");
        Ok(Self { uri: bare.unwrap_or(trimmed).to_owned(), is_dot_git: bare.is_some() })
    }

    /// The URI.
    pub fn as_str(&self) -> &str {
        &self.uri
    }

    /// Whether `uri`, as a certificate or provenance spells it, names this repository. Compared as text: what
    /// a parser would make of a URI is not what the next parser makes of it.
    pub fn is(&self, uri: &str) -> bool {
        uri == self.uri || self.is_dot_git && uri.strip_suffix(".git") == Some(self.uri.as_str())
    }
}

/// A rule for the OIDC provider that vouches for a certificate's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IssuerRule {
    /// This provider.
    Exact(String),
    /// A provider at this scheme, host and port, such as a GitLab or GitHub Enterprise server that serves its
    /// own tokens.
    At(String),
}

impl IssuerRule {
    /// The provider of the place where a source or builder is: the CI's own, if it is known, or else the
    /// host's. Another provider's tenant may put any address into its tokens, so the address alone says
    /// nothing.
    pub fn owner_of(uri: &str) -> Result<Self, PolicyError> {
        let unknown = || PolicyError::NoIssuerOf(uri.chars().take(200).collect());
        strict_uri::check(uri).map_err(|_| unknown())?;
        let url = url::Url::parse(uri).map_err(|_| unknown())?;
        let host = url.host_str().filter(|_| matches!(url.scheme(), "https" | "http")).ok_or_else(unknown)?;
        Ok(match host {
            "github.com" => Self::Exact("https://token.actions.githubusercontent.com".to_owned()),
            "gitlab.com" => Self::Exact("https://gitlab.com".to_owned()),
            // Their pipelines get tokens from other hosts.
            "bitbucket.org" | "dev.azure.com" | "codeberg.org" => return Err(unknown()),
            _ if host.ends_with(".ghe.com") => Self::Exact(format!("https://token.actions.{host}")),
            _ => Self::At(url.origin().ascii_serialization()),
        })
    }

    /// Whether `issuer` obeys.
    pub fn accepts(&self, issuer: &str) -> bool {
        match self {
            Self::Exact(expected) => expected == issuer,
            Self::At(origin) => {
                let path = issuer.strip_prefix(origin.as_str());
                path.is_some_and(|path| path.is_empty() || path.starts_with('/'))
                    && strict_uri::check(issuer).is_ok()
            }
        }
    }

    /// The rule for people.
    pub fn describe(&self) -> String {
        match self {
            Self::Exact(expected) => format!("`{expected}`"),
            Self::At(origin) => {
                format!(
                    "a provider at `{origin}`; if another one is right, name it with --certificate-oidc-issuer"
                )
            }
        }
    }
}

/// Who must have signed with a certificate.
#[derive(Clone, Debug)]
pub struct IdentityPolicy {
    /// Subject name. `None` only if a source or builder is expected.
    pub name: Option<NameRule>,
    /// OIDC provider that vouches for it.
    pub issuer: IssuerRule,
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
        Self::certificate(Some(name), IssuerRule::Exact(issuer.to_owned()))
    }

    /// A certificate of a build of this repository, vouched for by this OIDC provider.
    pub fn source(source: SourceUri, issuer: IssuerRule) -> Self {
        Self::certificate(None, issuer).with_source(source)
    }

    /// A certificate of this builder, vouched for by this OIDC provider. Without an `@ref`, any ref of the
    /// builder is meant.
    pub fn builder(builder: &str, issuer: IssuerRule) -> Self {
        Self::certificate(None, issuer).with_builder(builder)
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

    fn certificate(name: Option<NameRule>, issuer: IssuerRule) -> Self {
        Self::signed_by(SignerPolicy::Certificate(IdentityPolicy { name, issuer }))
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
            assert_eq!(SourceUri::parse(same).unwrap().as_str(), source.as_str(), "{same}");
        }
    }

    #[test]
    fn certificates_are_compared_as_text() {
        let source = SourceUri::parse("github.com/octo-org/app").unwrap();
        assert!(source.is("https://github.com/octo-org/app"));
        for other in [
            "https://github.com/octo-org/app2",
            "http://github.com/octo-org/app",
            "https://github.com/octo-org/app/",
            "https://github.com/octo-org/app.git",
            "https://github.com/evil/../octo-org/app",
            "https://github.com/evil/%2e%2e/octo-org/app",
            "https://github.com\\octo-org\\app",
            "https://github.com/octo-org/app\u{200b}",
            "https://GITHUB.com/octo-org/app",
            "git+https://github.com/octo-org/app",
            "x",
            "",
        ] {
            assert!(!source.is(other), "{other}");
        }
        let dot_git = SourceUri::parse("https://github.com/octo-org/app.git").unwrap();
        assert!(dot_git.is("https://github.com/octo-org/app.git"));
        assert!(dot_git.is("https://github.com/octo-org/app"));
        assert!(SourceUri::parse("https://github.com/evil/../octo-org/app").is_err());
    }

    #[test]
    fn a_place_has_the_provider_that_owns_it() {
        let exact = |issuer: &str| Ok(IssuerRule::Exact(issuer.to_owned()));
        let github = "https://token.actions.githubusercontent.com";
        assert_eq!(IssuerRule::owner_of("https://github.com/o/r"), exact(github));
        assert_eq!(IssuerRule::owner_of("https://gitlab.com/g/p"), exact("https://gitlab.com"));
        let ghe = IssuerRule::owner_of("https://acme.ghe.com/o/r");
        assert_eq!(ghe, exact("https://token.actions.acme.ghe.com"));
        let own = IssuerRule::owner_of("https://git.example:8443/o/r").unwrap();
        for issuer in ["https://git.example:8443", "https://git.example:8443/_services/token"] {
            assert!(own.accepts(issuer), "{issuer}");
        }
        for issuer in [
            "https://git.example",
            "https://git.example:84430",
            "https://git.example:8443.evil.example",
            "https://git.example:8443@evil.example/",
            "http://git.example:8443",
            "https://git.example:8443/../evil",
            github,
        ] {
            assert!(!own.accepts(issuer), "{issuer}");
        }
        for place in ["https://bitbucket.org/o/r", "urn:builder", "a builder", "ssh://git.example/o/r"] {
            assert!(matches!(IssuerRule::owner_of(place), Err(PolicyError::NoIssuerOf(_))), "{place}");
        }
    }

    #[test]
    fn a_host_alone_is_no_repository() {
        assert!(SourceUri::parse("https://github.com").is_err());
        assert!(SourceUri::parse("https://github.com/o/r@main").is_err());
    }
}
