//! Genuine servers on ephemeral loopback ports, each as small as it can be had: throw-away keys, no database.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use chancery_tlog::key::{KeyKind, Signer as _, SoftwareSigner};

use super::wire::{Request, send};
use crate::peers;
use crate::program::{self, PATIENCE, Program};

/// timestamp-authority with a chain of its own.
pub struct GenuineTsa {
    _program: Program,
    authority: String,
}

impl GenuineTsa {
    /// Starts one; its log goes to `scratch`.
    pub async fn start(scratch: &Path) -> Result<Self> {
        let port = program::free_port()?;
        let mut command = command("tsa", scratch)?;
        command.args(["serve", "--host", "127.0.0.1", "--port", &port.to_string()]);
        command.args(["--timestamp-signer", "memory", "--disable-ntp-monitoring"]);
        let program = Program::start("the genuine TSA", &mut command, &scratch.join("genuine-tsa.log"))?;
        let authority = format!("127.0.0.1:{port}");
        answers(&authority, "/ping").await?;
        Ok(Self { _program: program, authority })
    }

    /// Host and port.
    pub fn authority(&self) -> &str {
        &self.authority
    }
}

/// rekor-tiles on files, which publishes as fast as it lets itself.
pub struct GenuineRekorTiles {
    _program: Program,
    authority: String,
}

impl GenuineRekorTiles {
    /// Starts one that holds the key algorithms of its defaults.
    pub async fn start(scratch: &Path) -> Result<Self> {
        let [port, grpc, metrics] = ports()?;
        let key = scratch.join("genuine-rekor-tiles.key");
        std::fs::write(&key, SoftwareSigner::generate(KeyKind::Ed25519)?.to_pkcs8_pem(None)?.as_bytes())?;
        let mut command = command("rekor-tiles", scratch)?;
        command.arg("serve").arg("--storage-dir").arg(scratch.join("genuine-rekor-tiles"));
        command.arg("--signer-filepath").arg(&key).args(["--hostname", "127.0.0.1"]);
        command.args(["--http-port", &port, "--grpc-port", &grpc, "--http-metrics-port", &metrics]);
        command.args(["--checkpoint-interval", "100ms", "--batch-max-age", "10ms"]);
        let log = scratch.join("genuine-rekor-tiles.log");
        let program = Program::start("the genuine rekor-tiles", &mut command, &log)?;
        let authority = format!("127.0.0.1:{port}");
        answers(&authority, "/healthz").await?;
        Ok(Self { _program: program, authority })
    }

    /// Host and port.
    pub fn authority(&self) -> &str {
        &self.authority
    }
}

/// Fulcio with a CA of its own, and the CT log that it writes to.
pub struct GenuineFulcio {
    _fulcio: Program,
    _ct: Program,
    authority: String,
}

impl GenuineFulcio {
    /// Starts both, Fulcio with this configuration of issuers.
    pub async fn start(scratch: &Path, issuers: &Path) -> Result<Self> {
        let [port, grpc, metrics, ct] = ports()?;
        let key = SoftwareSigner::generate(KeyKind::EcdsaP256)?;
        let (private, public) = (scratch.join("genuine-ct.key"), scratch.join("genuine-ct.pub"));
        std::fs::write(&private, sec1(&key, scratch)?)?;
        std::fs::write(&public, key.public_key().to_pem())?;
        let mut command = command("fulcio", scratch)?;
        command.args(["serve", "--ca", "ephemeralca", "--config-path"]).arg(issuers);
        command.args([
            "--host",
            "127.0.0.1",
            "--port",
            &port,
            "--grpc-host",
            "127.0.0.1",
            "--grpc-port",
            &grpc,
        ]);
        command.args(["--metrics-port", &metrics, "--ct-log-url", &format!("http://127.0.0.1:{ct}/ct")]);
        command.arg("--ct-log-public-key-path").arg(public);
        command.arg("--legacy-unix-domain-socket").arg(scratch.join("genuine-fulcio.socket"));
        let fulcio = Program::start("the genuine Fulcio", &mut command, &scratch.join("genuine-fulcio.log"))?;
        let authority = format!("127.0.0.1:{port}");
        answers(&authority, "/healthz").await?;
        // The log wants to know the CA, which has made its key at its start.
        let root = send(&authority, &Request::get("/api/v1/rootCert")).await?;
        let roots = scratch.join("genuine-roots.pem");
        std::fs::write(&roots, &root.body)?;
        let ct = start_ct(scratch, &ct, &private, &roots).await?;
        Ok(Self { _fulcio: fulcio, _ct: ct, authority })
    }

    /// Host and port.
    pub fn authority(&self) -> &str {
        &self.authority
    }
}

/// TesseraCT on files.
async fn start_ct(scratch: &Path, port: &str, key: &Path, roots: &Path) -> Result<Program> {
    let mut command = command("ct", scratch)?;
    let authority = format!("127.0.0.1:{port}");
    command.args(["--http_endpoint", &authority, "--origin", "ct.example/ct", "--path_prefix", "ct"]);
    command.arg("--private_key").arg(key).arg("--roots_pem_file").arg(roots);
    command.arg("--storage_dir").arg(scratch.join("genuine-ct"));
    command.args(["--checkpoint_interval", "100ms", "--batch_max_age", "10ms"]);
    // An SCT is a promise: it need not wait until the entry can be read.
    command.arg("--enable_publication_awaiter=false");
    let program = Program::start("the genuine CT log", &mut command, &scratch.join("genuine-ct.log"))?;
    answers(&authority, "/ct/ct/v1/get-roots").await?;
    Ok(program)
}

/// TesseraCT reads SEC 1 keys alone.
fn sec1(key: &SoftwareSigner, scratch: &Path) -> Result<String> {
    let pkcs8 = scratch.join("genuine-ct.pkcs8");
    std::fs::write(&pkcs8, key.to_pkcs8_pem(None)?.as_bytes())?;
    let mut openssl = Command::new("openssl");
    Ok(program::run(openssl.args(["ec", "-in"]).arg(pkcs8))?.success()?.stdout)
}

/// A genuine server with a home of its own and no way out.
pub(super) fn command(name: &str, scratch: &Path) -> Result<Command> {
    let mut command = Command::new(peers::program(&format!("genuine-{name}"))?);
    program::isolate(&mut command, scratch);
    Ok(command)
}

pub(super) fn ports<const N: usize>() -> Result<[String; N]> {
    let ports = (0..N).map(|_| Ok(program::free_port()?.to_string())).collect::<Result<Vec<_>>>()?;
    ports.try_into().ok().context("as many ports as were asked for")
}

/// Waits until a server answers 200.
pub(super) async fn answers(authority: &str, path: &str) -> Result<()> {
    let started = Instant::now();
    while !send(authority, &Request::get(path)).await.is_ok_and(|answer| answer.status == 200) {
        ensure!(started.elapsed() < PATIENCE, "http://{authority}{path} does not answer");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
