//! The HTTP API by its rules: bodies, leniency, codes and sentences.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chancery_tlog::certificate::Certificate;
use chancery_tlog::serve::rate::Rate;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use proptest::prelude::*;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::issuance::test_instance::{Instance, LogMode, Options, github_claims};
use crate::possession::test_key::TestKey;

const V1: &str = "/api/v1/signingCert";
const V2: &str = "/api/v2/signingCert";
const BAD_TOKEN: &str = "There was an error processing the identity token";

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    fn content_type(&self) -> &str {
        self.headers["content-type"].to_str().unwrap()
    }

    #[track_caller]
    fn is_error(&self, status: u16, code: u8, message: &str) {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        assert_eq!(self.json(), json!({ "code": code, "message": message, "details": [] }));
        assert_eq!(self.content_type(), "application/json");
    }
}

async fn call(instance: &Instance, request: Request<Body>) -> Answer {
    let response = super::router(instance.service.clone()).oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Answer { status: parts.status, headers: parts.headers, body: String::from_utf8(body.to_vec()).unwrap() }
}

async fn get(instance: &Instance, path: &str) -> Answer {
    call(instance, Request::get(path).body(Body::empty()).unwrap()).await
}

async fn post(instance: &Instance, path: &str, authorization: Option<&str>, body: impl Into<Body>) -> Answer {
    let mut request = Request::post(path);
    if let Some(value) = authorization {
        request = request.header("authorization", value);
    }
    call(instance, request.body(body.into()).unwrap()).await
}

fn subject() -> String {
    github_claims()["sub"].as_str().unwrap().to_owned()
}

fn bearer(instance: &Instance) -> String {
    format!("Bearer {}", instance.token())
}

/// The body of sigstore-go and cosign 3.
fn v2_body(key: &TestKey) -> Value {
    json!({ "publicKeyRequest": {
        "publicKey": { "algorithm": "ECDSA", "content": key.pem() },
        "proofOfPossession": STANDARD.encode(key.sign(&subject())),
    } })
}

/// The body of cosign 2.
fn v1_body(key: &TestKey) -> Value {
    json!({
        "publicKey": { "content": STANDARD.encode(key.pem()), "algorithm": "ecdsa" },
        "signedEmailAddress": STANDARD.encode(key.sign(&subject())),
    })
}

