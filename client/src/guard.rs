//! The guard: the only door to a network, and it opens to listed hosts alone.
//!
//! Invariant: every endpoint is known, checked and listed before the first request, so before a token exists. A
//! guard contacts nobody else: requests to other hosts are refused, redirects are not followed, proxies of the
//! environment are not used. The public Sigstore and GitHub instances are refused unless asked for, because what
//! is sent there becomes public. Plain http is for loopback only. (design §6)

mod answer;

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Method, StatusCode};
use serde::Serialize;
use url::{Host, Url};

pub use self::answer::{Answer, Answered, RequestId};

/// Domains of the instances whose logs anyone can read, and of GitHub's.
const PUBLIC: [&str; 4] = ["sigstore.dev", "sigstage.dev", "githubapp.com", "tuf-repo.github.com"];
/// What is sent and wanted, unless a request says otherwise.
const JSON: &str = "application/json";
/// Largest answer that is read, in bytes.
pub const MAX_ANSWER: usize = 8 * 1024 * 1024;
/// Attempts at a request; servers under load answer 429 or 503.
const ATTEMPTS: u32 = 4;
/// Longest wait between two attempts.
const MAX_WAIT: Duration = Duration::from_secs(10);
/// Time to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for a whole request: what cosign gives Rekor.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(90);

/// Why an endpoint is refused. None of them is contacted.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum GuardError {
    /// A public instance.
    #[error("`{0}` is a public instance: what is sent there, repository names included, becomes public")]
    PublicInstance(String),
    /// Plain http to another machine.
    #[error("`{0}` is plain http; only loopback addresses may be")]
    Insecure(String),
    /// Not a web address at all.
    #[error("`{0}` is not an http or https address without credentials")]
    NotWeb(String),
    /// The HTTP client.
    #[error("cannot set up the HTTP client: {0}")]
    Client(String),
}

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// Not on the list.
    #[error("`{0}` is not among the hosts of this run, so it is not contacted")]
    NotListed(String),
    /// The server sends elsewhere, and says that the request is still to be done.
    #[error("{0} answers with a redirect, which is not followed{1}")]
    Redirect(String, RequestId),
    /// The server sends elsewhere for the answer to a request that it may have done.
    #[error("{0} answers with a redirect, which is not followed; it may have done what was asked{1}")]
    Moved(String, RequestId),
    /// Too large.
    #[error("{0} answers more than {MAX_ANSWER} bytes{1}")]
    TooLarge(String, RequestId),
    /// The network.
    #[error("{host}: {reason}")]
    Network {
        /// Whom.
        host: String,
        /// Why, innermost reason last.
        reason: String,
        /// Whether some attempt may have reached the server, which may have done what was asked.
        may_have_arrived: bool,
        /// Whether the server's TLS certificate is what was refused, and how.
        tls: Option<TlsRefusal>,
    },
}

/// Why a server's TLS certificate is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsRefusal {
    /// No authority that this machine trusts issued it.
    Untrusted,
    /// It is a CA certificate itself, such as `openssl req -x509` makes.
    IsAuthority,
    /// Another reason, which the error names.
    Other,
}

impl TlsRefusal {
    /// Looks for the TLS library's error behind the HTTP client's.
    fn find(error: &(dyn std::error::Error + 'static)) -> Option<Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(rustls::Error::InvalidCertificate(why)) = error.downcast_ref() {
                return Some(Self::of(why));
            }
            // An I/O error passes over what it holds when it is asked for its source.
            let held = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
            next = match held {
                Some(held) => Some(held),
                None => error.source(),
            };
        }
        None
    }

    fn of(why: &rustls::CertificateError) -> Self {
        match why {
            rustls::CertificateError::UnknownIssuer => Self::Untrusted,
            other if other.to_string().contains("CaUsedAsEndEntity") => Self::IsAuthority,
            _ => Self::Other,
        }
    }
}

impl HttpError {
    /// Why the server's TLS certificate is refused, if that is what failed.
    pub const fn tls(&self) -> Option<TlsRefusal> {
        match self {
            Self::Network { tls, .. } => *tls,
            _ => None,
        }
    }

    /// Whether the server may have done what was asked, although its answer did not come or cannot be read.
    pub const fn may_have_arrived(&self) -> bool {
        match self {
            Self::NotListed(_) | Self::Redirect(..) => false,
            Self::Moved(..) | Self::TooLarge(..) => true,
            Self::Network { may_have_arrived, .. } => *may_have_arrived,
        }
    }
}

/// What a host is contacted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// To get the instance's trust configuration.
    Instance,
    /// To get an identity token.
    IdentityToken,
    /// To get a certificate.
    CertificateAuthority,
    /// To get a timestamp of a signature.
    TimestampAuthority,
    /// To log a signature.
    TransparencyLog,
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Instance => "instance",
            Self::IdentityToken => "identity token",
            Self::CertificateAuthority => "certificate authority",
            Self::TimestampAuthority => "timestamp authority",
            Self::TransparencyLog => "transparency log",
        })
    }
}

