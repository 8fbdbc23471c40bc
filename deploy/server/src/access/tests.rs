use std::time::Duration;

use chancery_tlog::clock::SystemClock;

use super::*;

#[test]
fn a_star_stands_for_anything_and_the_rest_for_itself() {
    for (pattern, text, whole) in [
        ("*", "", true),
        ("*", "anything", true),
        ("", "", true),
        ("", "x", false),
        ("abc", "abc", true),
        ("abc", "abcd", false),
        ("*@example.com", "a@example.com", true),
        ("*@example.com", "a@example.com.evil.org", false),
        ("*@example.com", "a@sub.example.com", false),
        ("repo:acme/*:ref:refs/heads/main", "repo:acme/rocket:ref:refs/heads/main", true),
        ("repo:acme/*:ref:refs/heads/main", "repo:acme-evil/x:ref:refs/heads/main", false),
        ("a*b*c", "a-b-b-c", true),
        ("ab*ba", "aba", false),
        ("*a*", "bab", true),
        ("a**", "a", true),
        ("A*", "a", false),
    ] {
        assert_eq!(matches(pattern, text), whole, "{pattern} {text}");
    }
}

fn rule(subject: Option<&str>, claims: &[(&str, &str)]) -> ReaderRule {
    ReaderRule {
        issuer: "https://id.example.com".to_owned(),
        subject: subject.map(str::to_owned),
        claims: claims.iter().map(|(claim, pattern)| ((*claim).to_owned(), (*pattern).to_owned())).collect(),
    }
}

fn fulcio(audience: &str) -> IssuerConfig {
    let issuers = json!({ "https://id.example.com": {
        "IssuerURL": "https://id.example.com", "ClientID": audience, "Type": "email",
    } });
    IssuerConfig::parse(&json!({ "OIDCIssuers": issuers }).to_string()).unwrap()
}

fn readers(rules: Vec<ReaderRule>, signing: Option<&IssuerConfig>) -> anyhow::Result<OidcReaders> {
    let access = OidcAccess { audience: "https://log.example.com".to_owned(), readers: rules };
    OidcReaders::new(&access, signing, false, None, Arc::new(SystemClock))
}

fn token(claims: Value) -> VerifiedToken {
    let issuers = fulcio("sigstore");
    let Value::Object(claims) = claims else { panic!("claims are an object") };
    VerifiedToken {
        issuer: issuers.find("https://id.example.com").unwrap().clone(),
        iss: "https://id.example.com".to_owned(),
        sub: "alice".to_owned(),
        claims,
    }
}

#[test]
fn a_reader_is_whom_one_of_the_rules_names() {
    let by = |rule: ReaderRule, claims: Value| readers(vec![rule], None).unwrap().name(&token(claims));
    let alice = Ok(Reader::named("https://id.example.com alice"));
    assert_eq!(by(rule(Some("al*"), &[]), json!({})), alice);
    assert_eq!(by(rule(Some("bob"), &[]), json!({})), Err(Denied::Forbidden));
    let groups = json!({ "groups": ["staff", "auditors"], "level": 3 });
    assert_eq!(by(rule(None, &[("groups", "auditors"), ("level", "3")]), groups.clone()), alice);
    assert_eq!(
        by(rule(None, &[("groups", "auditors"), ("level", "4")]), groups.clone()),
        Err(Denied::Forbidden)
    );
    assert_eq!(by(rule(Some("*"), &[("team", "*")]), groups), Err(Denied::Forbidden));
    let email = rule(None, &[("email", "*@example.com")]);
    let claims = |verified: bool| json!({ "email": "alice@example.com", "email_verified": verified });
    assert_eq!(by(email.clone(), claims(true)), alice);
    assert_eq!(by(email.clone(), claims(false)), Err(Denied::Forbidden));
    assert_eq!(by(email, json!({ "email": "alice@example.com" })), Err(Denied::Forbidden));
}

#[test]
fn a_token_for_signing_opens_nothing_even_if_it_is_for_reading_too() {
    let everyone = || vec![rule(Some("*"), &[])];
    let signing = fulcio("company-signing");
    let both = readers(everyone(), Some(&signing)).unwrap();
    for aud in [json!("sigstore"), json!(["https://log.example.com", "company-signing"])] {
        assert_eq!(both.name(&token(json!({ "aud": aud }))), Err(Denied::Invalid));
    }
    both.name(&token(json!({ "aud": ["https://log.example.com", "something else"] }))).unwrap();
    let same = readers(everyone(), Some(&fulcio("https://log.example.com")));
    let refused = same.err().unwrap().to_string();
    assert!(refused.contains("use another for readers"), "{refused}");
}

#[tokio::test]
async fn what_is_no_token_of_a_known_issuer_is_refused_without_asking_anyone() {
    let readers = readers(vec![rule(Some("*"), &[])], None).unwrap();
    assert_eq!(readers.admit(Credentials::default()).await, Err(Denied::Missing));
    assert!(readers.advice().contains("ID token"));
    let stranger = readers.verifier.verify("e30.e30.e30", None);
    assert!(tokio::time::timeout(Duration::from_secs(1), stranger).await.unwrap().is_err());
}

#[test]
fn without_a_rule_nobody_reads() {
    let readers = readers(Vec::new(), None);
    let token = token(json!({ "aud": "https://log.example.com" }));
    assert!(readers.is_err() || readers.unwrap().name(&token).is_err());
}
