//! Unmodified rekor-cli.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::program::{self, Outcome};
use crate::{Instance, peers};

/// rekor-cli with a home of its own, in which it remembers tree heads.
pub struct RekorCli {
    program: PathBuf,
    home: PathBuf,
    url: String,
}

impl RekorCli {
    /// rekor-cli pointed at the instance. It asks the log for its key and remembers the tree head.
    pub fn new(instance: &Instance) -> Result<Self> {
        Ok(Self {
            program: peers::program("rekor-cli")?,
            home: instance.home("rekor-cli")?,
            url: instance.server.url().to_owned(),
        })
    }

    /// Runs `rekor-cli VERB ARGUMENTS…`, answers in JSON.
    pub fn run<S: AsRef<OsStr>>(&self, verb: &str, arguments: &[S]) -> Result<Outcome> {
        let mut command = Command::new(&self.program);
        program::isolate(&mut command, &self.home);
        command.args([verb, "--rekor_server", &self.url, "--format", "json"]).args(arguments);
        program::run(&mut command)
    }
}
