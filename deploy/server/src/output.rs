//! What commands print: results on standard output, and talk on standard error.
//!
//! Invariant: a result that cannot be printed makes the command fail, and says so; talk that cannot be
//! printed does not. Every line has been through [`inert`], since configurations, tokens and file names come from others.

use std::io::{Write as _, stderr, stdout};

use anyhow::Context as _;
use chancery_tlog::causes;
use chancery_tlog::escape::{Form, inert};

/// Prints a result of one or several lines.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    write(&lines(text))
}

/// Prints a JSON document, whose value stays what it is.
pub(crate) fn print_json(document: &str) -> anyhow::Result<()> {
    write(&inert(document, Form::Json))
}

/// Prints talk.
pub(crate) fn say(text: &str) {
    let _ = stderr().write_all(lines(text).as_bytes());
}

/// An error with its causes, each of them once.
pub(crate) fn in_full(error: &anyhow::Error) -> String {
    causes::in_full(error.as_ref())
}

fn write(text: &str) -> anyhow::Result<()> {
    let mut out = stdout();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .context("standard output cannot be written, so what the command has to print is lost")
}

fn lines(text: &str) -> String {
    text.split_inclusive('\n')
        .flat_map(|line| match line.strip_suffix('\n') {
            Some(line) => [inert(line, Form::Line), "\n".into()],
            None => [inert(line, Form::Line), "".into()],
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_stay_lines_and_nothing_in_them_is_hidden_or_a_command() {
        for (text, shown) in [
            ("", ""),
            ("a\nb", "a\nb"),
            ("a\n\n", "a\n\n"),
            ("ok\n::error::x\n", "ok\n\\u{3a}:error::x\n"),
            ("a\u{202e}\rb\n", "a\\u{202e}\\u{d}b\n"),
        ] {
            assert_eq!(lines(text), shown);
        }
    }
}
