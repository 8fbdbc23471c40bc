//! Model check of head signing: in no order of commits, faults, crashes, power cuts, starts, second writers and restored
//! folders do two different roots of one size leave the log, nor is an acknowledged entry missing in a later head.
//!
//! [`model`] says which function of the engine each action stands for. The checker visits every order within the
//! bounds; `CHANCERY_LONG=1 cargo nextest run -p chancery-tlog-model` widens them. The models with a flaw are about the
//! check: it must find how each breaks the promise.

mod model;

use model::{Flaw, HeadSigning, Memory, Writers};
use stateright::{Checker, HasDiscoveries, Model as _};

const ONE_ROOT: &str = "any two heads that were seen are consistent";
const KEPT: &str = "an acknowledged entry is in every later head";
const ABSENT: &str = "what was certainly not added is in no head";

fn bounds() -> HeadSigning {
    let long = std::env::var_os("CHANCERY_LONG").is_some();
    HeadSigning {
        entries: if long { 4 } else { 3 },
        faults: if long { 3 } else { 2 },
        restores: 0,
        writers: Writers::Locked,
        memory: Memory::None,
        flaw: None,
    }
}

/// Runs the checker over everything that can happen, or until these are found; the names of the properties with a
/// counterexample, and of the examples found.
fn discoveries(model: HeadSigning, until: HasDiscoveries) -> Vec<&'static str> {
    let shown = format!("{model:?}");
    let checker = model.checker().finish_when(until).threads(2).spawn_bfs().join();
    eprintln!("{shown}: {} states, depth {}", checker.unique_state_count(), checker.max_depth());
    let mut found: Vec<_> = checker.discoveries().into_iter().collect();
    found.sort_by_key(|(name, _)| *name);
    for (name, path) in &found {
        eprintln!("  {name}: {:?}", path.clone().into_actions());
    }
    found.into_iter().map(|(name, _)| name).collect()
}

/// Nothing breaks, and the examples show that what is to be survived does happen.
fn assert_holds(model: HeadSigning, examples: &[&str]) {
    let found = discoveries(model, HasDiscoveries::All);
    for property in [ONE_ROOT, KEPT, ABSENT] {
        assert!(!found.contains(&property), "broken: {property}");
    }
    for example in examples {
        assert!(found.contains(example), "the model never comes to this: {example}");
    }
}

/// The checker must find a history that breaks this.
fn assert_found(model: HeadSigning, property: &'static str) {
    let shown = format!("{model:?}");
    let found = discoveries(model, HasDiscoveries::AllOf([property].into()));
    assert!(found.contains(&property), "{shown} breaks nothing, so the check sees nothing: {found:?}");
}

#[test]
fn one_writer_holds_over_faults_and_starts() {
    let model = HeadSigning { entries: bounds().entries + 1, ..bounds() };
    assert_holds(model, &["everything is acknowledged", "a process ended by itself", "an entry was refused"]);
}

#[test]
fn two_writers_hold_by_comparing_heads() {
    let model = HeadSigning { writers: Writers::Compared, faults: bounds().faults - 1, ..bounds() };
    assert_holds(model, &["everything is acknowledged", "a process ended by itself"]);
}

#[test]
fn a_restored_old_folder_is_refused_by_a_second_memory_that_is_told_first() {
    let model =
        HeadSigning { restores: 1, memory: Memory::BeforeShown, faults: bounds().faults - 1, ..bounds() };
    assert_holds(model, &["a start was refused", "everything is acknowledged"]);
}

#[test]
fn without_a_second_memory_a_restored_old_folder_forks() {
    let model = HeadSigning { restores: 1, faults: 1, ..bounds() };
    assert_found(model.clone(), ONE_ROOT);
    assert_found(model, KEPT);
}

/// Which is why a memory that is told later has to be asked by people who know what was shown since.
#[test]
fn a_second_memory_that_is_told_later_can_be_too_late() {
    let model = HeadSigning { restores: 1, faults: 1, memory: Memory::AfterShown, ..bounds() };
    assert_found(model, KEPT);
}

#[test]
fn showing_heads_when_they_are_signed_is_found() {
    assert_found(HeadSigning { flaw: Some(Flaw::ShowsWhenSigned), ..bounds() }, ONE_ROOT);
}

#[test]
fn taking_an_unknown_outcome_for_a_failure_is_found() {
    assert_found(HeadSigning { flaw: Some(Flaw::TakesUnknownForFailure), ..bounds() }, ABSENT);
}

#[test]
fn taking_an_unknown_outcome_for_a_success_is_found() {
    let model = HeadSigning { flaw: Some(Flaw::TakesUnknownForSuccess), ..bounds() };
    assert_found(model.clone(), ONE_ROOT);
    assert_found(model, KEPT);
}

#[test]
fn leaving_fsync_out_is_found() {
    let model = HeadSigning { flaw: Some(Flaw::LeavesFsyncOut), ..bounds() };
    assert_found(model.clone(), ONE_ROOT);
    assert_found(model, KEPT);
}

#[test]
fn serving_what_a_start_read_and_did_not_sync_is_found() {
    assert_found(HeadSigning { flaw: Some(Flaw::StartsUnsynced), ..bounds() }, ONE_ROOT);
}

#[test]
fn two_writers_that_do_not_compare_are_found() {
    let model = HeadSigning { writers: Writers::Compared, flaw: Some(Flaw::ComparesNothing), ..bounds() };
    assert_found(model, ONE_ROOT);
}
