//! The evaluator against Go's behaviour, and every shipped provider against recorded claims.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn values(claims: Value) -> Values {
    let Value::Object(claims) = claims else { panic!("an object") };
    let provider = Provider {
        name: "test".to_owned(),
        defaults: BTreeMap::new(),
        overridable: BTreeSet::new(),
        numbers: BTreeSet::from(["allowed".to_owned()]),
        extensions: Vec::new(),
        subject_alternative_name: Template::parse("name").unwrap(),
        legacy: None,
    };
    provider.values(&claims).unwrap()
}

fn render_name(template: &str, claims: Value) -> Result<String, RenderError> {
    Template::parse(template).unwrap().render_name(&values(claims))
}

fn render(template: &str, claims: Value) -> Result<String, RenderError> {
    Template::parse(template).unwrap().render(&values(claims))
}

#[test]
fn a_text_without_braces_is_the_name_of_a_claim() {
    assert_eq!(render("sha", json!({"sha": "abc"})).unwrap(), "abc");
    assert_eq!(render("a b", json!({"sha": "abc"})), Err(RenderError::Missing("a b".to_owned())));
}

#[test]
fn the_five_constructs_render_as_in_go() {
    let claims = json!({"a": "x", "n": 7, "k/with.dots": "y", "t": "branch"});
    for (template, expected) in [
        ("{{ .a }}", "x"),
        ("{{.a}}", "x"),
        ("{{ (.a) }}", "x"),
        ("<{{.a}}|{{.n}}>", "<x|7>"),
        ("{{index . \"k/with.dots\"}}", "y"),
        ("{{ (index . \"k/with.dots\") }}", "y"),
        ("{{index . `k/with.dots`}}", "y"),
        ("{{\"lit}}eral\"}}", "lit}}eral"),
        ("{{if eq .t \"branch\"}}heads{{else}}tags{{end}}/{{.a}}", "heads/x"),
        ("{{if eq .t \"tag\"}}heads{{else}}tags{{end}}", "tags"),
        ("{{if eq .t \"tag\"}}heads{{end}}", ""),
        ("{{if eq (index . \"k/with.dots\") \"y\"}}yes{{end}}", "yes"),
        ("{{if eq .a .a}}{{if eq .n \"7\"}}both{{end}}{{else}}no{{end}}", "both"),
        ("plain } text {{.a}}", "plain } text x"),
    ] {
        assert_eq!(render(template, claims.clone()).as_deref(), Ok(expected), "{template}");
    }
}

#[test]
fn a_missing_field_is_an_error_and_a_missing_index_empty_except_in_a_name() {
    assert_eq!(render("{{ .gone }}", json!({})), Err(RenderError::Missing("gone".to_owned())));
    assert_eq!(render("x{{ index . \"gone\" }}", json!({})).as_deref(), Ok("x"));
    let name = Template::parse("x{{ index . \"gone\" }}").unwrap();
    assert_eq!(name.render_name(&values(json!({}))), Err(RenderError::Missing("gone".to_owned())));
}

#[test]
fn a_name_takes_text_that_is_not_empty_and_nothing_else() {
    for template in
        ["a", "https://h/{{ .a }}", "https://h/{{ index . \"a\" }}", "{{ if eq .b \"y\" }}{{ .a }}{{ end }}"]
    {
        let of = |a: Value| render_name(template, json!({"a": a, "b": "y"}));
        assert!(of(json!("x")).is_ok(), "{template}");
        assert_eq!(of(json!("")), Err(RenderError::Empty("a".to_owned())), "{template}");
        assert_eq!(of(Value::Null), Err(RenderError::Missing("a".to_owned())), "{template}");
        for structure in
            [json!(5), json!(0.5), json!(true), json!([]), json!(["x"]), json!({}), json!({"x": "y"})]
        {
            assert_eq!(
                of(structure.clone()),
                Err(RenderError::NotText("a".to_owned())),
                "{template} {structure}"
            );
        }
    }
    let number = |n: Value| render_name("https://h/{{ .allowed }}", json!({ "allowed": n }));
    assert_eq!(number(json!(5)).as_deref(), Ok("https://h/5"));
    assert!(number(json!(0.5)).is_err());
    assert!(number(json!([5])).is_err());
    let by_condition =
        render_name("https://h/{{ if eq .flag \"true\" }}a{{ else }}b{{ end }}", json!({"flag": true}));
    assert_eq!(by_condition.as_deref(), Ok("https://h/a"), "a condition may compare anything");
}

