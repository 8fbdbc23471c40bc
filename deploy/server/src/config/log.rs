//! `[[log]]`: the logs of an instance.

use std::collections::HashSet;
use std::net::IpAddr;
use std::path::PathBuf;

use chancery_tlog::checkpoint::Origin;
use chancery_tlog::clock::Timestamp;
use serde::Deserialize;

use super::{BaseUrl, ConfigError};

/// Prefixes that other roles own: their paths stand at the root of the instance.
const RESERVED: [&str; 8] =
    ["/api", "/.well-known", "/healthz", "/readyz", "/ping", "/tuf", "/checkpoint", "/tile"];

/// One log.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Section")]
pub(crate) struct LogConfig {
    /// Name of its folder.
    pub(crate) name: String,
    /// What its clients speak.
    pub(crate) dialect: Dialect,
    /// C2SP origin.
    pub(crate) origin: Origin,
    /// Key of the C2SP checkpoints.
    pub(crate) checkpoint_key: PathBuf,
    /// Address of its own, of a Rekor v2 log beside another one.
    pub(crate) url: Option<BaseUrl>,
    /// Start of trust.
    pub(crate) since: Timestamp,
    /// What is left of it, if it has ended.
    pub(crate) ended: Option<EndedConfig>,
    /// Who may write to it. A CT log takes what leads to its roots.
    pub(crate) admission: AdmissionConfig,
}

/// A log that takes no entries any more: the `ended` key.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EndedConfig {
    /// End of trust: what it signed later is not believed.
    #[serde(deserialize_with = "super::rfc3339")]
    pub(crate) until: Timestamp,
    /// Entries in it.
    pub(crate) size: u64,
    /// Whether its entries can be read. If not, all that is left is its name in the trust files.
    #[serde(default = "yes")]
    pub(crate) served: bool,
    /// Whether the trust files name it, so that what it signed before the end is believed.
    #[serde(default = "yes")]
    pub(crate) trusted: bool,
}

fn yes() -> bool {
    true
}

impl LogConfig {
    /// Whether it takes entries.
    pub(crate) fn is_active(&self) -> bool {
        self.ended.is_none()
    }

    /// Whether anything that it signed is to be believed.
    pub(crate) fn is_trusted(&self) -> bool {
        self.ended.as_ref().is_none_or(|ended| ended.trusted)
    }

    /// Whether it is read or written here.
    pub(crate) fn is_served(&self) -> bool {
        self.ended.as_ref().is_none_or(|ended| ended.served)
    }
}

/// Who may write to an attestation log: the `[log.admission]` table.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AdmissionConfig {
    /// Whose signatures are taken.
    pub(crate) signers: Signers,
    /// PEM file of CA certificates, the issuing ones too, that count as the own CA beside that of this process.
    pub(crate) roots: Option<PathBuf>,
}

/// Whose signatures an attestation log takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Signers {
    /// Anybody's, by keys and by certificates of any CA.
    #[default]
    Any,
    /// Those by certificates of the own CA.
    OwnCa,
}

/// What clients of a log speak, with what only that dialect needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// RFC 6962.
    Ct {
        /// Where its paths begin, and the key of its SCTs.
        face: Face,
        /// PEM file of roots whose CAs may write to it, beside the CA of this process.
        roots: Option<PathBuf>,
    },
    /// Rekor v1.
    RekorV1 {
        /// Where its C2SP paths begin, and the key of its SETs.
        face: Face,
        /// Name in v1 checkpoints.
        hostname: String,
        /// Number with which entry ids begin.
        tree_id: u64,
    },
    /// Rekor v2: its paths are at the root, and its one key is that of the checkpoints.
    RekorV2,
}

/// What the dialects with a signature of their own have beside the C2SP face.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Face {
    /// Where the log's paths begin.
    pub(crate) prefix: String,
    /// The dialect's key.
    pub(crate) key: PathBuf,
}

impl Dialect {
    /// Its name in `chancery.toml`.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Ct { .. } => "ct",
            Self::RekorV1 { .. } => "rekor-v1",
            Self::RekorV2 => "rekor-v2",
        }
    }

    /// Whether certificates go into it.
    pub(crate) fn is_ct(&self) -> bool {
        matches!(self, Self::Ct { .. })
    }

    fn tree_id(&self) -> Option<u64> {
        match self {
            Self::RekorV1 { tree_id, .. } => Some(*tree_id),
            Self::Ct { .. } | Self::RekorV2 => None,
        }
    }

    /// What it has beside the C2SP face.
    pub(crate) fn face(&self) -> Option<&Face> {
        match self {
            Self::Ct { face, .. } | Self::RekorV1 { face, .. } => Some(face),
            Self::RekorV2 => None,
        }
    }

    /// The files that it reads.
    pub(super) fn paths(&mut self) -> Vec<&mut PathBuf> {
        match self {
            Self::Ct { face, roots } => std::iter::once(&mut face.key).chain(roots).collect(),
            Self::RekorV1 { face, .. } => vec![&mut face.key],
            Self::RekorV2 => Vec::new(),
        }
    }
}

