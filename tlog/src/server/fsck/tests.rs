//! One flipped bit in each kind of record of a real store, and the finding that names it.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::join_all;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::clock::{Clock, FixedClock, Timestamp};
use crate::ct::Entry;
use crate::fixture::{Authority, NOON, any_key, extension, p256_signer};
use crate::key::{KeyKind, Signer, SoftwareSigner};
use crate::merkle::{CompactRange, Hash, leaf_hash};
use crate::note::KeyName;
use crate::rekor::CanonicalEntry;
use crate::server::ct::submit::hash_term;
use crate::server::log::{HashedLeaf, Log, LogSettings, Submission};
use crate::server::store::conformance::{Home as _, OnDisk};
use crate::server::{rekor_v1, rekor_v2};

struct Quiet;

impl Watch for Quiet {
    fn begin(&self, _: &'static str, _: u64, _: u64) {}
    fn advance(&self, _: u64) {}
}

const ALL: Options = Options { threads: 3, parse_leaves: true };
const HASHES: Options = Options { threads: 3, parse_leaves: false };

/// A log on disk that nobody runs.
struct AtRest {
    home: OnDisk,
    origin: Origin,
    key: NoteKey,
    leaves: Leaves,
    seen: Vec<Checkpoint>,
}

impl AtRest {
    async fn with(leaves: Leaves, submissions: Vec<Submission>) -> Self {
        let home = OnDisk::new();
        let origin = Origin::new("log.example").unwrap();
        let mut settings = LogSettings::new(origin.clone());
        settings.max_pool_entries = usize::MAX;
        settings.min_free_bytes = 0;
        let signer: Arc<dyn Signer> = Arc::new(SoftwareSigner::generate(KeyKind::Ed25519).unwrap());
        let key = NoteKey::new(KeyName::new(origin.as_str()).unwrap(), signer.public_key().clone()).unwrap();
        let clock = Arc::new(FixedClock::new(NOON));
        let shown: Arc<dyn Clock> = clock.clone();
        let store = home.open();
        Log::create(&settings, &store, Arc::clone(&signer), &*clock, None).await.unwrap();
        let (log, sequencer) = Log::open(settings, Arc::new(store), signer, shown).await.unwrap();
        let stop = CancellationToken::new();
        let running = tokio::spawn(sequencer.run(stop.clone()));
        for some in submissions.chunks(4096) {
            clock.advance(std::time::Duration::from_secs(1));
            let added = join_all(some.iter().map(|one| log.add(one.clone()))).await;
            assert!(added.iter().all(Result::is_ok));
        }
        stop.cancel();
        running.await.unwrap().unwrap();
        Self { home, origin, key, leaves, seen: Vec::new() }
    }

    fn try_check(&self, options: Options, state: Option<&StateFile>) -> Result<Report, FsckError> {
        let path = self.home.path();
        let (origin, key, leaves) = (&self.origin, &self.key, self.leaves);
        let subject = Subject { store: &path, origin, key, leaves, seen: &self.seen };
        check(subject, options, state, &Quiet)
    }

    fn edge(&self) -> Edge {
        let path = self.home.path();
        let (origin, key, leaves) = (&self.origin, &self.key, self.leaves);
        check_edge(Subject { store: &path, origin, key, leaves, seen: &self.seen }).unwrap()
    }

    fn check(&self, options: Options) -> Report {
        self.try_check(options, None).unwrap()
    }

    /// Flips the lowest bit of one byte of a value, counted from its end if `at` is negative.
    fn flip(&self, family: &'static str, key: &[u8], at: isize) {
        self.home.open().tamper(family, key, |value| {
            let mut value = value.unwrap();
            let at = if at < 0 { value.len().checked_add_signed(at).unwrap() } else { at.unsigned_abs() };
            value[at] ^= 1;
            Some(value)
        });
    }

    fn delete(&self, family: &'static str, key: &[u8]) {
        self.home.open().tamper(family, key, |value| {
            assert!(value.is_some(), "there is such a row");
            None
        });
    }

