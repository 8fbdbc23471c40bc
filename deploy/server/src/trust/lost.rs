//! What a new trusted root would no longer name.
//!
//! An authority is known by its certificates, a log by its key. Dates may move; a member that is gone takes every
//! signature with it that it vouches for.

use chancery_tlog::trust::{Authority, LogInstance, TrustedRoot};

/// Members of `before` that are in none of `now`, in words for operators.
pub(crate) fn lost(before: &TrustedRoot, now: &[&TrustedRoot]) -> Vec<String> {
    let mut lost = Vec::new();
    let mut authorities = |of: fn(&TrustedRoot) -> &[Authority], kind: &str| {
        for one in of(before) {
            if !now.iter().any(|root| of(root).iter().any(|other| same(one, other))) {
                lost.push(format!("the {kind} \"{}\" at {}", one.subject.common_name, one.uri));
            }
        }
    };
    authorities(|root| &root.certificate_authorities, "certificate authority");
    authorities(|root| &root.timestamp_authorities, "timestamp authority");
    let mut logs = |of: fn(&TrustedRoot) -> &[LogInstance], kind: &str| {
        for one in of(before) {
            if !now.iter().any(|root| of(root).iter().any(|other| same_key(one, other))) {
                lost.push(format!("the {kind} {}", one.base_url));
            }
        }
    };
    logs(|root| &root.ctlogs, "issuance log");
    logs(|root| &root.tlogs, "attestation log");
    lost
}

/// Adds the members of `more` that `root` does not have.
pub(super) fn add(root: &mut TrustedRoot, more: &TrustedRoot) {
    for (have, new) in [
        (&mut root.certificate_authorities, &more.certificate_authorities),
        (&mut root.timestamp_authorities, &more.timestamp_authorities),
    ] {
        for one in new {
            if !have.iter().any(|other| same(one, other)) {
                have.push(one.clone());
            }
        }
    }
    for (have, new) in [(&mut root.ctlogs, &more.ctlogs), (&mut root.tlogs, &more.tlogs)] {
        for one in new {
            if !have.iter().any(|other| same_key(one, other)) {
                have.push(one.clone());
            }
        }
    }
}

fn same(one: &Authority, other: &Authority) -> bool {
    one.cert_chain == other.cert_chain
}

fn same_key(one: &LogInstance, other: &LogInstance) -> bool {
    one.public_key.raw_bytes == other.public_key.raw_bytes
}

#[cfg(test)]
mod tests {
    use chancery_tlog::clock::Timestamp;
    use chancery_tlog::key::{KeyKind, Signer as _, SoftwareSigner};
    use chancery_tlog::trust::{CertChain, RawBytes};

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
        LogInstance::for_key("https://log.example", key.public_key(), Timestamp::from_seconds(1))
    }

    type Take = fn(&mut TrustedRoot);

    /// Whatever is taken out of a trusted root is found, one by one, and nothing else is.
    #[test]
    fn every_member_that_is_gone_is_named() {
        let whole = TrustedRoot {
            certificate_authorities: vec![authority("a"), authority("b")],
            timestamp_authorities: vec![authority("c")],
            ctlogs: vec![log(), log()],
            tlogs: vec![log()],
            ..TrustedRoot::new()
        };
        assert_eq!(lost(&whole, &[&whole]), Vec::<String>::new());
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
            let found = lost(&whole, &[&less]);
            assert!(matches!(found.as_slice(), [one] if one.starts_with(kind)), "{found:?}");
            assert_eq!(lost(&less, &[&whole]), Vec::<String>::new());
            let mut again = less.clone();
            add(&mut again, &whole);
            assert_eq!(lost(&whole, &[&again]), Vec::<String>::new());
            assert_eq!(lost(&whole, &[&less, &whole]), Vec::<String>::new());
        }
    }

    #[test]
    fn dates_and_addresses_may_change() {
        let before = TrustedRoot { tlogs: vec![log()], ..TrustedRoot::new() };
        let mut after = before.clone();
        after.tlogs[0].public_key.valid_for.end = Some("2027-01-01T00:00:00Z".to_owned());
        after.tlogs[0].base_url = "https://moved.example".to_owned();
        assert_eq!(lost(&before, &[&after]), Vec::<String>::new());
    }
}
