//! The gate before the sealed zone: whoever reads what holds names has to say who they are.
//!
//! Everything a server answers is in one of two zones. The open one (checkpoints, hash tiles, proofs, keys, trust)
//! reveals sizes and hashes and is for anyone. The sealed one (entry bundles, entries, search) holds repository names
//! and e-mail addresses: each of its routes is mounted through a [`Gate`].
//!
//! Invariant: behind a closed gate no handler runs before a [`Readers`] has admitted the request, no answer
//! may be kept by a shared cache, and none may be read by a web page whose origin is not in the
//! configuration. Functions that return entries require a [`Permit`], which only the gate creates.

mod certificates;
mod permit;
mod tokens;
mod waiting;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::MethodRouter;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, CACHE_CONTROL, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use metrics::Counter;

pub use self::certificates::{CertificateReaders, ClientCertificate};
pub use self::permit::Permit;
pub use self::tokens::{TokenFileError, TokenReaders, new_token};
use self::waiting::Waiting;
use super::cors::{self, Origins};
use super::layers::Peer;
use super::metrics::Counters;
use super::rate;
use super::reply::Problem;

/// What nobody else may keep, and the reader neither.
const NOT_KEPT: HeaderValue = HeaderValue::from_static("private, no-store");

/// What a request shows of whoever sent it.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    token: Option<String>,
    certificate: Option<ClientCertificate>,
    address: Option<IpAddr>,
}

impl Credentials {
    fn of(request: &Request) -> Self {
        let peer = request.extensions().get::<Peer>();
        Self {
            token: token(request.headers()),
            certificate: request.extensions().get::<ClientCertificate>().cloned(),
            address: peer.map(|peer| rate::network(peer.client(request.headers()))),
        }
    }

    /// The client's address, or its network. It proves nothing: it is what limits count by.
    pub fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// What stands in `Authorization`: the token of `Bearer`, or the password of `Basic`, whose user name is not
    /// looked at. Many a client can send a password that cannot send a bearer token.
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// The client certificate of the connection, which the TLS handshake has verified.
    pub fn certificate(&self) -> Option<&ClientCertificate> {
        self.certificate.as_ref()
    }
}

fn token(headers: &HeaderMap) -> Option<String> {
    let (scheme, value) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let value = value.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(value.to_owned());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = String::from_utf8(STANDARD.decode(value).ok()?).ok()?;
    pair.split_once(':').map(|(_, password)| password.to_owned())
}

/// Somebody who was let in, by the name that the access log shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reader(Arc<str>);

impl Reader {
    /// A reader of this name.
    pub fn named(name: &str) -> Self {
        Self(name.into())
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.0
    }
}

/// Why somebody was not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// Nothing was shown.
    Missing,
    /// What was shown is not genuine, or not for here, or has expired.
    Invalid,
    /// It is genuine, and its holder is not among the readers.
    Forbidden,
    /// It cannot be judged at this time.
    Unavailable,
    /// Too many requests of its address wait for a judgement.
    TooMany,
}

impl Denied {
    const REASONS: [&'static str; 5] = ["missing", "invalid", "forbidden", "unavailable", "too_many"];

    /// As a metric label: a closed set.
    fn reason(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Invalid => "invalid",
            Self::Forbidden => "forbidden",
            Self::Unavailable => "unavailable",
            Self::TooMany => "too_many",
        }
    }
}

/// Who may read.
#[async_trait]
pub trait Readers: Send + Sync {
    /// Judges what a request shows.
    async fn admit(&self, credentials: Credentials) -> Result<Reader, Denied>;

    /// Looks whether what they are judged by has changed, although nobody asks: for monitoring.
    fn look(&self) {}

    /// The challenges of a 401, RFC 9110 §11.6.1.
    fn challenges(&self) -> &'static [&'static str];

    /// What whoever comes without credentials is told to bring.
    fn advice(&self) -> &'static str;
}

/// What stands before the routes of the sealed zone.
#[derive(Clone, Default)]
pub struct Gate {
    /// `None` for an open gate.
    guard: Option<Arc<Guard>>,
    /// Origins whose web pages may read responses.
    origins: Origins,
}

