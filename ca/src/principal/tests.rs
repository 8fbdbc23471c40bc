//! Names by type of issuer, and URLs as Go prints them.

mod ci;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::config::IssuerConfig;

const ISSUER: &str = "https://id.example.com";

fn principal(kind: &str, claims: Value) -> Result<Principal, PrincipalError> {
    let lines = kind.replace('\n', "\n    ");
    let text =
        format!("oidc-issuers:\n  {ISSUER}:\n    issuer-url: {ISSUER}\n    client-id: a\n    {lines}\n");
    let issuer = IssuerConfig::parse(&text).unwrap().find(ISSUER).unwrap().clone();
    let Value::Object(claims) = claims else { panic!("an object") };
    let sub = claims.get("sub").and_then(Value::as_str).unwrap_or("sub").to_owned();
    Principal::of(&PermittedToken::unruled(VerifiedToken { issuer, iss: ISSUER.to_owned(), sub, claims }))
}

fn name(kind: &str, claims: Value) -> Result<SubjectName, PrincipalError> {
    principal(kind, claims).map(|principal| principal.subject)
}

#[test]
fn issuer_and_subject_are_always_certified_and_nothing_else_for_a_person() {
    let principal =
        principal("type: email", json!({"sub": "x1", "email": "a@b.c", "email_verified": true})).unwrap();
    let expected = [(1, ISSUER), (8, ISSUER), (24, "x1")].map(|(n, v)| (n, v.to_owned()));
    assert_eq!(principal.extensions, expected);
    assert_eq!(principal.challenge, "a@b.c");
    assert_eq!(principal.other_challenge, None);
}

#[test]
fn an_email_must_be_verified_and_well_formed() {
    let with = |email: Value, verified: Value| {
        name("type: email", json!({"email": email, "email_verified": verified}))
    };
    for verified in [json!(true), json!("true"), json!("True")] {
        assert!(with(json!("a@b.c"), verified).is_ok());
    }
    for verified in [json!(false), json!("false")] {
        assert_eq!(with(json!("a@b.c"), verified), Err(PrincipalError::EmailUnverified));
    }
    for verified in [json!(1), Value::Null, json!("yes")] {
        assert_eq!(with(json!("a@b.c"), verified), Err(PrincipalError::Claim("email_verified")));
    }
    assert_eq!(name("type: email", json!({"email": "a@b.c"})), Err(PrincipalError::EmailUnverified));
    assert_eq!(name("type: email", json!({"email_verified": true})), Err(PrincipalError::Claim("email")));
    for address in
        ["", "a", "@b.c", "a@", "a@b@c", "a b@c.d", "Ä@b.c", "<a@b.c>", "a@b..c", "a@b.c\n", "a@b/c"]
    {
        assert!(with(json!(address), json!(true)).is_err(), "{address:?}");
    }
}

#[test]
fn skipping_the_email_verification_skips_only_that() {
    let kind = "type: email\nskip-email-verification: true";
    assert!(name(kind, json!({"email": "a@b.c"})).is_ok());
    assert!(name(kind, json!({"email": "a@b.c", "email_verified": false})).is_ok());
    assert!(name(kind, json!({"email": "nobody"})).is_err());
}

#[test]
fn an_issuer_claim_replaces_the_issuer() {
    let kind = "type: email\nissuer-claim: $.federated_claims.connector_id";
    let claims = json!({
        "email": "a@b.c", "email_verified": true, "federated_claims": {"connector_id": "https://github.com/login/oauth"}
    });
    let principal = principal(kind, claims).unwrap();
    assert_eq!(principal.extensions[0], (1, "https://github.com/login/oauth".to_owned()));
    assert_eq!(principal.extensions[1], (8, "https://github.com/login/oauth".to_owned()));
    let without = json!({"email": "a@b.c", "email_verified": true});
    assert!(name(kind, without).is_err(), "an empty issuer is an error");
}

#[test]
fn a_uri_must_be_on_the_subject_domain() {
    let kind = "type: uri\nsubject-domain: https://id.example.com";
    let of = |sub: &str| name(kind, json!({"sub": sub}));
    assert_eq!(
        of("https://id.example.com/users/1"),
        Ok(SubjectName::Uri("https://id.example.com/users/1".into()))
    );
    for sub in [
        "https://id.example.org/users/1",
        "http://id.example.com/users/1",
        "https://id.example.com.evil.example/",
        "https://evil.example/https://id.example.com",
        "https://user@id.example.com/",
        "https://ID.example.com/users/1",
        "https://id.example.com/users/../admin",
        "https://id.example.com/users/%2e%2e/admin",
        "https://id.example.com\\@evil.example/",
        "a@id.example.com",
        "id.example.com/users/1",
        "",
    ] {
        assert!(of(sub).is_err(), "{sub}");
    }
}

