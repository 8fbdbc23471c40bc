//! The one rule about time, held against every kind of instance of a trusted root: what is listed counts for
//! what was done while it was trusted, by every time that is known.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;
use crate::fixture::{hashedrekord_v2, verifier};

static INSTANCE: LazyLock<TestInstance> = LazyLock::new(TestInstance::new);

/// A kind of instance: the place of its period in the root, a bundle that uses it at [`NOW`], the claim that
/// refuses.
struct Kind {
    name: &'static str,
    period: &'static str,
    bundle: fn() -> Bundle,
    claim: Claim,
}

const V1: &str = "/tlogs/0/publicKey/validFor";
const V2: &str = "/tlogs/1/publicKey/validFor";
const CT: &str = "/ctlogs/0/publicKey/validFor";
const CA: &str = "/certificateAuthorities/0/validFor";
const TSA: &str = "/timestampAuthorities/0/validFor";

const KINDS: [Kind; 9] = [
    Kind { name: "v1 with SET", period: V1, bundle: || INSTANCE.provenance(), claim: Claim::SigningTime },
    Kind { name: "v1 with timestamp", period: V1, bundle: stamped_v1, claim: Claim::LogEntry },
    Kind { name: "v2", period: V2, bundle: || INSTANCE.provenance_v2(), claim: Claim::LogEntry },
    Kind { name: "v2 beside v1", period: V2, bundle: in_both, claim: Claim::LogEntry },
    Kind { name: "v1 beside v2", period: V1, bundle: in_both, claim: Claim::SigningTime },
    Kind { name: "issuance log", period: CT, bundle: || INSTANCE.signature(), claim: Claim::CertificateLog },
    Kind { name: "CA", period: CA, bundle: || INSTANCE.signature_v2(), claim: Claim::CertificateChain },
    Kind { name: "TSA", period: TSA, bundle: || INSTANCE.signature_v2(), claim: Claim::Timestamp },
    Kind { name: "TSA beside SET", period: TSA, bundle: stamped_beside_set, claim: Claim::Timestamp },
];

/// An entry of Rekor v1 without a SET, and a timestamp.
fn stamped_v1() -> Bundle {
    let mut bundle = INSTANCE.signature();
    (bundle.entries[0].promise, bundle.entries[0].integrated_time) = (None, None);
    with_stamps(bundle, &[NOW])
}

fn stamped_beside_set() -> Bundle {
    with_stamps(INSTANCE.signature(), &[NOW])
}

fn in_both() -> Bundle {
    let mut bundle = INSTANCE.signature();
    bundle.entries.push(INSTANCE.log_leaf_v2(&hashedrekord_v2(&bundle, verifier(&bundle))));
    bundle
}

fn with_stamps(mut bundle: Bundle, times: &[u64]) -> Bundle {
    bundle.timestamps = times.iter().map(|at| INSTANCE.stamp(bundle.signature(), *at)).collect();
    bundle
}

/// The trusted root of both logs with one period.
fn trust(path: &str, start: u64, end: Option<u64>) -> Keyring {
    let mut root = INSTANCE.trusted_root_of_both();
    let time = |seconds| Timestamp::from_seconds(seconds).to_rfc3339();
    *root.pointer_mut(path).unwrap() = json!({"start": time(start), "end": end.map(time)});
    Keyring::parse(root.to_string().as_bytes()).unwrap()
}

#[test]
fn every_kind_counts_within_its_period_and_at_both_ends() {
    for Kind { name, period, bundle, claim } in KINDS {
        let bundle = bundle();
        for (position, start, end, verifies) in [
            ("before", NOW + 1, None, false),
            ("before, with an end", NOW + 1, Some(NOW + 9), false),
            ("at the start", NOW, Some(NOW + 9), true),
            ("inside", NOW - 9, Some(NOW + 9), true),
            ("inside, without an end", NOW - 9, None, true),
            ("at the end", NOW - 9, Some(NOW), true),
            ("after", NOW - 9, Some(NOW - 1), false),
        ] {
            eprintln!("{name}: {position}");
            let report = judge(&bundle, &trust(period, start, end), &workflow_policy());
            if verifies { assert_verified(&report) } else { assert_refused(&report, claim, "trust") }
        }
    }
}

