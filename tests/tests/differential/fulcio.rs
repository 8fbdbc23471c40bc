//! Fulcio's API with a CT log: tokens of every kind of issuer with claims of every shape, keys and proofs, both
//! versions.

mod claims;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chancery_tests::genuine::compare::refusal;
use chancery_tests::genuine::{
    Answer, Case, Dice, Difference, GenuineFulcio, Pair, Request, compare, dice, outline,
};
use chancery_tests::{DevIssuer, IdToken, Rekor, Server, issuers_yaml};
use chancery_tlog::clock::{Clock as _, SystemClock};
use serde_json::{Value, json};
use tempfile::TempDir;

use self::claims::{KINDS, general, shapes};
use super::keys::Key;
use super::{authority, members};

const V1: &str = "/api/v1/signingCert";
const V2: &str = "/api/v2/signingCert";
const JSON: &str = "application/json";
/// Authority key identifier and embedded SCTs, which name each side's own keys.
const OWN: &[&str] = &["551d23", "2b06010401d679020402"];

/// What makes requests: issuers of all kinds, and keys.
struct Maker {
    issuers: Vec<DevIssuer>,
    keys: Vec<Key>,
}

impl Maker {
    async fn token(&self, kind: usize, overrides: &Value) -> Result<IdToken> {
        let mut claims = (KINDS[kind].claims)();
        if let (Some(claims), Some(overrides)) = (claims.as_object_mut(), overrides.as_object()) {
            claims.extend(overrides.clone());
        }
        self.issuers[kind].token_with(claims).await
    }

    /// A request for a certificate with a good proof.
    fn certificate(&self, what: String, kind: usize, token: &IdToken, key: usize) -> Result<Case> {
        let body = Self::v2(kind, token, &self.keys[key])?;
        Ok(Case { what, request: Request::post(V2, JSON, body.to_string().into_bytes()) })
    }

    fn v2(kind: usize, token: &IdToken, key: &Key) -> Result<Value> {
        Ok(json!({
            "credentials": { "oidcIdentityToken": token.as_str() },
            "publicKeyRequest": {
                "publicKey": { "algorithm": "ECDSA", "content": pem(&key.spki) },
                "proofOfPossession": STANDARD.encode(key.sign(subject(kind, token).as_bytes())?),
            },
        }))
    }

    /// Every claim of every kind in every shape, and what all kinds have in common.
    async fn tokens(&self, now: u64) -> Result<Vec<Case>> {
        let mut cases = Vec::new();
        for (at, kind) in KINDS.iter().enumerate() {
            let token = self.token(at, &json!({})).await?;
            cases.push(self.certificate(format!("token {} usual", kind.name), at, &token, 0)?);
            for claim in kind.varied {
                for (shape, value) in chosen(claim) {
                    let token = self.token(at, &json!({ *claim: value })).await?;
                    let what = format!("claim {} {claim} {claim}={shape} shape={shape}", kind.name);
                    cases.push(self.certificate(what, at, &token, 0)?);
                }
            }
        }
        for (what, mut claims) in general(now) {
            if claims["iss"] == "slash" {
                claims = json!({ "iss": format!("{}/", self.issuers[0].url()) });
            }
            let token = self.token(0, &claims).await?;
            cases.push(self.certificate(format!("general {what}"), 0, &token, 0)?);
        }
        Ok(cases)
    }

    /// Two claims of one token at once, as the dice fall.
    async fn pairs(&self) -> Result<Vec<Case>> {
        let (mut cases, shapes) = (Vec::new(), shapes());
        for number in 0..dice::requests() {
            let mut dice = Dice::new(dice::seed(), number);
            let at = dice.below(KINDS.len());
            let (mut claims, mut what) = (serde_json::Map::new(), format!("claim {}", KINDS[at].name));
            for _ in 0..2 {
                let (claim, (shape, value)) = (*dice.pick(KINDS[at].varied), dice.pick(&shapes).clone());
                if !claims.contains_key(claim) {
                    claims.insert(claim.to_owned(), value);
                    what = format!("{what} {claim} {claim}={shape} shape={shape}");
                }
            }
            let token = self.token(at, &Value::Object(claims)).await?;
            let key = dice.below(self.keys.len() - 1);
            cases.push(self.certificate(format!("{what} {}", self.keys[key].name), at, &token, key)?);
        }
        Ok(cases)
    }

