//! Claim policies that `init` writes: whose tokens of a public issuer get certificates.
//!
//! Invariant: no instance is made whose CA certifies anyone with an account somewhere, unless `--any-tenant`
//! says so.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context as _, bail, ensure};
use chancery_ca::IssuerConfig;
use chancery_ca::config::{Issuer, IssuerKind, Location};
use chancery_ca::policy::{ClaimPolicies, ClaimPolicy, Exposure, PolicyError};
use clap::Args;

/// Options of `init` about claims.
#[derive(Args, Debug, Default)]
pub(super) struct PolicyArguments {
    /// User or organization of GitHub whose repositories get certificates; may be repeated. With the number
    /// of the account (`gh api users/OWNER --jq .id`), because a name can pass to another account
    #[arg(long, value_name = "OWNER[/ID]")]
    github_owner: Vec<GithubOwner>,
    /// Repository of GitHub that gets certificates, with its number if known; may be repeated
    #[arg(long, value_name = "OWNER/NAME[/ID]")]
    github_repository: Vec<GithubRepository>,
    /// Group or user of GitLab whose projects get certificates, those of its subgroups too; may be repeated
    #[arg(long, value_name = "GROUP")]
    gitlab_group: Vec<Path>,
    /// Project of GitLab that gets certificates; may be repeated
    #[arg(long, value_name = "GROUP/PROJECT")]
    gitlab_project: Vec<Path>,
    /// Organization of Buildkite whose pipelines get certificates, as in its URL; may be repeated
    #[arg(long, value_name = "SLUG")]
    buildkite_organization: Vec<Word>,
    /// Account of Codefresh whose pipelines get certificates, by its id; may be repeated
    #[arg(long, value_name = "ID")]
    codefresh_account: Vec<Word>,
    /// Domain of e-mail addresses that get certificates, from an issuer of type email; may be repeated
    #[arg(long, value_name = "DOMAIN")]
    email_domain: Vec<Word>,
    /// File with `[[ca.policy]]` tables that are taken over as they are, instead of the options above
    #[arg(long, value_name = "FILE", conflicts_with_all = [
        "github_owner", "github_repository", "gitlab_group", "gitlab_project", "buildkite_organization",
        "codefresh_account", "email_domain", "any_tenant",
    ])]
    policies: Option<PathBuf>,
    /// Give certificates to anyone with an account at a public issuer, such as github.com, or with a token of
    /// a pattern or of an e-mail issuer, for which no option above is given
    #[arg(long)]
    any_tenant: bool,
}

/// `OWNER` or `OWNER/ID`.
#[derive(Clone, Debug)]
struct GithubOwner {
    owner: Word,
    id: Option<Number>,
}

impl FromStr for GithubOwner {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (owner, id) = text.split_once('/').map_or((text, None), |(owner, id)| (owner, Some(id)));
        let id = id
            .map(str::parse)
            .transpose()
            .map_err(|problem| format!("{problem}; a repository is named by --github-repository"))?;
        Ok(Self { owner: owner.parse()?, id })
    }
}

/// `OWNER/NAME` or `OWNER/NAME/ID`.
#[derive(Clone, Debug)]
struct GithubRepository {
    owner: Word,
    name: Word,
    id: Option<Number>,
}

impl FromStr for GithubRepository {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split('/');
        let (Some(owner), Some(name), id, None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err("must be OWNER/NAME or OWNER/NAME/ID".to_owned());
        };
        Ok(Self { owner: owner.parse()?, name: name.parse()?, id: id.map(str::parse).transpose()? })
    }
}

/// Text without characters that mean something in TOML, in a glob or in a path.
#[derive(Clone, Debug)]
struct Word(String);

impl FromStr for Word {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if text.is_empty() || text.len() > 255 || !text.bytes().all(plain) {
            return Err(format!("{text:?} must be letters, digits, `-`, `_` and `.`"));
        }
        Ok(Self(text.to_owned()))
    }
}

/// Digits. The number of an account or a repository is text in tokens.
#[derive(Clone, Debug)]
struct Number(String);

impl FromStr for Number {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.len() > 20 || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(format!("{text:?} must be a number"));
        }
        Ok(Self(text.to_owned()))
    }
}

