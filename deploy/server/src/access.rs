//! The gate of an instance, as its operator has chosen: who is let into the sealed zone.
//!
//! Tokens and client certificates are the chassis' business; here are ID tokens, which the CA's library verifies. A
//! token for signing opens no entries and a token for reading buys no certificate: their audiences differ.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use async_trait::async_trait;
use chancery_ca::IssuerConfig;
use chancery_ca::oidc::{self, TokenError, VerifiedToken, Verifier};
use chancery_tlog::clock::Clock;
use chancery_tlog::files;
use chancery_tlog::serve::access::{
    CertificateReaders, Credentials, Denied, Gate, Reader, Readers, TokenReaders, new_token,
};
use serde_json::{Value, json};

use crate::config::{Access, Config, OidcAccess, ReaderRule};
use crate::output;

/// What `init` writes at the head of a file of tokens.
pub(crate) const TOKENS_HEAD: &str = "\
# Who may read entries: a line for each reader, with a name and the SHA-256 of its token, made by
# `chancery-server reader-token DIR NAME`. Whoever removes a line shuts its reader out, within a second.
";

/// The gate of an instance, and what outlives a reload of it.
#[derive(Clone)]
pub(crate) struct Entrance {
    /// Before the sealed zone.
    pub(crate) gate: Gate,
    /// The readers with ID tokens, whose issuers' keys are worth keeping.
    oidc: Option<Arc<OidcReaders>>,
    /// The readers with tokens of ours.
    tokens: Option<Arc<TokenReaders>>,
}

impl Entrance {
    /// That of the instance with this configuration. `signing` is whose tokens buy certificates, if it has a CA; `before` is
    /// the one that a reload replaces.
    pub(crate) fn of(
        config: &Config,
        signing: Option<&IssuerConfig>,
        before: Option<&Self>,
        clock: &Arc<dyn Clock>,
    ) -> anyhow::Result<Self> {
        let (mut oidc, mut tokens) = (None, None);
        let gate = match &config.access {
            Access::Open => Gate::open(),
            Access::Token(file) => {
                let readers = TokenReaders::load(file)
                    .context("`[access]`: make the file with `chancery-server reader-token DIR NAME`")?;
                Gate::closed(Arc::clone(tokens.insert(Arc::new(readers))) as Arc<dyn Readers>)
            }
            Access::Oidc(access) => {
                let development = config.ca.as_ref().is_some_and(|ca| ca.development);
                let before = before.and_then(|before| before.oidc.as_deref());
                let readers = OidcReaders::new(access, signing, development, before, clock.clone());
                let readers = oidc.insert(Arc::new(readers.context("`[access.oidc]`")?));
                Gate::closed(Arc::clone(readers) as Arc<dyn Readers>)
            }
            Access::Mtls(file) => {
                check_mtls(config, file)?;
                // The listener has the file, and the handshake has verified whatever comes by.
                Gate::closed(Arc::new(CertificateReaders))
            }
        };
        Ok(Self { gate: gate.for_pages_of(config.origins.clone()), oidc, tokens })
    }

    /// How the list of readers differs from that of `before`, in words.
    pub(crate) fn changes_since(&self, before: &Self) -> Option<String> {
        let (now, before) = self.tokens.as_ref().zip(before.tokens.as_ref())?;
        (!now.lists_same_as(before)).then(|| format!("reader tokens, now {}", now.count()))
    }
}

/// In words, for `check-config`; and whether nobody is let in yet.
pub(crate) fn describe(access: &Access) -> (String, bool) {
    match access {
        Access::Open => ("entries: open to whoever reaches the listener".to_owned(), false),
        Access::Token(file) => {
            let count = TokenReaders::load(file).map_or(0, |readers| readers.count());
            (format!("entries: {count} reader tokens in {}", file.display()), count == 0)
        }
        Access::Oidc(OidcAccess { audience, readers }) => {
            let count = readers.len();
            (format!("entries: {count} rules for ID tokens with audience {audience}"), count == 0)
        }
        Access::Mtls(file) => {
            (format!("entries: client certificates of the CA in {}", file.display()), false)
        }
    }
}

