//! The engine of a log: what puts entries in order, keeps them and answers for them.
//!
//! - [`log`]: [`log::Log`], the only door for APIs: add, read, prove.
//! - [`sequencer`]: the one task that gives entries their place, by group commit.
//! - [`round`]: one round of it, as types that prove its order.
//! - [`store`]: the [`store::Store`] trait, one atomic verb with three outcomes, and its implementations.
//! - [`fsck`]: checks a whole store at rest.
//! - [`rekor_v1`], [`rekor_v2`], [`ct`]: the dialects, each an API on top of a log.
//! - [`tiles`]: the C2SP face that every log has.
//! - [`meters`]: what it measures of itself.
//! - [`admission`]: who may write to an attestation log. Who may read is [`crate::serve::access`].
//!
//! The engine knows no dialect: an entry is bytes (`leaf`), an identity to find duplicates by, bytes beside it
//! that are not hashed (`extra`) and search terms. The dialects are renderings on top of [`log::Log`].

pub mod admission;
pub mod ct;
#[cfg(test)]
mod fixture;
pub mod fsck;
pub mod log;
pub mod meters;
mod pool;
pub mod rekor_v1;
pub mod rekor_v2;
pub mod round;
pub mod sequencer;
mod signing;
pub mod store;
pub mod tiles;
