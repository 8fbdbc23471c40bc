//! deploy/docs/runbooks.md and somebody who follows it: the commands are taken from the page and run by `sh` against a
//! real server, so that the page cannot say what does not work.
//!
//! What a test cannot have is stood in for, under the same name: systemd, its journal, and the other host.

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::program::{self, Outcome, PATIENCE};
use crate::{Server, http};

/// One unit, which runs `$DIR`, and knows no other. As in the real one the configuration is checked before a start, and
/// nobody waits until it is ready.
const SYSTEMCTL: &str = r#"#!/bin/sh
set -eu
verb=$1
shift
now=
[ "${1:-}" != --now ] || { now=yes; shift; }
[ "${1:-}" = chancery-server ] || { echo "systemctl $verb $*"; exit 0; }
alive() { pid=$(cat "$UNIT/pid" 2>/dev/null) && [ -e "/proc/$pid/stat" ] && ! grep -q ') Z ' "/proc/$pid/stat"; }
stop() { if alive; then kill -TERM "$pid"; while alive; do sleep 0.02; done; fi; }
start() {
    ! alive || return 0
    chancery-server check-config "$DIR" >>"$UNIT/log" 2>&1 </dev/null || { echo 'the unit does not start' >&2; exit 1; }
    setsid chancery-server run "$DIR" >>"$UNIT/log" 2>&1 </dev/null & echo $! >"$UNIT/pid"
}
case $verb in
start) start ;;
stop) stop ;;
restart) stop && start ;;
reload) alive && kill -HUP "$pid" ;;
enable) [ -z "$now" ] || start ;;
disable) [ -z "$now" ] || stop ;;
status) alive && echo "active, process $pid" ;;
*) echo "systemctl: $verb?" >&2; exit 1 ;;
esac
"#;
const JOURNALCTL: &str = "#!/bin/sh\nexec tail -n \"${4:-200}\" \"$UNIT/log\"\n";
const DMESG: &str = "#!/bin/sh\necho 'the kernel says nothing'\n";
/// `newhost:` is another folder, which stands for the root of another host.
const RSYNC: &str = r#"#!/bin/sh
set -eu
[ "$1" = -a ]
to=$OTHER_HOST${3#newhost:}
mkdir -p "$to"
cp -a "${2%/}/." "$to"
"#;

/// Programs of the host that the page may use: those of every Debian, and the packages that its introduction names. No
/// others are found, so that a command which happens to be installed here cannot hide that it is missing elsewhere.
const OF_THE_HOST: &[&str] = &[
    "awk",
    "cat",
    "chmod",
    "cmp",
    "cp",
    "curl",
    "cut",
    "date",
    "dd",
    "df",
    "du",
    "fallocate",
    "fuser",
    "grep",
    "head",
    "id",
    "install",
    "ln",
    "ls",
    "mkdir",
    "mv",
    "openssl",
    "rm",
    "sed",
    "setsid",
    "sh",
    "sleep",
    "sort",
    "stat",
    "tail",
    "touch",
    "tr",
    "wc",
];

/// The page.
pub struct Page(BTreeMap<String, Vec<String>>);

/// One section's commands, which have to be followed in order and to the end.
pub struct Section {
    heading: String,
    blocks: std::vec::IntoIter<String>,
}

impl Page {
    /// Reads deploy/docs/runbooks.md.
    pub fn load() -> Result<Self> {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/docs/runbooks.md");
        Ok(Self::parse(&std::fs::read_to_string(file)?))
    }

    /// Headings of the second level, and the blocks of indented lines under each.
    fn parse(text: &str) -> Self {
        let mut sections: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let (mut heading, mut after_blank, mut in_block) = (String::new(), true, false);
        for line in text.lines() {
            if let Some(found) = line.strip_prefix("## ") {
                found.clone_into(&mut heading);
                sections.entry(heading.clone()).or_default();
            }
            let blocks = sections.entry(heading.clone()).or_default();
            match line.strip_prefix("    ") {
                Some(command) if after_blank || in_block => {
                    if !in_block {
                        blocks.push(String::new());
                    }
                    in_block = true;
                    if let Some(block) = blocks.last_mut() {
                        block.push_str(command);
                        block.push('\n');
                    }
                }
                _ => in_block = false,
            }
            after_blank = line.trim().is_empty();
        }
        sections.remove("");
        Self(sections)
    }

    /// All headings.
    pub fn headings(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The section with this heading.
    pub fn section(&self, heading: &str) -> Result<Section> {
        let blocks =
            self.0.get(heading).with_context(|| format!("the runbooks have no section `{heading}`"))?;
        Ok(Section { heading: heading.to_owned(), blocks: blocks.clone().into_iter() })
    }
}

impl Section {
    /// The next block of commands.
    pub fn block(&mut self) -> Result<String> {
        self.blocks.next().with_context(|| format!("`{}` has no more commands", self.heading))
    }

    /// Demands that nothing was left out.
    pub fn done(mut self) -> Result<()> {
        let left = self.blocks.next();
        ensure!(left.is_none(), "`{}`: this was not run:\n{}", self.heading, left.unwrap_or_default());
        Ok(())
    }
}

/// Somebody at a shell on the host of a server, whose process systemd's stand-in runs.
pub struct Operator {
    folder: PathBuf,
    unit: PathBuf,
    variables: BTreeMap<String, String>,
    ready: String,
}

impl Operator {
    /// At the host of `server`, which must not run, with `scratch` for the programs and the working folder. `metrics` is
    /// where the server is watched.
    pub fn new(server: &Server, metrics: &str, scratch: &Path) -> Result<Self> {
        let folder = scratch.join("operator");
        let (programs, unit) = (folder.join("bin"), folder.join("unit"));
        for folder in [&programs, &unit, &folder.join("seen"), &folder.join("other-host")] {
            std::fs::create_dir_all(folder)?;
        }
        for (name, script) in
            [("systemctl", SYSTEMCTL), ("journalctl", JOURNALCTL), ("dmesg", DMESG), ("rsync", RSYNC)]
        {
            executable(&programs.join(name), script)?;
        }
        symlink(program::own("chancery-server")?, programs.join("chancery-server"))?;
        for name in OF_THE_HOST {
            symlink(of_the_host(name)?, programs.join(name))?;
        }
        let show = |path: &Path| path.display().to_string();
        let variables = [
            ("PATH", show(&programs)),
            ("HOME", show(&folder)),
            ("DIR", show(server.folder())),
            ("URL", server.url().to_owned()),
            ("METRICS", metrics.to_owned()),
            ("UNIT", show(&unit)),
            ("OTHER_HOST", show(&folder.join("other-host"))),
            ("BIN", show(&programs)),
            ("NO_PROXY", "127.0.0.1".to_owned()),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value)).into();
        Ok(Self { folder, unit, variables, ready: format!("{}/readyz", server.url()) })
    }

    /// The same person at `newhost`, where the same paths lead elsewhere and the unit is another one.
    pub fn at_new_host(&self) -> Result<Self> {
        let (unit, root) = (self.folder.join("new-unit"), self.get("OTHER_HOST"));
        std::fs::create_dir(&unit)?;
        let mut variables = self.variables.clone();
        variables.insert("DIR".to_owned(), format!("{root}{}", self.get("DIR")));
        variables.insert("UNIT".to_owned(), unit.display().to_string());
        Ok(Self { folder: self.folder.clone(), unit, variables, ready: self.ready.clone() })
    }

    /// What a variable of the page stands for here.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.variables.insert(name.to_owned(), value.into());
    }

    /// A variable's value.
    pub fn get(&self, name: &str) -> &str {
        self.variables.get(name).map_or("", String::as_str)
    }

    /// The folder in which commands run.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes a program into the working folder.
    pub fn program(&self, name: &str, script: &str) -> Result<PathBuf> {
        let path = self.folder.join(name);
        executable(&path, script)?;
        Ok(path)
    }

    /// Runs a block of commands, every one of which must succeed.
    pub fn follows(&self, block: &str) -> Result<Outcome> {
        self.tries(block)?.success()
    }

    /// Runs a block of commands up to the first that fails.
    pub fn tries(&self, block: &str) -> Result<Outcome> {
        let mut shell = Command::new("sh");
        shell.args(["-eu", "-c", block]).current_dir(&self.folder);
        program::run(shell.env_clear().envs(&self.variables))
    }

    /// Process id of the server.
    pub fn server(&self) -> Result<u32> {
        let pid = std::fs::read_to_string(self.unit.join("pid"))?;
        Ok(pid.trim().parse()?)
    }

    /// Whether the server's process is there.
    pub fn is_running(&self) -> bool {
        let stat = self.server().ok().map(|id| std::fs::read_to_string(format!("/proc/{id}/stat")));
        matches!(stat, Some(Ok(stat)) if !stat.contains(") Z "))
    }

    /// Starts the server and waits until it answers.
    pub async fn starts(&self) -> Result<()> {
        self.follows("systemctl start chancery-server")?;
        self.until("the server is ready", async || {
            ensure!(self.is_running(), "the server ended: {}", self.journal());
            Ok(http()?.get(&self.ready).send().await.is_ok_and(|answer| answer.status().is_success()))
        })
        .await
    }

    /// Waits until `holds`.
    pub async fn until(&self, what: &str, mut holds: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
        let started = Instant::now();
        while !holds().await? {
            ensure!(started.elapsed() < PATIENCE, "not after {PATIENCE:?}: {what}\n{}", self.journal());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// What the server has said.
    pub fn journal(&self) -> String {
        std::fs::read_to_string(self.unit.join("log")).unwrap_or_default()
    }

    /// Ends the server as a power cut would.
    pub fn pulls_the_plug(&self) -> Result<()> {
        kill(Pid::from_raw(i32::try_from(self.server()?)?), Signal::SIGKILL)?;
        Ok(())
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        if self.is_running() {
            let _ = self.pulls_the_plug();
        }
        let journal = self.journal();
        let lines: Vec<&str> = journal.lines().collect();
        lines[lines.len().saturating_sub(30)..].iter().for_each(|line| eprintln!("{line}"));
    }
}

/// Where this machine has a program.
fn of_the_host(name: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|program| program.exists());
    found.with_context(|| format!("{name} is missing: run tests/peers"))
}

fn executable(path: &Path, script: &str) -> Result<()> {
    std::fs::write(path, script)?;
    Ok(std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_taken_in_order_and_none_may_be_left_out() {
        let page = Page::parse(
            "# T\n\n## A\n\nwords\n\n    one\n    two\n\nmore:\n    no code\n\n    three\n\n## B\n",
        );
        let mut section = page.section("A").unwrap();
        assert_eq!(section.block().unwrap(), "one\ntwo\n");
        assert!(section.done().unwrap_err().to_string().contains("three"));
        assert_eq!(page.headings().collect::<Vec<_>>(), ["A", "B"]);
        assert!(page.section("B").unwrap().block().is_err());
        assert!(page.section("C").is_err());
    }
}
