//! The HTTP face of an instance: every role's routes on one router.
//!
//! The one place where roles meet: the CA of this process writes to the issuance log of this process without HTTP
//! between them.

mod hosts;
mod mounts;
mod site;

use std::sync::Arc;

use anyhow::Context as _;
use async_trait::async_trait;
use chancery_ca::{IssuanceLog, IssuanceLogError};
use chancery_tlog::certificate::Certificate;
use chancery_tlog::clock::{Clock, Timestamp};
use chancery_tlog::ct::Sct;
use chancery_tlog::key::PublicKey;
use chancery_tlog::serve::health::Readiness;
use chancery_tlog::serve::{Occupancy, Routes};
use chancery_tlog::server::ct::{CtLog, CtLogError};
use chancery_tlog::server::log::Sequencer;

use self::mounts::Face;
pub(crate) use self::site::Site;
use crate::access::Entrance;
use crate::observe::Sampler;
use crate::roles::{Instance, OpenLog};
use crate::tuf::{self, Publisher};

/// What `run` serves and supervises.
pub(crate) struct Application {
    /// All routes.
    pub(crate) routes: Routes,
    /// What they are made of, for a reload.
    pub(crate) site: Site,
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

/// An instance whose logs are open.
pub(crate) struct Opened {
    /// The instance.
    pub(crate) instance: Instance,
    /// Its logs.
    pub(crate) logs: Vec<OpenLog>,
    faces: Vec<Face>,
    sequencers: Vec<(String, Sequencer)>,
    newest_head: Timestamp,
}

impl Opened {
    /// Opens the logs that are served.
    pub(crate) async fn logs_of(instance: Instance, clock: &Arc<dyn Clock>) -> anyhow::Result<Self> {
        let (mut logs, mut faces, mut sequencers) = (Vec::new(), Vec::new(), Vec::new());
        let mut newest_head = Timestamp::default();
        for (at, role) in instance.logs.iter().enumerate().filter(|(_, role)| role.config.is_served()) {
            let name = || format!("log `{}`", role.config.name);
            let (open, sequencer) = role.open(clock.clone()).await.with_context(name)?;
            let log = open.log.clone();
            newest_head = newest_head.max(log.head().time);
            faces.push(Face::of(at, role, log, &instance, clock).with_context(name)?);
            sequencers.extend(sequencer.map(|sequencer| (role.config.name.clone(), sequencer)));
            logs.push(open);
        }
        Ok(Self { instance, logs, faces, sequencers, newest_head })
    }

    /// Puts everything together.
    pub(crate) fn into_application(self, clock: &Arc<dyn Clock>) -> anyhow::Result<Application> {
        let Self { instance, logs, faces, sequencers, newest_head } = self;
        let tuf = instance.tuf.as_ref().map(|role| role.publisher(clock.clone())).transpose()?;
        let occupancy = Occupancy::new(&instance.config.limits);
        let signing = instance.ca.as_ref().map(|ca| &*ca.issuers);
        let entrance = Entrance::of(&instance.config, signing, None, clock)?;
        let own = faces.iter().rev().find_map(Face::issuance_log);
        let own = own.map(|log| Arc::new(OwnLog(log)) as Arc<dyn IssuanceLog>);
        let ca = instance.ca.as_ref().map(|ca| ca.service(own, clock.clone()));
        let timestamp = instance.timestamp.as_ref().map(|role| role.authority(newest_head, clock.clone()));
        let site = Site {
            ca: ca.transpose()?.map(Arc::new),
            timestamp: timestamp.transpose()?.map(Arc::new),
            tuf: tuf.as_ref().map(tuf::router),
            entrance,
            faces,
            readiness: Readiness::new(),
            clock: clock.clone(),
            instance,
        };
        let site = site.with_readiness(occupancy.clone());
        site.show_chains();
        let sampler = Sampler::new(logs.iter().map(|open| open.log.clone()).collect(), clock.clone());
        Ok(Application { routes: site.routes()?, site, sequencers, logs, tuf, sampler, occupancy })
    }
}

/// Opens the logs of `instance` and puts everything together.
#[cfg(test)]
pub(crate) async fn application(instance: Instance, clock: &Arc<dyn Clock>) -> anyhow::Result<Application> {
    Opened::logs_of(instance, clock).await?.into_application(clock)
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
