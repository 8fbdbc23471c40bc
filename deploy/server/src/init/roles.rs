//! Which roles of an instance a host has, where they are on several, and what it has to know of the others.

use std::path::Path;

use anyhow::{Context as _, bail};
use chancery_tlog::certificate::Certificate;
use clap::ValueEnum;

use super::{InitArguments, Signers};

/// File with the certificates of a CA on another host, whose signatures the logs take.
pub(super) const CA_ROOTS: &str = "ca-roots.pem";
/// The largest chain that is read, in bytes.
const MAX_CHAIN: u64 = 1 << 20;

/// What a host does for an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// Certificate authority, with its issuance log.
    Ca,
    /// Attestation logs.
    Log,
    /// Timestamp authority.
    Tsa,
    /// TUF repository.
    Tuf,
}

impl InitArguments {
    pub(super) fn has(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }

    pub(super) fn has_v1(&self) -> bool {
        self.has(Role::Log) && self.rekor.has_v1()
    }

    pub(super) fn has_v2(&self) -> bool {
        self.has(Role::Log) && self.rekor.has_v2()
    }

    /// The chain of the CA on another host, if the logs need one.
    pub(super) fn foreign_chain(&self) -> anyhow::Result<Option<String>> {
        let by_own_ca = self.has(Role::Log) && self.signers == Signers::OwnCa;
        match (&self.ca_chain, self.has(Role::Ca)) {
            (Some(_), true) => {
                bail!("--ca-chain is for logs whose CA is on another host: leave it or the role `ca` out")
            }
            (Some(_), false) if !by_own_ca => {
                bail!(
                    "--ca-chain is for attestation logs that take signatures of that CA alone: leave it out"
                )
            }
            (None, false) if by_own_ca => bail!(
                "--ca-chain is missing: name the file trust/ca-chain.pem of the host that has the CA, whose signatures the \
                 logs take, or say `--signers any`"
            ),
            (None, _) => return Ok(None),
            (Some(_), false) => {}
        }
        self.ca_chain.as_deref().map(read_chain).transpose()
    }
}

fn read_chain(path: &Path) -> anyhow::Result<String> {
    let unreadable = || format!("--ca-chain: cannot read {}", path.display());
    let size = std::fs::metadata(path).with_context(unreadable)?.len();
    if size > MAX_CHAIN {
        bail!("--ca-chain: {} has {size} bytes, more than a chain has", path.display());
    }
    let pem = std::fs::read_to_string(path).with_context(unreadable)?;
    let chain = Certificate::chain_from_pem(&pem);
    let chain = chain.with_context(|| format!("--ca-chain: {}", path.display()))?;
    // Written anew, so that nothing but certificates is copied.
    Ok(chain.iter().map(Certificate::to_pem).collect())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        init: InitArguments,
    }

    fn chain_of(more: &[&str]) -> Result<Option<String>, String> {
        let line = ["init", "/srv/chancery", "--url", "https://log.example.com", "--entries", "token"];
        let arguments = Line::parse_from(line.iter().chain(more)).init;
        arguments.foreign_chain().map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn logs_of_a_ca_elsewhere_need_its_certificates_and_nobody_else_does() {
        assert_eq!(chain_of(&[]), Ok(None));
        assert_eq!(chain_of(&["--roles", "ca,tsa"]), Ok(None));
        assert_eq!(chain_of(&["--roles", "log", "--signers", "any"]), Ok(None));
        for (more, words) in [
            (&["--roles", "log"][..], "--ca-chain is missing"),
            (&["--ca-chain", "x.pem"], "leave it or the role `ca` out"),
            (&["--roles", "tsa", "--ca-chain", "x.pem"], "leave it out"),
            (&["--roles", "log", "--signers", "any", "--ca-chain", "x.pem"], "leave it out"),
            (&["--roles", "log", "--ca-chain", "/nonexistent.pem"], "cannot read /nonexistent.pem"),
        ] {
            let refused = chain_of(more).unwrap_err();
            assert!(refused.contains(words), "{more:?}: {refused}");
        }
    }

    /// A file that holds a key too is copied without it.
    #[test]
    fn nothing_but_certificates_is_copied() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let ca = rcgen::generate_simple_self_signed(vec!["ca.example".to_owned()]).unwrap();
        let text = format!("{}{}", ca.cert.pem(), ca.signing_key.serialize_pem());
        std::fs::write(file.path(), text).unwrap();
        let read = chain_of(&["--roles", "log", "--ca-chain", file.path().to_str().unwrap()]);
        assert!(read.is_err() || !read.unwrap().unwrap().contains("PRIVATE"));
    }
}
