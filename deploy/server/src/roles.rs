//! The roles of an instance, loaded from its configuration: signers, chain, issuers, logs.
//!
//! Everything that can be wrong with a file is found here, before a port is opened, and named with the file.

mod log;

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use chancery_ca::config::{Issuer, IssuerKind, Location};
use chancery_ca::timestamp::{TimestampAuthority, TimestampSettings};
use chancery_ca::{Authority, CertificateService, IssuanceLog, IssuerConfig, RemoteLog, Settings};
use chancery_tlog::certificate::Certificate;
use chancery_tlog::clock::{Clock, Timestamp};
use chancery_tlog::key::{PublicKey, Signer};
use chancery_tlog::serve::key_file::{self, Passphrase};
use chancery_tlog::serve::rate::IdentityLimiter;

pub(crate) use self::log::{CHECKPOINTS, LogKey, LogRole, OpenLog, Speaks, signer};
use crate::config::{CaConfig, Config, LogConfig, RemoteLogConfig, TimestampConfig};
use crate::observe::measured;
use crate::trust::{self, Document, Identity, LogIdentity};
use crate::tuf::TufRole;

/// An instance with its keys in memory.
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
    /// Counts what one identity writes.
    pub(crate) identities: Option<Arc<IdentityLimiter>>,
}

/// A certificate authority that can sign.
pub(crate) struct CaRole {
    authority: Authority,
    /// The chain, issuing certificate first.
    pub(crate) chain: Vec<Certificate>,
    /// Whose tokens are honoured.
    pub(crate) issuers: IssuerConfig,
    settings: Settings,
    remote_log: Option<RemoteLogRole>,
    since: Timestamp,
}

/// An issuance log of another process.
struct RemoteLogRole {
    url: String,
    key: PublicKey,
}

/// A timestamp authority that can sign.
pub(crate) struct TimestampRole {
    /// What the operator said.
    config: TimestampConfig,
    pem: String,
    /// The chain, timestamping certificate first.
    pub(crate) chain: Vec<Certificate>,
    signer: Arc<dyn Signer>,
}

impl Instance {
    /// Loads all keys and files.
    pub(crate) fn load(config: Config, clock: Arc<dyn Clock>) -> anyhow::Result<Self> {
        let passphrase = config.passphrase.as_ref();
        let identities = config.rates.writes_per_identity.map(IdentityLimiter::new).map(Arc::new);
        let mut ca = config.ca.as_ref().map(|ca| CaRole::load(ca, passphrase, &*clock)).transpose()?;
        if let Some(ca) = &mut ca {
            ca.settings.identities.clone_from(&identities);
        }
        let log = |log: &LogConfig| LogRole::load(log, config.store_of(log), passphrase);
        let logs = config.logs.iter().map(log).collect::<anyhow::Result<_>>()?;
        let timestamp =
            config.timestamp.as_ref().map(|config| TimestampRole::load(config, passphrase)).transpose()?;
        let tuf =
            config.tuf.as_ref().map(|tuf| TufRole::load(&config.dir, &tuf.key, passphrase)).transpose()?;
        Ok(Self { config, ca, logs, timestamp, tuf, identities })
    }

    /// All files that the instance publishes about itself, with the root of its TUF repository.
    pub(crate) fn documents(&self) -> anyhow::Result<Vec<Document>> {
        let mut documents = trust::documents(&self.identity()?);
        documents.extend(self.tuf.as_ref().map(TufRole::root_document).transpose()?);
        Ok(documents)
    }

    /// What the instance publishes about itself.
    pub(crate) fn identity(&self) -> anyhow::Result<Identity<'_>> {
        let url = &self.config.url;
        let mut identity = Identity {
            url,
            ca: self.ca.as_ref().map(|ca| (ca.chain.as_slice(), ca.since)),
            issuers: self.ca.as_ref().map(CaRole::issuer_urls).unwrap_or_default(),
            logins: self.ca.as_ref().map(CaRole::logins).unwrap_or_default(),
            ct: None,
            rekor_v1: None,
            rekor_v2: None,
            past_ct: Vec::new(),
            past_rekor: Vec::new(),
            timestamp: self.timestamp.as_ref().map(|role| (role.chain.as_slice(), role.config.since)),
        };
        for log in self.logs.iter().filter(|log| log.config.is_trusted()) {
            let known = log.identity(url)?;
            match (&log.speaks, log.config.is_active()) {
                (Speaks::Ct { .. }, true) => identity.ct = Some(known),
                (Speaks::RekorV1 { .. }, true) => identity.rekor_v1 = Some(known),
                (Speaks::RekorV2, true) => identity.rekor_v2 = Some(known),
                (Speaks::Ct { .. }, false) => identity.past_ct.push(known),
                (Speaks::RekorV1 { .. } | Speaks::RekorV2, false) => identity.past_rekor.push(known),
            }
        }
        if let Some(remote) = self.ca.as_ref().and_then(CaRole::remote_log) {
            identity.ct = Some(remote);
        }
        Ok(identity)
    }
}

