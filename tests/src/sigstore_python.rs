//! Unmodified sigstore-python, pointed at an instance by its client trust config.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::dev_issuer::IdToken;
use crate::program::{self, Outcome};
use crate::{Identity, Instance, peers};

/// `sigstore` with a home of its own.
pub struct SigstorePython {
    program: PathBuf,
    home: PathBuf,
    config: PathBuf,
}

impl SigstorePython {
    /// Pointed at the instance by `--trust-config`.
    pub fn new(instance: &Instance) -> Result<Self> {
        Ok(Self {
            program: peers::program("sigstore-python")?,
            home: instance.home("sigstore-python")?,
            config: instance.server.trust("client_trust_config.json"),
        })
    }

    /// Signs a file.
    pub fn sign(&self, token: &IdToken, file: &Path, bundle: &Path) -> Result<Outcome> {
        let mut command = self.command("sign");
        command.args(["--identity-token", token.as_str(), "--bundle"]).arg(bundle).arg(file);
        program::run(&mut command)
    }

    /// Attests SLSA provenance, the only kind of predicate that it takes.
    pub fn attest(&self, token: &IdToken, predicate: &Path, file: &Path, bundle: &Path) -> Result<Outcome> {
        let mut command = self.command("attest");
        command.args(["--identity-token", token.as_str(), "--predicate-type", crate::PROVENANCE]);
        command.arg("--predicate").arg(predicate).arg("--bundle").arg(bundle).arg(file);
        program::run(&mut command)
    }

    /// Verifies a bundle of either kind.
    pub fn verify(&self, signer: &Identity, bundle: &Path, artifact: &Path) -> Result<Outcome> {
        let mut command = self.command("verify");
        command.args(["identity", "--offline", "--bundle"]).arg(bundle);
        command
            .args(["--cert-identity", &signer.subject, "--cert-oidc-issuer", &signer.issuer])
            .arg(artifact);
        program::run(&mut command)
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(&self.program);
        program::isolate(&mut command, &self.home);
        // Wide enough for a sentence on a line.
        command.env("COLUMNS", "400").arg("--trust-config").arg(&self.config).arg(verb);
        command
    }
}
