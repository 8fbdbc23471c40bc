//! The listening sockets, their connections, and the end of both.
//!
//! Every connection is a task of one `JoinSet` that [`Listener::serve`] owns: it returns when the last is answered
//! or the grace is over, and dropping it ends them all. HTTP/1.1 and HTTP/2 come over the same port, by ALPN under
//! TLS and by the preface on plain HTTP.
//!
//! One client address has a share of the connections, and a connection is kept only as long as it is used: it
//! has a time for its handshake and first head, one between requests, and a rate at which it reads its
//! answers.

mod usage;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use axum::body::Body;
use axum::response::Response;
use http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::Service as _;

use self::usage::Expired;
pub(super) use self::usage::Usage;
use super::access::ClientCertificate;
use super::forwarded::Forwarding;
use super::health;
use super::layers::{Around, Chassis, Peer};
use super::metrics::Counters;
use super::rate::{self, Effective};
use super::routes::Routes;
use super::settings::{Limits, ListenSettings, SettingsError};
use super::shares::{Connection, Occupancy};
use super::target::{self, Hosts};
use super::tls::{Tls, TlsError};

/// Largest request head. An OIDC token in `Authorization` is 2 to 8 KiB.
const MAX_HEAD: usize = 64 * 1024;
/// HTTP/2 streams that one connection may have open. Go's clients open one per request in flight.
const MAX_STREAMS: u32 = 128;
/// HTTP/2 pings find connections whose other end has vanished.
const PING: Duration = Duration::from_secs(20);
/// Pause after `accept` failed for want of descriptors or memory, so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Between two looks at a connection that is to end.
const LAST_LOOK: Duration = Duration::from_secs(1);
/// Looks after which a connection that is to end is closed, if nothing is in work on it and nothing is read
/// from it.
const QUIET_LOOKS: u32 = 5;
/// Why connections are ended, as labels of a metric.
const ENDED: [&str; 6] = ["address", "handshake", "silent", "idle", "unread", "stop"];

/// Why a listener cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The settings contradict themselves.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The TLS files do not work.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The address cannot be bound.
    #[error("cannot listen on {address}: {source}{}", hint(*.address, .source))]
    Bind {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
}

/// What to do about an address that cannot be bound.
fn hint(address: SocketAddr, error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::PermissionDenied if address.port() < 1024 => {
            "; ports below 1024 are for root and for processes with CAP_NET_BIND_SERVICE: give it to the unit \
             (`AmbientCapabilities=CAP_NET_BIND_SERVICE`, as in deploy/systemd), or lower \
             `net.ipv4.ip_unprivileged_port_start` with sysctl"
        }
        std::io::ErrorKind::AddrInUse => "; another process listens there: `ss -ltnp` shows which",
        std::io::ErrorKind::AddrNotAvailable => {
            "; this machine does not have the address: `ip addr` shows those it has"
        }
        _ => "",
    }
}

/// Bound sockets that do not answer yet: one for each address of the settings, with the same limits together.
#[derive(Debug)]
pub struct Listener {
    sockets: Vec<TcpListener>,
    address: SocketAddr,
    addresses: Vec<SocketAddr>,
    tls: Option<Arc<Tls>>,
    proxy: Option<Arc<Forwarding>>,
    hosts: Option<Hosts>,
    limits: Limits,
    rates: Effective,
    occupancy: Occupancy,
}

