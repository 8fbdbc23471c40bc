//! The service through tonic's own client, and against the REST API: two faces of one issuance.

use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chancery_tlog::certificate::Certificate;
use http::uri::PathAndQuery;
use http_body_util::BodyExt as _;
use proptest::prelude::*;
use prost::Message;
use serde_json::{Value, json};
use tonic::Code;
use tonic_prost::ProstCodec;
use tower::ServiceExt as _;

use super::message::{Credentials, IssuerLocation, Key, PublicKey, PublicKeyRequest, SignedCertificate};
use super::*;
use crate::issuance::test_instance::{Instance, LogMode, Options, github_claims};
use crate::possession::test_key::TestKey;
use crate::possession::tests::openssl_request;

const SIGN: &str = "CreateSigningCertificate";
const BAD_TOKEN: &str = "There was an error processing the identity token";

/// A call by tonic's client, over the router that the server mounts.
async fn call<Q, A>(instance: &Instance, method: &str, request: Q) -> Result<A, tonic::Status>
where
    Q: Message + 'static,
    A: Message + Default + 'static,
{
    let mut client = tonic::client::Grpc::new(crate::router(instance.service.clone()));
    client.ready().await.unwrap();
    let path = PathAndQuery::try_from(format!("/dev.sigstore.fulcio.v2.CA/{method}")).unwrap();
    let answer = client.unary(tonic::Request::new(request), path, ProstCodec::<Q, A>::default()).await?;
    Ok(answer.into_inner())
}

async fn sign(
    instance: &Instance,
    request: CreateSigningCertificateRequest,
) -> Result<SigningCertificate, tonic::Status> {
    call(instance, SIGN, request).await
}

#[track_caller]
fn refused(answer: Result<SigningCertificate, tonic::Status>, code: Code, message: &str) {
    let status = answer.unwrap_err();
    assert_eq!((status.code(), status.message()), (code, message));
}

fn subject() -> String {
    github_claims()["sub"].as_str().unwrap().to_owned()
}

/// The request of a client that proves possession by a signature.
fn request(instance: &Instance, key: &TestKey) -> CreateSigningCertificateRequest {
    CreateSigningCertificateRequest {
        credentials: Some(Credentials { oidc_identity_token: instance.token() }),
        key: Some(Key::PublicKeyRequest(PublicKeyRequest {
            public_key: Some(PublicKey { content: key.pem() }),
            proof_of_possession: key.sign(&subject()),
        })),
    }
}

fn with_signing_request(instance: &Instance, pem: &[u8]) -> CreateSigningCertificateRequest {
    CreateSigningCertificateRequest {
        key: Some(Key::CertificateSigningRequest(pem.to_vec())),
        ..request(instance, &TestKey::p256())
    }
}

fn embedded(answer: SigningCertificate) -> Vec<String> {
    let Some(SignedCertificate::EmbeddedSct(form)) = answer.certificate else { panic!("another form") };
    form.chain.unwrap().certificates
}

/// An answer of the REST API.
async fn rest(instance: &Instance, request: http::Request<Body>) -> Value {
    let response = crate::router(instance.service.clone()).oneshot(request).await.unwrap();
    serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap()
}

async fn rest_get(instance: &Instance, path: &str) -> Value {
    rest(instance, http::Request::get(path).body(Body::empty()).unwrap()).await
}

async fn rest_chain(instance: &Instance, key: Value) -> Vec<String> {
    let mut body = json!({ "credentials": { "oidcIdentityToken": instance.token() } });
    body.as_object_mut().unwrap().extend(key.as_object().unwrap().clone());
    let request = http::Request::post("/api/v2/signingCert").body(Body::from(body.to_string())).unwrap();
    let answer = rest(instance, request).await;
    serde_json::from_value(answer["signedCertificateEmbeddedSct"]["chain"]["certificates"].clone()).unwrap()
}

/// Equal chains, but for what differs between any two certificates: serial number, timestamp, signature.
#[track_caller]
fn equivalent(one: &[String], other: &[String]) {
    assert_eq!(one[1..], other[1..]);
    let [one, other] = [one, other].map(|chain| Certificate::from_pem(&chain[0]).unwrap());
    assert_ne!(one.serial(), other.serial());
    assert_eq!(one.public_key(), other.public_key());
    assert_eq!((one.not_before(), one.not_after()), (other.not_before(), other.not_after()));
    let [one, other] = [&one, &other].map(|certificate| {
        let mut extensions: Vec<_> =
            certificate.extensions().iter().map(|e| (e.oid.clone(), e.critical, e.value.clone())).collect();
        assert_eq!(extensions.pop().unwrap().0, "1.3.6.1.4.1.11129.2.4.2", "the timestamps come last");
        extensions
    });
    assert_eq!(one, other);
}

