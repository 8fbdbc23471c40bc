//! Signers that measure themselves, whoever uses them.

use std::sync::Arc;
use std::time::Instant;

use chancery_tlog::key::{PublicKey, SignError, Signer};
use metrics::{Counter, Histogram, counter, histogram};

/// `signer`, measured under what it is used for and the kind of its key.
pub(crate) fn measured(signer: impl Signer + 'static, used_for: &'static str) -> Arc<dyn Signer> {
    let kind = signer.public_key().kind().to_string();
    let seconds = histogram!("chancery_signer_seconds", "use" => used_for, "kind" => kind.clone());
    let failures = counter!("chancery_signer_failures_total", "use" => used_for, "kind" => kind);
    Arc::new(Measured { signer, seconds, failures })
}

struct Measured<S> {
    signer: S,
    seconds: Histogram,
    failures: Counter,
}

impl<S: Signer> Signer for Measured<S> {
    fn public_key(&self) -> &PublicKey {
        self.signer.public_key()
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let started = Instant::now();
        let signed = self.signer.sign(message);
        self.seconds.record(started.elapsed());
        if signed.is_err() {
            self.failures.increment(1);
        }
        signed
    }

    fn may_block(&self) -> bool {
        self.signer.may_block()
    }
}