/// Words with `/` between them.
#[derive(Clone, Debug)]
struct Path(String);

impl FromStr for Path {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.split('/').try_for_each(|part| part.parse::<Word>().map(|_| ()))?;
        Ok(Self(text.to_owned()))
    }
}

/// A rule that an option asks for.
struct NewRule {
    name: String,
    /// Lines of the rule's `claims`.
    claims: Vec<String>,
    comment: Option<&'static str>,
}

const BY_NAME: &str =
    "By name alone: if the account is renamed or deleted, another one can take the name. Add the number.";

impl NewRule {
    fn new(name: &str, claims: Vec<String>) -> Self {
        let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '.' };
        // The longest name of a rule.
        let name = name.chars().map(plain).take(60).collect();
        Self { name, claims, comment: None }
    }

    fn with_id(mut self, claim: &str, id: Option<&Number>) -> Self {
        match id {
            Some(Number(id)) => self.claims.push(format!("{claim} = \"{id}\"")),
            None => self.comment = Some(BY_NAME),
        }
        self
    }

    fn render(&self, taken: &mut BTreeSet<String>) -> String {
        let mut name = self.name.clone();
        let mut number = 1;
        while !taken.insert(name.clone()) {
            number += 1;
            name = format!("{}-{number}", self.name);
        }
        let comment = self.comment.map(|comment| format!("# {comment}\n")).unwrap_or_default();
        format!(
            "\n[[ca.policy.rule]]\nname = \"{name}\"\n[ca.policy.rule.claims]\n{comment}{}\n",
            self.claims.join("\n")
        )
    }
}

/// Issuers that an option is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Github,
    Gitlab,
    Buildkite,
    Codefresh,
    Email,
}

impl Kind {
    fn of(issuer: &Issuer) -> Option<Self> {
        match &issuer.kind {
            IssuerKind::Email { .. } => Some(Self::Email),
            IssuerKind::CiProvider(provider) => [
                ("github", Self::Github),
                ("gitlab", Self::Gitlab),
                ("buildkite", Self::Buildkite),
                ("codefresh", Self::Codefresh),
            ]
            .into_iter()
            .find_map(|(name, kind)| provider.name.contains(name).then_some(kind)),
            _ => None,
        }
    }

    /// Options that say who is meant.
    fn options(self) -> &'static str {
        match self {
            Self::Github => "--github-owner OWNER/ID or --github-repository OWNER/NAME/ID",
            Self::Gitlab => "--gitlab-group GROUP or --gitlab-project GROUP/PROJECT",
            Self::Buildkite => "--buildkite-organization SLUG",
            Self::Codefresh => "--codefresh-account ID",
            Self::Email => "--email-domain DOMAIN",
        }
    }
}

impl PolicyArguments {
    /// The tables for `chancery.toml`, which fit these issuers, each with an empty line behind it.
    pub(super) fn text(&self, issuers: &IssuerConfig) -> anyhow::Result<String> {
        if let Some(file) = &self.policies {
            let text =
                std::fs::read_to_string(file).with_context(|| format!("--policies {}", file.display()))?;
            check_tables(&text).with_context(|| format!("--policies {}", file.display()))?;
            return Ok(format!("{}\n\n", text.trim()));
        }
        self.check_used(issuers)?;
        let mut tables = Vec::new();
        for issuer in issuers.issuers() {
            let rules = Kind::of(issuer).map(|kind| self.rules(kind)).unwrap_or_default();
            let any = self.any_tenant && rules.is_empty() && Exposure::of(issuer).is_some();
            if !rules.is_empty() || any {
                let mut taken = BTreeSet::new();
                let rules: String = rules.iter().map(|rule| rule.render(&mut taken)).collect();
                let any = if any { "any_tenant = true\n" } else { "" };
                tables.push(format!("[[ca.policy]]\nissuer = {:?}\n{any}{rules}", location(issuer)));
            }
        }
        if self.any_tenant && !tables.iter().any(|table| table.contains("any_tenant = true")) {
            bail!("--any-tenant has no effect: no issuer that needs rules is left without them");
        }
        let separated = tables.into_iter().map(|table| table + "\n");
        Ok(separated.collect())
    }

