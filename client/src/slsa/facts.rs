//! The facts in provenance that the job's token has too, and with it the certificate: what is stated, and
//! where it must be.

use serde_json::Value;

use super::dependency::{Dependency, MAX_DEPENDENCIES, Source};
use super::{ProvenanceError, text};

/// A fact about a build that certificates have in an extension of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FactKind {
    /// Repository.
    SourceRepository,
    /// Git ref.
    SourceRef,
    /// Commit.
    Commit,
    /// Path of the workflow file that started the build.
    WorkflowPath,
    /// Git ref of that file.
    WorkflowRef,
    /// Builder.
    Builder,
    /// Run and attempt.
    Run,
    /// Event.
    Trigger,
    /// Number of the repository, which outlives its name.
    RepositoryId,
    /// Address of its owner.
    Owner,
    /// Number of its owner.
    OwnerId,
    /// Kind of runner.
    RunnerEnvironment,
}

impl FactKind {
    /// Name for people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SourceRepository => "source repository",
            Self::SourceRef => "ref",
            Self::Commit => "commit",
            Self::WorkflowPath => "workflow path",
            Self::WorkflowRef => "workflow ref",
            Self::Builder => "builder",
            Self::Run => "run",
            Self::Trigger => "trigger",
            Self::RepositoryId => "repository id",
            Self::Owner => "owner",
            Self::OwnerId => "owner id",
            Self::RunnerEnvironment => "runner environment",
        }
    }

    /// Number of the certificate's extension.
    pub const fn extension(self) -> u8 {
        match self {
            Self::SourceRepository => 12,
            Self::SourceRef => 14,
            Self::Commit => 13,
            Self::WorkflowPath | Self::WorkflowRef => 18,
            Self::Builder => 9,
            Self::Run => 21,
            Self::Trigger => 20,
            Self::RepositoryId => 15,
            Self::Owner => 16,
            Self::OwnerId => 17,
            Self::RunnerEnvironment => 11,
        }
    }

    /// The fact in the text of its extension: all of it, or its part of `<repository>/<path>@<ref>`.
    pub fn certified<'t>(self, text: &'t str, repository: &str) -> Option<&'t str> {
        match self {
            Self::WorkflowPath => split_workflow(text, repository).map(|(path, _)| path),
            Self::WorkflowRef => split_workflow(text, repository).map(|(_, reference)| reference),
            _ => Some(text),
        }
    }

    /// Whether two texts are the same fact: commits are hexadecimal, everything else is compared as text.
    pub fn same(self, one: &str, other: &str) -> bool {
        if self == Self::Commit { one.eq_ignore_ascii_case(other) } else { one == other }
    }
}

/// Path and ref of `<repository>/<path>@<ref>`, cut at the first `@` behind the repository, as GitHub's action
/// does when it writes provenance. A ref may have more of them.
pub(super) fn split_workflow<'t>(text: &'t str, repository: &str) -> Option<(&'t str, &'t str)> {
    text.strip_prefix(repository)?.strip_prefix('/')?.split_once('@')
}

/// The facts that a dependency states.
const SOURCE: [FactKind; 3] = [FactKind::SourceRepository, FactKind::SourceRef, FactKind::Commit];

/// What provenance states of a fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// Which.
    pub kind: FactKind,
    /// One element for every place that has to state it; `None` where the place does not.
    pub stated: Vec<Option<String>>,
}

impl Fact {
    fn once(kind: FactKind, stated: Option<String>) -> Self {
        Self { kind, stated: vec![stated] }
    }
}

/// The facts of GitHub's workflow build type, which are all that its token has.
pub(super) fn of_workflow(predicate: &Value) -> Result<Vec<Fact>, ProvenanceError> {
    let workflow =
        |name: &str| text(predicate, &format!("/buildDefinition/externalParameters/workflow/{name}"));
    let missing = ProvenanceError::MissingMember("externalParameters.workflow.repository");
    let repository = workflow("repository").ok_or(missing)?;
    let internal =
        |name: &str| text(predicate, &format!("/buildDefinition/internalParameters/github/{name}"));
    let dependencies = predicate.pointer("/buildDefinition/resolvedDependencies");
    let runs = spelled(predicate.pointer("/runDetails/metadata"), ["invocationId", "invocationID"]);
    let id = internal("repository_id");
    let source = Source::new(&repository, id.as_deref(), "gitCommit")?;
    let mut facts = of_source(&source, None, dependencies)?;
    facts.extend([
        Fact::once(FactKind::WorkflowPath, workflow("path")),
        Fact::once(FactKind::WorkflowRef, workflow("ref")),
        Fact::once(FactKind::Builder, text(predicate, "/runDetails/builder/id")),
        Fact { kind: FactKind::Run, stated: runs.collect() },
        Fact::once(FactKind::Trigger, internal("event_name")),
        Fact::once(FactKind::RepositoryId, id),
        Fact::once(FactKind::OwnerId, internal("repository_owner_id")),
        Fact::once(FactKind::RunnerEnvironment, internal("runner_environment")),
    ]);
    Ok(facts)
}

