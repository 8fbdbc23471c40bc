//! Rekor v1 with everything that it needs: Trillian's two processes on PostgreSQL, and a Redis for the index.

use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::index::Index;
use super::servers::{answers, command, ports};
use crate::peers;
use crate::program::{self, PATIENCE, Program};

/// PostgreSQL does not run as root.
const NOBODY: u32 = 65_534;

/// rekor-server and what is behind it.
pub struct GenuineRekor {
    // In the order in which they end.
    _rekor: Program,
    _signer: Program,
    _trillian: Program,
    _postgres: Program,
    _index: Index,
    authority: String,
}

impl GenuineRekor {
    /// Starts all with an empty tree. Only `tests/peers rekor-v1` installs them.
    pub async fn start(scratch: &Path) -> Result<Self> {
        let [port, database, trillian, signer] = ports()?;
        let (postgres, uri) = start_postgres(scratch, &database).await?;
        let store = ["--storage_system", "postgresql", "--quota_system", "noop", "--postgresql_uri", &uri];
        let listen = format!("127.0.0.1:{trillian}");
        let mut log_server = command("trillian-log-server", scratch)?;
        log_server.args(store).args(["--rpc_endpoint", &listen, "--http_endpoint", ""]);
        let trillian_server = Program::start("Trillian", &mut log_server, &scratch.join("trillian.log"))?;
        let mut log_signer = command("trillian-log-signer", scratch)?;
        log_signer.args(store).args([
            "--rpc_endpoint",
            &format!("127.0.0.1:{signer}"),
            "--http_endpoint",
            "",
        ]);
        log_signer.args(["--force_master", "--sequencer_interval", "20ms"]);
        let signer = Program::start("Trillian's signer", &mut log_signer, &scratch.join("signer.log"))?;
        let tree = create_tree(scratch, &listen).await?;
        let index = Index::start().await?;
        let mut rekor = command("rekor", scratch)?;
        rekor.args([
            "serve",
            "--trillian_log_server.address",
            "127.0.0.1",
            "--rekor_server.address",
            "127.0.0.1",
        ]);
        rekor.args(["--trillian_log_server.port", &trillian, "--trillian_log_server.tlog_id", &tree]);
        rekor.args([
            "--rekor_server.hostname",
            "127.0.0.1",
            "--port",
            &port,
            "--rekor_server.signer",
            "memory",
        ]);
        rekor.args(["--redis_server.address", "127.0.0.1", "--redis_server.port", &index.port().to_string()]);
        let rekor = Program::start("the genuine Rekor", &mut rekor, &scratch.join("genuine-rekor.log"))?;
        let authority = format!("127.0.0.1:{port}");
        answers(&authority, "/api/v1/log").await?;
        Ok(Self {
            _rekor: rekor,
            _signer: signer,
            _trillian: trillian_server,
            _postgres: postgres,
            _index: index,
            authority,
        })
    }

    /// Host and port.
    pub fn authority(&self) -> &str {
        &self.authority
    }
}

/// A PostgreSQL with an empty database of Trillian's, and its address.
async fn start_postgres(scratch: &Path, port: &str) -> Result<(Program, String)> {
    let folder = scratch.join("postgresql");
    std::fs::create_dir(&folder)?;
    // The way to it is open to the user that it runs as.
    std::fs::set_permissions(scratch, std::fs::Permissions::from_mode(0o755))?;
    let root = nix::unistd::Uid::effective().is_root();
    if root {
        chown(&folder, Some(NOBODY), Some(NOBODY))?;
    }
    let as_nobody = |name: &str| -> Result<Command> {
        let mut command = Command::new(postgresql(name)?);
        program::isolate(&mut command, &folder);
        command.current_dir(&folder);
        if root {
            command.uid(NOBODY).gid(NOBODY);
        }
        Ok(command)
    };
    let data = folder.join("data");
    let mut initdb = as_nobody("initdb")?;
    program::run(initdb.arg("-D").arg(&data).args(["-A", "trust", "-U", "trillian", "--no-sync"]))?
        .success()?;
    let mut postgres = as_nobody("postgres")?;
    postgres.arg("-D").arg(&data).args(["-p", port, "-h", "127.0.0.1", "-F", "-k", ""]);
    let server = Program::start("PostgreSQL", &mut postgres, &scratch.join("postgresql.log"))?;
    let sql = |arguments: &[&str]| {
        let mut psql = Command::new(postgresql("psql")?);
        program::isolate(&mut psql, scratch);
        program::run(psql.args(["-q", "-h", "127.0.0.1", "-p", port, "-U", "trillian"]).args(arguments))
    };
    until(|| Ok(sql(&["-d", "postgres", "-c", "CREATE DATABASE trillian"])?.code == Some(0))).await?;
    let schema = peers::folder()?.join("genuine").join("trillian.sql").display().to_string();
    sql(&["-d", "trillian", "-f", &schema])?.success()?;
    Ok((server, format!("postgresql://trillian@127.0.0.1:{port}/trillian?sslmode=disable")))
}

fn postgresql(name: &str) -> Result<PathBuf> {
    let program = peers::folder()?.join("genuine").join("postgresql").join(name);
    ensure!(program.exists(), "PostgreSQL is not installed: run tests/peers rekor-v1");
    // Not by way of the peers' folder, which only its owner may enter.
    Ok(program.canonicalize()?)
}

/// A new tree's number.
async fn create_tree(scratch: &Path, trillian: &str) -> Result<String> {
    let mut tree = String::new();
    until(|| {
        let mut create = command("trillian-createtree", scratch)?;
        let outcome = program::run(create.args(["--admin_server", trillian]))?;
        outcome.stdout.trim().clone_into(&mut tree);
        Ok(outcome.code == Some(0))
    })
    .await?;
    Ok(tree)
}

async fn until(mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    let started = Instant::now();
    while !holds()? {
        ensure!(started.elapsed() < PATIENCE, "not after {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}
