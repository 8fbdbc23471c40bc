//! Processes: servers that run until dropped and commands that run to their end. Output goes to files, and
//! its end to the test's own output, which runners show for tests that fail.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long a server may take to become ready, and a command to end. Two busy cores are slow.
pub const PATIENCE: Duration = Duration::from_mins(1);
/// How long our own programs may take to be built, from nothing and beside other builds.
const BUILD: Duration = Duration::from_mins(30);

/// A server process. Dropping it kills it and prints the end of what it said.
pub struct Program {
    name: String,
    child: Child,
    output: PathBuf,
}

impl Program {
    /// Starts `command` with stdout and stderr appended to `output`.
    pub fn start(name: &str, command: &mut Command, output: &Path) -> Result<Self> {
        let file = File::options().create(true).append(true).open(output)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("cannot start {name} ({})", command.get_program().display()))?;
        Ok(Self { name: name.to_owned(), child, output: output.to_owned() })
    }

    /// Waits until `ready` holds for what the program has written; fails early if the program ends.
    pub async fn wait_for(&mut self, ready: impl Fn(&str) -> bool) -> Result<String> {
        let started = Instant::now();
        loop {
            let said = self.output()?;
            if ready(&said) {
                return Ok(said);
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended ({status}) before it was ready:\n{said}", self.name);
            }
            ensure!(started.elapsed() < PATIENCE, "{} is not ready after {PATIENCE:?}:\n{said}", self.name);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything that it wrote so far.
    pub fn output(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&std::fs::read(&self.output)?).into_owned())
    }

    /// Ends it without a chance to clean up, as a power cut would.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks it to end (SIGTERM) and waits.
    pub async fn stop(&mut self) -> Result<ExitStatus> {
        kill(Pid::from_raw(i32::try_from(self.child.id())?), Signal::SIGTERM)?;
        self.ended().await
    }

    /// How it ended, if it has.
    pub fn has_ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> Result<ExitStatus> {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            ensure!(started.elapsed() < PATIENCE, "{} does not end:\n{}", self.name, self.output()?);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Test runners show this only if the test fails; a test that returns an error does not panic.
        let said = self.output().unwrap_or_default();
        let lines: Vec<&str> = said.lines().collect();
        eprintln!("--- {} said:", self.name);
        lines[lines.len().saturating_sub(60)..].iter().for_each(|line| eprintln!("{line}"));
    }
}

/// What a command did.
pub struct Outcome {
    shown: String,
    /// Exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to stdout.
    pub stdout: String,
    /// What it wrote to stderr.
    pub stderr: String,
}

impl Outcome {
    /// Demands exit code 0.
    pub fn success(self) -> Result<Self> {
        ensure!(self.code == Some(0), "should have succeeded: {}", self.report());
        Ok(self)
    }

    /// Demands exit code `code` and that the output names every one of `reasons`, in any case of letters.
    pub fn refused(self, code: i32, reasons: &[&str]) -> Result<Self> {
        ensure!(self.code == Some(code), "should have ended with {code}: {}", self.report());
        let said = self.said().to_lowercase();
        for reason in reasons {
            ensure!(said.contains(&reason.to_lowercase()), "should have said `{reason}`: {}", self.report());
        }
        Ok(self)
    }

    /// Demands any exit code but 0, and that the output names every one of `reasons`.
    pub fn failure(self, reasons: &[&str]) -> Result<Self> {
        let code = self.code.filter(|code| *code != 0);
        let Some(code) = code else { bail!("should have failed: {}", self.report()) };
        self.refused(code, reasons)
    }

    /// Both outputs together.
    pub fn said(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    fn report(&self) -> String {
        let code = self.code.map_or_else(|| "a signal".to_owned(), |code| code.to_string());
        format!("{}\nended with {code}\nstdout: {}\nstderr: {}", self.shown, self.stdout, self.stderr)
    }
}

/// Runs `command` to its end, without a terminal and without input. One that does not end in time is an error.
pub fn run(command: &mut Command) -> Result<Outcome> {
    run_within(PATIENCE, command)
}

/// The same for a command that may take this long: one that compiles, say.
pub fn run_within(limit: Duration, command: &mut Command) -> Result<Outcome> {
    let shown = shown(command);
    // Files, not pipes: nobody has to drain them while we watch the clock.
    let (stdout, stderr) = (tempfile::tempfile()?, tempfile::tempfile()?);
    command.stdin(Stdio::null()).stdout(stdout.try_clone()?).stderr(stderr.try_clone()?);
    let mut child = command.spawn().with_context(|| format!("cannot run {shown}"))?;
    let status = end_of(&mut child, limit)?;
    let (stdout, stderr) = (content(stdout)?, content(stderr)?);
    let Some(status) = status else {
        bail!("{shown}\ndoes not end; it was killed after {limit:?}\nstdout: {stdout}\nstderr: {stderr}");
    };
    Ok(Outcome { shown, code: status.code(), stdout, stderr })
}

/// Waits for a child; kills it and answers `None` if it takes too long.
fn end_of(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if started.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn content(mut file: File) -> Result<String> {
    file.rewind()?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A command line for humans; long arguments (tokens) are cut.
fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let short = words.map(|word| word.to_string_lossy().chars().take(120).collect::<String>());
    short.collect::<Vec<_>>().join(" ")
}

/// The environment of every client: a home of its own, and a proxy that answers nothing for every host but
/// loopback, so that contact with a public service fails instead of helping.
pub fn isolate(command: &mut Command, home: &Path) {
    const NOWHERE: &str = "http://127.0.0.1:9";
    command.env_clear();
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("HOME", home).env("TMPDIR", home).env("LANG", "C.UTF-8");
    for proxy in ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"] {
        command.env(proxy, NOWHERE);
    }
    command.env("NO_PROXY", "127.0.0.1,localhost").env("no_proxy", "127.0.0.1,localhost");
}

/// A TCP port of loopback that nobody listens on at this moment.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// One of this workspace's own programs. All are built if it is not there yet. `tests/run` and nextest's setup script build them
/// beforehand, so that they are never older than the tests.
pub fn own(name: &str) -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    let profile = test.ancestors().nth(2).context("a test stands in target/<profile>/deps")?;
    let program = profile.join(name);
    if !program.exists() {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        // All of them at once: a selection of packages would compile their libraries with other features.
        let mut build = Command::new(cargo);
        build.args(["build", "--quiet", "--workspace", "--bins"]).current_dir(workspace);
        run_within(BUILD, &mut build)?.success()?;
    }
    ensure!(program.exists(), "{} is not built: `cargo build --workspace` first", program.display());
    Ok(program)
}
