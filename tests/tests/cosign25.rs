//! Unmodified cosign 2.5 signs and verifies by itself, keyless, with the certificate, its SCT and the log all checked.

use anyhow::Result;
use chancery_tests::{Chancery, Cosign, Instance, Policy, Registry};

#[tokio::test]
async fn sign_blob_and_verify_blob() -> Result<()> {
    let instance = Instance::start().await?;
    let (cosign, token) = (Cosign::v2(&instance)?, instance.issuer.token().await?);
    let file = instance.file("artifact", "an artifact")?.display().to_string();
    let bundle = instance.scratch().join("bundle.json").display().to_string();
    cosign.sign("sign-blob", &token, &["--bundle", &bundle, &file])?.success()?;
    cosign.verify("verify-blob", &token, &["--bundle", &bundle, &file])?.success()?;
    let other = instance.file("other", "another artifact")?.display().to_string();
    cosign.verify("verify-blob", &token, &["--bundle", &bundle, &other])?.failure(&[])?;
    Ok(())
}

#[tokio::test]
async fn sign_blob_and_verify_blob_with_the_new_bundle_format() -> Result<()> {
    let instance = Instance::start().await?;
    let (cosign, token) = (Cosign::v2(&instance)?, instance.issuer.token().await?);
    let file = instance.file("artifact", "an artifact")?.display().to_string();
    let bundle = instance.scratch().join("bundle.json").display().to_string();
    let root = instance.server.trust("trusted_root.json").display().to_string();
    cosign.sign("sign-blob", &token, &["--new-bundle-format", "--bundle", &bundle, &file])?.success()?;
    let arguments = ["--new-bundle-format", "--trusted-root", &root, "--bundle", &bundle, &file];
    cosign.verify("verify-blob", &token, &arguments)?.success()?;
    Ok(())
}

#[tokio::test]
async fn attest_blob_and_verify_blob_attestation() -> Result<()> {
    let instance = Instance::start().await?;
    let (cosign, token) = (Cosign::v2(&instance)?, instance.issuer.token().await?);
    let file = instance.file("artifact", "an artifact")?.display().to_string();
    let predicate = instance.file("predicate.json", r#"{"tested": true}"#)?.display().to_string();
    let bundle = instance.scratch().join("bundle.json").display().to_string();
    let root = instance.server.trust("trusted_root.json").display().to_string();
    let new = ["--new-bundle-format", "--bundle", &bundle, "--type", "https://example.com/tested"];
    let arguments = [&new[..], &["--predicate", &predicate, &file]].concat();
    cosign.sign("attest-blob", &token, &arguments)?.success()?;
    let arguments = [&new[..], &["--trusted-root", &root, &file]].concat();
    cosign.verify("verify-blob-attestation", &token, &arguments)?.success()?;
    Ok(())
}

#[tokio::test]
async fn attest_blob_as_intoto_entry() -> Result<()> {
    let instance = Instance::start().await?;
    let (cosign, token) = (Cosign::v2(&instance)?, instance.issuer.token().await?);
    let file = instance.file("artifact", "an artifact")?.display().to_string();
    let predicate = instance.file("predicate.json", r#"{"tested": true}"#)?.display().to_string();
    let bundle = instance.scratch().join("bundle.json").display().to_string();
    let arguments = ["--rekor-entry-type", "intoto", "--bundle", &bundle, "--predicate", &predicate, &file];
    cosign.sign("attest-blob", &token, &arguments)?.success()?;
    cosign.verify("verify-blob-attestation", &token, &["--bundle", &bundle, &file])?.success()?;
    let arguments = [&["--new-bundle-format"], &arguments[..]].concat();
    cosign.sign("attest-blob", &token, &arguments)?.success()?;
    let arguments = ["verify", &file, "--bundle", &bundle].map(str::to_owned);
    let arguments = [&arguments[..], &Policy::of(&token)].concat();
    let outcome = Chancery::trusting(&instance)?.run(&arguments)?.success()?;
    assert!(outcome.said().contains("intoto 0.0.1"), "{}", outcome.said());
    Ok(())
}

#[tokio::test]
async fn sign_and_verify_an_image() -> Result<()> {
    let instance = Instance::start().await?;
    let registry = Registry::distribution(instance.scratch()).await?;
    let (cosign, token) = (Cosign::v2(&instance)?, instance.issuer.token().await?);
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
    let registry = Registry::distribution(instance.scratch()).await?;
    let (cosign, token) = (Cosign::v2(&instance)?, instance.issuer.token().await?);
    let image = instance.push_image(registry.host(), "app")?;
    let predicate = instance.file("predicate.json", r#"{"tested": true}"#)?.display().to_string();
    cosign.sign("attest", &token, &["--predicate", &predicate, &image])?.success()?;
    cosign.verify("verify-attestation", &token, &[&image])?.success()?;
    Ok(())
}

#[tokio::test]
async fn attest_and_verify_an_image_with_an_intoto_entry() -> Result<()> {
    let instance = Instance::start().await?;
    let registry = Registry::distribution(instance.scratch()).await?;
    let (cosign, token) = (Cosign::v2(&instance)?, instance.issuer.token().await?);
    let image = instance.push_image(registry.host(), "app")?;
    let predicate = instance.file("predicate.json", r#"{"tested": true}"#)?.display().to_string();
    let arguments = ["--rekor-entry-type", "intoto", "--predicate", &predicate, &image];
    cosign.sign("attest", &token, &arguments)?.success()?;
    cosign.verify("verify-attestation", &token, &[&image])?.success()?;
    Ok(())
}

#[tokio::test]
async fn an_entry_without_its_bundle_is_found_in_the_log() -> Result<()> {
    let instance = Instance::start().await?;
    let (cosign, token) = (Cosign::v2(&instance)?, instance.issuer.token().await?);
    let file = instance.file("artifact", "an artifact")?.display().to_string();
    let [signature, certificate] =
        ["sig", "pem"].map(|name| instance.scratch().join(name).display().to_string());
    let outputs = ["--output-signature", &signature, "--output-certificate", &certificate, &file];
    cosign.sign("sign-blob", &token, &outputs)?.success()?;
    let arguments = ["--signature", &signature, "--certificate", &certificate, &file];
    cosign.verify("verify-blob", &token, &arguments)?.success()?;
    Ok(())
}
