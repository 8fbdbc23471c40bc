//! The CA and a certified OpenID provider: discovery, key set and tokens as a foreign implementation makes them.

use anyhow::Result;
use chancery_tests::OidcProvider;
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
