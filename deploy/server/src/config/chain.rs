//! `[[ca.past]]` and `[[timestamp.past]]`: chains that signed here once, `[ca] issuance_log` and `[[ca.past_issuance_log]]`:
//! issuance logs of other processes, `[[imported]]`: the trust of instances that came before this one, and `[[merged]]`: that
//! of other hosts of the same instance.
//!
//! What was ever handed out stays in the trust files, with an end, or signatures of its time verify no more. So a table
//! here is never removed: trust is taken back by `withdrawn = "why"`, which gives the reason.

use std::collections::HashSet;
use std::path::PathBuf;

use chancery_tlog::clock::Timestamp;
use serde::{Deserialize, Deserializer};

use super::{CaConfig, ConfigError, LogConfig};

/// A chain that signs no more.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Section")]
pub(crate) struct PastChain {
    /// Its name among the chains of its role.
    pub(crate) name: String,
    /// PEM chain, as it was.
    pub(crate) chain: PathBuf,
    /// Start of trust.
    pub(crate) since: Timestamp,
    /// End of trust.
    pub(crate) until: Timestamp,
    /// Why the trust files name it no more; `None` if they do.
    pub(crate) withdrawn: Option<String>,
}

/// The table as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Section {
    name: String,
    chain: PathBuf,
    #[serde(deserialize_with = "super::rfc3339")]
    since: Timestamp,
    #[serde(deserialize_with = "super::rfc3339")]
    until: Timestamp,
    withdrawn: Option<String>,
}

impl TryFrom<Section> for PastChain {
    type Error = String;

    fn try_from(section: Section) -> Result<Self, String> {
        let Section { name, chain, since, until, withdrawn } = section;
        check_past(&name, since, until, withdrawn.as_deref())?;
        Ok(Self { name, chain, since, until, withdrawn })
    }
}

/// An issuance log behind HTTP.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RemoteLogConfig {
    /// Its address, up to `/ct/v1/`.
    pub(crate) url: String,
    /// Its public key, PEM.
    pub(crate) key: PathBuf,
    /// Start of trust: its own, which does not move with the CA's chain. In files from before there was this key, that of
    /// the oldest chain; `replace-chain` writes it down.
    #[serde(default, deserialize_with = "time")]
    pub(crate) since: Option<Timestamp>,
}

/// An issuance log of another process that the CA wrote to once.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "PastLogSection")]
pub(crate) struct PastRemoteLog {
    /// Its name among those logs, and among the logs of this process.
    pub(crate) name: String,
    /// Its address, up to `/ct/v1/`.
    pub(crate) url: String,
    /// Its public key, PEM.
    pub(crate) key: PathBuf,
    /// Start of trust.
    pub(crate) since: Timestamp,
    /// End of trust.
    pub(crate) until: Timestamp,
    /// Why the trust files name it no more; `None` if they do.
    pub(crate) withdrawn: Option<String>,
}

/// The table as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PastLogSection {
    name: String,
    url: String,
    key: PathBuf,
    #[serde(deserialize_with = "super::rfc3339")]
    since: Timestamp,
    #[serde(deserialize_with = "super::rfc3339")]
    until: Timestamp,
    withdrawn: Option<String>,
}

impl TryFrom<PastLogSection> for PastRemoteLog {
    type Error = String;

    fn try_from(section: PastLogSection) -> Result<Self, String> {
        let PastLogSection { name, url, key, since, until, withdrawn } = section;
        check_past(&name, since, until, withdrawn.as_deref())?;
        Ok(Self { name, url, key, since, until, withdrawn })
    }
}

fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    super::rfc3339(deserializer).map(Some)
}

fn check_past(name: &str, since: Timestamp, until: Timestamp, withdrawn: Option<&str>) -> Result<(), String> {
    check_name(name)?;
    if until < since {
        return Err("`until` is before `since`: it would never have been trusted".to_owned());
    }
    check_reason(withdrawn)
}

/// A chain that takes the place of the one in service later, and is published already.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NextChain {
    /// PEM chain, as that of the role.
    pub(crate) chain: PathBuf,
    /// Key of its first certificate.
    pub(crate) key: PathBuf,
    /// Start of trust.
    #[serde(deserialize_with = "super::rfc3339")]
    pub(crate) since: Timestamp,
}

/// Trust files of another host with roles of the same instance.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MergedConfig {
    /// Its name.
    pub(crate) name: String,
    /// The file.
    pub(crate) client_trust_config: PathBuf,
}

/// The trusted root of another instance, all of whose members have ended.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ImportedConfig {
    /// Its name.
    pub(crate) name: String,
    /// The file.
    pub(crate) trusted_root: PathBuf,
    /// Why the trust files name it no more; `None` if they do.
    pub(crate) withdrawn: Option<String>,
}

fn check_name(name: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
        return Err(format!("name \"{name}\" must be of a-z, 0-9 and `-`: it names a file"));
    }
    Ok(())
}

fn check_reason(withdrawn: Option<&str>) -> Result<(), String> {
    match withdrawn {
        Some(reason) if reason.trim().is_empty() => {
            Err("`withdrawn` must give the reason: whoever reads this later has to understand it".to_owned())
        }
        _ => Ok(()),
    }
}

/// What the chains of one role together must satisfy.
pub(super) fn check(role: &str, past: &[PastChain]) -> Result<(), ConfigError> {
    let mut names = HashSet::new();
    match past.iter().find(|chain| !names.insert(chain.name.as_str())) {
        Some(twice) => {
            let problem = format!("two chains have the name \"{}\"", twice.name);
            Err(ConfigError::value(format!("{role}.past"), problem))
        }
        None => Ok(()),
    }
}

/// The same for issuance logs of other processes, whose keys lie beside those of this one under their names.
pub(super) fn check_past_logs(ca: Option<&CaConfig>, logs: &[LogConfig]) -> Result<(), ConfigError> {
    let mut names: HashSet<_> =
        logs.iter().filter(|log| log.dialect.is_ct()).map(|log| log.name.as_str()).collect();
    let mut past = ca.iter().flat_map(|ca| &ca.past_issuance_log);
    match past.find(|log| !names.insert(log.name.as_str())) {
        Some(twice) => {
            let problem = format!("two issuance logs have the name \"{}\"", twice.name);
            Err(ConfigError::value("ca.past_issuance_log", problem))
        }
        None => Ok(()),
    }
}

/// What the tables of other hosts together must satisfy.
pub(super) fn check_merged(merged: &[MergedConfig]) -> Result<(), ConfigError> {
    let mut names = HashSet::new();
    for one in merged {
        check_name(&one.name).map_err(|problem| ConfigError::value("merged", problem))?;
        if !names.insert(one.name.as_str()) {
            let problem = format!("two have the name \"{}\"", one.name);
            return Err(ConfigError::value("merged", problem));
        }
    }
    Ok(())
}

/// The same for imported trust.
pub(super) fn check_imported(imported: &[ImportedConfig]) -> Result<(), ConfigError> {
    let mut names = HashSet::new();
    for one in imported {
        let checked = check_name(&one.name).and_then(|()| check_reason(one.withdrawn.as_deref()));
        checked.map_err(|problem| ConfigError::value("imported", problem))?;
        if !names.insert(one.name.as_str()) {
            let problem = format!("two have the name \"{}\"", one.name);
            return Err(ConfigError::value("imported", problem));
        }
    }
    Ok(())
}
