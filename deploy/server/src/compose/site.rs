//! What the routes of an instance are made of, so that a reload can make them anew.
//!
//! Logs, signers, caches and bounds are shared by all sites of one process. Invariant: making a site and its routes has no
//! effect on those that are served; a request that has begun keeps the site that it came to.

use std::sync::Arc;

use axum::Router;
use chancery_ca::CertificateService;
use chancery_ca::timestamp::{self, TimestampAuthority};
use chancery_tlog::certificate::Certificate;
use chancery_tlog::clock::{Clock, Timestamp};
use chancery_tlog::serve::access::Gate;
use chancery_tlog::serve::health::Readiness;
use chancery_tlog::serve::{Occupancy, Routes, grpc, reply};
use chancery_tlog::server::admission::{Admission, Identities};
use chancery_tlog::server::log::Log;

use super::hosts;
use super::mounts::{Face, Mounts};
use crate::access::Entrance;
use crate::config::{Config, Signers};
use crate::observe;
use crate::roles::{CaRole, Instance, LogRole, Speaks};
use crate::trust;

/// An instance with its logs open and its authorities in service.
#[derive(Clone)]
pub(crate) struct Site {
    /// Its configuration, keys and files.
    pub(crate) instance: Instance,
    pub(super) entrance: Entrance,
    pub(super) faces: Vec<Face>,
    pub(super) ca: Option<Arc<CertificateService>>,
    pub(super) timestamp: Option<Arc<TimestampAuthority>>,
    /// Routes of the TUF repository.
    pub(super) tuf: Option<Router>,
    /// About logs and authorities, which all sites share. So is what it has logged last.
    pub(super) readiness: Readiness,
    pub(super) clock: Arc<dyn Clock>,
}

impl Site {
    /// The site after a reload: `config` differs from this one's in what a reload takes over. Reads the files that it names.
    pub(crate) fn reloaded(&self, config: Config) -> anyhow::Result<Self> {
        let instance = self.instance.reloaded(config)?;
        let signing = instance.ca.as_ref().map(|ca| &*ca.issuers);
        let entrance = Entrance::of(&instance.config, signing, Some(&self.entrance), &self.clock)?;
        let ca = match (&instance.ca, &self.ca) {
            (Some(role), Some(before)) => Some(Arc::new(role.renewed_service(before)?)),
            _ => None,
        };
        Ok(Self { instance, entrance, ca, ..self.clone() })
    }

    /// To be called when requests come to this site instead of the one before.
    pub(crate) fn take_over(&self) {
        self.ca.iter().for_each(|ca| ca.take_over());
    }

    /// Looks whether the list of readers has changed, although nobody asks: for monitoring.
    pub(crate) fn look(&self) {
        self.entrance.gate.look();
    }

    /// Logs that TUF clients are told less than what is served.
    pub(crate) fn warn_of_tuf(&self) -> anyhow::Result<()> {
        let Some(role) = &self.instance.tuf else { return Ok(()) };
        if let Some(warning) = role.untold(&trust::documents(&self.instance.identity()?))? {
            tracing::warn!("{warning}");
        }
        Ok(())
    }

    /// How the list of readers differs from that of the site before, in words.
    pub(crate) fn readers_changed(&self, before: &Self) -> Option<String> {
        self.entrance.changes_since(&before.entrance)
    }

    /// Shows when the chains of the authorities end.
    pub(super) fn show_chains(&self) {
        self.instance.ca.iter().for_each(|ca| observe::show_chain("ca", &ca.chain));
        self.instance
            .timestamp
            .iter()
            .for_each(|role| observe::show_chain("timestamp_authority", &role.chain));
    }

    /// All routes.
    pub(crate) fn routes(&self) -> anyhow::Result<Routes> {
        let instance = &self.instance;
        let mut router = trust::router(instance.documents()?);
        router = self.tuf.iter().cloned().fold(router, Router::merge);
        let own_chains = instance.ca.iter().flat_map(CaRole::chains);
        let shared = Shared {
            gate: self.entrance.gate.clone(),
            own_chains: own_chains.map(|(chain, until)| (chain.to_vec(), until)).collect(),
            identities: instance.identities.clone(),
            clock: self.clock.clone(),
        };
        let mut mounts = Mounts::default();
        for (at, role) in instance.logs.iter().enumerate() {
            match self.faces.iter().find(|face| face.at == at) {
                Some(face) => mounts.add(role, face, &shared, &instance.config.url)?,
                None => mounts.skip(role),
            }
        }
        let mounted = mounts.finish(&shared.gate);
        router = router.merge(mounted.router);
        router = self.ca.iter().cloned().map(chancery_ca::router).fold(router, Router::merge);
        router = self.timestamp.iter().cloned().map(timestamp::router).fold(router, Router::merge);
        let (grpc_health, health) = (grpc::health(&self.readiness), self.readiness.clone().router());
        let router = router.merge(grpc_health).merge(health).fallback(reply::not_found);
        Ok(hosts::by_host(&router, mounted.by_host, instance.config.url.hostname()))
    }

