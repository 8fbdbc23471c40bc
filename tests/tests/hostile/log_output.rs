//! Standard output and error that cannot be written: no request is lost for it, and what is lost is counted
//! and reported.

use std::fs::File;
use std::io::{PipeReader, PipeWriter, Read as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use chancery_tests::ca::CaClient;
use chancery_tests::program::PATIENCE;
use chancery_tests::{Instance, Server};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use reqwest::Client;

/// A server whose outputs are ours to break.
struct Broken {
    child: Child,
    url: String,
    http: Client,
}

impl Broken {
    async fn start(instance: &Instance, stdout: Stdio, stderr: Stdio) -> Result<Self> {
        let mut command = Server::command(&["run"])?;
        command.arg(instance.server.folder()).stdin(Stdio::null()).stdout(stdout).stderr(stderr);
        let child = command.spawn()?;
        let broken = Self { child, url: instance.server.url().to_owned(), http: chancery_tests::http()? };
        let started = Instant::now();
        while broken.get("/readyz").await != Some(200) {
            ensure!(started.elapsed() < PATIENCE, "it does not become ready");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(broken)
    }

    async fn get(&self, path: &str) -> Option<u16> {
        let answer = self.http.get(format!("{}{path}", self.url)).send().await.ok()?;
        Some(answer.status().as_u16())
    }

    /// Many reads, each with a line in the access log, and a certificate, with a line in the audit log.
    async fn works(&self, instance: &Instance) -> Result<()> {
        for at in 0..400 {
            let status = self.get("/checkpoint").await;
            ensure!(status == Some(200), "read {at}: {status:?}");
        }
        let token = instance.issuer.token().await?;
        let ca = CaClient::new(&self.url, &instance.server.trust("ct.pub"))?;
        ca.issue(&token).await?.context("an idle CA issues")?;
        Ok(())
    }

    async fn stop(mut self) -> Result<ExitStatus> {
        kill(Pid::from_raw(i32::try_from(self.child.id())?), Signal::SIGTERM)?;
        let stopped = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            ensure!(stopped.elapsed() < Duration::from_secs(30), "SIGTERM does not end it");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Broken {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn full_disk() -> Result<Stdio> {
    Ok(File::options().write(true).open("/dev/full")?.into())
}

fn pipe() -> Result<(PipeReader, PipeWriter)> {
    Ok(std::io::pipe()?)
}

/// An end of a pipe whose reader has gone.
fn gone() -> Result<Stdio> {
    Ok(pipe()?.1.into())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_output_that_cannot_be_written_costs_no_request() -> Result<()> {
    let instance = Instance::stopped().await?;
    let mut readers = Vec::new();
    for name in ["gone", "full disk", "full pipe", "closed"] {
        for broken in ["stderr", "stdout", "both"] {
            let mut output = || -> Result<Stdio> {
                Ok(match name {
                    "gone" => gone()?,
                    "full disk" => full_disk()?,
                    // Held and never read: it is full after 64 KiB.
                    _ => {
                        let (reader, writer) = pipe()?;
                        readers.push(reader);
                        writer.into()
                    }
                })
            };
            if name == "closed" {
                closed_from_the_start(&instance, broken).await?;
                continue;
            }
            let stdout = if broken == "stderr" { Stdio::null() } else { output()? };
            let stderr = if broken == "stdout" { Stdio::null() } else { output()? };
            let server = Broken::start(&instance, stdout, stderr).await?;
            server.works(&instance).await.with_context(|| format!("{broken}: {name}"))?;
            let status = server.stop().await?;
            ensure!(status.success() && status.signal().is_none(), "{broken}: {name}: {status}");
        }
    }
    Ok(())
}

async fn closed_from_the_start(instance: &Instance, which: &str) -> Result<()> {
    let close = match which {
        "stderr" => "exec \"$@\" 2>&-",
        "stdout" => "exec \"$@\" >&-",
        _ => "exec \"$@\" >&- 2>&-",
    };
    let mut server = Server::command(&["run"])?;
    server.arg(instance.server.folder());
    let mut command = Command::new("sh");
    command.args(["-c", close, "sh"]).arg(server.get_program()).args(server.get_args());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn()?;
    let broken = Broken { child, url: instance.server.url().to_owned(), http: chancery_tests::http()? };
    let started = Instant::now();
    while broken.get("/readyz").await != Some(200) {
        ensure!(started.elapsed() < PATIENCE, "it does not become ready with {which} closed");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    broken.works(instance).await?;
    ensure!(broken.stop().await?.success(), "{which} closed");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_that_were_lost_are_counted_and_reported_once_the_log_can_be_written() -> Result<()> {
    let instance = Instance::stopped().await?;
    let metrics = format!("127.0.0.1:{}", chancery_tests::program::free_port()?);
    instance.server.configure(&[("# metrics = \"127.0.0.1:9464\"", &format!("metrics = \"{metrics}\""))])?;
    let (mut reader, writer) = pipe()?;
    let server = Broken::start(&instance, Stdio::null(), writer.into()).await?;
    // A line is as long as the path in it: the pipe and the queue are full after some hundreds.
    let path = format!("/{}", "x".repeat(16_000));
    let lost = async || -> Result<f64> {
        let text = server.http.get(format!("http://{metrics}/metrics")).send().await?.text().await?;
        let line = "chancery_log_lines_lost_total{kind=\"other\"} ";
        let value = text.lines().find_map(|found| found.strip_prefix(line)).context("the metric")?;
        Ok(value.parse()?)
    };
    ensure!(lost().await? < 0.5, "it begins at zero");
    for at in 0..600 {
        ensure!(server.get(&path).await == Some(404), "request {at}");
    }
    let counted = lost().await?;
    ensure!(counted > 100.0, "{counted} lines counted");
    let log = std::thread::spawn(move || {
        let mut log = String::new();
        reader.read_to_string(&mut log).map(|_| log)
    });
    // The next line that is written after the losses brings the report.
    let reported = Instant::now();
    while reported.elapsed() < Duration::from_secs(2) {
        ensure!(server.get("/checkpoint").await == Some(200), "it goes on");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    ensure!(server.stop().await?.success(), "it stops well");
    let log = log.join().map_err(|_| anyhow::anyhow!("the reader failed"))??;
    let (before, _) = log.split_once(" log lines lost").context("a report")?;
    let reported: f64 = before.rsplit(' ').next().unwrap_or_default().parse()?;
    // The requests for the metrics were logged, or not, after the metrics were read.
    ensure!((counted..counted + 8.0).contains(&reported), "{reported} reported, {counted} counted");
    Ok(())
}

/// Results that cannot be printed are an error, and never a panic.
#[tokio::test]
async fn commands_report_that_their_output_was_not_taken() -> Result<()> {
    let instance = Instance::stopped().await?;
    instance.server.configure(&[("entries = \"open\"", "entries = \"token\"")])?;
    let readers = || std::fs::read_to_string(instance.server.folder().join("readers")).unwrap_or_default();
    let before = readers();
    for arguments in [&["check-config"][..], &["export-trust"], &["fsck"], &["reader-token"]] {
        for output in [full_disk as fn() -> Result<Stdio>, gone] {
            let mut command = Server::command(arguments)?;
            command
                .arg(instance.server.folder())
                .stdin(Stdio::null())
                .stdout(output()?)
                .stderr(Stdio::piped());
            if arguments == ["reader-token"] {
                command.arg("auditor");
            }
            let ended = command.output()?;
            let words = String::from_utf8_lossy(&ended.stderr);
            ensure!(matches!(ended.status.code(), Some(1 | 2)), "{arguments:?}: {}", ended.status);
            ensure!(words.contains("standard output"), "{arguments:?}: {words}");
            ensure!(!words.contains("panicked"), "{arguments:?}: {words}");
            // An error that cannot be reported is still an exit code.
            let mut silent = Server::command(arguments)?;
            silent.arg(instance.server.folder()).stdout(output()?).stderr(output()?);
            if arguments == ["reader-token"] {
                silent.arg("auditor");
            }
            let status = silent.status()?;
            ensure!(matches!(status.code(), Some(1 | 2)), "{arguments:?}: {status}");
        }
    }
    ensure!(readers() == before, "no token is listed that was not printed");
    Ok(())
}
