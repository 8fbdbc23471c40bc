//! A filled log is a log: the engine's own checker finds nothing wrong with it, down to its search terms.

use std::sync::Arc;

use chancery_tlog::checkpoint::Origin;
use chancery_tlog::key::{KeyKind, SoftwareSigner};
use chancery_tlog::serve::key_file;
use chancery_tlog::server::fsck::{Leaves, Options, Subject, Watch, check};
use chancery_tlog::server::log::{Log, LogSettings};

use super::*;

struct Nobody;

impl Watch for Nobody {
    fn begin(&self, _: &'static str, _: u64, _: u64) {}
    fn advance(&self, _: u64) {}
}

const ORIGIN: &str = "log.example";

/// The folder of an instance with one log, empty.
async fn instance() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let signer = SoftwareSigner::generate(KeyKind::Ed25519).unwrap();
    key_file::store(&folder.path().join("log.key"), &signer, &key_file::Protection::default()).unwrap();
    let config = format!(
        "url = \"http://{ORIGIN}\"\n[[log]]\nname = \"ct\"\ndialect = \"ct\"\norigin = \"{ORIGIN}/ct\"\ncheckpoint_key = \"k\"\n\
         [[log]]\nname = \"v2\"\ndialect = \"rekor-v2\"\norigin = \"{ORIGIN}\"\ncheckpoint_key = \"log.key\"\n"
    );
    std::fs::write(folder.path().join("chancery.toml"), config).unwrap();
    std::fs::create_dir(folder.path().join("logs")).unwrap();
    let store = Rocks::create(folder.path().join("logs/v2")).unwrap();
    let settings = LogSettings::new(Origin::new(ORIGIN).unwrap());
    Log::create(&settings, &store, Arc::new(signer), &SystemClock, None).await.unwrap();
    folder
}

#[tokio::test]
async fn a_filled_log_is_sound_in_every_part() {
    let folder = instance().await;
    let size = BATCH + 700;
    let filled = fill(folder.path(), "v2", size, |_| ()).await.unwrap();
    assert_eq!(filled.size, size);
    assert!(filled.bytes > 460 * size, "{filled}");
    let log = FilledLog::find(folder.path(), "v2").unwrap();
    let (origin, face) = (Origin::new(ORIGIN).unwrap(), log.face().unwrap());
    let subject =
        Subject { store: &log.store, origin: &origin, key: face.key(), leaves: Leaves::RekorV2, seen: &[] };
    let report = check(subject, Options { threads: 2, parse_leaves: true }, None, &Nobody).unwrap();
    assert_eq!((report.entries, report.findings), (size, vec![]));
}

#[tokio::test]
async fn a_log_with_entries_and_what_is_no_rekor_v2_log_are_left_alone() {
    let folder = instance().await;
    fill(folder.path(), "v2", 3, |_| ()).await.unwrap();
    let refused = async |name: &str| fill(folder.path(), name, 9, |_| ()).await.err().unwrap().to_string();
    assert!(refused("v2").await.contains("has 3 entries already"));
    assert!(refused("ct").await.contains("only rekor-v2 is filled"));
    assert!(refused("v3").await.contains("there is no log `v3`"));
}
