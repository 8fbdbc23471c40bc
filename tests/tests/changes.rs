//! What commands that change an instance refuse: one that is served or changed at the same time, whatever its roles are,
//! keys that have ended, and ends of trust in the future.

use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use chancery_tests::program::Outcome;
use chancery_tests::small_disk::may_mount_or_run_inside;
use chancery_tests::{Instance, Server, program};
use chancery_tlog::clock::{Clock as _, SystemClock};

const IN_USE: &str = "in use by another process";

/// Runs a subcommand on a folder of an instance.
fn run(folder: &Path, subcommand: &str, arguments: &[&str]) -> Result<Outcome> {
    program::run(Server::command(&[subcommand])?.arg(folder).args(arguments))
}

fn config(server: &Server) -> Result<String> {
    Ok(std::fs::read_to_string(server.folder().join("chancery.toml"))?)
}

fn configure(server: &Server, text: &str) -> Result<()> {
    Ok(std::fs::write(server.folder().join("chancery.toml"), text)?)
}

/// `text` without what is from `begin` on and before `end`.
fn without(text: &str, begin: &str, end: Option<&str>) -> Result<String> {
    let from = text.find(begin).with_context(|| format!("no {begin}"))?;
    let to = end.map_or(Ok(text.len()), |end| text.find(end).with_context(|| format!("no {end}")))?;
    Ok([&text[..from], &text[to..]].concat())
}

/// An instance that has a timestamp authority and nothing else, so no store.
async fn timestamps_alone() -> Result<Instance> {
    let instance = Instance::stopped().await?;
    let text = without(&config(&instance.server)?, "\n[ca]", Some("\n[timestamp]"))?;
    publish(&instance, &without(&text, "\n[tuf]", None)?)?;
    Ok(instance)
}

/// An instance that has a CA and nothing else: another process serves the issuance log.
async fn certificates_alone() -> Result<Instance> {
    let instance = Instance::stopped().await?;
    let text = without(&config(&instance.server)?, "\n[[log]]", None)?;
    let remote = "\n[ca]\nissuance_log = { url = \"http://127.0.0.1:9/ct\", key = \"trust/ct.pub\" }";
    publish(&instance, &text.replacen("\n[ca]", remote, 1))?;
    Ok(instance)
}

/// Begins anew with this configuration, as if nothing else had ever been handed out.
fn publish(instance: &Instance, text: &str) -> Result<()> {
    configure(&instance.server, text)?;
    std::fs::remove_file(instance.server.trust("trusted_root.json"))?;
    std::fs::remove_dir_all(instance.server.folder().join("logs"))?;
    let trust = instance.server.folder().join("trust").display().to_string();
    run(instance.server.folder(), "export-trust", &["--output", &trust])?.success()?;
    Ok(())
}

/// Every command that changes an instance, as far as its lock.
fn changes<'a>(role: &'a str, file: &'a str) -> [(&'static str, Vec<&'a str>); 6] {
    [
        ("replace-chain", vec![role, "--untrusted", "the key was stolen"]),
        ("replace-chain", vec![role, "--prepare"]),
        ("add-log", vec!["rekor-v1"]),
        ("end-log", vec!["rekor-v1"]),
        ("import-trust", vec![file, "--name", "before"]),
        ("remember", vec![]),
    ]
}

/// A server on another port: only the folder can refuse it.
fn second(folder: &Path) -> Result<Outcome> {
    let mut second = Server::command(&["run"])?;
    program::run(second.arg(folder).env("CHANCERY_LISTEN__ADDRESS", "127.0.0.1:0"))
}