#[test]
fn a_null_claim_is_absent_and_never_printed() {
    assert_eq!(render("a", json!({"a": null})).as_deref(), Ok(""));
    assert_eq!(render("x{{ index . \"a\" }}", json!({"a": null})).as_deref(), Ok("x"));
    assert_eq!(render("x{{ .a }}", json!({"a": null})), Err(RenderError::Missing("a".to_owned())));
    let github = shipped::provider("github-workflow").unwrap();
    let claims = json!({"url": null, "environment": null});
    let values = github.values(claims.as_object().unwrap()).unwrap();
    assert_eq!((values.get("url"), values.get("environment")), (Ok("https://github.com"), Ok("")));
}

#[test]
fn an_example_needs_a_known_beginning() {
    let defaults =
        BTreeMap::from([("url".to_owned(), "https://h".to_owned()), ("none".to_owned(), String::new())]);
    let of =
        |template: &str, conditions| Template::parse(template).unwrap().example(&defaults, "x", conditions);
    assert_eq!(of("{{ .url }}/{{ .a }}", true).as_deref(), Some("https://h/x"));
    assert_eq!(of("url", true).as_deref(), Some("https://h"));
    for unknown in ["sub", "{{ .a }}/b", "{{ .none }}/b", "{{ if eq .a \"1\" }}{{ .b }}{{ end }}"] {
        assert_eq!(of(unknown, true), None, "{unknown}");
    }
    let either = "https://{{ if eq .t \"a\" }}one{{ else }}two{{ end }}/{{ .c }}";
    assert_eq!(of(either, true).as_deref(), Some("https://one/x"));
    assert_eq!(of(either, false).as_deref(), Some("https://two/x"));
}

#[test]
fn everything_else_of_text_template_is_refused_at_load() {
    for template in [
        "{{- .a }}",
        "{{ .a -}}",
        "{{ .a | printf \"%s\" }}",
        "{{ printf \"%s\" .a }}",
        "{{ if .a }}x{{ end }}",
        "{{ if ne .a \"x\" }}x{{ end }}",
        "{{ if eq .a \"x\" \"y\" }}x{{ end }}",
        "{{ if eq .a }}x{{ end }}",
        "{{ if eq .a \"x\" }}x{{ else if eq .a \"y\" }}y{{ end }}",
        "{{ range .a }}{{ end }}",
        "{{ $x := .a }}",
        "{{ . }}",
        "{{ .a.b }}",
        "{{ .a .b }}",
        "{{ index .a \"b\" }}",
        "{{ index . .a }}",
        "{{ /* comment */ }}",
        "{{ }}",
        "{{ \"bad \\n escape\" }}",
        "{{ 1 }}",
        "{{ .ä }}",
        "{{ ((.a)) }}",
    ] {
        let error = Template::parse(template).expect_err(template);
        assert!(matches!(error, TemplateError::Unsupported(_)), "{template}: {error}");
    }
    for (template, expected) in [
        ("{{ .a", TemplateError::Unclosed),
        ("{{ \"}} ", TemplateError::Unclosed),
        ("{{ end }}", TemplateError::Unbalanced("end")),
        ("{{ else }}", TemplateError::Unbalanced("else")),
        ("{{ if eq .a .a }}", TemplateError::Unbalanced("if")),
        ("{{ if eq .a .a }}{{ else }}", TemplateError::Unbalanced("if")),
        ("{{ if eq .a .a }}{{ else }}{{ else }}{{ end }}", TemplateError::Unbalanced("else")),
    ] {
        assert_eq!(Template::parse(template), Err(expected), "{template}");
    }
    let deep = "{{if eq .a .a}}".repeat(50) + &"{{end}}".repeat(50);
    assert_eq!(Template::parse(&deep), Err(TemplateError::TooLarge));
}

#[test]
fn claims_are_printed_as_go_prints_them() {
    for (claim, expected) in [
        (json!("a"), "a"),
        (json!(true), "true"),
        (json!(null), "<nil>"),
        (json!(10), "10"),
        (json!(-3), "-3"),
        (json!(1_536_140_711_u64), "1536140711"),
        (json!(1e21), "1000000000000000000000"),
        (json!(2.0), "2"),
        (json!(0.25), "0.25"),
        (json!(["a", 1, true]), "[a 1 true]"),
        (json!({"b": 1, "a": ["x"]}), "map[a:[x] b:1]"),
        (json!([]), "[]"),
    ] {
        assert_eq!(stringify(&claim), expected, "{claim}");
    }
}

#[test]
fn a_claim_replaces_a_default_but_not_a_base_url() {
    let provider = shipped::provider("github-workflow").unwrap();
    let claims = |value: Value| value.as_object().unwrap().clone();
    let values = provider.values(&claims(json!({"environment": "prod"}))).unwrap();
    assert_eq!(values.get("environment"), Ok("prod"));
    assert!(provider.values(&claims(json!({"url": "https://github.com"}))).is_ok());
    assert_eq!(
        provider.values(&claims(json!({"url": "https://evil.example"}))).unwrap_err(),
        RenderError::FixedDefault("url".to_owned())
    );
    let codefresh = shipped::provider("codefresh-workflow").unwrap();
    assert!(codefresh.values(&claims(json!({"platform_url": "https://ci.example.com"}))).is_ok());
}

