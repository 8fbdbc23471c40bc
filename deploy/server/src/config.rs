//! `chancery.toml`: what an operator says about an instance, parsed into what the roles need.
//!
//! The manual is the file that `init` writes. Unknown keys are refused, relative paths start at the instance's
//! folder, and environment variables `CHANCERY_…` win over the file. After [`Config::load`] every value has been
//! checked as far as that needs no other file and no socket.

mod access;
mod chain;
mod changes;
mod log;
mod url;

use std::path::{Path, PathBuf};

use chancery_ca::policy::ClaimPolicy;
use chancery_tlog::clock::Timestamp;
use chancery_tlog::serve::cors::Origins;
use chancery_tlog::serve::key_file::{Passphrase, Protection};
use chancery_tlog::serve::logging::Filter;
use chancery_tlog::serve::rate::Effective;
use chancery_tlog::serve::{Limits, ListenSettings, SettingsError};
use chancery_tlog::variables::{self, TABLES};
use figment::Figment;
use figment::providers::{Env, Format as _, Toml};
use serde::{Deserialize, Deserializer};

pub(crate) use self::access::{Access, OidcAccess, ReaderRule, is_exposed};
pub(crate) use self::chain::{
    ImportedConfig, MergedConfig, NextChain, PastChain, PastRemoteLog, RemoteLogConfig,
};
pub(crate) use self::changes::Changes;
pub(crate) use self::log::{Dialect, EndedConfig, Face, LogConfig, Signers};
pub(crate) use self::url::BaseUrl;

/// Name of the file in an instance's folder.
pub(crate) const FILE: &str = "chancery.toml";

/// What is wrong with a configuration. Every message names the place and says what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// There is no file.
    #[error("{} is missing: is this the folder that `chancery-server init` made?", .0.display())]
    Missing(PathBuf),
    /// It is no TOML, a key is unknown or missing, or a value has the wrong form.
    #[error("{origin}: {problem}")]
    Form {
        /// The file, or the environment.
        origin: &'static str,
        /// Which key, and what is wrong with it.
        problem: String,
    },
    /// A value makes no sense.
    #[error("{FILE}: `{key}`: {problem}")]
    Value {
        /// Path of the key.
        key: String,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// A value of `[listen]` or `[limits]` makes no sense.
    #[error("{FILE}: {0}")]
    Listen(#[from] SettingsError),
}

impl ConfigError {
    /// figment's words without its profiles, and with logs counted as people do.
    fn form(error: &figment::Error) -> Self {
        let environment = error.metadata.as_ref().is_some_and(|data| data.name.contains("environment"));
        let origin = if environment { "environment variables `CHANCERY_…`" } else { FILE };
        let place = match error.path.as_slice() {
            [] => return Self::Form { origin, problem: error.kind.to_string() },
            [table, index, rest @ ..] if table == "log" => {
                let number =
                    index.parse::<usize>().map_or_else(|_| index.clone(), |index| (index + 1).to_string());
                let key = rest.first().map(|key| format!(", `{key}`")).unwrap_or_default();
                format!("`[[log]]` number {number}{key}")
            }
            [ca, policy, index, ..] if ca == "ca" && policy == "policy" => {
                let number =
                    index.parse::<usize>().map_or_else(|_| index.clone(), |index| (index + 1).to_string());
                format!("`[[ca.policy]]` number {number}")
            }
            path => format!("`{}`", path.join(".").to_lowercase()),
        };
        Self::Form { origin, problem: format!("{place}: {}", error.kind) }
    }

    fn value(key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Value { key: key.into(), problem: problem.into() }
    }
}

/// A checked configuration. All paths are ready to be opened.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// The instance's folder.
    pub(crate) dir: PathBuf,
    /// The address that clients use.
    pub(crate) url: BaseUrl,
    /// What guards the key files.
    pub(crate) protection: Protection,
    /// Listener.
    pub(crate) listen: ListenSettings,
    /// Bounds.
    pub(crate) limits: Limits,
    /// How often one client may come.
    pub(crate) rates: Effective,
    /// Who may read entries.
    pub(crate) access: Access,
    /// Origins whose web pages may read entries.
    pub(crate) origins: Origins,
    /// JSON logs.
    pub(crate) json_logs: bool,
    /// What is logged, if the environment does not say it.
    pub(crate) log_filter: Option<Filter>,
    /// The certificate authority, if this process is one.
    pub(crate) ca: Option<CaConfig>,
    /// The logs of this process.
    pub(crate) logs: Vec<LogConfig>,
    /// The timestamp authority, if this process is one.
    pub(crate) timestamp: Option<TimestampConfig>,
    /// The TUF repository, if this process serves one.
    pub(crate) tuf: Option<TufConfig>,
    /// Where heads are remembered outside of the instance.
    pub(crate) memory: Option<MemoryConfig>,
    /// Trust of instances before this one.
    pub(crate) imported: Vec<ImportedConfig>,
    /// The file and the environment as they are written.
    written: serde_json::Value,
    /// Trust of other hosts of the same instance.
    pub(crate) merged: Vec<MergedConfig>,
}

