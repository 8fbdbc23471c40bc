//! The listening socket, its connections, and their end.
//!
//! Every connection is a task of one `JoinSet` that [`Listener::serve`] owns: it returns when the last is answered
//! or the grace is over, and dropping it ends them all. HTTP/1.1 and HTTP/2 come over the same port, by ALPN under
//! TLS and by the preface on plain HTTP.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::Service as _;

use super::access::ClientCertificate;
use super::layers::{self, Peer};
use super::settings::{Limits, ListenSettings, SettingsError};
use super::tls::{Identity, TlsError};

/// Largest request head. An OIDC token in `Authorization` is 2 to 8 KiB.
const MAX_HEAD: usize = 64 * 1024;
/// HTTP/2 streams that one connection may have open. Go's clients open one per request in flight.
const MAX_STREAMS: u32 = 128;
/// HTTP/2 pings find connections whose other end has vanished.
const PING: Duration = Duration::from_secs(20);
/// Pause after `accept` failed for want of descriptors or memory, so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

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
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
}

/// A bound socket that does not answer yet.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    tls: Option<Arc<Identity>>,
    config: Option<Arc<rustls::ServerConfig>>,
    behind_proxy: bool,
    limits: Limits,
}

impl Listener {
    /// Checks the settings, reads the TLS files and binds. Clients can connect from here on and wait for
    /// [`Listener::serve`].
    pub async fn bind(settings: &ListenSettings, limits: &Limits) -> Result<Self, ListenError> {
        settings.check()?;
        limits.check()?;
        let tls = settings.tls.as_ref().map(Identity::load).transpose()?;
        let config = tls.as_ref().map(Identity::server_config).transpose()?;
        let failed = |source| ListenError::Bind { address: settings.address, source };
        let socket = TcpListener::bind(settings.address).await.map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        Ok(Self { socket, address, tls, config, behind_proxy: settings.behind_proxy, limits: limits.clone() })
    }

    /// The bound address, with the port that the system chose for port 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// `http://` or `https://` and the bound address.
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Answers requests with `router` until `shutdown`, then finishes what was begun, for at most the grace.
    ///
    /// A server's router should have a fallback; [`super::reply::not_found`] is the usual one.
    pub async fn serve(self, router: Router, shutdown: CancellationToken) -> Result<(), ListenError> {
        let server = Arc::new(Server {
            router: layers::around(router, &self.limits),
            builder: connection_builder(&self.limits),
            acceptor: self.config.map(TlsAcceptor::from),
            behind_proxy: self.behind_proxy,
            limits: self.limits,
            // Also cancelled when this future is dropped or the grace has passed.
            shutdown: shutdown.child_token(),
        });
        let mut tasks = JoinSet::new();
        if let Some(identity) = self.tls {
            tasks.spawn(identity.follow(server.shutdown.clone()));
        }
        accept(&self.socket, &server, &mut tasks).await;
        drop(self.socket);
        let grace = server.limits.shutdown_grace;
        if tokio::time::timeout(grace, join_all(&mut tasks)).await.is_err() {
            tracing::warn!(connections = tasks.len(), "closing connections that outlived the shutdown grace");
        }
        tasks.shutdown().await;
        Ok(())
    }
}

/// What all connections share.
struct Server {
    router: Router,
    builder: auto::Builder<TokioExecutor>,
    acceptor: Option<TlsAcceptor>,
    behind_proxy: bool,
    limits: Limits,
    shutdown: CancellationToken,
}

