use http::HeaderMap;
use http_body_util::BodyExt as _;
use prost::Message as _;
use tower::ServiceExt as _;

use super::super::message::{
    DsseRequest, Envelope, EnvelopeSignature, HashedRekordRequest, Material, Raw, RequestSpec, Signature,
    Verifier,
};
use super::super::tests::{Rekor, request, verify};
use super::*;
use crate::fixture::p256_signer;
use crate::key::{HashAlgorithm, Signer as _};

const CREATE: &str = "/dev.sigstore.rekor.v2.Rekor/CreateEntry";

/// What a call gave: its code, its metadata (headers and trailers) and its message, framed.
struct Outcome {
    code: i32,
    metadata: HeaderMap,
    body: Vec<u8>,
}

impl Outcome {
    fn text(&self) -> String {
        let message = self.metadata["grpc-message"].to_str().unwrap();
        message.replace("%20", " ").replace("%22", "\"")
    }

    fn entry(&self) -> LogEntry {
        assert_eq!(self.code, 0, "{:?}", self.metadata);
        assert_eq!(self.body[0], 0, "a message that is not compressed");
        assert_eq!(u32::from_be_bytes(self.body[1..5].try_into().unwrap()) as usize, self.body.len() - 5);
        LogEntry::decode(&self.body[5..]).unwrap()
    }
}

async fn call(rekor: &Rekor, path: &str, message: &[u8]) -> Outcome {
    let framed = [&[0], &u32::try_from(message.len()).unwrap().to_be_bytes()[..], message].concat();
    let request =
        http::Request::post(path).header("content-type", "application/grpc").header("te", "trailers");
    let request = request.body(axum::body::Body::from(framed)).unwrap();
    let response = rekor.router.clone().oneshot(request).await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["content-type"]),
        (200, &"application/grpc".parse().unwrap())
    );
    let mut metadata = response.headers().clone();
    let collected = response.into_body().collect().await.unwrap();
    metadata.extend(collected.trailers().cloned().unwrap_or_default());
    let code = metadata["grpc-status"].to_str().unwrap().parse().unwrap();
    Outcome { code, metadata, body: collected.to_bytes().to_vec() }
}

async fn create(rekor: &Rekor, spec: RequestSpec) -> Outcome {
    call(rekor, CREATE, &CreateEntryRequest { spec: Some(spec) }.encode_to_vec()).await
}

fn verifier(label: &str) -> Verifier {
    let raw_bytes = p256_signer(label).public_key().spki_der().to_vec();
    Verifier { verifier: Some(Material::PublicKey(Raw { raw_bytes })), key_details: 5 }
}

fn hashed_rekord(message: &[u8]) -> RequestSpec {
    let content = p256_signer("kav-signer").sign(message).unwrap();
    RequestSpec::HashedRekordRequestV002(HashedRekordRequest {
        digest: HashAlgorithm::Sha256.digest(message),
        signature: Some(Signature { content, verifier: Some(verifier("kav-signer")) }),
    })
}

fn dsse(signatures: usize, verifiers: usize) -> RequestSpec {
    let sig = p256_signer("kav-signer").sign(&crate::rekor::pae("text/plain", b"hello")).unwrap();
    RequestSpec::DsseRequestV002(DsseRequest {
        envelope: Some(Envelope {
            payload: b"hello".to_vec(),
            payload_type: "text/plain".to_owned(),
            signatures: vec![EnvelopeSignature { sig }; signatures],
        }),
        verifiers: vec![verifier("kav-signer"); verifiers],
    })
}

#[tokio::test]
async fn an_entry_is_the_same_over_grpc_and_rest() {
    let rekor = Rekor::start(None).await;
    let entry = create(&rekor, hashed_rekord(b"over grpc")).await.entry();
    assert_eq!(entry.log_index, 0);
    let proof = entry.inclusion_proof.unwrap();
    assert_eq!((proof.log_index, proof.tree_size, proof.hashes.len()), (0, 1, 0));
    assert_eq!(entry.kind_version.unwrap().version, "0.0.2");
    let leaf = crate::merkle::leaf_hash(&entry.canonicalized_body);
    assert_eq!(proof.root_hash, leaf.as_bytes());

    let rest = rekor.add(&request("kav-signer", b"over rest")).await.json();
    verify(&rest);
    let third = create(&rekor, hashed_rekord(b"over grpc again")).await.entry();
    assert_eq!(third.log_id.unwrap().key_id, super::super::tests::decode(&rest["logId"]["keyId"]));
    let checkpoint = third.inclusion_proof.unwrap().checkpoint.unwrap().envelope;
    assert!(checkpoint.starts_with("log.example\n3\n"), "{checkpoint}");
}

