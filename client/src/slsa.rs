//! SLSA provenance: written as GitHub's workflow build type, read as v1 and v0.2.
//! <https://slsa.dev/spec/v1.2/build-provenance>, <https://actions.github.io/buildtypes/workflow/v1>
//!
//! What is written matches `actions/attest` member by member, so that whatever reads GitHub's attestations reads
//! these. Made inside of the build's own job it is evidence for SLSA Build L2 at most, see DESIGN.md.

mod dependency;
mod facts;

use serde_json::{Value, json};

use crate::identity_token::Claims;
use crate::statement::Statement;

pub use self::facts::{Fact, FactKind};

/// Predicate type of provenance 1.0, 1.1 and 1.2.
pub const PROVENANCE_V1: &str = "https://slsa.dev/provenance/v1";
/// Predicate type of provenance 0.2.
pub const PROVENANCE_V0_2: &str = "https://slsa.dev/provenance/v0.2";
/// How the predicate types of all versions of provenance begin.
const PROVENANCE: &str = "https://slsa.dev/provenance/";
/// The build type that [`workflow_provenance`] writes.
pub const GITHUB_WORKFLOW: &str = "https://actions.github.io/buildtypes/workflow/v1";

/// How the build types of slsa-github-generator begin, which write provenance 0.2.
const GENERATOR: &str = "https://github.com/slsa-framework/slsa-github-generator";

/// Why provenance cannot be made or read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProvenanceError {
    /// The token is not that of a CI job.
    #[error("the identity token has no claim `{0}`, which GitHub-shaped CI tokens have")]
    MissingClaim(&'static str),
    /// `workflow_ref` has no `@`.
    #[error("the claim `workflow_ref` is not `<repository>/<path>@<ref>`")]
    WorkflowRef,
    /// The predicate is not what its type says.
    #[error("malformed provenance: it has no `{0}`")]
    MissingMember(&'static str),
    /// More of something than is compared.
    #[error("the provenance has more than {limit} {what}, and is not read")]
    TooMany {
        /// What.
        what: &'static str,
        /// How many are read at most.
        limit: usize,
    },
}

/// The predicate for a job's token, exactly as GitHub's own attestations have it. `server` is the CI's web
/// address, such as `https://github.com`.
pub fn workflow_provenance(claims: &Claims, server: &str) -> Result<Value, ProvenanceError> {
    let claim = |name| claims.text(name).ok_or(ProvenanceError::MissingClaim(name));
    let server = server.trim_end_matches('/');
    let repository = claim("repository")?;
    let workflow_ref = claim("workflow_ref")?;
    let (path, reference) =
        facts::split_workflow(workflow_ref, repository).ok_or(ProvenanceError::WorkflowRef)?;
    let (run, attempt) = (claim("run_id")?, claim("run_attempt")?);
    Ok(json!({
        "buildDefinition": {
            "buildType": GITHUB_WORKFLOW,
            "externalParameters": {
                "workflow": {
                    "ref": reference,
                    "repository": format!("{server}/{repository}"),
                    "path": path,
                },
            },
            "internalParameters": {
                "github": {
                    "event_name": claim("event_name")?,
                    "repository_id": claim("repository_id")?,
                    "repository_owner_id": claim("repository_owner_id")?,
                    "runner_environment": claim("runner_environment")?,
                },
            },
            "resolvedDependencies": [{
                "uri": format!("git+{server}/{repository}@{}", claim("ref")?),
                "digest": { "gitCommit": claim("sha")? },
            }],
        },
        "runDetails": {
            "builder": { "id": format!("{server}/{}", claim("job_workflow_ref")?) },
            "metadata": {
                "invocationId": format!("{server}/{repository}/actions/runs/{run}/attempts/{attempt}"),
            },
        },
    }))
}

/// What provenance states about a build, as far as expectations can be held against it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provenance {
    /// Builder id.
    pub builder: String,
    /// Build type.
    pub build_type: String,
    /// Facts of which a certificate of the same job states its own. Without a source for build types that
    /// this program cannot read one from.
    pub facts: Vec<Fact>,
    /// Whether the build type defines the facts as those of the job's token, and with that of the
    /// certificate.
    pub repeats_certificate: bool,
    /// External parameters that the build type does not define.
    pub unknown_parameters: Vec<String>,
}

