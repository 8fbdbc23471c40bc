//! Names that real issuers put into certificates are strict; every way to write a second name is not.

use proptest::prelude::*;

use super::*;

#[test]
fn names_of_real_issuers_are_strict() {
    for uri in [
        "https://github.com/octo-org/app/.github/workflows/release.yml@refs/tags/v1.0",
        "https://github.com/octo-org/app/.github/workflows/a..b.yml@refs/heads/feature/x#1",
        "https://gitlab.com/group/sub/project//.gitlab-ci.yml@refs/heads/main",
        "https://kubernetes.io/namespaces/ci/serviceaccounts/builder",
        "https://ghes.example.com:8443/o/r",
        "https://h.example:80/o/r",
        "http://h.example:443/o/r",
        "https://h.example/o/r;v=1/a%3Bb/..a%3bb",
        "https://10.0.0.7/o/r",
        "http://127.0.0.1:5556/auth",
        "http://[::1]:8080/o/r",
        "https://dev.azure.com/org/my%20project/_git/repo?path=%2Fazure-pipelines.yml",
        "https://example.com/caf%C3%A9/r",
        "https://example.com",
        "https://host_1.example/x",
        "spiffe://trust.example/ns/ci/sa/builder",
        "urn:example:build:7",
        "repo:octo-org/app:ref:refs/heads/main",
        "mailto:a@example.com",
        "ssh://git@h.example/acme/rocket.git",
        "https://h.example/%E4%B8%AD%E2%82%AC%F0%9F%9A%80%C3%A4b",
        "arn:aws:sts::123456789012:assumed-role/ci/job",
        "pkg:npm/%40angular/animation@12.3.1",
    ] {
        assert_eq!(check(uri), Ok(()), "{uri}");
    }
}

#[test]
fn second_spellings_are_refused() {
    use NotStrict::{Character, DotSegment, Empty, Escape, Host, Port, Scheme, UserInfo};
    let escape = |text: &str| Escape(text.to_owned());
    let host = |text: &str| Host(text.to_owned());
    for (uri, why) in [
        ("https://github.com/evil/../acme/rocket", DotSegment),
        ("https://github.com/./acme/rocket", DotSegment),
        ("https://github.com/acme/rocket/..", DotSegment),
        ("https://github.com/evil/..;x/acme/rocket", DotSegment),
        ("https://github.com/evil%2f..%2Facme/rocket", DotSegment),
        ("https://github.com/evil/..%3b/acme/rocket", DotSegment),
        ("https://github.com/evil/..%3Bx/acme/rocket", DotSegment),
        ("https://github.com/evil/..%3f/acme/rocket", DotSegment),
        ("https://github.com/evil/..%23/acme/rocket", DotSegment),
        ("urn:acme%3a..%3Ax", DotSegment),
        ("https://GitHub.com/acme/rocket", host("GitHub.com")),
        ("ssh://git@H.example/acme/rocket", host("H.example")),
        ("https://[::A]/x", host("[::A]")),
        ("HTTPS://github.com/acme/rocket", Scheme),
        ("https://github.com:443/acme/rocket", Port("443".to_owned())),
        ("http://h.example:80/x", Port("80".to_owned())),
        ("ssh://git@h.example:22/x", Port("22".to_owned())),
        ("https://github.com/evil/%2e%2e/acme/rocket", escape("%2e")),
        ("https://github.com/evil/.%2E/acme/rocket", escape("%2E")),
        ("https://github.com/evil/%252e%252e/acme/rocket", escape("%25")),
        ("https://github.com/%61cme/rocket", escape("%61")),
        ("https://github.com/acme%5c..%5crocket", escape("%5c")),
        ("https://github.com/acme%00/rocket", escape("%00")),
        ("https://github.com/100%", escape("%")),
        ("https://github.com/100%é", escape("%é")),
        ("https://github.com/100%+1", escape("%+1")),
        ("https://github.com\\acme/rocket", Character('\\')),
        ("https://github.com/acme/rock\net", Character('\n')),
        ("https://github.com/acme/rock et", Character(' ')),
        ("https://github.com/acme/rock\u{202e}et", Character('\u{202e}')),
        ("https://github.com/acme/rock\u{200b}et", Character('\u{200b}')),
        ("https://github.com/acme/rock\u{85}et", Character('\u{85}')),
        ("https://github.com/{{.repository}}", Character('{')),
        ("https://github.com@evil.example/acme", UserInfo),
        ("ssh://git:secret@github.com/acme/rocket", UserInfo),
        ("ssh://@github.com/acme/rocket", UserInfo),
        ("https://git@github.com/acme/rocket", UserInfo),
        ("urn:acme:../x", DotSegment),
        ("https://github.com/acme%E2%80%AErocket", escape("%E2")),
        ("https://github.com/acme%c3%a4%E2%80%8Brocket", escape("%c3")),
        ("https://github.com/acme%A4rocket", escape("%A4")),
        ("https://github.com/acme%C2%85rocket", escape("%C2")),
        ("https://github.com/acme%ffrocket", escape("%ff")),
        ("https://github.com/acme%E2%80rocket", escape("%E2")),
        ("https://h..example/x", host("h..example")),
        ("https://h.example./x", host("h.example.")),
        ("https://[zz]/x", host("[zz]")),
        ("https://[::0001]/x", host("[::0001]")),
        ("https://[::1/x", host("[")),
        ("https://127.1/x", host("127.1")),
        ("https://0x7f000001/x", host("0x7f000001")),
        ("https://127.0.0.01/x", host("127.0.0.01")),
        ("https://gith%75b.com/x", escape("%75")),
        ("https://gıthub.com/x", host("gıthub.com")),
        ("https:///acme/rocket", host("")),
        ("https://:443/x", host("")),
        ("https:/github.com/acme", host("")),
        ("https:github.com/acme", host("")),
        ("https://h.example:abc/x", Port("abc".to_owned())),
        ("https://h.example:/x", Port(String::new())),
        ("https://h.example:0443/x", Port("0443".to_owned())),
        ("https://h.example:65536/x", Port("65536".to_owned())),
        ("//github.com/acme", Scheme),
        ("github.com/acme", Scheme),
        ("1a:b", Scheme),
        ("", Scheme),
        ("urn:", Empty),
    ] {
        assert_eq!(check(uri), Err(why), "{uri}");
    }
}

