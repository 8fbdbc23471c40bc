//! The claims of a pretended GitHub Actions job, complete as GitHub documents them.
//!
//! Claims that follow from others (`sub`, `workflow_ref`, `repository_owner` …) follow overrides too, so a test that
//! asks for another repository gets a coherent job of that repository. An explicit override wins over everything.

use chancery_tlog::clock::Timestamp;
use serde_json::{Map, Value, json};

/// Seconds that a token is valid.
pub(crate) const LIFETIME: u64 = 600;
/// GitHub back-dates `nbf` by ten minutes.
const BACKDATED: u64 = 600;

/// A job: the repository and what else shapes its claims.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    repository: String,
}

/// Claims by name.
pub(crate) type Claims = Map<String, Value>;

impl Job {
    /// The repository of a job that nobody said anything about.
    pub(crate) const REPOSITORY: &'static str = "acme/rocket";
    const REF: &'static str = "refs/heads/main";
    const SHA: &'static str = "4f2d6c1b8a9e0d3c5b7a6f8e9d0c1b2a3f4e5d6c";
    const WORKFLOW: &'static str = ".github/workflows/release.yml";

    /// A job of `repository`.
    pub(crate) fn of(repository: &str) -> Self {
        Self { repository: repository.to_owned() }
    }

    /// All claims of a token that `issuer` mints at `now`; `overrides` replace claims, and `null` removes them.
    pub(crate) fn claims(
        &self,
        issuer: &str,
        audience: Option<&str>,
        now: Timestamp,
        overrides: &Claims,
    ) -> Claims {
        let mut claims = self.job_claims(overrides);
        let owner = text(&claims, "repository_owner").to_owned();
        let subject = format!("repo:{}:ref:{}", text(&claims, "repository"), text(&claims, "ref"));
        let audience = audience.map_or_else(|| format!("https://github.com/{owner}"), str::to_owned);
        let now = now.seconds();
        claims.extend([
            ("iss".into(), json!(issuer)),
            ("aud".into(), json!(audience)),
            ("sub".into(), json!(subject)),
            ("iat".into(), json!(now)),
            ("nbf".into(), json!(now.saturating_sub(BACKDATED))),
            ("exp".into(), json!(now + LIFETIME)),
        ]);
        claims.extend(overrides.clone());
        claims.retain(|_, value| !value.is_null());
        claims
    }

    /// The environment variables that GitHub's runner would set for this job.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        let claims = self.job_claims(&Claims::new());
        let mut variables: Vec<(&'static str, String)> = [
            ("GITHUB_ACTOR", "actor"),
            ("GITHUB_EVENT_NAME", "event_name"),
            ("GITHUB_REF", "ref"),
            ("GITHUB_REF_TYPE", "ref_type"),
            ("GITHUB_REPOSITORY", "repository"),
            ("GITHUB_REPOSITORY_ID", "repository_id"),
            ("GITHUB_REPOSITORY_OWNER", "repository_owner"),
            ("GITHUB_REPOSITORY_OWNER_ID", "repository_owner_id"),
            ("GITHUB_RUN_ATTEMPT", "run_attempt"),
            ("GITHUB_RUN_ID", "run_id"),
            ("GITHUB_RUN_NUMBER", "run_number"),
            ("GITHUB_SHA", "sha"),
            ("GITHUB_WORKFLOW", "workflow"),
            ("GITHUB_WORKFLOW_REF", "workflow_ref"),
            ("GITHUB_WORKFLOW_SHA", "workflow_sha"),
            ("RUNNER_ENVIRONMENT", "runner_environment"),
        ]
        .into_iter()
        .map(|(variable, claim)| (variable, text(&claims, claim).to_owned()))
        .collect();
        variables.push(("GITHUB_ACTIONS", "true".to_owned()));
        variables.push(("GITHUB_SERVER_URL", "https://github.com".to_owned()));
        variables
    }

    fn job_claims(&self, overrides: &Claims) -> Claims {
        let chosen = |name: &str, default: &str| {
            overrides.get(name).and_then(Value::as_str).unwrap_or(default).to_owned()
        };
        let repository = chosen("repository", &self.repository);
        let reference = chosen("ref", Self::REF);
        let sha = chosen("sha", Self::SHA);
        let owner = repository.split('/').next().unwrap_or_default().to_owned();
        let workflow_ref = chosen("workflow_ref", &format!("{repository}/{}@{reference}", Self::WORKFLOW));
        let ref_type = if reference.starts_with("refs/tags/") { "tag" } else { "branch" };
        let Value::Object(claims) = json!({
            "actor": "octocat",
            "actor_id": "583231",
            "base_ref": "",
            "check_run_id": "30482910477",
            "enterprise": "acme",
            "enterprise_id": "4711",
            "event_name": "push",
            "head_ref": "",
            "job_workflow_ref": workflow_ref,
            "job_workflow_sha": sha,
            "jti": "",
            "ref": reference,
            "ref_protected": "true",
            "ref_type": ref_type,
            "repository": repository,
            "repository_id": "74123456",
            "repository_owner": owner,
            "repository_owner_id": "9919",
            "repository_visibility": "private",
            "run_attempt": "1",
            "run_id": "17345678901",
            "run_number": "42",
            "runner_environment": "github-hosted",
            "sha": sha,
            "workflow": "release",
            "workflow_ref": workflow_ref,
            "workflow_sha": sha,
        }) else {
            unreachable!("the literal above is an object")
        };
        claims
    }
}