/// The table as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Section {
    name: String,
    dialect: String,
    origin: String,
    prefix: Option<String>,
    key: Option<PathBuf>,
    checkpoint_key: PathBuf,
    url: Option<String>,
    #[serde(deserialize_with = "super::rfc3339")]
    since: Timestamp,
    ended: Option<EndedConfig>,
    roots: Option<PathBuf>,
    hostname: Option<String>,
    tree_id: Option<u64>,
    admission: Option<AdmissionConfig>,
}

impl TryFrom<Section> for LogConfig {
    type Error = String;

    fn try_from(mut section: Section) -> Result<Self, String> {
        if section.name.is_empty() || !section.name.chars().all(plain) {
            return Err(format!("name \"{}\" must be of a-z, 0-9 and `-`: it names a folder", section.name));
        }
        let dialect = section.dialect()?;
        let origin = Origin::new(section.origin).map_err(|error| format!("origin: {error}"))?;
        if dialect == Dialect::RekorV2 && !is_bare_host(origin.as_str()) {
            return Err(format!(
                "origin \"{origin}\" must be the bare host of the log's address, without scheme, port and path: \
                 clients of dialect \"rekor-v2\" look the key up by it"
            ));
        }
        let url = section
            .url
            .as_deref()
            .map(BaseUrl::parse)
            .transpose()
            .map_err(|error| format!("url: {error}"))?;
        if let Some(url) = url.as_ref().filter(|url| url.hostname() != origin.as_str()) {
            return Err(format!("url {url}: its host must be the log's origin, which is \"{origin}\""));
        }
        if section.ended.as_ref().is_some_and(|ended| ended.until < section.since) {
            return Err("`ended.until` is before `since`: it would never have been trusted".to_owned());
        }
        Ok(Self {
            name: section.name,
            dialect,
            origin,
            checkpoint_key: section.checkpoint_key,
            url,
            since: section.since,
            ended: section.ended,
            admission: section.admission.unwrap_or_default(),
        })
    }
}

impl Section {
    /// Takes what belongs to the dialect. What is left over then belongs to another one.
    fn dialect(&mut self) -> Result<Dialect, String> {
        let dialect = match self.dialect.as_str() {
            "ct" => Dialect::Ct { face: self.face()?, roots: self.roots.take() },
            "rekor-v1" => {
                let (hostname, tree_id) = self
                    .hostname
                    .take()
                    .zip(self.tree_id.take())
                    .ok_or("dialect \"rekor-v1\" needs `hostname` and `tree_id`")?;
                Dialect::RekorV1 { face: self.face()?, hostname, tree_id }
            }
            "rekor-v2" => Dialect::RekorV2,
            other => {
                return Err(format!(
                    "dialect \"{other}\" is unknown, use \"ct\", \"rekor-v1\" or \"rekor-v2\""
                ));
            }
        };
        let foreign = [
            ("prefix", self.prefix.is_some(), "\"ct\" and \"rekor-v1\""),
            ("key", self.key.is_some(), "\"ct\" and \"rekor-v1\""),
            ("roots", self.roots.is_some(), "\"ct\""),
            ("hostname", self.hostname.is_some(), "\"rekor-v1\""),
            ("tree_id", self.tree_id.is_some(), "\"rekor-v1\""),
            ("url", self.url.is_some() && dialect != Dialect::RekorV2, "\"rekor-v2\""),
            ("admission", self.admission.is_some() && dialect.is_ct(), "\"rekor-v1\" and \"rekor-v2\""),
        ];
        match foreign.into_iter().find(|(_, given, _)| *given) {
            Some((key, _, owners)) => Err(format!(
                "`{key}` is for dialect {owners} only, remove it from this log of dialect \"{}\"",
                self.dialect
            )),
            None => Ok(dialect),
        }
    }

    fn face(&mut self) -> Result<Face, String> {
        let needs = |key: &str| format!("dialect \"{}\" needs `{key}`", self.dialect);
        let prefix = self.prefix.take().ok_or_else(|| needs("prefix"))?;
        let key = self.key.take().ok_or_else(|| needs("key"))?;
        let parts = prefix.strip_prefix('/').unwrap_or_default();
        if !parts.split('/').all(|part| !part.is_empty() && part.chars().all(plain)) {
            return Err(format!("prefix \"{prefix}\" must be like \"/ct\": a-z, 0-9 and `-`"));
        }
        Ok(Face { prefix, key })
    }
}

fn plain(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'
}

