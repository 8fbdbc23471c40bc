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
        let provider = match self {
            Self::Email => return "email".to_owned(),
            Self::Kubernetes => return "kubernetes".to_owned(),
            Self::Github => "github-workflow",
            Self::Gitlab => "gitlab-pipeline",
            Self::Buildkite => "buildkite-job",
            Self::Circleci => "circleci",
            Self::Codefresh => "codefresh-workflow",
        };
        format!("ci-provider\n    ci-provider: {provider}")
    }
}

impl InitArguments {
    /// The issuers: the given file as it is, or one made for the given issuer; and parsed.
    pub(super) fn issuers(&self) -> anyhow::Result<(String, IssuerConfig)> {
        let text = match &self.issuers {
            Some(file) => {
                std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?
            }
            None => issuers(&self.issuer, self.issuer_type),
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

    fn listen(&self, url: &BaseUrl) -> SocketAddr {
        let own = url.address().filter(|address| address.ip().is_loopback() && !url.is_https());
        self.listen.or(own).unwrap_or(DEFAULT_LISTEN)
    }

    /// Who reads: as said, and where only this machine can come in, everyone.
    pub(super) fn entries(&self, url: &BaseUrl) -> anyhow::Result<Entries> {
        let exposed = !(url.is_loopback() && self.listen(url).ip().to_canonical().is_loopback());
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
        issuers: &IssuerConfig,
    ) -> anyhow::Result<String> {
        let listen = self.listen(url).to_string();
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
        let plain =
            |issuer: &Arc<Issuer>| matches!(&issuer.location, Location::Url(url) if url.starts_with("http:"));
        let development =
            if issuers.issuers().any(plain) { "development = true" } else { "# development = false" };
        let logs = [(self.rekor.has_v1(), "rekor-v1"), (self.rekor.has_v2(), "rekor-v2")];
        let template = logs
            .iter()
            .fold(CONFIG.to_owned(), |template, (wanted, section)| keep_or_cut(&template, section, *wanted));
        Ok(fill(
            &template,
            &[
                ("url", url.as_str()),
                ("authority", &url.authority()),
                ("host", url.host()),
                ("hostname", url.hostname()),
                ("listen", &listen),
                ("entries", self.entries(url)?.name()),
                ("signers", signers),
                ("metrics", &metrics),
                ("passphrase", &passphrase),
                ("development", development),
                ("since", &clock.now().to_rfc3339()),
                ("tree_id", &tree_id.to_string()),
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

    fn config(arguments: &InitArguments) -> String {
        let clock = FixedClock::new(Timestamp::from_seconds(1_790_000_000));
        let url = BaseUrl::parse(&arguments.url).unwrap();
        arguments.config_text(&url, &clock, None, &arguments.issuers().unwrap().1).unwrap()
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
        let written = with_fixed_tree(&config(&arguments(&[])));
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

    #[test]
    fn the_shipped_issuers_parse() {
        let shipped = include_str!("../../../samples/fulcio.yaml");
        IssuerConfig::parse(shipped).unwrap();
        assert_eq!(shipped, arguments(&[]).issuers().unwrap().0, "update deploy/samples/fulcio.yaml");
    }

    #[test]
    fn an_issuer_without_tls_makes_a_development_instance() {
        assert!(config(&arguments(&[])).contains("\n# development = false\n"));
        let plain = arguments(&["--issuer", "http://127.0.0.1:8888"]);
        assert!(config(&plain).contains("\ndevelopment = true\n"));
    }

    #[test]
    fn a_loopback_url_is_listened_on() {
        let mut arguments = arguments(&[]);
        arguments.url = "http://127.0.0.1:9123".to_owned();
        assert!(config(&arguments).contains("address = \"127.0.0.1:9123\""));
        arguments.url = "https://sigstore.example.com".to_owned();
        assert!(config(&arguments).contains("address = \"127.0.0.1:8080\""));
    }
}