    /// With its readiness, of which room in `occupancy` is a part. A role whose chain has ended takes nothing else out of
    /// service, unless there is nothing else.
    pub(super) fn with_readiness(mut self, occupancy: Occupancy) -> Self {
        let (has_logs, has_ca, has_timestamp) =
            (!self.faces.is_empty(), self.ca.is_some(), self.timestamp.is_some());
        let mut readiness = with_room(Readiness::new(), occupancy);
        for face in &self.faces {
            let role = &self.instance.logs[face.at];
            if role.config.is_active() {
                readiness = with_log(readiness, role, &face.log);
            }
        }
        if let Some(service) = &self.ca {
            readiness = with_ca(readiness, service.clone(), !has_logs && !has_timestamp);
        }
        if let Some(authority) = &self.timestamp {
            readiness = with_timestamp(readiness, authority.clone(), !has_logs && !has_ca);
        }
        self.readiness = readiness;
        self
    }
}

/// What all logs are mounted with.
pub(super) struct Shared {
    /// Before the sealed zone.
    pub(super) gate: Gate,
    /// Of the CA of this process, issuing certificate first, with the end of trust in each.
    own_chains: Vec<(Vec<Certificate>, Option<Timestamp>)>,
    identities: Option<Arc<Identities>>,
    clock: Arc<dyn Clock>,
}

impl Shared {
    /// Who may write to an attestation log.
    pub(super) fn admission(&self, role: &LogRole) -> Admission {
        let standing =
            self.own_chains.iter().filter(|(_, until)| until.is_none()).flat_map(|(chain, _)| chain);
        let authorities = standing.chain(&role.authorities).cloned().collect();
        let ended = self.own_chains.iter().filter_map(|(chain, until)| Some((chain, (*until)?)));
        let past = ended.flat_map(|(chain, until)| chain.iter().map(move |each| (each.clone(), until)));
        let clock = self.clock.clone();
        let admission = match role.config.admission.signers {
            Signers::Any => Admission::any(authorities, clock),
            Signers::OwnCa => Admission::own_ca(authorities, clock),
        };
        admission.with_past(past.collect()).limited(self.identities.clone())
    }
}

/// A listener is ready while it has room for a write.
fn with_room(readiness: Readiness, occupancy: Occupancy) -> Readiness {
    readiness.with("room for requests", move || {
        let checked = occupancy.check();
        async move { checked }
    })
}

/// A log is ready while its sequencer takes entries.
fn with_log(readiness: Readiness, role: &LogRole, log: &Log) -> Readiness {
    let log = log.clone();
    let name = match role.speaks {
        Speaks::Ct { .. } => "issuance log",
        Speaks::RekorV1 { .. } => "attestation log, Rekor v1",
        Speaks::RekorV2 => "attestation log, Rekor v2",
    };
    readiness.with(name, move || {
        let open = log.is_open();
        async move { if open { Ok(()) } else { Err("the sequencer has stopped".to_owned()) } }
    })
}

/// A CA is ready while its own certificates outlive those that it would issue.
fn with_ca(readiness: Readiness, service: Arc<CertificateService>, vital: bool) -> Readiness {
    readiness.with_check("certificate authority", vital, move || {
        let ready = service.is_ready();
        async move {
            if ready {
                Ok(())
            } else {
                Err("its certificates have ended, or are about to: replace the chain".to_owned())
            }
        }
    })
}

/// A timestamp authority is ready while it knows the time and its certificates are valid.
fn with_timestamp(readiness: Readiness, authority: Arc<TimestampAuthority>, vital: bool) -> Readiness {
    readiness.with_check("timestamp authority", vital, move || {
        let ready = authority.check().map_err(|error| error.to_string());
        async move { ready }
    })
}
