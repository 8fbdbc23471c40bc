//! From the document to the model, with Fulcio's load-time rules (`validateConfig`) and ours.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chancery_tlog::fulcio;
use serde_json::{Map, Value};
use url::Url;

use super::document::{self, Section, Spelling};
use super::{ConfigError, Issuer, IssuerConfig, IssuerKind, IssuerUrl, Location, Pattern, key_access};
use crate::template::{Provider, Template, forge, shipped};

/// Providers by name.
type Providers = BTreeMap<String, Arc<Provider>>;

pub(super) fn read(text: &str) -> Result<IssuerConfig, ConfigError> {
    let (fields, spelling) = document::parse(text)?;
    let mut top = Section::new("configuration", fields, spelling);
    let mut warnings = Vec::new();
    let providers = read_providers(top.map("ci-issuer-metadata")?, spelling, &mut warnings)?;
    let mut reader = Reader { spelling, providers, warnings };
    let issuers = reader.static_issuers(top.map("oidc-issuers")?)?;
    let meta = reader.meta_issuers(top.map("meta-issuers")?)?;
    // `define` is where Fulcio's own file keeps its YAML anchors; it is expected and means nothing.
    let _ = top.map("define");
    top.finish(&mut reader.warnings);
    if issuers.is_empty() && meta.is_empty() {
        return Err(ConfigError::NoIssuers);
    }
    Ok(IssuerConfig { issuers, meta, warnings: reader.warnings })
}

/// Reads only `ci-issuer-metadata`, for the templates that this crate ships.
pub(crate) fn read_provider_file(text: &str) -> Result<Providers, ConfigError> {
    let (fields, spelling) = document::parse(text)?;
    let mut top = Section::new("configuration", fields, spelling);
    read_providers(top.map("ci-issuer-metadata")?, spelling, &mut Vec::new())
}

struct Reader {
    spelling: Spelling,
    providers: Providers,
    warnings: Vec<String>,
}

impl Reader {
    fn static_issuers(
        &mut self,
        entries: Map<String, Value>,
    ) -> Result<BTreeMap<String, Arc<Issuer>>, ConfigError> {
        let mut issuers = BTreeMap::new();
        for (key, value) in entries {
            let mut section = Section::entry("oidc-issuers", &key, value, self.spelling)?;
            let url = section.text("issuer-url")?;
            if url != key {
                let problem = format!("`issuer-url` is `{url}` and must equal the key `{key}`");
                return Err(ConfigError::at(section.at(), problem));
            }
            IssuerUrl::parse(&url).map_err(|e| ConfigError::at(section.at(), e.to_string()))?;
            let issuer = self.issuer(section, Location::Url(url))?;
            issuers.insert(key, Arc::new(issuer));
        }
        Ok(issuers)
    }

    fn meta_issuers(
        &mut self,
        entries: Map<String, Value>,
    ) -> Result<Vec<(Pattern, Arc<Issuer>)>, ConfigError> {
        let mut meta = Vec::new();
        for (key, value) in entries {
            let mut section = Section::entry("meta-issuers", &key, value, self.spelling)?;
            let pattern = Pattern::new(key.clone());
            IssuerUrl::parse(&pattern.example()).map_err(|e| ConfigError::at(section.at(), e.to_string()))?;
            if !section.text("issuer-url")?.is_empty() {
                self.warnings.push(format!("{}: `issuer-url` has no effect on a meta-issuer", section.at()));
            }
            let issuer = self.issuer(section, Location::Pattern(key))?;
            if matches!(issuer.kind, IssuerKind::Spiffe { .. }) {
                return Err(ConfigError::at("meta-issuers", "type spiffe cannot be a meta-issuer"));
            }
            meta.push((pattern, Arc::new(issuer)));
        }
        meta.sort_by(|(a, _), (b, _)| {
            b.literal_len().cmp(&a.literal_len()).then_with(|| a.as_str().cmp(b.as_str()))
        });
        Ok(meta)
    }

    fn issuer(&mut self, mut section: Section, location: Location) -> Result<Issuer, ConfigError> {
        let at = section.at().to_owned();
        let audience = section.text("client-id")?;
        if audience.is_empty() {
            return Err(ConfigError::at(at, "set `client-id` to the audience that tokens must carry"));
        }
        let type_name = section.text("type")?;
        let kind = self.kind(&mut section, &type_name, &location)?;
        let challenge_claim = match section.text("challenge-claim")? {
            claim if !claim.is_empty() => claim,
            _ if type_name == "email" => "email".to_owned(),
            _ => "sub".to_owned(),
        };
        let ca_certificates = ca_certificates(&mut section)?;
        let key_access = key_access::read(&mut section, &location)?;
        for documentation in ["description", "contact", "environment"] {
            section.text(documentation)?;
        }
        section.finish(&mut self.warnings);
        Ok(Issuer { location, audience, type_name, kind, challenge_claim, ca_certificates, key_access })
    }

