//! The control socket: how `chancery-server backup` asks the running server for a snapshot of its stores.
//!
//! `DIR/run/control.sock`, one line of JSON each way. The folder has mode 0700 and the socket 0600: whoever may ask may
//! read the stores anyway. A snapshot lives as long as the connection over which it was asked for, so an ended backup
//! leaves nothing behind; one that a killed server left is removed at the next start.

use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use chancery_tlog::serve::block;
use chancery_tlog::server::store::Rocks;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::output;
use crate::roles::OpenLog;

/// Folder for what a running server needs in the instance's folder. Never part of a backup.
pub(crate) const RUN: &str = "run";
/// Where snapshots are made: beside the stores, so that tables can be linked. No log can have this name.
const STAGING: &str = "logs/.snapshot";
const SOCKET: &str = "control.sock";
/// Raised when requests or answers change.
const PROTOCOL: u32 = 1;
/// Longest line of a client.
const MAX_LINE: u64 = 4096;
/// Longest line of a server: some 500 bytes for each log.
const MAX_ANSWER: u64 = 1 << 20;
/// How long a client may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a server may take to make a snapshot.
const SNAPSHOT_PATIENCE: Duration = Duration::from_mins(10);
/// Longest path of a socket, on every Unix (`sun_path`).
const MAX_SOCKET_PATH: usize = 100;
/// After an accept that failed.
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Ask {
    Snapshot,
}

#[derive(Serialize, Deserialize)]
struct Request {
    protocol: u32,
    ask: Ask,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Answer {
    Snapshot(Vec<Snapped>),
    Refused(String),
}

/// A log in a snapshot.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Snapped {
    /// Its name.
    pub(crate) name: String,
    /// What verifies its checkpoints.
    pub(crate) vkey: String,
    /// The checkpoint with which the snapshot ends.
    pub(crate) checkpoint: String,
}

/// The server's end.
pub(crate) struct Control {
    listener: UnixListener,
    stores: Arc<Stores>,
}

struct Stores {
    dir: PathBuf,
    logs: Vec<(String, String, Rocks)>,
    busy: Mutex<()>,
}

impl Control {
    /// Listens for the instance in `dir`, whose `logs` are open in this process.
    pub(crate) fn bind(dir: &Path, logs: &[OpenLog]) -> anyhow::Result<Self> {
        let run = make_run_folder(dir)?;
        // Only one process can have the instance's lock, and that is this one: what is left here is of no living server.
        remove(&run.join(SOCKET))?;
        remove_staging(dir)?;
        let socket = Reachable::of(&run)?;
        let name = || format!("cannot listen on {}", run.join(SOCKET).display());
        let listener = UnixListener::bind(&socket.path).with_context(name)?;
        std::fs::set_permissions(&socket.path, std::fs::Permissions::from_mode(0o600)).with_context(name)?;
        // The issuance log last: a certificate is in it before anything that was signed with it is in another log.
        let mut logs: Vec<_> = logs.iter().collect();
        logs.sort_by_key(|log| log.config.dialect.is_ct());
        let logs = logs.into_iter().map(|log| {
            let vkey = log.key.to_vkey().context("checkpoint keys are Ed25519")?;
            Ok((log.config.name.clone(), vkey, log.store.clone()))
        });
        let logs = logs.collect::<anyhow::Result<_>>()?;
        Ok(Self { listener, stores: Arc::new(Stores { dir: dir.to_owned(), logs, busy: Mutex::default() }) })
    }

    /// Answers until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut clients = JoinSet::new();
        while let Some(accepted) = stop.run_until_cancelled(self.listener.accept()).await {
            match accepted {
                Ok((stream, _)) => {
                    let (stores, stop) = (Arc::clone(&self.stores), stop.clone());
                    clients.spawn(async move {
                        if let Err(error) = stores.answer(stream, stop).await {
                            tracing::warn!(
                                error = output::in_full(&error),
                                "a request for a snapshot failed"
                            );
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "the control socket cannot accept");
                    stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await;
                }
            }
            while clients.try_join_next().is_some() {}
        }
        while clients.join_next().await.is_some() {}
        let _ = std::fs::remove_file(self.stores.dir.join(RUN).join(SOCKET));
    }
}

impl Stores {
    async fn answer(self: Arc<Self>, stream: UnixStream, stop: CancellationToken) -> anyhow::Result<()> {
        let mut stream = tokio::io::BufReader::new(stream);
        let mut line = String::new();
        let mut limited = (&mut stream).take(MAX_LINE);
        let asked = tokio::time::timeout(PATIENCE, limited.read_line(&mut line));
        let Some(asked) = stop.run_until_cancelled(asked).await else { return Ok(()) };
        asked.context("nothing was asked")??;
        let wanted = serde_json::from_str::<Request>(&line);
        if !wanted.is_ok_and(|Request { protocol, ask: Ask::Snapshot }| protocol == PROTOCOL) {
            let ours = env!("CARGO_PKG_VERSION");
            let refusal = format!("this server is of version {ours}: run `backup` of the same version");
            return reply(&mut stream, &Answer::Refused(refusal)).await;
        }
        let Ok(_busy) = self.busy.try_lock() else {
            let refusal = "another backup is being made: wait for its end".to_owned();
            return reply(&mut stream, &Answer::Refused(refusal)).await;
        };
        let stores = Arc::clone(&self);
        let made = block(move || stores.snapshot()).await?;
        let _staged = match made {
            Ok((staged, logs)) => {
                reply(&mut stream, &Answer::Snapshot(logs)).await?;
                tracing::info!("a backup is being made");
                staged
            }
            Err(error) => {
                reply(&mut stream, &Answer::Refused(output::in_full(&error))).await?;
                return Err(error);
            }
        };
        // The client says nothing more: it is done, or gone, when its end closes.
        let _ = stop.run_until_cancelled(stream.read_u8()).await;
        Ok(())
    }

