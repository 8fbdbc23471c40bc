//! A disk that fails under the real server: each failing system call on each log, each error, in use and at a start, then
//! a restart. What was acknowledged is there, no two heads contradict each other, and the process says what it does not
//! know and ends.
//!
//! `CHANCERY_LONG=1` fails every call of a start instead of one of each kind.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use chancery_tests::promises::{Load, Logs, Promises};
use chancery_tests::rekor::{RekorLog, Submitter};
use chancery_tests::strace::Strace;
use chancery_tests::{Instance, Rekor, Server, program};

/// What the server writes last when a commit's outcome is unknown.
const UNKNOWN: &str = "a commit may or may not be durable, restart to find out";

/// What happens to a system call on the write-ahead log of a log in use.
struct Fault {
    call: &'static str,
    injected: &'static str,
    /// How many of these calls succeed before.
    after: u32,
}

const FAULTS: [Fault; 6] = [
    Fault { call: "fdatasync", injected: "error=EIO", after: 1 },
    Fault { call: "fdatasync", injected: "error=ENOSPC", after: 3 },
    Fault { call: "write", injected: "error=ENOSPC", after: 1 },
    Fault { call: "write", injected: "error=EIO", after: 6 },
    Fault { call: "write", injected: "signal=SIGKILL", after: 5 },
    Fault { call: "fdatasync", injected: "signal=SIGKILL", after: 4 },
];

impl Fault {
    /// Whether the server gets to say why it ends.
    fn says_why(&self) -> bool {
        self.injected.starts_with("error")
    }

    async fn strike(&self, process: u32, file: &Path, scratch: &Path, name: &str) -> Result<Strace> {
        let Self { call, injected, after, .. } = self;
        let file = file.to_str().context("a path in UTF-8")?;
        let trace = format!("trace={call}");
        // From then on every time: a disk that fails once and works again is not the usual kind.
        let inject = format!("inject={call}:{injected}:when={}+", after + 1);
        Strace::attach(process, &["-P", file, "-e", &trace, "-e", &inject], scratch, name).await
    }
}