/// The source of provenance 0.2 of any build type: repository, ref and commit. They have their places also
/// where the predicate has none. `id` is the repository's number.
pub(super) fn of_config_source(predicate: &Value, id: Option<&str>) -> Result<Vec<Fact>, ProvenanceError> {
    let config = predicate.pointer("/invocation/configSource");
    match Config::read(predicate).repository {
        Some(repository) => {
            let source = Source::new(&repository, id, "sha1")?;
            of_source(&source, config, predicate.pointer("/materials"))
        }
        None => Ok(SOURCE.map(|kind| Fact::once(kind, None)).to_vec()),
    }
}

/// The facts of provenance 0.2 as slsa-github-generator writes it: all that it has from the token or the
/// workflow's context. It has no runner environment.
/// <https://github.com/slsa-framework/slsa-github-generator/blob/v2.1.0/slsa/buildtype.go>
pub(super) fn of_generator(predicate: &Value) -> Result<Vec<Fact>, ProvenanceError> {
    let config = Config::read(predicate);
    let environment = |name: &str| text(predicate, &format!("/invocation/environment/{name}"));
    // The specification and the generators in use spell this member differently.
    let runs = spelled(predicate.pointer("/metadata"), ["buildInvocationId", "buildInvocationID"]);
    let runs = runs.map(|stated| {
        let stated = stated?;
        let (id, attempt) = stated.split_once('-')?;
        config.run(id, attempt)
    });
    let own_run = environment("github_run_id").zip(environment("github_run_attempt"));
    let own_run = own_run.and_then(|(id, attempt)| config.run(&id, &attempt));
    let owner = environment("github_repository_owner").and_then(|owner| config.owner(&owner));
    let id = environment("github_repository_id");
    let mut facts = of_config_source(predicate, id.as_deref())?;
    facts.extend([
        Fact::once(FactKind::SourceRef, environment("github_ref")),
        Fact::once(FactKind::Commit, environment("github_sha1")),
        Fact::once(FactKind::WorkflowPath, config.path.clone()),
        Fact::once(FactKind::WorkflowRef, config.reference.clone()),
        Fact::once(FactKind::Builder, text(predicate, "/builder/id")),
        Fact { kind: FactKind::Run, stated: runs.chain([own_run]).collect() },
        Fact::once(FactKind::Trigger, environment("github_event_name")),
        Fact::once(FactKind::RepositoryId, id),
        Fact::once(FactKind::Owner, owner),
        Fact::once(FactKind::OwnerId, environment("github_repository_owner_id")),
    ]);
    Ok(merged(facts))
}

/// The source in provenance 0.2, and the facts that hang on it.
#[derive(Default)]
struct Config {
    repository: Option<String>,
    reference: Option<String>,
    path: Option<String>,
}

impl Config {
    fn read(predicate: &Value) -> Self {
        let Some(config) = predicate.pointer("/invocation/configSource") else { return Self::default() };
        let path = text(config, "/entryPoint");
        let Some(uri) = text(config, "/uri") else { return Self { path, ..Self::default() } };
        let source = uri.strip_prefix("git+").unwrap_or(&uri);
        let (repository, reference) =
            source.split_once('@').map_or((source, None), |(repository, at)| (repository, Some(at)));
        Self { repository: Some(repository.to_owned()), reference: reference.map(str::to_owned), path }
    }

    fn run(&self, id: &str, attempt: &str) -> Option<String> {
        Some(format!("{}/actions/runs/{id}/attempts/{attempt}", self.repository.as_ref()?))
    }

    fn owner(&self, name: &str) -> Option<String> {
        let server = self.repository.as_ref()?.rsplitn(3, '/').nth(2)?;
        Some(format!("{server}/{name}"))
    }
}

/// Facts of which each kind occurs once.
fn merged(facts: Vec<Fact>) -> Vec<Fact> {
    let mut merged: Vec<Fact> = Vec::with_capacity(facts.len());
    for fact in facts {
        match merged.iter_mut().find(|other| other.kind == fact.kind) {
            Some(other) => other.stated.extend(fact.stated),
            None => merged.push(fact),
        }
    }
    merged
}

/// What a member states that has two spellings: what either of them does, since readers take different ones.
/// Null is the same as absent.
fn spelled(object: Option<&Value>, names: [&str; 2]) -> impl Iterator<Item = Option<String>> {
    let members = names.into_iter().filter_map(|name| object?.get(name));
    let mut stated: Vec<_> =
        members.filter(|it| !it.is_null()).map(|it| it.as_str().map(str::to_owned)).collect();
    if stated.is_empty() {
        stated.push(None);
    }
    stated.into_iter()
}

/// Repository, ref and commit: `config` itself, if given, and every dependency that is this repository in a
/// known spelling.
fn of_source(
    source: &Source<'_>,
    config: Option<&Value>,
    dependencies: Option<&Value>,
) -> Result<Vec<Fact>, ProvenanceError> {
    let others = dependencies.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if others.len() > MAX_DEPENDENCIES {
        return Err(ProvenanceError::TooMany { what: "dependencies", limit: MAX_DEPENDENCIES });
    }
    let mut facts = SOURCE.map(|kind| Fact { kind, stated: Vec::new() });
    if config.is_none() {
        facts[0].stated.push(Some(source.repository().to_owned()));
    }
    for it in config.into_iter().chain(others) {
        let Some(Dependency { repositories, references, commits }) = source.read(it) else { continue };
        facts
            .iter_mut()
            .zip([repositories, references, commits])
            .for_each(|(fact, it)| fact.stated.extend(it));
    }
    Ok(facts.to_vec())
}
