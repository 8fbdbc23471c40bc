//! The repository as an independent client sees it: tough's updater, through our router, with a memory between its
//! visits.

use axum::Router;
use axum::body::Body;
use axum::http::header::CACHE_CONTROL;
use axum::http::{Method, Request, StatusCode};
use bytes::Bytes;
use chancery_tlog::clock::{FixedClock, SystemClock};
use chancery_tlog::key::SoftwareSigner;
use chancery_tlog::merkle::Hash;
use chancery_tlog::trust::TRUSTED_ROOT_TYPE;
use http_body_util::BodyExt as _;
use proptest::prelude::*;
use tempfile::TempDir;
use tough::{
    IntoVec as _, Repository, RepositoryLoader, TargetName, Transport, TransportError, TransportErrorKind,
    TransportStream,
};
use tower::ServiceExt as _;
use url::Url;

use super::serve::PATH;
use super::sign::Ceremony;
use super::*;

const DAY: Duration = Duration::from_hours(24);

fn key() -> Arc<SoftwareSigner> {
    Arc::new(SoftwareSigner::generate(KeyKind::Ed25519).unwrap())
}

/// A trusted root with one log, at an address called `name`.
fn trusted_root(name: &str) -> String {
    let log = format!("{{\"baseUrl\":\"https://{name}\",\"publicKey\":{{\"rawBytes\":\"AA==\"}}}}");
    format!("{{\"mediaType\":\"{TRUSTED_ROOT_TYPE}\",\"tlogs\":[{log}]}}")
}

fn documents(trusted_root: &str) -> Vec<Document> {
    let document = |name: &'static str, text: &str| Document {
        name: name.into(),
        media_type: "text/plain",
        text: text.to_owned(),
    };
    vec![
        document("trusted_root.json", &self::trusted_root(trusted_root)),
        document("signing_config.json", "a signing config"),
        document("client_trust_config.json", "both"),
        document("rekor.pub", "a key"),
        document("past.rekor-v1.old.pub", "a key of the past"),
        document("past.rekor-v2.old.pub", "a key that only a trusted root can name"),
    ]
}

/// A repository, its keys, and a clock that begins at the present: clients have no other.
struct World {
    scratch: TempDir,
    offline: Arc<SoftwareSigner>,
    online: Arc<SoftwareSigner>,
    clock: Arc<FixedClock>,
}

impl World {
    fn new() -> Self {
        let clock = Arc::new(FixedClock::new(SystemClock.now()));
        let world = Self { scratch: TempDir::new().unwrap(), offline: key(), online: key(), clock };
        create(world.dir(), &*world.offline, &*world.online, &documents("first"), &*world.clock).unwrap();
        world
    }

    fn dir(&self) -> &Path {
        self.scratch.path()
    }

    fn folder(&self) -> Folder {
        Folder::of(self.dir())
    }

    fn read(&self, name: &str) -> Vec<u8> {
        self.folder().read(name).unwrap().unwrap()
    }

    /// The server starts, or starts again.
    fn start(&self) -> Publisher {
        self.start_with(self.online.clone()).unwrap()
    }

    fn start_with(&self, online: Arc<dyn Signer>) -> Result<Publisher, TufError> {
        Publisher::start(self.folder(), online, self.clock.clone())
    }

    fn ceremony(&self, trusted_root: &str) -> Ceremony<'_> {
        let files = targets::from_documents(&documents(trusted_root)).unwrap();
        let now = self.clock.now();
        Ceremony {
            key: &*self.offline,
            new_key: None,
            online: None,
            files,
            ended: crate::trust::Keys::default(),
            renew: false,
            untrusted: None,
            now,
        }
    }

    fn perform(&self, ceremony: &Ceremony<'_>) -> Vec<String> {
        ceremony.perform(&self.folder()).unwrap()
    }
}

/// A client that pinned a root and remembers what it saw.
struct Client {
    root: Vec<u8>,
    memory: TempDir,
}

impl Client {
    fn pinning(root: Vec<u8>) -> Self {
        Self { root, memory: TempDir::new().unwrap() }
    }