#[test]
fn references_need_no_scheme_and_obey_the_rest() {
    assert_eq!(check_reference("octo-org/app/.github/workflows/x.yml@refs/heads/main"), Ok(()));
    assert_eq!(check_reference("octo-org/app/.github/workflows/my flow {1}.yml@refs/heads/a|b"), Ok(()));
    assert_eq!(check_reference("../acme"), Err(NotStrict::DotSegment));
    assert_eq!(check_reference("a\\b"), Err(NotStrict::Character('\\')));
}

fn hidden() -> impl Strategy<Value = char> {
    prop::sample::select(('\0'..=char::MAX).filter(|c| is_hidden(*c)).collect::<Vec<_>>())
}

proptest! {
    /// One hidden character anywhere spoils any URI.
    #[test]
    fn no_hidden_character_gets_through(at in 0_usize..40, odd in hidden()) {
        let mut uri = "https://github.com/octo-org/app/.github/x".to_owned();
        uri.insert(at, odd);
        prop_assert_eq!(check(&uri), Err(NotStrict::Character(odd)));
    }

    /// A segment of dots is found in every mixture of raw and encoded dots and separators.
    #[test]
    fn no_dot_segment_gets_through(
        dots in prop::collection::vec("\\.|%2e|%2E|%252e", 1..=2),
        before in "/|%2f|%2F|%3a|%3b|%3f|%23",
        after in "/|%2f|%2F|;|;x=1|%3b|%3B|%3a|%3f|%3F|%23",
    ) {
        let uri = format!("https://github.com/evil{before}{}{after}/acme/rocket", dots.concat());
        prop_assert!(check(&uri).is_err(), "{}", uri);
    }

    /// What is strict is what the WHATWG parser prints again: it has removed, resolved, lowered and added nothing.
    #[test]
    fn a_strict_uri_is_printed_as_it_was_parsed(
        scheme in "https|http|HTTPS|Https|ws|wss|ftp",
        host in prop_oneof![
            "[a-zA-Z]{1,3}(\\.[a-z0-9_-]{0,3}){0,2}",
            prop::sample::select(vec!["127.0.0.1", "127.1", "0x7f.1", "[::1]", "[::0001]", "[::A]", "[1::]"])
                .prop_map(str::to_owned),
        ],
        port in "|:80|:443|:21|:0443|:8443|:",
        path in "(/[a-zA-Z.;:@~!$&()*+,=_%23efbBF-]{0,5}){0,3}",
        tail in "|\\?q=%2F1|#f|\\?",
    ) {
        let uri = format!("{scheme}://{host}{port}{path}{tail}");
        if check(&uri).is_ok() {
            let parsed = url::Url::parse(&uri);
            prop_assert!(parsed.is_ok(), "{} is strict and cannot be parsed", uri);
            let printed = parsed.map(String::from).unwrap_or_default();
            // A path that is empty is printed as `/`, by every parser.
            let whole = if path.is_empty() { format!("{scheme}://{host}{port}/{tail}") } else { uri };
            prop_assert_eq!(printed, whole);
        }
    }

    #[test]
    fn any_text_is_answered(text in ".{0,60}") {
        let _ = check(&text);
        let _ = check(&format!("https://{text}"));
    }
}

/// Extensions of certificates name places in spellings that are not URIs, and URLs whose host must be theirs.
#[test]
fn a_place_has_the_host_that_it_seems_to_have() {
    for good in [
        "https://github.com/acme/rocket",
        "https://git.example:8443/acme/rocket",
        "github.com/acme/rocket",
        "acme/rocket",
        "git@github.com:acme/rocket",
        "ssh://git@github.com/acme/rocket",
        "https://ci.example/a job {1}",
        "urn:acme:job",
        "",
    ] {
        assert_eq!(check_place(good), Ok(()), "{good}");
    }
    for bad in [
        "https://github.com@evil.example/acme/rocket",
        "https://github.com:x@evil.example/acme/rocket",
        "HTTPS://github.com@evil.example/acme/rocket",
        "git+https://github.com@evil.example/acme/rocket",
        "https:github.com@evil.example/acme/rocket",
        "https:/github.com@evil.example/acme/rocket",
        "https:///github.com@evil.example/acme/rocket",
        "https://github.com:443x/acme/rocket",
        "https://github..com/acme/rocket",
        "ssh://git:word@github.com/acme/rocket",
        "https://ci.example/../x",
    ] {
        assert!(check_place(bad).is_err(), "{bad}");
    }
}
