//! The trust files as other tools read them, and the server as its operator meets it.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Context as _, Result, ensure};
use chancery_tests::{Cosign, Instance, Server, program};
use serde_json::Value;

fn json(path: &std::path::Path) -> Result<Value> {
    serde_json::from_slice(&std::fs::read(path)?).with_context(|| path.display().to_string())
}

#[tokio::test]
async fn cosign_makes_the_same_trusted_root_from_our_pem_files() -> Result<()> {
    let instance = Instance::start().await?;
    let (server, cosign) = (&instance.server, Cosign::v3(&instance)?);
    let ours = json(&server.trust("trusted_root.json"))?;
    let out = instance.scratch().join("cosigns.json").display().to_string();
    let url = server.url();
    let start = ours["ctlogs"][0]["publicKey"]["validFor"]["start"].as_str().context("a start")?;
    let key = |file: &str| server.trust(file).display().to_string();
    let fulcio = format!("url={url},certificate-chain={}", key("ca-chain.pem"));
    let ctfe = format!("url={url}/ct,public-key={},start-time={start}", key("ct.pub"));
    let v1 = format!("url={url},public-key={},start-time={start}", key("rekor.pub"));
    let host = url::Url::parse(url)?.host_str().context("a host")?.to_owned();
    let v2 = format!("url={url},public-key={},start-time={start},origin={host}", key("rekor-v2.pub"));
    let tsa = format!("url={url}/api/v1/timestamp,certificate-chain={}", key("tsa-chain.pem"));
    let arguments = ["--fulcio", &fulcio, "--ctfe", &ctfe, "--rekor", &v2, "--rekor", &v1, "--tsa", &tsa];
    let arguments = [&arguments[..], &["--out", &out]].concat();
    cosign.run("trusted-root create", &arguments)?.success()?;
    let theirs = json(out.as_ref())?;
    ensure!(ours["mediaType"] == theirs["mediaType"], "cosign's media type is {}", theirs["mediaType"]);
    for (list, members) in [
        ("certificateAuthorities", &["certChain"][..]),
        ("ctlogs", &["logId", "hashAlgorithm", "publicKey/rawBytes", "publicKey/keyDetails"]),
        ("tlogs", &["logId", "hashAlgorithm", "publicKey/rawBytes", "publicKey/keyDetails", "baseUrl"]),
        ("timestampAuthorities", &["certChain", "uri"]),
    ] {
        let (ours, theirs) = (instances(&ours, list, members)?, instances(&theirs, list, members)?);
        ensure!(ours == theirs, "{list}: ours {ours:#?}, cosign's {theirs:#?}");
    }
    Ok(())
}

/// The named members of each instance in a list of a trusted root. The order has no meaning, and cosign's differs from
/// run to run; every member must be there.
fn instances(root: &Value, list: &str, members: &[&str]) -> Result<BTreeSet<String>> {
    let instances = root[list].as_array().with_context(|| format!("{list} in {root}"))?;
    let chosen = instances.iter().map(|instance| {
        let member = |member: &&str| {
            let value = instance.pointer(&format!("/{member}"));
            value.map(Value::to_string).with_context(|| format!("{member} in {instance}"))
        };
        Ok(members.iter().map(member).collect::<Result<Vec<_>>>()?.join(" "))
    });
    let set = chosen.collect::<Result<BTreeSet<_>>>()?;
    ensure!(set.len() == instances.len(), "{list} holds an instance twice: {root}");
    Ok(set)
}

#[tokio::test]
async fn what_is_served_is_what_lies_in_the_trust_folder() -> Result<()> {
    let instance = Instance::start().await?;
    let server = &instance.server;
    let http = chancery_tests::http()?;
    let names =
        ["trusted_root.json", "signing_config.json", "client_trust_config.json", "ca-chain.pem", "ct.pub"];
    for name in names.into_iter().chain(["rekor.pub", "rekor-v2.pub", "tsa-chain.pem"]) {
        let answer = http.get(format!("{}/.well-known/chancery/{name}", server.url())).send().await?;
        ensure!(answer.status() == 200, "{name} is answered {}", answer.status());
        ensure!(answer.bytes().await? == std::fs::read(server.trust(name))?, "{name} is not the file");
    }
    let key = http.get(format!("{}/api/v1/log/publicKey", server.url())).send().await?.text().await?;
    ensure!(key == std::fs::read_to_string(server.trust("rekor.pub"))?, "rekor.pub is not the log's key");
    let export = instance.scratch().join("export");
    let mut command = Server::command(&["export-trust"])?;
    program::run(command.arg(server.folder()).arg("--output").arg(&export))?.success()?;
    ensure!(
        json(&export.join("trusted_root.json"))? == json(&server.trust("trusted_root.json"))?,
        "export differs"
    );
    Ok(())
}

#[tokio::test]
async fn cosign_makes_the_same_signing_config() -> Result<()> {
    let instance = Instance::start().await?;
    let (server, cosign) = (&instance.server, Cosign::v3(&instance)?);
    let ours = json(&server.trust("signing_config.json"))?;
    let out = instance.scratch().join("cosigns.json").display().to_string();
    let url = server.url();
    let start = ours["caUrls"][0]["validFor"]["start"].as_str().context("a start")?;
    let operator = url.trim_start_matches("http://");
    let service = |url: &str, version: u8| {
        format!("url={url},api-version={version},start-time={start},operator={operator}")
    };
    let (own, v2, tsa) = (service(url, 1), service(url, 2), service(&format!("{url}/api/v1/timestamp"), 1));
    let arguments =
        ["--fulcio", &own, "--rekor", &v2, "--rekor", &own, "--rekor-config", "ANY", "--tsa", &tsa];
    cosign
        .run("signing-config create", &[&arguments[..], &["--tsa-config", "ANY", "--out", &out]].concat())?
        .success()?;
    let theirs = json(out.as_ref())?;
    for member in ["mediaType", "caUrls", "rekorTlogUrls", "tsaUrls", "rekorTlogConfig", "tsaConfig"] {
        let (ours, theirs) = (unordered(&ours[member]), unordered(&theirs[member]));
        ensure!(ours == theirs, "{member}: ours {ours:?}, cosign's {theirs:?}");
    }
    Ok(())
}

