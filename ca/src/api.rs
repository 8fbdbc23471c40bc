//! Fulcio's HTTP API, v1 and v2, as its clients know it.
//!
//! | request | success |
//! |---|---|
//! | `POST /api/v2/signingCert` | 200, JSON |
//! | `GET /api/v2/trustBundle`, `GET /api/v2/configuration` | 200, JSON |
//! | `POST /api/v1/signingCert` | **201**, `application/pem-certificate-chain` |
//! | `GET /api/v1/rootCert` | 200, `application/pem-certificate-chain` |
//!
//! There is no content negotiation: two clients ask v2 for PEM and expect JSON. Errors are google.rpc.Status in JSON
//! (see [`status`]). Reference: fulcio `fulcio.proto`, `fulcio_legacy.proto`, `cmd/app/http.go`.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use chancery_tlog::certificate::Certificate;
use chancery_tlog::serve::Peer;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde_json::{Value, json};

mod measure;
mod request;
pub mod status;
#[cfg(test)]
mod tests;

use crate::config::{Issuer, Location};
use crate::issuance::{CertificateRequest, CertificateService, Issued};
use request::Fields;
use status::Status;

/// Largest request body, in bytes: Fulcio's limit.
pub const MAX_BODY: usize = 4 * 1024 * 1024;

const PEM_CHAIN: &str = "application/pem-certificate-chain";

type Service = State<Arc<CertificateService>>;

/// The API with absolute paths. It sets no fallback for other paths, so that it can be merged with other routers; use
/// [`not_found`] there to answer as Fulcio does.
pub fn router(service: Arc<CertificateService>) -> Router {
    let mut router = Router::new();
    for (path, method) in [
        ("/api/v2/signingCert", post(sign_v2)),
        ("/api/v2/trustBundle", get(trust_bundle)),
        ("/api/v2/configuration", get(configuration)),
        ("/api/v1/signingCert", post(sign_v1)),
        ("/api/v1/rootCert", get(root_certificate)),
    ] {
        router = router.route(path, method.fallback(method_not_allowed));
    }
    router.layer(axum::middleware::from_fn(measure::measure)).with_state(service)
}

/// Fulcio's answer to an unknown path.
#[expect(clippy::unused_async, reason = "axum's handlers are async")]
pub async fn not_found() -> Response {
    Status::not_found().into_response()
}

async fn method_not_allowed() -> Status {
    Status::method_not_allowed()
}

async fn sign_v2(State(service): Service, request: Request) -> Result<Response, Status> {
    let from = client(&request);
    let (headers, body) = read(request).await?;
    let request = CertificateRequest { from, ..request::v2(&body, &headers)? };
    let issued = service.issue(&request).await.map_err(|e| Status::of(&e))?;
    let chain = json!({ "certificates": trimmed_pem(&issued) });
    // Without a log Fulcio answers in the detached form with an empty timestamp.
    let answer = if issued.logged {
        json!({ "signedCertificateEmbeddedSct": { "chain": chain } })
    } else {
        json!({ "signedCertificateDetachedSct": { "chain": chain, "signedCertificateTimestamp": "" } })
    };
    Ok(axum::Json(answer).into_response())
}

async fn sign_v1(State(service): Service, request: Request) -> Result<Response, Status> {
    let from = client(&request);
    let (headers, body) = read(request).await?;
    let request = CertificateRequest { from, ..request::v1(&body, &headers)? };
    let issued = service.issue(&request).await.map_err(|e| Status::of(&e))?;
    // No `SCT` header: the timestamp is embedded, or there is none.
    let chain = trimmed_pem(&issued).join("\n");
    Ok((StatusCode::CREATED, [(CONTENT_TYPE, PEM_CHAIN)], chain).into_response())
}

/// The certificates as every answer to a signer has them: leaf first, root last, without final newlines.
pub(crate) fn trimmed_pem(issued: &Issued) -> Vec<String> {
    issued.chain.iter().map(|certificate| certificate.to_pem().trim().to_owned()).collect()
}

async fn trust_bundle(State(service): Service) -> Response {
    axum::Json(json!({ "chains": [{ "certificates": active_chain(&service) }] })).into_response()
}

/// The active chain only: scripts feed this to tools that expect one chain.
async fn root_certificate(State(service): Service) -> Response {
    ([(CONTENT_TYPE, PEM_CHAIN)], active_chain(&service).join("\n").trim().to_owned()).into_response()
}

/// The chain that signs now, as PEM with final newlines.
pub(crate) fn active_chain(service: &CertificateService) -> Vec<String> {
    service.chain().iter().map(Certificate::to_pem).collect()
}

async fn configuration(State(service): Service) -> Response {
    let issuers: Vec<Value> = service.issuers().issuers().map(|issuer| describe(issuer)).collect();
    axum::Json(json!({ "issuers": issuers })).into_response()
}

fn describe(issuer: &Issuer) -> Value {
    let (location_key, location) = match &issuer.location {
        Location::Url(url) => ("issuerUrl", url),
        Location::Pattern(pattern) => ("wildcardIssuerUrl", pattern),
    };
    json!({
        location_key: location,
        "audience": issuer.audience,
        "challengeClaim": issuer.challenge_claim,
        "spiffeTrustDomain": issuer.kind.spiffe_trust_domain(),
        "issuerType": issuer.type_name,
        "subjectDomain": issuer.kind.subject_domain(),
        "skipEmailVerification": issuer.kind.skips_email_verification(),
    })
}

/// The client's address, which the listener puts beside the request.
fn client(request: &Request) -> Option<IpAddr> {
    request.extensions().get::<Peer>().map(|peer| peer.client(request.headers()))
}

/// Headers and the whole body, bounded.
async fn read(request: Request) -> Result<(HeaderMap, Vec<u8>), Status> {
    let (parts, body) = request.into_parts();
    Ok((parts.headers, read_body(body).await?))
}

async fn read_body(body: Body) -> Result<Vec<u8>, Status> {
    match Limited::new(body, MAX_BODY).collect().await {
        Ok(body) => Ok(body.to_bytes().to_vec()),
        Err(error) if error.is::<LengthLimitError>() => Err(Status::body_too_large()),
        Err(_) => Err(Status::malformed("the request body could not be read")),
    }
}

/// The token of an `Authorization` header, as Fulcio's gateway takes it: the first `Bearer ` is cut out wherever it
/// stands, and a header without it is the token itself.
fn bearer(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    Some(value.replacen("Bearer ", "", 1))
}

/// A request from its fields; both versions share the order of precedence.
fn certificate_request(token: Option<String>, headers: &HeaderMap, fields: Fields) -> CertificateRequest {
    let token = token.filter(|token| !token.is_empty()).or_else(|| bearer(headers)).unwrap_or_default();
    CertificateRequest { token, from: None, key: fields.into_key() }
}
