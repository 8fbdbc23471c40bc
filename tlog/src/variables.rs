//! The environment variables that the programs read, and those that look as if one of them did.
//!
//! Every variable of ours begins with `CHANCERY_`. One that no program reads is a mistake of spelling, and would be passed
//! over in silence: the server and the client report it.

/// What the name of each variable begins with.
const PREFIX: &str = "CHANCERY_";
/// Beginnings of names that are for tests alone.
const FOR_TESTS: &str = "CHANCERY_TEST_";

/// Tables and keys of the server's configuration that variables may set. What follows in a variable's name after a table and
/// two underscores is a key in it, which the server checks.
pub const TABLES: [&str; 13] = [
    "url",
    "passphrase",
    "group_readable_keys",
    "listen",
    "limits",
    "access",
    "logging",
    "ca",
    "timestamp",
    "tuf",
    "memory",
    "imported",
    "merged",
];

/// Variables without the prefix that are no keys of the configuration: of the log, the client, the build, the sample
/// workflow and the quickstart.
const OTHERS: [&str; 7] =
    ["LOG", "CONFIG_DIR", "URL", "SHA256", "COMMIT", "QUICKSTART_SERVER", "QUICKSTART_ISSUER"];

/// Keys in tables, for suggestions.
const KEYS: [&str; 51] = [
    "LISTEN__ADDRESS",
    "LISTEN__ALSO",
    "LISTEN__METRICS",
    "LISTEN__BEHIND_PROXY",
    "LISTEN__PROXIES",
    "LISTEN__FORWARDED_HEADER",
    "LISTEN__TLS__CERTIFICATE",
    "LISTEN__TLS__KEY",
    "LIMITS__MAX_CONNECTIONS",
    "LIMITS__MAX_REQUESTS",
    "LIMITS__MAX_BODY",
    "LIMITS__MAX_BODIES",
    "LIMITS__MAX_BODY_BYTES",
    "LIMITS__MAX_UNREAD_BYTES",
    "LIMITS__HEADER_TIMEOUT",
    "LIMITS__BODY_TIMEOUT",
    "LIMITS__MIN_RATE",
    "LIMITS__REQUEST_TIMEOUT",
    "LIMITS__IDLE_TIMEOUT",
    "LIMITS__SHUTDOWN_GRACE",
    "LIMITS__PER_ADDRESS__CONNECTIONS",
    "LIMITS__PER_ADDRESS__REQUESTS",
    "LIMITS__PER_ADDRESS__READS",
    "LIMITS__PER_ADDRESS__BODIES",
    "LIMITS__PER_ADDRESS__BODY_BYTES",
    "LIMITS__PER_ADDRESS__UNREAD_BYTES",
    "LIMITS__RATES__WRITES_PER_ADDRESS",
    "LIMITS__RATES__READS_PER_ADDRESS",
    "LIMITS__RATES__WRITES_PER_IDENTITY",
    "ACCESS__ENTRIES",
    "ACCESS__TOKENS",
    "ACCESS__ORIGINS",
    "ACCESS__OIDC__AUDIENCE",
    "ACCESS__OIDC__READERS",
    "ACCESS__MTLS__CA",
    "LOGGING__JSON",
    "LOGGING__FILTER",
    "CA__CHAIN",
    "CA__KEY",
    "CA__ISSUERS",
    "CA__DEVELOPMENT",
    "CA__POLICY",
    "CA__ISSUANCE_LOG__URL",
    "CA__ISSUANCE_LOG__KEY",
    "CA__SINCE",
    "TIMESTAMP__CHAIN",
    "TIMESTAMP__KEY",
    "TIMESTAMP__POLICY",
    "TIMESTAMP__SINCE",
    "TUF__KEY",
    "MEMORY__PATH",
];

/// A variable that no program reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    /// Its name.
    pub name: String,
    /// The name that may be meant.
    pub meant: Option<String>,
}

impl std::fmt::Display for Unread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = crate::certificate::printable(&self.name);
        write!(f, "the environment variable {name} is read by no program of Chancery")?;
        match &self.meant {
            Some(meant) => write!(f, ": is {meant} meant?"),
            None => Ok(()),
        }
    }
}

/// Those of these variables that nobody reads, in alphabetical order; `more` are names that are read besides.
pub fn unread(names: impl IntoIterator<Item = String>, more: &[&str]) -> Vec<Unread> {
    let ours =
        |name: &String| name.get(..PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(PREFIX));
    let mut unread: Vec<_> = names
        .into_iter()
        .filter(ours)
        .filter(|name| !is_read(name) && !more.contains(&name.as_str()))
        .map(|name| Unread { meant: nearest(&name), name })
        .collect();
    unread.sort_by(|a, b| a.name.cmp(&b.name));
    unread
}

fn is_read(name: &str) -> bool {
    let key = &name[PREFIX.len()..];
    let table = key.split("__").next().unwrap_or_default();
    name.starts_with(FOR_TESTS)
        || OTHERS.contains(&key)
        || TABLES.iter().any(|known| known.eq_ignore_ascii_case(table))
}

/// The known name that is most like this one, if one is like it.
fn nearest(name: &str) -> Option<String> {
    let plain = |name: &str| name.to_ascii_uppercase().replace('_', "");
    let wanted = plain(&name[PREFIX.len()..]);
    let known = KEYS.iter().chain(&OTHERS).map(|key| (strsim::osa_distance(&plain(key), &wanted), key));
    let (distance, key) = known.min()?;
    (distance <= wanted.len().div_ceil(4)).then(|| format!("{PREFIX}{key}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is reported of one variable.
    fn reported(name: &str) -> Option<Unread> {
        unread([name.to_owned()], &["CHANCERY_SECRET"]).pop()
    }

    #[test]
    fn a_misspelled_variable_is_found_with_the_name_that_is_meant() {
        for (name, suggestion) in [
            ("CHANCERY_LISTEN_ADDRESS", "CHANCERY_LISTEN__ADDRESS"),
            ("CHANCERY_LSTEN__ADRESS", "CHANCERY_LISTEN__ADDRESS"),
            ("CHANCERY_CONFIGDIR", "CHANCERY_CONFIG_DIR"),
            ("CHANCERY_LOGS", "CHANCERY_LOG"),
            ("CHANCERY_LOGING__JSON", "CHANCERY_LOGGING__JSON"),
            ("CHANCERY_LIMIT__MAX_BODY", "CHANCERY_LIMITS__MAX_BODY"),
        ] {
            assert_eq!(reported(name).unwrap().meant.as_deref(), Some(suggestion), "{name}");
        }
        assert_eq!(reported("CHANCERY_SOMETHING_ELSE_ENTIRELY").unwrap().meant, None);
    }

    #[test]
    fn variables_that_are_read_and_those_of_others_are_left_alone() {
        for name in [
            "CHANCERY_LISTEN__ADDRESS",
            "chancery_listen__address",
            "CHANCERY_LOG",
            "CHANCERY_CONFIG_DIR",
            "CHANCERY_URL",
            "CHANCERY_TEST_LIMIT",
            "CHANCERY_SECRET",
            "PATH",
            "",
            "XCHANCERY_LOGS",
        ] {
            assert_eq!(reported(name), None, "{name}");
        }
    }
}
