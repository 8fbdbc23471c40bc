//! Errors of the engine and of entries in Rekor's words and codes (rekor `pkg/api/error.go`).
//!
//! A 500 says no more than Rekor's constant texts; what really happened goes to the log.

use std::time::Duration;

use http::StatusCode;

use super::schema;
use crate::rekor::EntryError;
use crate::serve::Problem;
use crate::server::admission::Refusal;
use crate::server::log::{AddError, ProofReadError};
use crate::server::store::StoreError;

/// A closed log is restarting; clients with retries get over it.
const RESTART: Duration = Duration::from_secs(2);

/// An entry that is refused.
pub(super) fn entry(error: &EntryError) -> Problem {
    let (status, code) = match error {
        EntryError::UnknownKind(_) => (StatusCode::UNPROCESSABLE_ENTITY, 422),
        EntryError::Required(_) => (StatusCode::UNPROCESSABLE_ENTITY, schema::REQUIRED),
        EntryError::Version => (StatusCode::UNPROCESSABLE_ENTITY, schema::PATTERN),
        EntryError::Invalid(_) | EntryError::Algorithm => (StatusCode::BAD_REQUEST, 400),
    };
    Problem::new(status, error.to_string()).with_code(code)
}

/// An entry that is not admitted.
pub(super) fn admission(refusal: &Refusal) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, refusal.to_string())
}

/// An entry that was not added.
pub(super) fn add(error: &AddError) -> Problem {
    match error {
        AddError::Full { retry_after } | AddError::ReadOnly { retry_after } => {
            Problem::busy(error.to_string(), *retry_after)
        }
        AddError::TooMany { retry_after } => Problem::too_many(error.to_string(), *retry_after),
        AddError::Closed => Problem::busy(error.to_string(), RESTART),
        // As the genuine server says when `createLogEntry` is not enabled: clients do not try again.
        AddError::Ended => Problem::new(StatusCode::NOT_IMPLEMENTED, error.to_string()),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn damaged() -> StoreError {
        StoreError::Damaged("/srv/chancery/logs/rekor-v1/000012.sst".to_owned())
    }

    #[test]
    fn failures_of_ours_are_500_and_name_no_internals() {
        let problems = [
            add(&AddError::Unknown),
            add(&AddError::Failed(damaged())),
            store(&damaged()),
            proof(&ProofReadError::Store(damaged())),
        ];
        for problem in problems {
            assert_eq!(problem.status(), 500);
            assert!(problem.message().ends_with("transparency log"), "{}", problem.message());
        }
    }

    #[test]
    fn a_log_that_takes_nothing_now_is_503_and_an_entry_that_it_never_takes_400() {
        let retry_after = Duration::from_secs(3);
        for error in [AddError::Full { retry_after }, AddError::ReadOnly { retry_after }, AddError::Closed] {
            assert_eq!(add(&error).status(), 503, "{error}");
        }
        let error = AddError::TooLarge { found: 70_000, limit: 65_535 };
        assert_eq!(add(&error).status(), 400);
        assert!(add(&error).message().starts_with("error processing entry: "));
    }
}