/// A host without brackets: Go's `URL.Hostname()`.
fn is_bare_host(origin: &str) -> bool {
    !origin.contains([':', '/', '[']) || origin.parse::<IpAddr>().is_ok()
}

/// What all logs together must satisfy.
pub(super) fn check(logs: &[LogConfig], instance: &BaseUrl, has_ca: bool) -> Result<(), ConfigError> {
    let lost = |log: &&LogConfig| {
        log.admission.signers == Signers::OwnCa && log.admission.roots.is_none() && !has_ca
    };
    if let Some(log) = logs.iter().find(lost) {
        let problem = "`signers = \"own-ca\"` needs a CA: this process has none, so name the certificates of the \
            other's with `roots`";
        return Err(ConfigError::value(format!("log.{}.admission", log.name), problem));
    }
    unique(logs, "name", |log| Some(&log.name))?;
    unique(logs, "prefix", |log| log.dialect.face().map(|face| face.prefix.as_str()))?;
    unique(logs, "origin", |log| Some(log.origin.as_str()))?;
    for log in logs {
        let Some(Face { prefix, .. }) = log.dialect.face() else { continue };
        if RESERVED.iter().any(|reserved| prefix.split('/').nth(1) == reserved.strip_prefix('/')) {
            let problem = format!("prefix \"{prefix}\" belongs to another role, choose another");
            return Err(ConfigError::value(format!("log.{}", log.name), problem));
        }
    }
    let mut dialects = HashSet::new();
    let active = logs.iter().filter(|log| log.is_active());
    if let Some(twice) = active.map(|log| log.dialect.name()).find(|name| !dialects.insert(*name)) {
        let problem = format!(
            "one process serves at most one log with dialect \"{twice}\" that takes entries: end the other with \
             `chancery-server end-log`"
        );
        return Err(ConfigError::value("log", problem));
    }
    check_trust(logs)?;
    check_shards(logs)?;
    check_hosts(logs, instance)
}

/// A trusted root that lists no log demands no entry of verifiers, so the last log that is trusted stays until it has a
/// successor. Issuance logs and attestation logs vouch for different things and do not replace each other.
fn check_trust(logs: &[LogConfig]) -> Result<(), ConfigError> {
    for (is_ct, kind) in [(true, "issuance log"), (false, "attestation log")] {
        let mut alike = logs.iter().filter(|log| log.dialect.is_ct() == is_ct).peekable();
        let Some(first) = alike.peek().copied() else { continue };
        if !alike.any(LogConfig::is_trusted) {
            let problem = format!(
                "no {kind} would be trusted, and verifiers demand no entry of a trusted root that lists none: add a \
                 successor first, with `chancery-server add-log`"
            );
            return Err(ConfigError::value(format!("log.{}", first.name), problem));
        }
    }
    Ok(())
}

/// The logs of dialect Rekor v1 are one to its clients: entries are counted through them in their order.
fn check_shards(logs: &[LogConfig]) -> Result<(), ConfigError> {
    let shards: Vec<_> = logs.iter().filter(|log| log.dialect.tree_id().is_some()).collect();
    unique_by(&shards, "tree_id", |log| log.dialect.tree_id())?;
    match shards.iter().rev().skip(1).find(|log| log.is_active()) {
        Some(log) => {
            let problem = "it takes entries, so it must stand after the logs of its dialect that have ended: \
                entries are counted in the order of the logs";
            Err(ConfigError::value(format!("log.{}", log.name), problem))
        }
        None => Ok(()),
    }
}

/// Logs of dialect Rekor v2 have the same paths, so each is found by a host of its own.
fn check_hosts(logs: &[LogConfig], instance: &BaseUrl) -> Result<(), ConfigError> {
    let v2 = logs.iter().filter(|log| log.dialect == Dialect::RekorV2 && log.is_served());
    unique_by(&v2.collect::<Vec<_>>(), "host in their address (`url`)", |log| {
        Some(log.url.as_ref().unwrap_or(instance).hostname().to_owned())
    })
}

fn unique<'l>(
    logs: &'l [LogConfig],
    key: &str,
    of: impl Fn(&'l LogConfig) -> Option<&'l str>,
) -> Result<(), ConfigError> {
    unique_by(&logs.iter().collect::<Vec<_>>(), key, of)
}

fn unique_by<'l, V: Eq + std::hash::Hash + Clone + std::fmt::Display>(
    logs: &[&'l LogConfig],
    key: &str,
    of: impl Fn(&'l LogConfig) -> Option<V>,
) -> Result<(), ConfigError> {
    let mut seen = HashSet::new();
    match logs.iter().filter_map(|log| of(log)).find(|value| !seen.insert(value.clone())) {
        Some(twice) => Err(ConfigError::value("log", format!("two logs have the {key} \"{twice}\""))),
        None => Ok(()),
    }
}
