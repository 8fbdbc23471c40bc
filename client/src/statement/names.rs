//! The names of members in statements and in the predicates that this program reads.
//!
//! A name in another case or with underscores is the member itself for some readers and unknown to others
//! ([`is_lookalike`]), so a document with one has two contents under one signature. Objects whose names are the
//! signer's own (digests, environments, annotations, parameters) may have any.

use chancery_tlog::protojson::is_lookalike;
use serde_json::{Map, Value};

use super::StatementError;
use crate::slsa::{GITHUB_WORKFLOW, PROVENANCE_V0_2, PROVENANCE_V1};

/// The shape of a value, as far as its names are known.
enum Shape {
    /// Not looked into.
    Any,
    /// An object with these members, and others that nobody knows.
    Object(&'static [(&'static str, Shape)]),
    /// A list of such objects.
    List(&'static [(&'static str, Shape)]),
}

use Shape::{Any, List, Object};

/// A resource descriptor, which is also a subject (v0.1: name and digest) and a material of provenance 0.2.
const DESCRIPTOR: &[(&str, Shape)] = &[
    ("uri", Any),
    ("digest", Any),
    ("name", Any),
    ("downloadLocation", Any),
    ("mediaType", Any),
    ("content", Any),
    ("annotations", Any),
];

const STATEMENT: &[(&str, Shape)] =
    &[("_type", Any), ("subject", List(DESCRIPTOR)), ("predicateType", Any), ("predicate", Any)];

const V1: &[(&str, Shape)] = &[
    (
        "buildDefinition",
        Object(&[
            ("buildType", Any),
            ("externalParameters", Any),
            ("internalParameters", Any),
            ("resolvedDependencies", List(DESCRIPTOR)),
        ]),
    ),
    (
        "runDetails",
        Object(&[
            ("builder", Object(&[("id", Any), ("version", Any), ("builderDependencies", List(DESCRIPTOR))])),
            (
                "metadata",
                // The library for Go writes the second.
                Object(&[
                    ("invocationId", Any),
                    ("invocationID", Any),
                    ("startedOn", Any),
                    ("finishedOn", Any),
                ]),
            ),
            ("byproducts", List(DESCRIPTOR)),
        ]),
    ),
];

const V0_2: &[(&str, Shape)] = &[
    ("builder", Object(&[("id", Any)])),
    ("buildType", Any),
    (
        "invocation",
        Object(&[
            ("configSource", Object(&[("uri", Any), ("digest", Any), ("entryPoint", Any)])),
            ("parameters", Any),
            ("environment", Any),
        ]),
    ),
    ("buildConfig", Any),
    (
        "metadata",
        Object(&[
            ("buildInvocationId", Any),
            ("buildInvocationID", Any),
            ("buildStartedOn", Any),
            ("buildFinishedOn", Any),
            ("completeness", Any),
            ("reproducible", Any),
        ]),
    ),
    ("materials", List(DESCRIPTOR)),
];

/// What GitHub's build type defines of the parameters, and reads its facts from.
const WORKFLOW: &[(&str, Shape)] = &[(
    "buildDefinition",
    Object(&[
        (
            "externalParameters",
            Object(&[("workflow", Object(&[("ref", Any), ("repository", Any), ("path", Any)]))]),
        ),
        (
            "internalParameters",
            Object(&[(
                "github",
                Object(&[
                    ("event_name", Any),
                    ("repository_id", Any),
                    ("repository_owner_id", Any),
                    ("runner_environment", Any),
                ]),
            )]),
        ),
    ]),
)];

/// Checks a statement without its predicate.
pub(super) fn check_statement(statement: &Map<String, Value>) -> Result<(), StatementError> {
    check_members(statement, STATEMENT)
}

/// Checks a predicate, if its type is one of those that are read.
pub(super) fn check_predicate(predicate_type: &str, predicate: &Value) -> Result<(), StatementError> {
    match predicate_type {
        PROVENANCE_V1 => {
            check(predicate, V1)?;
            let build_type = predicate.pointer("/buildDefinition/buildType").and_then(Value::as_str);
            if build_type == Some(GITHUB_WORKFLOW) { check(predicate, WORKFLOW) } else { Ok(()) }
        }
        PROVENANCE_V0_2 => check(predicate, V0_2),
        _ => Ok(()),
    }
}

fn check(value: &Value, known: &[(&str, Shape)]) -> Result<(), StatementError> {
    match value {
        Value::Object(members) => check_members(members, known),
        Value::Array(_) => Err(StatementError::Json("an array stands where an object belongs".to_owned())),
        // Whoever needs it misses it.
        _ => Ok(()),
    }
}