impl CaRole {
    fn load(config: &CaConfig, passphrase: Option<&Passphrase>, clock: &dyn Clock) -> anyhow::Result<Self> {
        let signer = measured(key_file::load(&config.key, passphrase)?, "ca");
        let pem = read(&config.chain)?;
        let name = || config.chain.display().to_string();
        let chain = Certificate::chain_from_pem(&pem).with_context(name)?;
        let authority = Authority::load(&pem, signer, clock).with_context(name)?;
        let name = || config.issuers.display().to_string();
        let issuers = IssuerConfig::parse(&read(&config.issuers)?).with_context(name)?;
        let mut settings = Settings::default();
        settings.oidc.development = config.development;
        let remote_log = config.issuance_log.as_ref().map(RemoteLogRole::load).transpose()?;
        Ok(Self { authority, chain, issuers, settings, remote_log, since: config.since })
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

    fn remote_log(&self) -> Option<LogIdentity<'_>> {
        let log = self.remote_log.as_ref()?;
        let log_id = log.key.fingerprint();
        Some(LogIdentity {
            base_url: log.url.clone(),
            key: &log.key,
            log_id,
            service_url: None,
            since: self.since,
            until: None,
            past: None,
        })
    }

    /// The CA in service, with the issuance log of another process if there is one, else with `own`. Contacts nobody
    /// yet.
    pub(crate) fn into_service(
        self,
        own: Option<Arc<dyn IssuanceLog>>,
        clock: Arc<dyn Clock>,
    ) -> anyhow::Result<CertificateService> {
        let log = match self.remote_log {
            Some(RemoteLogRole { url, key }) => {
                Some(Arc::new(RemoteLog::new(&url, key)?) as Arc<dyn IssuanceLog>)
            }
            None => own,
        };
        CertificateService::new(self.authority, self.issuers, log, clock, self.settings).context(
            "the issuers (`[ca]` in chancery.toml; for one on this machine without TLS: `development = true`)",
        )
    }
}

fn issuer_url(issuer: &Issuer) -> Option<&str> {
    match &issuer.location {
        Location::Url(url) => Some(url),
        Location::Pattern(_) => None,
    }
}

impl RemoteLogRole {
    fn load(config: &RemoteLogConfig) -> anyhow::Result<Self> {
        let key =
            PublicKey::from_pem(&read(&config.key)?).with_context(|| config.key.display().to_string())?;
        Ok(Self { url: config.url.trim_end_matches('/').to_owned(), key })
    }
}

impl TimestampRole {
    fn load(config: &TimestampConfig, passphrase: Option<&Passphrase>) -> anyhow::Result<Self> {
        let signer = measured(key_file::load(&config.key, passphrase)?, "timestamp");
        let pem = read(&config.chain)?;
        let name = || config.chain.display().to_string();
        let chain = Certificate::chain_from_pem(&pem).with_context(name)?;
        Ok(Self { config: config.clone(), pem, chain, signer })
    }

    /// The authority in service. It signs no time before `not_before`.
    pub(crate) fn into_authority(
        self,
        not_before: Timestamp,
        clock: Arc<dyn Clock>,
    ) -> anyhow::Result<TimestampAuthority> {
        let TimestampConfig { chain, policy, accepted_policies, include_chain, .. } = self.config;
        let mut settings =
            TimestampSettings { accepted_policies, include_chain, not_before, ..Default::default() };
        settings.policy = policy.unwrap_or(settings.policy);
        TimestampAuthority::load(&self.pem, self.signer, &settings, clock)
            .with_context(|| chain.display().to_string())
    }
}

fn chain(path: &Path) -> anyhow::Result<Vec<Certificate>> {
    Certificate::chain_from_pem(&read(path)?).with_context(|| path.display().to_string())
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}
