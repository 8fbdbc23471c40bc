//! Claim policies: which of an issuer's tokens get a certificate.
//!
//! A verified token proves that its issuer made it for us. At a public issuer anyone can get one, so a policy
//! says which tokens the operator means: [`ClaimPolicies::permit`] turns a [`VerifiedToken`] into a
//! [`PermittedToken`], and nothing but a permitted token becomes a
//! [`Principal`](crate::principal::Principal). Invariants: an issuer with rules permits only tokens for which
//! all conditions of one rule hold; an issuer whose tokens strangers may have ([`Exposure`]) without rules is an
//! error unless the operator has written `any_tenant = true`; evaluation is pure and converts nothing.
//!
//! | part | module |
//! |---|---|
//! | the form in a configuration file | `document` |
//! | conditions and their evaluation | `condition`, `glob` |
//! | issuers whose tokens strangers may have | `exposure`, `public` |
//! | rules that cannot matter | `review` |
//! | tokens for single use | `single_use` |

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

mod condition;
mod document;
mod exposure;
mod glob;
mod public;
mod review;
mod single_use;
#[cfg(test)]
mod tests;

pub use condition::TraceLine;
pub use exposure::Exposure;
pub use glob::Glob;
pub use public::{PUBLIC_HOSTS, PublicHost};
pub use single_use::SpendError;
pub(crate) use single_use::{Reservation, SpentTokens, TokenUse};

use crate::config::{Issuer, IssuerConfig, IssuerKind, Location};
use crate::excerpt::excerpt;
use crate::oidc::VerifiedToken;
use condition::{Claims, Expression};

/// The policy of one issuer, as its operator wrote it. Deserializing parses it; one that exists makes sense
/// in itself.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "document::PolicyDocument")]
pub struct ClaimPolicy {
    issuer: String,
    tenants: Tenants,
    single_use: bool,
}

/// The tokens that a policy permits.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Tenants {
    /// All, because nothing was written.
    Unruled,
    /// All, as was written.
    Any,
    /// Those for which one of these rules holds; not empty.
    Rules(Vec<Rule>),
}

/// A rule: what it permits, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    name: String,
    max_build_level: Option<u8>,
    when: Expression,
}

impl ClaimPolicy {
    /// The issuer's URL or pattern, as in the issuer configuration.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Names of its rules.
    pub fn rules(&self) -> impl Iterator<Item = &str> {
        self.rule_list().iter().map(|rule| rule.name.as_str())
    }

    /// True if it is for all issuers that match a pattern.
    pub(crate) fn is_pattern(&self) -> bool {
        self.issuer.contains('*')
    }

    /// True if a token gets one certificate only.
    pub fn is_single_use(&self) -> bool {
        self.single_use
    }

    /// True if the operator has written that anyone's tokens are permitted.
    pub fn permits_any_tenant(&self) -> bool {
        self.tenants == Tenants::Any
    }

    /// Warnings for the operator: rules and values that cannot matter.
    pub fn warnings(&self) -> Vec<String> {
        review::warnings(self)
    }

    /// Warnings about rules for this issuer that hold for strangers too.
    pub fn tenant_warnings(&self, issuer: &Issuer) -> Vec<String> {
        review::tenant_warnings(self, issuer)
    }

    fn rule_list(&self) -> &[Rule] {
        match &self.tenants {
            Tenants::Rules(rules) => rules,
            Tenants::Unruled | Tenants::Any => &[],
        }
    }
}

/// Policies that do not fit the issuers. All of these are for the operator.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// A policy for an issuer that is not configured.
    #[error("there is a claim policy for `{issuer}`, which is not an issuer here: the issuers are {known}")]
    UnknownIssuer {
        /// The policy's issuer.
        issuer: String,
        /// Those that are configured.
        known: String,
    },
    /// Two policies for one issuer.
    #[error("issuer `{0}` has two claim policies: put all rules into one")]
    Twice(String),
    /// Anyone could get a certificate.
    #[error(
        "{exposure} would get a certificate: issuer `{issuer}` {}, and has no rules. Add these lines to chancery.toml, after the keys of `[ca]`, with your own values \
         (deploy/docs/claim-policies.md has more):\n\n{lines}\nor, if anyone is to get a certificate:\n\n\
         [[ca.policy]]\nissuer = \"{issuer}\"\nany_tenant = true\n",
        .exposure.cause()
    )]
    AnyTenant {
        /// The issuer.
        issuer: String,
        /// The reason why its tokens may be anyone's.
        exposure: Exposure,
        /// A policy to fill in.
        lines: String,
    },
}

