//! A disk that fails under the real server: each failing system call, each error, then a restart. What was
//! acknowledged is there, no two heads contradict each other, and the process says what it does not know and ends.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use chancery_tests::rekor::{Acknowledged, RekorLog, Submitter, TreeHead};
use chancery_tests::{Instance, Program, Rekor, Server, program};
use tokio::task::JoinSet;

const SUBMITTERS: usize = 4;
/// Between a refusal and the next attempt.
const PAUSE: Duration = Duration::from_millis(50);
/// What the server writes last when a commit's outcome is unknown.
const UNKNOWN: &str = "a commit may or may not be durable, restart to find out";

/// What happens to a system call on the write-ahead log of the attestation log.
struct Fault {
    call: &'static str,
    injected: &'static str,
    /// How many of these calls succeed before.
    after: u32,
    /// Whether the server gets to say why it ends.
    says_why: bool,
}

const FAULTS: [Fault; 7] = [
    Fault { call: "fdatasync", injected: "error=EIO", after: 1, says_why: true },
    Fault { call: "fdatasync", injected: "error=EIO", after: 8, says_why: true },
    Fault { call: "fdatasync", injected: "error=ENOSPC", after: 3, says_why: true },
    Fault { call: "write", injected: "error=ENOSPC", after: 1, says_why: true },
    Fault { call: "write", injected: "error=EIO", after: 6, says_why: true },
    Fault { call: "write", injected: "signal=SIGKILL", after: 5, says_why: false },
    Fault { call: "fdatasync", injected: "signal=SIGKILL", after: 4, says_why: false },
];

/// strace, which makes system calls of a running process fail.
struct Sabotage {
    _strace: Program,
}

impl Sabotage {
    async fn of(fault: &Fault, process: u32, file: &Path, scratch: &Path) -> Result<Self> {
        let Fault { call, injected, after, .. } = fault;
        let mut command = Command::new("strace");
        command.args(["-f", "-p", &process.to_string(), "-P"]).arg(file);
        command.args(["-e", &format!("trace={call}"), "-e"]);
        // From then on every time: a disk that fails once and works again is not the usual kind.
        command.arg(format!("inject={call}:{injected}:when={}+", after + 1));
        command.arg("-o").arg(scratch.join("trace"));
        let mut strace = Program::start("strace", &mut command, &scratch.join("strace.log"))?;
        strace.wait_for(|said| said.contains("attached")).await?;
        Ok(Self { _strace: strace })
    }
}

/// The newest write-ahead log of a store.
fn write_ahead_log(store: &Path) -> Result<PathBuf> {
    let mut logs = Vec::new();
    for file in std::fs::read_dir(store)? {
        let path = file?.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            logs.push(path);
        }
    }
    logs.into_iter().max().context("a store has a write-ahead log")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_every_failure_of_the_disk() -> Result<()> {
    let mut instance = Instance::start_with(Rekor::V1).await?;
    let log = RekorLog::new(instance.server.url(), &instance.server.trust("rekor.pub"))?;
    let store = instance.server.folder().join("logs/rekor-v1");
    let serial = Arc::new(AtomicU64::new(0));
    let mut promises: Vec<Acknowledged> = Vec::new();
    let mut heads: Vec<TreeHead> = Vec::new();
    for (number, fault) in FAULTS.iter().enumerate() {
        let name = format!("{} {} after {}", fault.call, fault.injected, fault.after);
        let scratch = instance.scratch().join(format!("fault-{number}"));
        std::fs::create_dir(&scratch)?;
        heads.push(log.head().await?);
        let process = instance.server.id().context("the server runs")?;
        let sabotage = Sabotage::of(fault, process, &write_ahead_log(&store)?, &scratch).await?;
        let before = promises.len();
        promises.extend(submit_until_it_ends(&log, &serial).await.with_context(|| name.clone())?);
        let said = instance.server.output()?;
        let status = instance.server.ended().await.with_context(|| name.clone())?;
        drop(sabotage);
        ensure!(!status.success(), "{name}: the server ended as if nothing had happened");
        ensure!(!fault.says_why || said.contains(UNKNOWN), "{name}: the server did not say why:\n{said}");
        eprintln!("{name}: {} acknowledged, then {status}", promises.len() - before);

        instance.server.start().await.with_context(|| format!("restart after {name}"))?;
        check(&log, &promises, &mut heads).await.with_context(|| format!("after {name}"))?;
    }
    instance.server.stop().await?;
    let checked = instance.server.run("fsck")?.success()?;
    ensure!(checked.stdout.contains("log `rekor-v1`: sound"), "{}", checked.stdout);
    Ok(())
}

