//! Backups of a running server, restores that somebody vouches for, and the memory that finds out old copies.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use chancery_tests::ca::CaClient;
use chancery_tests::program::{self, Outcome, PATIENCE};
use chancery_tests::rekor::{Acknowledged, RekorLog, Submitter, TreeHead};
use chancery_tests::rekor_v2::{AcknowledgedV2, RekorV2Log};
use chancery_tests::tiles::TiledLog;
use chancery_tests::{IdToken, Instance, Rekor, Server};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

const NO_NEWER: &str = "--nothing-was-signed-since";

fn server(arguments: &[&str], paths: &[&Path]) -> Result<Outcome> {
    program::run(Server::command(arguments)?.args(paths))
}

fn backup(dir: &Path, dest: &Path) -> Result<Outcome> {
    server(&["backup"], &[dir, dest])
}

fn restore_seen(backup: &Path, dir: &Path, seen: &[&PathBuf]) -> Result<Outcome> {
    let mut command = Server::command(&["restore"])?;
    command.args([backup, dir]);
    for file in seen {
        command.arg("--seen").arg(file);
    }
    program::run(&mut command)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    program::run(Command::new("cp").arg("-a").arg(from).arg(to))?.success()?;
    Ok(())
}

/// What a server on `dir` says when it refuses to start. It would get a port of its own.
fn refused_start(dir: &Path) -> Result<Outcome> {
    let mut run = Server::command(&["run"])?;
    program::run(run.arg(dir).env("CHANCERY_LISTEN__ADDRESS", "127.0.0.1:0"))
}

async fn add(log: &RekorLog, text: &str) -> Result<Acknowledged> {
    log.add(&Submitter::new()?.hashedrekord(text.as_bytes())?).await?.context("an idle log takes entries")
}

/// Everything that the logs have promised so far.
#[derive(Default)]
struct Promises {
    v1: Mutex<Vec<Acknowledged>>,
    v2: Mutex<Vec<AcknowledgedV2>>,
    issued: Mutex<Vec<Vec<u8>>>,
}

impl Promises {
    async fn counts(&self) -> [usize; 3] {
        [self.v1.lock().await.len(), self.v2.lock().await.len(), self.issued.lock().await.len()]
    }
}

struct Clients {
    v1: RekorLog,
    v2: RekorV2Log,
    ca: CaClient,
    token: IdToken,
    serial: AtomicU64,
    stop: AtomicBool,
    promises: Promises,
}

impl Clients {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    fn artifact(&self) -> String {
        format!("artifact {}", self.serial.fetch_add(1, Ordering::Relaxed))
    }

    async fn add_v1(self: Arc<Self>) -> Result<()> {
        let submitter = Submitter::new()?;
        while self.goes_on() {
            let entry = submitter.hashedrekord(self.artifact().as_bytes())?;
            self.promises.v1.lock().await.extend(self.v1.add(&entry).await?);
        }
        Ok(())
    }

    async fn add_v2(self: Arc<Self>) -> Result<()> {
        let submitter = Submitter::new()?;
        while self.goes_on() {
            let entry = submitter.hashedrekord_v2(self.artifact().as_bytes())?;
            self.promises.v2.lock().await.extend(self.v2.add(&entry).await?);
        }
        Ok(())
    }

    async fn issue(self: Arc<Self>) -> Result<()> {
        while self.goes_on() {
            let issued = self.ca.issue(&self.token).await?;
            self.promises.issued.lock().await.extend(issued.map(|issued| issued.leaf));
        }
        Ok(())
    }

