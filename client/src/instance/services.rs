//! Where to sign: the services that a signing config picks for this moment.
//!
//! Of each operator counts the service with the newest API that we speak, and of several the one that came into use
//! last; then the config's selector says how many operators to go to. (protobuf-specs `sigstore_trustroot.proto`)

use std::fmt;

use chancery_tlog::clock::Timestamp;
use chancery_tlog::key::KeyKind;
use chancery_tlog::trust::{Keyring, Service, ServiceSelection, SigningConfig, TrustedLog};
use serde::Serialize;
use url::Url;

use super::InstanceError;
use crate::bundle::{MAX_ENTRIES, MAX_TIMESTAMPS};
use crate::guard::Purpose;

/// Where to sign, resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Services {
    /// Certificate authority.
    pub authority: Url,
    /// Attestation logs, each of which gets an entry; none if the instance has none.
    pub logs: Vec<LogService>,
    /// Timestamp authorities, each of which stamps the signature: full endpoints.
    pub timestamp_authorities: Vec<Url>,
}

/// An attestation log and how to speak with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogService {
    /// Base URL.
    pub url: Url,
    /// Its API.
    pub dialect: Dialect,
}

/// The APIs of attestation logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Dialect {
    /// Rekor v1: entries with the log's own time.
    #[serde(rename = "rekor-v1")]
    RekorV1,
    /// Rekor v2: entries without time, which need a timestamp authority beside it.
    #[serde(rename = "rekor-v2")]
    RekorV2,
}

impl Dialect {
    /// The dialect of a trusted log, by its key: v2 logs sign with Ed25519, and no client of v1 would take that.
    pub fn of(log: &TrustedLog) -> Self {
        if log.key.kind() == KeyKind::Ed25519 { Self::RekorV2 } else { Self::RekorV1 }
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RekorV1 => "Rekor v1",
            Self::RekorV2 => "Rekor v2",
        })
    }
}

/// What an instance does not have by design, as its operators say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Without {
    /// No attestation log.
    pub log: bool,
    /// Neither a timestamp authority nor a log that signs the time.
    pub signed_time: bool,
}

/// What an instance has although it is said to have none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// An attestation log.
    Log,
    /// A trusted source of time.
    SignedTime,
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Log => "an attestation log",
            Self::SignedTime => "a trusted source of time",
        })
    }
}

impl Services {
    /// What `config` says at `now`.
    pub fn choose(config: &SigningConfig, now: Timestamp) -> Result<Self, InstanceError> {
        let any = ServiceSelection::default();
        let authorities = select("certificate authority", &config.ca_urls, &any, &[1], now)?;
        let (_, authority) = authorities
            .into_iter()
            .next()
            .ok_or_else(|| problem("it names no usable certificate authority"))?;
        let logs =
            select("attestation log", &config.rekor_tlog_urls, &config.rekor_tlog_config, &[2, 1], now)?;
        let timestamp_authorities =
            select("timestamp authority", &config.tsa_urls, &config.tsa_config, &[1], now)?;
        let dialect = |version| if version == 2 { Dialect::RekorV2 } else { Dialect::RekorV1 };
        let services = Self {
            authority,
            logs: logs
                .into_iter()
                .map(|(version, url)| LogService { url, dialect: dialect(version) })
                .collect(),
            timestamp_authorities: timestamp_authorities.into_iter().map(|(_, url)| url).collect(),
        };
        services.check()?;
        Ok(services)
    }

    /// The endpoints to list in a guard.
    pub fn endpoints(&self) -> Vec<(Purpose, &Url)> {
        let logs = self.logs.iter().map(|log| (Purpose::TransparencyLog, &log.url));
        let stamps = self.timestamp_authorities.iter().map(|url| (Purpose::TimestampAuthority, url));
        [(Purpose::CertificateAuthority, &self.authority)].into_iter().chain(stamps).chain(logs).collect()
    }

