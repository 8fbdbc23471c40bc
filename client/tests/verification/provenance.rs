//! Claims about the build: provenance is held to the certificate fact by fact, source and builder to their
//! own issuer.

use super::*;
use crate::fixture::COMMIT;

fn github() -> IssuerRule {
    IssuerRule::owner_of(REPOSITORY).unwrap()
}

fn everything() -> Policy {
    Policy::source(SourceUri::parse(REPOSITORY).unwrap(), github())
        .with_source_ref("refs/tags/v1")
        .with_builder(BUILDER)
        .with_predicate_type(PROVENANCE_V1)
}

fn attested(instance: &TestInstance, predicate: Value) -> Bundle {
    instance.attest(&Statement { predicate, ..statement() }, &Leaf::workflow())
}

#[test]
fn source_and_builder_alone_are_policies() {
    let instance = TestInstance::new();
    let judge = |bundle: &Bundle, policy| judge(bundle, &instance.trust(), &policy);
    for bundle in [instance.provenance(), instance.signature()] {
        assert_verified(&judge(&bundle, Policy::source(SourceUri::parse(REPOSITORY).unwrap(), github())));
        assert_verified(&judge(&bundle, Policy::builder(BUILDER, github())));
        assert_verified(&judge(&bundle, Policy::builder(BUILDER.split_once('@').unwrap().0, github())));
        let other = Policy::source(SourceUri::parse("https://github.com/octo-org/other").unwrap(), github());
        assert_refused(&judge(&bundle, other), Claim::Source, "names source repository");
        assert_refused(
            &judge(&bundle, Policy::builder("https://github.com/o/b", github())),
            Claim::Builder,
            "expected builder",
        );
        let prefix = BUILDER.strip_suffix("s/v1").unwrap();
        assert_refused(
            &judge(&bundle, Policy::builder(prefix, github())),
            Claim::Builder,
            "expected builder",
        );
        let reference = workflow_policy().with_source_ref("refs/heads/main");
        assert_refused(&judge(&bundle, reference), Claim::Source, "names ref");
    }
}

#[test]
fn provenance_must_say_what_the_certificate_says() {
    let instance = TestInstance::new();
    let lies = [
        ("/buildDefinition/resolvedDependencies/0/digest/gitCommit", "0000"),
        ("/runDetails/metadata/invocationId", "https://github.com/octo-org/app/actions/runs/1/attempts/1"),
        (
            "/runDetails/builder/id",
            "https://github.com/octo-org/trusted/.github/workflows/b.yml@refs/heads/main",
        ),
        ("/buildDefinition/externalParameters/workflow/repository", "https://github.com/octo-org/other"),
    ];
    for (path, lie) in lies {
        let mut statement = statement();
        *statement.predicate.pointer_mut(path).unwrap() = json!(lie);
        let bundle = instance.attest(&statement, &Leaf::workflow());
        let expecting = workflow_policy().with_predicate_type(PROVENANCE_V1);
        assert_refused(
            &judge(&bundle, &instance.trust(), &expecting),
            Claim::Provenance,
            "the provenance says",
        );
        // Where nothing is expected of the build, the difference is told.
        let report = judge(&bundle, &instance.trust(), &workflow_policy());
        assert_verified(&report);
        match outcome(&report, Claim::Provenance) {
            Outcome::NotRequired(told) if told.contains("the provenance says") => {}
            other => panic!("{other:?}"),
        }
    }
    let mut statement = statement();
    statement.predicate["buildDefinition"]["externalParameters"]["debug"] = json!(true);
    let bundle = instance.attest(&statement, &Leaf::workflow());
    let expecting = workflow_policy().with_predicate_type(PROVENANCE_V1);
    assert_refused(
        &judge(&bundle, &instance.trust(), &expecting),
        Claim::Provenance,
        "does not define: debug",
    );
}

/// All paths below `value`, with those of objects and lists.
fn paths(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            members.iter().for_each(|(name, value)| paths(value, &format!("{path}/{name}"), found));
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(at, value)| paths(value, &format!("{path}/{at}"), found));
        }
        _ => {}
    }
    found.push(path.to_owned());
}

