//! `chancery-server check-config`: everything that `run` would find out, without opening a port or a log.

use std::path::Path;
use std::sync::Arc;

use anyhow::bail;
use chancery_ca::config::Location;
use chancery_ca::policy::ClaimPolicy;
use chancery_tlog::clock::{Clock, SystemClock, Timestamp};
use chancery_tlog::serve::{TlsFiles, TlsIdentity};

use crate::access::{self, Entrance};
use crate::chains::is_root_key;
use crate::config::{Config, EndedConfig};
use crate::expiry::{self, End};
use crate::memory::Memory;
use crate::roles::{Instance, LogRole, OtherChains, Speaks};
use crate::{backup, output, trust, tuf};

/// What was found. Problems stop `run`, warnings do not.
#[derive(Default)]
pub(crate) struct Findings {
    /// One for each thing that was looked at.
    pub(crate) lines: Vec<String>,
    /// How many of them stop `run`.
    pub(crate) problems: usize,
}

impl Findings {
    fn good(&mut self, what: impl AsRef<str>) {
        self.line("ok", what.as_ref());
    }

    fn warning(&mut self, what: impl AsRef<str>) {
        self.line("warning", what.as_ref());
    }

    fn problem(&mut self, what: impl AsRef<str>) {
        self.problems += 1;
        self.line("problem", what.as_ref());
    }

    fn line(&mut self, mark: &str, what: &str) {
        self.lines.push(format!("{mark:<8} {what}"));
    }
}

/// Checks the instance in `dir` and prints what was looked at. `Err` if `run` would not start.
pub(crate) fn check(dir: &Path) -> anyhow::Result<()> {
    let findings = findings(dir)?;
    output::print(&(findings.lines.join("\n") + "\n"))?;
    match findings.problems {
        0 => Ok(()),
        1 => bail!("1 problem found"),
        more => bail!("{more} problems found"),
    }
}

/// Looks at everything.
pub(crate) fn findings(dir: &Path) -> anyhow::Result<Findings> {
    let config = Config::load(dir)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let instance = Instance::load(config, clock.clone())?;
    let mut findings = Findings::default();
    check_listener(&instance.config, clock.now(), &mut findings);
    check_access(&instance, &clock, &mut findings);
    check_ca(&instance, &mut findings);
    instance.logs.iter().for_each(|log| check_log(log, &mut findings));
    check_attestation_logs(&instance, &mut findings);
    check_timestamp_authority(&instance, &mut findings);
    check_expiry(&instance, clock.now(), &mut findings);
    check_tuf(&instance, &*clock, &mut findings)?;
    check_lost(&instance, &mut findings)?;
    check_memory(&instance.config, &mut findings);
    check_root_keys(&instance.config, &mut findings);
    check_environment(&instance.config, &mut findings);
    check_trust_files(&instance, &mut findings)?;
    // The last of what `run` does with the files: CA and timestamp authority in service, without a log.
    if let Some(ca) = &instance.ca {
        ca.service(None, clock.clone())
            .err()
            .into_iter()
            .for_each(|error| findings.problem(output::in_full(&error)));
    }
    if let Some(role) = &instance.timestamp {
        let authority = role.authority(Timestamp::default(), clock);
        authority.err().into_iter().for_each(|error| findings.problem(output::in_full(&error)));
    }
    Ok(findings)
}

fn check_listener(config: &Config, now: Timestamp, findings: &mut Findings) {
    let addresses: Vec<_> = config.listen.addresses().map(|address| address.to_string()).collect();
    findings.good(format!("chancery.toml: {} served on {}", config.url, addresses.join(" and ")));
    let reached = config.listen.addresses().any(|address| [0, config.url.port()].contains(&address.port()));
    if config.url.is_loopback() && !config.listen.behind_proxy && !reached {
        findings.warning(format!("clients come to {}, and `[listen]` has another port", config.url));
    }
    let Some(tls) = &config.listen.tls else {
        if config.url.is_https() && !config.listen.behind_proxy {
            findings.warning("`url` is https, but there is no `[listen.tls]` and `behind_proxy` is false");
        }
        return;
    };
    check_tls(tls, now, findings);
}

/// The TLS identity as the server would load it, and what clients would object to in it.
fn check_tls(files: &TlsFiles, now: Timestamp, findings: &mut Findings) {
    let identity = match TlsIdentity::read(files) {
        Ok(identity) => identity,
        Err(error) => return findings.problem(format!("`[listen.tls]`: {error}")),
    };
    let file = files.certificate.display();
    findings.good(format!("TLS: {file} and its key fit, until {}", identity.until()));
    for finding in identity.findings() {
        let words = format!("TLS: {file}: {finding}");
        if finding.is_fatal() { findings.problem(words) } else { findings.warning(words) }
    }
    // One that has ended is among the findings.
    let end = End::of_tls(&identity);
    if end.at >= now {
        end.warning(now).iter().for_each(|words| findings.warning(words));
    }
    if let Some(ca) = &files.client_ca {
        findings.good(format!("TLS: client certificates of the CA in {}", ca.display()));
    }
}