/// The policies of all issuers of one instance.
#[derive(Clone, Debug)]
pub struct ClaimPolicies {
    by_issuer: BTreeMap<String, BoundPolicy>,
}

#[derive(Clone, Debug)]
struct BoundPolicy {
    policy: ClaimPolicy,
    trusts_email: bool,
}

impl ClaimPolicies {
    /// Binds policies to issuers. Nothing else makes this value, so every exposed issuer has
    /// rules, or its operator's word that anyone is meant.
    pub fn bind(policies: Vec<ClaimPolicy>, issuers: &IssuerConfig) -> Result<Self, PolicyError> {
        let mut by_issuer = BTreeMap::new();
        for policy in policies {
            let Some(issuer) = issuers.issuers().find(|issuer| location(issuer) == policy.issuer) else {
                let known: Vec<String> =
                    issuers.issuers().map(|issuer| format!("`{}`", location(issuer))).collect();
                return Err(PolicyError::UnknownIssuer { issuer: policy.issuer, known: known.join(", ") });
            };
            let trusts_email = matches!(issuer.kind, IssuerKind::Email { skip_verification: true, .. });
            let key = policy.issuer.clone();
            if by_issuer.insert(key.clone(), BoundPolicy { policy, trusts_email }).is_some() {
                return Err(PolicyError::Twice(key));
            }
        }
        let policies = Self { by_issuer };
        match issuers.issuers().find_map(|issuer| policies.uncovered(issuer)) {
            Some(error) => Err(error),
            None => Ok(policies),
        }
    }

    fn uncovered(&self, issuer: &Issuer) -> Option<PolicyError> {
        let tenants = self.of(issuer).map_or(&Tenants::Unruled, |bound| &bound.policy.tenants);
        if *tenants != Tenants::Unruled {
            return None;
        }
        let exposure = Exposure::of(issuer)?;
        let name = location(issuer).to_owned();
        let lines = format!(
            "[[ca.policy]]\nissuer = {name:?}\n\n[[ca.policy.rule]]\nname = \"ours\"\nclaims = {{ {} }}\n",
            exposure.example()
        );
        Some(PolicyError::AnyTenant { issuer: name, exposure, lines })
    }

    /// Permits a token, or says which claim stands against it.
    pub fn permit(&self, token: VerifiedToken) -> Result<PermittedToken, PolicyRefusal> {
        let Some(bound) = self.of(&token.issuer) else {
            return Ok(PermittedToken { token, rule: None, max_build_level: None, single_use: None });
        };
        let rule = bound.choose(&token)?.map(|rule| (Arc::from(rule.name.as_str()), rule.max_build_level));
        let (rule, max_build_level) = rule.map_or((None, None), |(name, level)| (Some(name), level));
        let single_use = bound.policy.single_use.then(|| TokenUse::of(&token.iss, &token.sub, &token.claims));
        let single_use = single_use.transpose()?;
        Ok(PermittedToken { token, rule, max_build_level, single_use })
    }

    /// Every rule of the token's issuer with each of its conditions, in order.
    pub fn trace(&self, token: &VerifiedToken) -> Vec<RuleTrace> {
        let Some(bound) = self.of(&token.issuer) else { return Vec::new() };
        let claims = bound.claims(token);
        let trace = |rule: &Rule| {
            let mut lines = Vec::new();
            rule.when.trace(&claims, 0, &mut lines);
            let holds = rule.when.holds(&claims);
            RuleTrace { name: rule.name.clone(), max_build_level: rule.max_build_level, holds, lines }
        };
        bound.policy.rule_list().iter().map(trace).collect()
    }

    /// The policy of an issuer, if it has one.
    pub fn policy(&self, issuer: &Issuer) -> Option<&ClaimPolicy> {
        self.of(issuer).map(|bound| &bound.policy)
    }

    /// All policies.
    pub fn policies(&self) -> impl Iterator<Item = &ClaimPolicy> {
        self.by_issuer.values().map(|bound| &bound.policy)
    }

    fn of(&self, issuer: &Issuer) -> Option<&BoundPolicy> {
        self.by_issuer.get(location(issuer))
    }
}

