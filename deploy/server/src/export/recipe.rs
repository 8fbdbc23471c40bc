//! What a client needs, as the operator pastes it: a shell script that signs and verifies, or Kubernetes resources.
//!
//! Invariant: a recipe names this instance and no other, and holds no key that its client cannot use. It is whole: who
//! has it and the files beside it needs nothing else of the instance.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chancery_tlog::certificate::Certificate;
use clap::ValueEnum;

use crate::trust::{Document, Identity};

/// Whose tokens the recipes speak of if the instance has no issuer of one address.
const USUAL_ISSUER: &str = "https://token.actions.githubusercontent.com";

/// Clients of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Client {
    /// cosign 2: script, PEM files. Rekor v1
    Cosign2,
    /// cosign 3: script, trusted root and signing config
    Cosign3,
    /// sigstore-python 4: script, client trust config
    SigstorePython,
    /// @sigstore/cli, sigstore 5 for npm: script, TUF root. Signs to Rekor v1
    SigstoreJs,
    /// sigstore-go's example programs and the library: script, trusted root and signing config
    SigstoreGo,
    /// gitsign: script that sets up a repository, TUF root. Rekor v1
    Gitsign,
    /// policy-controller: TrustRoot and ClusterImagePolicy. Rekor v1
    PolicyController,
    /// Kyverno: ImageValidatingPolicy and ClusterPolicy. Rekor v1
    Kyverno,
    /// rekor-monitor: script with its configuration, TUF root
    RekorMonitor,
}

/// Why there is no recipe.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RecipeError {
    /// The client cannot do without a role that the instance does not have.
    #[error("{client} needs {role}, which this instance does not have: {remedy}")]
    Role {
        /// The client's name on the command line.
        client: String,
        /// What it needs.
        role: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// rekor-monitor compares the log's origin with its address.
    #[error(
        "rekor-monitor wants a Rekor v2 log whose address is its origin, `https://{origin}` without a port; this is {url}"
    )]
    Origin {
        /// The log's origin.
        origin: String,
        /// The instance's address.
        url: String,
    },
}

/// What to give to the operator.
#[derive(Debug)]
pub(crate) struct Recipe<'d> {
    /// The script or the resources.
    pub(crate) text: String,
    /// The files that it reads.
    pub(crate) files: Vec<&'d Document>,
}

/// What makes the recipe of one client.
struct Plan {
    template: &'static str,
    /// Documents that it reads.
    files: &'static [&'static str],
    /// Documents without which it makes no sense, because they stand for a role.
    roles: &'static [&'static str],
}

impl Client {
    /// Its name on the command line.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    fn plan(self) -> Plan {
        const CA: [&str; 2] = ["ca-chain.pem", "ct.pub"];
        const CA_V1: [&str; 3] = ["ca-chain.pem", "ct.pub", "rekor.pub"];
        let plan = |template, files, roles| Plan { template, files, roles };
        match self {
            Self::Cosign2 => plan(
                include_str!("recipes/cosign2.sh"),
                &["ca-chain.pem", "ct.pub", "rekor.pub", "trusted_root.json"],
                &CA_V1,
            ),
            Self::Cosign3 => {
                plan(include_str!("recipes/cosign3.sh"), &["trusted_root.json", "signing_config.json"], &CA)
            }
            Self::SigstorePython => {
                plan(include_str!("recipes/sigstore-python.sh"), &["client_trust_config.json"], &CA)
            }
            Self::SigstoreJs => plan(include_str!("recipes/sigstore-js.sh"), &["tuf-root.json"], &CA_V1),
            Self::SigstoreGo => plan(
                include_str!("recipes/sigstore-go.sh"),
                &["trusted_root.json", "signing_config.json"],
                &CA,
            ),
            Self::Gitsign => plan(
                include_str!("recipes/gitsign.sh"),
                &["tuf-root.json", "ca-chain.pem", "ct.pub", "rekor.pub"],
                &CA_V1,
            ),
            Self::PolicyController => plan(include_str!("recipes/policy-controller.yaml"), &[], &CA_V1),
            Self::Kyverno => plan(include_str!("recipes/kyverno.yaml"), &[], &CA_V1),
            Self::RekorMonitor => plan(include_str!("recipes/rekor-monitor.sh"), &["tuf-root.json"], &[]),
        }
    }
}

