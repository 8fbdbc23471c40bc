//! Chancery's client: make SLSA provenance and signatures against a private Sigstore, and verify those of any.
//!
//! Signing, from the outside in: [`instance`] says which instance is pinned, [`guard`] is the only way to a
//! network, [`identity_token`] gets the CI job's token, [`fulcio`], [`timestamp`], [`rekor`] and [`rekor_v2`] are the
//! services, and [`sign`] puts them together and verifies what it made before anything is written.
//!
//! Verifying needs no network at all: [`bundle`] parses hostile input, [`chancery_tlog::trust`] reads what to trust,
//! and [`verify`] is the list of claims that must all hold. [`dsse`], [`statement`] and [`slsa`] are the formats
//! inside of a bundle.
//!
//! What this crate is not: it serves nothing, stores nothing but the pinned instance, and links no engine
//! (of `chancery-tlog`'s features it has `files` alone).

pub mod artifact;
pub mod bundle;
pub mod dsse;
pub mod ephemeral;
pub mod fulcio;
pub mod guard;
pub mod identity_token;
pub mod instance;
pub mod rekor;
pub mod rekor_v2;
pub mod sign;
pub mod slsa;
pub mod statement;
pub mod timestamp;
pub mod verify;
