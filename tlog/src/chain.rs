//! Path validation of short certificate chains, every member judged at one given time.
//!
//! rustls-webpki judges the same leaf paths in this crate's tests. It is not the implementation because three of
//! our four uses are outside of what it accepts: a precertificate (critical poison), an issuing CA checked as the
//! end of a path at load, and Rekor v1's chains whose leaf may be anything. CVE-2026-24122 is the reason for
//! "every member": an expired intermediate once verified where no log was asked.

use crate::certificate::Certificate;
use crate::clock::Timestamp;

/// What a chain's leaf is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A signing certificate: not a CA, EKU code signing.
    CodeSigning,
    /// A precertificate of one: as [`Purpose::CodeSigning`], with the critical poison extension.
    Precertificate,
    /// A CA that issues signing certificates: CA, EKU code signing unless it is itself the root.
    CodeSigningCa,
    /// Anything at all, as Rekor v1 checks submitted chains.
    Any,
}

/// Why there is no path.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// No issuer among the given certificates.
    #[error("no trusted certificate authority issued `{0}`")]
    UnknownIssuer(String),
    /// A member is outside its validity.
    #[error("`{subject}` was not valid at {at}")]
    NotValidAt {
        /// Whose.
        subject: String,
        /// The time asked about.
        at: Timestamp,
    },
    /// A member may not do what it does here.
    #[error("`{subject}`: {problem}")]
    Unsuitable {
        /// Whose.
        subject: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// Too long.
    #[error("the chain is longer than {0} certificates")]
    TooLong(usize),
}

/// Finds a path from `leaf` through `intermediates` to one of `roots`, all valid at `at`. Returns it, leaf first,
/// root last. A root is trusted as given; self-signature is not asked of it, its dates and CA bit are.
pub fn verify(
    _leaf: &Certificate,
    _intermediates: &[Certificate],
    _roots: &[Certificate],
    _at: Timestamp,
    _purpose: Purpose,
) -> Result<Vec<Certificate>, ChainError> {
    unimplemented!()
}
