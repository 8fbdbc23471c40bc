//! The configuration: both spellings, the rules at load, and patterns.

use proptest::prelude::*;

use super::*;

/// The shape of Fulcio's own file: anchors under `define`, merge keys, meta-issuers, metadata.
const YAML: &str = r#"
define:
  - &ci
    type: ci-provider
    ci-provider: example
    client-id: sigstore
oidc-issuers:
  https://ci.example.com:
    <<: *ci
    issuer-url: https://ci.example.com
    contact: ops@example.com
    description: "CI"
  https://accounts.example.com:
    issuer-url: https://accounts.example.com
    client-id: sigstore
    type: email
    issuer-claim: $.federated_claims.connector_id
    challenge-claim: email
meta-issuers:
  https://oidc.*.example.com/id/*:
    client-id: sigstore
    type: kubernetes
ci-issuer-metadata:
  example:
    default-template-values:
      url: https://ci.example.com
      retries: 3
    extension-templates:
      build-signer-uri: "{{ .url }}/{{ .job }}"
      github-workflow-sha: sha
      deployment-environment: ""
    subject-alternative-name-template: "{{ .url }}/{{ .job }}"
"#;

const JSON: &str = r#"{
  "OIDCIssuers": {
    "https://ci.example.com": {
      "IssuerURL": "https://ci.example.com", "ClientID": "sigstore", "Type": "ci-provider", "CIProvider": "example"
    },
    "https://accounts.example.com": {
      "IssuerURL": "https://accounts.example.com", "ClientID": "sigstore", "Type": "email",
      "IssuerClaim": "$.federated_claims.connector_id", "ChallengeClaim": "email"
    }
  },
  "MetaIssuers": { "https://oidc.*.example.com/id/*": { "ClientID": "sigstore", "Type": "kubernetes" } },
  "CIIssuerMetadata": { "example": {
    "DefaultTemplateValues": { "url": "https://ci.example.com", "retries": "3" },
    "ExtensionTemplates": { "BuildSignerURI": "{{ .url }}/{{ .job }}", "GithubWorkflowSHA": "sha" },
    "SubjectAlternativeNameTemplate": "{{ .url }}/{{ .job }}"
  } }
}"#;

fn refused(text: &str) -> String {
    IssuerConfig::parse(text).expect_err("must be refused").to_string()
}

/// One issuer with these extra lines.
fn one(lines: &str) -> String {
    let lines = lines.replace('\n', "\n    ");
    format!("oidc-issuers:\n  https://a.example.com:\n    issuer-url: https://a.example.com\n    {lines}\n")
}

#[test]
fn yaml_with_anchors_and_json_with_go_names_are_one_model() {
    for text in [YAML, JSON] {
        let config = IssuerConfig::parse(text).unwrap();
        assert_eq!(config.warnings(), [] as [&str; 0]);
        assert_eq!(config.issuers().count(), 3);
        let ci = config.find("https://ci.example.com").unwrap();
        assert_eq!((ci.audience.as_str(), ci.type_name.as_str()), ("sigstore", "ci-provider"));
        assert_eq!(ci.challenge_claim, "sub");
        let IssuerKind::CiProvider(provider) = &ci.kind else { panic!("{:?}", ci.kind) };
        assert_eq!(provider.defaults["retries"], "3");
        let numbers: Vec<u8> = provider.extensions.iter().map(|(n, _)| *n).collect();
        assert_eq!(numbers, [3, 9], "an empty template is no extension");
        let email = config.find("https://accounts.example.com").unwrap();
        assert_eq!(email.challenge_claim, "email");
        let path = ["federated_claims", "connector_id"].map(String::from).to_vec();
        assert!(matches!(&email.kind, IssuerKind::Email { issuer_claim: Some(p), .. } if *p == path));
        let cluster = config.find("https://oidc.eu-west-1.example.com/id/ABC_1").unwrap();
        assert!(matches!(cluster.kind, IssuerKind::Kubernetes));
        assert!(config.find("https://ci.example.com/").is_none(), "issuers are compared byte for byte");
    }
}

