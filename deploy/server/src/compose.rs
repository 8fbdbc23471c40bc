//! The HTTP face of an instance: every role's routes on one router.
//!
//! The one place where roles meet: the CA of this process writes to the issuance log of this process without HTTP
//! between them.

use std::sync::Arc;

use anyhow::Context as _;
use async_trait::async_trait;
use axum::Router;
use chancery_ca::{CertificateService, IssuanceLog, IssuanceLogError};
use chancery_tlog::certificate::Certificate;
use chancery_tlog::clock::Clock;
use chancery_tlog::ct::Sct;
use chancery_tlog::key::PublicKey;
use chancery_tlog::serve::health::Readiness;
use chancery_tlog::serve::reply;
use chancery_tlog::server::ct::{CtLog, CtLogError};
use chancery_tlog::server::log::{Log, Sequencer};
use chancery_tlog::server::rekor_v1::{self, RekorV1};
use chancery_tlog::server::tiles;

use crate::config::Dialect;
use crate::roles::{Instance, LogRole};
use crate::trust;

/// What `run` serves and supervises.
pub(crate) struct Application {
    /// All routes.
    pub(crate) router: Router,
    /// The sequencers of all logs, by name. They have to run before the first request comes.
    pub(crate) sequencers: Vec<(String, Sequencer)>,
}

/// Opens the logs of `instance` and puts everything together.
pub(crate) async fn application(instance: Instance, clock: &Arc<dyn Clock>) -> anyhow::Result<Application> {
    let mut router = trust::router(trust::documents(&instance.identity())?);
    let mut readiness = Readiness::new();
    let mut sequencers = Vec::new();
    let mut issuance_log = None;
    let own_root = instance.ca.as_ref().and_then(|ca| ca.chain.last()).cloned();
    for role in &instance.logs {
        let name = &role.config.name;
        let (log, sequencer) = role.open(clock.clone()).await.with_context(|| format!("log `{name}`"))?;
        sequencers.push((name.clone(), sequencer));
        readiness = with_log(readiness, role, &log);
        let mut face = tiles::router(log.clone());
        match &role.config.dialect {
            Dialect::Ct { .. } => {
                let ct =
                    ct_log(own_root.clone(), role, log, clock).with_context(|| format!("log `{name}`"))?;
                face = face.merge(ct.clone().router());
                issuance_log = Some(ct);
            }
            Dialect::RekorV1 { hostname, tree_id } => {
                let signer = role.signer.clone();
                let rekor = RekorV1 { log, host: hostname.clone(), tree_id: *tree_id, signer };
                router = router.merge(rekor_v1::router(rekor));
            }
        }
        router = router.nest(&role.config.prefix, face);
    }
    if let Some(ca) = instance.ca {
        let own = issuance_log.map(|log| Arc::new(OwnLog(log)) as Arc<dyn IssuanceLog>);
        let service = Arc::new(ca.into_service(own, clock.clone())?);
        router = router.merge(chancery_ca::router(service.clone()));
        readiness = with_ca(readiness, service);
    }
    let router = router.merge(readiness.router()).fallback(reply::not_found);
    Ok(Application { router, sequencers })
}

/// A log is ready while its sequencer takes entries.
fn with_log(readiness: Readiness, role: &LogRole, log: &Log) -> Readiness {
    let log = log.clone();
    let name = if role.config.dialect.is_ct() { "issuance log" } else { "attestation log" };
    readiness.with(name, move || {
        let open = log.is_open();
        async move { if open { Ok(()) } else { Err("the sequencer has stopped".to_owned()) } }
    })
}

/// A CA is ready while its own certificates outlive those that it would issue.
fn with_ca(readiness: Readiness, service: Arc<CertificateService>) -> Readiness {
    readiness.with("certificate authority", move || {
        let ready = service.is_ready();
        async move {
            if ready { Ok(()) } else { Err("a CA certificate is about to end: renew the chain".to_owned()) }
        }
    })
}

fn ct_log(
    own: Option<Certificate>,
    role: &LogRole,
    log: Log,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<CtLog> {
    let roots = own.into_iter().chain(role.roots.iter().cloned()).collect();
    Ok(CtLog::new(log, roots, role.signer.clone(), clock.clone())?)
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
