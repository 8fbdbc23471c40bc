//! The HTTP face of an instance: every role's routes on one router.
//!
//! The one place where roles meet: the CA of this process writes to the issuance log of this process without HTTP
//! between them.

mod hosts;
mod mounts;

use std::sync::Arc;

use anyhow::Context as _;
use async_trait::async_trait;
use axum::Router;
use chancery_ca::timestamp::{self, TimestampAuthority};
use chancery_ca::{CertificateService, IssuanceLog, IssuanceLogError};
use chancery_tlog::certificate::Certificate;
use chancery_tlog::clock::{Clock, Timestamp};
use chancery_tlog::ct::Sct;
use chancery_tlog::key::PublicKey;
use chancery_tlog::serve::access::Gate;
use chancery_tlog::serve::health::Readiness;
use chancery_tlog::serve::rate::IdentityLimiter;
use chancery_tlog::serve::{Occupancy, Routes, grpc, reply};
use chancery_tlog::server::admission::Admission;
use chancery_tlog::server::ct::{CtLog, CtLogError};
use chancery_tlog::server::log::{Log, Sequencer};

use self::mounts::Mounts;
use crate::config::Signers;
use crate::observe::{self, Sampler};
use crate::roles::{CaRole, Instance, LogRole, OpenLog, Speaks};
use crate::tuf::{self, Publisher, TufRole};
use crate::{access, trust};

/// What `run` serves and supervises.
pub(crate) struct Application {
    /// All routes.
    pub(crate) routes: Routes,
    /// The sequencers of all logs, by name. They have to run before the first request comes.
    pub(crate) sequencers: Vec<(String, Sequencer)>,
    /// The logs, for memories and backups.
    pub(crate) logs: Vec<OpenLog>,
    /// What keeps the TUF repository fresh.
    pub(crate) tuf: Option<Publisher>,
    /// What is shown to whoever scrapes.
    pub(crate) sampler: Sampler,
    /// The bounds of the listener that is to serve the router, which its readiness is about too.
    pub(crate) occupancy: Occupancy,
}

/// Opens the logs of `instance` and puts everything together.
pub(crate) async fn application(instance: Instance, clock: &Arc<dyn Clock>) -> anyhow::Result<Application> {
    let mut router = trust::router(instance.documents()?);
    let tuf = instance.tuf.as_ref().map(|role| open_tuf(role, &instance, clock)).transpose()?;
    router = tuf.iter().map(tuf::router).fold(router, Router::merge);
    let occupancy = Occupancy::new(&instance.config.limits);
    let mut readiness = with_room(Readiness::new(), occupancy.clone());
    let (mut sequencers, mut logs) = (Vec::new(), Vec::new());
    let mut mounts = Mounts::default();
    let mut newest_head = Timestamp::default();
    // A role whose chain has ended takes nothing else out of service, unless there is nothing else.
    let (has_logs, has_ca, has_timestamp) =
        (instance.config.served_logs().count() > 0, instance.ca.is_some(), instance.timestamp.is_some());
    let shared = Shared {
        gate: access::gate(&instance.config, instance.ca.as_ref().map(|ca| &ca.issuers), clock)?,
        own_chains: instance.ca.iter().flat_map(CaRole::chains).map(<[_]>::to_vec).collect(),
        identities: instance.identities,
        clock: clock.clone(),
    };
    for role in &instance.logs {
        let name = || format!("log `{}`", role.config.name);
        if !role.config.is_served() {
            mounts.skip(role);
            continue;
        }
        let (open, sequencer) = role.open(clock.clone()).await.with_context(name)?;
        let log = open.log.clone();
        logs.push(open);
        if let Some(sequencer) = sequencer {
            sequencers.push((role.config.name.clone(), sequencer));
            readiness = with_log(readiness, role, &log);
        }
        newest_head = newest_head.max(log.head().time);
        mounts.add(role, log, &shared, &instance.config.url).with_context(name)?;
    }
    let mounted = mounts.finish(&shared.gate);
    router = router.merge(mounted.router);
    if let Some(ca) = instance.ca {
        observe::show_chain("ca", &ca.chain);
        let own = mounted.issuance_log.map(|log| Arc::new(OwnLog(log)) as Arc<dyn IssuanceLog>);
        let service = Arc::new(ca.into_service(own, clock.clone())?);
        router = router.merge(chancery_ca::router(service.clone()));
        readiness = with_ca(readiness, service, !has_logs && !has_timestamp);
    }
    if let Some(role) = instance.timestamp {
        observe::show_chain("timestamp_authority", &role.chain);
        let authority = Arc::new(role.into_authority(newest_head, clock.clone())?);
        router = router.merge(timestamp::router(authority.clone()));
        readiness = with_timestamp(readiness, authority, !has_logs && !has_ca);
    }
    let router = router.merge(grpc::health(&readiness)).merge(readiness.router()).fallback(reply::not_found);
    let routes = hosts::by_host(&router, mounted.by_host, instance.config.url.hostname());
    let tls = instance.config.listen.tls.as_ref().map(|tls| tls.certificate.clone());
    let sampled = logs.iter().map(|open: &OpenLog| open.log.clone()).collect();
    let sampler = Sampler::new(sampled, tls, clock.clone());
    Ok(Application { routes, sequencers, logs, tuf, sampler, occupancy })
}

fn open_tuf(role: &TufRole, instance: &Instance, clock: &Arc<dyn Clock>) -> anyhow::Result<Publisher> {
    if let Some(warning) = role.untold(&trust::documents(&instance.identity()?))? {
        tracing::warn!("{warning}");
    }
    Ok(role.publisher(clock.clone())?)
}

/// What all logs are mounted with.
struct Shared {
    /// Before the sealed zone.
    gate: Gate,
    /// Of the CA of this process, issuing certificate first.
    own_chains: Vec<Vec<Certificate>>,
    identities: Option<Arc<IdentityLimiter>>,
    clock: Arc<dyn Clock>,
}

impl Shared {
    /// Who may write to an attestation log.
    fn admission(&self, role: &LogRole) -> Admission {
        let authorities = self.own_chains.iter().flatten().chain(&role.authorities).cloned().collect();
        let clock = self.clock.clone();
        let admission = match role.config.admission.signers {
            Signers::Any => Admission::any(authorities, clock),
            Signers::OwnCa => Admission::own_ca(authorities, clock),
        };
        admission.limited(self.identities.clone())
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

/// The issuance log of this process, as the CA sees it.
struct OwnLog(CtLog);

#[async_trait]
impl IssuanceLog for OwnLog {
    async fn add_pre_chain(&self, chain: &[Certificate]) -> Result<Sct, IssuanceLogError> {
        self.0.add_pre_chain(chain).await.map_err(|error| {
            let words = error.to_string();
            match error {
                CtLogError::Chain(_) | CtLogError::Submission(_) => IssuanceLogError::Refused(words),
                CtLogError::Structure(_) => IssuanceLogError::Unusable(words),
                _ => IssuanceLogError::Unavailable(words),
            }
        })
    }

    fn public_key(&self) -> &PublicKey {
        self.0.public_key()
    }
}

#[cfg(test)]
mod stalls;
#[cfg(test)]
mod zones;
