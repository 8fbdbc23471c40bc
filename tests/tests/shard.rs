//! Key replacement: a log ends, another one takes its place, and real clients go on with both.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use chancery_tests::rekor::Submitter;
use chancery_tests::verdicts::{Time, all_verify, sign, verdicts};
use chancery_tests::{Instance, Rekor, RekorCli, Server, http, program};
use chancery_tlog::clock::{Clock as _, SystemClock, Timestamp};
use chancery_tlog::note::Note;
use serde_json::Value;

/// Runs a subcommand on the instance's folder, demands that it does its work, and tells TUF clients.
fn change(server: &Server, subcommand: &str, arguments: &[&str]) -> Result<()> {
    changed(server, subcommand, arguments)?.success()?;
    server.sign_tuf()
}

fn changed(server: &Server, subcommand: &str, arguments: &[&str]) -> Result<program::Outcome> {
    program::run(Server::command(&[subcommand])?.arg(server.folder()).args(arguments))
}

fn json(path: &Path) -> Result<Value> {
    serde_json::from_slice(&std::fs::read(path)?).with_context(|| path.display().to_string())
}

/// The start of trust in a log of the trusted root.
fn start(instance: &Instance, pointer: &str) -> Result<Timestamp> {
    let root = json(&instance.server.trust("trusted_root.json"))?;
    let start = root.pointer(pointer).and_then(Value::as_str).context("a start of trust")?;
    Timestamp::parse_rfc3339(start).context("a time")
}

