//! The recorded counts, and what differs from them.
//!
//! A path that became dearer fails, and so does one that became cheaper: the next loss would hide in the gain. Either
//! way the remedy is in the message.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Deserialize;
use serde_json::Value;

use super::{Count, Environment};

/// How far a count may be from the recorded one, in per cent. Two runs of one program differ too, because signatures
/// and the seeds of hash maps are random: by 0.3 % of the whole and 1.1 % of our own share, on paths that are more than
/// a signature.
pub const TOLERANCE: u64 = 3;
/// Below this many instructions a difference is no matter of speed, whatever its share: one more step of a modular
/// inversion is more.
const NEGLIGIBLE: u64 = 3000;

/// Recorded counts, and what they were recorded with.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    /// Where they were counted.
    pub environment: Environment,
    paths: BTreeMap<String, Recorded>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Recorded {
    own: u64,
    total: u64,
}

/// A path that is not as recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// More instructions than recorded.
    Slower(String),
    /// Fewer.
    Faster(String),
    /// It has no recorded count.
    New(String),
    /// It is recorded and was not counted.
    Gone(String),
}

impl Difference {
    /// For people.
    pub fn explain(&self) -> String {
        match self {
            Self::Slower(path) => format!("{path}: SLOWER than recorded"),
            Self::Faster(path) => format!("{path}: faster than recorded; record it, so that it stays"),
            Self::New(path) => format!("{path}: not recorded yet"),
            Self::Gone(path) => format!("{path}: recorded, and no longer counted"),
        }
    }
}

impl Baseline {
    /// Reads a file that [`Baseline::encode`] wrote.
    pub fn read(file: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        serde_json::from_str(&text)
            .with_context(|| format!("{} is not as `.ci/benches` wrote it", file.display()))
    }

    /// What was counted, to be recorded.
    pub fn new(environment: Environment, counts: &[(String, Count)]) -> Self {
        let recorded = |count: &Count| Recorded { own: count.own, total: count.total };
        let paths = counts.iter().map(|(name, count)| (name.clone(), recorded(count))).collect();
        Self { environment, paths }
    }

    /// The file: a line a path, so that a change of one reads as that.
    pub fn encode(&self) -> String {
        let path = |(path, Recorded { own, total }): (&String, &Recorded)| {
            format!("    {}: {{ \"own\": {own}, \"total\": {total} }}", Value::from(path.as_str()))
        };
        let paths: Vec<String> = self.paths.iter().map(path).collect();
        let Environment { compiler, valgrind, libc, processor } = &self.environment;
        let environment =
            [("compiler", compiler), ("valgrind", valgrind), ("libc", libc), ("processor", processor)]
                .map(|(name, value)| format!("    \"{name}\": {}", Value::from(value.as_str())));
        format!(
            "{{\n  \"environment\": {{\n{}\n  }},\n  \"paths\": {{\n{}\n  }}\n}}\n",
            environment.join(",\n"),
            paths.join(",\n")
        )
    }

    /// What is not as recorded, in the order of `counts`.
    pub fn compare(&self, counts: &[(String, Count)]) -> Vec<Difference> {
        let mut differences: Vec<_> =
            counts.iter().filter_map(|(path, count)| self.compare_one(path, *count)).collect();
        let gone = self.paths.keys().filter(|path| counts.iter().all(|(counted, _)| counted != *path));
        differences.extend(gone.cloned().map(Difference::Gone));
        differences
    }

    fn compare_one(&self, path: &str, count: Count) -> Option<Difference> {
        let Some(recorded) = self.paths.get(path) else { return Some(Difference::New(path.to_owned())) };
        let pairs = [(recorded.own, count.own), (recorded.total, count.total)];
        if pairs.iter().any(|(before, now)| is_above(*before, *now)) {
            Some(Difference::Slower(path.to_owned()))
        } else if pairs.iter().any(|(before, now)| is_above(*now, *before)) {
            Some(Difference::Faster(path.to_owned()))
        } else {
            None
        }
    }

    /// A table of all counts with their change.
    pub fn table(&self, counts: &[(String, Count)]) -> String {
        let width = counts.iter().map(|(path, _)| path.chars().count()).max().unwrap_or_default();
        let mut table = format!("{:width$}  {:>12}  {:>8}  {:>12}  {:>8}\n", "", "own", "", "total", "");
        for (path, count) in counts {
            let recorded = self.paths.get(path);
            let own = change(recorded.map(|recorded| recorded.own), count.own);
            let total = change(recorded.map(|recorded| recorded.total), count.total);
            let _ = writeln!(
                table,
                "{path:width$}  {:>12}  {own:>8}  {:>12}  {total:>8}",
                count.own, count.total
            );
        }
        table
    }
}