fn chain_of(answer: &Answer) -> Vec<String> {
    let body = answer.json();
    let certificates = &body["signedCertificateEmbeddedSct"]["chain"]["certificates"];
    certificates.as_array().unwrap().iter().map(|c| c.as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn v2_answers_with_the_embedded_form_leaf_first_root_last_trimmed() {
    let instance = Instance::start().await;
    let key = TestKey::p256();
    let answer = post(&instance, V2, Some(&bearer(&instance)), v2_body(&key).to_string()).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert_eq!(answer.content_type(), "application/json");
    assert_eq!(answer.json().as_object().unwrap().len(), 1, "exactly one of the two forms");
    let chain = chain_of(&answer);
    assert_eq!(chain.len(), 3);
    assert!(chain.iter().all(|pem| pem == pem.trim()));
    let leaf = Certificate::from_pem(&chain[0]).unwrap();
    assert_eq!(leaf.public_key().spki_der(), key.spki());
    assert_eq!(Certificate::from_pem(&chain[2]).unwrap(), instance.ceremony.root);
}

#[tokio::test]
async fn v2_without_a_log_answers_with_the_detached_form_and_an_empty_timestamp() {
    let instance = Instance::with(Options { logged: false, ..Options::default() }).await;
    let body = v2_body(&TestKey::p256()).to_string();
    let answer = post(&instance, V2, Some(&bearer(&instance)), body).await;
    let detached = &answer.json()["signedCertificateDetachedSct"];
    assert_eq!(detached["signedCertificateTimestamp"], "");
    assert_eq!(detached["chain"]["certificates"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn v2_never_negotiates_content() {
    let instance = Instance::start().await;
    let request = Request::post(V2)
        .header("authorization", bearer(&instance))
        .header("accept", "application/pem-certificate-chain")
        .header("content-type", "text/plain")
        .body(Body::from(v2_body(&TestKey::p256()).to_string()))
        .unwrap();
    let answer = call(&instance, request).await;
    assert_eq!((answer.status, answer.content_type()), (StatusCode::OK, "application/json"));
}

#[tokio::test]
async fn v2_takes_the_token_from_the_body_first() {
    let instance = Instance::start().await;
    let mut body = v2_body(&TestKey::p256());
    body["credentials"] = json!({ "oidcIdentityToken": instance.token() });
    assert_eq!(post(&instance, V2, None, body.to_string()).await.status, StatusCode::OK);
    let answer = post(&instance, V2, Some("Bearer rubbish"), body.to_string()).await;
    assert_eq!(answer.status, StatusCode::OK, "the body wins");
    body["credentials"]["oidcIdentityToken"] = json!("");
    let answer = post(&instance, V2, Some(&bearer(&instance)), body.to_string()).await;
    assert_eq!(answer.status, StatusCode::OK, "an empty token in the body counts as none");
}

#[tokio::test]
async fn the_authorization_header_is_read_as_fulcios_gateway_reads_it() {
    let instance = Instance::start().await;
    let body = v2_body(&TestKey::p256()).to_string();
    let answer = post(&instance, V2, Some(&instance.token()), body.clone()).await;
    assert_eq!(answer.status, StatusCode::OK, "a token without the prefix works");
    let lower_case = format!("bearer {}", instance.token());
    post(&instance, V2, Some(&lower_case), body).await.is_error(400, 3, BAD_TOKEN);
}

#[tokio::test]
async fn both_name_styles_and_unknown_members_and_enum_texts_are_accepted() {
    let instance = Instance::start().await;
    let key = TestKey::p256();
    let body = json!({
        "credentials": { "oidc_identity_token": instance.token(), "more": 1 },
        "public_key_request": {
            "public_key": { "algorithm": "RSA", "content": key.pem() },
            "proof_of_possession": URL_SAFE_NO_PAD.encode(key.sign(&subject())),
        },
        "unknown": { "deep": [] },
    });
    let answer = post(&instance, V2, None, body.to_string()).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    let numbered = body.to_string().replace("\"RSA\"", "2");
    assert_eq!(post(&instance, V2, None, numbered).await.status, StatusCode::OK);
    let first_value_only = format!("{body} trailing rubbish");
    assert_eq!(post(&instance, V2, None, first_value_only).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_signing_request_with_an_empty_subject_and_a_critical_extension_is_accepted() {
    let instance = Instance::start().await;
    let pem = crate::possession::tests::openssl_request(
        &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
        "sha256",
        true,
    );
    let body = json!({ "certificateSigningRequest": STANDARD.encode(&pem) });
    let answer = post(&instance, V2, Some(&bearer(&instance)), body.to_string()).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    let answer = post(&instance, V1, Some(&bearer(&instance)), body.to_string()).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
    let leaf = Certificate::from_pem(
        &chain_of(&post(&instance, V2, Some(&bearer(&instance)), body.to_string()).await)[0],
    );
    assert!(leaf.unwrap().extension("2.5.29.19").is_none(), "requested extensions are ignored");
}

#[tokio::test]
async fn both_members_of_the_oneof_are_a_parse_error() {
    let instance = Instance::start().await;
    let mut body = v2_body(&TestKey::p256());
    body["certificateSigningRequest"] = json!("");
    let answer = post(&instance, V2, Some(&bearer(&instance)), body.to_string()).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(answer.json()["code"], 3);
    assert!(answer.body.contains("oneof"));
}

#[tokio::test]
async fn v1_answers_201_with_a_pem_chain_and_no_sct_header() {
    let instance = Instance::start().await;
    let key = TestKey::p256();
    let answer = post(&instance, V1, Some(&bearer(&instance)), v1_body(&key).to_string()).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
    assert_eq!(answer.content_type(), "application/pem-certificate-chain");
    assert!(!answer.headers.contains_key("sct"));
    assert_eq!(answer.body, answer.body.trim());
    assert!(!answer.body.contains("\n\n"), "joined by one newline");
    assert_eq!(Certificate::chain_from_pem(&answer.body).unwrap().len(), 3);
}

#[tokio::test]
async fn v1_accepts_a_der_key_and_reads_no_token_from_the_body() {
    let instance = Instance::start().await;
    let key = TestKey::p256();
    let mut body = v1_body(&key);
    body["publicKey"]["content"] = json!(STANDARD.encode(key.spki()));
    let answer = post(&instance, V1, Some(&bearer(&instance)), body.to_string()).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
    body["credentials"] = json!({ "oidcIdentityToken": instance.token() });
    post(&instance, V1, None, body.to_string()).await.is_error(400, 3, BAD_TOKEN);
}

#[tokio::test]
async fn every_token_failure_has_the_same_sentence() {
    let instance = Instance::start().await;
    let body = v2_body(&TestKey::p256()).to_string();
    let mut expired = instance.claims();
    expired.insert("exp".into(), json!(instance.now().seconds() - 1));
    let mut audience = instance.claims();
    audience.insert("aud".into(), json!("other"));
    let expired = instance.key.mint(&Value::Object(expired));
    let audience = instance.key.mint(&Value::Object(audience));
    for token in ["", "a.b.c", "no token", &expired, &audience] {
        post(&instance, V2, Some(&format!("Bearer {token}")), body.clone()).await.is_error(400, 3, BAD_TOKEN);
    }
    post(&instance, V2, None, body).await.is_error(400, 3, BAD_TOKEN);
    post(&instance, V2, None, "").await.is_error(400, 3, BAD_TOKEN);
}

#[tokio::test]
async fn each_key_failure_has_fulcios_sentence() {
    let instance = Instance::start().await;
    let authorization = bearer(&instance);
    let key = TestKey::p256();
    let sent = |body: Value| {
        let (instance, authorization) = (&instance, &authorization);
        async move { post(instance, V2, Some(authorization), body.to_string()).await }
    };
    let unparsable = "The public key supplied in the request could not be parsed";
    sent(json!({})).await.is_error(400, 3, unparsable);
    let mut body = v2_body(&key);
    body["publicKeyRequest"]["publicKey"]["content"] = json!("-----BEGIN PUBLIC KEY-----");
    sent(body).await.is_error(400, 3, unparsable);
    let mut body = v2_body(&key);
    body["publicKeyRequest"]["proofOfPossession"] = json!(STANDARD.encode(TestKey::p256().sign(&subject())));
    sent(body).await.is_error(400, 3, "The signature supplied in the request could not be verified");
    let body = json!({ "certificateSigningRequest": STANDARD.encode("no request") });
    sent(body).await.is_error(400, 3, "The certificate signing request could not be parsed");
    let odd_length = crate::possession::tests::openssl_request(&["-newkey", "rsa:2056"], "sha256", false);
    let body = json!({ "certificateSigningRequest": STANDARD.encode(odd_length) });
    sent(body).await.is_error(400, 3, "The public key supplied in the request is insecure");
}

#[tokio::test]
async fn a_failing_log_is_an_internal_error() {
    let instance = Instance::start().await;
    *instance.log.mode.lock().unwrap() = LogMode::Refuse;
    let body = v2_body(&TestKey::p256()).to_string();
    let answer = post(&instance, V2, Some(&bearer(&instance)), body).await;
    answer.is_error(500, 13, "Error entering certificate in CTL");
}

#[tokio::test]
async fn a_log_that_has_too_much_to_do_is_a_503_with_retry_after() {
    let instance = Instance::start().await;
    *instance.log.mode.lock().unwrap() = LogMode::Busy;
    let body = v2_body(&TestKey::p256()).to_string();
    let answer = post(&instance, V2, Some(&bearer(&instance)), body).await;
    assert_eq!(answer.headers["retry-after"], "1");
    answer.is_error(503, 14, "Error entering certificate in CTL");
}

#[tokio::test]
async fn malformed_json_and_wrong_types_are_400_code_3() {
    let instance = Instance::start().await;
    for body in [
        "{",
        "[]",
        "\"text\"",
        "\u{0}",
        r#"{"credentials":[]}"#,
        r#"{"credentials":{"oidcIdentityToken":1}}"#,
        r#"{"publicKeyRequest":{"publicKey":{"algorithm":true}}}"#,
        r#"{"publicKeyRequest":{"proofOfPossession":"***"}}"#,
        r#"{"publicKeyRequest":{},"public_key_request":{}}"#,
        r#"{"publicKeyRequest":{},"publicKeyRequest":{}}"#,
        r#"{"publicKeyRequest":null,"publicKeyRequest":{}}"#,
        r#"{"credentials":{"oidcIdentityToken":"a","oidcIdentityToken":"b"}}"#,
        r#"{"credentials":{"oidcIdentityToken":"a","oidc_identity_token":"a"}}"#,
        r#"{"publicKeyRequest":{"proofOfPossession":"","proofOfPossession":""}}"#,
    ] {
        let answer = post(&instance, V2, Some(&bearer(&instance)), body).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["code"]), (400, &json!(3)), "{body}");
    }
}

#[tokio::test]
async fn a_body_above_four_mebibytes_is_refused_and_one_of_that_size_read() {
    let instance = Instance::start().await;
    let padded = |len: usize| {
        let body = v2_body(&TestKey::p256()).to_string();
        let padding = " ".repeat(len - body.len());
        body + &padding
    };
    let answer = post(&instance, V2, Some(&bearer(&instance)), padded(super::MAX_BODY)).await;
    assert_eq!(answer.status, StatusCode::OK);
    let answer = post(&instance, V2, Some(&bearer(&instance)), padded(super::MAX_BODY + 1)).await;
    answer.is_error(400, 3, "http: request body too large");
}

#[tokio::test]
async fn a_wrong_method_on_a_known_path_is_501() {
    let instance = Instance::start().await;
    for (method, path) in [
        (Method::GET, V2),
        (Method::PUT, V1),
        (Method::POST, "/api/v2/trustBundle"),
        (Method::DELETE, "/api/v1/rootCert"),
    ] {
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        call(&instance, request).await.is_error(501, 12, "Method Not Allowed");
    }
}

#[tokio::test]
async fn an_unknown_path_has_fulcios_answer() {
    let response = super::not_found().await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body, json!({ "code": 5, "message": "Not Found", "details": [] }));
}

#[tokio::test]
async fn the_trust_bundle_holds_the_active_chain_with_final_newlines() {
    let instance = Instance::start().await;
    let answer = get(&instance, "/api/v2/trustBundle").await;
    let (issuing, root) = (instance.ceremony.issuing.to_pem(), instance.ceremony.root.to_pem());
    assert_eq!(answer.json(), json!({ "chains": [{ "certificates": [issuing, root] }] }));
}

#[tokio::test]
async fn the_root_certificate_is_the_chain_with_blank_lines_between() {
    let instance = Instance::start().await;
    let answer = get(&instance, "/api/v1/rootCert").await;
    assert_eq!(answer.content_type(), "application/pem-certificate-chain");
    let (issuing, root) = (instance.ceremony.issuing.to_pem(), instance.ceremony.root.to_pem());
    assert_eq!(answer.body, format!("{}\n\n{}", issuing.trim(), root.trim()));
}

#[tokio::test]
async fn the_configuration_shows_every_field_of_an_issuer() {
    let instance = Instance::start().await;
    let answer = get(&instance, "/api/v2/configuration").await;
    assert_eq!(
        answer.json(),
        json!({ "issuers": [{
            "issuerUrl": instance.issuer.url, "audience": "sigstore", "challengeClaim": "sub",
            "spiffeTrustDomain": "", "issuerType": "ci-provider", "subjectDomain": "",
            "skipEmailVerification": false,
        }] })
    );
}

/// A recorder that counts increments by name and labels.
#[derive(Clone, Default)]
struct Counts(Arc<Mutex<BTreeMap<String, u64>>>);

struct Count(Counts, String);

impl metrics::CounterFn for Count {
    fn increment(&self, value: u64) {
        *self.0.0.lock().unwrap().entry(self.1.clone()).or_default() += value;
    }

    fn absolute(&self, _value: u64) {}
}

impl metrics::Recorder for Counts {
    fn describe_counter(&self, _: metrics::KeyName, _: Option<metrics::Unit>, _: metrics::SharedString) {}
    fn describe_gauge(&self, _: metrics::KeyName, _: Option<metrics::Unit>, _: metrics::SharedString) {}
    fn describe_histogram(&self, _: metrics::KeyName, _: Option<metrics::Unit>, _: metrics::SharedString) {}

    fn register_counter(&self, key: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Counter {
        let labels: Vec<String> = key.labels().map(|l| format!("{}={}", l.key(), l.value())).collect();
        let name = format!("{} {}", key.name(), labels.join(" "));
        metrics::Counter::from_arc(Arc::new(Count(self.clone(), name.trim().to_owned())))
    }

    fn register_gauge(&self, _: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Gauge {
        metrics::Gauge::noop()
    }

    fn register_histogram(&self, _: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Histogram {
        metrics::Histogram::noop()
    }
}

#[tokio::test]
async fn metrics_have_fulcios_names_and_labels_from_closed_sets() {
    let counts = Counts::default();
    let _guard = metrics::set_default_local_recorder(&counts);
    let instance = Instance::start().await;
    let body = v2_body(&TestKey::p256()).to_string();
    post(&instance, V2, Some(&bearer(&instance)), body.clone()).await;
    post(&instance, V2, Some("Bearer a.b.c"), body).await;
    let request = Request::builder().method("BREW").uri("/api/v2/trustBundle?x=1").body(Body::empty());
    call(&instance, request.unwrap()).await;
    let expected = [
        ("chancery_ca_refusals_total reason=token_malformed", 1),
        ("chancery_ca_requests_total issuer=ci-provider outcome=issued", 1),
        ("chancery_ca_requests_total issuer=unknown outcome=refused", 1),
        ("fulcio_new_certs", 1),
        ("http_requests_total code=200 method=post", 1),
        ("http_requests_total code=400 method=post", 1),
        ("http_requests_total code=501 method=other", 1),
    ];
    let expected: BTreeMap<String, u64> = expected.map(|(name, n)| (name.to_owned(), n)).into();
    assert_eq!(*counts.0.lock().unwrap(), expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_body_makes_the_parsers_panic(body in proptest::collection::vec(any::<u8>(), 0..256)) {
        let _ = super::request::v1(&body, &HeaderMap::new());
        let _ = super::request::v2(&body, &HeaderMap::new());
    }

    #[test]
    fn no_json_makes_the_parsers_panic(content in ".*", proof in "[A-Za-z0-9+/_=-]*", token in ".*") {
        let body = json!({
            "credentials": { "oidcIdentityToken": token },
            "publicKeyRequest": { "publicKey": { "content": content }, "proofOfPossession": proof },
        });
        let _ = super::request::v2(body.to_string().as_bytes(), &HeaderMap::new());
    }
}

#[tokio::test]
async fn an_identity_that_asks_too_often_is_429_with_the_time_to_wait_and_a_forger_costs_it_nothing() {
    let identities = Some(Rate { per_minute: 1, burst: 1 });
    let instance = Instance::with(Options { identities, ..Options::default() }).await;
    let body = v2_body(&TestKey::p256()).to_string();
    for _ in 0..3 {
        let forged = TestKey::p256();
        let token = crate::oidc::test_issuer::TestKey::es256("key-1");
        let token = format!("Bearer {}", token.mint(&Value::Object(instance.claims())));
        post(&instance, V2, Some(&token), v2_body(&forged).to_string()).await.is_error(400, 3, BAD_TOKEN);
    }
    assert_eq!(post(&instance, V2, Some(&bearer(&instance)), body.clone()).await.status, StatusCode::OK);
    let refused = post(&instance, V2, Some(&bearer(&instance)), body).await;
    refused.is_error(429, 8, "too many certificates for this identity, try again later");
    let after: u64 = refused.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&after), "{after}");
}
