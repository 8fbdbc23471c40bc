//! Rekor v2's API: one way in, and everything around it.

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE};
use chancery_tests::genuine::compare::refusal;
use chancery_tests::genuine::{
    Answer, Case, Dice, Difference, GenuineRekorTiles, Pair, Request, compare, dice,
};
use chancery_tests::{Instance, Rekor};
use chancery_tlog::key::HashAlgorithm;
use serde_json::{Map, Value, json};

use super::keys::Key;
use super::{authority, members};

const PATH: &str = "/api/v2/log/entries";
const JSON: &str = "application/json";

const DETAILS: &[&str] =
    &["own", "number", "other", "unknown", "unspecified", "absent", "null", "small-letters", "number-text"];
const DIGESTS: &[&str] =
    &["right", "short", "long", "empty", "absent", "null", "of-something-else", "other-hash", "text"];
const SIGNATURES: &[&str] =
    &["good", "p1363", "of-something-else", "trailing", "cut", "empty", "absent", "null", "zeros", "number"];
const VERIFIERS: &[&str] =
    &["key", "certificate", "both", "none", "absent", "pem", "empty-key", "garbage", "trailing", "swapped"];
const ENCODINGS: &[&str] = &["standard", "url", "unpadded", "spaced"];
const NAMES: &[&str] = &["camel", "snake", "extra-outside", "extra-inside", "extra-deep", "doubled"];
const MEDIA: &[&str] =
    &["application/json", "text/plain", "application/json;charset=utf-8", "application/x-protobuf", ""];

/// Which choice each part takes: key, details, digest, signature, verifier, encoding, names, media type.
type Entry = [usize; 8];

fn counts(keys: usize) -> Entry {
    [
        keys,
        DETAILS.len(),
        DIGESTS.len(),
        SIGNATURES.len(),
        VERIFIERS.len(),
        ENCODINGS.len(),
        NAMES.len(),
        MEDIA.len(),
    ]
}

/// Makes requests, each over an artifact that no other has.
struct Maker {
    keys: Vec<Key>,
    serial: u64,
}

impl Maker {
    fn entry(&mut self, at: Entry) -> Result<Case> {
        self.serial += 1;
        let key = &self.keys[at[0]];
        let artifact = format!("artifact {} of {}", self.serial, dice::seed()).into_bytes();
        let encode = |bytes: &[u8]| encoded(ENCODINGS[at[5]], bytes);
        let mut verifier =
            verifier(key, &self.keys[(at[0] + 1) % self.keys.len()], VERIFIERS[at[4]], &encode);
        if let Some(verifier) = verifier.as_object_mut() {
            insert(verifier, "keyDetails", details(key, DETAILS[at[1]]));
        }
        let mut signature = Map::new();
        insert(
            &mut signature,
            "content",
            Self::signature(key, SIGNATURES[at[3]], &artifact)?.map(|made| match made {
                Made::Bytes(bytes) => json!(encode(&bytes)),
                Made::Value(value) => value,
            }),
        );
        insert(&mut signature, "verifier", Some(verifier).filter(|_| VERIFIERS[at[4]] != "absent"));
        let mut request = Map::new();
        insert(&mut request, "digest", digest(key, DIGESTS[at[2]], &artifact, &encode));
        insert(&mut request, "signature", Some(Value::Object(signature)));
        let body = named(NAMES[at[6]], request);
        let what = format!(
            "entry {} details={} digest={} signature={} verifier={} encoding={} names={} media={}",
            key.name,
            DETAILS[at[1]],
            DIGESTS[at[2]],
            SIGNATURES[at[3]],
            VERIFIERS[at[4]],
            ENCODINGS[at[5]],
            NAMES[at[6]],
            MEDIA[at[7]],
        );
        Ok(Case { what, request: Request::post(PATH, MEDIA[at[7]], body.into_bytes()) })
    }

    fn signature(key: &Key, kind: &str, artifact: &[u8]) -> Result<Option<Made>> {
        let mut good = key.sign(artifact)?;
        Ok(Some(match kind {
            "p1363" => Made::Bytes(key.sign_fixed(artifact)?.unwrap_or(good)),
            "of-something-else" => Made::Bytes(key.sign(b"something else")?),
            "trailing" => {
                good.push(0);
                Made::Bytes(good)
            }
            "cut" => {
                good.pop();
                Made::Bytes(good)
            }
            "empty" => Made::Bytes(Vec::new()),
            "zeros" => Made::Bytes(vec![0; 64]),
            "null" => Made::Value(Value::Null),
            "number" => Made::Value(json!(7)),
            "absent" => return Ok(None),
            _ => Made::Bytes(good),
        }))
    }