    async fn visit(&self, router: Router) -> tough::error::Result<Repository> {
        let url = |path: &str| Url::parse(&format!("http://instance{PATH}/{path}")).unwrap();
        RepositoryLoader::new(&self.root, url(""), url("targets/"))
            .transport(Routed(router))
            .datastore(self.memory.path())
            .load()
            .await
    }

    /// Visits and reads a target.
    async fn target(&self, publisher: &Publisher, name: &str) -> Vec<u8> {
        let repository = self.visit(router(publisher)).await.unwrap();
        let stream = repository.read_target(&TargetName::new(name).unwrap()).await.unwrap().unwrap();
        stream.into_vec().await.unwrap()
    }
}

/// Fetches from a router without a network.
#[derive(Clone, Debug)]
struct Routed(Router);

#[tough::async_trait]
impl Transport for Routed {
    async fn fetch(&self, url: Url) -> Result<TransportStream, TransportError> {
        let (status, _, body) = ask(&self.0, Method::GET, url.path()).await;
        match status {
            StatusCode::OK => Ok(Box::pin(futures::stream::iter([Ok(body)]))),
            StatusCode::NOT_FOUND => Err(TransportError::new(TransportErrorKind::FileNotFound, url)),
            _ => Err(TransportError::new(TransportErrorKind::Other, url)),
        }
    }
}

async fn ask(router: &Router, method: Method, path: &str) -> (StatusCode, String, Bytes) {
    let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
    let answer = router.clone().oneshot(request).await.unwrap();
    let caching = answer.headers().get(CACHE_CONTROL).map(|value| value.to_str().unwrap().to_owned());
    let status = answer.status();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, caching.unwrap_or_default(), body)
}

fn version(world: &World) -> u64 {
    let value: serde_json::Value = serde_json::from_slice(&world.read("timestamp.json")).unwrap();
    value["signed"]["version"].as_u64().unwrap()
}

#[tokio::test]
async fn a_client_with_the_first_root_gets_the_trust_files_byte_for_byte() {
    let world = World::new();
    let client = Client::pinning(world.read("1.root.json"));
    let publisher = world.start();
    for (name, text) in [
        ("trusted_root.json", &*trusted_root("first")),
        ("signing_config.v0.2.json", "a signing config"),
        ("rekor.pub", "a key"),
        ("rekor.old.pub", "a key of the past"),
    ] {
        assert_eq!(client.target(&publisher, name).await, text.as_bytes(), "{name}");
    }
    let repository = client.visit(router(&publisher)).await.unwrap();
    let targets = &repository.targets().signed.targets;
    assert_eq!(targets.len(), 4);
    let custom = &targets[&TargetName::new("rekor.pub").unwrap()].custom;
    assert_eq!(custom["sigstore"], serde_json::json!({ "usage": "Rekor", "status": "Active" }));
    let custom = &targets[&TargetName::new("rekor.old.pub").unwrap()].custom;
    assert_eq!(custom["sigstore"], serde_json::json!({ "usage": "Rekor", "status": "Expired" }));
}

#[tokio::test]
async fn a_client_that_pinned_another_root_gets_nothing() {
    let (world, stranger) = (World::new(), World::new());
    let client = Client::pinning(stranger.read("1.root.json"));
    client.visit(router(&world.start())).await.unwrap_err();
}

#[tokio::test]
async fn the_timestamp_is_signed_anew_at_half_of_its_life() {
    let world = World::new();
    let publisher = world.start();
    let (started, first) = (world.clock.now(), version(&world));
    let due = started.plus(ONLINE_LIFE / 2);
    world.clock.set(due.minus(Duration::from_secs(1)));
    assert!(!publisher.refresh().unwrap());
    world.clock.set(due);
    assert!(publisher.refresh().unwrap());
    assert!(version(&world) > first);
    let served = publisher.published().borrow().file("timestamp.json").unwrap();
    assert_eq!(served, world.read("timestamp.json"), "what is served is what is on disk");
}

