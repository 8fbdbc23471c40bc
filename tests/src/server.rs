//! A `chancery-server` on an ephemeral port: initialised once, then started, killed and started again at will.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::program::{self, Outcome, PATIENCE, Program};

/// Which attestation logs a new server has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rekor {
    /// Rekor v1 alone.
    V1,
    /// Rekor v2 alone.
    V2,
    /// One of each, as `init` makes them if it is not told otherwise.
    #[default]
    Both,
}

impl Rekor {
    fn flag(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
            Self::Both => "both",
        }
    }
}

/// A server's folder, and the process that runs it, if one does.
pub struct Server {
    folder: PathBuf,
    url: String,
    log: PathBuf,
    /// The authority of its TLS certificate, if it has one of its own.
    authority: Option<PathBuf>,
    process: Option<Program>,
}

impl Server {
    /// `chancery-server init` into `scratch/NAME`, for the issuers in the Fulcio configuration `issuers`.
    pub fn init(scratch: &Path, name: &str, issuers: &str, rekor: Rekor) -> Result<Self> {
        Self::init_with(scratch, name, issuers, rekor, &[])
    }

    /// The same with more arguments.
    pub fn init_with(scratch: &Path, name: &str, issuers: &str, rekor: Rekor, more: &[&str]) -> Result<Self> {
        let file = scratch.join(format!("{name}-issuers.yaml"));
        std::fs::write(&file, issuers)?;
        let issuers = file.display().to_string();
        let usual = ["--rekor", rekor.flag(), "--signers", "any", "--issuers", &issuers];
        Self::made_by_init(scratch, name, "http", &[&usual[..], more].concat())
    }

    /// `chancery-server init` into `scratch/NAME` with these arguments, at a free port of loopback.
    pub fn made_by_init(scratch: &Path, name: &str, scheme: &str, arguments: &[&str]) -> Result<Self> {
        let folder = scratch.join(name);
        let listen = format!("127.0.0.1:{}", program::free_port()?);
        let url = format!("{scheme}://{listen}");
        let mut init = Self::command(&["init"])?;
        init.arg(&folder).args(["--url", &url, "--listen", &listen]).args(arguments);
        program::run(&mut init)?.success()?;
        let log = scratch.join(format!("{name}.log"));
        Ok(Self { folder, url, log, authority: None, process: None })
    }

    /// Serves TLS from now on, with a certificate of an authority that nobody knows; the authority's file.
    pub fn with_tls(&mut self) -> Result<PathBuf> {
        let authority = crate::tls::certify_loopback(&self.folder)?;
        self.configure(&[(
            "# [listen.tls]\n# certificate = \"tls.crt\"\n# key = \"tls.key\"",
            "[listen.tls]\ncertificate = \"tls.crt\"\nkey = \"tls.key\"",
        )])?;
        self.authority = Some(authority.clone());
        Ok(authority)
    }

    /// From now on a proxy serves its address, with `tls.crt` and `tls.key` of its folder, which an authority that nobody knows has
    /// issued; it listens elsewhere itself, without TLS. Where, and the authority's file.
    pub fn behind_proxy(&mut self) -> Result<(String, PathBuf)> {
        let authority = crate::tls::certify_loopback(&self.folder)?;
        let listener = format!("127.0.0.1:{}", program::free_port()?);
        let own = self.url.trim_start_matches("https://");
        self.configure(&[
            (&format!("address = \"{own}\""), &format!("address = \"{listener}\"")),
            ("# behind_proxy = false", "behind_proxy = true"),
        ])?;
        self.authority = Some(authority.clone());
        Ok((listener, authority))
    }

    /// `chancery-server ARGS…`, for tests that look at its exit code and words.
    pub fn command(arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new(program::own("chancery-server")?);
        command.args(arguments);
        Ok(command)
    }

    /// Runs a subcommand on this server's folder to its end.
    pub fn run(&self, subcommand: &str) -> Result<Outcome> {
        program::run(Self::command(&[subcommand])?.arg(&self.folder))
    }

    /// Signs the trust files for TUF clients, as the ceremony after every change of them; trust that is taken back
    /// included.
    pub fn sign_tuf(&self) -> Result<()> {
        let mut sign = Self::command(&["tuf", "sign"])?;
        program::run(sign.arg(&self.folder).args(["--untrusted", "the test says so"]))?.success()?;
        Ok(())
    }

