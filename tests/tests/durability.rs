//! An acknowledgement means "on the disk". kill -9 cannot show that, since the page cache survives it; the system
//! calls can.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use chancery_tests::ca::CaClient;
use chancery_tests::rekor::{RekorLog, Submitter};
use chancery_tests::{Instance, Program};

/// The sync calls of a process, as strace sees them from now on.
struct Syncs {
    _strace: Program,
    trace: PathBuf,
}

impl Syncs {
    async fn of(process: u32, scratch: &Path) -> Result<Self> {
        let trace = scratch.join("trace");
        let mut command = Command::new("strace");
        command.args(["-f", "-e", "trace=fsync,fdatasync", "-p", &process.to_string(), "-o"]).arg(&trace);
        let mut strace = Program::start("strace", &mut command, &scratch.join("strace.log"))?;
        strace.wait_for(|said| said.contains("attached")).await?;
        Ok(Self { _strace: strace, trace })
    }

    fn count(&self) -> Result<usize> {
        Ok(std::fs::read_to_string(&self.trace)?.lines().filter(|line| line.contains("sync(")).count())
    }
}

#[tokio::test]
async fn entries_and_certificates_are_synced_before_they_are_acknowledged() -> Result<()> {
    let instance = Instance::start().await?;
    let (server, token) = (&instance.server, instance.issuer.token().await?);
    let log = RekorLog::new(server.url(), &server.trust("rekor.pub"))?;
    let ca = CaClient::new(server.url(), &server.trust("ct.pub"))?;
    let submitter = Submitter::new()?;
    let syncs = Syncs::of(server.id().context("the server runs")?, instance.scratch()).await?;
    for round in 0..5 {
        let before = syncs.count()?;
        let entry = submitter.hashedrekord(format!("artifact {round}").as_bytes())?;
        log.add(&entry).await?.context("an idle log takes entries")?;
        let between = syncs.count()?;
        ensure!(between > before, "entry {round} was acknowledged without a sync");
        ca.issue(&token).await?.context("an idle CA issues")?;
        ensure!(syncs.count()? > between, "certificate {round} was issued without a sync");
    }
    Ok(())
}
