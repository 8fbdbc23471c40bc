//! Names and places in certificates that can be read in two ways are refused, whatever was expected of them.

use super::*;

/// An extension or name of the fixture's certificate replaced.
fn judged(number: Option<u8>, text: &str) -> Report {
    let instance = TestInstance::new();
    let mut leaf = Leaf::workflow();
    match number {
        None => leaf.names = vec![SanType::URI(text.try_into().unwrap())],
        Some(number) => {
            leaf.extensions.retain(|(other, _)| *other != number);
            leaf.extensions.push((number, text.to_owned()));
        }
    }
    let everyone = Policy::identity(NameRule::matching("(?s).*").unwrap(), PROVIDER);
    judge(&instance.attest(&statement(), &leaf), &instance.trust(), &everyone)
}

#[test]
fn ambiguous_names_are_refused_even_if_anything_matches() {
    for uri in [
        "https://github.com/evil/../acme/rocket",
        "https://github.com/evil/%2e%2e/acme/rocket",
        "https://github.com/evil\\..\\acme/rocket",
        "https://github.com@evil.example/acme/rocket",
        "https://github.com/acme/rock%0Aet",
        "https://127.1/acme/rocket",
        "no scheme at all",
    ] {
        assert_refused(&judged(None, uri), Claim::Identity, "is ambiguous");
    }
    assert_verified(&judged(None, "https://gitlab.com/group/project//.gitlab-ci.yml@refs/heads/main"));
}

#[test]
fn ambiguous_places_and_refs_are_refused() {
    for number in [9, 12, 16, 18, 21] {
        for text in [
            "https://github.com/evil/../acme/rocket",
            "https://github.com/evil/%2e%2e/acme/rocket",
            "https://github.com\\acme/rocket",
            "https://github.com/acme/rocket\u{202e}",
            "https://github.com/acme/rocket\u{200b}",
            "https://github.com/acme/rocket\n",
            "https://github.com@evil.example/acme/rocket",
            "https://github.com:x@evil.example/acme/rocket",
            "git+https://github.com@evil.example/acme/rocket",
            "https:/github.com@evil.example/acme/rocket",
            "https://github.com:443x/acme/rocket",
        ] {
            assert_refused(&judged(Some(number), text), Claim::Identity, "is ambiguous");
        }
    }
    for text in ["refs/heads/\u{202e}main", "refs/heads/main\u{7f}"] {
        assert_refused(&judged(Some(14), text), Claim::Identity, "is ambiguous");
    }
    assert_verified(&judged(Some(14), "refs/heads/fix <\u{1f680}> \u{e9}"));
}
