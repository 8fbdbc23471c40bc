//! Connections over TLS that say nothing after their handshake.

use super::tls::{handshake, write_pair};
use super::*;

async fn over_tls(limits: Limits, request: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let (files, certificate) = write_pair(folder.path());
    let running = Running::start(hello(), limits, Some(files)).await;
    let mut stream = handshake(&running, &certificate, &[b"http/1.1"]).await.unwrap();
    let answer = exchange(&mut stream, request).await;
    running.stop().await;
    answer
}

#[tokio::test]
async fn a_connection_without_a_request_after_its_handshake_is_closed() {
    let limits = Limits { header_timeout: 10 * SHORT, ..Limits::default() };
    for request in ["", "GET / HTTP/1.1\r\n"] {
        let answer = over_tls(limits.clone(), request).await;
        assert!(!answer.contains("200 OK"), "{answer}");
    }
}

#[tokio::test]
async fn a_connection_without_another_request_is_closed() {
    let limits = Limits { idle_timeout: SHORT, ..Limits::default() };
    let answer = over_tls(limits, &GET.replace("connection: close\r\n", "")).await;
    assert!(answer.ends_with("hello"), "{answer}");
}
