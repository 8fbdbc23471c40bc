//! A clock that steps under the real server. Back: the logs keep their last head's time, the timestamp authority and the CA
//! give nothing out. Forward and back again: the logs hold the later time, and do not start before it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use chancery_tests::program::{self, PATIENCE};
use chancery_tests::promises::{Logs, Promises};
use chancery_tests::rekor::{Acknowledged, Submitter};
use chancery_tests::{Instance, Server, peers};

const HOUR: u64 = 3600;

/// What a process under libfaketime takes for the time: the machine's, moved by what a file says.
struct Clock {
    file: PathBuf,
}

impl Clock {
    fn new(scratch: &Path) -> Result<Self> {
        let clock = Self { file: scratch.join("clock") };
        clock.set("+0")?;
        Ok(clock)
    }

    /// Steps it: `-3h` is three hours behind the machine's.
    fn set(&self, offset: &str) -> Result<()> {
        // At once: a reader must never see half of it.
        let new = self.file.with_extension("new");
        std::fs::write(&new, format!("{offset}\n"))?;
        Ok(std::fs::rename(new, &self.file)?)
    }

    /// `chancery-server run` with this clock. Its timers, which count what has passed, are the machine's.
    fn server(&self) -> Result<Command> {
        let mut command = Server::command(&["run"])?;
        command.env("LD_PRELOAD", peers::libfaketime()?).env("FAKETIME_TIMESTAMP_FILE", &self.file);
        command.env("FAKETIME_NO_CACHE", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        Ok(command)
    }
}

async fn add(logs: &Logs) -> Result<Acknowledged> {
    let entry = Submitter::new()?.hashedrekord(&logs.artifact())?;
    logs.rekor.add(&entry).await?.context("an idle log takes entries")
}

/// Asks for a timestamp; the status of the answer, and whether it says when to come back.
async fn stamp(instance: &Instance) -> Result<(u16, bool)> {
    let query = instance.scratch().join("query.tsq");
    let mut openssl = Command::new("openssl");
    openssl.args(["ts", "-query", "-sha256", "-cert", "-digest", &"ab".repeat(32), "-out"]).arg(&query);
    program::run(&mut openssl)?.success()?;
    let url = format!("{}/api/v1/timestamp", instance.server.url());
    let request = chancery_tests::http()?.post(url).header("content-type", "application/timestamp-query");
    let answer = request.body(std::fs::read(&query)?).send().await?;
    Ok((answer.status().as_u16(), answer.headers().contains_key("retry-after")))
}

#[tokio::test]
async fn a_clock_that_steps_moves_no_promise() -> Result<()> {
    let mut instance = Instance::stopped().await?;
    let clock = Clock::new(instance.scratch())?;
    instance.server.start_by(clock.server()?).await?;
    let (logs, token) = (Logs::of(&instance)?, instance.issuer.token().await?);
    let mut promises = Promises::default();
    promises.add_to_each(&logs, &token).await?;
    let first = add(&logs).await?;
    ensure!(stamp(&instance).await?.0 / 100 == 2, "no timestamp in ordinary times");

    clock.set("-3h")?;
    let held = add(&logs).await?;
    ensure!(held.integrated == first.integrated, "{} after {}", held.integrated, first.integrated);
    ensure!(stamp(&instance).await? == (503, true), "a timestamp while the clock is wrong");
    let (status, why) = logs.ca.request(&instance.issuer.token().await?).await?;
    ensure!((400..500).contains(&status), "a certificate of three hours ago? {status}: {why}");
    ensure!(instance.server.output().await?.contains("the clock stepped back"), "nobody was told");
    promises.see(&logs).await?;

    clock.set("+0")?;
    stamps_again(&instance).await?;
    promises.add_to_each(&logs, &instance.issuer.token().await?).await?;

    clock.set("+2h")?;
    let ahead = add(&logs).await?;
    ensure!(ahead.integrated >= first.integrated + 2 * HOUR, "the clock did not step");
    let (status, why) = logs.ca.request(&instance.issuer.token().await?).await?;
    ensure!((400..500).contains(&status), "a certificate for an expired token? {status}: {why}");

    clock.set("+0")?;
    let after = add(&logs).await?;
    ensure!(after.integrated >= ahead.integrated, "time went back to {}", after.integrated);
    promises.check_round(&logs).await?;
    instance.server.stop().await?;
    // Its head is two hours ahead: whoever started it would sign times that were signed before.
    program::run(clock.server()?.arg(instance.server.folder()))?
        .failure(&["the clock shows", "set the clock"])?;
    clock.set("+2h")?;
    instance.server.start_by(clock.server()?).await?;
    logs.rekor.get(&held.id).await?;
    logs.rekor.get(&after.id).await?;
    promises.check_all(&logs).await?;
    instance.server.stop().await?;
    instance.server.run("fsck")?.success().map(drop)
}

async fn stamps_again(instance: &Instance) -> Result<()> {
    let started = Instant::now();
    while stamp(instance).await?.0 / 100 != 2 {
        ensure!(started.elapsed() < PATIENCE, "the clock is right again, and there are no timestamps");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}
