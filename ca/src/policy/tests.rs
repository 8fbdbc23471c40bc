//! Policies: what is permitted, what is refused, and which policies are refused themselves.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;

const ISSUER: &str = "https://id.corp.example";
const GITHUB: &str = "https://token.actions.githubusercontent.com";

fn issuers(more: &str) -> IssuerConfig {
    let text = format!(
        "oidc-issuers:\n  {ISSUER}:\n    issuer-url: {ISSUER}\n    client-id: a\n    type: email\n{more}"
    );
    IssuerConfig::parse(&text).unwrap()
}

fn policy(document: Value) -> Result<ClaimPolicy, String> {
    serde_json::from_value(document).map_err(|error| error.to_string())
}

fn rules(rules: &Value) -> Result<ClaimPolicies, String> {
    let policy = policy(json!({"issuer": ISSUER, "rule": rules}))?;
    ClaimPolicies::bind(vec![policy], &issuers("")).map_err(|error| error.to_string())
}

fn token(claims: &Value) -> VerifiedToken {
    let issuer = issuers("").find(ISSUER).unwrap().clone();
    let claims = claims.as_object().unwrap().clone();
    VerifiedToken { issuer, iss: ISSUER.to_owned(), sub: "sub".to_owned(), claims }
}

fn permits(conditions: &Value, claims: &Value) -> bool {
    let mut rule = conditions.clone();
    rule["name"] = json!("rule");
    rules(&json!([rule])).unwrap().permit(token(claims)).is_ok()
}

#[test]
fn conditions_accept_what_they_name_and_nothing_else() {
    for (conditions, accepted, refused) in [
        (
            json!({"claims": {"repository_owner_id": "65"}}),
            vec![json!({"repository_owner_id": "65", "other": 1})],
            vec![json!({}), json!({"repository_owner_id": "650"}), json!({"repository_owner_id": 65})],
        ),
        (
            json!({"claims": {"visibility": ["private", "internal"], "ref_protected": "true"}}),
            vec![json!({"visibility": "internal", "ref_protected": "true"})],
            vec![
                json!({"visibility": "internal"}),
                json!({"visibility": "public", "ref_protected": "true"}),
                json!({"visibility": "internal", "ref_protected": true}),
                json!({"visibility": ["internal"], "ref_protected": "true"}),
            ],
        ),
        (
            json!({"claims": {"ref": {"glob": "refs/tags/v*"}}}),
            vec![json!({"ref": "refs/tags/v1"})],
            vec![json!({"ref": "refs/tags/v1/x"}), json!({"ref": ["refs/tags/v1"]})],
        ),
        (
            json!({"claims": {"kubernetes.io": {"namespace": "builds", "serviceaccount": {"name": "release"}}}}),
            vec![
                json!({"kubernetes.io": {"namespace": "builds", "serviceaccount": {"name": "release", "uid": "1"}}}),
            ],
            vec![
                json!({"kubernetes.io": {"namespace": "builds"}}),
                json!({"kubernetes.io": {"namespace": "builds", "serviceaccount": "release"}}),
                json!({"kubernetes": {"io": {"namespace": "builds", "serviceaccount": {"name": "release"}}}}),
                json!({"kubernetes.io": null}),
            ],
        ),
        (
            json!({"claims": {"groups": {"contains": ["auditors", {"glob": "team-*"}]}}}),
            vec![json!({"groups": ["x", "auditors"]}), json!({"groups": ["team-a"]})],
            vec![json!({"groups": "auditors"}), json!({"groups": []}), json!({"groups": [["auditors"]]})],
        ),
        (
            json!({"claims": {"level": 3, "hosted": true, "text": {"exact": "a*b"}}}),
            vec![json!({"level": 3, "hosted": true, "text": "a*b"})],
            vec![
                json!({"level": "3", "hosted": true, "text": "a*b"}),
                json!({"level": 3.0, "hosted": true, "text": "a*b"}),
                json!({"level": 3, "hosted": "true", "text": "a*b"}),
                json!({"level": 3, "hosted": 1, "text": "a*b"}),
                json!({"level": 3, "hosted": true, "text": "axb"}),
            ],
        ),
        (
            json!({
                "claims": {"owner": "acme"},
                "any": [{"claims": {"environment": "production"}}, {"all": [{"claims": {"a": "1"}}, {"claims": {"b": "2"}}]}],
            }),
            vec![
                json!({"owner": "acme", "environment": "production"}),
                json!({"owner": "acme", "a": "1", "b": "2"}),
            ],
            vec![
                json!({"environment": "production"}),
                json!({"owner": "acme", "a": "1"}),
                json!({"owner": "acme"}),
            ],
        ),
    ] {
        for claims in accepted {
            assert!(permits(&conditions, &claims), "{conditions} should permit {claims}");
        }
        for claims in refused {
            assert!(!permits(&conditions, &claims), "{conditions} should refuse {claims}");
        }
    }
}