impl Listener {
    /// Checks the settings, reads the TLS files and binds. Clients can connect from here on and wait for
    /// [`Listener::serve`].
    pub async fn bind(settings: &ListenSettings, limits: &Limits) -> Result<Self, ListenError> {
        settings.check()?;
        limits.check()?;
        let tls = settings.tls.as_ref().map(Tls::load).transpose()?;
        let (mut sockets, mut addresses) = (Vec::new(), Vec::new());
        for address in settings.addresses() {
            let failed = |source| ListenError::Bind { address, source };
            let socket = TcpListener::bind(address).await.map_err(failed)?;
            addresses.push(socket.local_addr().map_err(failed)?);
            sockets.push(socket);
        }
        let proxy = settings.forwarding().map(Arc::new);
        // Behind a proxy and on other addresses, the names by which clients reach this server are not known.
        let local = addresses.iter().all(|address| address.ip().to_canonical().is_loopback());
        let hosts = (local && proxy.is_none()).then(|| Hosts::with(&settings.hosts));
        Ok(Self {
            sockets,
            address: addresses.first().copied().unwrap_or(settings.address),
            addresses,
            tls,
            proxy,
            hosts,
            limits: limits.clone(),
            rates: Effective::default(),
            occupancy: Occupancy::new(limits),
        })
    }

    /// With these limits on how often a client may come. Without them there are none.
    #[must_use]
    pub fn limiting(self, rates: Effective) -> Self {
        Self { rates, ..self }
    }

    /// With its state in `occupancy`, which was made with the same limits.
    #[must_use]
    pub fn counting(self, occupancy: Occupancy) -> Self {
        Self { occupancy, ..self }
    }

    /// The first bound address, with the port that the system chose for port 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// `http://` or `https://` and each bound address.
    pub fn urls(&self) -> impl Iterator<Item = String> {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        self.addresses.iter().map(move |address| format!("{scheme}://{address}"))
    }

    /// Its TLS identity.
    pub fn tls(&self) -> Option<&Arc<Tls>> {
        self.tls.as_ref()
    }

    /// Answers requests by `routes` until `shutdown`, then finishes what was begun, for at most the grace.
    ///
    /// Every router should have a fallback; [`super::reply::not_found`] is the usual one.
    pub async fn serve(
        self,
        routes: impl Into<Routes>,
        shutdown: CancellationToken,
    ) -> Result<(), ListenError> {
        self.with_routes(routes, &shutdown).run().await;
        Ok(())
    }

    /// The same in two steps, for those who replace the routes meanwhile. Called on the runtime that will serve them.
    pub fn with_routes(self, routes: impl Into<Routes>, shutdown: &CancellationToken) -> Serving {
        let stop = shutdown.child_token();
        let chassis = Chassis::new(Around {
            limits: self.limits.clone(),
            rates: self.rates,
            hosts: self.hosts,
            occupancy: self.occupancy.clone(),
            stop: stop.clone(),
        });
        let routes = Arc::new(ArcSwap::from_pointee(chassis.around(routes.into())));
        let changer = Changer { routes: Arc::clone(&routes), chassis };
        let server = Server {
            routes,
            builder: connection_builder(&self.limits),
            tls: self.tls,
            proxy: self.proxy,
            limits: self.limits,
            occupancy: self.occupancy,
            ended: Counters::new("chancery_http_connections_ended_total", "reason", &ENDED),
            shutdown: stop,
        };
        Serving { sockets: self.sockets, server: Arc::new(server), changer }
    }
}

/// A listener with its routes, ready to answer.
pub struct Serving {
    sockets: Vec<TcpListener>,
    server: Arc<Server>,
    changer: Changer,
}

impl Serving {
    /// What replaces its routes.
    pub fn changer(&self) -> Changer {
        self.changer.clone()
    }

    /// Answers until the shutdown, then finishes what was begun, for at most the grace.
    pub async fn run(self) {
        let Self { sockets, server, changer: _ } = self;
        let mut tasks = JoinSet::new();
        if let Some(tls) = &server.tls {
            tasks.spawn(Arc::clone(tls).follow(server.shutdown.clone()));
        }
        accept(&sockets, &server, &mut tasks).await;
        drop(sockets);
        let grace = server.limits.shutdown_grace;
        if tokio::time::timeout(grace, join_all(&mut tasks)).await.is_err() {
            tracing::warn!(connections = tasks.len(), "closing connections that outlived the shutdown grace");
        }
        tasks.shutdown().await;
    }
}

/// Replaces the routes of a listener while it answers.
#[derive(Clone)]
pub struct Changer {
    routes: Arc<ArcSwap<Routes>>,
    chassis: Arc<Chassis>,
}

