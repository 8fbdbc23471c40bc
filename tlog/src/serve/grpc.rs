//! gRPC beside REST, on the same router and port: one unary method is one route.
//!
//! Messages are structs with prost's derive, whose tags are the protocol's field numbers; there is no generated code
//! and no build step. tonic frames, decodes and writes trailers.
//!
//! The chassis' limits hold here as everywhere: a handler sees a message that has arrived whole and within the limit.

mod health;

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use http_body_util::BodyExt as _;
use prost::Message;
use tonic::Status;
use tonic::server::Grpc;
use tonic_prost::ProstCodec;
use tower::service_fn;

pub use self::health::health;
use super::layers::Peer;

/// A router with the methods of one service. Methods that it does not have are answered UNIMPLEMENTED, as clients
/// expect of a server that knows the service.
pub struct Service {
    name: &'static str,
    max_message: usize,
    router: Router,
}

impl Service {
    /// The service of this full name, such as `grpc.health.v1.Health`, whose messages are at most `max_message` bytes.
    pub fn new(name: &'static str, max_message: usize) -> Self {
        Self { name, max_message, router: Router::new() }
    }

    /// Adds a unary method.
    #[must_use]
    pub fn unary<Q, A, F>(self, method: &str, call: impl Fn(Q) -> F + Send + Sync + 'static) -> Self
    where
        Q: Message + Default + 'static,
        A: Message + 'static,
        F: Future<Output = Result<A, Status>> + Send + 'static,
    {
        self.unary_from(method, move |message, _| call(message))
    }

    /// Adds a unary method that is given the client's address, if the listener knows it.
    #[must_use]
    pub fn unary_from<Q, A, F>(
        mut self,
        method: &str,
        call: impl Fn(Q, Option<IpAddr>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        Q: Message + Default + 'static,
        A: Message + 'static,
        F: Future<Output = Result<A, Status>> + Send + 'static,
    {
        let (call, max_message) = (Arc::new(call), self.max_message);
        let handler = move |request: Request| answer(request, max_message, call);
        self.router = self.router.route(&format!("/{}/{method}", self.name), post(handler));
        self
    }

    /// The router.
    pub fn into_router(self) -> Router {
        let other = post(async || {
            let response: http::Response<Body> = Status::unimplemented("no such method").into_http();
            response
        });
        self.router.route(&format!("/{}/{{method}}", self.name), other)
    }
}

async fn answer<Q, A, F, C>(request: Request, max_message: usize, call: Arc<C>) -> Response
where
    Q: Message + Default + 'static,
    A: Message + 'static,
    F: Future<Output = Result<A, Status>> + Send + 'static,
    C: Fn(Q, Option<IpAddr>) -> F + Send + Sync + 'static,
{
    let from = request.extensions().get::<Peer>().map(|peer| peer.client(request.headers()));
    let request = match within(request, max_message).await {
        Ok(request) => request,
        Err(too_large) => {
            let response: http::Response<Body> = too_large.into_http();
            return response;
        }
    };
    let service = service_fn(move |request: tonic::Request<Q>| {
        let answer = call(request.into_inner(), from);
        async move { answer.await.map(tonic::Response::new) }
    });
    let mut grpc = Grpc::new(ProstCodec::<A, Q>::default()).max_decoding_message_size(max_message);
    grpc.unary(service, request).await.map(Body::new).into_response()
}

/// The request if its message is not too large. tonic would answer OUT_OF_RANGE, and other servers
/// RESOURCE_EXHAUSTED.
async fn within(request: Request, max_message: usize) -> Result<Request, Status> {
    let (parts, body) = request.into_parts();
    // The chassis has received it.
    let body = body.collect().await.map_err(|_| Status::internal("the request body broke off"))?.to_bytes();
    let announced = body.get(1..5).and_then(|length| Some(u32::from_be_bytes(length.try_into().ok()?)));
    match announced.and_then(|length| usize::try_from(length).ok()) {
        Some(length) if length > max_message => {
            let message = format!("grpc: received message larger than max ({length} vs. {max_message})");
            Err(Status::resource_exhausted(message))
        }
        _ => Ok(Request::from_parts(parts, Body::from(body))),
    }
}

#[cfg(test)]
mod tests;
