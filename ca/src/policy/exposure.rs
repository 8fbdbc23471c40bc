//! Issuers whose tokens strangers may have, which therefore need rules.
//!
//! The table of public hosts names those that are known. It can never be complete, so two kinds of issuers
//! count as exposed whatever their host: a pattern, because whoever gets an address that it matches is an
//! issuer; and one of type `email`, because nothing but a rule restricts the domain of the addresses. Hosts
//! that exist in private networks only are exempt: no stranger can have one.
//!
//! KNOWN LIMIT: an issuer of another type, at one URL, whose host is not in the table is taken for the
//! operator's own.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use url::Url;

use super::PublicHost;
use crate::config::{Issuer, IssuerKind, Location};

/// The reason why an issuer's tokens may be anyone's.
#[derive(Clone, Copy, Debug)]
pub enum Exposure {
    /// It is known to serve all customers of a service.
    Public(&'static PublicHost),
    /// It is a pattern, which stands for issuers without number.
    Pattern,
    /// It is of type `email`, and takes addresses of every domain.
    Email,
}

/// Names that no public name server knows: RFC 6761, RFC 6762, RFC 8375, and `internal`, which ICANN has set aside.
const PRIVATE_NAMES: [&str; 7] =
    ["localhost", "local", "internal", "home.arpa", "test", "example", "invalid"];

impl Exposure {
    /// The exposure of an issuer; `None` for one that is taken for the operator's own.
    pub fn of(issuer: &Issuer) -> Option<Self> {
        if let Some(public) = PublicHost::of(issuer) {
            return Some(Self::Public(public));
        }
        if host(&issuer.location).is_some_and(|host| is_private(&host)) {
            return None;
        }
        match (&issuer.location, &issuer.kind) {
            (Location::Pattern(pattern), _) if pattern.contains('*') => Some(Self::Pattern),
            (_, IssuerKind::Email { .. }) => Some(Self::Email),
            _ => None,
        }
    }

    /// The property of the issuer that exposes it.
    pub fn cause(&self) -> &'static str {
        match self {
            Self::Public(_) => "serves all its customers",
            Self::Pattern => "is a pattern, which other people's issuers may match",
            Self::Email => "is of type email, and certifies addresses of every domain",
        }
    }

    /// A condition that picks out the tenants who are meant, to be filled in.
    pub(super) fn example(&self) -> &'static str {
        match self {
            Self::Public(public) => public.example,
            Self::Pattern => super::public::ISSUER,
            Self::Email => super::public::E_MAIL,
        }
    }
}

/// The people who would get a certificate.
impl fmt::Display for Exposure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Public(public) => write!(f, "anyone with an account at {}", public.service),
            Self::Pattern => f.write_str("anyone whose issuer has an address of the pattern"),
            Self::Email => f.write_str("anyone who can log in there, with whatever e-mail address,"),
        }
    }
}

/// The host of an issuer, in lower case, without port and brackets. That of a pattern has its `*`.
fn host(location: &Location) -> Option<String> {
    match location {
        Location::Url(url) => {
            let url = Url::parse(url).ok()?;
            Some(url.host_str()?.trim_end_matches('.').trim_matches(['[', ']']).to_owned())
        }
        Location::Pattern(pattern) => Some(super::public::host_of_pattern(pattern)),
    }
}

fn is_private(host: &str) -> bool {
    match host.trim_matches(['[', ']']).parse() {
        Ok(IpAddr::V4(address)) => address.is_loopback() || address.is_private() || address.is_link_local(),
        Ok(IpAddr::V6(address)) => is_private_v6(address),
        // A name without dots is completed from the machine's own search list.
        Err(_) if !host.contains('.') => !host.contains('*'),
        Err(_) => PRIVATE_NAMES.iter().any(|name| is_below(host, name)),
    }
}

fn is_private_v6(address: Ipv6Addr) -> bool {
    address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local()
}