    /// Keys, proofs, and ways of writing the request.
    async fn requests(&self) -> Result<Vec<Case>> {
        let token = self.token(0, &json!({})).await?;
        let mut cases = Vec::new();
        for key in 0..self.keys.len() {
            let name = self.keys[key].name;
            cases.push(self.certificate(format!("key {name}"), 0, &token, key)?);
            let another = &self.keys[(key + 1) % self.keys.len()];
            let mut wrong = Self::v2(0, &token, &self.keys[key])?;
            wrong["publicKeyRequest"]["publicKey"]["content"] = json!(pem(&another.spki));
            cases.push(post(format!("proof {name} of-another-key"), V2, wrong.to_string()));
        }
        let good = Self::v2(0, &token, &self.keys[0])?;
        let key = &self.keys[0];
        let set = |pointer: &str, value: Value| {
            let mut body = good.clone();
            if let Some(at) = body.pointer_mut(pointer) {
                *at = value;
            }
            body.to_string()
        };
        let proof = "/publicKeyRequest/proofOfPossession";
        let content = "/publicKeyRequest/publicKey/content";
        let fixed = key.sign_fixed(token.claim("sub").as_bytes())?.unwrap_or_default();
        let credential = "/credentials/oidcIdentityToken";
        for (what, body) in [
            ("proof empty", set(proof, json!(""))),
            ("proof null", set(proof, Value::Null)),
            ("proof number", set(proof, json!(7))),
            ("proof text", set(proof, json!("not base64!"))),
            ("proof p1363", set(proof, json!(STANDARD.encode(fixed)))),
            ("proof of-something-else", set(proof, json!(STANDARD.encode(key.sign(b"x")?)))),
            ("content der", set(content, json!(STANDARD.encode(&key.spki)))),
            ("content empty", set(content, json!(""))),
            ("content two", set(content, json!(format!("{0}{0}", pem(&key.spki))))),
            ("content text-before", set(content, json!(format!("a key\n{}", pem(&key.spki))))),
            ("content certificate", set(content, json!(pem_as("CERTIFICATE", &key.certificate)))),
            ("algorithm unknown", set("/publicKeyRequest/publicKey/algorithm", json!("nothing"))),
            ("algorithm number", set("/publicKeyRequest/publicKey/algorithm", json!(2))),
            ("algorithm list", set("/publicKeyRequest/publicKey/algorithm", json!([]))),
            ("request null", set("/publicKeyRequest", Value::Null)),
            ("request list", set("/publicKeyRequest", json!([]))),
            ("credentials null", set("/credentials", Value::Null)),
            ("token empty", set(credential, json!(""))),
            ("token words", set(credential, json!("no token"))),
            ("token newline-after", set(credential, json!(format!("{}\n", token.as_str())))),
            ("token space-before", set(credential, json!(format!(" {}", token.as_str())))),
            ("token cut", set(credential, json!(token.as_str().rsplit_once('.').map(|parts| parts.0)))),
            (
                "token flipped",
                set(credential, json!(format!("{}A", &token.as_str()[..token.as_str().len() - 2]))),
            ),
            ("token none", set(credential, json!(unsigned(&token)))),
            (
                "csr empty",
                set("/publicKeyRequest", json!(null))
                    .replace("\"publicKeyRequest\":null", "\"certificateSigningRequest\":\"\""),
            ),
            (
                "csr text",
                set("/publicKeyRequest", json!(null))
                    .replace("\"publicKeyRequest\":null", "\"certificateSigningRequest\":\"eA==\""),
            ),
            (
                "names snake",
                good.to_string()
                    .replace("oidcIdentityToken", "oidc_identity_token")
                    .replace("publicKeyRequest", "public_key_request"),
            ),
            ("body empty", String::new()),
            ("body object", "{}".to_owned()),
            ("body list", "[]".to_owned()),
            ("body words", "no".to_owned()),
            ("body two", format!("{good} {good}")),
            ("body cut", good.to_string().split_at(100).0.to_owned()),
            ("body extra", good.to_string().replacen('{', "{\"more\":1,", 1)),
            ("body long", " ".repeat((4 << 20) + 1)),
        ] {
            cases.push(post(what.to_owned(), V2, body));
        }
        cases.extend(self.transported(&token, &good)?);
        Ok(cases)
    }