    /// Waits until every log has promised so much more than `since`.
    async fn after(&self, since: [usize; 3], more: usize) -> Result<[usize; 3]> {
        let started = Instant::now();
        loop {
            let now = self.promises.counts().await;
            if now.iter().zip(since).all(|(now, since)| *now >= since + more) {
                return Ok(now);
            }
            ensure!(started.elapsed() < PATIENCE, "the load is no load: {since:?}, {now:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_under_load_has_what_was_acknowledged_before_and_serves_after_its_restore() -> Result<()> {
    let mut instance = Instance::start().await?;
    let (url, folder) = (instance.server.url().to_owned(), instance.server.folder().to_owned());
    let clients = Arc::new(Clients {
        v1: RekorLog::new(&url, &instance.server.trust("rekor.pub"))?,
        v2: RekorV2Log::new(&url, &instance.server.trust("rekor-v2.pub"))?,
        ca: CaClient::new(&url, &instance.server.trust("ct.pub"))?,
        token: instance.issuer.token().await?,
        serial: AtomicU64::new(0),
        stop: AtomicBool::new(false),
        promises: Promises::default(),
    });
    let mut load = JoinSet::new();
    for _ in 0..3 {
        load.spawn(clients.clone().add_v1());
        load.spawn(clients.clone().add_v2());
    }
    load.spawn(clients.clone().issue());

    let promised = clients.after([0; 3], 5).await?;
    let head = clients.v1.head().await?;
    let seen = checkpoints(&instance, "seen").await?;
    let dest = instance.scratch().join("backup");
    let (dir, to) = (folder.clone(), dest.clone());
    let made = chancery_tlog::serve::block(move || backup(&dir, &to)).await??.success()?;
    ensure!(made.stdout.contains("log `rekor-v1`: "), "{}", made.stdout);
    // The server went on all the time, and goes on.
    clients.after(promised, 5).await?;
    clients.stop.store(true, Ordering::Relaxed);
    while let Some(ended) = load.join_next().await {
        ended??;
    }
    wait_until_gone(&folder.join("logs/.snapshot")).await?;
    instance.server.stop().await?;

    let restored = instance.scratch().join("restored");
    restore_seen(&dest, &restored, &seen.iter().collect::<Vec<_>>())?.success()?;
    instance.server.move_to(restored);
    instance.server.start().await?;
    ensure!(instance.server.output().await?.contains("goes on from a backup"), "a restored log is announced");
    check(&instance, &clients, promised, &head).await?;
    // It is a log like any other: it takes entries, and is sound.
    let entry = add(&clients.v1, "after the restore").await?;
    clients.v1.check_consistent(&head, &entry.head).await?;
    instance.server.stop().await?;
    instance.server.run("fsck")?.success()?;
    Ok(())
}

/// The first promises of each kind are kept, under heads that go on from `before`.
async fn check(
    instance: &Instance,
    clients: &Clients,
    promised: [usize; 3],
    before: &TreeHead,
) -> Result<()> {
    let (url, keys) = (instance.server.url(), instance.server.folder().join("keys"));
    clients.v1.check_consistent(before, &clients.v1.head().await?).await?;
    for promise in &clients.promises.v1.lock().await[..promised[0]] {
        let found = clients.v1.get(&promise.id).await.with_context(|| format!("entry {}", promise.index))?;
        ensure!(found.index == promise.index && found.body == promise.body, "entry {} moved", promise.index);
        ensure!(found.integrated == promise.integrated, "entry {} changed its time", promise.index);
    }
    let v2 = TiledLog::named(url, "127.0.0.1", &keys.join("rekor-v2.checkpoint.key"))?.copy().await?;
    for promise in &clients.promises.v2.lock().await[..promised[1]] {
        let found = v2.leaves.get(usize::try_from(promise.index)?);
        ensure!(found == Some(&promise.body), "the v2 log lacks entry {}", promise.index);
    }
    let issuance = TiledLog::new(&format!("{url}/ct"), &keys.join("ct.checkpoint.key"))?.copy().await?;
    for leaf in &clients.promises.issued.lock().await[..promised[2]] {
        ensure!(issuance.leaves.contains(leaf), "a certificate is not in the issuance log");
    }
    Ok(())
}

/// The checkpoint of every log, in files.
async fn checkpoints(instance: &Instance, name: &str) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for (number, prefix) in ["/ct", "/rekor-v1", ""].iter().enumerate() {
        let url = format!("{}{prefix}/checkpoint", instance.server.url());
        let note = chancery_tests::http()?.get(url).send().await?.bytes().await?;
        files.push(instance.file(&format!("{name}-{number}"), note)?);
    }
    Ok(files)
}

async fn wait_until_gone(path: &Path) -> Result<()> {
    let started = Instant::now();
    while path.exists() {
        ensure!(started.elapsed() < PATIENCE, "{} stays", path.display());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

#[tokio::test]
async fn a_restore_needs_proof_that_nothing_newer_was_seen() -> Result<()> {
    let mut instance = Instance::start().await?;
    let folder = instance.server.folder().to_owned();
    let log = RekorLog::new(instance.server.url(), &instance.server.trust("rekor.pub"))?;
    let then = checkpoints(&instance, "then").await?;
    let (dest, dir) = (instance.scratch().join("backup"), instance.scratch().join("restored"));
    backup(&folder, &dest)?.success()?;
    add(&log, "after the backup").await?;
    let now = checkpoints(&instance, "now").await?;
    instance.server.stop().await?;
    let restore = |seen: &[&PathBuf]| restore_seen(&dest, &dir, seen);
    let unmade = || ensure_absent(&[&dir, &dir.with_file_name("restored.incomplete")]);
    restore(&[])?.refused(1, &["log `ct`", "--seen", NO_NEWER])?;
    restore(&[&then[0], &then[2]])?.refused(1, &["log `rekor-v1`", "--seen"])?;
    unmade()?;
    // The backup lacks an entry that was acknowledged.
    restore(&[&then[0], &now[1], &then[2]])?
        .refused(1, &["never serve", "a checkpoint of 2 entries was seen"])?;
    unmade()?;
    // One of another log proves nothing, and neither does a made-up one.
    let stranger = instance.stranger().await?;
    let foreign = chancery_tests::http()?.get(format!("{}/ct/checkpoint", stranger.url())).send().await?;
    let foreign = instance.file("foreign", foreign.bytes().await?)?;
    restore(&[&foreign, &then[1], &then[2]])?.refused(1, &["is of none of these logs"])?;
    let forged = std::fs::read_to_string(&then[1])?.replace("\n1\n", "\n0\n");
    let forged = instance.file("forged", forged)?;
    restore(&[&then[0], &forged, &then[2]])?.refused(1, &["not signed by this log"])?;
    unmade()?;
    server(&["restore", NO_NEWER, "--lost", "other"], &[&dest, &dir])?
        .refused(1, &["--lost other: the backup has no such log"])?;
    unmade()?;
    restore(&[&then[0], &then[1], &then[2]])?.success()?;
    // Nothing is overwritten, and a word is as good as checkpoints, on the head of who gives it.
    restore(&[&then[0], &then[1], &then[2]])?.refused(1, &["nothing is ever overwritten"])?;
    let other = instance.scratch().join("other");
    server(&["restore", NO_NEWER], &[&dest, &other])?.success()?;
    Ok(())
}

fn ensure_absent(paths: &[&Path]) -> Result<()> {
    for path in paths {
        ensure!(!path.exists(), "{} was left behind", path.display());
    }
    Ok(())
}

#[tokio::test]
async fn damage_in_a_backup_and_half_of_one_are_refused() -> Result<()> {
    let instance = Instance::stopped().await?;
    let (dest, dir) = (instance.scratch().join("backup"), instance.scratch().join("restored"));
    backup(instance.server.folder(), &dest)?.success()?;
    let restore = |backup: &Path| server(&["restore", NO_NEWER], &[backup, &dir]);
    let mut files =
        vec![dest.join("chancery.toml"), dest.join("keys/ct.key"), dest.join("tuf/timestamp.json")];
    for file in std::fs::read_dir(dest.join("logs/rekor-v1"))? {
        files.push(file?.path());
    }
    ensure!(files.len() > 6, "a store has files: {files:?}");
    for file in files {
        let bytes = std::fs::read(&file)?;
        let name = file.strip_prefix(&dest)?.display().to_string();
        let mut flipped = bytes.clone();
        let Some(last) = flipped.last_mut() else { continue };
        *last ^= 1;
        std::fs::write(&file, &flipped)?;
        restore(&dest)?.refused(1, &[&name]).or_else(|error| {
            // The configuration is read before it is copied, and may not even parse.
            if name == "chancery.toml" { restore(&dest)?.failure(&[]) } else { Err(error) }
        })?;
        std::fs::remove_file(&file)?;
        restore(&dest)?.failure(&[])?;
        std::fs::write(&file, bytes)?;
        ensure_absent(&[&dir, &dir.with_file_name("restored.incomplete")])?;
    }
    let manifest = dest.join("backup.json");
    let text = std::fs::read_to_string(&manifest)?;
    std::fs::write(&manifest, text.replacen("\"path\": \"fulcio.yaml\"", "\"path\": \"../fulcio.yaml\"", 1))?;
    restore(&dest)?.refused(1, &["leads out of the backup"])?;
    std::fs::remove_file(&manifest)?;
    restore(&dest)?.refused(1, &["was not finished"])?;
    std::fs::write(&manifest, text)?;
    restore(&dest)?.success()?;
    Ok(())
}

#[tokio::test]
async fn a_backup_is_private_whole_and_never_served() -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;

    let mut instance = Instance::start_with(Rekor::V1).await?;
    let folder = instance.server.folder().to_owned();
    let scratch = instance.scratch().to_owned();
    let (warm, cold, open) = (scratch.join("warm"), scratch.join("cold"), scratch.join("open"));
    backup(&folder, &warm)?.success()?;
    backup(&folder, &warm)?.refused(1, &["is not empty and nothing is ever overwritten"])?;
    backup(&folder, &folder.join("backup"))?.refused(1, &["inside of the instance"])?;
    instance.server.stop().await?;
    server(&["backup", "--verify", "full"], &[&folder, &cold])?.success()?;
    for copy in [&warm, &cold] {
        ensure!(std::fs::metadata(copy)?.permissions().mode() & 0o777 == 0o700, "others can read the keys");
        refused_start(copy)?.refused(1, &["is a backup", "chancery-server restore"])?;
        server(&["check-config"], &[copy])?.refused(1, &["is a backup"])?;
        server(&["fsck"], &[copy])?.success()?;
        ensure!(!copy.join("run").exists() && !copy.join("logs/rekor-v1/LOCK").exists());
    }
    // Without keys there is no private key in any file, and no server until they are back.
    server(&["backup", "--without-keys"], &[&folder, &open])?.success()?;
    let grep = program::run(Command::new("grep").args(["-rlE", "PRIVATE KEY"]).arg(&open))?;
    ensure!(grep.code == Some(1), "keys are in {}", grep.stdout);
    let restored = scratch.join("restored");
    server(&["restore", NO_NEWER], &[&open, &restored])?.success()?;
    refused_start(&restored)?.refused(1, &["keys/"])?;
    copy(&folder.join("keys"), &restored.join("keys"))?;
    instance.server.move_to(restored);
    instance.server.start().await?;
    instance.server.stop().await
}

#[tokio::test]
async fn a_second_server_is_refused_and_the_first_goes_on() -> Result<()> {
    let instance = Instance::start_with(Rekor::V1).await?;
    let folder = instance.server.folder().to_owned();
    refused_start(&folder)?.refused(1, &["in use by another process"])?;
    let log = RekorLog::new(instance.server.url(), &instance.server.trust("rekor.pub"))?;
    add(&log, "after the second").await?;
    // Its control socket is its own still. One backup at a time: this one never ends.
    let mut first = UnixStream::connect(folder.join("run/control.sock"))?;
    first.write_all(b"{\"protocol\":1,\"ask\":\"snapshot\"}\n")?;
    let mut answer = String::new();
    BufReader::new(&first).read_line(&mut answer)?;
    ensure!(answer.starts_with("{\"snapshot\":["), "{answer}");
    ensure!(folder.join("logs/.snapshot/rekor-v1/CURRENT").exists());
    let dest = instance.scratch().join("backup");
    backup(&folder, &dest)?.refused(1, &["another backup is being made"])?;
    ensure_absent(&[&dest, &dest.with_file_name("backup.incomplete")])?;
    drop(first);
    wait_until_gone(&folder.join("logs/.snapshot")).await?;
    backup(&folder, &dest)?.success()?;
    // Another version is told so, and noise ends nothing.
    for line in ["{\"protocol\":99,\"ask\":\"snapshot\"}\n", "noise\n"] {
        let mut stranger = UnixStream::connect(folder.join("run/control.sock"))?;
        stranger.write_all(line.as_bytes())?;
        let mut answer = String::new();
        BufReader::new(&stranger).read_line(&mut answer)?;
        ensure!(answer.contains("same version"), "{answer}");
    }
    add(&log, "after the noise").await?;
    Ok(())
}

#[tokio::test]
async fn an_old_copy_is_refused_by_the_memory_of_heads() -> Result<()> {
    let mut instance = Instance::stopped().await?;
    let scratch = instance.scratch().to_owned();
    let (folder, memory) = (instance.server.folder().to_owned(), scratch.join("memory"));
    let config = folder.join("chancery.toml");
    let text = std::fs::read_to_string(&config)?;
    std::fs::write(&config, format!("{text}\n[memory]\npath = {memory:?}\n"))?;
    refused_start(&folder)?.refused(1, &["mount its disk", "chancery-server remember"])?;
    instance.server.run("check-config")?.refused(1, &["mount its disk"])?;
    instance.server.run("remember")?.success()?;
    instance.server.run("remember")?.refused(1, &["remembers already"])?;
    instance.server.run("check-config")?.success()?;

    instance.server.start().await?;
    ensure!(!instance.server.output().await?.contains("no memory of heads"), "it has one");
    let log = RekorLog::new(instance.server.url(), &instance.server.trust("rekor.pub"))?;
    add(&log, "before the copy").await?;
    let dest = scratch.join("backup");
    backup(&folder, &dest)?.success()?;
    instance.server.stop().await?;
    let old = scratch.join("old");
    copy(&folder, &old)?;
    instance.server.start().await?;
    add(&log, "after the copy").await?;
    instance.server.stop().await?;

    // The folder is replaced by its older copy, whole and sound in itself.
    server(&["fsck"], &[&old])?.success()?;
    for _ in 0..2 {
        refused_start(&old)?.refused(1, &["log `rekor-v1` has 2 entries", "checkpoint of 3", "old copy"])?;
    }
    // A restore asks the memory too, whatever the operator says.
    let restored = scratch.join("restored");
    server(&["restore", NO_NEWER], &[&dest, &restored])?
        .refused(1, &["a checkpoint of 3 entries was seen"])?;
    // The newest state goes on, and what the memory holds is what `--seen` takes.
    let mut fsck = Server::command(&["fsck"])?;
    program::run(fsck.arg(&folder).arg("--seen").arg(memory.join("rekor-v1")))?.success()?;
    instance.server.start().await?;
    add(&log, "and on").await?;
    instance.server.stop().await?;
    // The disk of the memory is not mounted: nobody may take that for a first start.
    std::fs::rename(&memory, scratch.join("unmounted"))?;
    refused_start(&folder)?.refused(1, &["mount its disk"])?;
    Ok(())
}

#[tokio::test]
async fn an_old_store_in_a_newer_folder_is_refused_without_a_second_memory() -> Result<()> {
    let mut instance = Instance::start_with(Rekor::V1).await?;
    ensure!(
        instance.server.output().await?.contains("no memory of heads on another disk"),
        "said at the start"
    );
    let (store, old) = (instance.server.folder().join("logs/rekor-v1"), instance.scratch().join("old"));
    let log = RekorLog::new(instance.server.url(), &instance.server.trust("rekor.pub"))?;
    instance.server.stop().await?;
    copy(&store, &old)?;
    instance.server.start().await?;
    add(&log, "after the copy").await?;
    instance.server.stop().await?;
    std::fs::rename(&store, instance.scratch().join("newest"))?;
    copy(&old, &store)?;
    refused_start(instance.server.folder())?.refused(1, &["log `rekor-v1` has 1 entries", "old copy"])?;
    Ok(())
}
