//! Transparency logs: what a log is, in bytes, and behind features how one is served and run.
//!
//! The default build is the *pure core*: RFC 6962 math, C2SP notes, checkpoints and tiles, certificate
//! transparency structures, Rekor entry bodies, keys and signers. It reads no clock, does no I/O and knows no
//! async runtime; clocks, randomness and stores are parameters. Everything that verifies, on any machine, is here.
//!
//! - feature `files` adds [`files`], which writes files for all programs;
//! - feature `serve` adds [`serve`], the HTTP chassis that every Chancery server stands on;
//! - feature `server` adds [`server`], the engine: sequencer, stores and the APIs of the log's dialects.
//!
//! Features only add modules. What this crate is not: it issues no certificates (`chancery-ca`), and knows
//! nothing of SLSA, OIDC or registries (`chancery`).

pub mod causes;
pub mod certificate;
pub mod chain;
pub mod checkpoint;
pub mod clock;
pub mod ct;
mod der;
pub mod effort;
pub mod escape;
#[cfg(test)]
mod fixture;
pub mod fulcio;
pub mod key;
pub mod merkle;
pub mod note;
mod pem;
pub mod protojson;
pub mod rekor;
pub mod rekor_v2;
pub mod strict_uri;
pub mod tile;
pub mod timestamp;
pub mod trust;
pub mod variables;

#[cfg(feature = "files")]
pub mod files;
#[cfg(feature = "serve")]
pub mod serve;
#[cfg(feature = "server")]
pub mod server;