    /// The token in the header, in both versions.
    fn transported(&self, token: &IdToken, good: &Value) -> Result<Vec<Case>> {
        let key = &self.keys[0];
        let v1 = json!({
            "publicKey": { "algorithm": "ecdsa", "content": STANDARD.encode(&key.spki) },
            "signedEmailAddress": STANDARD.encode(key.sign(token.claim("sub").as_bytes())?),
        });
        let mut v2 = good.clone();
        v2.as_object_mut().context("an object")?.remove("credentials");
        let jwt = token.as_str();
        let mut cases = Vec::new();
        for (what, value) in [
            ("usual", Some(format!("Bearer {jwt}"))),
            ("small-letters", Some(format!("bearer {jwt}"))),
            ("two-spaces", Some(format!("Bearer  {jwt}"))),
            ("space-after", Some(format!("Bearer {jwt} "))),
            ("tab", Some(format!("Bearer\t{jwt}"))),
            ("bare", Some(jwt.to_owned())),
            ("basic", Some(format!("Basic {jwt}"))),
            ("empty", Some("Bearer ".to_owned())),
            ("words", Some("Bearer no token".to_owned())),
            ("missing", None),
        ] {
            for (version, path, body) in [("v1", V1, &v1), ("v2", V2, &v2)] {
                let mut case = post(format!("header {version} {what}"), path, body.to_string());
                case.request.headers.extend(value.clone().map(|value| ("Authorization", value)));
                cases.push(case);
            }
        }
        let mut both = post("header v2 and-in-body".to_owned(), V2, good.to_string());
        both.request.headers.push(("Authorization", "Bearer no token".to_owned()));
        cases.push(both);
        for (path, body) in [(V1, &v1), (V2, good)] {
            for path in [
                format!("/{path}"),
                format!("{path}/"),
                path.replace("/api/", "/api//"),
                format!("{path}?x=1"),
            ] {
                let mut case = post(format!("path post {path}"), &path, body.to_string());
                case.request.headers.push(("Authorization", format!("Bearer {jwt}")));
                cases.push(case);
            }
        }
        Ok(cases)
    }
}

