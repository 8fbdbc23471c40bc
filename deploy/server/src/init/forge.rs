//! The server whose names an issuer's tokens carry, for forges that companies run themselves.
//!
//! `init --issuer https://ghes.example.com/_services/token` must never write an instance that certifies names
//! on github.com: the base of every URL in its certificates follows from the issuer, or is given.

use anyhow::{Context as _, bail, ensure};
use chancery_ca::template::forge::{self, Server};

use super::{InitArguments, IssuerType};
use crate::config::BaseUrl;

impl IssuerType {
    /// The name of its templates, if it is a CI system.
    pub(super) fn provider(self) -> Option<&'static str> {
        match self {
            Self::Email | Self::Kubernetes => None,
            Self::Github => Some("github-workflow"),
            Self::Gitlab => Some("gitlab-pipeline"),
            Self::Forgejo => Some("forgejo-actions"),
            Self::Buildkite => Some("buildkite-job"),
            Self::Circleci => Some("circleci"),
            Self::Codefresh => Some("codefresh-workflow"),
        }
    }
}

impl InitArguments {
    /// The section `ci-issuer-metadata` for a server that is not the public one; empty for that one.
    pub(super) fn metadata(&self) -> anyhow::Result<String> {
        let Some((provider, base)) = self.own_server()? else { return Ok(String::new()) };
        let text = forge::metadata(provider, &base).context(
            "--issuer-server: names of this kind of issuer are not those of a server of one's own; use it with \
             --issuer-type github, gitlab or forgejo",
        )?;
        Ok(format!("\n# Names and URLs in certificates are those of {base}.\nci-issuer-metadata:\n{text}"))
    }

    /// Templates and base URL of a server of one's own.
    fn own_server(&self) -> anyhow::Result<Option<(&'static str, String)>> {
        let provider = self.issuer_type.provider();
        if let Some(server) = &self.issuer_server {
            let provider = provider.context("--issuer-server needs the --issuer-type of a forge")?;
            let base = server.trim_end_matches('/');
            ensure!(
                base.starts_with("https://") || BaseUrl::parse(base).is_ok_and(|url| url.is_loopback()),
                "--issuer-server must be an https URL, such as https://ghes.example.com"
            );
            chancery_tlog::strict_uri::check(base).with_context(|| format!("--issuer-server: `{base}`"))?;
            return Ok(Some((provider, base.to_owned())));
        }
        let Some(provider) = provider else { return Ok(None) };
        match forge::server(provider, &self.issuer) {
            Server::Public => Ok(None),
            Server::Own(base) => Ok(Some((provider, base))),
            Server::Unknown => bail!("--issuer: `{}` is not the address of an issuer", self.issuer),
        }
    }
}