#[tokio::test]
async fn an_envelope_is_taken_over_grpc_too() {
    let entry = create(&Rekor::start(None).await, dsse(1, 1)).await.entry();
    assert_eq!(entry.kind_version.unwrap().kind, "dsse");
}

#[tokio::test]
async fn a_duplicate_is_already_exists_and_names_its_index() {
    let rekor = Rekor::start(None).await;
    let spec = hashed_rekord(b"hello\n");
    create(&rekor, spec.clone()).await.entry();
    let again = create(&rekor, spec).await;
    assert_eq!((again.code, &again.metadata["x-log-index"]), (6, &"0".parse().unwrap()));
    assert_eq!(again.text(), "an equivalent entry already exists in the transparency log with index 0");
}

#[tokio::test]
async fn what_is_no_request_is_invalid_argument() {
    let rekor = Rekor::start(None).await;
    let RequestSpec::HashedRekordRequestV002(mut wrong) = hashed_rekord(b"hello\n") else { unreachable!() };
    wrong.digest[0] ^= 1;
    let mut unknown = hashed_rekord(b"hello\n");
    if let RequestSpec::HashedRekordRequestV002(request) = &mut unknown {
        request.signature.as_mut().unwrap().verifier.as_mut().unwrap().key_details = 6;
    }
    for (outcome, start) in [
        (call(&rekor, CREATE, b"").await, "invalid type, must be hashedrekord"),
        (create(&rekor, RequestSpec::HashedRekordRequestV002(wrong)).await, "invalid hashedrekord request"),
        (create(&rekor, unknown).await, "invalid hashedrekord request: missing keyDetails"),
        (create(&rekor, dsse(0, 1)).await, "invalid dsse request"),
    ] {
        assert_eq!(outcome.code, 3);
        assert!(outcome.text().starts_with(start), "{}", outcome.text());
    }
}

#[tokio::test]
async fn lists_are_read_no_further_than_it_takes_to_refuse_them() {
    for spec in [dsse(1, 1000), dsse(1000, 1)] {
        let message = CreateEntryRequest { spec: Some(spec.clone()) }.encode_to_vec();
        let read = CreateEntryRequest::decode(&message[..]).unwrap();
        let Some(RequestSpec::DsseRequestV002(read)) = read.spec else { panic!("another kind") };
        let signatures = read.envelope.as_ref().unwrap().signatures.len();
        assert!(read.verifiers.len() + signatures == 1 + 11, "{} {signatures}", read.verifiers.len());
        let outcome = create(&Rekor::start(None).await, spec).await;
        assert_eq!(outcome.code, 3);
        assert!(outcome.text().contains("there are 11"), "{}", outcome.text());
    }
}

#[tokio::test]
async fn what_is_no_message_or_too_large_is_refused() {
    let rekor = Rekor::start(None).await;
    assert_eq!(call(&rekor, CREATE, b"\x0a\xff").await.code, 13);
    assert_eq!(
        call(&rekor, CREATE, &vec![0; MAX_REQUEST + 1]).await.code,
        8,
        "RESOURCE_EXHAUSTED, as grpc-go"
    );
}

#[tokio::test]
async fn reads_are_unimplemented() {
    let rekor = Rekor::start(None).await;
    for method in ["GetTile", "GetEntryBundle", "GetCheckpoint", "CreateIdentityEntry"] {
        assert_eq!(call(&rekor, &format!("/dev.sigstore.rekor.v2.Rekor/{method}"), b"").await.code, 12);
    }
}

proptest::proptest! {
    #[test]
    fn arbitrary_messages_never_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
        let _ = CreateEntryRequest::decode(&bytes[..]);
        let nested = [&[0x12, u8::try_from(bytes.len() % 128).unwrap()][..], &bytes].concat();
        if let Ok(request) = CreateEntryRequest::decode(&nested[..]) {
            let again = CreateEntryRequest::decode(&request.encode_to_vec()[..]).unwrap();
            proptest::prop_assert_eq!(again, request);
        }
    }
}