    /// Replaces passages of `chancery.toml`, each of which must be there.
    pub fn configure(&self, edits: &[(&str, &str)]) -> Result<()> {
        let file = self.folder.join("chancery.toml");
        let mut text = std::fs::read_to_string(&file)?;
        for (old, new) in edits {
            ensure!(text.contains(old), "chancery.toml has no `{old}`:\n{text}");
            text = text.replace(old, new);
        }
        Ok(std::fs::write(&file, text)?)
    }

    /// Starts it and waits until it is ready.
    pub async fn start(&mut self) -> Result<()> {
        ensure!(self.process.is_none(), "the server runs already");
        self.start_by(Self::command(&["run"])?).await
    }

    /// The same by another command, to which the folder is added: for a server in a changed environment.
    pub async fn start_by(&mut self, mut command: Command) -> Result<()> {
        self.process = Some(Program::start("chancery-server", command.arg(&self.folder), &self.log)?);
        let ended = self.ready_or_ended().await?;
        ensure!(ended.is_none(), "the server ended before it was ready:\n{}", self.written()?);
        Ok(())
    }

    /// Starts it halted before its first instruction, so that a debugger can attach; the process id.
    pub async fn start_halted(&mut self) -> Result<u32> {
        ensure!(self.process.is_none(), "the server runs already");
        let mut command = Command::new("sh");
        command.args(["-c", "kill -STOP $$; exec \"$@\"", "halted"]);
        command.arg(program::own("chancery-server")?).arg("run").arg(&self.folder);
        let process = self.process.insert(Program::start("chancery-server", &mut command, &self.log)?);
        let status = format!("/proc/{}/stat", process.id());
        let started = Instant::now();
        while !std::fs::read_to_string(&status)?.contains(") T ") {
            ensure!(started.elapsed() < PATIENCE, "it does not halt");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(process.id())
    }

    /// Lets a halted server go on.
    pub fn go_on(&self) -> Result<()> {
        let process = self.id().context("the server was started")?;
        Ok(kill(Pid::from_raw(i32::try_from(process)?), Signal::SIGCONT)?)
    }

    /// Waits until it is ready, or has ended: then with its status.
    pub async fn ready_or_ended(&mut self) -> Result<Option<ExitStatus>> {
        let process = self.process.as_mut().context("the server was started")?;
        let http = crate::http_trusting(self.authority.as_deref())?;
        let ready = format!("{}/readyz", self.url);
        let started = Instant::now();
        loop {
            if http.get(&ready).send().await.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(None);
            }
            if let Some(status) = process.has_ended()? {
                self.process = None;
                return Ok(Some(status));
            }
            ensure!(started.elapsed() < PATIENCE, "not ready after {PATIENCE:?}:\n{}", process.output()?);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Ends it as a power cut would.
    pub fn kill(&mut self) -> Result<()> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        process.kill()
    }

    /// Asks it to end and demands that it ends well.
    pub async fn stop(&mut self) -> Result<()> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        let status = process.stop().await?;
        ensure!(status.success(), "the server ended with {status}:\n{}", process.output()?);
        Ok(())
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let process = self.id().context("the server does not run")?;
        Ok(kill(Pid::from_raw(i32::try_from(process)?), signal)?)
    }

