//! The place that a URI names, in the readings that parsers are known to have of it.
//!
//! Parsers disagree about schemes, user information, ports, escapes, dot segments, and about where a path ends
//! and a ref begins. So a text is not brought into one normal form: every reading is tried, and one that is
//! the repository suffices. A reading too many costs the refusal of an odd spelling; one too few lets a build
//! state a second source unseen. The list is of known spellings and cannot be complete: a forge may redirect
//! from any host to any repository.

use std::borrow::Cow;
use std::cell::Cell;

use chancery_tlog::escape::is_hidden;
use percent_encoding::percent_decode_str;
use url::{Position, Url};

/// Longest text that is read. Longer ones cannot be ruled out.
const MAX_TEXT: usize = 2048;
/// Most characters behind which a reading may begin. Texts with more cannot be ruled out.
const MAX_BEGINNINGS: usize = 24;
/// Most rounds of decoding: escapes of escapes. Texts with more cannot be ruled out.
const MAX_ROUNDS: usize = 4;
/// Most bytes that are read from all beginnings of all texts. A text that would exceed them cannot be ruled
/// out: one of [`MAX_TEXT`] can be read from [`MAX_BEGINNINGS`] characters in each of [`MAX_ROUNDS`], and there
/// may be many.
const MAX_WORK: usize = 64 * 1024 * 1024;
/// Longest number of a repository that is looked for.
const MAX_ID: usize = 64;
/// Labels in front of a forge's host name that lead to the same repositories.
const LABELS: [&str; 8] = ["www.", "ssh.", "altssh.", "api.", "codeload.", "nodeload.", "raw.", "redirect."];
/// Other names of forges: those of package URLs and npm's, and hosts that do not end in the forge's.
const ALIASES: [(&str, &str); 7] = [
    ("github", "github.com"),
    ("gh", "github.com"),
    ("raw.githubusercontent.com", "github.com"),
    ("gitlab", "gitlab.com"),
    ("gl", "gitlab.com"),
    ("bitbucket", "bitbucket.org"),
    ("bb", "bitbucket.org"),
];
/// Paths in front of a repository's in the APIs of forges.
const API_PATHS: [&[&str]; 4] =
    [&["repos"], &["api", "v3", "repos"], &["api", "v4", "projects"], &["2.0", "repositories"]];
/// Paths in front of a repository's number in the APIs of forges.
const ID_PATHS: [&[&str]; 3] =
    [&["repositories"], &["api", "v3", "repositories"], &["api", "v4", "projects"]];

/// Host and path of a repository, in lower case.
pub(super) struct Place {
    host: String,
    segments: Vec<String>,
    /// Its number at the forge, which API addresses may have instead of the path.
    id: Option<String>,
    /// What is left of [`MAX_WORK`].
    work: Cell<usize>,
}

impl Place {
    /// The place of a repository in its usual spelling.
    pub(super) fn of(repository: &str, id: Option<&str>) -> Self {
        let text = repository.to_lowercase();
        let text = text.split_once("://").map_or(text.as_str(), |(_, rest)| rest);
        let (authority, path) = text.split_once('/').unwrap_or((text, ""));
        let segments = path.split('/').filter(|it| !it.is_empty()).map(|it| without_git(it).to_owned());
        Self {
            host: normal_host(split_authority(authority).0).into_owned(),
            segments: segments.collect(),
            id: id.filter(|id| (1..=MAX_ID).contains(&id.len())).map(str::to_lowercase),
            work: Cell::new(MAX_WORK),
        }
    }

    /// Segments of the path.
    pub(super) fn segments(&self) -> usize {
        self.segments.len()
    }

    /// Whether `text` is this place or something in it, in any known reading.
    pub(super) fn is_in(&self, text: &str) -> bool {
        if text.len() > MAX_TEXT {
            return true;
        }
        let mut text = visible(text);
        for _ in 0..MAX_ROUNDS {
            if self.is_read_in(&text) {
                return true;
            }
            let decoded = visible(&percent_decode_str(&text).decode_utf8_lossy());
            if decoded == text {
                return false;
            }
            text = decoded;
        }
        true
    }

    /// As [`Place::is_in`], of a text whose escapes are characters like others.
    fn is_read_in(&self, text: &str) -> bool {
        // Nearly all dependencies are something else, and end here.
        let has_id = self.id.as_ref().is_some_and(|id| text.contains(id.as_str()));
        if !has_id && !self.segments.iter().all(|segment| text.contains(segment.as_str())) {
            return false;
        }
        let marks = text.matches(begins_host).count();
        marks > MAX_BEGINNINGS
            || !self.may_read((marks + 1) * text.len())
            || self.is_shorthand(text)
            || self.is_of_browsers(text)
            || beginnings(text).any(|rest| self.is_at_host(rest))
    }

    /// Takes so many bytes of [`MAX_WORK`], if they are left.
    fn may_read(&self, bytes: usize) -> bool {
        let left = self.work.get().checked_sub(bytes);
        self.work.set(left.unwrap_or_default());
        left.is_some()
    }

    /// `octo-org/app@v1`, as workflows and npm name repositories of GitHub.
    fn is_shorthand(&self, text: &str) -> bool {
        self.host == "github.com" && self.has_path(text)
    }

