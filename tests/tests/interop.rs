//! Bundles cross the border both ways: cosign verifies ours, and we verify cosign's.

use anyhow::{Result, ensure};
use chancery_tests::{Chancery, Cosign, Instance, Policy, Rekor};

const PROVENANCE: &str = "https://slsa.dev/provenance/v1";

#[tokio::test]
async fn both_cosigns_verify_our_provenance() -> Result<()> {
    let instance = Instance::start_with(Rekor::V1).await?;
    let token = instance.issuer.token().await?;
    let file = instance.file("rocket.tar", "a rocket")?.display().to_string();
    let chancery = Chancery::trusting(&instance)?;
    chancery.run_in_job(&instance, &["attest", &file])?.success()?;
    let bundle = format!("{file}.sigstore.json");
    let root = instance.server.trust("trusted_root.json").display().to_string();
    for (cosign, flags) in [
        (Cosign::v3(&instance)?, &[][..]),
        (Cosign::v2(&instance)?, &["--new-bundle-format", "--trusted-root", &root]),
    ] {
        let arguments = [flags, &["--type", PROVENANCE, "--bundle", &bundle, &file]].concat();
        cosign.verify("verify-blob-attestation", &token, &arguments)?.success()?;
        let other = instance.file("other", "another rocket")?.display().to_string();
        let arguments = [flags, &["--type", PROVENANCE, "--bundle", &bundle, &other]].concat();
        cosign.verify("verify-blob-attestation", &token, &arguments)?.failure(&[])?;
    }
    Ok(())
}

#[tokio::test]
async fn both_cosigns_verify_our_signature() -> Result<()> {
    let instance = Instance::start_with(Rekor::V1).await?;
    let token = instance.issuer.token().await?;
    let file = instance.file("rocket.tar", "a rocket")?.display().to_string();
    Chancery::trusting(&instance)?.run_in_job(&instance, &["sign", &file])?.success()?;
    let bundle = format!("{file}.sigstore.json");
    let root = instance.server.trust("trusted_root.json").display().to_string();
    Cosign::v3(&instance)?.verify("verify-blob", &token, &["--bundle", &bundle, &file])?.success()?;
    let arguments = ["--new-bundle-format", "--trusted-root", &root, "--bundle", &bundle, &file];
    Cosign::v2(&instance)?.verify("verify-blob", &token, &arguments)?.success()?;
    Ok(())
}

#[tokio::test]
async fn cosign_3_verifies_what_we_sign_to_rekor_v2() -> Result<()> {
    for rekor in [Rekor::V2, Rekor::Both] {
        let instance = Instance::start_with(rekor).await?;
        let token = instance.issuer.token().await?;
        let (cosign, chancery) = (Cosign::v3(&instance)?, Chancery::trusting(&instance)?);
        let other = instance.file("other.tar", "another rocket")?.display().to_string();
        for (verb, check, flags) in
            [("sign", "verify-blob", &[][..]), ("attest", "verify-blob-attestation", &["--type", PROVENANCE])]
        {
            let file = instance.file(verb, "a rocket")?.display().to_string();
            chancery.run_in_job(&instance, &[verb, &file])?.success()?;
            let bundle = format!("{file}.sigstore.json");
            let verify =
                |file: &str| cosign.verify(check, &token, &[flags, &["--bundle", &bundle, file]].concat());
            verify(&file)?.success()?;
            verify(&other)?.failure(&[])?;
        }
    }
    Ok(())
}

/// cosign 3 signs to Rekor v2 with a timestamp, cosign 2 to Rekor v1 of the same instance.
#[tokio::test]
async fn we_verify_the_signature_of_both_cosigns() -> Result<()> {
    let instance = Instance::start().await?;
    let token = instance.issuer.token().await?;
    let file = instance.file("rocket.tar", "a rocket")?.display().to_string();
    let chancery = Chancery::trusting(&instance)?;
    for (name, cosign, flags) in [
        ("3.json", Cosign::v3(&instance)?, &[][..]),
        ("2.json", Cosign::v2(&instance)?, &["--new-bundle-format"]),
    ] {
        let bundle = instance.scratch().join(name).display().to_string();
        let arguments = [flags, &["--bundle", &bundle, &file]].concat();
        cosign.sign("sign-blob", &token, &arguments)?.success()?;
        verify(&chancery, &Policy::of(&token), &["--bundle", &bundle, &file])?.success()?;
    }
    Ok(())
}