    /// Refuses services whose signatures would be worth less than they look, before anything is asked for. Both files
    /// count: a log or an authority that is used but not trusted proves nothing, and one that is trusted is demanded by
    /// verifiers.
    pub(super) fn suffice(&self, trust: &Keyring, without: Without) -> Result<(), InstanceError> {
        let demanded = !self.logs.is_empty() || !trust.logs.is_empty();
        match (self.logs.is_empty(), trust.logs.as_slice().is_empty(), without.log) {
            (_, _, true) if demanded => return Err(InstanceError::Expected(Expected::Log)),
            (true, _, false) => return Err(InstanceError::NoLog("the signing configuration names none")),
            (false, true, _) => {
                return Err(InstanceError::NoLog("the trusted root lists none that can be used"));
            }
            _ => {}
        }
        let stamps = !self.timestamp_authorities.is_empty();
        if stamps && trust.timestamp_authorities.as_slice().is_empty() {
            return Err(problem(
                "it names a timestamp authority, and the trusted root lists none that can be used",
            ));
        }
        let of_v1 = |log: &LogService| log.dialect == Dialect::RekorV1;
        let signs_time =
            self.logs.iter().any(of_v1) && trust.logs.iter().any(|log| Dialect::of(log) == Dialect::RekorV1);
        match (stamps || signs_time, without.signed_time) {
            (true, true) => Err(InstanceError::Expected(Expected::SignedTime)),
            (false, false) => Err(InstanceError::NoSignedTime),
            _ => Ok(()),
        }
    }

    /// Certificates live for minutes: whoever verifies later needs somebody to tell that it was signed in them.
    fn check(&self) -> Result<(), InstanceError> {
        let timeless = self.logs.iter().all(|log| log.dialect == Dialect::RekorV2);
        if !self.logs.is_empty() && timeless && self.timestamp_authorities.is_empty() {
            return Err(problem(
                "its log is Rekor v2, which states no time, and it names no timestamp authority to state one; a \
                 signature by a certificate would be verifiable by nobody",
            ));
        }
        if self.logs.len() > MAX_ENTRIES || self.timestamp_authorities.len() > MAX_TIMESTAMPS {
            return Err(problem("it asks for more log entries or timestamps than a bundle may have"));
        }
        Ok(())
    }
}

/// The services to use with their API versions; `versions` are those that we speak, best first.
fn select(
    what: &str,
    services: &[Service],
    selection: &ServiceSelection,
    versions: &[u32],
    now: Timestamp,
) -> Result<Vec<(u32, Url)>, InstanceError> {
    let mut usable: Vec<(usize, Timestamp, &Service)> = Vec::new();
    for service in services {
        let validity = service.valid_for.validity()?;
        let rank = versions.iter().position(|version| *version == service.major_api_version);
        if let Some(rank) = rank.filter(|_| validity.contains(now)) {
            usable.push((rank, validity.start, service));
        }
    }
    if usable.is_empty() && !services.is_empty() {
        let versions: Vec<String> = versions.iter().map(u32::to_string).collect();
        let versions = versions.join(" or ");
        return Err(problem(&format!("it names no {what} of API version {versions} that is in use now")));
    }
    // Stable: of equals the first in the file.
    usable.sort_by(|(a, since, _), (b, other, _)| a.cmp(b).then(other.cmp(since)));
    let mut operators: Vec<&str> = Vec::new();
    usable.retain(|(_, _, service)| {
        let first = !operators.contains(&service.operator.as_str());
        operators.push(&service.operator);
        first
    });
    let count = wanted(what, selection, usable.len())?;
    usable
        .iter()
        .take(count)
        .map(|(_, _, service)| Ok((service.major_api_version, parse(&service.url)?)))
        .collect()
}

/// How many of `available` operators to go to.
fn wanted(what: &str, selection: &ServiceSelection, available: usize) -> Result<usize, InstanceError> {
    let exactly = usize::try_from(selection.count.unwrap_or_default()).unwrap_or(usize::MAX);
    match selection.selector.as_str() {
        "" | "ANY" => Ok(available.min(1)),
        "ALL" => Ok(available),
        "EXACT" if exactly == 0 => Err(problem(&format!("it asks for exactly 0 of {what}; give a count"))),
        "EXACT" if exactly > available => Err(problem(&format!(
            "it asks for {exactly} of {what} by different operators, but names {available} in use now"
        ))),
        "EXACT" => Ok(exactly),
        other => {
            let other: String = other.chars().take(50).collect();
            Err(problem(&format!("selector `{other}` of {what} is not ANY, ALL or EXACT")))
        }
    }
}

fn parse(url: &str) -> Result<Url, InstanceError> {
    Url::parse(url).map_err(|_| problem(&format!("`{url}` is not a URL")))
}

fn problem(why: &str) -> InstanceError {
    InstanceError::Services(why.to_owned())
}
