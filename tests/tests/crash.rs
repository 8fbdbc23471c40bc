//! Power cuts: what a log has acknowledged is durable, and a head that it has signed is never contradicted.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use chancery_tests::ca::CaClient;
use chancery_tests::rekor::{Acknowledged, RekorLog, Submitter, TreeHead};
use chancery_tests::rekor_v2::{AcknowledgedV2, RekorV2Log};
use chancery_tests::tiles::TiledLog;
use chancery_tests::{IdToken, Instance};
use tokio::task::JoinSet;

const ROUNDS: u64 = 20;
const SUBMITTERS: usize = 6;
const SUBMITTERS_V2: usize = 3;
const APPLICANTS: usize = 2;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_entries_and_signed_heads_survive_kill_9_under_load() -> Result<()> {
    let mut instance = Instance::start().await?;
    let token = instance.issuer.token().await?;
    let logs = Logs::of(&instance)?;
    let mut promises = Promises::default();
    for round in 0..ROUNDS {
        let load = Load::start(&logs, &token)?;
        // Another moment of a batch in every round.
        tokio::time::sleep(Duration::from_millis(300 + 37 * round)).await;
        promises.heads.push(logs.rekor.head().await?);
        promises.heads_v2.push(head(&logs.rekor_v2_tiles).await?);
        promises.issuance_heads.push(logs.issuance_head().await?);
        instance.server.kill()?;
        let made = promises.take(load).await?;
        ensure!(made, "round {round} acknowledged nothing: the load is no load");
        instance.server.start().await?;
        promises.check_round(&logs).await.with_context(|| format!("after kill -9 number {}", round + 1))?;
    }
    promises.check_all(&logs).await.context("after the last round")
}

/// The logs of the instance, and the CA before one of them.
struct Logs {
    rekor: RekorLog,
    rekor_tiles: TiledLog,
    rekor_v2: RekorV2Log,
    rekor_v2_tiles: TiledLog,
    ca: CaClient,
    issuance: TiledLog,
}

impl Logs {
    fn of(instance: &Instance) -> Result<Self> {
        let server = &instance.server;
        let tiles = |prefix: &str, key: &str| {
            TiledLog::new(&format!("{}/{prefix}", server.url()), &server.folder().join("keys").join(key))
        };
        Ok(Self {
            rekor: RekorLog::new(server.url(), &server.trust("rekor.pub"))?,
            rekor_tiles: tiles("rekor-v1", "rekor-v1.checkpoint.key")?,
            rekor_v2: RekorV2Log::new(server.url(), &server.trust("rekor-v2.pub"))?,
            rekor_v2_tiles: TiledLog::named(
                server.url(),
                "127.0.0.1",
                &server.folder().join("keys/rekor-v2.checkpoint.key"),
            )?,
            ca: CaClient::new(server.url(), &server.trust("ct.pub"))?,
            issuance: tiles("ct", "ct.checkpoint.key")?,
        })
    }

    async fn issuance_head(&self) -> Result<TreeHead> {
        head(&self.issuance).await
    }
}

async fn head(log: &TiledLog) -> Result<TreeHead> {
    let checkpoint = log.checkpoint().await?;
    Ok(TreeHead { size: checkpoint.size, root: checkpoint.root })
}

/// Clients that go on until nobody answers any more.
struct Load {
    submitters: JoinSet<Result<Vec<Acknowledged>>>,
    submitters_v2: JoinSet<Result<Vec<AcknowledgedV2>>>,
    applicants: JoinSet<Result<Vec<Vec<u8>>>>,
}

impl Load {
    fn start(logs: &Logs, token: &IdToken) -> Result<Self> {
        let mut load =
            Self { submitters: JoinSet::new(), submitters_v2: JoinSet::new(), applicants: JoinSet::new() };
        let serial = Arc::new(AtomicU64::new(0));
        for _ in 0..SUBMITTERS {
            load.submitters.spawn(submit(logs.rekor.clone(), Submitter::new()?, serial.clone()));
        }
        for _ in 0..SUBMITTERS_V2 {
            load.submitters_v2.spawn(submit_v2(logs.rekor_v2.clone(), Submitter::new()?, serial.clone()));
        }
        for _ in 0..APPLICANTS {
            load.applicants.spawn(apply(logs.ca.clone(), token.clone()));
        }
        Ok(load)
    }
}

async fn submit(log: RekorLog, submitter: Submitter, serial: Arc<AtomicU64>) -> Result<Vec<Acknowledged>> {
    let mut acknowledged = Vec::new();
    loop {
        let artifact = format!("artifact {}", serial.fetch_add(1, Ordering::Relaxed));
        let Some(entry) = log.add(&submitter.hashedrekord(artifact.as_bytes())?).await? else {
            return Ok(acknowledged);
        };
        acknowledged.push(entry);
    }
}

async fn submit_v2(
    log: RekorV2Log,
    submitter: Submitter,
    serial: Arc<AtomicU64>,
) -> Result<Vec<AcknowledgedV2>> {
    let mut acknowledged = Vec::new();
    loop {
        let artifact = format!("artifact {}", serial.fetch_add(1, Ordering::Relaxed));
        let Some(entry) = log.add(&submitter.hashedrekord_v2(artifact.as_bytes())?).await? else {
            return Ok(acknowledged);
        };
        acknowledged.push(entry);
    }
}

