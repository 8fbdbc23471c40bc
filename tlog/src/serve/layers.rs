//! What stands between the socket and every handler, outermost first: request id, access log and metrics; the
//! client's rate and the line before the cores; panics; the body, received whole on account of its client; a
//! place for the complete request; the time limit; and a turn in the line.
//!
//! One place per concern: handlers neither log requests nor count them, and none reads from the network. All of it is
//! one layer of axum's, because each layer costs every request a boxed future and a copy of what it stands around.

mod body;
mod id;
mod observe;
mod refuse;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody as _};
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use futures::FutureExt as _;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Method};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use self::body::{Bounds, Received};
use self::id::REQUEST_ID;
pub use self::id::RequestId;
use self::observe::{Access, Busy, Meters};
use self::refuse::Refusal;
use super::forwarded::Forwarding;
use super::line::{Line, Waits};
use super::listener::Usage;
use super::offload::{Alarm, Elsewhere, InWork, LARGE, cores};
use super::rate::{self, Addresses, Effective, Kind};
use super::routes::Routes;
use super::settings::{GRPC_PREFIX, Limits};
use super::shares::{Full, Occupancy, Reading, ReceivedBytes, Share, Shares, Writing};
use super::target::{self, Hosts};

/// The line before the cores. Long enough for a burst of a thousand certificates on one core, short against
/// the five seconds that sigstore-js gives a whole request.
const SMALL: Waits = Waits { patience: Duration::from_millis(500), limit: Duration::from_secs(2) };
/// The line of large requests, each of which computes for up to a fifth of a second.
const BIG: Waits = Waits { patience: Duration::from_secs(2), limit: Duration::from_secs(4) };

/// Who sent a request, as an extension of it.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The other end of the connection.
    pub socket: SocketAddr,
    /// Rules for finding the client's address, if the listener is behind a proxy.
    pub proxy: Option<Arc<Forwarding>>,
    /// The connection, for the progress of its reader.
    pub(super) usage: Option<Arc<Usage>>,
}

impl Peer {
    /// The client's address.
    pub fn client(&self, headers: &HeaderMap) -> IpAddr {
        let direct = self.socket.ip().to_canonical();
        self.proxy.as_ref().map_or(direct, |proxy| proxy.client(direct, headers))
    }
}

/// What is to be put around routers.
pub(super) struct Around {
    pub(super) limits: Limits,
    pub(super) rates: Effective,
    /// Accepted hosts; `None` accepts any.
    pub(super) hosts: Option<Hosts>,
    pub(super) occupancy: Occupancy,
    /// Cancelled when the server is told to stop.
    pub(super) stop: CancellationToken,
}

/// What the layers need to know, the same for all routes that one listener ever has.
pub(super) struct Chassis {
    limits: Limits,
    addresses: Addresses,
    /// Accepted hosts; `None` accepts any.
    hosts: Option<Hosts>,
    shares: Arc<Shares>,
    line: Line,
    /// Of requests that are too large to compute on an async thread.
    large: Line,
    /// Those of them that have begun and go on.
    large_again: Arc<Semaphore>,
    meters: Arc<Meters>,
    stop: CancellationToken,
}

/// What the chassis needs to know of a request.
struct Asked {
    kind: Kind,
    /// Whether it asks for something to be made or stored; the rest are reads, which are quick and wait for
    /// nothing.
    computes: bool,
    /// Whether it announces a body that is too large to compute on an async thread.
    large: bool,
    grpc: bool,
    /// Whether its answer has no body.
    bodiless: bool,
    /// The client, or its network; none if clients cannot be told apart.
    address: Option<IpAddr>,
    /// What the client may hold.
    share: Share,
    usage: Option<Arc<Usage>>,
}

/// What a complete request holds of the listener's bounds: its place, and the bytes of its body.
struct Held(
    #[expect(dead_code, reason = "held, not read")] Place,
    #[expect(dead_code, reason = "held, not read")] Option<ReceivedBytes>,
);

