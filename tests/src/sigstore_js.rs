//! Unmodified sigstore-js: its command line, and the libraries `@sigstore/sign` and `@sigstore/verify` as a program of
//! somebody's would use them (`tests/sigstore-js/*.mjs`).

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::dev_issuer::IdToken;
use crate::program::{self, Outcome};
use crate::{Identity, Instance, peers};

/// sigstore-js with a home of its own.
pub struct SigstoreJs {
    program: PathBuf,
    node: PathBuf,
    packages: PathBuf,
    home: PathBuf,
    url: String,
    root: PathBuf,
    config: PathBuf,
    tuf_root: PathBuf,
}

impl SigstoreJs {
    /// Pointed at the instance: the libraries by its signing config and trusted root, the command line by URLs and by
    /// the TUF repository.
    pub fn new(instance: &Instance) -> Result<Self> {
        let server = &instance.server;
        Ok(Self {
            program: peers::program("sigstore-js")?,
            node: peers::program("node")?,
            packages: peers::sigstore_js()?,
            home: instance.home("sigstore-js")?,
            url: server.url().to_owned(),
            root: server.trust("trusted_root.json"),
            config: server.trust("signing_config.json"),
            tuf_root: server.trust("tuf-root.json"),
        })
    }

    /// Signs a file with `@sigstore/sign`.
    pub fn sign(&self, token: &IdToken, file: &Path, bundle: &Path) -> Result<Outcome> {
        self.signed("blob", token, file, bundle)
    }

    /// Signs an in-toto statement with `@sigstore/sign`.
    pub fn attest(&self, token: &IdToken, statement: &Path, bundle: &Path) -> Result<Outcome> {
        self.signed("dsse", token, statement, bundle)
    }

    fn signed(&self, kind: &str, token: &IdToken, file: &Path, bundle: &Path) -> Result<Outcome> {
        let mut command = self.script("sign.mjs");
        command.env("SIGSTORE_ID_TOKEN", token.as_str()).arg(&self.config);
        program::run(command.arg(kind).arg(file).arg(bundle))
    }

    /// Signs an in-toto statement with the command line, which has no signing config and knows Rekor v1 alone.
    pub fn attest_by_url(&self, token: &IdToken, statement: &Path, bundle: &Path) -> Result<Outcome> {
        let mut command = self.command("attest");
        // Without `CI` it would open a browser. Its five seconds are short for a machine that runs other tests.
        command.env("CI", "true").env("SIGSTORE_ID_TOKEN", token.as_str());
        command.args(["--fulcio-url", &self.url, "--rekor-url", &self.url, "--timeout", "30"]);
        program::run(command.arg("-o").arg(bundle).arg(statement))
    }

    /// Verifies a bundle with `@sigstore/verify` and the trusted root in a file.
    pub fn verify(&self, signer: &Identity, bundle: &Path, artifact: &Path) -> Result<Outcome> {
        let mut command = self.script("verify.mjs");
        command.arg(&self.root).args([&signer.subject, &signer.issuer]).arg(bundle).arg(artifact);
        program::run(&mut command)
    }

    /// Verifies a bundle with the command line, which fetches the trusted root from the TUF repository. It leaves to
    /// its user whether an attestation speaks of an artifact.
    pub fn verify_by_tuf(&self, signer: &Identity, bundle: &Path, blob: Option<&Path>) -> Result<Outcome> {
        let mut command = self.command("verify");
        command.arg("--tuf-mirror-url").arg(format!("{}/tuf", self.url));
        command.arg("--tuf-root-path").arg(&self.tuf_root);
        command.arg("--tuf-cache-path").arg(self.home.join("tuf"));
        command.args(["--certificate-identity-uri", &signer.subject, "--certificate-issuer", &signer.issuer]);
        if let Some(blob) = blob {
            command.arg("--blob-file").arg(blob);
        }
        program::run(command.arg(bundle))
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(&self.program);
        program::isolate(&mut command, &self.home);
        command.arg(verb);
        command
    }

    fn script(&self, name: &str) -> Command {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("sigstore-js").join(name);
        let mut command = Command::new(&self.node);
        program::isolate(&mut command, &self.home);
        command.arg(script).arg(&self.packages);
        command
    }
}
