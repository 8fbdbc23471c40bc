//! `chancery` as its users meet it: exit codes, the pinned instance, and the guard that keeps names in the house.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use anyhow::{Context as _, Result, ensure};
use chancery_tests::{Chancery, Instance, Policy, Rekor};
use serde_json::Value;

#[tokio::test]
async fn exit_codes_tell_verified_from_refused_from_could_not_run() -> Result<()> {
    let instance = Instance::start().await?;
    let chancery = Chancery::trusting(&instance)?;
    let token = instance.issuer.token().await?;
    let policy = Policy::of(&token);
    let policy = policy.each_ref().map(String::as_str);
    let file = instance.file("rocket.tar", "a rocket")?.display().to_string();
    chancery.run_in_job(&instance, &["attest", &file])?.success()?;
    let bundle = format!("{file}.sigstore.json");
    let verify = |rest: &[&str]| chancery.run(&[&["verify"], &policy[..], rest].concat());
    verify(&["--bundle", &bundle, &file])?.success()?;
    let other = instance.file("other.tar", "another rocket")?.display().to_string();
    verify(&["--bundle", &bundle, &other])?.refused(1, &[])?;
    verify(&["--bundle", "/nonexistent.json", &file])?.refused(2, &["/nonexistent.json"])?;
    verify(&["--bundle", &bundle, "/nonexistent.tar"])?.refused(2, &["/nonexistent.tar"])?;
    chancery.run(&["verify", "--bundle", &bundle, &file])?.refused(2, &["--certificate-identity"])?;
    chancery.run(&["verify", "--no-such-flag"])?.refused(2, &["--no-such-flag"])?;
    Chancery::new(&instance, "knows-no-instance")?
        .run(&[&["verify"], &policy[..], &["--bundle", &bundle, &file]].concat())?
        .refused(2, &["chancery trust add"])?;
    Ok(())
}

#[tokio::test]
async fn json_output_names_each_thing_proven() -> Result<()> {
    let instance = Instance::start().await?;
    let chancery = Chancery::trusting(&instance)?;
    let policy = Policy::of(&instance.issuer.token().await?);
    let policy = policy.each_ref().map(String::as_str);
    let file = instance.file("rocket.tar", "a rocket")?.display().to_string();
    chancery.run_in_job(&instance, &["attest", &file])?.success()?;
    let bundle = format!("{file}.sigstore.json");
    let arguments = [&["verify", "--output", "json", "--bundle", &bundle], &policy[..], &[&file]].concat();
    let outcome = chancery.run(&arguments)?.success()?;
    let report: Value = serde_json::from_str(&outcome.stdout).with_context(|| outcome.said())?;
    ensure!(report.is_object(), "{report}");
    ensure!(report.to_string().contains("acme/rocket"), "the report names no identity: {report}");
    Ok(())
}

