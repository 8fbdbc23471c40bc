//! What a client needs, as the operator pastes it: a shell script that signs and verifies, or Kubernetes resources.
//!
//! Invariant: a recipe names this instance and no other, and holds no key that its client cannot use. It is whole: who
//! has it and the files beside it needs nothing else of the instance. It lets the client verify everything that the instance
//! was ever trusted for.

mod trusted;

use chancery_tlog::trust::{Keyring, Service, SigningConfig, TrustError};
use clap::ValueEnum;

use crate::config::BaseUrl;
use crate::trust::{Document, Identity, signing_config, trusted_root};

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
    /// The client takes one key of a kind from a file, and there are more.
    #[error(
        "{client} takes one key of a kind from a file, and keys were replaced: add `[tuf]` to chancery.toml, see \
         deploy/docs/tuf.md"
    )]
    Keys {
        /// The client's name on the command line.
        client: String,
    },
    /// The trusted root cannot be read back.
    #[error(transparent)]
    Trust(#[from] TrustError),
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
    let mut files: Vec<_> = plan.files.iter().map(|name| find(name)).collect::<Result<_, _>>()?;
    let trust = trusted_root(identity).keyring()?;
    if client == Client::Cosign2 && trusted::has_past(&trust) {
        files.push(find("tuf-root.json").map_err(|_| RecipeError::Keys { client: client.name() })?);
    }
    let shell = plan.template.starts_with("#!");
    let filling = Filling { shell, identity, trust, signing: signing_config(identity), folder };
    Ok(Recipe { text: filling.fill(plan.template), files })
}

/// What the places of a template are filled with.
struct Filling<'d> {
    shell: bool,
    identity: &'d Identity<'d>,
    trust: Keyring,
    signing: SigningConfig,
    folder: &'d str,
}

impl Filling<'_> {
    /// The template with a block `@each LIST@ … @end@` for each element of a list, and every place filled.
    fn fill(&self, template: &str) -> String {
        let (mut text, mut rest) = (String::new(), template);
        while let Some((name, before, block, after)) = block(rest) {
            text.push_str(&fill(before, |place| self.value(place)));
            for element in trusted::list(name, &self.trust, self.identity.url.host()) {
                let of_element = |place: &str| {
                    element.iter().find(|(name, _)| *name == place).map(|(_, value)| value.trim_end())
                };
                text.push_str(&fill(block, |place| {
                    of_element(place).map(str::to_owned).or_else(|| self.value(place))
                }));
            }
            rest = after;
        }
        text + &fill(rest, |place| self.value(place))
    }
}

/// The first block of a template: the name of its list, what is before it, its lines, and what is behind it.
fn block(template: &str) -> Option<(&str, &str, &str, &str)> {
    let (before, block) = template.split_once("@each ")?;
    let (name, block) = block.split_once("@\n")?;
    let (block, after) = block.split_once("@end@\n")?;
    Some((name, before, block, after))
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
    let signing = signing_config(identity);
    let v2 = log(&signing, 2).and_then(|url| BaseUrl::parse(url).ok());
    match (log(&signing, 1), v2) {
        (Some(_), _) => Ok(()),
        (None, Some(url)) if url.authority() == url.hostname() => Ok(()),
        (None, Some(url)) => {
            Err(RecipeError::Origin { origin: url.hostname().to_owned(), url: url.to_string() })
        }
        (None, None) => Err(missing(Client::RekorMonitor, "rekor.pub")),
    }
}

/// The address of the log that takes entries in this version of the API, on whichever host it is.
fn log(signing: &SigningConfig, version: u32) -> Option<&str> {
    let of_version = |log: &&Service| log.major_api_version == version;
    signing.rekor_tlog_urls.iter().find(of_version).map(|log| log.url.as_str())
}

impl Filling<'_> {
    /// The address to which clients append the path of a timestamp authority.
    fn stamping(&self) -> &str {
        let whole = self.signing.tsa_urls.first().map_or(self.identity.url.as_str(), |tsa| &tsa.url);
        whole.strip_suffix("/api/v1/timestamp").unwrap_or(whole)
    }

    /// What stands at a place of a template.
    fn value(&self, place: &str) -> Option<String> {
        let (identity, url) = (self.identity, self.identity.url.as_str());
        let login = |flag: &str| {
            identity.logins.first().map(|login| format!("{flag}{}", word(login))).unwrap_or_default()
        };
        let stamped = !self.signing.tsa_urls.is_empty();
        let address = |url: &str| if self.shell { word(url) } else { url.to_owned() };
        let issuer = identity.issuers.first().unwrap_or(&USUAL_ISSUER);
        let by_past = |with: &str, without: &str| {
            let template = if trusted::has_past(&self.trust) { with } else { without };
            self.fill(template).trim_end().to_owned()
        };
        Some(match place {
            "url" => address(url),
            "ca_url" => address(self.signing.ca_urls.first().map_or(url, |ca| &ca.url)),
            "rekor_url" => address(log(&self.signing, 1).or_else(|| log(&self.signing, 2)).unwrap_or(url)),
            "trust" => word(self.folder),
            "issuer" if self.shell => word(issuer),
            "issuer" => quoted(issuer),
            "roots" => trusted::roots(&self.trust),
            "attestors" => trusted::attestors(&self.trust),
            "cosign2_trust" => {
                by_past(include_str!("recipes/cosign2-tuf.sh"), include_str!("recipes/cosign2-files.sh"))
            }
            "gitsign_trust" => {
                by_past(include_str!("recipes/gitsign-tuf.sh"), include_str!("recipes/gitsign-files.sh"))
            }
            "gitsign_initialize" => by_past(
                "\nTUF_ROOT=\"$TRUST/tuf\" cosign initialize --mirror @url@/tuf --root \"$TRUST/tuf-root.json\"",
                "",
            ),
            "go_tsa" => if stamped { " -tsa" } else { "" }.to_owned(),
            "js_tsa" if stamped => format!(" --tsa-server-url {}", word(self.stamping())),
            "js_tsa" => String::new(),
            "cosign_login" => login(" --oidc-issuer "),
            "gitsign_login" => login("\ngit config gitsign.issuer "),
            _ => return None,
        })
    }
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
