//! Power cuts: an acknowledged entry is durable and a signed head is never contradicted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use chancery_tests::Instance;
use chancery_tests::rekor::{Acknowledged, RekorLog, Submitter, TreeHead};
use tokio::task::JoinSet;

const ROUNDS: u64 = 20;
const SUBMITTERS: usize = 8;

/// What the log has promised so far.
#[derive(Default)]
struct Promises {
    entries: Vec<Acknowledged>,
    heads: Vec<TreeHead>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_entries_and_signed_heads_survive_kill_9_under_load() -> Result<()> {
    let mut instance = Instance::start().await?;
    let log = RekorLog::new(instance.server.url(), &instance.server.trust("rekor.pub"))?;
    let serial = Arc::new(AtomicU64::new(0));
    let mut promises = Promises::default();
    for round in 0..ROUNDS {
        let before = promises.entries.len();
        let submitters = submit(&log, &serial)?;
        // Another moment of the batch in every round.
        tokio::time::sleep(Duration::from_millis(250 + 37 * round)).await;
        let head = log.head().await?;
        instance.server.kill()?;
        promises.take(submitters, head).await?;
        ensure!(promises.entries.len() > before, "round {round} acknowledged nothing: the load is no load");
        instance.server.start().await?;
        promises.check(&log, before).await.with_context(|| format!("after kill -9 number {}", round + 1))?;
    }
    promises.check(&log, 0).await.context("after the last round")
}

/// Starts submitters that go on until the log no longer answers.
fn submit(log: &RekorLog, serial: &Arc<AtomicU64>) -> Result<JoinSet<Result<Vec<Acknowledged>>>> {
    let mut tasks = JoinSet::new();
    for _ in 0..SUBMITTERS {
        let (log, serial, submitter) = (log.clone(), serial.clone(), Submitter::new()?);
        tasks.spawn(async move {
            let mut acknowledged = Vec::new();
            loop {
                let artifact = format!("artifact {}", serial.fetch_add(1, Ordering::Relaxed));
                let Some(entry) = log.add(&submitter.hashedrekord(artifact.as_bytes())?).await? else {
                    break;
                };
                acknowledged.push(entry);
            }
            Ok(acknowledged)
        });
    }
    Ok(tasks)
}

impl Promises {
    async fn take(&mut self, mut tasks: JoinSet<Result<Vec<Acknowledged>>>, head: TreeHead) -> Result<()> {
        self.heads.push(head);
        while let Some(acknowledged) = tasks.join_next().await {
            for entry in acknowledged?? {
                self.heads.push(entry.head.clone());
                self.entries.push(entry);
            }
        }
        Ok(())
    }

    /// Demands that the log keeps every promise; of the entries, those from `first` on.
    async fn check(&mut self, log: &RekorLog, first: usize) -> Result<()> {
        let now = log.head().await?;
        self.heads.push(now.clone());
        for promised in &self.entries[first..] {
            let found = log.get(&promised.id).await.with_context(|| format!("entry {}", promised.index))?;
            ensure!(found.index == promised.index, "entry {} moved to {}", promised.index, found.index);
            ensure!(found.integrated == promised.integrated, "entry {} changed its time", promised.index);
            ensure!(found.body == promised.body, "entry {} changed its body", promised.index);
        }
        self.check_heads(log, &now).await
    }

    /// Every head ever seen is a prefix of the next larger one, and of equal sizes there is one root: so any two are
    /// consistent.
    async fn check_heads(&mut self, log: &RekorLog, now: &TreeHead) -> Result<()> {
        self.heads.sort_by_key(|head| head.size);
        self.heads.dedup();
        let largest = self.heads.last().context("at least one head")?;
        ensure!(
            largest.size <= now.size,
            "a head of {} was signed, now there are {}",
            largest.size,
            now.size
        );
        for pair in self.heads.windows(2) {
            log.check_consistent(&pair[0], &pair[1]).await?;
        }
        Ok(())
    }
}