#[tokio::test]
async fn a_clock_that_was_ahead_leaves_no_long_lived_timestamp_behind() {
    let world = World::new();
    let right = world.clock.now();
    world.clock.set(right.plus(365 * DAY));
    let publisher = world.start();
    let wrong = version(&world);
    world.clock.set(right);
    assert!(publisher.refresh().unwrap());
    assert!(version(&world) > wrong);
    let client = Client::pinning(world.read("1.root.json"));
    let timestamp = client.visit(router(&publisher)).await.unwrap().timestamp().signed.expires;
    assert_eq!(timestamp.as_second().cast_unsigned(), right.plus(ONLINE_LIFE).seconds());
}

#[tokio::test]
async fn a_client_in_the_middle_of_a_renewal_still_finds_its_snapshot() {
    let world = World::new();
    let publisher = world.start();
    let old = format!("{}.snapshot.json", version(&world));
    world.clock.advance(ONLINE_LIFE / 2);
    publisher.refresh().unwrap();
    assert!(publisher.published().borrow().file(&old).is_some());
    world.clock.advance(ONLINE_LIFE / 2);
    publisher.refresh().unwrap();
    assert!(publisher.published().borrow().file(&old).is_none(), "two generations are enough");
    assert_eq!(world.folder().read(&old).unwrap(), None);
}

#[tokio::test]
async fn metadata_of_a_server_that_stood_still_is_refused() {
    let world = World::new();
    let client = Client::pinning(world.read("1.root.json"));
    world.clock.set(SystemClock.now().minus(8 * DAY));
    let refused = client.visit(router(&world.start())).await.unwrap_err().to_string();
    assert!(refused.to_lowercase().contains("expired"), "{refused}");
}

#[tokio::test]
async fn older_metadata_is_refused_by_a_client_that_saw_newer() {
    let world = World::new();
    let client = Client::pinning(world.read("1.root.json"));
    let old = world.start();
    client.visit(router(&old)).await.unwrap();
    world.clock.advance(ONLINE_LIFE / 2);
    client.visit(router(&world.start())).await.unwrap();
    let refused = client.visit(router(&old)).await.unwrap_err().to_string();
    assert!(refused.contains("older") || refused.contains("version"), "{refused}");
}

#[tokio::test]
async fn a_folder_from_a_backup_is_not_older_than_what_clients_saw() {
    let world = World::new();
    let client = Client::pinning(world.read("1.root.json"));
    let publisher = world.start();
    let backup = world.read("timestamp.json");
    for _ in 0..5 {
        world.clock.advance(ONLINE_LIFE / 2);
        assert!(publisher.refresh().unwrap());
    }
    client.visit(router(&publisher)).await.unwrap();
    world.folder().write("timestamp.json", &backup).unwrap();
    world.clock.advance(Duration::from_mins(1));
    client.visit(router(&world.start())).await.unwrap();
}

#[tokio::test]
async fn targets_from_a_backup_are_signed_anew_for_clients_that_saw_newer_ones() {
    let world = World::new();
    let client = Client::pinning(world.read("1.root.json"));
    let publisher = world.start();
    world.perform(&world.ceremony("second"));
    publisher.refresh().unwrap();
    assert_eq!(client.target(&publisher, "trusted_root.json").await, trusted_root("second").into_bytes());

    std::fs::remove_file(world.folder().path().join("2.targets.json")).unwrap();
    world.clock.advance(Duration::from_mins(1));
    let restored = world.start();
    client.visit(router(&restored)).await.unwrap_err();
    assert_eq!(world.perform(&world.ceremony("first")), Vec::<String>::new());
    world.perform(&Ceremony { renew: true, ..world.ceremony("first") });
    world.clock.advance(Duration::from_mins(1));
    restored.refresh().unwrap();
    assert_eq!(client.target(&restored, "trusted_root.json").await, trusted_root("first").into_bytes());
}