#[tokio::test]
async fn signatures_go_where_the_signing_config_says_and_verify() -> Result<()> {
    for (rekor, dialect, version) in [
        (Rekor::V1, "Rekor v1", "0.0.1"),
        (Rekor::V2, "Rekor v2", "0.0.2"),
        (Rekor::Both, "Rekor v2", "0.0.2"),
    ] {
        let instance = Instance::start_with(rekor).await?;
        let chancery = Chancery::trusting(&instance)?;
        let policy = Policy::of(&instance.issuer.token().await?);
        let policy = policy.each_ref().map(String::as_str);
        let shown = chancery.run(&["trust", "show"])?.success()?.stdout;
        let destination = shown.lines().find(|line| line.starts_with("signatures go to")).unwrap_or_default();
        ensure!(destination.contains(dialect) && destination.contains("(timestamp)"), "{shown}");
        for verb in ["sign", "attest"] {
            let file = instance.file(verb, "a rocket")?.display().to_string();
            let said = chancery.run_in_job(&instance, &[verb, &file])?.success()?.said();
            ensure!(said.contains("timestamp by") && said.contains(&format!("({dialect})")), "{said}");
            let bundle = format!("{file}.sigstore.json");
            let json: Value = serde_json::from_slice(&std::fs::read(&bundle)?)?;
            let material = &json["verificationMaterial"];
            ensure!(material["tlogEntries"][0]["kindVersion"]["version"] == version, "{material}");
            let stamps = &material["timestampVerificationData"]["rfc3161Timestamps"];
            ensure!(stamps.as_array().is_some_and(|stamps| stamps.len() == 1), "{material}");
            let arguments = [&["verify", "--bundle", &bundle], &policy[..], &[&file]].concat();
            let verified = chancery.run(&arguments)?.success()?.stdout;
            ensure!(verified.contains("proven        timestamp"), "{verified}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn one_statement_covers_several_files() -> Result<()> {
    let instance = Instance::start().await?;
    let chancery = Chancery::trusting(&instance)?;
    let policy = Policy::of(&instance.issuer.token().await?);
    let policy = policy.each_ref().map(String::as_str);
    let files =
        ["a.tar", "b.tar"].map(|name| instance.file(name, name).map(|path| path.display().to_string()));
    let [a, b] = files;
    let (a, b) = (a?, b?);
    chancery.run_in_job(&instance, &["attest", &a, &b])?.success()?;
    for file in [&a, &b] {
        let bundle = format!("{file}.sigstore.json");
        chancery.run(&[&["verify", "--bundle", &bundle], &policy[..], &[file]].concat())?.success()?;
    }
    Ok(())
}

#[tokio::test]
async fn an_identity_token_file_serves_outside_of_a_job() -> Result<()> {
    let instance = Instance::start().await?;
    let chancery = Chancery::trusting(&instance)?;
    let token = instance.issuer.token().await?;
    let policy = Policy::of(&token);
    let policy = policy.each_ref().map(String::as_str);
    let token = instance.file("token", token.as_str())?.display().to_string();
    let file = instance.file("rocket.tar", "a rocket")?.display().to_string();
    chancery.run(&["sign", "--identity-token-file", &token, &file])?.success()?;
    let bundle = format!("{file}.sigstore.json");
    chancery.run(&[&["verify", "--bundle", &bundle], &policy[..], &[&file]].concat())?.success()?;
    let bare = instance.file("bare.tar", "no token")?.display().to_string();
    chancery.run(&["sign", &bare])?.refused(2, &["--identity-token"])?;
    Ok(())
}

#[tokio::test]
async fn an_instance_is_pinned_by_its_digest_and_shown() -> Result<()> {
    let instance = Instance::start().await?;
    let chancery = Chancery::new(&instance, "pinning")?;
    chancery.run(&["trust", "show"])?.failure(&["trust add"])?;
    let url = instance.server.url();
    chancery.run(&["trust", "add", url, "--sha256", &"0".repeat(64)])?.failure(&["sha256"])?;
    chancery.run(&["trust", "show"])?.failure(&[])?;
    let file = std::fs::read(instance.server.trust("client_trust_config.json"))?;
    let digest = chancery_tlog::merkle::Hash::digest(&file).to_hex();
    chancery.run(&["trust", "add", url, "--sha256", &digest])?.success()?;
    let shown = chancery.run(&["trust", "show"])?.success()?;
    ensure!(shown.said().contains(url), "{}", shown.said());
    Ok(())
}

#[tokio::test]
async fn the_hosts_that_a_run_contacts_are_listed() -> Result<()> {
    let instance = Instance::start().await?;
    let chancery = Chancery::trusting(&instance)?;
    let file = instance.file("rocket.tar", "a rocket")?.display().to_string();
    let outcome = chancery.run_in_job(&instance, &["attest", &file])?.success()?;
    for url in [instance.server.url(), instance.issuer.url()] {
        let host = url.trim_start_matches("http://");
        ensure!(outcome.said().contains(host), "{host} is not listed: {}", outcome.said());
    }
    Ok(())
}

#[tokio::test]
async fn public_instances_are_refused_before_a_token_is_asked_for() -> Result<()> {
    let instance = Instance::start().await?;
    let chancery = Chancery::new(&instance, "guarded")?;
    chancery.run(&["trust", "add", "https://fulcio.sigstore.dev"])?.failure(&["sigstore.dev"])?;
    chancery.run(&["trust", "add", "https://fulcio.githubapp.com"])?.failure(&["githubapp.com"])?;
    // A private host may hand out a file that leads outside.
    let config = std::fs::read_to_string(instance.server.trust("client_trust_config.json"))?;
    let mut config: Value = serde_json::from_str(&config)?;
    for log in config["signingConfig"]["rekorTlogUrls"].as_array_mut().context("logs")? {
        log["url"] = "https://rekor.sigstore.dev".into();
    }
    let trap = serve(config.to_string())?;
    chancery.run(&["trust", "add", &trap])?.failure(&["rekor.sigstore.dev"])?;
    Ok(())
}

/// Answers every request with `body`, for as long as the test lives; its URL.
fn serve(body: String) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}", listener.local_addr()?);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 4096];
            let length = stream.read(&mut request).unwrap_or_default();
            // It has no TUF repository.
            let status = if request[..length].starts_with(b"GET /tuf/") { "404 Not Found" } else { "200 OK" };
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}",
                body.len()
            );
            let _ = stream.write_all(format!("{head}\r\nConnection: close\r\n\r\n{body}").as_bytes());
        }
    });
    Ok(url)
}
