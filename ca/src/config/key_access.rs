//! How an issuer's keys are reached where its public documents are not enough. Fulcio ignores these keys of
//! the file.
//!
//! A cluster's discovery document often names `jwks_uri` at the API server's address, and wants a bearer
//! token; a cluster behind a firewall has no discovery that this server could reach. All three are the
//! operator's decision, by issuer.

use std::fmt;
use std::path::PathBuf;

use url::Url;

use super::document::Section;
use super::{ConfigError, Location};

/// Most entries of `jwks-hosts`.
const MAX_HOSTS: usize = 16;

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    host: String,
    port: u16,
}

impl Authority {
    /// Of a URL with a host and a port, its own or that of its scheme.
    pub(crate) fn of(url: &Url) -> Option<Self> {
        let host = url.host_str().filter(|host| !host.is_empty())?;
        Some(Self { host: host.to_owned(), port: url.port_or_known_default()? })
    }

    /// Reads `host`, `host:port` or `[address]:port`; without a port it is 443.
    fn parse(text: &str) -> Option<Self> {
        let url = Url::parse(&format!("https://{text}/")).ok()?;
        let plain = !text.contains(['/', '?', '#', '@', '\\']) && !text.contains(char::is_whitespace);
        if plain { Self::of(&url) } else { None }
    }

    /// The host.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// Whether this is the usual port of https on `host`.
    pub(crate) fn is_https_on(&self, host: &str) -> bool {
        self.port == 443 && self.host == host
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// The way to an issuer's keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyAccess {
    /// `jwks-hosts`: hosts and ports besides the issuer's own on which `jwks_uri` may be.
    pub jwks_hosts: Vec<Authority>,
    /// `bearer-token-file`: a token that is sent to the issuer and to `jwks_hosts`.
    pub bearer_token_file: Option<PathBuf>,
    /// `jwks-file`: the keys themselves. Nothing is fetched then.
    pub jwks_file: Option<PathBuf>,
}

/// Takes the three keys out of an issuer's section.
pub(super) fn read(section: &mut Section, location: &Location) -> Result<KeyAccess, ConfigError> {
    let at = section.at().to_owned();
    let hosts = section.texts("jwks-hosts")?;
    if hosts.len() > MAX_HOSTS {
        return Err(ConfigError::at(at, format!("`jwks-hosts` has more than {MAX_HOSTS} entries")));
    }
    let host = |text: &String| {
        Authority::parse(text).ok_or_else(|| {
            ConfigError::at(
                &at,
                format!("`jwks-hosts`: `{text}` is not `host`, `host:port` or `[address]:port`"),
            )
        })
    };
    let jwks_hosts = hosts.iter().map(host).collect::<Result<_, _>>()?;
    let bearer_token_file = file(section, "bearer-token-file")?;
    let jwks_file = file(section, "jwks-file")?;
    let for_one = bearer_token_file.is_some() || jwks_file.is_some();
    if for_one && matches!(location, Location::Pattern(_)) {
        let problem = "`bearer-token-file` and `jwks-file` are for one issuer, and a pattern stands for many: write the \
                       issuer under `oidc-issuers`";
        return Err(ConfigError::at(at, problem));
    }
    if jwks_file.is_some() && (bearer_token_file.is_some() || !hosts.is_empty()) {
        let problem = "with `jwks-file` nothing is fetched: remove `bearer-token-file` and `jwks-hosts`";
        return Err(ConfigError::at(at, problem));
    }
    Ok(KeyAccess { jwks_hosts, bearer_token_file, jwks_file })
}

fn file(section: &mut Section, name: &str) -> Result<Option<PathBuf>, ConfigError> {
    let text = section.text(name)?;
    if text.is_empty() {
        return Ok(None);
    }
    let path = PathBuf::from(text);
    if !path.is_absolute() {
        return Err(ConfigError::at(section.at(), format!("`{name}` must be an absolute path")));
    }
    Ok(Some(path))
}
