//! One instance on two hosts: the certificate authority and the timestamp authority on one, the attestation logs on the other,
//! as `deploy/docs/hosts.md` says it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use chancery_tests::{Chancery, Cosign, Instance, Policy, Rekor, Server, issuers_yaml, program};
use serde_json::Value;

/// The host with the CA, as the instance's server, and the one with the logs. Neither runs.
async fn hosts() -> Result<(Instance, Server)> {
    let instance =
        Instance::stopped_as(Rekor::Both, &["--roles", "ca,tsa,tuf", "--entries", "token"]).await?;
    let chain = instance.server.trust("ca-chain.pem").display().to_string();
    let arguments = ["--roles", "log", "--ca-chain", &chain, "--entries", "token"];
    let log = Server::made_by_init(instance.scratch(), "log", "http", &arguments)?;
    Ok((instance, log))
}

fn server(arguments: &[&str]) -> Result<chancery_tests::Outcome> {
    program::run(&mut Server::command(arguments)?)
}

fn path(path: &Path) -> String {
    path.display().to_string()
}

/// Publishes the logs on the host of the CA too, and tells TUF clients.
fn merge(instance: &Instance, log: &Server) -> Result<()> {
    let (folder, file) = (path(instance.server.folder()), path(&log.trust("client_trust_config.json")));
    server(&["merge-trust", &folder, &file, "--name", "log"])?.success()?;
    server(&["check-config", &folder])?.success()?;
    server(&["tuf", "sign", &folder])?.success()?;
    Ok(())
}

fn json(file: &Path) -> Result<Value> {
    Ok(serde_json::from_slice(&std::fs::read(file)?)?)
}

#[tokio::test]
async fn roles_on_two_hosts_are_one_instance_to_clients() -> Result<()> {
    let (mut instance, mut log) = hosts().await?;
    for (folder, there, missing) in [
        (instance.server.folder(), ["keys/ca.key", "keys/tsa.key", "keys/tuf.key"], "keys/rekor-v1.key"),
        (log.folder(), ["keys/rekor-v1.key", "keys/rekor-v2.checkpoint.key", "ca-roots.pem"], "keys/ca.key"),
    ] {
        ensure!(there.iter().all(|file| folder.join(file).exists()), "{}", folder.display());
        ensure!(!folder.join(missing).exists(), "{missing} has nothing to do in {}", folder.display());
    }
    log.start().await?;
    instance.server.start().await?;
    let file = path(&instance.file("rocket.tar", "a rocket")?);
    let refusing = Chancery::trusting(&instance)?;
    let token = instance.issuer.token().await?;
    let sign = ["sign", &file, "--identity-token", token.as_str()];
    refusing.run(&sign)?.refused(2, &["no attestation log", "--merge"])?;

    instance.server.stop().await?;
    merge(&instance, &log)?;
    instance.server.start().await?;
    let chancery = Chancery::new(&instance, "follows")?;
    chancery.run(&["trust", "add", instance.server.url()])?.success()?;
    let policy = Policy::of(&token);
    let policy = policy.each_ref().map(String::as_str);
    let cosign = Cosign::v3(&instance)?;
    for (verb, check) in [("sign", "verify-blob"), ("attest", "verify-blob-attestation")] {
        let file = path(&instance.file(verb, "a rocket")?);
        let said = chancery.run_in_job(&instance, &[verb, &file])?.success()?.said();
        for words in
            [format!("timestamp by {}", instance.server.url()), format!(" of {}/ (Rekor v2)", log.url())]
        {
            ensure!(said.contains(&words), "`{words}`: {said}");
        }
        let bundle = format!("{file}.sigstore.json");
        chancery.run(&[&["verify"], &policy[..], &[&file]].concat())?.success()?;
        let kind = if verb == "attest" { &["--type", "slsaprovenance1"][..] } else { &[] };
        cosign.verify(check, &token, &[kind, &["--bundle", &bundle, &file]].concat())?.success()?;
    }
    let bundle = path(&instance.scratch().join("by-cosign.json"));
    cosign.sign("sign-blob", &token, &["--bundle", &bundle, &file])?.success()?;
    cosign.verify("verify-blob", &token, &["--bundle", &bundle, &file])?.success()?;
    chancery.run(&[&["verify", "--bundle", &bundle], &policy[..], &[&file]].concat())?.success()?;
    Ok(())
}

