//! The OIDC token of the one who signs: given by hand, or asked of GitHub Actions.
//!
//! The client reads the claims but does not judge them: that is the certificate authority's office, and what it
//! says is checked in the certificate. A token is asked for through a [`Guard`] only, and a guard exists only
//! after every endpoint is known and allowed: no token is made that could go to the wrong place.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chancery_tlog::clock::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use crate::guard::{Guard, HttpError, Request, RequestId};

/// The audience that every Sigstore client asks for.
pub const AUDIENCE: &str = "sigstore";
/// Longest token that is read.
const MAX_TOKEN: usize = 64 * 1024;

/// Why there is no usable token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// Not a compact JWS.
    #[error("the identity token is not a JWT")]
    Malformed,
    /// Neither a verified e-mail address nor a subject.
    #[error("the identity token has no `sub` claim")]
    NoSubject,
    /// An address that the provider did not verify.
    #[error("the identity token's e-mail address is not verified")]
    UnverifiedEmail,
    /// The job may not have tokens.
    #[error("this GitHub Actions job may not request identity tokens")]
    NotPermitted,
    /// The environment is broken.
    #[error("`{0}` is not a URL")]
    Url(&'static str),
    /// The token endpoint.
    #[error("the identity token endpoint: {0}")]
    Http(#[from] HttpError),
    /// The token endpoint answered something else.
    #[error("the identity token endpoint answered {0} without a token{1}")]
    Answer(u16, RequestId),
    /// The token endpoint answered a token that is none.
    #[error("the identity token endpoint's answer: {0}{1}")]
    Token(Box<Self>, RequestId),
}

/// Claims of a token, unverified.
#[derive(Clone, Debug, PartialEq)]
pub struct Claims(Value);

impl Claims {
    /// Claims from JSON.
    pub fn from_value(value: Value) -> Self {
        Self(value)
    }

    /// A claim that is a non-empty text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
    }

    /// A claim that is a time in seconds; some providers write fractions.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "`as` saturates, which is meant"
    )]
    fn time(&self, name: &str) -> Option<Timestamp> {
        self.0.get(name)?.as_f64().map(|seconds| Timestamp::from_seconds(seconds as u64))
    }

    /// The audiences, one or several.
    fn audiences(&self) -> Vec<&str> {
        match self.0.get("aud") {
            Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect(),
            Some(one) => one.as_str().into_iter().collect(),
            None => Vec::new(),
        }
    }

    /// A claim that is true; some providers write booleans as text.
    pub fn is_true(&self, name: &str) -> bool {
        matches!(self.0.get(name), Some(Value::Bool(true))) || self.text(name) == Some("true")
    }
}

/// A token with its claims.
#[derive(Clone, PartialEq)]
pub struct IdentityToken {
    text: String,
    claims: Claims,
}

impl IdentityToken {
    /// Parses a compact JWS. White space around it is dropped, and a byte order mark: editors and shells add them to files.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let text = unwrapped(text);
        if text.len() > MAX_TOKEN {
            return Err(TokenError::Malformed);
        }
        let mut parts = text.split('.');
        let (Some(_), Some(payload), Some(_), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(TokenError::Malformed);
        };
        let payload = URL_SAFE_NO_PAD.decode(payload).map_err(|_| TokenError::Malformed)?;
        let claims: Value = serde_json::from_slice(&payload).map_err(|_| TokenError::Malformed)?;
        if !claims.is_object() {
            return Err(TokenError::Malformed);
        }
        Ok(Self { text: text.to_owned(), claims: Claims(claims) })
    }

    /// The token as it is sent.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its claims.
    pub fn claims(&self) -> &Claims {
        &self.claims
    }

    /// What an authority probably dislikes about this token, for when it refuses without a reason, as Fulcio does.
    pub fn doubt(&self, now: Timestamp) -> Option<String> {
        match self.claims.time("exp") {
            None => return Some("the identity token has no `exp` claim".to_owned()),
            Some(expiry) if expiry <= now => return Some(format!("the identity token expired at {expiry}")),
            Some(_) => {}
        }
        let audiences = self.claims.audiences();
        if !audiences.contains(&AUDIENCE) {
            let audiences = audiences.join("`, `");
            return Some(format!("the identity token is for the audience `{audiences}`, not `{AUDIENCE}`"));
        }
        None
    }

    /// What the proof of possession signs: the e-mail address if there is a verified one, else the subject. The
    /// rule of every Sigstore client.
    pub fn proof_subject(&self) -> Result<&str, TokenError> {
        match self.claims.text("email") {
            Some(email) if self.claims.is_true("email_verified") => Ok(email),
            Some(_) => Err(TokenError::UnverifiedEmail),
            None => self.claims.text("sub").ok_or(TokenError::NoSubject),
        }
    }
}

impl fmt::Debug for IdentityToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IdentityToken(of {:?})", self.claims.text("sub"))
    }
}

/// The token endpoint of a GitHub Actions job.
#[derive(Clone)]
pub struct GitHubActions {
    url: Url,
    bearer: String,
}

