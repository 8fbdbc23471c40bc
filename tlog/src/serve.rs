//! The HTTP chassis that every Chancery server stands on.
//!
//! A server composes an [`axum::Router`] and hands it to a [`Listener`]. The chassis owns what must not
//! differ from one server to the next: TLS and its reload, HTTP/1.1 and HTTP/2, every limit on bytes, counts
//! and time, request ids, the access log, HTTP metrics, panics, and a shutdown that answers what it accepted.
//! It also canonicalises the path of each request before it is routed ([`target`]).
//!
//! Invariant: a handler only ever sees a request whose body has arrived completely and within the limits, and
//! whatever happens to it, the client gets an answer that names no internals.

pub mod access;
pub mod cors;
mod followed;
mod forwarded;
pub mod grpc;
pub mod health;
pub mod key_file;
mod layers;
mod line;
mod listener;
pub mod logging;
pub mod metrics;
mod offload;
pub mod rate;
pub mod reply;
mod routes;
mod settings;
mod shares;
pub mod target;
mod tls;

pub use forwarded::{ForwardedHeader, Forwarding, Network, NetworkError, Proxies};
pub use layers::{Peer, RequestId};
pub use listener::{Changer, ListenError, Listener, Serving};
pub use offload::{block, compute, leave_runtime, with_effort};
pub use reply::Problem;
pub use routes::Routes;
pub use settings::{
    DEFAULT_BODY_TIMEOUT, DEFAULT_HEADER_TIMEOUT, DEFAULT_IDLE_TIMEOUT, DEFAULT_MAX_BODIES, DEFAULT_MAX_BODY,
    DEFAULT_MAX_BODY_BYTES, DEFAULT_MAX_CONNECTIONS, DEFAULT_MAX_REQUESTS, DEFAULT_MAX_UNREAD_BYTES,
    DEFAULT_MIN_RATE, DEFAULT_REQUEST_TIMEOUT, DEFAULT_SHUTDOWN_GRACE, Limits, ListenSettings, PerAddress,
    SettingsError, TlsFiles,
};
pub use shares::Occupancy;
pub use tls::{Tls, TlsError, TlsFinding, TlsIdentity};