fn check_access(instance: &Instance, clock: &Arc<dyn Clock>, findings: &mut Findings) {
    let config = &instance.config;
    let signing = instance.ca.as_ref().map(|ca| &*ca.issuers);
    if let Err(error) = Entrance::of(config, signing, None, clock) {
        return findings.problem(output::in_full(&error));
    }
    match access::describe(&config.access) {
        (words, true) => findings.warning(format!("{words}: nobody can read yet")),
        (words, false) => findings.good(words),
    }
}

fn check_log(log: &LogRole, findings: &mut Findings) {
    let (name, origin) = (&log.config.name, log.config.origin.as_str());
    let key = match &log.speaks {
        Speaks::Ct { key, .. } | Speaks::RekorV1 { key, .. } => format!("{} key, ", key.public().kind()),
        Speaks::RekorV2 => String::new(),
    };
    let dialect = log.config.dialect.name();
    let ended = log.config.ended.as_ref().map(describe_end).unwrap_or_default();
    findings.good(format!("log `{name}`: {dialect}, origin {origin}, {key}Ed25519 checkpoints{ended}"));
    if let Some(missing) = log.missing_store() {
        findings.problem(format!(
            "log `{name}`: {} is missing: restore its newest copy, or make a new instance in another folder",
            missing.display()
        ));
    }
}

fn describe_end(ended: &EndedConfig) -> String {
    let reads = if ended.served { "served for reading" } else { "served no more" };
    let trust = if ended.trusted { "trusted until" } else { "trusted no more, ended" };
    format!("; ended with {} entries, {trust} {}, {reads}", ended.size, ended.until)
}

fn check_attestation_logs(instance: &Instance, findings: &mut Findings) {
    let v2 = instance.logs.iter().find(|log| matches!(log.speaks, Speaks::RekorV2) && log.config.is_active());
    let Some(LogRole { config: log, .. }) = v2 else { return };
    let url = log.url.as_ref().unwrap_or(&instance.config.url);
    if log.origin.as_str() != url.hostname() {
        findings.warning(format!(
            "log `{}`: its origin is {}, not the host of {url}: the trust files name it by its origin, which \
             clients never contact",
            log.name, log.origin
        ));
    }
    if instance.timestamp.is_none() && !instance.has_merged() {
        findings.warning(format!(
            "log `{}`: Rekor v2 says no time, and cosign refuses to sign to it without a timestamp authority: add \
             `[timestamp]`",
            log.name
        ));
    }
}

fn check_ca(instance: &Instance, findings: &mut Findings) {
    let Some(ca) = &instance.ca else { return };
    if let [issuing, ..] = ca.chain.as_slice() {
        let until = issuing.not_after();
        findings.good(format!("CA: {}, {} certificates, until {until}", issuing.subject(), ca.chain.len()));
    }
    check_others("CA", &ca.others, findings);
    for issuer in ca.issuers.issuers() {
        let (Location::Url(issuer_url) | Location::Pattern(issuer_url)) = &issuer.location;
        let policy = ca.policies().iter().find(|policy| policy.issuer() == issuer_url);
        findings.good(format!("issuer: {issuer_url} as {}; {}", issuer.type_name, describe_policy(policy)));
        if policy.is_some_and(ClaimPolicy::permits_any_tenant) {
            findings.warning(format!("issuer: anyone with a token of {issuer_url} gets a certificate"));
        }
        for warning in policy.iter().flat_map(|policy| policy.tenant_warnings(issuer)) {
            findings.warning(format!("chancery.toml: {warning}"));
        }
    }
    for warning in ca.policies().iter().flat_map(ClaimPolicy::warnings) {
        findings.warning(format!("chancery.toml: {warning}"));
    }
    for warning in ca.issuers.warnings() {
        findings.warning(format!("fulcio.yaml: {warning}"));
    }
}

fn describe_policy(policy: Option<&ClaimPolicy>) -> String {
    let rules: Vec<&str> = policy.into_iter().flat_map(ClaimPolicy::rules).collect();
    let permitted = match rules.len() {
        0 => "all its tokens".to_owned(),
        1 => format!("tokens by rule {}", rules.concat()),
        _ => format!("tokens by rules {}", rules.join(", ")),
    };
    let use_once =
        if policy.is_some_and(ClaimPolicy::is_single_use) { ", each for one certificate" } else { "" };
    permitted + use_once
}