#[tokio::test]
async fn clients_follow_new_trust_without_a_restart() {
    let world = World::new();
    let client = Client::pinning(world.read("1.root.json"));
    let publisher = world.start();
    assert_eq!(client.target(&publisher, "trusted_root.json").await, trusted_root("first").into_bytes());
    let done = world.perform(&world.ceremony("second"));
    assert_eq!(done.len(), 1, "{done:?}");
    assert!(done[0].starts_with("tuf/2.targets.json: trusted_root.json changed"), "{done:?}");
    assert!(publisher.refresh().unwrap());
    assert_eq!(client.target(&publisher, "trusted_root.json").await, trusted_root("second").into_bytes());
    assert_eq!(
        Client::pinning(world.read("1.root.json")).target(&publisher, "trusted_root.json").await,
        trusted_root("second").into_bytes()
    );
}

#[tokio::test]
async fn nothing_is_signed_that_has_not_changed_until_half_of_its_life_is_over() {
    let world = World::new();
    assert_eq!(world.perform(&world.ceremony("first")), Vec::<String>::new());
    world.clock.advance(OFFLINE_LIFE / 2);
    let done = world.perform(&world.ceremony("first"));
    assert_eq!(done.len(), 2, "{done:?}");
    assert!(done.iter().all(|line| line.contains("renewed")), "{done:?}");
    let client = Client::pinning(world.read("1.root.json"));
    world.clock.set(SystemClock.now());
    client.target(&world.start(), "trusted_root.json").await;
}

#[tokio::test]
async fn clients_follow_a_new_offline_key_and_the_old_one_signs_no_more() {
    let world = World::new();
    let client = Client::pinning(world.read("1.root.json"));
    let publisher = world.start();
    client.visit(router(&publisher)).await.unwrap();
    let successor = key();
    world.perform(&Ceremony { new_key: Some(&*successor), ..world.ceremony("second") });
    assert!(publisher.refresh().unwrap());
    assert_eq!(client.target(&publisher, "trusted_root.json").await, trusted_root("second").into_bytes());
    assert!(matches!(world.ceremony("third").perform(&world.folder()), Err(TufError::OfflineKey { .. })));
    world.perform(&Ceremony { key: &*successor, ..world.ceremony("third") });
    publisher.refresh().unwrap();
    assert_eq!(client.target(&publisher, "trusted_root.json").await, trusted_root("third").into_bytes());
}

#[tokio::test]
async fn an_interrupted_change_of_the_offline_key_can_be_taken_up_again() {
    let world = World::new();
    let successor = key();
    let change = Ceremony { new_key: Some(&*successor), ..world.ceremony("second") };
    world.perform(&change);
    std::fs::remove_file(world.folder().path().join("2.root.json")).unwrap();
    let done = world.perform(&change);
    assert!(done.iter().any(|line| line.contains("2.root.json")), "{done:?}");
    let client = Client::pinning(world.read("1.root.json"));
    assert_eq!(client.target(&world.start(), "trusted_root.json").await, trusted_root("second").into_bytes());
}

/// The thief of the online key can sign versions that no honest clock reaches, to lock clients out of what follows.
#[tokio::test]
async fn a_new_online_key_undoes_what_the_thief_of_the_old_one_did() {
    let world = World::new();
    let client = Client::pinning(world.read("1.root.json"));
    let honest = world.read("1.targets.json");
    let publisher = world.start();
    let (now, far) = (world.clock.now(), std::num::NonZeroU64::new(1 << 40).unwrap());
    let one = std::num::NonZeroU64::MIN;
    let thief: [&dyn Signer; 1] = [&*world.online];
    let snapshot =
        metadata::sign(metadata::snapshot(far, now.plus(DAY), (one, &honest)).unwrap(), &thief).unwrap();
    let timestamp =
        metadata::sign(metadata::timestamp(far, now.plus(DAY), (far, &snapshot.bytes)).unwrap(), &thief)
            .unwrap();
    let forged = Router::new()
        .route("/tuf/timestamp.json", axum::routing::get(async move || timestamp.bytes.clone()))
        .route(&format!("/tuf/{}", snapshot.name), axum::routing::get(async move || snapshot.bytes.clone()))
        .fallback_service(router(&publisher));
    client.visit(forged).await.unwrap();
    client.visit(router(&publisher)).await.expect_err("the client is locked out");

    let successor = key();
    let online = Some(successor.public_key().clone());
    let done = world.perform(&Ceremony { online, ..world.ceremony("first") });
    assert!(done[0].starts_with("tuf/2.root.json: new online key"), "{done:?}");
    assert!(matches!(publisher.refresh(), Err(TufError::OnlineKey { .. })), "the old key is of no use");
    let publisher = world.start_with(successor).unwrap();
    assert_eq!(client.target(&publisher, "trusted_root.json").await, trusted_root("first").into_bytes());
}