/// The predicate with one member left out, changed or null, and its path and what was done; for every member.
pub(super) fn bent(original: &Value) -> Vec<(String, &'static str, Value)> {
    let mut all = Vec::new();
    paths(original, "", &mut all);
    assert!(all.len() > 20, "{all:?}");
    let mut bent = Vec::new();
    for path in all.into_iter().filter(|path| !path.is_empty()) {
        let (parent, name) = path.rsplit_once('/').unwrap();
        let mut without = original.clone();
        match without.pointer_mut(parent).unwrap() {
            Value::Object(members) => drop(members.remove(name)),
            Value::Array(items) => drop(items.remove(name.parse().unwrap())),
            _ => unreachable!(),
        }
        let with = |value: Value| {
            let mut changed = original.clone();
            *changed.pointer_mut(&path).unwrap() = value;
            changed
        };
        let text = original.pointer(&path).unwrap().as_str().unwrap_or_default();
        let changed = with(json!(format!("{text}0")));
        let emptied = with(Value::Null);
        bent.extend(
            [("left out", without), ("changed", changed), ("null", emptied)]
                .map(|(what, it)| (path.clone(), what, it)),
        );
    }
    bent
}

/// What the build type writes is all from the token, so nothing of it can be changed or left out, whatever is
/// expected.
#[test]
fn no_member_of_provenance_can_be_changed_or_left_out() {
    let instance = TestInstance::new();
    let original = statement().predicate;
    let typed = workflow_policy().with_predicate_type(PROVENANCE_V1);
    for policy in [everything(), typed] {
        let judged = |it: &Value| judge(&attested(&instance, it.clone()), &instance.trust(), &policy);
        assert_verified(&judged(&original));
        for (path, what, predicate) in bent(&original) {
            // Nothing is known of another build type, so only a builder or source binds it.
            if (path.as_str(), what) != ("/buildDefinition/buildType", "changed") {
                assert!(!judged(&predicate).verified, "{path} {what}: {predicate}");
            }
        }
    }
    let source = |it: Value| judge(&attested(&instance, it), &instance.trust(), &everything());
    let mut other = original.clone();
    other["buildDefinition"]["buildType"] = json!("https://example.com/own/v1");
    assert_refused(&source(other), Claim::Source, "names no source repository");
}

#[test]
fn provenance_of_a_version_that_is_not_read_is_named() {
    let instance = TestInstance::new();
    let kind = "https://slsa.dev/provenance/v0.1";
    let statement = Statement { predicate_type: kind.to_owned(), ..statement() };
    let bundle = instance.attest(&statement, &Leaf::workflow());
    let report = judge(&bundle, &instance.trust(), &workflow_policy().with_predicate_type(kind));
    let told = format!("{kind} is not read; versions 0.2 and 1 of SLSA provenance are");
    assert_eq!(outcome(&report, Claim::Provenance), &Outcome::NotRequired(told));
}

/// Libraries for Go spell the member in a way of their own.
#[test]
fn both_spellings_of_the_run_are_read() {
    let instance = TestInstance::new();
    let mut predicate = statement().predicate;
    let metadata = predicate["runDetails"]["metadata"].as_object_mut().unwrap();
    let run = metadata.remove("invocationId").unwrap();
    metadata.insert("invocationID".to_owned(), run.clone());
    let judged = |it: &Value| judge(&attested(&instance, it.clone()), &instance.trust(), &everything());
    assert_verified(&judged(&predicate));
    for (one, two) in [(&run, &json!("x")), (&json!("x"), &run)] {
        predicate["runDetails"]["metadata"] = json!({"invocationId": one, "invocationID": two});
        assert_refused(&judged(&predicate), Claim::Provenance, "says run `x`");
    }
}