#[tokio::test]
async fn we_verify_the_attestation_of_both_cosigns() -> Result<()> {
    let instance = Instance::start().await?;
    let token = instance.issuer.token().await?;
    let file = instance.file("rocket.tar", "a rocket")?.display().to_string();
    let predicate = instance.file("predicate.json", r#"{"tested": true}"#)?.display().to_string();
    let chancery = Chancery::trusting(&instance)?;
    let kind = "https://example.com/tested";
    for (name, cosign, flags) in [
        ("3.json", Cosign::v3(&instance)?, &[][..]),
        ("2.json", Cosign::v2(&instance)?, &["--new-bundle-format"]),
        ("i.json", Cosign::v2(&instance)?, &["--new-bundle-format", "--rekor-entry-type", "intoto"]),
    ] {
        let bundle = instance.scratch().join(name).display().to_string();
        let rest = ["--type", kind, "--predicate", &predicate, "--bundle", &bundle, &file];
        cosign.sign("attest-blob", &token, &[flags, &rest].concat())?.success()?;
        let arguments = ["--predicate-type", kind, "--bundle", &bundle, &file];
        verify(&chancery, &Policy::of(&token), &arguments)?.success()?;
    }
    Ok(())
}

#[tokio::test]
async fn verification_needs_no_network() -> Result<()> {
    let mut instance = Instance::start().await?;
    let token = instance.issuer.token().await?;
    let file = instance.file("rocket.tar", "a rocket")?.display().to_string();
    let chancery = Chancery::trusting(&instance)?;
    chancery.run_in_job(&instance, &["attest", &file])?.success()?;
    let bundle = format!("{file}.sigstore.json");
    instance.server.stop().await?;
    let root = instance.server.trust("trusted_root.json").display().to_string();
    let arguments = ["--bundle", &bundle, &file];
    verify(&chancery, &Policy::of(&token), &arguments)?.success()?;
    let stranger = Chancery::new(&instance, "knows-no-instance")?;
    let arguments = ["--trusted-root", &root, "--bundle", &bundle, &file];
    verify(&stranger, &Policy::of(&token), &arguments)?.success()?;
    Cosign::v3(&instance)?
        .verify("verify-blob-attestation", &token, &["--type", PROVENANCE, "--bundle", &bundle, &file])?
        .success()?;
    Ok(())
}

/// Rekor v1 with a timestamp beside its own time: both are proven.
#[tokio::test]
async fn we_verify_what_cosign_3_signs_to_rekor_v1() -> Result<()> {
    let instance = Instance::start_with(Rekor::V1).await?;
    let token = instance.issuer.token().await?;
    let file = instance.file("rocket.tar", "a rocket")?.display().to_string();
    let bundle = instance.scratch().join("bundle.json").display().to_string();
    Cosign::v3(&instance)?.sign("sign-blob", &token, &["--bundle", &bundle, &file])?.success()?;
    let chancery = Chancery::trusting(&instance)?;
    let verified = verify(&chancery, &Policy::of(&token), &["--bundle", &bundle, &file])?.success()?;
    ensure!(verified.stdout.contains("signed by the log and a timestamp authority"), "{}", verified.stdout);
    Ok(())
}

#[tokio::test]
async fn we_verify_a_bundle_that_cosign_signed_with_a_key() -> Result<()> {
    for rekor in [Rekor::V1, Rekor::V2] {
        let instance = Instance::start_with(rekor).await?;
        let file = instance.file("rocket.tar", "a rocket")?.display().to_string();
        let bundle = instance.scratch().join("bundle.json").display().to_string();
        let (cosign, chancery) = (Cosign::v3(&instance)?, Chancery::trusting(&instance)?);
        cosign.run("generate-key-pair", &[""; 0])?.success()?;
        cosign
            .sign_with_key("sign-blob", &cosign.file("cosign.key"), &["--bundle", &bundle, &file])?
            .success()?;
        let verify = |key: &str| chancery.run(&["verify", "--key", key, "--bundle", &bundle, &file]);
        verify(&cosign.file("cosign.pub"))?.success()?;
        let stranger = instance.server.trust("ct.pub").display().to_string();
        verify(&stranger)?.refused(1, &["signature"])?;
    }
    Ok(())
}

fn verify(chancery: &Chancery, policy: &[String; 4], arguments: &[&str]) -> Result<chancery_tests::Outcome> {
    let policy = policy.each_ref().map(String::as_str);
    chancery.run(&[&["verify"], &policy[..], arguments].concat())
}
