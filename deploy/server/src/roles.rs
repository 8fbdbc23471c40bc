//! The roles of an instance, loaded from its configuration: signers, chain, issuers, logs.
//!
//! Everything that can be wrong with a file is found here, before a port is opened, and named with the file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use chancery_ca::{Authority, CertificateService, IssuanceLog, IssuerConfig, Settings};
use chancery_tlog::certificate::Certificate;
use chancery_tlog::clock::{Clock, Timestamp};
use chancery_tlog::key::{KeyKind, Signer};
use chancery_tlog::serve::key_file::{self, Passphrase};
use chancery_tlog::server::log::{Log, LogSettings, Sequencer};
use chancery_tlog::server::rekor_v1;
use chancery_tlog::server::store::{Rocks, Store};

use crate::config::{CaConfig, Config, Dialect, LogConfig};
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
    since: Timestamp,
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
        let log =
            |ct: bool| self.logs.iter().find(|log| log.config.dialect.is_ct() == ct).map(LogRole::identity);
        Identity {
            url: &self.config.url,
            ca: self.ca.as_ref().map(|ca| (ca.chain.as_slice(), ca.since)),
            ct: log(true),
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
        Ok(Self { authority, chain, issuers, settings, since: config.since })
    }

    /// The CA in service. Contacts nobody yet.
    pub(crate) fn into_service(
        self,
        log: Option<Arc<dyn IssuanceLog>>,
        clock: Arc<dyn Clock>,
    ) -> anyhow::Result<CertificateService> {
        CertificateService::new(self.authority, self.issuers, log, clock, self.settings)
            .context("the issuers (`[ca]` in chancery.toml; for one on this machine without TLS: `development = true`)")
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

    /// Whether the log's folder is there.
    pub(crate) fn is_created(&self) -> bool {
        self.store.is_dir()
    }

    fn settings(&self) -> LogSettings {
        LogSettings::new(self.config.origin.clone())
    }

    fn identity(&self) -> LogIdentity<'_> {
        let prefix = match self.config.dialect {
            Dialect::Ct { .. } => self.config.prefix.as_str(),
            Dialect::RekorV1 { .. } => "",
        };
        LogIdentity { prefix, key: self.signer.public_key(), since: self.config.since }
    }
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}