/// YAML allows an alias as a key, and Fulcio ignores templates for issuer and subject.
#[test]
fn aliases_are_keys_too_and_templates_for_issuer_and_subject_are_ignored() {
    let text = r#"
define:
  - &provider "example"
  - &anything { nested: [1, 2] }
oidc-issuers:
  https://ci.example.com:
    issuer-url: https://ci.example.com
    client-id: sigstore
    type: ci-provider
    ci-provider: *provider
ci-issuer-metadata:
  *provider :
    extension-templates:
      issuer: "iss"
      subject: "sub"
      run-invocation-uri: "run"
    subject-alternative-name-template: "{{ .job }}"
"#;
    let config = IssuerConfig::parse(text).unwrap();
    assert_eq!(config.warnings(), [] as [&str; 0]);
    let IssuerKind::CiProvider(provider) = &config.find("https://ci.example.com").unwrap().kind else {
        panic!("a provider")
    };
    let numbers: Vec<u8> = provider.extensions.iter().map(|(n, _)| *n).collect();
    assert_eq!(numbers, [21]);
}

#[test]
fn the_shipped_sample_loads_without_warnings() {
    let config = IssuerConfig::parse(crate::template::shipped::SAMPLE).unwrap();
    assert_eq!(config.warnings(), [] as [&str; 0]);
    assert_eq!(config.issuers().count(), 9);
    assert!(config.find("https://token.actions.githubusercontent.com/octo-org").is_some());
    assert!(config.find("https://token.actions.githubusercontent.com/a/b").is_none());
}

#[test]
fn a_configuration_without_issuers_is_refused() {
    for text in ["{}", "define: 1", "oidc-issuers: {}", "oidc-issuers:"] {
        assert!(matches!(IssuerConfig::parse(text), Err(ConfigError::NoIssuers)), "{text}");
    }
}

#[test]
fn json_with_kebab_case_keys_is_not_an_empty_configuration() {
    let text = r#"{"oidc-issuers": {"https://a.example.com": {"issuer-url": "https://a.example.com"}}}"#;
    assert!(refused(text).contains("OIDCIssuers"));
}

#[test]
fn a_key_that_differs_from_its_issuer_url_is_refused() {
    let text = one("client-id: a\ntype: email").replace("issuer-url: https://a.", "issuer-url: https://b.");
    let error = refused(&text);
    assert!(error.contains("https://b.example.com") && error.contains("must equal"), "{error}");
    let slash =
        one("client-id: a\ntype: email").replace("  https://a.example.com:", "  https://a.example.com/:");
    assert!(refused(&slash).contains("must equal"));
}

#[test]
fn unknown_keys_are_reported_and_ignored() {
    let config = IssuerConfig::parse(&(one("client-id: a\ntype: email\ncolour: red") + "more: 1\n")).unwrap();
    let warnings = config.warnings().join("\n");
    assert_eq!(config.warnings().len(), 2, "{warnings}");
    assert!(warnings.contains("`colour`") && warnings.contains("`more`"), "{warnings}");
}

