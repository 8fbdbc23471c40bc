//! [`Tally`]: whether two streams hold the same pairs, whatever their order.
//!
//! The sum, in two lanes modulo 2^64, of a keyed hash of every pair. Equal multisets have equal sums; different ones
//! have them with probability 2^-128, since the key is drawn for the run and is unknown to whoever wrote the store.

use aws_lc_rs::digest;
use aws_lc_rs::rand;
use serde::{Deserialize, Serialize};

use crate::merkle::Hash;

/// Key of a run's tallies.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Key([u8; 12]);

impl Key {
    pub(super) fn random() -> Self {
        let mut key = [0; 12];
        // Without randomness the sums are still right for every damage that no enemy chose.
        let _ = rand::fill(&mut key);
        Self(key)
    }
}

/// Sum and number of the pairs of one stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tally {
    sum: [u64; 2],
    count: u64,
}

impl Tally {
    pub(super) fn add(&mut self, key: &Key, hash: &Hash, index: u64) {
        // 52 bytes: one block of SHA-256.
        let mut pair = [0; 52];
        pair[..12].copy_from_slice(&key.0);
        pair[12..44].copy_from_slice(hash.as_ref());
        pair[44..].copy_from_slice(&index.to_be_bytes());
        let hashed = digest::digest(&digest::SHA256, &pair);
        let lane = |at: usize| {
            let bytes = hashed.as_ref().get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
            bytes.map_or(0, u64::from_be_bytes)
        };
        self.merge(&Self { sum: [lane(0), lane(8)], count: 1 });
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (sum, more) in self.sum.iter_mut().zip(other.sum) {
            *sum = sum.wrapping_add(more);
        }
        self.count += other.count;
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(key: &Key, pairs: &[(&str, u64)]) -> Tally {
        let mut tally = Tally::default();
        for (text, index) in pairs {
            tally.add(key, &Hash::digest(text.as_bytes()), *index);
        }
        tally
    }

    #[test]
    fn order_does_not_count_and_everything_else_does() {
        let key = Key::random();
        let all = tally(&key, &[("a", 1), ("b", 2), ("c", 3)]);
        assert_eq!(all, tally(&key, &[("c", 3), ("a", 1), ("b", 2)]));
        for other in [
            vec![("a", 1), ("b", 2)],
            vec![("a", 2), ("b", 1), ("c", 3)],
            vec![("a", 1), ("a", 1), ("c", 3)],
            vec![("a", 1), ("b", 2), ("d", 3)],
        ] {
            assert_ne!(all, tally(&key, &other), "{other:?}");
        }
        assert_ne!(all, tally(&Key([7; 12]), &[("a", 1), ("b", 2), ("c", 3)]));
    }
}