impl Changer {
    /// Answers requests that come from now on by `routes`. Those in flight go on with the old ones; limits, rates and
    /// counts of both are the same.
    pub fn replace(&self, routes: impl Into<Routes>) {
        self.routes.store(Arc::new(self.chassis.around(routes.into())));
    }
}

/// What all connections share.
struct Server {
    routes: Arc<ArcSwap<Routes>>,
    builder: auto::Builder<TokioExecutor>,
    tls: Option<Arc<Tls>>,
    proxy: Option<Arc<Forwarding>>,
    limits: Limits,
    occupancy: Occupancy,
    ended: Counters,
    shutdown: CancellationToken,
}

fn connection_builder(limits: &Limits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        // hyper counts from the end of the last answer, so this is the idle limit between requests; the stricter
        // limit on the first head is `Usage::expire`, as is that on answers which are not read.
        .header_read_timeout(limits.idle_timeout)
        .max_buf_size(MAX_HEAD);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(u32::try_from(MAX_HEAD).unwrap_or(u32::MAX))
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING);
    builder
}

/// Accepts until shutdown, never more connections than allowed.
async fn accept(sockets: &[TcpListener], server: &Arc<Server>, tasks: &mut JoinSet<()>) {
    let slots = server.occupancy.0.slots();
    for turn in 0.. {
        let accepted = async {
            let slot = Arc::clone(&slots).acquire_owned().await.ok()?;
            Some((slot, next_connection(sockets, turn).await))
        };
        let (slot, connection) = tokio::select! {
            biased;
            () = server.shutdown.cancelled() => return,
            Some(accepted) = accepted => accepted,
            // Finished connections leave the set as they go.
            Some(_) = tasks.join_next(), if !tasks.is_empty() => continue,
        };
        match connection {
            Ok((stream, peer)) => {
                // One connection too many of its address is closed without a word: words cost more than it
                // did.
                if let Some(share) = server.admit(peer) {
                    tasks.spawn(Arc::clone(server).connection(stream, peer, share, slot));
                }
            }
            Err(error) => {
                // A connection that its client gave up is no failure of ours; descriptors running out is.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// The next connection of any socket. The sockets are asked from another one on each `turn`, so that none
/// has to wait for connections of another to end.
async fn next_connection(sockets: &[TcpListener], turn: usize) -> std::io::Result<(TcpStream, SocketAddr)> {
    std::future::poll_fn(|context| {
        let (before, from) = sockets.split_at(turn % sockets.len());
        let mut accepted = from.iter().chain(before).map(|socket| socket.poll_accept(context));
        accepted.find(Poll::is_ready).unwrap_or(Poll::Pending)
    })
    .await
}

async fn join_all(tasks: &mut JoinSet<()>) {
    while tasks.join_next().await.is_some() {}
}

impl Server {
    /// A place for a connection. All clients of a trusted proxy come from its address, so it has no share.
    fn admit(&self, peer: SocketAddr) -> Option<Connection> {
        let (shares, address) = (&self.occupancy.0, peer.ip().to_canonical());
        let of_proxy = self.proxy.as_ref().is_some_and(|proxy| proxy.trusts(address, 0));
        let share = if of_proxy { shares.of_all() } else { shares.of(rate::network(address)) };
        share.connection().inspect_err(|_| self.ended.increment("address")).ok()
    }

    async fn connection(
        self: Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        share: Connection,
        _slot: OwnedSemaphorePermit,
    ) {
        let _open = OpenConnection::count();
        // Answers are single small writes: waiting to fill a segment would only add latency.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot set TCP_NODELAY");
        }
        let usage = Usage::of(share);
        let Some(tls) = &self.tls else {
            return self.exchange(stream, self.builder.clone(), peer, None, usage).await;
        };
        let identity = tls.current();
        let acceptor = TlsAcceptor::from(identity.config());
        let deadline = usage.first_head(&self.limits);
        match tokio::time::timeout_at(deadline, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => {
                let session = stream.get_ref().1;
                let http2 = session.alpn_protocol() == Some(b"h2");
                let shown = session.peer_certificates().and_then(<[_]>::first);
                let certificate = shown.map(|der| Shown {
                    certificate: ClientCertificate::new(der),
                    retired: identity.retired().clone(),
                });
                let builder = self.builder.clone();
                let builder = if http2 { builder.http2_only() } else { builder.http1_only() };
                self.exchange(stream, builder, peer, certificate, usage).await;
            }
            Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake failed"),
            Err(_) => {
                self.ended.increment("handshake");
                tracing::debug!(%peer, "TLS handshake took too long");
            }
        }
    }

    /// Requests and answers over one connection until either side ends it.
    async fn exchange(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
        builder: auto::Builder<TokioExecutor>,
        socket: SocketAddr,
        shown: Option<Shown>,
        usage: Arc<Usage>,
    ) {
        let peer = Peer { socket, proxy: self.proxy.clone(), usage: Some(Arc::clone(&usage)) };
        let service = hyper::service::service_fn(|mut request: Request<Incoming>| {
            target::normalise(&mut request);
            request.extensions_mut().insert(peer.clone());
            if let Some(shown) = &shown {
                request.extensions_mut().insert(shown.certificate.clone());
            }
            answer(self.routes.load().choose(&request).clone(), request, Arc::clone(&usage))
        });
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
        tokio::select! {
            outcome = connection.as_mut() => {
                if let Err(error) = outcome {
                    tracing::debug!(peer = %socket, %error, "connection ended");
                }
                return;
            }
            () = self.shutdown.cancelled() => {}
            () = retired(shown.as_ref()) => {}
            expired = usage.expire(&self.limits) => {
                tracing::debug!(peer = %socket, ?expired, "closing connection");
                self.ended.increment(expired.reason());
                if expired == Expired::Silent {
                    return;
                }
            }
        }
        connection.as_mut().graceful_shutdown();
        tokio::select! {
            _ = connection => {}
            () = self.last_moments(&usage) => {
                self.ended.increment("stop");
                tracing::debug!(peer = %socket, "connection did not end in time");
            }
        }
    }

    /// The time that a connection has to end: long enough for a request in work to be answered and read, and
    /// an end for a client that does neither send a request nor read an answer.
    async fn last_moments(&self, usage: &Usage) {
        let last = self.limits.request_timeout.min(self.limits.shutdown_grace);
        let looks = async {
            let (mut quiet, mut before) = (0, usage.progress());
            while quiet < QUIET_LOOKS {
                tokio::time::sleep(LAST_LOOK).await;
                let now = usage.progress();
                let moved = usage.in_flight() > 0 || now != before;
                quiet = if moved { 0 } else { quiet + 1 };
                before = now;
            }
        };
        let _ = tokio::time::timeout(last, looks).await;
    }
}

/// A client certificate that the handshake has verified.
struct Shown {
    certificate: ClientCertificate,
    /// Cancelled once other authorities decide about it.
    retired: CancellationToken,
}

/// Waits until other authorities decide about what the client has shown.
async fn retired(shown: Option<&Shown>) {
    match shown {
        Some(shown) => shown.retired.cancelled().await,
        None => std::future::pending().await,
    }
}

async fn answer(
    mut router: Router,
    request: Request<Incoming>,
    usage: Arc<Usage>,
) -> Result<Response, Infallible> {
    let in_use = usage.begin(health::is_probe(request.method(), request.uri().path()));
    let response = router.call(request.map(Body::new)).await?;
    drop(in_use);
    Ok(response)
}

/// A connection in the metrics.
struct OpenConnection;

impl OpenConnection {
    fn count() -> Self {
        metrics::gauge!("chancery_http_connections").increment(1.0);
        Self
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        metrics::gauge!("chancery_http_connections").decrement(1.0);
    }
}

#[cfg(test)]
mod tests;