async fn apply(ca: CaClient, token: IdToken) -> Result<Vec<Vec<u8>>> {
    let mut leaves = Vec::new();
    while let Some(issued) = ca.issue(&token).await? {
        leaves.push(issued.leaf);
    }
    Ok(leaves)
}

/// What the logs have promised so far.
#[derive(Default)]
struct Promises {
    entries: Vec<Acknowledged>,
    heads: Vec<TreeHead>,
    entries_v2: Vec<AcknowledgedV2>,
    heads_v2: Vec<TreeHead>,
    /// Leaves under the SCTs of issued certificates.
    issued: Vec<Vec<u8>>,
    issuance_heads: Vec<TreeHead>,
    /// Entries and heads before these were checked in an earlier round.
    checked_entries: usize,
    checked_heads: usize,
}

impl Promises {
    /// Collects what the clients were promised; whether all logs promised anything.
    async fn take(&mut self, mut load: Load) -> Result<bool> {
        let before = (self.entries.len(), self.entries_v2.len(), self.issued.len());
        while let Some(acknowledged) = load.submitters.join_next().await {
            for entry in acknowledged?? {
                self.heads.push(entry.head.clone());
                self.entries.push(entry);
            }
        }
        while let Some(acknowledged) = load.submitters_v2.join_next().await {
            for entry in acknowledged?? {
                self.heads_v2.push(entry.head.clone());
                self.entries_v2.push(entry);
            }
        }
        while let Some(leaves) = load.applicants.join_next().await {
            self.issued.extend(leaves??);
        }
        let after = (self.entries.len(), self.entries_v2.len(), self.issued.len());
        Ok(after.0 > before.0 && after.1 > before.1 && after.2 > before.2)
    }

    /// Checks what was promised since the last check, and every certificate.
    async fn check_round(&mut self, logs: &Logs) -> Result<()> {
        let now = logs.rekor.head().await?;
        for promised in &self.entries[self.checked_entries..] {
            let found =
                logs.rekor.get(&promised.id).await.with_context(|| format!("entry {}", promised.index))?;
            ensure!(found.index == promised.index, "entry {} moved to {}", promised.index, found.index);
            ensure!(found.integrated == promised.integrated, "entry {} changed its time", promised.index);
            ensure!(found.body == promised.body, "entry {} changed its body", promised.index);
        }
        for head in &self.heads[self.checked_heads..] {
            ensure!(head.size <= now.size, "a head of {} was signed, now there are {}", head.size, now.size);
        }
        check_chain(&logs.rekor, &self.heads[self.checked_heads.saturating_sub(1)..], &now).await?;
        self.checked_entries = self.entries.len();
        self.checked_heads = self.heads.len();
        self.check_v2(logs).await?;
        self.check_issuance(logs).await
    }

    /// Every entry that the v2 log acknowledged stands where it said, under a tree that contains every head seen.
    async fn check_v2(&self, logs: &Logs) -> Result<()> {
        let copy = logs.rekor_v2_tiles.copy().await?;
        for head in &self.heads_v2 {
            ensure!(copy.root_at(head.size) == Some(&head.root), "the v2 log forked before {}", head.size);
        }
        for entry in &self.entries_v2 {
            let found = copy.leaves.get(usize::try_from(entry.index)?);
            ensure!(found == Some(&entry.body), "the v2 log lacks entry {}", entry.index);
        }
        Ok(())
    }

    /// Every certificate that was issued stands in the issuance log, under a tree that contains every head seen.
    async fn check_issuance(&self, logs: &Logs) -> Result<()> {
        let copy = logs.issuance.copy().await?;
        for head in &self.issuance_heads {
            ensure!(
                copy.root_at(head.size) == Some(&head.root),
                "the issuance log forked before {}",
                head.size
            );
        }
        let leaves: HashSet<&[u8]> = copy.leaves.iter().map(Vec::as_slice).collect();
        let lost = self.issued.iter().filter(|leaf| !leaves.contains(leaf.as_slice())).count();
        ensure!(lost == 0, "{lost} of {} certificates are not in the issuance log", self.issued.len());
        Ok(())
    }

    /// Checks everything again, from the log's tiles as well as from its API.
    async fn check_all(&mut self, logs: &Logs) -> Result<()> {
        self.checked_entries = 0;
        self.checked_heads = 0;
        self.check_round(logs).await?;
        let copy = logs.rekor_tiles.copy().await?;
        for head in &self.heads {
            ensure!(copy.root_at(head.size) == Some(&head.root), "the log forked before {}", head.size);
        }
        for entry in &self.entries {
            let found = copy.leaves.get(usize::try_from(entry.index)?);
            ensure!(found == Some(&entry.body), "the tiles lack entry {}", entry.index);
        }
        eprintln!(
            "{ROUNDS} kills: {} entries of v1, {} of v2, {} certificates and {} heads kept",
            self.entries.len(),
            self.entries_v2.len(),
            self.issued.len(),
            self.heads.len() + self.heads_v2.len() + self.issuance_heads.len()
        );
        Ok(())
    }
}

/// Each head is a prefix of the next larger one, and equal sizes have equal roots: so any two are consistent.
async fn check_chain(log: &RekorLog, heads: &[TreeHead], now: &TreeHead) -> Result<()> {
    let mut chain: Vec<&TreeHead> = heads.iter().chain([now]).collect();
    chain.sort_by_key(|head| head.size);
    chain.dedup();
    for pair in chain.windows(2) {
        log.check_consistent(pair[0], pair[1]).await?;
    }
    Ok(())
}
