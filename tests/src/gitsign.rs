//! Unmodified gitsign, called by git for a commit, and by hand to verify it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::dev_issuer::IdToken;
use crate::program::{self, Outcome};
use crate::{Identity, Instance, peers};

/// gitsign with a home and a repository of its own.
pub struct Gitsign {
    program: PathBuf,
    home: PathBuf,
    repository: PathBuf,
    url: String,
    environment: [(&'static str, PathBuf); 3],
}

impl Gitsign {
    /// An empty repository whose commits gitsign signs, and a gitsign that has pinned the instance's TUF root: its
    /// `verify` believes nothing else. For signing it has keys in files, as cosign 2.5 does.
    pub fn new(instance: &Instance) -> Result<Self> {
        let server = &instance.server;
        // Where there is no v1 log it has to fail at the log, not for want of a key.
        let rekor = Some(server.trust("rekor.pub")).filter(|key| key.exists());
        let home = instance.home("gitsign")?;
        let gitsign = Self {
            program: peers::program("gitsign")?,
            repository: home.join("repository"),
            home,
            url: server.url().to_owned(),
            environment: [
                ("GITSIGN_FULCIO_ROOT", server.trust("ca-chain.pem")),
                ("SIGSTORE_CT_LOG_PUBLIC_KEY_FILE", server.trust("ct.pub")),
                ("SIGSTORE_REKOR_PUBLIC_KEY", rekor.unwrap_or_else(|| server.trust("rekor-v2.pub"))),
            ],
        };
        let tuf = server.trust("tuf-root.json").display().to_string();
        let mirror = format!("{}/tuf", gitsign.url);
        let mut initialize = gitsign.command(&gitsign.program);
        program::run(initialize.args(["initialize", "--mirror", &mirror, "--root", &tuf]))?.success()?;
        std::fs::create_dir(&gitsign.repository)?;
        gitsign.git(&["init", "--quiet"], None)?.success()?;
        Ok(gitsign)
    }

    /// Makes a signed commit; its id, and the index of its entry in the log.
    pub fn commit(&self, token: &IdToken, message: &str) -> Result<(String, u64)> {
        let arguments = ["commit", "--quiet", "--allow-empty", "-S", "-m", message];
        self.git(&arguments, Some(token))?.success()?;
        // It speaks to a terminal or to this file, never to git's stderr.
        let said = std::fs::read_to_string(self.log())?;
        let index = said.rsplit("index: ").next().and_then(|rest| rest.split_whitespace().next());
        let index = index.with_context(|| format!("no log index: {said}"))?.parse()?;
        Ok((self.head()?, index))
    }

    /// Makes a commit with the signature of another one.
    pub fn forge(&self, signed: &str) -> Result<String> {
        let original = self.git(&["cat-file", "commit", signed], None)?.success()?.stdout;
        let message = original.trim_end().rsplit('\n').next().unwrap_or_default();
        let forged = self.home.join("forged");
        std::fs::write(&forged, original.replace(message, "another message"))?;
        let forged = forged.display().to_string();
        let outcome = self.git(&["hash-object", "-t", "commit", "-w", &forged], None)?.success()?;
        Ok(outcome.stdout.trim().to_owned())
    }

    /// Verifies a commit: certificate, SCT and log entry.
    pub fn verify(&self, signer: &Identity, commit: &str) -> Result<Outcome> {
        let mut command = self.command(&self.program);
        command.current_dir(&self.repository).args(["verify", "--certificate-identity", &signer.subject]);
        program::run(command.args(["--certificate-oidc-issuer", &signer.issuer, commit]))
    }

    fn log(&self) -> PathBuf {
        self.home.join("gitsign.log")
    }

    fn head(&self) -> Result<String> {
        Ok(self.git(&["rev-parse", "HEAD"], None)?.success()?.stdout.trim().to_owned())
    }

    fn git(&self, arguments: &[&str], token: Option<&IdToken>) -> Result<Outcome> {
        let mut command = self.command(Path::new("git"));
        let program = format!("gpg.x509.program={}", self.program.display());
        for setting in ["user.name=A", "user.email=a@example.com", "gpg.format=x509", &program] {
            command.args(["-c", setting]);
        }
        if let Some(token) = token {
            command.env("SIGSTORE_ID_TOKEN", token.as_str()).env("GITSIGN_TOKEN_PROVIDER", "envvar");
        }
        program::run(command.current_dir(&self.repository).args(arguments))
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        program::isolate(&mut command, &self.home);
        command.env("GIT_CONFIG_NOSYSTEM", "1");
        command.env("GITSIGN_FULCIO_URL", &self.url).env("GITSIGN_REKOR_URL", &self.url);
        command.env("GITSIGN_LOG", self.log());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }
}
