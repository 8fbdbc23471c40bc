//! Rekor v1's API: entries of the kinds that both know, reads of them, search, proofs.

mod reads;
mod signers;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chancery_tests::genuine::compare::refusal;
use chancery_tests::genuine::{Answer, Case, Dice, Difference, GenuineRekor, Pair, Request, compare, dice};
use chancery_tests::{Instance, Rekor};
use chancery_tlog::key::HashAlgorithm;
use serde_json::{Map, Value, json};

use self::reads::reads;
use super::keys::Key;
use super::{authority, members};

const PATH: &str = "/api/v1/log/entries";
const JSON: &str = "application/json";
/// Stands for the number of each side's tree.
const TREE: &str = "TREE-ID";

const ALGORITHMS: &[&str] = &["own", "sha1", "sha512", "SHA256", "md5", "absent", "null", "number"];
const VALUES: &[&str] =
    &["right", "capitals", "of-something-else", "short", "prefixed", "empty", "absent", "number"];
const SIGNATURES: &[&str] =
    &["good", "p1363", "of-something-else", "trailing", "cut", "empty", "absent", "zeros", "text", "number"];
const VERIFIERS: &[&str] =
    &["key", "certificate", "der", "two", "text-before", "garbage", "empty", "absent", "swapped", "null"];
const VERSIONS: &[&str] = &["0.0.1", "0.0.2", "0.0.1-a", "1", "0.1", "absent", "number"];
const KINDS: &[&str] = &["hashedrekord", "HashedRekord", "rekord", "nothing", "absent", "number"];
const FORMS: &[&str] =
    &["usual", "extra", "extra-spec", "extra-hash", "no-spec", "null-spec", "list-spec", "doubled", "url"];
const MEDIA: &[&str] = &["application/json", "application/json;q=1", "text/plain", "application/yaml", ""];

/// Which choice each part takes: key, hash algorithm, hash value, signature, verifier, version, kind, form, media type.
type Entry = [usize; 9];

fn counts(keys: usize) -> Entry {
    [
        keys,
        ALGORITHMS.len(),
        VALUES.len(),
        SIGNATURES.len(),
        VERIFIERS.len(),
        VERSIONS.len(),
        KINDS.len(),
        FORMS.len(),
        MEDIA.len(),
    ]
}

/// Makes entries, each over an artifact that no other has.
struct Maker {
    keys: Vec<Key>,
    serial: u64,
}

