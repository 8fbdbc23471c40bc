//! Where a dialect's key is used: on this thread if the key is in memory, elsewhere if its home may block.

use std::sync::Arc;

use crate::key::Signer;
use crate::serve::{Problem, block};

/// Runs `sign`. A software key takes 22 µs, less than a change of threads; an HSM or KMS would stop the runtime.
pub(super) async fn with_signer<T, E>(
    signer: &Arc<dyn Signer>,
    sign: impl FnOnce(&dyn Signer) -> Result<T, E> + Send + 'static,
) -> Result<T, Problem>
where
    T: Send + 'static,
    E: std::fmt::Display + Send + 'static,
{
    let outcome = if signer.may_block() {
        let signer = Arc::clone(signer);
        block(move || sign(&signer).map_err(|error| error.to_string())).await
    } else {
        Ok(sign(signer).map_err(|error| error.to_string()))
    };
    match outcome {
        Ok(Ok(signed)) => Ok(signed),
        Ok(Err(error)) => Err(failed(&error)),
        Err(error) => Err(failed(&error.to_string())),
    }
}

fn failed(error: &str) -> Problem {
    tracing::error!(%error, "the log's signing key failed");
    Problem::new(http::StatusCode::INTERNAL_SERVER_ERROR, "error signing")
}