impl GitHubActions {
    /// Finds the endpoint in the job's environment; `None` outside of GitHub Actions.
    pub fn detect(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, TokenError> {
        let set = |name: &str| {
            variable(name).map(|value| unwrapped(&value).to_owned()).filter(|value| !value.is_empty())
        };
        match (set("ACTIONS_ID_TOKEN_REQUEST_URL"), set("ACTIONS_ID_TOKEN_REQUEST_TOKEN")) {
            (Some(url), Some(bearer)) => {
                let url = Url::parse(&url).map_err(|_| TokenError::Url("ACTIONS_ID_TOKEN_REQUEST_URL"))?;
                Ok(Some(Self { url, bearer }))
            }
            _ if set("GITHUB_ACTIONS").as_deref() == Some("true") => Err(TokenError::NotPermitted),
            _ => Ok(None),
        }
    }

    /// Where it is.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Asks for a token with [`AUDIENCE`].
    pub async fn request(&self, guard: &Guard) -> Result<IdentityToken, TokenError> {
        #[derive(Deserialize)]
        struct Answer {
            value: String,
        }
        let mut url = self.url.clone();
        url.query_pairs_mut().append_pair("audience", AUDIENCE);
        let answer = guard.send(Request::get(url).bearer(&self.bearer)).await?;
        let request = answer.request;
        if answer.status != 200 {
            return Err(TokenError::Answer(answer.status, request));
        }
        let Ok(token) = serde_json::from_slice::<Answer>(&answer.body) else {
            return Err(TokenError::Answer(answer.status, request));
        };
        IdentityToken::parse(&token.value).map_err(|error| TokenError::Token(Box::new(error), request))
    }
}

/// A text without the white space and the byte order mark around it.
fn unwrapped(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}')
}

impl fmt::Debug for GitHubActions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GitHubActions({})", self.url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn token(claims: &Value) -> IdentityToken {
        let payload = URL_SAFE_NO_PAD.encode(claims.to_string());
        IdentityToken::parse(&format!("e30.{payload}.c2ln\n")).unwrap()
    }

    #[test]
    fn possession_is_proven_over_a_verified_email_else_the_subject() {
        let of = |claims: Value| token(&claims).proof_subject().map(str::to_owned).map_err(|e| e.to_string());
        assert_eq!(of(json!({"sub": "s"})), Ok("s".to_owned()));
        assert_eq!(of(json!({"sub": "s", "email": "a@b", "email_verified": true})), Ok("a@b".to_owned()));
        assert_eq!(of(json!({"sub": "s", "email": "a@b", "email_verified": "true"})), Ok("a@b".to_owned()));
        assert!(of(json!({"sub": "s", "email": "a@b"})).is_err());
        assert!(of(json!({})).is_err());
    }

    #[test]
    fn an_expired_token_and_a_foreign_audience_are_named_as_the_likely_reason_of_a_refusal() {
        let doubt = |claims: Value| token(&claims).doubt(Timestamp::from_seconds(1_000)).unwrap_or_default();
        assert_eq!(doubt(json!({"exp": 1_001, "aud": "sigstore"})), "");
        assert_eq!(doubt(json!({"exp": 1_001.5, "aud": ["other", "sigstore"]})), "");
        assert_eq!(
            doubt(json!({"exp": 1_000, "aud": "sigstore"})),
            "the identity token expired at 1970-01-01T00:16:40Z"
        );
        assert!(doubt(json!({"aud": "sigstore"})).contains("no `exp`"));
        assert!(
            doubt(json!({"exp": 1_001, "aud": ["a", "b"]}))
                .contains("for the audience `a`, `b`, not `sigstore`")
        );
        assert!(doubt(json!({"exp": -1, "aud": 7})).contains("expired"));
    }

    #[test]
    fn white_space_around_a_token_is_dropped() {
        let payload = URL_SAFE_NO_PAD.encode(json!({"sub": "s"}).to_string());
        let token = format!("e30.{payload}.c2ln");
        for around in [" ", "\n", "\r\n", "\t \n\n", "\u{feff}", "\u{a0}"] {
            let parsed = IdentityToken::parse(&format!("{around}{token}{around}")).unwrap();
            assert_eq!(parsed.as_str(), token, "{around:?}");
        }
        assert!(IdentityToken::parse(&token.replace('.', ". ")).is_err());
    }

    #[test]
    fn what_is_not_a_jwt_is_refused() {
        for bad in ["", "a.b", "a.b.c.d", "a.!.c", "e30.W10.x", &"a".repeat(MAX_TOKEN + 1)] {
            assert!(IdentityToken::parse(bad).is_err());
        }
    }

    #[test]
    fn a_job_without_permission_is_told_so_instead_of_ignored() {
        let job = |name: &str| (name == "GITHUB_ACTIONS").then(|| "true".to_owned());
        assert!(matches!(GitHubActions::detect(job), Err(TokenError::NotPermitted)));
        assert!(GitHubActions::detect(|_| None).unwrap().is_none());
    }
}
