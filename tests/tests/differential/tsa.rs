//! timestamp-authority's API: DER and JSON requests, media types, methods and paths.

use anyhow::Result;
use chancery_tests::genuine::compare::refusal;
use chancery_tests::genuine::{
    Answer, Case, Dice, Difference, GenuineTsa, Pair, Request, compare, dice, outline,
};
use chancery_tests::{Instance, Rekor};
use serde_json::{Value, json};

use super::authority;

const PATH: &str = "/api/v1/timestamp";
const QUERY: &str = "application/timestamp-query";
const JSON: &str = "application/json";

/// Name, object identifier, digest length.
const HASHES: &[(&str, &[u8], usize)] = &[
    ("sha256", &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1], 32),
    ("sha384", &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 2], 48),
    ("sha512", &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 3], 64),
    ("sha224", &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 4], 28),
    ("sha3-256", &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 8], 32),
    ("sha1", &[0x2b, 0x0e, 3, 2, 0x1a], 20),
    ("md5", &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 2, 5], 16),
    ("unknown-hash", &[0x2a, 3, 4], 32),
];
const PARAMETERS: &[(&str, &[u8])] = &[("null", &[5, 0]), ("absent", &[]), ("odd", &[4, 1, 7])];
const LENGTHS: &[(&str, isize)] = &[("right", 0), ("short", -1), ("long", 1), ("empty", -1000)];
/// 1.3.6.1.4.1.57264.2, which is the one that both know, and another.
const POLICIES: &[(&str, &[u8])] =
    &[("none", &[]), ("own", &[6, 9, 0x2b, 6, 1, 4, 1, 0x83, 0xbf, 0x30, 2]), ("other", &[6, 3, 0x2a, 3, 4])];
const NONCES: &[(&str, &[u8])] = &[
    ("none", &[]),
    ("zero", &[2, 1, 0]),
    ("small", &[2, 1, 42]),
    ("negative", &[2, 1, 0xff]),
    ("64-bit", &[2, 8, 0x7f, 1, 2, 3, 4, 5, 6, 7]),
    ("65-bit", &[2, 9, 1, 1, 2, 3, 4, 5, 6, 7, 8]),
    ("160-bit", &[2, 20, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19]),
    ("padded", &[2, 2, 0, 1]),
];
const CERT_REQ: &[(&str, &[u8])] =
    &[("absent", &[]), ("true", &[1, 1, 0xff]), ("false", &[1, 1, 0]), ("ber", &[1, 1, 1])];
/// One that nobody knows, critical and not.
const EXTENSIONS: &[(&str, &[u8])] = &[
    ("none", &[]),
    ("plain", &[0xa0, 10, 0x30, 8, 6, 3, 0x2a, 3, 4, 4, 1, 0]),
    ("critical", &[0xa0, 13, 0x30, 11, 6, 3, 0x2a, 3, 4, 1, 1, 0xff, 4, 1, 0]),
];
const VERSIONS: &[(&str, &[u8])] =
    &[("1", &[2, 1, 1]), ("0", &[2, 1, 0]), ("2", &[2, 1, 2]), ("3", &[2, 1, 3])];
const FRAMES: &[&str] = &["whole", "cut", "trailing", "empty", "doubled"];

/// How many choices each member of [`Query`] has, in its order.
const CHOICES: [usize; 9] = [
    HASHES.len(),
    PARAMETERS.len(),
    LENGTHS.len(),
    POLICIES.len(),
    NONCES.len(),
    CERT_REQ.len(),
    EXTENSIONS.len(),
    VERSIONS.len(),
    FRAMES.len(),
];

/// A TimeStampReq: which of the choices above each of its parts takes.
type Query = [usize; 9];

fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).unwrap_or(u8::MAX);
    let head = if length < 0x80 { vec![tag, length] } else { vec![tag, 0x81, length] };
    [head, content.to_vec()].concat()
}

fn query(at: Query, digest: &[u8]) -> Case {
    let (hash, oid, length) = HASHES[at[0]];
    let length = length.saturating_add_signed(LENGTHS[at[2]].1);
    let algorithm = der(0x30, &[der(6, oid), PARAMETERS[at[1]].1.to_vec()].concat());
    let imprint = der(0x30, &[algorithm, der(4, &digest[..length])].concat());
    let parts = [
        VERSIONS[at[7]].1,
        &imprint,
        POLICIES[at[3]].1,
        NONCES[at[4]].1,
        CERT_REQ[at[5]].1,
        EXTENSIONS[at[6]].1,
    ];
    let mut body = der(0x30, &parts.concat());
    match FRAMES[at[8]] {
        "cut" => drop(body.pop()),
        "trailing" => body.push(0),
        "empty" => body.clear(),
        "doubled" => body = [&body[..], &body].concat(),
        _ => {}
    }
    let what = format!(
        "der {hash} parameters={} length={} policy={} nonce={} certReq={} extensions={} version={} {}",
        PARAMETERS[at[1]].0,
        LENGTHS[at[2]].0,
        POLICIES[at[3]].0,
        NONCES[at[4]].0,
        CERT_REQ[at[5]].0,
        EXTENSIONS[at[6]].0,
        VERSIONS[at[7]].0,
        FRAMES[at[8]],
    );
    Case { what, request: Request::post(PATH, QUERY, body) }
}

