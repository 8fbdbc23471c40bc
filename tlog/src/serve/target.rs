//! Request targets: one canonical spelling of each path, and a check of the host.
//!
//! Routes, the gate before sealed routes, rate limits, handlers and the access log must all see the same
//! resource. The path is therefore canonicalised before anything else looks at it: empty segments, which
//! clients produce from a base URL with a trailing slash, are dropped. Spellings that would have to be
//! decoded or resolved are refused instead: percent-encoding, dot segments, path parameters and backslashes.
//! No path of this server needs them, and a router that matches the raw path in front of a handler that
//! decodes it lets requests bypass the gate. Queries are not changed.

use std::borrow::Cow;
use std::net::IpAddr;

use http::header::HOST;
use http::uri::{Authority, PathAndQuery};
use http::{Request, StatusCode, Uri};

use super::reply::Problem;

/// Replaces the path of a request by its canonical spelling, without empty segments.
pub fn normalise<B>(request: &mut Request<B>) {
    let Cow::Owned(path) = spelling(request.uri().path()) else { return };
    let text = match request.uri().query() {
        Some(query) => format!("{path}?{query}"),
        None => path,
    };
    let mut parts = request.uri().clone().into_parts();
    // A path with fewer slashes is still a valid path. If a URI crate disagrees, `check` refuses the request.
    let Ok(path_and_query) = text.parse::<PathAndQuery>() else { return };
    parts.path_and_query = Some(path_and_query);
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
}

/// `path` without empty segments.
fn spelling(path: &str) -> Cow<'_, str> {
    let doubled = path.as_bytes().windows(2).any(|pair| pair == b"//");
    let ends = path.len() > 1 && path.ends_with('/');
    if !path.starts_with('/') || !(doubled || ends) {
        return Cow::Borrowed(path);
    }
    let mut one = String::with_capacity(path.len());
    for segment in path.split('/').filter(|segment| !segment.is_empty()) {
        one.push('/');
        one.push_str(segment);
    }
    if one.is_empty() {
        one.push('/');
    }
    Cow::Owned(one)
}

/// Refuses a path that is not in its canonical spelling.
pub(super) fn check(path: &str) -> Result<(), Problem> {
    let foreign = |byte: u8| matches!(byte, b'%' | b';' | b'\\') || !byte.is_ascii_graphic();
    let wrong = if path.bytes().any(foreign) {
        "the path has percent-encoding, `;`, `\\` or a character outside of ASCII, which no path of this server has"
    } else if path.split('/').any(|segment| matches!(segment, "." | "..")) {
        "the path has a segment `.` or `..`, which no path of this server has"
    } else if matches!(spelling(path), Cow::Owned(_)) {
        "the path has an empty segment, which no path of this server has"
    } else {
        return Ok(());
    };
    Err(Problem::bad_request(format!("{wrong}: send the path as documented")))
}

/// The host names that a loopback listener accepts.
///
/// The author of a web page can point the page's own host name to 127.0.0.1; the browser then takes the local
/// server for the page's own (DNS rebinding). The browser still sends that host name, and the page cannot
/// change it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hosts(Box<[Box<str>]>);

impl Hosts {
    /// Loopback names and addresses, and `names`.
    pub(super) fn with(names: &[String]) -> Self {
        Self(names.iter().map(|name| bare(name).to_ascii_lowercase().into()).collect())
    }

    /// Refuses a request for any other host.
    pub(super) fn check<B>(&self, request: &Request<B>) -> Result<(), Problem> {
        let target = request.uri().authority().map(Authority::as_str);
        if target.is_some_and(|authority| !self.has(authority)) {
            return Err(self.refusal());
        }
        // Every browser sends a host, so a request without one is accepted.
        for name in request.headers().get_all(HOST) {
            if !name.to_str().is_ok_and(|name| self.has(name)) {
                return Err(self.refusal());
            }
        }
        Ok(())
    }

    /// True if the host of `authority` is accepted, whatever its port.
    fn has(&self, authority: &str) -> bool {
        let Some(host) = host_of(authority) else { return false };
        is_loopback(host) || self.0.iter().any(|name| name.eq_ignore_ascii_case(host))
    }

    fn refusal(&self) -> Problem {
        let names = ["localhost", "127.0.0.1", "[::1]"].into_iter().chain(self.0.iter().map(AsRef::as_ref));
        let names = names.collect::<Vec<_>>().join(", ");
        Problem::new(
            StatusCode::MISDIRECTED_REQUEST,
            format!(
                "this listener accepts requests for the hosts {names} only: use one of \
                 these names, let the proxy in front send one as `Host`, or set `behind_proxy = true` under `[listen]`"
            ),
        )
    }
}

/// The host that a request was sent to (`:authority` of HTTP/2, an absolute target, or `Host`), without port and
/// brackets.
pub(super) fn host<B>(request: &Request<B>) -> Option<&str> {
    host_of(match request.uri().authority() {
        Some(authority) => authority.as_str(),
        None => request.headers().get(HOST)?.to_str().ok()?,
    })
}

/// The host of an authority, without brackets; `None` for a malformed authority.
fn host_of(authority: &str) -> Option<&str> {
    let (host, rest) = match authority.strip_prefix('[') {
        Some(after) => after.split_once(']')?,
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let port = rest.strip_prefix(':').unwrap_or(rest);
    let sound = (rest.is_empty() || rest.starts_with(':')) && port.bytes().all(|byte| byte.is_ascii_digit());
    (sound && !host.is_empty() && !host.contains('@')).then_some(host)
}

/// `host` without the brackets of an IPv6 address.
fn bare(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

/// True for hosts that always mean this machine: loopback addresses, `localhost` and its subdomains (RFC
/// 6761).
fn is_loopback(host: &str) -> bool {
    if let Ok(address) = host.parse::<IpAddr>() {
        return address.to_canonical().is_loopback();
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    let last = name.rsplit('.').next().unwrap_or(name);
    last.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests;