/// The text of a claim that is known to be one.
fn text<'c>(claims: &'c Claims, name: &str) -> &'c str {
    claims.get(name).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISSUER: &str = "http://127.0.0.1:8888";
    const NOW: Timestamp = Timestamp::from_seconds(1_790_000_000);

    fn minted(overrides: Value) -> Claims {
        let Value::Object(overrides) = overrides else { panic!("overrides are an object") };
        Job::of(Job::REPOSITORY).claims(ISSUER, Some("sigstore"), NOW, &overrides)
    }

    #[test]
    fn every_claim_that_fulcio_templates_read_is_there() {
        let claims = minted(json!({}));
        for name in [
            "event_name",
            "sha",
            "workflow",
            "repository",
            "ref",
            "job_workflow_ref",
            "job_workflow_sha",
            "runner_environment",
            "repository_id",
            "repository_owner",
            "repository_owner_id",
            "workflow_ref",
            "workflow_sha",
            "run_id",
            "run_attempt",
            "repository_visibility",
        ] {
            assert!(claims[name].is_string(), "{name} must be a string, as GitHub sends it");
        }
        assert_eq!(claims["repository_visibility"], "private");
        assert_eq!(claims["job_workflow_ref"], "acme/rocket/.github/workflows/release.yml@refs/heads/main");
        assert_eq!(claims["sub"], "repo:acme/rocket:ref:refs/heads/main");
    }

    #[test]
    fn derived_claims_follow_an_override_and_explicit_ones_win() {
        let claims = minted(json!({"repository": "evil/rocket", "ref": "refs/tags/v1", "actor": "mallory"}));
        assert_eq!(claims["repository_owner"], "evil");
        assert_eq!(claims["workflow_ref"], "evil/rocket/.github/workflows/release.yml@refs/tags/v1");
        assert_eq!(claims["ref_type"], "tag");
        assert_eq!(claims["actor"], "mallory");
        assert_eq!(minted(json!({"sub": "anything"}))["sub"], "anything");
    }

    #[test]
    fn null_removes_a_claim() {
        assert!(!minted(json!({"exp": null})).contains_key("exp"));
    }

    #[test]
    fn times_come_from_the_clock() {
        let claims = minted(json!({}));
        assert_eq!(claims["iat"], NOW.seconds());
        assert_eq!(claims["exp"], NOW.seconds() + LIFETIME);
    }
}