/// Values of every type, all of which print alike somewhere.
fn alike() -> Vec<Value> {
    vec![
        json!("1"),
        json!(1),
        json!(1.0),
        json!(true),
        json!("true"),
        json!([1]),
        json!(["1"]),
        json!({"1": 1}),
        json!(null),
        json!("null"),
        json!(""),
        json!([]),
        json!({}),
        json!(-1),
        json!(0),
        json!(false),
        json!(1e300),
        json!(u64::MAX),
    ]
}

#[test]
fn no_value_matches_one_of_another_type() {
    for wanted in
        alike().into_iter().filter(|value| value.is_string() || value.is_boolean() || value.is_i64())
    {
        for found in alike() {
            let permitted = permits(&json!({"claims": {"claim": wanted}}), &json!({"claim": found}));
            assert_eq!(permitted, wanted == found, "{wanted} and {found}");
        }
    }
}

#[test]
fn an_address_counts_only_if_it_was_verified() {
    let conditions = json!({"claims": {"email": {"glob": "*@example.com"}}});
    for (verified, expected) in
        [(json!(true), true), (json!("true"), true), (json!(false), false), (json!(null), false)]
    {
        let claims = json!({"email": "ada@example.com", "email_verified": verified});
        assert_eq!(permits(&conditions, &claims), expected, "{claims}");
    }
    assert!(!permits(&conditions, &json!({"email": "ada@example.com"})));
    let refusal = rules(&json!([{"name": "people", "claims": conditions["claims"]}])).unwrap();
    let refusal = refusal.permit(token(&json!({"email": "ada@example.com"}))).unwrap_err().to_string();
    assert!(refusal.contains("which the issuer has not verified"), "{refusal}");
}

#[test]
fn the_first_rule_that_holds_names_the_permission() {
    let policies = rules(&json!([
        {"name": "hosted", "max_build_level": 3, "claims": {"owner": "acme", "runner": "github-hosted"}},
        {"name": "own-runners", "permits": ["certificate"], "max_build_level": 2, "claims": {"owner": "acme"}},
    ]))
    .unwrap();
    let hosted = policies.permit(token(&json!({"owner": "acme", "runner": "github-hosted"}))).unwrap();
    assert_eq!((hosted.rule(), hosted.max_build_level()), (Some("hosted"), Some(3)));
    let own = policies.permit(token(&json!({"owner": "acme", "runner": "self-hosted"}))).unwrap();
    assert_eq!((own.rule(), own.max_build_level()), (Some("own-runners"), Some(2)));
}

