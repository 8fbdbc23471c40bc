//! Unmodified rekor-cli against the Rekor v1 log.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use chancery_tests::program;
use chancery_tests::{Instance, RekorCli};
use serde_json::Value;

/// A signed artifact, as files.
struct Signed {
    artifact: String,
    signature: String,
    key: String,
}

impl Signed {
    /// Signs with a fresh P-256 key of openssl's.
    fn new(folder: &Path, content: &str) -> Result<Self> {
        let file = |name: &str| folder.join(name).display().to_string();
        let (artifact, signature, private, key) =
            (file("artifact"), file("sig"), file("key"), file("key.pub"));
        std::fs::write(&artifact, content)?;
        openssl(&["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", &private])?;
        openssl(&["ec", "-in", &private, "-pubout", "-out", &key])?;
        openssl(&["dgst", "-sha256", "-sign", &private, "-out", &signature, &artifact])?;
        Ok(Self { artifact, signature, key })
    }

    fn flags(&self) -> Vec<&str> {
        let pki = ["--type", "hashedrekord:0.0.1", "--pki-format", "x509", "--public-key", &self.key];
        [&pki[..], &["--artifact", &self.artifact, "--signature", &self.signature]].concat()
    }
}

fn openssl(arguments: &[&str]) -> Result<()> {
    program::run(Command::new("openssl").args(arguments))?.success()?;
    Ok(())
}

/// The JSON that rekor-cli printed.
fn json(outcome: program::Outcome) -> Result<Value> {
    let outcome = outcome.success()?;
    serde_json::from_str(outcome.stdout.trim()).with_context(|| outcome.said())
}

/// The id of the entry at the end of a `Location`.
fn id(uploaded: &Value) -> Result<String> {
    let location = uploaded["Location"].as_str().with_context(|| uploaded.to_string())?;
    Ok(location.rsplit('/').next().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn upload_get_and_verify() -> Result<()> {
    let instance = Instance::start().await?;
    let cli = RekorCli::new(&instance)?;
    let signed = Signed::new(instance.scratch(), "a rocket")?;
    let uploaded = json(cli.run("upload", &signed.flags())?)?;
    ensure!(uploaded["AlreadyExists"] == false, "{uploaded}");
    let id = id(&uploaded)?;
    let entry = json(cli.run("get", &["--uuid", &id])?)?;
    ensure!(entry["UUID"] == id, "{entry}");
    ensure!(entry["Body"]["HashedRekordObj"].is_object(), "{entry}");
    let by_index = json(cli.run("get", &["--log-index", &entry["LogIndex"].to_string()])?)?;
    ensure!(by_index["UUID"] == id, "{by_index}");
    cli.run("verify", &signed.flags())?.success()?;
    cli.run("verify", &[&["--uuid", &id], &signed.flags()[..]].concat())?.success()?;
    Ok(())
}

#[tokio::test]
async fn a_duplicate_is_answered_with_the_entry_that_exists() -> Result<()> {
    let instance = Instance::start().await?;
    let cli = RekorCli::new(&instance)?;
    let signed = Signed::new(instance.scratch(), "a rocket")?;
    let first = json(cli.run("upload", &signed.flags())?)?;
    let second = json(cli.run("upload", &signed.flags())?)?;
    ensure!(second["AlreadyExists"] == true, "{second}");
    ensure!(id(&first)? == id(&second)?, "{first} {second}");
    Ok(())
}

#[tokio::test]
async fn an_entry_that_was_never_uploaded_does_not_verify() -> Result<()> {
    let instance = Instance::start().await?;
    let cli = RekorCli::new(&instance)?;
    let signed = Signed::new(instance.scratch(), "a rocket")?;
    cli.run("verify", &signed.flags())?.failure(&["not found"])?;
    cli.run("get", &["--log-index", "1000"])?.failure(&["404"])?;
    Ok(())
}

#[tokio::test]
async fn a_wrong_signature_is_refused() -> Result<()> {
    let instance = Instance::start().await?;
    let cli = RekorCli::new(&instance)?;
    let signed = Signed::new(instance.scratch(), "a rocket")?;
    std::fs::write(&signed.artifact, "another rocket")?;
    cli.run("upload", &signed.flags())?.failure(&[])?;
    Ok(())
}

#[tokio::test]
async fn search_finds_entries_by_hash_artifact_and_key() -> Result<()> {
    let instance = Instance::start().await?;
    let cli = RekorCli::new(&instance)?;
    let signed = Signed::new(instance.scratch(), "a rocket")?;
    let id = id(&json(cli.run("upload", &signed.flags())?)?)?;
    let hash = chancery_tlog::merkle::Hash::digest(b"a rocket").to_hex();
    for query in [
        &["--sha", &hash][..],
        &["--artifact", &signed.artifact],
        &["--public-key", &signed.key, "--pki-format", "x509"],
    ] {
        let found = cli.run("search", query)?.success()?;
        ensure!(found.stdout.contains(&id), "{query:?} does not find {id}: {}", found.said());
    }
    Ok(())
}

#[tokio::test]
async fn loginfo_and_logproof_hold_while_the_log_grows() -> Result<()> {
    let instance = Instance::start().await?;
    let cli = RekorCli::new(&instance)?;
    // The first call remembers the tree; every later one demands a consistency proof from it.
    let before = json(cli.run("loginfo", &[""; 0])?)?;
    for content in ["one", "two", "three"] {
        let signed = Signed::new(instance.scratch(), content)?;
        cli.run("upload", &signed.flags())?.success()?;
        cli.run("loginfo", &[""; 0])?.success()?;
    }
    let after = json(cli.run("loginfo", &[""; 0])?)?;
    let size = |info: &Value| info["ActiveTreeSize"].as_u64().with_context(|| info.to_string());
    ensure!(size(&after)? == size(&before)? + 3, "{before} {after}");
    let last = size(&after)?.to_string();
    let proof = json(cli.run("logproof", &["--first-size", "1", "--last-size", &last])?)?;
    ensure!(
        proof["Hashes"].as_array().or(proof["hashes"].as_array()).is_some_and(|h| !h.is_empty()),
        "{proof}"
    );
    Ok(())
}