async fn after(time: Timestamp) {
    while SystemClock.now() < time {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

fn later(time: Timestamp, seconds: u64) -> Timestamp {
    time.plus(std::time::Duration::from_secs(seconds))
}

async fn text(url: &str) -> Result<String> {
    let answer = http()?.get(url).send().await?;
    ensure!(answer.status().is_success(), "{url} answers {}", answer.status());
    Ok(answer.text().await?)
}

#[tokio::test]
async fn a_v1_and_a_ct_log_are_replaced_and_old_bundles_verify_until_the_end() -> Result<()> {
    let mut instance = Instance::start_with(Rekor::V1).await?;
    let began = start(&instance, "/tlogs/0/publicKey/validFor/start")?;
    // So that there is a moment between the start of trust and this signature.
    after(later(began, 2)).await;
    let old = sign(&instance, "old").await?;
    instance.server.stop().await?;
    change(&instance.server, "add-log", &["ct", "--replaces", "ct", "--name", "ct-2027"])?;
    change(&instance.server, "add-log", &["rekor-v1", "--replaces", "rekor-v1"])?;
    instance.server.run("check-config")?.success()?;
    instance.server.start().await?;
    let new = sign(&instance, "new").await?;
    all_verify(&instance, &old, Time::Log)?;
    all_verify(&instance, &new, Time::Log)?;

    let root = json(&instance.server.trust("trusted_root.json"))?;
    for logs in ["tlogs", "ctlogs"] {
        let logs_of_kind = root[logs].as_array().context("logs")?.iter();
        let ends: Vec<_> =
            logs_of_kind.map(|log| log["publicKey"]["validFor"].get("end").is_some()).collect();
        ensure!(ends == [false, true], "{logs}: {root}");
    }
    let sth = text(&format!("{}/ct-2027/ct/v1/get-sth", instance.server.url())).await?;
    ensure!(serde_json::from_str::<Value>(&sth)?["tree_size"] == 1, "the CA wrote elsewhere: {sth}");
    let sth = text(&format!("{}/ct/ct/v1/get-sth", instance.server.url())).await?;
    ensure!(
        serde_json::from_str::<Value>(&sth)?["tree_size"] == 1,
        "the old log is not read as it was: {sth}"
    );

    // The key was stolen, as it turns out, before the old signature.
    instance.server.stop().await?;
    change(&instance.server, "end-log", &["rekor-v1", "--until", &later(began, 1).to_rfc3339()])?;
    instance.server.start().await?;
    for (client, outcome) in verdicts(&instance, &old, Time::Log)? {
        // It takes every key of the trusted root for all times, so only `--untrusted` helps.
        let outcome = if client == "sigstore-python" { outcome.success() } else { outcome.failure(&[]) };
        outcome.with_context(|| format!("{client} and what the old key signed after the end"))?;
    }
    all_verify(&instance, &new, Time::Log)?;

    instance.server.stop().await?;
    change(&instance.server, "end-log", &["rekor-v1", "--untrusted"])?;
    instance.server.start().await?;
    for (client, outcome) in verdicts(&instance, &old, Time::Log)? {
        outcome.failure(&[]).with_context(|| format!("{client} believes a log that is trusted no more"))?;
    }
    all_verify(&instance, &new, Time::Log)?;
    instance.server.stop().await?;
    instance.server.run("fsck")?.success()?;
    Ok(())
}

#[tokio::test]
async fn rekor_cli_reads_verifies_and_searches_over_shards() -> Result<()> {
    let mut instance = Instance::start_with(Rekor::V1).await?;
    let entries = format!("{}/api/v1/log/entries", instance.server.url());
    let submitter = Submitter::new()?;
    let add = async |artifact: &str| -> Result<(String, Value)> {
        let entry = submitter.hashedrekord(artifact.as_bytes())?;
        let answer = http()?.post(&entries).json(&entry).send().await?;
        let (status, said) = (answer.status(), answer.text().await?);
        ensure!(status == 201, "{status}: {said}");
        let answer: Value = serde_json::from_str(&said)?;
        let (id, entry) = answer.as_object().and_then(|map| map.iter().next()).context("an entry")?;
        Ok((id.clone(), entry.clone()))
    };
    let (old, old_entry) = add("old").await?;
    ensure!(old_entry["logIndex"] == 1, "the birth is 0: {old_entry}");
    instance.server.stop().await?;
    change(&instance.server, "add-log", &["rekor-v1", "--replaces", "rekor-v1"])?;
    instance.server.start().await?;
    let (new, new_entry) = add("new").await?;
    ensure!(new_entry["logIndex"] == 3, "two entries and another birth come before it: {new_entry}");
    ensure!(new_entry["logID"] != old_entry["logID"], "the key is the same");

    let cli = RekorCli::new(&instance)?;
    let run = |verb: &str, arguments: &[&str]| -> Result<String> {
        Ok(cli.run(verb, arguments)?.success()?.stdout)
    };
    let info: Value = serde_json::from_str(run("loginfo", &[])?.trim())?;
    ensure!(info["ActiveTreeSize"] == 2 && info["TotalTreeSize"] == 4, "{info}");
    for (id, index, tree) in [(&old, "1", &old[..16]), (&new, "3", &new[..16])] {
        ensure!(run("get", &["--uuid", id])?.contains(id.as_str()), "{id}");
        ensure!(run("get", &["--log-index", index])?.contains(id.as_str()), "{index}");
        ensure!(run("get", &["--uuid", &id[16..]])?.contains(tree), "a bare hash is not found in {tree}");
        run("verify", &["--uuid", id])?;
        run("verify", &["--log-index", index])?;
    }
    for (artifact, id) in [("old", &old), ("new", &new)] {
        let file = instance.file(artifact, artifact)?.display().to_string();
        ensure!(run("search", &["--artifact", &file])?.contains(id.as_str()), "{artifact} is not found");
    }
    let tree = u64::from_str_radix(&old[..16], 16)?.to_string();
    run("logproof", &["--first-size", "1", "--last-size", "2", "--tree-id", &tree])?;
    Ok(())
}

#[tokio::test]
async fn a_v2_log_is_replaced_by_one_at_another_host() -> Result<()> {
    let mut instance = Instance::start_with(Rekor::V2).await?;
    let old = sign(&instance, "old").await?;
    let url = instance.server.url().to_owned();
    let beside = url.replace("127.0.0.1", "localhost");
    instance.server.stop().await?;
    changed(&instance.server, "add-log", &["rekor-v2", "--replaces", "rekor-v2"])?.failure(&["--url"])?;
    change(&instance.server, "add-log", &["rekor-v2", "--replaces", "rekor-v2", "--url", &beside])?;
    instance.server.start().await?;
    let new = sign(&instance, "new").await?;
    all_verify(&instance, &old, Time::Authority)?;
    all_verify(&instance, &new, Time::Authority)?;
    for (url, origin, size) in [(&url, "127.0.0.1", "2"), (&beside, "localhost", "2")] {
        let note = text(&format!("{url}/checkpoint")).await?;
        let note = Note::parse(note.as_bytes())?;
        let mut lines = note.text().lines();
        ensure!((lines.next(), lines.next()) == (Some(origin), Some(size)), "{url}: {}", note.text());
    }
    let entry = Submitter::new()?.hashedrekord_v2(b"late")?;
    let answer = http()?.post(format!("{url}/api/v2/log/entries")).json(&entry).send().await?;
    let (status, said) = (answer.status(), answer.text().await?);
    ensure!(status == 501 && said.contains("frozen"), "a log that has ended answers {status}: {said}");
    Ok(())
}

#[tokio::test]
async fn a_running_instance_is_not_changed_and_an_ended_log_not_written() -> Result<()> {
    let mut instance = Instance::start_with(Rekor::V1).await?;
    let server = &instance.server;
    let before = std::fs::read(server.folder().join("chancery.toml"))?;
    changed(server, "add-log", &["rekor-v1", "--replaces", "rekor-v1"])?
        .failure(&["in use by another process"])?;
    changed(server, "end-log", &["rekor-v1"])?.failure(&["in use by another process"])?;
    ensure!(before == std::fs::read(server.folder().join("chancery.toml"))?, "the configuration changed");

    instance.server.stop().await?;
    change(&instance.server, "end-log", &["rekor-v1"])?;
    changed(&instance.server, "end-log", &["rekor-v1"])?.failure(&["has ended already"])?;
    // Ready, although a log takes nothing any more.
    instance.server.start().await?;
    let entry = Submitter::new()?.hashedrekord(b"late")?;
    let entries = format!("{}/api/v1/log/entries", instance.server.url());
    let answer = http()?.post(&entries).json(&entry).send().await?;
    let (status, said) = (answer.status(), answer.text().await?);
    ensure!(status == 501 && said.contains("frozen"), "a log that has ended answers {status}: {said}");
    text(&format!("{entries}?logIndex=0")).await?;

    // With the public key alone, and then without a store.
    let home = instance.scratch().join("backups");
    std::fs::create_dir(&home)?;
    backed_up_and_restored(&instance.server, &home.join("running"), &["ct", "rekor-v1"])?;
    instance.server.stop().await?;
    backed_up_and_restored(&instance.server, &home.join("stopped"), &["ct", "rekor-v1"])?;
    change(&instance.server, "end-log", &["rekor-v1", "--unserved"])?;
    std::fs::remove_dir_all(instance.server.folder().join("logs/rekor-v1"))?;
    backed_up_and_restored(&instance.server, &home.join("unserved"), &["ct"])?;
    instance.server.run("check-config")?.success()?;
    Ok(())
}

fn backed_up_and_restored(server: &Server, to: &Path, logs: &[&str]) -> Result<()> {
    let mut backup = Server::command(&["backup"])?;
    let said = program::run(backup.arg(server.folder()).arg(to))?.success()?.stdout;
    let copied: Vec<_> = said.lines().filter_map(|line| line.split('`').nth(1)).collect();
    ensure!(copied == logs, "the logs of the backup: {said}");
    let mut restore = Server::command(&["restore", "--nothing-was-signed-since"])?;
    program::run(restore.arg(to).arg(to.with_extension("restored")))?.success()?;
    Ok(())
}
