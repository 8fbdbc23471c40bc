//! What is taken out of a trusted root, and what shrinks in it.

use chancery_tlog::clock::Timestamp;
use chancery_tlog::key::{KeyKind, Signer as _, SoftwareSigner};
use chancery_tlog::trust::{Authority, CertChain, LogInstance, RawBytes};

use super::*;

fn authority(chain: &str) -> Authority {
    let certificates = vec![RawBytes { raw_bytes: chain.to_owned() }];
    Authority {
        uri: "https://a.example".to_owned(),
        cert_chain: CertChain { certificates },
        ..Authority::default()
    }
}

fn log() -> LogInstance {
    let key = SoftwareSigner::generate(KeyKind::Ed25519).unwrap();
    LogInstance::for_key("https://log.example", key.public_key(), Timestamp::from_seconds(1_000))
}

fn silent(before: &TrustedRoot, now: &TrustedRoot) -> Vec<String> {
    lost(before, now, &Stated::default())
}

type Take = fn(&mut TrustedRoot);

/// Whatever is taken out of a trusted root is found, one by one, and nothing else is.
#[test]
fn every_member_that_is_gone_is_named() {
    let whole = TrustedRoot {
        certificate_authorities: vec![authority("AA=="), authority("AQ==")],
        timestamp_authorities: vec![authority("Ag==")],
        ctlogs: vec![log(), log()],
        tlogs: vec![log()],
        ..TrustedRoot::new()
    };
    assert_eq!(silent(&whole, &whole), Vec::<String>::new());
    let takes: [(Take, &str); 5] = [
        (|root| drop(root.certificate_authorities.remove(0)), "the certificate authority"),
        (|root| drop(root.certificate_authorities.pop()), "the certificate authority"),
        (|root| root.timestamp_authorities.clear(), "the timestamp authority"),
        (|root| drop(root.ctlogs.remove(1)), "the issuance log"),
        (|root| root.tlogs.clear(), "the attestation log"),
    ];
    for (take, kind) in takes {
        let mut less = whole.clone();
        take(&mut less);
        let found = silent(&whole, &less);
        assert!(matches!(found.as_slice(), [one] if one.starts_with(kind)), "{found:?}");
        assert_eq!(silent(&less, &whole), Vec::<String>::new());
        let withdrawn = Stated { withdrawn: Keys::of(&whole), ..Stated::default() };
        assert_eq!(lost(&whole, &less, &withdrawn), Vec::<String>::new());
    }
}

#[test]
fn another_spelling_is_the_same_member() {
    let before = TrustedRoot {
        certificate_authorities: vec![authority("-_8=")],
        tlogs: vec![log()],
        ..TrustedRoot::new()
    };
    let mut after = before.clone();
    after.certificate_authorities[0] = authority("+/8");
    let spelt = after.tlogs[0].public_key.raw_bytes.trim_end_matches('=').to_owned();
    after.tlogs[0].public_key.raw_bytes = spelt;
    after.tlogs[0].base_url = "https://moved.example".to_owned();
    assert_eq!(silent(&before, &after), Vec::<String>::new());
}

/// A root with one log, that is trusted from second `start` to second `end`.
fn period(log: &LogInstance, start: u64, end: Option<u64>) -> TrustedRoot {
    let mut log = log.clone();
    log.public_key.valid_for.start = Timestamp::from_seconds(start).to_rfc3339();
    log.public_key.valid_for.end = end.map(|end| Timestamp::from_seconds(end).to_rfc3339());
    TrustedRoot { tlogs: vec![log], ..TrustedRoot::new() }
}

#[test]
fn a_shorter_period_is_found_unless_a_command_stated_its_end() {
    let log = log();
    let ended = |moved| Stated { ended: Keys::of(&period(&log, 0, None)), moved, ..Stated::default() };
    // Start and end before and now, then what is said: silently, with an end by a command, and with one that was moved.
    for (before, now, said) in [
        ((10, None), (10, None), [None, None, None]),
        ((10, None), (9, None), [None, None, None]),
        ((10, Some(20)), (10, Some(21)), [None, None, None]),
        ((10, Some(20)), (10, None), [None, None, None]),
        ((10, None), (11, None), [Some("since"), Some("since"), Some("since")]),
        ((10, None), (10, Some(30)), [Some("until"), None, None]),
        ((10, Some(20)), (10, Some(19)), [Some("until"), Some("until"), None]),
    ] {
        let (before, now) = (period(&log, before.0, before.1), period(&log, now.0, now.1));
        for (stated, said) in [Stated::default(), ended(false), ended(true)].iter().zip(said) {
            let found = lost(&before, &now, stated);
            assert_eq!(found.len(), usize::from(said.is_some()), "{found:?} {stated:?}");
            assert!(said.is_none_or(|said| found[0].contains(said)), "{found:?}");
        }
    }
}
