//! The logs: requests to leaves, batches to signed heads, whole answers by the APIs, reads. The store is in memory.

use std::hint::black_box;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use axum::Router;
use axum::body::{Body, Bytes};
use chancery_tlog::checkpoint::{Checkpoint, Origin};
use chancery_tlog::key::{Signer, SoftwareSigner};
use chancery_tlog::merkle::Hash;
use chancery_tlog::note::{KeyName, NoteKey};
use chancery_tlog::serve::access::Gate;
use chancery_tlog::server::admission::Admission;
use chancery_tlog::server::log::{HashedLeaf, Log, LogSettings, Submission};
use chancery_tlog::server::rekor_v1::{self, RekorV1, Shard};
use chancery_tlog::server::rekor_v2::{self, RekorV2};
use chancery_tlog::server::round::{Face, Tree};
use chancery_tlog::server::store::Memory;
use chancery_tlog::{rekor, rekor_v2 as core_v2};
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::requests::Submitter;
use crate::world::{NOON, World, ed25519_signer, p256_signer};
use crate::{HotPath, ROUNDS, used};

const HOST: &str = "log.example";
const TREE: u64 = 1_193_050_959_916_656_506;
/// Entries in the logs before anything is measured: a full tile and a partial one.
const ENTRIES: u32 = 300;
const V1: &str = "/api/v1/log/entries";
const V2: &str = "/api/v2/log/entries";

/// Both logs with [`ENTRIES`] entries.
pub(crate) struct Logs {
    v1: Router,
    v2: Router,
}

impl Logs {
    pub(crate) fn filled(world: &World) -> Result<Self> {
        let submitter = world.submitter();
        let (v1, v2) = (world.runtime.block_on(log_v1(world))?, world.runtime.block_on(log_v2(world))?);
        for n in 0..ENTRIES {
            let old = format!("entry {n}");
            ensure!(
                post(world, &v1, V1, submitter.hashedrekord_v1(old.as_bytes())?)?.0 == StatusCode::CREATED
            );
            ensure!(
                post(world, &v2, V2, submitter.hashedrekord_v2(old.as_bytes())?)?.0 == StatusCode::CREATED
            );
        }
        Ok(Self { v1, v2 })
    }
}

#[expect(clippy::redundant_closure_for_method_calls, reason = "the methods are not general in the lifetime")]
pub(crate) fn paths() -> Vec<HotPath> {
    let mut paths = leaves();
    paths.push(admission());
    paths.push(batch("batch of 1: integrate, check, sign", 1));
    paths.push(batch("batch of 256: integrate, check, sign", 256));
    paths.extend(checkpoints());
    paths.push(read("v1: read of an entry", |logs| &logs.v1, "/api/v1/log/entries?logIndex=7"));
    paths.push(read("tile of 256 hashes", |logs| &logs.v2, "/tile/0/000"));
    paths.push(read("tile of 256 entries", |logs| &logs.v2, "/tile/entries/000"));
    paths.push(add(
        "v1: request to answer",
        |logs| &logs.v1,
        V1,
        |submitter, content| submitter.hashedrekord_v1(content),
    ));
    paths.push(add(
        "v2: request to answer",
        |logs| &logs.v2,
        V2,
        |submitter, content| submitter.hashedrekord_v2(content),
    ));
    paths
}

/// Requests, checked and made into leaves.
#[expect(clippy::redundant_closure_for_method_calls, reason = "the methods are not general in the lifetime")]
fn leaves() -> Vec<HotPath> {
    vec![
        leaf_v1("v1 hashedrekord: request to leaf", |submitter| submitter.hashedrekord_v1(b"artifact")),
        leaf_v1("v1 dsse: request to leaf", |submitter| submitter.dsse_v1()),
        leaf_v2("v2 hashedrekord: request to leaf", |submitter| submitter.hashedrekord_v2(b"artifact")),
        leaf_v2("v2 dsse: request to leaf", |submitter| submitter.dsse_v2()),
    ]
}

fn leaf_v1(name: &'static str, request: fn(&Submitter<'_>) -> Result<Vec<u8>>) -> HotPath {
    HotPath::new(name, move |world| {
        let json = request(&world.submitter())?;
        Ok(move || used(rekor::CanonicalEntry::from_proposed(black_box(&json))?))
    })
}

fn leaf_v2(name: &'static str, request: fn(&Submitter<'_>) -> Result<Vec<u8>>) -> HotPath {
    HotPath::new(name, move |world| {
        let json = request(&world.submitter())?;
        Ok(move || {
            let request = core_v2::CreateEntryRequest::from_json(black_box(&json))?;
            used(core_v2::CanonicalEntry::from_request(request)?)
        })
    })
}

/// The rule `own-ca`, on the certificate of an entry.
fn admission() -> HotPath {
    HotPath::new("admission: certificate of the own CA", |world| {
        let rules = admitting(world);
        let verifier = rekor::Verifier::from_pem(world.certificate.to_pem().as_bytes())?;
        let signatory = rekor::Signatory::new(verifier);
        Ok(move || used(rules.admit(black_box(std::slice::from_ref(&signatory)))?))
    })
}

/// A batch on top of a tree that has leaves already.
fn batch(name: &'static str, entries: u32) -> HotPath {
    HotPath::new(name, move |world| {
        let face = Face::new(Origin::new(HOST)?, Arc::new(ed25519_signer(HOST)?))?;
        let empty = Tree::empty();
        let before = empty.integrate(submissions(ENTRIES, "before"), NOON).check(&empty)?.sign(&face)?;
        let committed = world.runtime.block_on(before.commit(&Memory::new(), None));
        let tree = committed.context("the entries before")?.publish(Vec::new(), |_| ());
        let submissions = submissions(entries, "new");
        Ok(move || {
            let batch = tree.integrate(black_box(submissions.clone()), NOON);
            used(batch.check(&tree)?.sign(&face)?)
        })
    })
}

