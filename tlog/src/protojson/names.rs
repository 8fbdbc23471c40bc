//! Names that one reader takes for a member that another does not see.

/// Whether some readers take `found` for the member `known` and others do not: Go's `encoding/json` matches
/// names without regard to case, and keeps the last member of several; protojson also takes the name of the
/// `.proto` file, with underscores.
pub fn is_lookalike(found: &str, known: &str) -> bool {
    found != known && folded(found).eq(folded(known))
}

fn folded(name: &str) -> impl Iterator<Item = char> {
    name.chars().filter(|c| *c != '_').map(|c| match c {
        // The only letters beyond ASCII that fold into it: the sign of kelvin, and the long s.
        '\u{212a}' => 'k',
        '\u{17f}' => 's',
        c => c.to_ascii_lowercase(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_cases_and_original_names_look_alike() {
        for (found, known) in [
            ("Subject", "subject"),
            ("\u{17f}ubject", "subject"),
            ("to\u{212a}en", "token"),
            ("predicate_type", "predicateType"),
            ("type", "_type"),
            ("URI", "uri"),
        ] {
            assert!(is_lookalike(found, known) && is_lookalike(known, found), "{found}");
        }
        for (found, known) in
            [("subject", "subject"), ("subjects", "subject"), ("\u{131}d", "id"), ("", "id")]
        {
            assert!(!is_lookalike(found, known), "{found}");
        }
    }
}
