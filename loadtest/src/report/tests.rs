//! Conclusions from steps that are made up.

use super::*;

pub(crate) const PRIMITIVES: Primitives = Primitives {
    p256_sign: 21.5,
    p256_verify: 70.0,
    ed25519_sign: 13.8,
    ed25519_verify: 44.0,
    rsa2048_verify: 23.0,
    sha256_entry: 2.5,
    send_mib: 200.0,
    fdatasync_p50: Some(1500.0),
};

/// A step in which `accepted` of `offered` per second were accepted.
pub(crate) fn step(offered: f64, accepted_rate: f64) -> Step {
    Step {
        offered,
        accepted_rate,
        seconds: 1.0,
        counts: Counts { due: 1000, accepted: 1000, ..Counts::default() },
        latency_ms: Latency { p50: 4.0, p90: 5.0, p99: 15.0, p999: 20.0, max: 30.0 },
        generator_late_p99_ms: 0.1,
        server_cpu_us: Some(196.5),
        server_read_bytes: None,
        server_written_bytes: None,
    }
}

/// A server that does 1000 per second and breaks down a little past that.
pub(crate) fn tested() -> Tested {
    let steps = vec![step(2000.0, 900.0), step(10.0, 10.0), step(800.0, 800.0), step(1500.0, 1000.0)];
    let mut tested = Tested::new("v2", Some(1000), Some(Operation::RekorV2), steps, &Ledger::default());
    tested.conclude(&PRIMITIVES);
    tested
}

#[test]
fn ratios_are_ceiling_over_cost_and_peak_over_ceiling() {
    let findings = tested().findings;
    let close =
        |value: Option<f64>, expected: f64| value.is_some_and(|value| (value - expected).abs() < 0.01);
    // 98 µs of 196.5; 1000/s of 10,204/s; 4 ms less two syncs of 1.5 ms; p99 15 ms in syncs; 900 of 1000.
    assert!(close(findings.cpu_ratio, 98.0 / 196.5), "{findings:?}");
    assert!(close(findings.peak_to_one_core, 0.098), "{findings:?}");
    assert!(close(findings.idle_beyond_two_fdatasyncs_ms, 1.0), "{findings:?}");
    assert!(close(findings.p99_near_80_percent_in_fdatasyncs, 10.0), "{findings:?}");
    assert!(close(findings.past_saturation, 0.9), "{findings:?}");
}

#[test]
fn processor_time_is_that_of_the_busiest_step_that_kept_up() {
    let mut steps = vec![step(10.0, 10.0), step(800.0, 800.0), step(1600.0, 1000.0)];
    for (step, cpu) in steps.iter_mut().zip([500.0, 200.0, 900.0]) {
        step.server_cpu_us = Some(cpu);
    }
    assert_eq!(Findings::of(&steps, None, &PRIMITIVES).cpu_us, Some(200.0));
    // Too few operations in the steps that it kept up with: then where it did most.
    (steps[0].server_cpu_us, steps[1].server_cpu_us) = (None, None);
    assert_eq!(Findings::of(&steps, None, &PRIMITIVES).cpu_us, Some(900.0));
}

#[test]
fn a_server_that_was_never_saturated_has_no_figure_past_saturation() {
    let findings = Findings::of(&[step(10.0, 10.0), step(100.0, 99.0)], None, &PRIMITIVES);
    assert_eq!(findings.past_saturation, None);
    assert_eq!((findings.cpu_ratio, findings.peak_to_one_core), (None, None));
}

#[test]
fn the_text_says_the_ratios_and_every_breach() {
    let mut ledger = Ledger::default();
    ledger.breach("entry 7 is gone".to_owned());
    let mut tested = Tested::new("v2", Some(1000), Some(Operation::RekorV2), vec![step(10.0, 10.0)], &ledger);
    tested.conclude(&PRIMITIVES);
    let text = tested.to_string();
    for part in ["50 % of the ceiling", "2 fdatasyncs + 1.00 ms", "BROKEN: 1 promises", "entry 7 is gone"] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
}

#[test]
fn a_log_is_compared_with_the_first_of_its_name() {
    let large = |cpu| {
        let mut one = step(10.0, 10.0);
        (one.server_cpu_us, one.latency_ms.p50) = (Some(cpu), 5.0);
        Tested::new("v2", Some(10_000_000), Some(Operation::RekorV2), vec![one], &Ledger::default())
    };
    let other = Tested::new("reads", None, None, vec![step(10.0, 10.0)], &Ledger::default());
    let mut all = [tested(), other, large(209.0)];
    for tested in &mut all {
        tested.conclude(&PRIMITIVES);
    }
    Tested::compare(&mut all);
    let [first, other, second] = all;
    assert_eq!((first.findings.to_the_first, other.findings.to_the_first), (None, None));
    let growth = second.findings.to_the_first.unwrap();
    assert_eq!((growth.entries, growth.idle_p50), (Some(1000), 1.25));
    assert!((growth.cpu.unwrap() - 209.0 / 196.5).abs() < 1e-9, "{growth:?}");
    let text = second.to_string();
    let parts = [
        "v2, from 10000000 entries on",
        "to the log of 1000 entries: 1.06 × the processor time, 1.25 × the idle",
    ];
    for part in parts {
        assert!(text.contains(part), "{part} in\n{text}");
    }
}

#[test]
fn what_has_no_entries_says_nothing_of_a_tree() {
    let ledger = Ledger { verified: 12, ..Ledger::default() };
    let text = Tested::new("tsa", None, None, vec![step(10.0, 10.0)], &ledger).to_string();
    assert!(text.contains("verified: 12 answers\n"), "{text}");
}