#[test]
fn the_host_of_a_uri_is_compared_as_it_is_written() {
    for (domain, alike) in [
        (
            "http://127.0.0.1",
            ["http://127.1/x", "http://0x7f000001/x", "http://2130706433/x", "http://127.0.0.1./x"],
        ),
        (
            "https://id.example.com",
            [
                "https://id%2eexample.com/x",
                "https://id.example.com:x/",
                "https:id.example.com",
                "https:///id.example.com",
            ],
        ),
    ] {
        let text = format!(
            "oidc-issuers:\n  {domain}:\n    issuer-url: {domain}\n    client-id: a\n    type: uri\n    subject-domain: {domain}\n"
        );
        let issuer = IssuerConfig::parse(&text).unwrap().find(domain).unwrap().clone();
        let of = |sub: &str| {
            let token = VerifiedToken {
                issuer: issuer.clone(),
                iss: domain.to_owned(),
                sub: sub.to_owned(),
                claims: Map::new(),
            };
            Principal::named_by(&token)
        };
        assert!(of(&format!("{domain}/x")).is_ok(), "{domain}");
        for sub in alike {
            assert!(of(sub).is_err(), "{sub}");
        }
    }
}

#[test]
fn a_subject_domain_is_a_uri_that_everyone_reads_alike() {
    for domain in [
        "https://id..example.com",
        "https://127.1",
        "id.example.com",
        "https:///x",
        "https://u@id.example.com",
    ] {
        let text = format!(
            "oidc-issuers:\n  {ISSUER}:\n    issuer-url: {ISSUER}\n    client-id: a\n    type: uri\n    subject-domain: {domain}\n"
        );
        assert!(IssuerConfig::parse(&text).is_err(), "{domain}");
    }
}

/// A user name is not what Fulcio's `IsEmail` takes for an address. `user@realm` is not one to it.
#[test]
fn a_username_with_a_realm_is_judged_like_in_fulcio() {
    let kind = "type: username\nsubject-domain: example.com";
    let of = |sub: &str| name(kind, json!({"sub": sub})).is_ok();
    for sub in [
        "alice",
        "user@realm",
        "a@b@realm",
        "alice@1.2",
        "alice@-x.example",
        "a@b..c",
        "DOMAIN\\alice",
        "a b",
    ] {
        assert!(of(sub), "{sub}");
    }
    for sub in [
        "alice@example.com",
        "bob@host_1.example",
        "bob@host.example.",
        "a@b..x.c",
        "\"a b\"@example.com",
        "\u{e4}@example.com",
        "alice!evil",
        "al\u{0}ice",
        "al\u{202e}ice",
    ] {
        assert!(!of(sub), "{sub:?}");
    }
}

#[test]
fn a_username_has_neither_mark_nor_at_sign() {
    let kind = "type: username\nsubject-domain: example.com";
    let expected = SubjectName::Other { oid: oid::FULCIO_USERNAME.into(), value: "alice!example.com".into() };
    assert_eq!(name(kind, json!({"sub": "alice"})), Ok(expected));
    for sub in ["alice!evil.example", "alice@example.com", "al\u{0}ice"] {
        assert!(name(kind, json!({"sub": sub})).is_err(), "{sub:?}");
    }
    assert_eq!(principal(kind, json!({"sub": "alice"})).unwrap().challenge, "alice");
}

#[test]
fn a_spiffe_id_is_valid_and_of_the_trust_domain() {
    let kind = "type: spiffe\nspiffe-trust-domain: prod.example";
    let of = |sub: &str| name(kind, json!({"sub": sub}));
    assert_eq!(of("spiffe://prod.example/ns/a"), Ok(SubjectName::Uri("spiffe://prod.example/ns/a".into())));
    assert!(of("spiffe://prod.example").is_ok());
    for sub in [
        "spiffe://sub.prod.example/a",
        "spiffe://prod.example.evil/a",
        "spiffe://prod.example/",
        "spiffe://prod.example/a//b",
        "spiffe://prod.example/../b",
        "spiffe://prod.example/a b",
        "spiffe://prod.example/a?x",
        "spiffe://prod.example:1/a",
        "spiffe://u@prod.example/a",
        "https://prod.example/a",
    ] {
        assert!(of(sub).is_err(), "{sub}");
    }
}

#[test]
fn a_service_account_needs_both_names() {
    let of = |namespace: Value, account: Value| {
        let kubernetes = json!({"namespace": namespace, "serviceaccount": {"name": account, "uid": "1"}});
        principal(
            "type: kubernetes",
            json!({"sub": "system:serviceaccount:a:b", "kubernetes.io": kubernetes}),
        )
    };
    let good = of(json!("prod"), json!("builder")).unwrap();
    let uri = "https://kubernetes.io/namespaces/prod/serviceaccounts/builder";
    assert_eq!(good.subject, SubjectName::Uri(uri.into()));
    assert_eq!(good.challenge, "system:serviceaccount:a:b", "the challenge is the subject, not the name");
    for (namespace, account) in [
        (json!(""), json!("b")),
        (json!("a"), json!("")),
        (json!("a/serviceaccounts/x"), json!("b")),
        (json!("a"), json!("..%2f")),
        (json!("a"), Value::Null),
        (json!(1), json!("b")),
        (json!(".."), json!("b")),
        (json!("a"), json!(".")),
    ] {
        assert!(of(namespace.clone(), account.clone()).is_err(), "{namespace} {account}");
    }
}