    /// Without logs there is no store to hold still: the answer alone says that a server runs.
    fn snapshot(&self) -> anyhow::Result<(Option<Staged>, Vec<Snapped>)> {
        remove_staging(&self.dir)?;
        if self.logs.is_empty() {
            return Ok((None, Vec::new()));
        }
        let staged = Staged(self.dir.join(STAGING));
        make_private(&staged.0)?;
        let mut snapped = Vec::new();
        for (name, vkey, store) in &self.logs {
            let head = store.checkpoint(staged.0.join(name)).with_context(|| format!("log `{name}`"))?;
            let head = head.with_context(|| format!("log `{name}` has no head"))?;
            snapped.push(Snapped { name: name.clone(), vkey: vkey.clone(), checkpoint: head.checkpoint });
        }
        Ok((Some(staged), snapped))
    }
}

/// A snapshot on disk; dropping it removes it.
struct Staged(PathBuf);

impl Drop for Staged {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, folder = %self.0.display(), "a snapshot was not removed");
        }
    }
}

async fn reply(stream: &mut tokio::io::BufReader<UnixStream>, answer: &Answer) -> anyhow::Result<()> {
    let line = format!("{}\n", serde_json::to_string(answer)?);
    Ok(stream.write_all(line.as_bytes()).await?)
}

/// The client's end: a snapshot that the server keeps until this is dropped.
pub(crate) struct Snapshot {
    /// The logs, in the order in which they were copied.
    pub(crate) logs: Vec<Snapped>,
    folder: PathBuf,
    _connection: std::os::unix::net::UnixStream,
}

impl Snapshot {
    /// Asks the server that runs on `dir`; `None` if none listens.
    pub(crate) fn ask(dir: &Path) -> anyhow::Result<Option<Self>> {
        let run = dir.join(RUN);
        let Ok(socket) = Reachable::of(&run) else { return Ok(None) };
        let mut connection = match std::os::unix::net::UnixStream::connect(&socket.path) {
            Ok(connection) => connection,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
                return Ok(None);
            }
            Err(error) => return Err(error).with_context(|| run.join(SOCKET).display().to_string()),
        };
        let asking = || "cannot ask the running server".to_owned();
        connection.set_read_timeout(Some(SNAPSHOT_PATIENCE)).with_context(asking)?;
        let request = serde_json::to_string(&Request { protocol: PROTOCOL, ask: Ask::Snapshot })?;
        connection.write_all(format!("{request}\n").as_bytes()).with_context(asking)?;
        let mut line = String::new();
        BufReader::new((&connection).take(MAX_ANSWER)).read_line(&mut line).with_context(asking)?;
        match serde_json::from_str(&line) {
            Ok(Answer::Snapshot(logs)) => {
                Ok(Some(Self { logs, folder: dir.join(STAGING), _connection: connection }))
            }
            Ok(Answer::Refused(why)) => bail!("the running server made no snapshot: {why}"),
            Err(_) => bail!(
                "the running server gave no answer that version {} understands: run `backup` of the server's version",
                env!("CARGO_PKG_VERSION")
            ),
        }
    }

    /// Folder of a log's copy.
    pub(crate) fn store(&self, log: &str) -> PathBuf {
        self.folder.join(log)
    }
}

/// A path of the socket that is short enough for the system, whatever the instance's is.
struct Reachable {
    path: PathBuf,
    _folder: Option<std::fs::File>,
}

impl Reachable {
    fn of(run: &Path) -> std::io::Result<Self> {
        let path = run.join(SOCKET);
        if path.as_os_str().len() <= MAX_SOCKET_PATH {
            return Ok(Self { path, _folder: None });
        }
        let folder = std::fs::File::open(run)?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(SOCKET);
        Ok(Self { path, _folder: Some(folder) })
    }
}

/// Makes `DIR/run`, if it is not there.
pub(crate) fn make_run_folder(dir: &Path) -> anyhow::Result<PathBuf> {
    let run = dir.join(RUN);
    make_private(&run)?;
    Ok(run)
}

/// A folder of mode 0700.
fn make_private(path: &Path) -> anyhow::Result<()> {
    match std::fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700)),
    }
    .with_context(|| format!("cannot make {}", path.display()))
}

fn remove(path: &Path) -> anyhow::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
    .with_context(|| format!("cannot remove {}", path.display()))
}

fn remove_staging(dir: &Path) -> anyhow::Result<()> {
    let staging = dir.join(STAGING);
    match std::fs::remove_dir_all(&staging) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
    .with_context(|| format!("cannot remove {}", staging.display()))
}
