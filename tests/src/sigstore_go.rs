//! Unmodified example programs of sigstore-go, which are the library and little else.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::dev_issuer::IdToken;
use crate::program::{self, Outcome};
use crate::{Identity, Instance, peers};

/// The signing and the verifying program, with a home of their own.
pub struct SigstoreGo {
    signing: PathBuf,
    verification: PathBuf,
    home: PathBuf,
    root: PathBuf,
    config: PathBuf,
}

impl SigstoreGo {
    /// Pointed at the instance by its signing config and trusted root.
    pub fn new(instance: &Instance) -> Result<Self> {
        Ok(Self {
            signing: peers::program("sigstore-go-signing")?,
            verification: peers::program("sigstore-go-verification")?,
            home: instance.home("sigstore-go")?,
            root: instance.server.trust("trusted_root.json"),
            config: instance.server.trust("signing_config.json"),
        })
    }

    /// Signs a file; a log entry and a timestamp are asked for.
    pub fn sign(&self, token: &IdToken, file: &Path, bundle: &Path) -> Result<Outcome> {
        self.signed(&[], token, file, bundle)
    }

    /// Signs an in-toto statement.
    pub fn attest(&self, token: &IdToken, statement: &Path, bundle: &Path) -> Result<Outcome> {
        self.signed(&["-in-toto"], token, statement, bundle)
    }

    fn signed(&self, flags: &[&str], token: &IdToken, file: &Path, bundle: &Path) -> Result<Outcome> {
        let mut command = Command::new(&self.signing);
        program::isolate(&mut command, &self.home);
        command.args(flags).args(["-rekor", "-tsa", "-id-token", token.as_str()]);
        command.arg("-signing-config").arg(&self.config).arg("-trusted-root").arg(&self.root).arg(file);
        let outcome = program::run(&mut command)?;
        if outcome.code != Some(0) {
            return Ok(outcome);
        }
        // It tells the public key first, on stdout too.
        let start = outcome.stdout.find("\n{").with_context(|| outcome.said())?;
        std::fs::write(bundle, &outcome.stdout[start..])?;
        Ok(outcome)
    }

    /// Verifies a bundle: certificate, SCT, log entry and time are all required.
    pub fn verify(&self, signer: &Identity, bundle: &Path, artifact: &Path) -> Result<Outcome> {
        let mut command = Command::new(&self.verification);
        program::isolate(&mut command, &self.home);
        command.args(["-expectedSAN", &signer.subject, "-expectedIssuer", &signer.issuer]);
        command.arg("-trustedrootJSONpath").arg(&self.root).arg("-artifact").arg(artifact).arg(bundle);
        program::run(&mut command)
    }
}
