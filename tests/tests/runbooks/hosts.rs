//! A second server on one folder or on a copy of it, and a move that makes none.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use chancery_tests::rekor::{RekorLog, Submitter};
use chancery_tests::verdicts::{Time, all_verify, sign};
use chancery_tests::{Chancery, Program, Server, program};

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn moving_to_another_address() -> Result<()> {
    let (mut world, _) = World::running(&[]).await?;
    world.takes_tuf_key_away()?;
    let before = sign(&world.instance, "before").await?;
    let client = Chancery::trusting(&world.instance)?;
    let old_url = world.server().url().to_owned();
    let new_url = old_url.replace("127.0.0.1", "localhost");
    world.operator.set("NEW_URL", new_url.clone());

    let mut section = world.section("Moving to another address")?;
    world.operator.follows(&section.block()?)?;
    section.done()?;
    world.is_ready().await?;
    let config = std::fs::read_to_string(world.server().trust("signing_config.json"))?;
    ensure!(config.contains(&new_url) && !config.contains(&old_url), "{config}");

    // The pinned client asks at the old address and signs at the new one; then it is told of the new one.
    let file = world.instance.file("asked", "asked at the old address")?.display().to_string();
    client.run(&["trust", "update"])?.success()?;
    let signed = client.run_in_job(&world.instance, &["sign", &file])?.success()?;
    ensure!(
        signed.stderr.contains(&format!("contacts {new_url} (certificate authority")),
        "{}",
        signed.stderr
    );
    let added = client.run(&["trust", "add", &new_url])?.success()?;
    ensure!(added.stdout.contains(&format!("instance           {new_url}")), "{}", added.stdout);
    ensure!(!added.stderr.contains("first use"), "{}", added.stderr);

    world.instance.server.is_at(&new_url);
    let after = sign(&world.instance, "after").await?;
    for signed in [&before, &after] {
        all_verify(&world.instance, signed, Time::Authority)?;
    }
    Ok(())
}