/// Readers, and the count of who was and was not one.
struct Guard {
    readers: Arc<dyn Readers>,
    waiting: Waiting,
    admitted: Counter,
    refusals: Counters,
}

impl Guard {
    /// Judges credentials. A judgement that cannot be given at once needs a place to wait for it.
    async fn judge(&self, credentials: Credentials) -> Result<Reader, Denied> {
        let address = credentials.address;
        let mut judging = self.readers.admit(credentials);
        if let Poll::Ready(judged) = futures::poll!(&mut judging) {
            return judged;
        }
        let _place = self.waiting.join(address).ok_or(Denied::TooMany)?;
        judging.await
    }
}

impl Gate {
    /// No gate: whoever reaches the listener reads everything.
    pub fn open() -> Self {
        Self::default()
    }

    /// Only `readers` read.
    pub fn closed(readers: Arc<dyn Readers>) -> Self {
        let refusals = Counters::new("chancery_access_refusals_total", "reason", &Denied::REASONS);
        let admitted = metrics::counter!("chancery_access_admitted_total");
        let guard = Guard { readers, waiting: Waiting::default(), admitted, refusals };
        Self { guard: Some(Arc::new(guard)), ..Self::default() }
    }

    /// Allows web pages of these origins to read responses from behind the gate. The default allows none,
    /// even for an open gate, because a request from a browser is not always sent on behalf of its user.
    #[must_use]
    pub fn for_pages_of(self, origins: Origins) -> Self {
        Self { origins, ..self }
    }

    /// Whether anyone may read.
    pub fn is_open(&self) -> bool {
        self.guard.is_none()
    }

    /// Looks whether the list of readers has changed, although nobody asks: for monitoring.
    pub fn look(&self) {
        if let Some(guard) = &self.guard {
            guard.readers.look();
        }
    }

    /// Puts the gate before the methods that `routes` has so far; those that are added later are not behind it, so
    /// that the write of a path can stay beside its sealed read.
    pub fn before<S: Clone + Send + Sync + 'static>(&self, routes: MethodRouter<S>) -> MethodRouter<S> {
        let routes = match &self.guard {
            None => routes.route_layer(Permit::everyone()),
            Some(guard) => routes.route_layer(from_fn_with_state(Arc::clone(guard), pass)),
        };
        cors::listed(&self.origins, routes)
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_open() { "Gate(open)" } else { "Gate(closed)" })
    }
}

async fn pass(State(guard): State<Arc<Guard>>, mut request: Request, next: Next) -> Response {
    let mut response = match guard.judge(Credentials::of(&request)).await {
        Ok(reader) => {
            guard.admitted.increment(1);
            Permit::grant(&mut request);
            let mut response = next.run(request).await;
            // For the access log.
            response.extensions_mut().insert(reader);
            response
        }
        Err(denied) => {
            guard.refusals.increment(denied.reason());
            refusal(&*guard.readers, denied)
        }
    };
    response.headers_mut().entry(CACHE_CONTROL).or_insert(NOT_KEPT);
    response
}

fn refusal(readers: &dyn Readers, denied: Denied) -> Response {
    let advice = readers.advice();
    let (status, message) = match denied {
        Denied::Missing => {
            (StatusCode::UNAUTHORIZED, format!("entries hold names and are not shown to everyone: {advice}"))
        }
        Denied::Invalid => (
            StatusCode::UNAUTHORIZED,
            format!("the credentials are not valid here, or not any more: {advice}"),
        ),
        Denied::Forbidden => (
            StatusCode::FORBIDDEN,
            "the credentials are genuine, but their holder may not read entries here: ask the operator"
                .to_owned(),
        ),
        Denied::Unavailable => {
            let message = "the credentials cannot be verified at this time, try again";
            return Problem::busy(message, Duration::from_secs(2)).into_response();
        }
        Denied::TooMany => {
            let message = "too many credentials of this address are being verified, try again";
            return Problem::too_many(message, Duration::from_secs(2)).into_response();
        }
    };
    let mut response = Problem::new(status, message).into_response();
    if status == StatusCode::UNAUTHORIZED {
        for challenge in readers.challenges() {
            response.headers_mut().append(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
    }
    response
}

#[cfg(test)]
mod tests;