#[tokio::test]
async fn an_instance_without_stores_is_not_changed_while_it_is_served() -> Result<()> {
    for (role, mut instance) in [("tsa", timestamps_alone().await?), ("ca", certificates_alone().await?)] {
        instance.server.start().await.context(role)?;
        let folder = instance.server.folder().to_owned();
        let (before, trust) = (config(&instance.server)?, instance.server.trust("trusted_root.json"));
        for (command, arguments) in changes(role, &trust.display().to_string()) {
            let refused = run(&folder, command, &arguments)?.refused(1, &[IN_USE]);
            refused.with_context(|| format!("{role}: {command} {arguments:?}"))?;
        }
        second(&folder)?.refused(1, &[IN_USE])?;
        ensure!(config(&instance.server)? == before, "the configuration changed");

        // What changes nothing goes on, and so does a backup: the server says that it is one.
        run(&folder, "check-config", &[])?.success()?;
        run(&folder, "export-trust", &[])?.success()?;
        let scratch = |name: &str| instance.scratch().join(name).display().to_string();
        run(&folder, "replace-chain", &[role, "--csr", &scratch("request.csr")])?.success()?;
        run(&folder, "backup", &[&scratch("backup")])?.success()?;
        run(Path::new(&scratch("backup")), "restore", &[&scratch("restored")])?.success()?;

        // Nobody has to clear up behind a server that was killed.
        instance.server.kill()?;
        run(&folder, "replace-chain", &[role, "--untrusted", "the key was stolen"])?.success()?;
        instance.server.start().await.context(role)?;
        instance.server.stop().await?;
    }
    Ok(())
}

