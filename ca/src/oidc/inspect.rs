//! A token looked at for its owner: every check by itself, none of which ends the others.
//!
//! Nothing here makes a token believed. [`Verifier::verify`] alone does, by the same checks.

use super::token::CompactToken;
use super::{TokenError, VerifiedToken, Verifier, claims, token};
use crate::excerpt::excerpt;

/// A token's claims, and what each check of them found.
#[derive(Debug)]
pub struct Inspection {
    /// The claims in the form of a verified token. Verified they are only as far as the checks below
    /// succeeded.
    pub(crate) token: VerifiedToken,
    /// `sub` is there.
    pub(crate) subject: Result<(), TokenError>,
    /// `aud` has the issuer's audience.
    pub(crate) audience: Result<(), TokenError>,
    /// `exp`, `nbf` and `iat` allow its use now.
    pub(crate) times: Result<(), TokenError>,
    /// A key of the issuer made the signature; `None` if no key was fetched.
    pub(crate) signature: Option<Result<(), TokenError>>,
}

impl Verifier {
    /// Checks a token as [`Verifier::verify`] does, without stopping at the first failure. `Err` if it cannot
    /// be read or its issuer is not configured. Keys are fetched only if `fetch` is set.
    pub async fn inspect(&self, token: &str, fetch: bool) -> Result<Inspection, TokenError> {
        let token = token::unfold(token)?;
        let token = CompactToken::parse(&token)?;
        let iss = token.text("iss").ok_or(TokenError::Malformed("no `iss`"))?.to_owned();
        let issuer = self.issuers.find(&iss).ok_or_else(|| TokenError::UnknownIssuer(excerpt(&iss)))?.clone();
        let now = self.clock.now();
        let sub = token.text("sub").unwrap_or_default().to_owned();
        let signature = if fetch {
            Some(self.check_signature(&iss, &issuer, &token, None).await.map(|_| ()))
        } else {
            None
        };
        Ok(Inspection {
            subject: if sub.is_empty() { Err(TokenError::Malformed("no `sub`")) } else { Ok(()) },
            audience: claims::check_audience(&token.claims, &issuer.audience),
            times: claims::check_times(&token.claims, &self.settings, now),
            signature,
            token: VerifiedToken { issuer, iss, sub, claims: token.claims },
        })
    }
}
