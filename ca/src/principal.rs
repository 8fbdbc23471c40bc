//! From a verified and permitted token to a principal: the one name and the facts that a certificate will
//! carry.
//!
//! Invariant: a [`Principal`] has exactly one subject alternative name, and that name follows from claims
//! that the issuer's type allows to name somebody. Reference: fulcio `pkg/identity/*/principal.go`, facts of
//! the certificate specification §"Subject Alternative Name".

use std::collections::BTreeMap;

use chancery_tlog::certificate::{SubjectName, oid};
use chancery_tlog::escape::is_hidden;
use chancery_tlog::strict_uri::{self, NotStrict};
use serde_json::{Map, Value};

use crate::config::{Issuer, IssuerKind};
use crate::excerpt::excerpt;
use crate::oidc::VerifiedToken;
use crate::policy::PermittedToken;
use crate::template::{Provider, RenderError, Template, Values};

mod email;
mod go_url;
#[cfg(test)]
mod tests;

use email::{go_calls_it_an_email, is_email};

/// Longest name or extension value, in bytes.
const MAX_VALUE: usize = 4096;

/// Who a token speaks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The certificate's subject alternative name.
    pub subject: SubjectName,
    /// The text over which the requester proves possession of its key.
    pub challenge: String,
    /// Another text that some clients sign instead: they sign a verified `email` whatever the issuer's type,
    /// else `sub`. Accepting both is a superset of what Fulcio does; both come from the same verified token.
    pub other_challenge: Option<String>,
    /// Fulcio extensions by number, ascending, without empty ones.
    pub extensions: Vec<(u8, String)>,
}