fn check_timestamp_authority(instance: &Instance, findings: &mut Findings) {
    let Some(role) = &instance.timestamp else { return };
    if let [leaf, ..] = role.chain.as_slice() {
        let (subject, until) = (leaf.subject(), leaf.not_after());
        findings.good(format!(
            "timestamp authority: {subject}, {} certificates, until {until}",
            role.chain.len()
        ));
    }
    check_others("timestamp authority", &role.others, findings);
}

fn check_others(role: &str, chains: &OtherChains, findings: &mut Findings) {
    for chain in chains.identities(true) {
        findings.good(match (chain.past, chain.until) {
            (Some(name), Some(until)) => format!("{role}: chain `{name}` of the past, trusted until {until}"),
            _ => format!("{role}: the next chain, published since {}", chain.since),
        });
    }
}

fn check_tuf(instance: &Instance, clock: &dyn Clock, findings: &mut Findings) -> anyhow::Result<()> {
    let Some(role) = &instance.tuf else { return Ok(()) };
    let url = &instance.config.url;
    match tuf::identifier(&instance.config.dir) {
        Ok(Some(id)) => findings.good(format!("clients pin it with: chancery trust add {url} --sha256 {id}")),
        Ok(None) => findings.warning(
            "tuf/1.root.json is missing, and its SHA-256 is what clients pin the instance by: restore it from a copy",
        ),
        Err(error) => findings.problem(error.to_string()),
    }
    match role.inspect(&trust::documents(&instance.identity()?), clock.now()) {
        Ok(found) => {
            findings.good(found.summary);
            found.warnings.iter().for_each(|warning| findings.warning(warning));
        }
        Err(error) => findings.problem(error.to_string()),
    }
    Ok(())
}

/// What ends, and what has ended.
fn check_expiry(instance: &Instance, now: Timestamp, findings: &mut Findings) {
    expiry::of(instance).iter().filter_map(|end| end.warning(now)).for_each(|words| findings.warning(words));
}

/// What clients were told to trust has to stay, or go with a reason.
fn check_lost(instance: &Instance, findings: &mut Findings) -> anyhow::Result<()> {
    // A repository that cannot be read is a problem that `check_tuf` names.
    if instance.tuf.as_ref().is_some_and(|tuf| tuf.trusted_root().is_err()) {
        return Ok(());
    }
    for lost in instance.lost()? {
        findings.problem(format!(
            "{lost} (more was published): put its table or its times back into chancery.toml, or signatures that were made \
             under it do not verify. `withdrawn` there, or `export-trust --untrusted WHY` into trust/, says that this is meant"
        ));
    }
    Ok(())
}

fn check_memory(config: &Config, findings: &mut Findings) {
    if backup::refuse_backup(&config.dir).is_err() {
        findings.problem("this folder is a backup: `chancery-server restore` makes an instance of it");
    }
    match Memory::configured(config) {
        _ if config.logs.is_empty() => {}
        None => findings.warning(
            "no memory of heads on another disk: nothing here finds out that the folder is an old copy; see `[memory]`",
        ),
        Some(memory) if memory.is_made() => {
            findings.good(format!("heads are remembered in {}", memory.folder().display()));
        }
        Some(memory) => findings.problem(format!(
            "the memory of heads {} is not there: mount its disk, or make it with `chancery-server remember`",
            memory.folder().display()
        )),
    }
}

fn check_root_keys(config: &Config, findings: &mut Findings) {
    let names = std::fs::read_dir(config.dir.join("keys")).into_iter().flatten().flatten();
    let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<_> = names.filter(|name| is_root_key(name)).collect();
    names.sort_unstable();
    for name in names {
        findings
            .warning(format!("keys/{name} is on this machine: move it offline, the server never needs it"));
    }
}

fn check_environment(config: &Config, findings: &mut Findings) {
    config.unread_variables().iter().for_each(|unread| findings.warning(unread.to_string()));
}

/// The files under trust/ are for people to hand out; the server derives its own.
fn check_trust_files(instance: &Instance, findings: &mut Findings) -> anyhow::Result<()> {
    let mut current = 0;
    let mut documents = trust::documents(&instance.identity()?);
    // One that cannot be read is a problem that `check_tuf` names.
    documents.extend(instance.tuf.as_ref().and_then(|tuf| tuf.root_document().ok()));
    for document in documents {
        let path = instance.config.dir.join("trust").join(&*document.name);
        match std::fs::read_to_string(&path) {
            Ok(text) if text == document.text => current += 1,
            Ok(_) => findings.warning(format!(
                "trust/{} differs from what is served: renew it with `export-trust`",
                document.name
            )),
            Err(error) => findings.warning(format!("trust/{}: {error}", document.name)),
        }
    }
    findings.good(format!("{current} trust files are what is served"));
    Ok(())
}