impl Provenance {
    /// Reads a statement; `None` if its predicate is not SLSA provenance of a version that is read
    /// ([`is_unread`]).
    pub fn read(statement: &Statement) -> Result<Option<Self>, ProvenanceError> {
        match statement.predicate_type.as_str() {
            PROVENANCE_V1 => read_v1(&statement.predicate).map(Some),
            PROVENANCE_V0_2 => read_v0_2(&statement.predicate).map(Some),
            _ => Ok(None),
        }
    }

    /// Everything that is stated of one fact, once for every place that has to state it; `None` where the
    /// place does not.
    pub fn stated(&self, kind: FactKind) -> &[Option<String>] {
        self.facts.iter().find(|fact| fact.kind == kind).map_or(&[], |fact| &fact.stated)
    }
}

/// Whether a predicate is SLSA provenance of another version than the two that are read.
pub fn is_unread(predicate_type: &str) -> bool {
    predicate_type.starts_with(PROVENANCE) && ![PROVENANCE_V1, PROVENANCE_V0_2].contains(&predicate_type)
}

fn read_v1(predicate: &Value) -> Result<Provenance, ProvenanceError> {
    let build_type = text(predicate, "/buildDefinition/buildType")
        .ok_or(ProvenanceError::MissingMember("buildDefinition.buildType"))?;
    let builder = text(predicate, "/runDetails/builder/id")
        .ok_or(ProvenanceError::MissingMember("runDetails.builder.id"))?;
    if build_type != GITHUB_WORKFLOW {
        return Ok(Provenance {
            builder,
            build_type,
            facts: Vec::new(),
            repeats_certificate: false,
            unknown_parameters: Vec::new(),
        });
    }
    let parameters = predicate.pointer("/buildDefinition/externalParameters");
    let mut unknown_parameters = unknown_members(parameters, &["workflow"]);
    let workflow = parameters.and_then(|parameters| parameters.get("workflow"));
    unknown_parameters.extend(unknown_members(workflow, &["ref", "repository", "path"]));
    let facts = facts::of_workflow(predicate)?;
    Ok(Provenance { builder, build_type, facts, repeats_certificate: true, unknown_parameters })
}

fn read_v0_2(predicate: &Value) -> Result<Provenance, ProvenanceError> {
    let member = |path, name| text(predicate, path).ok_or(ProvenanceError::MissingMember(name));
    let build_type = member("/buildType", "buildType")?;
    let builder = member("/builder/id", "builder.id")?;
    let repeats_certificate =
        build_type.strip_prefix(GENERATOR).is_some_and(|rest| rest.starts_with(['/', '@']));
    let facts = if repeats_certificate {
        facts::of_generator(predicate)?
    } else {
        facts::of_config_source(predicate, None)?
    };
    Ok(Provenance { builder, build_type, facts, repeats_certificate, unknown_parameters: Vec::new() })
}

fn unknown_members(object: Option<&Value>, known: &[&str]) -> Vec<String> {
    let members = object.and_then(Value::as_object).into_iter().flatten();
    // Null is the same as absent in SLSA.
    members
        .filter(|(name, value)| !value.is_null() && !known.contains(&name.as_str()))
        .map(|(name, _)| name.chars().take(100).collect())
        .take(16)
        .collect()
}