/// A key needs no time of signing, so nothing may be known: then an end refuses, wherever it is.
#[test]
fn without_any_time_a_log_that_has_an_end_is_refused() {
    let (v1, v1_key) = {
        let (mut bundle, key) = INSTANCE.key_signature();
        (bundle.entries[0].promise, bundle.entries[0].integrated_time) = (None, None);
        (bundle, key)
    };
    let (v2, v2_key) = INSTANCE.key_signature_v2();
    for (bundle, key, period) in [(v1, v1_key, V1), (v2, v2_key, V2)] {
        let policy = Policy::key(key);
        assert_verified(&judge(&bundle, &trust(period, NOW - 9, None), &policy));
        for end in [NOW - 1, NOW + 9] {
            let report = judge(&bundle, &trust(period, NOW - 99, Some(end)), &policy);
            assert_refused(&report, Claim::LogEntry, "without a known time");
        }
        let stamped = with_stamps(bundle, &[NOW]);
        assert_verified(&judge(&stamped, &trust(period, NOW - 9, Some(NOW)), &policy));
        let report = judge(&stamped, &trust(period, NOW - 9, Some(NOW - 1)), &policy);
        assert_refused(&report, Claim::LogEntry, "its trust ended");
        // A timestamp of an authority that is not trusted tells nothing.
        let mut root = INSTANCE.trusted_root_of_both();
        root["timestampAuthorities"] = json!([]);
        *root.pointer_mut(period).unwrap() =
            json!({"start": "2020-01-01T00:00:00Z", "end": "2999-01-01T00:00:00Z"});
        let root = Keyring::parse(root.to_string().as_bytes()).unwrap();
        assert_refused(&judge(&stamped, &root, &policy), Claim::LogEntry, "without a known time");
    }
}

/// What a thief of an ended key can make, who has no other key.
#[test]
fn a_back_dated_time_of_an_ended_key_is_found_out_by_the_other_times() {
    let end = NOW - 5;
    // A SET of any time, beside an honest timestamp.
    let mut bundle = INSTANCE.signature();
    let entry = &mut bundle.entries[0];
    entry.integrated_time = Some(end);
    entry.promise = Some(sign_set(&entry.body, end, &entry.log_id, entry.index, &INSTANCE.log).unwrap());
    // The issuance log saw the certificate after the end.
    let report = judge(&bundle, &trust(V1, NOW - 99, Some(end)), &workflow_policy());
    assert_refused(&report, Claim::LogEntry, "its trust ended");
    let mut root = INSTANCE.trusted_root_of_both();
    root["ctlogs"] = json!([]);
    *root.pointer_mut(V1).unwrap() =
        json!({"start": "2020-01-01T00:00:00Z", "end": Timestamp::from_seconds(end).to_rfc3339()});
    let without_sct = Keyring::parse(root.to_string().as_bytes()).unwrap();
    assert_verified(&judge(&bundle, &without_sct, &workflow_policy()));
    let report = judge(&with_stamps(bundle.clone(), &[NOW]), &without_sct, &workflow_policy());
    assert_refused(&report, Claim::LogEntry, "its trust ended");
    let report = judge(&with_stamps(bundle, &[NOW]), &trust(V1, NOW - 99, Some(end)), &workflow_policy());
    assert_refused(&report, Claim::LogEntry, "its trust ended");

    // Two timestamps, before and after.
    for bundle in [stamped_v1(), INSTANCE.signature_v2()] {
        let period = if bundle.entries[0].is_rekor_v2() { V2 } else { V1 };
        let stamped = with_stamps(bundle, &[end - 1, end + 1]);
        let report = judge(&stamped, &trust(period, NOW - 99, Some(end)), &workflow_policy());
        assert_refused(&report, Claim::LogEntry, "its trust ended");
    }

    // An entry in an ended log, beside one in a log that states a later time.
    let report = judge(&with_stamps(in_both(), &[end]), &trust(V2, NOW - 99, Some(end)), &workflow_policy());
    assert_refused(&report, Claim::LogEntry, "its trust ended");
}

/// What a thief of an ended timestamp authority's key can make: every time, with the word of others beside it.
#[test]
fn a_back_dated_timestamp_is_found_out_by_the_other_times() {
    let end = NOW - 5;
    let ended = trust(TSA, NOW - 99, Some(end));
    for bundle in
        [INSTANCE.signature(), INSTANCE.provenance(), in_both(), INSTANCE.signature_v2(), stamped_v1()]
    {
        let stamped = with_stamps(bundle, &[end - 1]);
        assert_verified(&judge(&stamped, &INSTANCE.trust_of_both(), &workflow_policy()));
        assert_refused(&judge(&stamped, &ended, &workflow_policy()), Claim::Timestamp, "its trust ended");
    }
    // By the SET alone, where there is neither a certificate nor an SCT.
    let (bundle, key) = INSTANCE.key_signature();
    let stamped = with_stamps(bundle, &[end - 1]);
    let policy = Policy::key(key);
    assert_verified(&judge(&stamped, &INSTANCE.trust_of_both(), &policy));
    assert_refused(&judge(&stamped, &ended, &policy), Claim::Timestamp, "its trust ended");
}

