//! The fault table: every step of a commit × before or after its effect × once or twice × what comes next, made by a
//! loop and never by hand. What each row must come to follows from the order of the steps and the three-outcome rule
//! alone ([`Fault::outcome`], [`Fault::kept`]); after each row every acknowledged entry is proven and every two heads that
//! were ever seen are held against each other, by `tlog_tiles`, which shares no line with us.
//!
//! `CHANCERY_LONG=1 cargo nextest run -p chancery-tlog --features server table` also runs every pair of two faults.
//!
//! The last tests are about the test: a world whose sequencer neglects a duty must turn rows red.

mod promises;
mod world;

use self::world::{Medium, Sabotage, Told, World};
use super::*;
use crate::server::log::Receipt;

/// What happens in one round, in the order of the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    /// `Log::admit` looks whether the entry is stored.
    Find,
    /// `Log::admit` asks how much the disk has left.
    FreeBytes,
    /// `Sequencer::without_stored` looks again, for the whole batch.
    FindAll,
    /// `Tree::integrate` and `Batch::check`: the only memory between two rounds is the tree, so a failure is a bit of it.
    Integrate,
    /// `Checked::sign`.
    Sign,
    /// The store compares the head with the parent.
    Compare,
    /// The record goes to the write-ahead log, as far as the page cache.
    Append,
    /// And to the disk.
    Sync,
    /// The store's readers see it.
    Apply,
    /// `Committed::publish` shows the head.
    Publish,
    /// The submitters hear.
    Answer,
}

impl Step {
    /// The next one. A step that is added here without a place in the order does not compile.
    fn next(self) -> Option<Self> {
        match self {
            Self::Find => Some(Self::FreeBytes),
            Self::FreeBytes => Some(Self::FindAll),
            Self::FindAll => Some(Self::Integrate),
            Self::Integrate => Some(Self::Sign),
            Self::Sign => Some(Self::Compare),
            Self::Compare => Some(Self::Append),
            Self::Append => Some(Self::Sync),
            Self::Sync => Some(Self::Apply),
            Self::Apply => Some(Self::Publish),
            Self::Publish => Some(Self::Answer),
            Self::Answer => None,
        }
    }

    fn all() -> impl Iterator<Item = Self> {
        std::iter::successors(Some(Self::Find), |step| step.next())
    }

    /// The last two are moves within the process, which cannot fail: only the process can.
    fn can_fail(self) -> bool {
        self < Self::Publish
    }
}

/// Whether the step had its effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Moment {
    Before,
    After,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// The step reports a failure.
    Error,
    /// The process is gone.
    Death,
}

/// What comes after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// Clients try again at once. A process that has ended by then is started again.
    Retry,
    /// The process is killed, if it still is there, and started again: the page cache survives.
    Restart,
    /// The machine loses its power: what was not synced is gone.
    PowerCut,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fault {
    step: Step,
    moment: Moment,
    how: How,
    next: Next,
}

/// What a process makes of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// Its submitters are refused, the log goes on.
    NothingWritten,
    /// Two derivations disagree: nothing was signed, the process ends.
    Contradiction,
    /// Somebody else writes: the process ends.
    OtherWriter,
    /// Nobody knows: its submitters are told so, the process ends.
    Unknown,
}

impl Fault {
    /// Every fault that can be.
    fn all() -> impl Iterator<Item = Self> {
        Step::all().flat_map(|step| {
            let moments = [Moment::Before, Moment::After];
            moments.into_iter().flat_map(move |moment| {
                let errors = [Next::Retry, Next::Restart, Next::PowerCut].map(|next| (How::Error, next));
                let deaths = [Next::Restart, Next::PowerCut].map(|next| (How::Death, next));
                let possible = errors.into_iter().filter(move |_| step.can_fail()).chain(deaths);
                possible.map(move |(how, next)| Self { step, moment, how, next })
            })
        })
    }