/// Whether `now` is above `before` by more than is tolerated.
fn is_above(before: u64, now: u64) -> bool {
    let more = now.saturating_sub(before);
    more > NEGLIGIBLE && u128::from(more) * 100 > u128::from(before) * u128::from(TOLERANCE)
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn change(before: Option<u64>, now: u64) -> String {
    match before {
        Some(before) if before > 0 => format!("{:+.1} %", (now as f64 / before as f64 - 1.0) * 100.0),
        _ => "new".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(list: &[(&str, u64, u64)]) -> Vec<(String, Count)> {
        list.iter()
            .map(|(path, own, total)| ((*path).to_owned(), Count { own: *own, total: *total }))
            .collect()
    }

    fn baseline(list: &[(&str, u64, u64)]) -> Baseline {
        let environment = Environment {
            compiler: "rustc 1".to_owned(),
            valgrind: "valgrind \"1\"".to_owned(),
            libc: "glibc 2".to_owned(),
            processor: "x86_64".to_owned(),
        };
        Baseline::new(environment, &counts(list))
    }

    const RECORDED: [(&str, u64, u64); 2] = [("add: v1", 100_000, 1_000_000), ("\"tile\"", 50_000, 50_000)];

    #[test]
    fn within_the_tolerance_nothing_differs() {
        let recorded = baseline(&RECORDED);
        for (own, total) in [(100_000, 1_000_000), (103_000, 1_030_000), (97_100, 971_000)] {
            let now = counts(&[("add: v1", own, total), ("\"tile\"", 50_000, 50_000)]);
            assert_eq!(recorded.compare(&now), [], "{own} {total}");
        }
    }

    #[test]
    fn a_regression_is_named_although_the_primitives_dwarf_it() {
        let now = counts(&[("add: v1", 106_000, 1_006_000), ("\"tile\"", 50_000, 50_000)]);
        let differences = baseline(&RECORDED).compare(&now);
        assert_eq!(differences, [Difference::Slower("add: v1".to_owned())]);
        assert_eq!(differences[0].explain(), "add: v1: SLOWER than recorded");
    }

    #[test]
    fn a_second_verification_is_a_regression_although_none_of_it_is_ours() {
        let now = counts(&[("add: v1", 101_000, 1_500_000), ("\"tile\"", 50_000, 50_000)]);
        assert_eq!(baseline(&RECORDED).compare(&now), [Difference::Slower("add: v1".to_owned())]);
    }

    #[test]
    fn a_gain_a_new_path_and_a_lost_one_are_to_be_recorded() {
        let now = counts(&[("\"tile\"", 40_000, 40_000), ("add: v2", 1, 1)]);
        let differences = baseline(&RECORDED).compare(&now);
        assert_eq!(
            differences,
            [
                Difference::Faster("\"tile\"".to_owned()),
                Difference::New("add: v2".to_owned()),
                Difference::Gone("add: v1".to_owned()),
            ]
        );
    }

    #[test]
    fn a_few_instructions_are_no_regression() {
        let recorded = baseline(&[("small", 1000, 1000)]);
        assert_eq!(recorded.compare(&counts(&[("small", 3900, 3900)])), []);
        assert_eq!(recorded.compare(&counts(&[("small", 4001, 4001)])).len(), 1);
    }

    #[test]
    fn what_is_recorded_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let (file, recorded) = (folder.path().join("counts.json"), baseline(&RECORDED));
        std::fs::write(&file, recorded.encode()).unwrap();
        assert_eq!(Baseline::read(&file).unwrap(), recorded);
        std::fs::write(&file, recorded.encode().replace("own", "owe")).unwrap();
        assert!(Baseline::read(&file).is_err());
    }

    #[test]
    fn the_table_has_a_line_a_path_with_its_change() {
        let table = baseline(&RECORDED).table(&counts(&[("add: v1", 110_000, 1_000_000), ("new", 1, 1)]));
        let lines: Vec<_> =
            table.lines().map(|line| line.split_ascii_whitespace().collect::<Vec<_>>()).collect();
        assert_eq!(lines[1], ["add:", "v1", "110000", "+10.0", "%", "1000000", "+0.0", "%"]);
        assert_eq!(lines[2], ["new", "1", "new", "1", "new"]);
    }
}
