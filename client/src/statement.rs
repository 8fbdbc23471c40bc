//! in-toto statements: "this predicate holds for these artifacts". Written as v1, read as v0.1 and v1.
//! <https://github.com/in-toto/attestation/tree/main/spec/v1>

mod names;

use std::collections::BTreeMap;

use chancery_tlog::key::HashAlgorithm;
use chancery_tlog::protojson;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::artifact::Artifact;

/// `_type` of version 1.
pub const STATEMENT_V1: &str = "https://in-toto.io/Statement/v1";
/// `_type` of version 0.1, which cosign 2 and older generators write.
pub const STATEMENT_V0_1: &str = "https://in-toto.io/Statement/v0.1";
/// Most subjects of a statement, as GitHub and sigstore-go limit them.
pub const MAX_SUBJECTS: usize = 1024;
/// Most digests of one subject.
const MAX_DIGESTS: usize = 32;

/// Why a payload is no statement.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    /// Not the JSON of a statement.
    #[error("the payload is not an in-toto statement: {0}")]
    Json(String),
    /// A member that some readers take for a known one.
    #[error("the statement has a member `{found}`, which some readers take for `{known}`")]
    Lookalike {
        /// What it has.
        found: String,
        /// What some take it for.
        known: String,
    },
    /// Another `_type`.
    #[error("statement type `{0}` is neither v0.1 nor v1")]
    Type(String),
    /// No subject, or too many.
    #[error("the statement has {0} subjects; 1 to {MAX_SUBJECTS} are allowed")]
    SubjectCount(usize),
    /// A subject without a digest or with too many.
    #[error("subject `{0}` has no digest, or more than {MAX_DIGESTS}")]
    DigestCount(String),
}

/// An artifact that a statement is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// Name for people; it never decides.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Digests by algorithm name, hex.
    #[serde(default)]
    pub digest: BTreeMap<String, String>,
}

impl Subject {
    /// A subject with the artifact's digests.
    pub fn new(name: &str, artifact: &Artifact) -> Self {
        let digest = artifact
            .digests()
            .iter()
            .map(|(algorithm, digest)| (algorithm.name().to_owned(), hex::encode(digest)))
            .collect();
        Self { name: name.to_owned(), digest }
    }

    /// Whether this is the artifact: every algorithm that both know agrees, and there is at least one.
    pub fn is(&self, artifact: &Artifact) -> bool {
        let mut shared = 0;
        for (algorithm, digest) in artifact.digests() {
            if let Some(claimed) = self.digest.get(algorithm.name()) {
                if !claimed.eq_ignore_ascii_case(&hex::encode(digest)) {
                    return false;
                }
                shared += 1;
            }
        }
        shared > 0
    }
}

/// A statement.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Statement {
    /// [`STATEMENT_V1`] or [`STATEMENT_V0_1`].
    #[serde(rename = "_type")]
    pub kind: String,
    /// What it is about.
    pub subject: Vec<Subject>,
    /// Type of the predicate.
    pub predicate_type: String,
    /// What it says.
    pub predicate: Value,
}

/// A statement without its predicate.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Header {
    #[serde(rename = "_type")]
    kind: String,
    subject: Vec<Subject>,
    predicate_type: String,
}

impl Statement {
    /// A v1 statement.
    pub fn new(subject: Vec<Subject>, predicate_type: &str, predicate: Value) -> Self {
        Self { kind: STATEMENT_V1.to_owned(), subject, predicate_type: predicate_type.to_owned(), predicate }
    }

    /// Parses a payload. Members that this program does not know are ignored, as the specification asks; one
    /// that occurs twice is refused at any depth, and so is one whose name others read as a known one, since
    /// they might read the other.
    pub fn parse(payload: &[u8]) -> Result<Self, StatementError> {
        let malformed = |error: serde_json::Error| StatementError::Json(error.to_string());
        let Value::Object(mut members) = protojson::json(payload).map_err(malformed)? else {
            return Err(StatementError::Json("it is not an object".to_owned()));
        };
        names::check_statement(&members)?;
        // The predicate, which may be large, is moved and not read again.
        let predicate = members.remove("predicate").unwrap_or_default();
        let Header { kind, subject, predicate_type } =
            Header::deserialize(Value::Object(members)).map_err(malformed)?;
        let statement = Self { kind, subject, predicate_type, predicate };
        statement.check()?;
        Ok(statement)
    }

    /// The JSON to sign.
    pub fn encode(&self) -> Result<Vec<u8>, StatementError> {
        self.check()?;
        serde_json::to_vec(self).map_err(|error| StatementError::Json(error.to_string()))
    }

