//! Checkpoints that are kept elsewhere, and old copies that they find out.

use anyhow::{Context as _, Result, ensure};

use crate::{Users, World};

const LOGS: [(&str, &str); 3] = [("rekor-v1", "/rekor-v1"), ("rekor-v2", ""), ("ct", "/ct")];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checkpoints_elsewhere_find_out_old_copies() -> Result<()> {
    let (mut world, mut users) = World::running(&[]).await?;
    let mut keep = world.section("Keep checkpoints elsewhere")?;
    let (collect, remember) = (keep.block()?, keep.block()?);
    keep.done()?;
    collected(&world, &collect).await?;
    copy(&world, "old")?;
    world.is_ready().await?;
    users.add().await?;
    collected(&world, &collect).await?;

    // Nobody here remembers: the old copy runs, and whoever collects checkpoints sees it.
    swap(&world, "old", "newest")?;
    world.is_ready().await?;
    let kept = world.sh("cat seen/rekor-v1")?;
    world
        .operator
        .tries(&collect)?
        .refused(1, &["rekor-v1 has lost entries: an old copy is served, stop it"])?;
    ensure!(world.sh("cat seen/rekor-v1")? == kept, "the newer checkpoint was forgotten");
    swap(&world, "newest", "old")?;

    world.place("MEMORY", "memory");
    world.operator.follows(&remember)?;
    world.is_ready().await?;
    users.find_everything().await?;
    remembered(&world).await?;
    not_written(&world, &mut users).await?;
    refused_starts(&world, &mut users).await
}

/// Follows the collector; what it has afterwards is what the logs show.
async fn collected(world: &World, collect: &str) -> Result<()> {
    world.operator.follows(collect)?;
    for (log, prefix) in LOGS {
        let kept = world.sh(&format!("cat seen/{log}"))?;
        ensure!(kept == world.checkpoint(prefix).await?, "seen/{log} is {kept}");
    }
    ensure!(world.sh("ls seen")?.lines().count() == LOGS.len(), "something is left in seen/");
    Ok(())
}

/// The memory comes to hold what the logs show.
async fn remembered(world: &World) -> Result<()> {
    for (log, prefix) in LOGS {
        let shown = world.checkpoint(prefix).await?;
        let same = async || Ok(world.sh(&format!("cat \"$MEMORY/{log}\""))? == shown);
        world.operator.until("the memory has the newest head", same).await?;
    }
    Ok(())
}

/// The disk of the memory is gone while the server runs.
async fn not_written(world: &World, users: &mut Users) -> Result<()> {
    let mut section = world.section("The memory of heads is not written")?;
    let (what, well) = (section.block()?, section.block()?);
    section.done()?;
    let quiet = world.operator.follows(&what)?.stdout;
    ensure!(!quiet.contains("chancery_memory_failures_total"), "failures before there was one: {quiet}");
    world.sh("mv \"$MEMORY\" \"$MEMORY.gone\"")?;
    users.add().await.context("the logs go on")?;
    let failing = async || {
        let shown = world.operator.follows(&what)?.stdout;
        let second = |line: &str| line.starts_with("chancery_memory") && line.contains("memory=\"second\"");
        Ok(shown.lines().filter(|line| second(line)).count() == LOGS.len()
            && shown.contains("cannot be written"))
    };
    world.operator.until("each log counts that its memory fails", failing).await?;
    world.sh("mv \"$MEMORY.gone\" \"$MEMORY\"")?;
    remembered(world).await?;
    let caught_up = async || {
        let shown = world.operator.follows(&well)?.stdout;
        let of = |name: &str| shown.lines().filter(|line| line.starts_with(name)).count();
        // Every log has its size, and both memories have the same.
        let sizes: Vec<_> = shown.lines().filter_map(|line| line.rsplit(' ').next()).collect();
        ensure!(of("chancery_log_size") == 3 && of("chancery_memory_size") == 6, "{shown}");
        Ok(sizes.iter().all(|size| sizes.iter().filter(|other| *other == size).count() % 3 == 0))
    };
    world.operator.until("the memories have caught up", caught_up).await
}

async fn refused_starts(world: &World, users: &mut Users) -> Result<()> {
    let mut section = world.section("The server refuses an old copy")?;
    let (why, start, remember) = (section.block()?, section.block()?, section.block()?);
    section.done()?;
    copy(world, "old-2")?;
    // A copy that somebody served elsewhere, where its memory was not.
    world
        .sh("cp -a \"$DIR.old-2\" \"$DIR.fork\"; sed -i '/^\\[memory\\]/,$d' \"$DIR.fork/chancery.toml\"")?;
    swap(world, "fork", "newest")?;
    world.is_ready().await?;
    world.add("on the fork").await?;
    swap(world, "newest", "fork")?;
    world.sh("cp \"$DIR/chancery.toml\" \"$DIR.fork/chancery.toml\"")?;
    world.is_ready().await?;
    world.add("on the original").await?;

    for (copy, reason) in [("old-2", "this is an old copy"), ("fork", "has signed two histories")] {
        swap(world, copy, "newest")?;
        refused(world, &why, reason).await?;
        swap(world, "newest", copy)?;
    }
    world.sh("mv \"$MEMORY\" \"$MEMORY.unmounted\"")?;
    refused(world, &why, "the memory of heads").await?;
    world.sh("mv \"$MEMORY.unmounted\" \"$MEMORY\"")?;
    world.operator.follows(&start)?;
    world.is_ready().await?;
    users.find_everything().await?;

    // Lost for good.
    world.keeps_checkpoints()?;
    world.sh("systemctl stop chancery-server; rm -r \"$MEMORY\"")?;
    world.operator.follows(&remember)?;
    world.is_ready().await?;
    users.find_everything().await?;
    remembered(world).await
}

/// A start that does not succeed, and says why in the journal.
async fn refused(world: &World, why: &str, reason: &str) -> Result<()> {
    let before = world.operator.journal().len();
    // systemd does not wait for what the program itself finds out.
    world.operator.tries("systemctl start chancery-server")?;
    world.operator.until("the server ends", async || Ok(!world.operator.is_running())).await?;
    let said = world.operator.journal().split_off(before);
    ensure!(said.contains(reason), "it does not say `{reason}`: {said}");
    ensure!(world.operator.follows(why)?.stdout.contains(reason), "the journal does not show it");
    Ok(())
}

/// A copy of the folder, made while the server is stopped.
fn copy(world: &World, name: &str) -> Result<()> {
    world.sh(&format!("systemctl stop chancery-server; cp -a \"$DIR\" \"$DIR.{name}\"")).map(drop)
}

/// `$DIR.NAME` takes the place of the folder, which gets the other name.
fn swap(world: &World, name: &str, other: &str) -> Result<()> {
    let swap = "systemctl stop chancery-server; mv \"$DIR\" \"$DIR.OTHER\"; mv \"$DIR.NAME\" \"$DIR\"";
    world.sh(&swap.replace("OTHER", other).replace("NAME", name)).context("swapped").map(drop)
}
