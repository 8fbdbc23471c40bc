//! The files that `init` writes, from templates whose `@places@` are filled in.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use chancery_ca::IssuerConfig;
use chancery_ca::config::{Issuer, Location};
use chancery_tlog::clock::Clock;
use chancery_tlog::serve::key_file::Passphrase;
use rand::Rng as _;

use super::roles::{CA_ROOTS, Role};
use super::{DEFAULT_LISTEN, Entries, InitArguments, IssuerType, Signers};
use crate::config::BaseUrl;

/// The key of the CA's root, which no running server needs.
pub(crate) const ROOT_KEY: &str = "keys/ca-root.key";
/// The same for the timestamp authority.
pub(crate) const TSA_ROOT_KEY: &str = "keys/tsa-root.key";
/// What `init` writes for `https://sigstore.example.com`: shipped for reading, and parsed in tests.
#[cfg(test)]
pub(crate) const SAMPLE: &str = include_str!("../../../samples/chancery.toml");

const CONFIG: &str = include_str!("chancery.toml");
const ISSUERS: &str = include_str!("fulcio.yaml");

impl IssuerType {
    /// `type` and, for CI systems, `ci-provider`.
    fn fulcio_type(self) -> String {
        match (self, self.provider()) {
            (Self::Kubernetes, _) => "kubernetes".to_owned(),
            (_, None) => "email".to_owned(),
            (_, Some(provider)) => format!("ci-provider\n    ci-provider: {provider}"),
        }
    }
}

impl InitArguments {
    /// The issuers: the given file as it is, or one made for the given issuer; and parsed.
    pub(super) fn issuers(&self) -> anyhow::Result<(String, IssuerConfig)> {
        let text = match &self.issuers {
            Some(file) => {
                std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?
            }
            None => issuers(&self.issuer, self.issuer_type) + &self.metadata()?,
        };
        let parsed = IssuerConfig::parse(&text).with_context(|| match &self.issuers {
            Some(file) => format!("--issuers {}", file.display()),
            None => format!("--issuer {}", self.issuer),
        })?;
        Ok((text, parsed))
    }

    /// Where the passphrase is, as an absolute path, since the configuration outlives the working folder.
    pub(super) fn passphrase(&self) -> anyhow::Result<Option<Passphrase>> {
        let absolute = |file: &PathBuf| {
            file.canonicalize().with_context(|| format!("--passphrase-file {}", file.display()))
        };
        Ok(self.passphrase_file.as_ref().map(absolute).transpose()?.map(Passphrase::File))
    }

    /// Where to listen: as asked for, else where the URL leads on this machine, by name or address; and a second address,
    /// if the name has two.
    fn listen(&self, url: &BaseUrl) -> (SocketAddr, Option<SocketAddr>) {
        if let Some(address) = self.listen {
            return (address, None);
        }
        if url.is_https() || !url.is_loopback() {
            return (DEFAULT_LISTEN, None);
        }
        if let Some(address) = url.address() {
            return (address, None);
        }
        // What the system has no address for, such as ::1 where IPv6 is off, cannot be listened on.
        let mut own = url.loopback_addresses();
        own.retain(|address| std::net::TcpListener::bind((address.ip(), 0)).is_ok());
        let mut own = own.into_iter();
        let first = own.next().unwrap_or(SocketAddr::new(DEFAULT_LISTEN.ip(), url.port()));
        (first, own.next())
    }

    /// Who reads: as said, and where only this machine can come in, everyone.
    pub(super) fn entries(&self, url: &BaseUrl) -> anyhow::Result<Entries> {
        let exposed = !(url.is_loopback() && self.listen(url).0.ip().to_canonical().is_loopback());
        match self.entries {
            Some(entries) => Ok(entries),
            None if exposed => bail!(
                "--entries is missing: say who may read entries, which hold repository names and e-mail addresses: \
                 `token`, `oidc`, `mtls`, or `open` for whoever reaches the listener"
            ),
            None => Ok(Entries::Open),
        }
    }

