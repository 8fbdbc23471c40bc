//! Dependencies of a build that are the repository it was built from.
//!
//! The strict spelling is `git+<repository>@<ref>`. A reader of provenance may take any other spelling of the
//! same repository for the source as well, so the spellings that [`place`] knows are found too, and state a
//! repository that is not the expected one.

mod place;

use serde_json::Value;

use self::place::Place;
use super::ProvenanceError;

/// Most dependencies that are read. Each is compared with the repository.
pub(super) const MAX_DEPENDENCIES: usize = 32 * 1024;
/// Longest repository that is read, in bytes.
const MAX_REPOSITORY: usize = 1024;
/// Most segments of its path; GitLab's groups can be nested twenty deep.
const MAX_SEGMENTS: usize = 32;
/// The members of a dependency that locate it.
const LOCATIONS: [&str; 2] = ["uri", "downloadLocation"];

/// The facts that one dependency states of the source; each at least once.
pub(super) struct Dependency {
    pub(super) repositories: Vec<Option<String>>,
    pub(super) references: Vec<Option<String>>,
    /// The commit under the build type's name for it, and under others if there are some.
    pub(super) commits: Vec<Option<String>>,
}

/// The repository of the source, to be looked for among dependencies.
pub(super) struct Source<'a> {
    repository: &'a str,
    place: Place,
    /// The build type's name of a commit's digest.
    digest: &'static str,
}

impl<'a> Source<'a> {
    /// `id` is the number by which the forge knows the repository besides. A repository larger than any forge
    /// has is refused, because every segment of it is looked for in every dependency.
    pub(super) fn new(
        repository: &'a str,
        id: Option<&str>,
        digest: &'static str,
    ) -> Result<Self, ProvenanceError> {
        if repository.len() > MAX_REPOSITORY {
            return Err(ProvenanceError::TooMany { what: "bytes in its repository", limit: MAX_REPOSITORY });
        }
        let place = Place::of(repository, id);
        if place.segments() > MAX_SEGMENTS {
            return Err(ProvenanceError::TooMany { what: "segments in its repository", limit: MAX_SEGMENTS });
        }
        Ok(Self { repository, place, digest })
    }

    pub(super) fn repository(&self) -> &str {
        self.repository
    }

    /// Reads `dependency` if it is this repository, or if that cannot be ruled out.
    pub(super) fn read(&self, dependency: &Value) -> Option<Dependency> {
        let located = |name: &str| dependency.get(name).and_then(Value::as_str);
        // The usual spelling needs no other reading.
        let is_own = |text: &&str| self.strict(text).is_some() || self.place.is_in(text);
        let own = LOCATIONS.into_iter().filter_map(located).filter(is_own);
        let own: Vec<&str> = own.collect();
        if own.is_empty() && located("uri").is_some() {
            return None;
        }
        let (mut repositories, mut references): (Vec<_>, Vec<_>) =
            own.into_iter().map(|text| self.split(text)).unzip();
        if repositories.is_empty() {
            repositories.push(None);
            references.push(None);
        }
        Some(Dependency { repositories, references, commits: self.commits(dependency) })
    }

    fn commits(&self, dependency: &Value) -> Vec<Option<String>> {
        let text = |name: &str| Some(dependency.get("digest")?.get(name)?.as_str()?.to_owned());
        let others = ["gitCommit", "sha1"].into_iter().filter(|name| *name != self.digest);
        std::iter::once(text(self.digest)).chain(others.filter_map(text).map(Some)).collect()
    }

    /// The repository as it is spelled, and the ref.
    fn split(&self, uri: &str) -> (Option<String>, Option<String>) {
        match self.strict(uri) {
            Some(rest) => (Some(self.repository.to_owned()), rest.strip_prefix('@').map(str::to_owned)),
            None => (Some(without_git(uri).chars().take(MAX_SHOWN).collect()), None),
        }
    }

    /// What follows the repository in its strict spelling: `@` and a ref, or nothing.
    fn strict<'u>(&self, uri: &'u str) -> Option<&'u str> {
        let rest = without_git(uri).strip_prefix(self.repository)?;
        (rest.is_empty() || rest.starts_with('@')).then_some(rest)
    }
}

fn without_git(uri: &str) -> &str {
    uri.strip_prefix("git+").unwrap_or(uri)
}

/// Longest location that a refusal repeats.
const MAX_SHOWN: usize = 300;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const REPOSITORY: &str = "https://github.com/octo-org/app";

    #[test]
    fn only_the_strict_spelling_states_the_repository() {
        let source = Source::new(REPOSITORY, None, "gitCommit").unwrap();
        let strict = source.split("git+https://github.com/octo-org/app@refs/tags/pkg@1.0");
        assert_eq!(strict, (Some(REPOSITORY.to_owned()), Some("refs/tags/pkg@1.0".to_owned())));
        for other in ["git+https://github.com/octo-org/app.git@main", "https://GitHub.com/octo-org/app@main"]
        {
            assert_ne!(source.split(other).0.as_deref(), Some(REPOSITORY), "{other}");
        }
    }

    #[test]
    fn every_location_of_a_dependency_is_read() {
        let source = Source::new(REPOSITORY, None, "gitCommit").unwrap();
        let own = "git+https://github.com/octo-org/app@main";
        let read = source.read(&json!({"uri": "pkg:generic/x", "downloadLocation": own})).unwrap();
        assert_eq!(read.repositories, [Some(REPOSITORY.to_owned())]);
        let read = source.read(&json!({"uri": own, "downloadLocation": "github:octo-org/app"})).unwrap();
        assert_eq!(read.repositories[1], Some("github:octo-org/app".to_owned()));
        assert!(
            source.read(&json!({"uri": "pkg:generic/x", "downloadLocation": "https://x.example"})).is_none()
        );
        assert_eq!(source.read(&json!({"digest": {}})).unwrap().repositories, [None]);
        assert_eq!(source.read(&json!({"uri": 5})).unwrap().repositories, [None]);
    }
}
