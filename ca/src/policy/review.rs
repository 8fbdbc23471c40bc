//! What an operator should look at in a policy that works: rules and values that cannot matter.

use super::condition::{Condition, Expected, Expression, Scalar};
use super::{ClaimPolicy, Exposure, Rule, Tenants};
use crate::config::{Issuer, IssuerKind, Location};

pub(super) fn warnings(policy: &ClaimPolicy) -> Vec<String> {
    let Tenants::Rules(rules) = &policy.tenants else { return Vec::new() };
    let mut found = Vec::new();
    for (i, rule) in rules.iter().enumerate() {
        let problems = [unreachable_values(&rule.when), contradiction(&rule.when), shadow(rule, &rules[..i])];
        let named = |problem| format!("policy of `{}`: rule `{}`: {problem}", policy.issuer, rule.name);
        found.extend(problems.into_iter().flatten().map(named));
    }
    found
}

/// Rules of a pattern over other people's clusters that no cluster is named in: a namespace and a service account
/// can have the same names in every one.
pub(super) fn tenant_warnings(policy: &ClaimPolicy, issuer: &Issuer) -> Vec<String> {
    let clusters = matches!((&issuer.location, &issuer.kind), (Location::Pattern(_), IssuerKind::Kubernetes));
    if !clusters || Exposure::of(issuer).is_none() {
        return Vec::new();
    }
    let open = policy.rule_list().iter().filter(|rule| !names_issuer(&rule.when));
    open.map(|rule| {
        format!(
            "policy of `{}`: rule `{}` names no cluster: anyone's cluster can have these namespaces and accounts; add a \
             condition on `iss`",
            policy.issuer, rule.name
        )
    })
    .collect()
}

/// True if every way to meet the conditions has one on `iss`.
fn names_issuer(when: &Expression) -> bool {
    match when {
        Expression::Claim(condition) => condition.claim.is("iss"),
        Expression::All(parts) => parts.iter().any(names_issuer),
        Expression::Any(parts) => parts.iter().all(names_issuer),
    }
}

/// A value that another value of the same list covers.
fn unreachable_values(when: &Expression) -> Option<String> {
    match when {
        Expression::All(parts) | Expression::Any(parts) => parts.iter().find_map(unreachable_values),
        Expression::Claim(Condition { claim, one_of }) => one_of.iter().enumerate().find_map(|(i, value)| {
            // Of two equal values the second is the needless one.
            let covers =
                |(j, other): (usize, &Expected)| j != i && other.covers(value) && (j < i || other != value);
            let by = one_of.iter().enumerate().find(|(j, other)| covers((*j, other)))?.1;
            Some(format!("claim `{claim}`: the value {value} never decides, {by} covers it"))
        }),
    }
}

/// Two conditions on one claim that no value meets together.
fn contradiction(when: &Expression) -> Option<String> {
    let conditions = conjuncts(when);
    let clash = |(i, a): (usize, &&Condition)| {
        let other = conditions[i + 1..].iter().find(|b| a.claim == b.claim && disjoint(a, b));
        other.map(|_| {
            format!("it never permits anything: no value of claim `{}` meets two conditions on it", a.claim)
        })
    };
    conditions.iter().enumerate().find_map(clash)
}

fn disjoint(a: &Condition, b: &Condition) -> bool {
    let separate = |x: &Expected, y: &Expected| match (x, y) {
        // Two globs may share a text, and a list may contain both.
        (Expected::Is(Scalar::Glob(_)), Expected::Is(Scalar::Glob(_)))
        | (Expected::Contains(_), Expected::Contains(_)) => false,
        _ => !x.covers(y) && !y.covers(x),
    };
    a.one_of.iter().all(|x| b.one_of.iter().all(|y| separate(x, y)))
}

/// An earlier rule that permits all that this one permits.
fn shadow(rule: &Rule, earlier: &[Rule]) -> Option<String> {
    let ours = conjuncts(&rule.when);
    let implied = |wanted: &Condition| {
        let narrower = |have: &&&Condition| {
            have.claim == wanted.claim
                && have.one_of.iter().all(|x| wanted.one_of.iter().any(|y| y.covers(x)))
        };
        ours.iter().find(narrower).is_some()
    };
    let wider = |other: &&Rule| is_plain(&other.when) && conjuncts(&other.when).into_iter().all(implied);
    let other = earlier.iter().find(wider)?;
    Some(format!("it never decides: rule `{}` before it permits the same tokens and more", other.name))
}

/// The conditions that all have to hold; those within an `any` are left out.
fn conjuncts(when: &Expression) -> Vec<&Condition> {
    match when {
        Expression::Claim(condition) => vec![condition],
        Expression::All(parts) => parts.iter().flat_map(conjuncts).collect(),
        Expression::Any(_) => Vec::new(),
    }
}

/// True if [`conjuncts`] leaves nothing out.
fn is_plain(when: &Expression) -> bool {
    match when {
        Expression::Claim(_) => true,
        Expression::All(parts) => parts.iter().all(is_plain),
        Expression::Any(_) => false,
    }
}
