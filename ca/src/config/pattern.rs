//! Meta-issuer patterns, matched without a regular expression.
//!
//! A pattern is literal text in which each `*` stands for one or more of letters, digits, `-` and `_`: one host
//! label or path segment at most, never a dot or slash. The whole text must match. CVE-2026-22772 came from
//! building an unanchored regular expression here.

use super::issuer_url::MAX_ISSUER_URL;

/// A pattern of issuer URLs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// Takes the text as it is; every text is a pattern.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Number of literal bytes: the more, the more specific.
    pub fn literal_len(&self) -> usize {
        self.0.bytes().filter(|&b| b != b'*').count()
    }

    /// An example that the pattern matches, for checking the literal parts.
    pub(super) fn example(&self) -> String {
        self.0.replace('*', "x")
    }

    /// Whether all of `text` matches. Costs at most `text.len() * pattern.len()` steps, whatever the input.
    pub fn matches(&self, text: &str) -> bool {
        if text.len() > MAX_ISSUER_URL {
            return false;
        }
        // reachable[i]: the pattern so far can end exactly before byte i of the text.
        let text = text.as_bytes();
        let mut reachable = vec![false; text.len() + 1];
        reachable[0] = true;
        for &symbol in self.0.as_bytes() {
            let mut next = vec![false; text.len() + 1];
            for (i, &byte) in text.iter().enumerate() {
                next[i + 1] = match symbol {
                    b'*' => is_segment_byte(byte) && (reachable[i] || next[i]),
                    literal => literal == byte && reachable[i],
                };
            }
            reachable = next;
        }
        reachable[text.len()]
    }
}

fn is_segment_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}