/// A member's name, and its values by their names; none for an absent member.
type Member = (&'static str, Vec<(&'static str, Option<Value>)>);

/// Requests in JSON: what each member may be, by name.
fn json_members() -> [Member; 5] {
    let digest = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
    [
        (
            "artifactHash",
            vec![
                ("right", Some(json!(digest))),
                ("absent", None),
                ("null", Some(Value::Null)),
                ("empty", Some(json!(""))),
                ("short", Some(json!("47DEQpj8HBSa"))),
                ("url", Some(json!(digest.replace('+', "-").replace('/', "_")))),
                ("unpadded", Some(json!(digest.trim_end_matches('=')))),
                ("hex", Some(json!("00".repeat(32)))),
                ("number", Some(json!(7))),
            ],
        ),
        (
            "hashAlgorithm",
            vec![
                ("sha256", Some(json!("sha256"))),
                ("absent", None),
                ("sha512", Some(json!("sha512"))),
                ("capitals", Some(json!("SHA256"))),
                ("sha1", Some(json!("sha1"))),
                ("number", Some(json!(5))),
            ],
        ),
        (
            "nonce",
            vec![
                ("absent", None),
                ("number", Some(json!(42))),
                ("zero", Some(json!(0))),
                ("negative", Some(json!(-1))),
                ("64-bit", Some(json!(9_223_372_036_854_775_807_u64))),
                ("unsigned", Some(json!(u64::MAX))),
                ("text", Some(json!("42"))),
                ("fraction", Some(json!(1.5))),
                ("null", Some(Value::Null)),
            ],
        ),
        (
            "certificates",
            vec![
                ("absent", None),
                ("true", Some(json!(true))),
                ("false", Some(json!(false))),
                ("text", Some(json!("true"))),
                ("null", Some(Value::Null)),
            ],
        ),
        (
            "tsaPolicyOID",
            vec![
                ("absent", None),
                ("own", Some(json!("1.3.6.1.4.1.57264.2"))),
                ("other", Some(json!("1.2.3"))),
                ("empty", Some(json!(""))),
                ("words", Some(json!("a policy"))),
                ("negative", Some(json!("1.-2.3"))),
                ("first-arc", Some(json!("9.2.3"))),
            ],
        ),
    ]
}

fn json_case(at: [usize; 5]) -> Case {
    let (mut object, mut what) = (serde_json::Map::new(), "json".to_owned());
    for ((name, choices), at) in json_members().iter().zip(at) {
        let (choice, value) = &choices[at];
        what = format!("{what} {name}={choice}");
        if let Some(value) = value {
            object.insert((*name).to_owned(), value.clone());
        }
    }
    Case { what, request: Request::post(PATH, JSON, Value::Object(object).to_string().into_bytes()) }
}

/// All parts but one as usual, that one in each of its ways; then as the dice fall, mostly usual.
fn queries() -> Vec<Case> {
    let mut cases = Vec::new();
    for (part, count) in CHOICES.iter().enumerate() {
        for choice in usize::from(part > 0)..*count {
            let mut at = Query::default();
            at[part] = choice;
            cases.push(query(at, &[7; 80]));
        }
    }
    for number in 0..dice::requests() {
        let mut dice = Dice::new(dice::seed(), number);
        let at = CHOICES.map(|count| if dice.once_in(3) { dice.below(count) } else { 0 });
        cases.push(query(at, &dice.bytes(80)));
    }
    let counts = json_members().map(|(_, choices)| choices.len());
    for (part, count) in counts.iter().enumerate() {
        for choice in usize::from(part > 0)..*count {
            let mut at = [0; 5];
            at[part] = choice;
            cases.push(json_case(at));
        }
    }
    for number in 0..dice::requests() {
        let mut dice = Dice::new(dice::seed() + 1, number);
        cases.push(json_case(counts.map(|count| if dice.once_in(3) { dice.below(count) } else { 0 })));
    }
    cases
}

