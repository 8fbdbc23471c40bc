//! Names of CI systems: every claim that enters a name or a URI, with every value that must not.

use serde_json::json;

use super::*;

/// Good claims of each type, with all optional ones.
fn claims_of(kind: &str) -> Map<String, Value> {
    let claims = match kind {
        "github-workflow" => return crate::issuance::test_instance::github_claims(),
        "gitlab-pipeline" => json!({
            "sub": "project_path:acme/rocket:ref_type:branch:ref:main", "namespace_id": "72", "namespace_path": "acme",
            "project_id": "20", "project_path": "acme/rocket", "project_visibility": "private", "pipeline_id": "574",
            "pipeline_source": "push", "job_id": "302", "ref": "main", "ref_type": "branch", "runner_id": 1,
            "runner_environment": "self-hosted", "sha": "4f2d6c1b8a9e0d3c5b7a6f8e9d0c1b2a3f4e5d6c",
            "ci_config_ref_uri": "gitlab.com/acme/rocket//.gitlab-ci.yml@refs/heads/main",
            "ci_config_sha": "4f2d6c1b8a9e0d3c5b7a6f8e9d0c1b2a3f4e5d6c",
        }),
        "buildkite-job" => json!({
            "sub": "organization:acme", "organization_slug": "acme", "pipeline_slug": "rocket", "step_key": null,
            "build_number": 1, "build_commit": "9f31", "build_source": "webhook", "job_id": "0184", "runner_environment": "self-hosted",
        }),
        "codefresh-workflow" => json!({
            "sub": "account:1", "account_id": "628a", "account_name": "acme", "pipeline_id": "65e5",
            "pipeline_name": "rocket/build", "workflow_id": "65e6", "platform_url": "https://g.codefresh.io",
            "scm_repo_url": "https://github.com/acme/rocket", "scm_ref": "main", "runner_environment": "hybrid",
            "initiator": "x", "scm_user_name": "x", "scm_pull_request_target_branch": "x",
        }),
        other => panic!("{other}"),
    };
    claims.as_object().unwrap().clone()
}

const LEGACY: [&str; 4] = ["github-workflow", "gitlab-pipeline", "buildkite-job", "codefresh-workflow"];

fn with(kind: &str, claim: &str, value: Option<Value>) -> Value {
    let mut claims = claims_of(kind);
    match value {
        Some(value) => claims.insert(claim.to_owned(), value),
        None => claims.remove(claim),
    };
    Value::Object(claims)
}

fn not_text() -> Vec<Value> {
    vec![json!(5), json!(0.5), json!(true), json!([]), json!(["x"]), json!({}), json!({"x": "y"})]
}

/// Values that read as another name somewhere.
const TRICKS: [&str; 14] = [
    "evil/../acme/rocket",
    "../acme/rocket",
    "x/./y",
    "x/..",
    "x/..;y/z",
    "x/%2e%2e/y",
    "x/%2E/y",
    "x%2f..%2fy",
    "x%5cy",
    "x\\y",
    "x\u{202e}y",
    "x\u{200b}y",
    "x\u{0}y",
    "x%E2%80%AEy",
];

#[test]
fn a_legacy_type_certifies_good_claims() {
    for (kind, expected) in [
        ("github-workflow", "https://github.com/octo-org/build/.github/workflows/release.yml@refs/tags/v1"),
        ("gitlab-pipeline", "https://gitlab.com/acme/rocket//.gitlab-ci.yml@refs/heads/main"),
        ("buildkite-job", "https://buildkite.com/acme/rocket"),
        ("codefresh-workflow", "https://g.codefresh.io/acme/rocket/build:628a/65e5"),
    ] {
        let claims = Value::Object(claims_of(kind));
        assert_eq!(name(&format!("type: {kind}"), claims), Ok(SubjectName::Uri(expected.to_owned())));
    }
}

