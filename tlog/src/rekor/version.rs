//! The form of `apiVersion`: a semantic version, as Rekor's schema demands it.

/// The pattern, as the genuine server prints it.
pub(super) const PATTERN: &str = concat!(
    r"^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)",
    r"(?:-((?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(?:\.(?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*))?",
    r"(?:\+([0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*))?$"
);

/// Whether the text matches [`PATTERN`].
pub(super) fn is_version(text: &str) -> bool {
    let (text, build) = text.split_once('+').map_or((text, None), |(text, build)| (text, Some(build)));
    let (core, stage) = text.split_once('-').map_or((text, None), |(core, stage)| (core, Some(stage)));
    core.split('.').count() == 3
        && core.split('.').all(is_number)
        && stage.is_none_or(|stage| stage.split('.').all(is_stage))
        && build.is_none_or(|build| build.split('.').all(is_identifier))
}

fn is_number(text: &str) -> bool {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits && (text.len() == 1 || !text.starts_with('0'))
}

fn is_stage(text: &str) -> bool {
    is_identifier(text) && (is_number(text) || !text.bytes().all(|byte| byte.is_ascii_digit()))
}

fn is_identifier(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_semantic_versions() {
        for version in
            ["0.0.1", "10.20.30", "1.0.0-alpha", "1.0.0-0.a-b.10", "1.0.0+01", "1.0.0-a+b.c", "1.0.0--"]
        {
            assert!(is_version(version), "{version}");
        }
        for other in [
            "",
            "1",
            "1.0",
            "1.0.0.0",
            "v1.0.0",
            "01.0.0",
            "1.0.0-",
            "1.0.0-01",
            "1.0.0-a..b",
            "1.0.0+",
            "1.0.0+a+b",
            "1.0.0 ",
            " 1.0.0",
            "1.0.0-a_b",
            "*",
            ">=0.0.1",
            "1.0.0\n",
            "1.0.\u{663}",
        ] {
            assert!(!is_version(other), "{other:?}");
        }
    }
}
