//! Chains of the CA and the timestamp authority that are replaced, and that end: real clients go on with old and new.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use chancery_tests::verdicts::{Signed, Time, all_verify, sign, verdicts};
use chancery_tests::{Instance, Rekor, Server, http, peers, program};
use serde_json::Value;

/// Runs a subcommand on the instance's folder.
fn changed(instance: &Instance, subcommand: &[&str], arguments: &[&str]) -> Result<program::Outcome> {
    program::run(Server::command(subcommand)?.arg(instance.server.folder()).args(arguments))
}

/// Replaces a chain of an instance that is stopped for it, tells TUF clients, and starts it again.
async fn replace(instance: &mut Instance, arguments: &[&str]) -> Result<()> {
    instance.server.stop().await?;
    changed(instance, &["replace-chain"], arguments)?.success()?;
    changed(instance, &["tuf", "sign"], &[])?.success()?;
    let checked = instance.server.run("check-config")?.success()?;
    ensure!(!checked.said().contains("differs from"), "{}", checked.said());
    instance.server.start().await
}

fn trusted_root(instance: &Instance) -> Result<Value> {
    Ok(serde_json::from_slice(&std::fs::read(instance.server.trust("trusted_root.json"))?)?)
}

/// Which authorities of a kind have an end, in the order of the trusted root.
fn ends(instance: &Instance, kind: &str) -> Result<Vec<bool>> {
    let root = trusted_root(instance)?;
    let authorities = root[kind].as_array().context("authorities")?;
    Ok(authorities.iter().map(|authority| authority["validFor"].get("end").is_some()).collect())
}

#[tokio::test]
async fn what_every_chain_vouched_for_verifies_after_all_were_replaced() -> Result<()> {
    let mut instance = Instance::start_with(Rekor::Both).await?;
    let mut all: Vec<Signed> = vec![sign(&instance, "first").await?];
    for (name, arguments) in [
        ("under-the-root", &["ca"][..]),
        ("stamped-by-another", &["tsa"]),
        ("under-another-root", &["ca", "--new-root"]),
        ("stamped-under-another-root", &["tsa", "--new-root"]),
    ] {
        replace(&mut instance, arguments).await.context(name)?;
        all.push(sign(&instance, name).await.context(name)?);
    }
    for signed in &all {
        all_verify(&instance, signed, Time::Authority)?;
    }
    ensure!(ends(&instance, "certificateAuthorities")? == [false, true, true]);
    ensure!(ends(&instance, "timestampAuthorities")? == [false, true, true]);
    let checked = instance.server.run("check-config")?.success()?.said();
    for key in ["ca-root.key", "ca-root-3.key", "tsa-root.key", "tsa-root-3.key", "tuf-root.key"] {
        ensure!(checked.contains(&format!("keys/{key} is on this machine")), "{key}: {checked}");
    }
    // The folder is whole: it survives a backup, and the server's own checks.
    instance.server.stop().await?;
    instance.server.run("fsck")?.success()?;
    let copy = instance.scratch().join("backup");
    changed(&instance, &["backup"], &[&copy.display().to_string()])?.success()?;
    Ok(())
}

#[tokio::test]
async fn a_prepared_chain_is_published_before_it_is_used() -> Result<()> {
    let mut instance = Instance::start_with(Rekor::Both).await?;
    replace(&mut instance, &["ca", "--prepare"]).await?;
    ensure!(ends(&instance, "certificateAuthorities")? == [false, false]);
    let before = sign(&instance, "before").await?;
    // What clients pinned then is enough for what comes.
    let pinned = trusted_root(&instance)?;
    replace(&mut instance, &["ca"]).await?;
    let after = sign(&instance, "after").await?;
    ensure!(ends(&instance, "certificateAuthorities")? == [false, true]);
    let chains = |root: &Value| -> Vec<Value> {
        root["certificateAuthorities"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|ca| ca["certChain"].clone())
            .collect()
    };
    let (known, now) = (chains(&pinned), chains(&trusted_root(&instance)?));
    ensure!(now.iter().all(|chain| known.contains(chain)), "a chain that nobody was told of");
    ensure!(now[0] == known[1] && now[1] == known[0], "the prepared chain is not in service");
    for signed in [&before, &after] {
        all_verify(&instance, signed, Time::Authority)?;
    }
    Ok(())
}

#[tokio::test]
async fn a_root_elsewhere_signs_a_request() -> Result<()> {
    let mut instance = Instance::start_with(Rekor::Both).await?;
    let old = sign(&instance, "old").await?;
    let elsewhere = instance.scratch().join("elsewhere");
    std::fs::create_dir(&elsewhere)?;
    for role in ["ca", "tsa"] {
        let keys = instance.server.folder().join("keys");
        std::fs::rename(keys.join(format!("{role}-root.key")), elsewhere.join(format!("{role}-root.key")))?;
        std::fs::copy(
            instance.server.trust(&format!("{role}-chain.pem")),
            elsewhere.join(format!("{role}.pem")),
        )?;
        let at = |name: &str| elsewhere.join(name).display().to_string();
        let (request, chain) = (at(&format!("{role}.csr")), at(&format!("{role}-new.pem")));
        // The server goes on meanwhile.
        changed(&instance, &["replace-chain"], &[role, "--csr", &request])?.success()?;
        let mut sign = Server::command(&["sign-csr", role, &request])?;
        sign.args(["--root-key", &at(&format!("{role}-root.key")), "--chain", &at(&format!("{role}.pem"))]);
        program::run(sign.args(["--output", &chain]))?.success()?;
        instance.server.stop().await?;
        changed(&instance, &["replace-chain"], &[role])?.failure(&["--root-key", "--csr", "--new-root"])?;
        instance.server.start().await?;
        replace(&mut instance, &[role, "--chain", &chain]).await?;
    }
    let new = sign(&instance, "new").await?;
    for signed in [&old, &new] {
        all_verify(&instance, signed, Time::Authority)?;
    }
    Ok(())
}