/// A place for a complete request.
enum Place {
    Probe,
    Read(#[expect(dead_code, reason = "held, not read")] Reading),
    Write(#[expect(dead_code, reason = "held, not read")] Writing),
}

/// Gives the request an id, and one access log line and one sample whatever becomes of it.
async fn answer(State(chassis): State<Arc<Chassis>>, mut request: Request, next: Next) -> Response {
    let id = RequestId::of(request.headers());
    let asked = Asked::of(&request, &chassis.shares);
    let mut access = Access::begin(&chassis.meters, &request, id.clone(), asked.kind);
    let mut response = match chassis.door(&asked).and_then(|()| chassis.check_target(&request)) {
        Ok(()) => {
            request.extensions_mut().insert(id.clone());
            let span = tracing::info_span!("request", id = id.as_str());
            asked.counted(contain(chassis.answer(request, next, &asked), asked.grpc).instrument(span).await)
        }
        Err(refusal) => {
            if refusal.is_of_client() {
                body::discard(request.into_body(), || asked.share.again()).await;
            }
            asked.refused(refusal)
        }
    };
    access.answered(&response);
    response.headers_mut().insert(REQUEST_ID.clone(), id.into_header());
    response
}

impl Asked {
    fn of(request: &Request, shares: &Arc<Shares>) -> Self {
        let peer = request.extensions().get::<Peer>();
        let address = peer.map(|peer| rate::network(peer.client(request.headers())));
        Self {
            kind: Kind::of(request),
            computes: !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS),
            large: body::announced(request.headers()) >= LARGE,
            grpc: rate::is_grpc(request.headers()),
            bodiless: *request.method() == Method::HEAD,
            address,
            share: address.map_or_else(|| shares.of_all(), |address| shares.of(address)),
            usage: peer.and_then(|peer| peer.usage.clone()),
        }
    }

    /// The answer, counted until its client has read it. If there is no room for it and nothing was changed,
    /// the client gets a refusal in its place: an answer to a write is sent in any case. A probe is told by the status
    /// alone.
    fn counted(&self, answer: Response) -> Response {
        if self.ends_with_head(&answer) {
            return answer;
        }
        match self.share.room(&answer, self.usage.as_ref(), self.kind == Kind::Write) {
            Ok(room) => room.hold(answer),
            Err(_) if self.kind == Kind::Probe && !self.grpc => without_body(answer),
            Err(full) => self.refused(Refusal::Full(full)),
        }
    }

    /// A refusal, in words if there is room for them: clients do not read refusals either.
    fn refused(&self, refusal: Refusal) -> Response {
        let answer = refusal.into_response(self.grpc);
        if self.ends_with_head(&answer) {
            return answer;
        }
        match self.share.room(&answer, self.usage.as_ref(), false) {
            Ok(room) => room.hold(answer),
            Err(_) => without_body(answer),
        }
    }

    /// True if nothing remains of `answer` once its head is sent.
    fn ends_with_head(&self, answer: &Response) -> bool {
        self.bodiless || answer.body().is_end_stream()
    }
}

/// The same without a body. Its stream ends with its head, so that its client cannot keep it open.
fn without_body(mut answer: Response) -> Response {
    answer.headers_mut().remove(CONTENT_LENGTH);
    answer.map(|_| Body::empty())
}

impl Chassis {
    /// Called on the runtime that will serve the routes.
    pub(super) fn new(Around { limits, rates, hosts, occupancy, stop }: Around) -> Arc<Self> {
        let runtime = tokio::runtime::Handle::try_current();
        let large = (cores() / 2).max(1);
        Arc::new(Self {
            addresses: Addresses::new(&rates),
            hosts,
            shares: occupancy.0,
            line: Line::new(runtime.map_or(1, |runtime| runtime.metrics().num_workers()), SMALL),
            large: Line::new(large, BIG),
            large_again: Arc::new(Semaphore::new(large)),
            meters: Arc::new(Meters::new()),
            limits,
            stop,
        })
    }

    /// Puts all layers around each of `routes`.
    pub(super) fn around(self: &Arc<Self>, routes: Routes) -> Routes {
        // axum's own limit is half of ours, and answers in text.
        let around = |router: Router| {
            router.layer((from_fn_with_state(Arc::clone(self), answer), DefaultBodyLimit::disable()))
        };
        routes.map(around)
    }

