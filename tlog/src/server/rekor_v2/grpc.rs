//! `dev.sigstore.rekor.v2.Rekor`: the dialect over gRPC. `CreateEntry` is the REST handler's other face; the three
//! reads are UNIMPLEMENTED, as they are in rekor-tiles: tiles are read over HTTP.

use axum::Router;
use http::HeaderMap;
use tonic::metadata::MetadataMap;

use super::message::{CreateEntryRequest, LogEntry};
use super::{Refusal, RekorV2};
use crate::rekor_v2::MAX_REQUEST;
use crate::serve::grpc::Service;

/// The service under its own path, to be merged into the router that serves the log's REST API.
pub(super) fn service(rekor: RekorV2) -> Router {
    Service::new("dev.sigstore.rekor.v2.Rekor", MAX_REQUEST)
        .unary("CreateEntry", move |request: CreateEntryRequest| {
            let rekor = rekor.clone();
            async move { Ok(create_entry(&rekor, request).await?) }
        })
        .into_router()
}

async fn create_entry(rekor: &RekorV2, request: CreateEntryRequest) -> Result<LogEntry, Refusal> {
    Ok(rekor.create_entry(request.try_into()?).await?.into())
}

impl From<Refusal> for tonic::Status {
    fn from(refusal: Refusal) -> Self {
        let headers: HeaderMap = refusal.headers().collect();
        let code = tonic::Code::from_i32(refusal.code() as i32);
        Self::with_metadata(code, refusal.message(), MetadataMap::from_headers(headers))
    }
}

#[cfg(test)]
mod tests;
