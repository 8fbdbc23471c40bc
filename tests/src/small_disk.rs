//! A file system of a size that changes at will, in a mount namespace of the test's own.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::statvfs::statvfs;

use crate::program;

/// Says that the namespace has been made already.
const INSIDE: &str = "CHANCERY_TEST_MAY_MOUNT";

/// Whether this process may mount. If not, runs the test `name` again where it may, and demands that it passes there.
pub fn may_mount_or_run_inside(name: &str) -> Result<bool> {
    if std::env::var_os(INSIDE).is_some() {
        return Ok(true);
    }
    let mut command = Command::new("unshare");
    command.args(namespace()?).arg(std::env::current_exe()?).args(["--exact", name, "--nocapture"]);
    // No time limit but the test runner's: this is a whole test.
    let output = command.env(INSIDE, "1").output().context("`unshare` cannot be run: install util-linux")?;
    let said =
        [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
    // A name that fits no test is a success to the test runner.
    ensure!(output.status.success() && said.contains("1 passed"), "in its namespace the test says:\n{said}");
    eprintln!("{said}");
    Ok(false)
}

/// What makes a namespace here: being root, or being root in a user namespace.
fn namespace() -> Result<&'static [&'static str]> {
    const WAYS: [&[&str]; 2] = [&["--mount"], &["--user", "--map-root-user", "--mount"]];
    let mut refusals = Vec::new();
    for way in WAYS {
        let tried =
            Command::new("unshare").args(way).args(["mount", "-t", "tmpfs", "try", "/mnt"]).output()?;
        if tried.status.success() {
            return Ok(way);
        }
        refusals.push(format!(
            "unshare {}: {}",
            way.join(" "),
            String::from_utf8_lossy(&tried.stderr).trim()
        ));
    }
    bail!(
        "this machine lets nobody mount, without which no disk can be made full. In a container give it CAP_SYS_ADMIN \
         or a seccomp profile that allows unshare and mount.\n{}",
        refusals.join("\n")
    )
}

/// A tmpfs over a folder. It takes memory for what it holds only, whatever its size.
pub struct SmallDisk {
    folder: PathBuf,
}

impl SmallDisk {
    /// Mounts one over `folder`, which keeps its content, with `free` bytes left.
    pub fn over(folder: &Path, free: u64) -> Result<Self> {
        let aside = folder.with_extension("aside");
        std::fs::rename(folder, &aside)?;
        std::fs::create_dir(folder)?;
        run(Command::new("mount").args(["-t", "tmpfs", "-o", "size=1g", "small"]).arg(folder))?;
        run(Command::new("cp").arg("-a").arg(aside.join(".")).arg(folder))?;
        let disk = Self { folder: folder.to_owned() };
        disk.leave(free)?;
        Ok(disk)
    }

    /// Makes it so large that this many bytes are free.
    pub fn leave(&self, free: u64) -> Result<()> {
        let now = statvfs(&self.folder)?;
        let used = (now.blocks() - now.blocks_free()) * now.fragment_size();
        let size = format!("remount,size={}", used + free);
        run(Command::new("mount").args(["-o", &size]).arg(&self.folder))
    }

    /// Makes it so that this many files more can be made.
    pub fn leave_files(&self, free: u64) -> Result<()> {
        let now = statvfs(&self.folder)?;
        let all = format!("remount,nr_inodes={}", now.files() - now.files_free() + free);
        run(Command::new("mount").args(["-o", &all]).arg(&self.folder))
    }

    /// Another file takes all that is left, to the last byte; its path.
    pub fn fill(&self) -> Result<PathBuf> {
        let path = self.folder.join("somebody-elses");
        let mut file = std::fs::File::create(&path)?;
        match std::io::copy(&mut std::io::repeat(0), &mut file) {
            Err(full) if full.kind() == std::io::ErrorKind::StorageFull => Ok(path),
            other => bail!("a full disk was expected, not {other:?}"),
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.folder).status();
    }
}

fn run(command: &mut Command) -> Result<()> {
    program::run(command)?.success().map(drop)
}