/// A good request by other ways: media types, methods, paths, and bodies that are no request.
fn around() -> Vec<Case> {
    let good = query(Query::default(), &[7; 80]).request.body;
    let mut cases = Vec::new();
    let mut push = |what: String, request: Request| cases.push(Case { what, request });
    for media_type in [
        "application/timestamp-query; charset=utf-8",
        "Application/Timestamp-Query",
        " application/timestamp-query",
        "application/octet-stream",
        "application/timestamp-reply",
        "text/plain",
        "application",
        "application/",
        "",
    ] {
        let word = media_type.replace(' ', "_");
        push(format!("media-type type={word}"), Request::post(PATH, media_type, good.clone()));
    }
    push(
        "media-type missing".to_owned(),
        Request { headers: Vec::new(), ..Request::post(PATH, QUERY, good.clone()) },
    );
    for method in ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        push(format!("method {method}"), Request { method, ..Request::get(PATH) });
        push(
            format!("method certchain {method}"),
            Request { method, ..Request::get("/api/v1/timestamp/certchain") },
        );
        push(format!("method ping {method}"), Request { method, ..Request::get("/ping") });
    }
    for path in [
        "/api/v1/timestamp/",
        "//api/v1/timestamp",
        "/api//v1/timestamp",
        "/api/v1/timestamp//",
        "/api/v1/timestamp?x=1",
        "/api/v1/nothing",
        "/api/v1/Timestamp",
        "/api/v1/timestamp/certchain",
    ] {
        push(format!("path post {path}"), Request::post(path, QUERY, good.clone()));
    }
    for path in [
        "/api/v1/timestamp/certchain/",
        "//api/v1/timestamp/certchain",
        "/api/v1//timestamp/certchain",
        "/api/v1/timestamp/certchain?x=1",
        "/nothing",
    ] {
        push(format!("path get {path}"), Request::get(path));
    }
    for (what, body) in
        [("empty", &b""[..]), ("null", b"null"), ("list", b"[]"), ("words", b"no"), ("nested", b"{\"a\":{}}")]
    {
        push(format!("json-body {what}"), Request::post(PATH, JSON, body.to_vec()));
    }
    push("json-body long".to_owned(), Request::post(PATH, JSON, vec![b' '; 4096]));
    push("der-body long".to_owned(), Request::post(PATH, QUERY, vec![b'x'; 2 << 20]));
    cases
}

/// What must agree about an answer.
fn shown(case: &Case, answer: &Answer) -> Result<String> {
    match answer.status {
        200 if answer.media_type == "application/timestamp-reply" => outline::timestamp(&answer.body),
        200 if case.request.method == "HEAD" || case.what.contains("ping") => Ok("(free)".to_owned()),
        200 => Ok(format!("{:.27}", String::from_utf8_lossy(&answer.body))),
        _ => Ok(refusal(&answer.body)),
    }
}

const DELIBERATE: &[Difference] = &[
    Difference {
        cases: &[],
        genuine: "type application/timestamp-reply",
        ours: "type application/json",
        reason: "the body of a refusal is JSON, and is labelled so",
    },
    Difference {
        cases: &["der", "parameters=absent"],
        genuine: "body",
        ours: "body",
        reason: "the imprint is the one that was sent, octet by octet (RFC 3161 §2.4.2)",
    },
    Difference {
        cases: &["der", "parameters=odd"],
        genuine: "200",
        ours: "400",
        reason: "a hash of the SHA-2 family has no parameters, or NULL (RFC 5754 §2)",
    },
    Difference {
        cases: &["der", "version=0"],
        genuine: "200",
        ours: "400",
        reason: "there is version 1 alone (RFC 3161 §2.4.1)",
    },
    Difference { cases: &["der", "version=2"], genuine: "200", ours: "400", reason: "see version=0" },
    Difference { cases: &["der", "version=3"], genuine: "200", ours: "400", reason: "see version=0" },
    Difference {
        cases: &["media-type", "type=application/timestamp-query;_charset=utf-8"],
        genuine: "400",
        ours: "200",
        reason: "a media type may have parameters",
    },
    Difference {
        cases: &["media-type", "type=Application/Timestamp-Query"],
        genuine: "415",
        ours: "200",
        reason: "media types are the same in capitals (RFC 9110 §8.3.1)",
    },
    Difference {
        cases: &["method", "ping"],
        genuine: "200",
        ours: "404",
        reason: "a probe of the genuine server alone; ours are /healthz and /readyz",
    },
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn timestamp_authority() -> Result<()> {
    let instance = Instance::start_with(Rekor::V2).await?;
    let genuine = GenuineTsa::start(instance.scratch()).await?;
    let pair = Pair::new(genuine.authority(), authority(instance.server.url())?);
    compare(&pair, &[queries(), around()].concat(), DELIBERATE, shown).await
}
