//! What the logs of an instance promise under load, and whether it is kept: [`Load`] collects every acknowledgement,
//! [`Promises`] holds them against the logs afterwards.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::task::JoinSet;

use crate::ca::CaClient;
use crate::rekor::{Acknowledged, RekorLog, Submitter, TreeHead};
use crate::rekor_v2::{AcknowledgedV2, RekorV2Log};
use crate::tiles::TiledLog;
use crate::{IdToken, Instance};

const SUBMITTERS: usize = 6;
const SUBMITTERS_V2: usize = 3;
const APPLICANTS: usize = 2;
/// Between a refusal and the next attempt.
const PAUSE: Duration = Duration::from_millis(50);

/// The logs of an instance with all of them, and the CA before one.
pub struct Logs {
    /// Rekor v1, by its API.
    pub rekor: RekorLog,
    rekor_tiles: TiledLog,
    /// Rekor v2, by its API.
    pub rekor_v2: RekorV2Log,
    rekor_v2_tiles: TiledLog,
    /// The certificate authority.
    pub ca: CaClient,
    issuance: TiledLog,
    serial: Arc<AtomicU64>,
}

impl Logs {
    /// The clients of an instance.
    pub fn of(instance: &Instance) -> Result<Self> {
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
            serial: Arc::default(),
        })
    }

    /// An artifact that nobody has signed yet.
    pub fn artifact(&self) -> Vec<u8> {
        format!("artifact {}", self.serial.fetch_add(1, Ordering::Relaxed)).into_bytes()
    }
}

async fn head(log: &TiledLog) -> Result<TreeHead> {
    let checkpoint = log.checkpoint().await?;
    Ok(TreeHead { size: checkpoint.size, root: checkpoint.root })
}

/// Clients of every log that go on until nobody answers any more. An answer of 500 is "unknown": no promise.
pub struct Load {
    submitters: JoinSet<Result<Vec<Acknowledged>>>,
    submitters_v2: JoinSet<Result<Vec<AcknowledgedV2>>>,
    applicants: JoinSet<Result<Vec<Vec<u8>>>>,
}

impl Load {
    /// Starts them.
    pub fn start(logs: &Logs, token: &IdToken) -> Result<Self> {
        let mut load =
            Self { submitters: JoinSet::new(), submitters_v2: JoinSet::new(), applicants: JoinSet::new() };
        for _ in 0..SUBMITTERS {
            let (log, submitter, serial) = (logs.rekor.clone(), Submitter::new()?, Arc::clone(&logs.serial));
            load.submitters.spawn(until_nobody_answers(log.clone(), async move || {
                log.add(&submitter.hashedrekord(&fresh(&serial))?).await
            }));
        }
        for _ in 0..SUBMITTERS_V2 {
            let (log, submitter, serial) =
                (logs.rekor_v2.clone(), Submitter::new()?, Arc::clone(&logs.serial));
            load.submitters_v2.spawn(until_nobody_answers(logs.rekor.clone(), async move || {
                log.add(&submitter.hashedrekord_v2(&fresh(&serial))?).await
            }));
        }
        for _ in 0..APPLICANTS {
            let (ca, token) = (logs.ca.clone(), token.clone());
            load.applicants.spawn(until_nobody_answers(logs.rekor.clone(), async move || {
                Ok(ca.issue(&token).await?.map(|issued| issued.leaf))
            }));
        }
        Ok(load)
    }
}

fn fresh(serial: &AtomicU64) -> Vec<u8> {
    format!("artifact {}", serial.fetch_add(1, Ordering::Relaxed)).into_bytes()
}

/// Collects what `add` was promised, for as long as `probe` answers.
async fn until_nobody_answers<T>(
    probe: RekorLog,
    add: impl AsyncFn() -> Result<Option<T>>,
) -> Result<Vec<T>> {
    let mut promised = Vec::new();
    loop {
        match add().await {
            Ok(Some(promise)) => promised.push(promise),
            Err(error) if !error.to_string().contains("answers 500") => return Err(error),
            // Refused for now, or unknown, or there is nobody any more.
            Ok(None) | Err(_) if probe.head().await.is_ok() => tokio::time::sleep(PAUSE).await,
            Ok(None) | Err(_) => return Ok(promised),
        }
    }
}

/// What the logs have promised so far.
#[derive(Default)]
pub struct Promises {
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
    /// An instance that was killed after each log had acknowledged an entry, so that its next start has something to
    /// recover; its logs, and what they promised.
    pub async fn of_a_killed_instance() -> Result<(Instance, Logs, Self)> {
        let mut instance = Instance::start().await?;
        let logs = Logs::of(&instance)?;
        let mut promises = Self::default();
        promises.add_to_each(&logs, &instance.issuer.token().await?).await?;
        instance.server.kill()?;
        Ok((instance, logs, promises))
    }

    /// Remembers the heads that the logs show now.
    pub async fn see(&mut self, logs: &Logs) -> Result<()> {
        self.heads.push(logs.rekor.head().await?);
        self.heads_v2.push(head(&logs.rekor_v2_tiles).await?);
        self.issuance_heads.push(head(&logs.issuance).await?);
        Ok(())
    }

    /// Has every log take in one entry.
    pub async fn add_to_each(&mut self, logs: &Logs, token: &IdToken) -> Result<()> {
        let submitter = Submitter::new()?;
        let idle = "an idle log takes entries";
        let entry =
            logs.rekor.add(&submitter.hashedrekord(&logs.artifact())?).await.context("v1")?.context(idle)?;
        self.keep(entry);
        let entry_v2 =
            logs.rekor_v2.add(&submitter.hashedrekord_v2(&logs.artifact())?).await.context("v2")?;
        self.keep_v2(entry_v2.context(idle)?);
        self.issued.push(logs.ca.issue(token).await?.context("an idle CA issues")?.leaf);
        Ok(())
    }

    fn keep(&mut self, entry: Acknowledged) {
        self.heads.push(entry.head.clone());
        self.entries.push(entry);
    }

    fn keep_v2(&mut self, entry: AcknowledgedV2) {
        self.heads_v2.push(entry.head.clone());
        self.entries_v2.push(entry);
    }

    /// Collects what the clients were promised, once they have given up: how much by v1, v2 and the CA.
    pub async fn take(&mut self, mut load: Load) -> Result<[usize; 3]> {
        let before = [self.entries.len(), self.entries_v2.len(), self.issued.len()];
        while let Some(acknowledged) = load.submitters.join_next().await {
            acknowledged??.into_iter().for_each(|entry| self.keep(entry));
        }
        while let Some(acknowledged) = load.submitters_v2.join_next().await {
            acknowledged??.into_iter().for_each(|entry| self.keep_v2(entry));
        }
        while let Some(leaves) = load.applicants.join_next().await {
            self.issued.extend(leaves??);
        }
        let after = [self.entries.len(), self.entries_v2.len(), self.issued.len()];
        Ok(std::array::from_fn(|log| after[log] - before[log]))
    }

    /// Checks what was promised since the last check, and every certificate.
    pub async fn check_round(&mut self, logs: &Logs) -> Result<()> {
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

    /// Checks everything again, from the log's tiles as well as from its API, and says how much there was.
    pub async fn check_all(&mut self, logs: &Logs) -> Result<()> {
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
            "kept: {} entries of v1, {} of v2, {} certificates and {} heads",
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
