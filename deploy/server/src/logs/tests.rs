//! Instances that get another log, and what is refused.

use clap::Parser;

use super::*;
use crate::check;
use crate::compose::{self, Application};
use crate::init::{InitArguments, init};

#[derive(Parser)]
struct InitLine {
    #[command(flatten)]
    init: InitArguments,
}

#[derive(Parser)]
struct AddLine {
    #[command(flatten)]
    add: AddLogArguments,
}

#[derive(Parser)]
struct EndLine {
    #[command(flatten)]
    end: EndLogArguments,
}

/// An instance in a folder that goes away.
struct World {
    _folder: tempfile::TempDir,
    dir: PathBuf,
}

impl World {
    async fn new(more: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("instance");
        let line = ["init", dir.to_str().unwrap(), "--url", "http://127.0.0.1:8472", "--any-tenant"];
        init(InitLine::parse_from(line.iter().chain(more)).init).await.unwrap();
        Self { _folder: folder, dir }
    }

    async fn add(&self, arguments: &[&str]) -> anyhow::Result<()> {
        let line = ["add-log", self.dir.to_str().unwrap()];
        add(AddLine::parse_from(line.iter().chain(arguments)).add).await
    }

    async fn end(&self, arguments: &[&str]) -> anyhow::Result<()> {
        let line = ["end-log", self.dir.to_str().unwrap()];
        end(EndLine::parse_from(line.iter().chain(arguments)).end).await
    }

    async fn refused(&self, arguments: &[&str]) -> String {
        let before = self.text();
        let refused = self.add(arguments).await.unwrap_err();
        assert_eq!(self.text(), before, "the configuration was changed");
        format!("{refused:#}")
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.dir.join(config::FILE)).unwrap()
    }

    fn config(&self) -> Config {
        Config::load(&self.dir).unwrap()
    }

    async fn application(&self) -> anyhow::Result<Application> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let instance = Instance::load(self.config(), clock.clone())?;
        compose::application(instance, &clock).await
    }

    fn trusted_root(&self) -> chancery_tlog::trust::TrustedRoot {
        let text = std::fs::read_to_string(self.dir.join("trust/trusted_root.json")).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    fn findings(&self) -> Vec<String> {
        let findings = check::findings(&self.dir).unwrap();
        assert_eq!(findings.problems, 0, "{:?}", findings.lines);
        findings.lines
    }
}

#[tokio::test]
async fn a_log_that_replaces_another_stands_after_it_and_leaves_every_word_of_the_operator() {
    let world = World::new(&[]).await;
    let before = world.text();
    world.add(&["rekor-v1", "--replaces", "rekor-v1"]).await.unwrap();
    let after = world.text();
    let mut rest = after.as_str();
    for line in before.lines().filter(|line| *line != "checkpoint_key = \"keys/rekor-v1.checkpoint.key\"") {
        let at = rest.find(line).unwrap_or_else(|| panic!("lost, or moved: {line}\n{after}"));
        rest = &rest[at + line.len()..];
    }
    let config = world.config();
    let names: Vec<_> = config.logs.iter().map(|log| log.name.as_str()).collect();
    assert_eq!(names, ["ct", "rekor-v1", "rekor-v2", "rekor-v1-2"]);
    let (old, new) = (&config.logs[1], &config.logs[3]);
    assert_eq!(old.ended.as_ref().map(|ended| (ended.size, ended.served)), Some((1, true)));
    assert_eq!(new.admission.signers, old.admission.signers);
    assert_eq!(new.origin.as_str(), "127.0.0.1:8472/rekor-v1-2");
    let sequencers = world.application().await.unwrap().sequencers.len();
    assert_eq!(sequencers, 3, "the log that ended has a sequencer");
    world.findings();
}

