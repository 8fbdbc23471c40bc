//! A disk that fails, and one that is full.

use anyhow::{Result, ensure};
use chancery_tests::small_disk::{SmallDisk, may_mount_or_run_inside};
use chancery_tests::strace::Strace;

use crate::World;

const MIB: u64 = 1 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_of_unknown_outcome() -> Result<()> {
    let world = World::begin(&[]).await?;
    world.operator.starts().await?;
    let acknowledged = world.add("before").await?;
    let fail = ["-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO:when=1+"];
    let strace = Strace::attach(world.operator.server()?, &fail, world.instance.scratch(), "sync").await?;
    let entry = world.submitter.hashedrekord(b"in doubt")?;
    let answered = world.log.add(&entry).await;
    ensure!(!matches!(answered, Ok(Some(_))), "acknowledged without a sync");
    world.operator.until("the server ends", async || Ok(!world.operator.is_running())).await?;
    drop(strace);
    ensure!(world.operator.journal().contains("a commit may or may not be durable"), "it says why it ends");

    let mut section = world.section("A commit of unknown outcome")?;
    for _ in 0..2 {
        world.operator.follows(&section.block()?)?;
    }
    let checkpoint = world.operator.follows(&section.block()?)?.stdout;
    ensure!(checkpoint.contains("/rekor-v1\n"), "a checkpoint: {checkpoint}");
    section.done()?;
    let shown =
        world.operator.follows("curl -fsS \"$METRICS/metrics\" | grep '^chancery_previous_run'")?.stdout;
    ensure!(shown.contains("ended=\"unknown\"} 1"), "the alert's metric: {shown}");
    // What was in doubt is submitted again: it is there, or it is taken now.
    if let Err(error) = world.log.add(&entry).await {
        ensure!(error.to_string().contains("an equivalent entry already exists"), "{error:#}");
    }
    world.is_well(&acknowledged).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk() -> Result<()> {
    if !may_mount_or_run_inside("disk::a_full_disk")? {
        return Ok(());
    }
    let mut world = World::begin(&[]).await?;
    let home = world.instance.scratch().join("disk");
    std::fs::create_dir(&home)?;
    let disk = SmallDisk::over(&home, 704 * MIB)?;
    world.sh(&format!("mv \"$DIR\" {}", home.display()))?;
    let folder = world.place("DIR", "disk/server");
    world.instance.server.move_to(folder);
    world.operator.starts().await?;
    let acknowledged = world.add("before").await?;
    world.operator.set("BALLAST", "96M");
    let mut prepare = world.section("Keep room on the disk")?;
    world.operator.follows(&prepare.block()?)?;
    prepare.done()?;
    world.add("with ballast").await?;

    world.operator.follows(&format!("fallocate -l 100M {}/someone-elses", home.display()))?;
    let mut serial = 0;
    let mut is_taken = async || {
        serial += 1;
        let entry = world.submitter.hashedrekord(format!("while full {serial}").as_bytes())?;
        Ok(world.log.add(&entry).await?.is_some())
    };
    world.operator.until("adds are refused", async || Ok(!is_taken().await?)).await?;
    ensure!(world.log.get(&acknowledged.id).await?.index == acknowledged.index, "reads go on");

    let mut section = world.section("Full disk")?;
    world.operator.follows(&section.block()?)?;
    world.operator.until("adds are taken", &mut is_taken).await?;
    let shown = world.operator.follows(&section.block()?)?.stdout;
    ensure!(shown.matches("chancery_log_disk_free_bytes").count() == 3, "{shown}");
    section.done()?;
    ensure!(world.operator.is_running(), "nothing ended");
    world.is_well(&acknowledged).await?;
    world.sh("systemctl stop chancery-server")?;
    drop(disk);
    Ok(())
}