fn insert(object: &mut Map<String, Value>, name: &str, value: Option<Value>) {
    if let Some(value) = value {
        object.insert(name.to_owned(), value);
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    let base64 = STANDARD.encode(der);
    let lines: Vec<&str> =
        base64.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

fn algorithm_name(hash: HashAlgorithm) -> &'static str {
    match hash {
        HashAlgorithm::Sha256 => "sha256",
        HashAlgorithm::Sha384 => "sha384",
        HashAlgorithm::Sha512 => "sha512",
    }
}

impl Maker {
    fn artifact(&mut self) -> Vec<u8> {
        self.serial += 1;
        format!("artifact {} of {}", self.serial, dice::seed()).into_bytes()
    }

    /// A hashedrekord.
    fn entry(&mut self, at: Entry) -> Result<Case> {
        let artifact = self.artifact();
        let key = &self.keys[at[0]];
        let another = &self.keys[(at[0] + 1) % self.keys.len()];
        let mut hash = Map::new();
        insert(&mut hash, "algorithm", algorithm(key, ALGORITHMS[at[1]]));
        insert(&mut hash, "value", hash_value(key, VALUES[at[2]], &artifact));
        let mut signature = Map::new();
        insert(&mut signature, "content", signature_content(key, SIGNATURES[at[3]], &artifact)?);
        insert(
            &mut signature,
            "publicKey",
            verifier(key, another, VERIFIERS[at[4]]).map(|content| json!({ "content": content })),
        );
        let spec = json!({ "data": { "hash": hash }, "signature": signature });
        let mut entry = Map::new();
        insert(&mut entry, "apiVersion", word(VERSIONS[at[5]]));
        insert(&mut entry, "kind", word(KINDS[at[6]]));
        let body = formed(FORMS[at[7]], entry, spec);
        let what = format!(
            "hashedrekord {} algorithm={} value={} signature={} verifier={} version={} kind={} form={} media={}",
            key.name,
            ALGORITHMS[at[1]],
            VALUES[at[2]],
            SIGNATURES[at[3]],
            VERIFIERS[at[4]],
            VERSIONS[at[5]],
            KINDS[at[6]],
            FORMS[at[7]],
            MEDIA[at[8]],
        );
        Ok(Case { what, request: Request::post(PATH, MEDIA[at[8]], body.into_bytes()) })
    }

    fn entries(&mut self) -> Result<Vec<Case>> {
        let counts = counts(self.keys.len());
        let mut cases = Vec::new();
        for key in 0..self.keys.len() {
            for (part, count) in counts.iter().enumerate().skip(1) {
                for choice in usize::from(part > 1)..*count {
                    let mut at = [0; 9];
                    (at[0], at[part]) = (key, choice);
                    if key == 0 || (3..5).contains(&part) {
                        cases.push(self.entry(at)?);
                    }
                }
            }
        }
        for number in 0..dice::requests() {
            let mut dice = Dice::new(dice::seed(), number);
            let mut at = counts.map(|count| if dice.once_in(4) { dice.below(count) } else { 0 });
            at[0] = dice.below(counts[0]);
            cases.push(self.entry(at)?);
        }
        Ok(cases)
    }

    /// DSSE envelopes of one or two signatures, with verifiers that fit or not.
    fn envelopes(&mut self) -> Result<Vec<Case>> {
        let mut cases = Vec::new();
        for key in 0..self.keys.len() {
            for (what, verifiers) in [
                ("fitting", vec![key]),
                ("foreign", vec![key + 1]),
                ("two", vec![key, key + 1]),
                ("none", vec![]),
            ] {
                let artifact = self.artifact();
                let envelope = self.envelope(key, &artifact, "application/vnd.in-toto+json")?;
                cases.push(self.dsse(
                    format!("dsse {} verifiers={what}", self.keys[key].name),
                    &envelope,
                    &verifiers,
                ));
            }
        }
        for (what, change) in [
            ("no-signatures", json!({ "signatures": [] })),
            ("no-payload", json!({ "payload": null })),
            ("empty-payload", json!({ "payload": "" })),
            ("other-type", json!({ "payloadType": "text/plain" })),
            ("no-type", json!({ "payloadType": "" })),
            ("extra", json!({ "more": 1 })),
            ("garbage-signature", json!({ "signatures": [{ "sig": "AAAA" }] })),
        ] {
            let artifact = self.artifact();
            let mut envelope = self.envelope(0, &artifact, "application/vnd.in-toto+json")?;
            if let (Some(envelope), Value::Object(change)) = (envelope.as_object_mut(), change) {
                envelope.extend(change);
            }
            cases.push(self.dsse(format!("dsse envelope={what}"), &envelope, &[0]));
        }
        Ok(cases)
    }

    fn envelope(&self, key: usize, artifact: &[u8], payload_type: &str) -> Result<Value> {
        let digest = hex::encode(HashAlgorithm::Sha256.digest(artifact));
        let statement = json!({
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{ "name": "artifact", "digest": { "sha256": digest } }],
            "predicateType": "https://example.com/tested",
            "predicate": {},
        })
        .to_string();
        let encoded = format!("DSSEv1 {} {payload_type} {} {statement}", payload_type.len(), statement.len());
        let key = &self.keys[key];
        let signature = STANDARD.encode(key.sign(encoded.as_bytes())?);
        Ok(json!({
            "payloadType": payload_type,
            "payload": STANDARD.encode(statement),
            "signatures": [{ "keyid": "", "sig": signature }],
        }))
    }

    fn dsse(&self, what: String, envelope: &Value, verifiers: &[usize]) -> Case {
        let verifiers: Vec<String> = verifiers
            .iter()
            .map(|key| STANDARD.encode(pem("PUBLIC KEY", &self.keys[key % self.keys.len()].spki)))
            .collect();
        let spec = json!({ "proposedContent": { "envelope": envelope.to_string(), "verifiers": verifiers } });
        let entry = json!({ "apiVersion": "0.0.1", "kind": "dsse", "spec": spec });
        Case { what, request: Request::post(PATH, JSON, entry.to_string().into_bytes()) }
    }
}

fn word(choice: &str) -> Option<Value> {
    match choice {
        "absent" => None,
        "number" => Some(json!(1)),
        word => Some(json!(word)),
    }
}

