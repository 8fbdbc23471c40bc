//! The first line of the log: which program serves what, and what of it ends next.

use crate::build;
use crate::compose::Opened;
use crate::expiry::End;
use crate::roles::Instance;

/// Logs it.
pub(super) fn log(Opened { instance, logs, .. }: &Opened, ends: &[End]) {
    let sizes: Vec<_> =
        logs.iter().map(|log| format!("{} {}", log.config.name, log.log.head().size)).collect();
    let next = ends.iter().min_by_key(|end| end.at);
    tracing::info!(
        version = build::VERSION,
        commit = build::COMMIT,
        url = %instance.config.url,
        roles = roles(instance).join(" "),
        log_sizes = sizes.join(", "),
        issuers = instance.ca.as_ref().map(|ca| ca.issuers.issuers().count()),
        next_end = next.map(|end| format!("{} ({})", end.at, end.what)),
        "chancery-server starts"
    );
}

fn roles(instance: &Instance) -> Vec<&'static str> {
    let others = [
        (instance.ca.is_some(), "ca"),
        (instance.timestamp.is_some(), "timestamp"),
        (instance.tuf.is_some(), "tuf"),
    ];
    let logs = instance.logs.iter().filter(|log| log.config.is_served()).map(|log| log.config.dialect.name());
    let mut roles: Vec<_> =
        others.into_iter().filter_map(|(has, name)| has.then_some(name)).chain(logs).collect();
    roles.sort_unstable();
    roles.dedup();
    roles
}
