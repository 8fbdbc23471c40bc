//! Unmodified cosign, 2.5 and 3.1, pointed at an instance as an operator would point it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::dev_issuer::IdToken;
use crate::program::{self, Outcome};
use crate::{Instance, Server, peers};

/// One cosign with a home of its own.
pub struct Cosign {
    program: PathBuf,
    home: PathBuf,
    environment: Vec<(&'static str, PathBuf)>,
    signing: Vec<String>,
    verifying: Vec<String>,
}

impl Cosign {
    /// cosign 2.5: service URLs as flags, keys as files in the environment.
    pub fn v2(instance: &Instance) -> Result<Self> {
        let server = &instance.server;
        let url = server.url();
        Ok(Self {
            program: peers::program("cosign2")?,
            home: instance.home("cosign2")?,
            environment: vec![
                ("SIGSTORE_ROOT_FILE", server.trust("ca-chain.pem")),
                ("SIGSTORE_CT_LOG_PUBLIC_KEY_FILE", server.trust("ct.pub")),
                ("SIGSTORE_REKOR_PUBLIC_KEY", server.trust("rekor.pub")),
            ],
            signing: words(&["--yes", "--fulcio-url", url, "--rekor-url", url]),
            verifying: words(&["--rekor-url", url]),
        })
    }

    /// cosign 3.1: a signing config and a trusted root.
    pub fn v3(instance: &Instance) -> Result<Self> {
        Self::v3_of(instance, &instance.server)
    }

    /// cosign 3.1 pointed at another server than the instance's own.
    pub fn v3_of(instance: &Instance, server: &Server) -> Result<Self> {
        let root = server.trust("trusted_root.json").display().to_string();
        let config = server.trust("signing_config.json").display().to_string();
        Ok(Self {
            program: peers::program("cosign3")?,
            home: instance.home("cosign3")?,
            environment: Vec::new(),
            signing: words(&["--yes", "--signing-config", &config, "--trusted-root", &root]),
            verifying: words(&["--trusted-root", &root]),
        })
    }

    /// The same, where the authority in this file issued the TLS certificate of the instance.
    #[must_use]
    pub fn trusting(mut self, authority: &Path) -> Self {
        self.environment.push(("SSL_CERT_FILE", authority.to_owned()));
        self
    }

    /// A command that signs (`sign`, `sign-blob`, `attest`, `attest-blob`) with `token`, keyless.
    pub fn sign<S: AsRef<OsStr>>(&self, verb: &str, token: &IdToken, arguments: &[S]) -> Result<Outcome> {
        let mut command = self.command(verb);
        command.args(&self.signing).args(["--identity-token", token.as_str()]).args(arguments);
        program::run(&mut command)
    }

    /// A command that verifies, for the identity of `token`. Certificate, SCT and log are all checked: no flag here
    /// turns anything off.
    pub fn verify<S: AsRef<OsStr>>(&self, verb: &str, signer: &IdToken, arguments: &[S]) -> Result<Outcome> {
        self.verify_identity(verb, &signer.identity(), signer.issuer(), arguments)
    }

    /// As [`Cosign::verify`] for any identity and issuer.
    pub fn verify_identity<S: AsRef<OsStr>>(
        &self,
        verb: &str,
        identity: &str,
        issuer: &str,
        arguments: &[S],
    ) -> Result<Outcome> {
        let mut command = self.command(verb);
        command.args(&self.verifying);
        command
            .args(["--certificate-identity", identity, "--certificate-oidc-issuer", issuer])
            .args(arguments);
        program::run(&mut command)
    }

    /// A command that signs with a key of our own (made by `generate-key-pair`, without a password), no certificate.
    pub fn sign_with_key<S: AsRef<OsStr>>(&self, verb: &str, key: &str, arguments: &[S]) -> Result<Outcome> {
        program::run(self.command(verb).args(&self.signing).args(["--key", key]).args(arguments))
    }

    /// Anything else, in the client's home.
    pub fn run<S: AsRef<OsStr>>(&self, verb: &str, arguments: &[S]) -> Result<Outcome> {
        program::run(self.command(verb).args(arguments))
    }

    /// A file in the client's home.
    pub fn file(&self, name: &str) -> String {
        self.home.join(name).display().to_string()
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(&self.program);
        program::isolate(&mut command, &self.home);
        command.current_dir(&self.home).env("COSIGN_PASSWORD", "");
        command.args(verb.split(' ')).envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}