#[test]
fn a_refusal_names_the_nearest_rule_the_claim_and_its_value_on_one_short_line() {
    let policies = rules(&json!([
        {"name": "far", "claims": {"owner": "other", "ref": "refs/heads/main", "environment": "production"}},
        {"name": "near", "claims": {"owner": "acme", "environment": ["production", "staging"]}},
    ]))
    .unwrap();
    let environment = format!("test\n\u{202e}{}", "x".repeat(10_000));
    let refusal = policies.permit(token(&json!({"owner": "acme", "environment": environment}))).unwrap_err();
    let PolicyRefusal::NoRule(nearest) = &refusal else { panic!("{refusal:?}") };
    assert_eq!((nearest.rule.as_str(), nearest.claim.as_str()), ("near", "environment"));
    assert_eq!(nearest.expected, "\"production\" or \"staging\"");
    let text = refusal.to_string();
    assert!(text.len() < 600 && text.contains("\"test\\n") && !text.contains(['\n', '\u{202e}']), "{text}");
    let absent = policies.permit(token(&json!({"owner": "acme"}))).unwrap_err().to_string();
    assert!(absent.contains("claim `environment` must be") && absent.ends_with("it is absent"), "{absent}");
}

#[test]
fn a_policy_that_would_surprise_is_refused_with_words() {
    let rule = |rule: Value| policy(json!({"issuer": ISSUER, "rule": [rule]})).unwrap_err();
    for (document, words) in [
        (json!({"name": "r"}), "it has no conditions"),
        (json!({"name": "r", "claims": {}}), "`claims` is an empty table"),
        (json!({"name": "r", "claims": {"a": {"b": {}}}}), "`a.b` is an empty table"),
        (json!({"name": "r", "claims": {"a": []}}), "an empty list matches nothing"),
        (json!({"name": "r", "claims": {"a": "b*"}}), "write { glob = \"b*\" }"),
        (json!({"name": "r", "claims": {"a": {"glob": "**"}}}), "restricts nothing"),
        (json!({"name": "r", "claims": {"a": {"glob": "b"}}}), "has no `*`"),
        (json!({"name": "r", "claims": {"a": {"glob": 1}}}), "`glob` takes one text"),
        (json!({"name": "r", "claims": {"a": {"glob": "b*", "exact": "c"}}}), "has no other keys"),
        (json!({"name": "r", "claims": {"a": {"contains": []}}}), "`contains` has an empty list"),
        (json!({"name": "r", "claims": {"a": {"contains": [{"x": "y"}]}}}), "`x` is not one of"),
        (json!({"name": "r", "claims": {"a": [["b"]]}}), "a list within a list"),
        (json!({"name": "r", "claims": {"a": 1.5}}), "not a whole number"),
        (json!({"name": "r", "claims": {"a": null}}), "a value is missing"),
        (json!({"name": "r", "claims": {"kubernetes.io": {"x y": []}}}), "claim `\"kubernetes.io\".\"x y\"`"),
        (json!({"name": "r", "any": []}), "`any` is an empty list"),
        (json!({"name": "r", "any": [{"claims": {"a": "b"}}, {}]}), "which always holds"),
        (json!({"name": "r", "claim": {"a": "b"}}), "unknown field `claim`"),
        (json!({"name": "r", "any": [{"claim": {"a": "b"}}]}), "unknown field `claim`"),
        (json!({"name": "a b", "claims": {"a": "b"}}), "`name` must be"),
        (json!({"name": "", "claims": {"a": "b"}}), "`name` must be"),
        (json!({"name": "r", "permits": [], "claims": {"a": "b"}}), "`permits` is an empty list"),
        (json!({"name": "r", "permits": ["everything"], "claims": {"a": "b"}}), "unknown variant"),
        (json!({"name": "r", "max_build_level": 4, "claims": {"a": "b"}}), "0 to 3"),
    ] {
        let refused = rule(document.clone());
        assert!(refused.contains(words), "{document}: {refused}");
    }
    let a = json!({"name": "r", "claims": {"a": "b"}});
    let refused = policy(json!({"issuer": ISSUER, "rule": [a, a]})).unwrap_err();
    assert!(refused.contains("two rules are named `r`"), "{refused}");
    let refused = policy(json!({"issuer": ISSUER, "any_tenant": true, "rule": [a]})).unwrap_err();
    assert!(refused.contains("makes its rules meaningless"), "{refused}");
    let refused = policy(json!({"issuer": ISSUER, "rule": []})).unwrap_err();
    assert!(refused.contains("`rule` is an empty list"), "{refused}");
    let deep = (0..20).fold(json!({"claims": {"a": "b"}}), |inner, _| json!({"any": [inner]}));
    let refused = rule(json!({"name": "r", "any": [deep]}));
    assert!(refused.contains("nested more than"), "{refused}");
    let many: Vec<Value> = (0..300).map(|i| json!({"name": format!("r{i}"), "claims": {"a": "b"}})).collect();
    let refused = policy(json!({"issuer": ISSUER, "rule": many})).unwrap_err();
    assert!(refused.contains("more than 256 rules"), "{refused}");
}