/// Required claims are text and not empty; optional ones are text or not there, and then their extension is
/// not there.
#[test]
fn a_legacy_type_certifies_no_name_and_no_fact_with_a_hole() {
    for kind in LEGACY {
        let type_line = format!("type: {kind}");
        let legacy = crate::template::shipped::legacy(kind).unwrap().legacy.unwrap();
        for claim in legacy.required() {
            let holes = not_text().into_iter().chain([Value::Null, json!("")]).map(Some).chain([None]);
            for hole in holes {
                let refused = principal(&type_line, with(kind, claim, hole.clone()));
                assert_eq!(refused, Err(PrincipalError::Claim(claim)), "{kind} {claim} {hole:?}");
            }
        }
        for claim in legacy.optional() {
            for absent in [None, Some(Value::Null), Some(json!(""))] {
                let named = principal(&type_line, with(kind, claim, absent.clone()));
                if matches!(*claim, "account_name" | "pipeline_name") {
                    assert!(named.is_err(), "a name with a hole: {claim} {absent:?}");
                    continue;
                }
                let named = named.unwrap_or_else(|error| panic!("{kind} {claim} {absent:?}: {error}"));
                assert!(!format!("{named:?}").contains("nil"), "{named:?}");
            }
            for value in not_text() {
                let refused = principal(&type_line, with(kind, claim, Some(value.clone())));
                assert_eq!(refused, Err(PrincipalError::Claim(claim)), "{kind} {claim} {value}");
            }
        }
    }
}

#[test]
fn a_gitlab_pipeline_needs_a_runner_and_a_known_kind_of_ref() {
    let of = |claim: &str, value: Option<Value>| {
        name("type: gitlab-pipeline", with("gitlab-pipeline", claim, value))
    };
    for value in [None, Some(Value::Null), Some(json!(0)), Some(json!("1")), Some(json!(0.5))] {
        assert_eq!(of("runner_id", value.clone()), Err(PrincipalError::Claim("runner_id")), "{value:?}");
    }
    assert!(of("ref_type", Some(json!("tag"))).is_ok());
    assert_eq!(of("ref_type", Some(json!("merge"))), Err(PrincipalError::Claim("ref_type")));
}

#[test]
fn a_claim_cannot_move_the_base_url_of_a_legacy_type() {
    for (kind, host) in [
        ("github-workflow", "github.com"),
        ("gitlab-pipeline", "gitlab.com"),
        ("buildkite-job", "buildkite.com"),
    ] {
        let claims = with(kind, "url", Some(json!("https://evil.example")));
        let named = principal(&format!("type: {kind}"), claims).unwrap();
        assert!(!format!("{named:?}").contains("evil.example"), "{named:?}");
        assert!(named.subject.value().starts_with(&format!("https://{host}/")));
    }
}

/// In a name, in a URI and in a repository or ref, whichever claim brings it and whatever the type.
#[test]
fn a_claim_that_reads_as_another_name_is_refused() {
    let facts = |principal: &Principal| {
        let of_uris = |n: u8| matches!(n, 5 | 6 | 9 | 12 | 14 | 16 | 18 | 21);
        let mut facts = vec![principal.subject.value().to_owned()];
        facts
            .extend(principal.extensions.iter().filter(|(n, _)| of_uris(*n)).map(|(_, value)| value.clone()));
        facts
    };
    for kind in LEGACY {
        for type_line in [format!("type: {kind}"), format!("type: ci-provider\nci-provider: {kind}")] {
            let texts: Vec<String> =
                claims_of(kind).into_iter().filter(|(_, v)| v.is_string()).map(|(name, _)| name).collect();
            let mut tried = 0;
            // A job's id is behind the `#` of Buildkite's URL, where no parser resolves anything.
            for claim in texts
                .iter()
                .filter(|claim| *claim != "sub" && (kind, claim.as_str()) != ("buildkite-job", "job_id"))
            {
                let marked = principal(&type_line, with(kind, claim, Some(json!("https://marker"))));
                let marked =
                    marked.or_else(|_| principal(&type_line, with(kind, claim, Some(json!("marker")))));
                let is_certified = marked.is_ok_and(|p| facts(&p).iter().any(|fact| fact.contains("marker")));
                if !is_certified {
                    continue;
                }
                tried += 1;
                for trick in TRICKS {
                    for value in [trick.to_owned(), format!("https://h.example/{trick}")] {
                        let refused = principal(&type_line, with(kind, claim, Some(json!(value))));
                        assert!(refused.is_err(), "{type_line}: {claim} = {value:?} gave {refused:?}");
                    }
                }
            }
            assert!(tried >= 2, "{type_line}: {tried} claims enter a name or a URI");
        }
    }
}