#[tokio::test]
async fn a_key_gets_equivalent_certificates_over_grpc_and_rest() {
    let instance = Instance::start().await;
    let key = TestKey::p256();
    let ours = embedded(sign(&instance, request(&instance, &key)).await.unwrap());
    assert!(ours.len() == 3 && ours.iter().all(|pem| pem == pem.trim()));
    let theirs = json!({ "publicKeyRequest": {
        "publicKey": { "algorithm": "ECDSA", "content": key.pem() },
        "proofOfPossession": STANDARD.encode(key.sign(&subject())),
    } });
    equivalent(&ours, &rest_chain(&instance, theirs).await);
}

#[tokio::test]
async fn a_signing_request_gets_equivalent_certificates_over_grpc_and_rest() {
    let instance = Instance::start().await;
    let pem = openssl_request(&["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"], "sha256", true);
    let ours = embedded(sign(&instance, with_signing_request(&instance, pem.as_ref())).await.unwrap());
    let theirs = json!({ "certificateSigningRequest": STANDARD.encode(&pem) });
    equivalent(&ours, &rest_chain(&instance, theirs).await);
}

#[tokio::test]
async fn without_a_log_the_answer_has_the_detached_form() {
    let instance = Instance::with(Options { logged: false, ..Options::default() }).await;
    let answer = sign(&instance, request(&instance, &TestKey::p256())).await.unwrap();
    let Some(SignedCertificate::DetachedSct(form)) = answer.certificate else { panic!("another form") };
    assert_eq!(form.chain.unwrap().certificates.len(), 3);
}

#[tokio::test]
async fn bundle_and_configuration_say_what_rest_says() {
    let instance = Instance::start().await;
    let bundle: TrustBundle = call(&instance, "GetTrustBundle", GetTrustBundleRequest {}).await.unwrap();
    let chains: Vec<_> = bundle.chains.iter().map(|c| json!({ "certificates": c.certificates })).collect();
    assert_eq!(json!({ "chains": chains }), rest_get(&instance, "/api/v2/trustBundle").await);

    let configuration: Configuration =
        call(&instance, "GetConfiguration", GetConfigurationRequest {}).await.unwrap();
    let [issuer] = configuration.issuers.as_slice() else { panic!("{configuration:?}") };
    let Some(IssuerLocation::IssuerUrl(url)) = &issuer.issuer else { panic!("{issuer:?}") };
    let issuer = json!({
        "issuerUrl": url,
        "audience": issuer.audience,
        "challengeClaim": issuer.challenge_claim,
        "spiffeTrustDomain": issuer.spiffe_trust_domain,
        "issuerType": issuer.issuer_type,
        "subjectDomain": issuer.subject_domain,
        "skipEmailVerification": issuer.skip_email_verification,
    });
    assert_eq!(json!({ "issuers": [issuer] }), rest_get(&instance, "/api/v2/configuration").await);
}

#[tokio::test]
async fn every_token_failure_has_the_same_sentence() {
    let instance = Instance::start().await;
    let mut expired = instance.claims();
    expired.insert("exp".into(), json!(instance.now().seconds() - 1));
    let expired = instance.key.mint(&Value::Object(expired));
    for token in ["", "a.b.c", &expired] {
        let credentials = Some(Credentials { oidc_identity_token: token.to_owned() });
        let request = CreateSigningCertificateRequest { credentials, ..request(&instance, &TestKey::p256()) };
        refused(sign(&instance, request).await, Code::InvalidArgument, BAD_TOKEN);
    }
    let nobody = CreateSigningCertificateRequest { credentials: None, key: None };
    refused(sign(&instance, nobody).await, Code::InvalidArgument, BAD_TOKEN);
}