/// The certificate authority.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CaConfig {
    /// PEM chain, issuing certificate first.
    pub(crate) chain: PathBuf,
    /// Key of the issuing certificate.
    pub(crate) key: PathBuf,
    /// Fulcio configuration.
    pub(crate) issuers: PathBuf,
    /// Issuers on loopback may do without TLS.
    #[serde(default)]
    pub(crate) development: bool,
    /// Which tokens of the issuers get a certificate.
    #[serde(default)]
    pub(crate) policy: Vec<ClaimPolicy>,
    /// The issuance log of another process.
    pub(crate) issuance_log: Option<RemoteLogConfig>,
    /// Issuance logs of other processes that took its certificates before, oldest first.
    #[serde(default)]
    pub(crate) past_issuance_log: Vec<PastRemoteLog>,
    /// Start of trust.
    #[serde(deserialize_with = "rfc3339")]
    pub(crate) since: Timestamp,
    /// The chain to come.
    pub(crate) next: Option<NextChain>,
    /// Chains that issued before, oldest first.
    #[serde(default)]
    pub(crate) past: Vec<PastChain>,
}

impl CaConfig {
    /// Start of trust in the issuance log of another process. `since` moves when the chain is replaced, and the log does
    /// not: without a start of its own it has that of the oldest chain.
    pub(crate) fn issuance_log_since(&self) -> Option<Timestamp> {
        let log = self.issuance_log.as_ref()?;
        let chains = self.past.iter().map(|past| past.since).chain([self.since]);
        log.since.or_else(|| chains.min())
    }
}

/// The timestamp authority.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TimestampConfig {
    /// PEM chain, the timestamping certificate first, the root last.
    pub(crate) chain: PathBuf,
    /// Key of the timestamping certificate.
    pub(crate) key: PathBuf,
    /// Policy of timestamps whose request names none.
    pub(crate) policy: Option<String>,
    /// Policies that a request may name besides.
    #[serde(default)]
    pub(crate) accepted_policies: Vec<String>,
    /// Whether answers hold the whole chain rather than its first certificate.
    #[serde(default)]
    pub(crate) include_chain: bool,
    /// Start of trust.
    #[serde(deserialize_with = "rfc3339")]
    pub(crate) since: Timestamp,
    /// The chain to come.
    pub(crate) next: Option<NextChain>,
    /// Chains that stamped before, oldest first.
    #[serde(default)]
    pub(crate) past: Vec<PastChain>,
}

/// The TUF repository.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TufConfig {
    /// Key of snapshot and timestamp.
    pub(crate) key: PathBuf,
}

/// Where heads are remembered outside of the instance.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MemoryConfig {
    /// A folder, on another disk.
    pub(crate) path: PathBuf,
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    url: String,
    passphrase: Option<Passphrase>,
    #[serde(default)]
    group_readable_keys: bool,
    listen: ListenSettings,
    #[serde(default)]
    limits: Limits,
    access: Option<access::Section>,
    #[serde(default)]
    logging: Logging,
    ca: Option<CaConfig>,
    #[serde(default)]
    log: Vec<LogConfig>,
    timestamp: Option<TimestampConfig>,
    tuf: Option<TufConfig>,
    memory: Option<MemoryConfig>,
    #[serde(default)]
    imported: Vec<ImportedConfig>,
    #[serde(default)]
    merged: Vec<MergedConfig>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Logging {
    #[serde(default)]
    json: bool,
    filter: Option<String>,
}