#[test]
fn a_public_issuer_without_rules_is_refused_with_the_lines_to_add() {
    let github = format!(
        "  {GITHUB}:\n    issuer-url: {GITHUB}\n    client-id: a\n    type: ci-provider\n    ci-provider: github-workflow\n"
    );
    let issuers = issuers(&github);
    let bind = |policies| ClaimPolicies::bind(policies, &issuers).map_err(|error| error.to_string());
    let bare = policy(json!({"issuer": GITHUB, "single_use": true})).unwrap();
    for policies in [vec![], vec![bare.clone()]] {
        let refused = bind(policies).unwrap_err();
        for words in
            ["GitHub Actions", "[[ca.policy.rule]]", "repository_owner_id", "any_tenant = true", GITHUB]
        {
            assert!(refused.contains(words), "{words}: {refused}");
        }
    }
    let any = policy(json!({"issuer": GITHUB, "any_tenant": true})).unwrap();
    let ruled = policy(json!({"issuer": GITHUB, "rule": [{"name": "r", "claims": {"a": "b"}}]})).unwrap();
    bind(vec![any.clone()]).unwrap();
    bind(vec![ruled.clone()]).unwrap();
    let refused = bind(vec![any, ruled]).unwrap_err();
    assert!(refused.contains("two claim policies"), "{refused}");
    let elsewhere = policy(json!({"issuer": "https://gitlab.com", "any_tenant": true})).unwrap();
    let refused = bind(vec![elsewhere]).unwrap_err();
    assert!(refused.contains("is not an issuer here") && refused.contains(ISSUER), "{refused}");
}

#[test]
fn an_issuer_without_a_policy_permits_its_tokens_and_with_one_rule_denies_the_rest() {
    let none = ClaimPolicies::bind(Vec::new(), &issuers("")).unwrap();
    assert_eq!(none.permit(token(&json!({}))).unwrap().rule(), None);
    let ruled = rules(&json!([{"name": "r", "claims": {"a": "b"}}])).unwrap();
    ruled.permit(token(&json!({}))).unwrap_err();
}

#[test]
fn single_use_needs_a_token_id() {
    let policy = policy(json!({"issuer": ISSUER, "single_use": true})).unwrap();
    let policies = ClaimPolicies::bind(vec![policy], &issuers("")).unwrap();
    let refused = policies.permit(token(&json!({"iat": 1, "exp": 2}))).unwrap_err();
    assert_eq!(refused, PolicyRefusal::NotSingleUse("jti"));
    assert!(policies.permit(token(&json!({"jti": "a", "iat": 1, "exp": 2}))).unwrap().single_use().is_some());
}