fn text(value: &Value, path: &str) -> Option<String> {
    value.pointer(path).and_then(Value::as_str).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims() -> Claims {
        Claims::from_value(json!({
            "iss": "https://token.actions.githubusercontent.com",
            "repository": "octo-org/app",
            "repository_id": "74",
            "repository_owner_id": "65",
            "ref": "refs/heads/main",
            "sha": "aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d",
            "event_name": "push",
            "workflow_ref": "octo-org/app/.github/workflows/release.yml@refs/tags/pkg@1.0",
            "job_workflow_ref": "octo-org/shared/.github/workflows/build.yml@refs/heads/main",
            "runner_environment": "github-hosted",
            "run_id": "30433642",
            "run_attempt": "1",
        }))
    }

    #[test]
    fn workflow_provenance_is_githubs_member_by_member() {
        let expected = json!({
            "buildDefinition": {
                "buildType": "https://actions.github.io/buildtypes/workflow/v1",
                "externalParameters": {"workflow": {
                    "ref": "refs/tags/pkg@1.0",
                    "repository": "https://github.com/octo-org/app",
                    "path": ".github/workflows/release.yml",
                }},
                "internalParameters": {"github": {
                    "event_name": "push",
                    "repository_id": "74",
                    "repository_owner_id": "65",
                    "runner_environment": "github-hosted",
                }},
                "resolvedDependencies": [{
                    "uri": "git+https://github.com/octo-org/app@refs/heads/main",
                    "digest": {"gitCommit": "aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d"},
                }],
            },
            "runDetails": {
                "builder": {"id": "https://github.com/octo-org/shared/.github/workflows/build.yml@refs/heads/main"},
                "metadata": {
                    "invocationId": "https://github.com/octo-org/app/actions/runs/30433642/attempts/1",
                },
            },
        });
        assert_eq!(workflow_provenance(&claims(), "https://github.com/"), Ok(expected));
    }

    #[test]
    fn a_token_that_is_no_ci_jobs_is_refused() {
        let error = workflow_provenance(&Claims::from_value(json!({"sub": "me"})), "https://github.com");
        assert_eq!(error, Err(ProvenanceError::MissingClaim("repository")));
    }

    #[test]
    fn what_is_written_is_read_back() {
        let predicate = workflow_provenance(&claims(), "https://github.com").unwrap();
        let statement = Statement::new(vec![], PROVENANCE_V1, predicate);
        let read = Provenance::read(&statement).unwrap().unwrap();
        let twice = |text: &str| vec![Some(text.to_owned()); 2];
        assert_eq!(read.stated(FactKind::SourceRepository), twice("https://github.com/octo-org/app"));
        assert_eq!(read.stated(FactKind::SourceRef), [Some("refs/heads/main".to_owned())]);
        let commit = "aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d";
        assert_eq!(read.stated(FactKind::Commit), [Some(commit.to_owned())]);
        assert!(read.facts.iter().all(|fact| fact.stated.iter().all(Option::is_some)));
        assert!(read.unknown_parameters.is_empty());
    }

    #[test]
    fn parameters_that_the_build_type_does_not_define_are_named() {
        let mut predicate = workflow_provenance(&claims(), "https://github.com").unwrap();
        predicate["buildDefinition"]["externalParameters"]["inputs"] = json!({"debug": true});
        let read = Provenance::read(&Statement::new(vec![], PROVENANCE_V1, predicate)).unwrap().unwrap();
        assert_eq!(read.unknown_parameters, ["inputs"]);
    }

    #[test]
    fn the_source_of_provenance_0_2_is_read_whatever_the_build_type() {
        let predicate = json!({
            "builder": {"id": "b"}, "buildType": "t",
            "invocation": {"configSource": {"uri": "git+https://github.com/o/r@refs/tags/v1", "digest": {"sha1": "c"}}},
        });
        let read = Provenance::read(&Statement::new(vec![], PROVENANCE_V0_2, predicate)).unwrap().unwrap();
        assert_eq!(read.stated(FactKind::SourceRepository), [Some("https://github.com/o/r".to_owned())]);
        assert_eq!(read.stated(FactKind::SourceRef), [Some("refs/tags/v1".to_owned())]);
        assert!(!read.repeats_certificate);
    }
}
