//! Cross-origin reads, as Rekor and Fulcio answer them: any origin, no credentials, GET, HEAD and POST.
//!
//! Safe because no API here has cookies, and browsers do not hand what they got with a password or a client certificate
//! of the user's to a page that was answered `*`.

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_REQUEST_METHOD,
};
use http::{HeaderValue, Method, StatusCode};

/// Allows any origin to use `router`.
pub fn allow_any_origin(router: Router) -> Router {
    router.layer(from_fn(answer))
}

async fn answer(request: Request, next: Next) -> Response {
    let preflight =
        request.method() == Method::OPTIONS && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    if preflight {
        let headers = [
            (ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*")),
            (ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD, POST")),
            (
                ACCESS_CONTROL_ALLOW_HEADERS,
                HeaderValue::from_static("accept, content-type, x-requested-with"),
            ),
        ];
        return (StatusCode::NO_CONTENT, headers).into_response();
    }
    // Said to everyone, cross-origin or not, so that a shared cache may keep one answer for all.
    let mut response = next.run(request).await;
    response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}
