//! A Fulcio-compatible certificate authority, as a library with a router.
//!
//! A CI job or a person shows an OIDC token and proves possession of a key; the authority answers with a certificate
//! that lives ten minutes and says who that was, after the issuance log has promised to publish it.
//!
//! The way of a request, and the module that owns each part:
//!
//! | step | module |
//! |---|---|
//! | HTTP, Fulcio v1 and v2 | [`api`] |
//! | gRPC, Fulcio v2 | `grpc` |
//! | the ten steps in order | [`issuance`] |
//! | which issuers | [`config`], [`template`] |
//! | is the token true | [`oidc`] |
//! | is it a token that the operator means | [`policy`], shown by [`explain`] |
//! | whom does it name | [`principal`] |
//! | whose key, which keys | [`possession`] |
//! | the bytes of a certificate | [`profile`] |
//! | who signs | [`authority`], made by [`ceremony`] |
//! | who publishes | [`log`] |
//! | what is measured | `meters` |
//! | when was it signed (RFC 3161), by a key and chain of its own | [`timestamp`] |
//!
//! The crate reads no clock of its own, spawns one kind of task (a bounded key fetch that its requester awaits) and
//! keeps no state but fetched keys, the tokens for single use that were used, and, for timestamps, the last
//! time it gave: run as many as you like with one key, if no issuer's tokens are for single use.

pub mod api;
pub mod authority;
pub mod ceremony;
pub mod config;
mod der;
mod excerpt;
pub mod explain;
mod grpc;
pub mod issuance;
pub mod log;
mod meters;
pub mod oidc;
pub mod policy;
pub mod possession;
pub mod principal;
pub mod profile;
mod proxy;
pub mod template;
pub mod timestamp;

use std::sync::Arc;

use axum::Router;

pub use authority::{Authority, AuthorityError};
pub use ceremony::{Ceremony, make_intermediate, make_root_and_intermediate};
pub use config::IssuerConfig;
pub use issuance::{CertificateService, IssueError, ServiceError, Settings};
pub use log::{IssuanceLog, IssuanceLogError, RemoteLog};
pub use meters::METRICS;

/// Everything that the authority serves, REST and gRPC, with absolute paths and no fallback for others.
pub fn router(service: Arc<CertificateService>) -> Router {
    api::router(Arc::clone(&service)).merge(grpc::router(service))
}
