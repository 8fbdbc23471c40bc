//! Issuance logs of other processes: the one that the CA writes to, and those of the past.

use anyhow::Context as _;
use chancery_ca::RemoteLog;
use chancery_tlog::clock::Timestamp;
use chancery_tlog::key::PublicKey;

use super::read;
use crate::config::{CaConfig, PastRemoteLog};
use crate::trust::LogIdentity;

/// The logs, with their keys.
#[derive(Clone)]
pub(super) struct RemoteLogs {
    now: Option<Log>,
    past: Vec<(PastRemoteLog, Log)>,
}

#[derive(Clone)]
struct Log {
    url: String,
    key: PublicKey,
    since: Timestamp,
}

impl RemoteLogs {
    /// Reads their keys.
    pub(super) fn load(ca: &CaConfig) -> anyhow::Result<Self> {
        let now = ca.issuance_log.as_ref().zip(ca.issuance_log_since());
        let now = now.map(|(log, since)| Log::load(&log.url, &log.key, since)).transpose()?;
        let past = ca.past_issuance_log.iter().map(|log| {
            let loaded = Log::load(&log.url, &log.key, log.since)?;
            anyhow::Ok((log.clone(), loaded))
        });
        Ok(Self { now, past: past.collect::<anyhow::Result<_>>()? })
    }

    /// The one that the CA writes to.
    pub(super) fn in_service(&self) -> Option<LogIdentity<'_>> {
        self.now.as_ref().map(Log::identity)
    }

    /// Those of the past that are trusted, or else those that no more are.
    pub(super) fn past(&self, trusted: bool) -> impl Iterator<Item = LogIdentity<'_>> {
        let past = self.past.iter().filter(move |(config, _)| config.withdrawn.is_none() == trusted);
        past.map(|(config, log)| LogIdentity {
            until: Some(config.until),
            past: Some(("ct", &config.name)),
            ..log.identity()
        })
    }

    /// A client of the one that the CA writes to.
    pub(super) fn client(&self) -> anyhow::Result<Option<RemoteLog>> {
        let now = self.now.as_ref();
        Ok(now.map(|Log { url, key, .. }| RemoteLog::new(url, key.clone())).transpose()?)
    }
}

impl Log {
    fn load(url: &str, key: &std::path::Path, since: Timestamp) -> anyhow::Result<Self> {
        let public = PublicKey::from_pem(&read(key)?).with_context(|| key.display().to_string())?;
        Ok(Self { url: url.trim_end_matches('/').to_owned(), key: public, since })
    }

    fn identity(&self) -> LogIdentity<'_> {
        LogIdentity {
            base_url: self.url.clone(),
            key: &self.key,
            log_id: self.key.fingerprint(),
            service_url: None,
            since: self.since,
            until: None,
            past: None,
        }
    }
}
