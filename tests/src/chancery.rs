//! Our own command line, as a CI job or a verifier uses it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::Instance;
use crate::dev_issuer::IdToken;
use crate::program::{self, Outcome};

/// `chancery` with a home of its own, in which it pins an instance.
pub struct Chancery {
    program: PathBuf,
    home: PathBuf,
}

impl Chancery {
    /// One that knows no instance yet.
    pub fn new(instance: &Instance, home: &str) -> Result<Self> {
        Ok(Self { program: program::own("chancery")?, home: instance.home(home)? })
    }

    /// One that has pinned the instance's server.
    pub fn trusting(instance: &Instance) -> Result<Self> {
        let chancery = Self::new(instance, "chancery")?;
        chancery.run(&["trust", "add", instance.server.url()])?.success()?;
        Ok(chancery)
    }

    /// Runs it with `arguments` and no CI environment.
    pub fn run<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Result<Outcome> {
        program::run(self.command().args(arguments))
    }

    /// Runs it as a step of a GitHub Actions job whose tokens the instance's issuer mints.
    pub fn run_in_job<S: AsRef<OsStr>>(&self, instance: &Instance, arguments: &[S]) -> Result<Outcome> {
        program::run(self.command().envs(instance.issuer.job_environment()).args(arguments))
    }

    /// Runs it with these variables, and no CI environment.
    pub fn run_with<S: AsRef<OsStr>>(&self, variables: &[(&str, &str)], arguments: &[S]) -> Result<Outcome> {
        program::run(self.command().envs(variables.iter().copied()).args(arguments))
    }

    /// Runs a shell script in which `chancery` is this program, with `arguments` as its `$1` and so on.
    pub fn run_script<S: AsRef<OsStr>>(&self, script: &str, arguments: &[S]) -> Result<Outcome> {
        let mut command = Command::new("sh");
        program::isolate(&mut command, &self.home);
        command.current_dir(&self.home).env("CHANCERY", &self.program);
        let script = format!("chancery() {{ \"$CHANCERY\" \"$@\"; }}\n{script}");
        program::run(command.arg("-c").arg(script).arg("sh").args(arguments))
    }

    /// Its folder, which is its home, its working folder and the one for temporary files.
    pub fn home(&self) -> &Path {
        &self.home
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        program::isolate(&mut command, &self.home);
        command.current_dir(&self.home);
        command
    }
}

/// What a verifier expects of the signer: arguments for `chancery verify`.
pub struct Policy;

impl Policy {
    /// The identity and issuer that a certificate for `token` names.
    pub fn of(token: &IdToken) -> [String; 4] {
        Self::identity(&token.identity(), token.issuer())
    }

    /// Any identity and issuer.
    pub fn identity(identity: &str, issuer: &str) -> [String; 4] {
        ["--certificate-identity", identity, "--certificate-oidc-issuer", issuer].map(str::to_owned)
    }
}
