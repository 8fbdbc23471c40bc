//! Differences between the configuration that runs and its file as it is now: what a reload takes over, and what needs a
//! restart.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Access, Config};

/// Keys that a reload takes over, with all that is below them. The rest is bound to sockets, stores and keys that are open.
const RELOADED: [&str; 7] = [
    "access",
    "logging.filter",
    "ca.issuers",
    "ca.development",
    "ca.policy",
    "listen.tls.certificate",
    "listen.tls.key",
];

/// Keys that are written differently.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes(BTreeSet<String>);

impl Changes {
    /// Between two configurations.
    pub(crate) fn between(one: &Config, other: &Config) -> Self {
        let mut keys = BTreeSet::new();
        collect("", Some(&one.written), Some(&other.written), &mut keys);
        Self(keys)
    }

    /// Those that a reload does not take over.
    pub(crate) fn of_next_start(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str).filter(|key| !is_reloaded(key))
    }

    /// Whether something at or below this key differs.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.0.iter().any(|changed| is_within(changed, key))
    }
}

impl Config {
    /// The configuration after a reload: what `new` says wherever that can be taken over, and what runs elsewhere.
    pub(crate) fn taking_over(&self, new: &Self) -> Self {
        let mut config = self.clone();
        config.access.clone_from(&new.access);
        // The default is the address of the instance, which stays.
        if let Access::Oidc(access) = &mut config.access
            && access.audience == new.url.to_string()
        {
            access.audience = self.url.to_string();
        }
        config.origins.clone_from(&new.origins);
        config.log_filter.clone_from(&new.log_filter);
        if let (Some(ca), Some(new)) = (&mut config.ca, &new.ca) {
            ca.issuers.clone_from(&new.issuers);
            ca.policy.clone_from(&new.policy);
            ca.development = new.development;
        }
        if let (Some(tls), Some(new)) = (&mut config.listen.tls, &new.listen.tls) {
            tls.certificate.clone_from(&new.certificate);
            tls.key.clone_from(&new.key);
        }
        if let Some(tls) = &mut config.listen.tls {
            tls.client_ca = match &config.access {
                Access::Mtls(ca) => Some(ca.clone()),
                _ => None,
            };
        }
        config.written.clone_from(&new.written);
        config
    }
}

fn is_reloaded(key: &str) -> bool {
    RELOADED.iter().any(|reloaded| is_within(key, reloaded))
}

/// Whether `key` is `table` or below it.
fn is_within(key: &str, table: &str) -> bool {
    key.strip_prefix(table).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Adds the paths of all values that differ. Lists are compared as a whole.
fn collect(path: &str, one: Option<&Value>, other: Option<&Value>, keys: &mut BTreeSet<String>) {
    if one == other {
        return;
    }
    let empty = serde_json::Map::new();
    let table = |value: Option<&'_ Value>| value.is_none_or(Value::is_object);
    if !(table(one) && table(other)) || (one.is_none() && other.is_none()) {
        keys.insert(path.to_owned());
        return;
    }
    let (one, other) = (
        one.and_then(Value::as_object).unwrap_or(&empty),
        other.and_then(Value::as_object).unwrap_or(&empty),
    );
    for key in one.keys().chain(other.keys()).collect::<BTreeSet<_>>() {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        collect(&path, one.get(key), other.get(key), keys);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const BEFORE: &str = r#"
url = "https://sigstore.example.com"
[listen]
address = "127.0.0.1:8080"
[access]
entries = "oidc"
[timestamp]
chain = "tsa.pem"
key = "tsa.key"
since = "2026-09-21T14:13:20Z"
"#;

    fn config(text: &str) -> Config {
        Config::parse(Path::new("/instance"), text).unwrap()
    }

    #[test]
    fn changed_keys_are_named_and_told_apart() {
        let after = BEFORE.replace("8080", "8081").replace(
            "[timestamp]",
            "[limits]\nmax_body = 8000000\n[logging]\nfilter = \"debug\"\njson = true\n[timestamp]",
        );
        let (before, after) = (config(BEFORE), config(&after));
        assert_eq!(Changes::between(&before, &before), Changes::default());
        let changes = Changes::between(&before, &after);
        assert_eq!(
            changes.of_next_start().collect::<Vec<_>>(),
            ["limits.max_body", "listen.address", "logging.json"]
        );
        assert!(changes.has("logging.filter") && changes.has("listen") && !changes.has("access"));
        let running = before.taking_over(&after);
        assert_eq!(running.listen.address, before.listen.address);
        assert_eq!(running.log_filter, after.log_filter);
        assert!(!running.json_logs);
    }

    #[test]
    fn what_is_derived_from_the_address_stays_with_it() {
        let moved = config(&BEFORE.replace("sigstore.example.com", "other.example.com"));
        let before = config(BEFORE);
        let running = before.taking_over(&moved);
        assert_eq!(running.access, before.access);
        assert_eq!(running.url, before.url);
    }
}
