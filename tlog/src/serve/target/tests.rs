//! Canonical paths, and hosts that a loopback listener accepts.

use proptest::prelude::*;

use super::*;

fn normalised(uri: &str) -> String {
    let mut request = Request::builder().uri(uri).body(()).unwrap();
    normalise(&mut request);
    request.uri().to_string()
}

#[test]
fn empty_segments_are_dropped_and_the_rest_is_left_alone() {
    for (uri, expected) in [
        ("/", "/"),
        ("//", "/"),
        ("///", "/"),
        ("/ping", "/ping"),
        ("/ping/", "/ping"),
        ("//api/v1/log", "/api/v1/log"),
        ("/api/v1//log/entries///?logIndex=0", "/api/v1/log/entries?logIndex=0"),
        ("/api/v1/log?x=//a/&y=%2f", "/api/v1/log?x=//a/&y=%2f"),
        ("/api/v1/log/?x=//a/&y=%2f", "/api/v1/log?x=//a/&y=%2f"),
        ("/a/?", "/a?"),
        ("/tile//%65ntries/000/", "/tile/%65ntries/000"),
        ("https://log.example/a//b/", "https://log.example/a/b"),
        ("https://log.example//", "https://log.example/"),
        ("*", "*"),
    ] {
        assert_eq!(normalised(uri), expected, "{uri}");
    }
}

#[test]
fn paths_that_need_decoding_or_resolving_are_refused() {
    for path in [
        "/",
        "/ping",
        "/tile/0/x001/234.p/7",
        "/tuf/1.root.json",
        "/.well-known/chancery/past.ct.ct-1.pub",
        "/dev.sigstore.rekor.v2.Rekor/CreateEntry",
        "/a..b/.c/d.",
    ] {
        check(path).unwrap();
    }
    for path in [
        "/tile/%65ntries/000",
        "/tile/entries%2f000",
        "/tile/entries%2F000",
        "/tile/%2565ntries/000",
        "/%",
        "/tile/./entries/000",
        "/tile/0/../entries/000",
        "/..",
        "/a/.",
        "/tile/entries;x/000",
        "/tile\\entries\\000",
        "/tile//entries/000",
        "/tile/entries/000/",
        "/tile/éntries/000",
    ] {
        assert_eq!(check(path).unwrap_err().status(), StatusCode::BAD_REQUEST, "{path}");
    }
}

proptest! {
    #[test]
    fn normalising_is_idempotent_and_keeps_the_segments(path in "/[a-z0-9./%;]{0,24}") {
        let once = spelling(&path).into_owned();
        prop_assert!(matches!(spelling(&once), Cow::Borrowed(_)), "{} is not the end", once);
        let segments = |path: &str| -> Vec<String> {
            path.split('/').filter(|segment| !segment.is_empty()).map(str::to_owned).collect()
        };
        prop_assert_eq!(segments(&once), segments(&path));
        prop_assert_eq!(normalised(&path), once);
    }

    /// Decoding and resolving an accepted path gives the same path.
    #[test]
    fn an_accepted_path_decodes_and_resolves_to_itself(path in "/([a-z0-9]|\\.|/|%2[eEfF]|%[46][0-9]|%25|;|\\\\){0,12}") {
        let mut request = Request::builder().uri(&path).body(()).unwrap();
        normalise(&mut request);
        let path = request.uri().path();
        if check(path).is_ok() {
            let resolved = url::Url::parse("http://h/").unwrap().join(path).unwrap();
            prop_assert_eq!(resolved.path(), path);
            prop_assert!(!path.contains('%'));
        }
    }
}

fn hosts() -> Hosts {
    Hosts::with(&["sigstore.example.com".to_owned(), "[2001:db8::1]".to_owned()])
}

#[test]
fn only_loopback_names_and_configured_hosts_are_accepted() {
    for good in [
        "localhost",
        "LOCALHOST:8080",
        "localhost.",
        "a.localhost:1",
        "127.0.0.1",
        "127.0.0.1:8472",
        "127.1.2.3",
        "[::1]",
        "[::1]:8472",
        "[::ffff:127.0.0.1]:80",
        "sigstore.example.com",
        "Sigstore.Example.com:443",
        "[2001:db8::1]:443",
    ] {
        assert!(hosts().has(good), "{good}");
    }
    for bad in [
        "",
        ":80",
        "evil.example",
        "evil.example:8472",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "localhost@evil.example",
        "evil.example@localhost",
        "evil@a.localhost",
        "localhost:80:evil",
        "localhost:evil",
        "[::1",
        "[::1]evil",
        "[localhost.evil.example]",
        "0.0.0.0:8472",
        "10.0.0.1",
        "[::]",
        "sigstore.example.com.evil.example",
        "xsigstore.example.com",
        "evil.example localhost",
        "2130706433",
        "localhost,evil.example",
    ] {
        assert!(!hosts().has(bad), "{bad}");
    }
}

#[test]
fn every_host_in_a_request_is_checked() {
    let status = |uri: &str, hosts_named: &[&str]| {
        let mut request = Request::builder().uri(uri);
        for name in hosts_named {
            request = request.header(HOST, *name);
        }
        let checked = hosts().check(&request.body(()).unwrap());
        checked.map_or_else(|problem| problem.status().as_u16(), |()| 200)
    };
    assert_eq!(status("/checkpoint", &["127.0.0.1:1"]), 200);
    assert_eq!(status("/checkpoint", &[]), 200, "HTTP/1.0");
    assert_eq!(status("http://localhost:1/checkpoint", &["localhost:1"]), 200);
    assert_eq!(status("/checkpoint", &["evil.example"]), 421);
    assert_eq!(status("/checkpoint", &["localhost", "evil.example"]), 421);
    assert_eq!(status("http://evil.example/checkpoint", &["localhost"]), 421);
    assert_eq!(status("http://localhost/checkpoint", &["evil.example"]), 421);
    let refusal = hosts().refusal();
    assert!(refusal.message().contains("sigstore.example.com"), "{}", refusal.message());
    assert!(refusal.message().contains("behind_proxy = true"), "{}", refusal.message());
}