fn check_mtls(config: &Config, file: &Path) -> anyhow::Result<()> {
    ensure!(
        !config.listen.behind_proxy,
        "`[access]`: \"mtls\" cannot work behind a proxy, which ends the TLS that a client certificate belongs to: let \
         the proxy ask for certificates, or choose \"token\" or \"oidc\""
    );
    ensure!(
        config.listen.tls.is_some(),
        "`[access]`: \"mtls\" needs `[listen.tls]`: client certificates come with TLS"
    );
    ensure!(
        file.is_file(),
        "`[access.mtls]`: {} is missing: put the CA of your readers there",
        file.display()
    );
    Ok(())
}

/// `chancery-server reader-token`: makes a token, prints it once, and lists its digest.
pub(crate) fn make_token(dir: &Path, name: &str) -> anyhow::Result<()> {
    let config = Config::load(dir)?;
    let Access::Token(file) = &config.access else {
        bail!("this instance takes no reader tokens: write `entries = \"token\"` under `[access]` first");
    };
    let (token, line) = new_token(name)?;
    if file.exists() {
        let known = TokenReaders::load(file)?;
        ensure!(!known.has(name), "{} has a line for `{name}` already: remove it first", file.display());
    }
    // Before it is listed: a token that was not seen opens nothing.
    output::print(&format!("{token}\n"))?;
    append(file, &line)?;
    output::say(&format!("`{name}` may read entries with this token; it is shown only once\n"));
    Ok(())
}

fn append(file: &PathBuf, line: &str) -> anyhow::Result<()> {
    let failed = || format!("cannot write {}", file.display());
    let fresh = !file.exists();
    let old =
        if fresh { TOKENS_HEAD.to_owned() } else { std::fs::read_to_string(file).with_context(failed)? };
    let end = if old.is_empty() || old.ends_with('\n') { "" } else { "\n" };
    let text = if fresh { format!("{old}{line}\n") } else { format!("{end}{line}\n") };
    files::append(file, files::PUBLIC, text.as_bytes()).with_context(failed)
}

/// Whoever has an ID token that one of the rules takes.
struct OidcReaders {
    verifier: Verifier,
    rules: Vec<ReaderRule>,
    /// Audiences of tokens that buy certificates.
    signing: BTreeSet<String>,
}

impl OidcReaders {
    fn new(
        access: &OidcAccess,
        signing: Option<&IssuerConfig>,
        development: bool,
        before: Option<&Self>,
        clock: Arc<dyn Clock>,
    ) -> anyhow::Result<Self> {
        let signs: BTreeSet<_> = signing
            .into_iter()
            .flat_map(IssuerConfig::issuers)
            .map(|issuer| issuer.audience.clone())
            .collect();
        ensure!(
            !signs.contains(&access.audience),
            "the audience `{}` is that of tokens for signing in fulcio.yaml: use another for readers",
            access.audience
        );
        let issuers: BTreeMap<_, _> =
            access.readers.iter().map(|rule| (&rule.issuer, issuer(rule, access, signing))).collect();
        let issuers = IssuerConfig::parse(&json!({ "OIDCIssuers": issuers }).to_string())?;
        let issuers = Arc::new(issuers);
        let settings = oidc::Settings { development, ..oidc::Settings::default() };
        let verifier = match before {
            Some(before) => before.verifier.renewed(issuers, development)?,
            None => Verifier::new(issuers, settings, clock)?,
        };
        Ok(Self { verifier, rules: access.readers.clone(), signing: signs })
    }

