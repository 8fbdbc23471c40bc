//! `[[log]]`: the logs of an instance.

use std::collections::HashSet;
use std::path::PathBuf;

use chancery_tlog::checkpoint::Origin;
use chancery_tlog::clock::Timestamp;
use serde::Deserialize;

use super::ConfigError;

/// Prefixes that other roles own.
const RESERVED: [&str; 5] = ["/api", "/.well-known", "/healthz", "/readyz", "/ping"];

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
    /// Where its paths begin.
    pub(crate) prefix: String,
    /// The dialect's key.
    pub(crate) key: PathBuf,
    /// Key of the C2SP checkpoints.
    pub(crate) checkpoint_key: PathBuf,
    /// Start of trust.
    pub(crate) since: Timestamp,
}

/// What clients of a log speak, with what only that dialect needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// RFC 6962.
    Ct {
        /// PEM file of roots whose CAs may write to it, beside the CA of this process.
        roots: Option<PathBuf>,
    },
    /// Rekor v1.
    RekorV1 {
        /// Name in v1 checkpoints.
        hostname: String,
        /// Number with which entry ids begin.
        tree_id: u64,
    },
}

impl Dialect {
    /// Whether certificates go into it.
    pub(crate) fn is_ct(&self) -> bool {
        matches!(self, Self::Ct { .. })
    }
}

/// The table as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Section {
    name: String,
    dialect: String,
    origin: String,
    prefix: String,
    key: PathBuf,
    checkpoint_key: PathBuf,
    #[serde(deserialize_with = "super::rfc3339")]
    since: Timestamp,
    roots: Option<PathBuf>,
    hostname: Option<String>,
    tree_id: Option<u64>,
}

impl TryFrom<Section> for LogConfig {
    type Error = String;

    fn try_from(section: Section) -> Result<Self, String> {
        let dialect = match (section.dialect.as_str(), section.hostname, section.tree_id) {
            ("ct", None, None) => Dialect::Ct { roots: section.roots },
            ("ct", ..) => return Err("`hostname` and `tree_id` are for dialect \"rekor-v1\" only".to_owned()),
            ("rekor-v1", ..) if section.roots.is_some() => {
                return Err("`roots` is for dialect \"ct\" only".to_owned());
            }
            ("rekor-v1", Some(hostname), Some(tree_id)) => Dialect::RekorV1 { hostname, tree_id },
            ("rekor-v1", ..) => return Err("dialect \"rekor-v1\" needs `hostname` and `tree_id`".to_owned()),
            (other, ..) => return Err(format!("dialect \"{other}\" is unknown, use \"ct\" or \"rekor-v1\"")),
        };
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if section.name.is_empty() || !section.name.chars().all(plain) {
            return Err(format!("name \"{}\" must be of a-z, 0-9 and `-`: it names a folder", section.name));
        }
        let prefix = section.prefix.strip_prefix('/').unwrap_or_default();
        if !prefix.split('/').all(|part| !part.is_empty() && part.chars().all(plain)) {
            return Err(format!("prefix \"{}\" must be like \"/ct\": a-z, 0-9 and `-`", section.prefix));
        }
        let origin = Origin::new(section.origin).map_err(|error| format!("origin: {error}"))?;
        Ok(Self {
            name: section.name,
            dialect,
            origin,
            prefix: section.prefix,
            key: section.key,
            checkpoint_key: section.checkpoint_key,
            since: section.since,
        })
    }
}

/// What all logs together must satisfy.
pub(super) fn check(logs: &[LogConfig]) -> Result<(), ConfigError> {
    unique(logs, "name", |log| &log.name)?;
    unique(logs, "prefix", |log| &log.prefix)?;
    unique(logs, "origin", |log| log.origin.as_str())?;
    for log in logs {
        if RESERVED.iter().any(|reserved| log.prefix.split('/').nth(1) == reserved.strip_prefix('/')) {
            let problem = format!("prefix \"{}\" belongs to another role, choose another", log.prefix);
            return Err(ConfigError::value(format!("log.{}", log.name), problem));
        }
    }
    for (dialect, is) in
        [("ct", Dialect::is_ct as fn(&Dialect) -> bool), ("rekor-v1", |dialect| !dialect.is_ct())]
    {
        if logs.iter().filter(|log| is(&log.dialect)).count() > 1 {
            let problem = format!("one process serves at most one log with dialect \"{dialect}\"");
            return Err(ConfigError::value("log", problem));
        }
    }
    Ok(())
}

fn unique<'l>(
    logs: &'l [LogConfig],
    key: &str,
    of: impl Fn(&'l LogConfig) -> &'l str,
) -> Result<(), ConfigError> {
    let mut seen = HashSet::new();
    match logs.iter().map(of).find(|value| !seen.insert(*value)) {
        Some(twice) => Err(ConfigError::value("log", format!("two logs have the {key} \"{twice}\""))),
        None => Ok(()),
    }
}
