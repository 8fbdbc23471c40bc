//! Spellings of one repository, alone and two at a time.

use super::*;

const REPOSITORY: &str = "https://github.com/octo-org/app";

/// Another spelling of the same text for some reader.
type Spelling = (&'static str, fn(&str) -> String);

fn escaped(text: &str, from: char) -> String {
    text.replace(from, &format!("%{:02x}", u32::from(from)))
}

/// Spellings of a URI that has the scheme, the host and the path; where a text lacks what they change, they
/// leave it.
const SPELLINGS: &[Spelling] = &[
    ("git", |it| format!("git+{it}")),
    ("upper case", str::to_uppercase),
    ("hidden case", |it| it.replace("github", "giThub")),
    ("no slashes", |it| it.replacen("://", ":", 1)),
    ("one slash", |it| it.replacen("://", ":/", 1)),
    ("three slashes", |it| it.replacen("://", ":///", 1)),
    ("backslashes", |it| it.replace('/', "\\")),
    ("no scheme", |it| it.split_once("://").map_or(it, |(_, rest)| rest).to_owned()),
    ("another scheme", |it| it.replacen("https:", "ssh:", 1)),
    ("nested scheme", |it| format!("scm:git:{it}")),
    ("tab in the host", |it| it.replace("github", "git\thub")),
    ("line break in the path", |it| it.replace("octo", "oc\r\nto")),
    ("zero width", |it| it.replace("octo", "oc\u{200b}to")),
    ("blank in front", |it| format!(" \t{it}")),
    ("full width", |it| it.replace("github", "\u{ff47}ithub")),
    ("other full stop", |it| it.replace("github.com", "github\u{3002}com")),
    ("user", |it| it.replacen("github.com", "git@github.com", 1)),
    ("user with a password", |it| it.replacen("github.com", "x:y@github.com", 1)),
    ("port", |it| it.replacen("github.com/", "github.com:443/", 1)),
    ("colon without a port", |it| it.replacen("github.com/", "github.com:/", 1)),
    ("scp", |it| it.replacen("https://github.com/", "git@github.com:", 1)),
    ("full stop", |it| it.replacen("github.com", "github.com.", 1)),
    ("www", |it| it.replacen("github.com", "www.github.com", 1)),
    ("ssh", |it| it.replacen("github.com", "ssh.github.com", 1)),
    ("redirect", |it| it.replacen("github.com", "redirect.github.com", 1)),
    ("doubled slash", |it| it.replace("octo-org/", "octo-org//")),
    ("dot", |it| it.replace("octo-org/", "octo-org/./")),
    ("dots", |it| it.replacen("octo-org/", "evil/../octo-org/", 1)),
    ("dots behind a mark", |it| it.replacen("octo-org/", "x@y/../octo-org/", 1)),
    ("dots behind an escaped mark", |it| it.replacen("octo-org/", "x%3F/%2e%2e/octo-org/", 1)),
    ("dots behind a fragment", |it| it.replacen("octo-org/", "x%23/../octo-org/", 1)),
    ("escaped letter", |it| escaped(it, 'p')),
    ("escaped slash", |it| it.replacen("octo-org/", "octo-org%2F", 1)),
    ("escaped escapes", |it| it.replace('%', "%25").replace("octo", "%256fcto")),
    ("file", |it| it.replace("/app", "/app.git/info/refs")),
];

const ENDS: [&str; 6] = ["", "@refs/heads/evil", "/", "?ref=x", "#main", "/archive/main.tar.gz"];

/// One spelling may take away what the other changes, so both orders are tried.
#[test]
fn every_spelling_of_the_repository_is_found_and_every_two_of_them() {
    let place = Place::of(REPOSITORY, None);
    for (one, spell) in SPELLINGS {
        for (other, respell) in SPELLINGS {
            for end in ENDS {
                let text = respell(&format!("{}{end}", spell(REPOSITORY)));
                assert!(place.is_in(&text), "{one}, then {other}: {text:?}");
            }
        }
    }
}

#[test]
fn names_of_forges_are_found() {
    let place = Place::of(REPOSITORY, None);
    for text in [
        "github:octo-org/app",
        "gh:octo-org/app#main",
        "git+github:octo-org/app",
        "octo-org/app@v1",
        "pkg:github/octo-org/app@v1",
        "pkg:GitHub/octo-org/app",
        "pkg://github/octo-org/app",
        "pkg:///github/octo-org/app",
        "pkg:generic/x?vcs_url=git+https://github.com/octo-org/app",
        "pkg:generic/x?vcs_url=git%2Bhttps://github.com%2Focto-org%2Fapp",
        "https://api.github.com/repos/octo-org/app/tarball/main",
        "https://codeload.github.com/octo-org/app/tar.gz/main",
        "https://raw.githubusercontent.com/octo-org/app/main/x",
        "ssh://git@ssh.github.com:443/octo-org/app",
        "https://evil.example#@github.com/octo-org/app",
        "https://evil.example\\@github.com/octo-org/app",
        "https://github.com/octo-org//../app",
    ] {
        assert!(place.is_in(text), "{text}");
    }
    let own = Place::of("https://git.example:8443/123org/app", None);
    for text in ["git@git.example:123org/app.git", "https://git.example/123org/app", "git.example:123org/app"]
    {
        assert!(own.is_in(text), "{text}");
    }
    let numbers = Place::of("https://github.com/443/app", None);
    assert!(numbers.is_in("git@github.com:443/app.git"));
    assert!(Place::of("http://[::1]:8080/o/r", None).is_in("git+http://[0:0::1]:8080/o/r@main"));
}

/// The number may stand for the path where APIs have it, in every spelling of the rest.
#[test]
fn the_number_of_the_repository_is_found() {
    let place = Place::of(REPOSITORY, Some("74"));
    let api = "https://api.github.com/repositories/74";
    for (one, spell) in SPELLINGS {
        for end in ENDS {
            let text = spell(&format!("{api}{end}"));
            assert!(place.is_in(&text), "{one}: {text:?}");
        }
    }
    let gitlab = Place::of("https://gitlab.com/octo-org/app", Some("74"));
    assert!(gitlab.is_in("https://gitlab.com/api/v4/projects/74/repository/archive.zip"));
    assert!(
        Place::of("https://ghe.example/o/r", Some("74")).is_in("https://ghe.example/api/v3/repositories/74")
    );
    for other in
        ["https://api.github.com/repositories/745/tarball", "https://github.com/evil/74", "pkg:npm/74"]
    {
        assert!(!place.is_in(other), "{other}");
    }
    for none in [None, Some("")] {
        assert!(!Place::of(REPOSITORY, none).is_in("https://api.github.com/repositories/"), "{none:?}");
    }
}

#[test]
fn other_places_are_not() {
    let place = Place::of(REPOSITORY, None);
    for text in [
        "git+https://github.com/octo-org/app2@main",
        "git+https://github.com/octo-org@main",
        "git+https://gitlab.com/octo-org/app@main",
        "git+https://github.com.evil.example/octo-org/app@main",
        "git+https://github.com/evil/app?from=octo-org",
        "git+https://github.com/evil/octo-org/app@main",
        "git+https://github.com/octo-org/application.git",
        "git+https://github.com/octo-org/app/../lib@main",
        "pkg:npm/%40octo-org/app@1.0.0",
        "pkg:golang/octo-org/app@1.0.0",
        "https://github.com/actions/virtual-environments/releases/tag/ubuntu20/20220515.1",
        "pkg:npm/app@1.0.0",
        "",
    ] {
        assert!(!place.is_in(text), "{text}");
    }
}

/// Whatever is too long or too deep to be read is not ruled out.
#[test]
fn texts_that_are_not_read_cannot_be_ruled_out() {
    let place = Place::of(REPOSITORY, None);
    assert!(place.is_in(&"x".repeat(MAX_TEXT + 1)));
    assert!(place.is_in(&format!("{}octo-org/app", "x:".repeat(MAX_BEGINNINGS + 1))));
    assert!(place.is_in(&format!("https://x.example/%{}41", "25".repeat(MAX_ROUNDS))));
    assert!(!place.is_in(&"%41".repeat(MAX_TEXT / 3)));
}

/// However many texts there are: those behind the limit are not ruled out.
#[test]
fn the_work_for_all_texts_is_limited() {
    let place = Place::of(REPOSITORY, None);
    let (dear, cheap) =
        (format!("{}app/octo-org/{}", ":".repeat(MAX_BEGINNINGS), "x".repeat(1900)), "pkg:npm/x");
    let ruled_out = (0..MAX_WORK / dear.len()).take_while(|_| !place.is_in(&dear)).count();
    assert_eq!(ruled_out, MAX_WORK / dear.len() / (MAX_BEGINNINGS + 1));
    assert!(!place.is_in(cheap));
}

proptest::proptest! {
    /// Whatever a browser reads as the repository is found.
    #[test]
    fn the_readings_of_browsers_are_among_ours(text in r"(git\+)?https?:[/\\]{0,3}(x@)?github\.com[:.]?[a-z%2eF@?#/.;-]{0,20}/octo-org/([./x]{0,6}/)?app[@?#/x]{0,3}") {
        let bare = text.strip_prefix("git+").unwrap_or(&text);
        if let Ok(url) = Url::parse(bare)
            && url.host_str() == Some("github.com")
            && (url.path() == "/octo-org/app" || url.path().starts_with("/octo-org/app/"))
        {
            proptest::prop_assert!(Place::of(REPOSITORY, None).is_in(&text), "{}", text);
        }
    }
}
