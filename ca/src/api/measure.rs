//! HTTP metrics under Fulcio's names. Labels come from closed sets (CVE-2026-49835): the status code that we chose and
//! a method that we know.

use std::time::Instant;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http::Method;

pub(super) async fn measure(request: Request, next: Next) -> Response {
    let method = label(request.method());
    let started = Instant::now();
    let response = next.run(request).await;
    let code = response.status().as_u16().to_string();
    metrics::counter!("http_requests_total", "code" => code.clone(), "method" => method).increment(1);
    metrics::histogram!("fulcio_api_latency", "code" => code, "method" => method).record(started.elapsed());
    response
}

fn label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "get",
        Method::POST => "post",
        Method::HEAD => "head",
        Method::OPTIONS => "options",
        _ => "other",
    }
}
