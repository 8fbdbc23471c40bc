//! From a verified token to a principal: the one name and the facts that a certificate will carry.
//!
//! Invariant: a [`Principal`] has exactly one subject alternative name, and that name follows from claims that the
//! issuer's type allows to name somebody. Reference: fulcio `pkg/identity/*/principal.go`, facts of the
//! certificate specification §"Subject Alternative Name".

use chancery_tlog::certificate::{SubjectName, oid};
use serde_json::{Map, Value};
use url::Url;

use crate::config::{Issuer, IssuerKind};
use crate::excerpt::excerpt;
use crate::oidc::VerifiedToken;
use crate::template::{Provider, RenderError};

mod go_url;
#[cfg(test)]
mod tests;

/// Longest name or extension value, in bytes.
const MAX_VALUE: usize = 4096;

/// Who a token speaks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The certificate's subject alternative name.
    pub subject: SubjectName,
    /// The text over which the requester proves possession of its key.
    pub challenge: String,
    /// Another text that some clients sign instead: they sign a verified `email` whatever the issuer's type, else
    /// `sub`. Accepting both is a superset of what Fulcio does; both come from the same verified token.
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
    /// A CI provider's templates could not be filled; shown to the caller, as Fulcio does.
    #[error(transparent)]
    Template(#[from] RenderError),
}

impl PrincipalError {
    fn subject(name: &str, problem: &'static str) -> Self {
        Self::Subject { name: excerpt(name), problem }
    }
}

impl Principal {
    /// The principal of a verified token.
    pub fn of(token: &VerifiedToken) -> Result<Self, PrincipalError> {
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
            Ok(by_subject(SubjectName::Uri(sub.to_owned())))
        }
        IssuerKind::Kubernetes => Ok(by_subject(SubjectName::Uri(service_account(&token.claims)?))),
        IssuerKind::Chainguard => {
            let uri = format!("{}/{}", token.iss.trim_end_matches('/'), sub.trim_start_matches('/'));
            let mut named = by_subject(SubjectName::Uri(certified_uri(&uri)?));
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

/// `email_verified`: a boolean, or one of the texts that some providers send. Absent is false; `None` is neither.
fn is_verified(claims: &Map<String, Value>) -> Option<bool> {
    match claims.get("email_verified") {
        None => Some(false),
        Some(Value::Bool(verified)) => Some(*verified),
        Some(Value::String(text)) if matches!(text.as_str(), "true" | "True") => Some(true),
        Some(Value::String(text)) if matches!(text.as_str(), "false" | "False") => Some(false),
        Some(_) => None,
    }
}

/// One `@`, something on both sides, printable ASCII without the characters that mail headers give a meaning.
fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.split_once('@') else { return false };
    let plain =
        |b: u8| b.is_ascii_graphic() && !matches!(b, b'<' | b'>' | b'(' | b')' | b',' | b';' | b'"' | b'\\');
    let domain_byte = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-');
    text.len() <= 254
        && !local.is_empty()
        && !domain.is_empty()
        && local.bytes().all(plain)
        && domain.bytes().all(domain_byte)
        && !domain.split('.').any(str::is_empty)
}

fn text_at(claims: &Map<String, Value>, path: &[String]) -> Option<String> {
    let (last, parents) = path.split_last()?;
    let parent = parents.iter().try_fold(claims, |map, name| map.get(name)?.as_object())?;
    parent.get(last)?.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

fn uri_subject(sub: &str, subject_domain: &str) -> Result<String, PrincipalError> {
    let domain = Url::parse(subject_domain).map_err(|_| PrincipalError::Claim("sub"))?;
    let url = Url::parse(sub).map_err(|_| PrincipalError::subject(sub, "is not a URI"))?;
    if is_email(sub) || url.scheme() != domain.scheme() || url.host_str() != domain.host_str() {
        return Err(PrincipalError::subject(sub, "is not on the configured subject domain"));
    }
    certified_uri(sub)
}

fn username(sub: &str, domain: &str) -> Result<SubjectName, PrincipalError> {
    if sub.contains('!') || is_email(sub) || sub.chars().any(char::is_control) {
        return Err(PrincipalError::subject(sub, "is not a user name without `!` and `@`"));
    }
    Ok(SubjectName::Other { oid: oid::FULCIO_USERNAME.to_owned(), value: format!("{sub}!{domain}") })
}

/// `https://kubernetes.io/namespaces/NS/serviceaccounts/NAME`. Fulcio does not look at the parts; we refuse what
/// Kubernetes could not have named, so that no part can be empty or reach into the next.
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
    let values = provider.values(&token.claims)?;
    let name = provider.subject_alternative_name.render_name(&values)?;
    let subject = SubjectName::Uri(certified_uri(&name)?);
    let mut extensions = Vec::with_capacity(provider.extensions.len());
    for (number, template) in &provider.extensions {
        extensions.push((*number, template.render(&values)?));
    }
    Ok((subject, extensions))
}

fn certified_uri(text: &str) -> Result<String, PrincipalError> {
    go_url::normalize(text).ok_or_else(|| PrincipalError::subject(text, "is not a URI with a host"))
}
