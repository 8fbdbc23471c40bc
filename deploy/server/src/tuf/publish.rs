//! Snapshot and timestamp: signed at every start, again at half of their life, and when the offline key has signed
//! something new (TUF §5.4, §5.5).
//!
//! Invariants. What is served has been synced to disk before, so the versions that clients have seen never come down,
//! whenever the process dies. Versions follow the clock (minutes since 1970, and always upwards), so they do not come
//! down either when the folder was restored from an older copy. A folder that cannot be read or verified changes
//! nothing in what is served; it is complained about every minute until the metadata ends.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chancery_tlog::clock::{Clock, Timestamp};
use chancery_tlog::key::Signer;
use chancery_tlog::serve::block;
use metrics::{counter, gauge};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tough::schema::{self, Signed};

use super::folder::{Folder, shown};
use super::metadata::{self, File};
use super::trusted::{Trusted, following};
use super::{ONLINE_LIFE, TufError};

/// The one file whose name stays when its contents change.
pub(super) const TIMESTAMP: &str = "timestamp.json";
/// How often the folder and the clock are looked at.
const ROUND: Duration = Duration::from_mins(1);

type Files = BTreeMap<String, Bytes>;

/// What is served.
#[derive(Debug)]
pub(super) struct Published {
    current: Files,
    /// What was served before, for clients that are in the middle of it.
    previous: Files,
    signed_at: Timestamp,
}

impl Published {
    /// The file at `path` under the repository's address.
    pub(super) fn file(&self, path: &str) -> Option<Bytes> {
        self.current.get(path).or_else(|| self.previous.get(path)).cloned()
    }

    /// Whether it still says what `trusted` says.
    fn holds(&self, trusted: &Trusted) -> bool {
        trusted.served().all(|(name, bytes)| self.current.get(&name).is_some_and(|held| *held == bytes))
    }
}

/// Keeps the repository fresh.
pub(crate) struct Publisher {
    folder: Folder,
    signer: Arc<dyn Signer>,
    clock: Arc<dyn Clock>,
    published: watch::Sender<Arc<Published>>,
}

impl Publisher {
    /// Verifies the folder and signs for the first time.
    pub(super) fn start(
        folder: Folder,
        signer: Arc<dyn Signer>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, TufError> {
        let trusted = Trusted::load(&folder)?;
        // From the beginning, so that the first failure is a change.
        counter!("chancery_tuf_failures_total").increment(0);
        let first = sign(&folder, &trusted, &*signer, clock.now(), Files::new())?;
        Ok(Self { folder, signer, clock, published: watch::Sender::new(Arc::new(first)) })
    }

    /// What is served now and from now on.
    pub(super) fn published(&self) -> watch::Receiver<Arc<Published>> {
        self.published.subscribe()
    }

    /// Looks after the repository until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let this = Arc::new(self);
        while stop.run_until_cancelled(tokio::time::sleep(ROUND)).await.is_some() {
            let publisher = this.clone();
            // A panic in there is a bug that has been logged; what is served stands.
            let _ = block(move || publisher.round()).await;
        }
    }

    fn round(&self) {
        if let Err(error) = self.refresh() {
            counter!("chancery_tuf_failures_total").increment(1);
            tracing::error!(%error, "the TUF repository cannot be renewed; clients get what was signed before");
        }
    }

    /// Signs anew if it is time to, or if the offline key has signed something new. Whether it did.
    pub(super) fn refresh(&self) -> Result<bool, TufError> {
        let trusted = Trusted::load(&self.folder)?;
        let now = self.clock.now();
        let before = self.published.borrow().clone();
        // A clock that was ahead and has been put right gave the signatures more life than they should have.
        let young = before.signed_at <= now && now < before.signed_at.plus(ONLINE_LIFE / 2);
        if young && before.holds(&trusted) {
            return Ok(false);
        }
        let next = sign(&self.folder, &trusted, &*self.signer, now, before.current.clone())?;
        self.published.send_replace(Arc::new(next));
        Ok(true)
    }
}

/// A fresh snapshot and timestamp over `trusted`: first on disk, then in the answer.
fn sign(
    folder: &Folder,
    trusted: &Trusted,
    signer: &dyn Signer,
    now: Timestamp,
    previous: Files,
) -> Result<Published, TufError> {
    trusted.check_online_key(signer)?;
    let last = last_version(folder)?;
    let version = next_version(last, now);
    let expires = now.plus(ONLINE_LIFE);
    let targets = (trusted.targets().0, trusted.targets_file().bytes.as_slice());
    let snapshot = metadata::sign(metadata::snapshot(version, expires, targets)?, &[signer])?;
    let timestamp =
        metadata::sign(metadata::timestamp(version, expires, (version, &snapshot.bytes))?, &[signer])?;
    for File { name, bytes } in [&snapshot, &timestamp] {
        folder.write(name, bytes)?;
    }
    let before = last.map(|last| format!("{last}.snapshot.json")).unwrap_or_default();
    folder.prune_snapshots(&[&snapshot.name, &before]);
    report(trusted, now, expires);
    let online = [snapshot, timestamp].map(|file| (file.name, file.bytes));
    let current = trusted.served().chain(online).map(|(name, bytes)| (name, Bytes::from(bytes))).collect();
    Ok(Published { current, previous, signed_at: now })
}

/// The version that clients have seen last. Snapshot and timestamp share their versions.
fn last_version(folder: &Folder) -> Result<Option<NonZeroU64>, TufError> {
    let Some(bytes) = folder.read(TIMESTAMP)? else { return Ok(None) };
    let timestamp: Signed<schema::Timestamp> = serde_json::from_slice(&bytes)
        .map_err(|error| TufError::Refused { file: shown(TIMESTAMP), problem: error.to_string() })?;
    Ok(Some(timestamp.signed.version))
}

/// Minutes, because some clients count versions in 32 bits.
fn next_version(last: Option<NonZeroU64>, now: Timestamp) -> NonZeroU64 {
    let minutes = NonZeroU64::new(now.seconds() / 60).unwrap_or(NonZeroU64::MIN);
    last.map_or(minutes, |last| following(last).max(minutes))
}

/// The one place that says what will end: to the log and to the metrics.
fn report(trusted: &Trusted, now: Timestamp, expires: Timestamp) {
    for warning in trusted.warnings(now) {
        tracing::warn!("{warning}");
    }
    let roles = [("root", trusted.root().1), ("targets", trusted.targets().1), ("timestamp", expires)];
    for (role, end) in roles {
        #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
        gauge!("chancery_tuf_expires_timestamp_seconds", "role" => role).set(end.seconds() as f64);
    }
    tracing::info!(until = %expires, "signed the TUF timestamp");
}