/// A host of a run, and how often it was contacted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Contact {
    /// `https://host:port`.
    pub host: String,
    /// What for.
    pub purposes: Vec<Purpose>,
    /// Requests sent.
    pub requests: u32,
}

/// A request to a listed host.
#[derive(Clone, Debug)]
pub struct Request {
    method: Method,
    url: Url,
    bearer: Option<String>,
    body: Option<Vec<u8>>,
    /// Of the body.
    content_type: &'static str,
    /// What the answer may be.
    accept: &'static str,
}

impl Request {
    /// GET.
    pub fn get(url: Url) -> Self {
        Self { method: Method::GET, url, bearer: None, body: None, content_type: JSON, accept: JSON }
    }

    /// POST of JSON.
    pub fn post(url: Url, json: &serde_json::Value) -> Self {
        let body = Some(json.to_string().into_bytes());
        Self { method: Method::POST, url, bearer: None, body, content_type: JSON, accept: JSON }
    }

    /// POST of bytes of a media type, for an answer of another one.
    pub fn post_bytes(url: Url, content_type: &'static str, body: Vec<u8>, accept: &'static str) -> Self {
        Self { method: Method::POST, url, bearer: None, body: Some(body), content_type, accept }
    }

    /// With a bearer token.
    #[must_use]
    pub fn bearer(self, token: &str) -> Self {
        Self { bearer: Some(token.to_owned()), ..self }
    }
}

/// The door. See the module's documentation.
#[derive(Debug)]
pub struct Guard {
    client: reqwest::Client,
    contacts: Mutex<Vec<Contact>>,
}

impl Guard {
    /// A guard for exactly these endpoints. Fails if any may not be contacted; `allow_public` lets the public
    /// instances through.
    pub fn new(endpoints: &[(Purpose, &Url)], allow_public: bool) -> Result<Self, GuardError> {
        let mut contacts: Vec<Contact> = Vec::new();
        for (purpose, url) in endpoints {
            check(url, allow_public)?;
            let host = origin(url);
            match contacts.iter_mut().find(|contact| contact.host == host) {
                Some(contact) if contact.purposes.contains(purpose) => {}
                Some(contact) => contact.purposes.push(*purpose),
                None => contacts.push(Contact { host, purposes: vec![*purpose], requests: 0 }),
            }
        }
        let client = reqwest::Client::builder()
            .redirect(Policy::none())
            .no_proxy()
            .referer(false)
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(REQUEST_TIMEOUT)
            .user_agent(concat!("chancery/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| GuardError::Client(reason(&error)))?;
        Ok(Self { client, contacts: Mutex::new(contacts) })
    }

    /// The hosts of this run, contacted or not yet.
    pub fn contacts(&self) -> Vec<Contact> {
        self.contacts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sends a request to a listed host. Repeats it while the server is overloaded or unreachable.
    pub async fn send(&self, request: Request) -> Result<Answer, HttpError> {
        let mut planned = Duration::from_millis(500);
        let mut lost = false;
        for _ in 1..ATTEMPTS {
            let asked = match self.send_once(&request).await {
                Ok((answer, retry_after)) if is_overload(answer.status) => {
                    lost |= !answer.is_refusal();
                    retry_after
                }
                Err(HttpError::Network { may_have_arrived, .. }) => {
                    lost |= may_have_arrived;
                    None
                }
                done => return after(lost, done),
            };
            let wait = wait(planned, asked);
            tokio::time::sleep(wait).await;
            planned = wait * 2;
        }
        after(lost, self.send_once(&request).await)
    }

    async fn send_once(&self, request: &Request) -> Result<(Answer, Option<Duration>), HttpError> {
        let host = origin(&request.url);
        self.record(&host)?;
        let network = |error: reqwest::Error, id: &RequestId| HttpError::Network {
            host: host.clone(),
            may_have_arrived: !error.is_connect(),
            tls: TlsRefusal::find(&error),
            reason: reason(&error.without_url())
                + &unused_proxy(&request.url, |name| std::env::var(name).ok())
                + &id.to_string(),
        };
        let mut builder = self.client.request(request.method.clone(), request.url.clone());
        if let Some(token) = &request.bearer {
            builder = builder.bearer_auth(token);
        }
        if let Some(body) = &request.body {
            builder = builder.header("content-type", request.content_type).body(body.clone());
        }
        let unanswered = |error| network(error, &RequestId::default());
        let mut response = builder.header("accept", request.accept).send().await.map_err(unanswered)?;
        let (status, id) = (response.status(), RequestId::of(response.headers()));
        if status.is_redirection() {
            return Err(redirect(request, status)(host, id));
        }
        let header = |name: &str| {
            response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
        };
        let (location, retry_after) = (header("location"), header("retry-after"));
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|error| network(error, &id))? {
            if body.len() + piece.len() > MAX_ANSWER {
                return Err(HttpError::TooLarge(host, id));
            }
            body.extend_from_slice(&piece);
        }
        let retry_after = retry_after.and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs);
        let status = status.as_u16();
        Ok((Answer { status, location, body, request: id, after_loss: false }, retry_after))
    }

    fn record(&self, host: &str) -> Result<(), HttpError> {
        let mut contacts = self.contacts.lock().unwrap_or_else(PoisonError::into_inner);
        let listed = contacts.iter_mut().find(|contact| contact.host == host);
        let contact = listed.ok_or_else(|| HttpError::NotListed(host.to_owned()))?;
        contact.requests += 1;
        Ok(())
    }
}

/// `base` with `path` appended to its own path, without doubled slashes: Fulcio answers those with 404.
pub fn join(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}{path}", base.path().trim_end_matches('/')));
    url.set_query(None);
    url.set_fragment(None);
    url
}