async fn fail_a_log_in_use(log: &str) -> Result<()> {
    let mut instance = Instance::start().await?;
    let (logs, token) = (Logs::of(&instance)?, instance.issuer.token().await?);
    let mut promises = Promises::default();
    for (number, fault) in FAULTS.iter().enumerate() {
        let name = format!("{log}: {} {} after {}", fault.call, fault.injected, fault.after);
        promises.see(&logs).await?;
        let process = instance.server.id().context("the server runs")?;
        let (wal, file) = (instance.server.write_ahead_log(log)?, format!("fault-{number}"));
        let strace = fault.strike(process, &wal, instance.scratch(), &file).await?;
        let before = instance.server.output().await?.len();
        let load = Load::start(&logs, &token)?;
        let made = promises.take(load).await.with_context(|| name.clone())?;
        let status = instance.server.ended().await.with_context(|| name.clone())?;
        let said = instance.server.output().await?.split_off(before);
        drop(strace);
        ensure!(!status.success(), "{name}: the server ended as if nothing had happened");
        ensure!(!fault.says_why() || said.contains(UNKNOWN), "{name}: the server did not say why:\n{said}");
        eprintln!("{name}: {made:?} acknowledged by v1, v2 and the CA, then {status}");

        instance.server.start().await.with_context(|| format!("restart after {name}"))?;
        promises.check_round(&logs).await.with_context(|| format!("after {name}"))?;
    }
    promises.check_all(&logs).await?;
    instance.server.stop().await?;
    let checked = instance.server.run("fsck")?.success()?;
    ensure!(checked.stdout.contains(&format!("log `{log}`: sound")), "{}", checked.stdout);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_every_failure_of_the_disk_under_rekor_v1() -> Result<()> {
    fail_a_log_in_use("rekor-v1").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_every_failure_of_the_disk_under_rekor_v2() -> Result<()> {
    fail_a_log_in_use("rekor-v2").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_every_failure_of_the_disk_under_the_issuance_log() -> Result<()> {
    fail_a_log_in_use("ct").await
}

/// The calls of a start that open, write, sync and rename files of the logs: tables, MANIFEST, CURRENT, write-ahead logs.
const CALLS: &str = "trace=openat,write,pwrite64,fdatasync,fsync,rename";

/// Which calls of a start touch a log: for each kind, their places among all of that kind.
fn calls_of_a_start(trace: &str) -> BTreeMap<String, Vec<usize>> {
    let (mut counts, mut ours) = (BTreeMap::<String, usize>::new(), BTreeMap::<String, Vec<usize>>::new());
    for line in trace.lines() {
        // "PID  call(…) = 0", or "PID  <... call resumed>…" for one that was counted when it began.
        let call = line.split_once(' ').map_or("", |(_, call)| call.trim_start());
        let Some((name, _)) = call.split_once('(').filter(|(name, _)| !name.contains(' ')) else { continue };
        let count = counts.entry(name.to_owned()).or_default();
        *count += 1;
        let writes = name != "openat" || call.contains("O_CREAT");
        if call.contains("/logs/") && writes {
            ours.entry(name.to_owned()).or_default().push(*count);
        }
    }
    ours
}

/// Starts the server with one call failing. It ends or gets ready; a killed one ends.
async fn start_with(instance: &mut Instance, call: &str, inject: &str, name: &str) -> Result<bool> {
    let arguments = ["-e", &format!("trace={call}"), "-e", inject];
    let (strace, ended) = Strace::over_a_start(instance, &arguments, name).await?;
    let struck = strace.seen()?.lines().any(|line| line.contains("(INJECTED)") || line.contains("SIGKILL"));
    ensure!(struck, "{inject} did not strike");
    instance.server.kill()?;
    ensure!(ended.is_none_or(|status| !status.success()), "the server ended as if nothing had happened");
    Ok(ended.is_some())
}

#[tokio::test]
async fn a_start_that_fails_at_any_file_of_a_log_loses_nothing() -> Result<()> {
    let (mut instance, logs, mut promises) = Promises::of_a_killed_instance().await?;
    let (strace, ended) = Strace::over_a_start(&mut instance, &["-y", "-e", CALLS], "start").await?;
    ensure!(ended.is_none(), "the server ended");
    let calls = calls_of_a_start(&strace.seen()?);
    ensure!(calls.len() >= 5, "a start that recovers a log opens, writes, syncs and renames: {calls:?}");

    let is_long = std::env::var_os("CHANCERY_LONG").is_some();
    let mut number = 0;
    for (call, places) in &calls {
        // The last ones: of the log that is opened last, when those before it are open.
        let few = places.iter().rev().take(if is_long { usize::MAX } else { 1 });
        for place in few {
            for injected in ["error=EIO", "signal=SIGKILL"] {
                // Something to recover. All calls take longer than a token is good for.
                promises.add_to_each(&logs, &instance.issuer.token().await?).await?;
                instance.server.kill()?;
                number += 1;
                let inject = format!("inject={call}:{injected}:when={place}");
                let context = || format!("a start with {inject}");
                let ended = start_with(&mut instance, call, &inject, &format!("start-{number}"))
                    .await
                    .with_context(context)?;
                eprintln!("{inject}: {}", if ended { "the start failed" } else { "the start did without" });
                instance.server.start().await.with_context(context)?;
                promises.check_round(&logs).await.with_context(context)?;
            }
        }
    }
    promises.check_all(&logs).await
}

#[tokio::test]
async fn a_second_process_on_the_folder_is_refused_and_the_first_goes_on() -> Result<()> {
    let mut instance = Instance::start_with(Rekor::V1).await?;
    let folder = instance.server.folder().to_owned();
    let mut second = Server::command(&["run"])?;
    second.arg(&folder).env("CHANCERY_LISTEN__ADDRESS", format!("127.0.0.1:{}", program::free_port()?));
    program::run(&mut second)?.failure(&["in use by another process"])?;
    instance
        .server
        .run("fsck")?
        .refused(2, &["log `rekor-v1` was not checked", "in use by another process"])?;

    let log = RekorLog::new(instance.server.url(), &instance.server.trust("rekor.pub"))?;
    log.add(&Submitter::new()?.hashedrekord(b"artifact")?).await?.context("the first still takes entries")?;
    instance.server.stop().await
}

#[tokio::test]
async fn fsck_and_start_find_a_flipped_bit_in_what_a_killed_instance_left() -> Result<()> {
    let mut instance = Instance::start().await?;
    let log = RekorLog::new(instance.server.url(), &instance.server.trust("rekor.pub"))?;
    let submitter = Submitter::new()?;
    for n in 0..20 {
        log.add(&submitter.hashedrekord(format!("artifact {n}").as_bytes())?).await?.context("added")?;
    }
    // A stop in order would leave nothing in the write-ahead log.
    instance.server.kill()?;
    let sound = instance.server.run("fsck")?.success()?;
    for name in ["ct", "rekor-v1", "rekor-v2"] {
        ensure!(sound.stdout.contains(&format!("log `{name}`: sound")), "{}", sound.stdout);
    }
    let wal = instance.server.write_ahead_log("rekor-v1")?;
    let mut bytes = std::fs::read(&wal)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&wal, bytes)?;
    let outcome =
        instance.server.run("fsck")?.refused(1, &["log `rekor-v1`: the store:", "do not serve it"])?;
    ensure!(outcome.stdout.contains("log `ct`: sound"), "the other logs are checked too: {}", outcome.stdout);
    let start = program::run(Server::command(&["run"])?.arg(instance.server.folder()))?;
    start.failure(&["the store is damaged", "restore it from a copy"]).map(drop)
}

/// deploy/docs/runbooks.md, "Backup" and "Restore": the same commands.
#[tokio::test]
async fn a_cold_backup_is_restored_and_an_old_one_is_found_out() -> Result<()> {
    let mut instance = Instance::start_with(Rekor::V1).await?;
    let folder = instance.server.folder().to_owned();
    let log = RekorLog::new(instance.server.url(), &instance.server.trust("rekor.pub"))?;
    let submitter = Submitter::new()?;
    let add = async |text: &str| {
        log.add(&submitter.hashedrekord(text.as_bytes())?).await?.context("an idle log takes entries")
    };
    let kept = add("before the backup").await?;
    instance.server.stop().await?;
    let backup = instance.scratch().join("backup");
    program::run(Command::new("cp").arg("-a").arg(&folder).arg(&backup))?.success()?;
    program::run(Server::command(&["fsck"])?.arg(&backup))?.success()?;
    instance.server.start().await?;
    let checkpoint = async || -> Result<PathBuf> {
        let url = format!("{}/rekor-v1/checkpoint", instance.server.url());
        instance.file("seen", chancery_tests::http()?.get(url).send().await?.bytes().await?)
    };
    let early = std::fs::read(checkpoint().await?)?;
    let lost = add("after the backup").await?;
    let seen = checkpoint().await?;
    let fsck = |folder: &Path, seen: &Path| -> Result<program::Outcome> {
        program::run(Server::command(&["fsck"])?.arg(folder).arg("--seen").arg(seen))
    };
    // The backup lacks an entry that was acknowledged: to serve it would be to fork.
    fsck(&backup, &seen)?.refused(1, &["a checkpoint of 3 entries was seen", "never serve this folder"])?;
    instance.server.stop().await?;
    fsck(&folder, &seen)?.success()?;
    // With nothing seen after it, a backup may take the place of the folder.
    let early = instance.file("early", early)?;
    fsck(&backup, &early)?.success()?;
    program::run(Command::new("mv").arg(&folder).arg(instance.scratch().join("evidence")))?.success()?;
    program::run(Command::new("cp").arg("-a").arg(&backup).arg(&folder))?.success()?;
    instance.server.start().await?;
    log.get(&kept.id).await?;
    ensure!(log.get(&lost.id).await.is_err(), "the restored log is the backup");
    instance.server.stop().await
}
