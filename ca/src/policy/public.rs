//! Issuers at which anyone can open an account, and so get tokens.
//!
//! A token of such an issuer proves only that its bearer has an account there. The list is in
//! deploy/docs/claim-policies.md; a test holds the page against it. It cannot be complete:
//! [`Exposure`](super::Exposure) has what counts as exposed without it.

use url::Url;

use crate::config::{Issuer, Location};

/// A host of public issuers.
#[derive(Clone, Copy, Debug)]
pub struct PublicHost {
    /// The host; `*` stands for one label.
    pub host: &'static str,
    /// The service, for people.
    pub service: &'static str,
    tenant: Tenant,
    /// A condition that picks out one tenant, to be filled in.
    pub(super) example: &'static str,
}

/// Place of the tenant in an issuer's URL: an issuer whose URL names its tenant is as private as that tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tenant {
    /// Nowhere: all tenants share one issuer.
    Shared,
    /// In the host's `*`.
    Host,
    /// In the path, which is not empty.
    Path,
    /// In the path, unless its first segment is one of these.
    PathExcept(&'static [&'static str]),
}

const fn public(
    host: &'static str,
    service: &'static str,
    tenant: Tenant,
    example: &'static str,
) -> PublicHost {
    PublicHost { host, service, tenant, example }
}

/// For issuers whose URL has the tenant in it: the whole URL.
pub(super) const ISSUER: &str = "iss = \"https://…\"";
const SUBJECT: &str = "sub = { glob = \"…*\" }";
pub(super) const E_MAIL: &str = "email = { glob = \"*@example.com\" }";

/// Entra ID's issuers for every organization and for personal accounts, by name and by number.
const ENTRA_SHARED: &[&str] =
    &["common", "organizations", "consumers", "9188040d-6c67-4c5b-b112-36a304b66dad"];

/// The public issuers that are known.
pub const PUBLIC_HOSTS: &[PublicHost] = &[
    public(
        "token.actions.githubusercontent.com",
        "GitHub Actions",
        Tenant::Path,
        "repository_owner_id = \"1234567\"",
    ),
    public("gitlab.com", "GitLab CI", Tenant::Shared, "namespace_path = [\"acme\", { glob = \"acme/**\" }]"),
    public("agent.buildkite.com", "Buildkite", Tenant::Shared, "organization_slug = \"acme\""),
    public("oidc.circleci.com", "CircleCI", Tenant::Path, "sub = { glob = \"org/…/**\" }"),
    public("oidc.codefresh.io", "Codefresh", Tenant::Shared, "account_id = \"628a80b693a15c0f9c13ab75\""),
    public("api.bitbucket.org", "Bitbucket Pipelines", Tenant::Path, ISSUER),
    public("codeberg.org", "Codeberg", Tenant::Shared, "repository_owner = \"acme\""),
    public("vstoken.dev.azure.com", "Azure Pipelines", Tenant::Path, ISSUER),
    public("app.terraform.io", "HCP Terraform", Tenant::Shared, "terraform_organization_id = \"org-…\""),
    public("*.app.spacelift.io", "Spacelift", Tenant::Host, ISSUER),
    public("*.semaphoreci.com", "Semaphore", Tenant::Host, ISSUER),
    public("oidc.fly.io", "Fly.io", Tenant::Path, ISSUER),
    public("oidc.vercel.com", "Vercel", Tenant::Path, ISSUER),
    public("api.pulumi.com", "Pulumi", Tenant::Shared, SUBJECT),
    public("issuer.enforce.dev", "Chainguard", Tenant::Shared, SUBJECT),
    public("issuer.chainops.dev", "Chainguard", Tenant::Shared, SUBJECT),
    public(
        "gitlab.archlinux.org",
        "Arch Linux's GitLab",
        Tenant::Shared,
        "namespace_path = [\"acme\", { glob = \"acme/**\" }]",
    ),
    public("accounts.google.com", "Google accounts", Tenant::Shared, E_MAIL),
    public(
        "login.microsoftonline.com",
        "Microsoft Entra ID",
        Tenant::PathExcept(ENTRA_SHARED),
        "tid = \"…\"",
    ),
    public("sts.windows.net", "Microsoft Entra ID", Tenant::PathExcept(ENTRA_SHARED), "tid = \"…\""),
    public("appleid.apple.com", "Apple accounts", Tenant::Shared, E_MAIL),
    public("oauth2.sigstore.dev", "Sigstore's own login", Tenant::Shared, E_MAIL),
    public("issuer.hello.coop", "Hellō", Tenant::Shared, E_MAIL),
    public("www.kaggle.com", "Kaggle", Tenant::Shared, E_MAIL),
    public("sigstore.verify.ibm.com", "IBM accounts", Tenant::Shared, E_MAIL),
    public("auth.eclipse.org", "Eclipse Foundation accounts", Tenant::Shared, E_MAIL),
    public("container.googleapis.com", "Google Kubernetes Engine", Tenant::Path, ISSUER),
    public("oidc.eks.*.amazonaws.com", "Amazon EKS", Tenant::Path, ISSUER),
    public("*.oic.prod-aks.azure.com", "Azure Kubernetes Service", Tenant::Path, ISSUER),
    public("oidc.prod-aks.azure.com", "Azure Kubernetes Service", Tenant::Path, ISSUER),
];

