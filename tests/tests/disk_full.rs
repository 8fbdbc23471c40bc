//! A disk that runs full under the real server: below the watermark writes are refused while reads go on, and when another
//! file takes the last byte in the middle of a commit the process ends without having promised anything that it lost.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use chancery_tests::Instance;
use chancery_tests::program::PATIENCE;
use chancery_tests::promises::{Load, Logs, Promises};
use chancery_tests::rekor::Submitter;
use chancery_tests::small_disk::{SmallDisk, may_mount_or_run_inside};
use chancery_tests::strace::Strace;
use reqwest::StatusCode;
use serde_json::Value;

const MIB: u64 = 1 << 20;
/// More than the watermark of 512 MiB, and less.
const ENOUGH: u64 = 768 * MIB;
const TOO_LITTLE: u64 = 400 * MIB;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_runs_full_loses_nothing() -> Result<()> {
    if !may_mount_or_run_inside("a_disk_that_runs_full_loses_nothing")? {
        return Ok(());
    }
    let mut instance = Instance::stopped().await?;
    let disk = SmallDisk::over(&instance.server.folder().join("logs"), ENOUGH)?;
    // As on a file system that cannot preallocate: RocksDB would write its log into space that it has already.
    let arguments = ["-e", "trace=fallocate", "-e", "inject=fallocate:error=EOPNOTSUPP"];
    let (strace, ended) = Strace::over_a_start(&mut instance, &arguments, "fallocate").await?;
    ensure!(ended.is_none(), "the server ended");
    let (logs, token) = (Logs::of(&instance)?, instance.issuer.token().await?);
    let mut promises = Promises::default();
    promises.add_to_each(&logs, &token).await?;

    // Below the watermark.
    disk.leave(TOO_LITTLE)?;
    refused_for_space(&instance, &logs).await?;
    promises.see(&logs).await?;
    promises.check_round(&logs).await.context("reads go on")?;
    disk.leave(ENOUGH)?;
    accepted(&mut promises, &logs, &instance).await?;

    // No byte left, in the middle of commits.
    let said_before = instance.server.output().await?.len();
    let load = Load::start(&logs, &token)?;
    taken_in(&logs).await?;
    disk.leave(MIB / 4)?;
    let filler = disk.fill()?;
    // The watch on the disk may have seen it first: then writes are refused, and nothing ends.
    let ended = ended_or_refuses(&mut instance, &logs).await?;
    if !ended {
        instance.server.kill()?;
    }
    let made = promises.take(load).await?;
    let said = instance.server.output().await?.split_off(said_before);
    ensure!(
        !ended || said.contains("a commit may or may not be durable, restart to find out"),
        "the server did not say why it ended:\n{said}"
    );
    eprintln!(
        "{made:?} acknowledged by v1, v2 and the CA; then the server {}",
        if ended { "ended" } else { "refused" }
    );
    drop(strace);

    std::fs::remove_file(filler)?;
    disk.leave(ENOUGH)?;
    instance.server.start().await.context("start after space was made")?;
    promises.check_round(&logs).await.context("after the full disk")?;
    promises.add_to_each(&logs, &token).await.context("writes go on")?;
    promises.check_all(&logs).await?;
    instance.server.stop().await?;
    instance.server.run("fsck")?.success().map(drop)
}

/// An add to v1, whatever the answer is.
async fn add(instance: &Instance, entry: &Value) -> Result<reqwest::Response> {
    let url = format!("{}/api/v1/log/entries", instance.server.url());
    Ok(chancery_tests::http()?.post(url).json(entry).send().await?)
}

/// All three logs come to refuse, with the time to try again.
async fn refused_for_space(instance: &Instance, logs: &Logs) -> Result<()> {
    let submitter = Submitter::new()?;
    let started = Instant::now();
    loop {
        let answer = add(instance, &submitter.hashedrekord(&logs.artifact())?).await?;
        if answer.status() == StatusCode::SERVICE_UNAVAILABLE {
            ensure!(answer.headers().contains_key("retry-after"), "503 without Retry-After");
            let why = answer.text().await?;
            ensure!(why.contains("its disk is nearly full"), "refused for another reason: {why}");
            break;
        }
        ensure!(answer.status() == StatusCode::CREATED, "a nearly full disk is answered {}", answer.status());
        ensure!(started.elapsed() < PATIENCE, "a nearly full disk is not noticed");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // The others have been idle for longer than the answer of the file system is good for.
    let token = instance.issuer.token().await?;
    let v2 = logs.rekor_v2.add(&submitter.hashedrekord_v2(&logs.artifact())?).await?;
    ensure!(v2.is_none(), "v2 takes entries on a nearly full disk");
    // In Fulcio's words, which are 500 for whatever goes wrong with its log.
    let (status, why) = logs.ca.request(&token).await?;
    ensure!(status >= 500, "a CA that cannot log answers {status}: {why}");
    Ok(())
}

async fn accepted(promises: &mut Promises, logs: &Logs, instance: &Instance) -> Result<()> {
    let (token, started) = (instance.issuer.token().await?, Instant::now());
    while let Err(error) = promises.add_to_each(logs, &token).await {
        ensure!(started.elapsed() < PATIENCE, "space was made, and writes are refused: {error:#}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// Waits until the load has moved the head.
async fn taken_in(logs: &Logs) -> Result<()> {
    let (before, started) = (logs.rekor.head().await?, Instant::now());
    while logs.rekor.head().await? == before {
        ensure!(started.elapsed() < PATIENCE, "the load is no load");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

async fn ended_or_refuses(instance: &mut Instance, logs: &Logs) -> Result<bool> {
    let (submitter, started) = (Submitter::new()?, Instant::now());
    loop {
        match add(instance, &submitter.hashedrekord(&logs.artifact())?).await {
            Err(_) => {
                let status = instance.server.ended().await?;
                ensure!(!status.success(), "the server ended as if nothing had happened");
                return Ok(true);
            }
            // Once is not enough: others may still be in the middle of a commit.
            Ok(answer) if answer.status() == StatusCode::SERVICE_UNAVAILABLE => {
                if started.elapsed() > Duration::from_secs(5) {
                    return Ok(false);
                }
            }
            Ok(_) => ensure!(started.elapsed() < PATIENCE, "a full disk is not noticed"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
