//! Alternative spellings of a path that some part of a server might treat as the path itself.

use std::collections::BTreeSet;

/// All alternative spellings of `path`, with its query unchanged. Some differ only in slashes, see
/// [`is_slashes_alone`].
pub fn spellings(path: &str) -> Vec<String> {
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    let mut found = BTreeSet::new();
    for (at, byte) in path.bytes().enumerate() {
        let (before, after) = (&path[..at], &path[at + 1..]);
        let mut put = |text: &str| found.insert(format!("{before}{text}{after}"));
        for encoded in encodings(byte) {
            put(&encoded);
        }
        match byte {
            b'/' => AROUND_A_SLASH.iter().for_each(|text| {
                put(text);
            }),
            b'a'..=b'z' => {
                put(&char::from(byte).to_ascii_uppercase().to_string());
            }
            _ => {}
        }
    }
    for end in AT_THE_END {
        found.insert(format!("{path}{end}"));
    }
    found.insert(path.to_ascii_uppercase());
    found.extend(wholly_encoded(path));
    found.remove(path);
    let queried = |path: String| match query {
        Some(query) => format!("{path}?{query}"),
        None => path,
    };
    found.into_iter().map(queried).collect()
}

/// True if a spelling differs from the path only by doubled and trailing slashes, which the server drops.
pub fn is_slashes_alone(spelling: &str, path: &str) -> bool {
    let segments = |path: &str| -> Vec<String> {
        let path = path.split('?').next().unwrap_or_default();
        path.split('/').filter(|segment| !segment.is_empty()).map(str::to_owned).collect()
    };
    segments(spelling) == segments(path)
}

/// Replacements for a slash.
const AROUND_A_SLASH: [&str; 19] = [
    "//",
    "///",
    "/./",
    "/%2e/",
    "/x/../",
    "/x/%2e%2e/",
    "/x/.%2E/",
    "/x/..;/",
    "/..%2f",
    ";/",
    ";a=b/",
    "/;/",
    "\\",
    "/\\",
    "%5c",
    "%5C",
    // Overlong UTF-8, the fraction slash, and NUL.
    "%c0%af",
    "%e2%81%84",
    "%00/",
];

/// Suffixes.
const AT_THE_END: [&str; 12] =
    ["/", "//", "/.", "/..", "/./", "/%2e", "%2f", "%00", "%20", ";", ";x=y", "/..;/"];

/// Single, double and triple percent-encodings of a byte, with digits in either case.
fn encodings(byte: u8) -> [String; 4] {
    [format!("%{byte:02x}"), format!("%{byte:02X}"), format!("%25{byte:02x}"), format!("%2525{byte:02x}")]
}

fn wholly_encoded(path: &str) -> [String; 3] {
    let every = |which: fn(u8) -> bool| -> String {
        let one = |byte: u8| if which(byte) { format!("%{byte:02x}") } else { char::from(byte).to_string() };
        path.bytes().map(one).collect()
    };
    [
        every(|byte| byte.is_ascii_alphabetic()),
        every(|byte| byte != b'/'),
        format!("/{}", &every(|_| true)[3..]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spellings_that_opened_entries_are_among_them() {
        let found = spellings("/tile/entries/000.p/2?x=%2f");
        for known in [
            "/tile/%65ntries/000.p/2?x=%2f",
            "/tile/entries%2f000.p/2?x=%2f",
            "/tile/entries%2F000.p/2?x=%2f",
            "/tile/%2565ntries/000.p/2?x=%2f",
            "/tile//entries/000.p/2?x=%2f",
            "/tile/./entries/000.p/2?x=%2f",
            "/tile/x/../entries/000.p/2?x=%2f",
            "/tile/entries;/000.p/2?x=%2f",
            "/tile/Entries/000.p/2?x=%2f",
            "/tile/entries/000.p/2/?x=%2f",
        ] {
            assert!(found.iter().any(|spelling| spelling == known), "{known}");
        }
        let slashes = found.iter().filter(|spelling| is_slashes_alone(spelling, "/tile/entries/000.p/2"));
        assert_eq!(slashes.count(), 2 * 4 + 2);
    }
}