    /// `chancery.toml`.
    pub(super) fn config_text(
        &self,
        url: &BaseUrl,
        clock: &dyn Clock,
        passphrase: Option<&Passphrase>,
        issuers: Option<&IssuerConfig>,
    ) -> anyhow::Result<String> {
        let (listen, also) = self.listen(url);
        let also = match also {
            Some(address) => format!("also = \"{address}\""),
            None => "# also = \"[::1]:8080\"".to_owned(),
        };
        let signers = match self.signers {
            Signers::Any => "any",
            Signers::OwnCa => "own-ca",
        };
        // Rekor's ids are 16 hex digits of a positive 64-bit number; short ones would look odd and collide.
        let tree_id = rand::rng().random_range(1_u64 << 60..1_u64 << 63);
        let passphrase = match passphrase {
            Some(Passphrase::File(file)) => {
                let file = file.to_str().context("--passphrase-file: the path must be UTF-8")?;
                format!("passphrase = {{ file = {file:?} }}")
            }
            _ => "# passphrase = { file = \"passphrase\" }".to_owned(),
        };
        let metrics = match self.metrics {
            Some(address) => format!("metrics = \"{address}\""),
            None => "# metrics = \"127.0.0.1:9464\"".to_owned(),
        };
        let plain = |issuer: &Arc<Issuer>| {
            let (Location::Url(url) | Location::Pattern(url)) = &issuer.location;
            url.starts_with("http:")
        };
        let development = if issuers.is_some_and(|issuers| issuers.issuers().any(plain)) {
            "development = true"
        } else {
            "# development = false"
        };
        let roots = match self.ca_chain {
            Some(_) => format!("roots = \"{CA_ROOTS}\""),
            None => "# roots = \"ca-chain.pem\"".to_owned(),
        };
        let sections = [
            (self.has(Role::Ca), "ca"),
            (self.has_v1(), "rekor-v1"),
            (self.has_v2(), "rekor-v2"),
            (self.has(Role::Tsa), "tsa"),
            (self.has(Role::Tuf), "tuf"),
        ];
        let template = sections
            .iter()
            .fold(CONFIG.to_owned(), |template, (wanted, section)| keep_or_cut(&template, section, *wanted));
        Ok(fill(
            &template,
            &[
                ("url", url.as_str()),
                ("authority", &url.authority()),
                ("host", url.host()),
                ("hostname", url.hostname()),
                ("listen", &listen.to_string()),
                ("also", &also),
                ("entries", self.entries(url)?.name()),
                ("signers", signers),
                ("roots", &roots),
                ("metrics", &metrics),
                ("passphrase", &passphrase),
                ("development", development),
                ("since", &clock.now().to_rfc3339()),
                ("tree_id", &tree_id.to_string()),
                // Last: it may have an `@` of its own.
                (
                    "policies",
                    &issuers.map(|issuers| self.policies.text(issuers)).transpose()?.unwrap_or_default(),
                ),
            ],
        ))
    }
}

fn issuers(issuer: &str, kind: IssuerType) -> String {
    fill(ISSUERS, &[("issuer", issuer), ("type", &kind.fulcio_type())])
}

/// Keeps or cuts what stands between the lines `@begin SECTION@` and `@end SECTION@`; those lines go either way.
fn keep_or_cut(template: &str, section: &str, keep: bool) -> String {
    let (begin, end) = (format!("@begin {section}@\n"), format!("@end {section}@\n"));
    let parts = template.split_once(&begin).and_then(|(before, rest)| {
        let (inside, after) = rest.split_once(&end)?;
        Some([before, if keep { inside } else { "" }, after].concat())
    });
    parts.unwrap_or_else(|| template.to_owned())
}

fn fill(template: &str, places: &[(&str, &str)]) -> String {
    places.iter().fold(template.to_owned(), |text, (place, value)| text.replace(&format!("@{place}@"), value))
}

