//! Provenance 0.2 of slsa-github-generator, whose certificate is that of the reusable workflow: every fact that
//! it has is held to the certificate.

use chancery::slsa::FactKind;

use super::provenance::bent;
use super::*;
use crate::fixture::COMMIT;

const GENERATOR: &str = "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/generator_generic_slsa3.yml@refs/tags/v2.1.0";
const BUILD_TYPE: &str = "https://github.com/slsa-framework/slsa-github-generator/generic@v1";

/// As `slsa/buildtype.go` of the generator writes it.
fn original() -> Value {
    let source = json!({"uri": format!("git+{REPOSITORY}@refs/tags/v1"), "digest": {"sha1": COMMIT}});
    let mut config = source.clone();
    config["entryPoint"] = json!(".github/workflows/release.yml");
    json!({
        "builder": {"id": GENERATOR},
        "buildType": BUILD_TYPE,
        "invocation": {
            "configSource": config,
            "environment": {
                "github_actor": "octocat",
                "github_event_name": "push",
                "github_event_payload": {"repository": {"id": 74}},
                "github_ref": "refs/tags/v1",
                "github_ref_type": "tag",
                "github_repository_id": "74",
                "github_repository_owner": "octo-org",
                "github_repository_owner_id": "65",
                "github_run_attempt": "1",
                "github_run_id": "30433642",
                "github_run_number": "5",
                "github_sha1": COMMIT,
            },
        },
        "metadata": {"buildInvocationID": "30433642-1"},
        "materials": [source],
    })
}

fn leaf() -> Leaf {
    let mut leaf = Leaf::workflow();
    leaf.names = vec![SanType::URI(GENERATOR.try_into().unwrap())];
    leaf.extensions.push((16, "https://github.com/octo-org".to_owned()));
    for (number, text) in &mut leaf.extensions {
        if *number == FactKind::Builder.extension() {
            GENERATOR.clone_into(text);
        }
    }
    leaf
}

fn judged(instance: &TestInstance, predicate: &Value, policy: &Policy) -> Report {
    let mut statement = statement();
    (statement.predicate, statement.predicate_type) = (predicate.clone(), PROVENANCE_V0_2.to_owned());
    chancery::statement::STATEMENT_V0_1.clone_into(&mut statement.kind);
    judge(&instance.attest(&statement, &leaf()), &instance.trust(), policy)
}

fn policies() -> [Policy; 3] {
    let github = || IssuerRule::owner_of(REPOSITORY).unwrap();
    let identity = Policy::identity(NameRule::Exact(GENERATOR.to_owned()), PROVIDER);
    [
        Policy::source(SourceUri::parse(REPOSITORY).unwrap(), github()).with_builder(GENERATOR),
        Policy::builder(GENERATOR, github()),
        identity.with_predicate_type(PROVENANCE_V0_2),
    ]
}

/// Members that no extension repeats, and the version of the build type.
fn is_free(path: &str, what: &str) -> bool {
    let environment = path.strip_prefix("/invocation/environment/").unwrap_or_default();
    ["github_actor", "github_event_payload", "github_ref_type", "github_run_number"]
        .iter()
        .any(|free| environment.starts_with(free))
        || (path, what) == ("/buildType", "changed")
        // The list may be shorter: the configuration states the same.
        || path == "/materials"
        || (path, what) == ("/materials/0", "left out")
}

#[test]
fn no_fact_of_the_generator_can_be_changed_or_left_out() {
    let instance = TestInstance::new();
    for policy in policies() {
        assert_verified(&judged(&instance, &original(), &policy));
        for (path, what, predicate) in bent(&original()) {
            let report = judged(&instance, &predicate, &policy);
            assert_eq!(report.verified, is_free(&path, what), "{path} {what}: {:#?}", report.claims);
        }
    }
}

#[test]
fn without_a_source_nothing_is_proven() {
    let instance = TestInstance::new();
    let lies = json!({
        "builder": {"id": GENERATOR},
        "buildType": BUILD_TYPE,
        "metadata": {"buildInvocationID": "1-1"},
        "materials": [{"uri": format!("git+{REPOSITORY}@refs/heads/evil"), "digest": {"sha1": "00"}}],
    });
    let mut no_text = lies.clone();
    no_text["invocation"] = json!({"configSource": {"uri": 5, "digest": {"sha1": COMMIT}}});
    for predicate in [lies, no_text] {
        for policy in policies() {
            let report = judged(&instance, &predicate, &policy);
            assert_refused(&report, Claim::Provenance, "says no source repository, the certificate");
        }
    }
}

#[test]
fn the_report_names_the_facts_of_the_generator() {
    let instance = TestInstance::new();
    let report = judged(&instance, &original(), &policies()[0]);
    let expected = "source repository, ref, commit, workflow path, workflow ref, builder, run, trigger, repository id, owner and \
                    owner id are the certificate's";
    assert_eq!(outcome(&report, Claim::Provenance), &Outcome::Proven(expected.to_owned()));
}

/// The specification and the generators spell the member differently, and readers take either.
#[test]
fn both_spellings_of_the_run_are_read() {
    let instance = TestInstance::new();
    let with = |members: Value| {
        let mut predicate = original();
        predicate["metadata"] = members;
        judged(&instance, &predicate, &policies()[2])
    };
    let (own, other) = ("30433642-1", "999-9");
    assert_verified(&with(json!({"buildInvocationId": own})));
    assert_verified(&with(json!({"buildInvocationId": own, "buildInvocationID": own})));
    assert_verified(&with(json!({"buildInvocationId": null, "buildInvocationID": own})));
    for (one, two) in [(own, other), (other, own)] {
        let report = with(json!({"buildInvocationId": one, "buildInvocationID": two}));
        assert_refused(&report, Claim::Provenance, "actions/runs/999/attempts/9");
    }
    let report = with(json!({"buildInvocationId": own, "buildInvocationID": 5}));
    assert_refused(&report, Claim::Provenance, "says no run");
}

/// The ref of the source and that of the workflow differ where an event of one branch runs the workflow of another.
#[test]
fn path_and_ref_of_the_workflow_are_cut_where_the_certificate_is() {
    let instance = TestInstance::new();
    let mut leaf = leaf();
    let workflow = format!("{REPOSITORY}/.github/workflows/release.yml@refs/heads/evil@refs/tags/v1");
    leaf.extensions.iter_mut().filter(|(number, _)| *number == 18).for_each(|(_, text)| {
        text.clone_from(&workflow);
    });
    let mut predicate = original();
    predicate["invocation"]["configSource"]["entryPoint"] =
        json!(".github/workflows/release.yml@refs/heads/evil");
    let mut statement = statement();
    (statement.predicate, statement.predicate_type) = (predicate, PROVENANCE_V0_2.to_owned());
    for policy in policies() {
        let report = judge(&instance.attest(&statement, &leaf), &instance.trust(), &policy);
        assert_refused(&report, Claim::Provenance, "says workflow path");
    }
}

#[test]
fn materials_in_other_spellings_are_compared() {
    let instance = TestInstance::new();
    let mut predicate = original();
    predicate["materials"][0]["uri"] = json!("git+https://github.com/octo-org/app.git@refs/tags/v1");
    for policy in policies() {
        let report = judged(&instance, &predicate, &policy);
        assert_refused(
            &report,
            Claim::Provenance,
            "says source repository `https://github.com/octo-org/app.git",
        );
    }
}