    /// Every part in each of its ways, the others as usual, with every key; then as the dice fall.
    fn entries(&mut self) -> Result<Vec<Case>> {
        let counts = counts(self.keys.len());
        let mut cases = Vec::new();
        for key in 0..self.keys.len() {
            for (part, count) in counts.iter().enumerate().skip(1) {
                for choice in usize::from(part > 1)..*count {
                    let mut at = [0; 8];
                    (at[0], at[part]) = (key, choice);
                    // What does not depend on the key is tried with one.
                    if key == 0 || part < 5 {
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
}

/// A member of a request: octets that are still to be encoded, or anything.
enum Made {
    Bytes(Vec<u8>),
    Value(Value),
}

fn insert(object: &mut Map<String, Value>, name: &str, value: Option<Value>) {
    if let Some(value) = value {
        object.insert(name.to_owned(), value);
    }
}

fn encoded(encoding: &str, bytes: &[u8]) -> String {
    match encoding {
        "url" => URL_SAFE.encode(bytes),
        "unpadded" => STANDARD_NO_PAD.encode(bytes),
        "spaced" => format!(" {}\n", STANDARD.encode(bytes)),
        _ => STANDARD.encode(bytes),
    }
}

fn digest(key: &Key, kind: &str, artifact: &[u8], encode: &impl Fn(&[u8]) -> String) -> Option<Value> {
    let mut right = key.hash().digest(artifact);
    Some(match kind {
        "short" => {
            right.pop();
            json!(encode(&right))
        }
        "long" => {
            right.push(0);
            json!(encode(&right))
        }
        "empty" => json!(""),
        "null" => Value::Null,
        "of-something-else" => json!(encode(&key.hash().digest(b"something else"))),
        "other-hash" if key.hash() == HashAlgorithm::Sha256 => {
            json!(encode(&HashAlgorithm::Sha512.digest(artifact)))
        }
        "other-hash" => json!(encode(&HashAlgorithm::Sha256.digest(artifact))),
        "text" => json!("not base64!"),
        "absent" => return None,
        _ => json!(encode(&right)),
    })
}

fn details(key: &Key, kind: &str) -> Option<Value> {
    /// protobuf-specs' numbers of the names.
    const NUMBERS: &[(&str, u8)] = &[
        ("PKIX_ECDSA_P256_SHA_256", 5),
        ("PKIX_ED25519", 7),
        ("PKIX_ED25519_PH", 8),
        ("PKIX_RSA_PKCS1V15_2048_SHA256", 9),
        ("PKIX_RSA_PKCS1V15_3072_SHA256", 10),
        ("PKIX_ECDSA_P384_SHA_384", 12),
        ("PKIX_ECDSA_P521_SHA_512", 13),
    ];
    let number = NUMBERS.iter().find(|(name, _)| *name == key.details).map_or(0, |(_, number)| *number);
    Some(match kind {
        "number" => json!(number),
        "number-text" => json!(number.to_string()),
        "other" if key.name == "rsa2048" => json!("PKIX_RSA_PKCS1V15_3072_SHA256"),
        "other" => json!("PKIX_RSA_PKCS1V15_2048_SHA256"),
        "unknown" => json!("PKIX_NOTHING"),
        "unspecified" => json!("PUBLIC_KEY_DETAILS_UNSPECIFIED"),
        "null" => Value::Null,
        "small-letters" => json!(key.details.to_lowercase()),
        "absent" => return None,
        _ => json!(key.details),
    })
}

fn verifier(key: &Key, another: &Key, kind: &str, encode: &impl Fn(&[u8]) -> String) -> Value {
    let public = |bytes: &[u8]| json!({ "publicKey": { "rawBytes": encode(bytes) } });
    let certificate = json!({ "rawBytes": encode(&key.certificate) });
    match kind {
        "certificate" => json!({ "x509Certificate": certificate }),
        "both" => json!({ "publicKey": { "rawBytes": encode(&key.spki) }, "x509Certificate": certificate }),
        "none" => json!({}),
        "pem" => {
            let pem = format!(
                "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
                STANDARD.encode(&key.spki)
            );
            public(pem.as_bytes())
        }
        "empty-key" => public(b""),
        "garbage" => public(b"no key"),
        "trailing" => public(&[&key.spki[..], &[0]].concat()),
        "swapped" => public(&another.spki),
        _ => public(&key.spki),
    }
}

/// The whole request, with member names as they may be written, or with a member that does not belong there.
fn named(kind: &str, mut request: Map<String, Value>) -> String {
    match kind {
        "snake" => {
            let text = json!({ "hashed_record_request_v002": request }).to_string();
            return text
                .replace("publicKey", "public_key")
                .replace("rawBytes", "raw_bytes")
                .replace("keyDetails", "key_details");
        }
        "extra-outside" => return json!({ "hashedRekordRequestV002": request, "more": 1 }).to_string(),
        "extra-inside" => insert(&mut request, "more", Some(json!("x"))),
        "extra-deep" => {
            if let Some(signature) = request.get_mut("signature").and_then(Value::as_object_mut) {
                insert(signature, "more", Some(Value::Null));
            }
        }
        "doubled" => {
            let text = json!({ "hashedRekordRequestV002": request }).to_string();
            return text.replacen("\"digest\":", "\"digest\":\"AAAA\",\"digest\":", 1);
        }
        _ => {}
    }
    json!({ "hashedRekordRequestV002": request }).to_string()
}

/// Everything around the entries.
fn around(maker: &mut Maker) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    let mut push = |what: String, request: Request| cases.push(Case { what, request });
    for (what, body) in [
        ("empty", ""),
        ("object", "{}"),
        ("null", "null"),
        ("list", "[]"),
        ("words", "no"),
        ("null-request", r#"{"hashedRekordRequestV002":null}"#),
        ("empty-request", r#"{"hashedRekordRequestV002":{}}"#),
        ("list-request", r#"{"hashedRekordRequestV002":[]}"#),
        ("v1", r#"{"apiVersion":"0.0.1","kind":"hashedrekord","spec":{}}"#),
        ("two", r"{} {}"),
        ("cut", r#"{"hashedRekordRequestV002":{"#),
    ] {
        push(format!("body {what}"), Request::post(PATH, JSON, body.as_bytes().to_vec()));
    }
    push("body long".to_owned(), Request::post(PATH, JSON, vec![b' '; (4 << 20) + 1]));
    for method in ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        push(format!("method {method}"), Request { method, ..Request::get(PATH) });
        push(format!("method health {method}"), Request { method, ..Request::get("/healthz") });
        push(format!("method nowhere {method}"), Request { method, ..Request::get("/api/v2/nothing") });
    }
    for path in [
        "/api/v2/log/entries/",
        "//api/v2/log/entries",
        "/api/v2//log/entries",
        "/api/v2/log/entries?x=1",
        "/api/v2/log/Entries",
        "/api/v2/log/nothing",
        "/api/v2/",
    ] {
        let good = maker.entry([0; 8])?.request.body;
        push(format!("path post {path}"), Request::post(path, JSON, good));
    }
    for path in [
        "/healthz/",
        "//healthz",
        "/healthz?x=1",
        "/api/v2/log",
        "/api/v2/log/entries/0",
        "/api/v3/log/entries",
    ] {
        push(format!("path get {path}"), Request::get(path));
    }
    // The same entry again, as it was and spelled in another way.
    let mut again = maker.entry([0; 8])?;
    for what in ["first", "second"] {
        again.what = format!("again {what}");
        cases.push(again.clone());
    }
    Ok(cases)
}

/// What must agree about an answer: of an entry its body, its kind, and which members there are.
fn shown(case: &Case, answer: &Answer) -> Result<String> {
    if case.request.method == "HEAD" {
        return Ok(String::new());
    }
    if answer.status != 201 {
        return Ok(refusal(&answer.body));
    }
    let entry: Value = serde_json::from_slice(&answer.body)?;
    let body = STANDARD.decode(entry["canonicalizedBody"].as_str().context("a body")?)?;
    Ok(format!(
        "{} kind={} time={} promise={} {}",
        String::from_utf8(body)?,
        entry["kindVersion"],
        entry["integratedTime"],
        entry["inclusionPromise"],
        members(&entry)
    ))
}

const SLASHES: &str = "doubled and trailing slashes name the same path everywhere";
const METHODS: &str = "the health check is the whole instance's, and 405 says what is wrong";
const NOWHERE: &str =
    "a path that belongs to no API is refused in the words of Rekor v1, whose clients read them";
const HEALTH: &str = "the health check is the whole instance's: one text for all roles";

const DELIBERATE: &[Difference] = &[
    Difference {
        cases: &["entry", "details=other"],
        genuine: "201",
        ours: "400",
        reason: "a leaf that names another algorithm than its key's misleads who verifies by it",
    },
    Difference {
        cases: &["entry", "ed25519"],
        genuine: "500",
        ours: "400",
        reason: "the request is at fault, not the server: pure Ed25519 cannot be verified over a digest",
    },
    Difference { cases: &["health", "GET"], genuine: "type", ours: "type", reason: HEALTH },
    Difference { cases: &["health", "GET"], genuine: "body", ours: "body", reason: HEALTH },
    Difference {
        cases: &["health", "HEAD"],
        genuine: "501",
        ours: "200",
        reason: "HEAD is answered wherever GET is (RFC 9110 §9.3.2)",
    },
    Difference { cases: &["health"], genuine: "501", ours: "405", reason: METHODS },
    Difference { cases: &["path", "/healthz?x=1"], genuine: "type", ours: "type", reason: HEALTH },
    Difference { cases: &["path", "/healthz?x=1"], genuine: "body", ours: "body", reason: HEALTH },
    Difference { cases: &["path"], genuine: "404", ours: "20", reason: SLASHES },
    Difference { cases: &["path"], genuine: "body {\"code\":5", ours: "body {\"code\":404", reason: NOWHERE },
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rekor_v2() -> Result<()> {
    let instance = Instance::start_with(Rekor::V2).await?;
    let genuine = GenuineRekorTiles::start(instance.scratch()).await?;
    let pair = Pair::new(genuine.authority(), authority(instance.server.url())?);
    let mut maker = Maker { keys: Key::all()?, serial: 0 };
    let cases = [maker.entries()?, around(&mut maker)?].concat();
    compare(&pair, &cases, DELIBERATE, shown).await
}
