//! The engine of a log: what puts entries in order, keeps them and answers for them.
//!
//! - [`log`]: [`log::Log`], the only door for APIs: add, read, prove.
//! - [`store`]: the [`store::Store`] trait, one atomic verb with three outcomes, and its implementations.
//!
//! The engine knows no dialect: an entry is bytes (`leaf`), an identity to find duplicates by, bytes beside it
//! that are not hashed (`extra`) and search terms. The dialects are renderings on top of [`log::Log`].

pub mod log;
pub mod store;
