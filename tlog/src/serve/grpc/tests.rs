//! gRPC through the chassis, over a real socket: what layers might lose are its trailers.

use axum::routing::get;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::serve::health::Readiness;
use crate::serve::{Limits, ListenSettings, Listener};

#[derive(Clone, PartialEq, prost::Message)]
struct Text {
    #[prost(string, tag = "1")]
    text: String,
}

fn service() -> Router {
    Service::new("example.Echo", 8)
        .unary(
            "Say",
            async |said: Text| if said.text == "no" { Err(Status::aborted("no")) } else { Ok(said) },
        )
        .into_router()
}

/// Sends one framed message over HTTP/2 without TLS; the answer's frame and `grpc-status`, and where that was.
async fn call(router: Router, path: &str, framed: &'static [u8]) -> (Bytes, String, &'static str) {
    let settings = ListenSettings::new("127.0.0.1:0".parse().unwrap(), None);
    let listener = Listener::bind(&settings, &Limits::default()).await.unwrap();
    let (address, shutdown) = (listener.local_addr(), CancellationToken::new());
    let server = tokio::spawn(listener.serve(router, shutdown.clone()));

    let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let (mut client, connection) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    tokio::spawn(connection);
    let request = Request::post(format!("http://{address}{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(Bytes::from_static(framed)));
    let response = client.send_request(request.unwrap()).await.unwrap();
    assert_eq!(response.status(), 200);
    let in_headers = response.headers().get("grpc-status").cloned();
    let answer = response.into_body().collect().await.unwrap();
    let in_trailers = answer.trailers().and_then(|trailers| trailers.get("grpc-status")).cloned();
    let (status, place) = match (in_headers, in_trailers) {
        (Some(status), None) => (status, "headers"),
        (None, Some(status)) => (status, "trailers"),
        both => panic!("{both:?}"),
    };
    drop(client);
    shutdown.cancel();
    server.await.unwrap().unwrap();
    (answer.to_bytes(), status.to_str().unwrap().to_owned(), place)
}

#[tokio::test]
async fn a_call_is_answered_with_a_message_and_trailers() {
    let (answer, status, place) = call(service(), "/example.Echo/Say", b"\0\0\0\0\x04\x0a\x02hi").await;
    assert_eq!((&answer[..], status.as_str(), place), (&b"\0\0\0\0\x04\x0a\x02hi"[..], "0", "trailers"));
}

#[tokio::test]
async fn errors_and_unknown_methods_are_grpcs_own() {
    for (path, framed, expected) in [
        ("/example.Echo/Say", &b"\0\0\0\0\x04\x0a\x02no"[..], "10"),
        ("/example.Echo/Say", b"\0\0\0\0\x02\x0a\xff", "13"),
        ("/example.Echo/Say", b"\0\0\0\0\x09\x0a\x07too big", "8"),
        ("/example.Echo/Shout", b"\0\0\0\0\0", "12"),
    ] {
        let (answer, status, _) = call(service(), path, framed).await;
        assert_eq!((answer.len(), status.as_str()), (0, expected), "{path} {framed:?}");
    }
}

#[tokio::test]
async fn grpc_and_rest_share_a_port() {
    let both = service().merge(health(&Readiness::new())).route("/", get(async || "rest"));
    let (answer, status, _) = call(both, "/grpc.health.v1.Health/Check", b"\0\0\0\0\0").await;
    assert_eq!((&answer[..], status.as_str()), (&b"\0\0\0\0\x02\x08\x01"[..], "0"));
}
