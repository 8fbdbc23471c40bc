//! A stranger's text in an error message: short, and on one line.
//!
//! Claims, headers and a log's answers end up in our log. Without this a subject with a line break could write audit
//! lines of its own.

use chancery_tlog::escape::is_hidden;

/// Longest excerpt, in characters.
const MAX_EXCERPT: usize = 200;

/// `text` with nothing in it that moves a cursor, reorders or hides.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(printable_char).collect()
}

/// The beginning of `text`; control characters and those that reorder or hide text are replaced.
pub(crate) fn excerpt(text: &str) -> String {
    text.chars().take(MAX_EXCERPT).map(printable_char).collect()
}

fn printable_char(c: char) -> char {
    if is_hidden(c) { char::REPLACEMENT_CHARACTER } else { c }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_is_short_and_on_one_line() {
        assert_eq!(excerpt("a\nb\u{1b}[0m"), "a\u{fffd}b\u{fffd}[0m");
        assert_eq!(excerpt("a\u{202e}b\u{200b}\u{2028}c\u{9b}"), "a\u{fffd}b\u{fffd}\u{fffd}c\u{fffd}");
        assert_eq!(excerpt("a\u{ad}b\u{34f}\u{3164}c\u{e0041}"), "a\u{fffd}b\u{fffd}\u{fffd}c\u{fffd}");
        assert_eq!(excerpt(&"ä".repeat(300)).chars().count(), MAX_EXCERPT);
    }
}