    /// What is decided before any of a request's body is read.
    fn door(&self, asked: &Asked) -> Result<(), Refusal> {
        if let Some(address) = asked.address {
            self.addresses.take(asked.kind, address).map_err(Refusal::Rate)?;
        }
        if asked.kind != Kind::Probe {
            asked.share.may_answer()?;
        }
        if asked.computes && asked.kind != Kind::Probe {
            let line = if asked.large { &self.large } else { &self.line };
            line.check(asked.address)?;
            self.shares.may_write()?;
        }
        Ok(())
    }

    /// Refuses ambiguous paths and foreign hosts.
    fn check_target(&self, request: &Request) -> Result<(), Refusal> {
        target::check(request.uri().path()).map_err(Refusal::Target)?;
        self.hosts.as_ref().map_or(Ok(()), |hosts| hosts.check(request)).map_err(Refusal::Target)
    }

    /// Receives the body, and only then takes a place and a turn.
    async fn answer(&self, request: Request, next: Next, asked: &Asked) -> Response {
        let answered = async {
            let (request, Received { bytes, held }) = self.receive(request, asked).await?;
            let (size, held) = (bytes.len(), Held(Self::place(asked)?, held));
            let request = request.map(|_| Body::from(bytes));
            let limit = self.limits.request_timeout;
            let answered = self.compute(asked, size, held, next.run(request));
            tokio::time::timeout(limit, answered).await.unwrap_or(Err(Refusal::Late(limit)))
        };
        answered.await.unwrap_or_else(|refusal: Refusal| refusal.into_response(asked.grpc))
    }

    fn place(asked: &Asked) -> Result<Place, Full> {
        Ok(match asked.kind {
            Kind::Probe => Place::Probe,
            _ if asked.computes => Place::Write(asked.share.again().writing()?),
            _ => Place::Read(asked.share.again().reading()?),
        })
    }

    async fn receive(&self, request: Request, asked: &Asked) -> Result<(Request, Received), Refusal> {
        let (parts, body) = request.into_parts();
        let most = self.limits.max_body + if asked.grpc { GRPC_PREFIX } else { 0 };
        let bounds = Bounds { limits: &self.limits, most, stop: &self.stop };
        let received = body::receive(&parts.headers, body, || asked.share.again(), &bounds).await;
        let path = parts.uri.path();
        let received = received.map_err(|error| Refusal::of_body(error, &self.limits, path))?;
        Ok((Request::from_parts(parts, Body::empty()), received))
    }

    /// Runs a handler on the threads that fit it: here, in its turn if it computes, or elsewhere if it is large or
    /// finds that it takes long. `held` is given back when no thread works for it any more.
    async fn compute(
        &self,
        asked: &Asked,
        size: usize,
        held: Held,
        work: impl Future<Output = Response> + Send + 'static,
    ) -> Result<Response, Refusal> {
        let request = InWork::holding(held);
        let mut work = Box::pin(request.run(work));
        let answered = if !asked.computes || asked.kind == Kind::Probe {
            request.here(&mut work).await
        } else if size < LARGE {
            self.line.run(asked.address, request.here(&mut work)).await?
        } else {
            None
        };
        if let Some(response) = answered {
            return Ok(response);
        }
        request.leave();
        self.elsewhere(asked, work).await
    }

    /// Answers a request that computes for too long to do it on an async thread.
    async fn elsewhere(
        &self,
        asked: &Asked,
        work: impl Future<Output = Response> + Send + 'static,
    ) -> Result<Response, Refusal> {
        let alarm = Arc::new(Alarm::default());
        let mut work = Elsewhere::new(work.in_current_span());
        self.large.check(asked.address)?;
        let turn = self.large.turn(asked.address).await?;
        match work.poll(Waker::from(Arc::clone(&alarm)), turn).await {
            Some(Poll::Ready(response)) => Ok(response),
            Some(Poll::Pending) => work.finish(alarm, &self.large_again).await.ok_or(Refusal::Failed),
            None => Err(Refusal::Failed),
        }
    }
}

/// Turns a panic into a 500 that reveals nothing, and keeps the server going.
async fn contain(work: impl Future<Output = Response>, grpc: bool) -> Response {
    match std::panic::AssertUnwindSafe(work).catch_unwind().await {
        Ok(response) => response,
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().copied();
            let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
            tracing::error!(panic = text.unwrap_or("not a text"), "a request handler panicked");
            Refusal::Failed.into_response(grpc)
        }
    }
}

#[cfg(test)]
mod tests;
