//! A stranger's text in an error message: short, and on one line.
//!
//! Claims, headers and a log's answers end up in our log. Without this a subject with a line break could write audit
//! lines of its own.

/// Longest excerpt, in characters.
const MAX_EXCERPT: usize = 200;

/// The beginning of `text`, control characters replaced.
pub(crate) fn excerpt(text: &str) -> String {
    let printable = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
    text.chars().take(MAX_EXCERPT).map(printable).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_is_short_and_on_one_line() {
        assert_eq!(excerpt("a\nb\u{1b}[0m"), "a\u{fffd}b\u{fffd}[0m");
        assert_eq!(excerpt(&"ä".repeat(300)).chars().count(), MAX_EXCERPT);
    }
}