    fn kind(
        &mut self,
        section: &mut Section,
        type_name: &str,
        location: &Location,
    ) -> Result<IssuerKind, ConfigError> {
        let at = section.at().to_owned();
        let issuer_claim = section.text("issuer-claim")?;
        let subject_domain = section.text("subject-domain")?;
        let trust_domain = section.text("spiffe-trust-domain")?;
        let provider = section.text("ci-provider")?;
        let skip_verification = section.flag("skip-email-verification")?;
        if !issuer_claim.is_empty() && type_name != "email" {
            return Err(ConfigError::at(at, "`issuer-claim` works with type email only"));
        }
        match type_name {
            "email" => {
                let issuer_claim = claim_path(&at, &issuer_claim)?;
                Ok(IssuerKind::Email { issuer_claim, skip_verification })
            }
            "uri" => {
                uri_domain(&at, &subject_domain, location)?;
                Ok(IssuerKind::Uri { subject_domain })
            }
            "username" => {
                username_domain(&at, &subject_domain, location)?;
                Ok(IssuerKind::Username { subject_domain })
            }
            "spiffe" => {
                if !crate::principal::is_trust_domain(&trust_domain) {
                    return Err(ConfigError::at(at, "set `spiffe-trust-domain` to a SPIFFE trust domain"));
                }
                Ok(IssuerKind::Spiffe { trust_domain })
            }
            "kubernetes" => Ok(IssuerKind::Kubernetes),
            "chainguard-identity" => Ok(IssuerKind::Chainguard),
            "ci-provider" => self.provider(&at, &provider, location).map(IssuerKind::CiProvider),
            legacy => shipped::legacy(legacy).map(IssuerKind::CiProvider).ok_or_else(|| {
                ConfigError::at(
                    at,
                    format!("unknown issuer type `{legacy}`; see the documentation of `type`"),
                )
            }),
        }
    }

    /// A provider of the file, else one that this crate ships under that name, for the issuer's server.
    fn provider(&self, at: &str, name: &str, location: &Location) -> Result<Arc<Provider>, ConfigError> {
        if let Some(provider) = self.providers.get(name) {
            return Ok(Arc::clone(provider));
        }
        let (Location::Url(issuer) | Location::Pattern(issuer)) = location;
        let unknown = || format!("`ci-provider` names `{name}`, which `ci-issuer-metadata` does not define");
        let shipped = forge::provider(name, issuer).ok_or_else(|| ConfigError::at(at, unknown()))?;
        shipped.map_err(|_| {
            let problem = format!(
                "the server whose names `{name}` is to certify does not follow from this address: define \
                 `ci-issuer-metadata` with its `url`, see deploy/docs/issuers.md"
            );
            ConfigError::at(at, problem)
        })
    }
}

fn read_providers(
    entries: Map<String, Value>,
    spelling: Spelling,
    warnings: &mut Vec<String>,
) -> Result<Providers, ConfigError> {
    let mut providers = Providers::new();
    for (name, value) in entries {
        let section = Section::entry("ci-issuer-metadata", &name, value, spelling)?;
        let provider = read_provider(&name, section, warnings)?;
        providers.insert(name, Arc::new(provider));
    }
    Ok(providers)
}

