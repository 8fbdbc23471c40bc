//! The ceiling of each operation: the processor time that no server can avoid, and what share of a server's own it is.
//!
//! Cryptography is what this machine's primitives cost; the rest (HTTP, parsing, the store's inserts) is the least
//! that a reference machine needed for it, scaled by how fast this one verifies P-256. fsyncs are shared by a batch
//! and wait rather than work, so they are not part of it.

use serde::Serialize;

use crate::primitives::Primitives;

/// P-256 verification on the machine on which the rest was measured, in microseconds.
const REFERENCE_VERIFY: f64 = 70.0;

/// An operation with a ceiling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// An entry with a certificate into a Rekor v1 log.
    RekorV1,
    /// An entry with a certificate into a Rekor v2 log.
    RekorV2,
    /// A certificate for an RS256 token and a P-256 key, by a P-256 issuer, logged before it is given out.
    Certificate,
    /// An RFC 3161 timestamp by a P-256 key.
    Timestamp,
    /// A read of so many bytes that were made before.
    Read {
        /// Of the body.
        bytes: usize,
    },
    /// An entry of a Rekor v1 log by its id, with proof and a promise signed for this answer.
    ReadEntry,
}

/// What an operation costs at the least, in microseconds of one core.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Cost {
    /// Signatures and hashes, with this machine's primitives.
    pub(crate) cryptography: f64,
    /// HTTP, parsing and inserts, scaled from the reference machine.
    pub(crate) rest: f64,
}

impl Cost {
    /// The least that `operation` costs on the machine with these primitives.
    pub(crate) fn of(operation: Operation, on: &Primitives) -> Self {
        let (sign, verify, hash) = (on.p256_sign, on.p256_verify, on.sha256_entry);
        // Parts of the rest, in this order: HTTP and JSON, parsing and canonical form, inserts and tree nodes.
        let (cryptography, rest) = match operation {
            Operation::RekorV2 => (verify + hash, 12.0 + 6.0 + 7.5),
            // The entry's signature, then ours over the promise.
            Operation::RekorV1 => (verify + sign + hash, 12.0 + 8.0 + 11.0),
            // Proof of possession and token; precertificate, certificate and the log's promise.
            Operation::Certificate => (verify + on.rsa2048_verify + 3.0 * sign + hash, 11.0 + 15.0),
            Operation::Timestamp => (sign, 7.0 + 4.0),
            Operation::Read { .. } => (0.0, 6.0),
            // HTTP and JSON; index, entry and some twenty nodes.
            Operation::ReadEntry => (sign, 10.0 + 12.0),
        };
        let sent = match operation {
            #[expect(clippy::cast_precision_loss, reason = "bodies are far below 2^52 bytes")]
            Operation::Read { bytes } => on.send_mib * bytes as f64 / f64::from(1 << 20),
            _ => 0.0,
        };
        Self { cryptography, rest: rest * verify / REFERENCE_VERIFY + sent }
    }

    /// All of it.
    pub(crate) fn total(&self) -> f64 {
        self.cryptography + self.rest
    }

    /// Operations per second of a core that does nothing else.
    pub(crate) fn per_second(&self) -> f64 {
        1e6 / self.total()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The machine on which the reference figures were made.
    const REFERENCE: Primitives = Primitives {
        p256_sign: 21.5,
        p256_verify: 70.0,
        ed25519_sign: 13.8,
        ed25519_verify: 44.0,
        rsa2048_verify: 23.0,
        sha256_entry: 2.5,
        send_mib: 200.0,
        fdatasync_p50: None,
    };

    #[test]
    fn a_read_costs_its_bytes() {
        let total = |bytes| Cost::of(Operation::Read { bytes }, &REFERENCE).total();
        assert!((total(0) - 6.0).abs() < 1e-9 && (total(1 << 19) - 106.0).abs() < 1e-9);
        assert!((Cost::of(Operation::ReadEntry, &REFERENCE).total() - 43.5).abs() < 1e-9);
    }

    #[test]
    fn on_the_reference_machine_the_ceilings_are_those_of_the_design() {
        let expected =
            [(Operation::RekorV2, 98.0), (Operation::RekorV1, 125.0), (Operation::Certificate, 186.0)];
        for (operation, micros) in expected {
            let total = Cost::of(operation, &REFERENCE).total();
            assert!((total - micros).abs() < 1.0, "{operation:?}: {total}");
        }
    }

    #[test]
    fn a_machine_half_as_fast_has_half_the_ceiling() {
        let slow = Primitives {
            p256_sign: 43.0,
            p256_verify: 140.0,
            rsa2048_verify: 46.0,
            sha256_entry: 5.0,
            ..REFERENCE
        };
        for operation in
            [Operation::RekorV1, Operation::RekorV2, Operation::Certificate, Operation::Timestamp]
        {
            let ratio =
                Cost::of(operation, &REFERENCE).per_second() / Cost::of(operation, &slow).per_second();
            assert!((ratio - 2.0).abs() < 1e-9, "{operation:?}: {ratio}");
        }
    }
}