#[test]
fn settings_that_could_only_fail_later_are_refused() {
    for (lines, expected) in [
        ("type: email", "client-id"),
        ("client-id: a\ntype: magic", "unknown issuer type `magic`"),
        ("client-id: a", "unknown issuer type"),
        ("client-id: a\ntype: ci-provider\nci-provider: nobody", "names `nobody`"),
        ("client-id: a\ntype: kubernetes\nissuer-claim: $.a", "type email only"),
        ("client-id: a\ntype: email\nissuer-claim: $..a[0]", "issuer-claim"),
        ("client-id: a\ntype: spiffe", "spiffe-trust-domain"),
        ("client-id: a\ntype: spiffe\nspiffe-trust-domain: A/b", "spiffe-trust-domain"),
        ("client-id: a\ntype: uri\nsubject-domain: a.example.com", "subject-domain"),
        ("client-id: a\ntype: uri\nsubject-domain: http://a.example.com", "scheme"),
        ("client-id: a\ntype: uri\nsubject-domain: https://a.example.org", "last two labels"),
        ("client-id: a\ntype: username\nsubject-domain: https://a.example.com", "without scheme"),
        ("client-id: a\ntype: username\nsubject-domain: example.org", "last two labels"),
        ("client-id: a\ntype: email\nca-cert: nonsense", "ca-cert"),
        ("client-id: [a]\ntype: email", "must be text"),
        ("client-id: a\ntype: email\nskip-email-verification: yes please", "true or false"),
    ] {
        let error = refused(&one(lines));
        assert!(error.contains(expected), "{lines}: {error}");
    }
}

#[test]
fn broken_templates_are_refused_with_their_place() {
    let broken = YAML
        .replace("build-signer-uri: \"{{ .url }}/{{ .job }}\"", "build-signer-uri: \"{{ .url | printf }}\"");
    let error = refused(&broken);
    assert!(error.contains("example.build-signer-uri") && error.contains("not supported"), "{error}");
    let nameless = YAML.replace("subject-alternative-name-template:", "unknown:");
    assert!(refused(&nameless).contains("subject-alternative-name-template"));
}

#[test]
fn issuer_urls_are_https_and_carry_nothing_else() {
    for good in [
        "https://a.example.com",
        "https://a.example.com/x/",
        "http://127.0.0.1:8080",
        "http://[::1]:1/x",
        "http://localhost:9",
    ] {
        assert!(IssuerUrl::parse(good).is_ok(), "{good}");
    }
    for (bad, expected) in [
        ("http://a.example.com", IssuerUrlError::NotHttps),
        ("http://localhost.example.com", IssuerUrlError::NotHttps),
        ("ftp://a.example.com", IssuerUrlError::NotHttps),
        ("https://user@a.example.com", IssuerUrlError::Ambiguous),
        ("https://a.example.com?x", IssuerUrlError::Ambiguous),
        ("https://a.example.com#x", IssuerUrlError::Ambiguous),
        ("https://a.example.com/\\b", IssuerUrlError::Malformed),
        ("https:// a.example.com", IssuerUrlError::Malformed),
        ("https://", IssuerUrlError::Malformed),
        ("accounts.google.com", IssuerUrlError::Malformed),
        ("", IssuerUrlError::Malformed),
    ] {
        assert_eq!(IssuerUrl::parse(bad).unwrap_err(), expected, "{bad}");
    }
}

#[test]
fn discovery_drops_one_trailing_slash() {
    let url = |text: &str| IssuerUrl::parse(text).unwrap().discovery();
    assert_eq!(url("https://a.example.com"), "https://a.example.com/.well-known/openid-configuration");
    assert_eq!(url("https://a.example.com/t/"), "https://a.example.com/t/.well-known/openid-configuration");
}

#[test]
fn a_star_is_one_segment_and_the_whole_text_must_match() {
    let pattern = Pattern::new("https://oidc.eks.*.amazonaws.com/id/*");
    assert!(pattern.matches("https://oidc.eks.us-west-2.amazonaws.com/id/ABCDEF012_3"));
    for hostile in [
        "https://oidc.eks.us-west-2.amazonaws.com/id/",
        "https://oidc.eks..amazonaws.com/id/A",
        "https://oidc.eks.a.b.amazonaws.com/id/A",
        "https://oidc.eks.us-west-2.amazonaws.com/id/A/B",
        "https://oidc.eks.us-west-2.amazonaws.com/id/A?x",
        "https://evil.example?https://oidc.eks.us-west-2.amazonaws.com/id/A",
        "https://oidc.eks.us-west-2.amazonaws.com/id/A\n",
        "xhttps://oidc.eks.us-west-2.amazonaws.com/id/A",
        "https://oidc_eks.us-west-2.amazonaws.com/id/A",
    ] {
        assert!(!pattern.matches(hostile), "{hostile}");
    }
    assert!(Pattern::new("*a*a").matches("aaaa"));
    assert!(!Pattern::new("*a*a").matches("aaa.a"));
    assert!(Pattern::new("").matches(""));
}