#[tokio::test]
async fn the_trust_files_name_both_logs_and_offer_the_new_one_alone() {
    let world = World::new(&[]).await;
    let old = world.trusted_root();
    for (dialect, more) in
        [("ct", &[][..]), ("rekor-v1", &[]), ("rekor-v2", &["--url", "http://localhost:8472"])]
    {
        let arguments = [&[dialect, "--replaces", dialect], more].concat();
        world.add(&arguments).await.unwrap();
    }
    let new = world.trusted_root();
    let ids = |logs: &[chancery_tlog::trust::LogInstance]| {
        logs.iter().map(|log| log.log_id.key_id.clone()).collect::<Vec<_>>()
    };
    let (tlogs, ctlogs) = (ids(&new.tlogs), ids(&new.ctlogs));
    assert_eq!((tlogs.len(), ctlogs.len()), (4, 2));
    assert_eq!(ctlogs[1..], ids(&old.ctlogs));
    for id in ids(&old.tlogs) {
        let log = new.tlogs.iter().find(|log| log.log_id.key_id == id).unwrap();
        assert!(log.public_key.valid_for.end.is_some(), "{log:?}");
    }
    assert_eq!(new.tlogs[0].base_url, "http://localhost:8472");
    let signing = std::fs::read_to_string(world.dir.join("trust/signing_config.json")).unwrap();
    let signing: chancery_tlog::trust::SigningConfig = serde_json::from_str(&signing).unwrap();
    let logs: Vec<_> = signing.rekor_tlog_urls.iter().map(|log| log.url.as_str()).collect();
    assert_eq!(logs, ["http://localhost:8472", "http://127.0.0.1:8472"]);
    let findings = world.findings();
    assert!(
        findings.iter().any(|line| line.contains("TUF")),
        "nobody says that it must be signed: {findings:?}"
    );
}

#[tokio::test]
async fn a_log_of_a_dialect_that_is_new_to_the_instance_needs_no_words() {
    let world = World::new(&["--rekor", "v1"]).await;
    world.add(&["rekor-v2"]).await.unwrap();
    let log = &world.config().logs[2];
    assert_eq!((log.name.as_str(), log.origin.as_str(), &log.url), ("rekor-v2", "127.0.0.1", &None));
    assert_eq!(log.admission.signers, config::Signers::OwnCa);
    world.application().await.unwrap();
}