#[test]
fn rules_and_values_that_cannot_matter_are_warned_about() {
    let warnings =
        |rules: Value| policy(json!({"issuer": ISSUER, "rule": rules})).unwrap().warnings().join("\n");
    for (rules, words) in [
        (json!([{"name": "r", "claims": {"a": ["x1", {"glob": "x*"}]}}]), "the value \"x1\" never decides"),
        (json!([{"name": "r", "claims": {"a": ["x", "x"]}}]), "the value \"x\" never decides"),
        (
            json!([{"name": "r", "claims": {"a": "x"}, "all": [{"claims": {"a": ["y", {"glob": "z*"}]}}]}]),
            "it never permits anything",
        ),
        (
            json!([{"name": "wide", "claims": {"a": {"glob": "x*"}}}, {"name": "r", "claims": {"a": "xy", "b": "c"}}]),
            "rule `r`: it never decides: rule `wide`",
        ),
    ] {
        let found = warnings(rules.clone());
        assert!(found.contains(words), "{rules}: {found}");
    }
    for rules in [
        json!([{"name": "narrow", "claims": {"a": "xy", "b": "c"}}, {"name": "wide", "claims": {"a": {"glob": "x*"}}}]),
        json!([{"name": "r", "claims": {"a": {"glob": "x*"}}, "all": [{"claims": {"a": {"glob": "*y"}}}]}]),
        json!([{"name": "r", "any": [{"claims": {"a": "x"}}]}, {"name": "s", "claims": {"a": "x"}}]),
    ] {
        assert_eq!(warnings(rules.clone()), "", "{rules}");
    }
}

#[test]
fn the_trace_shows_each_condition_with_what_was_found() {
    let policies =
        rules(&json!([{"name": "r", "claims": {"owner": "acme", "ref": {"glob": "refs/tags/*"}}}])).unwrap();
    let [trace] = policies.trace(&token(&json!({"owner": "acme"}))).try_into().unwrap();
    assert!(!trace.holds);
    let lines: Vec<_> =
        trace.lines.iter().map(|line| (line.text.as_str(), line.holds, line.found.as_deref())).collect();
    assert_eq!(
        lines,
        [
            ("all of these", false, None),
            ("owner is \"acme\"", true, Some("\"acme\"")),
            ("ref is like \"refs/tags/*\"", false, Some("absent")),
        ]
    );
}

// ---- A second evaluator, over the document, that knows nothing of the types
// --------------------------------------

fn holds(group: &Value, claims: &Map<String, Value>) -> bool {
    let table = |key: &str| group[key].as_object().into_iter().flatten();
    let list = |key: &str| group[key].as_array().map(|list| list.iter().collect::<Vec<_>>());
    table("claims").all(|(name, wanted)| claim_holds(claims.get(name), wanted))
        && list("all").is_none_or(|all| all.into_iter().all(|one| holds(one, claims)))
        && list("any").is_none_or(|any| any.into_iter().any(|one| holds(one, claims)))
}

fn claim_holds(found: Option<&Value>, wanted: &Value) -> bool {
    let Some(found) = found else { return false };
    match wanted {
        Value::Array(values) => values.iter().any(|value| claim_holds(Some(found), value)),
        Value::Object(table) if table.contains_key("contains") => found
            .as_array()
            .is_some_and(|items| items.iter().any(|item| claim_holds(Some(item), &table["contains"]))),
        Value::Object(table) if table.contains_key("glob") => {
            let prefix = table["glob"].as_str().unwrap().strip_suffix('*').unwrap();
            found.as_str().is_some_and(|text| text.starts_with(prefix) && !text[prefix.len()..].contains('/'))
        }
        Value::Object(nested) => nested.iter().all(|(name, wanted)| claim_holds(found.get(name), wanted)),
        scalar => scalar == found,
    }
}

fn name() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "b", "k.io"]).prop_map(str::to_owned)
}

fn scalar() -> impl Strategy<Value = Value> {
    prop::sample::select(vec![
        json!("x"),
        json!("x/y"),
        json!("xy"),
        json!("1"),
        json!(1),
        json!(true),
        json!("true"),
    ])
}

fn wanted() -> impl Strategy<Value = Value> {
    let glob = prop::sample::select(vec![json!({"glob": "x*"}), json!({"glob": "x/*"})]);
    let leaf = prop_oneof![
        scalar(),
        prop::collection::vec(scalar(), 1..3).prop_map(Value::from),
        glob,
        scalar().prop_map(|value| json!({"contains": value})),
    ];
    leaf.prop_recursive(2, 4, 2, |inner| {
        prop::collection::btree_map(name(), inner, 1..3).prop_map(|table| json!(table))
    })
}