/// Words on a proxy of the environment that other programs would go through, and this one does not: it contacts the hosts
/// that it lists, and no other.
fn unused_proxy(url: &Url, variable: impl Fn(&str) -> Option<String>) -> String {
    let names: &[&str] = match url.scheme() {
        "https" => &["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"],
        _ => &["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"],
    };
    let set = names.iter().find(|name| variable(name).is_some_and(|value| !value.is_empty()));
    match set {
        Some(name) if !is_loopback(url) => {
            format!(
                "; the proxy in {name} is not used: this program contacts the hosts that it lists directly"
            )
        }
        _ => String::new(),
    }
}

/// Whether a URL's host is this machine, by its spelling: names are not resolved.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn check(url: &Url, allow_public: bool) -> Result<(), GuardError> {
    let is_web = matches!(url.scheme(), "https" | "http") && url.host().is_some();
    if !is_web || !url.username().is_empty() || url.password().is_some() {
        // Not shown whole: a refused address may carry a password.
        return Err(GuardError::NotWeb(url.host_str().unwrap_or("<no host>").to_owned()));
    }
    if url.scheme() == "http" && !is_loopback(url) {
        return Err(GuardError::Insecure(origin(url)));
    }
    if !allow_public && is_public(url) {
        return Err(GuardError::PublicInstance(url.host_str().unwrap_or_default().to_owned()));
    }
    Ok(())
}

fn is_public(url: &Url) -> bool {
    // `url` lower-cases hosts; a final dot names the same host.
    let host = url.host_str().unwrap_or_default().trim_end_matches('.');
    PUBLIC
        .iter()
        .any(|domain| host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')))
}

fn origin(url: &Url) -> String {
    let port = url.port_or_known_default().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}", url.scheme(), url.host_str().unwrap_or_default())
}

/// What a redirect says of the request. Only 307 and 308 ask for it again as it was; after others a client gets the new
/// address instead (RFC 9110 §15.4), so a POST may have been done, and 303 says that it was.
fn redirect(request: &Request, status: StatusCode) -> fn(String, RequestId) -> HttpError {
    let is_undone = [StatusCode::TEMPORARY_REDIRECT, StatusCode::PERMANENT_REDIRECT].contains(&status);
    if is_undone || request.method.is_safe() { HttpError::Redirect } else { HttpError::Moved }
}

/// The outcome of the last attempt, with what earlier ones leave open.
fn after(lost: bool, outcome: Result<(Answer, Option<Duration>), HttpError>) -> Result<Answer, HttpError> {
    match outcome {
        Ok((answer, _)) => Ok(Answer { after_loss: lost, ..answer }),
        Err(HttpError::Network { host, reason, may_have_arrived, tls }) => {
            Err(HttpError::Network { host, reason, may_have_arrived: may_have_arrived || lost, tls })
        }
        Err(error @ (HttpError::Redirect(..) | HttpError::NotListed(_))) if lost => {
            let (host, reason) = ("after a lost answer".to_owned(), error.to_string());
            Err(HttpError::Network { host, reason, may_have_arrived: true, tls: None })
        }
        Err(error) => Err(error),
    }
}

/// How long to wait before the next attempt: what the server asks for, else what is planned. Capped before anybody
/// doubles it: a `Retry-After` of 2^64 − 1 seconds would overflow a `Duration`.
fn wait(planned: Duration, asked: Option<Duration>) -> Duration {
    asked.unwrap_or(planned).min(MAX_WAIT)
}

fn is_overload(status: u16) -> bool {
    [StatusCode::TOO_MANY_REQUESTS, StatusCode::BAD_GATEWAY, StatusCode::SERVICE_UNAVAILABLE]
        .iter()
        .chain([&StatusCode::GATEWAY_TIMEOUT])
        .any(|overload| overload.as_u16() == status)
}

/// An error with its causes, outermost first.
fn reason(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests;
