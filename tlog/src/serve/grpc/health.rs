//! `grpc.health.v1.Health/Check`: `/readyz` for gRPC's probes. `Watch` is UNIMPLEMENTED, upon which probes poll.

use axum::Router;
use prost::Message;

use super::Service;
use crate::serve::health::Readiness;

/// Longest request: it holds one name.
const MAX_REQUEST: usize = 1024;

#[derive(Clone, PartialEq, Message)]
struct HealthCheckRequest {
    // Not looked at: this process is ready as a whole or not at all.
    #[prost(string, tag = "1")]
    service: String,
}

#[derive(Clone, PartialEq, Message)]
struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// `ServingStatus` of a server that wants traffic.
const SERVING: i32 = 1;
/// `ServingStatus` of one that does not.
const NOT_SERVING: i32 = 2;

/// The service, reporting `readiness`.
pub fn health(readiness: &Readiness) -> Router {
    let readiness = readiness.clone();
    let check = move |_: HealthCheckRequest| {
        let readiness = readiness.clone();
        async move {
            let ready = readiness.is_ready().await;
            Ok(HealthCheckResponse { status: if ready { SERVING } else { NOT_SERVING } })
        }
    };
    Service::new("grpc.health.v1.Health", MAX_REQUEST).unary("Check", check).into_router()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use http::Request;
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    use super::*;

    /// The framed answer to a check of service `x`.
    async fn check(readiness: &Readiness) -> Vec<u8> {
        let request = Request::post("/grpc.health.v1.Health/Check")
            .header("content-type", "application/grpc")
            .body(Body::from(&b"\0\0\0\0\x03\x0a\x01x"[..]));
        let response = health(readiness).oneshot(request.unwrap()).await.unwrap();
        assert_eq!(response.headers()["content-type"], "application/grpc");
        let answer = response.into_body().collect().await.unwrap();
        assert_eq!(answer.trailers().unwrap()["grpc-status"], "0");
        answer.to_bytes().to_vec()
    }

    #[tokio::test]
    async fn a_server_serves_while_it_is_ready() {
        let ready = Readiness::new().with("log", async || Ok(()));
        assert_eq!(check(&ready).await, b"\0\0\0\0\x02\x08\x01");
        let down = ready.with("disk", async || Err("full".to_owned()));
        assert_eq!(check(&down).await, b"\0\0\0\0\x02\x08\x02");
    }

    #[tokio::test]
    async fn watching_is_unimplemented_in_grpcs_own_way() {
        let request = Request::post("/grpc.health.v1.Health/Watch").body(Body::empty()).unwrap();
        let response = health(&Readiness::new()).oneshot(request).await.unwrap();
        assert_eq!(
            (response.status().as_u16(), &response.headers()["grpc-status"]),
            (200, &"12".parse().unwrap())
        );
    }
}