fn is_below(host: &str, name: &str) -> bool {
    host.strip_suffix(name).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::IssuerConfig;

    /// The exposure of one issuer in one word.
    fn exposure(section: &str, location: &str, kind: &str) -> &'static str {
        let text = format!(
            "{section}:\n  {location}:\n    issuer-url: {location}\n    client-id: sigstore\n    type: {kind}\n"
        );
        let config = IssuerConfig::parse(&text).unwrap();
        match config.issuers().next().and_then(|issuer| Exposure::of(issuer)) {
            None => "own",
            Some(Exposure::Public(_)) => "public",
            Some(Exposure::Pattern) => "pattern",
            Some(Exposure::Email) => "email",
        }
    }

    /// Every issuer of the public instance's own configuration (`config/identity/config.yaml` of Fulcio, as of
    /// November 2026): section, location, type, and its exposure. One that is `own` has a reason.
    const UPSTREAM: &[(&str, &str, &str, &str)] = &[
        ("oidc-issuers", "https://accounts.google.com", "email", "public"),
        ("oidc-issuers", "https://agent.buildkite.com", "buildkite-job", "public"),
        (
            "oidc-issuers",
            "https://auth.eclipse.org/auth/realms/foundation-service-accounts",
            "email",
            "public",
        ),
        // GitLab's own development servers: accounts are for its staff.
        ("oidc-issuers", "https://dev.gitlab.org", "gitlab-pipeline", "own"),
        ("oidc-issuers", "https://ops.gitlab.net", "gitlab-pipeline", "own"),
        ("oidc-issuers", "https://gitlab.archlinux.org", "gitlab-pipeline", "public"),
        ("oidc-issuers", "https://gitlab.com", "gitlab-pipeline", "public"),
        ("oidc-issuers", "https://issuer.enforce.dev", "chainguard-identity", "public"),
        ("oidc-issuers", "https://issuer.chainops.dev", "chainguard-identity", "public"),
        ("oidc-issuers", "https://issuer.hello.coop", "email", "public"),
        ("oidc-issuers", "https://www.kaggle.com/api/v1/models/signing", "email", "public"),
        ("oidc-issuers", "https://oauth2.sigstore.dev/auth", "email", "public"),
        ("oidc-issuers", "https://oidc.circleci.com", "kubernetes", "public"),
        ("oidc-issuers", "https://oidc.codefresh.io", "codefresh-workflow", "public"),
        ("oidc-issuers", "https://token.actions.githubusercontent.com", "github-workflow", "public"),
        ("oidc-issuers", "https://sigstore.verify.ibm.com/oauth2", "email", "public"),
        ("meta-issuers", "https://*.oic.prod-aks.azure.com/*", "kubernetes", "public"),
        (
            "meta-issuers",
            "https://container.googleapis.com/v1/projects/*/locations/*/clusters/*",
            "kubernetes",
            "public",
        ),
        ("meta-issuers", "https://oidc.circleci.com/org/*", "kubernetes", "public"),
        ("meta-issuers", "https://oidc.eks.*.amazonaws.com/id/*", "kubernetes", "public"),
        ("meta-issuers", "https://oidc.prod-aks.azure.com/*", "kubernetes", "public"),
        ("meta-issuers", "https://token.actions.githubusercontent.com/*", "github-workflow", "public"),
    ];

    #[test]
    fn every_issuer_of_the_public_instance_needs_rules_or_is_its_owners_alone() {
        for (section, location, kind, expected) in UPSTREAM {
            assert_eq!(exposure(section, location, kind), *expected, "{location}");
        }
    }

    /// No table is complete: these hosts are in none.
    #[test]
    fn patterns_and_email_issuers_are_exposed_at_any_host_that_a_stranger_can_have() {
        for host in ["ci.example.com", "oidc.new-cloud.dev", "8.8.8.8", "[2001:db8::1]", "x.localhost.dev"] {
            assert_eq!(
                exposure("meta-issuers", &format!("https://{host}/id/*"), "kubernetes"),
                "pattern",
                "{host}"
            );
            assert_eq!(exposure("oidc-issuers", &format!("https://{host}/id"), "email"), "email", "{host}");
            assert_eq!(
                exposure("meta-issuers", &format!("https://{host}/id"), "kubernetes"),
                "own",
                "{host}"
            );
            for kind in ["kubernetes", "gitlab-pipeline"] {
                assert_eq!(exposure("oidc-issuers", &format!("https://{host}/id"), kind), "own", "{host}");
            }
        }
        for pattern in ["https://*.example.com", "https://ci.*.example.com", "https://*"] {
            assert_eq!(exposure("meta-issuers", pattern, "kubernetes"), "pattern", "{pattern}");
        }
    }

    #[test]
    fn no_stranger_has_a_host_of_a_private_network() {
        for host in [
            "localhost",
            "localhost:8080",
            "127.0.0.1:5556",
            "[::1]:8080",
            "10.1.2.3",
            "192.168.0.9:8443",
            "169.254.1.1",
            "[fd00::1]",
            "dex",
            "dex:5556",
            "DEX.CORP.INTERNAL",
            "dex.auth.svc.cluster.local",
            "dex.home.arpa",
            "dex.example",
        ] {
            assert_eq!(
                exposure("meta-issuers", &format!("https://{host}/id/*"), "kubernetes"),
                "own",
                "{host}"
            );
            assert_eq!(exposure("oidc-issuers", &format!("https://{host}/id"), "email"), "own", "{host}");
        }
        assert_eq!(exposure("meta-issuers", "https://*.clusters.internal", "kubernetes"), "own");
    }
}