fn group() -> impl Strategy<Value = Value> {
    let leaf =
        prop::collection::btree_map(name(), wanted(), 1..3).prop_map(|claims| json!({"claims": claims}));
    leaf.prop_recursive(3, 8, 3, |inner| {
        let groups = prop::collection::vec(inner.clone(), 1..3);
        (inner, groups, any::<bool>()).prop_map(|(mut base, groups, all)| {
            base[if all { "all" } else { "any" }] = json!(groups);
            base
        })
    })
}

fn claims() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        scalar(),
        prop::collection::vec(scalar(), 0..3).prop_map(Value::from),
        prop::sample::select(alike()),
    ];
    let value = leaf.prop_recursive(2, 4, 2, |inner| {
        prop::collection::btree_map(name(), inner, 0..3).prop_map(|table| json!(table))
    });
    prop::collection::btree_map(name(), value, 0..4).prop_map(|claims| json!(claims))
}

/// Any JSON at all.
fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        prop::sample::select(alike()),
        ".{0,8}".prop_map(Value::from),
        prop::sample::select(vec![
            json!("glob"),
            json!("a*"),
            json!({"glob": "a*"}),
            json!({"contains": "a"})
        ]),
    ];
    let key = prop_oneof![
        ".{0,6}",
        prop::sample::select(vec![
            "name", "claims", "any", "all", "glob", "exact", "contains", "permits", "rule", "issuer"
        ])
        .prop_map(str::to_owned),
    ];
    leaf.prop_recursive(5, 24, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key.clone(), inner, 0..4).prop_map(|table| json!(table)),
        ]
    })
}

proptest! {
    #[test]
    fn rules_hold_as_their_document_says(groups in prop::collection::vec(group(), 1..4), claims in claims()) {
        let named = |(i, group): (usize, &Value)| {
            let mut rule = group.clone();
            rule["name"] = json!(format!("r{i}"));
            rule
        };
        let documents: Vec<Value> = groups.iter().enumerate().map(named).collect();
        let policies = rules(&json!(documents)).unwrap();
        let expected = groups.iter().position(|group| holds(group, claims.as_object().unwrap()));
        let traces = policies.trace(&token(&claims));
        prop_assert_eq!(traces.iter().position(|trace| trace.holds), expected);
        match policies.permit(token(&claims)) {
            Ok(permitted) => prop_assert_eq!(permitted.rule().map(str::to_owned), expected.map(|i| format!("r{i}"))),
            Err(PolicyRefusal::NoRule(nearest)) => {
                prop_assert_eq!(expected, None);
                prop_assert!(!nearest.claim.is_empty() && !nearest.found.is_empty(), "{:?}", nearest);
            }
            Err(other) => prop_assert!(false, "{other}"),
        }
    }

    #[test]
    fn no_token_without_claims_is_permitted_by_a_rule(group in group()) {
        let mut rule = group;
        rule["name"] = json!("r");
        let permitted = rules(&json!([rule])).unwrap().permit(token(&json!({}))).is_ok();
        prop_assert!(!permitted);
    }

    #[test]
    fn no_document_and_no_claims_are_too_odd(document in anything(), rule in anything(), claims in anything()) {
        let _ = policy(document);
        let parsed = policy(json!({"issuer": ISSUER, "rule": [rule, {"name": "r", "claims": {"a": "b"}}]}));
        if let (Ok(parsed), Value::Object(_)) = (parsed, &claims) {
            parsed.warnings();
            let policies = ClaimPolicies::bind(vec![parsed], &issuers("")).unwrap();
            policies.trace(&token(&claims));
            let _ = policies.permit(token(&claims)).map_err(|refusal| refusal.to_string());
        }
    }
}
