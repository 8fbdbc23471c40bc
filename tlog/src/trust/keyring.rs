//! What a trusted root means: keys, certificates and times, ready to verify with.
//!
//! What a root lists decides what must be proven, so a list never looks shorter than it is: [`Listed::is_empty`] tells
//! whether the root lists nothing, and not whether nothing of it could be read.

use std::fmt;

use super::{TrustError, TrustedRoot, Validity};
use crate::certificate::Certificate;
use crate::key::PublicKey;

/// A trusted root, ready to verify with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keyring {
    /// Attestation logs.
    pub logs: Listed<TrustedLog>,
    /// Certificate transparency logs.
    pub ct_logs: Listed<TrustedLog>,
    /// Certificate authorities.
    pub authorities: Listed<TrustedAuthority>,
    /// Timestamp authorities.
    pub timestamp_authorities: Listed<TrustedAuthority>,
}

impl Keyring {
    /// Reads the JSON of a trusted root.
    pub fn parse(json: &[u8]) -> Result<Self, TrustError> {
        TrustedRoot::parse(json)?.keyring()
    }

    /// What is in the file and could not be read, of all lists.
    pub fn skipped(&self) -> impl Iterator<Item = &Skipped> {
        let logs = self.logs.skipped.iter().chain(&self.ct_logs.skipped);
        logs.chain(&self.authorities.skipped).chain(&self.timestamp_authorities.skipped)
    }
}

/// One list of a trusted root: what was read of it, and what was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed<T> {
    read: Vec<T>,
    skipped: Vec<Skipped>,
}

impl<T> Listed<T> {
    pub(super) const fn new(read: Vec<T>, skipped: Vec<Skipped>) -> Self {
        Self { read, skipped }
    }

    /// Whether the file lists none. A list of which nothing could be read is not empty: what its presence demands is
    /// still demanded, and cannot be met.
    pub fn is_empty(&self) -> bool {
        self.read.is_empty() && self.skipped.is_empty()
    }

    /// Those that were read, in the file's order.
    pub fn as_slice(&self) -> &[T] {
        &self.read
    }

    /// Those that were read, in the file's order.
    pub fn iter(&self) -> std::slice::Iter<'_, T> {
        self.read.iter()
    }

    /// Those that were left out.
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }
}

impl<T> Default for Listed<T> {
    fn default() -> Self {
        Self::new(Vec::new(), Vec::new())
    }
}

impl<'l, T> IntoIterator for &'l Listed<T> {
    type Item = &'l T;
    type IntoIter = std::slice::Iter<'l, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// A log whose signatures count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedLog {
    /// Id by which entries and SCTs name it.
    pub id: [u8; 32],
    /// Its key.
    pub key: PublicKey,
    /// When the key may have been used.
    pub validity: Validity,
    /// Its URL: a name here, never contacted.
    pub url: String,
}

/// A certificate or timestamp authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedAuthority {
    /// Everything in front of the anchor: for a CA issuing certificate first and empty if the anchor issues; for a
    /// TSA its leaf first.
    pub intermediates: Vec<Certificate>,
    /// The anchor.
    pub anchor: Certificate,
    /// When it may have been used.
    pub validity: Validity,
    /// Its URL: a name here, never contacted.
    pub url: String,
}

/// A member that was left out, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Path of the member, such as `tlogs[1]`.
    pub member: String,
    /// Why.
    pub reason: String,
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.member, self.reason)
    }
}
