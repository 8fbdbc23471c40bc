//! Backup, damage, restore.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_store_and_the_way_back() -> Result<()> {
    let (mut world, mut users) = World::running(&[]).await?;
    let early = backup(&mut world, "early")?;
    users.add().await.context("the server runs on")?;
    let newest = backup(&mut world, "newest")?;
    world.keeps_checkpoints()?;

    let mut damage = world.section("fsck found damage")?;
    let check = damage.block()?;
    damage.done()?;
    let sound = world.operator.follows(&check)?.stdout;
    ensure!(sound.matches("`: sound, ").count() == 3, "{sound}");
    for file in std::fs::read_dir(world.server().folder().join("logs/rekor-v1"))? {
        let path = file?.path();
        if path.extension().is_some_and(|extension| extension == "sst") {
            flip_a_bit(&path)?;
        }
    }
    // Log, place, problem and remedy.
    world.operator.tries(&check)?.refused(1, &["log `rekor-v1`: the store: ", "do not serve it"])?;

    let mut restore = world.section("Restore")?;
    world.operator.follows(&restore.block()?)?;
    let (from_backup, start) = (restore.block()?, restore.block()?);
    restore.done()?;
    world.operator.set("BACKUP", early.display().to_string());
    world
        .operator
        .tries(&from_backup)?
        .refused(1, &["has 1 entries, but a checkpoint of 2 entries was seen"])?;
    let torn = world.place("BACKUP", "torn");
    world.sh(&format!("cp -a {} {}", newest.display(), torn.display()))?;
    flip_a_bit(&torn.join("logs/ct/CURRENT"))?;
    world.operator.tries(&from_backup)?.refused(1, &["logs/ct/CURRENT", "is not what was backed up"])?;
    ensure!(!world.server().folder().exists(), "a refused restore leaves nothing");
    world.operator.set("BACKUP", newest.display().to_string());
    world.operator.follows(&from_backup)?;
    world.operator.follows(&start)?;
    users.find_everything().await?;
    ensure!(world.sh("ls \"$DIR.evidence/logs/rekor-v1\"")?.contains("CURRENT"), "the evidence is kept");
    Ok(())
}

/// Follows "Backup" while the server runs.
fn backup(world: &mut World, name: &str) -> Result<PathBuf> {
    let folder = world.place("BACKUP", name);
    let mut section = world.section("Backup")?;
    world.operator.follows(&section.block()?)?;
    section.done()?;
    ensure!(!folder.with_extension("incomplete").exists(), "it has its name now");
    let manifest: Value = serde_json::from_slice(&std::fs::read(folder.join("backup.json"))?)?;
    let files = manifest["files"].as_array().context("files")?;
    ensure!(files.len() > 20, "{manifest}");
    for file in files {
        let path = folder.join(file["path"].as_str().context("a path")?);
        let hash = hex::encode(Sha256::digest(std::fs::read(&path)?));
        ensure!(file["sha256"] == hash.as_str(), "{} has another hash", path.display());
    }
    Ok(folder)
}

/// At the beginning of a file, where tables have data.
fn flip_a_bit(file: &Path) -> Result<()> {
    let mut bytes = std::fs::read(file)?;
    *bytes.get_mut(9).context("a short file")? ^= 1;
    Ok(std::fs::write(file, bytes)?)
}
