//! A backup that does not come to its end: killed at one of its steps, or on a disk that has no room for it. Nothing that
//! is left counts as a backup, the next attempt is told what to do, and the server does not notice.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use chancery_tests::program::{self, Outcome, PATIENCE};
use chancery_tests::promises::{Logs, Promises};
use chancery_tests::small_disk::{SmallDisk, may_mount_or_run_inside};
use chancery_tests::{IdToken, Instance, Server};

const MIB: u64 = 1 << 20;

/// A running instance in use, and where its backups go.
struct World {
    instance: Instance,
    logs: Logs,
    token: IdToken,
    promises: Promises,
    dest: PathBuf,
}

impl World {
    async fn start() -> Result<Self> {
        let instance = Instance::start().await?;
        let (logs, token) = (Logs::of(&instance)?, instance.issuer.token().await?);
        let home = instance.scratch().join("backups");
        std::fs::create_dir(&home)?;
        let mut world =
            Self { instance, logs, token, promises: Promises::default(), dest: home.join("backup") };
        world.promises.add_to_each(&world.logs, &world.token).await?;
        Ok(world)
    }

    fn incomplete(&self) -> PathBuf {
        self.dest.with_file_name("backup.incomplete")
    }

    fn backup(&self) -> Result<Outcome> {
        program::run(Server::command(&["backup"])?.arg(self.instance.server.folder()).arg(&self.dest))
    }

    /// A backup during which strace does this to one of its system calls on files.
    fn disturbed_backup(&self, call: &str, inject: &str) -> Result<Outcome> {
        let mut strace = Command::new("strace");
        if matches!(call, "write" | "openat") {
            // A runtime wakes its threads by writes too, which must not fail, and how many files a program opens before
            // its work begins is the machine's affair.
            strace.arg("-P").arg(self.incomplete().join("chancery.toml"));
        }
        strace.arg("-o").arg(self.instance.scratch().join("backup.trace"));
        strace.args(["-f", "-e", &format!("trace={call}"), "-e", &format!("inject={call}:{inject}")]);
        strace.arg(program::own("chancery-server")?).arg("backup");
        program::run(strace.arg(self.instance.server.folder()).arg(&self.dest))
    }

    fn restore(&self, backup: &Path) -> Result<Outcome> {
        let mut restore = Server::command(&["restore", "--nothing-was-signed-since"])?;
        program::run(restore.arg(backup).arg(self.instance.scratch().join("restored")))
    }

    /// The server lets go of what it held still for the backup, keeps every promise and takes more.
    async fn server_is_well(&mut self) -> Result<()> {
        let (snapshot, started) = (self.instance.server.folder().join("logs/.snapshot"), Instant::now());
        while snapshot.exists() {
            ensure!(started.elapsed() < PATIENCE, "{} stays", snapshot.display());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.promises.check_round(&self.logs).await?;
        self.promises.add_to_each(&self.logs, &self.token).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_is_killed_is_none_and_in_nobodys_way_once_it_is_removed() -> Result<()> {
    let mut world = World::start().await?;
    // Among the first files, and among the last before the list of all files is written.
    for (call, when) in [("openat", 1), ("fsync", 1), ("fsync", 12), ("fsync", 30)] {
        let name = format!("{call} {when}");
        let killed = world.disturbed_backup(call, &format!("signal=SIGKILL:when={when}"))?;
        ensure!(killed.code != Some(0), "{name}: it was not killed: {}", killed.said());
        ensure!(!world.dest.exists(), "{name}: half a backup has the name of one");
        ensure!(world.incomplete().exists(), "{name}: killed before it began");
        world.restore(&world.incomplete())?.refused(1, &["is no backup, or one that was not finished"])?;
        world.restore(&world.dest)?.refused(1, &["is no backup"])?;
        world.backup()?.refused(1, &["backup.incomplete is in the way", "if so, remove it"])?;
        world.server_is_well().await?;
        std::fs::remove_dir_all(world.incomplete())?;
    }
    // All of it is on the disk, and only the name is missing: what `restore` makes of it is checked as ever.
    world.disturbed_backup("rename", "signal=SIGKILL:when=1")?;
    ensure!(!world.dest.exists() && world.incomplete().join("backup.json").exists(), "killed elsewhere");
    world.restore(&world.incomplete())?.success()?;
    std::fs::remove_dir_all(world.incomplete())?;
    world.backup()?.success()?;
    world.server_is_well().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_on_a_full_disk_leaves_nothing_and_says_what_is_missing() -> Result<()> {
    if !may_mount_or_run_inside("a_backup_on_a_full_disk_leaves_nothing_and_says_what_is_missing")? {
        return Ok(());
    }
    let mut world = World::start().await?;
    let disk = SmallDisk::over(&world.instance.scratch().join("backups"), MIB)?;
    let nothing_is_left = |world: &World| -> Result<()> {
        ensure!(!world.dest.exists() && !world.incomplete().exists(), "something is left");
        Ok(())
    };
    // It looks before it copies.
    world.backup()?.refused(1, &["backup has 1048576 bytes left", "free some, or choose another disk"])?;
    nothing_is_left(&world)?;
    world.server_is_well().await?;
    // Others fill the disk meanwhile: there are bytes enough, and then no file can be made.
    disk.leave(512 * MIB)?;
    disk.leave_files(12)?;
    world.backup()?.refused(1, &["the backup was not made", "No space left", "choose another disk"])?;
    nothing_is_left(&world)?;
    world.server_is_well().await?;
    for (call, when) in [("write", 1), ("fsync", 12)] {
        let refused = world.disturbed_backup(call, &format!("error=ENOSPC:when={when}+"))?;
        refused.refused(1, &["cannot copy", "No space left", "choose another disk"])?;
        nothing_is_left(&world)?;
    }
    disk.leave_files(10_000)?;
    world.backup()?.success()?;
    world.server_is_well().await
}

/// Below the watermark the logs take nothing: no backup may bring them there.
#[tokio::test]
async fn a_backup_on_the_disk_of_the_instance_leaves_the_logs_their_room() -> Result<()> {
    if !may_mount_or_run_inside("a_backup_on_the_disk_of_the_instance_leaves_the_logs_their_room")? {
        return Ok(());
    }
    let mut instance = Instance::stopped().await?;
    let home = instance.scratch().join("disk");
    std::fs::create_dir(&home)?;
    let disk = SmallDisk::over(&home, 600 * MIB)?;
    program::run(Command::new("mv").arg(instance.server.folder()).arg(&home))?.success()?;
    instance.server.move_to(home.join("server"));
    let backup =
        || program::run(Server::command(&["backup"])?.arg(instance.server.folder()).arg(home.join("backup")));
    disk.leave(512 * MIB)?;
    backup()?.refused(1, &["is on the disk of the logs", "536870912 bytes", "choose another disk"])?;
    ensure!(!home.join("backup").exists() && !home.join("backup.incomplete").exists(), "something is left");
    disk.leave(600 * MIB)?;
    backup()?.success()?;
    Ok(())
}