fn check_members(members: &Map<String, Value>, known: &[(&str, Shape)]) -> Result<(), StatementError> {
    for (name, value) in members {
        match known.iter().find(|(known, _)| known == name) {
            Some((_, Any)) => {}
            Some((_, Object(inner))) => check(value, inner)?,
            Some((_, List(inner))) => {
                value.as_array().into_iter().flatten().try_for_each(|item| check(item, inner))?;
            }
            None => {
                if let Some((known, _)) = known.iter().find(|(known, _)| is_lookalike(name, known)) {
                    let found = name.chars().take(100).collect();
                    return Err(StatementError::Lookalike { found, known: (*known).to_owned() });
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::Statement;
    use super::*;

    /// Documents that have every known member once.
    fn documents() -> Vec<Value> {
        let statement = |kind: &str, predicate: Value| {
            json!({
                "_type": "https://in-toto.io/Statement/v1",
                "subject": [whole(DESCRIPTOR)],
                "predicateType": kind,
                "predicate": predicate,
            })
        };
        let mut github = whole(V1);
        let definition = &mut github["buildDefinition"];
        for (name, value) in whole(WORKFLOW)["buildDefinition"].as_object().unwrap() {
            definition[name] = value.clone();
        }
        definition["buildType"] = json!(GITHUB_WORKFLOW);
        vec![
            statement(PROVENANCE_V1, github),
            statement(PROVENANCE_V1, whole(V1)),
            statement(PROVENANCE_V0_2, whole(V0_2)),
        ]
    }

    fn whole(shape: &[(&str, Shape)]) -> Value {
        let value = |shape: &Shape| match shape {
            Any => json!({"sha256": "00"}),
            Object(inner) => whole(inner),
            List(inner) => json!([whole(inner)]),
        };
        shape
            .iter()
            .map(|(name, shape)| {
                ((*name).to_owned(), if *name == "name" { json!("a") } else { value(shape) })
            })
            .collect()
    }

    /// The known names of a document with the objects that hold them.
    fn places(value: &Value, path: &str, found: &mut Vec<(String, String)>) {
        match value {
            Value::Object(members) => {
                for (name, value) in members {
                    // Inside of free maps.
                    if name == "sha256" {
                        continue;
                    }
                    found.push((path.to_owned(), name.clone()));
                    places(value, &format!("{path}/{name}"), found);
                }
            }
            Value::Array(items) => places(&items[0], &format!("{path}/0"), found),
            _ => {}
        }
    }

    fn lookalike(name: &str, choices: u64) -> String {
        let mut choices = (0..).map(|at| choices >> (at % 60) & 3);
        let bent = name.chars().map(|c| match (choices.next(), c) {
            (Some(1), c) => c.to_ascii_uppercase().to_string(),
            (Some(2), c) => format!("_{c}"),
            (Some(3), 'k') => "\u{212a}".to_owned(),
            (Some(3), 's') => "\u{17f}".to_owned(),
            (Some(3), '_') => String::new(),
            (_, c) => c.to_string(),
        });
        bent.collect()
    }

    #[test]
    fn every_known_name_is_read() {
        for document in documents() {
            Statement::parse(document.to_string().as_bytes()).unwrap();
        }
    }

    #[test]
    fn free_maps_may_have_any_names() {
        let mut document = documents().remove(2);
        document["subject"][0]["digest"]["SHA256"] = json!("11");
        document["predicate"]["invocation"]["environment"] = json!({"path": "a", "PATH": "b"});
        document["predicate"]["other"] = json!({"uri": "a", "URI": "b"});
        Statement::parse(document.to_string().as_bytes()).unwrap();
    }

    #[test]
    fn an_array_is_not_an_object() {
        for document in documents() {
            let mut found = Vec::new();
            places(&document, "", &mut found);
            for (path, _) in found.iter().filter(|(path, _)| !path.is_empty()) {
                let mut bent = document.clone();
                let place = bent.pointer_mut(path).unwrap();
                *place = Value::Array(place.as_object().unwrap().values().cloned().collect());
                assert!(Statement::parse(bent.to_string().as_bytes()).is_err(), "{path}");
            }
        }
    }

    proptest! {
        #[test]
        fn a_name_that_looks_like_a_known_one_is_refused_wherever_it_is(
            which in 0_usize..3, at in any::<prop::sample::Index>(), choices: u64, beside: bool
        ) {
            let mut document = documents().remove(which);
            let mut found = Vec::new();
            places(&document, "", &mut found);
            let (path, name) = at.get(&found);
            let other = lookalike(name, choices);
            let object = document.pointer_mut(path).unwrap().as_object_mut().unwrap();
            prop_assume!(!object.contains_key(&other));
            let value = if beside { object[name].clone() } else { object.remove(name).unwrap() };
            object.insert(other.clone(), value);
            prop_assert!(Statement::parse(document.to_string().as_bytes()).is_err(), "{path}/{other}");
        }
    }
}