#[test]
fn the_report_names_exactly_what_was_compared() {
    let instance = TestInstance::new();
    let told = |leaf: &Leaf| {
        let report = judge(&instance.attest(&statement(), leaf), &instance.trust(), &everything());
        match outcome(&report, Claim::Provenance) {
            Outcome::Proven(told) => told.clone(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(
        told(&Leaf::workflow()),
        "source repository, ref, commit, workflow path, workflow ref, builder, run, trigger, repository \
         id, owner id and runner environment are the certificate's"
    );
    let mut old = Leaf::workflow();
    old.extensions.retain(|(number, _)| [8, 9, 12, 14].contains(number));
    assert_eq!(told(&old), "source repository, ref and builder are the certificate's");
}

/// Every dependency of the repository must be the certificate's commit, however it is spelled.
#[test]
fn every_dependency_of_the_repository_is_compared() {
    let instance = TestInstance::new();
    let with = |dependency: Value| {
        let mut predicate = statement().predicate;
        let list = &mut predicate["buildDefinition"]["resolvedDependencies"];
        list.as_array_mut().unwrap().push(dependency);
        judge(&attested(&instance, predicate), &instance.trust(), &everything())
    };
    let own = format!("git+{REPOSITORY}@refs/tags/v1");
    assert_verified(&with(json!({"uri": own, "digest": {"gitCommit": COMMIT.to_uppercase()}})));
    assert_verified(&with(
        json!({"uri": "git+https://github.com/other/lib@v1", "digest": {"gitCommit": "00"}}),
    ));
    assert_verified(&with(json!({"uri": "pkg:npm/left-pad@1.3.0", "digest": {"sha256": "00"}})));
    for (uri, words) in [
        (own.clone(), "says commit `00`"),
        (format!("git+{REPOSITORY}.git@refs/tags/v1"), "says source repository"),
        (format!("git+{REPOSITORY}@refs/heads/main"), "names ref"),
        ("git+https://github.com/Octo-Org/App@refs/tags/v1".to_owned(), "names source repository"),
        ("git+ssh://git@github.com/octo-org/app@refs/tags/v1".to_owned(), "names source repository"),
        ("git+https://github.com/evil/../octo-org/app@refs/tags/v1".to_owned(), "names source repository"),
        ("git+https://github.com/octo-org/%61pp@refs/tags/v1".to_owned(), "names source repository"),
        ("https://github.com/octo-org/app/archive/v1.tar.gz".to_owned(), "names source repository"),
        ("pkg:github/octo-org/app@v1".to_owned(), "names source repository"),
        ("git+https://github.com/x@y/../octo-org/app@refs/tags/v1".to_owned(), "names source repository"),
        ("github:octo-org/app".to_owned(), "names source repository"),
        ("git+https://redirect.github.com/octo-org/app@refs/tags/v1".to_owned(), "names source repository"),
        ("https://api.github.com/repositories/74/tarball/evil".to_owned(), "names source repository"),
    ] {
        let report = with(json!({"uri": uri, "digest": {"gitCommit": "00"}}));
        let words = words.trim_start_matches("says ").trim_start_matches("names ");
        assert!(!report.verified, "{uri}");
        assert!(report.refusals().any(|(_, why)| why.contains(words)), "{uri}: {:?}", report.claims);
    }
    let elsewhere =
        json!({"uri": "pkg:generic/x", "downloadLocation": format!("git+{REPOSITORY}@refs/heads/x")});
    assert_refused(&with(elsewhere), Claim::Provenance, "says ref `refs/heads/x`");
    let only = |digest: Value| with(json!({"uri": own, "digest": digest}));
    assert_refused(&only(json!({"sha1": COMMIT})), Claim::Provenance, "says no commit");
    assert_refused(&only(json!({"gitCommit": COMMIT, "sha1": "00"})), Claim::Provenance, "says commit `00`");
    assert_refused(
        &with(json!({"digest": {"gitCommit": COMMIT}})),
        Claim::Source,
        "names no source repository",
    );
}

#[test]
fn a_build_type_of_which_nothing_is_known_leaves_the_builder_to_the_certificate() {
    let instance = TestInstance::new();
    let lie = "https://github.com/octo-org/trusted/.github/workflows/b.yml@refs/heads/main";
    let predicate = json!({
        "buildDefinition": {"buildType": "https://example.com/own/v1", "externalParameters": {}},
        "runDetails": {"builder": {"id": lie}},
    });
    let bundle = attested(&instance, predicate);
    for policy in [workflow_policy().with_builder(lie), Policy::builder(lie, github())] {
        let report = judge(&bundle, &instance.trust(), &policy);
        assert_refused(&report, Claim::Builder, "the certificate is for builder");
    }
    let report = judge(&bundle, &instance.trust(), &workflow_policy().with_builder(BUILDER));
    assert_refused(&report, Claim::Builder, "the provenance names builder");
    assert!(matches!(outcome(&report, Claim::Provenance), Outcome::NotRequired(_)));
}

/// The same repository URL, certified for a tenant of another CI of the same instance.
#[test]
fn another_issuers_certificate_for_the_same_repository_is_refused() {
    let instance = TestInstance::new();
    let mut leaf = Leaf::workflow();
    leaf.extensions[0].1 = "https://ci.example/tenant".to_owned();
    let bundle = instance.attest(&statement(), &leaf);
    let judge = |policy: Policy| judge(&bundle, &instance.trust(), &policy);
    for policy in [everything(), Policy::builder(BUILDER, github())] {
        assert_refused(&judge(policy), Claim::Identity, "vouches for the certificate's name; expected");
    }
    let named = IssuerRule::Exact("https://ci.example/tenant".to_owned());
    assert_verified(&judge(Policy::source(SourceUri::parse(REPOSITORY).unwrap(), named)));
}

/// The path of the builder's workflow, which `--builder-id` may name without a ref.
const ANY_REF: &str = "https://github.com/octo-org/app/.github/workflows/release.yml";

/// A certificate of the builder's workflow at another ref, as whoever can push a branch gets.
fn at_ref(reference: &str) -> Leaf {
    let mut leaf = Leaf::workflow();
    let workflow = format!("{ANY_REF}@{reference}");
    for (number, text) in &mut leaf.extensions {
        match number {
            9 | 18 => text.clone_from(&workflow),
            14 => reference.clone_into(text),
            _ => {}
        }
    }
    leaf
}

/// The certificate's builder is proven, not the one that the job states beside it.
#[test]
fn the_builder_is_the_certificates_also_where_any_ref_will_do() {
    let instance = TestInstance::new();
    let judged = |stated: &str, expected: &str| {
        let predicate = json!({
            "buildDefinition": {"buildType": "https://example.com/own/v1", "externalParameters": {}},
            "runDetails": {"builder": {"id": stated}},
        });
        let bundle = instance.attest(&Statement { predicate, ..statement() }, &at_ref("refs/heads/evil"));
        judge(&bundle, &instance.trust(), &Policy::builder(expected, github()))
    };
    let certified = format!("{ANY_REF}@refs/heads/evil");
    for stated in [format!("{ANY_REF}@refs/tags/v1"), format!("{ANY_REF}@"), format!("{certified}@")] {
        let words = format!("names builder `{stated}`, the certificate `{certified}`");
        assert_refused(&judged(&stated, ANY_REF), Claim::Builder, &words);
    }
    for (stated, expected) in
        [(certified.as_str(), ANY_REF), (ANY_REF, ANY_REF), (certified.as_str(), certified.as_str())]
    {
        let report = judged(stated, expected);
        assert_verified(&report);
        assert_eq!(outcome(&report, Claim::Builder), &Outcome::Proven(certified.clone()));
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(48))]

    /// A ref may have any number of `@`, and a workflow's path none: wherever else the certificate's text is cut, path and
    /// ref are others.
    #[test]
    fn path_and_ref_of_the_workflow_are_cut_where_the_certificate_is(
        reference in "refs/(heads|tags)/[a-z0-9]{1,3}((@|@refs/tags/|/)[a-z0-9.]{0,2}[a-z0-9]){0,4}"
    ) {
        let instance = &*INSTANCE;
        let mut leaf = Leaf::workflow();
        leaf.extensions.iter_mut().filter(|(number, _)| *number == 18).for_each(|(_, text)| {
            *text = format!("{ANY_REF}@{reference}");
        });
        let whole = format!(".github/workflows/release.yml@{reference}");
        for (count, (at, _)) in whole.match_indices('@').enumerate() {
            let mut predicate = statement().predicate;
            let workflow = &mut predicate["buildDefinition"]["externalParameters"]["workflow"];
            workflow["path"] = json!(whole[..at]);
            workflow["ref"] = json!(whole[at + 1..]);
            let bundle = instance.attest(&Statement { predicate, ..statement() }, &leaf);
            let report = judge(&bundle, &instance.trust(), &workflow_policy().with_predicate_type(PROVENANCE_V1));
            proptest::prop_assert_eq!(report.verified, count == 0, "{}: {:#?}", &whole[at..], report.claims);
        }
    }
}

static INSTANCE: std::sync::LazyLock<TestInstance> = std::sync::LazyLock::new(TestInstance::new);

/// A repository or list that is larger than honest ones is not compared with anything.
#[test]
fn sizes_of_the_source_are_limited() {
    let instance = TestInstance::new();
    let judged = |path: &str, value: Value| {
        let mut predicate = statement().predicate;
        *predicate.pointer_mut(path).unwrap() = value;
        judge(&attested(&instance, predicate), &instance.trust(), &everything())
    };
    let repository = "/buildDefinition/externalParameters/workflow/repository";
    for long in [format!("{REPOSITORY}{}", "x".repeat(1024)), format!("{REPOSITORY}{}", "/x".repeat(32))] {
        assert_refused(&judged(repository, json!(long)), Claim::Provenance, "has more than");
    }
    let many = vec![json!({"uri": "pkg:npm/x"}); 32 * 1024 + 1];
    let report = judged("/buildDefinition/resolvedDependencies", json!(many));
    assert_refused(&report, Claim::Provenance, "has more than 32768 dependencies");
}
