//! An acknowledgement means "on the disk". kill -9 cannot show that, since the page cache survives it; the system
//! calls can.

use anyhow::{Context as _, Result, ensure};
use chancery_tests::Instance;
use chancery_tests::promises::{Logs, Promises};
use chancery_tests::rekor::Submitter;
use chancery_tests::strace::Strace;

/// The sync calls of a process so far.
fn syncs(strace: &Strace) -> Result<usize> {
    Ok(strace.seen()?.lines().filter(|line| line.contains("sync(")).count())
}

const SYNCS: [&str; 2] = ["-e", "trace=fsync,fdatasync"];

#[tokio::test]
async fn entries_and_certificates_are_synced_before_they_are_acknowledged() -> Result<()> {
    let instance = Instance::start().await?;
    let (server, token, logs) = (&instance.server, instance.issuer.token().await?, Logs::of(&instance)?);
    let submitter = Submitter::new()?;
    let process = server.id().context("the server runs")?;
    let strace = Strace::attach(process, &SYNCS, instance.scratch(), "syncs").await?;
    for round in 0..5 {
        let before = syncs(&strace)?;
        logs.rekor.add(&submitter.hashedrekord(&logs.artifact())?).await?.context("added to v1")?;
        let v1 = syncs(&strace)?;
        ensure!(v1 > before, "entry {round} was acknowledged by v1 without a sync");
        logs.rekor_v2.add(&submitter.hashedrekord_v2(&logs.artifact())?).await?.context("added to v2")?;
        let v2 = syncs(&strace)?;
        ensure!(v2 > v1, "entry {round} was acknowledged by v2 without a sync");
        logs.ca.issue(&token).await?.context("an idle CA issues")?;
        ensure!(syncs(&strace)? > v2, "certificate {round} was issued without a sync");
    }
    Ok(())
}

/// After kill -9 between a write and its sync, the next process reads a record that is in the page cache only. It must
/// not show a head of it before it is on the disk.
#[tokio::test]
async fn what_a_start_reads_back_is_synced_before_it_is_served() -> Result<()> {
    let (mut instance, logs, mut promises) = Promises::of_a_killed_instance().await?;
    let arguments = ["-y", "-e", "trace=fsync,fdatasync,accept4"];
    let (strace, ended) = Strace::over_a_start(&mut instance, &arguments, "start").await?;
    ensure!(ended.is_none(), "the server ended");
    let seen = strace.seen()?;
    let before = seen.split_once("accept4(").context("the server answers")?.0;
    for log in ["ct", "rekor-v1", "rekor-v2"] {
        let synced = |line: &&str| line.contains("sync(") && line.contains(&format!("logs/{log}/"));
        ensure!(
            before.lines().any(|line| synced(&line) && line.contains(".sst>")),
            "the records of `{log}` were served from its write-ahead log, unsynced:\n{seen}"
        );
    }
    promises.check_round(&logs).await
}
