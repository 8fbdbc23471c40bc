//! `trust add`, `trust update` and `trust show`, and the update before signing.

mod members;

use std::path::Path;
use std::time::Duration;

use chancery::guard::Contact;
use chancery::instance::{Expected, Instance, InstanceError, Without};
use chancery_tlog::clock::{Clock, Timestamp};
use serde_json::{Value, json};
use url::Url;

use self::members::Members;
use super::arguments::Trust;
use super::console::Console;
use super::{Failure, block_on, network};

/// What to do about an instance without a log.
const NO_LOG: &str = "if the instance's log is on another host, ask its operators for trust files of both (`chancery-server \
                      export-trust --merge`) and pin it again; if it has none by design, say `--no-log`";
/// What to do about an instance without a source of time.
const NO_SIGNED_TIME: &str = "ask its operators for a timestamp authority, or for trust files that name the one of another \
                              host; if there is none by design, say `--no-signed-time`";

/// A signature asks for changes of trust once in this time: a job that signs a hundred files asks once.
const PERIOD: Duration = Duration::from_mins(10);
/// How long a signature waits for the answer before it goes on with what is pinned.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn run(
    command: &Trust,
    folder: &Path,
    console: &Console,
    clock: &dyn Clock,
) -> Result<(), Failure> {
    let now = clock.now();
    match command {
        Trust::Show => show(&pinned(folder)?, console, now),
        Trust::Add { url, sha256, replace, allow_public_instance } => {
            console.say(&format!("contacting {url}"));
            let fetched = Instance::fetch(url, sha256.as_deref(), *allow_public_instance, now);
            let instance = block_on(fetched)?.map_err(explain)?;
            // One that cannot be read is named when this one is to take its place.
            let before = Instance::load(folder).ok().flatten().filter(|pinned| pinned.is(&instance));
            let instance = match &before {
                // What it showed before is remembered, so that it cannot go back.
                Some(pinned) if pinned.is_followed() => {
                    let pinned = pinned.at_address_of(&instance);
                    block_on(pinned.update(*allow_public_instance, now))?.map_err(explain)?.0
                }
                _ => instance,
            };
            if sha256.is_none() && before.is_none() {
                warn_first_use(url, console);
            }
            let path = instance.pin(folder, *replace).map_err(explain)?;
            console.say(&format!("pinned in {}", path.display()));
            show(&instance, console, now)
        }
        Trust::Update { allow_public_instance } => {
            let pinned = pinned(folder)?;
            console.say(&format!("contacting {}", pinned.url()));
            let (instance, _) = block_on(pinned.update(*allow_public_instance, now))?.map_err(explain)?;
            instance.pin(folder, false).map_err(explain)?;
            tell_changes(&pinned, &instance, console, now);
            show(&instance, console, now)
        }
    }
}

fn tell_changes(before: &Instance, later: &Instance, console: &Console, now: Timestamp) {
    let changes = Members::of(before).changes(&Members::of(later), now);
    match changes.as_slice() {
        [] => console.say("trust has not changed"),
        changes => {
            console.say(&format!("trust of {} has changed", later.url()));
            for change in changes {
                console.say(&format!("  {change}"));
            }
        }
    }
}

/// The pinned instance with what it trusts now, if it can be asked, and who was contacted for that.
///
/// A repository that cannot be reached, or that nobody renews, costs a warning: what is pinned still holds. One that is
/// forged ends the command before there is a token.
pub(crate) fn current(
    folder: &Path,
    allow_public: bool,
    console: &Console,
    clock: &dyn Clock,
) -> Result<(Instance, Vec<Contact>), Failure> {
    let (pinned, now) = (pinned(folder)?, clock.now());
    if !pinned.is_due(PERIOD, now) {
        return Ok((pinned, Vec::new()));
    }
    let update = async { tokio::time::timeout(PATIENCE, pinned.update(allow_public, now)).await };
    let why = match block_on(update)? {
        Ok(Ok((instance, contacts))) => {
            if Members::of(&pinned) != Members::of(&instance) {
                tell_changes(&pinned, &instance, console, now);
            }
            if let Err(error) = instance.pin(folder, false) {
                console.say(&format!("what the instance trusts now is used, and not kept: {error}"));
            }
            return Ok((instance, contacts));
        }
        Ok(Err(error @ InstanceError::Tuf(_))) => return Err(explain(error)),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {} s", PATIENCE.as_secs()),
    };
    let since = pinned.checked_at().map(|at| format!(" of {at}")).unwrap_or_default();
    console.say(&format!(
        "cannot ask {} whether trust has changed, going on with that{since}: {why}",
        pinned.url()
    ));
    Ok((pinned, Vec::new()))
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
    console.say(&format!("trusting {host} on first use; compare the identifier below with its operators'"));
}

fn show(instance: &Instance, console: &Console, now: Timestamp) -> Result<(), Failure> {
    let (members, id) = (Members::of(instance), format!("sha256:{}", instance.id()));
    let skipped: Vec<String> = instance.trust.skipped().map(ToString::to_string).collect();
    let checked = instance.checked_at().map(Timestamp::to_rfc3339);
    if console.is_json() {
        let mut document = serde_json::to_value(&members).map_err(Failure::could_not_run)?;
        document["url"] = instance.url().into();
        document["identifier"] = id.into();
        document["pinnedAt"] = instance.pinned_at().into();
        document["checkedAt"] = checked.map_or(Value::Null, Value::from);
        document["skipped"] = json!(skipped);
        return console.json(&document);
    }
    console.line(&format!("instance           {}", instance.url()))?;
    console.line(&format!("identifier         {id}"))?;
    console.line(&format!("pinned at          {}", instance.pinned_at()))?;
    let follows =
        checked.unwrap_or_else(|| "never: it has no TUF repository, or was pinned by a file".to_owned());
    console.line(&format!("changes read at    {follows}"))?;
    members.iter().try_for_each(|member| console.line(&member.line(now)))?;
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
        InstanceError::Changed { .. } | InstanceError::Fixed { .. } => Some(
            "ask its operators for the instance's identifier, and pin it with `chancery trust add URL --sha256 HEX \
             --replace`; later changes are followed then"
                .to_owned(),
        ),
        InstanceError::Guard(guard) => super::signing::guard_hint(guard).map(str::to_owned),
        InstanceError::Damaged { path, .. } => {
            Some(format!("remove `{}` and pin the instance again with `chancery trust add`", path.display()))
        }
        InstanceError::Identifier { .. } => Some(
            "either this is another instance, or the identifier is an old fingerprint of its configuration; ask its operators"
                .to_owned(),
        ),
        InstanceError::Tuf(_) => Some(
            "nothing was changed; someone stands in between, or the instance was made anew or restored: ask its operators"
                .to_owned(),
        ),
        InstanceError::TufEnded { .. } => {
            Some("is this machine's clock right? Else its operators have to sign it: `chancery-server tuf sign`".to_owned())
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
