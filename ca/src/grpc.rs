//! Fulcio's gRPC API, `dev.sigstore.fulcio.v2.CA`, on the same port as REST: another face of the same issuance, with
//! the same sentences when it refuses.
//!
//! The token comes in the message, as gRPC clients send it. Fulcio's `v1beta` is not offered over gRPC: upstream
//! registers it for its own gateway only. Reference: fulcio `fulcio.proto`, `pkg/server/grpc_server.go`.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use chancery_tlog::serve::grpc::Service;

mod message;
#[cfg(test)]
mod tests;

use crate::api::status::Status;
use crate::api::{MAX_BODY, active_chain};
use crate::issuance::{CertificateRequest, CertificateService};
use message::{
    CertificateChain, Configuration, CreateSigningCertificateRequest, GetConfigurationRequest,
    GetTrustBundleRequest, OidcIssuer, SigningCertificate, TrustBundle,
};

/// The service under its own path.
pub(crate) fn router(service: Arc<CertificateService>) -> Router {
    let (sign, bundle, configuration) = (Arc::clone(&service), Arc::clone(&service), service);
    Service::new("dev.sigstore.fulcio.v2.CA", MAX_BODY)
        .unary_from("CreateSigningCertificate", move |request: CreateSigningCertificateRequest, from| {
            let service = Arc::clone(&sign);
            async move { Ok(create_signing_certificate(&service, request, from).await?) }
        })
        .unary("GetTrustBundle", move |_: GetTrustBundleRequest| {
            let chains = vec![CertificateChain { certificates: active_chain(&bundle) }];
            async move { Ok(TrustBundle { chains }) }
        })
        .unary("GetConfiguration", move |_: GetConfigurationRequest| {
            let issuers =
                configuration.issuers().issuers().map(|issuer| OidcIssuer::from(issuer.as_ref())).collect();
            async move { Ok(Configuration { issuers }) }
        })
        .into_router()
}

async fn create_signing_certificate(
    service: &CertificateService,
    request: CreateSigningCertificateRequest,
    from: Option<IpAddr>,
) -> Result<SigningCertificate, Status> {
    let request = CertificateRequest { from, ..request.into() };
    let issued = service.issue(&request).await.map_err(|e| Status::of(&e))?;
    Ok((&issued).into())
}

impl From<Status> for tonic::Status {
    fn from(status: Status) -> Self {
        Self::new(tonic::Code::from_i32(status.code.into()), status.message)
    }
}
