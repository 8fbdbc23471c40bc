//! A second server on one folder or on a copy of it, and a move that makes none.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use chancery_tests::rekor::{RekorLog, Submitter};
use chancery_tests::{Program, Server, program};

use crate::World;

const SECOND: &str = "CHANCERY_LISTEN__ADDRESS=127.0.0.1:0 CHANCERY_LISTEN__METRICS=127.0.0.1:0 \
                      chancery-server run \"$DIR\"";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_writers() -> Result<()> {
    let (world, mut users) = World::running(&[]).await?;
    let mut section = world.section("Two writers")?;
    let (who, check) = (section.block()?, section.block()?);
    section.done()?;
    world.operator.tries(SECOND)?.refused(1, &["in use by another process"])?;
    let seen = world.operator.follows(&who)?;
    let server = world.operator.server()?.to_string();
    ensure!(seen.stdout.split_whitespace().all(|process| process == server), "{}", seen.said());
    ensure!(seen.stderr.contains("chancery-serve"), "{}", seen.said());
    users.add().await.context("the first goes on")?;

    // One on a copy answers somebody.
    world.sh("systemctl stop chancery-server; cp -a \"$DIR\" \"$DIR.copy\"")?;
    world.is_ready().await?;
    users.add().await?;
    let (copy, url) = second(&world).await?;
    let other = RekorLog::new(&url, &world.server().trust("rekor.pub"))?;
    other.add(&Submitter::new()?.hashedrekord(b"on the copy")?).await?.context("a copy takes entries")?;
    world.keeps_checkpoints()?;
    world.sh(&format!("cp -r seen seen.own; curl -fsS {url}/rekor-v1/checkpoint -o seen/rekor-v1"))?;
    drop(copy);
    world.operator.tries(&check)?.refused(1, &["log `rekor-v1`: ", "was seen", "log `ct`: sound"])?;
    ensure!(!world.operator.is_running(), "a log that has forked is served");

    // Nobody has seen anything of the copy.
    world.sh("rm -r seen; mv seen.own seen")?;
    world.operator.follows(&check)?;
    world.is_ready().await?;
    users.find_everything().await
}

/// A server on `$DIR.copy`, at another port, and its address.
async fn second(world: &World) -> Result<(Program, String)> {
    let address = format!("127.0.0.1:{}", program::free_port()?);
    let mut command: Command = Server::command(&["run"])?;
    command.arg(world.sh("printf %s \"$DIR.copy\"")?);
    command.env("CHANCERY_LISTEN__ADDRESS", &address).env("CHANCERY_LISTEN__METRICS", "127.0.0.1:0");
    let log = world.instance.scratch().join("second.log");
    let mut program = Program::start("second server", &mut command, &log)?;
    program.wait_for(|said| said.contains("listening on")).await?;
    Ok((program, format!("http://{address}")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn moving_to_a_new_host() -> Result<()> {
    let (mut world, mut users) = World::running(&[]).await?;
    world.place("MEMORY", "memory");
    let mut keep = world.section("Keep checkpoints elsewhere")?;
    let (collect, remember) = (keep.block()?, keep.block()?);
    world.operator.follows(&remember)?;
    world.is_ready().await?;
    users.add().await?;
    world.operator.follows(&collect)?;

    let mut section = world.section("Moving to a new host")?;
    world.operator.follows(&section.block()?)?;
    let there = world.operator.at_new_host()?;
    let arrive = section.block()?;
    section.done()?;
    // The first attempt loses a file on its way.
    there.follows("mv \"$DIR/logs/rekor-v1/CURRENT\" kept")?;
    there.tries(&arrive)?.failure(&["rekor-v1"])?;
    ensure!(!there.is_running(), "a folder that is not sound is served");
    there.follows("mv kept \"$DIR/logs/rekor-v1/CURRENT\"")?;
    there.follows(&arrive)?;
    users.find_everything().await?;
    world.keeps_checkpoints()?;

    // By accident, or after a reboot. Were it not for the name of the folder, two servers would write.
    world.operator.tries("systemctl start chancery-server")?.failure(&["the unit does not start"])?;
    ensure!(!world.operator.is_running(), "the old host serves its copy");
    users.find_everything().await?;
    there.follows("systemctl stop chancery-server").map(drop)
}