fn connection_builder(limits: &Limits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        // hyper counts from the end of the last answer, so this is the idle limit between requests; the stricter
        // limit on the first head is `Usage::expire`.
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
async fn accept(socket: &TcpListener, server: &Arc<Server>, tasks: &mut JoinSet<()>) {
    let slots = Arc::new(Semaphore::new(server.limits.max_connections.min(Semaphore::MAX_PERMITS)));
    loop {
        let accepted = async {
            let slot = Arc::clone(&slots).acquire_owned().await.ok()?;
            Some((slot, socket.accept().await))
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
                tasks.spawn(Arc::clone(server).connection(stream, peer, slot));
            }
            Err(error) => {
                // A connection that its client gave up is no failure of ours; descriptors running out is.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn join_all(tasks: &mut JoinSet<()>) {
    while tasks.join_next().await.is_some() {}
}

impl Server {
    async fn connection(self: Arc<Self>, stream: TcpStream, peer: SocketAddr, _slot: OwnedSemaphorePermit) {
        let _open = OpenConnection::count();
        // Answers are single small writes: waiting to fill a segment would only add latency.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot set TCP_NODELAY");
        }
        let Some(acceptor) = &self.acceptor else {
            return self.exchange(stream, self.builder.clone(), peer, None).await;
        };
        let handshake = tokio::time::timeout(self.limits.header_timeout, acceptor.accept(stream));
        match handshake.await {
            Ok(Ok(stream)) => {
                let session = stream.get_ref().1;
                let http2 = session.alpn_protocol() == Some(b"h2");
                let shown = session.peer_certificates().and_then(<[_]>::first);
                let certificate = shown.map(|der| ClientCertificate::new(der));
                let builder = self.builder.clone();
                let builder = if http2 { builder.http2_only() } else { builder.http1_only() };
                self.exchange(stream, builder, peer, certificate).await;
            }
            Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake failed"),
            Err(_) => tracing::debug!(%peer, "TLS handshake took too long"),
        }
    }

    /// Requests and answers over one connection until either side ends it.
    async fn exchange(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
        builder: auto::Builder<TokioExecutor>,
        socket: SocketAddr,
        certificate: Option<ClientCertificate>,
    ) {
        let usage = Arc::new(Usage::default());
        let peer = Peer { socket, proxy: self.behind_proxy };
        let service = hyper::service::service_fn(|mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer);
            if let Some(certificate) = &certificate {
                request.extensions_mut().insert(certificate.clone());
            }
            answer(self.router.clone(), request, InUse::begin(&usage))
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
            expired = usage.expire(&self.limits) => {
                tracing::debug!(peer = %socket, ?expired, "closing connection");
                if matches!(expired, Expired::Silent) {
                    return;
                }
            }
        }
        connection.as_mut().graceful_shutdown();
        // Long enough for a request in work to be answered, and an end for a client that does not read.
        let last = self.limits.request_timeout.min(self.limits.shutdown_grace);
        if tokio::time::timeout(last, connection).await.is_err() {
            tracing::debug!(peer = %socket, "connection did not end in time");
        }
    }
}

async fn answer(
    mut router: Router,
    request: Request<Incoming>,
    in_use: InUse,
) -> Result<Response, Infallible> {
    let response = router.call(request.map(Body::new)).await;
    drop(in_use);
    response
}

/// How a connection is used: what its time limits are about.
#[derive(Default)]
struct Usage {
    begun: AtomicU64,
    ended: AtomicU64,
}

/// Why a connection has to go.
#[derive(Clone, Copy, Debug)]
enum Expired {
    /// No request head came.
    Silent,
    /// No request for the idle time.
    Idle,
}

impl Usage {
    async fn expire(&self, limits: &Limits) -> Expired {
        tokio::time::sleep(limits.header_timeout).await;
        if self.begun.load(Ordering::Relaxed) == 0 {
            return Expired::Silent;
        }
        loop {
            let begun = self.begun.load(Ordering::Relaxed);
            tokio::time::sleep(limits.idle_timeout).await;
            let in_work = self.begun.load(Ordering::Relaxed) - self.ended.load(Ordering::Relaxed);
            if in_work == 0 && begun == self.begun.load(Ordering::Relaxed) {
                return Expired::Idle;
            }
        }
    }
}

/// A request in work on a connection.
struct InUse(Arc<Usage>);

impl InUse {
    fn begin(usage: &Arc<Usage>) -> Self {
        usage.begun.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(usage))
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::Relaxed);
    }
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
