//! The `[[log]]` of a new log: its identity, and its place in `chancery.toml`.

use chancery_tlog::clock::Timestamp;
use chancery_tlog::key::KeyKind;
use rand::Rng as _;

use crate::config::BaseUrl;

/// A new log before it is made.
pub(super) struct Section {
    /// Its name.
    pub(super) name: String,
    dialect: &'static str,
    origin: String,
    since: Timestamp,
    /// Where its paths begin, unless they are fixed.
    prefix: Option<String>,
    /// Name in v1 checkpoints.
    hostname: Option<String>,
    url: Option<BaseUrl>,
}

impl Section {
    /// A log whose paths begin at `prefix`.
    pub(super) fn under_prefix(
        dialect: &'static str,
        name: String,
        since: Timestamp,
        url: &BaseUrl,
        prefix: String,
    ) -> Self {
        let origin = format!("{}{prefix}", url.authority());
        let hostname = (dialect == "rekor-v1").then(|| url.host().to_owned());
        Self { name, dialect, origin, since, prefix: Some(prefix), hostname, url: None }
    }

    /// A log with fixed paths at `host`, which is that of `url` or of the instance.
    pub(super) fn rekor_v2(name: String, since: Timestamp, url: Option<BaseUrl>, host: &str) -> Self {
        let origin = host.to_owned();
        Self { name, dialect: "rekor-v2", origin, since, prefix: None, hostname: None, url }
    }

    /// Its keys, with the paths that the text names.
    pub(super) fn keys(&self) -> Vec<(String, KeyKind)> {
        let name = &self.name;
        let checkpoint = (format!("keys/{name}.checkpoint.key"), KeyKind::Ed25519);
        let face = self.prefix.as_ref().map(|_| (format!("keys/{name}.key"), KeyKind::EcdsaP256));
        face.into_iter().chain([checkpoint]).collect()
    }

    /// The table, with a word about where it comes from.
    pub(super) fn toml(&self) -> String {
        let Self { name, dialect, origin, .. } = self;
        let since = self.since.to_rfc3339();
        let mut lines = vec![
            format!("\n# Added on {since} by `chancery-server add-log`."),
            "[[log]]".to_owned(),
            format!("name = {name:?}"),
            format!("dialect = {dialect:?}"),
            format!("origin = {origin:?}"),
        ];
        lines.extend(self.url.as_ref().map(|url| {
            format!("# Its own address: the host chooses among the logs of this dialect.\nurl = \"{url}\"")
        }));
        lines.extend(
            self.prefix.as_ref().map(|prefix| format!("prefix = {prefix:?}\nkey = \"keys/{name}.key\"")),
        );
        lines.push(format!("checkpoint_key = \"keys/{name}.checkpoint.key\""));
        lines.push(format!("since = {since:?}"));
        if let Some(hostname) = &self.hostname {
            // Rekor's ids are 16 hex digits of a positive 64-bit number; short ones would look odd and collide.
            let tree_id = rand::rng().random_range(1_u64 << 60..1_u64 << 63);
            lines.push(format!("hostname = {hostname:?}\ntree_id = {tree_id}"));
        }
        lines.join("\n") + "\n"
    }

    /// What only the operator can do for it.
    pub(super) fn advice(&self) -> Option<String> {
        let url = self.url.as_ref()?;
        Some(format!(
            "clients write to {url}: point that name here, let the TLS certificate have it too, and let a proxy in front \
             pass `Host` on"
        ))
    }
}