impl Logging {
    fn filter(&self) -> Result<Option<Filter>, ConfigError> {
        let parsed = self.filter.as_deref().map(Filter::parse).transpose();
        parsed.map_err(|error| ConfigError::value("logging.filter", error.to_string()))
    }
}

impl Config {
    /// Reads the configuration of the instance in `dir`, with the environment on top.
    pub(crate) fn load(dir: &Path) -> Result<Self, ConfigError> {
        let path = dir.join(FILE);
        if !path.is_file() {
            return Err(ConfigError::Missing(path));
        }
        Self::from_sources(dir, Figment::from(Toml::file_exact(path)).merge(environment()))
    }

    /// Whether the instance in `dir` wants its log in JSON, even if the rest of its configuration cannot be used.
    pub(crate) fn wants_json(dir: &Path) -> bool {
        let sources = Figment::from(Toml::file_exact(dir.join(FILE))).merge(environment());
        sources.extract_inner("logging.json").unwrap_or(false)
    }

    /// The configuration that the instance in `dir` would have with this text, with the environment on top.
    pub(crate) fn with_text(dir: &Path, text: &str) -> Result<Self, ConfigError> {
        Self::from_sources(dir, Figment::from(Toml::string(text)).merge(environment()))
    }

    /// Parses a configuration's text for the instance in `dir`. The environment is left out.
    pub(crate) fn parse(dir: &Path, text: &str) -> Result<Self, ConfigError> {
        Self::from_sources(dir, Figment::from(Toml::string(text)))
    }

    fn from_sources(dir: &Path, sources: Figment) -> Result<Self, ConfigError> {
        let file: File = sources.extract().map_err(|error| ConfigError::form(&error))?;
        let written = sources.extract().map_err(|error| ConfigError::form(&error))?;
        let url = BaseUrl::parse(&file.url).map_err(|problem| ConfigError::value("url", problem))?;
        file.listen.check()?;
        file.limits.check()?;
        log::check(&file.log, &url, file.ca.is_some())?;
        chain::check("ca", file.ca.as_ref().map_or(&[], |ca| &ca.past))?;
        chain::check("timestamp", file.timestamp.as_ref().map_or(&[], |timestamp| &timestamp.past))?;
        chain::check_imported(&file.imported)?;
        chain::check_past_logs(file.ca.as_ref(), &file.log)?;
        chain::check_merged(&file.merged)?;
        let origins =
            file.access.as_ref().map_or_else(|| Ok(Origins::default()), access::Section::origins)?;
        let access = access::choose(file.access, &file.listen, &url, dir)?;
        let rates = file.limits.rates.or_defaults(is_exposed(&file.listen, &url));
        let lonely = file.ca.as_ref().is_some_and(|ca| ca.issuance_log.is_none());
        if lonely && !file.log.iter().any(|log| log.dialect.is_ct() && log.is_active()) {
            let problem = "a CA needs an issuance log that takes entries: add a `[[log]]` with `dialect = \"ct\"`, or `issuance_log`";
            return Err(ConfigError::value("ca", problem));
        }
        if file.ca.is_none() && file.log.is_empty() && file.timestamp.is_none() {
            let problem = "there is nothing to serve: add `[ca]`, a `[[log]]` or `[timestamp]`";
            return Err(ConfigError::value("log", problem));
        }
        let config = Self {
            dir: dir.to_owned(),
            url,
            protection: Protection { passphrase: file.passphrase, group_may_read: file.group_readable_keys },
            listen: file.listen,
            limits: file.limits,
            rates,
            access,
            origins,
            json_logs: file.logging.json,
            log_filter: file.logging.filter()?,
            ca: file.ca,
            logs: file.log,
            timestamp: file.timestamp,
            tuf: file.tuf,
            memory: file.memory,
            imported: file.imported,
            written,
            merged: file.merged,
        };
        let config = config.with_resolved_paths();
        if config.memory.as_ref().is_some_and(|memory| memory.path.starts_with(dir)) {
            let problem = "it is inside of the instance's folder: a memory that is restored together with it remembers \
                           nothing, choose a folder on another disk";
            return Err(ConfigError::value("memory.path", problem));
        }
        Ok(config)
    }

