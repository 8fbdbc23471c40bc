//! The two forms of a request and the errors of the HTTP API, as timestamp-authority 2.1.3 reads and writes them.

use http::header::ALLOW;

use super::*;
use crate::timestamp::request::{MAX_DER, MAX_JSON};

fn json(digest: &[u8], more: &str) -> String {
    use base64::Engine as _;
    let digest = base64::engine::general_purpose::STANDARD.encode(digest);
    format!(r#"{{"artifactHash":"{digest}","hashAlgorithm":"sha256"{more}}}"#)
}

#[tokio::test]
async fn the_json_form_is_answered_alike() {
    let instance = Instance::new();
    let digest = HashAlgorithm::Sha256.digest(MESSAGE);
    let nonce = u64::MAX;
    let more = format!(r#","nonce":{nonce},"certificates":true,"tsaPolicyOID":"{DEFAULT_POLICY}","x":1"#);
    let answer = instance.post("application/json; charset=utf-8", json(&digest, &more)).await;
    assert_eq!(answer.header(CONTENT_TYPE), "application/timestamp-reply");
    let answer = Granted::read(answer.body);
    assert_eq!(answer.certificates().len(), 1);
    let nonce = nonce.to_be_bytes();
    let expected = Expected { nonce: Some(&nonce), policy: Some(DEFAULT_POLICY) };
    verify_response(&answer.der, MESSAGE, &[instance.trusted()], expected).unwrap();

    let answer = Granted::read(instance.post("application/json", json(&digest, "")).await.body);
    assert!(answer.certificates().is_empty() && answer.info.nonce.is_none());
}

#[tokio::test]
async fn the_json_form_is_bounded_and_checked() {
    let instance = Instance::new();
    let digest = HashAlgorithm::Sha256.digest(MESSAGE);
    let policy = |components: usize| format!(r#","tsaPolicyOID":"{}""#, vec!["1"; components].join("."));
    for (body, expected) in [
        (json(&digest, &" ".repeat(MAX_JSON)), "timestamp request is too large: at most 1024 bytes are read"),
        (json(&digest[1..], ""), "Message digest has incorrect length for specified algorithm"),
        (json(&digest, "").replace("sha256", "sha1"), "Weak hash algorithm in timestamp request"),
        (json(&digest, &policy(129)), "OID should be comprised of at most 128 components"),
    ] {
        assert_eq!(instance.post("application/json", body).await.refusal(), (400, expected.to_owned()));
    }
    for body in [
        "{}".to_owned(),
        "[]".to_owned(),
        json(&digest, r#","nonce":"1""#),
        json(&digest, r#","nonce":1.0"#),
        json(&digest, "").replace("artifactHash\":\"", "artifactHash\":\"!"),
    ] {
        let (status, message) = instance.post("application/json", body.clone()).await.refusal();
        assert_eq!(status, 400);
        assert!(message.starts_with("Error generating timestamp response: "), "{body}: {message}");
    }
    for (policy, start) in [
        (policy(128), "unaccepted policy: "),
        (r#","tsaPolicyOID":"1.2.3""#.to_owned(), "unaccepted policy: "),
        (r#","tsaPolicyOID":"policy""#.to_owned(), "OID should be comprised"),
        (r#","tsaPolicyOID":"1..3""#.to_owned(), "OID should be comprised"),
    ] {
        let (status, message) = instance.post("application/json", json(&digest, &policy)).await.refusal();
        assert_eq!(status, 400);
        assert!(message.starts_with(start), "{policy}: {message}");
    }
}

#[tokio::test]
async fn json_nonces_of_every_length_and_sign_are_echoed() {
    let instance = Instance::new();
    let digest = HashAlgorithm::Sha256.digest(MESSAGE);
    let room = MAX_JSON - json(&digest, r#","nonce":-"#).len();
    for literal in ["0", "-1", "18446744073709551616", "-340282366920938463463374607431768211457"]
        .map(str::to_owned)
        .into_iter()
        .chain(["9".repeat(room), format!("-{}", "9".repeat(room))])
    {
        let body = json(&digest, &format!(r#","nonce":{literal}"#));
        let answer = instance.post("application/json", body).await;
        assert_eq!(
            answer.parts.status,
            StatusCode::OK,
            "{literal}: {}",
            String::from_utf8_lossy(&answer.body)
        );
        let nonce = Granted::read(answer.body).info.nonce.unwrap();
        // The same nonce by the other form: what was echoed is a number that a client can send in DER.
        let again = instance.granted(&TimeStampReq { nonce: Some(nonce.clone()), ..sha256() }).await;
        assert_eq!(again.info.nonce, Some(nonce), "{literal}");
    }
}

#[tokio::test]
async fn spellings_of_the_json_form_that_go_reads_are_read() {
    let instance = Instance::new();
    let digest = HashAlgorithm::Sha256.digest(MESSAGE);
    let spelled = |from: &str, to: &str| json(&digest, "").replace(from, to);
    let body = json(&digest, "");
    let text = body.split('"').nth(3).unwrap().to_owned();
    for body in [
        spelled("artifactHash", "ARTIFACTHASH"),
        spelled("hashAlgorithm", "hashalgorithm"),
        spelled("sha256", "SHA256"),
        spelled(&text, &format!("{}\\n{}", &text[..10], &text[10..])),
        json(&digest, r#","nonce":null,"certificates":null,"tsaPolicyOID":null"#),
        json(&digest, r#","tsaPolicyOID":"""#),
        json(&digest, r#","tsaPolicyOID":"1.3.6.1.4.1.57264.+02""#),
        json(&digest, r#","artifactHash":null,"hashAlgorithm":"Sha256""#),
    ] {
        let answer = instance.post("application/json", body.clone()).await;
        assert_eq!(answer.parts.status, StatusCode::OK, "{body}: {}", String::from_utf8_lossy(&answer.body));
        verify_response(&answer.body, MESSAGE, &[instance.trusted()], Expected::default()).unwrap();
    }
}

#[tokio::test]
async fn a_der_request_is_bounded() {
    let (status, message) = Instance::new().post(QUERY, vec![0x30; MAX_DER + 1]).await.refusal();
    assert_eq!(
        (status, message.as_str()),
        (400, "timestamp request is too large: at most 16384 bytes are read")
    );
}

#[tokio::test]
async fn the_media_type_decides_between_415_and_400() {
    let instance = Instance::new();
    let body = || sha256().to_der().unwrap();
    for (media_type, status, start) in [
        ("application/timestamp-query", 200, ""),
        ("Application/Timestamp-Query; x=y", 200, ""),
        ("application/json", 400, "Error generating timestamp response: "),
        ("application/octet-stream", 415, "unsupported media type \"application/octet-stream\", only ["),
        ("text/plain", 415, "unsupported media type \"text/plain\", only ["),
        ("text/plain; charset=utf-8", 415, "unsupported media type \"text/plain\", only ["),
        ("", 415, "unsupported media type \"application/octet-stream\", only ["),
        ("application", 400, "parsing Content-Type header from \"application\" failed"),
        ("application/", 400, "parsing Content-Type header from "),
        ("a/b/c", 400, "parsing Content-Type header from "),
        ("application/timestamp-query, application/json", 400, "parsing Content-Type header from "),
        (";", 400, "parsing Content-Type header from "),
    ] {
        let answer = instance.post(media_type, body()).await;
        assert_eq!(answer.parts.status.as_u16(), status, "{media_type}");
        if status != 200 {
            let (_, message) = answer.refusal();
            assert!(message.starts_with(start), "{media_type}: {message}");
        }
    }
    let untyped = http::Request::post("/api/v1/timestamp").body(body().into()).unwrap();
    assert_eq!(instance.ask(untyped).await.refusal().0, 415);
}

#[tokio::test]
async fn an_empty_body_is_422_with_code_602_whatever_it_says_to_be() {
    let instance = Instance::new();
    for media_type in [QUERY, "application/json", "text/plain", ""] {
        let answer = instance.post(media_type, "").await;
        let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        let expected = serde_json::json!({ "code": 602, "message": "request in body is required" });
        assert_eq!((answer.parts.status.as_u16(), body), (422, expected), "{media_type}");
    }
}

#[tokio::test]
async fn other_methods_are_405_with_allow_and_so_is_head() {
    let instance = Instance::new();
    let (stamp, chain) = ("/api/v1/timestamp", "/api/v1/timestamp/certchain");
    for (method, path, allow) in [
        (Method::GET, stamp, "POST"),
        (Method::PUT, stamp, "POST"),
        (Method::HEAD, stamp, "POST"),
        (Method::OPTIONS, stamp, "POST"),
        (Method::POST, chain, "GET"),
        (Method::HEAD, chain, "GET"),
    ] {
        let request = http::Request::builder().method(&method).uri(path).body(String::new().into());
        let answer = instance.ask(request.unwrap()).await;
        assert_eq!((answer.parts.status.as_u16(), answer.header(ALLOW)), (405, allow), "{method} {path}");
        if method != Method::HEAD {
            let message = format!("method {method} is not allowed, but [{allow}] are");
            assert_eq!(answer.refusal(), (405, message));
        }
    }
}

/// Requests in JSON that are read, and some that are not.
const SEEDS: [&str; 6] = [
    r#"{"artifactHash":"ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=","hashAlgorithm":"sha256"}"#,
    r#"{"artifactHash":"ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=","hashAlgorithm":"SHA256","nonce":-340282366920938463463374607431768211457,"certificates":true,"tsaPolicyOID":"1.3.6.1.4.1.57264.2"}"#,
    r#"{"nonce":18446744073709551616,"nonce":null,"ARTIFACTHASH":"","x":[{}]}"#,
    r#"{"nonce":1e3,"tsaPolicyOID":"1..2"}"#,
    r#"{"nonce":"5","certificates":1}"#,
    "null",
];

proptest! {
    #[test]
    fn mutated_json_never_panics_and_what_is_read_can_be_stamped(
        seed in 0..SEEDS.len(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0_u8..3), 0..4),
    ) {
        let mut body = SEEDS[seed].as_bytes().to_vec();
        for (at, byte, kind) in changes {
            let at = at.index(body.len());
            match kind {
                0 => body[at] = byte,
                1 => body.insert(at, byte),
                _ => body.truncate(at.max(1)),
            }
        }
        if let Ok(request) = Request::from_json(&body) {
            let der = TimeStampReq {
                version: TspVersion::V1,
                message_imprint: request.imprint.clone(),
                req_policy: request.policy,
                nonce: request.nonce.clone(),
                cert_req: request.certificates,
                extensions: None,
            };
            prop_assert_eq!(Request::from_der(&der.to_der().unwrap()), Ok(request));
        }
    }
}