/// Every shape in a long run; else those that most often part readers, and two as the dice fall.
fn chosen(claim: &str) -> Vec<(&'static str, Value)> {
    const ALWAYS: &[&str] = &["empty", "removed", "number", "large", "newline"];
    let mut dice = Dice::new(dice::seed(), claim.bytes().map(u64::from).sum());
    let all = shapes();
    let (one, two) = (dice.below(all.len()), dice.below(all.len()));
    let wanted = |(at, (shape, _)): &(usize, (&'static str, Value))| {
        dice::is_long() || ALWAYS.contains(shape) || *at == one || *at == two
    };
    all.into_iter().enumerate().filter(wanted).map(|(_, shape)| shape).collect()
}

fn post(what: String, path: &str, body: String) -> Case {
    Case { what, request: Request::post(path, JSON, body.into_bytes()) }
}

fn pem(spki: &[u8]) -> String {
    pem_as("PUBLIC KEY", spki)
}

fn pem_as(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
}

/// What a proof of possession is over.
fn subject(kind: usize, token: &IdToken) -> &str {
    token.claim(if KINDS[kind].name == "email" { "email" } else { "sub" })
}

/// The same claims without a signature.
fn unsigned(token: &IdToken) -> String {
    let payload = token.as_str().split('.').nth(1).unwrap_or_default();
    // {"alg":"none"}
    format!("eyJhbGciOiJub25lIn0.{payload}.")
}

/// Reads and health, methods and paths.
fn around() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut push = |what: String, request: Request| cases.push(Case { what, request });
    for path in [
        "/api/v1/rootCert",
        "/api/v2/trustBundle",
        "/api/v2/configuration",
        "/healthz",
        "/api/v2/trustBundle/",
        "//api/v2/trustBundle",
        "/api//v2/trustBundle",
        "/api/v2/nothing",
        "/api/v3/signingCert",
    ] {
        push(format!("path get {path}"), Request::get(path));
    }
    for method in ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        for path in [V1, V2, "/api/v2/trustBundle", "/api/v1/rootCert", "/healthz", "/nothing"] {
            push(format!("method {method} {path}"), Request { method, ..Request::get(path) });
        }
    }
    for path in ["/api/v2/trustBundle", "/api/v1/rootCert", "/healthz", "/nothing"] {
        push(format!("method POST {path}"), Request::post(path, JSON, b"{}".to_vec()));
    }
    cases
}

/// What must agree about an answer: everything in a certificate but what names the CA and its log.
fn shown(case: &Case, answer: &Answer) -> Result<String> {
    if case.request.method == "HEAD" {
        return Ok(String::new());
    }
    // Its order is that of a map of Go's: by chance.
    if case.what.ends_with("configuration") && answer.status == 200 {
        return sorted(&answer.body);
    }
    let text = String::from_utf8_lossy(&answer.body);
    if !matches!(answer.status, 200 | 201) {
        return Ok(refusal(&answer.body));
    }
    let Some(certificate) = first_certificate(&text) else {
        return Ok(
            serde_json::from_slice(&answer.body).map_or(text.into_owned(), |value: Value| value.to_string())
        );
    };
    if case.request.method == "GET" {
        return Ok(serde_json::from_slice(&answer.body).map_or("PEM".to_owned(), |value| members(&value)));
    }
    let form = serde_json::from_slice(&answer.body).map_or("PEM".to_owned(), |value| members(&value));
    Ok(format!("{form} {}", outline::certificate(&certificate, OWN)?))
}

/// The issuers of a configuration, ordered.
fn sorted(configuration: &[u8]) -> Result<String> {
    let mut value: Value = serde_json::from_slice(configuration)?;
    let issuers = value["issuers"].as_array_mut().context("a list of issuers")?;
    issuers.sort_by_cached_key(ToString::to_string);
    Ok(value.to_string())
}

fn first_certificate(text: &str) -> Option<Vec<u8>> {
    let text = text.replace("\\n", "\n");
    let (_, rest) = text.split_once("-----BEGIN CERTIFICATE-----")?;
    let (base64, _) = rest.split_once("-----END")?;
    STANDARD.decode(base64.split_whitespace().collect::<String>()).ok()
}

const STRICT: &str = "nothing in a name or URI of a certificate has a second reading";
const HOLES: &str = "a name is made of what the token says, not of what it leaves out";
const FAULT: &str = "the request is at fault, not the server";
const SLASHES: &str = "doubled and trailing slashes name the same path everywhere";
const METHODS: &str = "the health check is the whole instance's, and 405 says what is wrong";
const HEALTH: &str = "the health check is the whole instance's: one text for all roles";
const NOWHERE: &str =
    "a path that belongs to no API is refused in the words of Rekor v1, whose clients read them";

