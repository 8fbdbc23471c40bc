//! Fulcio's issuer types from before `ci-provider`: fixed mappings, each of which requires certain claims to
//! be text.
//!
//! Go decodes the claims of such a type into a struct. So a required claim that is absent, null or empty
//! refuses the token, an optional one is then empty, and a claim of another JSON type refuses the token
//! either way. Reference: fulcio `pkg/identity/{github,gitlabcom,buildkite,codefresh}/principal.go`.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{Item, Values};

/// One of the older types.
#[derive(Debug, PartialEq, Eq)]
pub struct Legacy {
    /// Claims that must be text and not empty.
    required: &'static [&'static str],
    /// Claims that are text if they are there.
    optional: &'static [&'static str],
    /// A claim that must be a whole number other than zero; it is not certified.
    number: Option<&'static str>,
    /// A required claim and the texts that it may be.
    one_of: Option<(&'static str, &'static [&'static str])>,
    /// Whether Go joins the name to a base URL rather than parsing it.
    pub joined_name: bool,
    /// Extensions with URLs that Go joins.
    pub joined: &'static [u8],
    /// Extensions with URLs that Go parses and prints.
    pub parsed: &'static [u8],
}

/// The type of this name.
pub(super) fn of(type_name: &str) -> Option<&'static Legacy> {
    match type_name {
        "github-workflow" => Some(&GITHUB),
        "gitlab-pipeline" => Some(&GITLAB),
        "buildkite-job" => Some(&BUILDKITE),
        "codefresh-workflow" => Some(&CODEFRESH),
        _ => None,
    }
}

impl Legacy {
    /// The values of the type's claims. Other claims of the token have no effect: one named `url` cannot move
    /// a base URL. `Err` with the claim that refuses the token.
    pub fn values(
        &self,
        defaults: &BTreeMap<String, String>,
        claims: &Map<String, Value>,
    ) -> Result<Values, &'static str> {
        let default = |(name, text): (&String, &String)| (name.clone(), Item::Text(text.clone()));
        let mut values: BTreeMap<String, Item> = defaults.iter().map(default).collect();
        for &name in self.required {
            let text = text(claims, name)?.filter(|text| !text.is_empty()).ok_or(name)?;
            values.insert(name.to_owned(), Item::Text(text.to_owned()));
        }
        for &name in self.optional {
            match text(claims, name)? {
                Some(text) if !text.is_empty() => values.insert(name.to_owned(), Item::Text(text.to_owned())),
                _ if defaults.contains_key(name) => None,
                _ => values.insert(name.to_owned(), Item::Text(String::new())),
            };
        }
        if let Some(name) = self.number {
            claims.get(name).and_then(Value::as_i64).filter(|number| *number != 0).ok_or(name)?;
        }
        if let Some((name, texts)) = self.one_of {
            claims.get(name).and_then(Value::as_str).filter(|text| texts.contains(text)).ok_or(name)?;
        }
        Ok(Values(values))
    }

    /// Names of the required claims.
    #[cfg(test)]
    pub(crate) fn required(&self) -> &'static [&'static str] {
        self.required
    }

    /// Names of the optional claims.
    #[cfg(test)]
    pub(crate) fn optional(&self) -> &'static [&'static str] {
        self.optional
    }
}

/// The text of a claim; `None` if it is absent or null.
fn text<'a>(claims: &'a Map<String, Value>, name: &'static str) -> Result<Option<&'a str>, &'static str> {
    match claims.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(name),
    }
}

static GITHUB: Legacy = Legacy {
    required: &[
        "job_workflow_ref",
        "sha",
        "event_name",
        "repository",
        "workflow",
        "ref",
        "job_workflow_sha",
        "runner_environment",
        "repository_id",
        "repository_owner",
        "repository_owner_id",
        "repository_visibility",
        "workflow_ref",
        "workflow_sha",
        "run_id",
        "run_attempt",
    ],
    optional: &[],
    number: None,
    one_of: None,
    joined_name: true,
    joined: &[9, 12, 16, 18, 21],
    parsed: &[],
};

static GITLAB: Legacy = Legacy {
    required: &[
        "project_path",
        "pipeline_source",
        "pipeline_id",
        "ci_config_ref_uri",
        "job_id",
        "ref",
        "ref_type",
        "namespace_path",
        "namespace_id",
        "project_id",
        "sha",
        "runner_environment",
    ],
    optional: &["ci_config_sha", "project_visibility"],
    number: Some("runner_id"),
    one_of: Some(("ref_type", &["branch", "tag"])),
    joined_name: false,
    joined: &[12, 16, 21],
    parsed: &[9, 18],
};

static BUILDKITE: Legacy = Legacy {
    required: &["organization_slug", "pipeline_slug"],
    optional: &[],
    number: None,
    one_of: None,
    joined_name: false,
    joined: &[],
    parsed: &[],
};

/// Fulcio also takes an absent `account_name` or `pipeline_name`, and certifies a name with a hole; a name
/// refuses an empty claim here.
static CODEFRESH: Legacy = Legacy {
    required: &["account_id", "pipeline_id", "workflow_id"],
    optional: &[
        "account_name",
        "pipeline_name",
        "initiator",
        "scm_repo_url",
        "scm_user_name",
        "scm_ref",
        "scm_pull_request_target_branch",
        "runner_environment",
        "platform_url",
    ],
    number: None,
    one_of: None,
    joined_name: true,
    joined: &[9, 18, 21],
    parsed: &[],
};