/// The elements of a list in an order of their own: in a signing config clients choose by version and time.
fn unordered(value: &Value) -> Vec<String> {
    let mut elements: Vec<String> = match value {
        Value::Array(elements) => elements.iter().map(Value::to_string).collect(),
        other => vec![other.to_string()],
    };
    elements.sort();
    elements
}

#[tokio::test]
async fn a_folder_serves_one_server_at_a_time() -> Result<()> {
    let instance = Instance::start().await?;
    instance.server.run("run")?.failure(&[])?;
    // On another port the store itself must refuse.
    let config = instance.server.folder().join("chancery.toml");
    let port = url::Url::parse(instance.server.url())?.port().context("a port")?.to_string();
    let free = program::free_port()?.to_string();
    let text = std::fs::read_to_string(&config)?;
    std::fs::write(
        &config,
        text.replace(&format!("\"127.0.0.1:{port}\""), &format!("\"127.0.0.1:{free}\"")),
    )?;
    instance.server.run("run")?.failure(&["in use by another process"])?;
    Ok(())
}

#[tokio::test]
async fn run_without_init_is_refused() -> Result<()> {
    let instance = Instance::stopped().await?;
    let empty = instance.home("empty")?;
    program::run(Server::command(&["run"])?.arg(&empty))?.failure(&["init"])?;
    // A folder whose log is gone is not quietly given a new one.
    std::fs::remove_dir_all(instance.server.folder().join("logs"))?;
    instance.server.run("run")?.failure(&[])?;
    ensure!(!instance.server.folder().join("logs/rekor-v1/CURRENT").exists(), "a new log was made");
    Ok(())
}

#[tokio::test]
async fn init_does_not_overwrite() -> Result<()> {
    let instance = Instance::stopped().await?;
    let before = std::fs::read(instance.server.trust("trusted_root.json"))?;
    let mut init = Server::command(&["init"])?;
    init.arg(instance.server.folder()).args(["--url", "http://127.0.0.1:1", "--any-tenant"]);
    program::run(&mut init)?.failure(&[])?;
    ensure!(before == std::fs::read(instance.server.trust("trusted_root.json"))?, "init has overwritten");
    Ok(())
}

#[tokio::test]
async fn check_config_finds_mistakes_before_a_restart_does() -> Result<()> {
    let instance = Instance::stopped().await?;
    instance.server.run("check-config")?.success()?;
    let config = instance.server.folder().join("chancery.toml");
    let good = std::fs::read_to_string(&config)?;
    std::fs::write(&config, format!("no_such_setting = 1\n{good}"))?;
    instance.server.run("check-config")?.failure(&["no_such_setting"])?;
    std::fs::write(&config, &good)?;
    let issuers = instance.server.folder().join("fulcio.yaml");
    std::fs::write(&issuers, "oidc-issuers: {}\n")?;
    instance.server.run("check-config")?.failure(&["issuer"])?;
    Ok(())
}

#[tokio::test]
async fn private_keys_are_private() -> Result<()> {
    let instance = Instance::stopped().await?;
    let keys = instance.server.folder().join("keys");
    let mut count = 0;
    for file in std::fs::read_dir(&keys)? {
        let mode = file?.metadata()?.permissions().mode() & 0o777;
        ensure!(mode == 0o600, "a key has mode {mode:o}");
        count += 1;
    }
    ensure!(count >= 5, "{count} keys");
    std::fs::set_permissions(keys.join("ct.key"), std::fs::Permissions::from_mode(0o644))?;
    instance.server.run("run")?.failure(&["ct.key"])?;
    Ok(())
}

#[tokio::test]
async fn a_graceful_stop_and_a_restart_keep_the_log() -> Result<()> {
    let mut instance = Instance::start().await?;
    let log =
        chancery_tests::rekor::RekorLog::new(instance.server.url(), &instance.server.trust("rekor.pub"))?;
    let entry = chancery_tests::rekor::Submitter::new()?.hashedrekord(b"a rocket")?;
    let added = log.add(&entry).await?.context("an idle log takes entries")?;
    instance.server.stop().await?;
    instance.server.start().await?;
    let found = log.get(&added.id).await?;
    ensure!((found.index, found.body) == (added.index, added.body), "the entry changed");
    log.check_consistent(&added.head, &log.head().await?).await
}

#[tokio::test]
async fn a_new_log_is_born_with_an_entry() -> Result<()> {
    let instance = Instance::start().await?;
    let checkpoint = format!("{}/checkpoint", instance.server.url());
    let v2 = chancery_tests::http()?.get(checkpoint).send().await?.text().await?;
    ensure!(v2.starts_with("127.0.0.1\n1\n"), "a new v2 log shows {v2}");
    let log =
        chancery_tests::rekor::RekorLog::new(instance.server.url(), &instance.server.trust("rekor.pub"))?;
    ensure!(log.head().await?.size == 1, "a new log holds {} entries", log.head().await?.size);
    Ok(())
}