fn read_provider(
    name: &str,
    mut section: Section,
    warnings: &mut Vec<String>,
) -> Result<Provider, ConfigError> {
    let mut defaults = BTreeMap::new();
    for (key, value) in section.map("default-template-values")? {
        defaults.insert(key, crate::template::stringify(&value));
    }
    let overridable: BTreeSet<String> = section.texts("overridable-template-values")?.into_iter().collect();
    let numbers: BTreeSet<String> = section.texts("number-template-values")?.into_iter().collect();
    let at = section.at().to_owned();
    let mut templates = section.section("extension-templates")?;
    let mut extensions = Vec::new();
    // Issuer (1, 8) and subject (24) are always the token's own `iss` and `sub`; templates for them have no effect.
    for forced in ["issuer", "subject"] {
        templates.text(forced)?;
    }
    for definition in fulcio::EXTENSIONS.iter().filter(|d| !matches!(d.number, 1 | 8 | 24)) {
        let text = templates.text(definition.yaml_key)?;
        if text.is_empty() {
            continue;
        }
        extensions.push((definition.number, template(&format!("{at}.{}", definition.yaml_key), &text)?));
    }
    templates.finish(warnings);
    let san = section.text("subject-alternative-name-template")?;
    if san.is_empty() {
        return Err(ConfigError::at(
            at,
            "set `subject-alternative-name-template`: without it no certificate has a name",
        ));
    }
    let subject_alternative_name = template(&at, &san)?;
    crate::principal::check_name_template(&subject_alternative_name, &defaults).map_err(|problem| {
        let problem = format!(
            "`subject-alternative-name-template` makes no name that every client reads alike: {problem}"
        );
        ConfigError::at(&at, problem)
    })?;
    section.finish(warnings);
    let name = name.to_owned();
    let legacy = None;
    Ok(Provider { name, defaults, overridable, numbers, extensions, subject_alternative_name, legacy })
}

fn template(at: &str, text: &str) -> Result<Template, ConfigError> {
    Template::parse(text).map_err(|e| ConfigError::at(at, format!("template `{text}`: {e}")))
}

fn ca_certificates(section: &mut Section) -> Result<Option<String>, ConfigError> {
    let pem = section.text("ca-cert")?;
    if pem.is_empty() {
        return Ok(None);
    }
    chancery_tlog::certificate::Certificate::collection_from_pem(&pem)
        .map_err(|e| ConfigError::at(section.at(), format!("`ca-cert` must be PEM certificates: {e}")))?;
    Ok(Some(pem))
}

/// `$.a.b` as a path of names. Other JSONPath is refused: nobody uses it here, and a silent miss would embed the
/// wrong issuer.
fn claim_path(at: &str, text: &str) -> Result<Option<Vec<String>>, ConfigError> {
    if text.is_empty() {
        return Ok(None);
    }
    let names: Vec<String> =
        text.strip_prefix("$.").unwrap_or_default().split('.').map(str::to_owned).collect();
    let plain = |name: &String| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
    };
    if !names.iter().all(plain) {
        return Err(ConfigError::at(at, "`issuer-claim` must look like `$.federated_claims.connector_id`"));
    }
    Ok(Some(names))
}

fn uri_domain(at: &str, domain: &str, location: &Location) -> Result<(), ConfigError> {
    let wrong = |problem: &str| ConfigError::at(at, format!("`subject-domain` {problem}"));
    let (scheme, host) =
        crate::principal::uri_origin(domain).ok_or_else(|| wrong("must be a URL with scheme and host"))?;
    let Location::Url(issuer) = location else { return Ok(()) };
    let issuer = Url::parse(issuer).map_err(|_| wrong("has an issuer that is not a URL"))?;
    if scheme != issuer.scheme() {
        return Err(wrong("must have the issuer's scheme"));
    }
    same_site(Some(&host), issuer.host_str())
        .then_some(())
        .ok_or_else(|| wrong("must be on the issuer's host or share its last two labels"))
}

fn username_domain(at: &str, domain: &str, location: &Location) -> Result<(), ConfigError> {
    let wrong = |problem: &str| ConfigError::at(at, format!("`subject-domain` {problem}"));
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':');
    if domain.is_empty() || domain.contains("://") || !domain.bytes().all(plain) {
        return Err(wrong("must be a domain name without scheme"));
    }
    let Location::Url(issuer) = location else { return Ok(()) };
    let issuer = Url::parse(issuer).map_err(|_| wrong("has an issuer that is not a URL"))?;
    same_site(Some(domain), issuer.host_str())
        .then_some(())
        .ok_or_else(|| wrong("must be the issuer's host or share its last two labels"))
}

/// Fulcio's rule: the same host, or the same last two labels. KNOWN LIMIT: under a public suffix of two labels such
/// as `co.uk` that lets strangers through; the file's author vouches for `subject-domain`.
fn same_site(a: Option<&str>, b: Option<&str>) -> bool {
    let (Some(a), Some(b)) = (a, b) else { return false };
    if a == b {
        return true;
    }
    let site = |host: &str| -> Option<String> {
        let labels: Vec<&str> = host.rsplit('.').take(2).collect();
        (labels.len() == 2).then(|| format!("{}.{}", labels[1], labels[0]))
    };
    matches!((site(a), site(b)), (Some(x), Some(y)) if x == y)
}
