//! RFC 3161 timestamps in bundles: every one must hold, and its time must lie in the certificate's life.

use super::*;

#[test]
fn the_earlier_of_log_and_timestamp_is_the_signing_time() {
    let instance = TestInstance::new();
    for (at, earlier) in [(NOW - 7, NOW - 7), (NOW + 7, NOW)] {
        let mut bundle = instance.signature();
        bundle.timestamps = vec![instance.stamp(bundle.signature(), at)];
        let report = judge(&bundle, &instance.trust_of_both(), &workflow_policy());
        assert_verified(&report);
        assert_eq!(report.signed_at, Some(Timestamp::from_seconds(earlier).to_rfc3339()));
        for claim in [Claim::SigningTime, Claim::Timestamp] {
            assert!(matches!(outcome(&report, claim), Outcome::Proven(_)), "{claim:?}");
        }
    }
}

#[test]
fn a_timestamp_gives_the_time_where_the_log_makes_no_promise() {
    let instance = TestInstance::new();
    let mut bundle = instance.signature();
    bundle.entries[0].promise = None;
    let report = judge(&bundle, &instance.trust_of_both(), &workflow_policy());
    assert_refused(&report, Claim::SigningTime, "no signed entry timestamp");
    bundle.timestamps = vec![instance.stamp(bundle.signature(), NOW)];
    assert_verified(&judge(&bundle, &instance.trust_of_both(), &workflow_policy()));
}

#[test]
fn a_timestamp_that_does_not_hold_refuses_the_bundle_though_the_log_tells_the_time() {
    let (instance, foreign) = (TestInstance::new(), TestInstance::new());
    let bundle = instance.signature();
    let good = instance.stamp(bundle.signature(), NOW);
    let cases = [
        (vec![0x30, 0], "malformed"),
        (instance.stamp(b"another signature", NOW), "not over these bytes"),
        (foreign.stamp(bundle.signature(), NOW), "not by a trusted timestamp authority"),
        (instance.stamp(bundle.signature(), NOW - 61), "outside of the certificate's life"),
        (instance.stamp(bundle.signature(), NOW + 541), "outside of the certificate's life"),
        (vec![0; chancery_tlog::timestamp::MAX_TOKEN + 1], "larger than"),
    ];
    for (bad, words) in cases {
        for timestamps in [vec![bad.clone()], vec![good.clone(), bad]] {
            let report = judge(
                &Bundle { timestamps, ..bundle.clone() },
                &instance.trust_of_both(),
                &workflow_policy(),
            );
            assert_refused(&report, Claim::Timestamp, words);
            assert!(matches!(outcome(&report, Claim::CertificateChain), Outcome::Proven(_)));
        }
    }
}

#[test]
fn the_same_timestamp_twice_is_refused_and_two_of_them_are_not() {
    let instance = TestInstance::new();
    let bundle = instance.signature();
    let [one, two] = [NOW, NOW + 1].map(|at| instance.stamp(bundle.signature(), at));
    let judge = |timestamps| {
        judge(&Bundle { timestamps, ..bundle.clone() }, &instance.trust_of_both(), &workflow_policy())
    };
    assert_refused(&judge(vec![one.clone(), one.clone()]), Claim::Timestamp, "the same timestamp twice");
    assert_verified(&judge(vec![one, two]));
}

#[test]
fn an_authority_counts_only_while_it_is_trusted() {
    let instance = TestInstance::new();
    let mut root = instance.trusted_root_of_both();
    root["timestampAuthorities"][0]["validFor"]["end"] = json!("2021-01-01T00:00:00Z");
    let trust = Keyring::parse(root.to_string().as_bytes()).unwrap();
    let report = judge(&instance.signature_v2(), &trust, &workflow_policy());
    assert_refused(&report, Claim::Timestamp, "not trusted at");
    assert_refused(&report, Claim::SigningTime, "does not hold");
    assert_refused(&report, Claim::CertificateChain, "without a trusted time");
}

#[test]
fn timestamps_say_nothing_where_no_authority_is_trusted() {
    let instance = TestInstance::new();
    let mut bundle = instance.signature();
    bundle.timestamps = vec![vec![0x30, 0]];
    let report = judge(&bundle, &instance.trust(), &workflow_policy());
    assert_verified(&report);
    assert!(matches!(outcome(&report, Claim::Timestamp), Outcome::NotRequired(_)));
    bundle.entries[0].promise = None;
    let report = judge(&bundle, &instance.trust(), &workflow_policy());
    assert_refused(&report, Claim::SigningTime, "lists no authority for its RFC 3161 timestamps");
}

#[test]
fn an_unreadable_authority_is_named_where_its_timestamps_are_refused() {
    let instance = TestInstance::new();
    let mut root = instance.trusted_root_of_both();
    root["timestampAuthorities"][0]["certChain"]["certificates"] =
        json!([{"rawBytes": Base64::encode(&with_unknown_key(&instance.tsa.root))}]);
    let trust = Keyring::parse(root.to_string().as_bytes()).unwrap();
    let report = judge(&instance.signature_v2(), &trust, &workflow_policy());
    assert_refused(&report, Claim::Timestamp, "timestampAuthorities[0]");
}