/// Why a verified token gives no principal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrincipalError {
    /// A claim is missing or has the wrong type.
    #[error("the token has no usable claim `{0}`")]
    Claim(&'static str),
    /// `email_verified` is not true.
    #[error("the issuer has not verified the e-mail address")]
    EmailUnverified,
    /// The name is not what the issuer may certify.
    #[error("the subject `{name}` {problem}")]
    Subject {
        /// The name.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The name, or an extension that holds a URI, is not one that every client reads alike; shown to the
    /// caller, whose token it comes from.
    #[error("{what} `{uri}` cannot be certified: {problem}")]
    Uri {
        /// The name or the extension.
        what: &'static str,
        /// The URI.
        uri: String,
        /// What is wrong with it.
        problem: NotStrict,
    },
    /// A CI provider's templates could not be filled; shown to the caller, as Fulcio does.
    #[error(transparent)]
    Template(#[from] RenderError),
}

impl PrincipalError {
    fn uri(what: &'static str, uri: &str, problem: NotStrict) -> Self {
        Self::Uri { what, uri: excerpt(uri), problem }
    }

    fn subject(name: &str, problem: &'static str) -> Self {
        Self::Subject { name: excerpt(name), problem }
    }
}

impl Principal {
    /// The principal of a token that its issuer's claim policy permits.
    pub fn of(permitted: &PermittedToken) -> Result<Self, PrincipalError> {
        Self::named_by(permitted.token())
    }

    /// The principal that a token would have if it were verified and permitted: for a dry run.
    pub(crate) fn named_by(token: &VerifiedToken) -> Result<Self, PrincipalError> {
        let named = name(&token.issuer, token)?;
        let mut extensions = vec![(1, named.issuer.clone())];
        extensions.extend(named.extensions);
        extensions.push((8, named.issuer));
        extensions.push((24, token.sub.clone()));
        extensions.retain(|(_, value)| !value.is_empty());
        extensions.sort_by_key(|(number, _)| *number);
        if named.subject.value().len() > MAX_VALUE || extensions.iter().any(|(_, v)| v.len() > MAX_VALUE) {
            return Err(PrincipalError::subject(named.subject.value(), "or a fact about it is too long"));
        }
        let signed_by_clients = client_challenge(token);
        let other_challenge = (signed_by_clients != named.challenge).then_some(signed_by_clients);
        Ok(Self { subject: named.subject, challenge: named.challenge, other_challenge, extensions })
    }
}

/// What the parts of a principal are before the extensions that all types share are added.
struct Named {
    subject: SubjectName,
    challenge: String,
    issuer: String,
    extensions: Vec<(u8, String)>,
}

fn name(issuer: &Issuer, token: &VerifiedToken) -> Result<Named, PrincipalError> {
    let sub = token.sub.as_str();
    let by_subject = |subject: SubjectName| Named {
        subject,
        challenge: sub.to_owned(),
        issuer: token.iss.clone(),
        extensions: Vec::new(),
    };
    match &issuer.kind {
        IssuerKind::Email { issuer_claim, skip_verification } => {
            let address = email(&token.claims, *skip_verification)?;
            let issuer = match issuer_claim {
                None => token.iss.clone(),
                Some(path) => text_at(&token.claims, path).ok_or(PrincipalError::Claim("issuer-claim"))?,
            };
            let subject = SubjectName::Email(address.clone());
            Ok(Named { subject, challenge: address, issuer, extensions: Vec::new() })
        }
        IssuerKind::Uri { subject_domain } => {
            Ok(by_subject(SubjectName::Uri(uri_subject(sub, subject_domain)?)))
        }
        IssuerKind::Username { subject_domain } => Ok(by_subject(username(sub, subject_domain)?)),
        IssuerKind::Spiffe { trust_domain } => {
            check_spiffe_id(sub, trust_domain)?;
            Ok(by_subject(SubjectName::Uri(certified_uri(sub)?)))
        }
        IssuerKind::Kubernetes => {
            Ok(by_subject(SubjectName::Uri(certified_uri(&service_account(&token.claims)?)?)))
        }
        IssuerKind::Chainguard => {
            let uri = format!("{}/{}", token.iss.trim_end_matches('/'), sub.trim_start_matches('/'));
            let mut named = by_subject(SubjectName::Uri(joined_uri(&uri)?));
            named.challenge = client_challenge(token);
            Ok(named)
        }
        IssuerKind::CiProvider(provider) => {
            let (subject, extensions) = ci_identity(provider, token)?;
            Ok(Named { extensions, ..by_subject(subject) })
        }
    }
}

/// What the Sigstore clients sign: `email` if it is there and verified, else `sub`. Reference: sigstore
/// `pkg/oauthflow/flow.go` (SubjectFromToken).
fn client_challenge(token: &VerifiedToken) -> String {
    let email = token.claims.get("email").and_then(Value::as_str).filter(|email| !email.is_empty());
    match email {
        Some(email) if is_verified(&token.claims) == Some(true) => email.to_owned(),
        _ => token.sub.clone(),
    }
}

fn email(claims: &Map<String, Value>, skip_verification: bool) -> Result<String, PrincipalError> {
    let address = claims.get("email").and_then(Value::as_str).ok_or(PrincipalError::Claim("email"))?;
    match is_verified(claims) {
        _ if skip_verification => {}
        Some(true) => {}
        Some(false) => return Err(PrincipalError::EmailUnverified),
        None => return Err(PrincipalError::Claim("email_verified")),
    }
    if !is_email(address) {
        return Err(PrincipalError::subject(address, "is not an e-mail address in ASCII"));
    }
    Ok(address.to_owned())
}

/// `email_verified`: a boolean, or one of the texts that some providers send. Absent is false; `None` is
/// neither.
pub(crate) fn is_verified(claims: &Map<String, Value>) -> Option<bool> {
    match claims.get("email_verified") {
        None => Some(false),
        Some(Value::Bool(verified)) => Some(*verified),
        Some(Value::String(text)) if matches!(text.as_str(), "true" | "True") => Some(true),
        Some(Value::String(text)) if matches!(text.as_str(), "false" | "False") => Some(false),
        Some(_) => None,
    }
}

fn text_at(claims: &Map<String, Value>, path: &[String]) -> Option<String> {
    let (last, parents) = path.split_last()?;
    let parent = parents.iter().try_fold(claims, |map, name| map.get(name)?.as_object())?;
    parent.get(last)?.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

/// The scheme and host of the subject are compared with the configured ones as they are written, like in
/// Fulcio: a parser that takes `127.1` for `127.0.0.1` would compare one host and certify another.
fn uri_subject(sub: &str, subject_domain: &str) -> Result<String, PrincipalError> {
    let subject = certified_uri(sub)?;
    let on_domain = match (go_url::origin(&subject), uri_origin(subject_domain)) {
        (Some((scheme, host)), Some(domain)) => scheme == domain.0 && host == domain.1,
        _ => false,
    };
    if go_calls_it_an_email(sub) || !on_domain {
        return Err(PrincipalError::subject(sub, "is not on the configured subject domain"));
    }
    Ok(subject)
}

/// Scheme and host of a URI that may name an identity, as written.
pub(crate) fn uri_origin(text: &str) -> Option<(String, String)> {
    let normal = go_url::normalize(text).ok()?;
    go_url::origin(&normal).map(|(scheme, host)| (scheme.to_owned(), host.to_owned()))
}

fn username(sub: &str, domain: &str) -> Result<SubjectName, PrincipalError> {
    if sub.contains('!') || go_calls_it_an_email(sub) || sub.contains(is_hidden) {
        return Err(PrincipalError::subject(
            sub,
            "is not a user name: it is an e-mail address, or has `!` in it",
        ));
    }
    Ok(SubjectName::Other { oid: oid::FULCIO_USERNAME.to_owned(), value: format!("{sub}!{domain}") })
}

/// `https://kubernetes.io/namespaces/NS/serviceaccounts/NAME`. Fulcio does not look at the parts; we refuse
/// what Kubernetes could not have named, so that no part can be empty or reach into the next.
fn service_account(claims: &Map<String, Value>) -> Result<String, PrincipalError> {
    const CLAIM: &str = "kubernetes.io";
    let kubernetes = claims.get(CLAIM).and_then(Value::as_object).ok_or(PrincipalError::Claim(CLAIM))?;
    let namespace = kubernetes.get("namespace").and_then(Value::as_str);
    let account = kubernetes.get("serviceaccount").and_then(|account| account.get("name")?.as_str());
    let (Some(namespace), Some(account)) = (namespace, account) else {
        return Err(PrincipalError::Claim(CLAIM));
    };
    // RFC 1123 names, as Kubernetes requires of both.
    let is_name = |name: &str| {
        !name.is_empty()
            && name.len() <= 253
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.'))
    };
    if !is_name(namespace) || !is_name(account) {
        return Err(PrincipalError::Claim(CLAIM));
    }
    Ok(format!("https://kubernetes.io/namespaces/{namespace}/serviceaccounts/{account}"))
}

/// Whether this may be a trust domain: SPIFFE-ID §2.1.
pub(crate) fn is_trust_domain(text: &str) -> bool {
    let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.' | b'_');
    !text.is_empty() && text.len() <= 255 && text.bytes().all(legal)
}

/// SPIFFE-ID §2: `spiffe://trust-domain/path`, no empty or dot segments, no trailing slash.
fn check_spiffe_id(sub: &str, trust_domain: &str) -> Result<(), PrincipalError> {
    let rest =
        sub.strip_prefix("spiffe://").ok_or_else(|| PrincipalError::subject(sub, "is not a SPIFFE ID"))?;
    let (domain, path) = rest.split_once('/').map_or((rest, None), |(domain, path)| (domain, Some(path)));
    if domain != trust_domain {
        return Err(PrincipalError::subject(sub, "is not of the configured trust domain"));
    }
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    let segment = |s: &str| !s.is_empty() && s != "." && s != ".." && s.bytes().all(legal);
    if sub.len() > 2048 || path.is_some_and(|path| !path.split('/').all(segment)) {
        return Err(PrincipalError::subject(sub, "is not a SPIFFE ID"));
    }
    Ok(())
}

fn ci_identity(
    provider: &Provider,
    token: &VerifiedToken,
) -> Result<(SubjectName, Vec<(u8, String)>), PrincipalError> {
    let values = match provider.legacy {
        Some(legacy) => legacy.values(&provider.defaults, &token.claims).map_err(PrincipalError::Claim)?,
        None => provider.values(&token.claims)?,
    };
    let name = provider.subject_alternative_name.render_name(&values)?;
    let is_joined = provider.legacy.is_some_and(|legacy| legacy.joined_name);
    let subject = SubjectName::Uri(if is_joined { joined_uri(&name)? } else { certified_uri(&name)? });
    let mut extensions = Vec::with_capacity(provider.extensions.len());
    for (number, template) in &provider.extensions {
        extensions.push((*number, certified_fact(provider, *number, template, &values)?));
    }
    Ok((subject, extensions))
}

/// Extensions that hold a URI, and those that verifiers compare as part of one: repository and ref.
const URI_FACTS: [u8; 5] = [9, 12, 16, 18, 21];
const NAME_FACTS: [u8; 3] = [5, 6, 14];

/// The value of an extension. A URI keeps the spelling that Fulcio gives it, and must not be readable as
/// another one; source repositories also come without a scheme (`github.com/acme/rocket`) or in git's own
/// notation.
fn certified_fact(
    provider: &Provider,
    number: u8,
    template: &Template,
    values: &Values,
) -> Result<String, PrincipalError> {
    const WHAT: &str = "the URI";
    let value = template.render(values)?;
    let refused = |problem| PrincipalError::uri(WHAT, &value, problem);
    if value.is_empty() || !(URI_FACTS.contains(&number) || NAME_FACTS.contains(&number)) {
        return Ok(value);
    }
    if let Some(legacy) = provider.legacy {
        if legacy.joined.contains(&number) {
            return go_url::joined(&value).map_err(refused);
        }
        if legacy.parsed.contains(&number) {
            return go_url::normalize(&value).map_err(refused);
        }
    }
    if URI_FACTS.contains(&number) && value.contains("://") {
        go_url::normalize(&value).map_err(refused)?;
    } else {
        strict_uri::check_reference(&value).map_err(refused)?;
    }
    Ok(value)
}

/// Checks with example claims that a template can make a name. Nothing is checked of a template that begins
/// with a claim, and a template passes if any of the examples does: a claim may be a label, a port or an
/// address.
pub(crate) fn check_name_template(
    template: &Template,
    defaults: &BTreeMap<String, String>,
) -> Result<(), NotStrict> {
    for conditions in [true, false] {
        let examples =
            ["x", "1", "::1"].into_iter().filter_map(|s| template.example(defaults, s, conditions));
        let mut first_problem = None;
        let passes = examples.map(|example| go_url::normalize(&example)).any(|name| match name {
            Ok(_) => true,
            Err(problem) => {
                first_problem.get_or_insert(problem);
                false
            }
        });
        if let (false, Some(problem)) = (passes, first_problem) {
            return Err(problem);
        }
    }
    Ok(())
}

const NAME: &str = "the name";

fn certified_uri(text: &str) -> Result<String, PrincipalError> {
    go_url::normalize(text).map_err(|problem| PrincipalError::uri(NAME, text, problem))
}

fn joined_uri(text: &str) -> Result<String, PrincipalError> {
    go_url::joined(text).map_err(|problem| PrincipalError::uri(NAME, text, problem))
}