#[test]
fn a_rendered_value_is_bounded() {
    let claims = json!({"a": "x".repeat(3000)});
    assert_eq!(render("{{.a}}{{.a}}", claims), Err(RenderError::TooLong));
}

/// Renders a shipped provider: the name, and the extensions that are not empty.
fn certify(provider: &str, claims: Value) -> (String, Vec<(u8, String)>) {
    let provider = shipped::provider(provider).unwrap();
    let values = provider.values(claims.as_object().unwrap()).unwrap();
    let name = provider.subject_alternative_name.render_name(&values).unwrap();
    let rendered = provider.extensions.iter().map(|(n, t)| (*n, t.render(&values).unwrap()));
    (name, rendered.filter(|(_, value)| !value.is_empty()).collect())
}

fn owned(expected: &[(u8, &str)]) -> Vec<(u8, String)> {
    expected.iter().map(|(n, v)| (*n, (*v).to_owned())).collect()
}

#[test]
fn github_actions() {
    let claims = Value::Object(crate::issuance::test_instance::github_claims());
    let (name, extensions) = certify("github-workflow", claims);
    let signer = "https://github.com/octo-org/build/.github/workflows/release.yml@refs/tags/v1";
    assert_eq!(name, signer);
    assert_eq!(
        extensions,
        owned(&[
            (2, "push"),
            (3, "2222222222222222222222222222222222222222"),
            (4, "Release"),
            (5, "octo-org/octo-repo"),
            (6, "refs/heads/main"),
            (9, signer),
            (10, "1111111111111111111111111111111111111111"),
            (11, "github-hosted"),
            (12, "https://github.com/octo-org/octo-repo"),
            (13, "2222222222222222222222222222222222222222"),
            (14, "refs/heads/main"),
            (15, "74"),
            (16, "https://github.com/octo-org"),
            (17, "65"),
            (18, "https://github.com/octo-org/octo-repo/.github/workflows/ci.yml@refs/heads/main"),
            (19, "3333333333333333333333333333333333333333"),
            (20, "push"),
            (21, "https://github.com/octo-org/octo-repo/actions/runs/1536140711/attempts/2"),
            (22, "private"),
        ])
    );
}

#[test]
fn gitlab() {
    let claims = json!({
        "namespace_id": "72", "namespace_path": "my-group", "project_id": "20", "project_path": "my-group/my-project",
        "project_visibility": "private", "user_id": "1", "user_login": "sample-user", "pipeline_id": "574",
        "pipeline_source": "push", "job_id": "302", "ref": "v1.0", "ref_type": "tag", "ref_path": "refs/tags/v1.0",
        "ref_protected": "true", "environment": "production", "runner_id": 1, "runner_environment": "gitlab-hosted",
        "sha": "714a629c0b401fdce83e847fc9589983fc6f46bc", "groups_direct": ["my-group"],
        "ci_config_ref_uri": "gitlab.com/my-group/my-project//.gitlab-ci.yml@refs/tags/v1.0",
        "ci_config_sha": "714a629c0b401fdce83e847fc9589983fc6f46bc",
    });
    let (name, extensions) = certify("gitlab-pipeline", claims);
    let config = "https://gitlab.com/my-group/my-project//.gitlab-ci.yml@refs/tags/v1.0";
    assert_eq!(name, config);
    assert_eq!(
        extensions,
        owned(&[
            (9, config),
            (10, "714a629c0b401fdce83e847fc9589983fc6f46bc"),
            (11, "gitlab-hosted"),
            (12, "https://gitlab.com/my-group/my-project"),
            (13, "714a629c0b401fdce83e847fc9589983fc6f46bc"),
            (14, "refs/tags/v1.0"),
            (15, "20"),
            (16, "https://gitlab.com/my-group"),
            (17, "72"),
            (18, config),
            (19, "714a629c0b401fdce83e847fc9589983fc6f46bc"),
            (20, "push"),
            (21, "https://gitlab.com/my-group/my-project/-/jobs/302"),
            (22, "private"),
            (23, "production"),
        ])
    );
}