    /// The subject that is `artifact`.
    pub fn subject_of(&self, artifact: &Artifact) -> Option<&Subject> {
        self.subject.iter().find(|subject| subject.is(artifact))
    }

    fn check(&self) -> Result<(), StatementError> {
        if self.kind != STATEMENT_V1 && self.kind != STATEMENT_V0_1 {
            return Err(StatementError::Type(self.kind.chars().take(100).collect()));
        }
        if self.subject.is_empty() || self.subject.len() > MAX_SUBJECTS {
            return Err(StatementError::SubjectCount(self.subject.len()));
        }
        names::check_predicate(&self.predicate_type, &self.predicate)?;
        match self.subject.iter().find(|s| s.digest.is_empty() || s.digest.len() > MAX_DIGESTS) {
            Some(subject) => Err(StatementError::DigestCount(subject.name.chars().take(100).collect())),
            None => Ok(()),
        }
    }
}

/// The hash functions, other than SHA-256, that the digests of a payload's subjects are made with. Asked before the
/// signature is verified, so nothing else of the payload is kept.
pub fn algorithms(payload: &[u8]) -> Vec<HashAlgorithm> {
    #[derive(Deserialize)]
    struct Subjects {
        #[serde(deserialize_with = "protojson::list::<_, _, MAX_SUBJECTS>")]
        subject: Vec<Digested>,
    }
    #[derive(Deserialize)]
    struct Digested {
        digest: Digests,
    }
    #[derive(Deserialize)]
    struct Digests {
        sha384: Option<IgnoredAny>,
        sha512: Option<IgnoredAny>,
    }
    let Ok(Subjects { subject }) = serde_json::from_slice(payload) else { return Vec::new() };
    let has = |find: fn(&Digests) -> bool| subject.iter().any(|it| find(&it.digest));
    let sha384 = has(|it| it.sha384.is_some()).then_some(HashAlgorithm::Sha384);
    let sha512 = has(|it| it.sha512.is_some()).then_some(HashAlgorithm::Sha512);
    sha384.into_iter().chain(sha512).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello() -> Artifact {
        Artifact::read(&b"hello\n"[..], &[HashAlgorithm::Sha512], |_| ()).unwrap()
    }

    #[test]
    fn a_subject_matches_by_digest_never_by_name() {
        let subject = Subject::new("anything", &hello());
        assert!(subject.is(&hello()));
        assert!(!subject.is(&Artifact::read(&b"other"[..], &[], |_| ()).unwrap()));
    }

    #[test]
    fn one_disagreeing_digest_refuses_a_subject() {
        let mut subject = Subject::new("a", &hello());
        subject.digest.insert("sha512".to_owned(), "00".to_owned());
        assert!(!subject.is(&hello()));
    }

    #[test]
    fn the_hash_functions_of_all_subjects_are_found() {
        let mut statement = Statement::new(vec![Subject::new("a", &hello()); 2], "p", Value::Null);
        statement.subject[0].digest.remove("sha512");
        assert_eq!(algorithms(&statement.encode().unwrap()), [HashAlgorithm::Sha512]);
        statement.subject[1].digest = [("sha384".to_owned(), "00".to_owned())].into();
        assert_eq!(algorithms(&statement.encode().unwrap()), [HashAlgorithm::Sha384]);
        assert_eq!(algorithms(b"[]"), []);
    }

    #[test]
    fn only_weak_digests_match_nothing() {
        let subject = Subject { name: String::new(), digest: [("sha1".to_owned(), "00".to_owned())].into() };
        assert!(!subject.is(&hello()));
    }

    #[test]
    fn both_statement_versions_are_read_and_others_are_not() {
        let json = |kind: &str| {
            format!(
                r#"{{"_type":"{kind}","subject":[{{"digest":{{"sha256":"00"}}}}],"predicateType":"p","x":1}}"#
            )
        };
        assert!(Statement::parse(json(STATEMENT_V1).as_bytes()).is_ok());
        assert!(Statement::parse(json(STATEMENT_V0_1).as_bytes()).is_ok());
        assert!(matches!(Statement::parse(json("v2").as_bytes()), Err(StatementError::Type(_))));
    }

    #[test]
    fn too_many_subjects_are_refused() {
        let statement = Statement::new(vec![Subject::new("a", &hello()); MAX_SUBJECTS + 1], "p", "x".into());
        assert_eq!(statement.encode(), Err(StatementError::SubjectCount(MAX_SUBJECTS + 1)));
    }
}
