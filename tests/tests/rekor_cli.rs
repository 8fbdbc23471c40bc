//! Unmodified rekor-cli against the Rekor v1 log.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chancery_tests::program;
use chancery_tests::{Instance, RekorCli};
use chancery_tlog::key::{KeyKind, Signer as _, SoftwareSigner};
use chancery_tlog::merkle::Hash;
use serde_json::Value;

/// A signed artifact, as files.
struct Signed {
    artifact: String,
    hash: String,
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
        let hash = Hash::digest(content.as_bytes()).to_hex();
        Ok(Self { artifact, hash, signature, key })
    }

    fn flags(&self) -> Vec<&str> {
        let pki = ["--type", "hashedrekord:0.0.1", "--pki-format", "x509", "--public-key", &self.key];
        [&pki[..], &["--artifact-hash", &self.hash, "--signature", &self.signature]].concat()
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
async fn envelopes_are_taken_as_dsse_and_as_intoto() -> Result<()> {
    let instance = Instance::start().await?;
    let cli = RekorCli::new(&instance)?;
    let statement =
        br#"{"_type":"https://in-toto.io/Statement/v1","subject":[],"predicateType":"a","predicate":{}}"#;
    let kind = "application/vnd.in-toto+json";
    let signer = SoftwareSigner::generate(KeyKind::EcdsaP256)?;
    let signed =
        [format!("DSSEv1 {} {kind} {} ", kind.len(), statement.len()).as_bytes(), statement].concat();
    let envelope = serde_json::json!({
        "payloadType": kind,
        "payload": STANDARD.encode(statement),
        "signatures": [{ "sig": STANDARD.encode(signer.sign(&signed)?) }],
    });
    let envelope = instance.file("envelope.json", envelope.to_string())?.display().to_string();
    let key = instance.file("key.pub", signer.public_key().to_pem())?.display().to_string();
    for kind in ["dsse:0.0.1", "intoto:0.0.2", "intoto:0.0.1"] {
        let flags = ["--type", kind, "--artifact", &envelope, "--public-key", &key, "--pki-format", "x509"];
        let id = id(&json(cli.run("upload", &flags)?)?)?;
        let verified = json(cli.run("verify", &flags)?)?;
        ensure!(verified["EntryUUID"] == id, "{verified}");
    }
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
    cli.run("verify", &signed.flags())?.failure(&["cannot be located"])?;
    cli.run("get", &["--log-index", "1000"])?.failure(&["404"])?;
    Ok(())
}

#[tokio::test]
async fn a_wrong_signature_is_refused() -> Result<()> {
    let instance = Instance::start().await?;
    let cli = RekorCli::new(&instance)?;
    let signed = Signed::new(instance.scratch(), "a rocket")?;
    let other = Signed { hash: Hash::digest(b"another rocket").to_hex(), ..signed };
    cli.run("upload", &other.flags())?.failure(&["invalid signature"])?;
    Ok(())
}

#[tokio::test]
async fn search_finds_entries_by_hash_artifact_and_key() -> Result<()> {
    let instance = Instance::start().await?;
    let cli = RekorCli::new(&instance)?;
    let signed = Signed::new(instance.scratch(), "a rocket")?;
    let id = id(&json(cli.run("upload", &signed.flags())?)?)?;
    for query in [
        &["--sha", &signed.hash][..],
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