    /// Has it read its configuration again (SIGHUP) and waits until it has said what came of it; that line.
    pub async fn reload(&self) -> Result<String> {
        const WORDS: [&str; 2] = ["configuration reloaded", "configuration not reloaded"];
        let lines = |written: &str| -> Vec<String> {
            let said = |line: &&str| WORDS.iter().any(|words| line.contains(words));
            written
                .split_inclusive('\n')
                .filter(|line| line.ends_with('\n'))
                .filter(said)
                .map(str::to_owned)
                .collect()
        };
        let before = lines(&self.written()?).len();
        self.signal(Signal::SIGHUP)?;
        let started = Instant::now();
        loop {
            let written = self.written()?;
            if let Some(line) = lines(&written).get(before) {
                return Ok(line.clone());
            }
            ensure!(started.elapsed() < PATIENCE, "no word about the reload after {PATIENCE:?}:\n{written}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until it ends by itself.
    pub async fn ended(&mut self) -> Result<ExitStatus> {
        let mut process = self.process.take().context("the server does not run")?;
        process.ended().await
    }

    /// Process id, while it runs.
    pub fn id(&self) -> Option<u32> {
        self.process.as_ref().map(Program::id)
    }

    /// Base URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// From now on it is reached at another address.
    pub fn is_at(&mut self, url: &str) {
        url.clone_into(&mut self.url);
    }

    /// From now on the server of another folder, at the same address: one that was restored, say.
    pub fn move_to(&mut self, folder: PathBuf) {
        self.folder = folder;
    }

    /// The newest write-ahead log of a log's store.
    pub fn write_ahead_log(&self, log: &str) -> Result<PathBuf> {
        let mut files = Vec::new();
        for file in std::fs::read_dir(self.folder.join("logs").join(log))? {
            let path = file?.path();
            if path.extension().is_some_and(|extension| extension == "log") {
                files.push(path);
            }
        }
        files.into_iter().max().context("a store has a write-ahead log")
    }

    /// A file of its trust folder: `trusted_root.json`, `signing_config.json`, `ca-chain.pem`, `ct.pub`,
    /// `rekor.pub`, `rekor-v2.pub`, `tsa-chain.pem`.
    pub fn trust(&self, file: &str) -> PathBuf {
        self.folder.join("trust").join(file)
    }

    /// Everything that it has logged and printed until now, over all its starts.
    ///
    /// A thread of the server writes its log, so an answer arrives before the lines about it are written. While the server
    /// runs, this makes one more request and waits for that request's line, behind which nothing earlier can be.
    pub async fn output(&self) -> Result<String> {
        static REQUESTS: AtomicU64 = AtomicU64::new(0);
        if self.process.is_none() {
            return self.written();
        }
        let path = format!("/a-line-to-wait-for/{}", REQUESTS.fetch_add(1, Ordering::Relaxed));
        let http = crate::http_trusting(self.authority.as_deref())?;
        http.get(format!("{}{path}", self.url)).send().await?;
        let started = Instant::now();
        loop {
            let written = self.written()?;
            if written.contains(&path) {
                return Ok(written);
            }
            ensure!(started.elapsed() < PATIENCE, "no line about {path} after {PATIENCE:?}:\n{written}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until it has written `words`, without a request.
    pub async fn says(&self, words: &str) -> Result<()> {
        let started = Instant::now();
        while !self.written()?.contains(words) {
            ensure!(started.elapsed() < PATIENCE, "it does not say `{words}`:\n{}", self.written()?);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// What is in its file now; the last lines may be missing.
    pub fn written(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&std::fs::read(&self.log)?).into_owned())
    }
}

/// A Fulcio configuration that takes GitHub-shaped tokens of these issuers.
pub fn issuers_yaml(urls: &[&str]) -> String {
    let issuer = |url: &&str| {
        format!(
            "  {url}:\n    issuer-url: {url}\n    client-id: sigstore\n    type: ci-provider\n    \
             ci-provider: github-workflow\n"
        )
    };
    format!("oidc-issuers:\n{}{GITHUB_TEMPLATES}", urls.iter().map(issuer).collect::<String>())
}

/// The templates of the public instance for GitHub Actions.
const GITHUB_TEMPLATES: &str = r#"ci-issuer-metadata:
  github-workflow:
    default-template-values:
      url: "https://github.com"
      environment: ""
    extension-templates:
      github-workflow-trigger: "event_name"
      github-workflow-sha: "sha"
      github-workflow-name: "workflow"
      github-workflow-repository: "repository"
      github-workflow-ref: "ref"
      build-signer-uri: "{{ .url }}/{{ .job_workflow_ref }}"
      build-signer-digest: "job_workflow_sha"
      runner-environment: "runner_environment"
      source-repository-uri: "{{ .url }}/{{ .repository }}"
      source-repository-digest: "sha"
      source-repository-ref: "ref"
      source-repository-identifier: "repository_id"
      source-repository-owner-uri: "{{ .url }}/{{ .repository_owner }}"
      source-repository-owner-identifier: "repository_owner_id"
      build-config-uri: "{{ .url }}/{{ .workflow_ref }}"
      build-config-digest: "workflow_sha"
      build-trigger: "event_name"
      run-invocation-uri: "{{ .url }}/{{ .repository }}/actions/runs/{{ .run_id }}/attempts/{{ .run_attempt }}"
      source-repository-visibility-at-signing: "repository_visibility"
      deployment-environment: "environment"
    subject-alternative-name-template: "{{ .url }}/{{ .job_workflow_ref }}"
"#;
