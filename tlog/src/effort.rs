//! A bound on signature verifications: what is sent decides how many a request takes, and its size does not tell.
//!
//! Ten keys and ten signatures are fifteen kilobytes and up to a hundred verifications. Whoever checks something
//! for a stranger has an [`Effort`] to spend; where it does not suffice, the checks fail and
//! [`Effort::is_exceeded`] says that nothing was decided.

use std::cell::Cell;

/// Signature verifications that may still be made.
#[derive(Debug)]
pub struct Effort {
    left: Cell<usize>,
    exceeded: Cell<bool>,
}

impl Effort {
    /// Verifications that a thread of an async runtime may make at a time. The slowest takes half a millisecond
    /// (ECDSA on P-521, RSA of 8,192 bits), and nearly every request needs one or two.
    pub const LITTLE: usize = 4;

    /// As many as it takes.
    pub fn any() -> Self {
        Self::of(usize::MAX)
    }

    /// [`Effort::LITTLE`].
    pub fn little() -> Self {
        Self::of(Self::LITTLE)
    }

    pub(crate) fn of(left: usize) -> Self {
        Self { left: Cell::new(left), exceeded: Cell::new(false) }
    }

    /// Whether more was needed than there was. Then a refusal means nothing.
    pub fn is_exceeded(&self) -> bool {
        self.exceeded.get()
    }

    /// Verifications that are left.
    #[cfg(test)]
    pub(crate) fn left(&self) -> usize {
        self.left.get()
    }

    /// The verdict of `verify`, which verifies one signature. False if no effort is left.
    pub(crate) fn check(&self, verify: impl FnOnce() -> bool) -> bool {
        let Some(left) = self.left.get().checked_sub(1) else {
            self.exceeded.set(true);
            return false;
        };
        self.left.set(left);
        verify()
    }
}
