//! Tokens: what each kind of issuer puts into them, and the shapes that a claim may have.

use serde_json::{Value, json};

/// A kind of issuer in Fulcio's configuration: its name, what follows the client id there, the claims that it reads besides
/// those of a GitHub job, and those whose shape is varied.
pub(super) struct Kind {
    pub(super) name: &'static str,
    pub(super) configuration: &'static str,
    pub(super) claims: fn() -> Value,
    pub(super) varied: &'static [&'static str],
}

pub(super) const KINDS: &[Kind] = &[
    Kind {
        name: "ci-provider",
        configuration: "type: ci-provider\n    ci-provider: github-workflow",
        claims: || json!({}),
        varied: &["job_workflow_ref", "sha", "repository", "event_name", "run_id", "ref", "sub"],
    },
    Kind {
        name: "github",
        configuration: "type: github-workflow",
        claims: || json!({}),
        varied: &[
            "job_workflow_ref",
            "sha",
            "event_name",
            "repository",
            "workflow",
            "ref",
            "run_id",
            "run_attempt",
            "sub",
        ],
    },
    Kind {
        name: "gitlab",
        configuration: "type: gitlab-pipeline",
        claims: || {
            json!({
                "sub": "project_path:acme/rocket:ref_type:branch:ref:main",
                "project_path": "acme/rocket", "project_id": "7", "pipeline_source": "push", "pipeline_id": "9",
                "ci_config_ref_uri": "gitlab.com/acme/rocket//.gitlab-ci.yml@refs/heads/main",
                "ci_config_sha": "ca501288c6c0d8d3f6d9c0d8d3f6d9c0d8d3f6d9", "job_id": "302", "ref": "main",
                "ref_type": "branch", "namespace_id": "1730270", "namespace_path": "acme", "runner_id": 1,
                "runner_environment": "gitlab-hosted", "project_visibility": "private",
            })
        },
        varied: &[
            "ci_config_ref_uri",
            "ci_config_sha",
            "project_path",
            "project_id",
            "pipeline_id",
            "job_id",
            "ref",
            "runner_id",
        ],
    },
    Kind {
        name: "buildkite",
        configuration: "type: buildkite-job",
        claims: || {
            json!({
                "sub": "organization:acme:pipeline:rocket:ref:main:commit:abc:step:build",
                "organization_slug": "acme", "pipeline_slug": "rocket", "build_branch": "main", "build_number": 7,
                "build_commit": "abc", "job_id": "0184990a-477b-4fa8-9968-496074483cee", "build_source": "ui",
            })
        },
        varied: &["organization_slug", "pipeline_slug", "build_number", "build_commit", "job_id", "sub"],
    },
    Kind {
        name: "codefresh",
        configuration: "type: codefresh-workflow",
        claims: || {
            json!({
                "sub": "account:1234:pipeline:5678", "account_id": "1234", "account_name": "acme",
                "pipeline_id": "5678", "pipeline_name": "rocket/build", "workflow_id": "91011", "initiator": "octocat",
                "platform_url": "https://g.codefresh.io",
            })
        },
        varied: &["account_name", "pipeline_name", "pipeline_id", "workflow_id", "platform_url", "initiator"],
    },
    Kind {
        name: "email",
        configuration: "type: email",
        claims: || json!({ "email": "octocat@example.com", "email_verified": true, "sub": "1234" }),
        varied: &["email", "email_verified", "sub"],
    },
    Kind {
        name: "uri",
        configuration: "type: uri\n    subject-domain: http://127.0.0.1",
        claims: || json!({ "sub": "http://127.0.0.1/acme/rocket" }),
        varied: &["sub"],
    },
    Kind {
        name: "username",
        configuration: "type: username\n    subject-domain: 127.0.0.1",
        claims: || json!({ "sub": "octocat" }),
        varied: &["sub"],
    },
    Kind {
        name: "spiffe",
        configuration: "type: spiffe\n    spiffe-trust-domain: example.com",
        claims: || json!({ "sub": "spiffe://example.com/rocket" }),
        varied: &["sub"],
    },
    Kind {
        name: "kubernetes",
        configuration: "type: kubernetes",
        claims: || {
            json!({
                "sub": "system:serviceaccount:acme:rocket",
                "kubernetes.io": {
                    "namespace": "acme",
                    "pod": { "name": "rocket-1", "uid": "1" },
                    "serviceaccount": { "name": "rocket", "uid": "2" },
                },
            })
        },
        varied: &["kubernetes.io", "sub"],
    },
];

/// Shapes of a claim's value; the names are words of a case.
pub(super) fn shapes() -> Vec<(&'static str, Value)> {
    let texts = [
        ("empty", ""),
        ("blank", " "),
        ("words", "a b"),
        ("newline", "a\nb"),
        ("dots", "acme/../evil/rocket"),
        ("encoded-dots", "acme/%2e%2e/evil"),
        ("backslash", "acme\\evil"),
        ("unicode", "acmé/rockét"),
        ("bidi", "acme\u{202e}rocket"),
        ("query", "acme/rocket?x=1#y"),
        ("at", "octocat@example"),
        ("mail", "octocat@example.com"),
        ("https", "https://example.com/x"),
        ("http", "http://127.0.0.1/other"),
        ("short-host", "http://127.1/x"),
        ("hex-host", "http://0x7f000001/x"),
        ("port", "http://127.0.0.1:80/x"),
        ("bad-port", "http://127.0.0.1:abc/x"),
        ("user-info", "http://a@127.0.0.1/x"),
        ("spiffe", "spiffe://example.com/a/b"),
        ("spiffe-other", "spiffe://other.com/a"),
        ("spiffe-slash", "spiffe://example.com/a/"),
        ("underscore-host", "bob@host_1.example"),
        ("own-realm", "octocat!127.0.0.1"),
        ("nil", "<nil>"),
    ];
    let texts = texts.into_iter().map(|(name, text)| (name, json!(text)));
    let long = ("long", json!("x".repeat(2000)));
    let others = [
        ("removed", Value::Null),
        ("number", json!(5)),
        ("fraction", json!(1.5)),
        ("large", json!(12_345_678_901_234_567_890_u64)),
        ("true", json!(true)),
        ("false", json!(false)),
        ("list", json!(["a", "b"])),
        ("object", json!({ "a": "b" })),
    ];
    texts.chain([long]).chain(others).collect()
}

/// Claims that every issuer's tokens have, out of order; the numbers are seconds from now.
pub(super) fn general(now: u64) -> Vec<(&'static str, Value)> {
    vec![
        ("aud=other", json!({ "aud": "other" })),
        ("aud=list", json!({ "aud": ["sigstore"] })),
        ("aud=both", json!({ "aud": ["other", "sigstore"] })),
        ("aud=empty", json!({ "aud": [] })),
        ("aud=removed", json!({ "aud": null })),
        ("iss=other", json!({ "iss": "http://127.0.0.1:9" })),
        ("iss=slash", json!({ "iss": "slash" })),
        ("exp=past", json!({ "exp": now - 60 })),
        ("exp=removed", json!({ "exp": null })),
        ("exp=text", json!({ "exp": (now + 300).to_string() })),
        ("exp=far", json!({ "exp": now + 864_000 })),
        ("nbf=future", json!({ "nbf": now + 3600 })),
        ("nbf=soon", json!({ "nbf": now + 100 })),
        ("iat=future", json!({ "iat": now + 3600 })),
        ("iat=removed", json!({ "iat": null })),
    ]
}