#[tokio::test]
async fn one_command_at_a_time_changes_an_instance() -> Result<()> {
    let instance = Instance::stopped().await?;
    let folder = instance.server.folder();
    let trust = instance.server.trust("trusted_root.json").display().to_string();
    let backup = |name: &str| instance.scratch().join(name).display().to_string();
    let command = File::open(folder)?;
    command.lock()?;
    for (command, arguments) in changes("tsa", &trust) {
        run(folder, command, &arguments)?.refused(1, &[IN_USE]).context(command)?;
    }
    second(folder)?.refused(1, &[IN_USE])?;
    run(folder, "backup", &[&backup("torn")])?.refused(1, &[IN_USE, "nothing listens"])?;
    ensure!(!Path::new(&backup("torn.incomplete")).exists(), "a refused backup left something behind");
    for command in ["check-config", "export-trust", "fsck"] {
        run(folder, command, &[])?.success()?;
    }
    // Backups do not change it.
    command.unlock()?;
    command.lock_shared()?;
    run(folder, "backup", &[&backup("whole")])?.success()?;
    run(folder, "end-log", &["rekor-v1"])?.refused(1, &[IN_USE])?;
    drop(command);
    run(folder, "end-log", &["rekor-v1"])?.success()?;
    Ok(())
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_is_locked_too() -> Result<()> {
    if !may_mount_or_run_inside("a_folder_that_cannot_be_written_is_locked_too")? {
        return Ok(());
    }
    let mut instance = timestamps_alone().await?;
    let (folder, writable) = (instance.server.folder().to_owned(), instance.scratch().join("writable"));
    std::fs::create_dir(&writable)?;
    let mount = |options: &[&str], paths: &[&Path]| {
        program::run(Command::new("mount").args(options).args(paths))?.success().map(drop)
    };
    mount(&["--bind"], &[&folder, &writable])?;
    mount(&["--bind"], &[&folder, &folder])?;
    mount(&["-o", "remount,bind,ro"], &[&folder])?;
    ensure!(std::fs::write(folder.join("file"), "").is_err(), "the folder can be written");
    instance.server.start().await?;
    second(&folder)?.refused(1, &[IN_USE])?;
    run(&writable, "replace-chain", &["tsa"])?.refused(1, &[IN_USE])?;
    instance.server.stop().await?;
    run(&writable, "replace-chain", &["tsa"])?.success()?;
    Ok(())
}

#[tokio::test]
async fn a_key_that_has_ended_never_signs_again() -> Result<()> {
    let instance = Instance::stopped().await?;
    let (server, folder) = (&instance.server, instance.server.folder());
    run(folder, "replace-chain", &["ca"])?.success()?;
    run(folder, "replace-chain", &["ca", "--untrusted", "the key was stolen"])?.success()?;
    let whole = config(server)?;
    let withdrawn = ["is that of chain `2`, which has ended", "trusted no more (the key was stolen)"];

    // As it was, and under a new certificate.
    let at = |path: &str| folder.join(path).display().to_string();
    run(folder, "replace-chain", &["ca", "--chain", &at("chains/ca-2.pem")])?.failure(&withdrawn)?;
    let (request, again) = (at("again.csr"), at("again.pem"));
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-new", "-subj", "/CN=again", "-key", &at("keys/ca-2.key"), "-out", &request]);
    program::run(&mut openssl)?.success()?;
    let mut sign = Server::command(&["sign-csr", "ca", &request, "--root-key", &at("keys/ca-root.key")])?;
    program::run(sign.args(["--chain", &at("trust/ca-chain.pem"), "--output", &again]))?.success()?;
    run(folder, "replace-chain", &["ca", "--chain", &again])?.failure(&withdrawn)?;
    // Nor can the one in service be its own successor.
    run(folder, "replace-chain", &["ca", "--chain", &at("chains/ca-3.pem")])?
        .failure(&["has the same key"])?;
    ensure!(config(server)? == whole, "the configuration changed");

    // By hand: prepared, and in service.
    let since = "since = \"2026-11-21T22:00:00Z\"\n";
    let chain = "chain = \"chains/ca-2.pem\"\n";
    configure(server, &format!("{whole}\n[ca.next]\n{chain}key = \"keys/ca-2.key\"\n{since}"))?;
    for command in ["check-config", "run"] {
        run(folder, command, &[])?.failure(&withdrawn)?;
    }
    run(folder, "replace-chain", &["ca"])?.failure(&withdrawn)?;
    let back = whole.replace("\"chains/ca-3.pem\"", "\"chains/ca-2.pem\"").replace("keys/ca-3", "keys/ca-2");
    ensure!(back != whole, "another chain is in service:\n{whole}");
    let between = format!(
        "\n[[ca.past]]\nname = \"3\"\nchain = \"chains/ca-3.pem\"\n{since}until = \"2026-11-21T23:00:00Z\"\n"
    );
    configure(server, &(back + &between))?;
    for command in ["check-config", "run"] {
        run(folder, command, &[])?.failure(&withdrawn)?;
    }
    // The way out of that.
    run(folder, "replace-chain", &["ca", "--untrusted", "the key was stolen"])?.success()?;
    run(folder, "check-config", &[])?.success()?;
    Ok(())
}

#[tokio::test]
async fn another_root_is_told_wherever_it_comes_from() -> Result<()> {
    const TOLD: &str = "the root is another one than before";
    let (instance, stranger) = (Instance::stopped().await?, Instance::stopped().await?);
    let folder = instance.server.folder();
    let scratch = |name: &str| instance.scratch().join(name).display().to_string();
    for (from, told) in [(&instance, false), (&stranger, true)] {
        let (request, chain) = (scratch("request.csr"), scratch("chain.pem"));
        run(folder, "replace-chain", &["ca", "--csr", &request])?.success()?;
        let mut sign = Server::command(&["sign-csr", "ca", &request, "--output", &chain, "--root-key"])?;
        sign.arg(from.server.folder().join("keys/ca-root.key")).arg("--chain");
        program::run(sign.arg(from.server.trust("ca-chain.pem")))?.success()?;
        let said = run(folder, "replace-chain", &["ca", "--chain", &chain])?.success()?.said();
        ensure!(said.contains(TOLD) == told, "{said}");
    }
    for more in [&["--prepare", "--new-root"][..], &[]] {
        let arguments = [&["tsa"], more].concat();
        let said = run(folder, "replace-chain", &arguments)?.success()?.said();
        ensure!(said.contains(TOLD), "{arguments:?}: {said}");
    }
    Ok(())
}

#[tokio::test]
async fn trust_does_not_end_later_than_honest_signatures_do() -> Result<()> {
    let (instance, stranger) = (Instance::stopped().await?, Instance::stopped().await?);
    let folder = instance.server.folder();
    let in_minutes = |minutes| SystemClock.now().plus(Duration::from_mins(minutes)).to_rfc3339();
    let root = stranger.server.trust("trusted_root.json").display().to_string();
    let imports = ["import-trust", &root, "--name", "before"];
    for (line, minutes) in
        [(&["replace-chain", "ca"][..], 60), (&["replace-chain", "tsa"], 5), (&imports, 60)]
    {
        let [command, arguments @ ..] = line else { continue };
        let until = in_minutes(minutes);
        let refused = run(folder, command, &[arguments, &["--until", &until]].concat())?;
        refused.failure(&["--until", "the latest is"]).with_context(|| line.join(" "))?;
    }
    // A certificate of a moment ago lives ten minutes.
    for line in [&["replace-chain", "ca"][..], &imports] {
        let [command, arguments @ ..] = line else { continue };
        let until = in_minutes(5);
        let taken = run(folder, command, &[arguments, &["--until", &until]].concat())?;
        taken.success().with_context(|| line.join(" "))?;
    }
    Ok(())
}