    /// The reading of browsers, which resolve paths in their own way.
    fn is_of_browsers(&self, text: &str) -> bool {
        let scheme = text.find(':').unwrap_or_default();
        let text = text[..scheme].rfind('+').map_or(text, |at| &text[at + 1..]);
        let Ok(url) = Url::parse(text) else { return false };
        url.host_str().is_some_and(|host| self.has_host(host)) && self.has_path(&url[Position::BeforePath..])
    }

    /// `host/path`, `host:port/path`, and `host:path` as `scp` has it.
    fn is_at_host(&self, text: &str) -> bool {
        let end = text.find(['/', '?', '#']).unwrap_or(text.len());
        let (authority, path) = text.split_at(end);
        let (host, behind) = split_authority(authority);
        self.has_host(host)
            && (self.has_path(&format!("{behind}{path}"))
                || behind.bytes().all(|b| b.is_ascii_digit()) && self.has_path(path))
    }

    fn has_host(&self, host: &str) -> bool {
        let host = normal_host(host.rsplit('+').next().unwrap_or_default());
        let mut host: &str = host.as_ref();
        loop {
            let alias = ALIASES.iter().find(|(alias, _)| *alias == host).map(|(_, host)| *host);
            if host == self.host || alias == Some(self.host.as_str()) {
                return true;
            }
            match LABELS.iter().find_map(|label| host.strip_prefix(label)) {
                Some(rest) => host = rest,
                None => return false,
            }
        }
    }

    /// Whether the path, up to any mark in it, leads into the repository. A `..` removes the segment before
    /// it, or for some parsers the empty one between two slashes.
    fn has_path(&self, path: &str) -> bool {
        [false, true].into_iter().any(|keeps_empty| {
            let mut resolved = Resolved::default();
            for segment in path.trim_start_matches('/').split('/') {
                for (at, _) in segment.match_indices(is_mark) {
                    // `..` before a mark would remove from what later segments need, and leads nowhere new.
                    resolved.push(&segment[..at]);
                    if self.begins(&resolved.named) {
                        return true;
                    }
                    resolved.pop();
                }
                match segment {
                    "." => {}
                    "" if !keeps_empty => {}
                    ".." => resolved.pop(),
                    segment => resolved.push(segment),
                }
            }
            self.begins(&resolved.named)
        })
    }

    /// Whether the segments, none of which is empty, begin with the repository's path.
    fn begins(&self, path: &[&str]) -> bool {
        let is_own = |path: &[&str]| {
            path.len() >= self.segments.len()
                && self.segments.iter().zip(path).all(|(own, other)| own == without_git(other))
        };
        let has_id = |path: &[&str]| self.id.is_some() && path.first().copied() == self.id.as_deref();
        is_own(path)
            || API_PATHS.iter().any(|api| path.strip_prefix(*api).is_some_and(is_own))
            || ID_PATHS.iter().any(|api| path.strip_prefix(*api).is_some_and(has_id))
    }
}

/// A path whose dot segments are resolved.
#[derive(Default)]
struct Resolved<'t> {
    /// For every segment, whether it has a name.
    are_named: Vec<bool>,
    /// Those that have.
    named: Vec<&'t str>,
}

impl<'t> Resolved<'t> {
    fn push(&mut self, segment: &'t str) {
        self.are_named.push(!segment.is_empty());
        if !segment.is_empty() {
            self.named.push(segment);
        }
    }

    fn pop(&mut self) {
        if self.are_named.pop() == Some(true) {
            self.named.pop();
        }
    }
}

/// Marks that end a path.
const fn is_mark(c: char) -> bool {
    matches!(c, '@' | '?' | '#')
}

/// Characters behind which a host may stand: a scheme's, a user name's, and the sign of a query's value.
const fn begins_host(c: char) -> bool {
    is_mark(c) || matches!(c, ':' | '=')
}

/// Everything that may begin with a host.
fn beginnings(text: &str) -> impl Iterator<Item = &str> {
    let behind = text.match_indices(begins_host).map(|(at, _)| at + 1);
    std::iter::once(0).chain(behind).map(|start| text[start..].trim_start_matches('/'))
}

/// The text in lower case, without characters that parsers remove, and with the slashes of URIs.
fn visible(text: &str) -> String {
    let shown = text.chars().filter(|c| !c.is_control() && !is_hidden(*c));
    let text: String = shown.map(|c| if c == '\\' { '/' } else { c }).collect();
    text.trim().to_lowercase()
}

/// The host, and the port or path behind its colon.
fn split_authority(authority: &str) -> (&str, &str) {
    let address = if authority.starts_with('[') { authority.find(']').unwrap_or_default() } else { 0 };
    match authority[address..].find(':') {
        Some(at) => (&authority[..address + at], &authority[address + at + 1..]),
        None => (authority, ""),
    }
}

/// The host as parsers that know internationalised names have it.
fn normal_host(host: &str) -> Cow<'_, str> {
    let host = host.trim_end_matches('.');
    let is_plain = |b: u8| b.is_ascii_lowercase() || matches!(b, b'.' | b'-');
    if host.bytes().all(is_plain) {
        return Cow::Borrowed(host);
    }
    match Url::parse(&format!("https://{host}/")).ok().as_ref().and_then(Url::host_str) {
        Some(normal) => Cow::Owned(normal.trim_end_matches('.').to_owned()),
        None => Cow::Borrowed(host),
    }
}

fn without_git(segment: &str) -> &str {
    segment.strip_suffix(".git").unwrap_or(segment)
}

#[cfg(test)]
mod tests;