const DELIBERATE: &[Difference] = &[
    Difference {
        cases: &["claim", "shape=large"],
        genuine: "body",
        ours: "body",
        reason: "a number is written as it was, not rounded to a float",
    },
    Difference {
        cases: &["claim", "sub=empty|sub=removed"],
        genuine: "200",
        ours: "400",
        reason: "a proof of possession over nothing proves nothing",
    },
    Difference {
        cases: &[
            "claim",
            "shape=newline|shape=dots|shape=encoded-dots|shape=backslash|shape=bidi|shape=long|shape=port",
        ],
        genuine: "200",
        ours: "400",
        reason: STRICT,
    },
    Difference {
        cases: &[
            "claim",
            "ci-provider",
            "job_workflow_ref=empty|job_workflow_ref=number|job_workflow_ref=large",
        ],
        genuine: "200",
        ours: "400",
        reason: HOLES,
    },
    Difference {
        cases: &[
            "claim",
            "codefresh",
            "account_name=empty|account_name=removed|pipeline_name=empty|pipeline_name=removed",
        ],
        genuine: "200",
        ours: "400",
        reason: HOLES,
    },
    Difference {
        cases: &["claim", "kubernetes", "kubernetes.io=removed"],
        genuine: "200",
        ours: "400",
        reason: HOLES,
    },
    Difference {
        cases: &["general", "exp=text"],
        genuine: "200",
        ours: "400",
        reason: "times in tokens are numbers (RFC 7519 §2)",
    },
    Difference { cases: &["header", "tab"], genuine: "500", ours: "400", reason: FAULT },
    Difference { cases: &["path"], genuine: "404", ours: "20", reason: SLASHES },
    Difference { cases: &["path|method", "/healthz"], genuine: "type", ours: "type", reason: HEALTH },
    Difference { cases: &["path|method", "/healthz"], genuine: "body", ours: "body", reason: HEALTH },
    Difference {
        cases: &["method", "HEAD"],
        genuine: "501",
        ours: "200",
        reason: "HEAD is answered wherever GET is (RFC 9110 §9.3.2)",
    },
    Difference { cases: &["method", "/healthz"], genuine: "501", ours: "405", reason: METHODS },
    Difference {
        cases: &["method|path", "/nothing|/api/v3/signingCert"],
        genuine: "body {\"code\":5",
        ours: "body {\"code\":404",
        reason: NOWHERE,
    },
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fulcio() -> Result<()> {
    let scratch = TempDir::new()?;
    let mut issuers = Vec::new();
    for kind in KINDS {
        // Each a folder of its own: an issuer is found by what its log exports.
        let folder = scratch.path().join(kind.name);
        std::fs::create_dir(&folder)?;
        issuers.push(DevIssuer::start(&folder).await?);
    }
    let entries = KINDS.iter().zip(&issuers).map(|(kind, issuer)| {
        let url = issuer.url();
        format!("  {url}:\n    issuer-url: {url}\n    client-id: sigstore\n    {}\n", kind.configuration)
    });
    // The templates are those of the tests' usual issuer.
    let templates = issuers_yaml(&[]);
    let templates = templates.strip_prefix("oidc-issuers:\n").context("issuers, then templates")?;
    let yaml = format!("oidc-issuers:\n{}{templates}", entries.collect::<String>());
    let mut server = Server::init(scratch.path(), "server", &yaml, Rekor::V2)?;
    server.start().await?;
    let file = scratch.path().join("server-issuers.yaml");
    let genuine = GenuineFulcio::start(scratch.path(), &file).await?;
    let pair = Pair::new(genuine.authority(), authority(server.url())?);
    let maker = Maker { issuers, keys: Key::all()? };
    let now = SystemClock.now().seconds();
    let cases = [maker.tokens(now).await?, maker.pairs().await?, maker.requests().await?, around()].concat();
    compare(&pair, &cases, DELIBERATE, shown).await
}
