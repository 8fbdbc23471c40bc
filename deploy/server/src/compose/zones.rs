//! Every route of an instance is in one of the two zones, and the table of `deploy/docs/zones.md` says in which.
//!
//! The routes are read off the router that is served, not off a list beside it, so one that is added without a row in
//! the table fails here, and so does a row that says something else than the router does.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use chancery_tlog::clock::SystemClock;
use clap::Parser;
use tower::ServiceExt as _;

use super::*;
use crate::config::Config;
use crate::init::{InitArguments, init};
use crate::logs::{self, AddLogArguments};

const DOCUMENT: &str = include_str!("../../../docs/zones.md");

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    init: InitArguments,
}

#[derive(Parser)]
struct AddLine {
    #[command(flatten)]
    add: AddLogArguments,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Zone {
    Open,
    Sealed,
    /// A write, or what answers a write.
    Write,
}

/// The zone of each method and path in the document.
fn table() -> BTreeMap<(Method, String), Zone> {
    let mut table = BTreeMap::new();
    for line in DOCUMENT.lines().filter(|line| line.starts_with("| `/")) {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let [_, path, method, zone, ..] = cells.as_slice() else { panic!("{line}") };
        let zone = match *zone {
            "open" => Zone::Open,
            "**sealed**" => Zone::Sealed,
            "write" => Zone::Write,
            other => panic!("`{other}` is no zone: {line}"),
        };
        let method = method.parse().unwrap();
        let row = ((method, path.trim_matches('`').to_owned()), zone);
        assert_eq!(table.insert(row.0.clone(), zone), None, "twice: {row:?}");
    }
    table
}

/// The paths of a router. axum lists them in its debug output and nowhere else; should that change, none are found,
/// and the test below says so.
fn paths(router: &Router) -> BTreeSet<String> {
    let text = format!("{router:?}");
    let quoted = text.split('"').skip(1).step_by(2).filter(|text| text.starts_with('/'));
    // A router's fallback is a route with a wildcard, and one for `/`, which a wildcard does not match.
    quoted.filter(|path| !path.starts_with("/{*__private")).map(str::to_owned).collect()
}

/// The path that a table would name: under the prefix of the first log of its dialect.
fn plain(path: &str) -> String {
    path.replacen("/ct-2/", "/ct/", 1).replacen("/rekor-v1-2/", "/rekor-v1/", 1)
}

async fn instance(dir: &Path) -> Router {
    let line = [
        "init",
        dir.to_str().unwrap(),
        "--url",
        "http://127.0.0.1:8472",
        "--entries",
        "token",
        "--any-tenant",
    ];
    init(Line::parse_from(line).init).await.unwrap();
    served(dir).await
}

async fn served(dir: &Path) -> Router {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let instance = Instance::load(Config::load(dir).unwrap(), clock.clone()).unwrap();
    application(instance, &clock).await.unwrap().routes.usual().clone()
}

async fn status(router: &Router, method: &Method, path: &str) -> StatusCode {
    let path = path.replace("{*path}", "000").replace("{*file}", "timestamp.json");
    let path = path.replace("{entry_uuid}", &"0".repeat(64)).replace("{method}", "Other");
    let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
    router.clone().oneshot(request).await.unwrap().status()
}

#[tokio::test]
async fn every_route_has_its_zone_and_every_sealed_one_its_gate() {
    let folder = tempfile::tempdir().unwrap();
    let router = instance(&folder.path().join("instance")).await;
    check_zones(&router).await;
}

/// Logs that have ended and those that took their places, each under its own prefix.
#[tokio::test]
async fn every_further_log_is_in_the_zones_of_the_first_one_of_its_dialect() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("instance");
    drop(instance(&dir).await);
    for (dialect, more) in
        [("ct", &[][..]), ("rekor-v1", &[]), ("rekor-v2", &["--url", "http://localhost:8472"])]
    {
        let line = ["add-log", dir.to_str().unwrap(), dialect, "--replaces", dialect];
        logs::add(AddLine::parse_from(line.iter().chain(more)).add).await.unwrap();
    }
    let router = served(&dir).await;
    assert!(paths(&router).contains("/rekor-v1-2/checkpoint"), "{:?}", paths(&router));
    check_zones(&router).await;
}

/// Percent-encodings of `path`, each of one character or of all slashes.
fn encoded(path: &str) -> Vec<String> {
    let mut found = vec![path.replace('/', "%2f").replacen("%2f", "/", 1)];
    for (at, byte) in path.bytes().enumerate().skip(1) {
        let (before, after) = (&path[..at], &path[at + 1..]);
        found.push(format!("{before}%{byte:02x}{after}"));
        found.push(format!("{before}%25{byte:02x}{after}"));
    }
    found
}

/// The router alone, without the listener, which refuses such paths.
#[tokio::test]
async fn no_encoding_of_a_sealed_path_reaches_an_entry_by_an_open_route() {
    let folder = tempfile::tempdir().unwrap();
    let router = instance(&folder.path().join("instance")).await;
    for ((method, path), _) in table().into_iter().filter(|(_, zone)| *zone == Zone::Sealed) {
        // Attestation logs are created with one entry.
        let path = path.replace("{*path}", "000.p/1").replace("{entry_uuid}", &"0".repeat(64));
        for spelling in encoded(&path) {
            let answer = status(&router, &method, &spelling).await;
            assert!(answer.is_client_error(), "{method} {spelling}: {answer}");
        }
    }
}

async fn check_zones(router: &Router) {
    let (table, paths) = (table(), paths(router));
    assert!(paths.len() > 30 && paths.contains("/checkpoint"), "the router shows no paths: {paths:?}");

    let known: BTreeSet<_> = table.keys().map(|(_, path)| path.clone()).collect();
    let mounted: BTreeSet<_> = paths.iter().map(|path| plain(path)).collect();
    let missing: Vec<_> = mounted.difference(&known).collect();
    assert!(missing.is_empty(), "say in deploy/docs/zones.md in which zone these are: {missing:#?}");
    let gone: Vec<_> = known.difference(&mounted).collect();
    assert!(gone.is_empty(), "deploy/docs/zones.md has rows for what is not served: {gone:#?}");

    for path in &paths {
        let spelled = path.len() < 2 || !(path.ends_with('/') || path.contains("//"));
        assert!(spelled, "{path} is never reached: empty segments are dropped before routing");
        for method in [Method::GET, Method::POST] {
            let answer = status(router, &method, path).await;
            let served = !matches!(answer, StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED);
            match table.get(&(method.clone(), plain(path))) {
                Some(Zone::Sealed) => assert_eq!(answer, StatusCode::UNAUTHORIZED, "{method} {path}"),
                Some(_) => assert!(served && answer != StatusCode::UNAUTHORIZED, "{method} {path}: {answer}"),
                None => assert!(!served, "{method} {path} answers {answer} and has no row in zones.md"),
            }
        }
        if table.get(&(Method::GET, plain(path))) == Some(&Zone::Sealed) {
            let answer = status(router, &Method::HEAD, path).await;
            assert!(matches!(answer.as_u16(), 401 | 405), "HEAD {path}: {answer}");
        }
    }
}

#[tokio::test]
async fn what_is_not_served_is_404_and_says_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let router = instance(&folder.path().join("instance")).await;
    for path in ["/", "/api", "/ct/ct/v2/get-entries", "/tile", "/api/v3/log/entries"] {
        assert_eq!(status(&router, &Method::GET, path).await, StatusCode::NOT_FOUND, "{path}");
    }
}