/// The URL or pattern of an issuer.
pub(crate) fn location(issuer: &Issuer) -> &str {
    let (Location::Url(text) | Location::Pattern(text)) = &issuer.location;
    text
}

impl BoundPolicy {
    fn claims<'a>(&self, token: &'a VerifiedToken) -> Claims<'a> {
        Claims { map: &token.claims, trusts_email: self.trusts_email }
    }

    /// The first rule that holds; `None` for an issuer without rules.
    fn choose(&self, token: &VerifiedToken) -> Result<Option<&Rule>, PolicyRefusal> {
        let rules = self.policy.rule_list();
        let claims = self.claims(token);
        match rules.iter().find(|rule| rule.when.holds(&claims)) {
            None if rules.is_empty() => Ok(None),
            None => Err(self.refusal(rules, &claims)),
            rule => Ok(rule),
        }
    }

    fn refusal(&self, rules: &[Rule], claims: &Claims<'_>) -> PolicyRefusal {
        let by_distance = rules.iter().map(|rule| (rule, rule.when.shortfall(claims)));
        let nearest = by_distance.min_by_key(|(_, (count, _))| *count);
        let (rule, condition) = match nearest {
            Some((rule, (_, condition))) => (rule.name.clone(), condition),
            None => (String::new(), None),
        };
        PolicyRefusal::NoRule(Box::new(Nearest {
            issuer: self.policy.issuer.clone(),
            rule,
            claim: condition.map(|condition| condition.claim.to_string()).unwrap_or_default(),
            found: condition.map(|condition| condition.found(claims)).unwrap_or_default(),
            expected: condition.map(|condition| excerpt(&condition.expected())).unwrap_or_default(),
        }))
    }
}

/// The reason that a verified token is not permitted. For the log; callers of the API learn only that it was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyRefusal {
    /// No rule of its issuer holds.
    #[error("no rule permits the token: {0}")]
    NoRule(Box<Nearest>),
    /// It is for single use and cannot be recorded.
    #[error("tokens of this issuer are for single use, and the token has no usable claim `{0}`")]
    NotSingleUse(&'static str),
    /// It is for single use and would have to be recorded for too long.
    #[error(
        "tokens of this issuer are for single use, and the token lives longer than {} minutes (`exp` - `iat`)",
        single_use::MAX_LIFE.as_secs() / 60
    )]
    LivesTooLong,
}

/// The rule that fails by the fewest conditions, and the first of those.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nearest is rule `{rule}`, in which claim `{claim}` must be {expected}, and it is {found}")]
pub struct Nearest {
    /// The issuer, as configured.
    pub issuer: String,
    /// The rule's name.
    pub rule: String,
    /// The claim's path.
    pub claim: String,
    /// The claim's value, short and on one line.
    pub found: String,
    /// The values that the condition accepts.
    pub expected: String,
}

/// A rule, explained for one token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleTrace {
    /// The rule's name.
    pub name: String,
    /// Highest level of SLSA's build track that it permits.
    pub max_build_level: Option<u8>,
    /// True if it permits the token.
    pub holds: bool,
    /// Its conditions.
    pub lines: Vec<TraceLine>,
}

/// A verified token that its issuer's policy permits. Only [`ClaimPolicies::permit`] makes one.
#[derive(Clone, Debug)]
pub struct PermittedToken {
    token: VerifiedToken,
    rule: Option<Arc<str>>,
    max_build_level: Option<u8>,
    single_use: Option<TokenUse>,
}

impl PermittedToken {
    /// The token.
    pub fn token(&self) -> &VerifiedToken {
        &self.token
    }

    /// The rule that permits it; absent if its issuer has no rules.
    pub fn rule(&self) -> Option<&str> {
        self.rule.as_deref()
    }

    /// Highest level of SLSA's build track that the operator vouches for, if the rule says so.
    pub fn max_build_level(&self) -> Option<u8> {
        self.max_build_level
    }

    pub(crate) fn single_use(&self) -> Option<&TokenUse> {
        self.single_use.as_ref()
    }

    /// A token of an issuer without rules.
    #[cfg(test)]
    pub(crate) fn unruled(token: VerifiedToken) -> Self {
        Self { token, rule: None, max_build_level: None, single_use: None }
    }
}
