//! Seeds of fuzz targets, and mutations of them by a fixed random sequence. Of every crate that has targets.

use std::path::Path;

/// SplitMix64: the same mutations in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`, which is not 0.
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).expect("below a usize")
    }

    /// Any range of at most 64 within `0..=len`.
    fn range(&mut self, len: usize) -> std::ops::Range<usize> {
        let start = self.below(len + 1);
        start..(start + self.below(65)).min(len)
    }
}

/// Pieces that the formats give meaning to.
const TOKENS: [&[u8]; 20] = [
    b"\n",
    b"\n\n",
    b"\r\n",
    b" ",
    b"+",
    b"=",
    b"/",
    b"0",
    b"18446744073709551616",
    "\u{2014} ".as_bytes(),
    b"\xff",
    b"\0\0",
    b"\xff\xff",
    b"null",
    b"{}",
    b"[]",
    b"\"\"",
    b".p/",
    b"x",
    b"\x30\x84\xff\xff\xff\xff",
];

fn mutate(random: &mut Random, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut data = seeds[random.below(seeds.len())].clone();
    for _ in 0..=random.below(3) {
        let at = random.below(data.len() + 1);
        match random.below(6) {
            0 if at < data.len() => data[at] ^= 1 << random.below(8),
            1 if at < data.len() => data[at] = random.next().to_le_bytes()[0],
            2 => drop(data.drain(random.range(data.len()))),
            3 => {
                let copy = data[random.range(data.len())].to_vec();
                data.splice(at..at, copy);
            }
            4 => drop(data.splice(at..at, TOKENS[random.below(TOKENS.len())].iter().copied())),
            _ => {
                let other = &seeds[random.below(seeds.len())];
                let cut = random.below(other.len() + 1);
                data.splice(at.., other[cut..].iter().copied());
            }
        }
    }
    data
}

/// The seeds of `target` by name, in order of their names.
fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut seeds: Vec<_> = std::fs::read_dir(folder)
        .expect("a corpus folder")
        .map(|file| file.expect("a seed").path())
        .map(|path| (path.display().to_string(), std::fs::read(&path).expect("a readable seed")))
        .collect();
    seeds.sort();
    seeds
}

/// Runs the seeds of `target`, then `rounds` mutations of them.
pub(crate) fn smoke(target: &str, rounds: u32, accepts: fn(&[u8]) -> bool) {
    let seeds = seeds(target);
    let (mut valid, mut refused) = (0, 0);
    for (name, data) in &seeds {
        if name.contains("/valid-") {
            assert!(accepts(data), "{name} is refused");
            valid += 1;
        }
        if name.contains("/refused-") {
            assert!(!accepts(data), "{name} is accepted");
            refused += 1;
        }
    }
    assert!(valid >= 3 && refused >= 3, "{target} has too few seeds");
    let seeds: Vec<_> = seeds.into_iter().map(|(_, data)| data).collect();
    let mut random = Random(0);
    for round in 0..rounds {
        let data = mutate(&mut random, &seeds);
        let outcome = std::panic::catch_unwind(|| accepts(&data));
        assert!(outcome.is_ok(), "{target}, round {round}: {:?}", String::from_utf8_lossy(&data));
    }
}