    /// The three-outcome rule: an error is "nothing was written" only where no step before it, nor itself, can have put
    /// anything on the disk. Two discoveries end the process although nothing was written.
    fn outcome(self) -> Outcome {
        match (self.step, self.moment) {
            (Step::Integrate, _) => Outcome::Contradiction,
            (Step::Compare, Moment::After) => Outcome::OtherWriter,
            (step, _) if step < Step::Append => Outcome::NothingWritten,
            _ => Outcome::Unknown,
        }
    }

    fn reached(self, step: Step) -> bool {
        (self.step, self.moment) >= (step, Moment::After)
    }

    /// In the page cache only.
    fn in_cache_only(self) -> bool {
        self.reached(Step::Append) && !self.reached(Step::Sync)
    }

    /// Whether the next process finds the batch.
    fn kept(self) -> bool {
        self.reached(Step::Sync) || self.in_cache_only() && self.next != Next::PowerCut
    }

    /// Whether the process is still there after it.
    fn survived(self) -> bool {
        self.how == How::Error && self.outcome() == Outcome::NothingWritten
    }
}

/// Faults that follow each other, each in a round of the same entries and a new one.
#[derive(Clone, Debug)]
struct Row(Vec<Fault>);

impl Row {
    fn name(&self) -> String {
        let faults = self.0.iter().map(|fault| format!("{fault:?}").replace("Fault ", ""));
        faults.collect::<Vec<_>>().join(", then ")
    }

    /// Every fault once, every fault twice.
    fn table() -> impl Iterator<Item = Self> {
        Fault::all().flat_map(|fault| [Self(vec![fault]), Self(vec![fault; 2])])
    }

    /// Every fault after every other.
    fn pairs() -> impl Iterator<Item = Self> {
        Fault::all().flat_map(|first| Fault::all().map(move |second| Self(vec![first, second])))
    }

    /// Runs it; what went otherwise than it must.
    async fn run(&self, medium: Medium, sabotage: Sabotage) -> Vec<String> {
        let mut world = World::new(medium, sabotage).await;
        let _ = world.attempt(&world::entries(0..5), None).await;
        let victims = world::entries(5..8);
        let mut stored = false;
        for (round, fault) in (100..).zip(&self.0) {
            let mut batch = victims.clone();
            batch.extend(world::entries(round..round + 1));
            let told = world.attempt(&batch, Some(*fault)).await;
            if let Told::Answers(answers) = &told {
                let (old, new) = answers.split_at(victims.len());
                expect_answers(*fault, if stored { &[] } else { old }, &mut world.broken);
                expect_answers(*fault, new, &mut world.broken);
            }
            world.expect_state(*fault, &told).await;
            if !(fault.survived() && fault.next == Next::Retry) {
                world.restart(fault.next).await;
            }
            stored |= fault.kept();
            world.check().await;
            if !world.broken.is_empty() {
                return world.broken;
            }
        }
        world.retry(&victims, stored).await;
        let _ = world.attempt(&world::entries(1000..1020), None).await;
        world.check().await;
        world.restart(Next::PowerCut).await;
        world.check().await;
        world.broken
    }
}

/// What those must hear whose entries were not stored before.
fn expect_answers(fault: Fault, answers: &[Result<Receipt, AddError>], broken: &mut Vec<String>) {
    for answer in answers {
        let fits = match (fault.step, fault.outcome()) {
            _ if fault.how == How::Death => answer.is_ok(),
            (Step::Sign, _) => matches!(answer, Err(AddError::NotSigned(_))),
            (_, Outcome::NothingWritten) => matches!(answer, Err(AddError::Failed(_))),
            (_, Outcome::Contradiction | Outcome::OtherWriter) => matches!(answer, Err(AddError::Closed)),
            (_, Outcome::Unknown) => matches!(answer, Err(AddError::Unknown)),
        };
        if !fits {
            broken.push(format!("a submitter should have heard {:?}, but heard {answer:?}", fault.outcome()));
        }
    }
}

fn is_long() -> bool {
    std::env::var_os("CHANCERY_LONG").is_some()
}

