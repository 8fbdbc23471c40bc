//! The genuine servers of Sigstore beside ours: the same request goes to both, and what differs in the answers is a fault
//! of ours, or a row in a table with a reason.
//!
//! Map: [`servers`] and [`rekor`] start the genuine ones, which `tests/genuine/build` has built; [`wire`] sends requests byte for byte
//! as a test wrote them; [`dice`] makes them from a seed; [`compare`] judges the answers; [`outline`] shows DER without what
//! must differ.

pub mod compare;
pub mod dice;
mod index;
pub mod outline;
pub mod rekor;
pub mod servers;
pub mod wire;

pub use compare::{Case, Difference, Pair, compare};
pub use dice::Dice;
pub use rekor::GenuineRekor;
pub use servers::{GenuineFulcio, GenuineRekorTiles, GenuineTsa};
pub use wire::{Answer, Request};