#[test]
fn a_back_dated_sct_is_found_out_by_the_certificates_life() {
    let key = EphemeralKey::generate().unwrap();
    let certificate = INSTANCE.issue_with(key.public_key(), &Leaf::workflow(), |entry| {
        Sct::sign(entry, Timestamp::from_seconds(NOW - 1000), &INSTANCE.ct).unwrap()
    });
    let bundle = INSTANCE.attest_as(&statement(), &key, certificate);
    let judge = |end| judge(&bundle, &trust(CT, NOW - 2000, end), &workflow_policy());
    // A CA may date a certificate a little into the future.
    assert_verified(&judge(None));
    assert_verified(&judge(Some(NOW - 60)));
    assert_refused(&judge(Some(NOW - 61)), Claim::CertificateLog, "its trust ended");
    assert_refused(&judge(Some(NOW - 1001)), Claim::CertificateLog, "its trust ended");
}

/// A stolen CA key: the certificate is back-dated, and the issuance log, which is honest, states when it saw
/// it.
#[test]
fn a_certificate_of_an_ended_authority_is_found_out_by_its_sct() {
    let mut bundle = INSTANCE.signature();
    let entry = &mut bundle.entries[0];
    entry.integrated_time = Some(NOW - 50);
    entry.promise = Some(sign_set(&entry.body, NOW - 50, &entry.log_id, entry.index, &INSTANCE.log).unwrap());
    let judge = |end| judge(&bundle, &trust(CA, NOW - 2000, Some(end)), &workflow_policy());
    assert_verified(&judge(NOW));
    assert_refused(&judge(NOW - 1), Claim::CertificateChain, "no certificate authority at");
    assert_refused(&judge(NOW - 51), Claim::CertificateChain, "no certificate authority at");
}

/// The proof of one log under the name of the other.
#[test]
fn an_ended_log_does_not_borrow_another_logs_name_or_proof() {
    let both = in_both();
    let mut bundle = INSTANCE.signature_v2();
    bundle.entries[0].log_id = both.entries[0].log_id;
    let report = judge(&bundle, &trust(V2, NOW - 99, Some(NOW - 9)), &workflow_policy());
    assert_refused(&report, Claim::Checkpoint, "not signed by the key of");
    let mut bundle = both;
    bundle.entries[0].proof = bundle.entries[1].proof.clone();
    let report = judge(&bundle, &trust(V1, NOW - 99, Some(NOW + 9)), &workflow_policy());
    assert!(!report.verified, "{:#?}", report.claims);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// A bundle verifies exactly if all of its times lie within the period of every instance that has a part in
    /// it, in whichever order and number. The SCT is of [`NOW`], and all that an issuance log is asked about.
    #[test]
    fn an_instance_counts_exactly_if_it_was_trusted_at_all_times(
        instance in 0_usize..4,
        set in prop::option::of(0_u64..8),
        stamps in prop::collection::vec(0_u64..8, 1..3),
        start in 0_u64..8,
        end in prop::option::of(0_u64..8),
        is_v2: bool,
    ) {
        let mut bundle = if is_v2 { INSTANCE.signature_v2() } else { INSTANCE.signature() };
        let entry = &mut bundle.entries[0];
        let set = set.filter(|_| !is_v2);
        entry.integrated_time = set.map(|at| NOW + at);
        entry.promise = set.map(|at| sign_set(&entry.body, NOW + at, &entry.log_id, entry.index, &INSTANCE.log).unwrap());
        let mut stamps = stamps;
        stamps.dedup();
        let bundle = with_stamps(bundle, &stamps.iter().map(|at| NOW + at).collect::<Vec<_>>());
        let path = [if is_v2 { V2 } else { V1 }, CT, CA, TSA][instance];
        let root = trust(path, NOW + start, end.map(|end| NOW + end));
        let inside = |at: &u64| (start..=end.unwrap_or(u64::MAX)).contains(at);
        let signed = stamps.iter().chain(&set).all(inside);
        let expected = match path {
            CT => inside(&0),
            CA => signed && inside(&0),
            _ => signed,
        };
        let report = judge(&bundle, &root, &workflow_policy());
        prop_assert_eq!(report.verified, expected, "{}: {:#?}", path, report.claims);
    }
}