/// A ci-provider's name takes text only.
#[test]
fn a_template_makes_no_name_of_a_claim_that_is_absent_empty_or_not_text() {
    for (kind, claims) in [
        ("github-workflow", vec!["job_workflow_ref"]),
        ("gitlab-pipeline", vec!["ci_config_ref_uri"]),
        ("buildkite-job", vec!["organization_slug", "pipeline_slug"]),
        ("codefresh-workflow", vec!["account_name", "pipeline_name", "account_id", "pipeline_id"]),
    ] {
        for claim in claims {
            let holes = not_text().into_iter().chain([Value::Null, json!("")]).map(Some).chain([None]);
            for hole in holes {
                let refused =
                    name(&format!("type: ci-provider\nci-provider: {kind}"), with(kind, claim, hole.clone()));
                assert!(
                    matches!(refused, Err(PrincipalError::Template(_))),
                    "{kind} {claim} {hole:?}: {refused:?}"
                );
            }
        }
    }
}

/// A file with one provider whose name is this template.
fn provider_named(template: &str) -> Result<std::sync::Arc<Issuer>, crate::config::ConfigError> {
    let text = json!({
        "OIDCIssuers": { ISSUER: { "IssuerURL": ISSUER, "ClientID": "a", "Type": "ci-provider", "CIProvider": "p" } },
        "CIIssuerMetadata": { "p": {
            "DefaultTemplateValues": { "url": "https://h.example", "broken": "https://h..example" },
            "SubjectAlternativeNameTemplate": template,
        } },
    });
    IssuerConfig::parse(&text.to_string()).map(|config| config.find(ISSUER).unwrap().clone())
}

#[test]
fn a_template_that_can_make_no_name_is_refused_at_load() {
    for template in [
        "https://h.example:abc/{{ .a }}",
        "https://h..example/{{ .a }}",
        "https://[zz]/{{ .a }}",
        "https:///{{ .a }}",
        "https://u@h.example/{{ .a }}",
        "https://h.example/../{{ .a }}",
        "https://h.example/%2e%2e/{{ .a }}",
        "/{{ .a }}",
        "acme/{{ .a }}",
        "h.example/{{ .a }}",
        "git@h.example:{{ .a }}",
        "{{ .broken }}/{{ .a }}",
        "broken",
        "{{ if eq .a \"x\" }}https://h.example/a{{ else }}h.example/b{{ end }}",
    ] {
        let error = provider_named(template).expect_err(template).to_string();
        assert!(error.contains("subject-alternative-name-template"), "{error}");
    }
    for template in [
        "{{ .url }}/{{ .a }}",
        "https://{{ .host }}/{{ .a }}",
        "https://h.example:{{ .port }}/{{ .a }}",
        "https://[{{ .address }}]/{{ .a }}",
        "sub",
        "{{ .base }}/{{ .a }}",
    ] {
        provider_named(template).expect(template);
    }
}

/// Names without a host, as Fulcio issues them, by templates of operators.
#[test]
fn a_template_may_make_a_name_without_a_host() {
    let of = |template: &str, a: &str| {
        let issuer = provider_named(template).expect(template);
        let claims = json!({ "sub": a, "a": a }).as_object().unwrap().clone();
        Principal::named_by(&VerifiedToken { issuer, iss: ISSUER.to_owned(), sub: a.to_owned(), claims })
    };
    for (template, a, expected) in [
        ("urn:acme:{{ .a }}", "rocket", "urn:acme:rocket"),
        ("sub", "repo:o/r:ref:refs/heads/main", "repo:o/r:ref:refs/heads/main"),
        ("mailto:{{ .a }}", "a@b.example", "mailto:a@b.example"),
        ("arn:aws:iam::1:role/{{ .a }}", "build", "arn:aws:iam::1:role/build"),
        ("pkg:github/{{ .a }}", "acme/rocket@v1", "pkg:github/acme/rocket@v1"),
        ("ssh://git@h.example/{{ .a }}", "acme/rocket", "ssh://git@h.example/acme/rocket"),
    ] {
        let named = of(template, a).unwrap_or_else(|error| panic!("{template}: {error}"));
        assert_eq!(named.subject, SubjectName::Uri(expected.to_owned()));
        for trick in TRICKS {
            assert!(of(template, trick).is_err(), "{template} {trick:?}");
        }
    }
    for relative in ["acme/rocket", "git@h.example:acme/rocket", "https:acme"] {
        let refused = of("sub", relative);
        assert!(matches!(refused, Err(PrincipalError::Uri { .. })), "{relative}: {refused:?}");
    }
}
