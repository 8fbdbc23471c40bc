//! Cross-origin resource sharing, per route.
//!
//! Open routes and writes allow any origin, as Rekor and Fulcio do: no credentials, GET, HEAD and POST. That
//! is safe because no API here uses cookies, and browsers do not give a page that was answered `*` any
//! response to a request with the user's password or client certificate.
//!
//! Sealed routes allow only the origins in the configuration, by default none: a browser can reach servers
//! that the author of a page cannot, on loopback or behind a firewall.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::MethodRouter;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

/// Any origin.
const ANY: HeaderValue = HeaderValue::from_static("*");
/// Allowed methods.
const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST");
/// Maximum length of an origin: scheme, host name and port.
const MAX_ORIGIN: usize = 300;

/// Origins whose pages may use sealed routes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins(Arc<[HeaderValue]>);

/// Invalid origin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not an origin: write scheme, host and, if it is not the usual one, port, as in \
     \"https://dashboard.example.com\", or \"*\" for any origin"
)]
pub struct OriginError(String);

impl Origins {
    /// Parses origins in the form that browsers send.
    pub fn parse<T: AsRef<str>>(origins: &[T]) -> Result<Self, OriginError> {
        let parsed: Result<Vec<_>, _> = origins.iter().map(|text| origin(text.as_ref())).collect();
        Ok(Self(parsed?.into()))
    }

    /// The value of `Access-Control-Allow-Origin` for a request.
    fn allowed(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let from = headers.get(ORIGIN)?;
        self.0.iter().find(|origin| *origin == from || *origin == ANY).cloned()
    }
}

fn origin(text: &str) -> Result<HeaderValue, OriginError> {
    let malformed = || OriginError(text.chars().take(MAX_ORIGIN).flat_map(char::escape_default).collect());
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    // Browsers send origins in lower case and hosts in punycode.
    let plain = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b':' | b'[' | b']')
    };
    let sound = host.is_some_and(|host| !host.is_empty() && host.bytes().all(plain));
    if text != "*" && (!sound || text.len() > MAX_ORIGIN) {
        return Err(malformed());
    }
    HeaderValue::from_str(text).map_err(|_| malformed())
}

/// Allows any origin to use `routes`.
pub fn any_origin<S: Clone + Send + Sync + 'static>(routes: MethodRouter<S>) -> MethodRouter<S> {
    routes.layer(from_fn(answer_any))
}

/// Allows any origin to use the POST method of `routes`; other methods are unchanged.
pub fn any_origin_for_post<S: Clone + Send + Sync + 'static>(routes: MethodRouter<S>) -> MethodRouter<S> {
    routes.layer(from_fn(answer_post))
}

/// Allows `origins` to use the methods that `routes` has so far.
pub(super) fn listed<S: Clone + Send + Sync + 'static>(
    origins: &Origins,
    routes: MethodRouter<S>,
) -> MethodRouter<S> {
    if origins.0.is_empty() {
        return routes;
    }
    let preflighted = origins.clone();
    let preflight = async move |headers: HeaderMap| preflight(preflighted.allowed(&headers));
    routes.route_layer(from_fn_with_state(origins.clone(), answer_listed)).options(preflight)
}

async fn answer_any(request: Request, next: Next) -> Response {
    if asked_for(&request).is_some() {
        return preflight(Some(ANY));
    }
    // Sent even to same-origin requests, so that shared caches can keep one response for all.
    let mut response = next.run(request).await;
    response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, ANY);
    response
}

async fn answer_post(request: Request, next: Next) -> Response {
    if asked_for(&request).is_some_and(|method| method == Method::POST.as_str()) {
        return preflight(Some(ANY));
    }
    let writes = request.method() == Method::POST;
    let mut response = next.run(request).await;
    if writes {
        response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, ANY);
    }
    response
}

async fn answer_listed(State(origins): State<Origins>, request: Request, next: Next) -> Response {
    let allowed = origins.allowed(request.headers());
    let mut response = next.run(request).await;
    if let Some(origin) = allowed {
        response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    }
    response.headers_mut().append(VARY, HeaderValue::from(ORIGIN));
    response
}

/// The requested method of a preflight request; `None` for other requests.
fn asked_for(request: &Request) -> Option<&HeaderValue> {
    let asked = request.headers().get(ACCESS_CONTROL_REQUEST_METHOD);
    asked.filter(|_| request.method() == Method::OPTIONS)
}

fn preflight(allowed: Option<HeaderValue>) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    let Some(origin) = allowed else {
        headers.insert(VARY, HeaderValue::from(ORIGIN));
        return response;
    };
    let mut may_send = "accept, content-type, x-requested-with";
    if origin != ANY {
        may_send = "accept, authorization, content-type, x-requested-with";
        headers.insert(VARY, HeaderValue::from(ORIGIN));
    }
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(may_send));
    response
}

#[cfg(test)]
mod tests;