/// The recipe for `client`. `folder` is where the files will lie.
pub(crate) fn recipe<'d>(
    client: Client,
    identity: &Identity<'_>,
    documents: &'d [Document],
    folder: &str,
) -> Result<Recipe<'d>, RecipeError> {
    let plan = client.plan();
    let find = |name: &str| {
        documents.iter().find(|document| document.name == name).ok_or_else(|| missing(client, name))
    };
    plan.roles.iter().try_for_each(|name| find(name).map(drop))?;
    if client == Client::RekorMonitor {
        check_watchable(identity)?;
    }
    let files = plan.files.iter().map(|name| find(name)).collect::<Result<_, _>>()?;
    let shell = plan.template.starts_with("#!");
    let text = fill(plan.template, |place| value(place, shell, identity, documents, folder));
    Ok(Recipe { text, files })
}

fn missing(client: Client, document: &str) -> RecipeError {
    let (role, remedy) = match document {
        "rekor.pub" => (
            "a Rekor v1 log",
            "make an instance with `chancery-server init --rekor both`, or use cosign3, sigstore-go or sigstore-python",
        ),
        "ct.pub" => ("an issuance log", "add `[ca] issuance_log`, or export from the process that serves it"),
        "tuf-root.json" => ("a TUF repository", "add `[tuf]` to chancery.toml, see deploy/docs/tuf.md"),
        _ => ("a certificate authority", "export from the process that has `[ca]`"),
    };
    RecipeError::Role { client: client.name(), role, remedy }
}

/// rekor-monitor takes the last log of the signing config at an address: v1 if there is one.
fn check_watchable(identity: &Identity<'_>) -> Result<(), RecipeError> {
    match (&identity.rekor_v1, &identity.rekor_v2) {
        (Some(_), _) => Ok(()),
        (None, Some(_)) if identity.url.authority() == identity.url.hostname() => Ok(()),
        (None, Some(_)) => Err(RecipeError::Origin {
            origin: identity.url.hostname().to_owned(),
            url: identity.url.to_string(),
        }),
        (None, None) => Err(missing(Client::RekorMonitor, "rekor.pub")),
    }
}

/// What stands at a place of a template.
fn value(
    place: &str,
    shell: bool,
    identity: &Identity<'_>,
    documents: &[Document],
    folder: &str,
) -> Option<String> {
    let url = identity.url.as_str();
    let text_of = |name: &str| {
        documents.iter().find(|document| document.name == name).map(|document| document.text.as_str())
    };
    let login = |flag: &str| {
        identity.logins.first().map(|login| format!("{flag}{}", word(login))).unwrap_or_default()
    };
    let stamped = identity.timestamp.is_some();
    let anchor =
        || identity.ca.and_then(|ca| ca.chain.last()).map(Certificate::subject_o_cn).unwrap_or_default();
    Some(match place {
        "url" if shell => word(url),
        "url" => url.to_owned(),
        "ct_url" => identity.ct.as_ref().map(|log| log.base_url.clone())?,
        "trust" => word(folder),
        "issuer" if shell => word(identity.issuers.first().unwrap_or(&USUAL_ISSUER)),
        "issuer" => quoted(identity.issuers.first().unwrap_or(&USUAL_ISSUER)),
        // policy-controller refuses empty names.
        "organization" => quoted(anchor().0.as_deref().unwrap_or(identity.url.host())),
        "common_name" => quoted(anchor().1.as_deref().unwrap_or(identity.url.host())),
        "go_tsa" => if stamped { " -tsa" } else { "" }.to_owned(),
        "js_tsa" if stamped => format!(" --tsa-server-url {}", word(url)),
        "js_tsa" => String::new(),
        "cosign_login" => login(" --oidc-issuer "),
        "gitsign_login" => login("\ngit config gitsign.issuer "),
        name => match name.strip_prefix("base64 ") {
            Some(name) => STANDARD.encode(text_of(name)?),
            None => text_of(name)?.trim_end().to_owned(),
        },
    })
}

/// Puts values in at `@place@`. Of a value with several lines, all lines begin where that of its place does.
fn fill(template: &str, value: impl Fn(&str) -> Option<String>) -> String {
    let mut text = String::new();
    for line in template.split_inclusive('\n') {
        let indent = &line[..line.len() - line.trim_start().len()];
        let mut rest = line;
        while let Some((before, after)) = rest.split_once('@') {
            text.push_str(before);
            let place = after.split_once('@').and_then(|(place, tail)| Some((value(place)?, tail)));
            if let Some((value, tail)) = place {
                text.push_str(&value.replace('\n', &format!("\n{indent}")));
                rest = tail;
            } else {
                text.push('@');
                rest = after;
            }
        }
        text.push_str(rest);
    }
    text
}

/// A word of a shell.
fn word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_./:%+=,-".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

/// A string of YAML, of which JSON is a part.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests;