/// Entries of the size that a GitHub workflow's have.
fn submissions(count: u32, label: &str) -> Vec<Submission> {
    let submission = |n: u32| {
        let mut leaf = vec![0x5A; 3200];
        leaf[..32].copy_from_slice(Hash::digest(format!("{label} {n}").as_bytes()).as_bytes());
        let terms = (0..4).map(|term| Hash::digest(format!("{label} {n} {term}").as_bytes()).to_hex());
        let (leaf, terms) = (HashedLeaf::new(leaf), terms.collect());
        Submission { identity: leaf.hash(), leaf, extra: Bytes::new(), terms }
    };
    (0..count).map(submission).collect()
}

fn checkpoints() -> Vec<HotPath> {
    let checkpoint = || anyhow::Ok(Checkpoint::new(Origin::new(HOST)?, 1_000_000, Hash::digest(b"root")));
    vec![
        HotPath::new("checkpoint: sign", move |_| {
            let (checkpoint, signer, name) = (checkpoint()?, ed25519_signer(HOST)?, KeyName::new(HOST)?);
            Ok(move || used(black_box(&checkpoint).sign(&name, &signer)?))
        }),
        HotPath::new("checkpoint: parse and verify", move |_| {
            let (signer, name) = (ed25519_signer(HOST)?, KeyName::new(HOST)?);
            let note = checkpoint()?.sign(&name, &signer)?;
            let keys = [NoteKey::new(name, signer.public_key().clone())?];
            Ok(move || {
                let (opened, _) = Checkpoint::open(black_box(note.as_bytes()), &keys)?;
                ensure!(opened.size == 1_000_000);
                Ok(())
            })
        }),
    ]
}

/// A log whose sequencer runs as long as the runtime.
async fn log(world: &World, signer: Arc<SoftwareSigner>) -> Result<Log> {
    let mut settings = LogSettings::new(Origin::new(HOST)?);
    settings.min_free_bytes = 0;
    let store = Memory::new();
    let signer: Arc<dyn Signer> = signer;
    Log::create(&settings, &store, Arc::clone(&signer), &*world.clock, None).await?;
    let (log, sequencer) = Log::open(settings, Arc::new(store), signer, world.clock.clone()).await?;
    tokio::spawn(sequencer.run(CancellationToken::new()));
    Ok(log)
}

fn admitting(world: &World) -> Admission {
    Admission::own_ca(world.authority.service.chain().to_vec(), world.clock.clone())
}

async fn log_v1(world: &World) -> Result<Router> {
    let current = Shard {
        log: log(world, Arc::new(ed25519_signer("v1")?)).await?,
        host: HOST.to_owned(),
        tree_id: TREE,
        first_index: 0,
        signer: Arc::new(p256_signer(HOST)?),
    };
    Ok(rekor_v1::router(RekorV1 {
        current,
        past: Vec::new(),
        admission: admitting(world),
        gate: Gate::open(),
    }))
}

async fn log_v2(world: &World) -> Result<Router> {
    let signer = Arc::new(ed25519_signer("v2")?);
    let rekor = RekorV2::new(log(world, Arc::clone(&signer)).await?, signer.public_key())?;
    Ok(rekor_v2::router(rekor.admitting(admitting(world)), &Gate::open()))
}

/// The whole way of a new entry, each time another.
fn add(
    name: &'static str,
    router: fn(&Logs) -> &Router,
    path: &'static str,
    request: fn(&Submitter<'_>, &[u8]) -> Result<Vec<u8>>,
) -> HotPath {
    HotPath::new(name, move |world| {
        let (runtime, router) = (Arc::clone(&world.runtime), router(world.logs()?).clone());
        let requests = (0..=2 * ROUNDS).map(|n| request(&world.submitter(), format!("new {n}").as_bytes()));
        let mut requests = requests.collect::<Result<Vec<_>>>()?.into_iter();
        Ok(move || {
            let request = Request::post(path).header("content-type", "application/json");
            let request = request.body(Body::from(requests.next().context("no entry is left")?))?;
            let (status, answer) = runtime.block_on(send(&router, request))?;
            ensure!(status == StatusCode::CREATED, "{status}: {}", String::from_utf8_lossy(&answer));
            Ok(())
        })
    })
}

fn read(name: &'static str, router: fn(&Logs) -> &Router, path: &'static str) -> HotPath {
    HotPath::new(name, move |world| {
        let (runtime, router) = (Arc::clone(&world.runtime), router(world.logs()?).clone());
        Ok(move || {
            let request = Request::get(path).body(Body::empty())?;
            let (status, answer) = runtime.block_on(send(&router, request))?;
            ensure!(status == StatusCode::OK && !answer.is_empty(), "{status}");
            Ok(())
        })
    })
}

fn post(world: &World, router: &Router, path: &str, body: Vec<u8>) -> Result<(StatusCode, Bytes)> {
    let request = Request::post(path).header("content-type", "application/json").body(Body::from(body))?;
    world.runtime.block_on(send(router, request))
}

async fn send(router: &Router, request: Request<Body>) -> Result<(StatusCode, Bytes)> {
    let response = router.clone().oneshot(request).await?;
    let status = response.status();
    Ok((status, response.into_body().collect().await?.to_bytes()))
}