impl PublicHost {
    /// The public host that shares this issuer's tokens among tenants, if there is one.
    pub fn of(issuer: &Issuer) -> Option<&'static Self> {
        let (Location::Url(text) | Location::Pattern(text)) = &issuer.location;
        // In a host, `*` would be refused by the parser; `x` is what the pattern's own check puts there.
        let is_pattern = matches!(issuer.location, Location::Pattern(_));
        let rest = text.split_once("://").map_or("", |(_, rest)| rest);
        let path = rest.split_once('/').map_or("", |(_, path)| path);
        let host = if is_pattern { host_of_pattern(text) } else { host_of_url(text)? };
        PUBLIC_HOSTS.iter().find(|public| public.may_be(&host) && public.is_shared(&host, path, is_pattern))
    }

    /// True if both can be the same host; `*` stands for part of a label in either.
    fn may_be(&self, host: &str) -> bool {
        let (ours, theirs): (Vec<&str>, Vec<&str>) =
            (self.host.split('.').collect(), host.split('.').collect());
        ours.len() == theirs.len() && ours.iter().zip(&theirs).all(|(a, b)| can_be_equal(a, b))
    }

    fn is_shared(&self, host: &str, path: &str, is_pattern: bool) -> bool {
        let path = path.trim_end_matches('/');
        let first = path.split('/').next().unwrap_or_default();
        let open = |text: &str| is_pattern && text.contains('*');
        match self.tenant {
            Tenant::Shared => true,
            Tenant::Host => open(host),
            Tenant::Path => path.is_empty() || open(path) || open(host),
            Tenant::PathExcept(shared) => {
                path.is_empty()
                    || open(path)
                    || open(host)
                    || shared.iter().any(|name| first.eq_ignore_ascii_case(name))
            }
        }
    }
}

fn host_of_url(text: &str) -> Option<String> {
    Some(Url::parse(text).ok()?.host_str()?.trim_end_matches('.').to_owned())
}

/// The host of a pattern, in lower case, without its port.
pub(super) fn host_of_pattern(pattern: &str) -> String {
    let rest = pattern.split_once("://").map_or("", |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or_default();
    let end_of_address = authority.find(']').map_or(0, |at| at + 1);
    let port = authority[end_of_address..].find(':').map(|at| end_of_address + at);
    authority[..port.unwrap_or(authority.len())].trim_end_matches('.').to_ascii_lowercase()
}

/// True if two labels, each with at most one `*`, have a text in common. Rather once too often.
fn can_be_equal(a: &str, b: &str) -> bool {
    let ends = |text: &str| match text.split_once('*') {
        None => (text.to_owned(), text.to_owned(), false),
        Some((start, rest)) => {
            (start.to_owned(), rest.rsplit('*').next().unwrap_or_default().to_owned(), true)
        }
    };
    let ((a_start, a_end, a_open), (b_start, b_end, b_open)) = (ends(a), ends(b));
    if !a_open && !b_open {
        return a == b;
    }
    let start = a_start.starts_with(&b_start) || b_start.starts_with(&a_start);
    let end = a_end.ends_with(&b_end) || b_end.ends_with(&a_end);
    start && end
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::IssuerConfig;

    fn is_public(key: &str, section: &str) -> bool {
        let text = format!(
            "{section}:\n  {key}:\n    issuer-url: {key}\n    client-id: sigstore\n    type: kubernetes\n"
        );
        let config = IssuerConfig::parse(&text).unwrap();
        config.issuers().any(|issuer| PublicHost::of(issuer).is_some())
    }

    #[test]
    fn an_issuer_is_public_unless_its_url_names_the_tenant() {
        for (url, expected) in [
            ("https://token.actions.githubusercontent.com", true),
            ("https://token.actions.githubusercontent.com/", true),
            ("https://token.actions.githubusercontent.com/acme", false),
            ("https://TOKEN.actions.githubusercontent.com", true),
            ("https://token.actions.githubusercontent.com:443", true),
            ("https://gitlab.com", true),
            ("https://gitlab.example.com", false),
            ("https://gitlab.com.example.com", false),
            ("https://agent.buildkite.com", true),
            ("https://oidc.circleci.com/org/1234", false),
            ("https://oidc.circleci.com", true),
            ("https://accounts.google.com", true),
            ("https://login.microsoftonline.com/72f988bf-86f1-41af-91ab-2d7cd011db47/v2.0", false),
            ("https://login.microsoftonline.com/common/v2.0", true),
            ("https://login.microsoftonline.com/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0", true),
            ("https://oidc.eks.eu-west-1.amazonaws.com/id/B02C93B6A2D30341", false),
            ("https://acme.app.spacelift.io", false),
            ("https://ghes.example.com/_services/token", false),
            ("http://127.0.0.1:8471", false),
        ] {
            assert_eq!(is_public(url, "oidc-issuers"), expected, "{url}");
        }
    }

    #[test]
    fn a_pattern_over_tenants_of_a_public_host_is_public() {
        for (pattern, expected) in [
            ("https://token.actions.githubusercontent.com/*", true),
            ("https://oidc.circleci.com/org/*", true),
            ("https://oidc.eks.*.amazonaws.com/id/*", true),
            ("https://oidc.eks.eu-west-1.amazonaws.com/id/*", true),
            ("https://container.googleapis.com/v1/projects/*/locations/*/clusters/*", true),
            ("https://container.googleapis.com/v1/projects/acme/locations/*/clusters/*", true),
            ("https://*.app.spacelift.io", true),
            ("https://*.com", true),
            ("https://agent.*.com", true),
            ("https://accounts.*.*", true),
            ("https://kubernetes.*.example.com", false),
            ("https://*.ci.example.com/id/*", false),
        ] {
            assert_eq!(is_public(pattern, "meta-issuers"), expected, "{pattern}");
        }
    }

    #[test]
    fn the_page_lists_every_public_host() {
        let page = include_str!("../../../deploy/docs/claim-policies.md");
        for PublicHost { host, service, .. } in PUBLIC_HOSTS {
            assert!(page.contains(&format!("| `{host}` | {service} |")), "`{host}` | {service}");
        }
    }
}