/// Clients that are given addresses find each role where it is.
#[tokio::test]
async fn recipes_name_the_host_of_each_role() -> Result<()> {
    let (instance, log) = hosts().await?;
    merge(&instance, &log)?;
    let (ca, log) = (instance.server.url(), log.url());
    for (client, words) in [
        ("cosign2", vec![format!("--fulcio-url {ca} --rekor-url {log}")]),
        (
            "gitsign",
            vec![format!("gitsign.fulcio {ca}\n"), format!("gitsign.rekor {log}\n"), format!("{ca}/tuf")],
        ),
        ("sigstore-js", vec![format!("--fulcio-url {ca} --rekor-url {log} --tsa-server-url {ca}")]),
        ("rekor-monitor", vec![format!("--url {log} --tuf-repository {ca}/tuf")]),
        ("kyverno", vec![format!("url: {log}\n")]),
        ("policy-controller", vec![format!("url: {ca}\n"), format!("url: {log}\n")]),
        ("sigstore-go", vec![" -rekor -tsa ".to_owned()]),
    ] {
        let output = path(&instance.scratch().join(client));
        let export = ["export-trust", &path(instance.server.folder()), "--for", client, "--output", &output];
        let text = server(&export)?.success()?.stdout;
        for words in words {
            ensure!(text.contains(&words), "{client}: `{words}`: {text}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn files_of_several_hosts_are_put_together_once_and_conflicts_are_refused() -> Result<()> {
    let (instance, log) = hosts().await?;
    let (folder, output) = (path(instance.server.folder()), instance.scratch().join("merged"));
    let export = |files: &[&str]| {
        let to = path(&output);
        server(&[&["export-trust", &folder, "--output", &to, "--merge"], files].concat())
    };
    // A folder does as well as the file in it.
    let (file, whole) = (path(&log.trust("client_trust_config.json")), path(&log.folder().join("trust")));
    for files in [&[file.as_str()][..], &[&whole], &[&file, &whole]] {
        export(files)?.success()?;
        let root = json(&output.join("trusted_root.json"))?;
        let count = |list: &str| root[list].as_array().map_or(0, Vec::len);
        let lists = ["certificateAuthorities", "ctlogs", "timestampAuthorities", "tlogs"];
        ensure!(lists.map(count) == [1, 1, 1, 2], "{root}");
        let signing = json(&output.join("signing_config.json"))?;
        let urls = |list: &str| signing[list].as_array().map_or(0, Vec::len);
        ensure!(["caUrls", "tsaUrls", "rekorTlogUrls"].map(urls) == [1, 1, 2], "{signing}");
        for key in ["rekor.pub", "rekor-v2.pub"] {
            ensure!(std::fs::read(output.join(key))? == std::fs::read(log.trust(key))?, "{key}");
        }
    }
    ensure!(!instance.server.trust("rekor.pub").exists(), "the instance itself is as it was");

    let issuers = issuers_yaml(&[instance.issuer.url()]);
    let stranger = Server::init(instance.scratch(), "stranger", &issuers, Rekor::Both)?;
    let strange = path(&stranger.trust("client_trust_config.json"));
    let words = ["a certificate authority is in service twice", stranger.url(), instance.server.url()];
    export(&[&strange])?.failure(&words)?;
    let mut changed = json(&log.trust("client_trust_config.json"))?;
    changed["trustedRoot"]["tlogs"][0]["publicKey"]["validFor"]["start"] = "2020-01-01T00:00:00Z".into();
    let changed = path(&instance.file("changed.json", changed.to_string())?);
    export(&[&file, &changed])?.failure(&["the attestation log", "another way"])?;
    export(&[&path(&instance.server.trust("trusted_root.json"))])?.failure(&["not a client trust config"])?;
    export(&[&path(&PathBuf::from("/nonexistent.json"))])?.failure(&["cannot read /nonexistent.json"])?;

    // What is refused leaves the instance as it is, and a newer file takes the place of the older one.
    let config = std::fs::read_to_string(instance.server.folder().join("chancery.toml"))?;
    server(&["merge-trust", &folder, &strange, "--name", "other"])?.failure(&words)?;
    ensure!(std::fs::read_to_string(instance.server.folder().join("chancery.toml"))? == config, "changed");
    for _ in 0..2 {
        server(&["merge-trust", &folder, &file, "--name", "log"])?.success()?;
    }
    let chains = std::fs::read_dir(instance.server.folder().join("chains"))?.count();
    ensure!(chains == 1, "{chains} files");
    // A host that stops naming its logs would take every signature with it.
    let mut less = json(&log.trust("client_trust_config.json"))?;
    less["trustedRoot"]["tlogs"].as_array_mut().context("logs")?.remove(0);
    let less = path(&instance.file("less.json", less.to_string())?);
    server(&["merge-trust", &folder, &less, "--name", "log"])?.failure(&["trusted no more"])?;
    server(&["check-config", &folder])?.success()?;
    Ok(())
}
