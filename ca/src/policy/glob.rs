//! Globs over the text of a claim.
//!
//! A glob matches the whole text. `*` stands for any characters except `/`, none included; `**` for any
//! characters. Nothing else is special, and regular expressions are not supported: CVE-2026-22772 came from one
//! that was not anchored.

/// Longest text that can match, in bytes; a certificate takes no longer name either.
const MAX_TEXT: usize = 4096;

/// Part of a glob.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    /// `*`.
    Segment,
    /// `**`.
    Anything,
}

/// A glob that is anchored at both ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob {
    text: String,
    parts: Vec<Part>,
}

impl Glob {
    /// Parses a glob. `Err` says why it is of no use.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.contains("***") {
            return Err(format!("the glob {text:?} has three `*` in a row: write `*` or `**`"));
        }
        let mut parts = Vec::new();
        for (i, piece) in text.split("**").enumerate() {
            if i > 0 {
                parts.push(Part::Anything);
            }
            for (j, literal) in piece.split('*').enumerate() {
                if j > 0 {
                    parts.push(Part::Segment);
                }
                if !literal.is_empty() {
                    parts.push(Part::Literal(literal.to_owned()));
                }
            }
        }
        let literals = parts.iter().filter(|part| matches!(part, Part::Literal(_))).count();
        if literals == 0 {
            return Err(format!(
                "the glob {text:?} restricts nothing: leave the condition out, or write part of the text"
            ));
        }
        if literals == parts.len() {
            return Err(format!("the glob {text:?} has no `*`: write the text without `glob`"));
        }
        Ok(Self { text: text.to_owned(), parts })
    }

    /// The glob as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// True if all of `text` matches. At most `text.len()` steps for each part of the glob, whatever the
    /// text.
    pub fn matches(&self, text: &str) -> bool {
        if text.len() > MAX_TEXT {
            return false;
        }
        let text = text.as_bytes();
        // Ascending offsets at which the part before can end.
        let mut ends = vec![0];
        for part in &self.parts {
            ends = match part {
                Part::Literal(literal) => after_literal(&ends, text, literal.as_bytes()),
                Part::Segment => after_segment(&ends, text),
                Part::Anything => (ends[0]..=text.len()).collect(),
            };
            if ends.is_empty() {
                return false;
            }
        }
        ends.last() == Some(&text.len())
    }
}

fn after_literal(starts: &[usize], text: &[u8], literal: &[u8]) -> Vec<usize> {
    let fits = |start: &&usize| text[**start..].starts_with(literal);
    starts.iter().filter(fits).map(|start| start + literal.len()).collect()
}

/// From each start on as far as the next `/`. Starts within a stretch that is there already add nothing.
fn after_segment(starts: &[usize], text: &[u8]) -> Vec<usize> {
    let mut ends: Vec<usize> = Vec::new();
    for &start in starts {
        if ends.last().is_some_and(|&last| start <= last) {
            continue;
        }
        let length = text[start..].iter().take_while(|&&byte| byte != b'/').count();
        ends.extend(start..=start + length);
    }
    ends
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition, written as one would say it, at any cost.
    fn defined(glob: &str, text: &str) -> bool {
        if let Some(rest) = glob.strip_prefix("**") {
            return (0..=text.len()).any(|at| defined(rest, &text[at..]));
        }
        if let Some(rest) = glob.strip_prefix('*') {
            let stretch = text.find('/').unwrap_or(text.len());
            return (0..=stretch).any(|at| defined(rest, &text[at..]));
        }
        match (glob.chars().next(), text.chars().next()) {
            (None, None) => true,
            (Some(wanted), Some(found)) => wanted == found && defined(&glob[1..], &text[1..]),
            _ => false,
        }
    }

    #[test]
    fn a_glob_matches_whole_texts_and_one_star_stays_in_its_segment() {
        for (glob, matching, others) in [
            (
                "acme/*",
                &["acme/rocket", "acme/"][..],
                &["acme", "acme/a/b", "evil/acme/rocket", "acme/rocket/"][..],
            ),
            ("acme/**", &["acme/rocket", "acme/a/b", "acme/"], &["acme", "acmes/a"]),
            (
                "refs/tags/v*",
                &["refs/tags/v1.2.3", "refs/tags/v"],
                &["refs/tags/v1/x", "refs/heads/v1", "xrefs/tags/v1"],
            ),
            (
                "*@example.com",
                &["ada@example.com"],
                &["ada@example.com.evil", "ada@evilexample.org", "a/b@example.com"],
            ),
            ("a**z", &["az", "a/z", "a/b/c/z"], &["a/zz/b", "z"]),
            ("*/*", &["a/b", "/"], &["a", "a/b/c"]),
            ("é*", &["é", "éa"], &["e", "\u{c3}"]),
        ] {
            let glob = Glob::parse(glob).unwrap();
            for text in matching {
                assert!(glob.matches(text), "{} should match {text}", glob.as_str());
            }
            for text in others {
                assert!(!glob.matches(text), "{} should not match {text}", glob.as_str());
            }
        }
    }

    #[test]
    fn globs_that_restrict_nothing_or_could_be_exact_are_refused() {
        for text in ["", "*", "**", "a***", "plain", "***"] {
            Glob::parse(text).unwrap_err();
        }
    }

    #[test]
    fn a_long_text_never_matches_and_a_hard_one_costs_little() {
        let glob = Glob::parse(&"*a".repeat(200)).unwrap();
        assert!(!glob.matches(&"a".repeat(MAX_TEXT + 1)));
        assert!(!glob.matches(&("a".repeat(MAX_TEXT - 1) + "b")));
        assert!(glob.matches(&"a".repeat(MAX_TEXT)));
    }

    proptest! {
        #[test]
        fn a_glob_matches_what_the_definition_matches(glob in "[ab/*]{1,7}", text in "[ab/]{0,7}") {
            if let Ok(parsed) = Glob::parse(&glob) {
                prop_assert_eq!(parsed.matches(&text), defined(&glob, &text), "{} {}", glob, text);
            }
        }

        #[test]
        fn no_text_is_too_odd(glob in ".{0,20}", text in ".{0,40}") {
            if let Ok(glob) = Glob::parse(&glob) {
                let _ = glob.matches(&text);
            }
        }
    }
}