#[tokio::test]
async fn a_damaged_folder_changes_nothing_that_is_served() {
    let world = World::new();
    let client = Client::pinning(world.read("1.root.json"));
    let publisher = world.start();
    let folder = world.folder();
    let good = world.read("1.targets.json");
    let text = String::from_utf8(good.clone()).unwrap();
    for bad in [text.replace("\"length\": 5", "\"length\": 6"), text[..100].to_owned(), String::new()] {
        assert_ne!(bad, text);
        folder.write("1.targets.json", bad.as_bytes()).unwrap();
        let refused = publisher.refresh().unwrap_err().to_string();
        assert!(refused.starts_with("tuf/1.targets.json: "), "{refused}");
        assert!(world.start_with(world.online.clone()).is_err(), "a start must not publish it either");
        assert_eq!(client.target(&publisher, "trusted_root.json").await, trusted_root("first").into_bytes());
    }
    folder.write("1.targets.json", &good).unwrap();
    let path =
        serve::target_path(&Hash::digest(trusted_root("first").as_bytes()).to_string(), "trusted_root.json");
    assert_eq!(world.read(&path), trusted_root("first").into_bytes());
    folder.write(&path, b"forged").unwrap();
    let refused = publisher.refresh().unwrap_err().to_string();
    assert!(refused.contains("not what 1.targets.json names"), "{refused}");
}

#[tokio::test]
async fn only_published_files_are_served_and_each_says_how_long_it_keeps() {
    let world = World::new();
    std::fs::write(world.dir().join("secret"), "secret").unwrap();
    std::fs::write(world.folder().path().join("notes.json"), "not published").unwrap();
    let router = router(&world.start());
    let (status, caching, body) = ask(&router, Method::GET, "/tuf/1.root.json").await;
    assert_eq!((status, body.as_ref()), (StatusCode::OK, world.read("1.root.json").as_slice()));
    assert_eq!(caching, "public, max-age=31536000, immutable");
    let (status, caching, _) = ask(&router, Method::GET, "/tuf/timestamp.json").await;
    assert_eq!((status, caching.as_str()), (StatusCode::OK, "no-cache"));
    let (status, _, body) = ask(&router, Method::HEAD, "/tuf/timestamp.json").await;
    assert_eq!((status, body.len()), (StatusCode::OK, 0));
    for path in [
        "/tuf/2.root.json",
        "/tuf/notes.json",
        "/tuf/../secret",
        "/tuf/%2e%2e/secret",
        "/tuf/targets/..%2f..%2fsecret",
        "/tuf//1.root.json",
        "/tuf/targets/",
        "/tuf/%00",
    ] {
        let (status, caching, _) = ask(&router, Method::GET, path).await;
        assert_eq!((status, caching.as_str()), (StatusCode::NOT_FOUND, "no-store"), "{path}");
    }
}

#[test]
fn an_end_that_is_near_is_named_with_the_remedy() {
    let world = World::new();
    let warnings = |at: Timestamp| Trusted::load(&world.folder()).unwrap().warnings(at);
    let end = world.clock.now().plus(OFFLINE_LIFE);
    let first = end.minus(WARNING);
    assert_eq!(warnings(first.minus(DAY)), Vec::<String>::new());
    let soon = warnings(first.plus(DAY));
    assert_eq!(soon.len(), 2);
    assert!(soon[0].contains("root ends on") && soon[0].contains("tuf sign"), "{soon:?}");
    assert!(warnings(end.plus(DAY))[1].contains("targets ended on"));
}

