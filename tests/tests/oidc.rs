//! The CA and a certified OpenID provider: discovery, key set and tokens as a foreign implementation makes them.

use anyhow::{Context as _, Result, ensure};
use chancery_tests::ca::CaClient;
use chancery_tests::{Cosign, Instance, OidcProvider, Rekor, Server, issuers_yaml};
use chancery_tlog::certificate::SubjectName;
use chancery_tlog::fulcio;
use tempfile::TempDir;

#[tokio::test]
async fn a_login_yields_an_id_token_with_the_claims_of_a_job() -> Result<()> {
    let scratch = TempDir::new()?;
    let provider = OidcProvider::start(scratch.path()).await?;
    let token = provider.login("acme/widget").await?;
    assert_eq!(token.issuer(), provider.url());
    assert_eq!(token.claim("aud"), "sigstore");
    assert_eq!(token.claim("sub"), "repo:acme/widget:ref:refs/heads/main");
    assert_eq!(token.claim("repository"), "acme/widget");
    assert_eq!(
        token.identity(),
        "https://github.com/acme/widget/.github/workflows/release.yml@refs/heads/main"
    );
    Ok(())
}

#[tokio::test]
async fn its_token_becomes_a_certificate_that_names_the_job() -> Result<()> {
    let instance = Instance::stopped().await?;
    let provider = OidcProvider::start(instance.scratch()).await?;
    let mut server = Server::init(instance.scratch(), "oidc", &issuers_yaml(&[provider.url()]), Rekor::Both)?;
    server.start().await?;
    let token = provider.login("acme/widget").await?;
    let ca = CaClient::new(server.url(), &server.trust("ct.pub"))?;
    let issued = ca.issue(&token).await?.context("a certificate")?;
    let names: Vec<&str> = issued.certificate.subject_names().iter().map(SubjectName::value).collect();
    assert_eq!(names, [token.identity()]);
    for (number, value) in [
        (8, provider.url()),
        (9, &token.identity()),
        (11, "github-hosted"),
        (12, "https://github.com/acme/widget"),
        (13, token.claim("sha")),
        (14, "refs/heads/main"),
        (20, "push"),
        (21, "https://github.com/acme/widget/actions/runs/1234567/attempts/1"),
        (22, "private"),
    ] {
        let found = fulcio::read(&issued.certificate, number);
        ensure!(found.as_deref() == Some(value), "extension 1.{number} is {found:?}, not {value}");
    }
    Ok(())
}

#[tokio::test]
async fn cosign_signs_and_verifies_with_its_token() -> Result<()> {
    let instance = Instance::stopped().await?;
    let provider = OidcProvider::start(instance.scratch()).await?;
    let mut server = Server::init(instance.scratch(), "oidc", &issuers_yaml(&[provider.url()]), Rekor::Both)?;
    server.start().await?;
    let token = provider.login("acme/widget").await?;
    let cosign = Cosign::v3_of(&instance, &server)?;
    let file = instance.file("artifact", "an artifact")?.display().to_string();
    let bundle = instance.scratch().join("bundle.json").display().to_string();
    cosign.sign("sign-blob", &token, &["--bundle", &bundle, &file])?.success()?;
    cosign.verify("verify-blob", &token, &["--bundle", &bundle, &file])?.success()?;
    Ok(())
}

#[tokio::test]
async fn a_token_of_an_issuer_that_is_not_listed_is_refused() -> Result<()> {
    let instance = Instance::start().await?;
    let provider = OidcProvider::start(instance.scratch()).await?;
    let ca = CaClient::new(instance.server.url(), &instance.server.trust("ct.pub"))?;
    let (status, body) = ca.request(&provider.login("acme/widget").await?).await?;
    ensure!(status == 400, "answered {status}: {body}");
    let log = instance.server.output().await?;
    ensure!(
        log.contains(&format!("issuer `{}` is not configured", provider.url())),
        "no reason in the log: {log}"
    );
    Ok(())
}