    fn name(&self, token: &VerifiedToken) -> Result<Reader, Denied> {
        // A token that says it is for both was made by somebody who did not want the difference.
        if audiences(token).any(|audience| audience == "sigstore" || self.signing.contains(audience)) {
            return Err(Denied::Invalid);
        }
        let admitted = self.rules.iter().any(|rule| rule.issuer == token.iss && takes(rule, token));
        if admitted {
            Ok(Reader::named(&format!("{} {}", token.iss, token.sub)))
        } else {
            Err(Denied::Forbidden)
        }
    }
}

#[async_trait]
impl Readers for OidcReaders {
    async fn admit(&self, credentials: Credentials) -> Result<Reader, Denied> {
        let token = credentials.token().ok_or(Denied::Missing)?;
        match self.verifier.verify(token, credentials.address()).await {
            Ok(verified) => verified.permit(|token| self.name(&token)).await,
            Err(error @ (TokenError::Keys { .. } | TokenError::TooManyIssuers { .. })) => {
                tracing::warn!(%error, "a reader's token cannot be verified");
                Err(Denied::Unavailable)
            }
            Err(error) => {
                tracing::info!(reason = error.reason(), "a reader's token is refused");
                Err(Denied::Invalid)
            }
        }
    }

    fn challenges(&self) -> &'static [&'static str] {
        &["Bearer realm=\"entries\"", "Basic realm=\"entries\", charset=\"UTF-8\""]
    }

    fn advice(&self) -> &'static str {
        "send an ID token for this instance as `Authorization: Bearer …`, or as the password of `Authorization: Basic`"
    }
}

/// An issuer as a Fulcio configuration has it. Of its type only the form is used: names come from the rules. An issuer
/// with a private CA, or whose keys need another way, is known from the instance's own fulcio.yaml.
fn issuer(rule: &ReaderRule, access: &OidcAccess, signing: Option<&IssuerConfig>) -> Value {
    let mut issuer = json!({ "IssuerURL": rule.issuer, "ClientID": access.audience, "Type": "email" });
    let known = signing.and_then(|signing| signing.find(&rule.issuer));
    let Some(known) = known else { return issuer };
    if let Some(pem) = &known.ca_certificates {
        issuer["CACert"] = json!(pem);
    }
    // A pattern of the file has neither of the two files, so what is copied is always valid for one issuer.
    let access = &known.key_access;
    let hosts: Vec<String> = access.jwks_hosts.iter().map(ToString::to_string).collect();
    issuer["JWKSHosts"] = json!(hosts);
    issuer["BearerTokenFile"] = json!(access.bearer_token_file);
    issuer["JWKSFile"] = json!(access.jwks_file);
    issuer
}

fn audiences(token: &VerifiedToken) -> impl Iterator<Item = &str> {
    let audience = token.claims.get("aud");
    let many = audience.and_then(Value::as_array).into_iter().flatten();
    audience.into_iter().chain(many).filter_map(Value::as_str)
}

fn takes(rule: &ReaderRule, token: &VerifiedToken) -> bool {
    let subject = rule.subject.as_ref().is_none_or(|pattern| matches(pattern, &token.sub));
    subject && rule.claims.iter().all(|(claim, pattern)| has(token, claim, pattern))
}

/// Whether a claim, or one element of it, is as the pattern wants it. An address that the issuer has not verified is
/// anybody's.
fn has(token: &VerifiedToken, claim: &str, pattern: &str) -> bool {
    if claim == "email" && token.claims.get("email_verified") != Some(&Value::Bool(true)) {
        return false;
    }
    let one = |value: &Value| match value {
        Value::String(text) => matches(pattern, text),
        Value::Bool(_) | Value::Number(_) => matches(pattern, &value.to_string()),
        _ => false,
    };
    match token.claims.get(claim) {
        Some(Value::Array(values)) => values.iter().any(one),
        Some(value) => one(value),
        None => false,
    }
}

/// Whether the whole of `text` is as `pattern` says, in which `*` stands for anything. In time linear in both.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests;