    /// Variables of the environment that look like ours, and that no program reads.
    pub(crate) fn unread_variables(&self) -> Vec<variables::Unread> {
        let secret = match &self.protection.passphrase {
            Some(Passphrase::Env(name)) => vec![name.as_str()],
            _ => Vec::new(),
        };
        let names = std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned());
        variables::unread(names, &secret)
    }

    /// The logs that are read or written here, and so have a store.
    pub(crate) fn served_logs(&self) -> impl Iterator<Item = &LogConfig> {
        self.logs.iter().filter(|log| log.is_served())
    }

    /// Folder of a log's store.
    pub(crate) fn store_of(&self, log: &LogConfig) -> PathBuf {
        self.dir.join("logs").join(&log.name)
    }

    /// Host names of the instance and of logs with their own address.
    fn hosts(&self) -> Vec<String> {
        let logs = self.logs.iter().filter_map(|log| log.url.as_ref());
        std::iter::once(&self.url).chain(logs).map(|url| url.hostname().to_owned()).collect()
    }

    /// Hosts for which the server's certificate has to be valid: those that clients connect to by TLS, if no proxy answers
    /// them.
    fn tls_names(&self) -> Vec<String> {
        if self.listen.behind_proxy {
            return Vec::new();
        }
        let logs = self.served_logs().filter_map(|log| log.url.as_ref());
        let urls = std::iter::once(&self.url).chain(logs).filter(|url| url.is_https());
        urls.map(|url| url.hostname().to_owned()).collect()
    }

    fn with_resolved_paths(mut self) -> Self {
        let dir = self.dir.clone();
        let names = self.tls_names();
        self.listen.hosts = self.hosts();
        let resolve = |path: &mut PathBuf| *path = dir.join(&*path);
        if let Some(Passphrase::File(file)) = &mut self.protection.passphrase {
            resolve(file);
        }
        if let Some(tls) = &mut self.listen.tls {
            [&mut tls.certificate, &mut tls.key].into_iter().for_each(resolve);
            tls.names = names;
            if let Access::Mtls(ca) = &self.access {
                tls.client_ca = Some(ca.clone());
            }
        }
        if let Some(ca) = &mut self.ca {
            [&mut ca.chain, &mut ca.key, &mut ca.issuers].into_iter().for_each(resolve);
            ca.issuance_log.iter_mut().for_each(|log| resolve(&mut log.key));
            ca.past_issuance_log.iter_mut().for_each(|log| resolve(&mut log.key));
            ca.past.iter_mut().for_each(|past| resolve(&mut past.chain));
            ca.next
                .iter_mut()
                .for_each(|next| [&mut next.chain, &mut next.key].into_iter().for_each(resolve));
        }
        for log in &mut self.logs {
            log.dialect.paths().into_iter().chain([&mut log.checkpoint_key]).for_each(resolve);
            log.admission.roots.iter_mut().for_each(resolve);
        }
        if let Some(timestamp) = &mut self.timestamp {
            [&mut timestamp.chain, &mut timestamp.key].into_iter().for_each(resolve);
            timestamp.past.iter_mut().for_each(|past| resolve(&mut past.chain));
            let next = timestamp.next.iter_mut();
            next.for_each(|next| [&mut next.chain, &mut next.key].into_iter().for_each(resolve));
        }
        self.imported.iter_mut().for_each(|imported| resolve(&mut imported.trusted_root));
        self.merged.iter_mut().for_each(|merged| resolve(&mut merged.client_trust_config));
        self.tuf.iter_mut().for_each(|tuf| resolve(&mut tuf.key));
        self.memory.iter_mut().for_each(|memory| resolve(&mut memory.path));
        self
    }
}

/// `CHANCERY_LISTEN__ADDRESS` and its like. Other variables with the prefix belong to other programs (the client,
/// the log filter) and are none of our business; those that nobody reads are reported.
fn environment() -> Env {
    Env::prefixed("CHANCERY_").split("__").filter(|key| {
        let first = key.as_str().split('.').next().unwrap_or_default().to_ascii_lowercase();
        TABLES.contains(&first.as_str())
    })
}

fn rfc3339<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    let text = String::deserialize(deserializer)?;
    Timestamp::parse_rfc3339(&text)
        .ok_or_else(|| serde::de::Error::custom("a time is written as in \"2026-11-21T22:00:00Z\""))
}

#[cfg(test)]
mod tests;