/// Runs rows; the red ones, each with what is wrong.
async fn red(
    rows: impl Iterator<Item = Row>,
    medium: Medium,
    sabotage: Sabotage,
) -> Vec<(String, Vec<String>)> {
    let (mut count, mut red) = (0, Vec::new());
    for row in rows {
        let broken = row.run(medium, sabotage).await;
        count += 1;
        let verdict = if broken.is_empty() { "holds" } else { "BROKEN" };
        eprintln!("{verdict}: {}", row.name());
        if !broken.is_empty() {
            red.push((row.name(), broken));
        }
    }
    eprintln!("{medium:?}, {sabotage:?}: {count} rows, {} red", red.len());
    red
}

async fn assert_holds(rows: impl Iterator<Item = Row>, medium: Medium) {
    let red = red(rows, medium, Sabotage::None).await;
    assert!(red.is_empty(), "{red:#?}");
}

#[test]
fn the_table_covers_every_step_in_every_way() {
    let faults: Vec<Fault> = Fault::all().collect();
    let steps: Vec<Step> = Step::all().collect();
    assert_eq!(steps.len(), 11);
    assert!(steps.is_sorted(), "the order of the enum is that of the code");
    // Deaths: each step × 2 moments × 2 ways to come back. Errors: those that can fail × 2 × 3.
    let failing = steps.iter().filter(|step| step.can_fail()).count();
    assert_eq!(faults.len(), steps.len() * 4 + failing * 6);
    for step in steps {
        let of = |how| faults.iter().filter(|fault| (fault.step, fault.how) == (step, how)).count();
        assert_eq!((of(How::Death), of(How::Error)), (4, if step.can_fail() { 6 } else { 0 }), "{step:?}");
    }
    let names: std::collections::HashSet<_> = Row::table().map(|row| row.name()).collect();
    assert_eq!(names.len(), 2 * faults.len(), "each row has a name of its own");
}

#[tokio::test(start_paused = true)]
async fn every_row_holds_on_a_disk_with_a_page_cache() {
    assert_holds(Row::table(), Medium::Simulated).await;
}

/// From within a process RocksDB shows no state between append and sync, and no power can be cut:
/// `tests/tests/faults.rs` does that from outside.
#[tokio::test(start_paused = true)]
async fn every_row_holds_in_rocksdb() {
    let possible = |fault: &Fault| !fault.in_cache_only() && fault.next != Next::PowerCut;
    // Starts sync dozens of files: the rows of two faults have their place in the long run.
    let most = if is_long() { 2 } else { 1 };
    let rows = Row::table().filter(|row| row.0.len() <= most && row.0.iter().all(possible));
    assert_holds(rows, Medium::Rocks).await;
}

#[tokio::test(start_paused = true)]
async fn every_pair_of_faults_holds() {
    // All of them take minutes; these, each time the same, seconds.
    let every = if is_long() { 1 } else { 37 };
    assert_holds(Row::pairs().step_by(every), Medium::Simulated).await;
}

/// Rows must turn red, and say these words.
async fn assert_noticed(sabotage: Sabotage, words: &str) {
    let red = red(Row::table(), Medium::Simulated, sabotage).await;
    let saying = red.iter().filter(|(_, broken)| broken.iter().any(|what| what.contains(words))).count();
    assert!(saying > 0, "{sabotage:?} goes unnoticed, or for another reason: {red:#?}");
}

#[tokio::test(start_paused = true)]
async fn leaving_fsync_out_is_noticed() {
    assert_noticed(Sabotage::LeavesFsyncOut, "is lost").await;
}

#[tokio::test(start_paused = true)]
async fn showing_what_is_signed_and_not_committed_is_noticed() {
    assert_noticed(Sabotage::ShowsWhenSigned, "contradict each other").await;
}

#[tokio::test(start_paused = true)]
async fn taking_an_unknown_outcome_for_a_failure_is_noticed() {
    assert_noticed(Sabotage::TakesUnknownForFailure, "should have ended").await;
}
