//! The roles of an instance, loaded from its configuration: signers, chain, issuers, logs.
//!
//! Everything that can be wrong with a file is found here, before a port is opened, and named with the file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use chancery_ca::config::{Issuer, IssuerKind, Location};
use chancery_ca::timestamp::{TimestampAuthority, TimestampSettings};
use chancery_ca::{Authority, CertificateService, IssuanceLog, IssuerConfig, RemoteLog, Settings};
use chancery_tlog::certificate::Certificate;
use chancery_tlog::clock::{Clock, Timestamp};
use chancery_tlog::key::{KeyKind, PublicKey, Signer};
use chancery_tlog::note::{KeyName, NoteKey};
use chancery_tlog::serve::key_file::{self, Passphrase};
use chancery_tlog::serve::rate::IdentityLimiter;
use chancery_tlog::server::log::{Log, LogSettings, Sequencer};
use chancery_tlog::server::store::{Rocks, Store};
use chancery_tlog::server::{rekor_v1, rekor_v2};

use crate::config::{BaseUrl, CaConfig, Config, Dialect, Face, LogConfig, RemoteLogConfig, TimestampConfig};
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

/// A log that can sign.
pub(crate) struct LogRole {
    /// What the operator said.
    pub(crate) config: LogConfig,
    /// What its clients speak.
    pub(crate) speaks: Speaks,
    /// CA certificates of other processes whose leaves its signers have.
    pub(crate) authorities: Vec<Certificate>,
    checkpoint_signer: Arc<dyn Signer>,
    store: PathBuf,
}

/// A log that is open, for those beside its clients: memories and backups.
pub(crate) struct OpenLog {
    /// What the operator said.
    pub(crate) config: LogConfig,
    /// Verifies its checkpoints.
    pub(crate) key: NoteKey,
    /// The log.
    pub(crate) log: Log,
    /// Its store.
    pub(crate) store: Rocks,
}

/// A dialect with its keys and files in memory.
pub(crate) enum Speaks {
    /// RFC 6962.
    Ct {
        /// Where its paths begin.
        prefix: String,
        /// Signs SCTs and tree heads.
        signer: Arc<dyn Signer>,
        /// Roots of other CAs that may write to it.
        roots: Vec<Certificate>,
    },
    /// Rekor v1.
    RekorV1 {
        /// Where its C2SP paths begin.
        prefix: String,
        /// Signs SETs and v1 checkpoints.
        signer: Arc<dyn Signer>,
        /// Name in v1 checkpoints.
        hostname: String,
        /// Number with which entry ids begin.
        tree_id: u64,
    },
    /// Rekor v2, which has no key but that of the checkpoints.
    RekorV2,
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
            timestamp: self.timestamp.as_ref().map(|role| (role.chain.as_slice(), role.config.since)),
        };
        for log in &self.logs {
            match &log.speaks {
                Speaks::Ct { prefix, signer, .. } => {
                    identity.ct = Some(log.known_by_its_key(format!("{url}{prefix}"), signer.public_key()));
                }
                Speaks::RekorV1 { signer, .. } => {
                    identity.rekor_v1 = Some(log.known_by_its_key(url.to_string(), signer.public_key()));
                }
                Speaks::RekorV2 => identity.rekor_v2 = Some(log.known_by_its_origin(url)?),
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
        Some(LogIdentity { base_url: log.url.clone(), key: &log.key, log_id, since: self.since })
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

impl LogRole {
    fn load(config: &LogConfig, store: PathBuf, passphrase: Option<&Passphrase>) -> anyhow::Result<Self> {
        let load = |path: &Path, kind: KeyKind, used_for: &'static str| {
            let signer = key_file::load(path, passphrase)?;
            let found = signer.public_key().kind();
            if found != kind {
                bail!(
                    "{}: log `{}` needs a key of kind {kind}, this is {found}",
                    path.display(),
                    config.name
                );
            }
            Ok(measured(signer, used_for))
        };
        let signer = |face: &Face| load(&face.key, KeyKind::EcdsaP256, "answers");
        let speaks = match &config.dialect {
            Dialect::Ct { face, roots } => Speaks::Ct {
                prefix: face.prefix.clone(),
                signer: signer(face)?,
                roots: roots.as_deref().map(chain).transpose()?.unwrap_or_default(),
            },
            Dialect::RekorV1 { face, hostname, tree_id } => Speaks::RekorV1 {
                prefix: face.prefix.clone(),
                signer: signer(face)?,
                hostname: hostname.clone(),
                tree_id: *tree_id,
            },
            Dialect::RekorV2 => Speaks::RekorV2,
        };
        let checkpoint_signer = load(&config.checkpoint_key, KeyKind::Ed25519, "checkpoints")?;
        let authorities = config.admission.roots.as_deref().map(chain).transpose()?.unwrap_or_default();
        Ok(Self { config: config.clone(), speaks, authorities, checkpoint_signer, store })
    }

    /// Creates the log's store, with an entry of its own where clients cannot verify index 0.
    pub(crate) async fn create(&self, clock: Arc<dyn Clock>) -> anyhow::Result<()> {
        let birth = match &self.speaks {
            Speaks::Ct { .. } => None,
            Speaks::RekorV1 { hostname, tree_id, signer, .. } => {
                Some(rekor_v1::birth(hostname, *tree_id, signer, &*clock)?)
            }
            Speaks::RekorV2 => Some(rekor_v2::birth(&self.config.origin, &*clock)?),
        };
        let store = Rocks::create(&self.store)?;
        Log::create(&self.settings(), &store, self.checkpoint_signer.clone(), &*clock, birth).await?;
        Ok(())
    }

    /// Opens the log. Entries are added for as long as the sequencer runs.
    pub(crate) async fn open(&self, clock: Arc<dyn Clock>) -> anyhow::Result<(OpenLog, Sequencer)> {
        let store = Rocks::open(&self.store)?;
        let shared: Arc<dyn Store> = Arc::new(store.clone());
        let (log, sequencer) =
            Log::open(self.settings(), shared, self.checkpoint_signer.clone(), clock).await?;
        Ok((OpenLog { config: self.config.clone(), key: self.note_key()?, log, store }, sequencer))
    }

    /// The log's folder, if it is not there.
    pub(crate) fn missing_store(&self) -> Option<&Path> {
        Some(self.store.as_path()).filter(|store| !store.is_dir())
    }

    /// Verifies its C2SP checkpoints.
    pub(crate) fn checkpoint_key(&self) -> &PublicKey {
        self.checkpoint_signer.public_key()
    }

    /// The same under the log's name.
    fn note_key(&self) -> anyhow::Result<NoteKey> {
        Ok(NoteKey::new(KeyName::new(self.config.origin.as_str())?, self.checkpoint_key().clone())?)
    }

    fn settings(&self) -> LogSettings {
        LogSettings::new(self.config.origin.clone())
    }

    /// As RFC 6962 and Rekor v1 name logs.
    fn known_by_its_key<'l>(&self, base_url: String, key: &'l PublicKey) -> LogIdentity<'l> {
        LogIdentity { base_url, key, log_id: key.fingerprint(), since: self.config.since }
    }

    /// As Rekor v2 does: by the id of the key in its checkpoints, which clients find by the host of the base URL.
    fn known_by_its_origin(&self, url: &BaseUrl) -> anyhow::Result<LogIdentity<'_>> {
        let key = self.checkpoint_key();
        let origin = self.config.origin.as_str();
        let log_id = self.note_key()?.full_id();
        Ok(LogIdentity { base_url: url.naming(origin), key, log_id, since: self.config.since })
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