#[tokio::test]
async fn each_key_failure_has_fulcios_sentence() {
    let instance = Instance::start().await;
    let good = request(&instance, &TestKey::p256());
    let key = |public_key, proof: &TestKey| {
        Some(Key::PublicKeyRequest(PublicKeyRequest {
            public_key,
            proof_of_possession: proof.sign(&subject()),
        }))
    };
    let (one, other) = (TestKey::p256(), TestKey::p256());
    let unparsable = "The public key supplied in the request could not be parsed";
    let odd_length = openssl_request(&["-newkey", "rsa:2056"], "sha256", false);
    for (key, message) in [
        (None, unparsable),
        (Some(Key::CertificateSigningRequest(Vec::new())), unparsable),
        (key(None, &one), unparsable),
        (key(Some(PublicKey { content: "no key".into() }), &one), unparsable),
        (
            key(Some(PublicKey { content: one.pem() }), &other),
            "The signature supplied in the request could not be verified",
        ),
        (
            Some(Key::CertificateSigningRequest(b"no request".to_vec())),
            "The certificate signing request could not be parsed",
        ),
        (
            Some(Key::CertificateSigningRequest(odd_length.into())),
            "The public key supplied in the request is insecure",
        ),
    ] {
        let request = CreateSigningCertificateRequest { key, ..good.clone() };
        refused(sign(&instance, request).await, Code::InvalidArgument, message);
    }
}

#[tokio::test]
async fn a_failing_log_is_an_internal_error() {
    let instance = Instance::start().await;
    *instance.log.mode.lock().unwrap() = LogMode::Refuse;
    let answer = sign(&instance, request(&instance, &TestKey::p256())).await;
    refused(answer, Code::Internal, "Error entering certificate in CTL");
    *instance.log.mode.lock().unwrap() = LogMode::Busy;
    let answer = sign(&instance, request(&instance, &TestKey::p256())).await;
    refused(answer, Code::Unavailable, "Error entering certificate in CTL");
}

/// Sends a frame as it is; the code of the answer.
async fn raw(instance: &Instance, method: &str, message: &[u8]) -> i32 {
    let length = u32::try_from(message.len()).unwrap();
    let request = http::Request::post(format!("/dev.sigstore.fulcio.v2.CA/{method}"))
        .header("content-type", "application/grpc")
        .body(Body::from([&[0], &length.to_be_bytes()[..], message].concat()));
    let response = crate::router(instance.service.clone()).oneshot(request.unwrap()).await.unwrap();
    assert_eq!(response.status(), 200);
    let mut metadata = response.headers().clone();
    let body = response.into_body().collect().await.unwrap();
    metadata.extend(body.trailers().cloned().unwrap_or_default());
    metadata["grpc-status"].to_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn what_is_no_message_or_too_large_or_no_method_has_grpcs_own_codes() {
    let instance = Instance::start().await;
    for message in [&b"\x0a\xff"[..], b"\x0a\x03\x0a\x01\xff", b"\x08\x01", b"\x0b"] {
        assert_eq!(raw(&instance, SIGN, message).await, Code::Internal as i32, "{message:?}");
    }
    assert_eq!(raw(&instance, SIGN, &vec![0; MAX_BODY + 1]).await, Code::ResourceExhausted as i32);
    assert_eq!(raw(&instance, "CreateSigningCertificates", b"").await, Code::Unimplemented as i32);
}

#[tokio::test]
async fn unknown_fields_are_skipped_and_of_two_keys_the_last_one_counts() {
    let instance = Instance::start().await;
    let mut message = with_signing_request(&instance, b"no request").encode_to_vec();
    message.extend(request(&instance, &TestKey::p256()).encode_to_vec());
    // Field 99, text.
    message.extend(b"\x9a\x06\x05later");
    assert_eq!(raw(&instance, SIGN, &message).await, 0);
}

#[tokio::test]
async fn the_other_version_is_not_offered() {
    let instance = Instance::start().await;
    let request = http::Request::post("/dev.sigstore.fulcio.v1beta.CA/CreateSigningCertificate");
    let request = request.body(Body::empty()).unwrap();
    let response = crate::router(instance.service.clone()).oneshot(request).await.unwrap();
    assert_eq!(response.status(), 404);
}

proptest! {
    #[test]
    fn arbitrary_messages_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(message) = CreateSigningCertificateRequest::decode(&bytes[..]) {
            let again = CreateSigningCertificateRequest::decode(&message.encode_to_vec()[..]).unwrap();
            prop_assert_eq!(&again, &message);
            let _ = CertificateRequest::from(message);
        }
    }
}
