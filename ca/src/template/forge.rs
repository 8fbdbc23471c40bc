//! The server whose names a forge's tokens carry: github.com or an Enterprise Server, gitlab.com or a GitLab
//! of one's own.
//!
//! The shipped templates name the public server. A token of another issuer speaks of repositories on that
//! issuer's server, and `https://github.com/acme/rocket` would be the name of another company's repository.
//! So the base URL follows from the issuer unless a file defines the provider itself.

use std::sync::Arc;

use url::Url;

use super::Provider;
use super::shipped::{self, SAMPLE};
use crate::config::is_loopback;

/// The name under which a provider's templates read the base URL.
const BASE: &str = "url";
/// The path of an Enterprise Server's issuer.
const GITHUB_SERVER_PATH: &str = "/_services/token";
/// The path of Forgejo's issuer.
const FORGEJO_PATH: &str = "/api/actions";

/// A forge's base URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Server {
    /// The one that the shipped templates name, or one that has no address of its own (Buildkite and others).
    Public,
    /// One at this address, without a slash at the end.
    Own(String),
    /// Not to be told from the issuer's address.
    Unknown,
}

/// The server of an issuer, whose address may be a pattern, with a shipped provider.
pub fn server(provider: &str, issuer: &str) -> Server {
    let Ok(url) = Url::parse(issuer) else { return Server::Unknown };
    let host = url.host_str().unwrap_or_default();
    let public = match provider {
        "github-workflow" => host == "token.actions.githubusercontent.com",
        "gitlab-pipeline" => host == "gitlab.com",
        "forgejo-actions" => host == "codeberg.org",
        _ => true,
    };
    // An issuer on this machine without TLS is one for development and tests, which imitates the public one. With TLS it
    // is a server like any other, reached under a name of this machine.
    if public || (url.scheme() == "http" && is_loopback(&url)) {
        return Server::Public;
    }
    // As every parser prints it, in lower case and without the default port: names are compared as text.
    let issuer = url.as_str();
    let base = match provider {
        "github-workflow" => {
            let enterprise = host.strip_prefix("token.actions.").filter(|host| host.ends_with(".ghe.com"));
            match enterprise {
                Some(host) => format!("https://{host}"),
                None => without_path(issuer, GITHUB_SERVER_PATH),
            }
        }
        "forgejo-actions" => without_path(issuer, FORGEJO_PATH),
        _ => issuer.trim_end_matches('/').to_owned(),
    };
    if base.contains('*') { Server::Unknown } else { Server::Own(base) }
}

/// The shipped provider for an issuer's server; `None` if there is none of this name, `Err` if the server is
/// unknown.
pub(crate) fn provider(name: &str, issuer: &str) -> Option<Result<Arc<Provider>, UnknownServer>> {
    let shipped = shipped::provider(name)?;
    Some(match server(name, issuer) {
        Server::Public => Ok(shipped),
        Server::Unknown => Err(UnknownServer),
        Server::Own(base) => {
            let mut provider = Provider::clone(&shipped);
            provider.defaults.insert(BASE.to_owned(), base);
            Ok(Arc::new(provider))
        }
    })
}

/// An issuer's address does not give away the server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UnknownServer;

/// The shipped templates of a provider as YAML, for a server of one's own: what Fulcio needs to read, and
/// what shows an operator the names. `None` if the provider has no base URL that could differ.
pub fn metadata(provider: &str, base: &str) -> Option<String> {
    let default = shipped::provider(provider)?.defaults.get(BASE)?.clone();
    let heading = format!("\n  {provider}:\n    default-template-values:\n");
    let begin = SAMPLE.find(&heading)? + 1;
    let text = &SAMPLE[begin..];
    let end = text.find("\n\n").map_or(text.len(), |end| end + 1);
    let text = text[..end].trim_end();
    let own = text.replacen(&format!("{BASE}: \"{default}\""), &format!("{BASE}: \"{base}\""), 1);
    Some(format!("{own}\n"))
}

