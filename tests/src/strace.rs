//! strace on a running process: it sees system calls, and makes them fail.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use anyhow::Result;

use crate::{Instance, Program};

/// An strace that watches a process until either ends.
pub struct Strace {
    _strace: Program,
    trace: PathBuf,
}

impl Strace {
    /// Attaches to `process` and all its threads with these further arguments; `name` is for its files in `scratch`.
    pub async fn attach(process: u32, arguments: &[&str], scratch: &Path, name: &str) -> Result<Self> {
        let trace = scratch.join(format!("{name}.trace"));
        let mut command = Command::new("strace");
        command.args(["-f", "-p", &process.to_string(), "-o"]).arg(&trace).args(arguments);
        let mut strace = Program::start("strace", &mut command, &scratch.join(format!("{name}.strace")))?;
        strace.wait_for(|said| said.contains("attached")).await?;
        Ok(Self { _strace: strace, trace })
    }

    /// Starts the server of an instance with this attached from its first instruction, and waits until it is ready or
    /// has ended: then with its status.
    pub async fn over_a_start(
        instance: &mut Instance,
        arguments: &[&str],
        name: &str,
    ) -> Result<(Self, Option<ExitStatus>)> {
        let process = instance.server.start_halted().await?;
        let strace = Self::attach(process, arguments, instance.scratch(), name).await?;
        instance.server.go_on()?;
        let ended = instance.server.ready_or_ended().await?;
        Ok((strace, ended))
    }

    /// What it has seen so far, a line a call.
    pub fn seen(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&std::fs::read(&self.trace)?).into_owned())
    }
}
