//! `trust add` and `trust show`.

use std::path::Path;

use chancery::instance::{Dialect, Expected, Instance, InstanceError, Without};
use chancery_tlog::clock::{Clock, Timestamp};
use chancery_tlog::trust::{Listed, TrustedLog};
use serde_json::{Value, json};
use url::Url;

use super::arguments::Trust;
use super::console::Console;
use super::{Failure, block_on, network};

/// What to do about an instance without a log.
const NO_LOG: &str = "if the instance's log is on another host, ask its operators for trust files of both (`chancery-server \
                      export-trust --merge`) and pin it again; if it has none by design, say `--no-log`";
/// What to do about an instance without a source of time.
const NO_SIGNED_TIME: &str = "ask its operators for a timestamp authority, or for trust files that name the one of another \
                              host; if there is none by design, say `--no-signed-time`";

pub(crate) fn run(
    command: &Trust,
    folder: &Path,
    console: &Console,
    clock: &dyn Clock,
) -> Result<(), Failure> {
    match command {
        Trust::Show => show(&pinned(folder)?, console, clock.now()),
        Trust::Add { url, sha256, replace, allow_public_instance } => {
            let now = clock.now();
            console.say(&format!("contacting {url}"));
            let instance = block_on(Instance::fetch(url, *allow_public_instance, now))?.map_err(explain)?;
            match sha256 {
                Some(expected) => instance.expect_fingerprint(expected).map_err(explain)?,
                None => warn_first_use(url, console),
            }
            let path = instance.pin(folder, *replace).map_err(explain)?;
            console.say(&format!("pinned in {}", path.display()));
            show(&instance, console, now)
        }
    }
}

/// The pinned instance, or the advice to pin one.
pub(crate) fn pinned(folder: &Path) -> Result<Instance, Failure> {
    Instance::load(folder).map_err(explain)?.ok_or_else(|| {
        Failure::could_not_run("no instance is pinned")
            .hint("pin one with `chancery trust add https://chancery.example.com --sha256 HEX`")
    })
}

fn warn_first_use(url: &Url, console: &Console) {
    let host = url.host_str().unwrap_or_default();
    console.say(&format!("trusting {host} on first use; compare the fingerprint below with its operators'"));
}

fn show(instance: &Instance, console: &Console, now: Timestamp) -> Result<(), Failure> {
    let trust = &instance.trust;
    let urls =
        |logs: &Listed<TrustedLog>| -> Vec<String> { logs.iter().map(|log| log.url.clone()).collect() };
    let authorities: Vec<String> = trust.authorities.iter().map(|ca| ca.anchor.subject()).collect();
    let stamps: Vec<String> = trust.timestamp_authorities.iter().map(|tsa| tsa.url.clone()).collect();
    let skipped: Vec<String> = trust.skipped().map(ToString::to_string).collect();
    let fingerprint = format!("sha256:{}", instance.fingerprint());
    if console.is_json() {
        let logs: Vec<Value> =
            trust.logs.iter().map(|log| json!({ "url": log.url, "dialect": Dialect::of(log) })).collect();
        return console.json(&json!({
            "url": instance.url(),
            "fingerprint": fingerprint,
            "pinnedAt": instance.pinned_at(),
            "certificateAuthorities": authorities,
            "certificateLogs": urls(&trust.ct_logs),
            "transparencyLogs": logs,
            "timestampAuthorities": stamps,
            "skipped": skipped,
        }));
    }
    let logs: Vec<String> =
        trust.logs.iter().map(|log| format!("{} ({})", log.url, Dialect::of(log))).collect();
    console.line(&format!("instance           {}", instance.url()))?;
    console.line(&format!("fingerprint        {fingerprint}"))?;
    console.line(&format!("pinned at          {}", instance.pinned_at()))?;
    console.line(&format!("authorities        {}", authorities.join("; ")))?;
    console.line(&format!("certificate logs   {}", urls(&trust.ct_logs).join(", ")))?;
    console.line(&format!("transparency logs  {}", logs.join(", ")))?;
    console.line(&format!("timestamps by      {}", stamps.join(", ")))?;
    console.line(&format!("signatures go to   {}", destination(instance, now)))?;
    skipped.iter().try_for_each(|member| console.line(&format!("cannot be used     {member}")))
}

/// The logs and timestamp authorities that `sign` and `attest` would use now.
fn destination(instance: &Instance, now: Timestamp) -> String {
    let services = match instance.services_for_signing(now, Without::default()) {
        Ok(services) => services,
        Err(why) => return format!("nobody: {why}"),
    };
    let logs = services.logs.iter().map(|log| format!("{} ({})", log.url, log.dialect));
    let stamps = services.timestamp_authorities.iter().map(|url| format!("{url} (timestamp)"));
    let destinations: Vec<String> = stamps.chain(logs).collect();
    destinations.join(", ")
}

/// An instance's failure with what to do about it.
pub(crate) fn explain(error: InstanceError) -> Failure {
    let hint = match &error {
        InstanceError::AlreadyPinned { .. } => {
            Some("check with its operators, then repeat with `--replace`".to_owned())
        }
        InstanceError::Guard(guard) => super::signing::guard_hint(guard).map(str::to_owned),
        InstanceError::Damaged { path, .. } => {
            Some(format!("remove `{}` and pin the instance again with `chancery trust add`", path.display()))
        }
        InstanceError::Fingerprint { .. } => {
            Some("the configuration changed, or someone stands in between; ask its operators".to_owned())
        }
        InstanceError::NoLog(_) => Some(NO_LOG.to_owned()),
        InstanceError::NoSignedTime => Some(NO_SIGNED_TIME.to_owned()),
        InstanceError::Expected(Expected::Log) => Some("leave `--no-log` out".to_owned()),
        InstanceError::Expected(Expected::SignedTime) => Some("leave `--no-signed-time` out".to_owned()),
        _ => None,
    };
    match hint {
        Some(hint) => Failure::could_not_run(error).hint(hint),
        None => network::failure(error),
    }
}
