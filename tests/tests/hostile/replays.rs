//! Public entries that are sent again by others: none of them uses up the rate of whoever signed them.

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chancery_tests::rekor::Submitter;
use chancery_tests::{Chancery, Instance, Rekor, Server, http, program};
use chancery_tlog::clock::{Clock as _, SystemClock, Timestamp};
use chancery_tlog::key::{KeyKind, Signer as _, SoftwareSigner};
use serde_json::{Value, json};
use std::time::Duration;

/// Posts an entry; the status of the answer.
async fn post(instance: &Instance, path: &str, entry: &Value) -> Result<u16> {
    let url = format!("{}{path}", instance.server.url());
    Ok(http()?.post(url).json(entry).send().await?.status().as_u16())
}

/// An instance that takes five entries of an identity at once.
async fn limited() -> Result<Instance> {
    let mut instance = Instance::stopped_with(Rekor::Both).await?;
    instance.server.configure(&[
        ("# [limits.rates]", "[limits.rates]"),
        (
            "# writes_per_identity = { per_minute = 600, burst = 300 }",
            "writes_per_identity = { per_minute = 1, burst = 5 }",
        ),
    ])?;
    instance.server.start().await?;
    Ok(instance)
}

const V1: &str = "/api/v1/log/entries";
const V2: &str = "/api/v2/log/entries";

#[tokio::test]
async fn sending_an_entry_again_costs_its_signer_nothing() -> Result<()> {
    let instance = limited().await?;
    for (path, v2) in [(V1, false), (V2, true)] {
        let victim = Submitter::new()?;
        let make = if v2 { Submitter::hashedrekord_v2 } else { Submitter::hashedrekord };
        let entry = |artifact: &str| make(&victim, artifact.as_bytes());
        let public = entry("rocket")?;
        ensure!(post(&instance, path, &public).await? == 201, "{path}");
        for _ in 0..8 {
            let status = post(&instance, path, &public).await?;
            ensure!(status == 409, "{path}: {status}");
        }
        for n in 2..6 {
            let status = post(&instance, path, &entry(&format!("rocket {n}"))?).await?;
            ensure!(status == 201, "{path}: artifact {n} of the victim is answered {status}");
        }
        let status = post(&instance, path, &entry("rocket 6")?).await?;
        ensure!(status == 429, "{path}: the sixth new entry is answered {status}");
    }
    Ok(())
}

/// An envelope over `payload`, signed.
fn envelope(signer: &SoftwareSigner, payload: &str) -> Result<Value> {
    let kind = "application/vnd.example";
    let message = format!("DSSEv1 {} {kind} {} {payload}", kind.len(), payload.len());
    let signature = STANDARD.encode(signer.sign(message.as_bytes())?);
    Ok(
        json!({ "payloadType": kind, "payload": STANDARD.encode(payload), "signatures": [{ "sig": signature }] }),
    )
}

#[tokio::test]
async fn an_entry_in_other_spellings_costs_its_signer_nothing_and_is_limited() -> Result<()> {
    let instance = limited().await?;
    let victim = SoftwareSigner::generate(KeyKind::EcdsaP256)?;
    let pem = STANDARD.encode(victim.public_key().to_pem());
    let entry = |text: String| {
        json!({
            "apiVersion": "0.0.1",
            "kind": "dsse",
            "spec": { "proposedContent": { "envelope": text, "verifiers": [pem.clone()] } },
        })
    };
    let public = envelope(&victim, "rocket")?.to_string();
    ensure!(post(&instance, V1, &entry(public.clone())).await? == 201);
    let mut replayed = Vec::new();
    for spaces in 1..9 {
        replayed.push(post(&instance, V1, &entry(format!("{public}{}", " ".repeat(spaces)))).await?);
    }
    ensure!(replayed == [201, 201, 201, 201, 201, 429, 429, 429], "{replayed:?}");
    for n in 2..6 {
        let status =
            post(&instance, V1, &entry(envelope(&victim, &format!("rocket {n}"))?.to_string())).await?;
        ensure!(status == 201, "artifact {n} of the victim is answered {status}");
    }
    Ok(())
}

/// The time that lies this far back.
fn before(duration: Duration) -> Timestamp {
    SystemClock.now().minus(duration)
}

#[tokio::test]
async fn certificates_of_a_chain_whose_end_has_come_are_not_admitted() -> Result<()> {
    let mut instance = Instance::start_with(Rekor::V1).await?;
    let chancery = Chancery::trusting(&instance)?;
    let file = instance.file("rocket.tar", "a rocket")?.display().to_string();
    chancery.run_in_job(&instance, &["sign", &file])?.success()?;
    let bundle: Value = serde_json::from_slice(&std::fs::read(format!("{file}.sigstore.json"))?)?;
    let body = bundle["verificationMaterial"]["tlogEntries"][0]["canonicalizedBody"].as_str();
    let entry: Value = serde_json::from_slice(&STANDARD.decode(body.context("an entry")?)?)?;
    ensure!(post(&instance, V1, &entry).await? == 409, "the entry is there");

    instance.server.stop().await?;
    let config = instance.server.folder().join("chancery.toml");
    let text = std::fs::read_to_string(&config)?;
    let since = text.lines().find(|line| line.starts_with("since = ")).context("`since` of the CA")?;
    let since_before = format!("since = \"{}\"", before(Duration::from_hours(1)).to_rfc3339());
    std::fs::write(
        &config,
        text.replacen(since, &since_before, 1).replace("signers = \"any\"", "signers = \"own-ca\""),
    )?;
    let until = before(Duration::from_mins(2)).to_rfc3339();
    let folder = instance.server.folder().display().to_string();
    let mut replace = Server::command(&["replace-chain", &folder, "ca", "--until", &until])?;
    program::run(&mut replace)?.success()?;
    instance.server.start().await?;
    let status = post(&instance, V1, &entry).await?;
    ensure!(status == 403, "a certificate of the chain that ended is answered {status}");
    Ok(())
}
