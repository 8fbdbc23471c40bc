//! An instance of our own for `self`: `chancery-dev-issuer` and `chancery-server` on loopback, in a folder that goes
//! away with them.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use reqwest::Client;
use tempfile::TempDir;
use url::Url;

use crate::fill::fill;
use crate::say;
use crate::target::certificates::TokenSource;

/// How long a program may take to start. Two busy cores are slow.
const PATIENCE: Duration = Duration::from_mins(1);
/// Between two looks at whether it has.
const GLANCE: Duration = Duration::from_millis(20);

/// Name that `chancery-server init` gives the log that can be filled.
const FILLED: &str = "rekor-v2";

/// An environment variable of the server, which wins over its configuration.
pub(crate) type Setting = (&'static str, &'static str);

/// All load comes from one address, which by default has a part of a server alone: half of the places for
/// writes, and a quarter of those for reads.
pub(crate) const ALONE: [Setting; 4] = [
    ("CHANCERY_LIMITS__PER_ADDRESS__CONNECTIONS", "4096"),
    ("CHANCERY_LIMITS__PER_ADDRESS__REQUESTS", "896"),
    ("CHANCERY_LIMITS__PER_ADDRESS__READS", "896"),
    ("CHANCERY_LIMITS__PER_ADDRESS__UNREAD_BYTES", "268435456"),
];

/// A running instance.
pub(crate) struct Instance {
    url: String,
    token_url: Url,
    token_bearer: String,
    server: Program,
    _issuer: Program,
    // Last, so that the processes end before their files go.
    scratch: TempDir,
}

impl Instance {
    /// Starts the programs in `binaries`, with a new folder in `parent`. With `own_ca` the logs take only certificates of
    /// the instance's own authority; with `prefill` that of Rekor v2 has so many entries before the server
    /// starts, with `settings` in its environment.
    pub(crate) async fn start(
        binaries: &Path,
        parent: &Path,
        own_ca: bool,
        prefill: Option<u64>,
        settings: &[Setting],
        client: &Client,
    ) -> Result<Self> {
        let scratch = TempDir::with_prefix_in("chancery-loadtest-", parent)
            .with_context(|| format!("cannot make a folder in {}", parent.display()))?;
        let issuer_url = format!("http://127.0.0.1:{}", free_port()?);
        let mut command = Command::new(program(binaries, "chancery-dev-issuer")?);
        command.args(["--listen", issuer_url.trim_start_matches("http://")]);
        let mut issuer = Program::start(&mut command, scratch.path().join("dev-issuer.log"))?;
        let (token_url, token_bearer) = issuer.announced().await?;

        let url = format!("http://127.0.0.1:{}", free_port()?);
        let (server_path, folder) = (program(binaries, "chancery-server")?, scratch.path().join("instance"));
        let mut init = Command::new(&server_path);
        let signers = if own_ca { "own-ca" } else { "any" };
        init.arg("init").arg(&folder).args(["--url", &url, "--issuer", &issuer_url, "--signers", signers]);
        let made = init.output().with_context(|| format!("cannot run {}", server_path.display()))?;
        ensure!(
            made.status.success(),
            "chancery-server init failed: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        if let Some(entries) = prefill {
            fill(&folder, FILLED, entries, say).await.context("filling the log")?;
        }
        let mut run = Command::new(&server_path);
        // The access log of an overloaded server would be measured as the server's.
        run.arg("run").arg(&folder).env("CHANCERY_LOG", "warn").envs(settings.iter().copied());
        let mut server = Program::start(&mut run, scratch.path().join("server.log"))?;
        server.ready(client, &format!("{url}/readyz")).await?;
        Ok(Self { url, token_url, token_bearer, server, _issuer: issuer, scratch })
    }

    /// Base URL of the server.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Process id of the server.
    pub(crate) fn server_id(&self) -> u32 {
        self.server.child.id()
    }

    /// A folder on the disk that the server writes to.
    pub(crate) fn folder(&self) -> &Path {
        self.scratch.path()
    }

    /// The issuer's tokens.
    pub(crate) fn tokens(&self) -> TokenSource {
        TokenSource::Endpoint { url: self.token_url.clone(), bearer: self.token_bearer.clone() }
    }
}

/// A process that ends with its value.
struct Program {
    child: Child,
    log: PathBuf,
}

impl Program {
    fn start(command: &mut Command, log: PathBuf) -> Result<Self> {
        let file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let child =
            command.spawn().with_context(|| format!("cannot start {}", command.get_program().display()))?;
        Ok(Self { child, log })
    }

    fn said(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&std::fs::read(&self.log)?).into_owned())
    }

    /// Fails if the program has ended, or takes too long since `started`.
    fn check(&mut self, started: Instant) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("the program ended ({status}) before it was ready:\n{}", self.said()?);
        }
        ensure!(
            started.elapsed() < PATIENCE,
            "the program is not ready after {PATIENCE:?}:\n{}",
            self.said()?
        );
        Ok(())
    }

    /// Waits until `url` answers with success.
    async fn ready(&mut self, client: &Client, url: &str) -> Result<()> {
        let started = Instant::now();
        while !client.get(url).send().await.is_ok_and(|answer| answer.status().is_success()) {
            self.check(started)?;
            tokio::time::sleep(GLANCE).await;
        }
        Ok(())
    }

    /// The token endpoint and its bearer, which the issuer prints once it listens.
    async fn announced(&mut self) -> Result<(Url, String)> {
        let started = Instant::now();
        loop {
            let said = self.said()?;
            let exported = |name: &str| {
                let value = said
                    .lines()
                    .find_map(|line| line.strip_prefix("export ")?.strip_prefix(name)?.strip_prefix('='));
                value.map(|value| value.trim_matches('\'').to_owned())
            };
            // Only whole lines: the bearer stands behind the URL in one write.
            if said.ends_with('\n')
                && let Some((url, bearer)) =
                    exported("ACTIONS_ID_TOKEN_REQUEST_URL").zip(exported("ACTIONS_ID_TOKEN_REQUEST_TOKEN"))
            {
                return Ok((Url::parse(&url)?, bearer));
            }
            self.check(started)?;
            tokio::time::sleep(GLANCE).await;
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One of our programs in `folder`.
fn program(folder: &Path, name: &str) -> Result<PathBuf> {
    let path = folder.join(name);
    ensure!(
        path.is_file(),
        "{} is missing: build it with `cargo build --release --bins`, or say with `--binaries` where it is",
        path.display()
    );
    Ok(path)
}

/// A TCP port of loopback that nobody listens on at this moment.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
