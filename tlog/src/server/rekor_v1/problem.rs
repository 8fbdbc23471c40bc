//! Errors of the engine and of entries in Rekor's words and codes (rekor `pkg/api/error.go`).
//!
//! A 500 says no more than Rekor's constant texts; what really happened goes to the log.

use http::StatusCode;

use crate::rekor::EntryError;
use crate::serve::Problem;
use crate::server::log::{AddError, ProofReadError};
use crate::server::store::StoreError;

use std::time::Duration;

/// A closed log is restarting; clients with retries get over it.
const RESTART: Duration = Duration::from_secs(2);

/// An entry that is refused.
pub(super) fn entry(error: &EntryError) -> Problem {
    let status = match error {
        EntryError::UnknownKind(_) => StatusCode::UNPROCESSABLE_ENTITY,
        EntryError::Invalid(_) | EntryError::Algorithm => StatusCode::BAD_REQUEST,
    };
    Problem::new(status, error.to_string())
}

/// An entry that was not added.
pub(super) fn add(error: &AddError) -> Problem {
    match error {
        AddError::Full { retry_after } | AddError::ReadOnly { retry_after } => {
            Problem::busy(error.to_string(), *retry_after)
        }
        AddError::Closed => Problem::busy(error.to_string(), RESTART),
        AddError::TooLarge { .. } => Problem::bad_request(format!("error processing entry: {error}")),
        AddError::Unknown | AddError::Failed(_) | AddError::NotSigned(_) => {
            tracing::error!(%error, "adding an entry failed");
            unexpected("unexpected result from transparency log")
        }
    }
}

/// A failed read.
pub(super) fn store(error: &StoreError) -> Problem {
    tracing::error!(%error, "reading the log failed");
    unexpected("unexpected error communicating with transparency log")
}

/// A proof that could not be made of numbers that were checked before.
pub(super) fn proof(error: &ProofReadError) -> Problem {
    tracing::error!(%error, "making a proof failed");
    unexpected("unexpected result from transparency log")
}

fn unexpected(message: &str) -> Problem {
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, message)
}