    fn insert(&self, family: &'static str, key: &[u8], value: &[u8]) {
        self.home.open().tamper(family, key, |_| Some(value.to_vec()));
    }

    fn entry(&self, index: u64) -> crate::server::store::StoredEntry {
        Snapshot::open(self.home.path()).unwrap().entry(index).unwrap().unwrap()
    }
}

fn node_key(level: u8, index: u64) -> Vec<u8> {
    [&[level][..], &index.to_be_bytes()].concat()
}

/// One finding, at this place, with these words in it.
#[track_caller]
fn assert_found(report: &Report, place: &str, words: &str) {
    let found = report.findings.iter().filter(|f| f.place == place && f.problem.contains(words)).count();
    assert_eq!(found, 1, "no `{place}: …{words}…` in {:#?}", report.findings);
}

/// Exactly that.
#[track_caller]
fn assert_only(report: &Report, place: &str, words: &str) {
    assert_found(report, place, words);
    assert_eq!((report.findings.len(), report.more), (1, 0), "{:#?}", report.findings);
}

fn clock_at(seconds: u64) -> FixedClock {
    FixedClock::new(Timestamp::from_seconds(seconds))
}

fn v1_entries() -> Vec<Submission> {
    let signer = p256_signer("fsck");
    let birth = |n| rekor_v1::birth(&format!("host-{n}.example"), 7, &signer, &clock_at(n)).unwrap();
    let known = crate::rekor::tests::all_known().map(|entry| {
        let entry = CanonicalEntry::from_proposed(entry.to_string().as_bytes()).unwrap();
        let leaf = Bytes::from(entry.body);
        Submission {
            identity: leaf_hash(&leaf),
            leaf: leaf.into(),
            extra: Bytes::new(),
            terms: entry.index_keys,
        }
    });
    (1..6).map(birth).chain(known).collect()
}

fn v2_entries() -> Vec<Submission> {
    let origin = Origin::new("log.example").unwrap();
    (1..8).map(|n| rekor_v2::birth(&origin, &clock_at(n)).unwrap()).collect()
}

fn ct_entries() -> Vec<Submission> {
    let root = Authority::root("root", |_| {});
    let precertificate = root.leaf(&any_key(), |params| {
        let mut poison = extension(&[1, 3, 6, 1, 4, 1, 11129, 2, 4, 3], &[5, 0]);
        poison.set_criticality(true);
        params.custom_extensions.push(poison);
    });
    let certificate = root.leaf(&any_key(), |_| {});
    let entries = [
        Entry::from_precertificate(&precertificate, &root.certificate).unwrap(),
        Entry::X509(certificate.der().to_vec()),
    ];
    entries.iter().map(ct_entry).collect()
}

fn ct_entry(entry: &Entry) -> Submission {
    let leaf = Bytes::from(entry.leaf(NOON, &[]));
    let terms = vec![hash_term(&leaf_hash(&leaf))];
    Submission { identity: entry.identity(), leaf: leaf.into(), extra: Bytes::from_static(b"chain"), terms }
}

/// Leaves of no dialect, for what is below them.
fn bare_entries(count: u64) -> Vec<Submission> {
    let bare = |n: u64| {
        let leaf = Bytes::from(format!("leaf {n}"));
        let identity = Hash::digest(&leaf);
        Submission { identity, leaf: leaf.into(), extra: Bytes::new(), terms: vec![format!("term {n}")] }
    };
    (0..count).map(bare).collect()
}

#[tokio::test]
async fn a_sound_log_of_each_dialect_has_no_findings() {
    for (leaves, entries) in
        [(Leaves::RekorV1, v1_entries()), (Leaves::RekorV2, v2_entries()), (Leaves::Ct, ct_entries())]
    {
        let count = entries.len() as u64;
        let log = AtRest::with(leaves, entries).await;
        let sound = Report { entries: count, ..Report::default() };
        assert_eq!(log.check(ALL), sound, "{leaves:?}");
        assert_eq!(log.check(HASHES), sound, "{leaves:?}");
    }
    assert_eq!(AtRest::with(Leaves::Ct, Vec::new()).await.check(ALL), Report::default());
}

#[tokio::test]
async fn a_flipped_bit_in_an_entry_is_found_and_named() {
    // kind, time, length (its high and its low end), leaf; entry 3 is in the middle, entry 8 the lone last of nine.
    for (at, place, words) in [
        (0, "entry 3", "cannot be read"),
        (8, "entry", "its time is before that of the entry before it"),
        (9, "entry 3", "cannot be read"),
        (12, "entry 3", "not what the tree holds"),
        (40, "entry 3", "not what the tree holds"),
    ] {
        let log = AtRest::with(Leaves::RekorV1, v1_entries()).await;
        log.flip("entry", &3u64.to_be_bytes(), at);
        let report = log.check(HASHES);
        // A time that grew by a millisecond is seen at the next entry.
        let named = report.findings.iter().any(|f| f.place.starts_with(place) && f.problem.contains(words));
        assert!(named, "{at}: {report:#?}");
    }
    let log = AtRest::with(Leaves::RekorV1, v1_entries()).await;
    log.flip("entry", &8u64.to_be_bytes(), 40);
    assert_found(&log.check(ALL), "entry 8", "its leaf and its leaf hash do not go together");
    log.flip("entry", &8u64.to_be_bytes(), 40);
    assert_eq!(log.check(ALL).findings, []);
    log.delete("entry", &4u64.to_be_bytes());
    assert_found(&log.check(ALL), "entry 4", "is missing");
}

#[tokio::test]
async fn a_time_that_steps_back_is_found() {
    let log = AtRest::with(Leaves::RekorV1, v1_entries()).await;
    // The last byte of the milliseconds, 1 s after noon: one less than its neighbours', then one more than the head's.
    let millis = log.entry(4).time.millis();
    let set = |index: u64, millis: u64| {
        log.home.open().tamper("entry", &index.to_be_bytes(), |value| {
            let mut value = value.unwrap();
            value[1..9].copy_from_slice(&millis.to_be_bytes());
            Some(value)
        });
    };
    set(4, millis - 1);
    assert_only(&log.check(ALL), "entry 4", "is before that of the entry before it");
    set(4, millis);
    set(8, millis + 1);
    assert_only(&log.check(ALL), "the head", "is not that of the last entry");
}

#[tokio::test]
async fn a_flipped_bit_in_a_node_is_found_and_named() {
    for (level, index) in [(0, 3), (0, 6), (1, 2), (2, 1), (3, 0)] {
        let log = AtRest::with(Leaves::RekorV1, v1_entries()).await;
        let place = format!("node {index} of level {level}");
        log.flip("node", &node_key(level, index), 31);
        assert_only(&log.check(ALL), &place, "is not the hash of");
        log.delete("node", &node_key(level, index));
        assert_only(&log.check(ALL), &place, "is missing");
    }
}

#[tokio::test]
async fn what_stands_beyond_the_head_is_found() {
    let log = AtRest::with(Leaves::RekorV1, v1_entries()).await;
    log.insert("node", &node_key(3, 1), &[1; 32]);
    assert_only(&log.check(ALL), "node 1 of level 3", "not in the head's tree");
    log.delete("node", &node_key(3, 1));
    log.insert("entry", &9u64.to_be_bytes(), &[0; 45]);
    assert_only(&log.check(ALL), "entry 9", "the head says 9 entries");
}

#[tokio::test]
async fn a_flipped_bit_in_the_head_is_found_and_named() {
    // size, root, time, checkpoint: the name, the size in it, the signature.
    for (at, words) in [
        (7, "the head is not what its checkpoint says"),
        (8, "the head is not what its checkpoint says"),
        (48, ""),
        (60, ""),
        (-4, "signature"),
    ] {
        let log = AtRest::with(Leaves::RekorV1, v1_entries()).await;
        log.flip("meta", b"head", at);
        let report = log.check(ALL);
        let named = report.findings.iter().any(|f| f.place == "the head" && f.problem.contains(words));
        assert!(named, "{at}: {:#?}", report.findings);
    }
    let log = AtRest::with(Leaves::RekorV1, v1_entries()).await;
    log.flip("meta", b"head", 40);
    assert_only(&log.check(ALL), "the head", "is not that of the last entry");
    log.delete("meta", b"head");
    assert_only(&log.check(ALL), "the head", "is missing");
}

#[tokio::test]
async fn another_logs_key_or_origin_is_named() {
    let mut log = AtRest::with(Leaves::RekorV1, v1_entries()).await;
    log.origin = Origin::new("other.example").unwrap();
    let report = log.check(ALL);
    assert_only(&report, "the head", "the settings say `other.example`");
    assert_eq!(report.findings[0].remedy, Remedy::Configure);
    let mut log = AtRest::with(Leaves::RekorV1, v1_entries()).await;
    let stranger = SoftwareSigner::generate(KeyKind::Ed25519).unwrap();
    log.key = NoteKey::new(KeyName::new("log.example").unwrap(), stranger.public_key().clone()).unwrap();
    assert_only(&log.check(ALL), "the head", "was the key replaced?");
}

#[tokio::test]
async fn an_identity_that_finds_nothing_or_another_entry_is_named() {
    for leaves in [Leaves::RekorV1, Leaves::Ct] {
        let entries = if leaves == Leaves::Ct { ct_entries() } else { v1_entries() };
        let log = AtRest::with(leaves, entries).await;
        let identity = log.entry(1).identity;
        log.flip("leaf", identity.as_ref(), 7);
        let report = log.check(ALL);
        assert_found(&report, "the identity index", &format!("{identity} leads to entry 0"));
        assert_found(&report, "entry 1", "finds entry 0");
        log.delete("leaf", identity.as_ref());
        let report = log.check(HASHES);
        assert_only(&report, "entry 1", "does not find it");
        assert_eq!(report.findings[0].remedy, Remedy::RestoreIndex);
        log.insert("leaf", identity.as_ref(), &1u64.to_be_bytes());
        assert_eq!(log.check(ALL).findings, []);
        log.insert("leaf", &[9; 32], &77u64.to_be_bytes());
        assert_found(&log.check(HASHES), "the identity index", "leads to entry 77");
    }
}

#[tokio::test]
async fn a_search_term_that_is_lost_or_made_up_is_named() {
    let log = AtRest::with(Leaves::RekorV1, v1_entries()).await;
    let key =
        |term: &str, index: u64| [Hash::digest(term.as_bytes()).as_ref(), &index.to_be_bytes()].concat();
    let entries = v1_entries();
    let hashed = &entries[2].terms[2];
    assert!(hashed.starts_with("sha256:"), "of a hashedrekord all terms are derived: {hashed}");
    log.delete("index", &key(hashed, 2));
    assert_only(&log.check(ALL), "entry 2", hashed);
    log.insert("index", &key(hashed, 2), &[]);
    log.insert("index", &key("made up", 2), &[]);
    assert_only(&log.check(ALL), "the search index", "leads to entry 2");
    log.delete("index", &key("made up", 2));
    log.insert("index", &key("beyond", 9), &[]);
    assert_only(&log.check(HASHES), "the search index", "leads to entry 9");
    log.delete("index", &key("beyond", 9));
    // An attestation: what is derivable is looked up, what is not is let be.
    let (at, attestation) =
        (5..).zip(&entries[5..]).find(|(_, entry)| entry.leaf.windows(4).any(|w| w == b"dsse")).unwrap();
    log.delete("index", &key(&attestation.terms[0], at));
    assert_only(&log.check(ALL), &format!("entry {at}"), "a search term that follows from its leaf");
}

#[tokio::test]
async fn a_leaf_that_its_dialect_does_not_write_is_named_under_a_sound_tree() {
    let bare = AtRest::with(Leaves::RekorV1, bare_entries(3)).await;
    assert_eq!(bare.check(HASHES).findings, []);
    assert_found(&bare.check(ALL), "entry 1", "is not the hash of its leaf");
    let mut spaced = v1_entries().remove(0);
    spaced.leaf = HashedLeaf::new([spaced.leaf.bytes(), &b" "[..]].concat());
    spaced.identity = spaced.leaf.hash();
    let log = AtRest::with(Leaves::RekorV1, vec![spaced.clone()]).await;
    assert_only(&log.check(ALL), "entry 0", "canonical");
    let log = AtRest::with(Leaves::RekorV2, vec![spaced]).await;
    assert_eq!(log.check(ALL).findings.len(), 1);

    let late = Entry::X509(any_key().spki_der().to_vec());
    let no_certificate = AtRest::with(Leaves::Ct, vec![ct_entry(&late)]).await;
    assert_eq!(no_certificate.check(ALL).findings.len(), 1);
    let mut late = ct_entries().remove(1);
    let (entry, _) = Entry::from_leaf(&late.leaf).unwrap();
    late.leaf = HashedLeaf::new(entry.leaf(NOON.plus(std::time::Duration::from_mins(1)), &[]));
    late.terms = vec![hash_term(&leaf_hash(&late.leaf))];
    let log = AtRest::with(Leaves::Ct, vec![late]).await;
    assert_only(&log.check(ALL), "entry 0", "the time of its SCT");
}

#[tokio::test]
async fn a_damaged_file_is_a_finding_too() {
    let log = AtRest::with(Leaves::RekorV1, v1_entries()).await;
    // Opening once more moves everything from the write-ahead log into tables.
    drop(log.home.open());
    let tables = files(&log).into_iter().filter(|(path, _)| path.extension().is_some_and(|e| e == "sst"));
    // One for each family: entries, nodes, identities, index, and the head.
    for (path, bytes) in tables {
        let mut damaged = bytes.clone();
        damaged[9] ^= 1;
        fs::write(&path, damaged).unwrap();
        let report = log.check(ALL);
        let found = report.findings.iter().any(|f| f.problem.contains("checksum mismatch"));
        assert!(found, "{}: {report:#?}", path.display());
        fs::write(&path, bytes).unwrap();
    }
    assert_eq!(log.check(ALL).findings, []);
}

fn files(log: &AtRest) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = fs::read_dir(log.home.path()).unwrap().map(|file| file.unwrap().path());
    files.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

#[tokio::test]
async fn a_copy_that_is_older_or_other_than_what_was_seen_must_never_be_served() {
    let mut log = AtRest::with(Leaves::RekorV2, v2_entries()).await;
    let mut tree = CompactRange::new();
    for entry in v2_entries_of(&log) {
        log.seen.push(Checkpoint::new(log.origin.clone(), tree.size(), tree.root()));
        tree.append(leaf_hash(&entry.leaf), |_, _| {});
    }
    log.seen.push(Checkpoint::new(log.origin.clone(), 7, tree.root()));
    assert_eq!(log.check(ALL).findings, [], "every earlier head of the log is in it");
    log.seen = vec![Checkpoint::new(log.origin.clone(), 8, tree.root())];
    let report = log.check(HASHES);
    assert_only(&report, "the log", "has 7 entries, but a checkpoint of 8 entries was seen");
    assert_eq!(report.findings[0].remedy, Remedy::NeverServe);
    log.seen = vec![Checkpoint::new(log.origin.clone(), 5, tree.root())];
    assert_only(&log.check(HASHES), "the log", "at 5 entries, but a checkpoint with");
}

fn v2_entries_of(log: &AtRest) -> Vec<crate::server::store::StoredEntry> {
    (0..7).map(|index| log.entry(index)).collect()
}

#[tokio::test]
async fn checking_changes_nothing_in_the_folder() {
    let log = AtRest::with(Leaves::RekorV1, v1_entries()).await;
    let before = files(&log);
    log.check(ALL);
    assert!(before == files(&log));
}

#[tokio::test]
async fn a_store_that_is_not_there_cannot_be_checked() {
    let log = AtRest::with(Leaves::RekorV1, Vec::new()).await;
    fs::remove_dir_all(log.home.path()).unwrap();
    let refused = log.try_check(ALL, None);
    assert!(matches!(refused, Err(FsckError::Store(StoreError::Missing(_)))), "{refused:?}");
}

#[tokio::test]
async fn what_an_interrupted_run_had_finished_is_not_done_again() {
    let size = CHUNK + 300;
    let log = AtRest::with(Leaves::RekorV1, bare_entries(size)).await;
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("state");
    let state = StateFile::new(&path);
    let sound = Report { entries: size, ..Report::default() };
    assert_eq!(log.try_check(HASHES, Some(&state)).unwrap(), sound);
    let lines = fs::read_to_string(&path).unwrap();
    assert_eq!(lines.matches("Chunk").count(), 1, "what is not full may grow, and is checked again: {lines}");

    // Damage in the finished chunk is not looked for, damage behind it is.
    log.flip("node", &node_key(1, 5), 0);
    log.flip("node", &node_key(1, CHUNK / 2 + 5), 0);
    let behind = format!("node {} of level 1", CHUNK / 2 + 5);
    assert_only(&log.try_check(HASHES, Some(&state)).unwrap(), &behind, "is not the hash");

    // As an interruption leaves it: the chunk's line is torn. What is found now is remembered.
    fs::write(&path, &lines[..lines.len() - 40]).unwrap();
    let report = log.try_check(HASHES, Some(&state)).unwrap();
    assert_found(&report, "node 5 of level 1", "is not the hash");
    assert_eq!(report.findings.len(), 2, "{report:#?}");
    assert_eq!(log.try_check(HASHES, Some(&state)).unwrap(), report);

    // Another way of checking, another head, or no state any more: from the start.
    fs::write(&path, &lines).unwrap();
    assert!(log.try_check(ALL, Some(&state)).unwrap().findings.len() > 2);
    state.remove().unwrap();
    state.remove().unwrap();
    assert_eq!(log.try_check(HASHES, Some(&state)).unwrap(), report);
}

type Damage = fn(&AtRest);

#[tokio::test]
async fn the_end_of_a_log_is_checked_alone() {
    for (leaves, entries) in [(Leaves::RekorV1, v1_entries()), (Leaves::Ct, Vec::new())] {
        let mut log = AtRest::with(leaves, entries).await;
        let edge = log.edge();
        let head = edge.head.unwrap();
        assert_eq!(edge.report, Report { entries: head.size, ..Report::default() });
        log.seen = vec![Checkpoint::new(log.origin.clone(), head.size, head.root)];
        assert_eq!(log.edge().report.findings, []);
        log.seen = vec![Checkpoint::new(log.origin.clone(), head.size + 1, head.root)];
        let report = log.edge().report;
        assert_found(&report, "the log", "was seen");
        assert_eq!(report.findings[0].remedy, Remedy::NeverServe);
    }
    let damages: [(Damage, &str); 6] = [
        (|log| log.delete("meta", b"head"), "is missing"),
        (|log| log.flip("meta", b"head", -4), "signature"),
        (|log| log.flip("node", &node_key(3, 0), 0), "the right edge makes"),
        (|log| log.flip("entry", &8u64.to_be_bytes(), -1), "entry 8 does not hash to its leaf"),
        (|log| log.delete("entry", &8u64.to_be_bytes()), "entries end at 8, the head says 9"),
        (|log| log.insert("entry", &9u64.to_be_bytes(), &[0; 45]), "entry 9 is stored"),
    ];
    for (damage, words) in damages {
        let log = AtRest::with(Leaves::RekorV1, v1_entries()).await;
        damage(&log);
        let findings = log.edge().report.findings;
        assert!(findings.iter().any(|found| found.problem.contains(words)), "{words}: {findings:#?}");
    }
}
