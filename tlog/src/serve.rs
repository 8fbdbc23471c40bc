//! The HTTP chassis that every Chancery server stands on.
//!
//! A server composes an [`axum::Router`] and hands it to a [`Listener`]. The chassis owns what must not differ from
//! one server to the next: TLS and its reload, HTTP/1.1 and HTTP/2, every limit on bytes, counts and time, request
//! ids, the access log, HTTP metrics, panics, and a shutdown that answers what it accepted.
//!
//! Invariant: a handler only ever sees a request whose body has arrived completely and within the limits, and
//! whatever happens to it, the client gets an answer that names no internals.

pub mod access;
pub mod cors;
pub mod grpc;
pub mod health;
pub mod key_file;
mod layers;
mod line;
mod listener;
pub mod logging;
pub mod metrics;
pub mod rate;
pub mod reply;
mod settings;
mod tls;

pub use layers::{Peer, RequestId};
pub use listener::{ListenError, Listener};
pub use reply::Problem;
pub use settings::{
    DEFAULT_HEADER_TIMEOUT, DEFAULT_IDLE_TIMEOUT, DEFAULT_MAX_BODY, DEFAULT_MAX_CONNECTIONS,
    DEFAULT_MAX_REQUESTS, DEFAULT_REQUEST_TIMEOUT, DEFAULT_SHUTDOWN_GRACE, Limits, ListenSettings,
    SettingsError, TlsFiles,
};
pub use tls::TlsError;
