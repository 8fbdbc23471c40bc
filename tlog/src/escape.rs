//! Escaping of text that came from outside, at the border to a terminal or a log.
//!
//! Invariant: [`escaped`] returns no character that moves the cursor, reorders its neighbours or has no width, so a
//! name cannot be shown as another one, and a value cannot begin a line of its own. Visible text, in any script, stays
//! as it is. [`inert`] returns in addition nothing that a CI runner takes for a command when it reads a job's output.

use std::borrow::Cow;
use std::ffi::OsString;
use std::fmt::Write as _;

/// Characters that are not shown, or change how others are shown: Unicode's control and format characters, its line and
/// paragraph separators, and `Default_Ignorable_Code_Point`. In order, for the search. A test compares it with the
/// tables of the crate `regex`.
const HIDDEN: &[(char, char)] = &[
    ('\0', '\u{1f}'),
    ('\u{7f}', '\u{9f}'),
    ('\u{ad}', '\u{ad}'),
    ('\u{34f}', '\u{34f}'),
    ('\u{600}', '\u{605}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{6dd}', '\u{6dd}'),
    ('\u{70f}', '\u{70f}'),
    ('\u{890}', '\u{891}'),
    ('\u{8e2}', '\u{8e2}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180b}', '\u{180f}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{2028}', '\u{202e}'),
    ('\u{2060}', '\u{206f}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{fe00}', '\u{fe0f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{ffa0}', '\u{ffa0}'),
    ('\u{fff0}', '\u{fffb}'),
    ('\u{110bd}', '\u{110bd}'),
    ('\u{110cd}', '\u{110cd}'),
    ('\u{13430}', '\u{1343f}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0000}', '\u{e0fff}'),
];

/// The text that is escaped, which decides what an escape looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One line for people: `\u{202e}`. A line break is escaped too.
    Line,
    /// One line for people, with the colours (`ESC [ … m`) of a formatter that has escaped its values' own.
    Coloured,
    /// A JSON document that a serialiser wrote: `\u202e`, the same value to every reader. Line breaks between its
    /// members stay, those in its texts have been escaped by the serialiser.
    Json,
}

/// Whether a character is not shown, or changes how its neighbours are shown.
pub fn is_hidden(c: char) -> bool {
    // All but a few texts are printable ASCII.
    if (' '..='~').contains(&c) {
        return false;
    }
    let after = HIDDEN.partition_point(|(first, _)| *first <= c);
    after.checked_sub(1).and_then(|at| HIDDEN.get(at)).is_some_and(|(_, last)| c <= *last)
}

/// The text with every hidden character escaped.
pub fn escaped(text: &str, form: Form) -> Cow<'_, str> {
    if text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let colour = if form == Form::Coloured { colour(rest) } else { 0 };
        let length = colour.max(c.len_utf8());
        let (piece, tail) = rest.split_at(length);
        if colour > 0 || !is_hidden(c) || (form == Form::Json && c == '\n') {
            shown.push_str(piece);
        } else {
            push_escape(&mut shown, c, form);
        }
        rest = tail;
    }
    Cow::Owned(shown)
}

/// The text with every hidden character escaped, and with every command to a CI runner: `::…` at the start of a line
/// (GitHub Actions), `##[…` and `##name[…` anywhere in it (GitHub Actions, Azure Pipelines, TeamCity). Such text comes from
/// file names and answers, and a command can set variables of the job, or hide what follows.
pub fn inert(text: &str, form: Form) -> Cow<'_, str> {
    let shown = escaped(text, form);
    if !shown.lines().any(|line| command(line).is_some()) {
        return shown;
    }
    let mut inert = String::with_capacity(shown.len() + 16);
    for line in shown.split_inclusive('\n') {
        let mut rest = line;
        while let Some(at) = command(rest) {
            let (before, command) = rest.split_at(at);
            let mut characters = command.chars();
            inert.push_str(before);
            characters.next().into_iter().for_each(|first| push_escape(&mut inert, first, form));
            rest = characters.as_str();
        }
        inert.push_str(rest);
    }
    Cow::Owned(inert)
}

/// A process's arguments, as [`inert`] has them. A parser of arguments quotes them in its message, line breaks and all, so
/// a message about these is to be shown in place of one about the true ones.
pub fn arguments(all: impl Iterator<Item = OsString>) -> Vec<String> {
    all.map(|argument| inert(&argument.to_string_lossy(), Form::Line).into_owned()).collect()
}

/// Where the first command to a CI runner begins.
fn command(line: &str) -> Option<usize> {
    let start = line.len() - line.trim_start().len();
    if line[start..].starts_with("::") {
        return Some(start);
    }
    line.match_indices('#').map(|(at, _)| at).find(|at| {
        let name = line[at + 1..].strip_prefix('#').unwrap_or_default();
        name.trim_start_matches(|c: char| c.is_ascii_alphabetic()).starts_with('[')
    })
}

/// Length of the colour sequence at the start of `text`, 0 if there is none.
fn colour(text: &str) -> usize {
    let Some(code) = text.strip_prefix("\x1b[") else { return 0 };
    let digits = code.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b';').count();
    if code.as_bytes().get(digits) == Some(&b'm') { "\x1b[".len() + digits + 1 } else { 0 }
}

