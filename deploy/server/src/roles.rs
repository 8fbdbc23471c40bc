//! The roles of an instance, loaded from its configuration: signers, chain, issuers, logs.
//!
//! Everything that can be wrong with a file is found here, before a port is opened, and named with the file.

mod chain;
pub(crate) mod hosts;
mod log;
mod published;
mod reloaded;
mod remote_log;

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use chancery_ca::config::{Issuer, IssuerKind, Location};
use chancery_ca::policy::ClaimPolicy;
use chancery_ca::timestamp::{TimestampAuthority, TimestampSettings};
use chancery_ca::{Authority, CertificateService, IssuanceLog, IssuerConfig, ServiceError, Settings};
use chancery_tlog::certificate::Certificate;
use chancery_tlog::clock::{Clock, Timestamp};
use chancery_tlog::key::Signer;
use chancery_tlog::serve::key_file::{self, Protection};
use chancery_tlog::serve::rate::IdentityLimiter;
use chancery_tlog::server::admission::Identities;
use chancery_tlog::trust::TrustedRoot;

pub(crate) use self::chain::{OtherChains, refuse_key_in_service};
pub(crate) use self::log::{CHECKPOINTS, LogKey, LogRole, OpenLog, Speaks, signer};
use self::remote_log::RemoteLogs;
use crate::config::{CaConfig, Config, ImportedConfig, LogConfig, TimestampConfig};
use crate::observe::measured;
use crate::trust::{self, Merged};
use crate::tuf::TufRole;

/// File of the issuers whose tokens have verified, in the instance's folder. It saves them the limits on new issuers
/// and may be lost, so it is no part of a backup.
pub(crate) const PROVEN_ISSUERS: &str = "proven-issuers";

/// An instance with its keys in memory. Clones share them.
#[derive(Clone)]
pub(crate) struct Instance {
    /// What the operator said.
    pub(crate) config: Config,
    /// The certificate authority.
    pub(crate) ca: Option<CaRole>,
    /// The logs.
    pub(crate) logs: Vec<LogRole>,
    /// The timestamp authority.
    pub(crate) timestamp: Option<TimestampRole>,
    /// The TUF repository.
    pub(crate) tuf: Option<TufRole>,
    /// Trust of instances before this one.
    pub(crate) imported: Vec<Imported>,
    /// Trust of other hosts of the same instance.
    merged: Vec<Merged>,
    /// Counts what one identity writes. Not made anew by a reload, which would forget the signatures that were counted.
    pub(crate) identities: Option<Arc<Identities>>,
}

/// A certificate authority that can sign.
#[derive(Clone)]
pub(crate) struct CaRole {
    authority: Arc<Authority>,
    /// The chain, issuing certificate first.
    pub(crate) chain: Vec<Certificate>,
    /// Whose tokens are honoured.
    pub(crate) issuers: Arc<IssuerConfig>,
    settings: Settings,
    remote_logs: RemoteLogs,
    since: Timestamp,
    /// Chains that do not issue now.
    pub(crate) others: OtherChains,
}

/// The trusted root of an instance before this one.
#[derive(Clone)]
pub(crate) struct Imported {
    name: String,
    root: TrustedRoot,
    is_trusted: bool,
}

/// A timestamp authority that can sign.
#[derive(Clone)]
pub(crate) struct TimestampRole {
    /// What the operator said.
    config: TimestampConfig,
    pem: String,
    /// The chain, timestamping certificate first.
    pub(crate) chain: Vec<Certificate>,
    signer: Arc<dyn Signer>,
    /// Chains that do not stamp now.
    pub(crate) others: OtherChains,
}

impl Instance {
    /// Loads all keys and files.
    pub(crate) fn load(config: Config, clock: Arc<dyn Clock>) -> anyhow::Result<Self> {
        let instance = Self::load_to_change(config, clock)?;
        instance.check_chain_keys()?;
        instance.check_withdrawn()?;
        instance.check_merged()?;
        Ok(instance)
    }

    /// The same, also where a chain is in service that must not be: what replaces it has to load it.
    pub(crate) fn load_to_change(config: Config, clock: Arc<dyn Clock>) -> anyhow::Result<Self> {
        let protection = &config.protection;
        let limiter = config.rates.writes_per_identity.map(IdentityLimiter::new).map(Arc::new);
        let ca = config.ca.as_ref().map(|ca| CaRole::load(ca, &config.dir, protection, &*clock));
        let mut ca = ca.transpose()?;
        if let Some(ca) = &mut ca {
            ca.settings.identities.clone_from(&limiter);
        }
        let log = |log: &LogConfig| LogRole::load(log, config.store_of(log), protection);
        let logs = config.logs.iter().map(log).collect::<anyhow::Result<_>>()?;
        let timestamp =
            config.timestamp.as_ref().map(|config| TimestampRole::load(config, protection)).transpose()?;
        let tuf =
            config.tuf.as_ref().map(|tuf| TufRole::load(&config.dir, &tuf.key, protection)).transpose()?;
        let imported = config.imported.iter().map(Imported::load).collect::<anyhow::Result<_>>()?;
        let merged = config.merged.iter();
        let merged = merged.map(|merged| hosts::read(&merged.client_trust_config, &merged.name));
        let merged = merged.collect::<anyhow::Result<_>>()?;
        let identities = limiter.map(|limiter| Arc::new(Identities::new(limiter)));
        Ok(Self { config, ca, logs, timestamp, tuf, imported, merged, identities })
    }
}