/// The address without this path at its end, or without any path if it has another.
fn without_path(issuer: &str, path: &str) -> String {
    let issuer = issuer.trim_end_matches('/');
    if let Some(base) = issuer.strip_suffix(path) {
        return base.to_owned();
    }
    let scheme = issuer.find("://").map_or(0, |at| at + 3);
    let end = issuer[scheme..].find('/').map_or(issuer.len(), |slash| scheme + slash);
    issuer[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_follows_from_the_issuer() {
        let own = |base: &str| Server::Own(base.to_owned());
        for (provider, issuer, expected) in [
            ("github-workflow", "https://token.actions.githubusercontent.com", Server::Public),
            ("github-workflow", "https://token.actions.githubusercontent.com/acme", Server::Public),
            ("github-workflow", "https://token.actions.githubusercontent.com/*", Server::Public),
            ("github-workflow", "http://127.0.0.1:9191", Server::Public),
            ("github-workflow", "https://localhost/_services/token", own("https://localhost")),
            ("github-workflow", "https://127.0.0.1:8443/_services/token", own("https://127.0.0.1:8443")),
            ("gitlab-pipeline", "https://[::1]", own("https://[::1]")),
            ("forgejo-actions", "https://localhost/api/actions", own("https://localhost")),
            ("github-workflow", "https://token.actions.acme.ghe.com", own("https://acme.ghe.com")),
            ("github-workflow", "https://ghes.example.com/_services/token", own("https://ghes.example.com")),
            ("github-workflow", "https://ghes.example.com/_services/token/", own("https://ghes.example.com")),
            (
                "github-workflow",
                "https://ghes.example.com:8443/_services/token",
                own("https://ghes.example.com:8443"),
            ),
            ("github-workflow", "https://ghes.example.com/other", own("https://ghes.example.com")),
            (
                "github-workflow",
                "https://GHES.example.com:443/_services/token",
                own("https://ghes.example.com"),
            ),
            (
                "github-workflow",
                "https://token.actions.githubusercontent.com.evil.example",
                own("https://token.actions.githubusercontent.com.evil.example"),
            ),
            ("github-workflow", "https://*.example.com/_services/token", Server::Unknown),
            ("gitlab-pipeline", "https://gitlab.com", Server::Public),
            ("gitlab-pipeline", "https://gitlab.example.com", own("https://gitlab.example.com")),
            ("gitlab-pipeline", "https://example.com/gitlab", own("https://example.com/gitlab")),
            ("forgejo-actions", "https://codeberg.org/api/actions", Server::Public),
            (
                "forgejo-actions",
                "https://git.example.com/forge/api/actions",
                own("https://git.example.com/forge"),
            ),
            ("buildkite-job", "https://agent.buildkite.com", Server::Public),
            ("circleci", "https://oidc.circleci.com/org/*", Server::Public),
        ] {
            assert_eq!(server(provider, issuer), expected, "{provider} {issuer}");
        }
    }

    #[test]
    fn the_metadata_of_a_server_name_it_everywhere_and_the_public_one_nowhere() {
        for (provider, public) in [
            ("github-workflow", "github.com"),
            ("gitlab-pipeline", "gitlab.com"),
            ("forgejo-actions", "codeberg.org"),
        ] {
            let text = metadata(provider, "https://forge.example.com").unwrap();
            assert!(text.contains("url: \"https://forge.example.com\"") && !text.contains(public), "{text}");
            let file = format!("ci-issuer-metadata:\n{text}");
            let read = crate::config::read_provider_file(&file).unwrap();
            let (read, shipped) = (&read[provider], shipped::provider(provider).unwrap());
            assert_eq!(read.extensions, shipped.extensions);
            assert_eq!(read.subject_alternative_name, shipped.subject_alternative_name);
        }
        assert_eq!(metadata("buildkite", "https://x.example"), None);
        assert_eq!(metadata("circleci", "https://x.example"), None);
    }
}