/// Submits from several clients until nobody answers any more.
async fn submit_until_it_ends(log: &RekorLog, serial: &Arc<AtomicU64>) -> Result<Vec<Acknowledged>> {
    let mut submitters: JoinSet<Result<Vec<Acknowledged>>> = JoinSet::new();
    for _ in 0..SUBMITTERS {
        let (log, serial, submitter) = (log.clone(), Arc::clone(serial), Submitter::new()?);
        submitters.spawn(async move {
            let mut acknowledged = Vec::new();
            loop {
                let artifact = format!("artifact {}", serial.fetch_add(1, Ordering::Relaxed));
                // An answer of 500 is "unknown": no promise, and no more of them from this process.
                match log.add(&submitter.hashedrekord(artifact.as_bytes())?).await {
                    Ok(Some(entry)) => acknowledged.push(entry),
                    // Too fast for the rate limit, or there is nobody any more.
                    Ok(None) if log.head().await.is_ok() => tokio::time::sleep(PAUSE).await,
                    Ok(None) => return Ok(acknowledged),
                    Err(error) if error.to_string().contains("the log answers 500") => {
                        return Ok(acknowledged);
                    }
                    Err(error) => return Err(error),
                }
            }
        });
    }
    let mut acknowledged = Vec::new();
    while let Some(some) = submitters.join_next().await {
        acknowledged.extend(some??);
    }
    Ok(acknowledged)
}

/// Every promise against the log as it is now.
async fn check(log: &RekorLog, promises: &[Acknowledged], heads: &mut Vec<TreeHead>) -> Result<()> {
    for promised in promises {
        let found = log.get(&promised.id).await.with_context(|| format!("entry {}", promised.index))?;
        ensure!(found.index == promised.index, "entry {} moved to {}", promised.index, found.index);
        ensure!(found.integrated == promised.integrated, "entry {} changed its time", promised.index);
        ensure!(found.body == promised.body, "entry {} changed its body", promised.index);
    }
    heads.extend(promises.iter().map(|promised| promised.head.clone()));
    heads.push(log.head().await?);
    heads.sort_by_key(|head| head.size);
    heads.dedup();
    for pair in heads.windows(2) {
        log.check_consistent(&pair[0], &pair[1]).await?;
    }
    Ok(())
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
async fn fsck_finds_a_flipped_byte_in_a_stopped_instance() -> Result<()> {
    let mut instance = Instance::start().await?;
    let log = RekorLog::new(instance.server.url(), &instance.server.trust("rekor.pub"))?;
    let submitter = Submitter::new()?;
    for n in 0..20 {
        log.add(&submitter.hashedrekord(format!("artifact {n}").as_bytes())?).await?.context("added")?;
    }
    instance.server.stop().await?;
    let sound = instance.server.run("fsck")?.success()?;
    for name in ["ct", "rekor-v1", "rekor-v2"] {
        ensure!(sound.stdout.contains(&format!("log `{name}`: sound")), "{}", sound.stdout);
    }
    let wal = write_ahead_log(&instance.server.folder().join("logs/rekor-v1"))?;
    let mut bytes = std::fs::read(&wal)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&wal, bytes)?;
    let outcome =
        instance.server.run("fsck")?.refused(1, &["log `rekor-v1`: the store:", "do not serve it"])?;
    ensure!(outcome.stdout.contains("log `ct`: sound"), "the other logs are checked too: {}", outcome.stdout);
    Ok(())
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