    /// An option for a kind of issuer that is not configured was meant for something.
    fn check_used(&self, issuers: &IssuerConfig) -> anyhow::Result<()> {
        for kind in [Kind::Github, Kind::Gitlab, Kind::Buildkite, Kind::Codefresh, Kind::Email] {
            let used = issuers.issuers().any(|issuer| Kind::of(issuer) == Some(kind));
            ensure!(
                used || self.rules(kind).is_empty(),
                "{}: no issuer of this kind is configured",
                kind.options()
            );
        }
        Ok(())
    }

    fn rules(&self, kind: Kind) -> Vec<NewRule> {
        match kind {
            Kind::Github => {
                let owners = self.github_owner.iter().map(|GithubOwner { owner: Word(owner), id }| {
                    NewRule::new(
                        &format!("github-owner-{owner}"),
                        vec![format!("repository_owner = \"{owner}\"")],
                    )
                    .with_id("repository_owner_id", id.as_ref())
                });
                let repositories =
                    self.github_repository.iter().map(|GithubRepository { owner, name, id }| {
                        let (Word(owner), Word(name)) = (owner, name);
                        let claim = format!("repository = \"{owner}/{name}\"");
                        NewRule::new(&format!("github-repository-{owner}.{name}"), vec![claim])
                            .with_id("repository_id", id.as_ref())
                    });
                owners.chain(repositories).collect()
            }
            Kind::Gitlab => {
                let groups = self.gitlab_group.iter().map(|Path(group)| {
                    let claim = format!("namespace_path = [\"{group}\", {{ glob = \"{group}/**\" }}]");
                    NewRule::new(&format!("gitlab-group-{group}"), vec![claim])
                });
                let projects = self.gitlab_project.iter().map(|Path(project)| {
                    NewRule::new(
                        &format!("gitlab-project-{project}"),
                        vec![format!("project_path = \"{project}\"")],
                    )
                });
                groups.chain(projects).collect()
            }
            Kind::Buildkite => words(&self.buildkite_organization, "buildkite-organization", |word| {
                format!("organization_slug = \"{word}\"")
            }),
            Kind::Codefresh => {
                words(&self.codefresh_account, "codefresh-account", |word| format!("account_id = \"{word}\""))
            }
            Kind::Email => {
                words(&self.email_domain, "email-domain", |word| format!("email = {{ glob = \"*@{word}\" }}"))
            }
        }
    }
}

fn words(words: &[Word], name: &str, claim: impl Fn(&str) -> String) -> Vec<NewRule> {
    words.iter().map(|Word(word)| NewRule::new(&format!("{name}-{word}"), vec![claim(word)])).collect()
}

/// Only tables of policies may be in a file that goes into the middle of another one.
fn check_tables(text: &str) -> anyhow::Result<()> {
    let document: toml_edit::DocumentMut = text.parse()?;
    let ca = document.get("ca").and_then(toml_edit::Item::as_table_like);
    let only = |table: &dyn toml_edit::TableLike, key: &str| table.iter().all(|(name, _)| name == key);
    ensure!(
        only(document.as_table(), "ca") && ca.is_some_and(|ca| only(ca, "policy")),
        "the file must hold `[[ca.policy]]` tables and nothing else"
    );
    Ok(())
}

fn location(issuer: &Issuer) -> &str {
    let (Location::Url(text) | Location::Pattern(text)) = &issuer.location;
    text
}

/// Refuses an instance that would certify anyone, in the words of `init`.
pub(super) fn check(policies: &[ClaimPolicy], issuers: &IssuerConfig) -> anyhow::Result<()> {
    match ClaimPolicies::bind(policies.to_vec(), issuers) {
        Ok(_) => Ok(()),
        Err(PolicyError::AnyTenant { issuer, exposure, .. }) => {
            let kind =
                issuers.issuers().find(|known| location(known) == issuer).and_then(|known| Kind::of(known));
            let options = kind.map_or("--policies FILE (deploy/docs/claim-policies.md)", Kind::options);
            bail!(
                "{exposure} would get a certificate of this instance, because {issuer} {}: say who is meant by \
                 {options}, or --any-tenant if anyone is",
                exposure.cause()
            )
        }
        Err(error) => Err(error.into()),
    }
}
