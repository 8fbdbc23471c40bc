//! The routes of all logs. Logs of dialect Rekor v1 share one API, those of Rekor v2 share paths under several hosts.

use std::sync::Arc;

use axum::Router;
use chancery_tlog::clock::Clock;
use chancery_tlog::serve::access::Gate;
use chancery_tlog::server::admission::Admission;
use chancery_tlog::server::ct::CtLog;
use chancery_tlog::server::log::Log;
use chancery_tlog::server::rekor_v1::{self, RekorV1, Shard};
use chancery_tlog::server::rekor_v2::{self, RekorV2};
use chancery_tlog::server::tiles;

use super::site::Shared;
use crate::config::BaseUrl;
use crate::roles::{CaRole, Instance, LogRole, Speaks, signer};

/// An open log, with what its dialect keeps in memory.
#[derive(Clone)]
pub(crate) struct Face {
    /// Its place among the logs of the instance.
    pub(super) at: usize,
    pub(super) log: Log,
    ct: Option<CtLog>,
    is_active: bool,
}

impl Face {
    /// Of the log `at` this place, which is open.
    pub(super) fn of(
        at: usize,
        role: &LogRole,
        log: Log,
        instance: &Instance,
        clock: &Arc<dyn Clock>,
    ) -> anyhow::Result<Self> {
        let ct = match &role.speaks {
            Speaks::Ct { key, roots, .. } => {
                let own = instance.ca.iter().flat_map(CaRole::chains).filter_map(|(chain, _)| chain.last());
                let roots = own.chain(roots).cloned().collect();
                Some(CtLog::new(log.clone(), roots, signer(key)?.clone(), clock.clone())?)
            }
            Speaks::RekorV1 { .. } | Speaks::RekorV2 => None,
        };
        Ok(Self { at, log, ct, is_active: role.config.is_active() })
    }

    /// The log that the CA may write to, if it is this one.
    pub(super) fn issuance_log(&self) -> Option<CtLog> {
        self.ct.clone().filter(|_| self.is_active)
    }
}

/// What has been mounted so far. Logs come in the order of their configuration, which is that of their time.
#[derive(Default)]
pub(super) struct Mounts {
    router: Router,
    shards: Vec<Shard>,
    /// Entries in the Rekor v1 logs so far.
    next_index: u64,
    admission: Option<Admission>,
    hosts: Vec<(String, Router)>,
}

impl Mounts {
    /// Leaves out a log that is not served any more. Its indexes stay its own.
    pub(super) fn skip(&mut self, role: &LogRole) {
        if let Speaks::RekorV1 { .. } = role.speaks {
            self.next_index += size(role);
        }
    }

    /// Mounts a log.
    pub(super) fn add(
        &mut self,
        role: &LogRole,
        face: &Face,
        shared: &Shared,
        instance: &BaseUrl,
    ) -> anyhow::Result<()> {
        let (log, tiles) = (face.log.clone(), tiles::router(face.log.clone(), &shared.gate));
        let router = std::mem::take(&mut self.router);
        self.router = match &role.speaks {
            Speaks::Ct { prefix, .. } => {
                let ct = face.ct.clone().map(|ct| ct.router(&shared.gate)).unwrap_or_default();
                router.nest(prefix, tiles.merge(ct))
            }
            Speaks::RekorV1 { prefix, key, hostname, tree_id } => {
                self.shards.push(Shard {
                    log,
                    host: hostname.clone(),
                    tree_id: *tree_id,
                    first_index: self.next_index,
                    signer: signer(key)?.clone(),
                });
                self.next_index += size(role);
                // The last one's: it is the one that takes entries, if any does.
                self.admission = Some(shared.admission(role));
                router.nest(prefix, tiles)
            }
            Speaks::RekorV2 => {
                let rekor = RekorV2::new(log, role.checkpoint_key())?.admitting(shared.admission(role));
                let host = role.config.url.as_ref().unwrap_or(instance).hostname().to_owned();
                self.hosts.push((host, rekor_v2::router(rekor, &shared.gate)));
                router
            }
        };
        Ok(())
    }

    /// All routes.
    pub(super) fn finish(mut self, gate: &Gate) -> Mounted {
        let mut router = self.router;
        if let Some((current, admission)) = self.shards.pop().zip(self.admission) {
            let gate = gate.clone();
            router = router.merge(rekor_v1::router(RekorV1 { current, past: self.shards, admission, gate }));
        }
        Mounted { router, by_host: self.hosts }
    }
}

/// The routes of all logs.
pub(super) struct Mounted {
    /// Those that are the same at every host.
    pub(super) router: Router,
    /// Those of each log of Rekor v2, with its host, oldest first.
    pub(super) by_host: Vec<(String, Router)>,
}

/// Entries of a log that has ended. One that has not is the last, and nothing is counted after it.
fn size(role: &LogRole) -> u64 {
    role.config.ended.as_ref().map(|ended| ended.size).unwrap_or_default()
}