#[test]
fn a_chainguard_identity_is_the_issuer_with_the_subject_as_path() {
    let principal = principal("type: chainguard-identity", json!({"sub": "abc/def"})).unwrap();
    assert_eq!(principal.subject, SubjectName::Uri(format!("{ISSUER}/abc/def")));
    assert_eq!(principal.challenge, "abc/def");
}

#[test]
fn an_oversized_claim_is_refused() {
    let claims = json!({"sub": "s".repeat(5000), "email": "a@b.c", "email_verified": true});
    assert!(name("type: email", claims).is_err());
}

#[test]
fn urls_are_printed_as_go_prints_them() {
    for (text, expected) in [
        (
            "https://github.com/o/r/.github/workflows/a.yml@refs/heads/main",
            "https://github.com/o/r/.github/workflows/a.yml@refs/heads/main",
        ),
        ("HTTPS://github.com/O", "https://github.com/O"),
        ("https://h/a b", "https://h/a%20b"),
        ("https://h/ä", "https://h/%C3%A4"),
        ("https://h/a(b)!", "https://h/a(b)!"),
        ("https://h/a (b)!", "https://h/a%20%28b%29%21"),
        ("https://h/a%20b", "https://h/a%20b"),
        ("https://h/a//b/c", "https://h/a//b/c"),
        ("https://h/a#b", "https://h/a#b"),
        ("https://h/a#", "https://h/a"),
        ("https://h/a#b (c)?", "https://h/a#b%20(c)?"),
        ("urn:example:A:b", "urn:example:A:b"),
        ("URN:example:A:b", "urn:example:A:b"),
        ("repo:o/r:ref:refs/heads/main", "repo:o/r:ref:refs/heads/main"),
        ("mailto:a@b.c", "mailto:a@b.c"),
        ("arn:aws:iam::1:role/x", "arn:aws:iam::1:role/x"),
        ("pkg:github/o/r@v1", "pkg:github/o/r@v1"),
        ("ssh://git@h.example/o/r", "ssh://git@h.example/o/r"),
        ("x:/a b", "x:/a%20b"),
        ("https://h", "https://h"),
        ("https://h/p:x/y@z", "https://h/p:x/y@z"),
        ("https://h/a?b=c#d", "https://h/a?b=c#d"),
    ] {
        assert_eq!(go_url::normalize(text).as_deref(), Ok(expected), "{text}");
    }
    for bad in [
        "",
        "https://GitHub.com/O",
        "https://github.com:443/O",
        "h/a",
        "://h",
        "1s://h",
        "https:///a",
        "https://u@h/",
        "https://h/%zz",
        "https://h/%",
        "https://h/\n",
        "https://h i/",
        "https://ä/",
        "https://h/a b/%2e%2e/c",
        "https://h/a//b/../c",
        "https://h/a\\b",
        "https://h/a\u{202e}b",
        "urn:ä",
        "urn:a b",
        "git@h.example:o/r",
        "https://h/a b%2f..%2fc",
        "https://h/%E2%80%AE",
    ] {
        assert!(go_url::normalize(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn a_joined_url_has_all_after_its_host_in_its_path() {
    for (text, expected) in [
        ("https://h/o/r@refs/heads/fix#12", "https://h/o/r@refs/heads/fix%2312"),
        ("https://h/a?b", "https://h/a%3Fb"),
        ("https://h//o//r", "https://h/o/r"),
        ("https://h/o/r (x)", "https://h/o/r%20%28x%29"),
        ("https://h/o:r@v1", "https://h/o:r@v1"),
        ("https://h", "https://h"),
    ] {
        assert_eq!(go_url::joined(text).as_deref(), Ok(expected), "{text}");
    }
    for bad in ["https://h/../x", "https://h/%2e%2e/x#", "https://h..x/", "h/x", "https://h/a\\b"] {
        assert!(go_url::joined(bad).is_err(), "{bad}");
    }
}

proptest! {
    #[test]
    fn a_normal_form_is_ascii_and_its_own_normal_form(path in ".{0,40}") {
        if let Ok(uri) = go_url::normalize(&format!("https://h/{path}")) {
            prop_assert_eq!(strict_uri::check(&uri), Ok(()));
            prop_assert_eq!(go_url::normalize(&uri), Ok(uri));
        }
    }
}
