//! Own members, imported ones in every spelling, and what is withdrawn.

use chancery_tlog::key::{KeyKind, Signer as _, SoftwareSigner};
use chancery_tlog::trust::{Authority, LogInstance};

use super::*;
use crate::trust::canonical;

const fn at(seconds: u64) -> Timestamp {
    Timestamp::from_seconds(seconds)
}

fn log(key: &SoftwareSigner, start: u64, end: Option<u64>) -> LogInstance {
    let mut log = LogInstance::for_key("https://log.example", key.public_key(), at(start));
    log.public_key.valid_for.end = end.map(|end| at(end).to_rfc3339());
    log
}

fn key() -> SoftwareSigner {
    SoftwareSigner::generate(KeyKind::EcdsaP256).unwrap()
}

fn root(tlogs: Vec<LogInstance>) -> TrustedRoot {
    TrustedRoot { tlogs, ..TrustedRoot::new() }
}

fn respelt(mut log: LogInstance) -> LogInstance {
    let text = &mut log.public_key.raw_bytes;
    let spelt = text.replace('+', "-").replace('/', "_");
    spelt.trim_end_matches('=').clone_into(text);
    log
}

fn periods(root: &TrustedRoot) -> Vec<(u64, Option<u64>)> {
    let period = |log: &LogInstance| (log.start().seconds(), log.end().map(Timestamp::seconds));
    root.tlogs.iter().map(period).collect()
}

#[test]
fn the_earliest_end_counts_whoever_comes_first() {
    let key = key();
    let imports = [root(vec![log(&key, 10, Some(40))]), root(vec![respelt(log(&key, 5, Some(30)))])];
    for imports in [[&imports[0], &imports[1]], [&imports[1], &imports[0]]] {
        let merged = merge(root(vec![]), &imports, &Keys::default());
        assert_eq!(periods(&merged), [(5, Some(30))]);
        let own = root(vec![log(&key, 20, Some(35))]);
        assert_eq!(periods(&merge(own, &imports, &Keys::default())), [(5, Some(30))]);
    }
}

#[test]
fn an_import_ends_nothing_that_is_in_service() {
    let key = key();
    let import = root(vec![respelt(log(&key, 5, Some(30)))]);
    let own = root(vec![log(&key, 20, None)]);
    assert_eq!(periods(&merge(own, &[&import], &Keys::default())), [(5, None)]);
}

/// Rekor v2 has a key under a name. The end is the key's: whoever stole it signs under any name.
#[test]
fn a_key_under_two_names_is_two_logs_with_one_end() {
    let key = key();
    let mut other = log(&key, 10, Some(20));
    other.log_id.key_id = "AA==".to_owned();
    let merged = merge(root(vec![log(&key, 10, Some(30))]), &[&root(vec![other])], &Keys::default());
    assert_eq!(periods(&merged), [(10, Some(20)), (10, Some(20))]);
}

#[test]
fn nothing_brings_back_what_is_withdrawn() {
    let (stolen, other) = (key(), key());
    let withdrawn = Keys::of(&root(vec![respelt(log(&stolen, 1, None))]));
    let mut renamed = log(&stolen, 10, Some(30));
    renamed.log_id.key_id = "AA==".to_owned();
    let import = root(vec![respelt(log(&stolen, 5, Some(30))), renamed, log(&other, 5, Some(30))]);
    let merged = merge(root(vec![log(&stolen, 10, Some(20))]), &[&import], &withdrawn);
    assert_eq!(periods(&merged), [(5, Some(30))]);
    assert_eq!(withdrawn.named_in(&import).len(), 2);
    assert_eq!(withdrawn.named_in(&merged), Vec::<String>::new());
}

#[test]
fn the_chain_of_a_stolen_key_is_withdrawn_under_every_root() {
    let clock = chancery_tlog::clock::FixedClock::new(at(1_790_000_000));
    let made = chancery_ca::ceremony::make_root_and_intermediate("Acme", KeyKind::EcdsaP256, &clock).unwrap();
    let whole = Authority::from_chain("https://ca.example", &[made.issuing.clone(), made.root], at(10));
    let short = Authority::from_chain("https://ca.example", &[made.issuing], at(10));
    let of = |authority: &Authority| TrustedRoot {
        certificate_authorities: vec![authority.clone()],
        ..TrustedRoot::new()
    };
    let merged = merge(TrustedRoot::new(), &[&of(&short)], &Keys::of(&of(&whole)));
    assert_eq!(merged.certificate_authorities, []);
}

#[test]
fn an_import_is_spelt_as_every_client_reads_it() {
    let mut log = respelt(log(&key(), 10, None)).operated_by("example.com");
    log.public_key.valid_for.start = "1970-01-01T01:00:10+01:00".to_owned();
    log.public_key.valid_for.end = Some("1970-01-01T00:00:20.5Z".to_owned());
    log.public_key.key_details = String::new();
    let canonical = canonical(root(vec![log.clone()])).unwrap();
    let period = &canonical.tlogs[0].public_key.valid_for;
    assert_eq!(period.start, "1970-01-01T00:00:10Z");
    assert_eq!(period.end.as_deref(), Some("1970-01-01T00:00:21Z"), "cut short");
    assert_eq!(canonical.tlogs[0].public_key.key_details, "PKIX_ECDSA_P256_SHA_256");
    assert!(!canonical.to_json().contains("operator"));
    assert!(canonical.tlogs[0].public_key.raw_bytes.ends_with('='));
    assert_eq!(Member::id(&canonical.tlogs[0]), log.id());
    let unknown = LogInstance { hash_algorithm: "SHA9".to_owned(), ..log };
    assert!(crate::trust::canonical(root(vec![unknown])).is_err());
}