#[tokio::test]
async fn trust_is_taken_back_with_a_reason_and_never_by_forgetting() -> Result<()> {
    let mut instance = Instance::start_with(Rekor::Both).await?;
    let old = sign(&instance, "old").await?;
    replace(&mut instance, &["ca"]).await?;
    instance.server.stop().await?;
    // Somebody tidies up.
    let path = instance.server.folder().join("chancery.toml");
    let (whole, trusted) = (std::fs::read_to_string(&path)?, trusted_root(&instance)?);
    let at = whole.find("[[ca.past]]").context("a chain of the past")?;
    let end = whole[at + 1..].find("\n[").map_or(whole.len(), |end| at + 1 + end);
    std::fs::write(&path, [&whole[..at], &whole[end..]].concat())?;
    instance.server.run("check-config")?.failure(&["was published", "withdrawn"])?;
    let output = instance.scratch().join("out").display().to_string();
    for arguments in [&["--output", &*output][..], &["--for", "cosign3", "--output", &output]] {
        changed(&instance, &["export-trust"], arguments)?.failure(&["trusted no more", "--untrusted"])?;
    }
    let written = ["--output", &output, "--untrusted", "the key was stolen"];
    changed(&instance, &["export-trust"], &written)?.success()?;
    std::fs::copy(Path::new(&output).join("trusted_root.json"), instance.server.trust("trusted_root.json"))?;
    changed(&instance, &["tuf", "sign"], &[])?.failure(&["trusted no more", "--untrusted"])?;

    // And does it as it is meant.
    std::fs::write(
        &path,
        whole.replacen("[[ca.past]]", "[[ca.past]]\nwithdrawn = \"the key was stolen\"", 1),
    )?;
    instance.server.run("check-config")?.success()?;
    let folder = instance.server.folder().join("trust").display().to_string();
    changed(&instance, &["export-trust"], &["--output", &folder])?.success()?;
    changed(&instance, &["tuf", "sign"], &[])?.failure(&["--untrusted"])?;
    changed(&instance, &["tuf", "sign"], &["--untrusted", "the key was stolen"])?.success()?;
    ensure!(trusted_root(&instance)? != trusted, "nothing was withdrawn");
    instance.server.start().await?;
    for (client, outcome) in verdicts(&instance, &old, Time::Authority)? {
        outcome.failure(&[]).with_context(|| format!("{client} believes a chain that is trusted no more"))?;
    }
    let new = sign(&instance, "new").await?;
    all_verify(&instance, &new, Time::Authority)
}

/// `chancery-server SUBCOMMAND` so many years later.
fn later(years: u64, subcommand: &[&str]) -> Result<Command> {
    let mut command = Server::command(subcommand)?;
    command.env("LD_PRELOAD", peers::libfaketime()?).env("FAKETIME", format!("+{}d", years * 366));
    command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    Ok(command)
}

async fn get(instance: &Instance, path: &str) -> Result<(u16, String)> {
    let answer = http()?.get(format!("{}{path}", instance.server.url())).send().await?;
    Ok((answer.status().as_u16(), answer.text().await?))
}

#[tokio::test]
async fn a_chain_that_ends_takes_its_own_role_out_of_service_and_nothing_else() -> Result<()> {
    let mut instance = Instance::stopped().await?;
    instance.server.start_by(later(4, &["run"])?).await?;
    let (status, ready) = get(&instance, "/readyz").await?;
    ensure!(status == 200 && ready.contains("\"degraded\":[\"certificate authority\"]"), "{status} {ready}");
    ensure!(get(&instance, "/checkpoint").await?.0 == 200, "the log is down");
    ensure!(instance.server.output().await?.contains("out of service since"), "nobody was told");
    instance.server.stop().await?;
    let checked = program::run(later(4, &["check-config"])?.arg(instance.server.folder()))?.success()?;
    ensure!(checked.said().contains("out of service since"), "{}", checked.said());

    // Three months before the end of the first one, and not yet a year before.
    for (days, told) in [(1096 - 80, true), (1096 - 120, false)] {
        let mut early = Server::command(&["check-config"])?;
        early.env("LD_PRELOAD", peers::libfaketime()?).env("FAKETIME", format!("+{days}d"));
        let checked = program::run(early.arg(instance.server.folder()))?.success()?;
        let said = checked.said().contains("the certificates of the certificate authority end on");
        ensure!(said == told, "{days} days: {}", checked.said());
    }

    // The way out, with the root at hand.
    let folder: PathBuf = instance.server.folder().to_owned();
    program::run(later(4, &["replace-chain"])?.arg(&folder).arg("ca"))?.success()?;
    program::run(later(4, &["tuf", "sign"])?.arg(&folder))?.success()?;
    instance.server.start_by(later(4, &["run"])?).await?;
    let (status, ready) = get(&instance, "/readyz").await?;
    ensure!(status == 200 && !ready.contains("degraded"), "{status} {ready}");
    Ok(())
}