#[test]
fn the_most_specific_of_overlapping_patterns_wins() {
    let text = "meta-issuers:\n  https://*.example.com/id:\n    client-id: wide\n    type: kubernetes\n  \
                https://ci-*.example.com/id:\n    client-id: narrow\n    type: email\n";
    let config = IssuerConfig::parse(text).unwrap();
    assert_eq!(config.find("https://ci-1.example.com/id").unwrap().audience, "narrow");
    assert_eq!(config.find("https://x.example.com/id").unwrap().audience, "wide");
}

#[test]
fn spiffe_is_no_meta_issuer() {
    let text = "meta-issuers:\n  https://*.example.com:\n    client-id: a\n    type: spiffe\n    spiffe-trust-domain: x\n";
    assert!(refused(text).contains("spiffe"));
}

#[test]
fn the_older_types_are_the_shipped_mappings_cut_down() {
    for (name, count) in
        [("github-workflow", 19), ("gitlab-pipeline", 14), ("buildkite-job", 0), ("codefresh-workflow", 6)]
    {
        let config = IssuerConfig::parse(&one(&format!("client-id: a\ntype: {name}"))).unwrap();
        let issuer = config.find("https://a.example.com").unwrap();
        assert_eq!(issuer.type_name, name);
        let IssuerKind::CiProvider(provider) = &issuer.kind else { panic!("{name}") };
        assert_eq!(provider.extensions.len(), count, "{name}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in ".{0,200}") {
        let _ = IssuerConfig::parse(&text);
    }

    #[test]
    fn no_yaml_value_makes_the_parser_panic(key in "[a-z-]{1,20}", value in "[\\[\\]{}a-z0-9:*&!|>, -]{0,30}") {
        let _ = IssuerConfig::parse(&format!("{key}: {value}\noidc-issuers:\n  https://a.example.com:\n    {key}: {value}\n"));
    }

    /// The matcher against the obvious recursive definition.
    #[test]
    fn the_matcher_agrees_with_its_definition(pattern in "[ab.*]{0,8}", text in "[ab.]{0,8}") {
        fn slow(pattern: &[u8], text: &[u8]) -> bool {
            match pattern.split_first() {
                None => text.is_empty(),
                Some((b'*', rest)) => (1..=text.len())
                    .take_while(|&n| text[n - 1].is_ascii_alphanumeric())
                    .any(|n| slow(rest, &text[n..])),
                Some((c, rest)) => text.first() == Some(c) && slow(rest, &text[1..]),
            }
        }
        prop_assert_eq!(Pattern::new(pattern.clone()).matches(&text), slow(pattern.as_bytes(), text.as_bytes()));
    }
}

#[test]
fn issuers_are_compared_by_all_that_is_said_of_them() {
    let issuer = |url: &str, audience: &str| {
        format!("  {url}:\n    issuer-url: {url}\n    client-id: {audience}\n    type: kubernetes\n")
    };
    let config =
        |issuers: &[String]| IssuerConfig::parse(&format!("oidc-issuers:\n{}", issuers.concat())).unwrap();
    let (a, b, c) = ("https://a.example", "https://b.example", "https://c.example");
    let before = config(&[issuer(a, "x"), issuer(b, "x")]);
    assert_eq!(config(&[issuer(b, "x"), issuer(a, "x")]).changes_since(&before), []);
    let changes = config(&[issuer(a, "y"), issuer(c, "x")]).changes_since(&before);
    let words: Vec<_> = changes.iter().map(ToString::to_string).collect();
    assert_eq!(words, [format!("changed {a}"), format!("removed {b}"), format!("added {c}")]);
}