fn algorithm(key: &Key, choice: &str) -> Option<Value> {
    match choice {
        "own" => Some(json!(algorithm_name(key.hash()))),
        "null" => Some(Value::Null),
        other => word(other),
    }
}

fn hash_value(key: &Key, choice: &str, artifact: &[u8]) -> Option<Value> {
    let right = hex::encode(key.hash().digest(artifact));
    Some(match choice {
        "capitals" => json!(right.to_uppercase()),
        "of-something-else" => json!(hex::encode(key.hash().digest(b"something else"))),
        "short" => json!(&right[2..]),
        "prefixed" => json!(format!("{}:{right}", algorithm_name(key.hash()))),
        "empty" => json!(""),
        "number" => json!(7),
        "absent" => return None,
        _ => json!(right),
    })
}

fn signature_content(key: &Key, choice: &str, artifact: &[u8]) -> Result<Option<Value>> {
    let mut good = key.sign(artifact)?;
    let bytes = match choice {
        "p1363" => key.sign_fixed(artifact)?.unwrap_or(good),
        "of-something-else" => key.sign(b"something else")?,
        "trailing" => [good, vec![0]].concat(),
        "cut" => {
            good.pop();
            good
        }
        "empty" => Vec::new(),
        "zeros" => vec![0; 64],
        "text" => return Ok(Some(json!("not base64!"))),
        "number" => return Ok(Some(json!(7))),
        "absent" => return Ok(None),
        _ => good,
    };
    Ok(Some(json!(STANDARD.encode(bytes))))
}

fn verifier(key: &Key, another: &Key, choice: &str) -> Option<Value> {
    let public = pem("PUBLIC KEY", &key.spki);
    Some(match choice {
        "certificate" => json!(STANDARD.encode(pem("CERTIFICATE", &key.certificate))),
        "der" => json!(STANDARD.encode(&key.spki)),
        "two" => json!(STANDARD.encode(public + &pem("PUBLIC KEY", &another.spki))),
        "text-before" => json!(STANDARD.encode(format!("a key\n{public}"))),
        "garbage" => json!(STANDARD.encode("no key")),
        "empty" => json!(""),
        "swapped" => json!(STANDARD.encode(pem("PUBLIC KEY", &another.spki))),
        "null" => Value::Null,
        "absent" => return None,
        _ => json!(STANDARD.encode(public)),
    })
}

/// The whole entry, as it may be written.
fn formed(form: &str, mut entry: Map<String, Value>, mut spec: Value) -> String {
    match form {
        "extra" => insert(&mut entry, "more", Some(json!(1))),
        "extra-spec" => spec["more"] = json!(1),
        "extra-hash" => spec["data"]["hash"]["more"] = json!(1),
        "null-spec" => spec = Value::Null,
        "list-spec" => spec = json!([]),
        "url" => spec["data"]["url"] = json!("http://127.0.0.1:9/artifact"),
        _ => {}
    }
    insert(&mut entry, "spec", Some(spec).filter(|_| form != "no-spec"));
    let text = Value::Object(entry).to_string();
    if form == "doubled" { text.replacen("\"data\":", "\"data\":{},\"data\":", 1) } else { text }
}

/// Everything around the entries.
fn around(maker: &mut Maker) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for (what, body) in [
        ("empty", ""),
        ("object", "{}"),
        ("null", "null"),
        ("list", "[]"),
        ("words", "no"),
        ("cut", "{\"kind\":"),
    ] {
        cases.push(Case {
            what: format!("body {what}"),
            request: Request::post(PATH, JSON, body.as_bytes().to_vec()),
        });
    }
    for path in [
        "/api/v1/log/entries/",
        "//api/v1/log/entries",
        "/api/v1//log/entries",
        "/api/v1/log/entries?x=1",
        "/api/v1/Log/entries",
    ] {
        let good = maker.entry([0; 9])?.request.body;
        cases.push(Case { what: format!("path post {path}"), request: Request::post(path, JSON, good) });
    }
    let mut again = maker.entry([0; 9])?;
    for what in ["first", "second"] {
        again.what = format!("again {what}");
        cases.push(again.clone());
    }
    Ok(cases)
}