#[cfg(test)]
mod tests {
    use chancery_tlog::clock::{FixedClock, Timestamp};
    use clap::{Parser, ValueEnum as _};

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        init: InitArguments,
    }

    fn arguments(more: &[&str]) -> InitArguments {
        let line = ["init", "/srv/chancery", "--url", "https://sigstore.example.com", "--entries", "token"];
        Line::parse_from(line.iter().chain(more)).init
    }

    /// The arguments of the shipped sample.
    fn sample() -> InitArguments {
        arguments(&["--github-owner", "acme/1234567"])
    }

    fn config(arguments: &InitArguments) -> String {
        let clock = FixedClock::new(Timestamp::from_seconds(1_790_000_000));
        let url = BaseUrl::parse(&arguments.url).unwrap();
        arguments.config_text(&url, &clock, None, Some(&arguments.issuers().unwrap().1)).unwrap()
    }

    /// The tree's number is random; the sample has a fixed one.
    fn with_fixed_tree(text: &str) -> String {
        let keep = |line: &str| match line.strip_prefix("tree_id = ") {
            Some(_) => "tree_id = 1193050959916656506".to_owned(),
            None => line.to_owned(),
        };
        text.lines().map(keep).collect::<Vec<_>>().join("\n") + "\n"
    }

    #[test]
    fn the_shipped_sample_is_what_init_writes() {
        let written = with_fixed_tree(&config(&sample()));
        assert_eq!(written, SAMPLE, "update deploy/samples/chancery.toml");
        assert!(!written.contains('@'), "a place was not filled");
    }

    #[test]
    fn every_issuer_type_gives_a_file_that_the_ca_reads() {
        for kind in IssuerType::value_variants() {
            let text = issuers("https://issuer.example.com", *kind);
            let config =
                IssuerConfig::parse(&text).unwrap_or_else(|error| panic!("{kind:?}: {error}\n{text}"));
            assert!(config.find("https://issuer.example.com").is_some(), "{kind:?}");
        }
    }

    /// Whatever the server, no name of the public one is left in its file.
    #[test]
    fn a_server_of_ones_own_gives_every_base_url() {
        for (kind, issuer, server, base) in [
            ("github", "https://ghes.example.com/_services/token", None, "https://ghes.example.com"),
            ("github", "https://token.actions.acme.ghe.com", None, "https://acme.ghe.com"),
            (
                "github",
                "http://127.0.0.1:9191",
                Some("https://ghes.example.com/"),
                "https://ghes.example.com",
            ),
            ("gitlab", "https://gitlab.example.com", None, "https://gitlab.example.com"),
            ("gitlab", "https://example.com/gitlab", None, "https://example.com/gitlab"),
            ("forgejo", "https://git.example.com/api/actions", None, "https://git.example.com"),
            (
                "gitea",
                "https://git.example.com/oidc",
                Some("https://git.example.com"),
                "https://git.example.com",
            ),
        ] {
            let mut more = vec!["--issuer", issuer, "--issuer-type", kind];
            more.extend(server.iter().flat_map(|server| ["--issuer-server", server]));
            let (text, parsed) = arguments(&more).issuers().unwrap();
            let used: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with('#')).collect();
            let used = used.join("\n");
            for public in ["//github.com", "//gitlab.com", "codeberg.org"] {
                assert!(!used.contains(public), "{kind} {issuer}: {used}");
            }
            assert!(used.contains(&format!("url: \"{base}\"")), "{kind} {issuer}: {used}");
            let chancery_ca::config::IssuerKind::CiProvider(provider) = &parsed.find(issuer).unwrap().kind
            else {
                panic!("{kind}")
            };
            assert_eq!(provider.defaults["url"], base);
        }
        let public = arguments(&[]).issuers().unwrap().0;
        assert!(!public.contains("\nci-issuer-metadata"), "github.com is what is built in");
    }

    #[test]
    fn a_server_must_be_one_whose_names_can_be_certified() {
        for (kind, server) in [
            ("github", "ghes.example.com"),
            ("github", "http://ghes.example.com"),
            ("github", "https://ghes..example.com"),
            ("github", "https://u@ghes.example.com"),
            ("github", "https://ghes.example.com/a/../b"),
            ("email", "https://id.example.com"),
            ("circleci", "https://ci.example.com"),
        ] {
            let refused = arguments(&["--issuer-type", kind, "--issuer-server", server]).issuers();
            assert!(refused.is_err(), "{kind} {server}");
        }
    }

    #[test]
    fn the_shipped_issuers_parse() {
        let shipped = include_str!("../../../samples/fulcio.yaml");
        IssuerConfig::parse(shipped).unwrap();
        assert_eq!(shipped, sample().issuers().unwrap().0, "update deploy/samples/fulcio.yaml");
    }

    #[test]
    fn an_issuer_without_tls_makes_a_development_instance() {
        assert!(config(&sample()).contains("\n# development = false\n"));
        let plain = arguments(&["--issuer", "http://127.0.0.1:8888"]);
        assert!(config(&plain).contains("\ndevelopment = true\n"));
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("fulcio.yaml");
        let meta =
            "meta-issuers:\n  http://127.0.0.1:8888/*:\n    client-id: sigstore\n    type: kubernetes\n";
        std::fs::write(&file, meta).unwrap();
        let meta = arguments(&["--issuers", file.to_str().unwrap()]);
        assert!(config(&meta).contains("\ndevelopment = true\n"));
    }

    #[test]
    fn a_loopback_url_is_listened_on() {
        let mut arguments = sample();
        arguments.url = "http://127.0.0.1:9123".to_owned();
        assert!(config(&arguments).contains("\naddress = \"127.0.0.1:9123\"\n"));
        arguments.url = "http://[::1]:9123".to_owned();
        assert!(config(&arguments).contains("\naddress = \"[::1]:9123\"\n"));
        arguments.url = "http://localhost:9123".to_owned();
        let text = config(&arguments);
        let listens = |address: &str| text.contains(&format!("\naddress = \"{address}:9123\"\n"));
        assert!(listens("127.0.0.1") || listens("[::1]"), "{text}");
        let both = url::Url::parse("http://localhost:9123").unwrap().socket_addrs(|| None).unwrap();
        let both =
            ["127.0.0.1:9123", "[::1]:9123"].map(|one| both.contains(&one.parse().unwrap())) == [true; 2];
        let v6 = std::net::TcpListener::bind("[::1]:0").is_ok();
        assert_eq!(text.contains("\nalso = \"[::1]:9123\"\n"), both && v6, "{text}");
        arguments.url = "https://sigstore.example.com".to_owned();
        assert!(config(&arguments).contains("address = \"127.0.0.1:8080\""));
    }
}
