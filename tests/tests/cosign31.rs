//! Unmodified cosign 3.1 signs and verifies by itself, keyless, from the instance's signing config and trusted root.

use anyhow::Result;
use chancery_tests::{Cosign, Instance, Registry};

#[tokio::test]
async fn sign_blob_and_verify_blob() -> Result<()> {
    let instance = Instance::start().await?;
    let (cosign, token) = (Cosign::v3(&instance)?, instance.issuer.token().await?);
    let file = instance.file("artifact", "an artifact")?.display().to_string();
    let bundle = instance.scratch().join("bundle.json").display().to_string();
    cosign.sign("sign-blob", &token, &["--bundle", &bundle, &file])?.success()?;
    cosign.verify("verify-blob", &token, &["--bundle", &bundle, &file])?.success()?;
    let other = instance.file("other", "another artifact")?.display().to_string();
    cosign.verify("verify-blob", &token, &["--bundle", &bundle, &other])?.failure(&[])?;
    Ok(())
}

#[tokio::test]
async fn attest_blob_and_verify_blob_attestation() -> Result<()> {
    let instance = Instance::start().await?;
    let (cosign, token) = (Cosign::v3(&instance)?, instance.issuer.token().await?);
    let file = instance.file("artifact", "an artifact")?.display().to_string();
    let predicate = instance.file("predicate.json", r#"{"tested": true}"#)?.display().to_string();
    let bundle = instance.scratch().join("bundle.json").display().to_string();
    let common = ["--bundle", &bundle, "--type", "https://example.com/tested"];
    let arguments = [&common[..], &["--predicate", &predicate, &file]].concat();
    cosign.sign("attest-blob", &token, &arguments)?.success()?;
    cosign.verify("verify-blob-attestation", &token, &[&common[..], &[&file]].concat())?.success()?;
    Ok(())
}

#[tokio::test]
async fn sign_and_verify_an_image_by_the_fallback_tag() -> Result<()> {
    let instance = Instance::start().await?;
    let registry = Registry::distribution(instance.scratch()).await?;
    sign_and_verify(&instance, &registry).await
}

#[tokio::test]
async fn sign_and_verify_an_image_by_the_referrers_api() -> Result<()> {
    let instance = Instance::start().await?;
    let registry = Registry::with_referrers(instance.scratch()).await?;
    sign_and_verify(&instance, &registry).await
}

async fn sign_and_verify(instance: &Instance, registry: &Registry) -> Result<()> {
    let (cosign, token) = (Cosign::v3(instance)?, instance.issuer.token().await?);
    let image = instance.push_image(registry.host(), "app")?;
    cosign.sign("sign", &token, &[&image])?.success()?;
    cosign.verify("verify", &token, &[&image])?.success()?;
    let unsigned = instance.push_image(registry.host(), "unsigned")?;
    cosign.verify("verify", &token, &[&unsigned])?.failure(&["no signatures found"])?;
    Ok(())
}

#[tokio::test]
async fn attest_and_verify_an_image() -> Result<()> {
    let instance = Instance::start().await?;
    let registry = Registry::with_referrers(instance.scratch()).await?;
    let (cosign, token) = (Cosign::v3(&instance)?, instance.issuer.token().await?);
    let image = instance.push_image(registry.host(), "app")?;
    let predicate = instance.file("predicate.json", r#"{"tested": true}"#)?.display().to_string();
    let kind = ["--type", "https://example.com/tested"];
    cosign.sign("attest", &token, &[&kind[..], &["--predicate", &predicate, &image]].concat())?.success()?;
    cosign.verify("verify-attestation", &token, &[&kind[..], &[&image]].concat())?.success()?;
    Ok(())
}