#[tokio::test]
async fn a_running_instance_is_not_changed() {
    let world = World::new(&[]).await;
    let running = world.application().await.unwrap();
    let refused = world.refused(&["rekor-v1", "--replaces", "rekor-v1"]).await;
    assert!(refused.contains("stop the server first"), "{refused}");
    assert!(world.end(&["rekor-v1"]).await.is_err());
    drop(running);
    assert!(!world.dir.join("keys/rekor-v1-2.key").exists());
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_and_leaves_nothing_behind() {
    let world = World::new(&[]).await;
    let replaces = ["--replaces", "rekor-v1"];
    for (arguments, words) in [
        (&["rekor-v1"][..], "say `--replaces rekor-v1`"),
        (&["rekor-v1", "--replaces", "ct"], "no log of dialect rekor-v1"),
        (&["rekor-v1", "--replaces", "rekor-v7"], "no log of dialect rekor-v1"),
        (&["rekor-v2", "--replaces", "rekor-v2"], "another host with --url"),
        (&["rekor-v2", "--replaces", "rekor-v2", "--prefix", "/v2"], "use --url"),
        (&["ct", "--replaces", "ct", "--url", "http://localhost:1"], "use --prefix"),
        (&[&["rekor-v1", "--name", "rekor-v1"], &replaces[..]].concat(), "two logs have the name"),
        (&[&["rekor-v1", "--name", "A"], &replaces[..]].concat(), "must be of a-z"),
        (&[&["rekor-v1", "--prefix", "/api"], &replaces[..]].concat(), "belongs to another role"),
        (&[&["rekor-v1", "--prefix", "/ct"], &replaces[..]].concat(), "two logs have the prefix"),
        (&[&["rekor-v1", "--until", "2001-01-01T00:00:00Z"], &replaces[..]].concat(), "before `since`"),
    ] {
        let refused = world.refused(arguments).await;
        assert!(refused.contains(words), "{arguments:?}: {refused}");
    }
    let keys = std::fs::read_dir(world.dir.join("keys")).unwrap().filter_map(Result::ok);
    assert!(keys.map(|file| file.file_name()).all(|name| !name.to_string_lossy().contains("-2")));
    world.application().await.unwrap();
}

#[tokio::test]
async fn the_ca_is_not_left_without_a_log() {
    let world = World::new(&[]).await;
    let before = world.text();
    let refused = format!("{:#}", world.end(&["ct"]).await.unwrap_err());
    assert!(refused.contains("needs an issuance log"), "{refused}");
    assert_eq!(world.text(), before);
}

#[tokio::test]
async fn a_log_that_is_served_no_more_needs_neither_store_nor_private_keys() {
    let world = World::new(&[]).await;
    world.end(&["rekor-v1", "--unserved"]).await.unwrap();
    for file in ["rekor-v1.key", "rekor-v1.checkpoint.key"] {
        std::fs::remove_file(world.dir.join("keys").join(file)).unwrap();
    }
    std::fs::remove_dir_all(world.dir.join("logs/rekor-v1")).unwrap();
    assert_eq!(world.application().await.unwrap().sequencers.len(), 2);
    assert!(world.trusted_root().tlogs[1].public_key.valid_for.end.is_some());
    world.add(&["rekor-v1"]).await.unwrap();
    world.application().await.unwrap();
    world.findings();
}

#[tokio::test]
async fn a_log_that_is_trusted_no_more_is_in_no_trust_file_and_keeps_its_indexes() {
    let world = World::new(&[]).await;
    world.add(&["rekor-v1", "--replaces", "rekor-v1"]).await.unwrap();
    let copy = world.dir.join("trust/past.rekor-v1.rekor-v1.pub");
    assert!(copy.exists());
    world.end(&["rekor-v1", "--untrusted"]).await.unwrap();
    assert!(!copy.exists(), "`tuf sign` would go on naming it");
    assert_eq!(world.trusted_root().tlogs.len(), 2, "one of each dialect");
    let ended = world.config().logs[1].ended.clone().unwrap();
    assert_eq!((ended.size, ended.served, ended.trusted), (1, true, false));
    world.end(&["rekor-v1", "--until", "2100-01-01T00:00:00Z"]).await.unwrap();
    assert_eq!(world.trusted_root().tlogs.len(), 2, "trust came back");
    world.application().await.unwrap();
}

/// A root that lists no log demands no entry, so everything would verify without one.
#[tokio::test]
async fn the_last_trusted_log_of_its_kind_stays_trusted() {
    let world = World::new(&[]).await;
    world.end(&["rekor-v1", "--untrusted"]).await.unwrap();
    for last in ["rekor-v2", "ct"] {
        let before = world.trusted_root();
        let refused = format!("{:#}", world.end(&[last, "--untrusted"]).await.unwrap_err());
        assert!(refused.contains("add-log"), "{last}: {refused}");
        assert_eq!(world.trusted_root(), before, "{last}");
    }
    world.add(&["ct", "--replaces", "ct"]).await.unwrap();
    world.end(&["ct", "--untrusted"]).await.unwrap();
    assert_eq!(world.trusted_root().ctlogs.len(), 1);
}

#[tokio::test]
async fn a_log_whose_store_is_lost_ends_with_the_size_that_was_seen() {
    let world = World::new(&[]).await;
    std::fs::remove_dir_all(world.dir.join("logs/rekor-v1")).unwrap();
    let refused = format!("{:#}", world.end(&["rekor-v1"]).await.unwrap_err());
    assert!(refused.contains("--size"), "{refused}");
    world.end(&["rekor-v1", "--unserved", "--size", "77"]).await.unwrap();
    assert_eq!(world.config().logs[1].ended.as_ref().map(|ended| ended.size), Some(77));
    world.application().await.unwrap();
}

#[tokio::test]
async fn each_log_whose_store_is_lost_can_be_replaced() {
    let world = World::new(&[]).await;
    let lost = ["--unserved", "--size", "77"];
    for (dialect, more) in
        [("ct", &[][..]), ("rekor-v1", &[]), ("rekor-v2", &["--url", "http://localhost:8472"])]
    {
        std::fs::remove_dir_all(world.dir.join("logs").join(dialect)).unwrap();
        let replace = [&[dialect, "--replaces", dialect], more].concat();
        let refused = world.refused(&replace).await;
        assert!(refused.contains("--unserved --size"), "{refused}");
        world.add(&[&replace, &lost[..]].concat()).await.unwrap();
        let config = world.config();
        let ended = config.logs.iter().find(|log| log.name == dialect).and_then(|log| log.ended.as_ref());
        assert_eq!(ended.map(|ended| (ended.size, ended.served, ended.trusted)), Some((77, false, true)));
    }
    assert_eq!(world.application().await.unwrap().sequencers.len(), 3);
    world.findings();
}

#[tokio::test]
async fn the_end_can_be_moved_and_not_taken_back() {
    let world = World::new(&[]).await;
    world.end(&["rekor-v1", "--until", "2100-01-01T00:00:00Z"]).await.unwrap();
    let refused = world.end(&["rekor-v1"]).await.unwrap_err().to_string();
    assert!(refused.contains("has ended already, trusted until 2100-01-01T00:00:00Z"), "{refused}");
    world.end(&["rekor-v1", "--until", "2099-01-01T00:00:00Z"]).await.unwrap();
    let end = |world: &World| world.trusted_root().tlogs[1].public_key.valid_for.end.clone();
    assert_eq!(end(&world).as_deref(), Some("2099-01-01T00:00:00Z"));
    assert!(world.text().contains("checkpoint_key = \"keys/rekor-v1.checkpoint.pub\""));
}

#[tokio::test]
async fn a_log_that_ended_with_another_size_is_not_served() {
    let world = World::new(&[]).await;
    world.end(&["rekor-v1"]).await.unwrap();
    std::fs::write(world.dir.join(config::FILE), world.text().replace("size = 1 ", "size = 2 ")).unwrap();
    let refused = format!("{:#}", world.application().await.err().unwrap());
    assert!(refused.contains("ended with 2 entries and its store has 1"), "{refused}");
}

#[test]
fn the_start_of_a_log_elsewhere_is_written_once_in_either_form_of_a_table() {
    let at = Timestamp::from_seconds(1_790_000_000);
    for (before, after) in [
        (
            "[ca]\nissuance_log = { url = \"u\", key = \"k\" } # theirs\n",
            "[ca]\nissuance_log = { url = \"u\", key = \"k\", since = \"2026-09-21T14:13:20Z\" } # theirs\n",
        ),
        (
            "[ca]\n[ca.issuance_log] # theirs\nurl = \"u\"\n",
            "[ca]\n[ca.issuance_log] # theirs\nurl = \"u\"\nsince = \"2026-09-21T14:13:20Z\"\n",
        ),
        ("[ca]\n", "[ca]\n"),
    ] {
        let mut edited = Edited::parse(before).unwrap();
        edited.date_issuance_log(at).unwrap();
        assert_eq!(edited.text(), after);
        edited.date_issuance_log(Timestamp::from_seconds(1)).unwrap();
        assert_eq!(edited.text(), after, "it was there");
    }
}

#[test]
fn an_end_is_never_before_what_happened_in_its_second() {
    let at = |millis| following_second(Timestamp::from_millis(millis)).millis();
    assert_eq!((at(1_000), at(1_001), at(1_999)), (1_000, 2_000, 2_000));
}