#[test]
fn buildkite() {
    let claims = json!({
        "organization_slug": "acme-inc", "pipeline_slug": "super-duper-app", "build_number": 1, "build_branch": "main",
        "build_commit": "9f3182061f1e2cca4702c368cbc039b7dc9d4485", "step_key": null, "build_source": "webhook",
        "job_id": "0184990a-477b-4fa8-9968-496074483cee", "agent_id": "0184990a-4782-42b5-afc1-16715b10b8ff",
        "runner_environment": "self-hosted",
    });
    let (name, extensions) = certify("buildkite-job", claims);
    assert_eq!(name, "https://buildkite.com/acme-inc/super-duper-app");
    assert_eq!(
        extensions,
        owned(&[
            (11, "self-hosted"),
            (13, "9f3182061f1e2cca4702c368cbc039b7dc9d4485"),
            (20, "webhook"),
            (
                21,
                "https://buildkite.com/acme-inc/super-duper-app/builds/1#0184990a-477b-4fa8-9968-496074483cee"
            ),
        ])
    );
}

fn circleci_claims() -> Value {
    json!({
        "oidc.circleci.com/project-id": "a3cce6ba", "oidc.circleci.com/pipeline-definition-id": "d7a5",
        "oidc.circleci.com/pipeline-id": "p1", "oidc.circleci.com/workflow-id": "w1",
        "oidc.circleci.com/job-id": "j1", "oidc.circleci.com/context-ids": ["c1"],
        "oidc.circleci.com/vcs-origin": "github.com/acme/app", "oidc.circleci.com/vcs-ref": "refs/heads/main",
        "oidc.circleci.com/ssh-rerun": false,
    })
}

#[test]
fn circleci() {
    let (name, extensions) = certify("circleci", circleci_claims());
    let definition = "https://circleci.com/api/v2/projects/a3cce6ba/pipeline-definitions/d7a5";
    assert_eq!(name, definition);
    assert_eq!(
        extensions,
        owned(&[
            (9, definition),
            (11, "\"\""),
            (12, "github.com/acme/app"),
            (14, "refs/heads/main"),
            (18, "https://circleci.com/api/v2/pipeline/p1/config"),
            (21, "https://app.circleci.com//workflow/w1/job/j1"),
        ])
    );
    let mut rerun = circleci_claims();
    rerun["oidc.circleci.com/ssh-rerun"] = json!(true);
    assert!(certify("circleci", rerun).1.contains(&(11, "ssh-rerun".to_owned())));
}

#[test]
fn circleci_without_a_repository_omits_it_and_without_a_project_has_no_name() {
    let mut claims = circleci_claims();
    claims.as_object_mut().unwrap().remove("oidc.circleci.com/vcs-origin");
    assert!(!certify("circleci", claims.clone()).1.iter().any(|(n, _)| *n == 12));
    claims.as_object_mut().unwrap().remove("oidc.circleci.com/project-id");
    let provider = shipped::provider("circleci").unwrap();
    let values = provider.values(claims.as_object().unwrap()).unwrap();
    assert!(provider.subject_alternative_name.render_name(&values).is_err());
}

#[test]
fn codefresh() {
    let claims = json!({
        "account_id": "628a80b693a15c0f9c13ab75", "account_name": "codefresh-inc", "pipeline_id": "65e5a53e52853dc51a5b0cc1",
        "pipeline_name": "oidc-test/get-token", "workflow_id": "65e6d5551e47e5bc243ca93f",
        "scm_repo_url": "https://github.com/codefresh-user/app", "scm_ref": "main",
        "runner_environment": "hybrid", "platform_url": "https://g.codefresh.io",
    });
    let (name, extensions) = certify("codefresh-workflow", claims);
    assert_eq!(
        name,
        "https://g.codefresh.io/codefresh-inc/oidc-test/get-token:628a80b693a15c0f9c13ab75/65e5a53e52853dc51a5b0cc1"
    );
    assert_eq!(
        extensions,
        owned(&[
            (9, "https://g.codefresh.io/build/65e6d5551e47e5bc243ca93f"),
            (11, "hybrid"),
            (12, "https://github.com/codefresh-user/app"),
            (14, "main"),
            (18, "https://g.codefresh.io/api/pipelines/65e5a53e52853dc51a5b0cc1"),
            (21, "https://g.codefresh.io/build/65e6d5551e47e5bc243ca93f"),
        ])
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_template_makes_the_parser_panic(text in "[{}()., \"`\\\\a-zä$|]{0,40}") {
        let _ = Template::parse(&text);
    }

    #[test]
    fn whatever_parses_renders_or_refuses(
        parts in proptest::collection::vec(
            prop_oneof![
                Just("{{ .a }}"), Just("{{index . \"b\"}}"), Just("{{if eq .a \"x\"}}"), Just("{{else}}"),
                Just("{{end}}"), Just("text"), Just("{{(.a)}}"),
            ],
            0..8,
        )
    ) {
        if let Ok(template) = Template::parse(&parts.concat())
            && parts.concat().contains("{{")
        {
            let rendered = template.render(&values(json!({"a": "x"})));
            prop_assert!(rendered.is_ok());
        }
    }
}