#[test]
fn new_trust_that_tuf_clients_were_not_told_of_is_named() {
    let world = World::new();
    let role = TufRole { folder: world.folder(), signer: world.online.clone() };
    let now = world.clock.now();
    assert_eq!(role.inspect(&documents("first"), now).unwrap().warnings, Vec::<String>::new());
    let mut changed = documents("second");
    changed.retain(|document| document.name != "rekor.pub");
    let found = role.inspect(&changed, now).unwrap().warnings;
    assert!(found[0].contains("trusted_root.json, rekor.pub") && found[0].contains("tuf sign"), "{found:?}");
}

#[test]
fn a_key_that_is_not_ed25519_is_refused() {
    let world = World::new();
    let other = SoftwareSigner::generate(KeyKind::EcdsaP256).unwrap();
    let scratch = TempDir::new().unwrap();
    let refused = create(scratch.path(), &other, &*world.online, &documents("first"), &*world.clock);
    assert!(matches!(refused, Err(TufError::Kind { .. })));
    let refused = Ceremony { new_key: Some(&other), ..world.ceremony("first") }.perform(&world.folder());
    assert!(matches!(refused, Err(TufError::Kind { .. })));
    assert!(matches!(
        Ceremony { online: Some(other.public_key().clone()), ..world.ceremony("first") }
            .perform(&world.folder()),
        Err(TufError::Kind { .. })
    ));
}

/// What may happen to a server.
#[derive(Clone, Debug)]
enum Event {
    Advance(u32),
    StepBack(u32),
    Refresh,
    Restart,
    /// The process dies after the snapshot was written and before the timestamp was.
    DieBetween,
    Sign(u8),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (0..2_000_000_u32).prop_map(Event::Advance),
        (0..2_000_000_u32).prop_map(Event::StepBack),
        Just(Event::Refresh),
        Just(Event::Restart),
        Just(Event::DieBetween),
        (0..3_u8).prop_map(Event::Sign),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn versions_that_were_served_never_come_down(events in proptest::collection::vec(event(), 1..12)) {
        let world = World::new();
        let mut publisher = world.start();
        let served = |publisher: &Publisher| {
            let file = publisher.published().borrow().file("timestamp.json").unwrap();
            let value: serde_json::Value = serde_json::from_slice(&file).unwrap();
            let version = value["signed"]["version"].as_u64().unwrap();
            let snapshot = value["signed"]["meta"]["snapshot.json"]["version"].as_u64().unwrap();
            let name = format!("{snapshot}.snapshot.json");
            assert!(publisher.published().borrow().file(&name).is_some(), "{name} is not served");
            (version, snapshot, file)
        };
        let mut last = served(&publisher);
        for event in events {
            match event {
                Event::Advance(seconds) => world.clock.advance(Duration::from_secs(seconds.into())),
                Event::StepBack(seconds) => {
                    world.clock.set(world.clock.now().minus(Duration::from_secs(seconds.into())));
                }
                Event::Refresh => drop(publisher.refresh().unwrap()),
                Event::Restart => publisher = world.start(),
                Event::DieBetween => {
                    let timestamp = world.read("timestamp.json");
                    world.start();
                    world.folder().write("timestamp.json", &timestamp).unwrap();
                    publisher = world.start();
                }
                Event::Sign(content) => drop(world.perform(&world.ceremony(&content.to_string()))),
            }
            let now = served(&publisher);
            prop_assert!(now == last || (now.0 > last.0 && now.1 > last.1), "{now:?} after {last:?}");
            last = now;
        }
    }
}

#[tokio::test]
async fn what_clients_trust_is_left_out_with_a_reason_only() {
    let world = World::new();
    let mut less = world.ceremony("second");
    let root = less.files.iter_mut().find(|file| file.name == targets::TRUSTED_ROOT).unwrap();
    root.bytes = TrustedRoot::new().to_json().into_bytes();
    let refused = less.perform(&world.folder()).unwrap_err();
    assert!(
        matches!(&refused, TufError::Lost(lost) if *lost == ["the attestation log https://first: trusted no more"]),
        "{refused}"
    );
    let done = world.perform(&Ceremony { untrusted: Some("it was stolen".to_owned()), ..less });
    assert!(done[0].contains("because it was stolen: the attestation log https://first"), "{done:?}");
}
