//! [`Permit`]: proof that a request has passed the gate.
//!
//! Every function that returns entries of a log requires a permit, and only [`super::Gate`] creates permits.
//! A handler that is mounted without the gate, or reached through an unexpected path, therefore cannot read
//! entries.

use axum::Extension;
use axum::extract::{FromRequestParts, Request};
use http::request::Parts;

use crate::serve::Problem;

/// The right of one request to read entries.
#[derive(Clone, Copy, Debug)]
pub struct Permit(());

impl Permit {
    /// Adds a permit to a request that a closed gate has admitted.
    pub(super) fn grant(request: &mut Request) {
        request.extensions_mut().insert(Self(()));
    }

    /// The layer of an open gate, which adds a permit to every request.
    pub(super) fn everyone() -> Extension<Self> {
        Extension(Self(()))
    }

    /// A permit for unit tests.
    #[cfg(test)]
    pub(crate) fn for_a_test() -> Self {
        Self(())
    }
}

impl<S: Sync> FromRequestParts<S> for Permit {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        parts.extensions.get().copied().ok_or_else(|| {
            tracing::error!(
                path = parts.uri.path(),
                "handler that reads entries is mounted without the gate"
            );
            Problem::internal()
        })
    }
}