fn push_escape(shown: &mut String, c: char, form: Form) {
    if form == Form::Json {
        for unit in c.encode_utf16(&mut [0; 2]) {
            // Writing to a `String` cannot fail.
            let _ = write!(shown, "\\u{unit:04x}");
        }
    } else {
        shown.extend(c.escape_unicode());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Text with many hidden characters.
    fn text() -> impl Strategy<Value = String> {
        let hidden = (0..HIDDEN.len()).prop_flat_map(|at| prop::char::range(HIDDEN[at].0, HIDDEN[at].1));
        let one = prop_oneof![any::<char>(), hidden, prop::sample::select(vec!['\x1b', '[', 'm', '3', '\n'])];
        proptest::collection::vec(one, 0..40).prop_map(|chars| chars.into_iter().collect())
    }

    proptest! {
        #[test]
        fn nothing_hidden_is_left_in_a_line(text in text()) {
            let shown = escaped(&text, Form::Line);
            prop_assert!(!shown.chars().any(is_hidden), "{shown:?}");
            prop_assert_eq!(escaped(&shown, Form::Line), shown.as_ref(), "escaped twice is escaped once");
        }

        #[test]
        fn a_coloured_line_has_colours_and_nothing_else_hidden(text in text()) {
            let mut shown = escaped(&text, Form::Coloured).into_owned();
            while let Some(at) = (0..shown.len()).find(|at| shown.is_char_boundary(*at) && colour(&shown[*at..]) > 0) {
                shown.replace_range(at..at + colour(&shown[at..]), "*");
            }
            prop_assert!(!shown.chars().any(is_hidden), "{shown:?}");
        }

        #[test]
        fn json_keeps_its_value_and_shows_nothing_hidden(text in text()) {
            let value = serde_json::json!({ &text: [&text] });
            let json = serde_json::to_string_pretty(&value).unwrap();
            let shown = escaped(&json, Form::Json);
            prop_assert!(!shown.chars().any(|c| c != '\n' && is_hidden(c)), "{shown:?}");
            prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
        }
    }

    proptest! {
        #[test]
        fn no_command_to_a_runner_is_left(
            pieces in proptest::collection::vec(prop::sample::select(vec![
                "::", ":", " ", "\t", "\u{a0}", "#", "##", "[", "]", "error", "vso", "\n", "\r", "é", "\u{202e}",
            ]), 0..12),
        ) {
            let text = pieces.concat();
            let line = inert(&text, Form::Line);
            let again = inert(&line, Form::Line);
            prop_assert_eq!(again.as_ref(), line.as_ref(), "inert twice is inert once");
            let value = serde_json::json!([text]);
            let json = serde_json::to_string_pretty(&value).unwrap();
            let json = inert(&json, Form::Json);
            prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap(), value);
            for shown in line.lines().chain(json.lines()) {
                prop_assert!(!shown.chars().any(is_hidden), "{shown:?}");
                prop_assert!(!shown.trim().starts_with("::"), "{shown:?}");
                let mut marks = shown.match_indices('#').filter_map(|(at, _)| shown[at + 1..].strip_prefix('#'));
                let is_command =
                    |rest: &str| rest.trim_start_matches(|c: char| c.is_ascii_alphabetic()).starts_with('[');
                prop_assert!(!marks.any(is_command), "{shown:?}");
            }
        }
    }

    #[test]
    fn commands_to_runners_are_escaped_by_their_first_character() {
        for (text, shown) in [
            ("::error::forged", "\\u{3a}:error::forged"),
            (" ::stop-commands::t", " \\u{3a}:stop-commands::t"),
            ("std::fs::read", "std::fs::read"),
            ("a##[error]b", "a\\u{23}#[error]b"),
            ("##vso[task.setvariable variable=x]y", "\\u{23}#vso[task.setvariable variable=x]y"),
            ("###[x]", "#\\u{23}#[x]"),
            ("## heading ##", "## heading ##"),
        ] {
            assert_eq!(inert(text, Form::Line), shown);
        }
        assert_eq!(inert("{\n  \"##[x]\"\n}", Form::Json), "{\n  \"\\u0023#[x]\"\n}");
    }

    #[test]
    fn visible_text_of_any_script_stays_as_it_is() {
        for text in ["", "plain", "Grüße, 世界 — עברית العربية हिन्दी 한국어 🚀", "a\\u{202e}b"]
        {
            assert_eq!(escaped(text, Form::Line), text);
        }
    }

    #[test]
    fn an_escape_names_its_character() {
        assert_eq!(escaped("a\u{202e}b\n\x1b[31m", Form::Line), "a\\u{202e}b\\u{a}\\u{1b}[31m");
        assert_eq!(escaped("\x1b[31mred\x1b[0m\x1b[2J", Form::Coloured), "\x1b[31mred\x1b[0m\\u{1b}[2J");
        assert_eq!(escaped("\"\u{e0041}\u{9b}\"", Form::Json), "\"\\udb40\\udc41\\u009b\"");
    }

    #[test]
    fn the_table_is_in_order() {
        assert!(HIDDEN.iter().all(|(first, last)| first <= last));
        assert!(HIDDEN.windows(2).all(|pair| pair[0].1 < pair[1].0));
    }
}
