//! [`Tally`]: whether two streams hold the same pairs, whatever their order.
//!
//! Each pair is a number and the tally their product, with a random key, in the field of 2^127 − 1 elements:
//! `z − k0·w0 − k1·w1 − w2` over the words of the pair. As polynomials in the key, two products are the same only if
//! their factors are; so n pairs on one side and others on the other have one tally with probability at most n / 2^127
//! (Schwartz, Zippel), 2^-93 for 2^34 pairs, whoever chose them without knowing the key. That is a proof, where a sum of
//! hashes needs an assumption, and a tenth of the time: a log has a dozen pairs for each entry.

use aws_lc_rs::rand;
use serde::{Deserialize, Serialize};

use crate::merkle::Hash;

/// Key of a run's tallies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Key {
    z: Element,
    k: [Element; 2],
}

impl Key {
    pub(super) fn random() -> Self {
        let element = |without: u8| {
            let mut bytes = [without; 16];
            // Without randomness a tally still finds every damage that no enemy chose.
            let _ = rand::fill(&mut bytes);
            Element::new(u128::from_be_bytes(bytes))
        };
        Self { z: element(0x5A), k: [element(0x3C), element(0x96)] }
    }

    /// The pair's factor.
    fn factor(&self, hash: &Hash, index: u64) -> Element {
        // 40 bytes in words of 15, 15 and 10, each less than the field.
        let word = |bytes: &[u8], rest: u64| {
            Element::new(
                bytes.iter().fold(0, |word, byte| word << 8 | u128::from(*byte)) << 64 | u128::from(rest),
            )
        };
        let bytes = hash.as_bytes();
        let low = |at: usize| bytes[at..at + 8].iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
        let (w0, w1, w2) =
            (word(&bytes[..7], low(7)), word(&bytes[15..22], low(22)), word(&bytes[30..], index));
        let sum = self.k[0].times(w0).plus(self.k[1].times(w1)).plus(w2);
        self.z.plus(sum.negative())
    }
}

/// Product and number of the pairs of one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tally {
    product: Element,
    count: u64,
}

impl Default for Tally {
    fn default() -> Self {
        Self { product: Element(1), count: 0 }
    }
}

impl Tally {
    pub(super) fn add(&mut self, key: &Key, hash: &Hash, index: u64) {
        self.product = self.product.times(key.factor(hash, index));
        self.count += 1;
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.product = self.product.times(other.product);
        self.count += other.count;
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }
}

/// A number modulo 2^127 − 1, below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "[u64; 2]", from = "[u64; 2]")]
struct Element(u128);

const PRIME: u128 = (1 << 127) - 1;
/// The low half of an element; its high half has 63 bits.
const LOW: u128 = (1 << 64) - 1;

impl Element {
    fn new(number: u128) -> Self {
        // 2^127 is 1 here.
        let folded = (number & PRIME) + (number >> 127);
        Self(if folded >= PRIME { folded - PRIME } else { folded })
    }

    fn plus(self, other: Self) -> Self {
        Self::new(self.0 + other.0)
    }

    fn negative(self) -> Self {
        Self::new(PRIME - self.0)
    }

    fn times(self, other: Self) -> Self {
        let ((a1, a0), (b1, b0)) = ((self.0 >> 64, self.0 & LOW), (other.0 >> 64, other.0 & LOW));
        // high · 2^128 + middle · 2^64 + low, none of which overflows. 2^128 is 2.
        let (high, middle, low) = (a1 * b1, a1 * b0 + a0 * b1, a0 * b0);
        let carried = Self::new((high << 1) + (middle >> 63));
        let shifted = Self::new((middle & (LOW >> 1)) << 64);
        carried.plus(shifted).plus(Self::new(low))
    }
}

impl From<Element> for [u64; 2] {
    fn from(Element(number): Element) -> Self {
        let bytes = number.to_be_bytes();
        let half = |bytes: &[u8]| bytes.iter().fold(0, |half, byte| half << 8 | u64::from(*byte));
        [half(&bytes[..8]), half(&bytes[8..])]
    }
}

impl From<[u64; 2]> for Element {
    fn from([high, low]: [u64; 2]) -> Self {
        Self::new(u128::from(high) << 64 | u128::from(low))
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
        assert_ne!(all, tally(&Key::random(), &[("a", 1), ("b", 2), ("c", 3)]));
    }

    #[test]
    fn every_bit_of_a_pair_counts() {
        let key = Key::random();
        let hash = Hash::digest(b"a");
        let of = |hash: &Hash, index| {
            let mut tally = Tally::default();
            tally.add(&key, hash, index);
            tally
        };
        let own = of(&hash, 7);
        for bit in 0..256 {
            let mut bytes = *hash.as_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(own, of(&Hash::from_bytes(bytes), 7), "{bit}");
        }
        for bit in 0..64 {
            assert_ne!(own, of(&hash, 7 ^ 1 << bit), "{bit}");
        }
    }

    #[test]
    fn parts_multiply_to_the_whole_and_survive_a_file() {
        let key = Key::random();
        let mut parts = tally(&key, &[("a", 1), ("b", 2)]);
        parts.merge(&tally(&key, &[("c", 3)]));
        parts.merge(&Tally::default());
        assert_eq!(parts, tally(&key, &[("a", 1), ("b", 2), ("c", 3)]));
        let text = serde_json::to_string(&(key, parts)).unwrap();
        assert_eq!(serde_json::from_str::<(Key, Tally)>(&text).unwrap(), (key, parts));
    }

    /// Another way to multiply: by doubling and adding.
    fn slow_product(a: Element, b: Element) -> Element {
        let mut sum = Element(0);
        for bit in (0..127).rev() {
            sum = Element((sum.0 + sum.0) % PRIME);
            if b.0 >> bit & 1 == 1 {
                sum = Element((sum.0 + a.0) % PRIME);
            }
        }
        sum
    }

    #[test]
    fn elements_are_a_field() {
        let edges = [0, 1, 2, LOW, LOW + 1, 1 << 126, PRIME - 1, PRIME - 2].map(Element);
        let random = [(); 20].map(|()| Key::random().z);
        for a in edges.into_iter().chain(random) {
            assert_eq!(a.plus(a.negative()), Element(0));
            assert_eq!(Element::from(<[u64; 2]>::from(a)), a);
            for b in edges.into_iter().chain(random) {
                assert_eq!(a.times(b), slow_product(a, b), "{a:?} {b:?}");
            }
        }
        assert_eq!(Element::new(PRIME), Element(0));
        assert_eq!(Element::new(u128::MAX), Element(1));
    }
}
