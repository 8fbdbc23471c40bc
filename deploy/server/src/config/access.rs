//! `[access]`: who may read the sealed zone, where entries and with them names are.
//!
//! Invariant: where others than this machine can come in, somebody has chosen. There is no silent default. A choice that
//! is not filled in yet (no token, no rule, no CA) lets nobody in.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use chancery_tlog::serve::ListenSettings;
use chancery_tlog::serve::cors::Origins;
use serde::Deserialize;

use super::{BaseUrl, ConfigError};

/// File of reader tokens, if none is named.
const TOKENS: &str = "readers";
/// File of the client CA, if none is named.
const CLIENT_CA: &str = "readers-ca.pem";
/// The audience of tokens for signing, which every Sigstore client asks for.
const SIGNING_AUDIENCE: &str = "sigstore";
/// What the choices mean, for whoever has not made one.
const CHOICES: &str = "say who may read entries, which hold repository names and e-mail addresses: an `[access]` table \
    with `entries = \"token\"` (readers show a token that you give them), \"oidc\" (an ID token of your identity \
    provider), \"mtls\" (a client certificate of your CA) or \"open\" (whoever reaches the listener)";

/// Who may read entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Whoever reaches the listener.
    Open,
    /// Whoever has a token that this file lists.
    Token(PathBuf),
    /// Whoever has an ID token that one of the rules takes.
    Oidc(OidcAccess),
    /// Whoever has a client certificate of the authorities in this file.
    Mtls(PathBuf),
}

/// Which ID tokens open the sealed zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OidcAccess {
    /// `aud` of the tokens.
    pub(crate) audience: String,
    /// Any one of these is enough.
    pub(crate) readers: Vec<ReaderRule>,
}

/// ID tokens of one kind of reader.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReaderRule {
    /// `iss`, exactly.
    pub(crate) issuer: String,
    /// Pattern of `sub`.
    pub(crate) subject: Option<String>,
    /// Patterns of other claims, all of which must match.
    #[serde(default)]
    pub(crate) claims: BTreeMap<String, String>,
}

/// The table as it is written. Tables of choices that were not made are checked for their form and else left alone.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Section {
    entries: Entries,
    #[serde(default)]
    origins: Vec<String>,
    tokens: Option<PathBuf>,
    oidc: Option<OidcSection>,
    mtls: Option<MtlsSection>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Entries {
    Open,
    Token,
    Oidc,
    Mtls,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct OidcSection {
    audience: Option<String>,
    #[serde(default)]
    readers: Vec<ReaderRule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MtlsSection {
    ca: PathBuf,
}

/// Whether others than this machine can come in, directly or by a proxy.
pub(crate) fn is_exposed(listen: &ListenSettings, url: &BaseUrl) -> bool {
    let here = listen.addresses().all(|address| address.ip().to_canonical().is_loopback());
    !(here && url.is_loopback())
}

impl Section {
    /// Origins whose web pages may read entries.
    pub(super) fn origins(&self) -> Result<Origins, ConfigError> {
        Origins::parse(&self.origins).map_err(|error| ConfigError::value("access.origins", error.to_string()))
    }
}

/// The operator's choice. Files are named from the folder `dir`.
pub(super) fn choose(
    section: Option<Section>,
    listen: &ListenSettings,
    url: &BaseUrl,
    dir: &Path,
) -> Result<Access, ConfigError> {
    let Some(section) = section else {
        return if is_exposed(listen, url) {
            Err(ConfigError::value("access", CHOICES))
        } else {
            Ok(Access::Open)
        };
    };
    match section.entries {
        Entries::Open => Ok(Access::Open),
        Entries::Token => Ok(Access::Token(dir.join(section.tokens.as_deref().unwrap_or(Path::new(TOKENS))))),
        Entries::Oidc => oidc(section.oidc.unwrap_or_default(), url).map(Access::Oidc),
        Entries::Mtls => {
            let file = section.mtls.map_or_else(|| PathBuf::from(CLIENT_CA), |section| section.ca);
            Ok(Access::Mtls(dir.join(file)))
        }
    }
}

fn oidc(section: OidcSection, url: &BaseUrl) -> Result<OidcAccess, ConfigError> {
    let everyone = |rule: &&ReaderRule| rule.subject.is_none() && rule.claims.is_empty();
    if let Some(rule) = section.readers.iter().find(everyone) {
        let problem = format!(
            "everyone with a token of {} would be a reader: name a `subject` or `claims`, or write \
             `subject = \"*\"` if that is what you want",
            rule.issuer
        );
        return Err(ConfigError::value("access.oidc.readers", problem));
    }
    let audience = section.audience.unwrap_or_else(|| url.to_string());
    if audience == SIGNING_AUDIENCE {
        let problem = "\"sigstore\" is the audience of tokens for signing, which must not open entries: use the \
            address of this instance";
        return Err(ConfigError::value("access.oidc.audience", problem));
    }
    Ok(OidcAccess { audience, readers: section.readers })
}
