//! Choices that a seed decides, so that every generated request can be generated again.

/// Where the seed comes from.
const SEED: &str = "CHANCERY_SEED";
/// Where the number of generated requests of each kind comes from: `tests/long` asks for many.
const REQUESTS: &str = "CHANCERY_REQUESTS";
const FEW: u64 = 60;

/// A generator after Steele, Lea and Flood ("SplitMix64"): of no use for secrets, and the same on every machine.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// The dice of one request of a run.
    pub fn new(seed: u64, request: u64) -> Self {
        let mut dice = Self(seed ^ request.wrapping_mul(0xD1B5_4A32_D192_ED03));
        dice.next();
        dice
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is above 0.
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).unwrap_or(u64::MAX);
        usize::try_from(self.next() % bound).unwrap_or_default()
    }

    /// One of several.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }

    /// True once in `times`.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// So many octets.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        std::iter::repeat_with(|| self.next().to_be_bytes()[0]).take(count).collect()
    }
}

/// The seed of this run, `CHANCERY_SEED` or 1.
pub fn seed() -> u64 {
    number(SEED).unwrap_or(1)
}

/// How many requests of each kind are generated, `CHANCERY_REQUESTS` or few.
pub fn requests() -> u64 {
    number(REQUESTS).unwrap_or(FEW)
}

/// Whether this run takes its time: tests/long's does.
pub fn is_long() -> bool {
    requests() > FEW
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_and_a_request_decide_everything() {
        let roll = |seed, request| Dice::new(seed, request).bytes(16);
        assert_eq!(roll(1, 2), roll(1, 2));
        assert_ne!(roll(1, 2), roll(1, 3));
        assert_ne!(roll(1, 2), roll(2, 2));
        let mut dice = Dice::new(7, 7);
        let rolled: std::collections::BTreeSet<usize> = (0..200).map(|_| dice.below(6)).collect();
        assert_eq!(rolled, (0..6).collect());
    }
}
