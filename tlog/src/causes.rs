//! An error with its causes, in one text that says nothing twice.
//!
//! Many an error's own words end with those of its cause, which is also its `source`: a plain walk along the sources prints
//! the cause a second time.

use std::error::Error;

/// The words of an error and of its causes, joined by colons. A cause whose words stand in those before it is left out.
pub fn in_full(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut last = text.clone();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !last.contains(&words) {
            text = format!("{text}: {words}");
            last = words;
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use super::*;

    #[derive(Debug)]
    struct Step(&'static str, Option<Box<Step>>);

    impl fmt::Display for Step {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Step {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref().map(|step| step as _)
        }
    }

    fn chain(words: &[&'static str]) -> Step {
        let (first, rest) = words.split_first().unwrap();
        Step(first, (!rest.is_empty()).then(|| Box::new(chain(rest))))
    }

    #[test]
    fn a_cause_is_named_once() {
        for (words, text) in [
            (&["cannot start"][..], "cannot start"),
            (&["cannot start", "no disk"], "cannot start: no disk"),
            (&["cannot start: no disk", "no disk"], "cannot start: no disk"),
            (&["log", "cannot open: no disk", "no disk"], "log: cannot open: no disk"),
            (&["no disk", "no disk", "no power"], "no disk: no power"),
        ] {
            assert_eq!(in_full(&chain(words)), text);
        }
    }
}
