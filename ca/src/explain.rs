//! A dry run of issuance for one token: each check, each rule, and the certificate's names, without a
//! certificate.
//!
//! An explanation is for the operator, who sees everything; it holds claims of the token, never the token.
//! Its verdict is that of issuance, except where it lacks what issuance has: a key and its proof, the shares
//! of identities, the tokens that were used, and, if keys were not fetched, the signature.

use std::sync::Arc;

use chancery_tlog::clock::Clock;

use crate::config::IssuerConfig;
use crate::excerpt::{excerpt, printable};
use crate::issuance::ServiceError;
use crate::oidc::{self, TokenError, VerifiedToken, Verifier};
use crate::policy::{self, ClaimPolicies, ClaimPolicy, PolicyRefusal, RuleTrace};
use crate::principal::{Principal, PrincipalError};

/// The outcome of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It holds.
    Good,
    /// It does not, and issuance would refuse the token.
    Bad(String),
    /// It was not made.
    Unchecked(String),
}

impl Outcome {
    fn of<E: ToString>(result: Result<(), E>) -> Self {
        result.err().map_or(Self::Good, |error| Self::Bad(error.to_string()))
    }
}

/// The verdict of a dry run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The token would get a certificate, for a good key.
    Permitted,
    /// Every check that was made succeeded; the signature was not checked.
    PermittedIfSigned,
    /// The token would be refused.
    Refused,
    /// The issuer's keys could not be had, so nothing is known.
    Unknown,
}

/// The policy of an issuer, applied to one token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Policy {
    /// It has no rules: all tokens are permitted.
    None,
    /// All tokens are permitted by the operator's word.
    AnyTenant,
    /// It has these rules.
    Rules(Vec<RuleTrace>),
}

/// A token, explained.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The configured issuer that the token's `iss` belongs to, and its type.
    pub issuer: (String, String),
    /// The token's `iss`, short and on one line.
    pub iss: String,
    /// The token's `sub`, short and on one line.
    pub sub: String,
    /// Subject, audience, times and signature.
    pub checks: Vec<(&'static str, Outcome)>,
    /// Policy of the issuer, applied to the token.
    pub policy: Policy,
    /// The rule that permits the token, or the reason why none does.
    pub decision: Result<Option<String>, PolicyRefusal>,
    /// True if a token of this issuer gets one certificate only.
    pub single_use: bool,
    /// The certificate's name and extensions (by number), if the claims support them.
    pub principal: Result<(String, Vec<(u8, String)>), PrincipalError>,
    /// The outcome of all.
    pub verdict: Verdict,
}

/// Explains tokens of one instance.
pub struct Explainer {
    verifier: Verifier,
    policies: ClaimPolicies,
}

impl Explainer {
    /// An explainer with the issuers and policies of an instance.
    pub fn new(
        issuers: IssuerConfig,
        policies: Vec<ClaimPolicy>,
        settings: oidc::Settings,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ServiceError> {
        let policies = ClaimPolicies::bind(policies, &issuers)?;
        Ok(Self { verifier: Verifier::new(Arc::new(issuers), settings, clock)?, policies })
    }

    /// Explains a token. `Err` if it cannot be read or its issuer is not configured, which refuses it. The
    /// issuer's keys are fetched only if `fetch` is set.
    pub async fn explain(&self, token: &str, fetch: bool) -> Result<Explanation, TokenError> {
        let inspection = self.verifier.inspect(token, fetch).await?;
        let unreachable = matches!(&inspection.signature, Some(Err(TokenError::Keys { .. })));
        let signature = match inspection.signature {
            None => Outcome::Unchecked("not checked: no keys were fetched".to_owned()),
            Some(Err(error @ TokenError::Keys { .. })) => Outcome::Unchecked(excerpt(&error.to_string())),
            Some(result) => Outcome::of(result),
        };
        let checks = vec![
            ("subject", Outcome::of(inspection.subject)),
            ("audience", Outcome::of(inspection.audience)),
            ("times", Outcome::of(inspection.times)),
            ("signature", signature),
        ];
        Ok(self.judge(inspection.token, checks, unreachable))
    }

    fn judge(
        &self,
        token: VerifiedToken,
        checks: Vec<(&'static str, Outcome)>,
        unreachable: bool,
    ) -> Explanation {
        let policy = self.policies.policy(&token.issuer);
        let single_use = policy.is_some_and(ClaimPolicy::is_single_use);
        let any_tenant = policy.is_some_and(ClaimPolicy::permits_any_tenant);
        let rules = self.policies.trace(&token);
        let principal = Principal::named_by(&token);
        let principal = principal.map(|principal| {
            let extensions = principal.extensions.iter().map(|(number, value)| (*number, printable(value)));
            (printable(principal.subject.value()), extensions.collect())
        });
        let issuer = (policy::location(&token.issuer).to_owned(), token.issuer.type_name.clone());
        let iss = excerpt(&token.iss);
        let sub = excerpt(&token.sub);
        let decision = self.policies.permit(token).map(|permitted| permitted.rule().map(str::to_owned));
        let refused = decision.is_err()
            || principal.is_err()
            || checks.iter().any(|(_, outcome)| matches!(outcome, Outcome::Bad(_)));
        let unsigned = checks.iter().any(|(_, outcome)| matches!(outcome, Outcome::Unchecked(_)));
        let verdict = match (refused, unsigned) {
            (true, _) => Verdict::Refused,
            (false, true) if unreachable => Verdict::Unknown,
            (false, true) => Verdict::PermittedIfSigned,
            (false, false) => Verdict::Permitted,
        };
        let policy = match rules {
            rules if !rules.is_empty() => Policy::Rules(rules),
            _ if any_tenant => Policy::AnyTenant,
            _ => Policy::None,
        };
        Explanation { issuer, iss, sub, checks, policy, decision, single_use, principal, verdict }
    }
}
