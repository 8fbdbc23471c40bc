//! A pinned client follows what its instance trusts: through new chains and logs, and past nobody who shows it something else.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result, ensure};
use axum::Router;
use axum::http::{StatusCode, Uri};
use chancery_tests::{Chancery, Instance, Policy, Rekor, Server, program};
use chancery_tlog::merkle::Hash;
use serde_json::Value;

/// What operators hand out.
fn identifier(instance: &Instance) -> Result<String> {
    let root = std::fs::read(instance.server.folder().join("tuf/1.root.json"))?;
    Ok(Hash::digest(&root).to_hex())
}

/// Changes what a stopped instance trusts, tells TUF clients, and starts it again.
async fn change(instance: &mut Instance, subcommand: &[&str]) -> Result<()> {
    instance.server.stop().await?;
    let folder = instance.server.folder().to_owned();
    let (name, arguments) = subcommand.split_first().context("a subcommand")?;
    program::run(Server::command(&[name])?.arg(&folder).args(arguments))?.success()?;
    instance.server.sign_tuf()?;
    instance.server.start().await
}

/// Makes the client's last look at the repository one of long ago.
fn long_ago(chancery: &Chancery) -> Result<()> {
    let file = pin(chancery)?;
    let mut pinned: Value = serde_json::from_slice(&std::fs::read(&file)?)?;
    pinned["repository"]["checkedAt"] = "2026-01-01T00:00:00Z".into();
    Ok(std::fs::write(file, pinned.to_string())?)
}

fn pin(chancery: &Chancery) -> Result<std::path::PathBuf> {
    let file = chancery.home().join(".config/chancery/instance.json");
    ensure!(file.exists(), "nothing is pinned in {}", file.display());
    Ok(file)
}

/// Signs a new file in a job, and what was said.
fn sign(chancery: &Chancery, instance: &Instance, name: &str) -> Result<program::Outcome> {
    let file = instance.file(name, format!("a rocket called {name}"))?.display().to_string();
    chancery.run_in_job(instance, &["sign", &file])
}

async fn verifies(chancery: &Chancery, instance: &Instance, name: &str) -> Result<()> {
    let file = instance.scratch().join(name).display().to_string();
    let policy = Policy::of(&instance.issuer.token().await?);
    let arguments = [&["verify".to_owned(), file][..], &policy].concat();
    chancery.run(&arguments)?.success().map(drop)
}

#[tokio::test]
async fn a_pinned_job_follows_chains_and_logs_that_are_replaced() -> Result<()> {
    let mut instance = Instance::start_with(Rekor::Both).await?;
    let id = identifier(&instance)?;
    let said = instance.server.run("check-config")?.success()?.stdout;
    ensure!(said.contains(&format!("trust add {} --sha256 {id}", instance.server.url())), "{said}");

    let url = instance.server.url().to_owned();
    let chancery = Chancery::new(&instance, "job")?;
    let added = chancery.run(&["trust", "add", &url, "--sha256", &id])?.success()?;
    ensure!(added.stdout.contains(&format!("identifier         sha256:{id}")), "{}", added.stdout);
    ensure!(!added.stderr.contains("first use"), "{}", added.stderr);
    sign(&chancery, &instance, "first")?.success()?;

    change(&mut instance, &["replace-chain", "ca"]).await?;
    long_ago(&chancery)?;
    let second = sign(&chancery, &instance, "second")?.success()?;
    for words in [&format!("trust of {url} has changed")[..], "changed  authority", "new      authority"] {
        ensure!(second.stderr.contains(words), "{words}: {}", second.stderr);
    }
    // It was asked a moment ago, and is not asked again.
    let third = sign(&chancery, &instance, "third")?.success()?;
    ensure!(!third.stderr.contains("has changed"), "{}", third.stderr);

    change(&mut instance, &["add-log", "rekor-v1", "--replaces", "rekor-v1"]).await?;
    let updated = chancery.run(&["trust", "update"])?.success()?;
    ensure!(updated.stderr.contains("new      transparency log"), "{}", updated.stderr);
    ensure!(updated.stderr.contains("changed  transparency log"), "{}", updated.stderr);
    let again = chancery.run(&["trust", "update"])?.success()?;
    ensure!(again.stderr.contains("trust has not changed"), "{}", again.stderr);
    sign(&chancery, &instance, "fourth")?.success()?;
    for name in ["first", "second", "third", "fourth"] {
        verifies(&chancery, &instance, name).await.context(name)?;
    }

    // The identifier in the jobs' variables is good for new machines and for those that know the instance.
    let fresh = Chancery::new(&instance, "fresh")?;
    for client in [&fresh, &chancery] {
        let added = client.run(&["trust", "add", &url, "--sha256", &id])?.success()?;
        ensure!(!added.said().contains("another instance"), "{}", added.said());
    }
    let known = chancery.run(&["trust", "add", &url])?.success()?;
    ensure!(!known.stderr.contains("first use"), "{}", known.stderr);
    verifies(&fresh, &instance, "first").await
}