/// What must agree: of an entry its id without the tree, its body, and which members there are; of a log the members.
fn shown(case: &Case, answer: &Answer) -> Result<String> {
    if case.request.method == "HEAD" {
        return Ok(String::new());
    }
    if !matches!(answer.status, 200 | 201) {
        return Ok(refusal(&answer.body));
    }
    let Ok(value) = serde_json::from_slice::<Value>(&answer.body) else {
        return Ok(format!("{:.27}", String::from_utf8_lossy(&answer.body)));
    };
    if case.what.starts_with("search") {
        let ids = value.as_array().context("a list of ids")?;
        let mut leaves: Vec<&str> = ids.iter().filter_map(Value::as_str).map(leaf).collect();
        leaves.sort_unstable();
        return Ok(leaves.join(" "));
    }
    let shown: Result<Vec<String>> = match &value {
        Value::Array(entries) => entries.iter().map(entry).collect(),
        value
            if value
                .as_object()
                .is_some_and(|object| object.values().all(|entry| entry["body"].is_string())) =>
        {
            Ok(vec![entry(value)?])
        }
        other => Ok(vec![members(other)]),
    };
    Ok(shown?.join(" "))
}

fn leaf(id: &str) -> &str {
    id.get(id.len().saturating_sub(64)..).unwrap_or(id)
}

fn entry(value: &Value) -> Result<String> {
    let mut shown = Vec::new();
    for (id, entry) in value.as_object().context("an entry is an object")? {
        let body = STANDARD.decode(entry["body"].as_str().context("a body")?)?;
        shown.push(format!("{} {} {}", leaf(id), String::from_utf8(body)?, members(entry)));
    }
    Ok(shown.join(" "))
}

const FAULT: &str = "the request is at fault, not the server";

const DELIBERATE: &[Difference] = &[
    Difference {
        cases: &["method", "/ping"],
        genuine: "404",
        ours: "405",
        reason: "the path exists, the method does not (RFC 9110 §15.5.6)",
    },
    Difference {
        cases: &["hashedrekord|dsse", "version=number|kind=number"],
        genuine: "500",
        ours: "400",
        reason: FAULT,
    },
    Difference { cases: &["body", "list|words|cut"], genuine: "500", ours: "400", reason: FAULT },
    Difference {
        cases: &["dsse", "eleven-keys"],
        genuine: "201",
        ours: "400",
        reason: "an entry has at most ten keys, because each of them may be tried with each signature",
    },
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Trillian and PostgreSQL: tests/peers rekor-v1, and tests/long runs it"]
async fn rekor_v1() -> Result<()> {
    let instance = Instance::start_with(Rekor::V1).await?;
    let genuine = GenuineRekor::start(instance.scratch()).await?;
    let mut pair = Pair::new(genuine.authority(), authority(instance.server.url())?);
    let mut maker = Maker { keys: Key::all()?, serial: 0 };
    // Ours was born with an entry, by a key and of a digest of its own: one more in the genuine one, and the indexes are the same.
    let first = Maker { keys: Key::all()?, serial: 1 << 32 }.entry([0; 9])?;
    let born = chancery_tests::genuine::wire::send(&pair.genuine, &first.request).await?;
    ensure!(born.status == 201, "the genuine Rekor takes no entry");
    let (mut ids, mut entries, mut tree) = (Vec::new(), Vec::new(), [String::new(), String::new()]);
    for _ in 0..5 {
        let case = maker.entry([0; 9])?;
        let (theirs, ours) = pair.ask(&case.request).await?;
        entries.push(serde_json::from_slice(&case.request.body)?);
        for (at, answer) in [&theirs, &ours].into_iter().enumerate() {
            let added: Value = serde_json::from_slice(&answer.body)?;
            let id = added.as_object().and_then(|added| added.keys().next()).context("an id")?;
            id.get(..16).context("a tree")?.clone_into(&mut tree[at]);
            if at == 0 {
                ids.push(leaf(id).to_owned());
            }
        }
    }
    // The genuine one writes its index after it has answered.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let [theirs, ours] = tree;
    pair.words = vec![(TREE, theirs, ours)];
    let (reads, envelopes) = (reads(&ids, &entries[0]), [maker.envelopes()?, maker.several()?].concat());
    let cases = [reads, maker.entries()?, maker.chains()?, envelopes, around(&mut maker)?].concat();
    compare(&pair, &cases, DELIBERATE, shown).await
}