impl Imported {
    fn load(config: &ImportedConfig) -> anyhow::Result<Self> {
        let name = || config.trusted_root.display().to_string();
        let root = TrustedRoot::parse(read(&config.trusted_root)?.as_bytes()).with_context(name)?;
        // A file that was imported by an earlier version, or by hand, has the spelling of its origin.
        let root = trust::canonical(root).with_context(name)?;
        Ok(Self { name: config.name.clone(), root, is_trusted: config.withdrawn.is_none() })
    }
}

impl CaRole {
    fn load(
        config: &CaConfig,
        dir: &Path,
        protection: &Protection,
        clock: &dyn Clock,
    ) -> anyhow::Result<Self> {
        let signer = measured(key_file::load(&config.key, protection)?, "ca");
        let pem = read(&config.chain)?;
        let name = || config.chain.display().to_string();
        let chain = Certificate::chain_from_pem(&pem).with_context(name)?;
        let authority = Arc::new(Authority::load(&pem, signer, clock).with_context(name)?);
        let issuers = issuers(&config.issuers)?;
        let mut settings = Settings::default();
        settings.oidc.development = config.development;
        settings.oidc.proven_issuers = Some(dir.join(PROVEN_ISSUERS));
        settings.policies.clone_from(&config.policy);
        let remote_logs = RemoteLogs::load(config)?;
        let others = OtherChains::load(config.next.as_ref(), &config.past)?;
        Ok(Self { authority, chain, issuers, settings, remote_logs, since: config.since, others })
    }

    /// The CA's chains that are trusted, each with the end of trust in it: leaves of a chain that was replaced may come
    /// to the logs until then.
    pub(crate) fn chains(&self) -> impl Iterator<Item = (&[Certificate], Option<Timestamp>)> {
        let others = self.others.identities(true).map(|other| (other.chain, other.until));
        std::iter::once((self.chain.as_slice(), None)).chain(others)
    }

    /// The claim policies, as they are configured.
    pub(crate) fn policies(&self) -> &[ClaimPolicy] {
        &self.settings.policies
    }

    /// Issuers with one address, in the order of their configuration.
    fn issuer_urls(&self) -> Vec<&str> {
        self.issuers.issuers().filter_map(|issuer| issuer_url(issuer)).collect()
    }

    /// Issuers of people. CI systems are left out: nobody logs in there.
    fn logins(&self) -> Vec<&str> {
        let people = self.issuers.issuers().filter(|issuer| matches!(issuer.kind, IssuerKind::Email { .. }));
        people.filter_map(|issuer| issuer_url(issuer)).collect()
    }

    /// The CA in service, with the issuance log of another process if there is one, else with `own`. Contacts nobody
    /// yet.
    pub(crate) fn service(
        &self,
        own: Option<Arc<dyn IssuanceLog>>,
        clock: Arc<dyn Clock>,
    ) -> anyhow::Result<CertificateService> {
        let log = match self.remote_logs.client()? {
            Some(log) => Some(Arc::new(log) as Arc<dyn IssuanceLog>),
            None => own,
        };
        let (authority, issuers) = (Arc::clone(&self.authority), Arc::clone(&self.issuers));
        CertificateService::new(authority, issuers, log, clock, self.settings.clone()).map_err(in_words)
    }

    /// The CA in service after a reload, in the place of `before`.
    pub(crate) fn renewed_service(&self, before: &CertificateService) -> anyhow::Result<CertificateService> {
        let (issuers, policies) = (Arc::clone(&self.issuers), self.settings.policies.clone());
        before.renewed(issuers, policies, self.settings.oidc.development).map_err(in_words)
    }
}

/// What keeps a CA from its service, with the place to look at.
pub(crate) fn in_words(error: ServiceError) -> anyhow::Error {
    let place = match &error {
        ServiceError::Verifier(_) => {
            "the issuers (`[ca]` in chancery.toml; for one on this machine without TLS: `development = true`)"
        }
        ServiceError::Policy(_) => "claim policies (`[[ca.policy]]` in chancery.toml)",
    };
    anyhow::Error::new(error).context(place)
}

fn issuer_url(issuer: &Issuer) -> Option<&str> {
    match &issuer.location {
        Location::Url(url) => Some(url),
        Location::Pattern(_) => None,
    }
}

impl TimestampRole {
    fn load(config: &TimestampConfig, protection: &Protection) -> anyhow::Result<Self> {
        let signer = measured(key_file::load(&config.key, protection)?, "timestamp");
        let pem = read(&config.chain)?;
        let name = || config.chain.display().to_string();
        let chain = Certificate::chain_from_pem(&pem).with_context(name)?;
        let others = OtherChains::load(config.next.as_ref(), &config.past)?;
        Ok(Self { config: config.clone(), pem, chain, signer, others })
    }

    /// The authority in service. It signs no time before `not_before`.
    pub(crate) fn authority(
        &self,
        not_before: Timestamp,
        clock: Arc<dyn Clock>,
    ) -> anyhow::Result<TimestampAuthority> {
        let TimestampConfig { chain, policy, accepted_policies, include_chain, .. } = self.config.clone();
        let mut settings =
            TimestampSettings { accepted_policies, include_chain, not_before, ..Default::default() };
        settings.policy = policy.unwrap_or(settings.policy);
        TimestampAuthority::load(&self.pem, Arc::clone(&self.signer), &settings, clock)
            .with_context(|| chain.display().to_string())
    }
}

fn issuers(path: &Path) -> anyhow::Result<Arc<IssuerConfig>> {
    let parsed = IssuerConfig::parse(&read(path)?).with_context(|| path.display().to_string())?;
    Ok(Arc::new(parsed))
}

fn chain(path: &Path) -> anyhow::Result<Vec<Certificate>> {
    Certificate::chain_from_pem(&read(path)?).with_context(|| path.display().to_string())
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}
