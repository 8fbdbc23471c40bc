//! The roles of an instance, loaded from its configuration: signers, chain, issuers, logs.
//!
//! Everything that can be wrong with a file is found here, before a port is opened, and named with the file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use chancery_ca::config::{IssuerKind, Location};
use chancery_ca::{Authority, CertificateService, IssuanceLog, IssuerConfig, RemoteLog, Settings};
use chancery_tlog::certificate::Certificate;
use chancery_tlog::clock::{Clock, Timestamp};
use chancery_tlog::key::{KeyKind, PublicKey, Signer};
use chancery_tlog::serve::key_file::{self, Passphrase};
use chancery_tlog::server::log::{Log, LogSettings, Sequencer};
use chancery_tlog::server::rekor_v1;
use chancery_tlog::server::store::{Rocks, Store};

use crate::config::{BaseUrl, CaConfig, Config, Dialect, LogConfig, RemoteLogConfig};
use crate::trust::{Identity, LogIdentity};

/// An instance with its keys in memory.
pub(crate) struct Instance {
    /// What the operator said.
    pub(crate) config: Config,
    /// The certificate authority.
    pub(crate) ca: Option<CaRole>,
    /// The logs.
    pub(crate) logs: Vec<LogRole>,
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

/// A log that can sign.
pub(crate) struct LogRole {
    /// What the operator said.
    pub(crate) config: LogConfig,
    /// The dialect's signer.
    pub(crate) signer: Arc<dyn Signer>,
    /// For a CT log: roots of other CAs that may write to it.
    pub(crate) roots: Vec<Certificate>,
    checkpoint_signer: Arc<dyn Signer>,
    store: PathBuf,
}

impl Instance {
    /// Loads all keys and files.
    pub(crate) fn load(config: Config, clock: Arc<dyn Clock>) -> anyhow::Result<Self> {
        let passphrase = config.passphrase.as_ref();
        let ca = config.ca.as_ref().map(|ca| CaRole::load(ca, passphrase, &*clock)).transpose()?;
        let log = |log: &LogConfig| LogRole::load(log, config.store_of(log), passphrase);
        let logs = config.logs.iter().map(log).collect::<anyhow::Result<_>>()?;
        Ok(Self { config, ca, logs })
    }

    /// What the instance publishes about itself.
    pub(crate) fn identity(&self) -> Identity<'_> {
        let url = &self.config.url;
        let log = |ct: bool| {
            self.logs.iter().find(|log| log.config.dialect.is_ct() == ct).map(|log| log.identity(url))
        };
        Identity {
            url,
            ca: self.ca.as_ref().map(|ca| (ca.chain.as_slice(), ca.since)),
            logins: self.ca.as_ref().map(CaRole::logins).unwrap_or_default(),
            ct: self.ca.as_ref().and_then(CaRole::remote_log).or_else(|| log(true)),
            rekor_v1: log(false),
        }
    }
}

impl CaRole {
    fn load(config: &CaConfig, passphrase: Option<&Passphrase>, clock: &dyn Clock) -> anyhow::Result<Self> {
        let signer: Arc<dyn Signer> = Arc::new(key_file::load(&config.key, passphrase)?);
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

    /// Issuers of people. CI systems are left out: nobody logs in there.
    fn logins(&self) -> Vec<&str> {
        let people = self.issuers.issuers().filter(|issuer| matches!(issuer.kind, IssuerKind::Email { .. }));
        people
            .filter_map(|issuer| match &issuer.location {
                Location::Url(url) => Some(url.as_str()),
                Location::Pattern(_) => None,
            })
            .collect()
    }

    fn remote_log(&self) -> Option<LogIdentity<'_>> {
        let log = self.remote_log.as_ref()?;
        Some(LogIdentity { base_url: log.url.clone(), key: &log.key, since: self.since })
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

impl RemoteLogRole {
    fn load(config: &RemoteLogConfig) -> anyhow::Result<Self> {
        let key =
            PublicKey::from_pem(&read(&config.key)?).with_context(|| config.key.display().to_string())?;
        Ok(Self { url: config.url.trim_end_matches('/').to_owned(), key })
    }
}

impl LogRole {
    fn load(config: &LogConfig, store: PathBuf, passphrase: Option<&Passphrase>) -> anyhow::Result<Self> {
        let load = |path: &PathBuf, kind: KeyKind| {
            let signer = key_file::load(path, passphrase)?;
            let found = signer.public_key().kind();
            if found != kind {
                bail!(
                    "{}: log `{}` needs a key of kind {kind}, this is {found}",
                    path.display(),
                    config.name
                );
            }
            Ok(Arc::new(signer) as Arc<dyn Signer>)
        };
        let roots = match &config.dialect {
            Dialect::Ct { roots: Some(file) } => {
                Certificate::chain_from_pem(&read(file)?).with_context(|| file.display().to_string())?
            }
            _ => Vec::new(),
        };
        Ok(Self {
            roots,
            signer: load(&config.key, KeyKind::EcdsaP256)?,
            checkpoint_signer: load(&config.checkpoint_key, KeyKind::Ed25519)?,
            config: config.clone(),
            store,
        })
    }

    /// Creates the log's store, with an entry of its own where clients cannot verify index 0.
    pub(crate) async fn create(&self, clock: Arc<dyn Clock>) -> anyhow::Result<()> {
        let birth = match &self.config.dialect {
            Dialect::Ct { .. } => None,
            Dialect::RekorV1 { hostname, tree_id } => {
                Some(rekor_v1::birth(hostname, *tree_id, &*self.signer, &*clock)?)
            }
        };
        let store = Rocks::create(&self.store)?;
        Log::create(&self.settings(), &store, self.checkpoint_signer.clone(), &*clock, birth).await?;
        Ok(())
    }

    /// Opens the log. Entries are added for as long as the sequencer runs.
    pub(crate) async fn open(&self, clock: Arc<dyn Clock>) -> anyhow::Result<(Log, Sequencer)> {
        let store: Arc<dyn Store> = Arc::new(Rocks::open(&self.store)?);
        Ok(Log::open(self.settings(), store, self.checkpoint_signer.clone(), clock).await?)
    }

    /// The log's folder, if it is not there.
    pub(crate) fn missing_store(&self) -> Option<&Path> {
        Some(self.store.as_path()).filter(|store| !store.is_dir())
    }

    fn settings(&self) -> LogSettings {
        LogSettings::new(self.config.origin.clone())
    }

    fn identity(&self, url: &BaseUrl) -> LogIdentity<'_> {
        let base_url = match self.config.dialect {
            Dialect::Ct { .. } => format!("{url}{}", self.config.prefix),
            Dialect::RekorV1 { .. } => url.to_string(),
        };
        LogIdentity { base_url, key: self.signer.public_key(), since: self.config.since }
    }
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}