#[tokio::test]
async fn an_instance_that_is_pinned_by_a_file_is_not_followed_and_says_so() -> Result<()> {
    let mut instance = Instance::start_with(Rekor::Both).await?;
    let url = instance.server.url().to_owned();
    let config = Hash::digest(&std::fs::read(instance.server.trust("client_trust_config.json"))?).to_hex();
    let chancery = Chancery::new(&instance, "client")?;
    chancery.run(&["trust", "add", &url, "--sha256", &config])?.success()?;
    sign(&chancery, &instance, "before")?.success()?;
    chancery.run(&["trust", "update"])?.refused(2, &["pinned by a file", "trust add", "--replace"])?;

    change(&mut instance, &["replace-chain", "ca"]).await?;
    for arguments in
        [&["trust", "add", &url][..], &["trust", "add", &url, "--sha256", &identifier(&instance)?]]
    {
        let refused =
            chancery.run(arguments)?.refused(2, &["has changed since it was pinned", "--replace"])?;
        ensure!(!refused.said().contains("another instance"), "{}", refused.said());
    }
    chancery
        .run(&["trust", "add", &url, "--sha256", &config])?
        .refused(2, &["identifier", &config, "old fingerprint"])?;
    chancery.run(&["trust", "add", &url, "--replace", "--sha256", &identifier(&instance)?])?.success()?;
    verifies(&chancery, &instance, "before").await
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A web server that serves copies of TUF repositories, and nothing else.
struct Mirror {
    url: String,
    files: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Mirror {
    async fn start() -> Result<Self> {
        let (files, requests) = (Arc::<Mutex<BTreeMap<String, Vec<u8>>>>::default(), Arc::default());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let (served, seen): (_, Arc<Mutex<Vec<String>>>) = (files.clone(), Arc::clone(&requests));
        let app = Router::new().fallback(move |uri: Uri| {
            locked(&seen).push(uri.path().to_owned());
            let file = locked(&served).get(uri.path()).cloned();
            std::future::ready(file.ok_or(StatusCode::NOT_FOUND))
        });
        tokio::spawn(async move { axum::serve(listener, app).await });
        Ok(Self { url, files, requests })
    }

    /// Serves what is in this folder now.
    fn serve(&self, folder: &Path) -> Result<()> {
        let mut files = BTreeMap::new();
        for (under, prefix) in [("", "/tuf"), ("targets", "/tuf/targets")] {
            for entry in std::fs::read_dir(folder.join(under))? {
                let path = entry?.path();
                if path.is_file() {
                    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                    files.insert(format!("{prefix}/{name}"), std::fs::read(&path)?);
                }
            }
        }
        *locked(&self.files) = files;
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repository_that_went_back_or_is_forged_is_refused_before_there_is_a_token() -> Result<()> {
    let (mut instance, other) = (Instance::start_with(Rekor::Both).await?, Instance::start().await?);
    let (mirror, tuf) = (Mirror::start().await?, instance.server.folder().join("tuf"));
    let old = instance.scratch().join("old");
    copy(&tuf, &old)?;
    change(&mut instance, &["replace-chain", "ca"]).await?;
    let chancery = Chancery::new(&instance, "client")?;
    mirror.serve(&tuf)?;
    chancery.run(&["trust", "add", &mirror.url, "--sha256", &identifier(&instance)?])?.success()?;
    sign(&chancery, &instance, "before")?.success()?;
    let pinned = std::fs::read(pin(&chancery)?)?;

    let forged = other.server.folder().join("tuf");
    for (folder, why) in [(&old, "went back"), (&forged, "of another instance")] {
        mirror.serve(folder)?;
        chancery
            .run(&["trust", "update"])?
            .refused(2, &["TUF repository is refused", "nothing was changed"])?;
        ensure!(std::fs::read(pin(&chancery)?)? == pinned, "{why}: the pin was changed");
        long_ago(&chancery)?;
        let said = instance.server.output().await?.len();
        let refused = sign(&chancery, &instance, "refused")?.refused(2, &["TUF repository is refused"])?;
        ensure!(!refused.said().contains("signing as"), "{why}: {}", refused.said());
        let log = instance.server.output().await?.split_off(said);
        ensure!(!log.contains("signingCert"), "{why}: a token was spent:\n{log}");
        std::fs::write(pin(&chancery)?, &pinned)?;
    }
    // A file of ten megabytes, and one that is no JSON.
    for bytes in [vec![b' '; 10 << 20], b"<html>".to_vec()] {
        mirror.serve(&tuf)?;
        locked(&mirror.files).insert("/tuf/timestamp.json".to_owned(), bytes);
        chancery.run(&["trust", "update"])?.failure(&[])?;
        ensure!(std::fs::read(pin(&chancery)?)? == pinned, "the pin was changed");
    }

    // Nobody is there to be asked: what is pinned holds, and the run says so.
    locked(&mirror.files).clear();
    long_ago(&chancery)?;
    let signed = sign(&chancery, &instance, "unasked")?.success()?;
    ensure!(signed.stderr.contains("cannot ask"), "{}", signed.stderr);
    // Verification asks nobody.
    let asked = locked(&mirror.requests).len();
    verifies(&chancery, &instance, "unasked").await?;
    ensure!(locked(&mirror.requests).len() == asked, "verify is offline");
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let path = entry?.path();
        let target = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            copy(&path, &target)?;
        } else {
            std::fs::copy(&path, target)?;
        }
    }
    Ok(())
}
